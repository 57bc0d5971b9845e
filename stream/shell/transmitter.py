"""The transmitter on the bus: tokens read for each stream, and streams kept, with their places, on ``agent.streams.v1``.

One transmitter serves at a time: the one that its consumer group gave the only partition of that topic. It reads there what the one
before it did, and goes on. A place is written once a receiver took what lies before it, so that a crash repeats and loses nothing.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError

from models.errors import BrokerError
from stream.events import REVOCATIONS, RISK, STREAMS, Record
from stream.outbound.keys import SigningKeys
from stream.settings import Settings
from stream.shell import wire
from stream.shell.assignor import Assignor
from stream.shell.clients import TURN_S, stopped, until, watch_broker
from stream.shell.connection import answers, refused
from stream.shell.reading import POLL_MS, ends_of, reader, to_end
from stream.shell.transmit_metrics import TransmitMeasures
from stream.transmit import stream
from stream.transmit.configuration import Configuration
from stream.transmit.lane import Lane
from stream.transmit.stream import StreamRecord
from stream.transmit.streams import Streams
from stream.transmit.window import Place

SAVE_S = 1.0
"""Between two writes of a stream's place: what a receiver may get again after a crash."""
FETCH_WAIT_MS = 100
"""How long the broker may hold a fetch that finds nothing: each stream has a reader of its own, and most find nothing (chosen)."""
ONE_MS = 10_000
"""How long one record may take to read."""
SOURCES = (REVOCATIONS, RISK)

_log = logging.getLogger("driftline.transmit")


