"""The report of ``driftline evaluate`` as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from models.training.ways import COLUMNS
from stream.events import printable
from stream.shell.screen import screen, whole

_TITLES = {
    "transferred": "thresholds set on the other domains, as they transfer",
    "flagged": "flagged at the model's thresholds",
}


def print_report(report: Mapping[str, Any]) -> None:
    """The report's main figures as aligned tables; everything is in ``--json``."""
    console = screen()
    made = report["made_by"]
    typer.echo(f"{made['what']} {made['standing']}\n")
    console.print(whole(_verdicts(report["ways"]), console), "")
    if report["base"]["sessions"].get("hijacked"):
        console.print(whole(_early(report["early"]), console), "")
    if report.get("by_suite"):
        console.print(whole(_detected(report), console), "")
    for name, title in _TITLES.items():
        if name in report:
            console.print(whole(_flagged(title, report[name]), console), "")
    for sentence in report["cannot_tell"]:
        typer.echo(sentence)
    typer.echo("More (slices, calibration, costs): --html FILE or --json")


def _verdicts(ways: Mapping[str, Mapping[str, Any]]) -> Table:
    """What verdicts alert and revoke, and what score and signals would by themselves."""
    table = Table(
        box=SIMPLE_HEAD, pad_edge=False, show_edge=False, title="as shipped, and by score [95 % by user task]"
    )
    table.add_column("what speaks")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for way, figures in ways.items():
        table.add_row(way, *(_share(figures[column]) for column in COLUMNS))
    return table


def _early(found: Mapping[str, Mapping[str, Any]]) -> Table:
    """When hijacks are first alerted on, beside a detector that alerts on the same share of calls at random."""
    table = Table(
        box=SIMPLE_HEAD, title="first alerts on hijacked sessions; at random: the same share of calls"
    )
    names = {
        "before_not_credited": "before the hijack acts",
        "on_the_step": "on that step",
        "at_or_before_harm": "at or before the harm",
        "from_the_step_on": "from the step on",
    }
    table.add_column("what speaks")
    for heading in (*names.values(), "calls later"):
        table.add_column(heading, justify="right")
    for way, one in found.items():
        late = [one[who]["calls_later_mean"] for who in ("detector", "random")]
        table.add_row(way, *(_share(one["detector"][name]) for name in names), _mean(late[0]))
        table.add_row("  at random", *(_bare(one["random"][name]) for name in names), _mean(late[1]))
    return table


def _mean(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _bare(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def _detected(report: Mapping[str, Any]) -> Table:
    """Hijacked sessions detected, by suite, at each rate of false alerts."""
    by_suite = report["by_suite"]
    rates = list(next(iter(by_suite.values()))["at"])
    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        title="hijacked sessions detected [95 % by user task]",
    )
    table.add_column("suite")
    for heading in ("AUC", *(f"at {100 * float(rate):g} % FPR" for rate in rates)):
        table.add_column(heading, justify="right")
    pooled = [(name, report[name]) for name in ("pooled", "null") if name in report]
    for name, row in [*sorted(by_suite.items()), *pooled]:
        auc = "-" if row["auc"] is None else f"{row['auc']:.3f}"
        shares = [_share(row["at"][rate]["detected"]) for rate in rates]
        # Below the name: columns of their own leave a narrow terminal no room for figures.
        sessions = f"{row['benign']} benign, {row['hijacked']} hijacked"
        table.add_row(f"{_told(name)}\n  {sessions}", auc, *shares)
    return table


def _share(detected: Mapping[str, Any]) -> str:
    """A share with its interval, in percent."""
    if detected["rate"] is None:
        return "-"
    interval: Sequence[float] = detected.get("interval") or detected.get("by_task") or detected["wilson"]
    low, high = interval
    return f"{100 * detected['rate']:.0f} % [{100 * low:.0f}-{100 * high:.0f}]"


def _flagged(title: str, sets: Mapping[str, Mapping[str, Any]]) -> Table:
    """How many sessions of each set and kind were flagged, of how many."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, title=title)
    for heading in ("set", "kind or budget", "flagged of"):
        table.add_column(heading)
    for place, kinds in sorted(sets.items()):
        for kind, counts in kinds.items():
            parts = [
                f"{name} {count['hits']}/{count['n']}"
                for name, count in sorted(counts.items())
                if isinstance(count, dict) and "n" in count and count["n"]
            ]
            table.add_row(_told(place), kind, ", ".join(parts))
    return table


def _told(name: str) -> str:
    """A name that others chose, as text: Rich takes what stands in square brackets for its own."""
    return escape(printable(name))
