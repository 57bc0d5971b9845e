"""The streaming worker: Faust as a thin shell around the core. The only module that imports faust.

Order in both stages: outputs confirmed by the broker, state durable, input acknowledged. What the shell may
rely on in Faust was measured: an agent that iterates plainly acknowledges what raised, so the stream is
``noack().events()``, drained into a list of our own; ``topic.send`` does not confirm, the future it returns
does; the default supervisor goes on behind the record that failed, so any failure stops the worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import signal
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import faust
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from mode import CrashingSupervisor
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from models.errors import BrokerError, ConfigError, DriftlineError, StateError
from stream.checkpoints import STATE_TOPIC, Checkpointer, Owner, Recovered, StateRecord, fold
from stream.events import CASES, DECISIONS, QUARANTINE, Output, Record
from stream.settings import Settings
from stream.topics import partition_counts
from stream.window import Partition

log = logging.getLogger("driftline.worker")

EXIT_BROKER, EXIT_ARTEFACT = 4, 5
BROKER_AWAY_S = 60.0
"""How long a broker may be away before the worker ends with the broker's exit code (chosen)."""
STOP_S = 15.0
"""Longest a graceful stop may take before the process goes anyway; what is open is judged again."""
COUNT_EVERY_S = 10.0
REBALANCE_TIMEOUT_S = 30.0
"""Longest a rebalance waits for a member's last checkpoint."""
_TIMESTAMP_TYPES = {0: "create", 1: "append"}


class Judging(Protocol):
    """What the judge stage needs of `stream.judge.Judge`."""

    def judge(self, partition: Partition, records: Sequence[Record]) -> Any:
        """A Step: outputs, changes, counts."""


class Acting(Protocol):
    """What the act stage needs of `stream.act.Actor`."""

    def act(self, records: Sequence[Record]) -> list[Output]:
        """The outputs for cases."""


# ----------------------------------------------------------------------------------- latency of the transport
#
# Faust fixes the consumer's fetch wait at 1,500 ms (faust/transport/drivers/aiokafka.py, no public setting):
# a record of an idle partition can wait that long behind a fetch in flight. The subclass sets one number on
# the consumer that Faust made, before it starts. Pinned to faust-streaming 0.15; `tests/broker` holds it.


class _Thread(driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        if not hasattr(consumer, "_fetch_max_wait_ms"):
            raise ConfigError("this aiokafka version keeps its fetch wait elsewhere; install the pinned one")
        consumer._fetch_max_wait_ms = transport.fetch_wait_ms
        return consumer


class _Consumer(driver.Consumer):
    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)


class _Transport(driver.Transport):
    Consumer = _Consumer
    fetch_wait_ms = 20


# ------------------------------------------------------------------------------------------------- measures


