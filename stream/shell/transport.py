"""The seams of Faust that Driftline replaces: how records arrive, how they are acknowledged, how outputs go out.

Faust's streams carry one event at a time, cost some 50 µs for each, and acknowledge what raised. Here the
consumer hands whole fetches to a stage, positions come from the stage's own state, and only what the stage
declared durable is committed. Faust keeps what it is good at: the group, the rebalance, the consumer's thread
with its heartbeats, the producer, the services' lives. Pinned to faust-streaming 0.15 and aiokafka 0.14;
`tests/kafka` and `tests/chaos` hold it under crash and rebalance. Imported by the stages (`stream.shell.stage`) and what reads states back.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import faust
from aiokafka import OffsetAndMetadata, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError, UnknownError
from faust.transport.drivers import aiokafka as driver

from models.errors import ConfigError
from stream.events import Headers, Record
from stream.settings import Settings
from stream.shell import wire
from stream.shell.assignor import Assignor

log = logging.getLogger("driftline.worker")

Place = tuple[str, int]
"""Topic and partition, as the broker names them."""

REBALANCE_TIMEOUT_S = 30.0
"""Longest a rebalance waits for a member's last checkpoint."""
REQUEST_TIMEOUT_S = 60.0
"""Longest an output waits for its confirmation before the worker gives up (a leader's election takes seconds)."""
OUTPUT_BATCH_BYTES = 262_144
"""Bytes of one produced batch: far below what topics take, enough to carry hundreds of decisions."""
SMALL_FETCH = 64
LINGER_S = 0.001
"""How long the next fetch is left to fill after one of fewer than `SMALL_FETCH` records (chosen): at moderate load most
of the worker's time would go into fetching one record at a time."""


class Assignment(NamedTuple):
    """What the group gave us in one generation. Compared by identity: each rebalance makes a new one."""

    generation: int
    places: frozenset[Place]


class Receiving(Protocol):
    """What the consumer needs of a stage."""

    async def take_over(self, assignment: Assignment) -> Mapping[Place, int | None]:
        """Prepare for an assignment; gives the offset to read next for each place (None: as committed)."""

    def positioned(self, offsets: Mapping[Any, int]) -> None:
        """From where each place is read on, after `take_over`."""

    async def receive(self, fetched: Mapping[Any, Sequence[Record]], assignment: Assignment) -> None:
        """Take the records of one fetch, by place, in the order of each."""

    def lost(self, place: Place, records: int) -> None:
        """The log begins `records` after the offset that was to be read next."""

    def failed(self, error: BaseException) -> None:
        """Something broke; the worker ends."""


class _Thread(driver.AIOKafkaConsumerThread):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # aiokafka keeps a member's last assignment on the class: two groups in one process need two classes.
        self.assignor: type[Assignor] = type("Own", (Assignor,), {})

    async def _commit(self, offsets: Mapping[Any, int]) -> bool:
        # Faust ends the app when a commit fails. Ours only tells where we are: the next one says it again.
        try:
            await self._ensure_consumer().commit(
                {TopicPartition(*tp): OffsetAndMetadata(offset, "") for tp, offset in offsets.items()}
            )
        except (KafkaError, IllegalStateError) as error:
            log.info("offsets were not committed (%s); the state holds the position", type(error).__name__)
            return False
        return True

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust fixes a fetch wait of 1,500 ms, and an assignor that moves what could stay. Neither has a public setting.
        for name, value in (
            ("_fetch_max_wait_ms", transport.fetch_wait_ms),
            ("_partition_assignment_strategy", (self.assignor,)),
        ):
            if not hasattr(consumer, name):
                raise ConfigError(f"this aiokafka has no {name}; install the pinned version")
            setattr(consumer, name, value)
        return consumer


