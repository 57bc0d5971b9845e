"""What act did before partitions were taken over: its cases of the last hours, what it holds, and its alerts of the last day.

One consumer reads it for all of them: each start of one takes some twenty turns of a loop that a backlog keeps busy, and while the
past is read no revocation goes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from aiokafka import TopicPartition

from stream.events import ALERTS, CASES, HELD, Record
from stream.settings import Settings
from stream.shell.reading import POLL_MS, ends_of, reader, to_end

LOOK_BACK_MS = 2 * 3_600_000
"""How far back cases are read: twice the shipped window. What a window held depends on what the window before it held, and no further."""

ALERTS_BACK_MS = 25 * 3_600_000
"""How far back alerts are read: a campaign lives for a day (`stream.outbound.campaigns`), and clocks differ."""
MAX_ALERTS = 50_000
"""Alerts of a partition that are read at most, the latest."""


class Recalling(Protocol):
    """Who is told of the past; see `stream.outbound.act.Actor`."""

    def recall(self, records: Iterable[Record], held: Sequence[Record]) -> None:
        """Note cases of a partition that were acted on before, and what the topic of what is held has of it."""

    def recall_alerts(self, records: Iterable[Record]) -> None:
        """Note alerts that went out before."""


async def read_back(settings: Settings, before: Mapping[int, int], actor: Recalling) -> None:
    """Tell `actor` what came before the offsets `before` of partitions of cases, one looks back from the last record there.

    Raises
    ------
    KafkaError
        A topic cannot be read.
    """
    cases = {TopicPartition(settings.topic(CASES), number): end for number, end in before.items() if end}
    if not cases:
        return
    async with reader(settings, cases) as consumer:
        # Looked back from what is there already, not from a clock: what is read is the same whenever it is read.
        last = await _last_ms(consumer, cases)
        past = await _cases(consumer, {place: cases[place] for place in last}, last)
        held = {TopicPartition(settings.topic(HELD), place.partition): list[Record]() for place in cases}
        consumer.assign(list(held))
        await consumer.seek_to_beginning(*held)
        async for place, records in to_end(consumer):
            held[place] += records
        for place in cases:
            actor.recall(past.get(place, ()), held[TopicPartition(settings.topic(HELD), place.partition)])
        alerts = {
            TopicPartition(settings.topic(ALERTS), place.partition): max(0, at_ms - ALERTS_BACK_MS)
            for place, at_ms in last.items()
        }
        if await _seek_alerts(consumer, alerts):
            async for _, records in to_end(consumer):
                actor.recall_alerts(records)


async def _last_ms(consumer: Any, before: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """When the last record before an offset was appended, in ms since 1970, by place; none of a place whose log begins later."""
    for place, end in before.items():
        consumer.seek(place, end - 1)
    found: dict[TopicPartition, int] = {}
    behind = set(before)
    while behind:
        for place, records in (await consumer.getmany(*behind, timeout_ms=POLL_MS)).items():
            if records[0].offset < before[place]:
                found[place] = records[0].timestamp_ms
        behind = {place for place in behind if not await _at(consumer, place, before[place])}
    return found


async def _cases(
    consumer: Any, before: Mapping[TopicPartition, int], last_ms: Mapping[TopicPartition, int]
) -> dict[TopicPartition, list[Record]]:
    """The cases before an offset, by place, in their order, as far back as one looks from the last of them."""
    if not before:
        return {}
    since = await consumer.offsets_for_times(
        {place: max(0, at_ms - LOOK_BACK_MS) for place, at_ms in last_ms.items()}
    )
    read = {place: list[Record]() for place in before}
    for place in before:
        consumer.seek(place, since[place].offset if since.get(place) else before[place])
    behind = {place for place in before if since.get(place)}
    while behind:
        for place, records in (await consumer.getmany(*behind, timeout_ms=POLL_MS)).items():
            read[place] += (record for record in records if record.offset < before[place])
        behind = {place for place in behind if not await _at(consumer, place, before[place])}
    return read


async def _at(consumer: Any, place: TopicPartition, end: int) -> bool:
    """Whether the consumer is at an offset, or at the end of a log that was cut off before it."""
    position, highwater = await consumer.position(place), consumer.highwater(place)
    return bool(position >= (end if highwater is None else min(end, highwater)))


async def _seek_alerts(consumer: Any, since_ms: Mapping[TopicPartition, int]) -> bool:
    """Go to the first alert since a moment, `MAX_ALERTS` before the end at most; whether there are any."""
    found = await consumer.offsets_for_times(dict(since_ms)) if since_ms else {}
    since = {place: offset.offset for place, offset in found.items() if offset is not None}
    if not since:
        return False
    consumer.assign(list(since))
    ends = await ends_of(consumer)
    for place, offset in since.items():
        consumer.seek(place, max(offset, ends[place] - MAX_ALERTS))
    return True


async def read_held(settings: Settings, partition: int) -> list[Record]:
    """All that the topic of what is held has of the tenants of a partition, in order; raises as `read_back`."""
    async with reader(settings, [TopicPartition(settings.topic(HELD), partition)]) as consumer:
        return [record async for _, records in to_end(consumer) for record in records]
