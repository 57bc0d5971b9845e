"""Where tables and text for people go: a terminal as wide as it is, a pipe or a file as wide as they need."""

from __future__ import annotations

import os

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

WIDE = 2000
"""Columns for another program: a table takes those that its longest row needs, and nothing in it is folded or cut."""


def screen(*, beside_data: bool = False) -> Console:
    """Standard output, or standard error beside data. ``COLUMNS`` beats what the terminal says, and holds in a pipe too."""
    console = Console(stderr=beside_data)
    if console.is_terminal or os.environ.get("COLUMNS", "").isdigit():
        return console
    return Console(stderr=beside_data, width=WIDE)


def whole(table: Table, console: Console) -> Table:
    """`table`, with names in its first column that stay on one line as far as half of the terminal goes, and nothing in it cut."""
    for column in table.columns:
        column.overflow = "fold"
    names = table.columns[0]
    cells = (names.header, *names.cells)
    longest = max(Measurement.get(console, console.options, cell).maximum for cell in cells)
    names.width = min(longest, console.width // 2)
    return table
