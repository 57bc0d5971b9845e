"""Calls that the policy expects: whose, how, until when; what of them passes, and what a decision says of it."""

from __future__ import annotations

import re
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from models.contracts import FAMILIES
from models.errors import ConfigError
from stream import bootstrap
from stream.core.verdict import decide
from stream.policy import SCORE, parse_policy, read_policy
from stream.signals.registry import BY_ID
from tests import builders as b
from tests.unit.test_verdict import LEVEL, POLICY, RANK

SAMPLES = Path(__file__).parents[2] / "stream" / "samples"
STOLEN = SAMPLES / "32-support-unknown-tool.jsonl"
ROW = {
    "agent": "support-assistant",
    "tool": "export_customer_table",
    "lets_pass": ["score", "scope.action_not_allowed"],
    "arguments": {"destination": ["https://drop.example.net/in"]},
    "owner": "ada@acme.example",
    "reason": "the yearly export",
    "expires": "2031-12-31",
}
CALL = 2


@cache
def text() -> str:
    return read_policy()[0]


def decisions(*rows: dict[str, Any], **other: Any) -> list[dict[str, Any]]:
    """What is decided of the sample under a policy with these rows; `other` replaces members of its calls' arguments."""
    listed = [{**row, "expires": date.fromisoformat(row["expires"])} for row in rows]
    policy = parse_policy(text() + yaml.safe_dump({"expected_calls": listed}), "p", mode="enforce")
    events = [orjson.loads(line) for line in STOLEN.read_bytes().splitlines()]
    for event in events:
        if event.get("tool") == ROW["tool"]:
            event["arguments"] = {**event["arguments"], **other}
    run = b.play(events, bundled=bootstrap.make_release(b.shipped_model(), policy))
    assert run.quarantined == []
    return run.decisions


def test_an_expected_call_passes_and_the_decision_says_by_whose_word() -> None:
    before, after = decisions()[CALL], decisions(ROW)[CALL]
    assert before["verdict"] == "revoke"
    assert after["verdict"] == "allow"
    assert after["marks"] == [*before["marks"], "expected"]
    assert "expected until 2031-12-31, says ada@acme.example: the yearly export" in after["explanation"]
    assert after["would_pass"] == ""
    # What was seen of it stays: score, evidence and shares are what they were.
    for same in ("score", "evidence", "shares", "families"):
        assert after[same] == before[same]
    # The session was not revoked, so what comes after it is not either.
    assert decisions()[CALL + 1]["verdict"] == "deny"
    assert decisions(ROW)[CALL + 1]["verdict"] == "allow"


@pytest.mark.parametrize(
    "other",
    [
        {"agent": "another"},
        {"tool": "another"},
        {"tenant": "globex"},
        {"expires": "2020-01-01"},
        {"arguments": {"destination": ["https://drop.example.net/out"]}},
        {"arguments": {**ROW["arguments"], "missing": ["x"]}},  # type: ignore[dict-item]
        {"lets_pass": ["identity.credential_expired"]},
    ],
)
def test_a_row_for_another_call_changes_nothing(other: dict[str, Any]) -> None:
    kept = ("verdict", "marks", "explanation", "would_pass", "standing")
    before, after = decisions(), decisions({**ROW, **other})
    assert [[each[name] for name in kept] for each in after] == [
        [each[name] for name in kept] for each in before
    ]


def test_a_row_of_the_same_tenant_holds_and_one_without_arguments_for_any() -> None:
    assert decisions({**ROW, "tenant": "acme"})[CALL]["verdict"] == "allow"
    row = {**ROW, "lets_pass": ["scope.action_not_allowed"], "arguments": {}}
    assert decisions(row)[CALL]["verdict"] == decisions()[CALL]["verdict"] == "revoke"


@pytest.mark.parametrize(
    "destination",
    [
        ["https://drop.example.net/in", "https://elsewhere.example.net"],
        {"0": "https://drop.example.net/in", "1": "https://elsewhere.example.net"},
        "https://drop.example.net/in ",
        [],
        ["https://drop.example.net/in", {"url": "https://elsewhere.example.net"}],
        ["https://drop.example.net/in", ["https://elsewhere.example.net"]],
        {"0": "https://drop.example.net/in", "https://elsewhere.example.net": True},
        ["https://drop.example.net/in", None],
        ["https://drop.example.net/in", True],
        {"url": "https://elsewhere.example.net"},
    ],
)
def test_a_value_beside_the_listed_one_is_not_expected(destination: Any) -> None:
    assert "expected" not in decisions(ROW, destination=destination)[CALL]["marks"]


