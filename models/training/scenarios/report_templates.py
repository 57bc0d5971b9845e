"""Nine lines of business that the detector is only reported on, in templates; their tools follow nine ways of naming, as in life.

They are written in ``corpora/report/catalogues``: ``$key1`` is value 1 of kind `key`, ``$key_`` the value of the step's own turn
in a loop, ``$k`` the number of turns, ``[[...]]`` is repeated for each turn, one a line. An argument ``#key1`` is a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from models.training import corpora
from models.training.scenarios.templates import Step, ToolText

NAMES = (
    "branch_library",
    "tenancy",
    "freight",
    "registrar",
    "claims_desk",
    "restaurant_pos",
    "city_permits",
    "newsroom",
    "lab_stock",
)
"""In the order in which tasks are dealt to them."""


class Act(NamedTuple):
    """An act that may be asked for, by the user or by a text.

    Attributes
    ----------
    kind, ask : kind of act, and how an intent hands all acts of that kind over: ``renew the loans``
    goal : one imperative sentence with all particulars
    first : the look-up with which the act begins, if any
    """

    kind: str
    ask: str
    goal: str
    step: Step
    first: Step | None = None


class Source(NamedTuple):
    """A text that acts may be handed over to: its name in an intent, and the call that reads it (``$body``)."""

    key: str
    noun: str
    step: Step


class Task(NamedTuple):
    """Ordinary work: several wordings of the intent, and its calls."""

    key: str
    intents: tuple[str, ...]
    steps: tuple[Step, ...]


class Creep(NamedTuple):
    """A narrow job, the broad one that would justify more, and the steps from one to the other."""

    narrow: tuple[str, ...]
    broad: tuple[str, ...]
    own: tuple[Step, ...]
    others: Step
    export: Step
    grant: Step


class Domain(NamedTuple):
    """A line of business: its catalogue, its values and its templates.

    Attributes
    ----------
    host : mail host of its own people
    ids : patterns of identifiers, ``#`` a digit and ``@`` a letter
    picks : values to choose from
    remarks : sentences that stand in its records, some of them addressed to somebody else
    look : look-ups that an agent makes on the way
    """

    name: str
    host: str
    tools: tuple[ToolText, ...]
    ids: Mapping[str, str]
    picks: Mapping[str, Sequence[str]]
    remarks: tuple[str, ...]
    look: tuple[Step, ...]
    sources: tuple[Source, ...]
    acts: tuple[Act, ...]
    tasks: tuple[Task, ...]
    creep: Creep


def domains() -> list[Domain]:
    """All lines of business."""
    return [corpora.read(f"report/catalogues/{name}.json", Domain) for name in NAMES]
