"""``driftline privileges``: standing privilege by agent, and what of it may go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from models.errors import ConfigError, InputError
from stream.cli.options import EVENTS_WANTED, AsJson, Tools, settings
from stream.cli.terminal import reading, say

if TYPE_CHECKING:
    from rich.console import Console

    from stream.events import Record
    from stream.offline.privilege_diffs import Names, Provider
    from stream.offline.privileges import Agent, Report

FORMS = ("oauth", "keycloak", "aws")


def privileges(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="LOG...", help="Events, recorded sessions, or dumps of agent.events.v1; - is stdin."
        ),
    ],
    as_json: AsJson = False,
    form: Annotated[
        str | None,
        typer.Option("--as", help="Only what may go, to be applied: oauth (JSON), keycloak (kcadm), aws."),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(help="YAML: what providers call agents, scopes and roles (docs/privileges.md)."),
    ] = None,
    agent: Annotated[str | None, typer.Option(help="This agent alone.")] = None,
    sessions: Annotated[
        int, typer.Option(min=1, help="A scope may go if it went unused in so many sessions...")
    ] = 30,
    days: Annotated[int, typer.Option(min=1, help="... on so many days (UTC).")] = 7,
    tools: Tools = None,
) -> None:
    """Standing privilege by agent: granted, used, unused, and the least that would have sufficed.

    Judges the log as `replay` does: calls that the policy denies or revokes are no use. Which scopes a tool needs stands in the
    policy under `credentials`; what nothing tells is unknown, and unknown is never unused.
    """
    from stream.offline import lines

    lines.check(files, lines.is_input, EVENTS_WANTED, tools)
    from stream import bootstrap
    from stream.events import counted, dumps
    from stream.offline.privilege_diffs import load_names
    from stream.offline.privileges import NAMELESS, Enough, report

    if form is not None and form not in FORMS:
        raise ConfigError(f"--as is {form!r}; expected one of {', '.join(FORMS)}")
    if form is not None and as_json:
        raise ConfigError(
            "--json and --as exclude each other: leave --json away, or --as for the report as JSON"
        )
    if form is None and names is not None:
        raise ConfigError(f"--names is for what is to be applied: say with --as what, {', '.join(FORMS)}")
    if form in ("keycloak", "aws") and names is None:
        raise ConfigError(f"--as {form} needs --names: nothing else tells which brokers those are")
    known = load_names(names) if names is not None else None
    made = report(_records(files, tools), bootstrap.judge(settings()), Enough(sessions, days))
    known_agents = sorted({each.name or NAMELESS for each in made.agents.values()})
    if not known_agents:
        raise InputError("nothing was declared or called in the log")
    if agent is not None and agent not in known_agents:
        others = ", ".join(repr(name) for name in known_agents[:10])
        raise InputError(
            f"nothing of agent {agent} was declared or called in the log; its agents are {others}"
        )
    if made.refused:
        were = "was refused and counts" if made.refused == 1 else "were refused and count"
        say(f"{counted(made.refused, 'record')} {were} for nothing; `driftline replay --all` shows which")
    if form is not None:
        for _, each in sorted(made.agents.items()):
            if each.unlisted and agent in (None, each.name or NAMELESS):
                tools_ = ", ".join(sorted({tool for _, tool in each.unlisted}))
                say(
                    f"{each.name or NAMELESS}: no list in credentials.scopes names {tools_}; what only they need looks unused"
                )
        _print_diff(made, cast("Provider", form), known, agent)
        return
    if agent is not None:
        made.agents = {key: each for key, each in made.agents.items() if agent == (each.name or NAMELESS)}
    if as_json:
        typer.echo(dumps(made.document()).decode())
    else:
        _show(made)


def _records(files: list[Path], tools: Path | None) -> Iterator[tuple[Record, int | None]]:
    """The records of all files as one log."""
    from stream.offline.files import one_log

    with reading("judging", files) as heard:
        for _, record, partitions in one_log(files, tools, say, heard):
            yield record, partitions


def _print_diff(made: Report, form: Provider, names: Names | None, agent: str | None) -> None:
    import json

    from stream.offline import privilege_diffs as diffs

    found = diffs.clients(made, form, names, agent)
    if not found:
        where = "in the log" if names is None else f"that --names calls {form}"
        say(f"nothing for {agent}: it declared no credential of a broker {where}")
    if form == "oauth":
        typer.echo(json.dumps(diffs.oauth(found), indent=2))
        return
    assert names is not None
    if form == "keycloak":
        for line in diffs.keycloak(found, names):
            typer.echo(line)
        return
    for client in found:
        if client.name is None:
            who = ", ".join(client.agents)
            say(
                f"--names has no role for {who} at {client.broker}: add it to clients; what is printed goes by the agent's name"
            )
    policies, unknown = diffs.aws(found)
    for text in unknown:
        say(f"no policy for {text}")
    one = next(iter(policies.values())) if agent is not None and len(policies) == 1 else policies
    typer.echo(json.dumps(one, indent=2))


def _show(made: Report) -> None:
    from stream.events import counted, rfc3339
    from stream.shell.screen import screen

    console = screen()
    if made.first_ms is not None and made.last_ms is not None:
        console.print(
            f"{rfc3339(made.first_ms)} to {rfc3339(made.last_ms)}, policy {made.policy}. Unused scopes may go from "
            f"{counted(made.enough.sessions, 'session')} on {counted(made.enough.days, 'day')} on.",
            markup=False,
            highlight=False,
        )
    for _, each in sorted(made.agents.items()):
        _show_agent(console, made, each)


def _show_agent(console: Console, made: Report, agent: Agent) -> None:
    from rich.markup import escape
    from rich.table import Table

    from stream.events import counted
    from stream.offline.privileges import NAMELESS
    from stream.shell.board import plain

    def shown(text: object, limit: int = 80) -> str:
        return escape(plain(text, limit))

    not_counted = ", ".join(f"{n} {why}" for why, n in sorted(agent.not_counted.items())) or "none"
    console.print(
        f"\n[bold]{shown(agent.name or NAMELESS, 60)}[/] of {shown(agent.tenant, 40)}: "
        f"{counted(agent.sessions, 'session')} on {counted(len(agent.days), 'day')}, "
        f"{counted(agent.calls, 'call')} ({agent.alerted} alerted on); not counted: {not_counted}",
        highlight=False,
    )
    if agent.scopes:
        table = Table()
        table.add_column("broker, kind, scope", overflow="fold")
        table.add_column("state", no_wrap=True)
        for heading in ("calls", "maybe", "used in", "days"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("so", overflow="fold")
        for (broker, kind, scope), held in sorted(agent.scopes.items()):
            so = "keep"
            if held.state == "unknown":
                so = "list its tools"
            elif held.may_go(made.enough):
                so = f"may go: needed by {100 * held.at_most():.1f} % of sessions at most"
            elif held.state == "unused":
                so = "too little to go by"
            counts = (held.calls, held.undecided, f"{held.used_in} of {held.sessions}", len(held.days))
            table.add_row(shown(f"{broker} {kind} {scope}", 240), held.state, *map(str, counts), so)
        console.print(table)
    row = agent.document(made.enough)
    about = Table(show_header=False)
    about.add_column(no_wrap=True)
    about.add_column(overflow="fold")
    tools, actions = row["tools"], row["actions"]
    limits = f", {counted(agent.unrestricted, 'session')} without a limit" if agent.unrestricted else ""
    for name, texts in (
        ("actions granted", [", ".join(actions["granted"]) + limits] if actions["granted"] else []),
        ("actions used", [f"{action} {n}" for action, n in actions["used"].items()]),
        ("tools used", [f"{tool} {n}" for tool, n in tools["used"].items()]),
        ("tools unused", tools["unused"]),
        ("tools never offered", tools["never_offered"]),
        ("tools without scopes", [f"{e['broker']} {e['tool']}" for e in row["tools_without_scopes"]]),
        ("resources named", row["resources"]["named_by_calls"]),
        ("resources unknown", row["resources"]["unknown"]),
        ("data used", [f"{name} {n}" for name, n in row["data_classes"]["used"].items()]),
        ("data unused", row["data_classes"]["unused"]),
        ("data unknown", row["data_classes"]["unknown"]),
        ("credentials", [_life(each) for each in row["credentials"]]),
        (
            "undeclared credentials",
            [_reference(e) + f" ({e['calls']})" for e in row["undeclared_credentials"]],
        ),
        ("long-lived", [f"{_reference(each)}: {each['why']}" for each in row["long_lived"]]),
        ("outlive their task", [_left(each) for each in row["outlive_their_task"]]),
    ):
        if texts:
            more = f", and {len(texts) - 20} more (--json)" if len(texts) > 20 else ""
            about.add_row(name, ", ".join(shown(text, 160) for text in texts[:20]) + more)
    console.print(about)


def _reference(row: dict[str, str]) -> str:
    return f"{row['broker']} {row['kind']} {row['value']}"


def _left(row: dict[str, Any]) -> str:
    left = row["minutes_left"]
    return f"{_reference(row)}: " + (_lasts(left) if left is not None else "no end was declared")


def _life(row: dict[str, Any]) -> str:
    life = row["life_minutes"]
    least, most = life["least"], life["most"]
    spread = "" if least == most else f"{_lasts(least)} to "
    lives = f"lives {spread}{_lasts(most)}" if most is not None else ""
    endless = f"{row['without_an_end']} without an end" if row["without_an_end"] else ""
    said = ", ".join(text for text in (lives, endless) if text)
    return f"{row['declared']} of {row['broker']} {row['kind']} ({said}; needed for {_lasts(row['needed_minutes'])})"


def _lasts(minutes: float) -> str:
    """A duration as all of the table tells one."""
    from stream.events import counted

    return counted(minutes, "minute")
