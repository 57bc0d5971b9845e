"""OTLP bytes become spans: both encodings say the same, and whatever is no span is refused, not raised."""

from __future__ import annotations

import contextlib
import gzip
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InputError
from stream.offline.imports import genai, otlp
from stream.offline.imports.otlp import Span, spans_in, spans_of
from stream.offline.imports.reading import head_of
from stream.offline.imports.steps import Notes
from tests.spans import Traced, as_json, hijacked, proto


def request(**span: Any) -> bytes:
    told = {"traceId": "a" * 32, "spanId": "b" * 16, "name": "n", "startTimeUnixNano": "1", **span}
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [told]}]}]}).encode()


def read(raw: bytes) -> tuple[list[Span], Notes]:
    notes = Notes()
    return spans_in(raw, notes, "here"), notes


def attribute(value: Any, name: str = "gen_ai.x") -> dict[str, Any]:
    return {"attributes": [{"key": name, "value": value}]}


def test_json_and_protobuf_of_one_export_are_the_same_spans() -> None:
    traced = Traced()
    hijacked(traced, **{"gen_ai.scores": [0.5, 2.0], "gen_ai.n": 7, "gen_ai.yes": True})
    raw = proto(traced.finished())
    of_proto, of_json = read(raw)[0], read(as_json(raw))[0]
    assert of_proto == of_json
    assert [genai.kind_of(span) for span in of_proto] == ["model", "tool", "tool", "agent"]
    assert of_proto[-1].attributes["gen_ai.scores"] == [0.5, 2.0]
    assert of_proto[-1].service == "mail-agents"


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ({"stringValue": "x"}, "x"),
        ({"intValue": "12"}, 12),
        ({"intValue": -12}, -12),
        ({"doubleValue": 0.5}, 0.5),
        ({"doubleValue": "NaN"}, "nan"),
        ({"boolValue": False}, False),
        ({"bytesValue": "AAE="}, "AAE="),
        ({"arrayValue": {"values": [{"intValue": 1}, {}]}}, [1, None]),
        ({"kvlistValue": {"values": [{"key": "a", "value": {"stringValue": "b"}}]}}, {"a": "b"}),
        ({}, None),
    ],
)
def test_a_value_is_read_as_it_is_meant(value: dict[str, Any], plain: Any) -> None:
    spans, notes = read(request(**attribute(value)))
    assert spans[0].attributes == {"gen_ai.x": plain}
    assert not notes.lost


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"stringValue": "x"}
    for _ in range(levels):
        value = {"arrayValue": {"values": [value]}}
    return value


@pytest.mark.parametrize(
    "value",
    [
        nested(200),
        {"intValue": "9" * 40},
        {"intValue": "many"},
        {"stringValue": "x" * (otlp.MAX_TEXT + 1)},
        "x",
    ],
    ids=["deep", "huge number", "no number", "long", "no value"],
)
def test_an_attribute_out_of_bounds_is_left_out_and_counted(value: Any) -> None:
    spans, notes = read(request(**attribute(value)))
    assert spans[0].attributes == {}
    assert sum(notes.lost.values()) == 1


@pytest.mark.parametrize(
    "broken",
    [
        {"traceId": "a" * 31},
        {"traceId": "0" * 32},
        {"spanId": "z" * 16},
        {"spanId": 7},
        {"parentSpanId": "b"},
        {"startTimeUnixNano": "soon"},
        {"startTimeUnixNano": -1},
        {"endTimeUnixNano": 1 << 70},
        {"startTimeUnixNano": 1.5},
        {"status": [1]},
    ],
)
def test_a_span_that_breaks_the_specification_is_refused_and_the_others_are_not(
    broken: dict[str, Any],
) -> None:
    good, bad = json.loads(request()), json.loads(request(**broken))
    good["resourceSpans"] += bad["resourceSpans"]
    spans, notes = read(json.dumps(good).encode())
    assert len(spans) == 1
    assert notes.refused == 1
    assert notes.first.startswith("here: a span of another shape")


def test_ids_in_capitals_and_unknown_names_are_taken() -> None:
    spans, notes = read(request(traceId="A" * 32, newField={"x": [1]}))
    assert spans[0].trace == "a" * 32
    assert notes.refused == 0


@pytest.mark.parametrize(
    "raw", [b"", b"\x0a\xff\xff", b"[]", b"{", b"{]", b"hello", b"[" * 5000, b'{"a":' * 3000]
)
def test_garbage_is_no_request(raw: bytes) -> None:
    if raw == b"":  # an empty message of protobuf: a request without spans
        assert read(raw)[0] == []
        return
    with pytest.raises(InputError):
        read(raw)


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps).map(str.encode)
)
def test_whatever_bytes_come_lead_to_spans_or_a_refusal(raw: bytes) -> None:
    with contextlib.suppress(InputError):
        read(raw)


shapes = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("a" * 32),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "resourceSpans",
                    "resource",
                    "scopeSpans",
                    "scope",
                    "spans",
                    "attributes",
                    "key",
                    "value",
                    "traceId",
                    "spanId",
                    "status",
                    "code",
                    "stringValue",
                    "intValue",
                    "arrayValue",
                    "kvlistValue",
                    "values",
                    "name",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=30,
)


@given(st.lists(shapes, max_size=3))
def test_whatever_shape_a_document_has_it_is_read_or_refused(shape: list[Any]) -> None:
    read(json.dumps({"resourceSpans": shape}).encode())


@pytest.fixture
def written() -> bytes:
    traced = Traced()
    hijacked(traced)
    return proto(traced.finished())


@pytest.mark.parametrize("how", ["lines", "document", "frames", "gzip", "bare"])
def test_a_file_is_read_in_every_form_that_the_collector_and_people_write(
    how: str, written: bytes, tmp_path: Path
) -> None:
    told = as_json(written)
    content = {
        "lines": told + b"\n" + b'{"resourceLogs": []}\n',
        "document": json.dumps(json.loads(told), indent=2).encode(),
        "frames": struct.pack(">I", len(written)) + written,
        "gzip": gzip.compress(told + b"\n"),
        "bare": written,
    }[how]
    path = tmp_path / "spans"
    path.write_bytes(content)
    notes = Notes()
    assert list(spans_of(path, notes)) == read(written)[0]
    assert notes.refused == 0
    assert otlp.recognised(head_of(path)) == (how != "bare")


@pytest.mark.parametrize("cut", [2, 6, 40])
def test_a_file_that_was_not_written_to_its_end_gives_what_is_whole(
    cut: int, written: bytes, tmp_path: Path
) -> None:
    frame = struct.pack(">I", len(written)) + written
    path = tmp_path / "spans"
    path.write_bytes(frame + frame[:cut])
    notes = Notes()
    assert len(list(spans_of(path, notes))) == len(read(written)[0])
    assert notes.refused == 1
