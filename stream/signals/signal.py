"""What a signal is: one named check of one call, with all that people and policies need to know of it.

A signal is a class in the file of its family. Its docstring says what it means; its attributes say the rest. The
registry (`stream.signals.registry`) finds it there: policy, words, and the page of signals are made from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar, cast

from models.contracts import ArgumentRef, Evidence, Family
from stream.events import clipped
from stream.signals.call import ObservedCall

Consequence = Literal["none", "watch", "alert", "deny"]
"""What a policy lets a signal lead to by itself."""

ALLOWS_ACTION = "allows this kind of action"
LISTS_DATA = "lists this class of data"
ASKS_FOR_ACT = "asks for this act"
NAMES_DESTINATION = "names its destination"

TEXT_LENGTH = 400
"""Characters of a statement's text that evidence keeps, see `models.contracts.Evidence`."""


class Remedy(NamedTuple):
    """What would have had to be otherwise for a signal to say nothing.

    Parameters
    ----------
    clauses : tuple of str
        What an intent or an amendment by the user would have to do.
    otherwise : str
        What else; empty where an amendment is enough.
    """

    clauses: tuple[str, ...] = ()
    otherwise: str = ""


class Runbook(NamedTuple):
    """What an analyst needs when a signal speaks: a typical honest cause, what to look at, and what to do then."""

    benign: str
    look: str
    do: str


class Statement(NamedTuple):
    """What a check found on one call.

    Parameters
    ----------
    text : str
        In plain words; it names argument paths and calls, never values.
    value : float
        In the signal's unit.
    supports : bool
        Whether it speaks against the call; else it is context and leads to nothing.
    calls : sequence of int
        Places in the session that it rests on; negative ones are left out, and none means the call itself.
    argument : ArgumentRef or None
        The argument it rests on.
    unit : str or None
        Where it is not the signal's.
    source : int or None
        The call whose answer it says that this call follows, or `models.text.index.DESCRIBED`; None: it says so of none.
    """

    text: str
    value: float = 1
    supports: bool = True
    calls: Sequence[int] = ()
    argument: ArgumentRef | None = None
    unit: str | None = None
    source: int | None = None


class PastDecisions(NamedTuple):
    """What was decided before a call, known only when calls are ruled in order.

    Parameters
    ----------
    revoked, denied : bool
        Whether the session was revoked, or a call of it denied, as far as the policy's mode counts it.
    denies : bool
        Whether a signal that is evidence of drift, and that the policy lets deny, was raised on this call.
    """

    revoked: bool
    denied: bool
    denies: bool


Subject = TypeVar("Subject", ObservedCall, PastDecisions)


class Signal(Generic[Subject]):
    """One check. Subclass `CallSignal` or `HistorySignal`, whose docstring says what it means.

    Attributes
    ----------
    id : str
        ``<family>.<name>``, as in a policy.
    deed : str
        What the agent does, for an alert's title: a clause without a subject, with ``{tool}``, and ``{argument}`` or ``{source}``
        where its evidence names one; ``{to}`` where another's names a destination; ``{action}``, and the ``{limit}`` it goes beyond.
    unit : str
        Of the values it states.
    shipped : Consequence
        What the shipped policy lets it lead to by itself.
    remedy : Remedy
        What would have passed.
    runbook : Runbook
        For whoever reads its alert.
    speaks_in : str
        A session of `stream.samples` in which it must speak; empty where none can show it: then a unit test does.
    silent_in : str
        A session of `stream.samples` in which it must not speak.
    behind : Family or None
        Its evidence stands behind that of this family, if not in the place of its own.
    corroborates : bool
        Whether it is evidence of drift: if not, its family does not count where a policy asks that several speak, and it
        revokes nothing.
    """

    id: ClassVar[str]
    deed: ClassVar[str]
    unit: ClassVar[str] = "flag"
    shipped: ClassVar[Consequence] = "none"
    remedy: ClassVar[Remedy] = Remedy()
    runbook: ClassVar[Runbook]
    speaks_in: ClassVar[str] = ""
    silent_in: ClassVar[str]
    behind: ClassVar[Family | None] = None
    corroborates: ClassVar[bool] = True

    def __init__(self) -> None:
        family, self.name = self.id.split(".")
        self.family = cast(Family, family)

    def check(self, subject: Subject) -> Statement | None:
        """What it states of `subject`; None if nothing."""
        raise NotImplementedError

    def raised(self, statement: Statement, here: int) -> Raised:
        """The evidence that `statement` is for the session's call at `here`."""
        evidence = Evidence(
            family=self.family,
            name=self.name,
            value=statement.value,
            unit=statement.unit or self.unit,
            supports=statement.supports,
            calls=[call for call in statement.calls if call >= 0] or [here],
            text=clipped(statement.text, TEXT_LENGTH),
            argument=statement.argument,
        )
        return Raised(self, evidence, statement.source)


class CallSignal(Signal[ObservedCall]):
    """A check of what a call shows before its effect."""


class HistorySignal(Signal[PastDecisions]):
    """A check of what was decided earlier."""


class Raised(NamedTuple):
    """A signal that had something to state of a call, the evidence, and the call whose answer it says that the call follows."""

    signal: Signal[Any]
    evidence: Evidence
    source: int | None = None
