"""``driftline import``: what people have on disk as bus events, and what Driftline would have said of it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from models.errors import ConfigError
from stream.cli.options import Mode, checked_mode, settings
from stream.cli.terminal import reading, say

if TYPE_CHECKING:
    from stream.offline.imports.assembly import Made
    from stream.offline.imports.judged import Summary
    from stream.offline.imports.sources import Import
    from stream.offline.imports.steps import Notes


def import_(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="SOURCE", help="Files, and folders of which every file is read; - is stdin."),
    ],
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="claude-code, codex, agentdojo, inspect, mcp, otlp or recorded (default: told by the content).",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the events here, readable to you alone (default: stdout).")
    ] = None,
    judge: Annotated[
        bool, typer.Option("--judge", help="Judge them, and print what was flagged in place of the events.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --judge: as JSON, for machines.")] = False,
    intent: Annotated[
        str, typer.Option(help="What the user asked for in logs of MCP messages, which do not say it.")
    ] = "",
    run: Annotated[str, typer.Option("--as", help="Prefix every id.")] = "",
    tools: Annotated[
        Path | None,
        typer.Option(
            help="Tool catalogues of recorded sessions (default: beside them) and AgentDojo's suites."
        ),
    ] = None,
    mode: Mode = None,
) -> None:
    """Transcripts and logs of other programs as bus events, JSON lines; nothing leaves this machine.

    What is mapped and what is lost is told on stderr. Events hold all that was said and read, secrets among it.
    """
    from stream.offline.imports.sources import Import

    if as_json and not judge:
        raise ConfigError("--json is for --judge; events are JSON lines already")
    asked_mode = checked_mode(mode)
    with ExitStack() as held:
        found = Import(
            [_on_disk(source, held) for source in sources], form, tools=tools, intent=intent, run=run
        )
        if out is not None and out.resolve() in found.paths:
            raise ConfigError(f"--out {out} is one of the sources")
        sink = None if judge and out is None else _sink(out, held)
        # Where events go to the terminal, no bar stands among them.
        with reading(
            "judging" if judge else "importing", sorted(found.paths), beside_data=not judge and out is None
        ) as heard:
            made = found.events(heard) if sink is None else _written(found.events(heard), sink)
            if judge:
                from stream import bootstrap
                from stream.offline.imports.judged import summary

                judged = summary(made, bootstrap.judge(settings(), mode=asked_mode))
            else:
                for _ in made:
                    pass
    _tell(found)
    if judge:
        _show(judged, as_json=as_json)


def _on_disk(source: Path, held: ExitStack) -> Path:
    """The file itself; of standard input a copy that is gone afterwards, since a file is read more than once."""
    if str(source) != "-":
        return source
    copy = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="driftline-import-")), "stdin")
    with copy.open("wb") as opened:
        shutil.copyfileobj(sys.stdin.buffer, opened)
    return copy


def _sink(out: Path | None, held: ExitStack) -> IO[bytes]:
    if out is None:
        held.callback(sys.stdout.buffer.flush)
        return sys.stdout.buffer
    return held.enter_context(os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb"))


def _written(made: Iterable[Made], sink: IO[bytes]) -> Iterator[Made]:
    for each in made:
        sink.write(each.value + b"\n")
        yield each


def _tell(found: Import) -> None:
    """What became of the files, a line for each thing."""
    from stream.events import counted, printable

    for name, notes in found.notes.items():
        for line in told_of(f"{name}, {counted(found.files[name], 'file')}", notes):
            say(line)
    for line in found.seen.lines() if found.seen is not None else ():
        say(f"otlp, {line}")
    if found.unknown:
        left_out = f"{counted(len(found.unknown), 'file')} of no format that is known left out"
        say(f"{left_out}; the first is {printable(str(found.unknown[0]))}")


def told_of(source: str, notes: Notes) -> Iterator[str]:
    """What became of a source, a line for each thing; of what is behind a comma in its name the first line alone tells."""
    from stream.events import counted, printable
    from stream.offline.imports.steps import MAPPED

    yield f"{source}: {_listed(notes.mapped, MAPPED) or 'nothing'}"
    name = source.partition(",")[0]
    if lost := _listed(notes.lost, sorted(notes.lost)):
        yield f"{name}, not mapped: {lost}"
    if notes.refused:
        yield f"{name}, {counted(notes.refused, 'line')} refused; the first is {printable(notes.first)}"


def _listed(counts: Mapping[str, int], order: Sequence[str]) -> str:
    return ", ".join(f"{what} {counts[what]}" for what in order if counts[what])


def _show(judged: Summary, *, as_json: bool) -> None:
    from stream.events import counted, dumps
    from stream.shell.board import plain

    told = judged.document()
    if as_json:
        typer.echo(dumps(told).decode())
        return
    verdicts = _listed(told["verdicts"], list(told["verdicts"]))
    typer.echo(
        f"{counted(told['sessions'], 'session')}, {counted(told['calls'], 'call')} ({verdicts or 'none judged'})"
    )
    more = told["flagged"] - len(told["worst"])
    typer.echo(
        f"{counted(told['flagged'], 'session')} flagged"
        + (f", the worst {len(told['worst'])}:" if more else "")
    )
    for row in told["worst"]:
        typer.echo(
            f"\n{row['verdict']} {row['score']:.2f}  call {row['call_seq']} {plain(row['tool'], 60)}, "
            f"{row['calls_flagged']} of {counted(row['calls'], 'call')} flagged\n"
            f"  asked:   {plain(row['asked'] or '(not known)', 160)}\n"
            f"  why:     {plain(row['explanation'], 240)}\n"
            f"  session: {plain(row['session_id'], 120)}"
        )
