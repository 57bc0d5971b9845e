"""What act did before a partition was taken over: its cases of the last hours, and what it holds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream.events import HELD, Record
from stream.settings import Settings
from stream.shell.transport import Place

LOOK_BACK_MS = 2 * 3_600_000
"""How far back cases are read: twice the shipped window. What a window held depends on what the window before it held, and no further."""
POLL_MS = 200


async def read_cases(settings: Settings, place: Place, first: Record) -> list[Record]:
    """Cases of a partition before the record `first`, in their order.

    Raises
    ------
    KafkaError
        The topic cannot be read.
    """
    cases = TopicPartition(*place)
    async with _reading(settings, cases) as consumer:
        since = await consumer.offsets_for_times({cases: max(0, first.timestamp_ms - LOOK_BACK_MS)})
        if (found := since.get(cases)) is not None:
            consumer.seek(cases, found.offset)
        return await _until(consumer, cases, first.offset)


async def read_held(settings: Settings, partition: int) -> list[Record]:
    """All that stands as held of the tenants of a partition, and what people ruled on it, in order; raises as `read_cases`."""
    held = TopicPartition(settings.topic(HELD), partition)
    async with _reading(settings, held) as consumer:
        return await _until(consumer, held, (await consumer.end_offsets([held]))[held])


@asynccontextmanager
async def _reading(settings: Settings, place: TopicPartition) -> AsyncIterator[Any]:
    """A consumer at the beginning of a partition."""
    consumer = AIOKafkaConsumer(
        **settings.aiokafka(),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=settings.fetch_wait_ms,
        max_partition_fetch_bytes=8 * settings.message_max_bytes,
    )
    await consumer.start()
    try:
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        yield consumer
    finally:
        await consumer.stop()


async def _until(consumer: Any, place: TopicPartition, end: int) -> list[Record]:
    """Records of a partition below the offset `end`."""
    read: list[Record] = []
    while await consumer.position(place) < end:
        for records in (await consumer.getmany(place, timeout_ms=POLL_MS)).values():
            read += (record for record in records if record.offset < end)
    return read
