"""``driftline features``: from the bus, or files, to a data frame: one row a call, as the live judge saw it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from models.errors import ConfigError, InputError, brings
from stream.cli.options import EVENTS_WANTED, AsJson, Bootstrap, Mode, Prefix, Tools, checked_mode, settings
from stream.cli.terminal import progress, reading, say

if TYPE_CHECKING:
    from stream.core.judge import Judge
    from stream.offline.call_rows import Told
    from stream.settings import Settings
    from stream.shell.ranges import Span

HOUR_MS = 3_600_000


class Asked(NamedTuple):
    """Options that are of the bus alone, each None where it was not given."""

    begin: str | None
    end: str | None
    partitions: list[int] | None
    topic: str | None
    read_back: float | None


def features(
    out: Annotated[
        Path,
        typer.Option(
            help="New file of FILE's rows; from the bus a new folder, with a file for each partition."
        ),
    ],
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE", help="In place of the bus: events, recorded sessions or a log; - is stdin."
        ),
    ] = None,
    begin: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="From this day or time on (UTC), or these offsets, as 0:1200,1:900 (default: all that the topic holds).",
        ),
    ] = None,
    end: Annotated[
        str | None,
        typer.Option("--to", help="Before this time, or these offsets (default: where it ends now)."),
    ] = None,
    partition: Annotated[
        list[int] | None, typer.Option(min=0, help="Only this partition (repeatable).")
    ] = None,
    topic: Annotated[
        str | None, typer.Option(help="Base name of the input topic, where there are several.")
    ] = None,
    read_back: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Hours before --from from which on sessions are read that go on in the range (default: tombstone_hours of the policy).",
        ),
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Model (default: the one in use).")] = None,
    policy: Annotated[Path | None, typer.Option(help="Policy (default: the one in use).")] = None,
    mode: Mode = None,
    tools: Tools = None,
    as_json: AsJson = False,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """Feature rows as Parquet, one a call: what the model reads of it, its ids, and what the judge makes of it.

    The log goes through the live core: numbers, scores and verdicts are those of the decisions that a worker publishes, under the
    model and policy in use or given. Rows hold no text and no value of an argument. What stands at --out is whole: while it is
    written, its name ends with .partial. Each partition is judged by itself. Sessions that began before --from are read, as far back
    as --read-back says, and have no rows there; a row before which something is known to be missing says whole = false. Columns, and
    how to join labels: docs/data-science.md.
    """
    from stream.offline import lines

    checked_mode(mode)
    asked = Asked(begin, end, partition or None, topic, read_back)
    if files and asked != Asked(None, None, None, None, None):
        raise ConfigError(
            "--from, --to, --partition, --topic and --read-back are of the bus, and files are read whole; leave these options away"
        )
    if tools is not None and not files:
        raise ConfigError("--tools is of files of recorded sessions; leave it away, or name a file")
    lines.check(files or [], lines.is_input, EVENTS_WANTED, tools)
    try:
        from stream.offline import parquet
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"driftline features needs {error.name}, which the extra data brings: {brings('data')}"
        ) from error
    parquet.check_free(out)
    from stream import bootstrap as composition

    configured = settings(bootstrap=bootstrap, prefix=prefix, model_dir=model, policy_path=policy)
    judge = composition.judge(configured, mode=mode)
    composition.spare_the_collector()
    about = _about(configured, judge)
    if files:
        _tell(_of_files(files, tools, judge, about, out), [], as_json=as_json)
    else:
        _tell(*_of_bus(configured, judge, about, out, asked), as_json=as_json)


def _about(configured: Settings, judge: Judge) -> dict[str, Any]:
    """What a file says of what judged its rows: the release in use; rows name theirs, should the log activate another."""
    from stream.bootstrap import release_digest

    release = judge.releases[""]
    return {
        "release": release.name,
        "release_digest": release_digest(configured.model_dir, release.policy),
        "policy": judge.policy_name(release.policy),
    }


def _of_files(files: list[Path], tools: Path | None, judge: Judge, about: dict[str, Any], out: Path) -> Told:
    from stream.offline.call_rows import CallRows
    from stream.offline.files import one_log
    from stream.offline.parquet import RowsFile

    source = [{"file": file.name, "sha256": _digest(file)} for file in files]
    taken = CallRows(judge)
    with RowsFile(out, {**about, "source": source}) as sink:
        with reading("judging", files) as heard:
            records = ((record, partitions) for _, record, partitions in one_log(files, tools, say, heard))
            for row in taken.of(records):
                sink.add(row)
        if taken.told.skipped and not taken.told.rows:
            names = " or ".join(map(str, files))
            raise InputError(
                f"nothing in {names} could be judged: {_listed(taken.told)}; `driftline replay --all` shows which"
            )
    return taken.told


def _digest(file: Path) -> str | None:
    """SHA-256 of a file; None of what can be read once alone."""
    if not file.is_file():
        return None
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _of_bus(
    configured: Settings,
    judge: Judge,
    about: dict[str, Any],
    out: Path,
    asked: Asked,
) -> tuple[Told, list[dict[str, Any]]]:
    from stream.offline.call_rows import CallRows, Told
    from stream.offline.parquet import RowsFile, folder
    from stream.shell import ranges

    told = Told()
    hours = judge.releases[""].policy.limits.tombstone_hours if asked.read_back is None else asked.read_back
    with ranges.reading(configured, input_topic(configured, asked.topic)) as topic:
        begin, end = (
            ranges.bound(text, option) if text is not None else None
            for text, option in ((asked.begin, "--from"), (asked.end, "--to"))
        )
        spans = topic.spans(begin, end, asked.partitions, round(hours * HOUR_MS))
        with folder(out) as place, meter(sum(span.end - span.start for span in spans)) as heard:
            for span in spans:
                source = _source(topic.name, span)
                taken = CallRows(judge, {(topic.name, span.partition): span.begin}, told)
                with RowsFile(
                    place / f"part-{span.partition:05d}.parquet", {**about, "source": [source]}
                ) as sink:
                    for row in taken.of(topic.records(span, heard)):
                        sink.add(row)
    return told, [_source(topic.name, span) for span in spans]


def input_topic(configured: Settings, asked: str | None) -> str:
    known = list(configured.input_topics)
    if asked is None and len(known) > 1:
        raise ConfigError(f"there are several input topics; name one with --topic: {', '.join(known)}")
    return configured.base(asked) if asked is not None else known[0]


def _source(topic: str, span: Span) -> dict[str, Any]:
    """A range as files and summary tell it."""
    return {
        "topic": topic,
        "partition": span.partition,
        "read_from": span.start,
        "from": span.begin,
        "to": span.end,
    }


@contextmanager
def meter(total: int) -> Iterator[Callable[[int], None]]:
    """A bar over so many offsets; yields what hears of each step on."""
    so_far = 0
    with progress("judging", total or None) as done:

        def heard(count: int) -> None:
            nonlocal so_far
            so_far += count
            done(so_far)

        yield heard


def _tell(told: Told, ranges: list[dict[str, Any]], *, as_json: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    from stream.events import counted, dumps
    from stream.shell.board import plain
    from stream.shell.screen import screen

    document = told.document()
    if as_json:
        typer.echo(dumps({**document, "ranges": ranges}).decode())
        return
    table = Table("tenant")
    for name in ("sessions", "rows", "flagged", "not whole"):
        table.add_column(name, justify="right")
    for tenant, counts in document["tenants"].items():
        figures = (counts[name] for name in ("sessions", "rows", "flagged", "not_whole"))
        table.add_row(escape(plain(tenant)), *map(str, figures))
    screen().print(table)
    typer.echo(f"{counted(document['rows'], 'row')} of {counted(document['records'], 'record')}")
    if told.skipped:
        typer.echo(f"left out: {_listed(told)}")
    if ranges:
        from stream.shell.ranges import as_option

        first, last = (
            as_option((each["partition"], each[name]) for each in ranges) for name in ("from", "to")
        )
        typer.echo(f"the same again: --from {first} --to {last}")


def _listed(told: Told) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in sorted(told.skipped.items()))
