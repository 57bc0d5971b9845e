"""Which calls does an intent lead to?

A cosine knows that two texts speak of the same things; that "I want my money back" leads to looking up an order, and not
to writing a review of it, it does not. Here two matrices, learnt from written tasks alone, weigh how the meaning of a call
goes with a clause of the intent, and with the intent as a whole: s = max over the clauses c of v'(Ac + Bm) + b, with v the
call's vector, m the mean direction of the clauses. They learn to tell the intent that a call was made for from the intents
of other tasks over the same catalogue. So every call stands on both sides equally often, whatever it does: what is learnt
is the relation, never that some kind of call is bad.

Nothing of an answer comes in. How well it holds on authors whom it did not learn from stands in its file, which
``python -m models.training.heads expectation`` rebuilds.
"""

from __future__ import annotations

from array import array
from functools import lru_cache
from math import isqrt
from typing import Annotated

import numpy as np
from pydantic import Field

from models.errors import ArtefactError
from models.heads.weights import Weight, WeightsFile, parse_weights
from models.text.embedding import DIMS, LENGTH
from models.text.vectors import Fine, Vector, unpack

FURTHEST = 999
"""Hundredths of log odds in either direction beyond which nothing is told apart."""
UNIT = 256
"""Weights are kept in units of 1 / 256."""
MOST = 1 << 20
"""Largest weight: every sum on the way to an answer then stays below 2**53, where floats hold each whole number."""
MAX_MEMO = 256
"""Intents that are remembered, of some 9 kB each, and as many with what they lead to over a catalogue (1 kB at most)."""


Square = Annotated[
    list[Annotated[list[Weight], Field(min_length=DIMS, max_length=DIMS)]],
    Field(min_length=DIMS, max_length=DIMS),
]


class ExpectationFile(WeightsFile):
    """``expectation.json``: see `Expectation`."""

    clause: Square
    whole: Square
    bias: Weight


class Expectation:
    """What leads to what.

    Parameters
    ----------
    clause, whole : arrays of shape (DIMS, DIMS), whole numbers in units of 1 / `UNIT`: A and B, call by intent
    bias : b, in the same unit
    """

    def __init__(self, clause: Fine, whole: Fine, bias: int) -> None:
        for weights in (clause, whole):
            sound = weights.shape == (DIMS, DIMS) and np.abs(weights).max() <= MOST
            if not sound or (weights != np.floor(weights)).any():
                raise ArtefactError(
                    f"the weights for what an intent leads to are no {DIMS} x {DIMS} whole numbers of at most {MOST};"
                    " rebuild them"
                )
        self.clause, self.whole, self.bias = clause, whole, bias
        self._both = clause + whole
        self._sought = lru_cache(maxsize=MAX_MEMO)(self._seek)
        self._ranked = lru_cache(maxsize=MAX_MEMO)(self._rank)

    @classmethod
    def parse(cls, raw: bytes) -> Expectation:
        """The head whose file holds `raw`; raises `ArtefactError` where the weights are not sound."""
        file = parse_weights(raw, ExpectationFile, "expectation")
        return cls(np.array(file.clause, np.float64), np.array(file.whole, np.float64), file.bias)

    def __reduce__(self) -> tuple[type[Expectation], tuple[Fine, Fine, int]]:
        """Without what it remembers: processes that replay sessions are sent it."""
        return Expectation, (self.clause, self.whole, self.bias)

    def _seek(self, clauses: bytes) -> Fine:
        """For each clause Ac + Bm, in units of 1 / `UNIT` of a unit vector; whole numbers, so exact in any order."""
        rows = unpack(clauses).astype(np.float64)  # unit vectors, of length LENGTH
        total = np.add.reduce(rows, axis=0)
        size = isqrt(int(total @ total))
        mean = np.floor(total * LENGTH / size) if size else total  # of length LENGTH
        sought: Fine = np.floor((rows @ self.clause.T + self.whole @ mean) / LENGTH)
        return sought

    def of(self, call: Vector, clauses: bytes) -> int:
        """How much sooner this intent leads to `call` than another over the same catalogue, hundredths of log odds.

        0 for a call of which no word is known, and without an intent of which one is.
        """
        if not says_anything(clauses) or not np.count_nonzero(call):
            return 0
        return self._odds(int((self._sought(clauses) @ call).max()))

    def of_line(self, call: Vector, line: Vector) -> int:
        """Likewise, were `line` the intent."""
        return self._odds(int(np.floor(self._both @ line / LENGTH) @ call))

    def _odds(self, product: int) -> int:
        log_odds = product // LENGTH + self.bias  # the call's vector has length LENGTH: in units of 1 / UNIT
        return max(-FURTHEST, min(FURTHEST, 100 * log_odds // UNIT))

    def rank(self, place: int, clauses: bytes, tools: bytes) -> int:
        """The share of all `tools` (packed) that the intent leads to sooner than to the one at `place`, in thousandths.

        0 without an intent of which a word is known.
        """
        return self._ranked(clauses, tools)[place] if says_anything(clauses) else 0

    def _rank(self, clauses: bytes, tools: bytes) -> array[int]:
        by_tool = (unpack(tools) @ self._sought(clauses).T).max(axis=1)
        above = (by_tool[None, :] > by_tool[:, None]).sum(axis=1)
        return array("H", (1000 * above // len(by_tool)).tolist())


def says_anything(clauses: bytes) -> bool:
    """Whether a word of packed clauses is known."""
    return any(clauses)
