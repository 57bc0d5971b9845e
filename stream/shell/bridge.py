"""The bridge on the bus: revocations in, outcomes out, and an offset committed once all before it is told.

The outcomes are the only memory (`stream.bridge.ledger`): a bridge that takes partitions over reads them first, so that what another
did is not done again. A crash between an effect and its outcome repeats the call, which finds the credential gone.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from models.contracts import Outcome
from models.errors import BrokerError
from stream.bridge.configuration import Configuration, provider_of
from stream.bridge.delivery import Delivery
from stream.bridge.lane import Lane
from stream.bridge.ledger import Ledger
from stream.bridge.order import Order, Trust, addressee, order_of
from stream.bridge.provider import Provider
from stream.events import OUTCOMES, REVOCATIONS, Record, dumps
from stream.outbound.tokens import TokenError
from stream.settings import Settings
from stream.shell import wire
from stream.shell.bridge_metrics import BridgeMeasures
from stream.shell.clients import TURN_S, stopped, to_beginning, until, watch_broker
from stream.shell.connection import answers, refused
from stream.shell.reading import POLL_MS, to_end

COMMIT_S = 1.0
"""Between two commits: what is asked of the ledger again after a crash."""
STOP_S = 10.0
"""How long calls that are under way may take when the bridge is told to stop."""
MOST_OTHERS = 16
KEPT_MS = 30 * 86_400_000
"""How long outcomes are kept (`stream.shell.topic_table`): that there is none tells nothing of an older revocation."""

_log = logging.getLogger("driftline.bridge")


class _Partition:
    """How far the records of one partition are dealt with; -1 before the first one is read."""

    def __init__(self) -> None:
        self.next = self.committed = -1
        self.open: dict[int, asyncio.Task[None]] = {}

    def done(self) -> int:
        """The first offset that is not dealt with.

        Raises
        ------
        BrokerError
            An outcome could not be told: its offset stays open, and the bridge is to stop.
        """
        for offset, task in [*self.open.items()]:
            if task.done() and not task.cancelled():
                task.result()
                del self.open[offset]
        return next(iter(self.open), self.next)


class Bridge:
    """Carries out what comes on the topic of revocations.

    Parameters
    ----------
    settings : Settings
        Kafka, prefix and group.
    configuration : Configuration
        Providers and limits.
    trust : Trust
        Whose tokens count.
    measures : BridgeMeasures
        What is told of it.
    draw : callable
        Uniform in [0, 1): the jitter of pauses.
    say : callable
        Hears when the bridge reads.
    """

    def __init__(
        self,
        settings: Settings,
        configuration: Configuration,
        trust: Trust,
        measures: BridgeMeasures,
        draw: Callable[[], float] = random.random,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        wire.install()
        self._settings, self._configuration, self._trust = settings, configuration, trust
        self._measures, self._draw, self.say = measures, draw, say
        self._partitions: dict[TopicPartition, _Partition] = {}
        self.ledger = Ledger()
        self._outcomes: AIOKafkaConsumer | None = None
        self._rebalances, self._others = 0, set[str]()
        self._failed: BrokerError | None = None
        self.counts: Counter[str] = Counter()

    async def run(self, stop: asyncio.Event) -> None:
        """Carry revocations out until told to stop.

        Raises
        ------
        BrokerError
            No broker answers, a topic or a right is missing, or an outcome was not confirmed.
        """
        async with _Ends(self._settings, self._configuration, self._draw) as ends:
            delivery = self._delivery(ends)
            consumer = ends.consumer(
                group_id=_group(self._settings),
                session_timeout_ms=int(self._settings.session_timeout_s * 1000),
                heartbeat_interval_ms=max(1, int(self._settings.session_timeout_s * 1000 / 4)),
            )
            self._outcomes = ends.consumer()
            reading = self._begin(consumer, await ends.places(OUTCOMES), delivery, ends.lanes, stop)
            try:
                watching = watch_broker(self._settings, lambda: self._outcomes, self._measures.note_broker)
                await until(stop, reading, watching)
                await self._finish(consumer)
            except (KafkaError, OSError) as error:
                raise refused(self._settings, error) from error
            finally:
                await self._cancel(list(self._partitions))
                await stopped(consumer)
                await stopped(self._outcomes)

    async def _begin(
        self,
        consumer: AIOKafkaConsumer,
        outcomes: Collection[TopicPartition],
        delivery: Delivery,
        lanes: Mapping[str, Lane],
        stop: asyncio.Event,
    ) -> None:
        assert self._outcomes is not None
        await self._outcomes.start()
        await to_beginning(self._outcomes, outcomes)
        consumer.subscribe([self._settings.topic(REVOCATIONS)], listener=_Listener(self, consumer))
        await consumer.start()
        await self._read(consumer, delivery, lanes, stop)

    async def retry(self) -> Counter[tuple[str, str]]:
        """Carry out again what failed and was not done since, and what was skipped or refused and holds now.

        Gives the outcomes by (broker, status). What the group has not committed yet is the running bridge's, and left to it.
        """
        async with _Ends(self._settings, self._configuration, self._draw) as ends:
            delivery = self._delivery(ends)
            dealt_with = await ends.committed(REVOCATIONS)
            kept_ms, begun = _now_ms() - KEPT_MS, set()
            async for record in ends.all_of(OUTCOMES):
                if record.partition not in begun and record.offset > 0:
                    kept_ms = max(kept_ms, record.timestamp_ms)  # earlier outcomes were removed
                begun.add(record.partition)
                self.ledger.take(_document(record.value))
            failed = self.ledger.failed()
            running: set[asyncio.Task[None]] = set()
            async for record in ends.all_of(REVOCATIONS):
                order = self._order(record)
                if order is None:
                    continue
                untold = (
                    not self.ledger.forgot
                    and record.timestamp_ms >= kept_ms
                    and record.offset < dealt_with.get(TopicPartition(record.topic, record.partition), 0)
                    and not all(self.ledger.is_done(order.jti, name) for name in order.names())
                )
                if untold or order.jti in failed:
                    running.add(delivery.begin(order, _now_ms()))
                while len(running) >= self._configuration.orders_at_once:
                    done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
            await asyncio.gather(*running)
            return delivery.counts

    async def would_do(self) -> AsyncIterator[Order]:
        """Every order that is on the bus now; nothing is done and nothing committed."""
        async with _Ends(self._settings, self._configuration, self._draw) as ends:
            async for record in ends.all_of(REVOCATIONS):
                if (order := self._order(record)) is not None:
                    yield order

    async def _read(
        self, consumer: AIOKafkaConsumer, delivery: Delivery, lanes: Mapping[str, Lane], stop: asyncio.Event
    ) -> None:
        commits_s = 0.0
        while not stop.is_set():
            if self._failed is not None:
                raise self._failed
            # What is done waits in `open` for the next commit, and takes no room till then.
            under_way = sum(
                not task.done() for each in self._partitions.values() for task in each.open.values()
            )
            room = self._configuration.orders_at_once - under_way
            held = consumer.assignment()
            (consumer.resume if room > 0 else consumer.pause)(*held)
            polled = await consumer.getmany(timeout_ms=POLL_MS, max_records=max(1, room))
            if not await self._take_over([place for place in polled if place not in self._partitions]):
                continue
            for place, records in polled.items():
                partition = self._partitions[place]
                for record in records:
                    partition.next = record.offset + 1
                    if (order := self._order(record)) is not None:
                        partition.open[record.offset] = delivery.begin(order, record.timestamp_ms)
            self._measures.turn(lanes, ready=bool(held))
            if (now_s := asyncio.get_running_loop().time()) >= commits_s:
                commits_s = now_s + COMMIT_S
                await self._commit(consumer)

    async def _finish(self, consumer: AIOKafkaConsumer) -> None:
        """Let what is under way come to its end, and commit what did."""
        running = [task for partition in self._partitions.values() for task in partition.open.values()]
        if running:
            await asyncio.wait(running, timeout=STOP_S)
        try:
            async with asyncio.timeout(TURN_S):
                await self._commit(consumer)
        except TimeoutError:
            _log.warning(
                "no commit at the end: no broker answers; the ledger tells the next start what was done"
            )

    async def _commit(self, consumer: AIOKafkaConsumer) -> None:
        done = {place: (partition, partition.done()) for place, partition in self._partitions.items()}
        due = {place: each for place, each in done.items() if each[1] != each[0].committed}
        if not due:
            return
        try:
            await consumer.commit({place: offset for place, (_, offset) in due.items()})
        except (CommitFailedError, IllegalStateError):
            _log.warning(
                "partitions were taken over before a commit; the ledger tells the next owner what was done"
            )
            return
        for partition, offset in due.values():
            partition.committed = offset

    async def _take_over(self, places: Collection[TopicPartition]) -> bool:
        """Learn what others did before anything of these partitions is done; False if all were taken away meanwhile.

        Not when they are assigned: the client hands out records before its listener has ended, and drops what that raises. It
        also names partitions as ours until the group has met again. So rebalances are counted: what was read before one belongs
        to whoever has it now, and is read anew from what was committed.
        """
        if places:
            before = self._rebalances
            await self._learn()
            if self._rebalances != before:
                return False
        for place in places:
            self._partitions[place] = _Partition()
        return True

    async def revoked(self, consumer: AIOKafkaConsumer, places: Collection[TopicPartition]) -> None:
        """Stop what is under way of these partitions; who has them next goes on."""
        self._rebalances += 1
        try:
            await self._cancel(places)
            await self._commit(consumer)
        except BrokerError as error:
            self._failed = error  # the client swallows what its listener raises
        except KafkaError as error:
            _log.warning(
                "no commit before a rebalance (%s); the ledger tells the next owner what was done",
                type(error).__name__,
            )
        finally:
            for place in places:
                self._partitions.pop(place, None)

    async def _cancel(self, places: Collection[TopicPartition]) -> None:
        tasks = [
            task
            for place in places
            if place in self._partitions
            for task in self._partitions[place].open.values()
        ]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _learn(self) -> None:
        assert self._outcomes is not None
        async for _, records in to_end(self._outcomes):
            for record in records:
                self.ledger.take(_document(record.value))
            self._measures.alive()

    def _delivery(self, ends: _Ends) -> Delivery:
        providers = {name: each.provider for name, each in self._configuration.brokers.items()}
        return Delivery(ends.lanes, providers, self.ledger, self._telling(ends.report), _now_ms)

    def _telling(
        self, report: Callable[[str, Outcome], Awaitable[None]]
    ) -> Callable[[str, Outcome], Awaitable[None]]:
        async def tell(tenant: str, outcome: Outcome) -> None:
            await report(tenant, outcome)
            self._measures.told(outcome)

        return tell

    def _order(self, record: Record) -> Order | None:
        """What a record asks this bridge for, if it asks it for anything."""
        try:
            order = order_of(record.value or b"", self._trust, _now_ms() / 1000)
        except TokenError as error:
            self.counts["refused"] += 1
            self._measures.refused(error.reason)
            place = f"{record.topic}[{record.partition}]@{record.offset}"
            _log.error("refused, and not acted on: %s: %s", place, error)
            return None
        self.counts["skipped" if order is None else "orders"] += 1
        if order is None:
            self._skipped(record)
        return order

    def _skipped(self, record: Record) -> None:
        """Say once of each audience that it is another's: one that is misspelt in the configuration looks the same."""
        audience = addressee(record.value or b"")
        if audience not in self._others and len(self._others) < MOST_OTHERS:
            self._others.add(audience)
            _log.info(
                "skipped: what is for %.200r, who this bridge is not; if it is, add that to audiences, and then run "
                "driftline bridge --retry-failed",
                audience,
            )


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, bridge: Bridge, consumer: AIOKafkaConsumer) -> None:
        self._bridge, self._consumer = bridge, consumer

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._bridge.say(f"ready: reads {len(assigned)} partitions of revocations")

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        await self._bridge.revoked(self._consumer, revoked)


