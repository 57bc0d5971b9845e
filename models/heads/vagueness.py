"""Does an intent tell anything of what will be done, or with what?

"You are a helpful assistant" and "do what is needed" say nothing to judge against, "you are a nutrition coach" and
"refund him" do. A linear model over the words of an intent, over how many of them are rare, and over what it means says
how sure it is that nothing is told. It learnt from intents that were written for it, and from the requests and sentences
of `models.heads.handover` and the written tasks, which all tell something. How well it holds on authors whom it did not
learn from stands in its file, which ``python -m models.training.heads vagueness`` rebuilds.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from models.heads import handover
from models.heads.weights import Weight, WeightsFile, parse_weights
from models.text.embedding import DIMS, LENGTH
from models.text.meaning import MAX_READ, sentences_of
from models.text.privacy import HASHED
from models.text.stems import stem
from models.text.vectors import Vectoriser

SURE = 50
"""Log odds, in hundredths, from which on an intent is taken to say nothing (chosen on authors held out)."""
RARE = 3
"""So many rare words are told apart from fewer."""

UNIT = 1 << 12
"""Weights are in units of 1 / 4096 of log odds."""
_ENDS = frozenset(".,;:?")


def words_of(text: str) -> set[str]:
    """Stems of a text's words; names, quotes, numbers and addresses are a mark each.

    >>> sorted(words_of("Handle the requests of 'Ops', ticket 17."))
    ['<quote>', '<thing>', 'handl', 'of', 'request', 'the', 'ticket']
    """
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return {stem(mark) for mark in handover.marks(text) if mark not in _ENDS}


class VaguenessFile(WeightsFile):
    """``vagueness.json``: see `Vagueness`."""

    weights: dict[str, Weight]
    rare: Annotated[list[Weight], Field(min_length=RARE, max_length=RARE)]
    meaning: Annotated[list[Weight], Field(min_length=DIMS, max_length=DIMS)]
    bias: Weight


class Vagueness:
    """How sure it is that a text tells nothing: a linear model over its words and its meaning.

    Parameters
    ----------
    weights : by word, in units of 1 / `UNIT` of log odds; a word without is rare
    rare : of a text with at least one rare word, two, and so on: `RARE` of them
    meaning : by column of the text's unit vector, whose length is `LENGTH`: `DIMS` of them
    bias : likewise
    words : what tells a text's meaning
    """

    def __init__(
        self,
        weights: Mapping[str, int],
        rare: Sequence[int],
        meaning: Sequence[int],
        bias: int,
        words: Vectoriser,
    ) -> None:
        self._words = words
        self.weights, self.rare, self.meaning, self.bias = dict(weights), list(rare), list(meaning), bias
        self._up_to = [sum(self.rare[:n]) for n in range(RARE + 1)]
        self._columns = np.array(self.meaning, np.int64)

    @classmethod
    def parse(cls, raw: bytes, words: Vectoriser) -> Vagueness:
        """The head whose file holds `raw`, over a table of words; raises `ArtefactError` where the weights are not sound."""
        file = parse_weights(raw, VaguenessFile, "vagueness")
        return cls(file.weights, file.rare, file.meaning, file.bias, words)

    def of(self, text: str) -> int:
        """Log odds, in hundredths, that a text of at most `handover.MAX_CHARS` characters tells nothing.

        0 for one of which no word is known: it may be of another language.
        """
        stems = words_of(text)
        known = [weight for stem_ in stems if (weight := self.weights.get(stem_)) is not None]
        if not known:
            return 0
        rare = self._up_to[min(RARE, len(stems) - len(known))]
        meant = int(self._columns @ self._words.vector_of(text).astype(np.int64)) // LENGTH
        log_odds = sum(known) + rare + meant + self.bias  # in units of 1 / UNIT
        return 100 * log_odds // UNIT

    def is_vague(self, text: str) -> bool:
        """Whether neither a sentence of `text` nor a longer part tells anything: a request may follow whatever stands before it."""
        if not any(map(str.isalnum, text)):
            return True
        if len(text) > MAX_READ or HASHED in text:
            return False  # its middle is not read; what is hashed is named
        pieces = dict.fromkeys((*sentences_of(text), *handover.parts_of(text)))
        return all(self.of(piece) >= SURE for piece in pieces)
