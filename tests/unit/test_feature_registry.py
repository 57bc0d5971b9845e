"""Each feature says what it is, and what is made of all of them is as it should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.contracts import FAMILIES
from models.evidence.features import page, registry
from models.evidence.features.registry import BY_NAME, FEATURES, SPECS
from models.evidence.features.spec import ABLATIONS, HALVES, Feature, Group

GROUPS = {
    "catalogue lure": "tool_lure tool_lure_gain line_gain line_expected line_tool",
    "provenance": "args_intent args_prose args_anchored args_sole args_catalogue args_nowhere sink_leaves sink_intent_min"
    " sink_prose_max sink_anchored_min sink_sole_max best_intent",
    "delegation": "source_age source_open source_share source_named source_acts source_any source_likeness clause_any"
    " intent_acts intent_left intent_any handed",
    "address": "aimed aimed_intent aimed_prose aimed_other aimed_nowhere",
    "visibility": "answers_silent hashed",
    "scope": "argument_chars action command_looks destructive sensitive outward known trifecta",
    "sequence": "catalogue_size",
}
"""Published tables of what each group is worth hold for these; all others say what the intent means."""


@pytest.mark.parametrize("feature", SPECS, ids=FEATURES)
def test_a_feature_says_what_it_means_in_which_unit_and_of_what_it_is_evidence(feature: Feature) -> None:
    assert feature.meaning.endswith(".")
    assert "|" not in feature.meaning + feature.unit
    assert feature.unit
    assert feature.family in FAMILIES
    assert feature.ablation in ABLATIONS
    assert feature.direction in (-1, 0, 1)
    assert feature.gate is None or feature.gate.half in HALVES


def test_names_are_unlike_and_every_file_of_features_is_registered() -> None:
    assert len(set(FEATURES)) == len(FEATURES) == len(BY_NAME)
    folder = Path(registry.__file__).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "page", "registry", "spec"}
    assert {feature.of.__module__.rsplit(".")[-1] for feature in SPECS} == files


def test_groups_that_are_left_out_are_those_of_the_published_tables() -> None:
    for group in ABLATIONS[1:]:
        assert {f.name for f in SPECS if f.ablation == group} == set(GROUPS[group].split()), group
    assert {f.name for f in SPECS if f.only_measures} == {"argument_chars", "catalogue_size", "sink_leaves"}


def test_no_two_features_part_the_same_half_of_the_trees() -> None:
    halves = [gate.half for gate in registry.GATES.values()]
    assert sorted(halves) == sorted(set(halves))


def test_a_function_of_a_call_becomes_the_next_feature_of_its_group() -> None:
    group = Group(family="scope", ablation="scope")

    @group.feature("0 or 1", family="intent")
    def always(call: object) -> int:
        """Whether there is
        a call."""
        return 1

    assert group.features == [always]
    assert (always.name, always.meaning) == ("always", "Whether there is a call.")
    assert (always.family, always.ablation) == ("intent", "scope")


def test_the_page_has_every_feature_once_in_its_family() -> None:
    text = page.page()
    assert page.PAGE.read_text(encoding="utf-8") == text, "run `make schemas`"
    assert page.main(["--check"]) == 0
    assert set(page.FAMILIES) == {feature.family for feature in SPECS}
    for feature in SPECS:
        assert text.count(f"| `{feature.name}` |") == 1
        section = text.split(f"## {feature.family.capitalize()}")[1].split("\n## ")[0]
        assert f"| `{feature.name}` | {feature.meaning} | {feature.unit} |" in section


def test_a_stale_page_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "PAGE", tmp_path / "features.md")
    assert page.main(["--check"]) == 1
    assert page.main([]) == 0
    assert page.main(["--check"]) == 0
