"""Recorded sessions become events: ids, order, times, and nothing of the ground truth."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from models.contracts import EVENT
from models.errors import ConfigError, InputError
from stream.offline.files import load_tools
from stream.offline.lines import open_text
from stream.offline.recorded import events_of

TOOLS: list[dict[str, Any]] = [
    {
        "name": "read_note",
        "description": "Reads a note.",
        "parameters": {"type": "object", "properties": {"title": {"type": "string"}}},
        "colour": "not part of a catalogue",
    },
    {"name": "delete_note", "description": None},
]


def session(**changes: Any) -> dict[str, Any]:
    recorded: dict[str, Any] = {
        "source": "hand",
        "session_id": "hand-1",
        "model": "some-model",
        "intent": "Read my note about paint.",
        "tools_ref": "notes",
        "calls": [
            {"seq": 0, "tool": "read_note", "args": {"title": "paint"}, "result": "blue", "error": None},
            {
                "seq": 1,
                "tool": "read_note",
                "args": {"title": "brush"},
                "result": "",
                "error": "no such note",
            },
        ],
        "label": "hijacked",
        "first_bad_seq": 1,
        "injection_goal": "delete everything",
    }
    return {**recorded, **changes}


def times(events: list[dict[str, Any]]) -> list[datetime]:
    return [datetime.fromisoformat(event["time"]) for event in events]


def test_session_becomes_declaration_calls_with_returns_and_an_end() -> None:
    events = events_of(session(), TOOLS)
    assert [event["type"] for event in events] == [
        "session.declared",
        "tool.called",
        "tool.returned",
        "tool.called",
        "tool.returned",
        "session.ended",
    ]
    assert [event["id"] for event in events] == [f"hand-1/{seq}" for seq in range(6)]
    assert [event["seq"] for event in events] == list(range(6))
    assert [event.get("call_id") for event in events] == [
        None, "hand-1:0", "hand-1:0", "hand-1:1", "hand-1:1", None,
    ]  # fmt: skip
    assert {event["tenant"] for event in events} == {"recorded"}


def test_every_event_satisfies_the_contract() -> None:
    recorded = session(amendments=[{"before_seq": 1, "text": "and brush"}])
    for event in events_of(recorded, TOOLS, run="again"):
        EVENT.validate_python(orjson.loads(orjson.dumps(event)))


def test_declaration_carries_agent_intent_catalogue_and_one_credential() -> None:
    declared = events_of(session(), TOOLS)[0]
    assert declared["agent"] == {"id": "recorded", "model": "some-model"}
    assert declared["intent"] == {"text": "Read my note about paint."}
    assert declared["tools"] == [
        {key: TOOLS[0][key] for key in ("name", "description", "parameters")},
        {"name": "delete_note"},
    ]
    assert declared["credentials"] == [
        {
            "broker": "demo",
            "kind": "jti",
            "value": "hand-1",
            "issued": "2026-01-01T09:00:00Z",
            "expires": "2026-01-01T10:00:00Z",
        }
    ]


def test_missing_catalogue_and_model_are_left_out() -> None:
    declared = events_of(session(model=None), None)[0]
    assert "tools" not in declared
    assert declared["agent"] == {"id": "recorded"}


def test_ground_truth_never_reaches_an_event() -> None:
    text = json.dumps(events_of(session(), TOOLS))
    for forbidden in ("hijacked", "first_bad_seq", "delete everything", "injection", "not part of"):
        assert forbidden not in text


def test_error_without_result_is_returned_as_the_result() -> None:
    events = events_of(session(), TOOLS)
    assert (events[2]["status"], events[2]["result"]) == ("ok", "blue")
    assert (events[4]["status"], events[4]["result"]) == ("error", "no such note")


def test_run_prefixes_every_id_and_leaves_times_alone() -> None:
    plain, again = events_of(session(), TOOLS), events_of(session(), TOOLS, run="r2")
    assert [event["id"] for event in again] == [f"r2-hand-1/{seq}" for seq in range(6)]
    assert {event["session_id"] for event in again} == {"r2-hand-1"}
    assert again[1]["call_id"] == "r2-hand-1:0"
    assert again[0]["credentials"][0]["value"] == "r2-hand-1"
    assert times(again) == times(plain)


def test_drawn_times_start_fixed_and_step_one_to_twenty_seconds() -> None:
    moments = times(events_of(session(), TOOLS))
    assert moments[0].isoformat() == "2026-01-01T09:00:00+00:00"
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(moments)]
    assert all(1 <= gap <= 20 and gap == int(gap) for gap in gaps)
    other = times(events_of(session(session_id="hand-2"), TOOLS))
    assert other != moments, "gaps are drawn from the session's own id"


def test_drawn_times_are_those_written_down_here() -> None:
    # Fixed bytes: decisions of recorded sessions carry these times, and must not move between releases.
    events = events_of(session(), TOOLS)
    assert [event["time"][11:] for event in events] == [
        "09:00:00Z", "09:00:03Z", "09:00:11Z", "09:00:30Z", "09:00:33Z", "09:00:47Z",
    ]  # fmt: skip


def test_recorded_times_are_used_and_never_step_back() -> None:
    calls = [
        {"seq": 0, "tool": "a", "args": {}, "result": "x", "error": None, "t_call": 2.553, "t_result": 9.0},
        {"seq": 1, "tool": "b", "args": {}, "result": "y", "error": None, "t_call": 2.6, "t_result": 10.25},
        {"seq": 2, "tool": "c", "args": {}, "result": "z", "error": None, "t_call": 30},
        {"seq": 3, "tool": "d", "args": {}, "result": "z", "error": None, "t_call": 31},
    ]
    events = events_of(session(calls=calls, amendments=[{"before_seq": 2, "text": "go on"}]), TOOLS)
    moments = times(events)
    assert moments == sorted(moments)
    assert [event["time"][17:] for event in events][:5] == [
        "00Z", "02.553000Z", "09Z", "09Z", "10.250000Z",
    ]  # fmt: skip
    called = {event["tool"]: moment for event, moment in zip(events, moments, strict=True) if "tool" in event}
    assert (called["c"] - moments[0]).total_seconds() == 30
    assert (called["d"] - moments[0]).total_seconds() == 31, "a drawn return stays before the next real call"


def test_amendments_precede_the_call_that_they_name() -> None:
    amendments = [
        {"before_seq": 0, "text": "first"},
        {"before_seq": 1, "text": "second"},
        {"before_seq": 1, "text": "third"},
        {"before_seq": 2, "text": "last"},
    ]
    events = events_of(session(amendments=amendments), TOOLS)
    order = [
        event["intent"]["text"] if event["type"] == "intent.amended" else event["type"] for event in events
    ]
    assert order == [
        "session.declared",
        "first",
        "tool.called",
        "tool.returned",
        "second",
        "third",
        "tool.called",
        "tool.returned",
        "last",
        "session.ended",
    ]
    assert [event["seq"] for event in events] == list(range(len(events)))


def test_credential_of_a_long_session_outlives_it() -> None:
    calls = [
        {
            "seq": 0,
            "tool": "a",
            "args": {},
            "result": "x",
            "error": None,
            "t_call": 9_000.0,
            "t_result": 9_001.0,
        }
    ]
    events = events_of(session(calls=calls), TOOLS)
    expires = datetime.fromisoformat(events[0]["credentials"][0]["expires"])
    assert expires > times(events)[-1]


def test_session_without_calls_still_begins_and_ends() -> None:
    assert [event["type"] for event in events_of(session(calls=[]), TOOLS)] == [
        "session.declared",
        "session.ended",
    ]


@pytest.mark.parametrize(
    "broken", [{}, {"session_id": "x"}, {"session_id": "x", "intent": "y", "calls": [{}]}]
)
def test_what_is_not_a_recorded_session_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="not a recorded session"):
        events_of(broken, None)


def test_events_are_the_same_under_another_hash_seed() -> None:
    script = (
        "import json, sys; from stream.offline.recorded import events_of;"
        "print(json.dumps(events_of(json.load(sys.stdin), None)))"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", script],
            input=json.dumps(session()),
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert json.loads(outputs[0]) == events_of(session(), None)


def test_open_text_reads_plain_and_gzip_whatever_the_name(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("é\u2028x\n2\n", encoding="utf-8")
    (tmp_path / "b.jsonl").write_bytes(gzip.compress("é\u2028x\n2\n".encode()))
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress("é\u2028x\n2\n".encode()))
    for name in ("a.jsonl", "b.jsonl", "c.jsonl.gz"):
        with open_text(tmp_path / name) as lines:
            assert list(lines) == ["é\u2028x\n", "2\n"]


def test_open_text_keeps_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"a":"\xff"}\n{"b":1}\n')
    with open_text(tmp_path / "a.jsonl") as lines:
        first, second = lines
    assert first.encode("utf-8", "surrogateescape") == b'{"a":"\xff"}\n'
    assert second == '{"b":1}\n'


def test_open_text_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    for data in (b"one\ntwo\n", gzip.compress(b"one\ntwo\n")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert list(open_text("-")) == ["one\n", "two\n"]


def test_open_text_of_a_missing_file_says_which(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.jsonl"):
        open_text(tmp_path / "nowhere.jsonl")


@pytest.mark.parametrize("name", ["notes.jsonl", "notes.jsonl.gz", "notes_tools.json"])
def test_load_tools_finds_the_catalogues_beside_the_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes_tools.json").write_text(json.dumps({"notes": TOOLS}))
    assert load_tools(tmp_path / name) == {"notes": TOOLS}


def test_load_tools_without_catalogues_is_none(tmp_path: Path) -> None:
    assert load_tools(tmp_path / "notes.jsonl") is None
    assert load_tools("-") is None


@pytest.mark.parametrize("name", ["tools.json", "other.jsonl"])
def test_catalogues_that_the_user_names_must_be_there(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes_tools.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"\.json \(--tools\) do not exist"):
        load_tools(tmp_path / "notes.jsonl", tmp_path / name)
    assert load_tools("-", tmp_path / "notes_tools.json") == {}


@pytest.mark.parametrize("text", ["{", "[]", '{"notes": 1}'])
def test_load_tools_refuses_what_is_not_a_map_of_lists(tmp_path: Path, text: str) -> None:
    (tmp_path / "notes_tools.json").write_text(text)
    with pytest.raises(InputError, match=r"notes_tools\.json"):
        load_tools(tmp_path / "notes.jsonl")
