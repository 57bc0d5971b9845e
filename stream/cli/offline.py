"""``driftline replay``: what the judge makes of a file, without a broker."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from stream.cli.options import EVENTS_WANTED, Mode, Tools, checked_mode, settings
from stream.cli.terminal import reading


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

    Judged by the bundled model and policy, or by those that DRIFTLINE_MODEL_DIR and DRIFTLINE_POLICY_PATH name.
    """
    from stream.offline import lines

    checked_mode(mode)
    # With --all, what is refused is shown, whatever it is.
    lines.check(files, None if everything else lines.is_input, EVENTS_WANTED, tools)
    from stream.offline.replay import run_replay

    with reading("judging", files, beside_data=True) as heard:
        run_replay(files, everything, tools, settings(), sys.stdout, mode=mode, heard=heard)
    sys.stdout.flush()
