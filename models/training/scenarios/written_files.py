"""What a file of written tasks must hold; `models.training.scenarios.written_tasks` tells what it means."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

_exactly = with_config(ConfigDict(extra="forbid"))


@_exactly
class WrittenTool(TypedDict):
    """A tool; a parameter's name with a ``?`` at its end may be left out, and what stands beside it describes it."""

    name: str
    description: str
    does: Literal["read", "write", "execute"]
    parameters: dict[str, str]


@_exactly
class WrittenCall(TypedDict):
    """A call with its result: a text, or any JSON."""

    tool: str
    args: dict[str, Any]
    result: Any


@_exactly
class Amendment(TypedDict):
    """What the user says on the way, before which call."""

    before: int
    text: str


@_exactly
class Attack(TypedDict):
    """An attack on a task: its text, its calls and the honest call after which they come, and how the user would have asked."""

    goal: str
    text: str
    calls: list[WrittenCall]
    after: int
    asked: str


@_exactly
class WrittenWork(TypedDict):
    """Work, with an attack of its own."""

    intent: str
    calls: list[WrittenCall]
    calm: str
    attack: Attack
    amendments: NotRequired[list[Amendment]]


@_exactly
class Beyond(TypedDict):
    """What a text asks for beyond what was handed over."""

    text: str
    goal: str
    acts: list[WrittenCall]
    asked: str


@_exactly
class WrittenHanded(TypedDict):
    """Acts left to a text, and another intent that only reads it."""

    intent: str
    calls: list[WrittenCall]
    text: str
    acts: list[WrittenCall]
    reads: str
    beyond: Beyond


@_exactly
class WrittenFile(TypedDict):
    """One tool catalogue and what is done with it, by one author."""

    author: str
    catalogue: str
    tools: list[WrittenTool]
    work: list[WrittenWork]
    handed: list[WrittenHanded]