class Measures:
    """The worker's Prometheus metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.decisions = Counter(
            "driftline_decisions",
            "Decisions published, repeats after a crash included.",
            ["verdict"],
            registry=self.registry,
        )
        self.outputs = Counter(
            "driftline_outputs",
            "Records published and confirmed, by topic.",
            ["topic"],
            registry=self.registry,
        )
        self.quarantine = Counter(
            "driftline_quarantine", "Records quarantined, by reason.", ["reason"], registry=self.registry
        )
        self.batch = Histogram(
            "driftline_batch_records",
            "Records judged at once.",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
            registry=self.registry,
        )
        self.judge_seconds = Histogram(
            "driftline_judge_seconds",
            "Seconds in the core for one batch.",
            registry=self.registry,
            buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0),
        )
        self.records = Counter(
            "driftline_records", "Input records read, by stage.", ["stage"], registry=self.registry
        )
        self.checkpoints = Counter("driftline_checkpoints", "Checkpoints completed.", registry=self.registry)
        self.oldest = Gauge(
            "driftline_checkpoint_age_seconds",
            "Seconds since the oldest open change of any partition.",
            registry=self.registry,
        )
        self.sessions = Gauge(
            "driftline_states",
            "States held in memory, by partition.",
            ["topic", "partition"],
            registry=self.registry,
        )
        self.lag = Gauge(
            "driftline_lag_records",
            "Records behind the partition's end, as last fetched.",
            ["topic", "partition"],
            registry=self.registry,
        )
        self.ready = Gauge(
            "driftline_ready", "1 while both stages are joined and none has failed.", registry=self.registry
        )

    def published(self, outputs: Iterable[Output], verdicts: Callable[[Output], str]) -> None:
        """Count confirmed outputs."""
        for output in outputs:
            self.outputs.labels(output.topic).inc()
            if output.topic == DECISIONS:
                self.decisions.labels(verdicts(output)).inc()
            elif output.topic == QUARANTINE:
                self.quarantine.labels(dict(output.headers).get("reason", b"?").decode()).inc()


def _verdict(output: Output) -> str:
    # Keys are sorted, and no other key of a decision is called so: cheaper than parsing the record.
    start = output.value.rfind(b'"verdict":"')
    return output.value[start + 11 : output.value.find(b'"', start + 11)].decode() if start >= 0 else "?"


# ------------------------------------------------------------------------------------------------- stages


def _record(message: Any) -> Record:
    return Record(
        message.topic,
        message.partition,
        message.offset,
        round((message.timestamp or 0.0) * 1000),
        _TIMESTAMP_TYPES.get(message.timestamp_type, "none"),
        message.key,
        tuple((name, value) for name, value in message.headers or ()),
        message.value,
    )


def _drained(first: Any, queue: Any, limit: int) -> list[Any]:
    """`first` and what else already waits in the stream's queue: a batch that waits for nothing."""
    batch = [first]
    while len(batch) < limit and not queue.empty():
        batch.append(queue.get_nowait())
    return batch


@dataclass
class _Held:
    """One input partition while it is ours."""

    partition: Partition
    checkpointer: Checkpointer
    generation: int
    open: list[Any] = field(default_factory=list)  # events applied, not yet acknowledged
    since: float | None = None  # monotonic time of the oldest open change
    sought: bool = False  # whether the first record's offset was held against the state's
    back_from: int | None = None  # set while the consumer goes back: records above are dropped till then


class _Stage:
    """What both stages share: one Faust app, sending with confirmation, stopping on failure."""

    name = ""

    def __init__(
        self, settings: Settings, measures: Measures, failed: Callable[[BaseException], None]
    ) -> None:
        self.settings = settings
        self.measures = measures
        self.failed = failed
        self.lock = asyncio.Lock()  # one batch, checkpoint or rebalance at a time
        self.closed = False
        self.app = _application(settings, f"{settings.group}-{self.name}")

    def agent(self, base: str) -> None:
        """One agent for the input topic `base`."""
        topic = self.app.topic(
            self.settings.topic(base),
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            allow_empty=True,
        )

        async def run(stream: Any) -> None:
            queue = stream.channel.queue
            async for first in stream.noack().events():
                try:
                    async with self.lock:
                        if not self.closed:
                            await self.batch(_drained(first, queue, self.settings.batch_max))
                except Exception as error:
                    self.closed = True
                    self.failed(error)
                    raise

        self.app.agent(
            topic, name=f"{self.name}-{base}", concurrency=1, supervisor_strategy=CrashingSupervisor
        )(run)

    async def batch(self, events: list[Any]) -> None:
        raise NotImplementedError

    async def finish(self) -> None:
        """Make everything durable and acknowledge it; nothing is judged afterwards."""
        async with self.lock:
            self.closed = True

    async def publish(self, outputs: Sequence[Output]) -> None:
        """Send `outputs` in order, and return once the broker has confirmed each."""
        producer = self.app.producer
        confirmations = [
            await producer.send(
                self.settings.topic(output.topic), output.key, output.value, None, None, list(output.headers)
            )
            for output in outputs
        ]
        await _confirmed(confirmations)
        self.measures.published(outputs, _verdict)


