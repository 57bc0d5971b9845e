"""Spans onto the bus as events: joined, sent in order, kept until the broker confirmed them; spans read from Kafka topics.

Of the topics of spans an offset is committed once the events of all before it are confirmed and nothing before it is held, so a
crash loses nothing: the rest is read anew, and the events that come again have the same ids.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, MessageSizeTooLargeError

from models.errors import BrokerError, InputError
from stream.events import EVENTS
from stream.offline.imports import otlp
from stream.offline.imports.assembly import Made
from stream.offline.imports.joining import Joiner
from stream.offline.imports.otlp import Span
from stream.offline.imports.steps import Notes
from stream.settings import Settings
from stream.shell import wire
from stream.shell.clients import TURN_S, stopped, until, watch_broker
from stream.shell.connection import answers, refused
from stream.shell.reading import POLL_MS

AT_ONCE = 500
"""Events that are on their way to the broker at the same time, and records of spans that are read together."""
CONFIRM_S = 10.0
"""How long the broker may take to confirm them; then they are sent again."""
MOST_UNSENT = 20_000
"""Events that may wait for the broker before nothing more is taken."""
PAUSE_S = 1.0
"""Between two tries, and between two commits."""
AHEAD_S = 60.0
"""How far a record's own time may be ahead of this machine's before it is not believed."""
NO_TOPIC = "{}: no such topic; {}"

_log = logging.getLogger("driftline.otel")


class Feed:
    """Joins spans and sends their events.

    Parameters
    ----------
    settings : Settings
    joiner : Joiner
    notes : Notes
        The joiner's.
    """

    def __init__(self, settings: Settings, joiner: Joiner, notes: Notes) -> None:
        self.joiner, self.notes, self.sent = joiner, notes, 0
        self._settings = settings
        self._unsent: deque[Made] = deque()
        self._is_away = False
        self._lock = asyncio.Lock()
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> Feed:
        await answers(self._settings)
        # Not idempotent: an event that arrives twice is one, and the embedded broker gives no producer ids to this client.
        producer = AIOKafkaProducer(
            **self._settings.aiokafka(),
            acks="all",
            client_id="driftline-otel",
            max_request_size=self._settings.message_max_bytes,
        )
        try:
            await producer.start()
            topic = self._settings.topic(EVENTS)
            if not await producer.partitions_for(topic):
                raise BrokerError(NO_TOPIC.format(topic, "run `driftline topics create`"))
        except (KafkaError, OSError) as error:
            await stopped(producer)
            raise refused(self._settings, error) from error
        except BrokerError:
            await stopped(producer)
            raise
        self._producer = producer
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._producer is not None:
            await stopped(self._producer)

    @property
    def is_behind(self) -> bool:
        """Whether no broker was reached yet, or it did not confirm what was sent last, or too much waits for it."""
        return self._producer is None or self._is_away or len(self._unsent) > MOST_UNSENT

    @property
    def unsent(self) -> int:
        """How many events no broker confirmed yet."""
        return len(self._unsent)

    async def push(self, made: Iterable[Made] = ()) -> bool:
        """Send these events after those that wait; whether all are confirmed. What is not is kept."""
        self._unsent.extend(made)
        async with self._lock:
            while self._unsent:
                some = [self._unsent[n] for n in range(min(AT_ONCE, len(self._unsent)))]
                try:
                    async with asyncio.timeout(CONFIRM_S):
                        await self._send(some)
                except (KafkaError, OSError, TimeoutError) as error:
                    _log.warning(
                        "events wait for the broker (%s): %d", type(error).__name__, len(self._unsent)
                    )
                    self._is_away = True
                    return False
                self._is_away = False
                for _ in some:
                    self._unsent.popleft()
                self.sent += len(some)
        return True

    async def _send(self, some: Collection[Made]) -> None:
        assert self._producer is not None
        topic, futures = self._settings.topic(EVENTS), []
        for each in some:
            try:
                futures.append(await self._producer.send(topic, each.value, each.root.encode()))
            except MessageSizeTooLargeError:
                self.notes.refuse(
                    "an event", "it is larger than the topic takes: raise DRIFTLINE_MESSAGE_MAX_BYTES"
                )
        await asyncio.gather(*futures)

    async def turn(self, now_s: float) -> bool:
        """Send what waited long enough; whether nothing waits for the broker now. While it is away spans are held on."""
        return await self.push(self.joiner.due(now_s)) if await self.push() else False

    async def finish(self) -> None:
        """Tell all that is held, and wait for the broker for a moment; what it did not confirm is counted."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CONFIRM_S + TURN_S):
                await self.push(self.joiner.drain())
        if self._unsent:
            self.notes.lose("events that no broker confirmed", len(self._unsent))


