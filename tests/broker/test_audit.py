"""Audit on a bus: the story that stands there is that of its dump, and what is done to its decisions is found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic

from stream.events import (
    ALERTS,
    CASES,
    DECISIONS,
    EVENTS,
    FEEDBACK,
    OUTCOMES,
    REVOCATIONS,
    RISK,
    Record,
    dumps,
)
from stream.offline.files import read_records
from stream.settings import Settings
from stream.shell import export, topics
from stream.shell.broker import EmbeddedBroker
from stream.shell.demo import SAMPLES
from stream.shell.outputs import claims_of
from stream.shell.send import Message, Sender
from tests.unit.test_trail import unsigned

ROOT = Path(__file__).parents[2]
SESSION, TENANT = "finance-invoice-iban-swap", "acme"
PLAYED = ("19-finance-invoice-iban-swap", "07-support-ignored-injection", "20-code-issue-leaks-secret")
READY_S = 90

pytestmark = pytest.mark.broker


class World:
    """A bus on which samples were judged, and commands run on it."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        self.settings, self.directory = settings, directory
        policy = directory / "policy.yaml"
        text = (ROOT / "stream" / "policy.yaml").read_text(encoding="utf-8")
        policy.write_text(text.replace("\nmode: shadow", "\nmode: enforce"), encoding="utf-8")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DRIFTLINE_", "KAFKA_"))}
        self.environment = kept | {
            "DRIFTLINE_BOOTSTRAP": settings.bootstrap,
            "DRIFTLINE_PARTITIONS": str(settings.partitions),
            "DRIFTLINE_STATE_DIR": str(directory / "state"),
            "DRIFTLINE_SESSION_TIMEOUT_S": "6",
            "DRIFTLINE_POLICY_PATH": str(policy),
            "PYTHONPATH": str(ROOT),
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "stream.cli.main", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=300,
            check=False,
        )

    def told(self, *arguments: str, rc: int = 0) -> str:
        done = self.run(*arguments)
        assert done.returncode == rc, done.stdout + done.stderr
        return done.stdout

    def dumped(self, topic: str) -> Path:
        file = self.directory / f"{topic}.jsonl"
        file.write_text(self.told("topics", "dump", topic), encoding="utf-8")
        return file

    def judge(self) -> None:
        """Play the samples, and let a worker judge them until everything is decided."""
        calls = 0
        with Sender(self.settings) as sender:
            for name in PLAYED:
                for record, _ in read_records(SAMPLES / f"{name}.jsonl"):
                    sender.send(Message(EVENTS, record.key or b"", (), record.value or b""))
                    calls += b'"tool.called"' in (record.value or b"")
        process = subprocess.Popen(
            [sys.executable, "-m", "stream.cli.main", "worker"],
            env=self.environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            ended = threading.Event()
            for _ in range(READY_S):
                if self.count(DECISIONS) >= calls and self.count(RISK) >= 3:
                    break
                assert process.poll() is None
                ended.wait(1)
            assert self.count(DECISIONS) == calls
        finally:
            process.terminate()
            process.communicate(timeout=60)

    def count(self, topic: str) -> int:
        return sum(1 for _ in export.records(self.settings, topic))

    def records(self, topic: str) -> list[Record]:
        return [record for record, _ in export.records(self.settings, topic)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with EmbeddedBroker() as broker:
        settings = Settings(bootstrap=broker.bootstrap, partitions=2)
        topics.create(settings)
        made = World(settings, tmp_path_factory.mktemp("audit"))
        made.judge()
        yield made


def steps(document: str, *but: str) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in each.items() if name not in ("place", "repeats")}
        for each in json.loads(document)["trail"]
        if each["kind"] not in but and each.get("gap") not in ("no_outcome", "late")
    ]


def test_the_story_of_the_bus_is_that_of_its_dump_and_of_what_replay_makes_of_its_events(
    world: World,
) -> None:
    live = world.told("audit", SESSION, "--format", "json")
    dumps_ = [
        f"--file={world.dumped(topic)}" for topic in (EVENTS, DECISIONS, CASES, ALERTS, REVOCATIONS, RISK)
    ]
    assert steps(world.told("audit", SESSION, "--format", "json", *dumps_)) == steps(live)
    replayed = world.directory / "replayed.jsonl"
    replayed.write_text(
        world.told("replay", str(world.directory / f"{EVENTS}.jsonl"), "--all"), encoding="utf-8"
    )
    again = world.told("audit", SESSION, "--format", "json", dumps_[0], "--file", str(replayed))
    assert steps(again) == steps(live)
    assert {"declared", "called", "decided", "returned", "case", "alert", "revocation", "risk", "ended"} <= {
        each["kind"] for each in steps(live)
    }
    rooted = world.told("audit", SESSION, "--format", "json", "--root", SESSION, "--tenant", TENANT)
    assert steps(rooted) == steps(live)
    read = json.loads(rooted)["read"], json.loads(live)["read"]
    assert read[0][EVENTS] < read[1][EVENTS]


