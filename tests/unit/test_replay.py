"""Replay checks each record against the partitions of its own log, and leaves the judge as it was handed in."""

from __future__ import annotations

from typing import Any

import pytest

from stream.events import DECISIONS, QUARANTINE, Record, murmur2_partition
from stream.offline.replay import replay
from tests import builders as b

FEW, MANY = 4, 12


def root_apart() -> str:
    """A root session whose partition of `FEW` is another than its partition of `MANY`."""
    return next(
        f"s{n}"
        for n in range(100)
        if murmur2_partition(b"s%d" % n, FEW) != murmur2_partition(b"s%d" % n, MANY)
    )


def record(session: str, offset: int, partitions: int | None) -> tuple[Record, int | None]:
    number = 0 if partitions is None else murmur2_partition(session.encode(), partitions)
    made = b.record(b.called(session, offset), offset, key=session)._replace(partition=number)
    return made, partitions


def outcome(outputs: Any) -> list[tuple[str, str]]:
    """Each decision's call, each refusal's reason and offset, in order."""
    told = []
    for output in outputs:
        headers = {name: value.decode() for name, value in output.headers}
        if output.topic == QUARANTINE:
            told.append((headers["reason"], headers["offset"]))
        elif output.topic == DECISIONS:
            told.append(("decided", output.key.decode()))
    return told


@pytest.mark.parametrize("batch", [1, 2, 512])
@pytest.mark.parametrize("after", [None, MANY])
def test_a_log_with_another_number_of_partitions_changes_nothing_for_records_before_it(
    batch: int, after: int | None
) -> None:
    root = root_apart()
    first, second = record(root, 0, FEW), record("other", 1, after)
    assert outcome(replay([first, second], b.judge(), batch=batch)) == [
        ("decided", root),
        ("decided", "other"),
    ]


@pytest.mark.parametrize("batch", [1, 2, 512])
def test_records_of_one_place_are_checked_by_the_log_that_each_comes_from(batch: int) -> None:
    root = root_apart()
    right, number = record(root, 0, FEW)
    of_many = right._replace(value=b.record(b.called(root, 1), 1).value, offset=1)
    again, _ = record(root, 2, FEW)
    log = [(right, number), (of_many, MANY), (again._replace(offset=2), FEW)]
    assert outcome(replay(log, b.judge(), batch=batch)) == [
        ("decided", root),
        ("partition", "1"),
        ("decided", root),
    ]


@pytest.mark.parametrize("partitions", [None, FEW, MANY])
def test_a_judge_that_others_hold_is_as_it_was_after_a_replay(partitions: int | None) -> None:
    judge = b.judge()
    before = dict(vars(judge))
    list(replay([record("s", 0, partitions)], judge))
    held = {name: value for name, value in vars(judge).items() if not name.startswith("_")}
    assert held == {name: before[name] for name in held}
    run = b.Run(judge, n_partitions=MANY)
    wrong = b.record(b.called("s", 0), 0)._replace(partition=(murmur2_partition(b"s", MANY) + 1) % MANY)
    assert run.feed([wrong]).quarantined == [("partition", 0)]
