"""What a decision tells of how much is known: whose word an intent is, what nobody saw, and what never ran."""

from __future__ import annotations

from typing import Any

import pytest

from models.contracts import EVENT, Decision
from models.session import load
from stream.core.partition import state_key
from stream.core.releases import Release
from tests import builders as b

INTENT = {"text": "read notes.txt"}


def high() -> Release:
    return b.release(scorer=b.ConstantScorer(10_000))


def known(run: b.Run) -> list[Any]:
    return [d.get("intent_known_by") for d in run.decisions]


# ------------------------------------------------------------------ whose word it is


@pytest.mark.parametrize("by", ["user", "host", "agent", "observer"])
def test_a_decision_tells_how_its_intent_is_known(by: str) -> None:
    run = b.play([b.declared("s", 0, intent={**INTENT, "known_by": by}), b.called("s", 1)])
    assert known(run) == [by]
    assert ("self_asserted" in run.decisions[0]["marks"]) == (by == "agent")
    assert Decision.model_validate(run.decisions[0]).intent_known_by == by


def test_where_nobody_says_how_an_intent_is_known_a_decision_says_nothing_of_it() -> None:
    run = b.play([b.declared("s", 0), b.called("s", 1)])
    assert "intent_known_by" not in run.decisions[0]


def test_how_an_intent_is_known_outlives_a_restart() -> None:
    begun = b.play([b.declared("s", 0, intent={**INTENT, "known_by": "host"})])
    assert load(begun.partition.states[state_key("default", "s", "s")]).intent_by == "host"


def test_an_amendment_by_the_agent_widens_nothing_and_the_user_s_does() -> None:
    def amended(by: str) -> b.Run:
        wider = {"text": "send an email to bob", "actions": ["read", "write"], "known_by": by}
        return b.play(
            [
                b.declared("s", 0, intent={**INTENT, "actions": ["read"]}),
                b.event("intent.amended", "s", 1, intent=wider),
                b.called("s", 2, tool="send_email", arguments={"to": "bob"}),
            ]
        )

    by_agent, by_user = amended("agent"), amended("user")
    names = [
        [e["name"] for e in run.decisions[0]["evidence"] if e["supports"]] for run in (by_agent, by_user)
    ]
    assert "action_not_allowed" in names[0]
    assert "action_not_allowed" not in names[1]
    assert [run.counters.get("agent_amendment") for run in (by_agent, by_user)] == [1, None]


# ------------------------------------------------------------------ what nobody saw


def unseen(tool: str) -> dict[str, Any]:
    return b.event("tool.called", "s", 1, call_id="s:1", tool=tool, arguments_seen=False)


def test_a_call_whose_arguments_nobody_saw_is_not_judged_by_its_score() -> None:
    run = b.play(
        [b.declared("s", 0), unseen("read_file"), b.called("s", 2)],
        bundled=high(),
    )
    blind, seen = run.decisions
    assert (blind["verdict"], "arguments_unseen" in blind["marks"]) == ("abstain", True)
    assert "nobody saw its arguments" in blind["explanation"]
    assert "arguments_unseen" not in seen["marks"]


def test_a_signal_still_speaks_against_a_call_whose_arguments_nobody_saw() -> None:
    intent = {**INTENT, "actions": ["read"]}
    run = b.play(
        [b.declared("s", 0, intent=intent), unseen("send_email")],
    )
    assert run.decisions[0]["verdict"] == "deny"


def test_calls_whose_arguments_nobody_saw_are_no_loop() -> None:
    def names(**more: Any) -> set[str]:
        calls = [
            b.event("tool.called", "s", n, call_id=f"s:{n}", tool="read_file", **more) for n in range(1, 13)
        ]
        run = b.play([b.declared("s", 0), *calls])
        return {e["name"] for d in run.decisions for e in d["evidence"]}

    assert "loop" in names()
    assert "loop" not in names(arguments_seen=False)


def test_arguments_that_are_there_are_judged_whatever_is_said_of_them() -> None:
    given = {"path": "notes.txt"}
    said, silent = (
        b.play([b.declared("s", 0), b.called("s", 1, arguments=given, **more)], bundled=high()).decisions[0]
        for more in ({"arguments_seen": False}, {})
    )
    assert said["verdict"] == silent["verdict"]
    assert said["marks"] == silent["marks"]


# ------------------------------------------------------------------ what never ran, and what waited


def test_what_a_host_says_of_a_call_that_never_ran_is_no_answer_of_a_tool() -> None:
    def told(status: str) -> set[int]:
        payee = "DE66500105179999999999"
        run = b.play(
            [
                b.declared("s", 0, text="read the mail"),
                b.called("s", 1, tool="search_mail", arguments={"query": "invoice"}),
                b.event("tool.returned", "s", 2, call_id="s:1", status=status, result=f"pay to {payee}"),
                b.called("s", 3, tool="send_email", arguments={"to": payee}),
            ]
        )
        return {call for e in run.decisions[1]["evidence"] for call in e["calls"]}

    assert told("ok") == told("error") == {0, 1}
    assert told("not_run") == {1}


def test_a_call_that_waits_for_a_person_changes_no_verdict_and_is_counted() -> None:
    def held(*events: dict[str, Any]) -> b.Run:
        return b.play([b.declared("s", 0), b.called("s", 1), *events, b.called("s", 5)], bundled=high())

    plain = held()
    waited = held(
        b.event("call.held", "s", 2, call_id="s:1", how="asked"),
        b.event("call.held", "s", 3, call_id="s:1", how="asked", answer="approved", by="ada"),
        b.event("call.held", "s", 4, call_id="s:9", how="deferred"),
    )
    assert [d["verdict"] for d in waited.decisions] == [d["verdict"] for d in plain.decisions]
    assert (waited.counters["asked"], waited.counters["deferred"]) == (2, 1)
    assert not waited.quarantined


@pytest.mark.parametrize(
    "wrong",
    [{"how": "maybe"}, {"how": None}, {"answer": "yes"}, {"call_id": None}, {"by": ""}, {"by": "x" * 257}],
)
def test_a_held_call_that_says_something_else_goes_to_quarantine(wrong: dict[str, Any]) -> None:
    told = {"call_id": "s:1", "how": "asked", "answer": "approved", "by": "ada", **wrong}
    run = b.play([b.declared("s", 0), b.event("call.held", "s", 1, **told)])
    assert run.quarantined == [("schema", 1)]


def test_what_is_new_may_be_left_out() -> None:
    called = EVENT.validate_python(b.called("s", 1))
    assert (called.arguments_seen, called.unseen) == (True, False)  # type: ignore[union-attr]
    assert EVENT.validate_python(b.declared("s", 0)).intent.known_by is None  # type: ignore[union-attr]
