"""The frameworks' ids in alerts are published ones, of the editions that the alert and docs/alerts.md name."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from stream import bootstrap
from stream.events import CASES
from stream.offline import files, replay
from stream.outbound import frameworks
from stream.outbound.findings import finding
from stream.settings import Settings
from stream.signals.registry import SIGNALS
from tests.unit.test_findings import a_deed, an_evidence, some_change

ROOT = Path(__file__).parents[2]
PUBLISHED: dict[str, Any] = tomllib.loads((ROOT / "tests" / "published_ids.toml").read_text("utf-8"))
ATLAS: dict[str, Any] = PUBLISHED["mitre_atlas"]
"""What MITRE publishes."""
ALL = [signal.id for signal in SIGNALS]


def test_every_edition_that_alerts_name_is_that_of_the_published_ids_and_the_page_has_it() -> None:
    assert {name: told["version"] for name, told in PUBLISHED.items()} == frameworks.VERSIONS
    page = (ROOT / "docs" / "alerts.md").read_text("utf-8")
    section = page.split("\n## Frameworks\n")[1].split("\n## ")[0]
    for name, version in frameworks.VERSIONS.items():
        assert any(f"`{name}`" in line and f"| {version} |" in line for line in section.splitlines()), name


@pytest.mark.parametrize("declaration", [False, True])
def test_every_technique_and_tactic_in_alerts_is_published_under_that_name(declaration: bool) -> None:
    told = frameworks.attacks(ALL, declaration=declaration)
    assert len(told) >= 5
    for attack in told:
        technique = attack["technique"]
        assert ATLAS["techniques"][technique["uid"]] == technique["name"]
        assert attack["version"] == ATLAS["version"]
        if "tactic" in attack:
            tactic = attack["tactic"]
            assert ATLAS["tactics"][tactic["uid"]] == tactic["name"]
            assert tactic["uid"] in ATLAS["achieves"][technique["uid"]]
        if "sub_technique" in attack:
            part = attack["sub_technique"]
            assert ATLAS["techniques"][part["uid"]] == part["name"]
            assert part["uid"].startswith(f"{technique['uid']}.")


@pytest.mark.parametrize("declaration", [False, True])
def test_every_id_of_the_other_frameworks_is_published(declaration: bool) -> None:
    for name, ids in frameworks.frameworks(ALL, declaration=declaration).items():
        assert ids
        assert set(ids) <= set(PUBLISHED[name]["ids"]), name


def test_no_id_that_mitre_retired_is_named_anywhere_in_the_table() -> None:
    named = {
        uid
        for places in [*frameworks.PLACES.values(), frameworks.POISONED_DECLARATION]
        for uid in places.atlas
    }
    assert named <= set(ATLAS["techniques"])
    assert not named & set(ATLAS["retired"])
    assert set(ATLAS["retired"].values()) <= set(ATLAS["techniques"])


def test_a_poisoned_declaration_is_told_as_such_and_an_answer_is_not() -> None:
    def parts(*calls: int) -> list[str]:
        lured = an_evidence(family="sequence", name="lured", calls=list(calls), argument=None)
        event = finding(some_change(evidence=[lured], deed=a_deed(seq=2)))
        found: list[dict[str, Any]] = event["finding_info"]["attacks"]
        return [attack["sub_technique"]["uid"] for attack in found if "sub_technique" in attack]

    assert parts(2) == ["AML.T0110.000", "AML.T0051.001"]
    assert parts(1, 2) == ["AML.T0051.001"]


def test_only_the_sample_with_a_poisoned_declaration_says_that_a_tool_was_poisoned() -> None:
    samples = ROOT / "stream" / "samples"
    judge = bootstrap.judge(Settings(attestation_issuers=samples / "issuers.json"), mode="enforce")
    said = set()
    for path in sorted(samples.glob("*.jsonl")):
        for output in replay.replay(files.read_records(path), judge):
            if output.topic == CASES and b"AML.T0110" in output.value:
                said.add(path.stem)
    assert said == {"34-finance-poisoned-tool"}
