"""What stands on topics at this moment, read from the beginning or from where a reader is, by aiokafka."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream.settings import Settings
from stream.shell import wire

POLL_MS = 200


@asynccontextmanager
async def reader(settings: Settings, places: Collection[TopicPartition]) -> AsyncIterator[Any]:
    """A consumer without a group, at the beginning of `places`, which hands out `stream.events.Record`.

    Raises
    ------
    KafkaError
        A topic or a partition cannot be read.
    """
    wire.install()
    consumer = AIOKafkaConsumer(
        **settings.aiokafka(),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=settings.fetch_wait_ms,
        max_partition_fetch_bytes=8 * settings.message_max_bytes,
    )
    await consumer.start()
    try:
        consumer.assign(list(places))
        await consumer.seek_to_beginning(*places)
        yield consumer
    finally:
        await consumer.stop()


async def to_end(consumer: Any) -> AsyncIterator[tuple[TopicPartition, list[Any]]]:
    """What `consumer` has not read yet, up to where its partitions end now: records of one of them at a time."""
    # The embedded broker tells the start of the last batch as the end; a fetch tells the truth on both.
    ends = await consumer.end_offsets(list(consumer.assignment()))
    behind = {place for place, end in ends.items() if end}
    while behind:
        for place, records in (await consumer.getmany(*behind, timeout_ms=POLL_MS)).items():
            yield place, records
        for place in tuple(behind):
            if await consumer.position(place) >= max(ends[place], consumer.highwater(place) or 0):
                behind.discard(place)


async def ends_of(consumer: Any) -> dict[TopicPartition, int]:
    """Where the partitions of `consumer` end now, by a fetch at their ends: the embedded broker tells the start of the last batch."""
    ends = dict(await consumer.end_offsets(list(consumer.assignment())))
    for place, end in ends.items():
        consumer.seek(place, end)
    await consumer.getmany(timeout_ms=POLL_MS)
    return {place: max(end, consumer.highwater(place) or 0) for place, end in ends.items()}
