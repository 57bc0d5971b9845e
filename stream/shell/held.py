"""What the circuit breaker holds, as it stands on the bus, and a person's ruling on it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

from models.errors import BrokerError
from stream.events import FEEDBACK, HELD, dumps
from stream.outbound.breaker import Resolution
from stream.settings import Settings
from stream.shell.connection import refused


class Waiting(NamedTuple):
    """A case whose revocations are held."""

    breaker: str
    tenant: str
    session_id: str
    agent: str
    time: str
    case_id: str
    credentials: int
    reason: str


def waiting(settings: Settings) -> list[Waiting]:
    """What is held at this moment, oldest first.

    Raises
    ------
    BrokerError
        No broker answers, or the topic is missing.
    """
    from kafka import KafkaConsumer, TopicPartition
    from kafka.errors import KafkaError

    try:
        consumer = KafkaConsumer(
            **settings.kafka(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=4 * settings.message_max_bytes,
            client_id="driftline-held",
        )
    except (KafkaError, OSError) as error:
        raise refused(settings, error) from error
    try:
        topic = settings.topic(HELD)
        numbers = consumer.partitions_for_topic(topic)
        if not numbers:
            raise BrokerError(
                f"{topic}: no such topic here; run `driftline topics create`, or grant its reading"
            )
        places = [TopicPartition(topic, number) for number in sorted(numbers)]
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        ends = consumer.end_offsets(places)
        records: list[Any] = []
        while any(consumer.position(place) < end for place, end in ends.items()):
            for polled in consumer.poll(timeout_ms=200).values():
                records += polled
        return standing(records)
    except KafkaError as error:
        raise BrokerError(f"reading what is held failed: {type(error).__name__}") from error
    finally:
        consumer.close()


def standing(records: Iterable[Any]) -> list[Waiting]:
    """What is held by records of the topic, each partition in its order: what people ruled on is taken off."""
    held: dict[tuple[str, str], tuple[int, Waiting]] = {}
    for record in records:
        headers = dict(record.headers or ())
        breaker, offset = (
            headers.get("breaker", b"").decode(errors="replace"),
            int(headers.get("offset", b"-1")),
        )
        tenant = (record.key or b"").decode(errors="replace")
        if "action" in headers:
            ruled = [
                key
                for key, (at, each) in held.items()
                if (each.breaker, each.tenant) == (breaker, tenant) and at < offset
            ]
            for key in ruled:
                del held[key]
            continue
        case = orjson.loads(record.value)
        held[tenant, case["record_id"]] = (
            offset,
            Waiting(
                breaker,
                tenant,
                case["session_id"],
                case["agent"] or "",
                case["time"],
                case["case_id"],
                len(case["credentials"]),
                case["reason"],
            ),
        )
    return sorted((each for _, each in held.values()), key=lambda each: each.time)


def rule(settings: Settings, resolution: Resolution, token: str) -> None:
    """Send a signed ruling on its way; the workers carry it out when they read it.

    Raises
    ------
    BrokerError
        No broker answers, or it does not take the record.
    """
    from kafka import KafkaProducer
    from kafka.errors import KafkaError

    value = dumps({"type": "held.resolved", "tenant": resolution.tenant, "token": token})
    try:
        producer = KafkaProducer(**settings.kafka(), acks="all", client_id="driftline-held")
    except (KafkaError, OSError) as error:
        raise refused(settings, error) from error
    try:
        producer.send(settings.topic(FEEDBACK), value, resolution.tenant.encode()).get(timeout=30)
    except KafkaError as error:
        raise BrokerError(f"the ruling was not taken ({type(error).__name__})") from error
    finally:
        producer.close(timeout=10)
