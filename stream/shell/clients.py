"""aiokafka's clients in a program that must notice when its broker is gone, and must end all the same."""

from __future__ import annotations

import asyncio
import logging
import math
import signal
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from stream.settings import Settings
from stream.shell.connection import refused

TURN_S = 3.0
"""How long the clients may take for each step at the end: where no broker answers they would wait for one for ever."""
ASK_S, AWAY_S = 5.0, 60.0
"""How often the broker is asked whether it is there, and how long it may be away before the program ends (chosen)."""

_log = logging.getLogger("driftline.connection")


async def watch_broker(
    settings: Settings, asks: Callable[[], AIOKafkaConsumer | None], note: Callable[[bool], None]
) -> None:
    """Ends with an error once the broker has been away for long; the clients wait for it without a word.

    Parameters
    ----------
    asks : callable
        A consumer with partitions, by which the broker is asked; None, or one without any, while the program starts.
    note : callable
        Hears whether it answers.

    Raises
    ------
    BrokerError
        It has been away for `AWAY_S`.
    """
    away_s, loop = math.inf, asyncio.get_running_loop()
    while True:
        await asyncio.sleep(ASK_S)
        asked = asks()
        places = [] if asked is None else list(asked.assignment())
        if asked is None or not places:
            continue  # the start fails by itself
        try:
            async with asyncio.timeout(ASK_S):
                await asked.end_offsets(places[:1])
        except (KafkaError, TimeoutError) as error:
            note(False)
            if away_s == math.inf:
                away_s = loop.time()
                _log.warning("no broker answers at %s; waiting %.0f s for it", settings.bootstrap, AWAY_S)
            elif loop.time() - away_s >= AWAY_S:
                raise await asyncio.to_thread(refused, settings, error) from error
            continue
        if away_s != math.inf:
            _log.warning("the broker answers again")
        away_s = math.inf
        note(True)


def told_to_stop() -> asyncio.Event:
    """What SIGTERM and SIGINT set from here on; for the running loop."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def until(
    stop: asyncio.Event, reading: Coroutine[Any, Any, None], watching: Coroutine[Any, Any, None]
) -> None:
    """Read until told to stop, or until `watching` fails; a client that waits for its broker hears of neither."""
    read, watch = asyncio.create_task(reading), asyncio.create_task(watching)
    told = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({read, watch, told}, return_when=asyncio.FIRST_COMPLETED)
        if told.done():
            await asyncio.wait({read}, timeout=TURN_S)
        for task in (read, watch):
            if task.done():
                task.result()
    finally:
        told.cancel()
        for task in (read, watch):
            task.cancel()
        await asyncio.gather(read, watch, told, return_exceptions=True)


async def stopped(client: AIOKafkaConsumer | AIOKafkaProducer) -> None:
    """Stop a client: one that reached no broker for a while raises what it cancels in itself, or waits for ever."""
    stopping = asyncio.create_task(client.stop())
    await asyncio.wait({stopping}, timeout=TURN_S)
    if stopping.done() and not stopping.cancelled():
        stopping.exception()
    stopping.cancel()


async def to_beginning(consumer: AIOKafkaConsumer, places: Collection[TopicPartition]) -> None:
    """Have `consumer` read these partitions from their beginnings."""
    consumer.assign(places)
    await consumer.seek_to_beginning(*places)
