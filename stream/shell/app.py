"""The streaming worker: a thin shell around the core, on Faust (`stream.shell.transport`).

Order in both stages: outputs confirmed by the broker, state durable, input acknowledged. A batch is judged
while the confirmations of those before it are on their way; a checkpoint waits for the confirmations of all
it covers. Positions come from the state, so that the group's commit may lag or be lost. Any failure stops the
worker: what was not made durable is judged again, to the same bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import secrets
import signal
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from models.errors import BrokerError, DriftlineError, StateError
from stream.core.window import Partition
from stream.events import (
    ALERTS,
    CASES,
    DECISIONS,
    QUARANTINE,
    REVOCATIONS,
    RISK,
    Output,
    Record,
    dumps,
    murmur2_partition,
)
from stream.settings import Settings
from stream.shell.checkpoints import (
    Checkpointer,
    Owner,
    Recovered,
    StateRecord,
    fold,
    forgotten,
    keep_newest,
    state_topic,
)
from stream.shell.connection import rights_hint
from stream.shell.metrics import HealthServer, Measures
from stream.shell.topics import partition_counts
from stream.shell.transport import Assignment, Place, application, send

log = logging.getLogger("driftline.worker")

EXIT_BROKER, EXIT_ARTEFACT = 4, 5
BROKER_AWAY_S = 60.0
"""How long a broker may be away before the worker ends with the broker's exit code (chosen)."""
LEAVE_S = 2.0
"""How long tasks that are cancelled at the end may take."""
STOP_S = 15.0
"""Longest a graceful stop may take before the process goes anyway; what is open is judged again."""
COUNT_EVERY_S = 10.0
UNCONFIRMED_MAX = 64
"""Batches that may wait for their confirmation at once: what bounds memory when the broker is slow (chosen)."""
TOGETHER_MAX = 32
"""Records of several partitions that are judged before the first of their decisions goes out (chosen: some 5 ms)."""
TICK_AGAIN_S = 5.0
"""Seconds before a tick that brought nothing about is repeated (chosen)."""
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
_TICK = dumps({"type": "clock.tick"})


class Judging(Protocol):
    """What the judge stage needs of `stream.core.judge.Judge`."""

    def judge(self, partition: Partition, records: Sequence[Record]) -> Any:
        """A Step: outputs, changes, counts."""

    def next_deadline(self, partition: Partition) -> int | None:
        """Partition clock, in ms since 1970, at which the partition next owes an end."""


class Acting(Protocol):
    """What the act stage needs of `stream.outbound.act.Actor`."""

    def act(self, records: Sequence[Record]) -> list[Output]:
        """The outputs for cases."""


class _Stage:
    """What both stages share: one Faust app, sending with confirmation, stopping on failure."""

    name = ""

    def __init__(
        self,
        settings: Settings,
        inputs: Sequence[str],
        counts: Mapping[str, int],
        measures: Measures,
        failed: Callable[[BaseException], None],
        at: Callable[[str], None],
    ) -> None:
        self.settings = settings
        self.measures = measures
        self.at = at
        self.closed = False  # nothing more is judged
        self.broken = False  # nothing more is made durable or acknowledged
        self.app = application(
            settings, f"{settings.group}-{self.name}", [settings.topic(base) for base in inputs], self
        )
        self._counts = counts
        self._failed = failed
        self._next: dict[Place, int] = {}  # offset of the next record to handle
        self._stamps_ms: dict[Place, int] = {}  # of the last record handled
        self._waiting_since: dict[Place, float] = {}
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
        raise NotImplementedError

    async def publish(self, outputs: Sequence[Output], stamps_ms: Sequence[int]) -> asyncio.Task[None]:
        """Hand `outputs` to the producer in order; the task given ends once the broker confirmed each."""
        self.at(f"{self.name}.decided")
        topic, counts = self.settings.topic, self._counts
        futures = await send(
            self.app,
            (
                (topic(o.topic), murmur2_partition(o.key, counts[o.topic]), o.key, o.value, o.headers)
                for o in outputs
            ),
        )
        self.at(f"{self.name}.sent")
        task = asyncio.create_task(self._confirm(futures, outputs, stamps_ms))
        self._unconfirmed.add(task)
        task.add_done_callback(self._unconfirmed.discard)
        return task

    async def _confirm(
        self, futures: Sequence[Awaitable[Any]], outputs: Sequence[Output], stamps_ms: Sequence[int]
    ) -> None:
        try:
            await _confirmed(futures)
            self.at(f"{self.name}.published")
            self.measures.confirmed(self.name, stamps_ms, outputs, time.time())
        except Exception as error:
            self.failed(error)

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
        await _all(self._unconfirmed)


