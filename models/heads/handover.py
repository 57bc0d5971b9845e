"""Does a sentence of the intent hand something over to a source, and what? Does it want anything done at all?

"Do what the ticket says" leaves to the ticket *what* is done; "pay the bill in may.txt" names the act and leaves
its particulars to a file; "summarise the ticket" leaves nothing to it, and wants nothing done: it is content with an
answer. Three linear heads over the words of the sentence and over pairs of words near each other, learnt from
sentences and requests that people wrote for it; names, quotes, addresses and numbers are marks, and there is no list of
words. Greetings, polite questions and stories before the wish stand in requests of every kind, so that none tells.

What a user leaves to a text is often said over several sentences ("Ana sent a list. Book what is on it."). So a second
set of heads reads the intent as a whole, and learns from whole requests and from the intents of written tasks too.
How well both hold on authors whom they did not learn from stands in their file, which
``python -m models.training.heads handover`` rebuilds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import isqrt
from typing import NamedTuple

from models.errors import ArtefactError
from models.heads.weights import Weight, WeightsFile, parse_weights
from models.text.meaning import sentences_of

NEUTRAL = 128
"""A sentence that speaks neither for nor against."""
STEPS = 16
"""So many steps of an answer are one unit of log odds."""
MAX_CHARS = 600
MAX_MARKS = 96
"""Characters and marks of a sentence that are looked at."""
NEAR = 2
"""Marks at most so far apart make a pair."""
MAX_MEMO = 2048
"""Sentences and parts whose answers are remembered, of at most some 800 bytes each: agents are given the same tasks again."""

UNIT = 1 << 12
"""Weights are in units of 1 / 4096 of log odds."""
_QUOTED = re.compile(r"(?<!\w)'[^'\n]{2,80}'(?!\w)|\"[^\"\n]{1,80}\"|`[^`\n]{1,80}`")
_LETTERS = re.compile(r"[a-z]+(?:'[a-z]+)?")
_AROUND = ".,;:!?()[]{}<>\"'*"


class Handed(NamedTuple):
    """What a sentence hands over, each 0 to 255 with `NEUTRAL` in the middle.

    ``acts``: the source says what is done. ``any``: it says at least with which particulars. ``effect``: something
    is to be written, sent, changed or run, by whomever it is said; the opposite is content with an answer.
    """

    acts: int
    any: int
    effect: int


ANSWERS = len(Handed._fields)
NOTHING = Handed(NEUTRAL, NEUTRAL, NEUTRAL)


def marks(sentence: str) -> list[str]:
    """Words of a sentence in order, lower case; quotes, names, and whatever is no plain word are one mark each.

    >>> marks("Do what 'May plan' says, then tell Ann Lee at a@b.ch.")
    ['do', 'what', '<quote>', 'says', ',', 'then', 'tell', '<name>', 'at', '<thing>', '.']
    """
    found: list[str] = []
    for piece in _QUOTED.sub(" <quote> ", sentence[:MAX_CHARS].replace("\u2019", "'")).split():
        bare = piece.strip(_AROUND)
        if piece == "<quote>":
            found.append(piece)
        elif not bare:
            continue
        elif not bare.replace("'", "").replace("-", "").isalpha():
            found.append("<thing>")
        elif found and bare[0].isupper() and bare[:2] not in ("I", "I'") and found[-1] not in ".?:":
            if found[-1] != "<name>":
                found.append("<name>")
        else:
            found += _LETTERS.findall(bare.lower())
        if piece[-1] in ".,;:?":
            found.append(piece[-1])
    return found[:MAX_MARKS]


def pairs(told: Sequence[str]) -> set[str]:
    """Single marks and ordered pairs of near ones, the sentence's ends included."""
    row = ["^", *told, "$"]
    found = set(row)
    for at, mark in enumerate(row):
        for apart, other in enumerate(row[at + 1 : at + 1 + NEAR]):
            found.add(f"{mark} {other}" if apart == 0 else f"{mark} .. {other}")
    return found


@lru_cache(maxsize=64)
def marks_and_pairs(sentence: str) -> frozenset[str]:
    """The marks and pairs of a sentence; the last ones are remembered, since two heads read each."""
    return frozenset(pairs(marks(sentence)))


def parts_of(text: str) -> list[str]:
    """A text of any length in parts of whole sentences, of no more than `MAX_CHARS` where sentences are no longer."""
    parts, part = [], ""
    for sentence in sentences_of(text):
        if part and len(part) + len(sentence) >= MAX_CHARS:
            parts.append(part)
            part = ""
        part = f"{part} {sentence}".lstrip()
    return [one for one in (*parts, part) if one]


class HeadForm(WeightsFile):
    """The weights of one `Head`."""

    weights: dict[str, tuple[Weight, Weight, Weight]]
    bias: tuple[Weight, Weight, Weight]


class HandoverFile(WeightsFile):
    """``handover.json``: see `Heads`."""

    sentence: HeadForm
    whole: HeadForm


_ROOT_BITS = 10
"""Bits behind the point of a root."""


class Head:
    """Three linear models over the marks and pairs of a sentence, whose sum is divided by the root of their number.

    Parameters
    ----------
    weights : by mark or pair, the weight for each answer of `Handed`, in units of 1 / `UNIT` of log odds
    bias : likewise
    """

    def __init__(self, weights: Mapping[str, Sequence[int]], bias: Sequence[int]) -> None:
        if len(bias) != ANSWERS or any(len(row) != ANSWERS for row in weights.values()):
            raise ArtefactError(f"the weights for what is handed over are not {ANSWERS} each; rebuild them")
        self.weights = {name: tuple(row) for name, row in weights.items()}
        self.bias = tuple(bias)
        self._remembered = lru_cache(maxsize=MAX_MEMO)(self._read)

    def __reduce__(self) -> tuple[type[Head], tuple[Mapping[str, Sequence[int]], Sequence[int]]]:
        """Without what it remembers: processes that replay sessions are sent it."""
        return Head, (self.weights, self.bias)

    def of(self, sentence: str) -> Handed:
        """What `sentence` hands over; one of which nothing is known is neutral."""
        return self._remembered(sentence[:MAX_CHARS])

    def _read(self, sentence: str) -> Handed:
        known = list(filter(None, map(self.weights.get, marks_and_pairs(sentence))))
        if len(known) <= 2:  # its ends alone
            return NOTHING
        root = isqrt(len(known) << 2 * _ROOT_BITS)  # in units of 1 / 1024
        sums = map(sum, zip(*known, strict=True))  # in units of 1 / UNIT, as the log odds
        log_odds = ((total << _ROOT_BITS) // root + bias for total, bias in zip(sums, self.bias, strict=True))
        return Handed(*(max(0, min(255, NEUTRAL + STEPS * value // UNIT)) for value in log_odds))

    def of_text(self, text: str) -> Handed:
        """What a text of any length hands over and wants: the most of its parts."""
        answers = [self.of(part) for part in parts_of(text)]
        return Handed(*map(max, zip(*answers, strict=True))) if answers else NOTHING


class Heads(NamedTuple):
    """Heads for single sentences, and for intents as a whole."""

    sentence: Head
    whole: Head

    @classmethod
    def parse(cls, raw: bytes) -> Heads:
        """The heads whose file holds `raw`; raises `ArtefactError` where the weights are not sound."""
        file = parse_weights(raw, HandoverFile, "handover")
        return cls(*(Head(form.weights, form.bias) for form in (file.sentence, file.whole)))
