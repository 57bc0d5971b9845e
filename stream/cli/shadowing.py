"""``driftline shadow-report``: what enforcement would have done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.errors import InputError
from stream.cli.options import AsJson, Bootstrap, Prefix, settings

if TYPE_CHECKING:
    from stream.offline.shadow import Report


def shadow_report(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="A dump of agent.cases.v1, or the output of `replay --all`; - is stdin (default: the bus)."
        ),
    ] = None,
    as_json: AsJson = False,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """What enforcement would have done in the last two weeks: whom it would have revoked, what, and why."""
    from stream.events import CASES, dumps
    from stream.offline import shadow

    if file is None:
        from stream.shell import export

        configured = settings(bootstrap=bootstrap, prefix=prefix)
        made = shadow.report(record for record, _ in export.records(configured, CASES))
    else:
        made = shadow.report(shadow.cases_in(file))
    if not made.told:
        raise InputError("there is no case: nothing was judged yet, or no session was other than quiet")
    if as_json:
        typer.echo(dumps(made.document()).decode())
    else:
        _show(made)


def _show(made: Report) -> None:
    from rich.table import Table

    from stream.shell.board import plain
    from stream.shell.screen import screen

    console = screen()
    table = Table(
        title=f"what enforcement would have done, {made.first} to {made.last}",
        title_justify="left",
        show_header=False,
    )
    for name, value in (
        ("sessions with a case", len(made.told)),
        ("alerted", len(made.alerted)),
        ("revoked for drift", len(made.revoked)),
        ("of these held by the circuit breaker", len(made.held)),
        ("credentials revoked for drift", _counted(made.credentials)),
        ("credentials revoked as tasks ended", _counted(made.ended)),
        (
            "agents with most revocations",
            ", ".join(f"{plain(agent, 30)} {n}" for agent, n in made.agents.most_common(5)) or "-",
        ),
    ):
        table.add_row(name, str(value))
    if made.enforced:
        table.add_row("of these judged in enforce already", str(made.enforced))
    console.print(table)
    if made.examples:
        shown = Table(title="the highest scores among them", title_justify="left")
        for name in ("session", "agent", "score", "calls", "why"):
            shown.add_column(name, overflow="fold")
        for case in made.examples:
            calls = " > ".join(step.tool for step in case.path[-4:])
            shown.add_row(
                plain(case.session_id, 40),
                plain(case.agent or "", 30),
                f"{case.score:.2f}",
                plain(calls, 80),
                plain(case.reason, 160),
            )
        console.print(shown)


def _counted(counts: dict[tuple[str, str], int]) -> str:
    if not counts:
        return "0"
    parts = ", ".join(f"{broker} {kind} {n}" for (broker, kind), n in sorted(counts.items()))
    return f"{sum(counts.values())} ({parts})"
