"""What both stages of the worker share: records taken in batches, outputs sent and confirmed, the stop on failure."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import TopicPartition

from stream.events import Output, Record, dumps, murmur2_partition
from stream.settings import Settings
from stream.shell.metrics import Measures
from stream.shell.transport import Assignment, Place, application, send

log = logging.getLogger("driftline.worker")

UNCONFIRMED_MAX = 64
"""Batches that may wait for their confirmation at once: what bounds memory when the broker is slow (chosen)."""
_TICK = dumps({"type": "clock.tick"})
TICK_AGAIN_S = 5.0
"""Seconds before a tick that brought nothing about is repeated (chosen)."""
TOGETHER_MAX = 32
"""Records of several partitions that are judged before the first of their decisions goes out (chosen: some 5 ms)."""
POINTS = (
    "judge.fetched",
    "judge.decided",
    "judge.sent",
    "judge.published",
    "state.begun",
    "state.written",
    "state.sealed",
    "judge.acknowledged",
    "judge.committed",
    "judge.revoked",
    "judge.recovered",
    "act.fetched",
    "act.decided",
    "act.sent",
    "act.published",
    "act.acknowledged",
)
"""Named points between fetching, publishing, state and acknowledgement, at which a test may break the worker."""


class StageContext(NamedTuple):
    """What a stage is given by the worker that runs it.

    Attributes
    ----------
    settings : Settings
    counts : partitions of each topic, by base name
    measures : the worker's metrics
    failed : ends the worker; takes why
    at : called at each of `POINTS`
    """

    settings: Settings
    counts: Mapping[str, int]
    measures: Measures
    failed: Callable[[BaseException], None]
    at: Callable[[str], None]


class Stage:
    """What both stages share: one Faust app, sending with confirmation, stopping on failure."""

    name = ""

    def __init__(self, context: StageContext, inputs: Sequence[str]) -> None:
        self.settings = settings = context.settings
        self.measures = context.measures
        self.at = context.at
        self.closed = False  # nothing more is judged
        self.broken = False  # nothing more is made durable or acknowledged
        self.app = application(
            settings, f"{settings.group}-{self.name}", [settings.topic(base) for base in inputs], self
        )
        self._counts = context.counts
        self._failed = context.failed
        self._next: dict[Place, int] = {}  # offset of the next record to handle
        self._stamps_ms: dict[Place, int] = {}  # of the last record handled
        self._waiting_since: dict[Place, float] = {}
        self._ticked: dict[Place, float] = {}  # monotonic time of the last tick
        self._taken_at = time.monotonic()
        self._unconfirmed: set[asyncio.Task[None]] = set()
        self._batches = asyncio.Lock()  # one batch at a time; whoever holds it sees none half done

    def failed(self, error: BaseException) -> None:
        """Nothing more is judged or acknowledged; the worker ends."""
        self.closed = self.broken = True
        self._failed(error)

    def lost(self, place: Place, records: int) -> None:
        """Retention removed `records` before they were judged."""
        log.error("%s[%d]: retention removed %d records unjudged", *place, records)
        self.measures.skipped.labels(*place).inc(records)

    @property
    def settled(self) -> bool:
        """Whether the stage has joined its group, recovered, and reads."""
        consumer = self.app.consumer
        return bool(self.app.started and not self.closed and consumer.started and consumer.settled)

    async def take_over(self, assignment: Assignment) -> Mapping[Place, int | None]:
        """See `stream.shell.transport.Receiving`."""
        self.measures.rebalances.labels(self.name).inc()
        self._ticked.clear()
        for place in (*self._next, *assignment.places):  # a worker that slept may come back to old places
            self._next.pop(place, None)
            self._stamps_ms.pop(place, None)
            for gauge in (self.measures.lag, self.measures.undecided):
                with contextlib.suppress(KeyError):
                    gauge.remove(*place)
        return dict.fromkeys(assignment.places)

    def positioned(self, offsets: Mapping[Any, int]) -> None:
        """See `stream.shell.transport.Receiving`."""
        self._next = {(place[0], place[1]): offset for place, offset in offsets.items()}
        # What lies there already has waited for longer than we know: through the owner before, or none at all.
        self._waiting_since = dict.fromkeys(self._next, -math.inf)
        self._taken_at = time.monotonic()

    async def receive(self, fetched: Mapping[Any, Sequence[Record]], assignment: Assignment) -> None:
        """See `stream.shell.transport.Receiving`."""
        for together in _groups(fetched):
            async with self._batches:
                # A record fetched before a rebalance belongs to an assignment that is over: it comes again.
                if self.closed or self.app.consumer.current is not assignment:
                    return
                self.at(f"{self.name}.fetched")
                batches = {(place[0], place[1]): records for place, records in together}
                self.measures.records.labels(self.name).inc(sum(map(len, batches.values())))
                await self.batch(batches)
                for place, records in batches.items():
                    self._next[place] = records[-1].offset + 1
                    self._stamps_ms[place] = records[-1].timestamp_ms
            while len(self._unconfirmed) >= UNCONFIRMED_MAX:
                await asyncio.wait(self._unconfirmed, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0)  # the producer's turn, while the next partition's batch is judged

    async def batch(self, batches: Mapping[Place, Sequence[Record]]) -> None:
        """Take a batch of each place; each kind of stage has its own way."""
        raise NotImplementedError

    async def publish(self, outputs: Sequence[Output], stamps_ms: Sequence[int]) -> asyncio.Task[None]:
        """Hand `outputs` to the producer in order; the task given ends once the broker confirmed each."""
        self.at(f"{self.name}.decided")
        topic, counts = self.settings.topic, self._counts
        rows = (
            (topic(out.topic), murmur2_partition(out.key, counts[out.topic]), out.key, out.value, out.headers)
            for out in outputs
        )
        futures = await send(self.app, rows)
        self.at(f"{self.name}.sent")
        task = asyncio.create_task(self._confirm(futures, outputs, stamps_ms))
        self._unconfirmed.add(task)
        task.add_done_callback(self._unconfirmed.discard)
        return task

    async def _confirm(
        self, futures: Sequence[Awaitable[Any]], outputs: Sequence[Output], stamps_ms: Sequence[int]
    ) -> None:
        try:
            await confirmed(futures)
            self.at(f"{self.name}.published")
            self.measures.confirmed(self.name, stamps_ms, outputs, time.time())
        except Exception as error:
            self.failed(error)

    async def tick(self, place: Place, due_ms: int | None) -> None:
        """Append a tick to a partition that is quiet though its deadline is over; anyone may, and it only lets time be read."""
        now = time.monotonic()
        if due_ms is None or time.time() * 1000 < due_ms or now - self._ticked.get(place, 0.0) < TICK_AGAIN_S:
            return
        if self.lag(place) == 0:  # records that wait will move the clock themselves
            self._ticked[place] = now
            await confirmed(await send(self.app, [(*place, None, _TICK, ())]))
            self.measures.ticks.inc()

    def lag(self, place: Place) -> int | None:
        """Records that wait behind the last one handled, as last fetched; None while that is not known."""
        consumer = self.app.consumer
        if not self.settled or place not in consumer.current.places:
            return None
        end = consumer.highwater(TopicPartition(*place))
        position = self._next.get(place)
        return None if end is None or position is None else int(max(0, end - position))

    def observe(self) -> None:
        """Bring the gauges up to date."""
        now, wall = time.monotonic(), time.time()
        places = self.app.consumer.current.places if self.settled else ()
        for place in places:
            lag = self.lag(place)
            if lag is None:
                continue
            self.measures.lag.labels(*place).set(lag)
            since = self._waiting_since.setdefault(place, now) if lag else now
            if not lag:
                self._waiting_since.pop(place, None)
            # What waits came after the last record handled. Where that is old the partition was quiet, and what came
            # since we last saw nothing waiting is younger.
            stamp = self._stamps_ms.get(place)
            age = wall - stamp / 1000 if stamp is not None else now - self._taken_at
            self.measures.undecided.labels(*place).set(max(0.0, min(now - since, age)))

    async def finish(self) -> None:
        """Make everything durable and acknowledge it; nothing is judged afterwards."""
        async with self._batches:
            self.closed = True
        await all_of(self._unconfirmed)


def _groups(fetched: Mapping[Any, Sequence[Record]]) -> Iterator[list[tuple[Any, Sequence[Record]]]]:
    """The batches of a fetch, small ones together: what they lead to then takes one request, not one for each."""
    together: list[tuple[Any, Sequence[Record]]] = []
    size = 0
    for place, records in fetched.items():
        if together and size + len(records) > TOGETHER_MAX:
            yield together
            together, size = [], 0
        together.append((place, records))
        size += len(records)
    if together:
        yield together


async def confirmed(futures: Sequence[Awaitable[Any]]) -> None:
    """Wait until the broker has confirmed each; raises the first failure once all are known."""
    # Every future is awaited even when one fails, so that none is left to complain at exit.
    results = await asyncio.gather(*futures, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


async def all_of(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Wait for every task; raises the first failure."""
    await asyncio.gather(*tasks)