def test_outcome_and_feedback_on_the_bus_enter_the_story_and_a_topic_that_is_not_there_is_named(
    world: World,
) -> None:
    claims = next(
        found
        for record in world.records(REVOCATIONS)
        if (found := claims_of(record.value or b""))["sub_id"]["session"]["id"] == SESSION
    )
    outcome = {
        "jti": claims["jti"],
        "case_id": claims["txn"],
        "broker": "ledger",
        "status": "done",
        "time": "2026-03-02T09:18:20Z",
    }
    feedback = {
        "case_id": claims["txn"],
        "verdict": "true_positive",
        "by": "ada",
        "time": "2026-03-03T08:00:00Z",
    }
    with Sender(world.settings) as sender:
        sender.send(Message(OUTCOMES, TENANT.encode(), (), dumps(outcome)))
        given = {"type": "feedback.given", "tenant": TENANT, "token": unsigned(feedback)}
        sender.send(Message(FEEDBACK, TENANT.encode(), (), dumps(given)))
    shown = world.told("show", claims["txn"])
    assert "; ledger: done\n" in shown
    assert "ada says true_positive" in shown
    assert "no outcome was told" not in shown
    elsewhere = world.run("audit", SESSION, "--prefix", "nobodys.")
    assert elsewhere.returncode == 4
    assert "driftline topics create" in elsewhere.stderr


def tampered(world: World, prefix: str, logs: dict[int, list[Record]]) -> None:
    """A topic of decisions under another prefix, with these records in its partitions."""
    name = f"{prefix}{DECISIONS}"
    admin = KafkaAdminClient(bootstrap_servers=world.settings.bootstrap)
    admin.create_topics([NewTopic(name, 2, 1)])
    admin.close()
    producer = KafkaProducer(**world.settings.kafka(), acks="all")
    for partition, records in logs.items():
        for record in records:
            producer.send(name, record.value, record.key, partition=partition).get(30)
    producer.close()


def test_a_topic_whose_decisions_were_removed_altered_moved_or_added_to_is_found_out(world: World) -> None:
    assert "no fault" in world.told("verify", "chain")
    heads = world.directory / "heads.jsonl"
    world.told("verify", "chain", "--heads-out", str(heads))
    records = world.records(DECISIONS)
    mine = [
        at for at, record in enumerate(records) if json.loads(record.value or b"")["session_id"] == SESSION
    ]
    one, other, last = records[mine[1]], records[mine[2]], records[mine[-1]]

    def without(record: Record) -> list[Record]:
        return [each for each in records if each is not record]

    def put(record: Record, value: bytes) -> list[Record]:
        return [each._replace(value=value) if each is record else each for each in records]

    swapped = list(records)
    swapped[mine[1]], swapped[mine[2]] = other, one
    lighter = (other.value or b"").replace(b'"verdict":"revoke"', b'"verdict":"allow"')
    assert lighter != other.value
    for n, (made, fault) in enumerate(
        (
            (without(one), "missing"),
            (put(other, lighter), "altered"),
            (swapped, "reordered"),
            ([*records, other._replace(value=lighter)], "altered"),
            (without(last), "cut"),
        )
    ):
        prefix = f"t{n}."
        tampered(
            world, prefix, {place: [each for each in made if each.partition == place] for place in (0, 1)}
        )
        told = world.run("verify", "chain", "--prefix", prefix, "--json", "--heads", str(heads))
        assert told.returncode == 1, told.stderr
        assert set(json.loads(told.stdout)["faults"]) == {fault}
        assert f"{prefix}agent.alerts.v1" in told.stderr  # nothing to hold the chain against
    tampered(world, "again.", {place: [*records, *records[:4]] for place in (0,)})
    assert "no fault" in world.told("verify", "chain", "--prefix", "again.")
