"""A header name that is no UTF-8 stops neither client: the record goes on, and those around it."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import READ_UNCOMMITTED
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

from stream.events import Record
from stream.shell import wire
from tests.secured import Poison


@pytest.fixture
def raw() -> bytes:
    """Two batches: a good one, and one with a poisoned record between two good ones."""
    found = b""
    for first, names in ((0, ("a", "b")), (2, ("c", Poison("d"), "e"))):
        made = MemoryRecordsBuilder(magic=2, compression_type=0, batch_size=10_000)
        for name in names:
            made.append(timestamp=1, key=None, value=name.encode(), headers=[(name, b"v"), ("n", None)])
        made.close()
        found += first.to_bytes(8, "big") + bytes(made.buffer())[8:]
    return found


def unpacked(raw: bytes, at: int) -> list[Any]:
    """The records from offset `at` on; a broker sends from the batch on that holds it."""
    second = 12 + int.from_bytes(raw[8:12], "big")
    records = fetcher.MemoryRecords(raw if at < 2 else raw[second:])
    return list(
        fetcher.PartitionRecords(TopicPartition("t", 0), records, [], at, None, None, True, READ_UNCOMMITTED)
    )


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4])
def test_the_worker_s_client_reads_on_over_a_poisoned_header(raw: bytes, at: int) -> None:
    wire.install()
    found = unpacked(raw, at)
    assert [record.offset for record in found] == [*range(at, 5)]
    names = {record.offset: record.headers[0][0] for record in found}
    assert names == {n: name for n, name in enumerate(("a", "b", "c", "\ufffd\ufffdd", "e")) if n >= at}
    assert all(record.headers[1] == ("n", None) for record in found)


def test_the_worker_s_client_hands_out_records_as_the_core_takes_them(raw: bytes) -> None:
    wire.install()
    assert unpacked(raw, 1)[0] == Record("t", 0, 1, 1, "create", None, (("b", b"v"), ("n", None)), b"b")


def test_the_other_client_reads_the_same(raw: bytes) -> None:
    wire.install()
    records = MemoryRecords(raw)
    found = []
    while (batch := records.next_batch()) is not None:
        found += [(record.offset, record.headers[0][0], record.value) for record in batch]
    assert found == [(r.offset, r.headers[0][0], r.value) for r in unpacked(raw, 0)]


def test_a_damaged_batch_is_still_an_error(raw: bytes) -> None:
    wire.install()
    damaged = bytearray(raw)
    damaged[-3] ^= 0xFF
    with pytest.raises(Exception, match="CRC"):
        unpacked(bytes(damaged), 0)
