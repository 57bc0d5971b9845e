"""What a tool's name alone tells, as the readers that come with the package have it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from models.release.readers import load
from models.tools.facts import ToolFacts, facts_of


@lru_cache(maxsize=1 << 12)
def facts_of_name(name: str) -> ToolFacts:
    """Facts of a tool of which nothing is declared: how scenarios and figures tell acts from looks."""
    return facts_of(name, None, {}, load().acting)


GRAVITY = ("reads only", "writes", "takes something out", "runs code")
"""Classes of a session's tools, the gravest last."""


def class_of_tool(name: str) -> str:
    """What a tool does at worst, by its name alone: one of `GRAVITY`."""
    facts = facts_of_name(name)
    if facts.action == "execute":
        return GRAVITY[3]
    if facts.outward:
        return GRAVITY[2]
    return GRAVITY[0] if facts.action == "read" else GRAVITY[1]


def gravest_class(session: Mapping[str, Any]) -> str:
    """The gravest class among the calls of a recorded session."""
    return max(
        (class_of_tool(str(call["tool"])) for call in session["calls"]), key=GRAVITY.index, default=GRAVITY[0]
    )


def first_effect(session: Mapping[str, Any]) -> int | None:
    """The first call from ``first_bad_seq`` on that writes, runs or takes something out: the harm. None where none does."""
    bad = session.get("first_bad_seq")
    acts = (call for call in session["calls"] if bad is not None and int(call["seq"]) >= int(bad))
    return next((int(call["seq"]) for call in acts if class_of_tool(str(call["tool"])) != GRAVITY[0]), None)
