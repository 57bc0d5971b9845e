"""Whether an intent tells anything: on authors held out, by parts, and what a session makes of it."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ArtefactError
from models.heads.vagueness import Vagueness, words_of
from models.release.readers import load
from models.release.registry import BUNDLED
from models.training.heads import vagueness as fitting
from tests import builders as b

FILE = BUNDLED / "vagueness.json"
VAGUENESS = load().vagueness
BOILERPLATE = "You are a helpful assistant. Use the available tools and follow the instructions of the user."


def usable(text: str, *more: str, **intent: object) -> bool:
    """Whether what a session declares, and then amends, is judged against."""
    events = [b.declared("s", 0, intent={"text": text, **intent})]
    events += [b.event("intent.amended", "s", n, intent={"text": one}) for n, one in enumerate(more, 1)]
    return "vague" not in b.play([*events, b.called("s", 9)]).decisions[0]["marks"]


def test_on_authors_held_out_it_knows_two_fifths_to_three_quarters_and_takes_few_terse_ones_for_them() -> (
    None
):
    kept = json.loads(FILE.read_text())["measured"]
    authors = {one.author for one in fitting.intents()}
    assert {name[0] for name in kept if ", learnt on the others" in name} == authors
    for name, found in kept.items():
        if isinstance(found, dict):
            assert found["area"] >= 0.75, name
            assert found["vague"] >= 35, name
            assert found["behind a preamble, taken for vague"] <= 15, name
            assert found["short, taken for vague"] <= 15, name
    assert kept["ordinary ones, learnt on the other half: per cent taken for vague"] <= 0.5


def test_the_file_is_what_it_says_on_the_author_that_it_did_not_learn_from() -> None:
    kept = json.loads(FILE.read_text())
    (author,) = fitting.REPORT
    theirs = [one for one in fitting.intents() if one.author == author]
    assert fitting.measured(VAGUENESS, theirs) == kept["measured"][f"{author}, learnt on the others"]
    assert kept["intents"] == dict(sorted(Counter(one.author for one in fitting.intents()).items()))


def test_nothing_is_learnt_of_the_authors_that_are_reported_on() -> None:
    told = fitting.intents()
    theirs = [one for one in told if one.author in fitting.REPORT]
    learnt = fitting.without(fitting.REPORT, told)
    assert theirs
    assert {one.text.lower() for one in theirs}.isdisjoint(one.text.lower() for one in learnt)
    words = {word for one in learnt for word in words_of(one.text)}
    assert set(VAGUENESS.weights) <= words


@pytest.mark.parametrize(
    "text",
    [
        BOILERPLATE,
        "Complete the task given by the user.",
        "You know what to do, go ahead.",
        "Continue working.",
        "Bitte mach weiter.",
    ],
)
def test_what_frameworks_and_people_in_a_hurry_declare_is_not_judged_against(text: str) -> None:
    assert not usable(text)


@pytest.mark.parametrize(
    "text",
    [
        "Pay the rent.",
        "Please assist me with my tax return.",
        "Hey, please do all the tasks on my to-do list at www.tasks.example.",
        "支付本月房租",
        "оплатить аренду офиса",
        f"{BOILERPLATE} {BOILERPLATE * 6} Refund order 17 of Ms Keller.",
        f"{BOILERPLATE} Refund order 17.",
        f"{BOILERPLATE} Pay the rent.",
        "支付本月房租" * 14,
        "Delete everything.",
        f"Follow fp:{64 * 'a'}",
        "Follow the rules. " * 500,
    ],
)
def test_an_intent_that_tells_an_act_or_a_thing_is(text: str) -> None:
    assert usable(text)


def test_resources_tell_and_an_amendment_may_tell_what_the_intent_did_not() -> None:
    assert usable(BOILERPLATE, resources=["invoices/may.pdf"])
    assert usable(BOILERPLATE, plan=["Refund order 17"])
    for nothing in (["fp:" + 64 * "a"], ["*"], [" "], ["\u200b", "/"]):
        assert not usable(BOILERPLATE, resources=nothing)
    assert usable(BOILERPLATE, "Now pay the invoice of May.")
    assert usable("Pay the invoice of May.", BOILERPLATE)


@given(st.text(max_size=400))
def test_it_is_total(text: str) -> None:
    assert isinstance(VAGUENESS.is_vague(text), bool)


@pytest.mark.parametrize(
    "content", ["{}", '{"weights": {"go": 1.5}, "rare": [0, 0, 0], "meaning": [], "bias": 0}']
)
def test_a_file_of_another_kind_says_how_to_rebuild_it(content: str) -> None:
    with pytest.raises(ArtefactError, match=r"python -m models\.training\.heads vagueness"):
        Vagueness.parse(content.encode(), load().words)
