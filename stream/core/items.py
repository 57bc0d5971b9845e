"""What the take pass leaves of the records, for the pass that rules: each with copies of what it rests on.

Sessions in items are copies, so that later records do not show through; their dossiers are shared, since what
was decided is read and written by the rule pass alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from models.contracts import Action, ReleasedCredential, ToolCalled
from models.reading.page import Led
from models.reading.reader import Shown
from models.session import Dossier, Session, Tombstone
from stream.core.deployment import Opinion
from stream.core.releases import Release
from stream.events import Output, Record
from stream.signals.signal import Raised

Mark = Literal[
    "number_reused",
    "number_late",
    "undeclared",
    "declaration_refused",
    "vague",
    "unsigned",
    "unattested",
    "partial",
    "unjudged_before",
    "orphan",
    "cut",
    "secret_reference",
    "self_asserted",
    "arguments_unseen",
    "after_end",
    "expected",
    "refused",
]
"""What whoever reads a decision must know of the session, so as not to trust the decision too far."""


class Call(NamedTuple):
    """A call to be judged: the session before it, what it shows, and who falls with it."""

    record: Record
    event: ToolCalled
    arguments: bytes  # tool and arguments as JSON
    time_ms: int  # the event's own time
    over: bool  # the session was finished before, and `session` is what its tombstone tells
    session: Session
    row: list[int]  # of features; the rest of the extract ends with its record
    action: Action
    signals: list[Raised]
    seq: int
    marks: list[Mark]
    release: Release
    shown: Shown | None  # what a reader is shown of it, where there is one
    amount: float | None  # the largest sum of money in its arguments, where the policy weighs sums
    now_ms: int
    below: list[tuple[str, Session]]
    # Nothing is known to be missing: its session was read from its first record on, and so were those that it works for.
    whole: bool


class Reading(NamedTuple):
    """What a reader made of a call: the forest's score alone, the reader's log odds, and the snippets that it read.

    ``moves``: what each of these adds to the log odds; None where the score is none to alert on.
    """

    forest: int
    log_odds: float
    sources: Sequence[Led]
    moves: Sequence[float | None]


class Judged(NamedTuple):
    """A call with its score, in units of 0.0001, and what a reader made of it, if one read it."""

    call: Call
    score: int
    reading: Reading | None


class Close(NamedTuple):
    """A session that is over, as it was, what is left of it, and which credentials its end leaves alone."""

    tombstone: Tombstone
    session: Session
    how: str
    release: Release
    now_ms: int
    released: list[ReleasedCredential]


class Unjudged(NamedTuple):
    """A session of which a record could not be judged."""

    session: Session
    release: Release
    now_ms: int


class Opined(NamedTuple):
    """A second opinion on a call of a session, which may be over."""

    session: Session
    opinion: Opinion
    release: Release
    now_ms: int


class Offered(NamedTuple):
    """A session whose declaration brought credentials: they fall with it if it was revoked before."""

    key: str
    session: Session
    ancestors: list[Session]
    release: Release
    now_ms: int


class Named(NamedTuple):
    """What a refused record tells all the same, each as the contract has it.

    Parameters
    ----------
    call : str
        Id of the call that it is about; empty: it is none, or names none.
    tool : str
        Empty where it cannot be read.
    time_ms : int or None
        Its own time.
    """

    id: str
    session: str
    root: str
    tenant: str | None
    seq: int | None
    call: str
    tool: str
    time_ms: int | None
    declares: bool


class Refused(NamedTuple):
    """A call whose record was refused, with what is known of its session."""

    record: Record
    named: Named
    tenant: str
    reason: str
    detail: str
    agent: str | None
    dossier: Dossier | None
    release: Release


Item = Call | Close | Unjudged | Opined | Offered | Refused | Output
"""What a record led to, in order; an output is one that stands as it is: a record put aside."""
