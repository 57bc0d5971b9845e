"""For which clause of the intent a call was made, what it was looked up in, and what these hand over."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from models.evidence.context import CallContext
from models.evidence.meaning import CallMeaning
from models.evidence.origins import ArgumentOrigins, LeafOrigin
from models.evidence.standing import ToolStanding
from models.heads.handover import ANSWERS, NOTHING, Handed
from models.session import LISTED, CallRow, Session
from models.text.embedding import DIMS

VOTING = 16
"""Argument leaves, from the first, whose names tell a clause."""


class Delegation(msgspec.Struct, frozen=True):
    """What led to a call, and what was handed over to it.

    Attributes
    ----------
    source : the call whose result explains most of the arguments; None if none in the window does
    named : how far the arguments lead back to the intent, in thousandths, by a source's own arguments too
    clause : the clause that the call was made for, -1 without any
    by_source : what the clause hands over that the source was read for; without a source, the call's own clause
    by_clause : what the clause hands over that the call was made for
    by_intent : what the intent as a whole, or an amendment, hands over
    source_likeness : z-score of the tool against the source's clause; without a source, its likeness
    """

    source: CallRow | None
    named: int
    clause: int
    by_source: Handed
    by_clause: Handed
    by_intent: Handed
    source_likeness: int

    @property
    def handed(self) -> int:
        """Whether anything is handed over at all: the most that source, clause and intent say, 128 neutral."""
        return max(self.by_source.any, self.by_clause.any, self.by_intent.any)


def call_delegation(
    context: CallContext, standing: ToolStanding, arguments: ArgumentOrigins, meaning: CallMeaning
) -> Delegation:
    """What led to a call."""
    session, main = context.session, arguments.main_source
    source = next((call for call in session.window if call.seq == main), None) if main is not None else None
    named_clause = _clause_named(session, arguments.leaves)
    named = arguments.intent_share
    clause = named_clause if named_clause >= 0 else meaning.explained.clause
    likeness, source_clause = standing.likeness, clause
    if source is not None:
        # Led here by a result that was itself looked up for the intent, a call serves that look-up's clause.
        named = max(named, source.named * arguments.source_share // 1000)
        source_clause = source.clause
        if named_clause < 0 and source_clause >= 0:
            clause = source_clause
        if (
            standing.place is not None
            and context.catalogue is not None
            and 0 <= source_clause < len(session.served)
        ):
            meant = session.clauses[source_clause * DIMS : (source_clause + 1) * DIMS]
            likeness = context.catalogue.likeness(meant)[standing.place]
    by_clause = _handed(session, clause)
    return Delegation(
        source=source,
        named=named,
        clause=clause,
        by_source=by_clause if source_clause == clause else _handed(session, source_clause),
        by_clause=by_clause,
        by_intent=handed_by(session),
        source_likeness=likeness,
    )


def handed_by(session: Session) -> Handed:
    """What the intent of a session hands over as a whole."""
    return Handed(*session.wants) if session.wants else NOTHING


def _handed(session: Session, clause: int) -> Handed:
    """What a clause hands over and wants; neutral for one that is not there, or no longer kept."""
    if not 0 <= clause < len(session.served):
        return NOTHING
    return Handed(*session.handing[ANSWERS * clause : ANSWERS * (clause + 1)])


def _clause_named(session: Session, arguments: Sequence[LeafOrigin]) -> int:
    """The clause of the intent that names most of the arguments, by tokens; -1 if none names any."""
    if not session.names:
        return -1
    clauses = dict(zip(np.frombuffer(session.names, "<u4").tolist(), session.name_clauses, strict=True))
    votes: dict[int, int] = {}
    for one in arguments[:VOTING]:
        for name in one.tokens.prints:
            at = clauses.get(name, LISTED)
            if at != LISTED:
                votes[at] = votes.get(at, 0) + 1
    return max(votes, key=lambda at: (votes[at], -at)) if votes else -1
