"""What a command says beside its data: sentences and progress, on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer


def say(text: str) -> None:
    """One sentence for whoever runs the command."""
    typer.echo(f"driftline: {text}", err=True)


@contextmanager
def progress(text: str) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr, silent when stderr is no terminal; yields what takes the number done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(text, total=None)
        yield lambda done: bar.update(task, completed=done)
