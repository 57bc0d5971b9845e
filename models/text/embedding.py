"""Words as vectors of small integers: what a text is about, without floats, BLAS or a network of layers.

A table of some 26,000 words and word pieces, distilled once from a sentence encoder (`models.training.distill`), is
all there is. A text's vector is the sum of its words' rows, which carry their weights: rare words count
more. Sums, scaling and cosines are integer arithmetic, so that every machine and every order of the words
gives the same bits.

>>> unit(np.array([3, -4, 0], np.int32)).tolist()
[614, -819, 0]
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate
from math import isqrt
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from models.errors import ArtefactError, DigestMismatch
from models.text.addresses import words_apart

DIMS = 128
"""Columns of the table; chosen by measurement, see ADR 33."""
MAX_CHARS = 2048
"""Characters of a text that are looked at."""
MAX_WORDS = 64
"""Words of a text that count: a clause or a description, not a document."""
MAX_LETTERS = 32
"""Letters of a word that are looked at: the longest in the table has 18, and pieces are sought in squared time."""
MAX_MEMO = 8192
"""Pieces of text between white space whose rows are remembered: some 600 bytes each."""
MAX_PIECE = 128
"""Characters of a piece that is remembered whole; of a longer one, its words are."""
LENGTH = 1024
"""Length of a unit vector."""
MAX_SCALE = 1023
"""Largest scale of a row: the sum of MAX_WORDS rows stays below 2**23."""

_SQUARE = LENGTH * LENGTH
_HALF = _SQUARE // 2

MANIFEST_VERSION = 1

# Capitals with a plural s (IDs, URLs), then a run of capitals up to the last before a word, then a word.
_WORD = re.compile(r"[A-Z]{2,}s(?![A-Za-z])|[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SPELLED = str.maketrans({"ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "æ": "ae", "œ": "oe", "đ": "d"})

Total = NDArray[np.int32]
Unit = NDArray[np.int16]


class Embedding:
    """The table, with a bounded memo of rows that were asked for; the memo never changes an answer.

    Parameters
    ----------
    vocabulary : words, and continuations of words marked by ``##``; every Latin letter is among both
    rows : int8, shape (n, dims); `load` sees to it that dims is DIMS
    scales : uint16, shape (n,), at most MAX_SCALE: a word's vector is its row times its scale
    """

    __slots__ = ("_counts", "_memo", "_place", "_rows", "_scales", "_slots", "dims")

    def __init__(self, vocabulary: list[str], rows: NDArray[np.int8], scales: NDArray[np.uint16]) -> None:
        if rows.dtype != np.int8 or rows.ndim != 2 or len(rows) != len(vocabulary):
            raise ArtefactError(f"{len(vocabulary)} words have rows {rows.dtype}{rows.shape}")
        if scales.dtype != np.uint16 or scales.shape != (len(vocabulary),) or (scales > MAX_SCALE).any():
            raise ArtefactError(f"{len(vocabulary)} words have scales {scales.dtype}{scales.shape}")
        self.dims = rows.shape[1]
        self._place = {word: n for n, word in enumerate(vocabulary)}
        self._rows = rows
        self._scales = scales
        self._slots: dict[str, int] = {}
        # For each piece met, the sum over its words, and how many words that are.
        self._memo = np.zeros((MAX_MEMO, self.dims), np.int32)
        self._counts = [0] * MAX_MEMO

    @classmethod
    def load(cls, path: Path) -> Embedding:
        """The table at `path`; its manifest is the ``.json`` beside it.

        Raises `DigestMismatch` where the bytes are not those that the manifest names, `ArtefactError` where
        either file is missing or is not what it should be.
        """
        manifest = read_manifest(path.with_suffix(".json"))
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise ArtefactError(f"{path} cannot be read: {error.strerror}; reinstall") from error
        if hashlib.sha256(raw).hexdigest() != manifest["sha256"]:
            raise DigestMismatch(f"{path} is not the file that its manifest names; fetch it again")
        return cls.parse(raw, str(path))

    @classmethod
    def parse(cls, raw: bytes, name: str) -> Embedding:
        """The table whose file, called `name`, holds `raw`; raises `ArtefactError` where that is none."""
        try:
            with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
                words, rows, scales = arrays["words"], arrays["rows"], arrays["scales"]
            vocabulary = words.tobytes().decode("ascii").split("\n")
        except (BadZipFile, KeyError, OSError, ValueError) as error:
            raise ArtefactError(f"{name} is not a table of words: {error}") from error
        if rows.shape[1:] != (DIMS,):
            raise ArtefactError(f"{name} has rows of shape {rows.shape}, not of {DIMS} columns")
        return cls(vocabulary, rows, scales)

    def __reduce__(self) -> tuple[type[Embedding], tuple[list[str], NDArray[np.int8], NDArray[np.uint16]]]:
        """Without what it remembers: processes that replay sessions are sent it."""
        return Embedding, (list(self._place), self._rows, self._scales)

    @staticmethod
    def words(text: str) -> list[str]:
        """The first MAX_WORDS words of `text`, lower case; identifiers and addresses fall apart, digits go.

        >>> Embedding.words("getUserInfo snake_case_name bob@example.com v2 3.5 IDs")
        ['get', 'user', 'info', 'snake', 'case', 'name', 'bob', 'example', 'ids']
        """
        return _words(text[:MAX_CHARS])[:MAX_WORDS]

    def __contains__(self, word: str) -> bool:
        return word in self._place

    def __len__(self) -> int:
        return len(self._place)

    def total(self, text: str) -> Total:
        """Sum of the vectors of the words of `text`: int32, shape (DIMS,); zeros where it has no word.

        Below 2**23 in each column, so that the totals of 256 texts may be added.
        """
        pieces = text[:MAX_CHARS].split()
        slots = self._slots
        try:
            places = [slots[piece] for piece in pieces]
        except KeyError:
            pieces, places = self._learn(pieces)
        counted = list(accumulate(map(self._counts.__getitem__, places)))
        if not counted or counted[-1] <= MAX_WORDS:
            return self._sum(places)
        whole = bisect_right(counted, MAX_WORDS)
        summed = self._sum(places[:whole])
        left = MAX_WORDS - (counted[whole - 1] if whole else 0)
        for word in _words(pieces[whole])[:left]:
            summed += self.row(word)
        return summed

    def _sum(self, slots: list[int]) -> Total:
        summed: Total = np.add.reduce(self._memo.take(slots, axis=0), axis=0, dtype=np.int32)
        return summed

    def _learn(self, pieces: list[str]) -> tuple[list[str], list[int]]:
        """Remember `pieces`; returns them, with long ones replaced by their words, and where they are."""
        slots = self._slots
        new = set(pieces).difference(slots)
        if max(map(len, new)) > MAX_PIECE:
            pieces = [
                part for piece in pieces for part in ((piece,) if len(piece) <= MAX_PIECE else _words(piece))
            ]
            new = set(pieces).difference(slots)
        if len(slots) + len(new) > MAX_MEMO:  # MAX_CHARS sees to it that a text alone fits
            slots.clear()
            new = set(pieces)
        for piece in new:
            slot = slots[piece] = len(slots)
            words = _words(piece)
            self._counts[slot] = len(words)
            row = self._memo[slot]
            row[:] = 0
            for word in words:
                row += self.row(word)
        return pieces, [slots[piece] for piece in pieces]

    def row(self, word: str) -> Total:
        """Vector of one lower-case word: int32, shape (DIMS,).

        A word that is not in the table is taken for the longest pieces that are, from its left; their mean
        stands for it, so that a run of random letters counts for one word.
        """
        place = self._place.get(word)
        if place is not None:
            known: Total = self._rows[place].astype(np.int32) * self._scales[place]
            return known
        places = pieces_of(word, self._place)
        if not places:
            return np.zeros(self.dims, np.int32)
        summed = self._scales[places].astype(np.int32) @ self._rows[places].astype(np.int32)
        mean: Total = summed // np.int32(len(places))
        return mean


def read_manifest(path: Path) -> Mapping[str, object]:
    """The manifest of a table, its version and digest checked for presence."""
    try:
        manifest = json.loads(path.read_bytes())
    except OSError as error:
        raise ArtefactError(
            f"no manifest {path}: {error.strerror}; run `python -m models.training.distill`"
        ) from error
    except ValueError as error:
        raise ArtefactError(f"{path} is not JSON: {error}") from error
    if (
        not isinstance(manifest, dict)
        or manifest.get("manifest_version") != MANIFEST_VERSION
        or not isinstance(manifest.get("sha256"), str)
    ):
        raise ArtefactError(f"{path} is not a manifest of version {MANIFEST_VERSION}; distil the table again")
    return manifest


def _words(text: str) -> list[str]:
    """Lower-case words of at least two letters. Characters are folded one by one, whatever stands beside.

    What names nothing in an address is no word, see `models.text.addresses`.
    """
    if not text.isascii():
        folded = unicodedata.normalize("NFKD", text).translate(_SPELLED)
        text = "".join(c for c in folded if c < "\x80" or unicodedata.category(c) not in ("Mn", "Cf"))
    return [word[:MAX_LETTERS].lower() for word in _WORD.findall(words_apart(text)) if len(word) > 1]


def pieces_of(word: str, place: Mapping[str, int]) -> list[int]:
    """Places of the longest pieces, from the left, that make up `word`; empty where none do.

    >>> pieces_of("resend", {"re": 4, "##send": 7, "##s": 1, "##end": 2})
    [4, 7]
    """
    places = []
    start = 0
    while start < len(word):
        mark = "##" if start else ""
        for end in range(len(word), start, -1):
            at = place.get(mark + word[start:end])
            if at is not None:
                break
        else:
            return []
        places.append(at)
        start = end
    return places


def unit(vector: Total) -> Unit:
    """`vector` scaled to length LENGTH, each column rounded: int16, same shape; zeros stay zeros."""
    wide = vector.astype(np.int64)
    peak = max(int(wide.max(initial=0)), -int(wide.min(initial=0)))
    if peak >= 1 << 26:  # squares of more would not fit
        wide >>= peak.bit_length() - 26
    length = isqrt(int(wide @ wide) << 40)  # in units of 2**-20: the lengths of short vectors are fractions
    if not length:
        return np.zeros(vector.shape, np.int16)
    return ((wide * (LENGTH << 21) + length) // (2 * length)).astype(np.int16)


def cosine(a: Unit, b: Unit) -> int:
    """Cosine of two unit vectors in thousandths, -1000 to 1000; 0 where either is zeros."""
    dot = int(a.astype(np.int32) @ b.astype(np.int32))
    return max(-1000, min(1000, (dot * 1000 + _HALF) // _SQUARE))


def cosines(matrix: Unit, vector: Unit) -> Total:
    """Cosines in thousandths of the rows of `matrix`, shape (n, DIMS), with `vector`: int32, shape (n,)."""
    # Integer products do not go through BLAS. Sums stay near LENGTH**2, and 1000 times that below 2**31.
    dots = matrix.astype(np.int32) @ vector.astype(np.int32)
    scaled: Total = (dots * np.int32(1000) + np.int32(_HALF)) // np.int32(_SQUARE)
    return np.minimum(np.maximum(scaled, np.int32(-1000)), np.int32(1000))
