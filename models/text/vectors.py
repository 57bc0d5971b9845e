"""Texts as unit vectors of one table of words, and as the bytes that a session keeps of them.

Components are whole numbers, in floats wide enough to hold every sum of theirs exactly, so that a text has the same vector
everywhere, alone or in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.text.embedding import DIMS, LENGTH, Embedding

Vector = npt.NDArray[np.float32]
"""Whole numbers. The products of two unit vectors add up to 2**20 at most, in magnitude: float32 holds each such sum."""
Matrix = npt.NDArray[np.float32]
Fine = npt.NDArray[np.float64]

NO_VECTORS: Matrix = np.zeros((0, DIMS), np.float32)
MAX_MEMO = 8192
"""Texts whose vectors are remembered, of at most some 900 bytes each: the same lines and clauses come again."""
MAX_MEMO_CHARS = 256


class Vectoriser:
    """Unit vectors of texts, of length `LENGTH`; zeros for one of which no word is known.

    What it remembers never changes an answer. It is not for more than one thread at a time.

    Parameters
    ----------
    table : the words
    """

    def __init__(self, table: Embedding) -> None:
        self.table = table
        self._memo: dict[str, bytes] = {}

    def __reduce__(self) -> tuple[type[Vectoriser], tuple[Embedding]]:
        """Without what it remembers: processes that replay sessions are sent it."""
        return Vectoriser, (self.table,)

    def vectors_of(self, texts: Sequence[str]) -> Matrix:
        """Unit vectors of `texts`: float32, shape (n, DIMS)."""
        if not texts:
            return NO_VECTORS
        memo = self._memo
        if len(memo) + len(texts) > MAX_MEMO:
            memo.clear()
        known = [memo.get(text) for text in texts]
        if None in known:
            fresh = list(dict.fromkeys(text for text, row in zip(texts, known, strict=True) if row is None))
            read = self._read(fresh)
            new = dict(zip(fresh, map(bytes, read), strict=True))
            memo.update((text, row) for text, row in new.items() if len(text) <= MAX_MEMO_CHARS)
            if len(fresh) == len(texts):
                return read
            known = [new[text] if row is None else row for text, row in zip(texts, known, strict=True)]
        vectors: Matrix = np.frombuffer(b"".join(filter(None, known)), np.float32).reshape(-1, DIMS)
        return vectors

    def vector_of(self, text: str) -> Vector:
        """Unit vector of `text`: float32, shape (DIMS,)."""
        known = self._memo.get(text)
        if known is not None:
            held: Vector = np.frombuffer(known, np.float32)
            return held
        vector: Vector = self._read([text])[0]
        if len(text) <= MAX_MEMO_CHARS:
            if len(self._memo) >= MAX_MEMO:
                self._memo.clear()
            self._memo[text] = vector.tobytes()
        return vector

    def _read(self, texts: Sequence[str]) -> Matrix:
        totals = np.empty((len(texts), DIMS))
        for row, text in zip(totals, texts, strict=True):
            row[:] = self.table.total(text)
        # A root of a whole number below 2**53 is correctly rounded, the same everywhere.
        lengths = np.floor(np.sqrt(np.add.reduce(totals * totals, axis=1)))
        vectors: Matrix = np.floor(totals * LENGTH / np.maximum(lengths, 1)[:, None]).astype(np.float32)
        return vectors


def pack(vectors: Matrix | Fine) -> bytes:
    """Unit vectors as int8 components, rounded."""
    packed = np.empty(vectors.shape, np.int8)
    pack_into(packed, vectors)
    return packed.tobytes()


def pack_into(packed: npt.NDArray[np.int8], vectors: Matrix | Fine) -> None:
    """Likewise, into an array of the same shape."""
    np.floor(vectors * (127 / LENGTH) + 0.5, out=packed, casting="unsafe")


UNPACKED = ((np.arange(256, dtype=np.uint8).view(np.int8).astype(np.int32) * 2048 + 127) // 254).astype(
    np.float32
)
"""What a packed component, read as a byte, stands for."""


def unpack(raw: bytes) -> Matrix:
    """Packed vectors as rows of length about `LENGTH`."""
    rows: Matrix = UNPACKED.take(np.frombuffer(raw, np.uint8)).reshape(-1, DIMS)
    return rows
