"""Texts as word pieces, and the things that word pieces spell: words, numbers, and what signs join.

A text is kept as numbers of 16 bits: the place of each piece, and `GLUED` where nothing stands between it and the piece before.
So things are found again in what a session keeps, by numbers alone.
"""

from __future__ import annotations

import re
import struct
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from functools import lru_cache
from itertools import chain

from models.text.embedding import pieces_of
from models.text.memo import Memo
from models.text.stems import STOP, stem

GLUED = 0x8000
"""Bit of a piece that follows the one before without a space, where it does not continue its word anyhow."""
PLACE = GLUED - 1
MAX_WORD = 64
"""Characters of a word that are looked up; one that is longer is known by its hash alone."""
MAX_PIECES = 6
"""Pieces of one word; of a longer one the last stands for the whole of it."""
HASHES = 64
"""Pieces that begin a word which the vocabulary does not spell, and as many that end it, or one that is too long to show."""
MAX_THINGS = 4096
"""Segments whose things are remembered, of some 2 kB each."""
MAX_WEIGHTS = 1 << 16
"""Things whose weight is remembered, of some 200 bytes each."""

Thing = tuple[int, ...]


class Mark(IntEnum):
    """Pieces that stand for no word; the vocabulary begins with them."""

    PADDING = 0
    START = 1
    END = 2  # of a part
    SAID = 3  # the intent says this value
    FIRST = 4  # the first snippet says it; the next two stand for the second and third
    SECOND = 5
    THIRD = 6
    NOWHERE = 7
    TEXT = 8  # what follows is a description, or an answer's words
    ARGUMENT = 9
    LED = 10  # an answer before says what the call was given that fetched a snippet


FIRST_HASH = len(Mark)
LAST_HASH = FIRST_HASH + HASHES  # the first of those that end a word
FIRST_WORD = LAST_HASH + HASHES

_WORDS = re.compile(r"[^\W_]+|[^\w\s]|_")
_ADDRESSED = re.compile(r"\b(?:https?://(?:www\.)?|www\.)(?=\w)")
_ACCENTS = re.compile("[\u0300-\u036f]+")
_JOINTS = frozenset("@.-_/:+")


def folded(text: str) -> str:
    """`text` in lower case, without accents, and addresses of pages without what they all begin with.

    >>> folded("Søren's CAFÉ: https://www.soeren.dk/menu")
    "søren's cafe: soeren.dk/menu"
    """
    low = text.lower()
    if "www." in low or "://" in low:
        low = _ADDRESSED.sub("", low)
    return low if low.isascii() else _ACCENTS.sub("", unicodedata.normalize("NFD", low))


