"""OTLP as bytes -> spans: requests in JSON and in protobuf, and files of them.

The shapes are ``ExportTraceServiceRequest`` and ``TracesData`` of opentelemetry-proto 1.x. In JSON, by the OTLP specification ("JSON
Protobuf Encoding"), ids are hexadecimal, 64-bit numbers are texts or numbers, and unknown names are ignored. Both forms of one
span give the same `Span`. Of attributes only those are kept that `stream.offline.imports.genai` reads.
"""

from __future__ import annotations

import math
import re
import struct
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from models.errors import ConfigError, InputError, brings
from stream.offline.imports.reading import MAX_DOCUMENT, Head, document_in, documents_of, whole
from stream.offline.imports.steps import MISSHAPEN, Notes
from stream.offline.lines import open_text

KEPT = ("gen_ai.", "mcp.", "error.type")
"""How the names of attributes begin that are kept."""
MAX_DEPTH = 32
"""Levels of an attribute; protobuf itself refuses a message of more than 100, of which each level here takes three."""
MAX_TEXT = 4 << 20
"""Characters of an attribute's text: one longer is left out, and counted."""
FAILED = 2
"""STATUS_CODE_ERROR."""
_BEGINS = re.compile(r'\s*\{\s*"resourceSpans"\s*:')
_FRAME = struct.Struct(">I")


class Span(NamedTuple):
    """A span, of an agent or of anything else on the way between its agents and tools.

    Parameters
    ----------
    trace, id, parent : str
        In lower-case hexadecimal; `parent` is empty for a root.
    start_ns, end_ns : int
        Nanoseconds since 1970; 0 where not told.
    failed : bool
        Its status is an error; `message` says which, where told.
    attributes : the kept ones
    service, scope : what ran, and what instrumented it, by name
    """

    trace: str
    id: str
    parent: str
    name: str
    start_ns: int
    end_ns: int
    failed: bool
    message: str
    attributes: dict[str, Any]
    service: str
    scope: str


def spans_in(raw: bytes, notes: Notes, where: str) -> list[Span]:
    """The spans of one request, in JSON or protobuf; spans that are none are refused one by one.

    Raises
    ------
    InputError
        It is no request.
    ConfigError
        It is protobuf, and what reads that is not installed.
    """
    if raw.lstrip(b" \t\r\n")[:1] == b"{":
        document = document_in(raw)
        if not isinstance(document, dict):
            raise InputError(f"{where}: not one JSON object")
        return list(_of_document(document, notes, where))
    return list(_of_message(raw, notes, where))


def recognised(head: Head) -> bool:
    """Whether a file begins like what the Collector's file exporter writes: lines of JSON, or framed protobuf."""
    if any("resourceSpans" in document for document in head.documents) or _BEGINS.match(head.text):
        return True
    return _is_framed(head.text[:5].encode("utf-8", "surrogateescape"))


def spans_of(path: Path, notes: Notes) -> Iterator[Span]:
    """The spans of a file: JSON lines, one JSON document, framed protobuf, or one request in protobuf.

    Raises
    ------
    InputError
        It cannot be read, or is longer than may be.
    """
    with open_text(path) as opened:
        first = opened.buffer.read(5)
    if _is_framed(first):
        yield from _framed(path, notes)
    elif first.lstrip()[:1] not in (b"{", b""):
        yield from _guarded(_bare(path), notes, str(path))
    elif "\n" in (text := _head(path)).strip() and document_in(text.split("\n", 1)[0]) is None:
        yield from _of_document(whole(path) or {}, notes, str(path))
    else:
        for number, document in documents_of(path, notes):
            where = f"{path}, line {number}"
            if "resourceSpans" in document or not document:
                yield from _of_document(document, notes, where)
            elif "resourceLogs" in document or "resourceMetrics" in document:
                notes.lose("lines of logs and metrics")
            else:
                notes.refuse(where, "no request of traces: it has no resourceSpans")


