"""One run of the chaos command for tests, and what makes it a sound one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from stream.events import CASES, DECISIONS, QUARANTINE, REVOCATIONS

ROOT = Path(__file__).parents[2]
SEED, RATE, LIMIT_S = 7, 100, 1500
Runs = dict[str, dict[str, Any]]


def played(brokers: int, scenarios: list[str], directory: Path) -> Runs:
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


def sound(run: dict[str, Any]) -> dict[str, Any]:
    """`run`, which left what replay says, and not nothing."""
    assert run["ok"], f"seed {SEED}: {run['failures']}"
    assert min(run["counts"][base] for base in (DECISIONS, CASES, REVOCATIONS, QUARANTINE)) > 0
    assert run["states"] > 0
    return run
