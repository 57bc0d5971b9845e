"""``driftline backtest``: the same log under several models and policies, and what changes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from models.errors import ConfigError, InputError
from stream.cli import ranging
from stream.cli.exits import FINDINGS
from stream.cli.options import EVENTS_WANTED, AsJson, Bootstrap, Mode, Prefix, Tools, checked_mode, settings
from stream.cli.terminal import reading, say

if TYPE_CHECKING:
    from stream.core.releases import Release
    from stream.events import Record
    from stream.offline.backtest_told import Limit, Told
    from stream.offline.lines import Heard
    from stream.offline.shares import Part
    from stream.settings import Settings
    from stream.shell.ranges import Span

SHOWN = 10
"""Changed sessions, tenants and tools that the terminal shows; --json and --markdown have more."""


def backtest(
    files: ranging.Files = None,
    release: Annotated[
        list[str] | None,
        typer.Option(
            help="A model's folder, or a registered release by @alias or digest; in-use is the one in use (repeatable). "
            "A folder's own policy.yaml judges with it where no --policy is given."
        ),
    ] = None,
    policy: Annotated[
        list[str] | None, typer.Option(help="A policy file; in-use is the one in use (repeatable).")
    ] = None,
    begin: ranging.Begin = None,
    end: ranging.End = None,
    partition: ranging.Partitions = None,
    topic: ranging.OfSeveral = None,
    read_back: ranging.ReadBack = None,
    labels: Annotated[
        list[Path] | None,
        typer.Option(
            help="Labels of sessions, to tell who is newly interrupted, caught or missed (repeatable)."
        ),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes (default: one for each core).")
    ] = None,
    flips: Annotated[
        int, typer.Option(min=0, max=100_000, help="Changed sessions told one by one, the gravest first.")
    ] = 100,
    max_new_alerts: Annotated[
        float | None,
        typer.Option("--max-new-alerts-a-day", help="Exit 1 where a candidate brings more alerts a day."),
    ] = None,
    max_new_revocations: Annotated[
        float | None,
        typer.Option("--max-new-revocations-a-day", help="Exit 1 where it brings more revocations a day."),
    ] = None,
    max_lost: Annotated[
        int | None,
        typer.Option(
            help="Exit 1 where more sessions are alerted, denied or revoked no longer; those labelled benign do not count."
        ),
    ] = None,
    max_interrupted: Annotated[
        int | None,
        typer.Option(
            help="Exit 1 where more sessions labelled benign are newly denied or revoked; takes --labels."
        ),
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the report as Markdown to this file, for a pull request.")
    ] = None,
    mode: Mode = None,
    tools: Tools = None,
    as_json: AsJson = False,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """Judge one log under several models and policies, and say what changes: sessions, alerts and revocations a day, and why.

    The first combination is the base, the others are held against it. Several releases go with one policy, several policies with one
    release, as many of both go together in order. Where one combination is named, the base is what is in use. All are judged by the
    live core, whatever the log itself activated, and nothing is published. A dump is read by its partitions, a plain file by its trees
    of sessions, one process each; the report does not depend on --jobs. docs/backtest.md has every figure, and a recipe for CI.
    """
    from stream.offline import lines

    checked_mode(mode)
    asked = ranging.Asked(begin, end, partition or None, topic, read_back)
    asked.check(files, tools)
    if max_interrupted is not None and not labels:
        raise ConfigError("--max-interrupted goes by sessions labelled benign; name --labels")
    from stream.offline.combinations import Combinations, pairs, told

    named = pairs(release or [], policy or [])
    lines.check(files or [], lines.is_input, EVENTS_WANTED, tools)
    lines.check(labels or [], None, "labels")
    processes = _processes(files, jobs)
    from stream import bootstrap as composition
    from stream.offline import backtest_told
    from stream.offline.backtest_page import page
    from stream.offline.backtest_run import Work

    configured = settings(bootstrap=bootstrap, prefix=prefix)
    combined = Combinations(configured, mode, lambda which: _registered(configured, which, mode))
    judges = [combined.judge(pair) for pair in named]
    composition.spare_the_collector()
    work = Work(judges, [], _labels(labels or []), flips)
    if files:
        found, source = _of_files(files, tools, work, processes), [{"file": file.name} for file in files]
    else:
        found, source = _of_bus(configured, work, asked, processes)
    document = found.document()
    for each, pair, judge in zip(document["combinations"], named, judges, strict=True):
        each.update(told(pair, judge))
    most = {
        "new_alerts_a_day": max_new_alerts,
        "new_revocations_a_day": max_new_revocations,
        "lost": max_lost,
        "interrupted": max_interrupted,
    }
    passed = backtest_told.limits(document, most)
    document = {
        "source": source,
        **document,
        "limits": [{**each._asdict(), "holds": each.holds} for each in passed],
    }
    if markdown is not None:
        markdown.write_text(page(document), encoding="utf-8")
    _tell(document, as_json=as_json)
    _end(found, files, passed)


def _processes(files: list[Path] | None, jobs: int | None) -> int:
    """How many processes judge; what can be read once is judged in one."""
    if files and not all(file.is_file() for file in files):
        if jobs is not None and jobs > 1:
            raise ConfigError(
                "standard input and pipes can be read once, and each process reads; give --jobs 1, or a file"
            )
        return 1
    return jobs or len(os.sched_getaffinity(0))


def _labels(paths: Sequence[Path]) -> dict[tuple[str, str], str]:
    if not paths:
        return {}
    from stream.offline.labels import merging, store

    settled = merging.merged(store.read(paths))
    if settled.conflicts:
        say(
            f"{len(settled.conflicts)} sessions have labels that contradict each other, and count as unlabelled"
        )
    return {(each.tenant, each.session_id): each.label for each in settled.labels}


def _registered(configured: Settings, which: str, mode: str | None) -> Release:
    """The release that an alias or a digest stands for."""
    from functools import partial

    from stream.bootstrap import find_release
    from stream.cli.releasing import digest_named
    from stream.shell import releases

    if not which.startswith("@") and not set(which) <= set("0123456789abcdef"):
        raise InputError(f"--release {which} is no folder, no @alias and no digest of a registered release")
    if configured.activation_jwks is None:
        raise ConfigError(
            f"--release {which} is of the registry, and nobody is trusted to register releases; set DRIFTLINE_ACTIVATION_JWKS to their"
            " public keys, or name a folder"
        )
    digest = digest_named(releases.registry(configured), which)
    if not digest:
        raise InputError(f"{which} is what workers begin with; name in-use")
    found = find_release(digest, configured.releases_dir, partial(releases.fetch, configured), mode=mode)
    if found is None:
        raise InputError(f"{which} is release {digest}, which is nowhere; publish it again")
    return found


def _of_files(files: list[Path], tools: Path | None, work: Any, jobs: int) -> Told:
    from stream.offline import shares
    from stream.offline.backtest_run import run

    limits = [judge.releases[""].policy.limits for judge in work.judges]

    def judged(processes: int) -> tuple[Told, bool]:
        with reading("looking for what sessions share", files) as heard:
            parts = shares.of_files(files, tools, processes, limits, say, heard)
        # Each part reads all files.
        with reading("judging", [*files] * len(parts)) as heard:
            told, peaks = run(work._replace(parts=parts), processes, heard)
        return told, shares.overflow(peaks, limits)

    told, overflows = judged(jobs)
    if overflows:
        say(
            "together the sessions come near a limit of the policy, which holds for all of a plain file: judging again as one; a dump of a"
            " topic is judged by its partitions"
        )
        told, _ = judged(1)
    return told


def _of_bus(
    configured: Settings, work: Any, asked: ranging.Asked, jobs: int
) -> tuple[Told, list[dict[str, Any]]]:
    from stream.offline.backtest_run import run
    from stream.shell import ranges

    base = ranging.input_topic(configured, asked.topic)
    hours = max(judge.releases[""].policy.limits.tombstone_hours for judge in work.judges)
    with ranges.reading(configured, base) as topic:
        spans, name = asked.spans(topic, hours), topic.name
    parts = [_of_span(configured, base, name, span) for span in spans]
    with ranging.meter(spans) as heard:
        told, _ = run(work._replace(parts=parts), jobs, heard)
    return told, [ranging.source(name, span) for span in spans]


def _of_span(configured: Settings, base: str, name: str, span: Span) -> Part:
    from stream.offline.shares import Part
    from stream.shell import ranges

    def records(heard: Heard) -> Iterator[tuple[Record, int | None]]:
        # A process has a connection of its own.
        with ranges.reading(configured, base) as topic:
            yield from topic.records(span, heard)

    return Part(records, {(name, span.partition): span.begin})


def _end(found: Told, files: list[Path] | None, passed: Sequence[Limit]) -> None:
    if files and found.refused and not found.calls:
        raise ranging.nothing_judged(files, found.refused)
    broken = [each for each in passed if not each.holds]
    for each in broken:
        say(f"candidate {each.candidate}: {each.name} {each.found:g} is more than {each.most:g}")
    if broken:
        raise typer.Exit(FINDINGS)


def _tell(document: Mapping[str, Any], *, as_json: bool) -> None:
    from stream.events import dumps

    if as_json:
        typer.echo(dumps(document).decode())
        return
    from rich.markup import escape
    from rich.table import Table

    from stream.offline import backtest_page
    from stream.shell.board import plain
    from stream.shell.screen import screen

    console = screen()
    for made in backtest_page.tables(document, SHOWN):
        table = Table(title=made.title, title_justify="left")
        for name in made.columns:
            table.add_column(name, justify="left" if name in made.texts else "right", overflow="fold")
        for row in made.rows:
            table.add_row(*(escape(plain(cell, 200)) for cell in row))
        console.print(table)
        if made.below:
            console.print(escape(made.below))
