"""Rows of calls are what was scored, whatever the batches: nothing looks ahead, and what is called whole is what live had."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream.events import DECISIONS, Record, dumps
from stream.offline.call_rows import CallRows, Row
from stream.offline.files import one_log
from stream.shell.export import log_line
from tests import builders as b
from tests.laws.test_law_one import LIMITS, MORE, logs

LAW = settings(
    max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
SCORERS = {"bundled": b.RowScorer(), "r1": b.RowScorer(11), "r2": b.RowScorer(13)}


def taken(**how: Any) -> CallRows:
    return CallRows(b.judge(more=MORE, reads=True, **{**LIMITS, **how}))


def rows_of(records: list[Record], **how: Any) -> list[Row]:
    return list(taken(**how).of((record, None) for record in records))


@LAW
@given(logs())
def test_every_decision_that_was_judged_has_the_row_that_it_was_scored_by(records: list[Record]) -> None:
    rows = rows_of(records)
    run = b.Run(b.judge(more=MORE, reads=True, **LIMITS)).feed(records)
    decisions = [each for each in run.of(DECISIONS) if "refused" not in each["marks"]]
    same = ("decision_id", "call_id", "call_seq", "event_id", "tenant", "tool", "score", "verdict", "release")
    assert [[getattr(row, name) for name in same] for row in rows] == [
        [each[name] for name in same] for each in decisions
    ]
    for row, decision in zip(rows, decisions, strict=True):
        (scored,) = SCORERS[row.release].score(np.array([row.features], np.float64), np.array([row.call_seq]))
        assert row.forest_score == scored / 10_000
        assert (row.reader_log_odds is not None) == ("read" in decision)
        if row.reader_log_odds is not None:
            joint = MORE["r1"].joint
            assert joint is not None
            assert row.score == joint.scores(np.array([scored]), np.array([row.reader_log_odds]))[0] / 10_000
        else:
            assert row.score == row.forest_score


@LAW
@given(logs(), st.data())
def test_rows_of_a_prefix_are_a_prefix_of_the_rows(records: list[Record], data: st.DataObject) -> None:
    rows = rows_of(records)
    first = rows_of(records[: data.draw(st.integers(0, len(records)))])
    assert first == rows[: len(first)]


@LAW
@given(logs())
def test_rows_are_the_same_record_by_record(records: list[Record]) -> None:
    one_by_one = taken()
    rows = [row for record in records for row in one_by_one.of([(record, None)])]
    at_once = taken()
    assert rows == list(at_once.of((record, None) for record in records))
    assert at_once.told.skipped == one_by_one.told.skipped
    assert at_once.told.rows == one_by_one.told.rows


def well_behaved(rng: random.Random) -> list[dict[str, Any]]:
    """Events of trees whose hosts number them and declare each session first, interleaved."""
    queues: list[list[dict[str, Any]]] = []
    for tree in range(rng.randint(2, 4)):
        root = f"t{tree}"
        for name in [root, *(f"{root}.{n}" for n in range(rng.randint(0, 2)))]:
            more: dict[str, Any] = {"root_session_id": root}
            parent = (
                {"parent_session_id": rng.choice([root, f"{root}.0"])}
                if name not in (root, f"{root}.0")
                else {}
            )
            if name == f"{root}.0":
                parent = {"parent_session_id": root}
            events = [
                b.declared(
                    name, 0, text=rng.choice(["read notes.txt", "email ann@example.com"]), **more, **parent
                )
            ]
            for n in range(rng.randint(1, 6)):
                to = rng.choice(["ann@example.com", "desk@evil.example"])
                tool, arguments = rng.choice(
                    [("read_file", {"path": "notes.txt"}), ("send_email", {"to": to, "text": "x"})]
                )
                events.append(b.called(name, 2 * n + 1, tool, arguments, **more))
                events.append(b.returned(name, 2 * n + 2, f"{name}:{2 * n + 1}", f"tell {to}", **more))
            if rng.random() < 0.5:
                events.append(b.ended(name, len(events), **more))
                if rng.random() < 0.5:  # a call after the end
                    events.append(b.called(name, len(events), **more))
            queues.append(events)
    mixed: list[dict[str, Any]] = []
    while any(queues):
        mixed.append(rng.choice([queue for queue in queues if queue]).pop(0))
    return mixed


@LAW
@given(st.integers(0, 2**32), st.data())
def test_rows_that_say_whole_are_those_of_the_whole_log_wherever_reading_begins(
    seed: int, data: st.DataObject
) -> None:
    records = b.log(well_behaved(random.Random(seed)))
    begins = data.draw(st.integers(0, len(records)))

    def by_event(some: list[Record]) -> dict[str, Row]:
        return {row.event_id: row for row in CallRows(b.judge()).of((record, 1) for record in some)}

    full, cut = by_event(records), by_event(records[begins:])
    assert {name: row for name, row in cut.items() if row.whole} == {
        name: full[name] for name, row in cut.items() if row.whole
    }
    touched = {orjson.loads(record.value or b"")["session_id"] for record in records[:begins]}
    assert not any(row.whole for row in cut.values() if row.session_id in touched)


def test_what_was_read_before_the_range_makes_its_rows_whole_and_has_none() -> None:
    records = b.log(well_behaved(random.Random(5)))
    since = len(records) // 2
    full = list(CallRows(b.judge()).of((record, 1) for record in records))
    ranged = CallRows(b.judge(), {(records[0].topic, 0): since})
    rows = list(ranged.of((record, 1) for record in records))
    assert rows == [row for row in full if row.offset is not None and row.offset >= since]
    assert 0 < len(rows) < len(full)
    assert ranged.told.records == len(records) - since
    assert ranged.told.rows.total() == len(rows)
    torn = list(CallRows(b.judge()).of((record, 1) for record in records[since:]))
    assert [row.event_id for row in torn] == [row.event_id for row in rows]
    assert [row.features for row in torn] != [row.features for row in rows]
    assert not all(row.whole for row in torn)


def test_a_dump_gives_the_rows_of_its_topic(tmp_path: Path) -> None:
    records = b.stamped((300 + n, event) for n, event in enumerate(well_behaved(random.Random(3))))
    live = list(CallRows(b.judge()).of((record, 1) for record in records))
    dump = tmp_path / "dump.jsonl"
    dump.write_bytes(b"".join(log_line(record, 1) + b"\n" for record in records))
    placed = one_log([dump], None, None)
    assert list(CallRows(b.judge()).of((record, n) for _, record, n in placed)) == live
    plain = tmp_path / "plain.jsonl"
    plain.write_bytes(b"".join((record.value or b"") + b"\n" for record in records))
    nowhere = list(CallRows(b.judge()).of((record, n) for _, record, n in one_log([plain], None, None)))
    assert [row.features for row in nowhere] == [row.features for row in live]
    assert {(row.topic, row.partition, row.offset, row.stamp) for row in nowhere} == {(None,) * 4}


@pytest.mark.parametrize("stamp", [-1, 2**62])
def test_a_stamp_that_no_calendar_has_is_left_out(stamp: int) -> None:
    records = [
        record._replace(timestamp_ms=stamp, timestamp_type="create") for record in b.log([b.called("s", 1)])
    ]
    (row,) = CallRows(b.judge()).of((record, 1) for record in records)
    assert (row.stamp, row.offset) == (None, 0)


def test_records_without_a_row_are_counted_by_their_reason() -> None:
    events: list[Any] = [
        b.declared(),
        b.called("s", 1),
        b.called("s", 1),
        b"{",
        {"type": "no.such"},
        b.called("s", 2, arguments_seen=3),
        b.ended("s", 3),
        b.returned("s", 4, "s:1"),
        b.called("s", 5),
        b.called("other", 7, tenant="globex"),
    ]
    made = CallRows(b.judge())
    rows = list(made.of((record, None) for record in [*b.log(events), b.record(dumps(events[1]), 1)]))
    assert [row.event_id for row in rows] == ["s/1", "s/5", "other/7"]
    assert [row.whole for row in rows] == [True, True, False]
    told = made.told.document()
    assert told["skipped"] == {
        "after_end": 1,
        "duplicate": 1,
        "quarantined: decode": 1,
        "quarantined: schema": 1,
        "quarantined: type": 1,
        "repeated": 1,
    }
    assert told["records"] == 11
    assert {
        tenant: (each["rows"], each["sessions"], each["not_whole"])
        for tenant, each in told["tenants"].items()
    } == {
        "default": (2, 1, 0),
        "globex": (1, 1, 1),
    }