class Transmitter:
    """Hands the tokens on the bus to the receivers of a configuration.

    Parameters
    ----------
    settings : Settings
        Kafka, prefix, group and issuer.
    configuration : Configuration
        Receivers and limits.
    keys : SigningKeys
        Those of act.
    measures : TransmitMeasures
        What is told of it.
    draw : callable
        Uniform in [0, 1): the jitter of pauses.
    say : callable
        Hears when it serves, and when it stands by.
    send_refused : bool
        Whether what receivers refused is handed out once more at the start.

    Attributes
    ----------
    streams : Streams
        What receivers reach.
    """

    def __init__(
        self,
        settings: Settings,
        configuration: Configuration,
        keys: SigningKeys,
        measures: TransmitMeasures,
        draw: Callable[[], float] = random.random,
        say: Callable[[str], None] = lambda _: None,
        *,
        send_refused: bool = False,
    ) -> None:
        wire.install()
        self._settings, self._measures, self._say = settings, measures, say
        self._group = f"{settings.prefix}{settings.group}-transmit"
        self._send_refused = send_refused
        self.streams = Streams(configuration, settings.issuer, keys, self, measures, now_ms, draw)
        self._receivers = tuple(configuration.receivers)
        self._wanted = self._stands_by = False
        self._producer: AIOKafkaProducer | None = None
        self._member: AIOKafkaConsumer | None = None
        self._places: list[TopicPartition] = []

    async def run(self, stop: asyncio.Event) -> None:
        """Serve receivers until told to stop, whenever it is this transmitter's turn.

        Raises
        ------
        BrokerError
            No broker answers, a topic or a right is missing, or a stream's place was not confirmed.
        StateError
            A stream on the bus cannot be read.
        """
        await answers(self._settings)
        # Not idempotent: a place that is written twice is the same place.
        self._producer = AIOKafkaProducer(
            **self._settings.aiokafka(), acks="all", client_id="driftline-transmit"
        )
        self._member = AIOKafkaConsumer(
            **self._settings.aiokafka(),
            group_id=self._group,
            session_timeout_ms=int(self._settings.session_timeout_s * 1000),
            heartbeat_interval_ms=max(1, int(self._settings.session_timeout_s * 1000 / 4)),
            enable_auto_commit=False,
            auto_offset_reset="latest",
            # Who serves goes on serving when another one comes; the second strategy is the one that older transmitters know.
            partition_assignment_strategy=(Assignor, RoundRobinPartitionAssignor),
            client_id="driftline-transmit",
        )
        try:
            watching = watch_broker(self._settings, lambda: self._member, self._measures.note_broker)
            await until(stop, self._work(stop), watching)
            try:
                async with asyncio.timeout(TURN_S):
                    await self.streams.let_go()
            except TimeoutError:
                _log.warning(
                    "no place was written at the end: no broker answers; receivers get some tokens again"
                )
        except (KafkaError, OSError) as error:
            raise await asyncio.to_thread(refused, self._settings, error) from error
        finally:
            await self.streams.close()
            await stopped(self._member)
            await stopped(self._producer)

    async def _work(self, stop: asyncio.Event) -> None:
        assert self._producer is not None
        assert self._member is not None
        await self._producer.start()
        for base in (*SOURCES, STREAMS):
            topic = self._settings.topic(base)
            numbers = sorted(await self._producer.partitions_for(topic) or ())
            if not numbers:
                raise BrokerError(f"{topic}: no such topic; run `driftline topics create`")
            if base in SOURCES:
                self._places += [TopicPartition(topic, number) for number in numbers]
        self._member.subscribe([self._settings.topic(STREAMS)], listener=_Listener(self))
        await self._member.start()
        saves_s = 0.0
        while not stop.is_set():
            await self._member.getmany(timeout_ms=POLL_MS)  # our own writes: only the membership matters
            if self._wanted and not self.streams.serves:
                if self._stands_by:
                    self._stands_by = False
                    self._say("takes over: the transmitter that served is gone")
                await self.streams.take_over(await kept_streams(self._settings))
                self._say(f"ready: serves {', '.join(self._receivers)}")
                if self._send_refused:
                    self._send_refused = False
                    self._say(f"hands out {await self.streams.send_refused()} refused tokens once more")
            self._measures.turn(self.streams.lanes(), now_ms(), serves=self.streams.serves)
            if (now_s := asyncio.get_running_loop().time()) >= saves_s and self.streams.serves:
                saves_s = now_s + SAVE_S
                await self.streams.save()

    def assigned(self, places: Collection[TopicPartition]) -> None:
        """It is this transmitter's turn, or another's; the group says so again whenever somebody comes or goes."""
        self._wanted = bool(places)
        if not places and not self._stands_by:
            self._stands_by = True
            self._say(
                f"stands by: another transmitter of the group {self._group} serves, and answers receivers; this one answers 503, and takes "
                "over once that one is gone"
            )

    async def revoked(self) -> None:
        """Another one may serve next: write down how far each receiver is, and stop."""
        self._wanted = False
        try:
            await self.streams.let_go()
        except KafkaError as error:
            _log.warning("no place was written (%s); receivers get some tokens again", type(error).__name__)

    async def keep(self, stream_id: str, value: bytes | None) -> None:
        """Write a stream down, or delete it; returns once that is confirmed."""
        assert self._producer is not None
        await self._producer.send_and_wait(self._settings.topic(STREAMS), value, stream_id.encode())

    async def ends(self) -> dict[Place, int]:
        """Where the tokens end now."""
        async with reader(self._settings, self._places) as consumer:
            return {self._place(place): end for place, end in (await ends_of(consumer)).items()}

    async def at(self, place: Place, offset: int) -> Record | None:
        """One record; None where it is gone."""
        where = TopicPartition(self._settings.topic(place[0]), place[1])
        async with reader(self._settings, [where]) as consumer:
            if not (await consumer.beginning_offsets([where]))[where] <= offset:
                return None
            consumer.seek(where, offset)
            found = (await consumer.getmany(timeout_ms=ONE_MS, max_records=1)).get(where, [])
        return found[0] if found and found[0].offset == offset else None

    async def read(self, lane: Lane) -> None:
        """Give `lane` every record from where its window begins, as far as it has room, for ever."""
        consumer = AIOKafkaConsumer(
            **self._settings.aiokafka(),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_partition_fetch_bytes=self._settings.fetch_max_bytes,
            client_id="driftline-transmit",
        )
        await consumer.start()
        try:
            consumer.assign(self._places)
            begins = lane.window.read_to()
            for place in self._places:
                consumer.seek(place, begins.get(self._place(place), 0))
            while True:
                room = await lane.has_room()
                for place, records in (await consumer.getmany(timeout_ms=POLL_MS, max_records=room)).items():
                    for record in records:
                        lane.read(self._place(place), record)
        finally:
            await stopped(consumer)

    def _place(self, place: TopicPartition) -> Place:
        return self._settings.base(place.topic), place.partition


async def kept_streams(settings: Settings) -> dict[str, StreamRecord]:
    """Every stream on the bus, by receiver.

    Raises
    ------
    StateError
        One cannot be read.
    BrokerError
        No broker answers, or a right is missing.
    """
    kept: dict[bytes, bytes] = {}
    try:
        async with reader(settings, [TopicPartition(settings.topic(STREAMS), 0)]) as consumer:
            async for _, records in to_end(consumer):
                for record in records:
                    if record.key is None:
                        continue
                    kept.pop(record.key, None)
                    if record.value:
                        kept[record.key] = record.value
    except (KafkaError, OSError) as error:
        raise await asyncio.to_thread(refused, settings, error) from error
    return {each.receiver: each for each in map(stream.read, kept.values())}


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, transmitter: Transmitter) -> None:
        self._transmitter = transmitter

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._transmitter.assigned(assigned)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        if revoked:
            await self._transmitter.revoked()


def now_ms() -> int:
    """The time of day, in ms since 1970."""
    return int(time.time() * 1000)
