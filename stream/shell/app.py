"""The streaming worker: a thin shell around the core, on Faust (`stream.shell.transport`).

Order in both stages: outputs confirmed by the broker, state durable, input acknowledged. A batch is judged
while the confirmations of those before it are on their way; a checkpoint waits for the confirmations of all
it covers. Positions come from the state, so that the group's commit may lag or be lost. Any failure stops the
worker: what was not made durable is judged again, to the same bytes.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import traceback
from collections.abc import Callable
from typing import Any

from aiokafka.errors import KafkaError

from models.errors import BrokerError, DriftlineError
from stream.events import (
    ALERTS,
    CASES,
    CHALLENGES,
    CORE,
    DECISIONS,
    ENDS,
    FEEDBACK,
    HELD,
    OUTCOMES,
    QUARANTINE,
    REVOCATIONS,
    RISK,
)
from stream.settings import Settings
from stream.shell.act_stage import Acting, ActStage
from stream.shell.challenge_stage import SHELF, Challenger, ChallengeStage
from stream.shell.checkpoints import Shelf
from stream.shell.connection import rights_hint
from stream.shell.health import HealthServer
from stream.shell.judge_stage import JudgeStage, Judging
from stream.shell.metrics import Identity, Measures
from stream.shell.stage import Stage, StageContext
from stream.shell.supervision import watch_broker, watch_stages
from stream.shell.topics import partition_counts

log = logging.getLogger("driftline.worker")

EXIT_BROKER, EXIT_ARTEFACT = 4, 5
LEAVE_S = 2.0
"""How long tasks that are cancelled at the end may take."""
STOP_S = 15.0
"""Longest a graceful stop may take before the process goes anyway; what is open is judged again."""


def run(
    settings: Settings,
    *,
    judge: Judging | None,
    actor: Acting | None,
    challenger: Challenger | None = None,
    announce: Callable[[str], None] = log.info,
    at: Callable[[str], None] = lambda _: None,
) -> int:
    """Run the stages given until SIGTERM, SIGINT or a failure; gives the exit code.

    Parameters
    ----------
    settings : Settings
    judge, actor
        What each stage runs; None leaves that stage out.
    challenger : Challenger
        Whose word `judge` is, when it only says what it would have decided.
    announce : callable
        Takes one line for the operator.
    at : callable
        Called at each of `stream.shell.stage.POINTS`; tests break the worker there.

    Raises
    ------
    BrokerError
        At the start only: no broker answers, or its topics are not as they must be.
    ConfigError
        Metrics cannot listen where they should.
    """
    counts = _checked_counts(settings, challenger)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        worker = _Worker(settings, counts, announce, at)
        worker.measures.identify(frozenset({Identity(CORE)}))
        return loop.run_until_complete(worker.run(judge, actor, challenger))
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


def _checked_counts(settings: Settings, challenger: Challenger | None) -> dict[str, int]:
    """Partitions of every topic, by base name; `BrokerError` where one is missing or has a number that cannot work."""
    counts = partition_counts(settings)
    shelf = SHELF if challenger is not None else Shelf()
    states = [shelf.topic(base) for base in settings.input_topics]
    outputs = [CASES, DECISIONS, QUARANTINE, ALERTS, REVOCATIONS, RISK, ENDS, HELD, FEEDBACK, OUTCOMES]
    if challenger is not None:
        outputs = [CHALLENGES]
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


class _Worker:
    """The stages of one process, from their start to their stop."""

    def __init__(
        self,
        settings: Settings,
        counts: dict[str, int],
        announce: Callable[[str], None],
        at: Callable[[str], None],
    ) -> None:
        self.settings = settings
        self.counts = counts
        self.announce = announce
        self.measures = Measures()
        self._context = StageContext(settings, counts, self.measures, self._failed, at)
        self._stop = asyncio.Event()
        self._failures: list[BaseException] = []
        self._stages: list[Stage] = []
        self._tasks: list[asyncio.Task[Any]] = []  # held here, or they might be collected

    def _failed(self, error: BaseException) -> None:
        self._failures.append(error)
        self._stop.set()

    async def run(self, judge: Judging | None, actor: Acting | None, challenger: Challenger | None) -> int:
        """Run the stages until a signal or a failure; gives the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        server = self._serve()
        self._start(judge, actor, challenger)
        await self._stop.wait()
        self.measures.ready.set(0)
        self.announce("stopping")
        in_time = await self._end()
        if server is not None:
            server.close()
        if not self._failures:
            self.announce("stopped" if in_time else "stopped late")
            return 0
        return _report(self._failures[0])

    def _serve(self) -> HealthServer | None:
        host, port = self.settings.metrics_host, self.settings.metrics_port
        if not port:
            return None
        server = HealthServer(self.measures, host, port, self.settings.metrics_token_file)
        self.announce(f"metrics on http://{host}:{server.port}/metrics")
        return server

    def _start(self, judge: Judging | None, actor: Acting | None, challenger: Challenger | None) -> None:
        """Start the stages, and what watches over them."""
        if judge is not None:
            judging = (
                JudgeStage(self._context, judge)
                if challenger is None
                else ChallengeStage(self._context, judge, challenger)
            )
            self._stages.append(judging)
            self._tasks.append(asyncio.create_task(judging.store_regularly()))
        if actor is not None:
            self._stages.append(acting := ActStage(self._context, actor))
            self._tasks.append(asyncio.create_task(acting.remind_regularly()))
        names = ", ".join(f"{self.settings.group}-{stage.name}" for stage in self._stages)
        self.announce(f"joining as {names}")
        # Both at once: a group's first join takes up to half a minute on the embedded broker.
        starting = [asyncio.create_task(stage.app.start()) for stage in self._stages]
        watching = watch_stages(self._stages, starting, self.measures, self._failed, self.announce)
        answering = watch_broker(self.settings, self.counts, self.measures, self._failed)
        self._tasks += [*starting, asyncio.create_task(watching), asyncio.create_task(answering)]

    async def _end(self) -> bool:
        """Stop every stage, gracefully unless something failed; whether that was done in time."""
        ending = asyncio.create_task(self._finish())
        await asyncio.wait({ending}, timeout=STOP_S)
        if not ending.done():
            # Not awaited any longer: what has not ended by now is cancelled with all other tasks, see `_leave`.
            log.warning("the stop took more than %.0f s; what was open is judged again", STOP_S)
            return False
        if (unfinished := ending.exception()) is not None:
            self._failures.append(unfinished)
        return True

    async def _finish(self) -> None:
        if not self._failures:
            for stage in self._stages:
                await stage.finish()
        for stage in self._stages:
            # What was acknowledged is committed here; after a failure nothing more was acknowledged.
            await stage.app.stop()


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