async def _confirmed(futures: Sequence[Awaitable[Any]]) -> None:
    # Every future is awaited even when one fails, so that none is left to complain at exit.
    results = await asyncio.gather(*futures, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


class JudgeStage(_Stage):
    """Events in, decisions and cases out; owns the partitions' states."""

    name = "judge"

    def __init__(
        self, settings: Settings, judge: Judging, measures: Measures, failed: Callable[[BaseException], None]
    ) -> None:
        super().__init__(settings, measures, failed)
        self.judge = judge
        self.held: dict[tuple[str, int], _Held] = {}
        for base in settings.input_topics:
            self.agent(base)
        self.app.on_partitions_revoked.connect(self._revoked)

    async def batch(self, events: list[Any]) -> None:
        """Judge a drained batch, partition by partition, in the order of each."""
        by_place: dict[tuple[str, int], list[Any]] = {}
        for event in events:
            by_place.setdefault((event.message.topic, event.message.partition), []).append(event)
        for place, group in by_place.items():
            await self._judge(place, group)
        now = time.monotonic()
        for place, held in list(self.held.items()):
            if len(held.open) >= self.settings.checkpoint_records:
                await self._checkpoint(place, held)
        self._observe(now)

    async def _judge(self, place: tuple[str, int], events: list[Any]) -> None:
        # A record drained before a rebalance belongs to an assignment that is over: it comes again.
        current = self.app.consumer_generation_id
        events = [event for event in events if event.message.generation_id == current]
        if not events:
            return
        held = self.held.get(place)
        if held is None or held.generation != current:
            held = self.held[place] = await self._take_over(place, current)
        if not held.sought:
            held.sought = True
            if await self._goes_back(place, held, events[0].message.offset):
                return
        if held.back_from is not None:
            # Fetched before the consumer went back: these come again.
            while events and events[0].message.offset > held.back_from:
                events.pop(0)
            if not events:
                return
            held.back_from = None
        records = [_record(event.message) for event in events]
        began = time.perf_counter()
        step = self.judge.judge(held.partition, records)
        self.measures.judge_seconds.observe(time.perf_counter() - began)
        self.measures.batch.observe(len(records))
        self.measures.records.labels(self.name).inc(len(records))
        await self.publish(step.outputs)
        held.partition.apply(step.changes)
        held.checkpointer.note(step.changes)
        held.open.extend(events)
        if held.since is None:
            held.since = time.monotonic()

    async def _take_over(self, place: tuple[str, int], generation: int) -> _Held:
        topic, number = place
        try:
            recovered = await read_state(self.settings, self._state_partition(place))
            partition = Partition.load(recovered.states) if recovered.offset >= 0 else Partition.empty()
        except StateError as error:
            log.error(
                "state of %s[%d] is unreadable (%s): rebuilding from the input log", topic, number, error
            )
            recovered, partition = Recovered({}, -1, 0, ()), Partition.empty()
        owner = Owner(max(recovered.epoch + 1, generation), secrets.token_hex(4))
        log.info(
            "%s[%d] is ours: %d states, next offset %d, owner %s",
            topic,
            number,
            len(recovered.states),
            partition.offset + 1,
            owner.name,
        )
        return _Held(partition, Checkpointer(owner, recovered), generation)

    def _state_partition(self, place: tuple[str, int]) -> int:
        # Several input topics share the state topic, one block of partitions each (settings' order).
        names = [self.settings.topic(base) for base in self.settings.input_topics]
        return names.index(place[0]) * self.settings.partitions + place[1]

    async def _goes_back(self, place: tuple[str, int], held: _Held, first: int) -> bool:
        """Whether the consumer was sent back, because the group's commit had run ahead of our state.

        The commit must never lead the state. It can when the state topic was lost, or when Faust
        acknowledges a record that it skips during a rebalance: the state knows better.
        """
        wanted = held.partition.offset + 1
        if first <= wanted:
            return False
        target = TopicPartition(*place)
        earliest = (await self.app.consumer.earliest_offsets(target))[target]
        wanted = max(wanted, earliest)
        if first <= wanted:
            return False
        log.warning("%s[%d] was committed to %d, its state is at %d: going back", *place, first, wanted)
        held.back_from = first
        await self.app.consumer.seek(target, wanted)
        return True

    async def _checkpoint(self, place: tuple[str, int], held: _Held) -> None:
        if held.generation != self.app.consumer_generation_id:
            return  # another owner's business by now
        send = self._state_sender(self._state_partition(place))
        offset = held.partition.offset
        await send(held.checkpointer.begin(held.partition.states, offset))
        await send([held.checkpointer.seal()])
        done = held.checkpointer.done()
        events, held.open, held.since = held.open, [], None
        for event in events:
            if event.message.offset > done:
                held.open.append(event)
            else:
                event.ack()
        self.measures.checkpoints.inc()

    def _state_sender(self, number: int) -> Callable[[Sequence[StateRecord]], Awaitable[None]]:
        topic = self.settings.topic(STATE_TOPIC)

        async def send(records: Sequence[StateRecord]) -> None:
            producer = self.app.producer
            await _confirmed(
                [
                    await producer.send(topic, item.key, item.value, number, None, list(item.headers))
                    for item in records
                ]
            )

        return send

    async def checkpoint_regularly(self) -> None:
        """Take checkpoints until the stage is closed."""
        while not self.closed:
            await asyncio.sleep(self.settings.checkpoint_s / 4)
            try:
                async with self.lock:
                    now = time.monotonic()
                    for place, held in list(self.held.items()):
                        if held.since is not None and now - held.since >= self.settings.checkpoint_s * 0.75:
                            await self._checkpoint(place, held)
                    self._observe(now)
            except Exception as error:
                self.closed = True
                self.failed(error)
                return

    async def _revoked(self, _app: Any, revoked: Iterable[Any] = (), **_: Any) -> None:
        """Make durable what was judged, then forget the partitions; the next owner reads the state."""
        async with self.lock:
            for tp in revoked:
                held = self.held.pop((tp.topic, tp.partition), None)
                if held is not None and held.open:
                    try:
                        await self._checkpoint((tp.topic, tp.partition), held)
                    except Exception as error:
                        self.closed = True
                        self.failed(error)
                        return

    async def finish(self) -> None:
        """Take the last checkpoints and acknowledge."""
        async with self.lock:
            if not self.closed:
                self.closed = True
                for place, held in list(self.held.items()):
                    if held.open:
                        await self._checkpoint(place, held)

    def _observe(self, now: float) -> None:
        opened = [held.since for held in self.held.values() if held.since is not None]
        self.measures.oldest.set(now - min(opened) if opened else 0.0)
        for (topic, number), held in self.held.items():
            self.measures.sessions.labels(topic, number).set(len(held.partition.states))
            with contextlib.suppress(Exception):  # a gauge is no reason to stop
                end = self.app.consumer.highwater(TopicPartition(topic, number))
                if end is not None:
                    self.measures.lag.labels(topic, number).set(max(0, end - held.partition.offset - 1))


class ActStage(_Stage):
    """Cases in, alerts and signed revocations out; holds no state of its own."""

    name = "act"

    def __init__(
        self, settings: Settings, actor: Acting, measures: Measures, failed: Callable[[BaseException], None]
    ) -> None:
        super().__init__(settings, measures, failed)
        self.actor = actor
        self.agent(CASES)

    async def batch(self, events: list[Any]) -> None:
        """Act on a drained batch, then acknowledge it: nothing but the outputs needs to be durable."""
        current = self.app.consumer_generation_id
        events = [event for event in events if event.message.generation_id == current]
        if events:
            self.measures.records.labels(self.name).inc(len(events))
            await self.publish(self.actor.act([_record(event.message) for event in events]))
            for event in events:
                event.ack()


def _application(settings: Settings, name: str) -> Any:
    credentials: dict[str, Any] = {}
    if settings.security_protocol != "PLAINTEXT":
        context = settings.ssl_context() if settings.security_protocol.endswith("SSL") else None
        credentials["broker_credentials"] = (
            faust.SASLCredentials(
                username=settings.sasl_username,
                password=settings.sasl_password,
                mechanism=settings.sasl_mechanism,
                ssl_context=context,
            )
            if settings.security_protocol.startswith("SASL")
            else faust.SSLCredentials(context)
        )
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
        consumer_max_fetch_size=4 * settings.message_max_bytes,
        producer_acks=-1,
        producer_max_request_size=settings.message_max_bytes + 2 * 65_536,
        broker_max_poll_records=settings.batch_max,
        broker_commit_interval=1.0,
        # A dead worker's partitions are free after the session timeout. A busy one lives: the consumer's
        # thread sends the heartbeats.
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.session_timeout_s / 5,
        broker_rebalance_timeout=REBALANCE_TIMEOUT_S,
        stream_wait_empty=False,  # a stop would wait for ever for records drained, not acknowledged
        **credentials,
    )
    transport = _Transport(app.conf.broker_consumer, app)
    transport.fetch_wait_ms = settings.fetch_wait_ms
    app.transport = transport
    return app


