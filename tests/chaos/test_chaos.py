"""The slice of the chaos suite that every build plays; ``make chaos`` plays all of it.

The seed is fixed, so that the same sessions meet the same faults; what the operating system and Kafka make of it
is never the same twice. The command runs as a process of its own: its clients and threads are none of pytest's.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from stream.events import CASES, DECISIONS, QUARANTINE, REVOCATIONS
from stream.shell import stage

ROOT = Path(__file__).parents[2]
SEED, RATE, LIMIT_S = 7, 100, 1500
Runs = dict[str, dict[str, Any]]

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(1560)]


def _played(brokers: int, scenarios: list[str], directory: Path) -> Runs:
    """Runs by scenario, in their short form. Live and replay were compared, each difference is told."""
    out = directory / "chaos.json"
    options = ["--seed", str(SEED), "--rate", str(RATE), "--rounds", "0", "--brokers", str(brokers)]
    command = [sys.executable, "-W", "ignore", "-m", "tests.chaos.run", *options, "--out", str(out)]
    done = subprocess.run(
        [*command, "--only", *scenarios], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S
    )
    sys.stdout.write(f"seed {SEED}\n{done.stderr}")
    runs = {run["scenario"]: run for run in json.loads(out.read_text())["runs"]}
    assert runs.keys() == set(scenarios)
    return runs


@pytest.fixture(scope="module")
def on_one(jars: None, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return _played(1, ["kill-at-points", "zombie", "scale"], tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def on_three(jars: None, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return _played(3, ["kill-leader"], tmp_path_factory.mktemp("three"))


def sound(run: dict[str, Any]) -> dict[str, Any]:
    """`run`, which left what replay says, and not nothing."""
    assert run["ok"], f"seed {SEED}: {run['failures']}"
    assert min(run["counts"][base] for base in (DECISIONS, CASES, REVOCATIONS, QUARANTINE)) > 0
    assert run["states"] > 0
    return run


def test_worker_killed_at_every_named_point_leaves_what_replay_says(on_one: Runs) -> None:
    run = sound(on_one["kill-at-points"])
    assert {fault["point"] for fault in run["faults"]} == set(stage.POINTS)
    assert run["exits"]["-9"] >= len(stage.POINTS)
    assert run["facts"]["releases"] == 1


def test_worker_paused_beyond_its_session_overwrites_nothing(on_one: Runs) -> None:
    run = sound(on_one["zombie"])
    assert Counter(fault["action"] for fault in run["faults"]) == {"stop": 3, "resume": 3}


def test_workers_added_and_removed_change_no_decision(on_one: Runs) -> None:
    run = sound(on_one["scale"])
    assert run["points"]["judge.revoked"] > 0
    assert run["exits"] == {"0": 3}


def test_leader_killed_loses_no_decision(on_three: Runs) -> None:
    assert len(sound(on_three["kill-leader"])["faults"]) == 1
