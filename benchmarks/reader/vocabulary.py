"""The word pieces that a reader knows: of the sentence encoder's those that matter here, in their order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from models.reading.pieces import FIRST_WORD, PLACE, Pieces
from models.training.distill_encoder import find_folder, read_vocabulary

FREQUENT = 4500
"""Of the encoder's pieces, which stand in order of frequency, the first: frequent words of English."""
MOST = 9000
"""Pieces in all: those that are met most often in what is learnt from, beside the frequent ones."""


def encoder_places() -> dict[str, int]:
    """Each of the encoder's word pieces, and its place there."""
    return {
        word: place
        for place, word in enumerate(read_vocabulary(find_folder()))
        if len(word) == 1 or not (word[0] == "[" and word[-1] == "]")
    }


def chosen(texts: Iterable[str]) -> list[str]:
    """The pieces to know, those of texts to learn from counted."""
    all_words = list(encoder_places())
    whole = Pieces(all_words)
    met: Counter[int] = Counter()
    for text in texts:
        met.update(piece & PLACE for piece in whole.of(text, 4000))
    single = {n for n, word in enumerate(all_words) if len(word.removeprefix("##")) == 1 and word.isascii()}
    kept = single | set(range(FREQUENT))
    for place, _ in met.most_common():
        if len(kept) >= MOST:
            break
        if place >= FIRST_WORD:
            kept.add(place - FIRST_WORD)
    return [all_words[n] for n in sorted(kept)]
