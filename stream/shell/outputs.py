"""What arrives on the output topics, read as it comes."""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import orjson

from models.errors import BrokerError
from stream.events import ALERTS, DECISIONS, ENDS, OUTCOMES, QUARANTINE, REVOCATIONS
from stream.settings import Settings
from stream.shell.connection import refused

SHOWN = (DECISIONS, ALERTS, REVOCATIONS, ENDS, OUTCOMES, QUARANTINE)

_log = logging.getLogger("driftline.watch")


class Seen(NamedTuple):
    """One record of an output topic (base name), and when it was read, in seconds since 1970."""

    topic: str
    key: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    value: bytes
    read_at: float


def claims_of(token: bytes) -> dict[str, Any]:
    """The claims of a compact JWS, unverified: good for showing, not for acting on."""
    try:
        payload = token.split(b".")[1]
        claims = orjson.loads(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def records(
    settings: Settings,
    *,
    beginning: bool = False,
    wait_ms: int = 200,
    stop: Callable[[], bool] = lambda: False,
    connected: Callable[[bool], None] | None = None,
) -> Iterator[list[Seen]]:
    """What arrives on the output topics, as it comes; an empty list when nothing did.

    `connected` hears at each turn whether any broker is connected: the client itself waits for one in silence.

    Raises
    ------
    BrokerError
        No broker answers, or the topics are missing.
    """
    from kafka import KafkaConsumer
    from kafka.errors import KafkaError

    from stream.shell import wire

    wire.install()
    try:
        consumer = KafkaConsumer(
            **settings.kafka(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=settings.fetch_wait_ms,
            max_partition_fetch_bytes=4 * settings.message_max_bytes,
            client_id="driftline-watch",
        )
    except (KafkaError, OSError) as error:
        raise refused(settings, error) from error
    try:
        places = _places(consumer, settings)
        consumer.assign(places)
        if beginning:
            consumer.seek_to_beginning(*places)
        else:
            consumer.seek_to_end(*places)
        while not stop():
            polled = consumer.poll(timeout_ms=wait_ms)
            now = time.time()
            if connected is not None:  # all figures of the client are gathered for this one
                connected(consumer.metrics()["consumer-metrics"]["connection-count"] > 0)
            yield [
                Seen(settings.base(item.topic), item.key, tuple(item.headers or ()), item.value or b"", now)
                for items in polled.values()
                for item in items
            ]
    except KafkaError as error:
        raise BrokerError(f"reading the output topics failed: {type(error).__name__}") from error
    finally:
        consumer.close()


def _places(consumer: Any, settings: Settings) -> list[Any]:
    """The partitions of the output topics that this principal may see."""
    from kafka import TopicPartition

    places: list[Any] = []
    for base in SHOWN:
        name = settings.topic(base)
        numbers = consumer.partitions_for_topic(name)
        if not numbers:
            _log.warning("%s is not shown: it is missing, or this principal may not read it", name)
        places += [TopicPartition(name, number) for number in sorted(numbers or ())]
    if not places:
        raise BrokerError(
            f"no output topic is to be seen at {settings.bootstrap}; run `driftline topics create`, or grant "
            "this principal the rights of `driftline topics --acls`"
        )
    return places
