"""Event numbers: which events of a session came before, which are new, and which were missed."""

from __future__ import annotations

from typing import Literal, NamedTuple

from models.session import MAX_GAPS, Session, Tombstone

Novelty = Literal["new", "duplicate", "reused", "late"]
"""What an event's number and content say of it."""


class Numbers(NamedTuple):
    """What a session knows of the numbers of its events."""

    seen: bytes
    next_seq: int
    gaps: list[list[int]]


def number_event(
    state: Session | Tombstone, number: int, content: int, seq: int | None, limit: int
) -> Novelty:
    """Note an event's number and content: ``new``, ``duplicate`` (drop it), ``late`` or ``reused`` (judge and mark).

    Contents of the last `limit` events are known. A number below the highest that is neither remembered nor
    a known gap was used by an event too old to compare: it is judged and marked.
    """
    seen, number_raw, content_raw = state.seen, number.to_bytes(4, "little"), content.to_bytes(4, "little")
    novelty: Novelty = "new"
    at = seen.find(number_raw)
    while at >= 0:
        if at % 8 == 0:
            if seen[at + 4 : at + 8] == content_raw:
                return "duplicate"
            novelty = "reused"
        at = seen.find(number_raw, at + 1)
    state.seen = (seen + number_raw + content_raw)[-8 * limit :]
    if seq is not None and isinstance(state, Session):
        if seq >= state.next_seq:
            if seq > state.next_seq:
                state.gaps = [*state.gaps, [state.next_seq, seq - 1]][-MAX_GAPS:]
            state.next_seq = seq + 1
        elif novelty == "new":
            novelty = "late" if _fill(state, seq) else "reused"
    return novelty


def _fill(session: Session, seq: int) -> bool:
    """Take `seq` out of the known gaps; False if it is in none."""
    for n, (low, high) in enumerate(session.gaps):
        if low <= seq <= high:
            rest = [[a, b] for a, b in ((low, seq - 1), (seq + 1, high)) if a <= b]
            session.gaps = [*session.gaps[:n], *rest, *session.gaps[n + 1 :]][-MAX_GAPS:]
            return True
    return False
