"""A record that the contract refuses is never an allow: its waiter gets an answer, its session a mark."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from models.contracts import Decision
from stream.core.take_refusal import RefusalTaker
from stream.events import DECISIONS, EVENTS, Record, dumps, murmur2_partition
from tests import builders as b


def nested(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


REFUSED: dict[str, dict[str, Any]] = {
    "a tool of no name": {"tool": ""},
    "a tool that is none": {"tool": 7},
    "a newer version": {"schema_version": 99},
    "a time that is none": {"time": "soon"},
    "a type that nobody knows": {"type": "tool.invoked"},
    "a seq below zero": {"seq": -1},
    "an id too long": {"id": "x" * 257},
    "deep arguments": {"arguments": {"x": nested(300)}},
}


def call(**wrong: Any) -> dict[str, Any]:
    return {**b.called("s", 1), **wrong}


def answers(run: b.Run) -> list[dict[str, Any]]:
    return [d for d in run.decisions if "refused" in d["marks"]]


@pytest.mark.parametrize("wrong", REFUSED.values(), ids=REFUSED.keys())
def test_a_refused_call_is_answered_with_abstain_and_its_reason(wrong: dict[str, Any]) -> None:
    run = b.play([b.declared("s"), json.dumps(call(**wrong)).encode(), b.called("s", 2)])
    reason = run.quarantined[0][0]
    (told,) = answers(run)
    Decision.model_validate(told)
    assert (told["verdict"], told["session_id"], told["call_id"]) == ("abstain", "s", "s:1")
    assert f"refused ({reason})" in told["explanation"]
    digest = told.pop("digest")
    assert digest == hashlib.sha256(dumps(told)).hexdigest()


def test_an_answer_to_a_refused_call_stands_outside_its_session_s_chain_and_count() -> None:
    run = b.play([b.declared("s"), b.called("s", 1), call(tool=""), b.called("s", 2)])
    before, told, after = run.decisions
    assert (told["previous"], told["call_seq"]) == ("", -1)
    assert (after["previous"], after["call_seq"]) == (before["digest"], 1)


def test_a_refused_call_that_comes_again_is_answered_in_the_same_bytes_in_any_batch() -> None:
    values = [b.declared("s"), call(tool=""), call(tool=""), call(tool="", id="other"), b.called("s", 2)]
    runs = [b.play(values, batch) for batch in (1, 2, 512)]
    assert runs[0].outputs == runs[1].outputs == runs[2].outputs
    first, again, other = (dumps(each) for each in answers(runs[0]))
    assert first == again
    assert first != other


def test_the_standing_that_an_answer_names_is_that_of_its_moment() -> None:
    bad = b.called("s", 1, credential={**b.CREDENTIAL, "value": "of another"})
    values = [b.declared("s"), call(tool=""), bad, call(tool="", id="later")]
    for batch in (1, 512):
        run = b.play(values, batch, bundled=b.release(scorer=b.ConstantScorer(0)))
        assert [each["standing"] for each in answers(run)] == ["quiet", "alert"]
        assert [each["case_id"] is None for each in answers(run)] == [True, False]


@pytest.mark.parametrize(
    "value",
    [
        b'{"type": "tool.called", "session_id": "s", "call_id": "s:1"',
        call(session_id=None),
        call(session_id="x" * 257),
        call(session_id=["s"]),
        call(root_session_id=5),
        call(tenant=""),
        call(call_id="x" * 257),
        call(call_id={}),
        [call()],
        {**b.returned("s", 1, call="s:1"), "status": "odd"},
        {**b.ended("s", 1), "call_id": "s:1", "tool": "t", "reason": 7},
        {"type": "release.activated", "token": "none", "session_id": "s", "call_id": "s:1", "tool": "t"},
    ],
)
def test_what_does_not_say_whose_call_it_is_gets_no_answer(value: Any) -> None:
    run = b.play([value])
    assert run.quarantined
    assert run.decisions == []


def test_only_the_partition_of_a_session_answers_for_it() -> None:
    own = murmur2_partition(b"s", 8)
    for partition, key, n_answers in ((own, b"s", 1), ((own + 1) % 8, b"s", 0), (own, b"t", 0)):
        run = b.Run(b.judge(), n_partitions=8)
        run.feed([Record(EVENTS, partition, 0, 0, "none", key, (), dumps(call(tool="")))])
        assert len(run.quarantined) == 1
        assert len(answers(run)) == n_answers


def test_a_refused_call_counts_for_the_tenant_that_its_topic_is_bound_to() -> None:
    run = b.play([call(tool="", tenant="theirs")], tenants={EVENTS: "ours"})
    assert answers(run)[0]["tenant"] == "ours"


def test_calls_after_a_refused_declaration_say_so_until_one_is_accepted() -> None:
    refused = {**b.declared("s"), "intent": {"text": "pay", "actions": ["fly"]}}
    values = [refused, b.called("s", 1), b.declared("s", 2), b.called("s", 3)]
    for batch in (1, 512):
        run = b.play(values, batch)
        assert run.decisions[0]["verdict"] == "abstain"
        assert run.decisions[0]["marks"] == ["undeclared", "declaration_refused"]
        why = run.decisions[0]["explanation"]
        assert why.startswith("this call was not judged (the session's declaration was refused, ")
        assert "docs/schemas/agent.events.v1.json" in run.decisions[0]["would_pass"]
        assert run.decisions[1]["marks"] == []


def test_a_refused_declaration_is_noted_in_a_session_that_began_before_it_and_in_none_that_is_over() -> None:
    refused = {**b.declared("s", 1), "credentials": "none"}
    run = b.play([b.called("s", 0), refused, b.called("s", 2), b.ended("s", 3), refused, b.called("s", 4)])
    assert [("declaration_refused" in d["marks"]) for d in run.decisions] == [False, True, False]


def test_a_refused_second_declaration_changes_nothing() -> None:
    refused = {**b.declared("s", 1), "intent": {"text": 7}}
    run = b.play([b.declared("s"), refused, b.called("s", 2)])
    assert run.decisions[0]["marks"] == []


@pytest.mark.parametrize("ahead", [0, 10_000])
def test_a_stamped_session_that_a_refused_declaration_began_goes_by_the_partition_s_clock(ahead: int) -> None:
    refused = {**b.declared("s", at=ahead), "agent": 7}
    run = b.play_stamped(
        [(5, refused), (3_000, b.called("s", 1, at=2_999)), (3_001, b.declared("t", at=3_001))]
    )
    assert run.decisions[0]["marks"] == ["undeclared", "declaration_refused"]


def test_a_call_whose_decision_or_evidence_fails_is_answered_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    for place in ("stream.core.words.explain", "stream.core.take_call.extract"):
        with monkeypatch.context() as broken:
            broken.setattr(place, fail)
            run = b.play([b.declared("s"), b.called("s", 1)])
        assert [reason for reason, _ in run.quarantined] == ["internal"]
        (told,) = run.decisions
        assert (told["verdict"], told["marks"], told["call_id"]) == ("abstain", ["refused"], "s:1")
        assert "internal" in told["explanation"]


def test_answers_to_hostile_records_are_bounded() -> None:
    wide = "\x01" * 256
    run = b.play([call(session_id=wide, root_session_id=wide, id=wide, call_id=wide, tool=wide * 9)])
    (output,) = [o for o in run.outputs if o.topic == DECISIONS]
    assert len(output.value) < 16_384


def test_a_fault_while_a_refusal_is_answered_leaves_the_record_in_quarantine_and_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(RefusalTaker, "take", fails)
    run = b.play([b.declared("s"), call(tool=""), b.called("s", 2)])
    assert len(run.quarantined) == 1
    assert [d["call_seq"] for d in run.decisions] == [0]


def test_an_answer_shows_the_thresholds_that_judged_calls_of_its_session_are_held_against() -> None:
    run = b.play([b.declared("s"), call(tool=""), b.called("s", 2)], bundled=b.release())
    answer, judged = run.decisions
    assert answer["thresholds"] == judged["thresholds"]
    assert len({*answer["thresholds"].values()}) > 1


@pytest.mark.parametrize(("seq", "told"), [(2**53, 2**53), (2**53 + 1, None), (True, None)])
def test_an_answer_repeats_a_number_only_as_far_as_json_keeps_it(seq: object, told: int | None) -> None:
    (answer,) = b.play([call(tool="", seq=seq)]).decisions
    assert answer["event_seq"] == told
