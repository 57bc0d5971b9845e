"""A bounded memo of a pure function of a text."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TypeVar

V = TypeVar("V")
MAX_MEMO = 1 << 15
"""Pieces of text that are remembered, of some 300 bytes each, a few kB at most."""
MAX_REMEMBERED = 128
"""Characters of a piece that is remembered."""


class Memo(dict[str, V]):
    """A bounded memo of a pure function of a text: the older half goes when it is full, long texts never come in."""

    def __init__(self, compute: Callable[[str], V]) -> None:
        super().__init__()
        self._compute = compute

    def __missing__(self, text: str) -> V:
        value = self._compute(text)
        if len(text) <= MAX_REMEMBERED:
            self[text] = value
        return value

    def __setitem__(self, text: str, value: V) -> None:
        if len(self) >= MAX_MEMO:
            for old in list(islice(self, MAX_MEMO // 2)):
                del self[old]
        super().__setitem__(text, value)
