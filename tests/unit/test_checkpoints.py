"""The state topic: whatever is lost, compacted or written by a ghost, the last complete checkpoint holds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import StateError
from stream.shell.checkpoints import LEDGER, Checkpointer, Owner, Recovered, StateRecord, fold, forgotten

NOTHING = Recovered({}, -1, 0, ())


def checkpoint(writer: Checkpointer, states: dict[str, bytes], offset: int) -> list[StateRecord]:
    records = writer.begin(states, offset)
    records.append(writer.seal())
    writer.done()
    return records


def compacted(log: list[StateRecord]) -> list[StateRecord]:
    last = {record.key: index for index, record in enumerate(log)}
    return [record for index, record in enumerate(log) if last[record.key] == index]


def with_ledger(states: dict[str, bytes], offset: int) -> dict[str, bytes]:
    return {**states, LEDGER: str(offset).encode()}


def test_fold_empty_partition_gives_no_state() -> None:
    assert fold([]) == NOTHING


def test_fold_complete_checkpoint_gives_its_states_and_offset() -> None:
    writer = Checkpointer(Owner(1, "a"), NOTHING)
    writer.note(["s/1", "s/2"])
    states = with_ledger({"s/1": b"one", "s/2": b"two"}, 7)
    recovered = fold(checkpoint(writer, states, 7))
    assert recovered.states == states
    assert recovered.offset == 7


@pytest.mark.parametrize("compact", [False, True])
def test_fold_half_written_checkpoint_gives_the_last_complete_one(compact: bool) -> None:
    writer = Checkpointer(Owner(1, "a"), NOTHING)
    writer.note(["s/1", "s/2"])
    first = with_ledger({"s/1": b"one", "s/2": b"two"}, 7)
    log = checkpoint(writer, first, 7)
    writer.note(["s/1", "s/2"])
    half = writer.begin(with_ledger({"s/1": b"changed"}, 9), 9)  # s/2 deleted, ledger never written
    for cut in range(len(half) + 1):
        read = log + half[:cut]
        recovered = fold(compacted(read) if compact else read)
        assert (recovered.states, recovered.offset) == (first, 7)


def test_fold_deleted_state_stays_deleted_after_cleaning() -> None:
    writer = Checkpointer(Owner(1, "a"), NOTHING)
    writer.note(["s/1", "s/2"])
    log = checkpoint(writer, with_ledger({"s/1": b"one", "s/2": b"two"}, 1), 1)
    writer.note(["s/1"])
    log += checkpoint(writer, with_ledger({"s/2": b"two"}, 2), 2)
    assert fold(log).states == with_ledger({"s/2": b"two"}, 2)
    writer.note(["s/2"])
    log += checkpoint(writer, with_ledger({"s/2": b"more"}, 3), 3)
    assert fold(compacted(log)).states == with_ledger({"s/2": b"more"}, 3)
    left = [record for record in compacted(log) if record.value is not None and record.key.endswith(b"s/1")]
    assert left == []


def test_fold_previous_owner_waking_after_takeover_changes_nothing() -> None:
    old = Checkpointer(Owner(1, "a"), NOTHING)
    old.note(["s/1"])
    log = checkpoint(old, with_ledger({"s/1": b"at5"}, 5), 5)
    new = Checkpointer(Owner(2, "b"), fold(log))
    new.note(["s/1"])
    log += checkpoint(new, with_ledger({"s/1": b"at9"}, 9), 9)
    old.note(["s/1"])
    log += checkpoint(old, with_ledger({"s/1": b"ghost"}, 30), 30)
    old.note(["s/1"])
    log += checkpoint(old, with_ledger({}, 40), 40)
    for read in (log, compacted(log)):
        assert fold(read).states == with_ledger({"s/1": b"at9"}, 9)


def test_fold_takeover_writes_all_states_and_cleans_the_old_owner() -> None:
    old = Checkpointer(Owner(1, "a"), NOTHING)
    old.note(["s/1", "s/2"])
    log = checkpoint(old, with_ledger({"s/1": b"1", "s/2": b"2"}, 5), 5)
    new = Checkpointer(Owner(2, "b"), fold(log))
    states = with_ledger({"s/1": b"1", "s/2": b"2"}, 6)
    log += checkpoint(new, states, 6)
    log += checkpoint(new, {**states, LEDGER: b"7"}, 7)
    remaining = [record for record in compacted(log) if record.value is not None]
    assert {record.key.split(b"/")[0] for record in remaining} == {Owner(2, "b").name.encode()}
    assert fold(compacted(log)).states == {**states, LEDGER: b"7"}


def test_fold_of_two_owners_of_one_epoch_takes_who_came_further() -> None:
    """A group by a new name counts its generations from one again: epochs may meet, tokens say nothing of age."""
    log: list[StateRecord] = []
    for token, offset in (("ff", 900), ("0a", 1000)):
        one = Checkpointer(Owner(51, token), Recovered({}, -1, 50, ()))
        one.note(["s/a"])
        log += one.begin({"s/a": token.encode(), LEDGER: b"l"}, offset)
        log.append(one.seal())
        one.done()
    for records in (log, [*log[2:], *log[:2]]):
        assert fold(records).offset == 1000
        assert fold(records).states["s/a"] == b"0a"


def test_fold_foreign_record_is_refused() -> None:
    with pytest.raises(StateError, match="format"):
        fold([StateRecord(b"somebody/else", (), b"value")])


def test_fold_state_of_another_version_is_surpassed_and_never_read_again() -> None:
    old = Checkpointer(Owner(7, "a"), NOTHING)
    old.note(["s/1"])
    log = [
        record._replace(headers=(("format", b"99"), *record.headers[1:]))
        for record in checkpoint(old, with_ledger({"s/1": b"of another version"}, 40), 40)
    ]
    with pytest.raises(StateError, match="another version"):
        fold(log)
    told = forgotten(log)
    assert (told.states, told.offset, told.epoch) == ({}, -1, 7)
    new = Checkpointer(Owner(told.epoch + 1, "b"), told)
    new.note(["s/1"])
    rebuilt = with_ledger({"s/1": b"ours"}, 12)
    log += new.begin(rebuilt, 12)
    with pytest.raises(StateError):  # not complete yet: whoever reads now rebuilds, too
        fold(log)
    log.append(new.seal())
    new.done()
    assert fold(log).states == rebuilt
    new.note(["s/1"])
    log += checkpoint(new, rebuilt, 13)
    assert not any(dict(record.headers).get("format") == b"99" for record in compacted(log))


def test_checkpointer_ledger_before_checkpoint_is_refused() -> None:
    with pytest.raises(StateError):
        Checkpointer(Owner(1, "a"), NOTHING).seal()


CHANGES = st.lists(
    st.dictionaries(
        st.sampled_from("abcd"), st.one_of(st.none(), st.binary(min_size=1, max_size=3)), max_size=4
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(
    changes=CHANGES,
    cuts=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6)), max_size=12),
    compact=st.booleans(),
)
def test_recovery_any_crashes_and_takeovers_equals_the_state_at_the_last_ledger(
    changes: list[dict[str, bytes | None]], cuts: list[tuple[int, int]], compact: bool
) -> None:
    """Crash in any place of any checkpoint; a new owner goes on; what it reads is exact."""
    at: dict[int, dict[str, bytes]] = {-1: {}}
    state: dict[str, bytes] = {}
    for offset, change in enumerate(changes):
        state = {k: v for k, v in {**state, **change}.items() if v is not None}
        state[LEDGER] = str(offset).encode()
        at[offset] = dict(state)
    log: list[StateRecord] = []
    crashes = list(cuts)
    for owner in range(1, 200):
        recovered = fold(compacted(log) if compact else log)
        assert recovered.states == at[recovered.offset]
        writer = Checkpointer(Owner(owner, "x"), recovered)
        after, kept = crashes.pop(0) if crashes else (10_000, 0)
        position = recovered.offset
        crashed = False
        while position < len(changes) - 1:
            position += 1
            writer.note(changes[position])
            records = writer.begin(at[position], position)
            if after == 0:
                log += records[:kept]
                crashed = True
                break
            after -= 1
            log += [*records, writer.seal()]
            writer.done()
        if not crashed:
            break
    final = fold(compacted(log) if compact else log)
    assert final.offset == len(changes) - 1
    assert final.states == at[len(changes) - 1]
