"""Where a topic ends, on the embedded broker too, which tells the start of the last batch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence

import pytest
from aiokafka import TopicPartition
from kafka import KafkaProducer

from stream.events import ALERTS, CASES, HELD, REVOCATIONS, Record
from stream.settings import Settings
from stream.shell import topics
from stream.shell.act_past import read_back
from stream.shell.broker import EmbeddedBroker
from stream.shell.reading import ends_of, reader

pytestmark = pytest.mark.broker


def test_the_end_lies_behind_every_record_of_the_last_batch() -> None:
    with EmbeddedBroker() as broker:
        settings = Settings(bootstrap=broker.bootstrap, partitions=2)
        topics.create(settings)
        name = settings.topic(REVOCATIONS)
        producer = KafkaProducer(**settings.kafka(), acks="all", linger_ms=500)
        for future in [producer.send(name, b"x", b"k", partition=0) for _ in range(3)]:
            future.get(30)
        producer.close()
        places = [TopicPartition(name, number) for number in range(2)]

        async def ends() -> dict[TopicPartition, int]:
            async with reader(settings, places) as consumer:
                return await ends_of(consumer)

        assert asyncio.run(ends()) == {places[0]: 3, places[1]: 0}


class Told:
    """Who is told of the past: keeps the values, by partition."""

    def __init__(self) -> None:
        self.cases: dict[int, list[bytes]] = {}
        self.held: dict[int, list[bytes]] = {}
        self.alerts: list[bytes] = []
        self.calls = 0

    def recall(self, records: Iterable[Record], held: Sequence[Record]) -> None:
        self.calls += 1
        for record in records:
            self.cases.setdefault(record.partition, []).append(record.value or b"")
        for record in held:
            self.held.setdefault(record.partition, []).append(record.value or b"")

    def recall_alerts(self, records: Iterable[Record]) -> None:
        self.alerts += (record.value or b"" for record in records)


def told_of(settings: Settings) -> Told:
    """What is read back of a past that lies on the topics: of cases before an offset, some of them old; of what is held; of alerts."""
    producer = KafkaProducer(**settings.kafka(), acks="all")
    now = round(time.time() * 1000)

    def put(base: str, partition: int, value: bytes, ago_h: float) -> None:
        stamp = round(now - ago_h * 3_600_000)
        producer.send(settings.topic(base), value, b"acme", partition=partition, timestamp_ms=stamp).get(30)

    for value, ago_h in ((b"old", 75), (b"a", 73), (b"b", 72)):  # quiet for three days
        put(CASES, 0, value, ago_h)
    for value, ago_h in ((b"old", 4), (b"c", 1), (b"d", 0), (b"to come", 0)):
        put(CASES, 1, value, ago_h)
    put(CASES, 2, b"to come", 0)
    put(HELD, 1, b"h", 90)
    for partition, value, ago_h in (
        (0, b"old", 100),
        (0, b"x", 90),
        (1, b"old", 26),
        (1, b"z", 3),
        (2, b"none asked", 0),
    ):
        put(ALERTS, partition, value, ago_h)
    producer.close()
    told = Told()
    asyncio.run(asyncio.wait_for(read_back(settings, {0: 3, 1: 3, 2: 0, 3: 0}, told), 60))
    return told


def test_one_reader_tells_the_past_of_every_partition() -> None:
    with EmbeddedBroker() as broker:
        settings = Settings(bootstrap=broker.bootstrap, partitions=4)
        topics.create(settings)
        told = told_of(settings)
    # This broker knows no times: all that came before is read.
    assert told.cases == {0: [b"old", b"a", b"b"], 1: [b"old", b"c", b"d"]}
    assert told.held == {1: [b"h"]}
    assert sorted(told.alerts) == [b"old", b"old", b"x", b"z"]
    assert told.calls == 2
