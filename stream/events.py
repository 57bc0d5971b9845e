"""Wire bytes <-> contracts: what a record is, how it is read, how ids and JSON are made.

The only JSON encoder for bus values is `dumps`: UTF-8, sorted keys, no spaces.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from models.contracts import (
    EVENT,
    EVENT_TYPES,
    SCHEMA_VERSION,
    CatalogueChanged,
    ControlEvent,
    Outbound,
    SessionDeclared,
    SessionEvent,
    Tool,
)
from models.errors import DecodeError, SchemaError

EVENTS, DECISIONS, CASES = "agent.events.v1", "agent.decisions.v1", "agent.cases.v1"
ALERTS = "agent.alerts.v1"
REVOCATIONS: Final = "agent.revocations.v1"
RISK: Final = "agent.risk.v1"
ENDS: Final = "agent.ends.v1"
QUARANTINE, RELEASES = "agent.quarantine.v1", "agent.releases.v1"
OUTCOMES, FEEDBACK = "agent.outcomes.v1", "agent.feedback.v1"
HELD: Final = "agent.held.v1"
STREAMS: Final = "agent.streams.v1"
CHALLENGES: Final = "agent.challenges.v1"

PACKAGE = "0.1.0"
"""Version of the package, as findings name the product: a constant, since nothing of the machine shapes an output."""
CORE = "46"
"""Version of everything that shapes an output; a golden test forces it to change when an output does."""

Headers = tuple[tuple[str, bytes], ...]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_SORTED = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


TIMESTAMP_TYPES = {0: "create", 1: "append"}
"""What the numbers of Kafka's clients mean in `Record.timestamp_type`; anything else is ``none``."""


