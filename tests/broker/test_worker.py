"""The worker as a process, on the embedded broker: killed, stopped, fed with garbage.

What is proved here is the order of confirming, storing and acknowledging, and that recovery reads what was
stored. Nothing about rebalances or durability of a broker is proved on the embedded one.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from models.contracts import EVENT_TYPES
from stream import bootstrap, topics
from stream.broker import EmbeddedBroker
from stream.demo import sample_messages
from stream.events import ALERTS, CASES, DECISIONS, EVENTS, QUARANTINE, REVOCATIONS, RISK, Record
from stream.replay import replay
from stream.send import Message, Sender, play
from stream.settings import Settings
from stream.watch import claims_of

pytestmark = [
    pytest.mark.broker,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    # kafka-python reads its own resources by a way that Python 3.11 deprecates and later versions keep.
    pytest.mark.filterwarnings("ignore:(read|open)_text is deprecated:DeprecationWarning"),
]

ROOT = Path(__file__).parents[2]
PARTITIONS = 3


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as running:
        yield running


@pytest.fixture
def settings(broker: EmbeddedBroker, request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    made = Settings.from_environment(  # a model or policy of the environment reaches both sides
        bootstrap=broker.bootstrap,
        prefix=f"{abs(hash(request.node.name)) % 10_000}.",
        partitions=PARTITIONS,
        state_dir=tmp_path,
        session_timeout_s=2.0,
        checkpoint_s=0.5,
    )
    topics.create(made)
    return made


class Worker:
    """A worker process with the settings given, in mode enforce."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.log = log
        environment = {k: v for k, v in os.environ.items() if not k.startswith("KAFKA_")}
        for name in ("bootstrap", "prefix", "partitions", "state_dir", "session_timeout_s", "checkpoint_s"):
            environment[f"DRIFTLINE_{name.upper()}"] = str(getattr(settings, name))
        environment["PYTHONFAULTHANDLER"] = "1"
        with log.open("ab") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "stream.cli", "worker", "--mode", "enforce"],
                env=environment,
                cwd=ROOT,
                stdout=sink,
                stderr=sink,
            )

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> tuple[int, float]:
        began = time.monotonic()
        self.process.terminate()
        code = self.process.wait(30)
        return code, time.monotonic() - began

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()


def read(settings: Settings, base: str) -> list[Record]:
    return [record for record, _ in topics.records(settings, base)]