async def read_state(settings: Settings, number: int) -> Recovered:
    """What partition `number` of the state topic says, read to its present end.

    Raises
    ------
    BrokerError
        The topic or the partition is missing.
    StateError
        A record was written by another version.
    """
    place = TopicPartition(settings.topic(STATE_TOPIC), number)
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
    await consumer.start()
    try:
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        # The embedded broker tells the start of the last batch as the end; a fetch tells the truth on both.
        end = (await consumer.end_offsets([place]))[place]
        found: list[StateRecord] = []
        while await consumer.position(place) < end:
            for item in (await consumer.getmany(place, timeout_ms=500)).get(place, []):
                found.append(StateRecord(item.key or b"", tuple(item.headers), item.value))
            end = max(end, consumer.highwater(place) or 0)
    finally:
        await consumer.stop()
    return fold(found)


# ------------------------------------------------------------------------------------------------- the worker


def run(
    settings: Settings,
    *,
    judge: Judging | None,
    actor: Acting | None,
    announce: Callable[[str], None] = log.info,
) -> int:
    """Run the stages given until SIGTERM, SIGINT or a failure; gives the exit code.

    Raises
    ------
    BrokerError
        At the start only: no broker answers, or its topics are not as they must be.
    """
    counts = _checked_counts(settings)
    return asyncio.run(_run(settings, judge, actor, counts, announce))


