"""Which explains a call better: a clause of the intent, or a line that some result said?

Texts are unit vectors of the static embedding, kept as int8; all arithmetic is on whole numbers, so that a row is
the same everywhere, alone or in a batch. Cosines are thousandths. They never stand as evidence by themselves:
they are compared within the session's catalogue, its earlier calls, or the lines that it read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from math import isqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models import embedding
from models.embedding import DIMS, LENGTH

Vector = npt.NDArray[np.int16]
Matrix = npt.NDArray[np.int16]

MAX_CLAUSES = 12
"""Clauses of an intent that are kept: DIMS bytes each."""
MAX_LINES = 24
"""Lines of prose that a session keeps, those first that pull most away from the intent."""
LINE = DIMS + 8
"""Bytes of a kept line: pull (int32), call_seq (uint32), vector (int8)."""
NEUTRAL = 128
"""A z-score as a byte: 128 is the mean, 32 one standard deviation."""
GATE = 250
"""Cosine, in thousandths, from which a line counts as speaking of a call at all (chosen on training suites)."""

ROUNDING = 50
"""Rest of a call, in thousandths, that packed clauses leave of it even if one of them says it word by word."""

_SENTENCES = re.compile(r"(?<=[.!?])\s+|\n+")
_JOINED = re.compile(r";\s+|,? (?:and|then) (?=[a-z]+ )", re.IGNORECASE)
NO_VECTORS: Matrix = np.zeros((0, DIMS), np.int16)


MAX_MEMO = 8192
"""Texts whose vectors are remembered, of at most some 700 bytes each: the same lines and clauses come again."""
MAX_MEMO_CHARS = 256
_met: dict[str, bytes] = {}


def vectors_of(texts: Sequence[str]) -> Matrix:
    """Unit vectors of `texts`, of length 1024; zeros for one of which no word is known."""
    if not texts:
        return NO_VECTORS
    if len(_met) + len(texts) > MAX_MEMO:
        _met.clear()
    known = [_met.get(text) for text in texts]
    if None in known:
        fresh = list(dict.fromkeys(text for text, row in zip(texts, known, strict=True) if row is None))
        read = _read(fresh)
        new = dict(zip(fresh, map(bytes, read), strict=True))
        _met.update((text, row) for text, row in new.items() if len(text) <= MAX_MEMO_CHARS)
        if len(fresh) == len(texts):
            return read
        known = [new[text] if row is None else row for text, row in zip(texts, known, strict=True)]
    found: Matrix = np.frombuffer(b"".join(filter(None, known)), np.int16).reshape(-1, DIMS)
    return found


def _read(texts: Sequence[str]) -> Matrix:
    table = embedding.bundled()
    totals = np.array([table.total(text) for text in texts], np.int64)
    # A root of a whole number below 2**53 is correctly rounded, the same everywhere.
    lengths = np.sqrt(np.einsum("ij,ij->i", totals, totals).astype(np.float64)).astype(np.int64)
    found: Matrix = (totals * LENGTH // np.maximum(1, lengths)[:, None]).astype(np.int16)
    return found


def vector_of(text: str) -> Vector:
    """Unit vector of `text`; zero where no word of it is known."""
    known = _met.get(text)
    if known is not None:
        held: Vector = np.frombuffer(known, np.int16)
        return held
    found: Vector = vectors_of([text])[0]
    return found


def pack(vectors: npt.NDArray[np.integer]) -> bytes:
    """Unit vectors as int8 components."""
    return ((vectors.astype(np.int32) * 127 + 512) >> 10).astype(np.int8).tobytes()


_UNPACKED = ((np.arange(256, dtype=np.uint8).view(np.int8).astype(np.int32) * 2048 + 127) // 254).astype(
    np.int16
)
"""What a packed component, read as a byte, stands for."""


def unpack(raw: bytes) -> Matrix:
    """Packed vectors as rows of length about 1024."""
    found: Matrix = _UNPACKED.take(np.frombuffer(raw, np.uint8)).reshape(-1, DIMS)
    return found


def sentences_of(text: str) -> list[str]:
    """Sentences and lines of a text."""
    return [part.strip() for part in _SENTENCES.split(text[:8000]) if part.strip()]


def clauses_of(text: str) -> list[tuple[str, str]]:
    """An intent's clauses, each with its sentence: what "and" joins counts apart, if it has two words or more.

    >>> [clause for clause, _ in clauses_of("Pay the bill in may.txt and tell Bob. Thanks a lot!")]
    ['Pay the bill in may.txt', 'tell Bob.', 'Thanks a lot!']
    """
    found = [
        (part.strip(), sentence)
        for sentence in sentences_of(text)
        for part in _JOINED.split(sentence)
        if len(part.split()) >= 2
    ] or [(text[:400], text[:400])]
    if len(found) <= MAX_CLAUSES:
        return found
    rest = " ".join(clause for clause, _ in found[MAX_CLAUSES - 1 :])
    return [*found[: MAX_CLAUSES - 1], (rest, rest)]


def standing(values: npt.NDArray[np.integer]) -> bytes:
    """Each value's z-score among all of them, as bytes; alone or all equal they are neutral."""
    n = len(values)
    wide = values.astype(np.int64)
    centred = wide * n - wide.sum()
    spread = isqrt(int((centred * centred).sum()) // n) if n else 0
    if n < 2 or not spread:
        return bytes([NEUTRAL]) * n
    scores: npt.NDArray[np.uint8] = np.clip(NEUTRAL + 32 * centred // spread, 0, 255).astype(np.uint8)
    return scores.tobytes()


def likeness(clauses: bytes, tools: Matrix) -> bytes:
    """How much nearer each tool is to the intent's nearest clause than the catalogue's others, as z-scores."""
    if not clauses or not len(tools):
        return bytes([NEUTRAL]) * len(tools)
    return standing(_products(unpack(clauses), tools).max(axis=0))


MAX_MEAN = 8
"""Texts that a running mean counts as at most: later ones still move it."""


def mean_with(held: bytes, vector: Vector, n: int) -> bytes:
    """The packed direction of a running mean `held` of `n` texts, once `vector` joins them."""
    total = vector.astype(np.int32)
    if held:
        total += unpack(held)[0] * np.int16(min(n, MAX_MEAN))  # below 2**14
    size = isqrt(int(total @ total))
    return pack(total * LENGTH // size) if size else held


def cosine_to(held: bytes, vector: Vector) -> int:
    """Cosine of a packed direction and a unit vector, in thousandths; 0 without one."""
    return int(_products(unpack(held), vector[None, :])[0, 0]) if held else 0


def _products(a: Matrix, b: Matrix) -> npt.NDArray[np.int32]:
    """Cosines of unit rows, in thousandths.

    Every product and sum is a whole number below 2**53: floats hold them exactly, in whatever order they are added.
    """
    return (a.astype(np.float64) @ b.T.astype(np.float64)).astype(np.int32) * 1000 >> 20


_FINE = 20
"""Bits of a basis vector's length: with as few as a vector has, what is left of near copies would be rounding."""


@lru_cache(maxsize=2048)
def span(clauses: bytes) -> npt.NDArray[np.int64]:
    """Orthonormal basis (length 2**_FINE) of what packed clauses span, by Gram-Schmidt."""
    basis: list[npt.NDArray[np.int64]] = []
    for clause in unpack(clauses).astype(np.int64) << 10 if clauses else ():
        rest = beside(clause, np.array(basis, np.int64).reshape(-1, DIMS))
        size = isqrt(int(rest @ rest))
        if size >= 1 << _FINE - 3:  # what is left of a near copy is rounding
            basis.append((rest << _FINE) // size)
    return np.array(basis, np.int64).reshape(-1, DIMS)


def beside(vector: npt.NDArray[np.int64], basis: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """What a basis leaves of a vector of length 2**_FINE; taken twice, since the first time rounds."""
    for _ in range(2):
        vector = vector - (basis * (basis @ vector >> _FINE)[:, None] >> _FINE).sum(axis=0)
    return vector


class Explained(NamedTuple):
    """How far a call is explained, in thousandths.

    Attributes
    ----------
    clause : place of the nearest clause, -1 without any
    nearness : its cosine
    rest : length of what the intent's clauses leave unexplained of the call
    gain : how much of that rest the best line explains, 0 below the gate
    line : call whose result said that line, -1 without one
    line_tool : cosine of that line and the tool
    """

    clause: int
    nearness: int
    rest: int
    gain: int
    line: int
    line_tool: int


def explain(call: Vector, tool: Vector, clauses: bytes, lines: bytes) -> Explained:
    """Which clause is nearest to a call, and which line explains best what the clauses leave of it."""
    if not call.any():
        return Explained(-1, 0, 0, 0, -1, 0)
    clause, nearness = -1, 0
    rest = call.astype(np.int64) << 10
    if clauses:
        near = _products(unpack(clauses), call[None, :])[:, 0]
        clause = int(near.argmax())
        nearness = int(near[clause])
        rest = beside(rest, span(clauses))
    size = isqrt(int(rest @ rest))
    share = min(1000, size * 1000 >> _FINE)
    if not lines or share < ROUNDING:
        return Explained(clause, nearness, share, 0, -1, 0)
    rows = np.frombuffer(lines, np.uint8).reshape(-1, LINE)
    spoken = unpack(rows[:, 8:].tobytes())
    rest_unit = (rest * LENGTH // size).astype(np.int16)
    gains = _products(spoken, rest_unit[None, :])[:, 0]
    best = int(gains.argmax())
    if gains[best] < GATE:
        return Explained(clause, nearness, share, 0, -1, 0)
    said = int.from_bytes(rows[best, 4:8].tobytes(), "little")
    with_tool = int(_products(spoken[best : best + 1], tool[None, :])[0, 0])
    return Explained(clause, nearness, share, int(gains[best]) * share // 1000, said, with_tool)


def with_lines(held: bytes, talk: Sequence[str], call: int, likeness_: bytes, tools: Matrix) -> bytes:
    """The lines that a session keeps once call `call` answered with `talk`.

    A line pulls as far as it raises some tool of the catalogue above where the intent has it.
    """
    spoken = vectors_of(talk)
    told = spoken.any(axis=1)
    if not told.all():
        spoken = spoken[told]
        if not len(spoken):
            return held
    heads = np.zeros((len(spoken), 2), "<u4")
    heads[:, 1] = min(call, 2**32 - 1)
    pulls = heads[:, 0].view("<i4")
    if len(tools):
        near = _products(spoken, tools)
        asked = (np.frombuffer(likeness_, np.uint8).astype(np.int32) - NEUTRAL) * 2
        pulls[:] = (near - asked).max(axis=1) - near.sum(axis=1) // len(tools)
    fresh = np.empty((len(spoken), LINE), np.uint8)
    fresh[:, :8] = heads.view(np.uint8)
    fresh[:, 8:] = np.frombuffer(pack(spoken), np.uint8).reshape(-1, DIMS)
    if len(held) + fresh.size <= MAX_LINES * LINE:
        return held + fresh.tobytes()
    rows = np.concatenate([np.frombuffer(held, np.uint8).reshape(-1, LINE), fresh])
    strength = np.ascontiguousarray(rows[:, :4]).view("<i4")[:, 0]
    kept = np.argsort(-strength.astype(np.int64), kind="stable")[:MAX_LINES]
    return rows[np.sort(kept)].tobytes()
