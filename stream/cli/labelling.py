"""``driftline labels``: what sessions were, collected, settled, sent to annotators and back, and what to look at next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from models.errors import ConfigError, InputError
from stream.cli.exits import FINDINGS
from stream.cli.options import Bootstrap, Prefix, settings
from stream.cli.terminal import say

if TYPE_CHECKING:
    from models.contracts import Label
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
    bus = Bus(root.feedback_reader(configured).read)
    found = _of_files(configured, files, bus) if files else _of_kafka(configured, bus)
    labels = store.in_order([*found, *bus.labels()])
    for reason, count in sorted(bus.refused.items()):
        say(f"{count} words on the bus do not count: {reason}")
    if bus.unsigned:
        say(
            f"{bus.unsigned} findings tell of feedback and carry no signature: passed over; dump agent.cases.v1 or agent.feedback.v1, which "
            "hold the tokens"
        )
    if not labels:
        raise InputError(
            "nothing here says what a session was: `driftline feedback CASE --verdict ...` does, and so do labelled recorded sessions"
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


def _of_kafka(configured: Settings, bus: Bus) -> list[Label]:
    from stream.offline.labels.sources import TOPICS
    from stream.shell import export

    topics = export.Bus(configured)
    for record in topics.read(TOPICS):
        bus.take(configured.base(record.topic), record)
    for mend in topics.unread.values():
        say(f"WARNING: {mend}")
    return []


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
