"""Records as `Record` straight from a fetch; those that Kafka accepts and its Python clients cannot read among them.

A record's header names are text, but the broker does not look: any producer may name a header in bytes that
are no UTF-8. aiokafka and kafka-python then raise in the middle of a fetch, at the same offset for ever: one
such record would stop every worker. Here the odd bytes become U+FFFD and the record goes on to the contract
like any other. aiokafka's consumers hand out our `Record` in place of the client's own: one object is made for each record
instead of two. What is replaced in the clients is small and checked at import: pinned to aiokafka 0.14;
`tests/unit/test_wire.py` and `tests/kafka/test_security.py` hold it.
"""

from __future__ import annotations

from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy
from kafka.record import default_records as kafka_python

from models.errors import ConfigError
from stream.events import TIMESTAMP_TYPES, Record


class _Lenient(bytearray):
    """A batch's bytes whose parts decode whatever they are."""

    def __getitem__(self, at: Any) -> Any:
        part = super().__getitem__(at)
        return _Lenient(part) if isinstance(at, slice) else part

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return super().decode(encoding, "replace")


def _lenient(batch: Any) -> Any:
    """`batch`'s reader of one record; it reads once more, leniently, what it could not read strictly."""
    strict = batch._read_msg

    def read(self: Any) -> Any:
        try:
            return strict(self)
        except UnicodeDecodeError:
            self._buffer = _Lenient(self._buffer)
            return strict(self)

    return read


class _Remembering(fetcher.MemoryRecords):  # type: ignore[misc]
    """The records of one fetch, with the bytes they came from."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.raw = raw


class _Patient(fetcher.PartitionRecords):  # type: ignore[misc]
    """Unpacks with the compiled reader, and what it stumbles on with the lenient one."""

    _records: Any

    def __next__(self) -> Any:
        try:
            return super().__next__()
        except UnicodeDecodeError:
            # The fetch is unpacked from its beginning once more; what was handed out is left away.
            wanted = self.next_fetch_offset
            self._records = _MemoryRecords(self._records.raw)
            self._records_iterator = (record for record in self._unpack_records() if record.offset >= wanted)
            return super().__next__()

    def _consumer_record(self, tp: Any, record: Any) -> Record:
        kind = TIMESTAMP_TYPES.get(record.timestamp_type, "none")
        # The generated constructor of a named tuple costs twice as much, and this runs for every record.
        return tuple.__new__(
            Record,
            (
                tp.topic,
                tp.partition,
                record.offset,
                record.timestamp,
                kind,
                record.key,
                tuple(record.headers),
                record.value,
            ),
        )


class _MemoryRecords(_MemoryRecordsPy):  # type: ignore[misc]
    def next_batch(self, *_: Any) -> Any:
        piece = self._next_slice
        if piece is None or piece[self.MAGIC_OFFSET] < 2:
            return super().next_batch()  # formats of before 2017 have no headers
        self._cache_next()
        return _Batch(piece)


class _Batch(_DefaultRecordBatchPy):  # type: ignore[misc]
    _read_msg = _lenient(_DefaultRecordBatchPy)


def install() -> None:
    """Let both clients of this process read such records, aiokafka's as `Record`; once is enough, more does no harm.

    Raises
    ------
    ConfigError
        The installed client keeps its readers elsewhere.
    """
    if not hasattr(kafka_python.DefaultRecordBatch, "_read_msg"):
        raise ConfigError("this kafka-python reads records elsewhere; install the pinned version")
    if not hasattr(fetcher.PartitionRecords, "_consumer_record"):
        raise ConfigError("this aiokafka makes its records elsewhere; install the pinned version")
    if fetcher.PartitionRecords is not _Patient:
        fetcher.MemoryRecords = _Remembering
        fetcher.PartitionRecords = _Patient
        kafka_python.DefaultRecordBatch._read_msg = _lenient(kafka_python.DefaultRecordBatch)
