"""How sessions begin: at their first record, or afresh after one that could not be judged."""

from __future__ import annotations

import copy
from typing import Any

from models.contracts import SessionDeclared
from models.session import VERSION, Session, Tombstone, measure_names
from stream.core.arrival import Arrival
from stream.core.draft import Draft
from stream.core.ends import Ends
from stream.core.items import Item, Unjudged
from stream.core.numbering import Numbers
from stream.core.partition import state_key
from stream.core.trees import Trees


class Births:
    """Begins sessions in a draft.

    Parameters
    ----------
    draft, trees, ends
        Where sessions stand, whom they work for, and what makes room for them.
    items : list of Item
        Where what is to be ruled on is put.
    """

    def __init__(self, draft: Draft, trees: Trees, ends: Ends, items: list[Item]) -> None:
        self._draft = draft
        self._trees = trees
        self._ends = ends
        self._items = items

    def begin(self, arrival: Arrival, clock_ms: int) -> Session:
        """A session of which nothing is known but its names; others end where there is no room."""
        ledger, record, event = self._draft.ledger, arrival.record, arrival.event
        is_root = arrival.session == arrival.root
        self._ends.make_room(clock_ms)
        if not is_root:
            tree = state_key(arrival.tenant, arrival.root, arrival.root)
            self._ends.make_room_below(tree, clock_ms)
            self._trees.bear(tree, arrival.key)
        session = _named(
            arrival,
            born=record.offset,
            offset=record.offset,
            clock_ms=clock_ms,
            started_ms=arrival.time_ms,
            release=ledger.new_release,
            epoch=ledger.new_epoch,
            partial=event.seq > 0 if event.seq is not None else not isinstance(event, SessionDeclared),
            parent=None if is_root else arrival.root,
        )
        measure_names(session)
        self._draft.n_open += 1
        self._trees.changed()
        self._draft.touch(arrival.key, session)
        return session

    def begin_afresh(self, arrival: Arrival, numbers: Numbers) -> None:
        """Forget what a session's records said, since one of them could not be judged.

        Its names and numbers, what it holds, what narrows it, and what was decided stay.

        `numbers` are those before that record, which must not use up its own.
        """
        draft, record = self._draft, arrival.record
        state = draft.at_hand(arrival.key)
        if isinstance(state, Tombstone):
            shell = shell_of(state, arrival)
            self._items.append(Unjudged(shell, draft.release(state), state.clock_ms))
            return
        if state is None:
            return
        fresh = _named(
            arrival,
            born=state.born,
            offset=record.offset,
            clock_ms=max(state.clock_ms, draft.ledger.clock_ms if arrival.stamped else 0),
            started_ms=state.started_ms,
            release=state.release,
            epoch=state.epoch,
            partial=True,
            unjudged=True,
            refused=state.refused,
            parent=state.parent,
            agent=state.agent,
            spiffe=state.spiffe,
            user=state.user,
            user_issuer=state.user_issuer,
            identity=state.identity,
            credentials=state.credentials,
            holds=state.holds,
            calls=state.calls,
            terms=state.terms,
            next_seq=numbers.next_seq,
            gaps=numbers.gaps,
            seen=numbers.seen,
            dossier=state.dossier,
        )
        measure_names(fresh)
        draft.replace(arrival.key, state, fresh)
        self._items.append(Unjudged(copy.copy(fresh), draft.release(fresh), fresh.clock_ms))


def shell_of(tomb: Tombstone, arrival: Arrival) -> Session:
    """A finished session as far as its tombstone tells: enough to judge what comes after, with no credentials left."""
    return _named(
        arrival,
        born=-1,
        offset=-1,
        clock_ms=tomb.clock_ms,
        started_ms=tomb.clock_ms,
        release=tomb.release,
        epoch=tomb.epoch,
        agent=tomb.agent,
        calls=tomb.calls,
        terms=tomb.terms,
        dossier=tomb.dossier,
    )


def _named(arrival: Arrival, **known: Any) -> Session:
    """A session under the names that its event gives, of which no more is known than `known`."""
    return Session(
        version=VERSION, tenant=arrival.tenant, root=arrival.root, session=arrival.session, **known
    )