class Pieces:
    """A vocabulary of word pieces, most frequent first, and what it makes of texts.

    Parameters
    ----------
    words : continuations of words are marked by ``##``; `Mark` and hashes come before the first of them
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._place = {word: FIRST_WORD + n for n, word in enumerate(words)}
        self._texts = [*map(_of_no_word, range(FIRST_WORD)), *self.words]
        self._continuing = [text.startswith("##") for text in self._texts]
        self._joining = [text in _JOINTS for text in self._texts]
        self._of_word: Memo[Thing] = Memo(self._spelled)
        self._of_run: Memo[Thing] = Memo(self._spelled_run)
        self.things = lru_cache(maxsize=MAX_THINGS)(self._things)
        """Words of packed pieces, and what signs join (addresses, numbers, paths), whole and in parts."""
        self.weight = lru_cache(maxsize=MAX_WEIGHTS)(self._weight)
        """How much it tells that two texts share a thing: figures and addresses tell most, frequent words little."""

    def __len__(self) -> int:
        return FIRST_WORD + len(self.words)

    def of(self, text: str, most: int) -> list[int]:
        """The first `most` pieces of `text`."""
        runs = folded(text[: most * 12]).split()
        return list(chain.from_iterable(map(self._of_run.__getitem__, runs)))[:most]

    def _spelled_run(self, run: str) -> Thing:
        first, *others = map(self._of_word.__getitem__, _WORDS.findall(run))
        return (*first, *(piece for word in others for piece in (word[0] | GLUED, *word[1:])))

    def _spelled(self, word: str) -> Thing:
        found = pieces_of(word, self._place) if len(word) <= MAX_WORD else []
        if 0 < len(found) <= MAX_PIECES:
            return tuple(found)
        first, last = divmod(zlib.crc32(word.encode()) % HASHES**2, HASHES)
        # One that is too long to show must differ from another with the same beginning.
        return (*(found[: MAX_PIECES - 1] or [FIRST_HASH + first]), LAST_HASH + last)

    def text(self, pieces: Iterable[int]) -> str:
        """What these pieces spell, for people; marks and hashes show as ``[said]`` and ``[7]``."""
        shown: list[str] = []
        for piece in pieces:
            word = self._texts[piece & PLACE]
            if shown and not (piece & GLUED or word.startswith("##")):
                shown.append(" ")
            shown.append(word.removeprefix("##"))
        return "".join(shown)

    def _things(self, raw: bytes) -> tuple[Thing, ...]:
        found: list[Thing] = []
        run: list[Thing] = []  # words, and the signs between them
        for spelled, glued in self._spellings(unpacked(raw)):
            if glued and run and len(run) % 2 == self._joining[spelled[0]]:
                run.append(spelled)
                continue
            self._end(run, found)
            run = [spelled] if spelled[0] < FIRST_WORD or self._texts[spelled[0]][0].isalnum() else []
        self._end(run, found)
        return tuple(found)

    def _spellings(self, pieces: Iterable[int]) -> Iterator[tuple[Thing, bool]]:
        """Words and signs as the places of their pieces, and whether each is glued to the one before; marks end one."""
        word: list[int] = []
        glued = False
        for piece in pieces:
            place = piece & PLACE
            if word and self._continuing[place]:
                word.append(place)
                continue
            if word:
                yield tuple(word), glued
            word, glued = ([place], bool(piece & GLUED)) if place >= FIRST_HASH else ([], False)
        if word:
            yield tuple(word), glued

    def _end(self, run: list[Thing], found: list[Thing]) -> None:
        """Add what a run of words and signs spells, whole and in parts."""
        if len(run) < 3:
            found += run[:1]
            return
        words = run[::2]
        found.append(tuple(chain.from_iterable(run[: 2 * len(words) - 1])))
        found += [word for word in words if len(word) > 1 or len(self._texts[word[0]]) > 1]

    def _weight(self, thing: Thing) -> float:
        words = [self._texts[place] for place in thing]
        whole = "".join(word.removeprefix("##") for word in words)
        if stem(whole) in STOP:
            return 0.0
        if any(map(str.isdigit, whole)):
            return 0.4 if len(whole) <= 2 else 2.5 if len(whole) >= 4 else 1.2
        if any(word in _JOINTS for word in words):
            return 3.0
        if len(whole) <= 2:
            return 0.1
        if len(thing) > 1 or thing[0] < FIRST_WORD:
            return 2.0
        rank = thing[0] - FIRST_WORD
        return 0.25 if rank < 2000 else 0.5 if rank < 4500 else 1.0


def _of_no_word(place: int) -> str:
    """What a piece shows as that comes before the vocabulary's words: a mark, or a hash that begins or ends a word."""
    if place >= LAST_HASH:
        return f"##[{place - LAST_HASH}]"
    return f"[{place - FIRST_HASH}]" if place >= FIRST_HASH else f"[{Mark(place).name.lower()}]"


def packed(pieces: Sequence[int]) -> bytes:
    """Pieces as 16 bits each, the lower byte first."""
    return struct.pack(f"<{len(pieces)}H", *pieces)


def unpacked(raw: bytes) -> tuple[int, ...]:
    """The pieces in packed form."""
    return struct.unpack(f"<{len(raw) // 2}H", raw)
