"""Detection as a picture: ROC at low false-positive rates, and reliability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.forest.units import Ints
from models.release.registry import NEVER
from models.training.calibrate import session_maxima
from models.training.dataset import Calls


def draw(scores: Ints, calls: Calls, reliability: Sequence[Mapping[str, float]], path: Path) -> None:
    """ROC, and `reliability` as `models.training.evaluate.calibration` has it, as one PNG."""
    from matplotlib.figure import Figure  # slow to import, and only wanted here

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    _roc(left, session_maxima(scores, calls), calls)
    _reliability(right, reliability)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140)


def _roc(axes: Any, highest: Ints, calls: Calls) -> None:
    kinds = np.array([session.kind for session in calls.sessions], dtype=np.str_)
    domains = np.array([session.domain for session in calls.sessions], dtype=np.str_)
    attacked = sorted(set(domains[kinds == "hijacked"].tolist()))
    parts = [("pooled", np.isin(domains, attacked)), *((name, domains == name) for name in attacked)]
    for name, chosen in parts:
        negatives = np.sort(highest[chosen & (kinds == "benign")])
        positives = np.sort(highest[chosen & (kinds == "hijacked")])
        if not len(negatives) or not len(positives):
            continue
        limits = np.arange(NEVER + 1)
        flagged_benign = 1 - np.searchsorted(negatives, limits, side="left") / len(negatives)
        detected = 1 - np.searchsorted(positives, limits, side="left") / len(positives)
        style = {"linewidth": 2.4, "color": "black"} if name == "pooled" else {"linewidth": 1.2}
        axes.plot(np.maximum(flagged_benign, 2e-4), detected, label=f"{name} ({len(positives)})", **style)
    axes.set(
        xscale="log",
        xlim=(2e-4, 1),
        ylim=(0, 1.01),
        xlabel="benign sessions flagged",
        ylabel="hijacked sessions detected",
        title="Suites the model never saw" if attacked else "No hijacked sessions",
    )
    axes.grid(alpha=0.3)
    if attacked:
        axes.legend(loc="lower right", fontsize=8)


def _reliability(axes: Any, bins: Sequence[Mapping[str, float]]) -> None:
    axes.plot([1e-4, 1], [1e-4, 1], color="grey", linewidth=0.8)
    points = [(max(part["said"], 1e-4), max(part["true"], 1e-4)) for part in bins]
    axes.plot([said for said, _ in points], [true for _, true in points], "o-", color="black")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="score said",
        ylabel="share of drift",
        title="Reliability, single calls",
    )
    axes.grid(alpha=0.3)
