"""The worker as a process: killed, stopped, fed with garbage, on the embedded broker and on Apache Kafka.

Rebalances, zombies and brokers that die are in `tests/chaos`.
"""

from __future__ import annotations

import random
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from models.contracts import EVENT_TYPES
from stream.events import ALERTS, CASES, DECISIONS, ENDS, EVENTS, QUARANTINE, REVOCATIONS, RISK, dumps
from stream.settings import Settings
from stream.shell import topics
from stream.shell.broker import EmbeddedBroker
from stream.shell.demo import sample_messages
from stream.shell.send import Message, Sender, play
from tests import builders as b
from tests.worker import Worker, by_root, claims, live, read, replayed, wait_until

pytestmark = [
    pytest.mark.broker,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    # kafka-python reads its own resources by a way that Python 3.11 deprecates and later versions keep.
    pytest.mark.filterwarnings("ignore:(read|open)_text is deprecated:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as running:
        yield running


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    if request.param == "kafka":
        return cast(Settings, request.getfixturevalue("on_kafka"))
    made = Settings.from_environment(  # a model or policy of the environment reaches both sides
        bootstrap=request.getfixturevalue("broker").bootstrap,
        prefix=f"t{uuid.uuid4().hex[:8]}.",
        partitions=3,
        state_dir=tmp_path,
        session_timeout_s=2.0,
        checkpoint_s=0.5,
    )
    topics.create(made)
    return made


def test_worker_killed_anywhere_decides_as_replay_does(settings: Settings, tmp_path: Path) -> None:
    played = sample_messages()
    chance = random.Random(1)  # where in a checkpoint each kill falls, the machine decides
    half = chance.randrange(50, len(played) - 50)
    play(settings, played[:half], None)
    log = tmp_path / "worker.log"
    with Worker(settings, log) as first:
        wait_until(lambda: len(read(settings, DECISIONS)) >= chance.randrange(1, 15), first)
        time.sleep(chance.random() * 1.5)  # before, within or after a checkpoint
        first.kill()
    play(settings, played[half:], None)
    with Worker(settings, log) as second:
        wait_until(second.ready, second)
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
        wait_until(lambda: len(claims(live(settings, ENDS))) >= len(claims(expected[ENDS])), third)
        wait_until(third.ready, third)  # where the second did all, SIGTERM would find no handler yet
        code, _ = third.stop()
    assert code == 0, log.read_text()
    for base in (DECISIONS, CASES, ALERTS):
        assert by_root(live(settings, base)) == by_root(expected[base]), (half, base)
    for base in (REVOCATIONS, RISK, ENDS):
        assert claims(live(settings, base)) == claims(expected[base]), (half, base)
    assert n > 100
    assert expected[REVOCATIONS], "the samples revoke something, or this test proves little"
    assert expected[ENDS], "and an end of theirs releases something"


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
    from kafka.errors import CoordinatorNotAvailableError
    from kafka.structs import OffsetAndMetadata

    played = sample_messages()[:150]
    play(settings, played, None)
    _, n = replayed(settings)
    ends = Counter(record.partition for record in read(settings, EVENTS))
    name = settings.topic(EVENTS)
    group = f"{settings.prefix}{settings.group}-judge"
    ahead = {TopicPartition(name, p): OffsetAndMetadata(max(0, end - 2), "", -1) for p, end in ends.items()}
    admin = KafkaAdminClient(**settings.kafka())

    def committed() -> bool:
        with suppress(CoordinatorNotAvailableError):  # a new cluster makes the coordinators' topic first
            admin.alter_group_offsets(group, ahead)
            return True
        return False

    assert any(committed() or time.sleep(2) for _ in range(10))
    admin.close()
    log = tmp_path / "worker.log"
    with Worker(settings, log) as worker:
        wait_until(lambda: len({v for _, v in live(settings, DECISIONS)}) >= n, worker)
        assert worker.stop()[0] == 0


def test_worker_without_broker_says_so_with_exit_code_4(settings: Settings, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with Worker(replace(settings, bootstrap="127.0.0.1:1"), log) as worker:
        assert worker.process.wait(60) == 4
    assert "no Kafka broker answers at 127.0.0.1:1" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_worker_warns_once_of_a_secret_that_a_host_gives_as_a_reference_and_never_shows_it(
    settings: Settings, tmp_path: Path
) -> None:
    secret = "gh" + "p_" + "a1B2" * 9
    held = {"broker": "github", "kind": "token", "value": secret}
    events = [
        each
        for name in ("s", "t")
        for each in (b.declared(name, credentials=[held]), b.called(name, 1, credential=held))
    ]
    log = tmp_path / "worker.log"
    play(settings, [Message(EVENTS, each["session_id"].encode(), (), dumps(each)) for each in events], None)
    with Worker(settings, log) as worker:
        wait_until(lambda: len(read(settings, DECISIONS)) >= 2, worker)
        code, _ = worker.stop()
    told = log.read_text()
    assert code == 0, told
    assert told.count("names a secret as its credential of broker 'github', kind 'token'") == 1
    assert secret not in told + "".join(value.decode() for _, value in live(settings, DECISIONS))


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.05, 0.2])
def test_a_worker_that_is_stopped_while_it_joins_has_not_failed(
    settings: Settings, tmp_path: Path, after_s: float
) -> None:
    log = tmp_path / "worker.log"
    with Worker(settings, log) as worker:
        while b"joining as" not in log.read_bytes():
            assert worker.process.poll() is None, log.read_text()
            time.sleep(0.005)
        time.sleep(after_s)
        assert worker.stop()[0] == 0, log.read_text()
