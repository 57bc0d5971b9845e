"""`Judge.next_deadline`: the first stamp at which a tick ends something, exactly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.core.partition import LEDGER, Partition
from tests import builders as b

IDLE_S = 3600
LIFETIME_S = 24 * 3600


def ends(run: b.Run, stamp_ms: int) -> bool:
    """Whether a tick stamped `stamp_ms` changes a state other than the ledger; nothing is applied."""
    tick = b.record({"type": "clock.tick"}, run.partition.offset + 1, 0, key=None)
    step = run.judge.judge(run.partition, [tick._replace(timestamp_ms=stamp_ms)])
    return bool(step.changes.keys() - {LEDGER})


def test_a_partition_without_sessions_owes_nothing() -> None:
    assert b.judge().next_deadline(Partition.empty()) is None


def test_an_open_session_falls_due_at_its_idle_limit_and_then_its_tombstone_at_its_lifetime() -> None:
    run = b.play_stamped([(0, b.declared()), (10, b.called(seq=1))])
    idle = run.judge.next_deadline(run.partition)
    assert idle == b.T0 + (10 + IDLE_S) * 1000
    assert not ends(run, idle - 1)
    assert ends(run, idle)
    run.feed([b.record({"type": "clock.tick"}, 2, 10 + IDLE_S, key=None)])
    assert run.judge.next_deadline(run.partition) == idle + LIFETIME_S * 1000


def test_an_undeclared_session_that_is_older_falls_due_first() -> None:
    run = b.play_stamped([(0, b.called("u", 0)), (5, b.declared("d"))])
    assert run.judge.next_deadline(run.partition) == b.T0 + IDLE_S * 1000


def test_a_clock_that_cannot_come_so_far_owes_nothing() -> None:
    judge = b.judge(idle_minutes=1e12)
    run = b.Run(judge).feed(b.stamped([(0, b.declared())]))
    assert judge.next_deadline(run.partition) is None


def test_what_is_overdue_already_falls_due_with_the_next_move_of_the_clock() -> None:
    run = b.play_stamped([(0, b.declared()), (0, b.declared("t"))])
    strict = b.Run(b.judge(idle_minutes=0.001), run.partition)
    strict.feed([b.record({"type": "clock.tick"}, 2, 0, key=None)])
    due = strict.judge.next_deadline(strict.partition)
    assert due is not None
    assert not ends(strict, due - 1)
    assert ends(strict, due)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 4000), st.sampled_from("abcd"), st.sampled_from(["declared", "called", "ended"])
        ),
        min_size=1,
        max_size=24,
    )
)
def test_a_tick_ends_something_from_the_deadline_on_and_nothing_before(
    steps: list[tuple[int, str, str]],
) -> None:
    at, seqs, values = 0, dict.fromkeys("abcd", 0), []
    for gap, session, kind in steps:
        at += gap
        make = {"declared": b.declared, "called": b.called, "ended": b.ended}[kind]
        values.append((at, make(session, seqs[session])))
        seqs[session] += 1
    run = b.play_stamped(values)
    due = run.judge.next_deadline(run.partition)
    assert due is not None
    assert not ends(run, due - 1)
    assert ends(run, due)
