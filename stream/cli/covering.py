"""``driftline coverage``: what is not seen of which agent, and how its host mends that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.errors import BrokerError, InputError
from stream.cli.options import AsJson, Bootstrap, Prefix, settings
from stream.cli.terminal import say

if TYPE_CHECKING:
    from stream.events import Record
    from stream.offline.coverage import Agent, Coverage
    from stream.settings import Settings


def coverage(
    files: Annotated[
        list[Path] | None,
        typer.Option(
            "--file",
            help="In place of the bus: dumps of decisions, cases and events, or the output of `replay --all`; repeat it for more.",
        ),
    ] = None,
    events: Annotated[
        bool,
        typer.Option(
            "--events/--no-events",
            help="Read the events too: results, gaps and most ends are told by them alone.",
        ),
    ] = True,
    tenant: Annotated[str | None, typer.Option(help="This tenant alone.")] = None,
    as_json: AsJson = False,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """What is not seen: agents that declare no intent, send no results, use unknown tools or never end; the worst first.

    Reads decisions, cases and events as far back as their topics keep them. Its memory grows with the sessions in them.
    """
    from stream.events import dumps
    from stream.offline.coverage import Coverage
    from stream.policy import load_policy

    configured = settings(bootstrap=bootstrap, prefix=prefix)
    idle_minutes = load_policy(configured.policy_path).limits.idle_minutes
    made = Coverage(configured.input_topics, idle_minutes)
    made.take(
        record._replace(topic=configured.base(record.topic))
        for record in (_of_files(files) if files else _of_bus(configured, events))
    )
    if made.unread:
        say(f"{made.unread} records have another form than their topic's and count for nothing")
    agents = [agent for agent in made.agents() if tenant in (None, agent.tenant)]
    if not agents:
        raise InputError(
            "there is no session: nothing was judged yet, or the topics are empty; `driftline replay FILE --all` makes a file to read"
        )
    if "decisions" not in made.read:
        say("no decisions were read: what was judged, and against what, is not known")
    if as_json:
        document = made.document()
        document["agents"] = [agent.document() for agent in agents]
        typer.echo(dumps(document).decode())
    else:
        _show(made, agents)


def _of_files(files: list[Path]) -> Iterator[Record]:
    from stream.offline.files import bus_records

    for file in files:
        yield from bus_records(file)


def _of_bus(configured: Settings, events: bool) -> Iterator[Record]:
    from stream.events import CASES, DECISIONS
    from stream.shell import export

    yield from (record for record, _ in export.records(configured, DECISIONS))
    for base in (CASES, *(configured.input_topics if events else ())):
        try:
            yield from (record for record, _ in export.records(configured, base))
        except (
            BrokerError
        ) as error:  # the SOC's account may read neither; the report then says what it does not know
            say(f"{base} is left out: {error}")


def _show(made: Coverage, agents: list[Agent]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from stream.offline.coverage import MENDS
    from stream.shell.board import plain
    from stream.shell.screen import screen

    console = screen()
    document = made.document()
    table = Table(
        title=f"what is seen of each agent, {document['first']} to {document['last']}", title_justify="left"
    )
    table.add_column("tenant, agent", ratio=1, no_wrap=True)
    for name in ("sessions", "declared", "calls", "abstained", "results", "ended"):
        table.add_column(name, justify="right", min_width=len(name))
    for agent in agents:
        table.add_row(
            escape(plain(f"{agent.tenant}, {agent.name}")),
            str(agent.sessions),
            _share(agent.declared, agent.sessions),
            str(agent.calls),
            str(agent.abstained),
            "unread" if agent.results is None else _share(*agent.results),
            _share(agent.ended, agent.over),
        )
    console.print(table)
    for agent in agents:
        for each in agent.findings:
            who = plain(f"{agent.tenant}, {agent.name}: {each.what.replace('_', ' ')}")
            example = plain(f"such as {agent.such_as(each)}")
            console.print(
                f"{who}, {each.count} of {each.of}, {example}", markup=False, highlight=False, soft_wrap=True
            )
            console.print(f"    {MENDS[each.what]}", markup=False, highlight=False, soft_wrap=True)
    if not any(agent.findings for agent in agents):
        console.print("nothing is missing")


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "-"
