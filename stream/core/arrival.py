"""A record as an event of a session: to which session it belongs, and when it happened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from models.contracts import SessionEvent
from models.errors import SchemaError
from stream.core.partition import state_key
from stream.core.references import hidden
from stream.events import Parsed, Record, milliseconds, murmur2_partition
from stream.policy import Limits

EARLIEST_MS, LATEST_MS = 0, 253_370_764_800_000
"""Times that records may carry: 1970 to 9998. Beyond, deadlines and RFC 3339 texts do not exist."""


class Arrival(NamedTuple):
    """A session's event as it came.

    Parameters
    ----------
    event : SessionEvent
        With no secret in a credential reference, see `stream.core.references`.
    document : mapping
        What the event was read from, without its id, as the producer wrote and signed it: nothing of it is kept.
    offered : bytes
        Identifies the catalogue that a declaration brings, see `stream.events.Parsed`.
    key : str
        Of the session's state.
    time_ms : int
        The event's own time.
    stamped : bool
        The broker stamped the record, so that the partition's clock counts and not the event's time.
    """

    record: Record
    event: SessionEvent
    document: Mapping[str, Any]
    offered: bytes
    tenant: str
    root: str
    session: str
    key: str
    time_ms: int
    stamped: bool


def arrive(
    record: Record,
    event: SessionEvent,
    parsed: Parsed,
    tenants: Mapping[str, str | None],
    n_partitions: int | None,
    limits: Limits,
) -> Arrival:
    """The event of `record`, if the record lies where the session's events must lie.

    Parameters
    ----------
    event, parsed
        The session's event, and what it was parsed with.
    tenants : mapping of str to (str or None)
        See `Deployment`.
    n_partitions : int or None
        Of the record's topic, see `Partition`.

    Raises
    ------
    SchemaError
        Reason ``key``, ``partition`` or ``time``.
    """
    root = event.root_session_id or event.session_id
    time_ms = milliseconds(event.time)
    stamped = record.timestamp_type == "append"
    check_place(record, root.encode(), n_partitions)
    if not EARLIEST_MS <= time_ms < LATEST_MS:
        raise SchemaError("time", "the event's time is not between the years 1970 and 9998")
    skew_ms = limits.clock_skew_seconds * 1000
    if stamped and time_ms > record.timestamp_ms + skew_ms:
        raise SchemaError("time", f"the event's time is more than {skew_ms / 1000:g} s ahead of the broker")
    tenant = tenants.get(record.topic) or event.tenant or "default"
    key = state_key(tenant, root, event.session_id)
    document = parsed.document
    del document["id"]
    return Arrival(
        record, hidden(event), document, parsed.offered, tenant, root, event.session_id, key, time_ms, stamped
    )


def check_place(record: Record, root: bytes, partitions: int | None) -> None:
    """Raise `SchemaError` where a record of this root session does not lie where it must."""
    if record.key != root and (record.key is not None or partitions is not None):
        raise SchemaError("key", "the record's key must be the root session's id")
    if partitions is None:
        return
    belongs = murmur2_partition(root, partitions)
    if belongs != record.partition:
        raise SchemaError(
            "partition",
            f"this key belongs to partition {belongs} of {partitions} by murmur2; "
            "a producer on librdkafka must set partitioner=murmur2_random",
        )