async def _all(tasks: Iterable[asyncio.Task[None]]) -> None:
    await asyncio.gather(*tasks)


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


async def _confirmed(futures: Sequence[Awaitable[Any]]) -> None:
    # Every future is awaited even when one fails, so that none is left to complain at exit.
    results = await asyncio.gather(*futures, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


@dataclass
class _Held:
    """One input partition while it is ours."""

    partition: Partition
    checkpointer: Checkpointer
    generation: int
    size: int  # packed bytes of the states
    open: int = 0  # records applied since the last checkpoint
    since: float | None = None  # monotonic time of the oldest open change
    stamped: bool = False  # by the broker
    ticked: float = 0.0  # monotonic time of the last tick
    unconfirmed: set[asyncio.Task[None]] = field(default_factory=set)
    storing: asyncio.Lock = field(default_factory=asyncio.Lock)  # one checkpoint at a time


class JudgeStage(_Stage):
    """Events in, decisions and cases out; owns the partitions' states."""

    name = "judge"

    def __init__(self, settings: Settings, judge: Judging, *rest: Any) -> None:
        super().__init__(settings, list(settings.input_topics), *rest)
        self.judge = judge
        self.held: dict[Place, _Held] = {}
        self._full = asyncio.Event()  # a partition has enough open records for an early checkpoint
        self.app.on_partitions_revoked.connect(self._revoked)

    async def batch(self, batches: Mapping[Place, Sequence[Record]]) -> None:
        """Judge a batch of each partition, send what follows, and let the states go on."""
        steps = []
        for place, records in batches.items():
            if records[0].offset <= self.held[place].partition.offset:
                await self._begin_anew(place, records[0].offset)
            held = self.held[place]
            began = time.perf_counter()
            step = self.judge.judge(held.partition, records)
            self.measures.judge_seconds.observe(time.perf_counter() - began)
            self.measures.batch.observe(len(records))
            steps.append((held, records, step))
        task = await self.publish(
            [output for *_, step in steps for output in step.outputs],
            [record.timestamp_ms for _, records, _ in steps for record in records],
        )
        # From here to the end nothing is awaited: a checkpoint sees all of a batch, its outputs included.
        for held, records, step in steps:
            partition = held.partition
            held.unconfirmed.add(task)
            task.add_done_callback(held.unconfirmed.discard)
            for key, value in step.changes.items():
                held.size += len(value or b"") - len(partition.states.get(key, b""))
            partition.apply(step.changes)
            held.checkpointer.note(step.changes)
            held.open += len(records)
            held.stamped = records[-1].timestamp_type == "append"
            if held.since is None:
                held.since = time.monotonic()
            if held.open >= self.settings.checkpoint_records:
                self._full.set()

    async def take_over(self, assignment: Assignment) -> Mapping[Place, int | None]:
        """Read the states of partitions that were not ours in the generation before.

        Who owns a partition in two generations that follow each other owned it in between.
        """
        began = time.monotonic()
        await super().take_over(assignment)
        places, generation = assignment.places, assignment.generation
        async with self._batches:
            kept = {p: h for p, h in self.held.items() if p in places and h.generation + 1 == generation}
            for held in kept.values():
                held.generation = generation
            self.held = kept
        missing = sorted(places - kept.keys())
        if missing:
            await self._recover(missing, generation)
        for place in places:
            if (clock_ms := self.held[place].partition.ledger.clock_ms) > 0:
                self._stamps_ms[place] = clock_ms
        for place in missing:
            self.at("judge.recovered")
            held = self.held[place]
            log.info(
                "%s[%d] is ours: %d states, next offset %d, owner %s",
                *place,
                len(held.partition.states),
                held.partition.offset + 1,
                held.checkpointer.owner.name,
            )
        self.measures.recovery.observe(time.monotonic() - began)
        self.measures.states.clear()
        self.measures.state_bytes.clear()
        return {place: self.held[place].partition.offset + 1 for place in places}

    async def _recover(self, places: Sequence[Place], generation: int) -> None:
        found = await read_states(self.settings, places)
        for place in places:
            recovered, partition = await asyncio.to_thread(_restored, place, found.pop(place))
            self._hold(place, recovered, partition, generation)

    def _hold(self, place: Place, recovered: Recovered, partition: Partition, generation: int) -> None:
        self.held[place] = _Held(
            partition,
            Checkpointer(Owner(max(recovered.epoch + 1, generation), secrets.token_hex(4)), recovered),
            generation,
            sum(map(len, partition.states.values())),
            stamped=partition.ledger.clock_ms > 0,
        )

    async def _begin_anew(self, place: Place, offset: int) -> None:
        """Judge a log that begins again before the end of what was judged: made anew, or cut off, it is another one.

        A client only goes back to the beginning where the log ends before the position that our state knows.
        """
        held = self.held[place]
        if offset > await self.app.consumer.first_offset(place):
            return  # records that come twice; the core passes them by
        log.error(
            "%s[%d] begins again at offset %d, though records up to %d were judged: the topic was made anew or cut off; "
            "what it holds is judged from its beginning",
            *place,
            offset,
            held.partition.offset,
        )
        await _all(held.unconfirmed)
        (records,) = (await read_states(self.settings, [place])).values()
        self._hold(place, forgotten(records), Partition.empty(), held.generation)

    async def _checkpoint(self, place: Place, held: _Held) -> None:
        async with held.storing:
            if not held.open:
                return
            # What is stored is fixed here; judging goes on while it is written.
            offset, held.open, held.since = held.partition.offset, 0, None
            records = held.checkpointer.begin(held.partition.states, offset)
            await _all(held.unconfirmed)
            if self.broken:
                return
            self.at("state.begun")
            await self._store(place, records)
            self.at("state.written")
            await self._store(place, [held.checkpointer.seal()])
            self.at("state.sealed")
            done = held.checkpointer.done()
            if self.held.get(place) is held:
                self.app.consumer.acknowledge(place, done)
            self.at("judge.acknowledged")
            self.measures.checkpoints.inc()

    async def _store(self, place: Place, records: Sequence[StateRecord]) -> None:
        topic, number = state_place(self.settings, place)
        rows = ((topic, number, item.key, item.value, item.headers) for item in records)
        await _confirmed(await send(self.app, rows))

    async def store_regularly(self) -> None:
        """Take checkpoints and append ticks until the stage is closed."""
        wait = min(1.0, self.settings.checkpoint_s / 4)
        while not self.closed:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), wait)
            self._full.clear()
            try:
                now = time.monotonic()
                due = [
                    self._checkpoint(place, held)
                    for place, held in self.held.items()
                    if held.open >= self.settings.checkpoint_records
                    or (held.since is not None and now - held.since >= self.settings.checkpoint_s - wait)
                ]
                await asyncio.gather(*due)
                await self._tick(now)
            except Exception as error:
                self.failed(error)
                return

    async def _tick(self, now: float) -> None:
        """Append a tick to partitions that are quiet and owe an end; anyone may, and it only lets time be read."""
        now_ms = round(time.time() * 1000)
        for place, held in list(self.held.items()):
            due = self.judge.next_deadline(held.partition) if held.stamped else None
            if due is None or now_ms < due or now - held.ticked < TICK_AGAIN_S or self.lag(place) != 0:
                continue  # records that wait will move the clock themselves
            held.ticked = now
            await _confirmed(await send(self.app, [(*place, None, _TICK, ())]))
            self.measures.ticks.inc()

    async def _revoked(self, _app: Any, revoked: Iterable[Any] = (), **_: Any) -> None:
        """Make durable what was judged; whoever owns the partitions next reads it from there."""
        self.at("judge.revoked")
        async with self._batches:  # the batch at hand is finished; later ones belong to no generation
            held = [((tp.topic, tp.partition), self.held.get((tp.topic, tp.partition))) for tp in revoked]
        if self.closed:
            return
        try:
            await asyncio.gather(*(self._checkpoint(place, one) for place, one in held if one is not None))
            await self.app.consumer.force_commit()
            self.at("judge.committed")
        except Exception as error:
            self.failed(error)

    async def finish(self) -> None:
        """Take the last checkpoints and acknowledge."""
        await super().finish()
        await asyncio.gather(*(self._checkpoint(place, held) for place, held in self.held.items()))
        await self.app.consumer.force_commit()
        self.at("judge.committed")

    def observe(self) -> None:
        """Bring the gauges up to date."""
        super().observe()
        opened = [held.since for held in self.held.values() if held.since is not None]
        self.measures.oldest.set(time.monotonic() - min(opened) if opened else 0.0)
        for place, held in self.held.items():
            self.measures.states.labels(*place).set(len(held.partition.states))
            self.measures.state_bytes.labels(*place).set(held.size)


