"""A backtest says what the judge says of the same log by itself, under each combination, however the log is cut or shared out."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.contracts import GRAVITY
from stream.core.judge import Judge
from stream.core.releases import Release
from stream.events import Record, dumps
from stream.offline.backtest import Backtest
from stream.offline.backtest_told import Told
from stream.offline.files import read_records
from stream.offline.shares import of_files, overflow
from stream.outbound.change import RANK
from tests import builders as b
from tests.laws.test_law_one import LIMITS, MORE, logs, steps

LAW = settings(
    max_examples=50, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


@cache
def releases(limits: tuple[tuple[str, Any], ...]) -> tuple[Release, Release]:
    """Two combinations: another scorer, other levels, a reader, which is unpacked once; no judge changes a release."""
    how = dict(limits)
    strict = b.release("strict", b.RowScorer(11), **how)
    return strict, b.release("lenient", b.RowScorer(), b.Levels(2000, 5000, 8000), reads=True, **how)


def judges(**limits: Any) -> list[Judge]:
    """New judges of both combinations."""
    return [b.judge(release, more=MORE) for release in releases(tuple(sorted(limits.items())))]


def told_of(records: Sequence[Record], judged_by: Sequence[Judge], cut: int | None = None) -> dict[str, Any]:
    test = Backtest(judged_by, {}, most_flips=1000)
    for part in (records[:cut], records[cut:]) if cut is not None else (records,):
        test.take((record, None) for record in part)
    return test.close().document()


def by_session(run: b.Run) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """By session the decisions of a run, refused calls apart."""
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for each in run.decisions:
        if "refused" not in each["marks"]:
            found[each["tenant"], each["root_session_id"], each["session_id"]].append(each)
    return found


@LAW
@given(logs())
def test_each_combination_is_judged_as_if_it_were_alone(records: list[Record]) -> None:
    told = told_of(records, judges())
    runs = [b.Run(judge).feed(records, 7) for judge in judges()]  # each has the log to itself
    sides = [by_session(run) for run in runs]
    gravest = [
        {key: max(GRAVITY.index(each["verdict"]) for each in said) for key, said in side.items()}
        for side in sides
    ]
    flipped = {
        (each["tenant"], each["root_session_id"], each["session_id"]): each
        for each in told["candidates"][0]["flips"]
    }
    for key in sides[0].keys() | sides[1].keys():
        before, after = (GRAVITY[side.get(key, 0)] for side in gravest)
        if before != after:
            assert (flipped[key]["before"]["verdict"], flipped[key]["after"]["verdict"]) == (before, after)
            first = next(
                (one, other)
                for one, other in zip(sides[0][key], sides[1][key], strict=True)
                if one["verdict"] != other["verdict"]
            )
            parted = flipped[key]["parted"]
            assert parted["call_seq"] == first[0]["call_seq"]
            assert [parted[side]["score"] for side in ("before", "after")] == [
                each["score"] for each in first
            ]
            assert parted["because"]
        elif key in flipped:
            assert flipped[key]["before"]["case"] != flipped[key]["after"]["case"]
    assert told["calls"] == sum(map(len, sides[0].values()))
    for run, combination in zip(runs, told["combinations"], strict=True):
        alerts = [each for each in run.cases if each["kind"] == "standing" and each["finding"] is not None]
        alerts = [each for each in alerts if RANK[each["after"]] >= RANK["alert"]]
        assert round(combination["alerts_a_day"] * told["days"]) == len(alerts)


@LAW
@given(logs(), st.data())
def test_where_batches_end_changes_nothing(records: list[Record], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(records)))
    assert told_of(records, judges(**LIMITS), cut) == told_of(records, judges(**LIMITS))


def shared(path: Path, n: int, judged_by: Sequence[Judge]) -> tuple[dict[str, Any], bool]:
    """A file judged in parts, and whether that may be wrong."""
    limits = [judge.releases[""].policy.limits for judge in judged_by]
    told, peaks = Told(len(judged_by), 1000), []
    for part in of_files([path], None, n, limits, print):
        test = Backtest(judged_by, {}, most_flips=1000)
        test.take(part.records(lambda _: None))
        told.merge(test.close())
        peaks.append(test.peaks())
    return told.document(), overflow(peaks, limits)


def with_loans(values: list[Any], rng: random.Random) -> list[Any]:
    """The same, with credentials that several sessions hold or use, some of them issued for the task."""
    made = []
    for value in values:
        if isinstance(value, dict) and rng.random() < 0.5:
            held = {
                **b.CREDENTIAL,
                "value": rng.choice(["one", "two"]),
                "issued_for_task": rng.random() < 0.7,
            }
            if value["type"] == "session.declared":
                value = {**value, "credentials": [held]}
            elif value["type"] == "tool.called":
                value = {**value, "credential": held}
        made.append(value)
    return made


def written(folder: str, values: list[Any]) -> Path:
    path = Path(folder) / "events.jsonl"
    lines = [value if isinstance(value, bytes) else dumps(value) for value in values]
    path.write_bytes(b"".join(line.replace(b"\n", b" ") + b"\n" for line in lines))
    return path


@pytest.mark.slow
@LAW
@given(st.lists(steps(), min_size=2, max_size=4), st.integers(2, 4), st.integers(0, 2**32))
def test_a_plain_file_in_parts_is_judged_as_the_whole_or_says_that_it_may_not_be(
    several: list[list[Any]], n: int, seed: int
) -> None:
    rng = random.Random(seed)
    values = [
        {
            **value,
            "root_session_id": f"{group}{value['root_session_id']}",
            "session_id": f"{group}{value['session_id']}",
        }
        if isinstance(value, dict) and "session_id" in value
        else value
        for group, found in enumerate(several)
        for value in found
    ]
    with TemporaryDirectory() as folder:
        path = written(folder, with_loans(values, rng))
        records = [record for record, _ in read_records(path)]
        parts, near = shared(path, n, judges())
        assert not near
        assert parts == told_of(records, judges())
        parts, near = shared(path, n, judges(open_sessions=3, tombstones=2))
        assert near or parts == told_of(records, judges(open_sessions=3, tombstones=2))
