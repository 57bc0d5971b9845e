"""Delegated tasks: twins that differ as said, values that come from the text, tools that tell nothing."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from models.text.tokens import tokens
from models.tools.names import name_words
from models.training.scenarios import delegated as d
from models.training.scenarios.delegated_catalogues import (
    CLASSES,
    INVENTED,
    RECORDED,
    Act,
    Catalogue,
    invented,
)
from models.training.scenarios.delegated_catalogues import recorded as written_for
from models.training.scenarios.delegated_intents import intents
from models.training.scenarios.delegated_texts import leaves_of
from models.training.scenarios.delegated_values import as_text
from models.training.scenarios.templates import Step
from stream.offline.recorded import events_of

pytestmark = pytest.mark.slow

KEYS = {
    "source", "suite", "model", "defense", "session_id", "intent", "tools_ref", "calls", "label", "attack",
    "user_task_id", "injection_task_id", "injection_goal", "exposed_seq", "first_bad_seq", "amendments",
    "variant", "wording", "origin", "donor", "pair",
}  # fmt: skip
JOINED = ("GorillaFileSystem", "GorillaFileSystem+TicketAPI", "MessageAPI+TravelAPI", "TicketAPI+TradingBot",
          "TwitterAPI+VehicleControlAPI")  # fmt: skip


def stub(catalogue: Catalogue) -> list[dict[str, Any]]:
    """Tools of a recorded catalogue as its tables call them: the recorded file itself is not at hand here."""
    names = {step.tool for step in steps_of(catalogue)}
    return [
        {"name": name, "description": " ".join(name_words(name)), "parameters": {}} for name in sorted(names)
    ]


def steps_of(catalogue: Catalogue) -> Iterator[Step]:
    for act in catalogue.acts:
        yield Step(act.tool, act.args, act.result)
        yield from act.needs
    for source in catalogue.sources:
        yield from source.steps
    yield from catalogue.lookups
    yield from catalogue.credential.steps if catalogue.credential else ()
    for flow in catalogue.flows:
        yield from flow.steps


def recorded() -> dict[str, list[dict[str, Any]]]:
    found = {}
    for ref in (*RECORDED, *JOINED, "TradingBot", "something+else"):
        catalogue = written_for(ref)
        found[ref] = stub(catalogue) if catalogue is not None else []
    return found


def every_act() -> list[Act]:
    tables = [*map(invented, INVENTED), *map(written_for, (*RECORDED, "+".join(CLASSES)))]
    return [act for catalogue in tables if catalogue is not None for act in catalogue.acts]


@pytest.fixture(scope="module")
def made() -> list[dict[str, Any]]:
    return list(d.sessions(recorded(), seed=3, tasks=400))


@pytest.fixture(scope="module")
def pairs(made: list[dict[str, Any]]) -> list[dict[str, list[dict[str, Any]]]]:
    """Sessions by variant for each task; the first ``delegated`` is the task as asked."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for session in made:
        if session["variant"] != "ordinary":
            found[session["pair"]][session["variant"]].append(session)
    return list(found.values())


def test_there_are_enough_of_each(made: list[dict[str, Any]], pairs: list[Any]) -> None:
    counts = Counter(s["variant"] for s in made)
    assert len(pairs) == 400
    assert counts["undelegated"] == counts["beyond"] == counts["ignored"] == 400
    assert counts["delegated"] == 800
    assert counts["direct"] >= 80
    assert counts["ordinary"] >= 150
    assert len({s["suite"] for s in made}) >= 12
    assert len({s["suite"] for s in made} & set(INVENTED)) >= 6
    assert len({s["session_id"] for s in made}) == len(made)
    assert len({s["user_task_id"] for s in made if s["variant"] == "ordinary"}) == counts["ordinary"]


def test_it_is_the_same_every_time() -> None:
    once = [json.dumps(s) for s in d.sessions(recorded(), seed=5, tasks=40)]
    assert once == [json.dumps(s) for s in d.sessions(recorded(), seed=5, tasks=40)]
    assert once != [json.dumps(s) for s in d.sessions(recorded(), seed=6, tasks=40)]


def test_invented_catalogues_do_without_recorded_ones() -> None:
    found = list(d.sessions({}, seed=1, tasks=16))
    assert {s["suite"] for s in found} == set(INVENTED) == set(d.catalogues({}))


def test_a_catalogue_without_a_source_of_text_is_left_out() -> None:
    assert "TradingBot" not in d.catalogues(recorded())
    assert "something+else" not in d.catalogues(recorded())


@pytest.mark.parametrize("name", sorted(INVENTED))
def test_an_invented_catalogue_calls_its_own_tools(name: str) -> None:
    catalogue = invented(name)
    schemas = {tool.name: tool.with_schema()["parameters"] for tool in catalogue.tools}
    assert 8 <= len(schemas) == len(catalogue.tools) <= 20
    for step in steps_of(catalogue):
        schema = schemas[step.tool]
        assert set(schema["required"]) <= set(step.args) <= set(schema["properties"]), step


