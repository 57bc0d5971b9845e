"""The plots of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.detection.rates import SUITES, Scored
from benchmarks.detection.targets import held_back, reached, under_heads, values_of
from models.training import calibrate


def draw_roc(learn: Scored, path: Path) -> None:
    """ROC of each held-out suite at low rates, with the point that the transferred threshold gives."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    recorded = (learn.variant == "recorded") & ~learn.hard
    limit = learn.limit(0.01)
    colours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "black"]
    for name, colour in zip((*SUITES, "pooled"), colours, strict=True):
        here = recorded & (learn.suites if name == "pooled" else learn.domain == name)
        clean, bad = here & (learn.kind == "benign"), here & (learn.kind == "hijacked")
        if not clean.any() or not bad.any():
            continue
        weights = calibrate.task_weights(learn.task[clean].tolist())
        order = np.argsort(-learn.highest[clean])
        cuts = learn.highest[clean][order]
        fpr = np.concatenate([[0.0], np.cumsum(weights[order]) / weights.sum()])
        ranked = np.sort(learn.highest[bad])
        tpr = 1 - np.searchsorted(ranked, np.concatenate([cuts, [0]]), side="right") / len(ranked)
        axes.step(
            np.maximum(fpr, 1e-3),
            tpr,
            where="post",
            color=colour,
            lw=2 if name == "pooled" else 1.2,
            label=name,
        )
        at = (float((weights * (learn.highest[clean] >= limit[clean])).sum() / weights.sum()),
              float((learn.highest[bad] >= limit[bad]).mean()))  # fmt: skip
        axes.plot(max(at[0], 1e-3), at[1], "o", color=colour, ms=7, mec="white")
    axes.set(
        xscale="log",
        xlim=(1e-3, 0.3),
        ylim=(0, 1.01),
        xlabel="honest sessions flagged (each task weighs the same; left edge: 0.1 % or less)",
        ylabel="hijacked sessions detected",
        title="Suites held out; dots: threshold from other domains",
    )
    axes.axvline(0.01, color="grey", lw=0.8, ls=":")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def draw_bars(seeds: Sequence[dict[str, Any]], path: Path) -> None:
    """The rows of the table with their intervals and the bars to reach: detection left, false alarms right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.2), layout="constrained")
    for axes, most in zip(figure.subplots(1, 2, width_ratios=(4, 3)), (False, True), strict=True):
        shown = []
        for row, whole, head in under_heads():
            name = f"{head}: {row.name[2:]}" if row.name.startswith("…") else row.name
            try:
                found = row.had(seeds[0])
            except (KeyError, ValueError):
                continue
            if row.most == most and isinstance(found, Mapping) and found["rate"] is not None:
                shown.append((name.removesuffix(", TPR"), found, row, held_back(row, whole, seeds)))
        places = np.arange(len(shown))[::-1]
        for place, (_, found, row, back) in zip(places, shown, strict=True):
            mark = "no" if back else reached(float(np.mean(values_of(row.had, seeds))), row)
            colour = {"beyond": "#009e73", "yes": "#0072b2", "no": "#d55e00"}.get(mark, "#888888")
            low, high = found["interval"]
            axes.barh(place, 100 * found["rate"], color=colour, height=0.6)
            axes.plot([100 * low, 100 * high], [place, place], color="black", lw=1)
            for bar, style in ((row.reach, "-"), (row.beyond, ":")):
                if bar is not None:
                    axes.plot([100 * bar] * 2, [place - 0.42, place + 0.42], color="black", lw=1.4, ls=style)
        axes.set_yticks(places, [name for name, *_ in shown], fontsize=7.5)
        axes.set(
            title="false alarms, per cent" if most else "detected, per cent",
            xlim=(0, 10 if most else 100),
        )
        axes.grid(axis="x", alpha=0.3)
    figure.suptitle(
        "At thresholds from other domains. Thick mark: to reach; dotted: beyond. "
        "Green beyond, blue reached, red not (or at too many false alarms), grey no bar.",
        fontsize=9,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