class Topics:
    """Spans of Kafka topics, as the Collector's Kafka exporter writes them: ``otlp_proto`` or ``otlp_json``, told record by record.

    Parameters
    ----------
    settings : Settings
    feed : Feed
    names : collection of str
        Topics, without a prefix.
    say : callable
        Hears when it reads.
    """

    def __init__(
        self,
        settings: Settings,
        feed: Feed,
        names: Collection[str],
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        wire.install()
        self._settings, self._feed, self._names, self._say = settings, feed, sorted(names), say
        self._next: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._clock_s = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Read until told to stop. What is held then is read anew by the next process.

        Raises
        ------
        BrokerError
            No broker answers, or a topic or a right is missing.
        """
        consumer = AIOKafkaConsumer(
            **self._settings.aiokafka(),
            group_id=f"{self._settings.prefix}{self._settings.group}-otel",
            session_timeout_ms=int(self._settings.session_timeout_s * 1000),
            heartbeat_interval_ms=max(1, int(self._settings.session_timeout_s * 1000 / 4)),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=self._settings.fetch_wait_ms,
            client_id="driftline-otel",
        )
        try:
            await consumer.start()
            if missing := sorted(set(self._names) - await consumer.topics()):
                raise BrokerError(
                    NO_TOPIC.format(", ".join(missing), "is it what the Collector's exporter writes to?")
                )
            consumer.subscribe(self._names, listener=_Listener(self, consumer))
            watching = watch_broker(self._settings, lambda: consumer, lambda _: None)
            await until(stop, self._read(consumer, stop), watching)
        except (KafkaError, OSError) as error:
            raise refused(self._settings, error) from error
        finally:
            await stopped(consumer)

    async def _read(self, consumer: AIOKafkaConsumer, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        turn_s = commit_s = loop.time()
        while not stop.is_set():
            polled = await consumer.getmany(timeout_ms=POLL_MS, max_records=AT_ONCE)
            now_s, turn_s = loop.time() - turn_s, loop.time()
            if not polled:  # the log's own time stands still where nothing comes
                self._clock_s += now_s
            made: list[Made] = []
            for place, records in polled.items():
                for record in records:
                    self._clock_s = max(self._clock_s, min(record.timestamp_ms / 1000, time.time() + AHEAD_S))
                    made += self._feed.joiner.take(
                        self._spans(record.value, place, record.offset), self._clock_s, (place, record.offset)
                    )
                    self._next[place] = record.offset + 1
            made += self._feed.joiner.due(self._clock_s)
            while not await self._feed.push(made) and not stop.is_set():
                made = []
                await asyncio.sleep(PAUSE_S)
            if loop.time() >= commit_s:
                commit_s = loop.time() + PAUSE_S
                await self.commit(consumer)
        await self.commit(consumer)

    def _spans(self, value: bytes | None, place: TopicPartition, offset: int) -> list[Span]:
        where = f"{place.topic}, partition {place.partition}, offset {offset}"
        try:
            return otlp.spans_in(value or b"", self._feed.notes, where)
        except InputError as error:
            self._feed.notes.refuse(where, str(error).removeprefix(f"{where}: "))
            return []

    async def commit(self, consumer: AIOKafkaConsumer) -> None:
        """Commit how far nothing is held and all is confirmed."""
        if self._feed.unsent:
            return
        needed, held = self._feed.joiner.needed_from(), consumer.assignment()
        done = {
            place: min(offset, needed.get(place, offset))
            for place, offset in self._next.items()
            if place in held
        }
        due = {place: offset for place, offset in done.items() if self._committed.get(place) != offset}
        if not due:
            return
        try:
            async with asyncio.timeout(TURN_S):
                await consumer.commit(due)
        except (CommitFailedError, IllegalStateError, TimeoutError):
            _log.warning(
                "partitions were taken over before a commit; their spans are read again, and their events known"
            )
            return
        self._committed |= due

    async def assigned(self, consumer: AIOKafkaConsumer, places: Collection[TopicPartition]) -> None:
        """Learn whether others read these partitions before."""
        for place in places:
            self._next.pop(place, None)
            if await consumer.committed(place):  # 0: what another held and never told
                self._feed.joiner.resume()
        if places:
            self._say(f"ready: reads {len(places)} partitions of {', '.join(self._names)}")


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, topics: Topics, consumer: AIOKafkaConsumer) -> None:
        self._topics, self._consumer = topics, consumer

    async def on_partitions_revoked(self, revoked: Any) -> None:
        # What is held of them is read by their next owner too: its events have the same ids.
        with suppress(KafkaError):
            await self._topics.commit(self._consumer)

    async def on_partitions_assigned(self, assigned: Any) -> None:
        await self._topics.assigned(self._consumer, assigned)
