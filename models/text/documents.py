"""JSON documents as their scalars: what of a document is looked at, and how much of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

MAX_LEAVES = 256
"""Leaves of one document that are looked at; the rest is counted as cut."""
MAX_LEAF_CHARS = 16_384
"""Characters of one leaf that are looked at, half from its head, half from its tail (chosen); of what lies between `models.text.excerpts` reads some."""
MAX_CHARS = 32_768
"""Characters of one document that are looked at (chosen: four times the largest recorded result)."""
MAX_DEPTH = 64
"""Levels of nesting that are walked; deeper ones count as cut."""


class Leaf(NamedTuple):
    """A scalar of a JSON document: dotted path, its text, and whether it was a string."""

    path: str
    text: str
    is_string: bool


def leaves(document: Any) -> tuple[list[Leaf], int]:
    """The scalars of `document` in order, each cut to the limits, and how many cuts were made."""
    if isinstance(document, str) and len(document) <= MAX_LEAF_CHARS:
        return [Leaf("", document, True)], 0
    scalars: list[Leaf] = []
    cuts, room = 0, MAX_CHARS
    stack: list[tuple[str, Any, int]] = [("", document, 0)]
    while stack:
        path, value, depth = stack.pop()
        if isinstance(value, dict | list):
            if depth >= MAX_DEPTH:
                cuts += 1
                continue
            items: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, dict) else enumerate(value)
            children: list[tuple[str, Any, int]] = []
            for name, child in items:
                if len(children) >= MAX_LEAVES:
                    cuts += 1
                    break
                step = str(name)[:64]
                children.append((f"{path}.{step}"[-256:] if path else step, child, depth + 1))
            children.reverse()
            stack += children
            continue
        if value is None or value is True or value is False:
            continue
        text = value if isinstance(value, str) else repr(value)
        if len(scalars) >= MAX_LEAVES or room <= 0:
            cuts += 1
            continue
        limit = min(MAX_LEAF_CHARS, room)
        if len(text) > limit:
            cuts += 1
            text = text[: limit // 2] + " " + text[-(limit // 2) :]
        room -= len(text)
        scalars.append(Leaf(path, text, isinstance(value, str)))
    return scalars, cuts
