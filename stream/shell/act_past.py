"""What act did before a partition was taken over: its cases of the last hours, what it holds, and its alerts of the last day."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from aiokafka import TopicPartition

from stream.events import ALERTS, HELD, Record
from stream.settings import Settings
from stream.shell.reading import POLL_MS, ends_of, reader, to_end
from stream.shell.transport import Place

LOOK_BACK_MS = 2 * 3_600_000
"""How far back cases are read: twice the shipped window. What a window held depends on what the window before it held, and no further."""

ALERTS_BACK_MS = 25 * 3_600_000
"""How far back alerts are read: a campaign lives for a day (`stream.outbound.campaigns`), and clocks differ."""
MAX_ALERTS = 50_000
"""Alerts of a partition that are read at most, the latest."""


async def read_cases(settings: Settings, place: Place, before: int, at_ms: int) -> list[Record]:
    """Cases of a partition before the offset `before`, in their order, as far back as one looks from `at_ms` on.

    Raises
    ------
    KafkaError
        The topic cannot be read.
    """
    cases, read = TopicPartition(*place), list[Record]()
    async with reader(settings, [cases]) as consumer:
        since = await _since(consumer, cases, at_ms)
        if since is None and before:
            # Quiet for longer than that: what counts is what came before the last record.
            consumer.seek(cases, before - 1)
            if last := (await consumer.getmany(cases, timeout_ms=POLL_MS)).get(cases):
                since = await _since(consumer, cases, last[0].timestamp)
        if since is None:
            return read
        consumer.seek(cases, since)
        while await consumer.position(cases) < before:
            for records in (await consumer.getmany(cases, timeout_ms=POLL_MS)).values():
                read += (record for record in records if record.offset < before)
            if await consumer.position(cases) >= (consumer.highwater(cases) or before):
                break  # the log was cut off
    return read


async def read_alerts(settings: Settings, partition: int, at_ms: int) -> AsyncIterator[list[Record]]:
    """The alerts of the tenants of a partition since a day before a moment, `MAX_ALERTS` at most, in order; raises as `read_cases`."""
    place = TopicPartition(settings.topic(ALERTS), partition)
    async with reader(settings, [place]) as consumer:
        found = await consumer.offsets_for_times({place: max(0, at_ms - ALERTS_BACK_MS)})
        if (since := found.get(place)) is None:
            return
        end = (await ends_of(consumer))[place]
        consumer.seek(place, max(since.offset, end - MAX_ALERTS))
        async for _, records in to_end(consumer):
            yield records


async def _since(consumer: Any, cases: TopicPartition, at_ms: int) -> int | None:
    """Where one begins to read, looking back from a moment; None: nothing came since."""
    found = await consumer.offsets_for_times({cases: max(0, at_ms - LOOK_BACK_MS)})
    return None if found.get(cases) is None else int(found[cases].offset)


async def read_held(settings: Settings, partition: int) -> list[Record]:
    """All that the topic of what is held has of the tenants of a partition, in order; raises as `read_cases`."""
    async with reader(settings, [TopicPartition(settings.topic(HELD), partition)]) as consumer:
        return [record async for _, records in to_end(consumer) for record in records]
