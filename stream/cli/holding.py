"""``driftline held``: revocations that the circuit breaker holds, and what a person rules on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.errors import ConfigError, InputError
from stream.cli.exits import FINDINGS
from stream.cli.options import Bootstrap, Prefix, settings, signing_key

if TYPE_CHECKING:
    from stream.shell.held import Waiting


def held(
    breaker: Annotated[
        str | None, typer.Argument(help="An opening of the breaker, as its alert names it.")
    ] = None,
    send: Annotated[bool, typer.Option("--send", help="The sessions did drift: send what is held.")] = False,
    drop: Annotated[bool, typer.Option("--drop", help="They are honest: drop what is held.")] = False,
    key: Annotated[
        Path | None,
        typer.Option(
            envvar="DRIFTLINE_RESPONDER_KEY_FILE",
            help="Private JWK that signs rulings; workers trust its public half.",
        ),
    ] = None,
    by: Annotated[str | None, typer.Option(help="Who rules, for the record.")] = None,
    wait: Annotated[
        float, typer.Option(min=0, max=3600, help="Seconds to wait until the workers have carried it out.")
    ] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="What is held as JSON, for machines.")] = False,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """Show the revocations that the circuit breaker holds; with --send or --drop rule on those of one opening."""
    from stream.shell.held import waiting

    if send and drop:
        raise ConfigError("--send and --drop exclude each other")
    configured = settings(bootstrap=bootstrap, prefix=prefix)
    found = [each for each in waiting(configured) if breaker in (None, each.breaker)]
    if breaker is not None and not found:
        raise InputError(
            f"nothing is held by {breaker}: it was ruled on before, or its id is another; `driftline held` lists the openings"
        )
    if not (send or drop):
        if as_json:
            from stream.events import dumps

            typer.echo(dumps([each._asdict() for each in found]).decode())
        else:
            _show(found, breaker)
        return
    lacking = [name for name, given in (("the opening", breaker), ("--key", key), ("--by", by)) if not given]
    if breaker is None or key is None or not by:
        raise ConfigError(f"to rule, name {' and '.join(lacking)} too; `driftline held` lists the openings")
    from stream import resolutions
    from stream.outbound.breaker import Resolution
    from stream.shell.held import carried_out
    from stream.shell.send import send_signed

    signing = signing_key(key)
    if len(by) > resolutions.MAX_BY or not by.isprintable():
        raise ConfigError(f"--by is no name of at most {resolutions.MAX_BY} printable characters")
    resolution = Resolution(found[0].tenant, breaker, "send" if send else "drop", by)
    token = resolutions.sign(resolution, configured.issuer, signing)
    send_signed(configured, "held.resolved", resolution.tenant, token)
    did = "sent" if send else "dropped"
    if not wait:
        typer.echo(f"the revocations of {len(found)} sessions will be {did}; the alert closes when they are")
    elif (ruled := carried_out(configured, breaker, wait)) is not None:
        if ruled[0] != resolution.action:
            typer.echo(f"{ruled[1]} ruled before you: {ruled[0]}; nothing was left to be {did}")
            raise typer.Exit(FINDINGS)
        typer.echo(f"the revocations of {len(found)} sessions are {did}, and the alert is closed")
    else:
        typer.echo(
            f"no worker has carried the ruling out within {wait:g} s. Does one run? If so it put the ruling into quarantine, reason "
            "control: its DRIFTLINE_RESPONDER_JWKS lacks this key, or DRIFTLINE_ISSUER is another there than here"
        )
        raise typer.Exit(FINDINGS)


def _show(found: Sequence[Waiting], breaker: str | None) -> None:
    """Print what is held: openings in a table, or the cases of one."""
    from rich.table import Table
    from rich.text import Text

    from stream.shell.board import plain
    from stream.shell.screen import screen

    def cell(text: str, most: int) -> Text:
        return Text(plain(text, most))  # agents choose names, and a name is no markup

    console = screen()
    if not found:
        console.print("nothing is held")
        return
    if breaker is None:
        table = Table("tenant", "sessions", "agents", "since")
        table.add_column("breaker", min_width=32, no_wrap=True)  # people copy it
        for name in dict.fromkeys(each.breaker for each in found):
            some = [each for each in found if each.breaker == name]
            agents = len({each.agent for each in some})
            table.add_row(
                cell(some[0].tenant, 40), str(len(some)), str(agents), cell(some[0].time, 30), cell(name, 64)
            )
    else:
        table = Table("session", "agent", "time", "tool", "credentials", "why")
        for each in found:
            table.add_row(
                cell(each.session_id, 40),
                cell(each.agent, 30),
                cell(each.time, 30),
                cell(each.tool, 40),
                cell(", ".join(each.credentials), 80),
                cell(each.reason, 200),
            )
        judged = dict.fromkeys(f"{each.release}, policy {each.policy}" for each in found)
        table.caption = cell(f"judged by {'; '.join(judged)}", 200)
    console.print(table)
