"""The console's reader on Apache Kafka: what the embedded broker does not know."""

from __future__ import annotations

import asyncio

import pytest
from kafka import KafkaProducer

from stream.console.bus import Follower
from stream.console.index import Index
from stream.events import EVENTS, dumps
from stream.settings import Settings
from tests import builders as b

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


def test_behind_a_transaction_s_marker_nothing_is_left_to_read(on_kafka: Settings) -> None:
    producer = KafkaProducer(
        **on_kafka.kafka(), transactional_id="a host", enable_idempotence=True, acks="all"
    )
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(on_kafka.topic(EVENTS), dumps(b.declared("s")), b"s").get(30)
    producer.commit_transaction()
    producer.close()
    index = Index(on_kafka.input_topics, on_kafka.base)

    async def reads() -> None:
        follower = Follower(on_kafka, index, None)
        reading = asyncio.create_task(follower.run())
        try:
            async with asyncio.timeout(120):
                while not (follower.places and index.behind and not any(index.behind.values())):
                    assert not reading.done()
                    await asyncio.sleep(0.2)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        assert sum(follower.places.values()) == 1

    asyncio.run(reads())
