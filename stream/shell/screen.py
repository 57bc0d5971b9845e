"""Where tables and text for people go: a terminal as wide as it is, a pipe or a file as wide as they need."""

from __future__ import annotations

import os

from rich.console import Console

WIDE = 2000
"""Columns for another program: a table takes those that its longest row needs, and nothing in it is folded or cut."""


def screen() -> Console:
    """Standard output. ``COLUMNS`` beats what the terminal says, and holds in a pipe too."""
    console = Console()
    if console.is_terminal or os.environ.get("COLUMNS", "").isdigit():
        return console
    return Console(width=WIDE)