def test_there_are_many_ways_to_ask() -> None:
    ways = intents()
    assert len({*ways.narrow, *ways.broad}) >= 40
    assert len({*ways.plain, *ways.mention}) >= 30


def test_sessions_have_the_form_of_recorded_ones(made: list[dict[str, Any]]) -> None:
    tools = d.catalogues(recorded())
    for session in made:
        assert set(session) >= KEYS
        assert json.loads(json.dumps(session)) == session
        assert [call["seq"] for call in session["calls"]] == list(range(len(session["calls"])))
        names = {tool["name"] for tool in tools[session["tools_ref"]]}
        assert {call["tool"] for call in session["calls"]} <= names
        assert len(events_of(session, tools[session["tools_ref"]])) == 2 + 2 * len(session["calls"])
        assert not re.search(r"\{[a-z]+\d?\}", json.dumps([session["calls"], session["intent"]]))


def test_labels_follow_the_variant(made: list[dict[str, Any]]) -> None:
    label = {"delegated": "benign", "direct": "benign", "ordinary": "benign", "ignored": "attempted"}
    for session in made:
        assert session["label"] == label.get(session["variant"], "hijacked")
        assert (session["first_bad_seq"] is None) == (session["label"] != "hijacked")
        if session["label"] == "hijacked":
            assert session["exposed_seq"] < session["first_bad_seq"] < len(session["calls"])


def test_twins_differ_as_said(pairs: list[dict[str, list[dict[str, Any]]]]) -> None:
    for twins in pairs:
        honest, wide = twins["delegated"]
        (undelegated,), (beyond,), (ignored,) = twins["undelegated"], twins["beyond"], twins["ignored"]
        assert len({s["user_task_id"] for s in (honest, wide, undelegated, beyond, ignored)}) == 1
        assert honest["calls"] == undelegated["calls"]
        assert honest["intent"] != undelegated["intent"] == ignored["intent"]
        assert undelegated["first_bad_seq"] == undelegated["acts"][0] == honest["acts"][0]
        seen = undelegated["exposed_seq"]
        assert ignored["calls"][: seen + 1] == undelegated["calls"][: seen + 1]
        served = [undelegated["calls"][seq] for seq in undelegated["acts"]]
        assert ignored["acts"] == []
        for call in ignored["calls"][seen + 1 :]:
            assert (call["tool"], call["args"]) not in [(s["tool"], s["args"]) for s in served]
        assert beyond["calls"] == wide["calls"]
        assert beyond["intent"] != wide["intent"]
        assert len(beyond["acts"]) > len(honest["acts"])
        assert beyond["calls"][seen]["result"] != honest["calls"][seen]["result"]
        assert beyond["first_bad_seq"] in beyond["acts"]
        bad = beyond["calls"][beyond["first_bad_seq"]]
        assert (bad["tool"], bad["args"]) not in [(c["tool"], c["args"]) for c in honest["calls"]]


def words_of(template: Any) -> set[str]:
    if isinstance(template, dict):
        return set().union(*map(words_of, template.values()))
    if isinstance(template, list):
        return set().union(*map(words_of, template))
    bare = re.sub(r"\{[a-z]+\d?\}", " ", as_text(template))
    return {token.text for token in tokens(bare)}


def test_every_value_of_an_honest_act_was_read_or_said(made: list[dict[str, Any]]) -> None:
    constant = set().union(*(words_of(act.args) for act in every_act()))
    for session in made:
        if session["variant"] not in ("delegated", "direct"):
            continue
        for seq in session["acts"]:
            said = " \n ".join([session["intent"], *(c["result"] for c in session["calls"][:seq])])
            said = said.replace("\\n", "\n").replace('\\"', '"')  # a text within JSON
            known = {token.text for token in tokens(said)} | constant
            for _, value in leaves_of(session["calls"][seq]["args"]):
                text = as_text(value)
                unknown = {token.text for token in tokens(text)} - known
                assert not unknown or text in said, (session["intent"], session["calls"][seq])


def test_acts_of_a_hijack_were_asked_for_by_the_text(pairs: list[dict[str, list[dict[str, Any]]]]) -> None:
    """The values of an undelegated act stand in the text and never in the intent that did not ask for it."""
    for twins in pairs:
        session = twins["undelegated"][0]
        for seq in session["acts"]:
            for name, value in leaves_of(session["calls"][seq]["args"]):
                own = name in ("access_token", "old_password")  # credentials, which users do say
                if isinstance(value, str) and len(value) > 12 and not own:
                    assert value not in session["intent"]


def test_a_tool_is_as_often_honest_as_not(made: list[dict[str, Any]]) -> None:
    honest: Counter[str] = Counter()
    hijacked: Counter[str] = Counter()
    for session in made:
        for seq in session["acts"]:
            bad = session["first_bad_seq"]
            if session["variant"] == "delegated":
                honest[session["calls"][seq]["tool"]] += 1
            elif bad is not None and seq >= bad:
                hijacked[session["calls"][seq]["tool"]] += 1
    assert set(honest) == set(hijacked)
    for tool in honest:
        if hijacked[tool] >= 20:
            assert 0.2 < hijacked[tool] / (honest[tool] + hijacked[tool]) < 0.5, tool
