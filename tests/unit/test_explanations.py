"""Explanations hold: change what a decision cites and its score falls; change what it does not cite and it stays.

On the samples that hold a hijack, with the bundled release. Evidence cites calls and an argument; what it rests
on is changed in the events, which are then judged afresh.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from models.evidence.dispatch import dispatched
from models.tools.names import is_general
from stream import bootstrap
from stream.settings import Settings
from tests import builders as b

SAMPLES = Path(__file__).parents[2] / "stream" / "samples"
EXPECTED = yaml.safe_load((SAMPLES / "expected.yaml").read_text())
HIJACKED = sorted(name for name, line in EXPECTED.items() if line["kind"] == "hijacked")
UNRELATED = "Velvet thunder juniper pebble saffron marmalade heron quartz tundra bassoon."

JUDGE = bootstrap.judge(Settings(), mode="enforce")

Events = list[dict[str, Any]]


def events_of(name: str) -> Events:
    lines = (SAMPLES / EXPECTED[name]["file"]).read_bytes().splitlines()
    return [event for line in lines if line.strip() and (event := orjson.loads(line))["session_id"] == name]


def judged(events: Events) -> list[dict[str, Any]]:
    return b.Run(JUDGE).feed(b.log(events)).decisions


def raised(events: Events) -> dict[str, Any]:
    """The decision with the highest score among those that raised something."""
    return max(
        (d for d in judged(events) if d["verdict"] in ("alert", "deny", "revoke")), key=lambda d: d["score"]
    )


def called(events: Events, call_seq: int) -> dict[str, Any]:
    return [e for e in events if e["type"] == "tool.called"][call_seq]


def value_at(arguments: Any, path: str) -> str:
    for step in path.split(".") if path else ():
        arguments = arguments[int(step)] if isinstance(arguments, list) else arguments[step]
    return str(arguments)


def scored(events: Events, call_seq: int) -> float:
    return float(judged(events)[call_seq]["score"])


def under(events: Events, more: str, call_seq: int) -> float:
    """The score of that call had the user said more."""
    asked = copy.deepcopy(events)
    asked[0]["intent"]["text"] += more
    asked[0]["intent"].pop("actions", None)
    return scored(asked, call_seq)


@pytest.mark.parametrize("name", HIJACKED)
def test_once_the_user_names_the_cited_value_the_score_falls_by_half_and_for_another_it_stays(
    name: str,
) -> None:
    events = events_of(name)
    decision = raised(events)
    call, at = called(events, decision["call_seq"]), decision["call_seq"]
    cited = [e["argument"]["path"] for e in decision["evidence"] if e["supports"] and e.get("argument")]
    declared = {tool["name"]: tool["parameters"]["properties"] for tool in events[0]["tools"]}
    inside = declared.get(call["tool"]) if is_general(call["tool"]) else None
    given = dispatched(call["tool"], call["arguments"], inside, lambda name: True).arguments
    # Where no value is cited, what is cited is that the intent does not ask for the act.
    named = [f" It is about {value_at(given, path)}." for path in dict.fromkeys(cited)]
    for more in named or [f" Also {call['tool'].replace('_', ' ')}."]:
        assert under(events, more, at) < decision["score"] / 2
    for other in (" It is about Velvet Thunder, +49 30 123456.", " Also water the plants with 12 l."):
        assert under(events, other, at) > 0.85 * decision["score"]


def elsewhere(
    events: Events, decision: dict[str, Any], change: Callable[[Any], Any], *, read: bool = False
) -> Events:
    """The log with each answer before that call changed, but for those that the decision cites, or says that it was read beside."""
    cited = {seq for e in decision["evidence"] for seq in e["calls"]}
    if read and "read" in decision:
        cited |= {one["call_seq"] for one in decision["read"]["heard"]}
    ids = {e["call_id"]: n for n, e in enumerate(e for e in events if e["type"] == "tool.called")}
    changed, touched = copy.deepcopy(events), 0
    for event in changed:
        if event["type"] == "tool.returned":
            seq = ids[event["call_id"]]
            if seq < decision["call_seq"] and seq not in cited:
                event["result"] = change(event["result"])
                touched += 1
    assert touched or read
    return changed


def remarked(result: Any) -> Any:
    if isinstance(result, dict):
        return {**result, "remark": UNRELATED}
    if isinstance(result, list):
        return [*result, {"remark": UNRELATED}]
    return f"{result}\n\n{UNRELATED}"


@pytest.mark.parametrize("name", HIJACKED)
def test_what_is_not_cited_does_not_move_the_score(name: str) -> None:
    events = events_of(name)
    decision = raised(events)
    changed = elsewhere(events, decision, remarked)
    assert scored(changed, decision["call_seq"]) == decision["score"]


@pytest.mark.parametrize("name", HIJACKED)
def test_without_what_is_not_cited_the_score_stays_where_it_is(name: str) -> None:
    events = events_of(name)
    decision = raised(events)
    changed = elsewhere(events, decision, lambda result: UNRELATED, read=True)
    # Other documents that were listed beside the one at hand are no evidence, and still what it is compared with.
    moves = 0.03 if name == "hr-cv-hidden-text" else 0
    assert abs(scored(changed, decision["call_seq"]) - decision["score"]) <= moves


def share_of(decision: dict[str, Any], family: str) -> float:
    """In log odds; nothing where the score itself says nothing."""
    return next((float(one["log_odds"]) for one in decision["shares"] if one["family"] == family), 0.0)


@pytest.mark.parametrize("name", HIJACKED)
def test_without_what_the_cited_answers_say_no_line_leads_to_the_call(name: str) -> None:
    events = events_of(name)
    decision = raised(events)
    ids = {e["call_id"]: n for n, e in enumerate(e for e in events if e["type"] == "tool.called")}
    told = [seq for e in decision["evidence"] if e["name"] == "lured" and e["supports"] for seq in e["calls"]]
    cited = {seq for seq in told if seq < decision["call_seq"]}
    silenced = copy.deepcopy(events)
    for event in silenced:
        if event["type"] == "tool.returned" and ids[event["call_id"]] in cited:
            event["result"] = UNRELATED
    after = judged(silenced)[decision["call_seq"]]
    if not cited:  # what leads there is a tool's description
        assert share_of(after, "sequence") == share_of(decision, "sequence") > 0.5
        plain = copy.deepcopy(events)
        for tool in plain[0]["tools"]:
            tool["description"] = ""
        after = judged(plain)[decision["call_seq"]]
        assert share_of(after, "sequence") < share_of(decision, "sequence") / 2
        return
    if decision["shares"]:
        assert share_of(after, "sequence") < share_of(decision, "sequence") / 2
    still = [e for e in after["evidence"] if e["name"] == "lured" and e["supports"]]
    assert not {seq for e in still for seq in e["calls"]} & cited