def wait_until(condition: Callable[[], bool], worker: Worker, limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert worker.process.poll() is None, worker.log.read_text()
        if time.monotonic() > deadline:
            worker.process.send_signal(signal.SIGABRT)  # faulthandler writes where each thread is
            worker.process.wait(10)
            pytest.fail(worker.log.read_text())
        time.sleep(0.2)


def by_root(pairs: list[tuple[bytes | None, bytes | None]]) -> dict[str, list[bytes]]:
    """Values of each root session (of an alert: each case) in order, byte-identical repeats dropped."""
    found: dict[str, list[bytes]] = defaultdict(list)
    for _, value in pairs:
        document = json.loads(value or b"")
        root = document.get("root_session_id") or document["finding_info"]["uid"]
        if value is not None and value not in found[root]:
            found[root].append(value)
    return dict(found)


def replayed(settings: Settings) -> tuple[dict[str, list[tuple[bytes | None, bytes | None]]], int]:
    """What `replay` makes of an export of the input log, by topic; and how many decisions."""
    judge = bootstrap.judge(settings, partitions=PARTITIONS, mode="enforce")
    outputs: dict[str, list[tuple[bytes | None, bytes | None]]] = defaultdict(list)
    for output in replay(topics.records(settings, EVENTS), judge, bootstrap.actor(settings)):
        outputs[output.topic].append((output.key, output.value))
    return outputs, len(outputs[DECISIONS])


def live(settings: Settings, base: str) -> list[tuple[bytes | None, bytes | None]]:
    return [(record.key, record.value) for record in read(settings, base)]


def claims(pairs: list[tuple[bytes | None, bytes | None]]) -> Counter[str]:
    """Distinct claims; the signatures' bytes may differ."""
    return Counter({str(sorted(claims_of(value or b"").items())) for _, value in pairs})


def test_worker_killed_anywhere_decides_as_replay_does(settings: Settings, tmp_path: Path) -> None:
    played = sample_messages()
    chance = random.Random()
    half = chance.randrange(50, len(played) - 50)
    play(settings, played[:half], None)
    log = tmp_path / "worker.log"
    with Worker(settings, log) as first:
        wait_until(lambda: len(read(settings, DECISIONS)) >= chance.randrange(1, 15), first)
        time.sleep(chance.random() * 1.5)  # before, within or after a checkpoint
        first.kill()
    play(settings, played[half:], None)
    with Worker(settings, log) as second:
        wait_until(lambda: b"ready" in log.read_bytes().split(b"joining")[-1], second)
        time.sleep(chance.random() * 0.5)
        second.kill()
    expected, n = replayed(settings)
    with Worker(settings, log) as third:
        wait_until(lambda: len({v for _, v in live(settings, DECISIONS)}) >= n, third)
        wait_until(lambda: {v for _, v in live(settings, ALERTS)} >= {v for _, v in expected[ALERTS]}, third)
        wait_until(lambda: len(claims(live(settings, RISK))) >= len(claims(expected[RISK])), third)
        wait_until(
            lambda: len(claims(live(settings, REVOCATIONS))) >= len(claims(expected[REVOCATIONS])), third
        )
        code, _ = third.stop()
    assert code == 0, log.read_text()
    for base in (DECISIONS, CASES, ALERTS):
        assert by_root(live(settings, base)) == by_root(expected[base]), (half, base)
    for base in (REVOCATIONS, RISK):
        assert claims(live(settings, base)) == claims(expected[base]), (half, base)
    assert n > 100
    assert expected[REVOCATIONS], "the samples revoke something, or this test proves little"


def test_worker_stopped_gracefully_is_quick_and_judges_nothing_twice(
    settings: Settings, tmp_path: Path
) -> None:
    played = sample_messages()
    log = tmp_path / "worker.log"
    play(settings, played[:200], None)
    with Worker(settings, log) as first:
        wait_until(lambda: len(read(settings, DECISIONS)) >= 5, first)
        code, took_s = first.stop()
    assert code == 0, log.read_text()
    assert took_s < 8, log.read_text()
    play(settings, played[200:], None)
    _, n = replayed(settings)
    with Worker(settings, log) as second:
        wait_until(lambda: len(read(settings, DECISIONS)) >= n, second)
        code, took_s = second.stop()
    assert code == 0, log.read_text()
    assert took_s < 8, log.read_text()
    values = [value for _, value in live(settings, DECISIONS)]
    assert len(values) == len(set(values)) == n


def test_worker_garbage_goes_to_quarantine_and_judging_goes_on(settings: Settings, tmp_path: Path) -> None:
    garbage = [
        b"\xff\xfe",
        b"",
        b"[]",
        b'{"type":"no.such"}',
        b'{"type":"tool.called","time":NaN}',
        b"{" * 2000,
    ]
    assert "no.such" not in EVENT_TYPES
    with Sender(settings) as sender:
        for value in garbage:
            sender.send(Message(EVENTS, b"somebody", (), value))
        sender.send(Message(EVENTS, b"somebody", (), None))
    good = sample_messages()[:60]
    play(settings, good, None)
    _, n = replayed(settings)
    log = tmp_path / "worker.log"
    with Worker(settings, log) as worker:
        wait_until(lambda: len(read(settings, DECISIONS)) >= n, worker)
        wait_until(lambda: len(read(settings, QUARANTINE)) >= len(garbage) + 1, worker)
        assert worker.stop()[0] == 0
    refused = read(settings, QUARANTINE)
    assert Counter(record.value or b"" for record in refused) == Counter([*garbage, b""])
    headers = [dict(record.headers) for record in refused]
    assert {header["topic"] for header in headers} == {settings.topic(EVENTS).encode()}
    assert all(header["reason"] in {b"decode", b"schema", b"type"} for header in headers)
    assert b"\\xff" not in log.read_bytes()
    assert b"no.such" not in log.read_bytes()


def test_worker_group_committed_ahead_of_the_state_goes_back(settings: Settings, tmp_path: Path) -> None:
    """The state is lost, the group's commit is not: everything is judged again from the beginning."""
    from kafka import KafkaAdminClient, TopicPartition
    from kafka.structs import OffsetAndMetadata

    played = sample_messages()[:150]
    play(settings, played, None)
    _, n = replayed(settings)
    ends = Counter(record.partition for record in read(settings, EVENTS))
    name = settings.topic(EVENTS)
    admin = KafkaAdminClient(**settings.kafka())
    admin.alter_group_offsets(
        f"{settings.prefix}{settings.group}-judge",
        {TopicPartition(name, p): OffsetAndMetadata(max(0, end - 2), "", -1) for p, end in ends.items()},
    )
    admin.close()
    log = tmp_path / "worker.log"
    with Worker(settings, log) as worker:
        wait_until(lambda: len({v for _, v in live(settings, DECISIONS)}) >= n, worker)
        assert worker.stop()[0] == 0
    assert "going back" in log.read_text()


def test_worker_without_broker_says_so_with_exit_code_4(settings: Settings, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with Worker(replace(settings, bootstrap="127.0.0.1:1"), log) as worker:
        assert worker.process.wait(60) == 4
    assert "no Kafka broker answers at 127.0.0.1:1" in log.read_text()
    assert "Traceback" not in log.read_text()