def _head(path: Path) -> str:
    with open_text(path) as opened:
        return opened.read(1 << 16)


def _is_framed(first: bytes) -> bool:
    # A length of less than 16 MiB, before the first field of a request: no text begins with NUL.
    return len(first) == 5 and first[0] == 0 and first[4] == 0x0A


def _framed(path: Path, notes: Notes) -> Iterator[Span]:
    with open_text(path) as opened:
        number = 0
        while head := opened.buffer.read(_FRAME.size):
            number += 1
            where = f"{path}, message {number}"
            length = _FRAME.unpack(head)[0] if len(head) == _FRAME.size else MAX_DOCUMENT + 1
            if length > MAX_DOCUMENT:
                notes.refuse(where, "its length is none: the file is damaged, or was not written to its end")
                return
            yield from _guarded(_exactly(opened.buffer, length), notes, where)


def _exactly(opened: IO[bytes], length: int) -> bytes:
    return opened.read(length)


def _bare(path: Path) -> bytes:
    with open_text(path) as opened:
        raw = opened.buffer.read(MAX_DOCUMENT + 1)
    if len(raw) > MAX_DOCUMENT:
        raise InputError(f"{path}, one message of more than {MAX_DOCUMENT >> 20} MiB: split it")
    return raw


def _guarded(raw: bytes, notes: Notes, where: str) -> list[Span]:
    try:
        return spans_in(raw, notes, where)
    except InputError as error:
        notes.refuse(where, str(error).removeprefix(f"{where}: "))
        return []


def _of_document(document: dict[str, Any], notes: Notes, where: str) -> Iterator[Span]:
    """The spans of a request that was JSON."""
    for resource in _listed(document, "resourceSpans"):
        described = resource.get("resource")
        service = _service(_listed(described, "attributes"), _json_value)
        for scoped in _listed(resource, "scopeSpans"):
            scope = scoped.get("scope")
            name = scope.get("name") if isinstance(scope, dict) else None
            for span in _listed(scoped, "spans"):
                try:
                    status = span.get("status") or {}
                    yield Span(
                        trace=_hex(span.get("traceId"), 32),
                        id=_hex(span.get("spanId"), 16),
                        parent=_hex(span["parentSpanId"], 16) if span.get("parentSpanId") else "",
                        name=str(span.get("name") or ""),
                        start_ns=_whole(span.get("startTimeUnixNano")),
                        end_ns=_whole(span.get("endTimeUnixNano")),
                        failed=status.get("code") == FAILED,
                        message=str(status.get("message") or ""),
                        attributes=_kept(
                            (
                                (str(each.get("key")), each.get("value"))
                                for each in _listed(span, "attributes")
                            ),
                            _json_value,
                            notes,
                        ),
                        service=service,
                        scope=str(name or ""),
                    )
                except MISSHAPEN as error:
                    notes.refuse(where, f"a span of another shape ({_why(error)})")


def _of_message(raw: bytes, notes: Notes, where: str) -> Iterator[Span]:
    """The spans of a request that was protobuf."""
    try:
        from google.protobuf.message import DecodeError
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    except ImportError as error:
        raise ConfigError(
            f"OTLP in protobuf takes {error.name}, which the extra otel brings: {brings('otel')}; "
            "or write it as JSON (otlp_json, format: json)"
        ) from error
    try:
        request = ExportTraceServiceRequest.FromString(raw)
    except DecodeError as error:
        raise InputError(f"{where}: neither JSON nor a request of traces in protobuf") from error
    for resource in request.resource_spans:
        service = _service(
            [{"key": each.key, "value": each.value} for each in resource.resource.attributes], _proto_value
        )
        for scoped in resource.scope_spans:
            for span in scoped.spans:
                try:
                    yield Span(
                        trace=_hex(span.trace_id.hex(), 32),
                        id=_hex(span.span_id.hex(), 16),
                        parent=_hex(span.parent_span_id.hex(), 16) if span.parent_span_id else "",
                        name=span.name,
                        start_ns=span.start_time_unix_nano,
                        end_ns=span.end_time_unix_nano,
                        failed=span.status.code == FAILED,
                        message=span.status.message,
                        attributes=_kept(
                            ((each.key, each.value) for each in span.attributes), _proto_value, notes
                        ),
                        service=service,
                        scope=scoped.scope.name,
                    )
                except MISSHAPEN as error:
                    notes.refuse(where, f"a span of another shape ({_why(error)})")


