"""The smallest change that would have passed: made, it passes."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from models.provenance import leaves
from stream import bootstrap, replay, rulings
from stream.events import DECISIONS
from stream.policy import load_policy
from stream.settings import Settings

SAMPLES = sorted((Path(__file__).parents[2] / "stream" / "samples").glob("*.jsonl"))
JUDGE = bootstrap.judge(Settings(), mode="enforce")
Events = list[dict[str, Any]]


def decisions(events: Events, path: Path) -> dict[str, dict[str, Any]]:
    """Decisions by the event that they judge."""
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    outputs = replay.replay(replay.read_records(path), JUDGE)
    found = [orjson.loads(output.value) for output in outputs if output.topic == DECISIONS]
    return {decision["event_id"]: decision for decision in found}


def mended(events: Events, at: int, decision: dict[str, Any]) -> Events:
    """The log with what the decision on event `at` names made otherwise, before that call."""
    made = copy.deepcopy(events)
    call, needed = made[at], decision["would_pass"]
    (declared,) = (e for e in made if e["type"] == "session.declared" and same(e, call))
    if "larger budget" in needed:
        del declared["intent"]["budget"]
    if "whose catalogue holds this tool" in needed:
        declared["tools"].append({"name": call["tool"]})
    if "valid at the time of the call" in needed:
        for credential in (*declared["credentials"], *([call["credential"]] if "credential" in call else [])):
            credential["expires"] = "2036-01-01T00:00:00Z"
    if "that lists this credential" in needed:
        declared.setdefault("credentials", []).append(call["credential"])
    if "amendment by the user" not in needed:
        return made
    intent: dict[str, Any] = {"text": "Go on."}
    if "asks for this act" in needed:
        intent["text"] = f"Now {call['tool'].replace('_', ' ')}, please."
    if "names its" in needed:
        values = " ".join(leaf.text for leaf in leaves(call["arguments"])[0])
        intent["text"] = f"Now {call['tool'].replace('_', ' ')} {values}, please."
    if "allows this kind of action" in needed:
        intent["actions"] = [decision["action"]]
    told = {name: call[name] for name in ("session_id", "root_session_id", "tenant", "time") if name in call}
    amended = {**told, "type": "intent.amended", "id": f"{call['id']}-amended", "intent": intent}
    return [*made[:at], amended, *made[at:]]


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(one["session_id"] == other["session_id"])


def cases() -> Iterator[Any]:
    """Each call of the samples that is stopped or told, but for those whose session is over: these need a new one."""
    for path in SAMPLES:
        events = [json.loads(line) for line in path.read_text().splitlines()]
        outputs = replay.replay(replay.read_records(path), JUDGE)
        for output in outputs:
            decision = orjson.loads(output.value) if output.topic == DECISIONS else {}
            if decision.get("verdict") in ("alert", "deny", "revoke"):
                at = next(n for n, event in enumerate(events) if event["id"] == decision["event_id"])
                if "a new session" not in decision["would_pass"]:
                    yield pytest.param(events, at, decision, id=f"{path.stem}-{decision['call_seq']}")


@pytest.mark.parametrize(("events", "at", "decision"), list(cases()))
def test_the_change_that_a_decision_names_passes(
    events: Events, at: int, decision: dict[str, Any], tmp_path: Path
) -> None:
    after = decisions(mended(events, at, decision), tmp_path / "mended.jsonl")[events[at]["id"]]
    # What an earlier call of the session brought about stays: a credential that is gone, a denial.
    assert after["verdict"] in ("allow", "abstain"), after["explanation"]
    assert after["would_pass"] == ""


def test_every_signal_that_a_policy_may_act_on_has_its_mend() -> None:
    acted_on = {name for name in load_policy().signals if not name.startswith("content.")}
    assert acted_on == set(rulings._ASKED) | set(rulings._ELSE)