def _restored(place: Place, records: Sequence[StateRecord]) -> tuple[Recovered, Partition]:
    """What the state topic says of an input partition; what cannot be read is rebuilt from the input."""
    try:
        recovered = fold(records)
        if recovered.offset < 0:
            return recovered, Partition.empty()
        partition = Partition.load(recovered.states)
        if partition.offset != recovered.offset:
            raise StateError(f"the ledger at offset {recovered.offset} says {partition.offset}")
        return recovered, partition
    except StateError as error:
        log.error("state of %s[%d] is unreadable (%s): rebuilding from the input log", *place, error)
        return forgotten(records), Partition.empty()


class ActStage(_Stage):
    """Cases in, alerts and signed revocations out; holds no state of its own."""

    name = "act"

    def __init__(self, settings: Settings, actor: Acting, *rest: Any) -> None:
        super().__init__(settings, [CASES], *rest)
        self.actor = actor

    async def batch(self, batches: Mapping[Place, Sequence[Record]]) -> None:
        """Act on cases, then acknowledge them: nothing but the outputs needs to be durable."""
        outputs = [output for records in batches.values() for output in self.actor.act(records)]
        stamps_ms = [record.timestamp_ms for records in batches.values() for record in records]
        await (await self.publish(outputs, stamps_ms))
        if not self.broken:
            for place, records in batches.items():
                self.app.consumer.acknowledge(place, records[-1].offset)
            self.at("act.acknowledged")


