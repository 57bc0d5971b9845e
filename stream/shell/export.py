"""A topic exported as a log, as ``driftline topics dump`` writes it and ``replay`` reads it."""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, TopicAuthorizationFailedError

from models.errors import BrokerError
from stream.events import DECISIONS, Record, dumps, murmur2_partition
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
    name = settings.topic(base)
    with consuming(settings, name) as consumer:
        known = consumer.partitions_for_topic(name)
        if not known:
            raise BrokerError(unseen(settings, name))
        for number in sorted(known if partitions is None else partitions):
            for record in _records_in(consumer, TopicPartition(name, number)):
                yield record, len(known)


class Bus:
    """Topics of a cluster, each read to its present end, as far as this principal may read them.

    Attributes
    ----------
    unread : dict of str to str
        By the base name of a topic that is missing or may not be read: what to do about it.
    """

    def __init__(self, settings: Settings) -> None:
        self.unread: dict[str, str] = {}
        self.base = settings.base
        self._settings = settings

    def read(self, bases: Collection[str], root: str | None = None) -> Iterator[Record]:
        """Records of these topics, one after the other; with `root`, of topics keyed by it that session's partition alone.

        Raises
        ------
        BrokerError
            No broker answers.
        """
        for log in self.logs(bases, root):
            yield from log

    def logs(self, bases: Collection[str], root: str | None = None) -> Iterator[Iterator[Record]]:
        """As `read`, each partition by itself; it must be read before the next one is asked for."""
        by_root = {*self._settings.input_topics, DECISIONS}
        with consuming(self._settings, "the topics") as consumer:
            for base in bases:
                name = self._settings.topic(base)
                known = sorted(consumer.partitions_for_topic(name) or ())
                if not known:
                    self.unread[base] = unseen(self._settings, name)
                if root is not None and known and base in by_root:
                    known = [murmur2_partition(root.encode(), len(known))]
                for number in known:
                    yield self._log(consumer, base, TopicPartition(name, number))

    def _log(self, consumer: Any, base: str, place: TopicPartition) -> Iterator[Record]:
        try:
            yield from _records_in(consumer, place)
        except TopicAuthorizationFailedError:
            self.unread[base] = unseen(self._settings, place.topic)


def unseen(settings: Settings, name: str) -> str:
    """What to do about a topic that is missing or may not be read."""
    return (
        f"topic {name} does not exist at {settings.bootstrap}, or this principal may not read it; run "
        "`driftline topics create`, see `driftline topics --acls`"
    )


@contextmanager
def consuming(settings: Settings, what: str) -> Iterator[Any]:
    """A consumer without a group; its failures as `BrokerError`."""
    wire.install()
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
        yield consumer
    except KafkaError as error:
        raise BrokerError(f"reading {what} failed: {type(error).__name__}") from error
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
            yield Record.of(item)
