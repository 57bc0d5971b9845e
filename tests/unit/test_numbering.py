"""The numbers of a session's events, held against a plain account of them, and the clock of a record at its limits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.session import MAX_GAPS, Dossier, Session, Terms, Tombstone
from stream.core.numbering import Novelty, number_event
from tests import builders as b

FIXED = settings(max_examples=300, derandomize=True, deadline=None, database=None)
LIMIT = 5
# Numbers whose bytes are found across the borders of two neighbours, too.
PRINTS = st.sampled_from([0, 1, 256, 65_536, 0x01000000, 0x01010101, 2**32 - 1])


def session() -> Session:
    return Session(1, "t", "s", "s", 0, 0, 0, 0, "r", 0)


class Account:
    """Plain lists and sets of what came."""

    def __init__(self) -> None:
        self.came: list[tuple[int, int]] = []
        self.next = 0
        self.missing: set[int] = set()

    def note(self, number: int, content: int, seq: int | None) -> Novelty:
        known = self.came[-LIMIT:]
        if (number, content) in known:
            return "duplicate"
        novelty: Novelty = "reused" if number in {n for n, _ in known} else "new"
        self.came.append((number, content))
        if seq is None:
            return novelty
        if seq >= self.next:
            self.missing |= set(range(self.next, seq))
            self.next = seq + 1
        elif novelty == "new":
            novelty = "late" if seq in self.missing else "reused"
            self.missing.discard(seq)
        return novelty


@FIXED
@given(st.lists(st.tuples(PRINTS, PRINTS, st.none() | st.integers(0, 20)), max_size=30))
def test_events_are_told_new_double_late_or_reused_as_a_plain_account_tells_them(
    events: list[tuple[int, int, int | None]],
) -> None:
    state, account = session(), Account()
    for number, content, seq in events:
        assert number_event(state, number, content, seq, LIMIT) == account.note(number, content, seq)
        assert len(state.seen) <= 8 * LIMIT
        assert state.next_seq == account.next
        assert sorted(n for low, high in state.gaps for n in range(low, high + 1)) == sorted(account.missing)
        assert state.gaps == sorted(state.gaps)


def test_gaps_beyond_those_that_are_remembered_are_forgotten_oldest_first() -> None:
    state = session()
    for n in range(MAX_GAPS + 1):
        assert number_event(state, n, 0, 2 * n + 1, 1000) == "new"
    assert state.gaps == [[2 * n, 2 * n] for n in range(1, MAX_GAPS + 1)]
    assert number_event(state, 900, 0, 0, 1000) == "reused"
    assert number_event(state, 901, 0, 2, 1000) == "late"
    assert len(state.gaps) == MAX_GAPS - 1
    wide = session()
    number_event(wide, 0, 0, 9, 1000)
    for n in range(1, MAX_GAPS):
        number_event(wide, n, 0, 9 + 2 * n, 1000)
    assert len(wide.gaps) == MAX_GAPS
    assert number_event(wide, 500, 0, 4, 1000) == "late"  # two gaps where one was: the first of all gives way
    assert wide.gaps[:2] == [[5, 8], [10, 10]]
    assert len(wide.gaps) == MAX_GAPS


def test_of_a_finished_session_numbers_are_compared_and_none_counted() -> None:
    tomb = Tombstone(1, 0, 0, b"", "ended", 0, 3, b"", "r", 0, None, Dossier(), 0, None, Terms())
    told = [number_event(tomb, n, 0, seq, LIMIT) for n, seq in ((7, 9), (7, 9), (8, 1))]
    assert told == ["new", "duplicate", "new"]
    assert tomb.next_seq == 3


@pytest.mark.parametrize(
    ("ahead_ms", "refused"), [(0, False), (300_000, False), (300_001, True), (-9_000_000, False)]
)
def test_an_event_may_lie_as_far_ahead_of_the_brokers_clock_as_the_policy_says_and_no_further(
    ahead_ms: int, refused: bool
) -> None:
    event = b.declared(time=b.rfc3339(b.T0 + ahead_ms))
    run = b.Run(b.judge()).feed([b.record(event, 0, 0)])
    assert run.quarantined == ([("time", 0)] if refused else [])
    unstamped = b.Run(b.judge()).feed([b.record(event, 0)])
    assert not unstamped.quarantined


@pytest.mark.parametrize(
    ("time", "refused"),
    [
        ("1969-12-31T23:59:59.999Z", True),
        ("1970-01-01T00:00:00Z", False),
        ("9998-12-31T23:59:59.999Z", False),
        ("9999-01-01T00:00:00Z", True),
    ],
)
def test_an_event_lies_between_1970_and_9998(time: str, refused: bool) -> None:
    run = b.Run(b.judge()).feed([b.record(b.declared(time=time), 0)])
    assert run.quarantined == ([("time", 0)] if refused else [])
