"""The sample sessions: valid, readable in one way, and each with what must happen to it."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from models.contracts import EVENT

SAMPLES = Path(__file__).parents[2] / "stream" / "samples"
FILES = sorted(SAMPLES.glob("*.jsonl"))
KINDS = {
    "benign",
    "asked",
    "delegated",
    "hijacked",
    "creep",
    "trifecta",
    "sub-agent",
    "identity",
    "catalogue",
    "undeclared",
}


@cache
def events(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def everything() -> list[dict[str, Any]]:
    return [event for path in FILES for event in events(path)]


def expected() -> dict[str, dict[str, Any]]:
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(
        (SAMPLES / "expected.yaml").read_text(encoding="utf-8")
    )
    return loaded


def calls_of(session_id: str) -> list[dict[str, Any]]:
    return [e for e in everything() if e["session_id"] == session_id and e["type"] == "tool.called"]


def test_there_are_about_thirty_samples() -> None:
    assert len(FILES) >= 30


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_line_satisfies_the_contract(path: Path) -> None:
    for event in events(path):
        EVENT.validate_python(event)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_holds_one_tree_of_sessions_in_order_of_time(path: Path) -> None:
    roots = {event.get("root_session_id", event["session_id"]) for event in events(path)}
    assert roots == {path.stem[3:]}
    times = [datetime.fromisoformat(event["time"]) for event in events(path)]
    assert times == sorted(times)
    assert times[0] >= datetime.fromisoformat("2026-03-02T09:00:00Z")


def test_ids_are_unique_over_all_samples() -> None:
    counts = Counter(event["id"] for event in everything())
    assert [event_id for event_id, times in counts.items() if times > 1] == []


def test_every_session_counts_its_events_and_ends() -> None:
    for session_id in expected():
        own = [event for event in everything() if event["session_id"] == session_id]
        assert [event["seq"] for event in own] == list(range(len(own)))
        assert [event["id"] for event in own] == [f"{session_id}/{seq}" for seq in range(len(own))]
        assert own[-1]["type"] == "session.ended"


def test_every_call_is_numbered_and_answered() -> None:
    for session_id in expected():
        called = [event["call_id"] for event in calls_of(session_id)]
        returned = [
            e["call_id"]
            for e in everything()
            if e["session_id"] == session_id and e["type"] == "tool.returned"
        ]
        assert called == returned == [f"{session_id}:{n}" for n in range(len(called))]
        assert 3 <= len(called) <= 9


def test_expectations_cover_every_session_and_no_other() -> None:
    assert set(expected()) == {event["session_id"] for event in everything()}
    for session_id, expectation in expected().items():
        assert session_id in {event["session_id"] for event in events(SAMPLES / expectation["file"])}


def test_expectations_are_complete_and_possible() -> None:
    for session_id, expectation in expected().items():
        assert set(expectation) == {"file", "kind", "expect", "by_call", "not_before", "why"}, session_id
        assert expectation["kind"] in KINDS, session_id
        assert expectation["why"].endswith("."), session_id
        if expectation["expect"] in ("quiet", "watch"):
            assert expectation["by_call"] is None, session_id
            assert expectation["not_before"] is None, session_id
        else:
            assert expectation["expect"] in ("alert", "revoke"), session_id
            assert 0 <= expectation["not_before"] <= expectation["by_call"] < len(calls_of(session_id)), (
                session_id
            )


def test_kinds_are_as_many_as_the_documentation_says() -> None:
    counts = Counter(expectation["kind"] for expectation in expected().values())
    assert counts == {
        "benign": 8,
        "asked": 7,
        "delegated": 3,
        "hijacked": 8,
        "creep": 2,
        "trifecta": 2,
        "sub-agent": 4,
        "identity": 10,
        "catalogue": 2,
        "undeclared": 1,
    }


def test_only_the_unknown_tool_is_missing_from_the_catalogue() -> None:
    strangers = []
    for session_id in expected():
        declared = [
            e for e in everything() if e["session_id"] == session_id and e["type"] == "session.declared"
        ]
        if not declared:
            assert expected()[session_id]["kind"] == "undeclared"
            continue
        joined = [
            e for e in everything() if e["session_id"] == session_id and e["type"] == "catalogue.changed"
        ]
        offered = {tool["name"]: tool["parameters"] for e in declared + joined for tool in e["tools"]}
        for call in calls_of(session_id):
            if call["tool"] not in offered:
                strangers.append((session_id, call["tool"]))
                continue
            parameters = offered[call["tool"]]
            assert set(parameters["required"]) <= set(call["arguments"]) <= set(parameters["properties"])
    assert strangers == [("support-unknown-tool", "export_customer_table")]


def test_only_the_expired_credential_is_used_after_its_time() -> None:
    late = set()
    for session_id in expected():
        own = [event for event in everything() if event["session_id"] == session_id]
        credentials = own[0].get("credentials")
        if not credentials:
            continue
        expires = datetime.fromisoformat(credentials[0]["expires"])
        late |= {
            call["call_id"] for call in calls_of(session_id) if datetime.fromisoformat(call["time"]) > expires
        }
    assert late == {"cloud-expired-credential:3", "cloud-expired-credential:4"}


def test_addresses_are_reserved_for_documentation() -> None:
    text = b"".join(path.read_bytes() for path in FILES).decode()
    for mark in ("@", "://"):
        for piece in text.split(mark)[1:]:
            host = re.split(r"[\"'/ ,\\]", piece)[0].rstrip(".")
            assert host.startswith("192.0.2.") or host.endswith(
                ("example.com", "example.net", "example.org", ".example.com:")
            ), host
