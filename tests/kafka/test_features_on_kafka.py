"""`driftline features` where brokers stamp: a range by time over several partitions, and a run that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stream.events import DECISIONS, EVENTS, rfc3339
from stream.offline import parquet
from stream.settings import Settings
from stream.shell.send import play
from tests.broker.test_features import assert_decided, assert_scored, command, shuffled
from tests.worker import ROOT, Worker, live, read, replayed, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_range_by_time_over_several_partitions_is_what_live_decided(
    on_kafka: Settings, tmp_path: Path
) -> None:
    settings = on_kafka
    played = shuffled(6, 60)
    with Worker(settings, tmp_path / "worker.log") as worker:
        play(settings, played[: len(played) // 2], None)
        time.sleep(0.05)
        middle = max(record.timestamp_ms for record in read(settings, EVENTS)) + 1
        play(settings, played[len(played) // 2 :], None)
        _, n = replayed(settings)
        wait_until(lambda: len({value for _, value in live(settings, DECISIONS)}) >= n, worker)
        assert worker.stop()[0] == 0
    decisions = [json.loads(value or b"") for _, value in live(settings, DECISIONS)]
    stamps = {(r.partition, r.offset): r.timestamp_ms for r in read(settings, EVENTS)}

    def rows(name: str, *arguments: str) -> list[dict[str, Any]]:
        command(settings, tmp_path, "features", "--out", name, "--mode", "enforce", *arguments)
        return list(parquet.read(tmp_path / name).to_pylist())

    whole = rows("all")
    table = parquet.read(tmp_path / "all")
    assert_decided(table, decisions)
    assert_scored(table)
    assert len({row["partition"] for row in whole}) == 3
    assert [stamps[row["partition"], row["offset"]] for row in whole] == [
        round(row["stamp"].timestamp() * 1000) for row in whole
    ]

    def lies(row: dict[str, Any], before: bool) -> bool:
        return (stamps[row["partition"], row["offset"]] < middle) == before

    moment = rfc3339(middle)
    first, second = rows("first", "--to", moment), rows("second", "--from", moment)
    assert first == [row for row in whole if lies(row, True)]
    assert second == [row for row in whole if lies(row, False)]
    assert first
    assert second
    assert {row["session_id"] for row in first} & {row["session_id"] for row in second}
    assert_decided(
        parquet.read(tmp_path / "second"),
        [d for d in decisions if d["event_id"] in {r["event_id"] for r in second}],
    )


def test_a_run_that_was_killed_leaves_nothing_whole_and_is_run_again_with_the_same_result(
    on_kafka: Settings, tmp_path: Path
) -> None:
    play(on_kafka, shuffled(7, 150), None)
    environment = {
        **{
            name: value for name, value in os.environ.items() if not name.startswith(("DRIFTLINE_", "KAFKA_"))
        },
        "DRIFTLINE_BOOTSTRAP": on_kafka.bootstrap,
        "DRIFTLINE_PREFIX": on_kafka.prefix,
        "PYTHONPATH": str(ROOT),
    }
    arguments = [sys.executable, "-m", "stream.cli.main", "features", "--out"]
    killed = subprocess.Popen([*arguments, "rows"], cwd=tmp_path, env=environment)
    partial = tmp_path / f"rows{parquet.PARTIAL}"
    deadline = time.monotonic() + 60
    while not (partial / "part-00001.parquet.partial").exists():  # the first partition is done
        assert time.monotonic() < deadline
        assert killed.poll() is None
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert partial.exists()
    assert not (tmp_path / "rows").exists()
    for name in ("rows", "other"):
        subprocess.run(
            [*arguments, name], cwd=tmp_path, env=environment, check=True, stdout=subprocess.DEVNULL
        )
    assert sorted(each.name for each in tmp_path.iterdir()) == ["other", "rows"]
    for part in (tmp_path / "rows").iterdir():
        assert (tmp_path / "other" / part.name).read_bytes() == part.read_bytes()
