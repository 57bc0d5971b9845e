"""Recorded AgentDojo sessions through the embedded broker and a worker that is killed in the middle.

``make check-recorded`` plays all of them (73,328 calls); the suite plays DRIFTLINE_SESSIONS of them (400).
"""

from __future__ import annotations

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
from tests.broker.test_worker import Worker, by_root, live

pytestmark = [
    pytest.mark.broker,
    pytest.mark.slow,
    pytest.mark.recorded,
    pytest.mark.timeout(1800),
]


def count(settings: Settings, base: str) -> int:
    """Records on a topic, by its offsets."""
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(**settings.kafka())
    try:
        name = settings.topic(base)
        places = [TopicPartition(name, n) for n in consumer.partitions_for_topic(name) or ()]
        return sum(consumer.end_offsets(places).values())
    finally:
        consumer.close()


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
            bootstrap=broker.bootstrap, prefix="rec.", partitions=3, state_dir=tmp_path,
            session_timeout_s=2.0, checkpoint_s=0.5,
        )
        topics.create(settings)
        log = tmp_path / "worker.log"
        play(settings, played[: len(played) // 2], None)
        with Worker(settings, log) as first:
            deadline = time.monotonic() + 900
            while count(settings, DECISIONS) < calls // 5:
                assert first.process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
            first.kill()
        play(settings, played[len(played) // 2 :], None)
        with Worker(settings, log) as second:
            deadline = time.monotonic() + 1500
            while count(settings, DECISIONS) < calls:
                assert second.process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.5)
            # Repeats after the kill may make the topic longer than the calls: wait until it is quiet.
            before = -1
            while (now := count(settings, DECISIONS)) != before:
                before = now
                time.sleep(3)
            assert second.stop()[0] == 0, log.read_text()
        got = by_root(live(settings, DECISIONS))
    judge = bootstrap.judge(settings, mode="enforce")
    records = (pair for pair in read_records(path) if pair[0].key in chosen)
    expected: dict[bytes | None, list[bytes | None]] = {}
    for output in replay(records, judge):
        if output.topic == DECISIONS:
            expected.setdefault(output.key, []).append(output.value)
    assert sum(map(len, expected.values())) == calls
    different = [root for root in expected if got.get(root) != expected[root]]
    assert not different, f"{len(different)} sessions differ, first {different[0]!r}"
    assert set(got) == set(expected)
    assert len(list(itertools.chain(*got.values()))) == calls
