"""Texts as word pieces of the encoder's vocabulary."""

from __future__ import annotations

from functools import lru_cache

from models.text.embedding import pieces_of
from models.training.distill_encoder import WORDS, find_folder, folded, read_vocabulary

MAX_WORD = 60
"""Characters of a word that is taken apart; a longer one is unknown."""
PIECES_OF_WORD = 6
"""Pieces of one word that are shown."""


@lru_cache(maxsize=1)
def vocabulary() -> dict[str, int]:
    """Place of each word piece."""
    return {word: n for n, word in enumerate(read_vocabulary(find_folder()))}


@lru_cache(maxsize=200_000)
def _of_word(word: str) -> tuple[int, ...]:
    known = vocabulary()
    found = pieces_of(word, known) if len(word) <= MAX_WORD else None
    return tuple(found[:PIECES_OF_WORD]) if found else (known["[UNK]"],)


def pieces(text: str, most: int) -> list[int]:
    """The first `most` word pieces of `text`."""
    found: list[int] = []
    for word in WORDS.findall(folded(text[: most * 12])):
        found += _of_word(word)
        if len(found) >= most:
            break
    return found[:most]
