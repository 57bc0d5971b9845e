"""The console's records, live from the bus: every topic that its principal may read, from where it was, whatever breaks."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError

from stream.console.index import TOPICS, Index
from stream.settings import Settings
from stream.shell import wire
from stream.shell.clients import stopped
from stream.shell.connection import answers, refused

POLL_MS, MOST = 250, 300
"""How long a turn waits for records, and how many it takes: pages are answered between turns."""
LOOK_S, SOON_S, ANEW_S = 5.0, 1.0, 60.0
"""How often the broker is asked where its topics end, and while not all was read; how often topics that could not be read are tried anew."""
WAIT_S = 3.0
"""How long a failed connection waits before it is tried again."""

_log = logging.getLogger("driftline.console")


class Follower:
    """Feeds an index; it alone knows how far each partition was read.

    Parameters
    ----------
    since_ms : int or None
        Records stamped before are not read, where the broker can tell; None: all.
    client : str
        What the broker's logs call this reader.
    """

    def __init__(
        self, settings: Settings, index: Index, since_ms: int | None, client: str = "driftline-console"
    ) -> None:
        wire.install()  # a header name that is no text would end the reader, at the same record for ever
        self.places: dict[TopicPartition, int] = {}
        self._settings, self._index, self._since_ms, self._client = settings, index, since_ms, client
        self._bases = tuple(dict.fromkeys((*settings.input_topics, *TOPICS)))
        self._forbidden: set[str] = set()

    async def run(self) -> None:
        """Read for ever; a broker that is away is waited for, and read on from where it was.

        Raises
        ------
        BrokerError
            The first connection fails: the address, a certificate or a password is wrong.
        """
        await answers(self._settings)
        had = False
        while True:
            consumer = AIOKafkaConsumer(
                **self._settings.aiokafka(),
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                fetch_max_wait_ms=self._settings.fetch_wait_ms,
                max_partition_fetch_bytes=8 * self._settings.message_max_bytes,
                client_id=self._client,
            )
            try:
                await consumer.start()
                had = True
                await self._read(consumer)
            except (KafkaError, OSError) as error:
                if not had:
                    raise await asyncio.to_thread(refused, self._settings, error) from error
                self._is_away(type(error).__name__)
                await asyncio.sleep(WAIT_S)
            finally:
                await stopped(consumer)

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        loop = asyncio.get_running_loop()
        look_at = anew_at = 0.0
        while True:
            if loop.time() >= anew_at:
                self._forbidden.clear()
                await self._assign(consumer)
                look_at, anew_at = 0.0, loop.time() + ANEW_S
            if loop.time() >= look_at:
                await self._look(consumer)
                look_at = loop.time() + (SOON_S if any(self._index.behind.values()) else LOOK_S)
            try:
                found = await consumer.getmany(timeout_ms=POLL_MS, max_records=MOST)
            except (TopicAuthorizationFailedError, UnknownTopicOrPartitionError) as error:
                lost = {str(topic) for topic in _topics_of(error)} or {place.topic for place in self.places}
                self._forbidden |= {self._settings.base(topic) for topic in lost}
                await self._assign(consumer)
                continue
            for place, items in found.items():
                for item in items:
                    self._index.take(item)
                    self.places[place] = item.offset + 1
            await asyncio.sleep(0)

    async def _assign(self, consumer: AIOKafkaConsumer) -> None:
        """Read what may be read, each partition from where it was, or from its beginning."""
        known = await self._partitions()
        unread, places = {}, []
        for base in self._bases:
            name = self._settings.topic(base)
            if base in self._forbidden or name not in known:
                unread[base] = (
                    "it is missing, or this principal may not read it (driftline topics create, driftline topics --acls)"
                )
                continue
            places += [TopicPartition(name, number) for number in known[name]]
        if self._index.unread != unread:
            self._index.unread = unread
            self._index.version += 1
        consumer.assign(places)
        new = [place for place in places if place not in self.places]
        self.places |= await self._beginnings(consumer, new)
        for place in places:
            if place in self.places:
                consumer.seek(place, self.places[place])

    async def _partitions(self) -> dict[str, list[int]]:
        """The partitions of each topic that this principal may see; a consumer's own list knows only what it was told to read."""
        admin = AIOKafkaAdminClient(**self._settings.aiokafka(), client_id=self._client)
        try:
            await admin.start()
            return {
                each["topic"]: sorted(one["partition"] for one in each["partitions"])
                for each in await admin.describe_topics()
                if each["partitions"]
            }
        finally:
            await admin.close()

    async def _beginnings(
        self, consumer: AIOKafkaConsumer, places: Collection[TopicPartition]
    ) -> dict[TopicPartition, int]:
        if not places:
            return {}
        found = dict(await consumer.beginning_offsets(places))
        if self._since_ms is not None:
            try:
                at = await consumer.offsets_for_times(dict.fromkeys(places, self._since_ms))
                ends = await consumer.end_offsets(places)
                # None: nothing was written since.
                found |= {
                    place: offset.offset if offset is not None else ends[place]
                    for place, offset in at.items()
                }
            except (KafkaError, ValueError) as error:
                _log.warning(
                    "the broker does not tell where a time begins (%s): all is read", type(error).__name__
                )
        return found

    async def _look(self, consumer: AIOKafkaConsumer) -> None:
        """Note how much is not read yet, and whether the broker is there to tell."""
        places = list(consumer.assignment())
        if not places:
            return
        try:
            async with asyncio.timeout(LOOK_S):
                ends = await consumer.end_offsets(places)
                # Where it would read on, not behind the last record: markers of transactions stand in the log, and are no records.
                read_to = {place: await consumer.position(place) for place in places}
        except (KafkaError, TimeoutError) as error:
            return self._is_away(type(error).__name__)
        behind: dict[str, int] = {}
        for place, end in ends.items():
            base = self._settings.base(place.topic)
            behind[base] = behind.get(base, 0) + max(0, end - read_to[place])
        if self._index.away or behind != self._index.behind:
            self._index.version += 1
        self._index.away, self._index.behind = "", behind

    def _is_away(self, why: str) -> None:
        if not self._index.away:
            _log.warning("no broker answers at %s (%s); waiting for it", self._settings.bootstrap, why)
            self._index.away = (
                f"The broker has not answered since {time.strftime('%H:%M:%S', time.gmtime())} UTC ({why})."
            )
            self._index.version += 1


def _topics_of(error: KafkaError) -> Collection[str]:
    told = error.args[0] if error.args else ()
    return told if isinstance(told, set | frozenset | list | tuple) else ()
