"""The judge stage: events in, decisions and cases out; it owns the states of its partitions.

A batch is judged while the confirmations of those before it are on their way; a checkpoint waits for the confirmations
of all it covers, and the input is acknowledged up to it once it is durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from stream.core.partition import Partition
from stream.core.references import SecretReference
from stream.core.releases import InUse, Release
from stream.events import CORE, Record
from stream.shell.calibration_watch import CalibrationWatch
from stream.shell.checkpoints import Checkpointer, Owner, Recovered, Shelf, StateRecord, forgotten
from stream.shell.metrics import Identity
from stream.shell.recovery import read_states, restored, state_place
from stream.shell.stage import Stage, StageContext, all_of, confirmed
from stream.shell.transport import Assignment, Place, send

log = logging.getLogger("driftline.worker")

MAX_WARNED = 1000
"""Tenants, brokers and kinds of which a worker warns: a host that makes names up fills no log."""


class Judging(Protocol):
    """What the judge stage needs of `stream.core.judge.Judge`."""

    @property
    def releases(self) -> Mapping[str, Release]:
        """By digest, those that may judge; more may come."""

    def judge(self, partition: Partition, records: Sequence[Record]) -> Any:
        """What the records lead to: outputs, changes of state."""

    def next_deadline(self, partition: Partition) -> int | None:
        """Partition clock, in ms since 1970, at which the partition next owes an end."""

    def in_use(self, partition: Partition) -> InUse:
        """What sessions of the partition begin under now."""


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
    unconfirmed: set[asyncio.Task[None]] = field(default_factory=set)
    storing: asyncio.Lock = field(default_factory=asyncio.Lock)  # one checkpoint at a time


class JudgeStage(Stage):
    """Events in, decisions and cases out; owns the partitions' states."""

    name = "judge"
    shelf = Shelf()

    def __init__(self, context: StageContext, judge: Judging) -> None:
        super().__init__(context, list(context.settings.input_topics))
        self.judge = judge
        self.held: dict[Place, _Held] = {}
        self._warned: set[tuple[str, str, str]] = set()
        self._told: dict[
            Place, str
        ] = {}  # the digest that was last said of each partition; none of those that were never activated
        self._watch = CalibrationWatch(judge.releases, self.measures.calibration)
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
            self._warn(step.secrets)
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
            self._watch.take(step.outputs, step.changes)
            held.checkpointer.note(step.changes)
            held.open += len(records)
            held.stamped = records[-1].timestamp_type == "append"
            if held.since is None:
                held.since = time.monotonic()
            if held.open >= self.settings.checkpoint_records:
                self._full.set()

    def _warn(self, secrets: Iterable[SecretReference]) -> None:
        """Say once of each tenant, broker and kind that secrets come in place of references."""
        for found in secrets:
            if found[:3] not in self._warned and len(self._warned) < MAX_WARNED:
                self._warned.add(found[:3])
                log.warning("%s", found)

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
        stored = await read_states(self.settings, places, self.shelf)
        for place in places:
            recovered, partition = await asyncio.to_thread(
                restored, place, stored.pop(place), self.settings.partitions
            )
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
        await all_of(held.unconfirmed)
        (records,) = (await read_states(self.settings, [place], self.shelf)).values()
        self._hold(place, forgotten(records), Partition.empty(self.settings.partitions), held.generation)

    async def _checkpoint(self, place: Place, held: _Held) -> None:
        async with held.storing:
            if not held.open:
                return
            # What is stored is fixed here; judging goes on while it is written.
            offset, held.open, held.since = held.partition.offset, 0, None
            records = held.checkpointer.begin(held.partition.states, offset)
            await all_of(held.unconfirmed)
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
        topic, number = state_place(self.settings, place, self.shelf)
        rows = ((topic, number, item.key, item.value, item.headers) for item in map(self.shelf.put, records))
        await confirmed(await send(self.app, rows))

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
                for place, held in list(self.held.items()):
                    await self.tick(place, self.judge.next_deadline(held.partition) if held.stamped else None)
            except Exception as error:
                self.failed(error)
                return

    async def _revoked(self, _app: Any, revoked: Iterable[Any] = (), **_: Any) -> None:
        """Make durable what was judged; whoever owns the partitions next reads it from there."""
        self.at("judge.revoked")
        async with self._batches:  # the batch at hand is finished; later ones belong to no generation
            held = [((tp.topic, tp.partition), self.held.get((tp.topic, tp.partition))) for tp in revoked]
        if self.closed:
            return
        try:
            await asyncio.gather(*(self._checkpoint(place, ours) for place, ours in held if ours is not None))
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
        self._identify()

    def _identify(self) -> None:
        """Say what sessions begin under, by partition in the log where it changed, as a set in the metrics."""
        running = set()
        for place, held in self.held.items():
            digest, release, policy = self.judge.in_use(held.partition)
            running.add(Identity(CORE, release, policy))
            if digest != self._told.get(place, ""):
                self._told[place] = digest
                what = digest or "that workers begin with"
                log.info(
                    "%s[%d]: sessions begin under release %s: model %s, policy %s",
                    *place,
                    what,
                    release,
                    policy,
                )
        self.measures.identify(frozenset(running or {Identity(CORE)}))
