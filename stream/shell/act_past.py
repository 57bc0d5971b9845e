"""What act did before a partition was taken over: its cases of the last hours, and what it holds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream.events import HELD, Record
from stream.settings import Settings
from stream.shell.transport import Place

LOOK_BACK_MS = 2 * 3_600_000
"""How far back cases are read: twice the shipped window. What a window held depends on what the window before it held, and no further."""
POLL_MS = 200


async def read_past(settings: Settings, place: Place, first: Record) -> tuple[list[Record], list[Record]]:
    """Cases of a partition before the record `first`, and all that stands as held of that partition, both in their order.

    Raises
    ------
    KafkaError
        A topic cannot be read.
    """
    options = settings.kafka()
    options["bootstrap_servers"] = ",".join(options["bootstrap_servers"])
    del options["bootstrap_timeout_ms"]  # kafka-python's alone
    consumer = AIOKafkaConsumer(
        **options,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=settings.fetch_wait_ms,
        max_partition_fetch_bytes=8 * settings.message_max_bytes,
    )
    cases, held = TopicPartition(*place), TopicPartition(settings.topic(HELD), place[1])
    await consumer.start()
    try:
        consumer.assign([cases, held])
        since = await consumer.offsets_for_times({cases: max(0, first.timestamp_ms - LOOK_BACK_MS)})
        if (found := since.get(cases)) is not None:
            consumer.seek(cases, found.offset)
        else:
            await consumer.seek_to_beginning(cases)
        await consumer.seek_to_beginning(held)
        ends = await consumer.end_offsets([held])
        past = [record async for record in _until(consumer, cases, first.offset)]
        standing = [record async for record in _until(consumer, held, ends[held])]
        return past, standing
    finally:
        await consumer.stop()


async def _until(consumer: Any, place: TopicPartition, end: int) -> AsyncIterator[Record]:
    """Records of a partition below the offset `end`."""
    while await consumer.position(place) < end:
        for records in (await consumer.getmany(place, timeout_ms=POLL_MS)).values():
            for record in records:
                if record.offset < end:
                    yield record
