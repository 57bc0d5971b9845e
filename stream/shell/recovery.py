"""The states of partitions read back from the broker, when a worker takes them over."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from aiokafka import TopicPartition

from models.errors import StateError
from stream.core.partition import Partition
from stream.settings import Settings
from stream.shell.checkpoints import Recovered, Shelf, StateRecord, fold, forgotten, keep_newest
from stream.shell.reading import reader, to_end
from stream.shell.transport import Place

log = logging.getLogger("driftline.worker")


def state_place(settings: Settings, place: Place, shelf: Shelf) -> Place:
    """Topic and partition that hold the state of an input partition."""
    return settings.topic(shelf.topic(settings.base(place[0]))), place[1]


async def read_states(
    settings: Settings, inputs: Sequence[Place], shelf: Shelf
) -> dict[Place, list[StateRecord]]:
    """What is stored of the input partitions `inputs` on that shelf, each to its present end, the newest of each key.

    What the broker has not compacted yet may be many times what is live, and is not kept.

    Raises
    ------
    KafkaError
        The topic or a partition cannot be read.
    """
    places = {TopicPartition(*state_place(settings, place, shelf)): place for place in inputs}
    live: dict[Place, dict[bytes, StateRecord]] = {place: {} for place in inputs}
    async with reader(settings, places) as consumer:
        async for place, items in to_end(consumer):
            read = (
                shelf.take(StateRecord(item.key or b"", tuple(item.headers), item.value)) for item in items
            )
            keep_newest(live[places[place]], (record for record in read if record is not None))
    return {place: list(newest.values()) for place, newest in live.items()}


def restored(
    place: Place, records: Sequence[StateRecord], n_partitions: int | None = None
) -> tuple[Recovered, Partition]:
    """What the state topic says of an input partition of `n_partitions`; what cannot be read is rebuilt from the input."""
    try:
        recovered = fold(records)
        if recovered.offset < 0:
            return recovered, Partition.empty(n_partitions)
        partition = Partition.load(recovered.states, n_partitions)
        if partition.offset != recovered.offset:
            raise StateError(f"the ledger at offset {recovered.offset} says {partition.offset}")
        return recovered, partition
    except StateError as error:
        log.error("state of %s[%d] is unreadable (%s): rebuilding from the input log", *place, error)
        return forgotten(records), Partition.empty(n_partitions)