class Record(NamedTuple):
    """One record of an input log, as any consumer or file reader delivers it.

    ``timestamp_type`` is ``append`` (stamped by the broker: gives the partition clock), ``create``, or
    ``none`` (a plain file).
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    timestamp_type: str
    key: bytes | None
    headers: Headers
    value: bytes | None

    @classmethod
    def of(cls, item: Any) -> Record:
        """A record as kafka-python's consumers deliver it; aiokafka's hand out `Record` themselves (`stream.shell.wire`)."""
        return cls(
            item.topic,
            item.partition,
            item.offset,
            item.timestamp,
            TIMESTAMP_TYPES.get(item.timestamp_type, "none"),
            item.key,
            tuple((name, value) for name, value in item.headers or ()),
            item.value,
        )


class Output(NamedTuple):
    """One record to publish; ``topic`` is the base name, without the configured prefix."""

    topic: str
    key: bytes
    headers: Headers
    value: bytes


def refusal(record: Record, reason: str, detail: str) -> Output:
    """The record as it came, for quarantine, with where it came from and why it was put aside."""
    headers = (
        ("reason", reason.encode()),
        ("detail", detail[:1024].encode(errors="replace")),
        ("topic", record.topic.encode()),
        ("partition", str(record.partition).encode()),
        ("offset", str(record.offset).encode()),
        ("core", CORE.encode()),
    )
    return Output(QUARANTINE, record.key or b"", headers, record.value or b"")


def dumps(value: Any) -> bytes:
    """JSON bytes of `value`: UTF-8, sorted keys, no spaces, the same for equal values.

    >>> dumps({"b": 1, "a": [0.5, None]})
    b'{"a":[0.5,null],"b":1}'
    """
    return orjson.dumps(value, default=_members, option=_SORTED)


def _members(value: Any) -> dict[str, Any]:
    """The members of one of our contracts inside a document, as they stand: each was checked when it was made."""
    if isinstance(value, Outbound):
        return vars(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def object_in(value: bytes | None) -> dict[str, Any] | None:
    """The JSON object that a record's value is; None where it is none.

    >>> object_in(b'{"a":1}'), object_in(b"[]"), object_in(b"{"), object_in(None)
    ({'a': 1}, None, None, None)
    """
    try:
        document = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


def member(document: Any, name: str) -> dict[str, Any]:
    """The object that a document of whatever shape has under a name; an empty one where it has none.

    >>> member({"a": {"b": 1}}, "a"), member({"a": 1}, "a"), member([], "a")
    ({'b': 1}, {}, {})
    """
    found = document.get(name) if isinstance(document, dict) else None
    return found if isinstance(found, dict) else {}


def short_hash(*parts: str | bytes, size: int = 16) -> str:
    """Hex digest of `parts`, unambiguous (each is preceded by its length); `size` in bytes."""
    packed = bytearray()
    for part in parts:
        raw = part if isinstance(part, bytes) else part.encode()
        packed += len(raw).to_bytes(4, "big")
        packed += raw
    return hashlib.blake2b(packed, digest_size=size).hexdigest()


def printable(text: str) -> str:
    """`text` on one line of printable characters: hosts and receivers choose it, and it goes to logs and terminals.

    >>> printable("a\\nb")
    'a b'
    """
    return "".join(each if each.isprintable() else " " for each in text)


def counted(n: float, noun: str) -> str:
    """So many of what a regular `noun` names, as people read it.

    >>> counted(1, "day"), counted(0, "day"), counted(87648.5, "minute"), counted(1440.0, "minute")
    ('1 day', '0 days', '87,648.5 minutes', '1,440 minutes')
    """
    return f"{f'{n:,.1f}'.removesuffix('.0')} {noun if n == 1 else noun + 's'}"


def clipped(text: str, most: int) -> str:
    """`text`, or as many of its words as `most` characters take with an ellipsis behind them; a word alone is cut.

    >>> clipped("the session drifted (alert)", 16), clipped("the session", 16), clipped("abcdefgh", 4)
    ('the session…', 'the session', 'abc…')
    """
    if len(text) <= most:
        return text
    kept = text[:most]
    whole = kept.rpartition(" ")[0].rstrip(" ,;:([")
    # A word that takes half of the room is cut: what stands before it would be too little.
    return f"{whole if 2 * len(whole) >= most else kept[:-1].rstrip()}…"


def rfc3339(time_ms: int) -> str:
    """RFC 3339 text in UTC of a time in milliseconds since 1970.

    >>> rfc3339(1767258000123)
    '2026-01-01T09:00:00.123Z'
    """
    moment = _EPOCH + timedelta(milliseconds=time_ms)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"


def milliseconds(moment: datetime) -> int:
    """Whole milliseconds since 1970 of an aware `moment`, exact (no float on the way)."""
    return (moment - _EPOCH) // _MILLISECOND


def moment_ms(text: Any) -> int:
    """Milliseconds since 1970 of a time of day as RFC 3339 writes it; 0 where a text is none.

    >>> moment_ms("1970-01-01T00:00:01Z"), moment_ms("soon"), moment_ms(None)
    (1000, 0, 0)
    """
    try:
        return milliseconds(datetime.fromisoformat(text))
    except (ValueError, TypeError):
        return 0


class Parsed(NamedTuple):
    """An event, the JSON document it came from, and a digest of the tools it offers (b"": none, or large)."""

    event: SessionEvent | ControlEvent
    document: dict[str, Any]
    offered: bytes


OFFERING = frozenset({"session.declared", "catalogue.changed"})
"""Types of event that bring tools."""
MAX_OFFERED = 65_536
"""Bytes of a tool catalogue that is remembered as checked."""
_checked: dict[bytes, list[Tool]] = {}
"""Catalogues that passed the contract, by digest: most sessions bring one that was checked before."""


def parse(value: bytes | None) -> Parsed:
    """The event in `value`.

    Raises
    ------
    DecodeError
        Not one UTF-8 JSON document by RFC 8259 (NaN, 1e400, lone surrogates and over 1,000 levels included).
    SchemaError
        Reason ``type`` (unknown), ``version`` (newer than ours) or ``schema`` (another shape).

    Notes
    -----
    Of duplicate keys the last counts, as in every common JSON reader.
    """
    if value is None:
        raise DecodeError("decode", "no value; an event is a JSON object")
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise DecodeError("decode", f"not JSON: {error.msg} at character {error.pos}") from error
    if not isinstance(document, dict):
        raise SchemaError("schema", f"an event is a JSON object, not {type(document).__name__}")
    kind = document.get("type")
    if not isinstance(kind, str) or kind not in EVENT_TYPES:
        raise SchemaError("type", f"unknown type; known are {', '.join(sorted(EVENT_TYPES))}")
    version = document.get("schema_version", SCHEMA_VERSION)
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise SchemaError(
            "version", f"schema_version {version} is newer than {SCHEMA_VERSION}: upgrade first"
        )
    offered = _digest_of(document.get("tools")) if kind in OFFERING else b""
    known = _checked.get(offered)
    try:
        event = EVENT.validator.validate_python(document if known is None else {**document, "tools": known})
    except ValidationError as error:
        # The path and the rule, never the value: payloads stay out of headers and logs.
        first = error.errors(include_input=False, include_url=False)[0]
        path = ".".join(str(step)[:64] for step in first["loc"][1:])
        raise SchemaError("schema", f"{path[:256]} {_broken(first)[:200]}") from error
    except RecursionError as error:
        raise SchemaError("schema", "nested too deep") from error
    if offered and known is None and isinstance(event, SessionDeclared | CatalogueChanged) and event.tools:
        if len(_checked) >= 64:
            _checked.clear()
        _checked[offered] = event.tools
    return Parsed(event, document, offered)


_BROKEN = {
    "missing": "is missing",
    "string_type": "is not a text",
    "string_too_short": "is empty",
    "string_too_long": "has more than {max_length} characters",
    "string_pattern_mismatch": "does not match {pattern}",
    "list_type": "is not a list",
    "too_long": "has more than {max_length} entries",
    "dict_type": "is not an object",
    "model_type": "is not an object",
    "model_attributes_type": "is not an object",
    "bool_type": "is neither true nor false",
    "int_type": "is not a whole number",
    "int_from_float": "is not a whole number",
    "greater_than": "is not above {gt}",
    "greater_than_equal": "is below {ge}",
    "less_than_equal": "is above {le}",
    "literal_error": "is not {expected}",
    "timezone_aware": "has no time zone; write 2026-03-02T09:00:00Z",
    "datetime_type": "is not a time such as 2026-03-02T09:00:00Z",
    "datetime_parsing": "is not a time such as 2026-03-02T09:00:00Z",
    "datetime_from_date_parsing": "is not a time such as 2026-03-02T09:00:00Z",
}
"""What is wrong with a field, by pydantic's name for it; the names in braces are the rule's own figures."""


def _broken(error: ErrorDetails) -> str:
    told = _BROKEN.get(error["type"])
    return told.format_map(error.get("ctx", {})) if told is not None else f"is refused: {error['msg']}"


def _digest_of(tools: Any) -> bytes:
    if not isinstance(tools, list) or not tools:
        return b""
    try:
        raw = orjson.dumps(tools)  # in their own order, which is kept of them
    except TypeError:  # nested too deep to be encoded
        return b""
    return hashlib.blake2b(raw, digest_size=16).digest() if len(raw) <= MAX_OFFERED else b""


_MURMUR_SEED, _MURMUR_M = 0x9747B28C, 0x5BD1E995


def murmur2(key: bytes) -> int:
    """Kafka's murmur2 of `key`, as an unsigned 32-bit number (the Java client's default partitioner)."""
    mask, length = 0xFFFFFFFF, len(key)
    h = _MURMUR_SEED ^ length
    whole = length & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(key[i : i + 4], "little") * _MURMUR_M & mask
        k = (k ^ (k >> 24)) * _MURMUR_M & mask
        h = (h * _MURMUR_M & mask) ^ k
    rest = key[whole:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * _MURMUR_M & mask
    h = (h ^ (h >> 13)) * _MURMUR_M & mask
    return h ^ (h >> 15)


@lru_cache(maxsize=1 << 14)
def murmur2_partition(key: bytes, partitions: int) -> int:
    """The partition that Kafka's default partitioner gives to `key`."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


@lru_cache(maxsize=1 << 14)
def case_id_of(tenant: str, root: str, session: str) -> str:
    """The id of a session's case: one for a session, whatever becomes of it."""
    return short_hash("case", tenant, root, session)
