"""How sessions end: as they say, by the clock, or to make room for others."""

from __future__ import annotations

from models.session import MAX_SEEN_TOMBSTONE, VERSION, Session, Tombstone
from stream.core.credentials import released, spent_by
from stream.core.draft import Draft
from stream.core.items import Close, Item
from stream.core.trees import Trees


class Ends:
    """Ends sessions of a draft, and leaves an item for the case of each.

    Parameters
    ----------
    draft : Draft
        Holds the sessions.
    trees : Trees
        Of the same draft.
    items : list of Item
        Where what is to be ruled on is put.
    """

    def __init__(self, draft: Draft, trees: Trees, items: list[Item]) -> None:
        self._draft = draft
        self._trees = trees
        self._items = items

    def expire(self) -> None:
        """End each session whose last record lies the idle limit back, longest idle first; forget old tombstones."""
        draft = self._draft
        idle_ms = int(draft.limits.idle_minutes * 60_000)
        while (longest := draft.longest_idle()) is not None:
            clock_ms, key = longest
            if clock_ms + idle_ms > draft.ledger.clock_ms:
                break
            self.end(key, draft.session(key), "idle", clock_ms + idle_ms)
        lifetime_ms = int(draft.limits.tombstone_hours * 3_600_000)
        while (oldest := draft.oldest_tomb()) is not None:
            if draft.end_clock(oldest) + lifetime_ms > draft.ledger.clock_ms:
                break
            draft.forget(oldest)

    def keep_within_weight(self, key: str) -> None:
        """Note what the session at hand weighs now; while all together weigh too much, end the oldest."""
        draft = self._draft
        session = draft.at_hand(key)
        if not isinstance(session, Session):
            return
        draft.weigh(session)
        most = draft.limits.open_mib << 20
        while draft.weight > most and (oldest := draft.oldest_open()) is not None:
            self.end(oldest, draft.session(oldest), "evicted", session.clock_ms)

    def make_room(self, clock_ms: int) -> None:
        """End the oldest session if there are as many as may be."""
        draft = self._draft
        if draft.n_open >= draft.limits.open_sessions and (oldest := draft.oldest_open()) is not None:
            self.end(oldest, draft.session(oldest), "evicted", clock_ms)

    def make_room_below(self, tree: str, clock_ms: int) -> None:
        """End the oldest sub-agent below a root if it has as many as it may; the root itself is none."""
        draft, most = self._draft, self._draft.limits.sub_agents
        members = self._trees.sub_agents(tree) if self._trees.may_hold(tree, most) else []
        if len(members) >= most:
            states = {key: draft.session(key) for key in members}
            oldest = min(members, key=lambda key: (states[key].declared, states[key].offset))
            self.end(oldest, states[oldest], "evicted", clock_ms)

    def end_tree(self, key: str, session: Session, now_ms: int) -> None:
        """End a session as it said, and the sub-agents that work for it; none keeps a credential for another."""
        draft = self._draft
        below = [(child, draft.session(child)) for child in self._trees.descendants(key, session)]
        for over in (session, *(child for _, child in below)):
            draft.let_go(over)
        self._bury(key, session, "ended", now_ms)
        for child, state in below:
            self._bury(child, state, "parent_ended", now_ms)

    def end(self, key: str, session: Session, how: str, now_ms: int) -> Tombstone:
        """End an open session."""
        self._draft.let_go(session)
        return self._bury(key, session, how, now_ms)

    def _bury(self, key: str, session: Session, how: str, now_ms: int) -> Tombstone:
        """Put a tombstone in the place of a session that let go of its credentials."""
        draft, release = self._draft, self._draft.release(session)
        left = released(session, release.policy, draft.is_held)
        tomb = Tombstone(
            version=VERSION,
            order=draft.ledger.ends,
            clock_ms=max(session.clock_ms, now_ms),
            spent=spent_by(session, left),
            ended=how,
            calls=session.calls,
            next_seq=session.next_seq,
            seen=session.seen[-8 * MAX_SEEN_TOMBSTONE :],
            release=session.release,
            epoch=session.epoch,
            agent=session.agent,
            dossier=session.dossier,
            started_ms=session.started_ms,
            parent=session.parent,
            terms=session.terms,
        )
        draft.bury(key, session, tomb)
        self._trees.changed()
        self._items.append(Close(tomb, session, how, release, now_ms, left))
        if draft.n_tombs > draft.limits.tombstones and (oldest := draft.oldest_tomb()) is not None:
            draft.forget(oldest)
        return tomb
