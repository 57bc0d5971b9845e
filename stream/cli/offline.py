"""``driftline replay``: what the judge makes of a file, without a broker."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from stream.cli.options import Mode, Tools, checked_mode, settings


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
