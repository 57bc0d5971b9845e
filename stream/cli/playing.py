"""Commands at the bus's two ends: files played onto it, and what is decided watched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.errors import InputError
from stream.cli.exits import FINDINGS
from stream.cli.options import EVENTS_WANTED, Bootstrap, Prefix, Tools, settings
from stream.cli.terminal import progress, reading, say

if TYPE_CHECKING:
    from stream.events import Record
    from stream.offline.lines import Heard
    from stream.settings import Settings
    from stream.shell.send import Message


def send(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Events, recorded sessions or a log; - is stdin.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Events a second (default: as fast as it goes).")
    ] = None,
    run: Annotated[str, typer.Option("--as", help="Prefix every id, to play a file once more.")] = "",
    from_quarantine: Annotated[
        bool,
        typer.Option(
            "--from-quarantine", help="Send quarantined records again (FILE: a dump that was mended)."
        ),
    ] = False,
    tools: Tools = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """Play files onto the bus.

    What `replay` refuses as a whole is refused here too (exit 3), and nothing of it is sent; of standard input that is known at its
    end alone.
    """
    from stream.offline import lines

    if not from_quarantine:
        lines.check(files or [], lines.is_input, EVENTS_WANTED, tools)
    from stream.shell import send as sending

    configured = settings(bootstrap=bootstrap, prefix=prefix)
    still_refused: list[str] = []
    if not files and not from_quarantine:
        raise InputError("name a file to send, or - for standard input")
    refusals = sending.Refusals()
    if from_quarantine:
        mended = _mended(configured, files, still_refused)
        with progress("sending") as done:
            sent = sending.play(configured, refusals.watching(mended), rate, progress=done)
    else:
        if all(file.is_file() for file in files or []):  # what can be read once alone is sent as it comes
            sending.refuse_unjudgeable(_messages(files or [], tools, run))
        with reading("sending", files or []) as heard:
            played = _messages(files or [], tools, run, heard)
            sent = sending.play(configured, refusals.watching(played), rate)
    for reason in still_refused:
        typer.echo(reason)
    if still_refused and not sent:
        raise InputError(f"nothing was sent: all {len(still_refused)} records are still refused")
    say(f"{sent} records confirmed by {configured.bootstrap}")
    if refusals.nothing_left:
        raise InputError(f"no call was among what was sent: {refusals.text()}, and quarantine takes them")
    if refusals.count:
        say(f"{refusals.text()}, and quarantine takes them")
    if still_refused:
        raise typer.Exit(FINDINGS)


def _messages(
    files: list[Path], tools: Path | None, run: str, heard: Heard | None = None
) -> Iterator[Message]:
    """What all files put on the bus, one after the other."""
    from stream.offline.lines import unheard
    from stream.shell.send import messages

    for file in files:
        yield from messages(file, tools=tools, run=run, heard=heard or unheard)


def _mended(configured: Settings, files: list[Path] | None, refusals: list[str]) -> Iterator[Message]:
    """Quarantined records to send again, of `files` or of the bus; why others are refused goes to `refusals`."""
    from stream.events import QUARANTINE
    from stream.shell import send as sending
    from stream.shell.export import records

    quarantined: Iterable[Record] = (
        (record for file in files for record in sending.quarantined_file(file))
        if files
        # Read whole before anything is sent: what is refused again would otherwise be met once more.
        else [record for record, _ in records(configured, QUARANTINE)]
    )
    inputs = [configured.topic(base) for base in configured.input_topics]
    for message, reason in sending.mended(quarantined, inputs):
        if message is None:
            refusals.append(reason)
        else:
            yield message


def watch(
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Show what is already there, too.")
    ] = False,
    severity: Annotated[
        str | None,
        typer.Option(
            help="Findings of this severity or a higher one alone: informational, low, medium, high, critical, fatal."
        ),
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="What is of this tenant alone.")] = None,
    agent: Annotated[
        str | None, typer.Option(help="What is of this agent alone, by its declared id.")
    ] = None,
    session: Annotated[str | None, typer.Option(help="What is of this session alone.")] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="A JSON object a line, with topic, key and value; nothing else."),
    ] = False,
) -> None:
    """Decisions, alerts, revocations and refusals as they happen.

    In a pipe: a line for each, the topic and then JSON; none for a call that is allowed. What does not say what is asked after (severity,
    tenant, agent, session) is left out.
    """
    from stream.shell.selection import Selection, severity_of
    from stream.shell.watch import watch as show

    selection = Selection(severity_of(severity) if severity is not None else 0, tenant, agent, session)
    configured = settings(bootstrap=bootstrap, prefix=prefix)
    show(configured, beginning=beginning, selection=selection, as_json=as_json)
