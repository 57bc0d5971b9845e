"""The two sides of the bus, each on a thread of its own, so that an agent never waits for Kafka but where it asks to."""

from __future__ import annotations

import difflib
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, NamedTuple

from driftline_client.outcome import Decision

RETRY_S = 1.0
"""How long the bus is left alone after it could not be reached."""
POLL_S = 0.2
Headers = Sequence[tuple[str, bytes]]

_log = logging.getLogger("driftline.client")


class Item(NamedTuple):
    """An event on its way: `told` hears once what became of it, None if it arrived."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers
    told: Callable[[Exception | None], None]


class Overflow(Exception):
    """The buffer was full, or the client was closed before the event had left."""


class Outbox:
    """Sends events in their order. What waits for the bus is bounded: beyond it the newest are not taken.

    Parameters
    ----------
    connect : callable
        Makes a producer of kafka-python; tried until it succeeds.
    first : callable
        What is waited for before the first event leaves.
    most_events, most_bytes : int
        What may be on its way.
    """

    def __init__(
        self, connect: Callable[[], Any], first: Callable[[], Any], *, most_events: int, most_bytes: int
    ) -> None:
        self._connect, self._first = connect, first
        self._most_events, self._most_bytes = most_events, most_bytes
        self._waiting: deque[Item] = deque()
        self._changed = threading.Condition()
        self._away: dict[int, Item] = {}  # taken, and neither arrived nor lost
        self._bytes_away = 0
        self._closing = False
        self._give_up_at = float("inf")
        self._thread = threading.Thread(target=self._run, name="driftline-outbox", daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Take an event; where there is no room `item.told` hears of it at once."""
        with self._changed:
            size = len(item.value) + len(item.key)
            full = len(self._away) >= self._most_events or self._bytes_away + size > self._most_bytes
            taken = not self._closing and not full
            if taken:
                self._away[id(item)], self._bytes_away = item, self._bytes_away + size
                self._waiting.append(item)
                self._changed.notify_all()
        if not taken:
            item.told(Overflow("the client is closed" if self._closing else "the buffer is full"))

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was taken has arrived or is lost; False if some is still on its way."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._away, timeout_s)

    def close(self, timeout_s: float) -> None:
        """Take nothing more, and give what was taken so long to arrive."""
        with self._changed:
            self._closing, self._give_up_at = True, time.monotonic() + timeout_s
            self._changed.notify_all()
        self._thread.join(timeout_s)
        with self._changed:
            left = list(self._away.values())
        for item in left:
            self._done(item, Overflow("the client was closed before the event had arrived"))

    def _run(self) -> None:
        producer = None
        self._first()
        while (item := self._next()) is not None:
            while True:
                try:
                    producer = producer if producer is not None else self._connect()
                    sending = producer.send(
                        item.topic, key=item.key, value=item.value, headers=list(item.headers)
                    )
                except Exception as error:
                    if _is_lasting(error):
                        self._done(item, error)
                        producer = _left(producer, error)
                        break
                    _log.warning("Kafka cannot be reached (%s); events wait", type(error).__name__)
                    if not self._pause():
                        self._done(item, Overflow("the client was closed before the bus could be reached"))
                        break
                    continue
                sending.add_callback(lambda _, item=item: self._done(item, None))
                sending.add_errback(lambda error, item=item: self._done(item, error))
                break
        left_s = max(0.0, self._give_up_at - time.monotonic())
        self.flush(left_s)
        if producer is not None:
            _shut(producer, max(0.1, self._give_up_at - time.monotonic()))

    def _next(self) -> Item | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            return self._waiting.popleft() if self._waiting else None

    def _pause(self) -> bool:
        """Wait before the bus is tried again; False if there is no time left."""
        with self._changed:
            until = min(RETRY_S, self._give_up_at - time.monotonic())
            self._changed.wait_for(lambda: time.monotonic() >= self._give_up_at, max(0.0, until))
        return time.monotonic() < self._give_up_at

    def _done(self, item: Item, error: Exception | None) -> None:
        with self._changed:
            known = self._away.pop(id(item), None)
            if known is not None:
                self._bytes_away -= len(item.value) + len(item.key)
            self._changed.notify_all()
        if known is not None:  # each is told once, whichever thread comes first
            item.told(error)