class Consumer(driver.Consumer):
    """Hands fetches to the stage; commits what the stage says is durable."""

    _thread: _Thread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._durable: dict[Any, int] = {}
        self.current: Assignment | None = None  # None from a revocation to the next assignment
        self._settled: Assignment | None = None  # what the stage has taken over

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    @property
    def settled(self) -> bool:
        """Whether the present assignment was taken over and records flow."""
        return self.current is not None and self._settled is self.current and self._flows

    @property
    def _flows(self) -> bool:
        return bool(self.flow_active and not self.app.rebalancing)

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Called by the group: what was fetched under the old assignment is dropped from here on."""
        self.current = None
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: Any, generation_id: int = 0) -> None:
        """Called by the group. Faust's own generation number changes on another thread, before the places do."""
        self.current = Assignment(generation_id, frozenset((tp.topic, tp.partition) for tp in assigned))
        self._thread.assignor.on_generation_assignment(generation_id)  # aiokafka leaves it to us
        await super().on_partitions_assigned(assigned, generation_id)

    async def first_offset(self, place: Place) -> int:
        """Where the log of `place` begins."""
        tp = faust.types.TP(*place)
        first: int = (await self.earliest_offsets(tp))[tp]
        return first

    def acknowledge(self, place: Place, offset: int) -> None:
        """Everything of `place` up to `offset` is durable; the next commit says so."""
        self._durable[faust.types.TP(*place)] = offset + 1

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit what was acknowledged since the last time; called by Faust at its interval and at the end."""
        if (
            not self._durable
        ):  # as when the worker is stopped before its consumer began: that has no assignment to ask for
            return False
        assigned = self.assignment()
        offsets = {tp: n for tp, n in self._durable.items() if tp in assigned}
        self._durable.clear()
        if not offsets:
            return False
        if not await self._commit(offsets):
            self._durable = {**offsets, **self._durable}  # what was acknowledged meanwhile is newer
            return False
        return True

    async def _drain_messages(self, fetcher: Any) -> None:
        stage: Receiving = self.transport.stage  # type: ignore[attr-defined]
        try:
            while not (self.should_stop or fetcher.should_stop):
                assignment = self.current
                if assignment is None or not self._flows:
                    # Only reading tells what the group was refused, and nothing is read yet.
                    await self._thread.call_thread(self._thread._ensure_consumer()._coordinator.check_errors)
                    await self.sleep(0.05)
                elif self._settled is not assignment:
                    await self._settle(stage, assignment)
                elif not assignment.places:
                    await self.sleep(0.1)
                elif fetched := await self._getmany(active_partitions=_tps(assignment.places), timeout=1.0):
                    await stage.receive(fetched, assignment)
                    if sum(map(len, fetched.values())) < SMALL_FETCH:
                        await self.sleep(LINGER_S)
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise
        except Exception as error:
            stage.failed(error)  # and end quietly: the worker reports it, without the runtime's own trace

    async def _settle(self, stage: Receiving, assignment: Assignment) -> None:
        seeks = await self._positions(stage, assignment)
        if seeks and self.current is assignment:
            await self.seek_wait(seeks)
            stage.positioned(seeks)
        if self.current is assignment:
            self._settled = assignment

    async def _positions(self, stage: Receiving, assignment: Assignment) -> dict[Any, int]:
        """From where each place is read on: as the stage says, else as committed, never before the log begins."""
        wanted = await stage.take_over(assignment)
        # Positions are set here even where the commit decides: a fetch that was under way when the partitions
        # changed may have moved them past records that were dropped.
        earliest = await self.earliest_offsets(*_tps(assignment.places)) if assignment.places else {}
        seeks: dict[Any, int] = {}
        for tp, first in earliest.items():
            offset = wanted[tp.topic, tp.partition]
            if offset is None:
                committed = self._thread._ensure_consumer().committed
                offset = await self._thread.call_thread(committed, TopicPartition(*tp)) or first
            if 0 < offset < first:
                stage.lost((tp.topic, tp.partition), first - offset)
            seeks[tp] = max(offset, first)
        return seeks


def _tps(places: Iterable[Place]) -> set[Any]:
    return {faust.types.TP(*place) for place in places}


class Producer(driver.Producer):
    """Keeps the order of a partition through every retry: an idempotent producer, wherever the broker has them.

    Without it a batch that expires while the next one of its partition gets through would leave decisions out
    of order on the bus.
    """

    _idempotent = True

    def _settings_extra(self) -> Mapping[str, Any]:
        return {**super()._settings_extra(), **({"enable_idempotence": True} if self._idempotent else {})}

    async def on_start(self) -> None:
        """Connect; the embedded broker knows no producer ids, and says so with an unknown error."""
        try:
            await super().on_start()
        except UnknownError:
            refused, self._producer, self._idempotent = self._producer, None, False
            if refused is not None:
                await refused.stop()
            await super().on_start()


class Transport(driver.Transport):
    """Faust's Kafka transport with the consumer and the producer above."""

    Consumer = Consumer
    Producer = Producer
    fetch_wait_ms = 20
    stage: Receiving


