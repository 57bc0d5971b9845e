"""``driftline watch``: what is decided, in the terminal, as it happens."""

from __future__ import annotations

import orjson
from rich.console import Console
from rich.live import Live

from stream.events import DECISIONS
from stream.settings import Settings
from stream.shell.board import Board
from stream.shell.outputs import records


def watch(settings: Settings, *, beginning: bool = False) -> None:
    """Show what is decided until Ctrl-C; in a pipe, one line for each decision that is not an allow."""
    console = Console()
    board = Board()
    try:
        if console.is_terminal:
            _show(console, board, settings, beginning=beginning)
        else:
            _print(console, board, settings, beginning=beginning)
    except KeyboardInterrupt:
        console.print(board.headline())


def _show(console: Console, board: Board, settings: Settings, *, beginning: bool) -> None:
    with Live(board.render(), console=console, refresh_per_second=4, screen=False) as live:
        for batch in records(settings, beginning=beginning):
            for seen in batch:
                board.feed(seen)
            live.update(board.render())


def _print(console: Console, board: Board, settings: Settings, *, beginning: bool) -> None:
    for batch in records(settings, beginning=beginning):
        for seen in batch:
            document = board.feed(seen)
            if document is None or (seen.topic == DECISIONS and document.get("verdict") == "allow"):
                continue
            console.out(f"{seen.topic} {orjson.dumps(document).decode()}", highlight=False)
