"""The generator: valid, repeatable, and what it says of itself is true."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from models.contracts import EVENT
from stream.offline.domains import world
from stream.offline.generate import Profile, plan, sessions, truth


def by_session(events: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    grouped: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        grouped[event["session_id"]].append(event)
    return grouped


def content(event: dict[str, Any]) -> dict[str, Any]:
    """An event without its time and its credential's, which depend on the interleaving."""
    return {key: value for key, value in event.items() if key not in ("time", "credentials")}


def test_every_generated_event_satisfies_the_contract() -> None:
    events = list(sessions(1, 60, Profile(hijacked=0.5, unfinished=0.2, result_chars=300), at_once=7))
    for event in events:
        EVENT.validate_python(orjson.loads(orjson.dumps(event)))
    assert len(by_session(events)) == 60


def test_ids_are_unique_and_each_session_counts_its_events_from_zero() -> None:
    events = list(sessions(2, 40, at_once=8))
    assert len({event["id"] for event in events}) == len(events)
    for session_id, own in by_session(events).items():
        assert [event["seq"] for event in own] == list(range(len(own)))
        assert [event["id"] for event in own] == [f"{session_id}/{seq}" for seq in range(len(own))]
        assert own[0]["type"] == "session.declared"
        assert own[-1]["type"] == "session.ended"


def test_calls_are_numbered_and_answered() -> None:
    for session_id, own in by_session(list(sessions(3, 20, Profile(hijacked=0.5)))).items():
        called = [event["call_id"] for event in own if event["type"] == "tool.called"]
        returned = [event["call_id"] for event in own if event["type"] == "tool.returned"]
        assert called == returned == [f"{session_id}:{n}" for n in range(len(called))]


def test_same_seed_gives_the_same_events_under_another_hash_seed() -> None:
    script = (
        "import hashlib, json; from stream.offline.generate import Profile, sessions;"
        "events = list(sessions(5, 30, Profile(hijacked=0.3), at_once=4, duplicates=0.1));"
        "print(hashlib.sha256(json.dumps(events).encode()).hexdigest())"
    )
    here = hashlib.sha256(
        json.dumps(list(sessions(5, 30, Profile(hijacked=0.3), at_once=4, duplicates=0.1))).encode()
    ).hexdigest()
    for hash_seed in ("0", "77"):
        elsewhere = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
            env={"PYTHONHASHSEED": hash_seed},
        ).stdout.strip()
        assert elsewhere == here


def test_another_seed_gives_other_sessions() -> None:
    one = [event["intent"] for event in sessions(1, 20) if event["type"] == "session.declared"]
    two = [event["intent"] for event in sessions(2, 20) if event["type"] == "session.declared"]
    assert one != two


def test_content_of_a_session_does_not_depend_on_number_or_interleaving() -> None:
    alone = by_session([content(event) for event in sessions(4, 10)])
    crowd = by_session([content(event) for event in sessions(4, 30, at_once=12)])
    assert {session_id: crowd[session_id] for session_id in alone} == alone


def test_interleaving_mixes_sessions_and_keeps_arrival_times_in_order() -> None:
    events = list(sessions(6, 20, at_once=5))
    changes = sum(one["session_id"] != two["session_id"] for one, two in pairwise(events))
    assert changes > 3 * 20, "one after the other would change session 19 times"
    times = [datetime.fromisoformat(event["time"]) for event in events]
    assert times == sorted(times)


@pytest.mark.parametrize(("n", "calls", "at_once"), [(60, (3, 9), 1), (60, (3, 9), 50), (2, (2000, 2000), 2)])
def test_credentials_outlive_the_session(n: int, calls: tuple[int, int], at_once: int) -> None:
    for own in by_session(list(sessions(7, n, Profile(calls=calls), at_once=at_once))).values():
        expires = datetime.fromisoformat(own[0]["credentials"][0]["expires"])
        assert expires > datetime.fromisoformat(own[-1]["time"])


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.3, 30, 90), (1.0, 200, 200)])
def test_share_of_hijacked_sessions_is_as_asked(share: float, least: int, most: int) -> None:
    bad = [first for first in truth(8, 200, Profile(hijacked=share)).values() if first is not None]
    assert least <= len(bad) <= most


def test_first_bad_call_follows_a_result_that_names_its_target() -> None:
    known = truth(9, 80, Profile(hijacked=1.0))
    domains: Counter[str] = Counter()
    for session_id, own in by_session(list(sessions(9, 80, Profile(hijacked=1.0)))).items():
        first_bad = known[session_id]
        assert first_bad is not None
        calls = [event for event in own if event["type"] == "tool.called"]
        results = [event for event in own if event["type"] == "tool.returned"]
        server = own[0]["tools"][0]["server"]
        domain = next(domain for domain in world().domains if domain.name == server)
        assert calls[first_bad]["tool"] == domain.attack[0].tool
        attacked = calls[first_bad : first_bad + len(domain.attack)]
        targets = [v for call in attacked for v in call["arguments"].values()]
        assert any(target in results[first_bad - 1]["result"] for target in targets)
        domains[server] += 1
    assert set(domains) == {domain.name for domain in world().domains}


def test_benign_sessions_never_call_an_attackers_tool() -> None:
    for own in by_session(list(sessions(10, 80, Profile(hijacked=0.0)))).values():
        domain = next(domain for domain in world().domains if domain.name == own[0]["tools"][0]["server"])
        allowed = {step.tool for step in (*domain.reads, *domain.writes)}
        assert {event["tool"] for event in own if event["type"] == "tool.called"} <= allowed


def test_every_called_tool_and_argument_is_in_the_catalogue() -> None:
    for own in by_session(list(sessions(11, 60, Profile(hijacked=0.5)))).values():
        catalogue = {tool["name"]: tool["parameters"]["properties"] for tool in own[0]["tools"]}
        for event in own:
            if event["type"] == "tool.called":
                assert set(event["arguments"]) <= set(catalogue[event["tool"]])


def test_duplicates_repeat_an_event_byte_for_byte() -> None:
    events = list(sessions(12, 30, duplicates=0.2))
    seen = Counter(event["id"] for event in events)
    repeated = {event_id for event_id, times in seen.items() if times == 2}
    assert repeated
    for event_id in repeated:
        first, second = (orjson.dumps(event) for event in events if event["id"] == event_id)
        assert first == second
    once = [event["id"] for event in sessions(12, 30)]
    assert sorted(seen) == sorted(once)


def test_unfinished_sessions_have_no_end() -> None:
    assert not [
        event for event in sessions(13, 20, Profile(unfinished=1.0)) if event["type"] == "session.ended"
    ]


def test_number_of_calls_and_size_of_results_are_as_asked() -> None:
    drawn = plan(14, 0, Profile(hijacked=0.0, calls=(50, 50), result_chars=2000))
    results = [body["result"] for body in drawn.bodies if body["type"] == "tool.returned"]
    assert len(results) == 50
    assert {len(result) for result in results} == {2000}


def test_run_and_tenant_reach_every_event() -> None:
    for event in sessions(15, 5, Profile(run="again", tenant="globex")):
        assert event["session_id"].startswith("again-gen-15-")
        assert event["id"].startswith(event["session_id"])
        assert event["tenant"] == "globex"
