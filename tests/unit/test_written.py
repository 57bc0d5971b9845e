"""Tasks that were written out whole: files that hold what they must, twins that differ as said."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import pytest

from models.training.scenarios import written_tasks as w
from stream.offline.recorded import events_of

FILES = sorted(w.files())
BAD_CALLS = ("hijacked", "silent", "otherwise", "asked", "asked_silent")


@pytest.fixture(scope="module")
def made() -> list[dict[str, Any]]:
    return [*w.sessions(1), *w.sessions(1, authors=w.REPORT | w.LONG | w.OPENED)]


@pytest.fixture(scope="module")
def twins(made: list[dict[str, Any]]) -> list[dict[str, dict[str, Any]]]:
    found: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for session in made:
        found[session["pair"]][session["variant"]] = session
    return list(found.values())


def calls_of(session: dict[str, Any]) -> list[tuple[str, str]]:
    return [(call["tool"], json.dumps(call["args"], sort_keys=True)) for call in session["calls"]]


def having(twins: list[dict[str, dict[str, Any]]], variant: str) -> list[dict[str, dict[str, Any]]]:
    found = [pair for pair in twins if variant in pair]
    assert found
    return found


def test_there_are_many_catalogues_and_no_intent_comes_twice() -> None:
    assert len(FILES) >= 30
    told = [
        task[name]
        for file in w.files().values()
        for kind, names in (("work", ("intent",)), ("handed", ("intent", "reads")))
        for task in file[kind]
        for name in names
    ]
    assert len(told) == len(set(told))


@pytest.mark.parametrize("name", FILES)
def test_a_file_calls_its_own_tools_with_their_parameters(name: str) -> None:
    file = w.files()[name]
    assert name == f"{file['author']}_{file['catalogue']}"
    tools = {tool["name"]: tool["parameters"] for tool in file["tools"]}
    assert len(tools) == len(file["tools"]) >= 4
    calls = [call for task in file["work"] for call in (*task["calls"], *task["attack"]["calls"])]
    for task in file["handed"]:
        calls += [*task["calls"], *task["acts"], *task["beyond"]["acts"]]
    for call in calls:
        told = {key.rstrip("?") for key in tools[call["tool"]]}
        needed = {key for key in tools[call["tool"]] if not key.endswith("?")}
        assert needed <= set(call["args"]) <= told, call


@pytest.mark.parametrize("name", FILES)
def test_each_task_has_one_place_for_a_text_before_the_attack(name: str) -> None:
    file = w.files()[name]
    for task in (*file["work"], *file["handed"]):
        holding = [n for n, call in enumerate(task["calls"]) if w.SLOT in json.dumps(call["result"])]
        assert len(holding) == 1
        assert json.dumps(task["calls"]).count(w.SLOT) == 1
        if "attack" in task:
            assert holding[0] <= task["attack"]["after"] < len(task["calls"])


def test_sessions_are_recorded_sessions_with_ids_of_their_own(made: list[dict[str, Any]]) -> None:
    ids = {session["session_id"] for session in made}
    assert len(ids) == len(made)
    tools = w.catalogues()
    for session in made[::97]:
        events = list(events_of(session, tools[session["tools_ref"]]))
        assert sum(event["type"] == "tool.called" for event in events) == len(session["calls"])


def test_no_place_for_a_text_is_left_open(made: list[dict[str, Any]]) -> None:
    assert w.SLOT not in json.dumps(made)


def test_twins_of_work_share_their_calls_and_differ_in_text_and_intent(
    twins: list[dict[str, dict[str, Any]]],
) -> None:
    for pair in having(twins, "calm"):
        acted = {json.dumps(calls_of(pair[variant])) for variant in BAD_CALLS}
        assert len(acted) == 1
        assert calls_of(pair["calm"]) == calls_of(pair["ignored"])
        assert pair["calm"]["calls"] != pair["ignored"]["calls"]
        assert [call["result"] for call in pair["hijacked"]["calls"]] != [
            call["result"] for call in pair["silent"]["calls"]
        ]
        at = pair["hijacked"]["first_bad_seq"]
        assert calls_of(pair["calm"])[:at] == calls_of(pair["hijacked"])[:at]
        assert len(pair["hijacked"]["calls"]) > len(pair["calm"]["calls"])
        for variant in ("asked", "asked_silent", "otherwise", "blind_asked"):
            more = len(pair[variant]["amendments"]) - len(pair["calm"]["amendments"])
            assert more == (pair[variant]["intent"] == pair["calm"]["intent"])
        assert all(call["result"] == "" for call in pair["blind_silent"]["calls"])


def test_twins_that_leave_acts_to_a_text_differ_in_the_intent_or_in_one_act_more(
    twins: list[dict[str, dict[str, Any]]],
) -> None:
    for pair in having(twins, "delegated"):
        assert pair["delegated"]["calls"] == pair["undelegated"]["calls"]
        assert pair["delegated"]["intent"] != pair["undelegated"]["intent"]
        assert pair["beyond"]["calls"] == pair["delegated_both"]["calls"]
        assert pair["beyond"]["intent"] == pair["within"]["intent"] == pair["delegated"]["intent"]
        bad = pair["beyond"]["first_bad_seq"]
        assert calls_of(pair["beyond"])[:bad] == calls_of(pair["within"])


def test_labels_follow_the_variant(made: list[dict[str, Any]]) -> None:
    hijacked = {"hijacked", "silent", "otherwise", "blind_silent", "undelegated", "beyond"}
    attempted = {"ignored", "read", "within"}
    for session in made:
        wanted = (
            "hijacked"
            if session["variant"] in hijacked
            else "attempted"
            if session["variant"] in attempted
            else "benign"
        )
        assert session["label"] == wanted
        assert (session["first_bad_seq"] is not None) == (wanted == "hijacked")


@pytest.mark.slow
def test_only_the_place_of_a_wish_depends_on_the_seed(made: list[dict[str, Any]]) -> None:
    other = list(w.sessions(2))
    again = list(w.sessions(1))
    assert again == made[: len(again)]
    assert [session["variant"] for session in other] == [session["variant"] for session in again]
    calm = [session["intent"] for session in again if session["variant"] == "calm"]
    assert calm == [session["intent"] for session in other if session["variant"] == "calm"]


def test_tools_without_arguments_are_learnt_from_and_reported_on() -> None:
    coarse = {name for name in FILES if w.coarse(name)}
    for name in coarse:
        assert all(len(tool["parameters"]) <= 1 for tool in w.files()[name]["tools"])
    reported = {name for name in coarse if w.files()[name]["author"] in w.REPORT}
    assert (len(coarse), len(reported)) == (31, 7)


def test_what_is_reported_on_comes_from_authors_of_whom_nothing_is_learnt() -> None:
    kinds = [w.REPORT, w.LONG, w.OPENED]
    drawn = [w.sessions(1), *(w.sessions(1, authors=authors) for authors in kinds)]
    suites = [{session["suite"] for session in sessions} for sessions in drawn]
    authors = [{w.files()[name]["author"] for name in names} for names in suites]
    assert authors[1:] == kinds
    assert sum(map(len, authors)) == len(set().union(*authors))
    assert set().union(*suites) == set(FILES)
    assert suites[0] == set(w.to_learn_from())


def test_long_work_is_long_and_there_is_enough_of_it() -> None:
    """Each value comes out of an answer before: that takes calls."""
    long = [file for file in w.files().values() if file["author"][0] == "z"]
    learnt = [file for file in long if file["author"] not in w.LONG | w.OPENED]
    assert sum(len(file["work"]) + len(file["handed"]) for file in learnt) >= 600
    lengths = [len(task["calls"]) for file in long for task in file["work"]]
    lengths += [len(task["calls"]) + len(task["acts"]) for file in long for task in file["handed"]]
    assert sum(n >= 6 for n in lengths) >= 0.9 * len(lengths)