def _is_lasting(error: Exception) -> bool:
    """Whether to send the same once more would fail the same way."""
    from kafka.errors import KafkaError

    return not isinstance(error, KafkaError | OSError) or not getattr(error, "retriable", True)


def _left(producer: Any, error: Exception) -> Any:
    """The producer to go on with: one that failed for another cause than the event itself fails ever after."""
    from kafka.errors import KafkaError, MessageSizeTooLargeError

    if producer is None or not isinstance(error, KafkaError) or isinstance(error, MessageSizeTooLargeError):
        return producer
    _shut(producer, 0)
    return None


def _shut(producer: Any, timeout_s: float) -> None:
    """Close a producer. kafka-python's raises where something is still on its way, and stays open: that is given up, as its owner has."""
    from kafka.errors import KafkaError

    try:
        producer.close(timeout=timeout_s)
    except KafkaError:
        with suppress(AttributeError, KafkaError):
            producer._sender.force_close()
            producer.close(timeout=1)


class _Waiting(NamedTuple):
    """Whose decision is waited for: that on one event of one tenant."""

    event_id: str
    tenant: str | None
    decided: Future[Decision | None]


class Answers:
    """Reads the topic of decisions once, for any number of calls that wait.

    Parameters
    ----------
    connect : callable
        Makes a consumer of kafka-python; tried until it succeeds.
    topic : str
        The topic of decisions.
    """

    def __init__(self, connect: Callable[[], Any], topic: str) -> None:
        self._connect, self._topic = connect, topic
        self._lock = threading.Lock()
        self._keys: dict[bytes, int] = {}  # of the records of open sessions, and of how many
        self._sessions: dict[str, dict[str, _Waiting]] = {}  # by session and call
        self._reads = threading.Event()
        self.why_not = ""
        """Why nothing is read, in words; empty while it is."""
        self._stops = threading.Event()
        self._thread = threading.Thread(target=self._run, name="driftline-answers", daemon=True)
        self._thread.start()

    def ready(self, timeout_s: float) -> bool:
        """Wait until decisions on what is sent from now on are read; False if they are not yet."""
        return self._reads.wait(timeout_s)

    def open(self, key: bytes, session_id: str) -> None:
        """Begin to hear of a session; `ValueError` where one of that name is open."""
        with self._lock:
            if session_id in self._sessions:
                raise ValueError(f"session {session_id} is open already; each task has an id of its own")
            self._sessions[session_id] = {}
            self._keys[key] = self._keys.get(key, 0) + 1

    def close_session(self, key: bytes, session_id: str) -> None:
        """Hear of it no more; who still waits is told that nothing comes."""
        with self._lock:
            left = self._sessions.pop(session_id, None)
            if left is None:
                return
            self._keys[key] -= 1
            if not self._keys[key]:
                del self._keys[key]
        for each in left.values():
            each.decided.set_result(None)

    def expect(
        self, session_id: str, call_id: str, event_id: str, tenant: str | None
    ) -> Future[Decision | None]:
        """What will be decided on a call; None as its result: nothing will. Ask before it is sent."""
        waiting = _Waiting(event_id, tenant, Future())
        with self._lock:
            calls = self._sessions.get(session_id)
            if calls is not None:
                calls[call_id] = waiting
        if calls is None:
            waiting.decided.set_result(None)
        return waiting.decided

    def give_up(self, session_id: str, call_id: str) -> None:
        """Nothing will be decided on a call: its event is lost."""
        with self._lock:
            waiting = self._sessions.get(session_id, {}).pop(call_id, None)
        if waiting is not None:
            waiting.decided.set_result(None)

    @property
    def n_waiting(self) -> int:
        """Calls that nothing was decided on yet."""
        with self._lock:
            return sum(map(len, self._sessions.values()))

    def close(self) -> None:
        """Stop reading."""
        self._stops.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stops.is_set():
            consumer = None
            try:
                consumer = self._connect()
                self._read(consumer)
            except Exception as error:
                self.why_not = f"{type(error).__name__}: {error}"
                _log.warning("decisions cannot be read (%s)", self.why_not)
            finally:
                self._reads.clear()
                if consumer is not None:
                    consumer.close()
            self._stops.wait(RETRY_S)

    def _read(self, consumer: Any) -> None:
        from kafka import TopicPartition

        known = consumer.partitions_for_topic(self._topic)
        if not known:
            raise LookupError(
                f"{self._topic} is missing (run `driftline topics create`), or this principal may not read it"
            )
        places = [TopicPartition(self._topic, number) for number in sorted(known)]
        consumer.assign(places)
        consumer.seek_to_end()
        for place in places:
            consumer.position(place)  # finds the end now, not at the first poll
        self.why_not = ""
        self._reads.set()
        while not self._stops.is_set():
            for records in consumer.poll(timeout_ms=round(POLL_S * 1000)).values():
                for record in records:
                    self._take(record)

    def _take(self, record: Any) -> None:
        if record.key not in self._keys:  # of others: not even read
            return
        try:
            document = json.loads(record.value)
            session_id, call_id = document["session_id"], document["call_id"]
            decision, told = Decision.of(document), (document["event_id"], document["tenant"])
            with self._lock:
                calls = self._sessions.get(session_id, {})
                waiting = calls.get(call_id)
                # Another tenant may have a session of that name, and an older task may have had one.
                ours = (
                    waiting is not None and told[0] == waiting.event_id and waiting.tenant in (None, told[1])
                )
                waiting = calls.pop(call_id) if ours else None  # a repeat says the same
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
            return  # not written by a worker
        if waiting is not None:
            waiting.decided.set_result(decision)


