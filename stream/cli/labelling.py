"""``driftline labels``: what sessions were, collected, settled, sent to annotators and back, and what to look at next."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from models.errors import ConfigError, InputError
from stream.cli.exits import FINDINGS
from stream.cli.options import EVENTS_WANTED, AsJson, Bootstrap, Prefix, Tools, settings
from stream.cli.terminal import say

if TYPE_CHECKING:
    from models.contracts import Label
    from stream.offline.labels.queue import Judged, Next
    from stream.offline.labels.sources import Bus
    from stream.settings import Settings

app = typer.Typer(
    no_args_is_help=True, help="Labels of sessions: collect, merge, export, import, and which to give next."
)
Out = Annotated[Path, typer.Option(help="Where labels go: .jsonl, or .parquet where pyarrow is installed.")]
SHOWN = 20
"""Conflicts that are named in the terminal."""


@app.command()
def collect(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Dumps of topics, or recorded sessions (default: the topics on Kafka)."),
    ] = None,
    out: Out = Path("labels.jsonl"),
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """Labels of analysts' signed feedback, of brokers' outcomes, and of recorded data sets.

    Feedback counts by its signature alone: DRIFTLINE_RESPONDER_JWKS names the keys, DRIFTLINE_ISSUER the installation. Dump
    agent.cases.v1 or agent.feedback.v1, which hold it, and agent.decisions.v1, which says what the first call was that alerted.
    """
    from stream.offline import lines

    lines.check(files or [], lines.is_json, "JSON")
    from stream import bootstrap as root
    from stream.offline.labels import store
    from stream.offline.labels.merging import merged
    from stream.offline.labels.sources import Bus

    configured = settings(bootstrap=bootstrap, prefix=prefix)
    if files:
        bus = Bus(root.feedback_reader(configured).read)
        labels = store.in_order([*_of_files(configured, files, bus), *bus.labels()])
        _tell_what_does_not_count(bus)
    else:
        labels = on_bus(configured)
    if not labels:
        kept = f"; {out} is left as it was, with words that may have been taken back" if out.exists() else ""
        raise InputError(
            "nothing here says what a session was: `driftline feedback CASE --verdict ...` does, and so do labelled recorded sessions"
            + kept
        )
    store.write(labels, out)
    torn = len(merged(labels).conflicts)
    say(f"{len(labels)} labels in {out} ({_counted(labels)}); of {torn} sessions people disagree")


def _of_files(configured: Settings, files: Sequence[Path], bus: Bus) -> list[Label]:
    """Labels of the recorded sessions in files; records of topics go to `bus`."""
    from models.training.dataset import acted_beside
    from stream.offline.files import log_record, output_record
    from stream.offline.labels.sources import of_recording
    from stream.offline.lines import documents_in, is_log, is_recorded

    found = []
    for path in files:
        acted = acted_beside(path)
        for number, _, document in documents_in(path):
            where = f"{path}, line {number}"
            if is_recorded(document):
                found.append(of_recording(document, acted, where))
            elif is_log(document):
                record, _ = log_record(document, where)
                bus.take(configured.base(record.topic), record)
            elif isinstance(document, dict) and "topic" in document:
                record = output_record(document, number, where)
                bus.take(configured.base(record.topic), record)
    return found


def on_bus(configured: Settings) -> list[Label]:
    """The labels that stand on the bus, in the order of a label file; what does not count is told."""
    from stream import bootstrap as root
    from stream.offline.labels import store
    from stream.offline.labels.sources import TOPICS, Bus
    from stream.shell import export

    bus = Bus(root.feedback_reader(configured).read)
    topics = export.Bus(configured)
    for record in topics.read(TOPICS):
        bus.take(configured.base(record.topic), record)
    for mend in topics.unread.values():
        say(f"WARNING: {mend}")
    _tell_what_does_not_count(bus)
    return store.in_order(bus.labels())


def _tell_what_does_not_count(bus: Bus) -> None:
    for reason, count in sorted(bus.refused.items()):
        say(f"{count} words on the bus do not count: {reason}")
    if bus.unsigned:
        say(
            f"{bus.unsigned} findings tell of feedback and carry no signature: passed over; dump agent.cases.v1 or agent.feedback.v1, which "
            "hold the tokens"
        )


@app.command()
def merge(
    files: Annotated[list[Path], typer.Argument(help="Label files, any number.")],
    out: Out,
    max_age: Annotated[
        float | None, typer.Option(min=0, help="Leave out labels older than so many days.")
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(help="Count ages back from this day, such as 2026-06-30 (default: the newest label's)."),
    ] = None,
    conflicts: Annotated[
        Path | None, typer.Option(help="Write the words that contradict each other to this label file.")
    ] = None,
) -> None:
    """One label a session: an analyst's word over an annotator's over a data set's, of one person the later over the earlier.

    Where those whose word counts disagree, the session has no label: it is told, and the command ends with 1.
    """
    from stream.offline import lines

    lines.check(files, None, "labels")
    from stream.offline.labels import store
    from stream.offline.labels.merging import merged

    given = store.read(files)
    if not given:
        raise InputError(
            f"{', '.join(map(str, files))}: there is no label in it; docs/labels.md has the format"
        )
    done = merged(given, max_age, _moment(as_of))
    store.write(done.labels, out)
    if conflicts is not None:
        store.write([each for torn in done.conflicts for each in torn], conflicts)
    age = (
        f"; {done.n_old} words are older than {max_age:g} days, {done.n_undated} have no time"
        if max_age is not None
        else ""
    )
    say(f"{len(given)} words became {len(done.labels)} labels in {out} ({_counted(done.labels)}){age}")
    _tell(done.conflicts)
    if done.conflicts:
        raise typer.Exit(FINDINGS)


def _tell(conflicts: Sequence[Sequence[Label]]) -> None:
    """Say who disagrees on what, without notes."""
    from stream.events import printable

    for words in conflicts[:SHOWN]:
        said = ", ".join(f"{each.who} ({each.key or each.whence}) says {each.label}" for each in words)
        say(printable(f"conflict, no label: {words[0].tenant}/{words[0].session_id}: {said}"))
    if len(conflicts) > SHOWN:
        say(f"and {len(conflicts) - SHOWN} conflicts more; --conflicts FILE has all")


class Seen(NamedTuple):
    """Sessions of files in recorded form, and those of them that were judged, by tenant and session."""

    sessions: dict[tuple[str, str], dict[str, Any]]
    judged: dict[tuple[str, str], Judged]
    release: str


def _seen(files: list[Path], tools: Path | None, labels: list[Path] | None, model: Path | None) -> Seen:
    """The sessions of files, each judged by the model and policy in use; those in `labels` are known."""
    from stream.offline import lines

    lines.check(files, lines.is_input, EVENTS_WANTED, tools)
    lines.check(labels or [], None, "labels")
    from models.forest.units import UNITS
    from stream import bootstrap
    from stream.offline import study, traffic
    from stream.offline.call_rows import CallRows, Row
    from stream.offline.labels import queue, store
    from stream.offline.recorded import key_of
    from stream.offline.rows import batches

    configured = settings(model_dir=model)
    words = traffic.settled(store.read(labels or []))
    tenants = configured.tenants()
    listed, catalogues = study.every(files, tools, tenants)
    sessions = {key_of(session): session for session in listed}
    records = ((record, None) for batch in batches(listed, catalogues) for record in batch)
    rows: dict[tuple[str, str], list[Row]] = {}
    for row in CallRows(bootstrap.judge(configured)).of(records):
        rows.setdefault((row.tenant, row.session_id), []).append(row)
    release = bootstrap.release(configured)
    judged = {
        key: queue.judged(
            key, rows[key], release.levels_of(key[0]).alert / UNITS, labelled=key in words.labels
        )
        for key in sessions
        if key in rows
    }
    return Seen(sessions, judged, release.name)


@app.command("next")
def next_(
    files: Annotated[
        list[Path], typer.Argument(help="Events, dumps of agent.events.v1, or recorded sessions.")
    ],
    labels: Annotated[list[Path] | None, typer.Option(help="What is labelled already (repeatable).")] = None,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 20,
    model: Annotated[
        Path | None, typer.Option(help="Judge with this model (default: the one in use).")
    ] = None,
    as_json: AsJson = False,
    tools: Tools = None,
) -> None:
    """Which sessions to label next: those nearest to the alert's threshold, and least like each other and what is labelled."""
    seen = _seen(files, tools, labels, model)
    from stream.offline.labels.queue import queue

    chosen = queue(list(seen.judged.values()), count)
    known = sum(each.labelled for each in seen.judged.values())
    say(
        f"{len(seen.judged)} sessions judged by {seen.release}, {known} of them labelled; "
        + (f"{len(chosen)} to look at" if chosen else "none is left to label: give events of another time")
    )
    if as_json:
        from stream.events import dumps

        typer.echo(dumps([each.document() for each in chosen]).decode())
    elif chosen:
        _show_queue(chosen)


