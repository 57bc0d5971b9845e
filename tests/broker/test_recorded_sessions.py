"""Recorded AgentDojo sessions through the embedded broker and a worker that is killed in the middle.

``make check-recorded`` plays all of them (73,328 calls); the suite plays DRIFTLINE_SESSIONS of them (400).
"""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from pathlib import Path

import pytest

from stream import bootstrap, topics
from stream.broker import EmbeddedBroker
from stream.events import DECISIONS
from stream.replay import read_records, replay
from stream.send import messages, play
from stream.settings import Settings
from tests.worker import Worker, live

pytestmark = [
    pytest.mark.broker,
    pytest.mark.slow,
    pytest.mark.recorded,
    pytest.mark.timeout(1800),
]


class Tally:
    """Records read so far from the decisions topic, reading on where it stopped.

    Offsets are not asked for: the embedded broker's end offset can lie before the end.
    """

    def __init__(self, settings: Settings) -> None:
        from kafka import KafkaConsumer, TopicPartition

        self.consumer = KafkaConsumer(**settings.kafka(), group_id=None, auto_offset_reset="earliest")
        name = settings.topic(DECISIONS)
        places = [TopicPartition(name, n) for n in range(settings.partitions)]
        self.consumer.assign(places)
        self.consumer.seek_to_beginning(*places)
        self.values: set[bytes] = set()

    def now(self) -> int:
        """Different decisions so far."""
        for batch in self.consumer.poll(timeout_ms=300).values():
            self.values |= {hashlib.sha256(item.value or b"").digest() for item in batch}
        return len(self.values)


def test_recorded_sessions_survive_a_kill_and_equal_the_replay_of_their_file(
    recorded: Path, tmp_path: Path
) -> None:
    path = recorded / "agentdojo.jsonl.gz"
    wanted = os.environ.get("DRIFTLINE_SESSIONS", "400")
    sessions = None if wanted == "all" else int(wanted)
    played = list(messages(path))
    roots = list(dict.fromkeys(m.key for m in played))[:sessions]
    chosen = set(roots)
    played = [m for m in played if m.key in chosen]
    calls = sum(b'"type":"tool.called"' in (m.value or b"") for m in played)
    with EmbeddedBroker() as broker:
        settings = Settings(
            bootstrap=broker.bootstrap,
            prefix="rec.",
            partitions=3,
            state_dir=tmp_path,
            session_timeout_s=2.0,
            checkpoint_s=0.5,
        )
        topics.create(settings)
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
        got: dict[bytes | None, list[bytes | None]] = {}
        for key, value in live(settings, DECISIONS):
            values = got.setdefault(key, [])
            if value not in values:  # what was decided again after the kill, to the same bytes
                values.append(value)
    judge = bootstrap.judge(settings, mode="enforce")
    records = (pair for pair in read_records(path) if pair[0].key in chosen)
    expected: dict[bytes | None, list[bytes | None]] = {}
    for output in replay(records, judge):
        if output.topic == DECISIONS:
            expected.setdefault(output.key, []).append(output.value)
    assert sum(map(len, expected.values())) == calls
    different = [root for root in expected if got.get(root) != expected[root]]
    if different:
        pairs = zip(got[different[0]], expected[different[0]], strict=False)
        live_value, replay_value = next((a, b) for a, b in pairs if a != b)
        raise AssertionError(f"{len(different)} sessions differ, first: {live_value!r} != {replay_value!r}")
    assert set(got) == set(expected)
    assert len(list(itertools.chain(*got.values()))) == calls
