"""The ``driftline`` command: its groups of commands put together.

Data goes to stdout, progress and errors to stderr. What a command needs is imported when it runs, so that
``--help`` is quick and ``replay`` needs no broker client.
"""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from models.errors import DriftlineError
from stream.cli import (
    assisting,
    auditing,
    backtesting,
    bridging,
    challenging,
    consoling,
    covering,
    drifting,
    features,
    feedback,
    gating,
    holding,
    importing,
    labelling,
    learning,
    listing,
    offline,
    playing,
    privileges,
    proxying,
    releasing,
    running,
    shadowing,
    topics,
    tracing,
    training,
    transmitting,
    verifying,
)
from stream.cli.exits import INTERRUPTED, REFUSED, Commands, exit_code
from stream.cli.options import warn_of_misspelt
from stream.cli.terminal import say

app = typer.Typer(
    name="driftline",
    cls=Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its tables cut names of options and variables on 80 columns
)
HAVE_A_VOICE = ("worker", "advise")
"""Commands that warn of settings through their log, which may be JSON."""


def _print_version(asked: bool) -> None:
    if not asked:
        return
    from importlib.metadata import version

    from stream.events import CORE

    typer.echo(f"driftline {version('driftline')}, core {CORE}")
    raise typer.Exit


@app.callback()
def driftline(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="The package's version and the core's."
        ),
    ] = False,
) -> None:
    """Judges what AI agents do against the intent they declared, on Kafka, while they do it."""
    if ctx.invoked_subcommand not in HAVE_A_VOICE:
        warn_of_misspelt(lambda text: say(f"WARNING: {text}"))


for command in (
    running.demo,
    running.broker,
    running.worker,
    running.advise,
    bridging.bridge,
    transmitting.transmit,
    tracing.otel,
    holding.held,
    listing.cases,
    feedback.feedback,
    shadowing.shadow_report,
    drifting.drift_report,
    privileges.privileges,
    auditing.audit,
    auditing.show,
    consoling.console,
    assisting.mcp,
    covering.coverage,
    playing.send,
    playing.watch,
    offline.replay,
    features.features,
    backtesting.backtest,
    training.train,
    learning.calibrate,
    learning.evaluate,
):
    app.command()(command)
app.command(name="import")(importing.import_)
# Behind the server's name all is its own, its options too.
app.command(name="mcp-proxy", context_settings={"allow_interspersed_args": False})(proxying.mcp_proxy)
app.add_typer(topics.app, name="topics", cls=Commands)
app.add_typer(labelling.app, name="labels", cls=Commands)
app.add_typer(gating.app, name="gate", cls=Commands)
app.add_typer(releasing.app, name="release", cls=Commands)
app.add_typer(challenging.app, name="challengers", cls=Commands)
app.add_typer(verifying.app, name="verify", cls=Commands)


def main() -> None:
    """Run the command; every foreseen failure becomes one sentence on stderr and its exit code."""
    try:
        app()
    except DriftlineError as error:
        sys.stderr.write(f"driftline: {error}\n")
        raise SystemExit(exit_code(error)) from None
    except json.JSONDecodeError as error:
        sys.stderr.write(f"driftline: the input is not JSON: {error}\n")
        raise SystemExit(REFUSED) from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


if __name__ == "__main__":
    main()