def _checked_counts(settings: Settings) -> dict[str, int]:
    counts = partition_counts(settings)
    needed = [*settings.input_topics, CASES, STATE_TOPIC, DECISIONS, QUARANTINE]
    missing = [settings.topic(base) for base in needed if base not in counts]
    if missing:
        raise BrokerError(f"topics are missing: {', '.join(missing)}; run `driftline topics create`")
    wrong = [base for base in settings.input_topics if counts[base] != settings.partitions]
    if wrong:
        raise BrokerError(
            f"{settings.topic(wrong[0])} has {counts[wrong[0]]} partitions, the settings say "
            f"{settings.partitions}: set DRIFTLINE_PARTITIONS to the topic's own number"
        )
    if counts[STATE_TOPIC] != settings.partitions * len(settings.input_topics):
        raise BrokerError(
            f"{settings.topic(STATE_TOPIC)} has {counts[STATE_TOPIC]} partitions, expected "
            f"{settings.partitions * len(settings.input_topics)}: one for each input partition"
        )
    return {base: counts[base] for base in settings.input_topics}


async def _run(
    settings: Settings,
    judge: Judging | None,
    actor: Acting | None,
    counts: dict[str, int],
    announce: Callable[[str], None],
) -> int:
    stop = asyncio.Event()
    failures: list[BaseException] = []
    measures = Measures()

    def failed(error: BaseException) -> None:
        failures.append(error)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = None
    if settings.metrics_port:
        try:
            server, _ = start_http_server(settings.metrics_port, addr="127.0.0.1", registry=measures.registry)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"metrics cannot listen on 127.0.0.1:{settings.metrics_port} ({error}); choose another "
                "port with --metrics-port, or 0 for none"
            ) from error
        announce(f"metrics on http://127.0.0.1:{settings.metrics_port}/metrics")
    stages: list[_Stage] = []
    tasks: list[asyncio.Task[None]] = []
    if judge is not None:
        stages.append(judging := JudgeStage(settings, judge, measures, failed))
        tasks.append(asyncio.create_task(judging.checkpoint_regularly()))
    if actor is not None:
        stages.append(ActStage(settings, actor, measures, failed))
    announce(f"joining as {', '.join(f'{settings.group}-{stage.name}' for stage in stages)}")
    # Both at once: a group's first join takes up to half a minute on the embedded broker.
    starting = [asyncio.create_task(stage.app.start()) for stage in stages]
    tasks.append(asyncio.create_task(_watch(settings, stages, starting, counts, measures, failed)))
    ready = asyncio.create_task(_ready(starting, measures, announce))
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
        # Not cancelled and awaited: clients that wait for a broker that is gone do not listen to that.
        log.warning("the stop took more than %.0f s; what was open is judged again", STOP_S)
    elif (unfinished := ending.exception()) is not None:
        failures.append(unfinished)
    for task in (*tasks, *starting, ready):
        task.cancel()
    await asyncio.wait((*tasks, *starting, ready), timeout=2)
    if server is not None:
        server.shutdown()
    if not failures:
        announce("stopped" if clean else "stopped late")
        return 0
    return _report(failures[0])


