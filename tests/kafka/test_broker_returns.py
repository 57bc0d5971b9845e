"""A broker that was away comes back: whoever waited for it finds it at once, not after half a minute."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from driftline_client.bus import clients
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from stream.settings import Settings
from tests.cluster import Cluster, Node

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(180)]

TOPIC = "returns"
PLACE = TopicPartition(TOPIC, 0)
FOUND_S = 5.0
"""Left alone, a client that failed for this long tries again 13 to 31 seconds after its last attempt."""


def away(node: Node) -> None:
    """Kill the broker and start it again 15 seconds later; return when its port answers."""
    node.kill()
    time.sleep(15)
    node.start()
    deadline = time.monotonic() + 60
    while not node.answers():
        assert time.monotonic() < deadline, node.said()
        time.sleep(0.05)


@pytest.mark.parametrize("whose", ["the agent's", "the worker's"])
def test_a_broker_that_returns_is_found_within_seconds(jars: None, tmp_path: Path, whose: str) -> None:
    with Cluster(1, tmp_path / "cluster") as cluster:
        producer, consumer = _made(whose, cluster.bootstrap)
        admin = KafkaAdminClient(bootstrap_servers=cluster.bootstrap)
        admin.create_topics([NewTopic(TOPIC, num_partitions=1, replication_factor=1)])
        admin.close()
        sender, reader = producer(), consumer()
        try:
            reader.assign([PLACE])
            reader.seek_to_beginning()
            sender.send(TOPIC, b"before").get(30)
            _read(reader, b"before", 30)

            # Both keep trying while it is away, as the programs do.
            waiting = sender.send(TOPIC, b"while it was away")
            away(cluster.nodes[0])

            waiting.get(FOUND_S)
            _read(reader, b"while it was away", FOUND_S)
        finally:
            reader.close()
            sender.close(0)


def _made(whose: str, bootstrap: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    if whose == "the agent's":
        return clients(bootstrap, {})
    settings = Settings(bootstrap=bootstrap)
    return (
        lambda: KafkaProducer(**settings.kafka(), acks="all"),
        lambda: KafkaConsumer(**settings.kafka(), group_id=None),
    )


def _read(reader: KafkaConsumer, wanted: bytes, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        for records in reader.poll(200).values():
            if any(record.value == wanted for record in records):
                return
    raise AssertionError(f"{wanted!r} was not read within {limit_s} s")
