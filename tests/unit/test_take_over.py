"""What a new owner of a partition makes of what it finds: damaged states, and records that have long waited."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from models import session as sessions
from models.errors import StateError
from stream.core.partition import LEDGER, Ledger, Partition
from stream.shell.checkpoints import Checkpointer, Owner, Recovered, StateRecord
from stream.shell.metrics import Measures
from stream.shell.recovery import restored
from stream.shell.stage import Stage

PLACE = ("agent.events.v1", 3)


def stored(ledger: bytes, **states: bytes) -> list[StateRecord]:
    """What the state topic holds of a partition whose owner has written one checkpoint."""
    made = Checkpointer(Owner(7, "a1"), Recovered({}, -1, 0, ()))
    made.note(states)
    return [*made.begin({**states, LEDGER: ledger}, 41), made.seal()]


def test_a_sound_state_is_taken_over() -> None:
    recovered, partition = restored(PLACE, stored(msgspec.msgpack.encode(Ledger(offset=41))))
    assert (recovered.offset, partition.offset, recovered.epoch) == (41, 41, 7)


@pytest.mark.parametrize(
    "ledger",
    [b"", b"\xff\xff", b"\x93\x01", msgspec.msgpack.encode({"offset": 3}), msgspec.msgpack.encode([99, 41])],
    ids=["empty", "no msgpack", "cut", "a map", "another version"],
)
def test_a_ledger_that_cannot_be_read_is_rebuilt_from_the_input(
    ledger: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    recovered, partition = restored(PLACE, stored(ledger))
    assert partition.offset == -1
    assert not partition.states
    # The next owner must surpass the one that wrote it, or it would be passed by for ever.
    assert (recovered.offset, recovered.epoch) == (-1, 7)
    assert "rebuilding from the input log" in caplog.text


def test_a_session_of_an_older_format_is_rebuilt_from_the_input() -> None:
    old = msgspec.msgpack.encode([sessions.VERSION - 1, "t", "r", "s"])
    with pytest.raises(StateError):
        sessions.place(old)
    sound = msgspec.msgpack.encode(Ledger(offset=41))
    recovered, partition = restored(PLACE, stored(sound, **{"s/0011": old}))
    assert (recovered.offset, recovered.epoch, partition.offset) == (-1, 7, -1)


def test_a_change_never_brings_in_a_ledger_that_cannot_be_read() -> None:
    with pytest.raises(StateError, match="version 99"):
        Partition.empty().apply({LEDGER: msgspec.msgpack.encode([99, 41])})


def watched(lag: int) -> Any:
    """As much of a stage as its gauges look at."""
    stage = SimpleNamespace(
        app=SimpleNamespace(consumer=SimpleNamespace(current=SimpleNamespace(places=[PLACE]))),
        settled=True,
        lag=lambda place: stage.waiting,
        waiting=lag,
        measures=Measures(),
        _waiting_since={},
        _stamps_ms={},
        _taken_at=0.0,
    )
    Stage.positioned(stage, {PLACE: 42})
    return stage


def undecided_s(stage: Any) -> float:
    Stage.observe(stage)
    found = stage.measures.registry.get_sample_value(
        "driftline_oldest_undecided_seconds", {"topic": PLACE[0], "partition": str(PLACE[1])}
    )
    assert found is not None
    return float(found)


def test_a_backlog_is_as_old_as_the_last_record_handled_before_it_was_taken_over() -> None:
    stage = watched(lag=5000)
    stage._stamps_ms[PLACE] = round((time.time() - 36_000) * 1000)
    assert undecided_s(stage) == pytest.approx(36_000, abs=5)


def test_without_a_record_handled_a_backlog_has_waited_since_the_take_over() -> None:
    stage = watched(lag=5000)
    stage._taken_at -= 90
    assert undecided_s(stage) == pytest.approx(90, abs=5)


def test_what_comes_to_a_partition_that_was_long_quiet_is_young() -> None:
    stage = watched(lag=0)
    stage._stamps_ms[PLACE] = round((time.time() - 36_000) * 1000)
    assert undecided_s(stage) == 0.0
    stage.waiting = 1
    assert undecided_s(stage) < 5