def application(settings: Settings, name: str, topics: Sequence[str], stage: Receiving) -> Any:
    """A Faust app that reads `topics` (full names) for `stage`, in the group `name`."""
    wire.install()
    app = faust.App(
        settings.prefix + name,
        broker=[f"kafka://{address.strip()}" for address in settings.bootstrap.split(",")],
        store="memory://",
        datadir=str(settings.state_dir),
        web_enabled=False,  # it would listen on every interface without a password
        topic_disable_leader=True,
        topic_allow_declare=False,
        topic_partitions=settings.partitions,
        consumer_auto_offset_reset="earliest",
        # A partition gives way to the others after so many bytes; a larger record still comes, alone.
        consumer_max_fetch_size=settings.fetch_max_bytes,
        producer_acks=-1,
        producer_max_batch_size=OUTPUT_BATCH_BYTES,
        producer_max_request_size=settings.message_max_bytes + 2 * 65_536,
        producer_request_timeout=REQUEST_TIMEOUT_S,
        broker_max_poll_records=settings.batch_max,
        broker_commit_interval=1.0,
        # A dead worker's partitions are free after the session timeout. A busy one lives: the consumer's
        # thread sends the heartbeats.
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.session_timeout_s / 5,
        broker_rebalance_timeout=REBALANCE_TIMEOUT_S,
        stream_wait_empty=False,  # there are no streams to wait for
        **_credentials(settings),
    )
    transport = Transport(app.conf.broker_consumer, app)
    transport.fetch_wait_ms = settings.fetch_wait_ms
    transport.stage = stage
    app.transport = transport
    for topic in topics:
        # Registered for the subscription alone; nothing is delivered to this channel.
        app.topics.add(app.topic(topic, value_type=bytes, value_serializer="raw", acks=False))
    return app


def _credentials(settings: Settings) -> dict[str, Any]:
    """How to be let in, as Faust takes it; nothing for a plain listener."""
    if settings.security_protocol == "PLAINTEXT":
        return {}
    context = settings.ssl_context() if settings.security_protocol.endswith("SSL") else None
    if not settings.security_protocol.startswith("SASL"):
        return {"broker_credentials": faust.SSLCredentials(context)}
    return {
        "broker_credentials": faust.SASLCredentials(
            username=settings.sasl_username,
            password=settings.sasl_password,
            mechanism=settings.sasl_mechanism,
            ssl_context=context,
        )
    }


async def send(
    app: Any, records: Iterable[tuple[str, int, bytes | None, bytes | None, Headers]]
) -> list[Awaitable[Any]]:
    """Hand records to the producer in their order; gives what to await for their confirmation.

    Parameters
    ----------
    app : faust.App
        Whose producer sends.
    records : iterable of tuple
        Full topic name, partition, key, value (None: a tombstone), headers.

    Notes
    -----
    One batch for each topic and partition, one future for each batch. The producer has one request for a
    partition in flight, so that batches of a partition arrive in the order of the calls.
    """
    producer = app.producer._producer
    by_place: dict[Place, list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]]] = defaultdict(
        list
    )
    for topic, partition, key, value, headers in records:
        by_place[topic, partition].append((key, value, list(headers)))  # the encoder wants lists
    futures: list[Awaitable[Any]] = []
    for (topic, partition), rows in by_place.items():
        batch = producer.create_batch()
        for key, value, pairs in rows:
            if batch.append(key=key, value=value, timestamp=None, headers=pairs) is None:
                futures.append(await producer.send_batch(batch, topic, partition=partition))
                batch = producer.create_batch()
                batch.append(key=key, value=value, timestamp=None, headers=pairs)
        futures.append(await producer.send_batch(batch, topic, partition=partition))
    return futures
