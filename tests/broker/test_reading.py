"""Where a topic ends, on the embedded broker too, which tells the start of the last batch."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import TopicPartition
from kafka import KafkaProducer

from stream.events import REVOCATIONS
from stream.settings import Settings
from stream.shell import topics
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
