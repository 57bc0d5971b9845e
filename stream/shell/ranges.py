"""Ranges of a topic, by time or by offsets: which records lie in them, and how far before them reading has to begin."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

from kafka import TopicPartition

from models.errors import BrokerError, ConfigError, InputError
from stream.events import Record, milliseconds
from stream.settings import Settings
from stream.shell.export import consuming, unseen

Bound = int | Mapping[int, int]
"""Where a range begins or ends: a time in ms since 1970, or offsets by partition."""
POLL_MS = 1000
_END_MS = 200
"""How long a fetch at a partition's end may wait: it is made for the end that comes with it."""
_OFFSETS = re.compile(r"\d+:\d+(,\d+:\d+)*")


class Span(NamedTuple):
    """A range of one partition, by offsets: records from `begin` on, before `end`; reading begins at `start`, for what was open."""

    partition: int
    start: int
    begin: int
    end: int


def bound(text: str, option: str) -> Bound:
    """What an option says of where a range begins or ends.

    Raises
    ------
    ConfigError
        It says neither a time nor offsets.

    >>> bound("1970-01-02", "--from"), bound("1970-01-01T00:00:01.5Z", "--from"), bound("0:7,2:90", "--to")
    (86400000, 1500, {0: 7, 2: 90})
    """
    if _OFFSETS.fullmatch(text):
        pairs = [pair.split(":") for pair in text.split(",")]
        offsets = {int(partition): int(offset) for partition, offset in pairs}
        if len(offsets) < len(pairs):
            raise ConfigError(f"{option} is {text!r}, which names a partition twice")
        return offsets
    try:
        moment = datetime.fromisoformat(text)
        if len(text) == len("2026-03-02"):
            moment = moment.replace(tzinfo=UTC)
        return max(0, milliseconds(moment))
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"{option} is {text!r}; expected a day such as 2026-03-02 (UTC), a time such as 2026-03-02T09:00:00Z, or offsets such as"
            " 0:1200,1:900 (partition:offset)"
        ) from error


def as_option(offsets: Iterable[tuple[int, int]]) -> str:
    """Offsets by partition as `bound` reads them.

    >>> as_option([(0, 7), (2, 90)])
    '0:7,2:90'
    """
    return ",".join(f"{partition}:{offset}" for partition, offset in offsets)


class Topic:
    """One topic while ranges of it are read.

    Attributes
    ----------
    name : str
        On the bus.
    partitions : list of int
        All that it has.
    """

    def __init__(self, settings: Settings, base: str, consumer: Any) -> None:
        self.name = settings.topic(base)
        self._consumer = consumer
        self.partitions = sorted(consumer.partitions_for_topic(self.name) or ())
        if not self.partitions:
            raise BrokerError(unseen(settings, self.name))

    def spans(
        self, begin: Bound | None, end: Bound | None, only: Sequence[int] | None, read_back_ms: int
    ) -> list[Span]:
        """The range in each partition, as it stands now.

        Parameters
        ----------
        begin, end : from which record on, and before which; None: all that there is. By time, the first record stamped at or after
            it is the bound. Offsets hold for the partitions that they name, others are read whole
        only : these partitions alone
        read_back_ms : reading begins at the first record that is stamped so long before the first of the range

        Raises
        ------
        ConfigError
            A partition is named that is not there.
        InputError
            Offsets are named that are not there, or not any more.
        """
        asked = {*(only or ())}.union(*(each for each in (begin, end) if isinstance(each, Mapping)))
        if unknown := asked - {*self.partitions}:
            raise ConfigError(f"{self.name} has no partition {min(unknown)}, only 0 to {self.partitions[-1]}")
        return [
            self._span(TopicPartition(self.name, number), begin, end, read_back_ms)
            for number in (self.partitions if not only else sorted({*only}))
        ]

    def _span(self, place: Any, begin: Bound | None, end: Bound | None, read_back_ms: int) -> Span:
        self._consumer.assign([place])
        first, behind = self._consumer.beginning_offsets([place])[place], self._end(place)
        last = self._offset(place, end, behind, behind, first)
        since = min(self._offset(place, begin, first, behind, first), last)
        start = since
        if since > first and (record := next(self._records(place, since, last), None)) is not None:
            start = min(since, self._at(place, record.timestamp_ms - read_back_ms, behind))
        return Span(place.partition, max(first, start), since, last)

    def _offset(self, place: Any, bound_: Bound | None, default: int, behind: int, first: int) -> int:
        if isinstance(bound_, int):
            return self._at(place, bound_, behind)
        offset = default if bound_ is None else bound_.get(place.partition, default)
        if not first <= offset <= behind:
            raise InputError(
                f"{self.name} holds offsets {first} to {behind} of partition {place.partition}, and not {offset}: it has aged out, or"
                " is yet to come"
            )
        return offset

    def _at(self, place: Any, time_ms: int, behind: int) -> int:
        """The offset of the first record stamped at or after a time; the end where there is none."""
        found = self._consumer.offsets_for_times({place: max(0, time_ms)})[place]
        if found is None:
            return behind
        # The embedded broker tells where its batch begins.
        records = self._records(place, int(found.offset), behind)
        return next((record.offset for record in records if record.timestamp_ms >= time_ms), behind)

    def _end(self, place: Any) -> int:
        """Where a partition ends now, by a fetch at its end: the embedded broker tells the start of the last batch."""
        end = int(self._consumer.end_offsets([place])[place])
        self._consumer.seek(place, end)
        self._consumer.poll(timeout_ms=_END_MS)
        return max(end, self._consumer.highwater(place) or 0)

    def records(self, span: Span, heard: Callable[[int], None]) -> Iterator[tuple[Record, int]]:
        """The records of a range, those before it that are read for what was open first, each with the topic's partition count.

        Parameters
        ----------
        heard : hears of each fetch, how many offsets it went on by
        """
        place = TopicPartition(self.name, span.partition)
        for record in self._records(place, span.start, span.end, heard):
            yield record, len(self.partitions)

    def _records(
        self, place: Any, start: int, end: int, heard: Callable[[int], None] = lambda _: None
    ) -> Iterator[Record]:
        consumer = self._consumer
        consumer.assign([place])
        consumer.seek(place, start)
        at = start
        while at < end:
            for item in consumer.poll(timeout_ms=POLL_MS).get(place, []):
                if item.offset >= end:
                    break
                yield Record.of(item)
            heard(min(consumer.position(place), end) - at)
            at = consumer.position(place)


@contextmanager
def reading(settings: Settings, base: str) -> Iterator[Topic]:
    """The topic of a base name, to be read in ranges.

    Raises
    ------
    BrokerError
        No broker answers, or the topic is missing.
    """
    with consuming(settings, settings.topic(base)) as consumer:
        yield Topic(settings, base, consumer)
