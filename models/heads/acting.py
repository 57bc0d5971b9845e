"""Does a tool act, or does it only look?

Verbs in a name tell most (`models.tools.verbs_in_names`), and lists of verbs end where people name tools after things
(`EmbargoLift`, `my-bookings`, `percent_change`). Here a linear model over the words of a tool's name, of its
description and of its parameters says how sure it is. Where no verb tells it decides, and where it is sure of
the opposite it overrules the verbs; what it may not overrule is said where they are read. It learnt from the
tools of the written tasks, of which the authors say what each does. How well it holds on authors whom it did not
learn from stands in its file, which ``python -m models.training.heads acting`` rebuilds.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from models.heads.weights import Weight, WeightsFile, parse_weights

SURE = 100
"""Log odds, in hundredths, from which on it overrules verbs (chosen on authors held out)."""
LEANING = 50
"""... and below whose opposite a tool of which no verb tells only looks: what leans no further is taken for an act."""
MAX_CHARS = 400
MAX_WORDS = 40
MAX_BEGINNINGS = 6
"""Characters, words and beginnings of sentences of a description that are looked at."""

UNIT = 1 << 12
"""Weights are in units of 1 / 4096 of log odds."""
_WORDS = re.compile(r"[a-z]+")
BEGINS = re.compile(r"[.!?:]\s+")
"""What parts the sentences of a description."""
_FAMILY = re.compile(r"\A\s*This tool .*?[Dd]escription: ", re.DOTALL)
"""What some catalogues put before each description, of all their tools alike."""


def marks(
    words: Sequence[str], own: Sequence[str], description: str, parameters: Collection[str]
) -> set[str]:
    """What a tool is told by.

    Parameters
    ----------
    words, own : of its whole name, and of the name without its server's or its group's, see `models.tools.verbs_in_names`
    description : "" if it has none
    parameters : words of their names

    >>> sorted(marks(["crm", "list", "leads"], ["list", "leads"], "Lists leads.", ["page"]))
    ['begin lists', 'first lists', 'first of name list', 'group crm', 'last of name leads', 'name leads', 'name list', 'parameter page', 'text leads', 'text lists']
    """
    found = {f"name {word}" for word in own} | {f"parameter {word}" for word in parameters}
    found |= {f"group {word}" for word in words[: max(0, len(words) - len(own))]}
    if own:
        found |= {f"first of name {own[0]}", f"last of name {own[-1]}"}
    text = _FAMILY.sub("", description[:MAX_CHARS], count=1).lower()
    for n, part in enumerate(BEGINS.split(text)[:MAX_BEGINNINGS]):
        if begun := _WORDS.findall(part[:40]):
            found |= {f"begin {begun[0]}"} | ({f"first {begun[0]}"} if n == 0 else set())
    return found | {f"text {word}" for word in _WORDS.findall(text)[:MAX_WORDS]}


class ActingFile(WeightsFile):
    """``acting.json``: see `Acting`."""

    weights: dict[str, Weight]
    bias: Weight


class Acting:
    """How sure it is that a tool acts: a linear model over its marks.

    Parameters
    ----------
    weights : by mark, in units of 1 / `UNIT` of log odds
    bias : likewise
    """

    def __init__(self, weights: Mapping[str, int], bias: int) -> None:
        self.weights = dict(weights)
        self.bias = bias

    @classmethod
    def parse(cls, raw: bytes) -> Acting:
        """The head whose file holds `raw`; raises `ArtefactError` where the weights are not sound."""
        file = parse_weights(raw, ActingFile, "acting")
        return cls(file.weights, file.bias)

    def of(self, found: Collection[str]) -> int:
        """Log odds that a tool with these marks acts, in hundredths; 0 for one of which no mark is known."""
        known = [weight for mark in found if (weight := self.weights.get(mark)) is not None]
        if not known:
            return 0
        log_odds = sum(known) + self.bias  # in units of 1 / UNIT
        return 100 * log_odds // UNIT