def clients(
    bootstrap: str, security: Mapping[str, Any], own: Collection[str] = ()
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """What makes a producer that loses and reorders nothing, and what makes a consumer.

    Parameters
    ----------
    own : collection of str
        What may have been meant by a name that kafka-python lacks, beside its own settings.

    Raises
    ------
    TypeError
        A name in `security` that neither the client nor kafka-python has: nothing would be sent or read, and only the log would say so.
    """
    if security:
        from kafka import KafkaProducer

        if unknown := sorted(set(security) - set(KafkaProducer.DEFAULT_CONFIG)):
            close = difflib.get_close_matches(unknown[0], (*own, *KafkaProducer.DEFAULT_CONFIG), 1)
            mend = f"did you mean {close[0]!r}?" if close else "kafka-python has no such setting either"
            raise TypeError(f"Client has no argument {unknown[0]!r}; {mend}")

    connection: dict[str, Any] = {
        "bootstrap_servers": bootstrap,
        "client_id": "driftline-client",
        # A broker that comes back is found within a second: left alone, kafka-python tries every 30 s after a while.
        "reconnect_backoff_max_ms": 1_000,
        # Asked for offsets, kafka-python 3.0 does not look for a leader that moved; it gives up after 30 s.
        "metadata_max_age_ms": 10_000,
        **security,
    }

    def producer() -> Any:
        from kafka import KafkaProducer

        return KafkaProducer(
            **connection, acks="all", enable_idempotence=True, max_block_ms=5_000, request_timeout_ms=5_000,
            delivery_timeout_ms=120_000, bootstrap_timeout_ms=2_000,
        )  # fmt: skip

    def consumer() -> Any:
        from kafka import KafkaConsumer

        # A fetch waits no longer than that: some brokers answer the one after a decision only when it is over.
        return KafkaConsumer(
            **connection, group_id=None, enable_auto_commit=False, fetch_max_wait_ms=20,
            bootstrap_timeout_ms=10_000,
        )  # fmt: skip

    return producer, consumer