def state_place(settings: Settings, place: Place) -> Place:
    """Topic and partition that hold the state of an input partition."""
    return settings.topic(state_topic(settings.base(place[0]))), place[1]


async def read_states(settings: Settings, inputs: Sequence[Place]) -> dict[Place, list[StateRecord]]:
    """What is stored of the input partitions `inputs`, each to its present end, the newest of each key.

    What the broker has not compacted yet may be many times what is live, and is not kept.

    Raises
    ------
    KafkaError
        The topic or a partition cannot be read.
    """
    options = settings.kafka()
    options["bootstrap_servers"] = ",".join(options["bootstrap_servers"])
    del options["bootstrap_timeout_ms"]  # kafka-python's alone
    consumer = AIOKafkaConsumer(
        **options,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=settings.fetch_wait_ms,
        max_partition_fetch_bytes=8 * settings.message_max_bytes,
    )
    places = {TopicPartition(*state_place(settings, one)): one for one in inputs}
    found: dict[Place, dict[bytes, StateRecord]] = {one: {} for one in inputs}
    await consumer.start()
    try:
        consumer.assign(list(places))
        await consumer.seek_to_beginning(*places)
        # The embedded broker tells the start of the last batch as the end; a fetch tells the truth on both.
        ends = await consumer.end_offsets(list(places))
        behind = {place for place in places if ends[place]}
        while behind:
            for place, items in (await consumer.getmany(*behind, timeout_ms=200)).items():
                read = (StateRecord(item.key or b"", tuple(item.headers), item.value) for item in items)
                keep_newest(found[places[place]], read)
            for place in tuple(behind):
                if await consumer.position(place) >= max(ends[place], consumer.highwater(place) or 0):
                    behind.discard(place)
    finally:
        await consumer.stop()
    return {one: list(live.values()) for one, live in found.items()}