class _Ends:
    """The bridge's ends: providers, each in a lane, and a producer of outcomes."""

    def __init__(self, settings: Settings, configuration: Configuration, draw: Callable[[], float]) -> None:
        self._settings = settings
        self._options = settings.aiokafka()
        self._providers: dict[str, Provider] = {
            name: provider_of(each) for name, each in configuration.brokers.items()
        }
        self._limits, self._draw = configuration.limits, draw
        self.lanes: dict[str, Lane] = {}

    async def __aenter__(self) -> _Ends:
        await answers(self._settings)
        self.lanes = {name: Lane(each, self._limits, self._draw) for name, each in self._providers.items()}
        # Not idempotent: an outcome that arrives twice says the same, and the embedded broker gives no producer ids to this client.
        self._producer = AIOKafkaProducer(**self._options, acks="all", client_id="driftline-bridge")
        try:
            await self._producer.start()
            for base in (REVOCATIONS, OUTCOMES):
                if not await self.places(base):
                    raise BrokerError(
                        f"{self._settings.topic(base)}: no such topic; run `driftline topics create`"
                    )
        except (KafkaError, OSError) as error:
            await self._producer.stop()
            raise refused(self._settings, error) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        await stopped(self._producer)
        for provider in self._providers.values():
            await provider.close()

    async def places(self, base: str) -> list[TopicPartition]:
        """A topic's partitions; empty where there is no such topic."""
        topic = self._settings.topic(base)
        return [
            TopicPartition(topic, number)
            for number in sorted(await self._producer.partitions_for(topic) or ())
        ]

    def consumer(self, **options: Any) -> AIOKafkaConsumer:
        """A consumer that commits nothing by itself."""
        return AIOKafkaConsumer(
            **self._options,
            **options,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=self._settings.fetch_wait_ms,
            client_id="driftline-bridge",
        )

    async def report(self, tenant: str, outcome: Outcome) -> None:
        """Send an outcome and wait until the broker has it."""
        value = dumps(outcome.model_dump(mode="json", exclude_none=True))
        try:
            await self._producer.send_and_wait(self._settings.topic(OUTCOMES), value, tenant.encode())
        except KafkaError as error:
            raise BrokerError(f"an outcome was not confirmed ({type(error).__name__})") from error

    async def committed(self, base: str) -> dict[TopicPartition, int]:
        """Up to where the bridge's group has dealt with a topic."""
        consumer = self.consumer(group_id=_group(self._settings))
        await consumer.start()
        try:
            await to_beginning(consumer, await self.places(base))
            held = {place: await consumer.committed(place) for place in consumer.assignment()}
            return {place: offset for place, offset in held.items() if offset is not None}
        finally:
            await stopped(consumer)

    async def all_of(self, base: str) -> AsyncIterator[Record]:
        """What stands on a topic at this moment."""
        consumer = self.consumer()
        await consumer.start()
        try:
            await to_beginning(consumer, await self.places(base))
            async for _, records in to_end(consumer):
                for record in records:
                    yield record
        finally:
            await consumer.stop()


def _group(settings: Settings) -> str:
    return f"{settings.prefix}{settings.group}-bridge"


def _document(value: bytes | None) -> Mapping[str, Any]:
    try:
        read = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return {}
    return read if isinstance(read, dict) else {}


def _now_ms() -> int:
    return int(time.time() * 1000)
