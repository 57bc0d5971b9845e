"""Commands on files that need no broker: what the judge makes of them, and other formats into bus events."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from models.errors import InputError
from stream.cli.options import Mode, Tools, checked_mode, settings
from stream.cli.terminal import say

imports = typer.Typer(no_args_is_help=True, help="Other formats into bus events.")


def replay(
    file: Annotated[Path, typer.Argument(help="Events, recorded sessions or a log; - is stdin.")],
    everything: Annotated[bool, typer.Option("--all", help="Every output, not decisions alone.")] = False,
    tools: Tools = None,
    mode: Mode = None,
) -> None:
    """Judge a file without a broker; decisions as JSON lines."""
    from stream.offline.replay import run_replay

    run_replay(file, everything, tools, settings(), sys.stdout, mode=checked_mode(mode))
    sys.stdout.flush()


@imports.command()
def recorded(
    file: Annotated[Path, typer.Argument(help="Recorded sessions; - is stdin.")],
    run: Annotated[str, typer.Option("--as", help="Prefix every id.")] = "",
    tools: Tools = None,
) -> None:
    """Recorded sessions as bus events, JSON lines."""
    from stream.events import dumps
    from stream.shell.send import recorded_events

    refused: list[str] = []
    made = 0
    for event in recorded_events(file, refused.append, tools=tools, run=run):
        sys.stdout.buffer.write(dumps(event) + b"\n")
        made += 1
    sys.stdout.buffer.flush()
    if refused:
        text = f"{len(refused)} lines were refused; the first is {refused[0]}"
        if not made:
            raise InputError(f"{file} holds no recorded session: {text}")
        say(text)
