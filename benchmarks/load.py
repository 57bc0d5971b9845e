"""What the benchmarks put on the bus: seeded sessions of realistic size, at once or at a steady rate."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

import orjson
from confluent_kafka import Producer

from stream.events import EVENTS, dumps, murmur2_partition
from stream.offline import generate
from stream.settings import Settings

START = datetime(2025, 1, 6, 9, 0, tzinfo=UTC)
"""First event's time: in the past, or the contract would refuse events that are ahead of the broker."""
RESULT_CHARS = 600
"""Tool results filled up to so many characters: 606 bytes an event on average (reference: 612)."""
AT_ONCE = 500


class Message(NamedTuple):
    """One input record; ``call`` names the decision it leads to, None if it leads to none."""

    key: bytes
    value: bytes
    call: str | None
    ends: str | None
    """The session that this record ends."""


def messages(
    seed: int,
    sessions: int,
    *,
    hijacked: float = 0.1,
    at_once: int = AT_ONCE,
    result_chars: int = RESULT_CHARS,
    tenant: str = "acme",
    run: str = "",
) -> Iterator[Message]:
    """Events of `sessions` generated sessions, `at_once` of them interleaved; some 14 events each."""
    for event in generate.sessions(
        seed,
        sessions,
        generate.Profile(hijacked=hijacked, result_chars=result_chars, tenant=tenant, run=run),
        at_once=at_once,
        start=START,
    ):
        yield Message(
            event["session_id"].encode(),
            dumps(event),
            event["call_id"] if event["type"] == "tool.called" else None,
            event["session_id"] if event["type"] == "session.ended" else None,
        )


def endless(
    seed: int, *, hijacked: float = 0.1, at_once: int = AT_ONCE, tenant: str = "acme"
) -> Iterator[Message]:
    """`messages` without an end, in rounds of 20,000 sessions whose ids never repeat."""
    turn = 0
    while True:
        yield from messages(
            seed + turn, 20_000, hijacked=hijacked, at_once=at_once, tenant=tenant, run=f"r{turn}"
        )
        turn += 1


def event_count(n: int, **shape: object) -> list[Message]:
    """The first `n` events of as many sessions as that takes."""
    found: list[Message] = []
    for message in messages(1, n // 13 + AT_ONCE, **shape):  # type: ignore[arg-type]
        found.append(message)
        if len(found) == n:
            break
    return found


def producer(bootstrap: str, **options: object) -> Producer:
    """A producer as the contract asks: Kafka's own partitioner, confirmed by all replicas in sync."""
    return Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            "acks": "all",
            "enable.idempotence": True,
            "queue.buffering.max.messages": 200_000,
            "log_level": 0,
            **options,
        }
    )


def preload(settings: Settings, items: list[Message], base: str = EVENTS, **more: object) -> None:
    """Put all of `items` on a topic, that of the input, as fast as the broker takes them; `more` are options of the producer."""
    # One request at a time keeps the order without an idempotent producer, whose retries can stall a busy broker.
    options = {"enable.idempotence": False, "max.in.flight.requests.per.connection": 1}
    client = producer(settings.bootstrap, **{"linger.ms": 20, "batch.size": 262_144, **options, **more})
    topic = settings.topic(base)
    for item in items:
        while True:
            try:
                client.produce(topic, key=item.key, value=item.value)
                break
            except BufferError:
                client.poll(0.1)
    if client.flush(60):
        raise RuntimeError("the broker did not take the load")


class Steady(threading.Thread):
    """Sends at a steady rate, and never later than planned because an earlier record was slow.

    Record n is due ``n / rate`` seconds after the start, whatever became of those before it: latencies count
    from that moment, so that a stall shows in every record that it delayed (no coordinated omission).

    Parameters
    ----------
    source : iterator of Message
        What to send.
    rate : float
        Records a second.
    seconds : float
        How long.
    watched : bool
        Whether to remember when each call and each end was due.
    """

    def __init__(
        self,
        settings: Settings,
        source: Iterator[Message],
        rate: float,
        seconds: float,
        *,
        watched: bool = True,
    ) -> None:
        super().__init__(daemon=True)
        self._settings = settings
        self._source = source
        self.rate = rate
        self.seconds = seconds
        self._watched = watched
        self.due: dict[str, float] = {}  # call -> wall time it was due
        self.ends: dict[str, float] = {}  # session -> wall time its end was due
        self.stamps: dict[str, float] = {}  # call -> broker's stamp, in seconds
        self.sent = 0
        self.late_s = 0.0  # how far the sender itself fell behind, at most
        self.halt = threading.Event()

    def run(self) -> None:
        """Send until the time is over or `halt` is set."""
        client = producer(self._settings.bootstrap, **{"linger.ms": 0})
        topic = self._settings.topic(EVENTS)
        began = time.time()
        total = int(self.rate * self.seconds)
        while self.sent < total and not self.halt.is_set():
            due = began + self.sent / self.rate
            wait = due - time.time()
            if wait > 0:
                client.poll(0)
                time.sleep(min(wait, 0.05))
                continue
            self.late_s = max(self.late_s, -wait)
            item = next(self._source)
            if self._watched and item.call is not None:
                self.due[item.call] = due
                client.produce(topic, key=item.key, value=item.value, on_delivery=self._stamp(item.call))
            else:
                if self._watched and item.ends is not None:
                    self.ends[item.ends] = due
                client.produce(topic, key=item.key, value=item.value)
            self.sent += 1
        client.flush(30)

    def _stamp(self, call: str):  # type: ignore[no-untyped-def]
        def delivered(error: object, message: object) -> None:
            if error is None:
                self.stamps[call] = message.timestamp()[1] / 1000  # type: ignore[attr-defined]

        return delivered


def hot_session(calls: int, name: str) -> list[Message]:
    """One session of `calls` calls, declared, with their results: all of it goes to one partition."""
    drawn = generate.plan(7, 1, generate.Profile(calls=(calls, calls), result_chars=RESULT_CHARS, run=name))
    stamp = START.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    found: list[Message] = []
    for seq, body in enumerate(drawn.bodies):
        event = {
            "id": f"{drawn.session_id}/{seq}",
            "session_id": drawn.session_id,
            "seq": seq,
            "tenant": "acme",
            "time": stamp,
            **body,
        }
        call = body["call_id"] if body["type"] == "tool.called" else None
        found.append(Message(drawn.session_id.encode(), dumps(event), call, None))
    return found


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of the input topic that `key` belongs to."""
    return murmur2_partition(key, partitions)


def call_of(decision: bytes) -> str:
    """The call that a decision's bytes name."""
    return str(orjson.loads(decision)["call_id"])
