"""``driftline watch``: what is decided, in the terminal, as it happens."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import orjson
from rich.console import Console
from rich.live import Live

from stream.events import DECISIONS, dumps
from stream.settings import Settings
from stream.shell.board import Board
from stream.shell.outputs import Seen, records
from stream.shell.selection import Selection

LOST_S = 5.0
"""Seconds without a broker that are told of: a restart of one of several takes less."""

_log = logging.getLogger("driftline.watch")


def watch(
    settings: Settings, *, beginning: bool = False, selection: Selection | None = None, as_json: bool = False
) -> None:
    """Show what is decided until Ctrl-C; in a pipe, one line for each decision that is not an allow.

    Parameters
    ----------
    selection : Selection or None
        What is shown and counted; None: everything.
    as_json : bool
        A JSON object for each of these lines, and nothing beside them.
    """
    console = Console()
    board = Board(selection=selection)
    try:
        if console.is_terminal and not as_json:
            _show(console, board, settings, beginning=beginning)
        else:
            _print(console, board, settings, beginning=beginning, as_json=as_json)
    except KeyboardInterrupt:
        if not as_json:
            console.print(board.headline())


def _show(console: Console, board: Board, settings: Settings, *, beginning: bool) -> None:
    with Live(board, console=console, refresh_per_second=4, screen=False):
        for batch in records(settings, beginning=beginning, connected=_Lost(board).hear):
            for seen in batch:
                board.feed(seen)


def _print(console: Console, board: Board, settings: Settings, *, beginning: bool, as_json: bool) -> None:
    lost = _Lost(board)
    for batch in records(settings, beginning=beginning, connected=lost.hear):
        if lost.is_new:
            _log.warning("%s: %s", settings.bootstrap, board.lost)
        for seen in batch:
            document = board.feed(seen)
            if document is None or (seen.topic == DECISIONS and document.get("verdict") == "allow"):
                continue
            if as_json:
                sys.stdout.buffer.write(line_of(seen, document))
                sys.stdout.buffer.flush()  # whoever reads the pipe waits for it
            else:
                console.out(f"{seen.topic} {orjson.dumps(document).decode()}", highlight=False)


def line_of(seen: Seen, document: dict[str, Any]) -> bytes:
    """A record as ``--json`` has it: its topic, its key, and its document; of a token the claims, of a refused record its headers."""
    key = (seen.key or b"").decode(errors="replace")
    return dumps({"topic": seen.topic, "key": key, "value": document}) + b"\n"


class _Lost:
    """Tells the board how long no broker has been connected."""

    def __init__(self, board: Board) -> None:
        self.is_new = False
        self._board, self._heard = board, time.monotonic()

    def hear(self, connected: bool) -> None:
        """Whether a broker is connected now."""
        now = time.monotonic()
        if connected:
            self._heard = now
        away, told = now - self._heard, bool(self._board.lost)
        self._board.lost = f"no broker for {away:.0f} s" if away > LOST_S else ""
        self.is_new = bool(self._board.lost) and not told
