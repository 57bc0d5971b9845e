"""A topic exported as a log, as ``driftline topics dump`` writes it and ``replay`` reads it."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from models.errors import BrokerError
from stream.events import TIMESTAMP_TYPES, Record, dumps
from stream.settings import Settings
from stream.shell import wire
from stream.shell.connection import refused


def log_line(record: Record, partitions: int) -> bytes:
    """One line of a log, as ``replay`` reads it.

    >>> log_line(Record("t", 0, 7, 1000, "create", b"k", (), b"{}"), 4).decode()[:60]
    '{"headers":[],"key":"k","offset":7,"partition":0,"partitions'
    """
    key: Any = None if record.key is None else record.key.decode(errors="surrogateescape")
    line: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "partitions": partitions,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "timestamp_type": record.timestamp_type,
        # A header may have no value at all, whatever a client's types say.
        "headers": [[name, (value or b"").decode(errors="replace")] for name, value in record.headers],
        "value_b64": None if record.value is None else base64.b64encode(record.value).decode(),
    }
    try:
        line["key"] = key
        return dumps(line)
    except (TypeError, ValueError):  # a key that is not UTF-8 has no place in JSON text
        line["key"] = None
        line["key_b64"] = base64.b64encode(record.key or b"").decode()
        return dumps(line)


def records(
    settings: Settings, base: str, partitions: Sequence[int] | None = None
) -> Iterator[tuple[Record, int]]:
    """Every record of a topic up to its present end, partition by partition, with the partition count.

    Raises
    ------
    BrokerError
        No broker answers, or the topic is missing.
    """
    wire.install()
    name = settings.topic(base)
    try:
        consumer = KafkaConsumer(
            **settings.kafka(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=4 * settings.message_max_bytes,
        )
    except (KafkaError, OSError) as error:
        raise refused(settings, error) from error
    try:
        known = consumer.partitions_for_topic(name)
        if not known:
            raise BrokerError(
                f"topic {name} does not exist at {settings.bootstrap}, or this principal may not read it; run "
                "`driftline topics create`, see `driftline topics --acls`"
            )
        for number in sorted(known if partitions is None else partitions):
            for record in _records_in(consumer, TopicPartition(name, number)):
                yield record, len(known)
    except KafkaError as error:
        raise BrokerError(f"reading {name} failed: {type(error).__name__}") from error
    finally:
        consumer.close()


def _records_in(consumer: Any, place: TopicPartition) -> Iterator[Record]:
    """Every record of one partition up to its present end."""
    consumer.assign([place])
    consumer.seek_to_beginning(place)
    end = consumer.end_offsets([place])[place]
    fetched = False
    while consumer.position(place) < end:
        items = consumer.poll(timeout_ms=1000).get(place, [])
        if items and not fetched:
            # The embedded broker tells the start of the last batch as the end; a fetch is right.
            fetched, end = True, max(end, consumer.highwater(place) or 0)
        for item in items:
            if item.offset >= end:
                break
            yield Record(
                place.topic,
                place.partition,
                item.offset,
                item.timestamp,
                TIMESTAMP_TYPES.get(item.timestamp_type, "none"),
                item.key,
                tuple((header, value) for header, value in item.headers or ()),
                item.value,
            )
