"""Commands on files that need no broker: what the judge makes of them, and other formats into bus events."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from models.errors import InputError
from stream.cli.options import EVENTS_WANTED, Mode, Tools, checked_mode, settings
from stream.cli.terminal import reading, say

imports = typer.Typer(no_args_is_help=True, help="Other formats into bus events.")


def replay(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Events, recorded sessions or a log; - is stdin."),
    ],
    everything: Annotated[bool, typer.Option("--all", help="Every output, not decisions alone.")] = False,
    tools: Tools = None,
    mode: Mode = None,
) -> None:
    """Judge files without a broker; decisions as JSON lines.

    Several files are judged as one log, in the order given, as `cat` would join them: a session goes on in the next file, and an
    event that is in two of them counts once. To judge each on its own, run the command for each.
    """
    from stream.offline import lines

    checked_mode(mode)
    # With --all, what is refused is shown, whatever it is.
    lines.check(files, None if everything else lines.is_input, EVENTS_WANTED, tools)
    from stream.offline.replay import run_replay

    with reading("judging", files, beside_data=True) as heard:
        run_replay(files, everything, tools, settings(), sys.stdout, mode=mode, heard=heard)
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
