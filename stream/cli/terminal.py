"""What a command says beside its data: sentences and progress, on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer


def say(text: str) -> None:
    """One sentence for whoever runs the command."""
    typer.echo(f"driftline: {text}", err=True)


@contextmanager
def progress(
    text: str, total: int | None = None, *, beside_data: bool = False
) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr, silent when stderr is no terminal; yields what takes the number done.

    Parameters
    ----------
    total : how much there is to do: the bar then says how much per cent is done, and what time is left
    beside_data : stdout has lines while the bar stands, so there is none where they go to a terminal too
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns: tuple[ProgressColumn, ...] = (MofNCompleteColumn(), TimeElapsedColumn())
    if total is not None:
        columns = (TaskProgressColumn(), TimeRemainingColumn(), TextColumn("left"))
    console = Console(stderr=True)
    with Progress(
        TextColumn(text),
        BarColumn(),
        *columns,
        console=console,
        disable=not console.is_terminal or (beside_data and sys.stdout.isatty()),
        transient=True,
        redirect_stdout=False,  # data is no part of the bar, which would take it to stderr
        # A thread that draws would be forked into whatever a command starts: a bar with an end is drawn at each per cent.
        auto_refresh=total is None,
    ) as bar:
        task = bar.add_task(text, total=total)
        shown = 0

        def done(so_far: int) -> None:
            nonlocal shown
            reached = 100 * so_far // total if total else shown
            bar.update(task, completed=so_far, refresh=reached != shown)
            shown = reached

        yield done


@contextmanager
def reading(
    text: str, files: Sequence[Path], *, beside_data: bool = False
) -> Iterator[Callable[[int], None]]:
    """`progress` through files; yields what hears of each part read, in bytes.

    Of standard input and of pipes nobody knows how much there is: then there is no bar.
    """
    if not all(file.is_file() for file in files):
        yield lambda _: None
        return
    read = 0
    total = sum(file.stat().st_size for file in files)
    with progress(text, total or None, beside_data=beside_data) as done:

        def heard(count: int) -> None:
            nonlocal read
            read += count
            done(read)

        yield heard
