"""``driftline drift-report``: traffic of now beside that of before, and whether to calibrate or train again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.errors import ConfigError, InputError, brings
from stream.cli.exits import FINDINGS
from stream.cli.options import AsJson, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream.offline.drift import Advice, Chunk, Moved, Report

SHOWN = 8
"""Features and tools that are shown of a tenant; --json has all."""


def drift_report(
    now: Annotated[
        list[Path], typer.Argument(help="Rows of calls of now, as driftline features writes them.")
    ],
    against: Annotated[list[Path], typer.Option(help="Rows of the time to compare with (repeatable).")],
    model: Annotated[
        Path | None,
        typer.Option(help="The release whose promise the alarm watches (default: the one in use)."),
    ] = None,
    labels: Annotated[
        list[Path] | None,
        typer.Option(help="Labels, for how many alerts people confirmed (repeatable)."),
    ] = None,
    metrics: Annotated[
        Path | None,
        typer.Option(
            help="Also write it as Prometheus metrics, for a node exporter's textfile collector (.prom)."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What changed since another time, by tenant, feature and tool, and whether that calls for another calibration or training.

    Exit 1 where the rule suggests something. It never trains: docs/drift-report.md has the rule.
    """
    try:
        from stream.offline import parquet
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"driftline drift-report needs {error.name}, which the extra data brings: {brings('data')}"
        ) from error
    from models.release import registry
    from stream.events import dumps
    from stream.offline import drift, drift_metrics, promise
    from stream.offline.labels import merging, store

    def rows(paths: list[Path]) -> Iterator[Chunk]:
        return (chunk for path in paths for chunk in parquet.groups(path))

    loaded = registry.load(model or settings().model_dir)
    words = merging.merged(store.read(labels or [])).labels
    report = drift.compare(
        drift.period(rows(against)),
        drift.period(rows(now)),
        promise.read(loaded.manifest),
        loaded.digest[:12],
        words,
    )
    if not report.tenants:
        raise InputError("there is no call in the rows of now: give those of a time with traffic")
    if metrics is not None:
        drift_metrics.write(report, metrics)
    if as_json:
        typer.echo(dumps(drift.document(report)).decode())
    else:
        _show(report)
    if any(line.holds for line in drift.advice(report)):
        raise typer.Exit(FINDINGS)


def _show(report: Report) -> None:
    from stream.offline.drift import advice
    from stream.offline.promise import ALL

    for one in report.tenants:
        _show_tenant(one)
    for line in advice(report):
        if line.tenant == ALL:
            typer.echo(f"all tenants together:\n{_told(line)}")


def _show_tenant(one: Moved) -> None:
    from rich.markup import escape
    from rich.table import Table

    from stream.offline.drift import FEWEST_SESSIONS, of_tenant
    from stream.shell.board import plain
    from stream.shell.screen import screen, whole

    console = screen()
    sizes = len(one.before.sessions), len(one.now.sessions)
    console.print(
        f"tenant {escape(plain(one.tenant))}: {sizes[1]} sessions, {sizes[0]} before; not judged "
        f"{100 * one.now.share('abstain'):.1f} % of the calls, {100 * one.before.share('abstain'):.1f} before"
    )
    table = Table("feature")
    for name in ("PSI", "beyond chance"):
        table.add_column(name, justify="right")
    for name, of in (("score", one.scores), *one.features[:SHOWN]) if one.before.calls else ():
        table.add_row(name, f"{of.psi:.3f}", f"{of.beyond_chance:.3f}")
    if not one.before.calls:
        table.add_row("all", "no calls before", "")
    console.print(whole(table, console))
    table = Table("tool")
    for name in ("% of calls", "before", "score beyond chance"):
        table.add_column(name, justify="right")
    for tool, before, now, of in one.tools[:SHOWN]:
        lacking = "no calls now" if not now else "no calls before"
        moved = f"{of.beyond_chance:.3f}" if before and now else lacking
        table.add_row(escape(plain(tool)), f"{100 * now:.1f}", f"{100 * before:.1f}", moved)
    console.print(whole(table, console))
    if min(sizes) < FEWEST_SESSIONS:
        console.print(
            f"fewer than {FEWEST_SESSIONS} sessions at one of the times: nothing is suggested by features, tools or abstention"
        )
    for line in of_tenant(one):
        typer.echo(_told(line))


def _told(line: Advice) -> str:
    holds = f"yes: {line.suggests}" if line.holds else "no"
    return f"  {line.rule}: {line.found}: {holds}"
