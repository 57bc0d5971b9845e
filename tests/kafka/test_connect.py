"""deploy/siem/connect, as it stands, in Kafka's own Connect worker: what the SIEM reads is what stands on the bus."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
from kafka import KafkaProducer

from stream.events import ALERTS, DECISIONS
from stream.settings import Settings
from tests.process import ServerProcess
from tests.unit.test_siem import SIEM, Json, matched, shipped

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    # kafka-python reads its own resources by a way that Python 3.11 deprecates and later versions keep.
    pytest.mark.filterwarnings("ignore:(read|open)_text is deprecated:DeprecationWarning"),
]

FILES = [str(SIEM / "connect" / f"{name}.properties") for name in ("worker", "alerts", "decisions")]
READY_S = 90.0


class Connect(ServerProcess):
    """Kafka Connect's standalone worker with the configuration that we ship."""

    def __init__(self, jars: str, settings: Settings, folder: Path) -> None:
        super().__init__(folder / "connect.log")
        self._jars = jars
        self._environment = {
            **os.environ,
            "DRIFTLINE_BOOTSTRAP": settings.bootstrap,
            "DRIFTLINE_PREFIX": settings.prefix,
            "SIEM_FOLDER": str(folder),
        }

    def start(self) -> None:
        main = "org.apache.kafka.connect.cli.ConnectStandalone"
        self.launch(["java", "-Xmx256m", "-cp", self._jars, main, *FILES], self._environment)

    def wait(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_S
        while not done():
            assert self.running(), self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.2)


@pytest.fixture
def connect(connect_jars: str, on_kafka: Settings, tmp_path: Path) -> Iterator[Connect]:
    folder = tmp_path / "siem"
    folder.mkdir()
    made = Connect(connect_jars, on_kafka, folder)
    made.start()
    yield made
    made.stop()


def publish(settings: Settings, rows: list[Json]) -> None:
    producer = KafkaProducer(**settings.kafka(), acks="all")
    for row in rows:
        producer.send(settings.topic(row["topic"]), orjson.dumps(row["value"]), row["key"].encode())
    producer.flush(30)
    producer.close()


def lines(file: Path) -> Counter[bytes]:
    """What a forwarder reads: whole lines alone."""
    return Counter(file.read_bytes().split(b"\n")[:-1]) if file.exists() else Counter()


def test_the_siem_reads_each_alert_and_decision_once_over_a_restart_and_finds_what_drifted(
    connect: Connect, on_kafka: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "siem"
    rows = [row for row in shipped(tmp_path) if row["topic"] in (ALERTS, DECISIONS)]
    wanted = {
        name: Counter(orjson.dumps(row["value"]) for row in rows if row["topic"] == topic)
        for name, topic in (("alerts", ALERTS), ("decisions", DECISIONS))
    }

    def all_there(count: int) -> bool:
        return sum(lines(folder / f"{name}.jsonl").total() for name in wanted) >= count

    publish(on_kafka, rows[:100])
    connect.wait(lambda: all_there(100))
    connect.stop()
    publish(on_kafka, rows[100:])
    connect.start()
    connect.wait(lambda: all_there(len(rows)))
    for name, expected in wanted.items():
        assert lines(folder / f"{name}.jsonl") == expected
    read = [
        {"topic": topic, "value": orjson.loads(line)}
        for name, topic in (("alerts", ALERTS), ("decisions", DECISIONS))
        for line in (folder / f"{name}.jsonl").read_bytes().splitlines()
    ]
    for rule in ("decision_revoke", "alert_provenance"):
        found = matched(SIEM / "sigma" / f"{rule}.yml", read)
        assert "finance-invoice-iban-swap" in {row["session"] for row in found}