def _show_queue(chosen: Sequence[Next]) -> None:
    from rich.table import Table
    from rich.text import Text

    from stream.events import counted
    from stream.shell.board import plain
    from stream.shell.screen import screen, whole

    table = Table(box=None, pad_edge=False)
    table.add_column("session")
    for heading in ("score", "alert at", "from alert", "from others"):
        table.add_column(heading, justify="right")
    for each in chosen:
        one = each.session
        others = "-" if each.from_others is None else f"{each.from_others:.2f}"
        side = "+" if one.score >= one.threshold else "-"
        figures = (f"{one.score:.4f}", f"{one.threshold:.4f}", f"{side}{each.from_threshold:.2f}", others)
        about = (
            f"  tenant {one.key[0]}",
            f"  agent {one.agent}",
            f"  {counted(one.calls, 'call')}, highest {one.tool}",
        )
        table.add_row(Text("\n".join(plain(line, 300) for line in (one.key[1], *about))), *figures)
    console = screen()
    console.print(whole(table, console))
    console.print("from alert: in log odds, + at or above the threshold that alerts, - below it")


STUDIO = "label-studio"
Format = Annotated[str, typer.Option("--format", help=f"{STUDIO}: its documented JSON.")]


@app.command()
def export(
    files: Annotated[
        list[Path], typer.Argument(help="Events, dumps of agent.events.v1, or recorded sessions.")
    ],
    out: Annotated[Path, typer.Option(help="Where the tasks go, JSON.")],
    form: Format = STUDIO,
    labels: Annotated[
        list[Path] | None, typer.Option(help="Leave out what these label already (repeatable).")
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(min=1, help="Only so many, those that `labels next` would name (default: all)."),
    ] = None,
    values: Annotated[
        bool,
        typer.Option(
            "--values", help="Show arguments, results and the intent as they are; secrets stay hidden."
        ),
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="Write the labelling interface that the tasks are for as well (XML).")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Predict with this model (default: the one in use).")
    ] = None,
    tools: Tools = None,
) -> None:
    """Sessions as tasks for annotators, with what the model says as predictions.

    Rows leave the house: without --values no argument and no result is in them, only paths and lengths, and of the intent values are masked.
    """
    _check_form(form)
    seen = _seen(files, tools, labels, model)
    from stream.events import dumps
    from stream.offline.labels import studio
    from stream.offline.labels.queue import queue

    judged = list(seen.judged.values())
    wanted = (
        [each for each in judged if not each.labelled]
        if count is None
        else [each.session for each in queue(judged, count)]
    )
    tasks = [
        studio.task(
            seen.sessions[each.key], studio.Guess(each.score, each.first, seen.release), values=values
        )
        for each in wanted
    ]
    with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(dumps(tasks))
    if config is not None:
        config.write_text(studio.configuration(), encoding="utf-8")
    say(f"{len(tasks)} tasks in {out}, {'with' if values else 'without'} values of arguments and results")


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(help="Exports of Label Studio as JSON.")],
    out: Out,
    form: Format = STUDIO,
) -> None:
    """Annotations as labels: each annotator's word on each session, from a project that `driftline labels export` filled."""
    _check_form(form)
    from stream.offline import lines

    lines.check(files, None, "tasks")
    import orjson

    from stream.offline.labels import store, studio

    found: list[Label] = []
    cancelled = silent = 0
    for path in files:
        try:
            tasks = orjson.loads(path.read_bytes())
        except orjson.JSONDecodeError as error:
            raise InputError(f"{path} is not JSON: {error}; export as JSON, not CSV") from error
        read = studio.read(tasks, str(path))
        found += read.labels
        cancelled += read.n_cancelled
        silent += read.n_silent
    if not found:
        raise InputError(f"{', '.join(map(str, files))}: no annotation says what a session was")
    store.write(store.in_order(found), out)
    say(
        f"{len(found)} labels in {out} ({_counted(found)}); {cancelled} annotations were cancelled, {silent} choose no kind"
    )


def _check_form(form: str) -> None:
    if form != STUDIO:
        raise ConfigError(f"--format is {form!r}; {STUDIO} is the one there is")


def _moment(day: str | None) -> int | None:
    """The end of a day, UTC, in milliseconds since 1970."""
    if day is None:
        return None
    from datetime import UTC, datetime, timedelta

    from stream.events import milliseconds

    try:
        return milliseconds(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=1))
    except ValueError as error:
        raise ConfigError(f"--as-of is {day!r}; expected a day such as 2026-06-30") from error


def _counted(labels: Iterable[Label]) -> str:
    counts: Counter[Any] = Counter(each.label for each in labels)
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())) or "none"
