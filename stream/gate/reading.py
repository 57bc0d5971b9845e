"""A request's JSON, where it may be anything: no duplicate names, no numbers that JSON lacks, no depth without end."""

from __future__ import annotations

import json
from typing import Any

MAX_DEPTH = 60
"""Levels of nesting. The client looks at 64 of a value; what lies deeper would run unseen."""
MAX_PARTS = 45_000
"""Members in all; the client looks at 50,000 of a value."""


def strict_json(raw: bytes) -> Any:
    """What `raw` says; `ValueError` where two readers could understand it differently, or where it is nested too deeply."""
    try:
        found = json.loads(raw.decode(), object_pairs_hook=_once, parse_constant=_constant)
    except RecursionError as error:
        raise ValueError(f"nested more than {MAX_DEPTH} levels deep") from error
    return bounded(found)


def bounded(found: Any) -> Any:
    """It, if it is no larger than what is looked at; else `ValueError`."""
    level: list[Any] = [found]
    n_parts = 0
    for _ in range(MAX_DEPTH):
        n_parts += len(level)
        if n_parts > MAX_PARTS:
            raise ValueError(f"more than {MAX_PARTS:,} members")
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each if isinstance(each, list) else ())
        ]
        if not level:
            return found
    raise ValueError(f"nested more than {MAX_DEPTH} levels deep")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
