"""Text that talks: where its sentences end."""

from __future__ import annotations

import re

MAX_BREATH = 32
"""Words of a sentence whose meaning is read as one (chosen: few enough that idle ones do not hide a demand's)."""
SENTENCE = re.compile(r"(?<=[.!?;])\s+")


def sentences_in(lines: list[str]) -> list[str]:
    """Sentences of these lines, long ones in several parts."""
    return [part for line in lines for sentence in SENTENCE.split(line) for part in _breaths(sentence)]


def _breaths(sentence: str) -> list[str]:
    """A sentence; one of more than `MAX_BREATH` words by as many at a time, so that none hides what it says among others."""
    words = sentence.split() if len(sentence) > 2 * MAX_BREATH else []
    if len(words) <= MAX_BREATH:
        return [sentence[:2000]]
    return [" ".join(words[at : at + MAX_BREATH])[:2000] for at in range(0, len(words), MAX_BREATH)]
