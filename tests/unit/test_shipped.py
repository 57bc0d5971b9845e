"""The figures as shipped, the consequences that signals ship with, and the pages that quote them agree."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import shipped
from stream import bootstrap
from stream.settings import Settings
from stream.signals.registry import SIGNALS

ROOT = Path(__file__).parents[2]
FIGURES: dict[str, Any] = json.loads(shipped.FIGURES.read_text(encoding="utf-8"))
TIMES = 10
"""How much likelier in hijacked sessions a signal must be that alerts by itself."""
SPOKEN = [
    (signal.id, name)
    for signal in SIGNALS
    for name, by_label in FIGURES["signals"].items()
    if signal.shipped in ("alert", "deny") and signal.id in by_label["benign"] and "hijacked" in by_label
]
"""Signals that alert by themselves, and the sets with hijacked sessions that they were counted on."""


@pytest.mark.parametrize(("signal", "name"), SPOKEN)
def test_a_signal_that_alerts_by_itself_is_ten_times_likelier_in_hijacked_sessions(
    signal: str, name: str
) -> None:
    by_label = FIGURES["signals"][name]
    assert by_label["hijacked"][signal] >= TIMES * by_label["benign"][signal]


def test_the_figures_are_of_the_release_that_ships() -> None:
    assert FIGURES["release"] == bootstrap.release(Settings()).name
    policy = bootstrap.release(Settings(), mode="enforce").policy
    assert FIGURES["policy"] == f"{policy.name}@{policy.digest}"


def test_the_page_has_the_tables_of_the_figures() -> None:
    text = (ROOT / "docs" / "detection.md").read_text(encoding="utf-8")
    for mark, table in shipped.tables(FIGURES).items():
        assert f"<!-- {mark} -->\n{table}\n<!-- /{mark} -->" in text


def test_the_readme_quotes_the_figures() -> None:
    (unseen,) = [one for name, one in FIGURES["unseen"].items() if name == "agentdyn_dailylife"]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for way in ("verdicts", "score alone"):
        figures = unseen["ways"][way]
        quoted = [figures[column]["per_cent"] for column in ("hijacked alerted", "honest alerted")]
        row = next(line for line in text.splitlines() if line.startswith(f"| {way}"))
        assert re.findall(r"\b\d+\.\d\b", row)[:2] == [f"{value:.1f}" for value in quoted]


def test_the_readme_quotes_the_figures_of_long_work() -> None:
    figures = FIGURES["unseen"][shipped.CHAINS]["ways"]["verdicts"]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| long work"))
    quoted = [f"{figures[column]['per_cent']:.1f}" for column in ("hijacked alerted", "honest alerted")]
    assert re.findall(r"\b\d+\.\d\b", row) == quoted


def test_what_score_and_signals_would_each_have_led_to_is_told_apart() -> None:
    judge = bootstrap.judge(Settings(), mode="enforce")
    decision = {
        "verdict": "deny",
        "score": 0.0,
        "families": ["scope"],
        "marks": [],
        "evidence": [{"family": "scope", "name": "action_not_allowed", "supports": True}],
    }
    assert shipped.verdicts_of(decision, judge) == {
        "verdicts": "deny",
        "score alone": "allow",
        "signals alone": "deny",
    }
    high = {**decision, "score": 0.99, "families": ["intent", "scope"], "evidence": []}
    assert shipped.verdicts_of({**high, "verdict": "revoke"}, judge)["score alone"] == "revoke"
    assert shipped.verdicts_of({**high, "marks": ["vague"]}, judge)["score alone"] == "abstain"
    after = [{"family": "identity", "name": "after_revocation", "supports": True}]
    told = {**decision, "families": ["identity"], "evidence": after}
    assert shipped.verdicts_of(told, judge)["signals alone"] == "allow"
