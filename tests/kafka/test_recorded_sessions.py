"""Recorded AgentDojo sessions through Apache Kafka and a worker that is killed in the middle.

Decisions equal what ``driftline replay`` prints for what ``driftline topics dump`` exported, byte for byte.
``make check-recorded`` plays all of them (73,328 calls), a build a tenth; the suite plays DRIFTLINE_SESSIONS of them
(2,000).
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

from stream.events import CASES, DECISIONS
from stream.offline.files import read_records
from stream.offline.replay import replay
from stream.settings import Settings
from stream.shell.send import messages, play
from tests.conftest import REQUIRED
from tests.worker import ROOT, Worker, live

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.recorded, pytest.mark.timeout(1800)]


class Tally:
    """Different decisions so far, reading on where it stopped."""

    def __init__(self, settings: Settings) -> None:
        from kafka import KafkaConsumer, TopicPartition

        self.consumer = KafkaConsumer(**settings.kafka(), group_id=None, auto_offset_reset="earliest")
        name = settings.topic(DECISIONS)
        places = [TopicPartition(name, n) for n in range(settings.partitions)]
        self.consumer.assign(places)
        self.consumer.seek_to_beginning(*places)
        self.values: set[bytes] = set()

    def now(self) -> int:
        """How many."""
        for batch in self.consumer.poll(timeout_ms=300, max_records=5000).values():
            self.values |= {hashlib.sha256(item.value or b"").digest() for item in batch}
        return len(self.values)


def grouped(pairs: list[tuple[bytes | None, bytes | None]]) -> dict[bytes | None, list[bytes | None]]:
    """Values by key in order, byte-identical repeats dropped."""
    found: dict[bytes | None, dict[bytes | None, None]] = defaultdict(dict)
    for key, value in pairs:
        found[key].setdefault(value)
    return {key: list(values) for key, values in found.items()}


def test_recorded_sessions_survive_a_kill_and_equal_the_replay_of_the_dumped_log(
    recorded: Path, on_kafka: Settings, tmp_path: Path
) -> None:
    settings = on_kafka
    played = list(messages(recorded / "agentdojo.jsonl.gz"))
    wanted = os.environ.get("DRIFTLINE_SESSIONS", "all" if REQUIRED else "2000")
    if wanted != "all":
        chosen = set(list(dict.fromkeys(m.key for m in played))[: int(wanted)])
        played = [m for m in played if m.key in chosen]
    calls = sum(b'"type":"tool.called"' in (m.value or b"") for m in played)
    log = tmp_path / "worker.log"
    tally = Tally(settings)

    def await_decisions(n: int, worker: Worker) -> None:
        deadline = time.monotonic() + 60 + calls / 50
        while tally.now() < n:
            assert worker.process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, f"{tally.now()} of {n}: {log.read_text()}"

    play(settings, played[: len(played) // 2], None)
    with Worker(settings, log) as first:
        await_decisions(calls // 5, first)
        first.kill()
    play(settings, played[len(played) // 2 :], None)
    with Worker(settings, log) as second:
        await_decisions(calls, second)
        assert second.stop()[0] == 0, log.read_text()
    tally.consumer.close()

    dump = tmp_path / "log.jsonl"
    options = ["--bootstrap", settings.bootstrap, "--prefix", settings.prefix]
    with dump.open("wb") as sink:
        command = [sys.executable, "-m", "stream.cli.main", "topics", "dump", *options]
        subprocess.run(command, cwd=ROOT, stdout=sink, check=True)
    from stream import bootstrap

    judge = bootstrap.judge(settings, mode="enforce")
    expected: dict[str, list[tuple[bytes | None, bytes | None]]] = {DECISIONS: [], CASES: []}
    for output in replay(read_records(dump), judge):
        if output.topic in expected:
            expected[output.topic].append((output.key, output.value))
    assert len(expected[DECISIONS]) == calls
    for base in (DECISIONS, CASES):
        got, told = grouped(live(settings, base)), grouped(expected[base])
        assert got.keys() == told.keys()
        different = [key for key in told if sorted(got[key], key=bytes) != sorted(told[key], key=bytes)]
        if base == DECISIONS:  # keyed by session: their order too
            different = [key for key in told if got[key] != told[key]]
        assert not different, f"{len(different)} keys of {base} differ, first {different[0]!r}"
