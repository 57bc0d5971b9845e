"""``driftline features``: from the bus, or files, to a data frame: one row a call, as the live judge saw it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from models.errors import ConfigError, brings
from stream.cli import ranging
from stream.cli.options import EVENTS_WANTED, AsJson, Bootstrap, Mode, Prefix, Tools, checked_mode, settings
from stream.cli.terminal import reading, say

if TYPE_CHECKING:
    from stream.core.judge import Judge
    from stream.offline.call_rows import Told
    from stream.settings import Settings


def features(
    out: Annotated[
        Path,
        typer.Option(
            help="New file of FILE's rows; from the bus a new folder, with a file for each partition."
        ),
    ],
    files: ranging.Files = None,
    begin: ranging.Begin = None,
    end: ranging.End = None,
    partition: ranging.Partitions = None,
    topic: ranging.OfSeveral = None,
    read_back: ranging.ReadBack = None,
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
    asked = ranging.Asked(begin, end, partition or None, topic, read_back)
    asked.check(files, tools)
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
            raise ranging.nothing_judged(files, taken.told.skipped)
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
    asked: ranging.Asked,
) -> tuple[Told, list[dict[str, Any]]]:
    from stream.offline.call_rows import CallRows, Told
    from stream.offline.parquet import RowsFile, folder
    from stream.shell import ranges

    told = Told()
    hours = judge.releases[""].policy.limits.tombstone_hours
    with ranges.reading(configured, ranging.input_topic(configured, asked.topic)) as topic:
        spans = asked.spans(topic, hours)
        with folder(out) as place, ranging.meter(spans) as heard:
            for span in spans:
                source = ranging.source(topic.name, span)
                taken = CallRows(judge, {(topic.name, span.partition): span.begin}, told)
                with RowsFile(
                    place / f"part-{span.partition:05d}.parquet", {**about, "source": [source]}
                ) as sink:
                    for row in taken.of(topic.records(span, heard)):
                        sink.add(row)
    return told, [ranging.source(topic.name, span) for span in spans]


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
        typer.echo(f"left out: {ranging.listed(told.skipped)}")
    if ranges:
        from stream.shell.ranges import as_option

        first, last = (
            as_option((each["partition"], each[name]) for each in ranges) for name in ("from", "to")
        )
        typer.echo(f"the same again: --from {first} --to {last}")
