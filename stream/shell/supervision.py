"""What watches over a running worker: its services, the broker, and a partition count that changes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from models.errors import BrokerError
from stream.settings import Settings
from stream.shell.metrics import Measures
from stream.shell.stage import Stage
from stream.shell.topics import partition_counts

log = logging.getLogger("driftline.worker")

BROKER_AWAY_S = 60.0
"""How long a broker may be away before the worker ends with the broker's exit code (chosen)."""
COUNT_EVERY_S = 10.0

Failed = Callable[[BaseException], None]


async def watch_stages(
    stages: Sequence[Stage],
    starting: Sequence[asyncio.Task[Any]],
    measures: Measures,
    failed: Failed,
    announce: Callable[[str], None],
) -> None:
    """Say whether the worker is healthy and ready; notice what Faust does not tell: a service that crashed."""
    announced, turns = False, 0
    while True:
        await asyncio.sleep(0.1)
        measures.turned = time.monotonic()
        if (error := _broken(stages, starting)) is not None:
            failed(error)
            return
        if (turns := turns + 1) % 10 == 0:
            for stage in stages:
                stage.observe()
        ready = measures.broker_answers and all(stage.settled for stage in stages)
        measures.ready.set(ready)
        if ready and not announced:
            announced = True
            announce("ready")


def _broken(stages: Sequence[Stage], starting: Sequence[asyncio.Task[Any]]) -> BaseException | None:
    """Why a stage did not start or does not run any longer; None while all is well."""
    for task in starting:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            return error
    for stage in stages:
        if stage.app.crashed:
            return stage.app.crash_reason or BrokerError(f"the {stage.name} stage's consumer crashed")
    return None


async def watch_broker(
    settings: Settings, counts: Mapping[str, int], measures: Measures, failed: Failed
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
        if (moved := _moved(settings, counts, now)) is not None:
            failed(moved)
            return


def _moved(settings: Settings, before: Mapping[str, int], now: Mapping[str, int]) -> BrokerError | None:
    """What to say of an input topic whose partition count changed; None when none did."""
    for base in settings.input_topics:
        if now.get(base, before[base]) != before[base]:
            return BrokerError(
                f"{settings.topic(base)} now has {now[base]} partitions instead of "
                f"{before[base]}: keys have moved; make a new topic and drain this one"
            )
    return None