def _why(error: Exception) -> str:
    """What is wrong with a span, never a value of it."""
    return str(error) if isinstance(error, _Misshapen) else type(error).__name__


class _Misshapen(ValueError):
    """A span that breaks the specification; its text holds nothing of it."""


def _listed(document: Any, name: str) -> Iterator[dict[str, Any]]:
    """The objects of a list of a document of whatever shape."""
    found = document.get(name) if isinstance(document, dict) else None
    return (each for each in (found if isinstance(found, list) else ()) if isinstance(each, dict))


def _hex(text: Any, digits: int) -> str:
    """An id as W3C Trace Context writes it."""
    told = text.lower() if isinstance(text, str) else ""
    if len(told) != digits or not set(told) <= set("0123456789abcdef") or not told.strip("0"):
        raise _Misshapen(f"an id is not {digits} hexadecimal digits, or all zeros")
    return told


def _whole(value: Any, *, signed: bool = False) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise _Misshapen("a number is not whole")
    number = int(value)
    if not (-(1 << 63) if signed else 0) <= number < 1 << (63 if signed else 64):
        raise _Misshapen("a number takes more than 64 bits")
    return number


def _service(attributes: Any, value_of: Any) -> str:
    for each in attributes:
        if each.get("key") == "service.name":
            try:
                return str(value_of(each.get("value"), 0) or "")
            except MISSHAPEN:
                return ""
    return ""


def _kept(attributes: Iterator[tuple[str, Any]], value_of: Any, notes: Notes) -> dict[str, Any]:
    """The attributes that are read, as plain values; of a name that is there twice the last counts."""
    found = {}
    for name, value in attributes:
        if not name.startswith(KEPT):
            continue
        try:
            found[name] = value_of(value, 0)
        except MISSHAPEN:
            notes.lose("attributes of another shape, nested too deep or too long")
    return found


def _text(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise _Misshapen("too long")
    return text


def _json_value(value: Any, depth: int) -> Any:
    """An ``AnyValue`` in JSON as a plain value."""
    if depth > MAX_DEPTH or not isinstance(value, dict):
        raise _Misshapen("nested too deep, or no value")
    for name, told in value.items():
        match name:
            case "stringValue" | "bytesValue":
                return _text(str(told))
            case "boolValue":
                return bool(told)
            case "intValue":
                return _whole(told, signed=True)
            case "doubleValue":
                return _number(float(told))
            case "arrayValue":
                return [_json_value(each, depth + 1) for each in _listed(told, "values")]
            case "kvlistValue":
                return {
                    str(each.get("key")): _json_value(each.get("value"), depth + 1)
                    for each in _listed(told, "values")
                }
    return None


def _proto_value(value: Any, depth: int) -> Any:
    """An ``AnyValue`` in protobuf as a plain value."""
    if depth > MAX_DEPTH:
        raise _Misshapen("nested too deep")
    match value.WhichOneof("value"):
        case "string_value":
            return _text(value.string_value)
        case "bytes_value":
            return _text(b64encode(value.bytes_value).decode())
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value
        case "double_value":
            return _number(value.double_value)
        case "array_value":
            return [_proto_value(each, depth + 1) for each in value.array_value.values]
        case "kvlist_value":
            return {each.key: _proto_value(each.value, depth + 1) for each in value.kvlist_value.values}
    return None


def _number(number: float) -> float | str:
    """A number that JSON has, or its name."""
    return number if math.isfinite(number) else str(number)
