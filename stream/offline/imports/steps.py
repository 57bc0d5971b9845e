"""What every format comes to: steps of sessions, in order, and notes of what was mapped, lost and refused."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple


class Prompt(NamedTuple):
    """What the user asked for: the first is the intent, a later one an amendment. Of a sub-agent: what the agent above told it."""

    text: str


class Called(NamedTuple):
    """The agent called a tool; the id may be used again later in the session."""

    call_id: str
    tool: str
    arguments: Any


class Returned(NamedTuple):
    """What the call answered; where the host refused it (`ran` is false), what the host said in the answer's place."""

    call_id: str
    result: Any
    failed: bool = False
    ran: bool = True


class Offered(NamedTuple):
    """Tools that the session was offered, each as `models.contracts.Tool` has it."""

    tools: list[dict[str, Any]]


class Acting(NamedTuple):
    """What is known of the agent, see `models.contracts.Agent`."""

    agent: dict[str, str]


Step = Prompt | Called | Returned | Offered | Acting


class Moment(NamedTuple):
    """A step of a session, when it happened (None: not told), and the session that it works for."""

    session: str
    time: datetime | None
    step: Step
    parent: str | None = None


MAX_ID = 200
"""Characters of an id from a file: what is longer is known by its digest."""
MISSHAPEN = (KeyError, TypeError, AttributeError, ValueError, OverflowError)
"""What reading a document of another shape leads to."""

MAPPED = ("sessions", "sub-agents among them", "amendments", "calls", "results")
"""What is counted of what was mapped, in the order in which it is told."""


@dataclass
class Notes:
    """What became of the files of one format.

    Attributes
    ----------
    mapped, lost : counts by what it is, in the plural
    refused : int
        Lines and documents that are none of the format's.
    first : str
        Where the first of them stands, and why it was refused.
    """

    mapped: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    first: str = ""

    def lose(self, what: str, n: int = 1) -> None:
        """Count what events do not carry."""
        self.lost[what] += n

    def refuse(self, where: str, why: str) -> None:
        """Count what is none of the format's; never a payload."""
        self.refused += 1
        self.first = self.first or f"{where}: {why}"


def identifier(text: Any) -> str:
    """`text` as an id of the contract; its digest where it is too long or empty.

    >>> identifier("toolu_1"), identifier("x" * 300)[:14]
    ('toolu_1', 'sha256-0d4e2ca')
    """
    told = str(text)
    if 0 < len(told) <= MAX_ID:
        return told
    return f"sha256-{hashlib.sha256(told.encode('utf-8', 'replace')).hexdigest()}"


def tool_of(tool: dict[str, Any], *, parameters: str = "parameters") -> dict[str, Any]:
    """A tool as the contract has it, of what a format says of one; its schema stands under `parameters`.

    Raises
    ------
    KeyError
        It has no name.

    >>> tool_of({"name": "read", "inputSchema": {}, "description": None}, parameters="inputSchema")
    {'name': 'read', 'parameters': {}}
    """
    told: dict[str, Any] = {"name": str(tool["name"])}
    if isinstance(tool.get("description"), str):
        told["description"] = tool["description"]
    for name, under in (("parameters", parameters), ("annotations", "annotations")):
        if isinstance(tool.get(under), dict):
            told[name] = tool[under]
    return told


def moment_of(text: Any) -> datetime | None:
    """The time that an RFC 3339 text tells, in UTC where it names no zone; None where it tells none.

    >>> moment_of("2026-01-02T03:04:05.678Z")
    datetime.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=datetime.timezone.utc)
    >>> moment_of("yesterday"), moment_of(7)
    (None, None)
    """
    if not isinstance(text, str):
        return None
    try:
        told = datetime.fromisoformat(text)
        return told.astimezone(UTC) if told.tzinfo else told.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def text_of(content: Any, notes: Notes, *, name: str = "text") -> str:
    """The text of a message: a string, or blocks whose text stands under `name`; what is no text is counted.

    >>> text_of([{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}], notes := Notes())
    'a\\nb'
    >>> notes.lost
    Counter({'images and other blocks without text': 1})
    """
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    texts = [
        each if isinstance(each, str) else each.get(name) for each in blocks if isinstance(each, str | dict)
    ]
    told = [each for each in texts if isinstance(each, str)]
    if len(told) < len(blocks):
        notes.lose("images and other blocks without text", len(blocks) - len(told))
    return "\n".join(told)