async def _ready(
    starting: Sequence[asyncio.Task[Any]], measures: Measures, announce: Callable[[str], None]
) -> None:
    await asyncio.gather(*starting)
    measures.ready.set(1)
    announce("ready")


async def _watch(
    settings: Settings,
    stages: Sequence[_Stage],
    starting: Sequence[asyncio.Task[Any]],
    counts: dict[str, int],
    measures: Measures,
    failed: Callable[[BaseException], None],
) -> None:
    """Notice what Faust does not tell: a service that crashed, a partition count that changed."""
    next_count = time.monotonic() + COUNT_EVERY_S
    away_since: float | None = None
    while True:
        await asyncio.sleep(0.25)
        for task in starting:
            if task.done() and not task.cancelled() and task.exception() is not None:
                failed(task.exception() or BrokerError("a stage did not start"))
                return
        for stage in stages:
            reason = stage.app.crash_reason
            if stage.app.crashed:
                failed(reason or BrokerError(f"the {stage.name} stage's consumer crashed"))
                return
        if time.monotonic() >= next_count:
            next_count = time.monotonic() + COUNT_EVERY_S
            try:
                now = await asyncio.to_thread(partition_counts, settings)
            except BrokerError as error:
                if away_since is None:
                    away_since = time.monotonic()
                    measures.ready.set(0)
                    log.warning("%s; waiting %.0f s for it", error, BROKER_AWAY_S)
                elif time.monotonic() - away_since > BROKER_AWAY_S:
                    failed(error)
                    return
                continue
            if away_since is not None:
                away_since = None
                measures.ready.set(1)
                log.warning("the broker answers again")
            for base, expected in counts.items():
                if now.get(base, expected) != expected:
                    failed(
                        BrokerError(
                            f"{settings.topic(base)} now has {now[base]} partitions instead of "
                            f"{expected}: keys have moved; make a new topic and drain this one"
                        )
                    )
                    return


def _report(error: BaseException) -> int:
    """Log a failure by type and place, never by its payload; gives the exit code."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else "unknown place"
    text = str(error) if isinstance(error, DriftlineError) else type(error).__name__
    log.error(
        "worker stopped: %s (%s at %s); nothing unconfirmed was acknowledged",
        text,
        type(error).__name__,
        place,
    )
    broker = isinstance(error, KafkaError | BrokerError | OSError | TimeoutError)
    return EXIT_BROKER if broker else EXIT_ARTEFACT
