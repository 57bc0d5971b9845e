"""What a tool's name alone tells, as the readers that come with the package have it."""

from __future__ import annotations

from functools import lru_cache

from models.release.readers import load
from models.tools.facts import ToolFacts, facts_of


@lru_cache(maxsize=1 << 12)
def facts_of_name(name: str) -> ToolFacts:
    """Facts of a tool of which nothing is declared: how scenarios and figures tell acts from looks."""
    return facts_of(name, None, {}, load().acting)
