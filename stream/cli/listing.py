"""``driftline cases``: which cases are open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.errors import BrokerError
from stream.cli.options import Bootstrap, Prefix, settings

if TYPE_CHECKING:
    from stream.offline.open_cases import Listed


def cases(
    file: Annotated[
        list[Path] | None,
        typer.Option(
            "--file", help="Read dumps of agent.alerts.v1 instead of the bus, or `replay --all` (repeatable)."
        ),
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Those of this tenant alone.")] = None,
    agent: Annotated[str | None, typer.Option(help="Those of this agent alone, by its declared id.")] = None,
    severity: Annotated[
        str | None,
        typer.Option(
            help="Those of this severity or a higher one: informational, low, medium, high, critical."
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Closed ones too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line, for machines.")] = False,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """Open cases, the gravest first: whose they are, what happened, what was said of them.

    It reads the alerts up to now and ends. `driftline show CASE` tells a case's story, `driftline feedback CASE` closes it.
    """
    from stream.events import ALERTS, dumps, object_in
    from stream.offline.open_cases import cases as listed
    from stream.offline.trail import Files, Source
    from stream.shell.selection import severity_of

    configured = settings(bootstrap=bootstrap, prefix=prefix)
    least = severity_of(severity) if severity is not None else 0
    source: Source
    if file:
        source = Files(file, configured.base)
    else:
        from stream.shell.export import Bus

        source = Bus(configured)
    found = listed(object_in(record.value) for record in source.read((ALERTS,)))
    if not file and ALERTS in source.unread:
        raise BrokerError(source.unread[ALERTS])
    shown = [
        each
        for each in found
        if (everything or each.is_open)
        and tenant in (None, each.tenant)
        and agent in (None, each.agent)
        and each.severity_id >= least
    ]
    if as_json:
        for each in shown:
            typer.echo(dumps(each.document()).decode())
    else:
        _show(shown, len(found))


def _show(shown: Sequence[Listed], known: int) -> None:
    from rich.table import Table
    from rich.text import Text

    from stream.events import counted, rfc3339
    from stream.outbound.ocsf import SEVERITY
    from stream.shell.board import plain
    from stream.shell.screen import screen

    console = screen()
    table = Table(box=None, pad_edge=False)
    table.add_column("last (UTC)", width=16, overflow="fold")
    table.add_column("case, session, what", min_width=32, overflow="fold")  # people copy the case
    for each in shown:
        status = each.status if not each.verdict else f"{each.status}: {each.verdict}, {each.by}"
        last = rfc3339(each.last_ms)[:16].replace("T", " ")
        of = f"{each.tenant}: {each.session_id}, {each.agent or 'no agent'}"
        table.add_row(
            # Names and titles that others chose are no markup.
            Text(f"{last}\n{SEVERITY.get(each.severity_id, 'Unknown')}\n{plain(status, 120)}"),
            Text("\n".join((plain(each.case_id, 64), plain(of, 900), plain(each.title, 300)))),
        )
    if shown:
        console.print(table)
    console.print(f"{counted(len(shown), 'case')} of {known} that somebody was told of")
