"""The figures as shipped, the consequences that signals ship with, and the pages that quote them agree."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import results, shipped
from stream import bootstrap
from stream.offline.rows import verdicts_of
from stream.settings import Settings
from stream.signals.registry import SIGNALS

ROOT = Path(__file__).parents[2]
FIGURES: dict[str, Any] = json.loads(shipped.FIGURES.read_text(encoding="utf-8"))
TIMES = 10
"""How much likelier in hijacked sessions a signal must be that alerts by itself."""
ATTACKED = [by_label for by_label in FIGURES["signals"].values() if "hijacked" in by_label]
"""How often signals speak, of the sets that have hijacked sessions."""


@pytest.mark.parametrize("signal", [one.id for one in SIGNALS if one.shipped in ("alert", "deny")])
def test_a_signal_that_alerts_by_itself_is_ten_times_likelier_in_hijacked_sessions(signal: str) -> None:
    """Over the sets together, each counting the same: one session of ninety tells nothing of ten times."""
    honest, hijacked = (sum(one[label][signal] for one in ATTACKED) for label in ("benign", "hijacked"))
    assert hijacked >= TIMES * honest


def test_the_figures_are_of_the_release_that_ships() -> None:
    assert FIGURES["release"] == bootstrap.release(Settings()).name
    policy = bootstrap.release(Settings(), mode="enforce").policy
    assert FIGURES["policy"] == f"{policy.name}@{policy.digest}"


def test_the_page_has_the_tables_of_the_figures() -> None:
    text = (ROOT / "docs" / "detection.md").read_text(encoding="utf-8")
    for mark, table in shipped.tables(FIGURES).items():
        assert f"<!-- {mark} -->\n{table}\n<!-- /{mark} -->" in text


README = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("begins", "name"), [("| long work of four", "written_errands"), ("| long work of two", "written_chains")]
)
def test_the_readme_quotes_the_figures_of_long_work(begins: str, name: str) -> None:
    figures = FIGURES["unseen"][name]["ways"]["verdicts"]
    row = next(line for line in README if line.startswith(begins))
    quoted = [f"{figures[column]['per_cent']:.1f}" for column in ("hijacked alerted", "honest alerted")]
    assert re.findall(r"\b\d+\.\d\b", row) == quoted


@pytest.mark.parametrize(
    ("begins", "name"), [("| AgentDyn", "agentdyn as recorded"), ("| AgentDojo", "agentdojo as recorded")]
)
def test_the_readme_quotes_the_figures_of_what_was_left_out(begins: str, name: str) -> None:
    found = json.loads((ROOT / "docs" / "figures" / "joined.json").read_text(encoding="utf-8"))["left out"]
    row = next(line for line in README if line.startswith(begins))
    both = found[name]["forest and reader"]
    quoted = [f"{100 * both[column]:.1f}" for column in ("hijacked alerted", "honest alerted")]
    assert re.findall(r"\b\d+\.\d\b", row) == quoted


def test_the_page_has_what_forest_and_reader_find_where_they_learnt_nothing() -> None:
    report = json.loads((ROOT / "docs" / "figures" / "joined.json").read_text(encoding="utf-8"))
    joint = bootstrap.release(Settings()).joint
    assert joint is not None
    assert report["joint"] == joint._asdict()
    rows = results.rows_between(ROOT / "docs" / "detection.md", "joined")
    assert {row[0].rpartition(", ")[0] for row in rows} == set(report["left out"])
    for name, _, _, area, *_ in rows:
        group, _, scores = name.rpartition(", ")
        assert area == f"{report['left out'][group][scores]['area']:.3f}"


def test_what_score_and_signals_would_each_have_led_to_is_told_apart() -> None:
    release = bootstrap.release(Settings(), mode="enforce")
    decision = {
        "verdict": "deny",
        "score": 0.0,
        "families": ["scope"],
        "marks": [],
        "evidence": [{"family": "scope", "name": "action_not_allowed", "supports": True}],
    }
    assert verdicts_of(decision, release) == {
        "verdicts": "deny",
        "score alone": "allow",
        "signals alone": "deny",
    }
    high = {**decision, "score": 0.99, "families": ["intent", "scope"], "evidence": []}
    assert verdicts_of({**high, "verdict": "revoke"}, release)["score alone"] == "revoke"
    assert verdicts_of({**high, "marks": ["vague"]}, release)["score alone"] == "abstain"
    after = [{"family": "identity", "name": "after_revocation", "supports": True}]
    told = {**decision, "families": ["identity"], "evidence": after}
    assert verdicts_of(told, release)["signals alone"] == "allow"