# ------------------------------------------------------------------------------------------------- the worker


def run(
    settings: Settings,
    *,
    judge: Judging | None,
    actor: Acting | None,
    announce: Callable[[str], None] = log.info,
    identity: tuple[str, str, str] = ("", "", ""),
    at: Callable[[str], None] = lambda _: None,
) -> int:
    """Run the stages given until SIGTERM, SIGINT or a failure; gives the exit code.

    Parameters
    ----------
    settings : Settings
    judge, actor
        What each stage runs; None leaves that stage out.
    announce : callable
        Takes one line for the operator.
    identity : tuple of str
        Core, release and policy, for the metrics.
    at : callable
        Called at each of `POINTS`; tests break the worker there.

    Raises
    ------
    BrokerError
        At the start only: no broker answers, or its topics are not as they must be.
    ConfigError
        Metrics cannot listen where they should.
    """
    counts = _checked_counts(settings)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(_run(settings, judge, actor, counts, announce, identity, at))
    finally:
        asyncio.set_event_loop(None)
        _leave(loop)


def _leave(loop: asyncio.AbstractEventLoop) -> None:
    """Close a loop as `asyncio.run` does, which however waits for ever for tasks that do not listen to being cancelled."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        _, left = loop.run_until_complete(asyncio.wait(left, timeout=LEAVE_S))
    if not left:
        loop.run_until_complete(loop.shutdown_asyncgens())
    # Those that are left are clients that wait for a broker that is gone; they end with the process.
    loop.close()


def _checked_counts(settings: Settings) -> dict[str, int]:
    counts = partition_counts(settings)
    states = [state_topic(base) for base in settings.input_topics]
    outputs = [CASES, DECISIONS, QUARANTINE, ALERTS, REVOCATIONS, RISK]
    missing = [
        settings.topic(base) for base in [*settings.input_topics, *states, *outputs] if base not in counts
    ]
    if missing:
        raise BrokerError(
            f"topics are missing: {', '.join(missing)}; run `driftline topics create`, or grant this principal "
            "the rights of `driftline topics --acls`: what it may not describe it does not see"
        )
    wrong = [base for base in settings.input_topics if counts[base] != settings.partitions]
    if wrong:
        raise BrokerError(
            f"{settings.topic(wrong[0])} has {counts[wrong[0]]} partitions, the settings say "
            f"{settings.partitions}: set DRIFTLINE_PARTITIONS to the topic's own number"
        )
    for base in states:
        if counts[base] != settings.partitions:
            raise BrokerError(
                f"{settings.topic(base)} has {counts[base]} partitions, expected {settings.partitions}: "
                "one for each partition of its input"
            )
    return counts


async def _run(
    settings: Settings,
    judge: Judging | None,
    actor: Acting | None,
    counts: dict[str, int],
    announce: Callable[[str], None],
    identity: tuple[str, str, str],
    at: Callable[[str], None],
) -> int:
    stop = asyncio.Event()
    failures: list[BaseException] = []
    measures = Measures()
    measures.identify(*identity)

    def failed(error: BaseException) -> None:
        failures.append(error)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = None
    if settings.metrics_port:
        server = HealthServer(
            measures, settings.metrics_host, settings.metrics_port, settings.metrics_token_file
        )
        announce(f"metrics on http://{settings.metrics_host}:{server.port}/metrics")
    stages: list[_Stage] = []
    tasks: list[asyncio.Task[None]] = []
    if judge is not None:
        stages.append(judging := JudgeStage(settings, judge, counts, measures, failed, at))
        tasks.append(asyncio.create_task(judging.store_regularly()))
    if actor is not None:
        stages.append(ActStage(settings, actor, counts, measures, failed, at))
    announce(f"joining as {', '.join(f'{settings.group}-{stage.name}' for stage in stages)}")
    # Both at once: a group's first join takes up to half a minute on the embedded broker.
    starting = [asyncio.create_task(stage.app.start()) for stage in stages]
    tasks.append(asyncio.create_task(_watch(stages, starting, measures, failed, announce)))
    tasks.append(asyncio.create_task(_watch_broker(settings, counts, measures, failed)))
    await stop.wait()
    measures.ready.set(0)
    announce("stopping")

    async def finish() -> None:
        if not failures:
            for stage in stages:
                await stage.finish()
        for stage in stages:
            # What was acknowledged is committed here; after a failure nothing more was acknowledged.
            await stage.app.stop()

    ending = asyncio.create_task(finish())
    await asyncio.wait({ending}, timeout=STOP_S)
    clean = ending.done()
    if not clean:
        # Not awaited any longer: what has not ended by now is cancelled with all other tasks, see `_leave`.
        log.warning("the stop took more than %.0f s; what was open is judged again", STOP_S)
    elif (unfinished := ending.exception()) is not None:
        failures.append(unfinished)
    if server is not None:
        server.close()
    if not failures:
        announce("stopped" if clean else "stopped late")
        return 0
    return _report(failures[0])


async def _watch(
    stages: Sequence[_Stage],
    starting: Sequence[asyncio.Task[Any]],
    measures: Measures,
    failed: Callable[[BaseException], None],
    announce: Callable[[str], None],
) -> None:
    """Say whether the worker is healthy and ready; notice what Faust does not tell: a service that crashed."""
    told, turns = False, 0
    while True:
        await asyncio.sleep(0.1)
        measures.turned = time.monotonic()
        for task in starting:
            if task.done() and not task.cancelled() and task.exception() is not None:
                failed(task.exception() or BrokerError("a stage did not start"))
                return
        for stage in stages:
            if stage.app.crashed:
                failed(stage.app.crash_reason or BrokerError(f"the {stage.name} stage's consumer crashed"))
                return
        if (turns := turns + 1) % 10 == 0:
            for stage in stages:
                stage.observe()
        ready = measures.broker_answers and all(stage.settled for stage in stages)
        measures.ready.set(ready)
        if ready and not told:
            told = True
            announce("ready")


async def _watch_broker(
    settings: Settings, counts: Mapping[str, int], measures: Measures, failed: Callable[[BaseException], None]
) -> None:
    """Notice a broker that is away, and a partition count that changed."""
    away_since: float | None = None
    doubted = False
    while True:
        await asyncio.sleep(1.0 if doubted else COUNT_EVERY_S)
        try:
            now = await asyncio.to_thread(partition_counts, settings)
        except BrokerError as error:
            if measures.broker_answers and not doubted:
                doubted = True  # one of several brokers, perhaps: ask again at once
                continue
            measures.broker_answers = False
            if away_since is None:
                away_since = time.monotonic()
                log.warning("%s; waiting %.0f s for it", error, BROKER_AWAY_S)
            elif time.monotonic() - away_since > BROKER_AWAY_S:
                failed(error)
                return
            continue
        measures.broker_answers, doubted = True, False
        if away_since is not None:
            away_since = None
            log.warning("the broker answers again")
        for base in settings.input_topics:
            if now.get(base, counts[base]) != counts[base]:
                failed(
                    BrokerError(
                        f"{settings.topic(base)} now has {now[base]} partitions instead of "
                        f"{counts[base]}: keys have moved; make a new topic and drain this one"
                    )
                )
                return


def _report(error: BaseException) -> int:
    """Log a failure by type and place, never by its payload; gives the exit code."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else "unknown place"
    text = str(error) if isinstance(error, DriftlineError) else type(error).__name__ + rights_hint(error)
    log.error(
        "worker stopped: %s (%s at %s); nothing unconfirmed was acknowledged",
        text,
        type(error).__name__,
        place,
    )
    broker = isinstance(error, KafkaError | BrokerError | OSError | TimeoutError)
    return EXIT_BROKER if broker else EXIT_ARTEFACT
