"""Where tables and text for people go: a terminal as wide as it is, a pipe or a file as wide as they need."""

from __future__ import annotations

import os

from rich.console import Console

WIDE = 2000
"""Columns for another program: a table takes those that its longest row needs, and nothing in it is folded or cut."""


def screen(*, beside_data: bool = False) -> Console:
    """Standard output, or standard error beside data. ``COLUMNS`` beats what the terminal says, and holds in a pipe too."""
    console = Console(stderr=beside_data)
    if console.is_terminal or os.environ.get("COLUMNS", "").isdigit():
        return console
    return Console(stderr=beside_data, width=WIDE)
