"""The report of ``driftline evaluate`` as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer
from rich.table import Table

from stream.shell.screen import screen

_TITLES = {
    "transferred": "thresholds set on the other domains, as they transfer",
    "flagged": "flagged at the model's thresholds",
}


def print_report(report: Mapping[str, Any]) -> None:
    """The report's main figures as aligned tables; everything is in ``--json``."""
    console = screen()
    if report.get("by_suite"):
        console.print(_detected(report))
    for name, title in _TITLES.items():
        if name in report:
            console.print(_flagged(title, report[name]))
    typer.echo("More (by attack, how early, calibration): --json")


def _detected(report: Mapping[str, Any]) -> Table:
    """Hijacked sessions detected, by suite, at each rate of false alerts."""
    by_suite = report["by_suite"]
    rates = list(next(iter(by_suite.values()))["at"])
    table = Table(title="hijacked sessions detected [95 % by user task]")
    table.add_column("suite")
    for heading in ("benign", "hijacked", "AUC", *(f"at {100 * float(rate):g} % FPR" for rate in rates)):
        table.add_column(heading, justify="right")
    pooled = [(name, report[name]) for name in ("pooled", "null") if name in report]
    for name, row in [*sorted(by_suite.items()), *pooled]:
        auc = "-" if row["auc"] is None else f"{row['auc']:.3f}"
        shares = [_share(row["at"][rate]["detected"]) for rate in rates]
        table.add_row(name, str(row["benign"]), str(row["hijacked"]), auc, *shares)
    return table


def _share(detected: Mapping[str, Any]) -> str:
    """A share with its interval, in percent."""
    if detected["rate"] is None:
        return "-"
    interval: Sequence[float] = detected.get("by_task") or detected["wilson"]
    low, high = interval
    return f"{100 * detected['rate']:.0f} % [{100 * low:.0f}-{100 * high:.0f}]"


def _flagged(title: str, sets: Mapping[str, Mapping[str, Any]]) -> Table:
    """How many sessions of each set and kind were flagged, of how many."""
    table = Table(title=title)
    for heading in ("set", "kind or budget", "flagged of"):
        table.add_column(heading)
    for place, kinds in sorted(sets.items()):
        for kind, counts in kinds.items():
            parts = [
                f"{name} {count['hits']}/{count['n']}"
                for name, count in sorted(counts.items())
                if isinstance(count, dict) and "n" in count and count["n"]
            ]
            table.add_row(place, kind, ", ".join(parts))
    return table