@pytest.mark.parametrize("decoy", ["0", "²", "destination.0", "destination."])
def test_a_decoy_beside_another_value_is_not_expected(decoy: str) -> None:
    inner = (
        {"destination": "https://drop.example.net/in"} if "d" not in decoy else "https://drop.example.net/in"
    )
    found = decisions(ROW, destination={"url": "https://elsewhere.example.net"}, **{decoy: inner})
    assert "expected" not in found[CALL]["marks"]


def test_a_member_s_name_may_have_dots() -> None:
    row = {**ROW, "arguments": {"to.address": ["a"]}}
    for given_, fits in (
        ({"to": {"address": "a"}}, True),
        ({"to": [{"address": "a"}]}, True),
        ({"to.address": "a"}, True),
        ({"to": {"address": "a"}, "to.address": "b"}, False),
        ({"to": [{"address": "a"}, {"address": ["a", "b"]}]}, False),
        ({"to": "a"}, False),
    ):
        assert ("expected" in decisions(row, **given_)[CALL]["marks"]) == fits, given_


def test_the_explanation_names_who_let_something_pass_and_nobody_else_whatever_the_order() -> None:
    other = {**ROW, "lets_pass": ["tempo.loop"], "owner": "bob", "reason": "other"}
    told = [decisions(*rows)[CALL]["explanation"] for rows in ((ROW, other), (other, ROW))]
    assert told[0] == told[1]
    assert told[0].startswith("expected until 2031-12-31, says ada@acme.example: the yearly export; ")
    assert "bob" not in told[0]
    long = decisions({**ROW, "reason": "why " * 256, "owner": "o" * 256})[CALL]["explanation"]
    assert "score" in long


def test_what_is_too_large_to_be_looked_through_is_not_expected() -> None:
    assert "expected" in decisions(ROW, note=["x"] * 10)[CALL]["marks"]
    assert "expected" not in decisions(ROW, note=["x"] * 100_000)[CALL]["marks"]


def test_a_tool_is_known_without_what_a_client_puts_before_it() -> None:
    policy = parse_policy(
        f"{text()}\nexpected_calls:\n  - {{agent: a, tool: t, lets_pass: [intent.grave_act], owner: o, reason: r, expires: 2031-12-31}}\n",
        "p",
    )
    assert policy.expected("acme", "a", "mcp__server__t", 0)
    assert policy.expected("acme", "a", "t", 0)
    assert not policy.expected("acme", "a", "server__t", 0)
    assert not policy.expected("acme", None, "t", 0)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("lets_pass: [score]", "say under arguments which values"),
        ("lets_pass: [scope.nothing]", "unknown signal; known are score, "),
        ("lets_pass: [identity.after_revocation]", "it says what came of an earlier call"),
        ("lets_pass: []", "at least 1 item"),
        ("lets_pass: [score], arguments: {to: []}", "at least 1 item"),
    ],
)
def test_a_row_that_would_let_anything_pass_is_refused_with_its_line(row: str, why: str) -> None:
    rows = f"expected_calls:\n  - {{agent: a, tool: t, owner: o, reason: r, expires: 2031-12-31, {row}}}\n"
    with pytest.raises(ConfigError, match=re.escape(why)) as error:
        parse_policy(text() + rows, "mine.yaml")
    assert f"line {len(text().splitlines()) + 2}" in str(error.value)


def test_rows_name_the_policy_in_any_order() -> None:
    rows = [
        f"  - {{agent: {agent}, tool: t, lets_pass: [intent.grave_act], owner: o, reason: r, expires: 2031-12-31}}\n"
        for agent in ("a", "b")
    ]
    one, other = (
        parse_policy(f"{text()}\nexpected_calls:\n{''.join(each)}", "p").digest for each in (rows, rows[::-1])
    )
    assert (
        one
        == other
        != parse_policy(text(), "p").digest
        == parse_policy(text() + "expected_calls: []\n", "p").digest
    )


@given(
    st.integers(0, 10_000),
    st.lists(st.sampled_from(FAMILIES), unique=True),
    st.lists(st.sampled_from(list(BY_ID)), unique=True),
    st.frozensets(st.sampled_from([SCORE, *BY_ID])),
    st.booleans(),
)
def test_what_is_expected_never_raises_a_verdict_and_touches_nothing_else(
    score: int, families: list[Any], signals: list[str], passing: frozenset[str], declared: bool
) -> None:
    before = decide(POLICY, LEVEL, score, families, signals, declared)
    after = decide(POLICY, LEVEL, score, families, signals, declared, passing)
    assert RANK[after.verdict] <= RANK[before.verdict]
    if not passing & {SCORE, *signals}:
        assert after == before
    # It is as if what passes led to watch in the policy itself.
    watched = POLICY.signals | {
        name: "watch" for name in passing if POLICY.signals.get(name, "none") != "none"
    }
    if SCORE not in passing:
        assert after == decide(
            POLICY.model_copy(update={"signals": watched}), LEVEL, score, families, signals, declared
        )
