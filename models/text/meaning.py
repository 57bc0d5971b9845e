"""Which explains a call better: a clause of the intent, or a line that some result said?

Texts are unit vectors of the static embedding, kept as int8; all arithmetic is on whole numbers, in floats wide enough
to hold every one of them exactly, so that a row is the same everywhere, alone or in a batch. Cosines are thousandths.
Most are compared within the session's catalogue, its earlier calls, or the lines that it read; how near the call is to the
intent, to the session's work, and a line to the tool, stand as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import isqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.text.embedding import DIMS, LENGTH
from models.text.index import DESCRIBED
from models.text.vectors import (
    UNPACKED,
    Fine,
    Matrix,
    Vector,
    pack,
    pack_into,
    unpack,
)

MAX_CLAUSES = 12
"""Clauses of an intent that are kept: DIMS bytes each."""
MAX_LINES = 24
"""Lines of prose that a session keeps, those first that pull most away from the intent."""
_LINE = np.dtype([("pull", "<i4"), ("call", "<u4"), ("vector", "i1", DIMS)])
LINE = _LINE.itemsize
"""Bytes of a kept line: how far it pulls away from the intent, the call whose result said it, its packed vector."""
NEUTRAL = 128
"""A z-score as a byte: 128 is the mean, 32 one standard deviation."""
GATE = 250
"""Cosine, in thousandths, from which a line counts as speaking of a call at all (chosen on training suites)."""

ROUNDING = 50
"""Rest of a call, in thousandths, that packed clauses leave of it even if one of them says it word by word."""

_SENTENCES = re.compile(r"(?<=[.!?])\s+|\n+")
_JOINED = re.compile(r";\s+|,? (?:and|then) (?=[a-z]+ )", re.IGNORECASE)
MIN_TOOLS = 4
"""Tools of a catalogue that an intent's clauses are chosen by: one or two say little of what is wanted."""
MAX_READ = 8000
"""Characters of an intent that are read as a whole."""
MAX_CHOSEN_FROM = 32_768
"""Characters of an intent whose clauses are chosen from."""


def sentences_of(text: str, most: int = MAX_READ) -> list[str]:
    """Sentences and lines of a text, of at most so many characters from its beginning and its end."""
    if len(text) > most:
        text = f"{text[: most // 2]}\n{text[-most // 2 :]}"
    return [part.strip() for part in _SENTENCES.split(text) if part.strip()]


Nearness = Callable[[Sequence[str]], Sequence[int] | None]
"""How near each text is to the nearest tool of a catalogue: cosines, in thousandths; None where too few tools tell nothing."""


def clauses_of(text: str, nearness: Nearness | None = None) -> list[tuple[str, str]]:
    """An intent's clauses, each with its sentence: what "and" joins counts apart, if it has two words or more.

    Of too many, those are kept that are nearest to any tool, or where that cannot be told the first and the last; the others
    are one clause, the last. Most of a long intent is role, rules and manners, and the request stands anywhere in it.

    >>> [clause for clause, _ in clauses_of("Pay the bill in may.txt and tell Bob. Thanks a lot!")]
    ['Pay the bill in may.txt', 'tell Bob.', 'Thanks a lot!']
    """
    clauses = [
        (part.strip(), sentence)
        for sentence in sentences_of(text, MAX_CHOSEN_FROM)
        for part in _JOINED.split(sentence)
        if len(part.split()) >= 2
    ] or [(text[:400], text[:400])]
    if len(clauses) <= MAX_CLAUSES:
        return clauses
    clauses = list({clause: (clause, sentence) for clause, sentence in clauses}.values())
    if len(clauses) <= MAX_CLAUSES:
        return clauses
    places = range(len(clauses))
    like = nearness([clause for clause, _ in clauses]) if nearness is not None else None
    if like is not None:
        best = sorted(places, key=lambda at: (-like[at], at))[: MAX_CLAUSES - 1]
    else:
        best = sorted(places, key=lambda at: min(at, len(clauses) - 1 - at))[: MAX_CLAUSES - 1]
    rest = " ".join(clauses[at][0] for at in places if at not in best)
    return [*(clauses[at] for at in sorted(best)), (rest, rest)]


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


def nearest(texts: Matrix, tools: Matrix) -> list[int]:
    """Cosine of each unit row of `texts` with the nearest of `tools`, in thousandths."""
    cosines: list[int] = _products(texts, tools).max(axis=1).tolist()
    return cosines


def likeness(clauses: bytes, tools: Matrix) -> bytes:
    """How much nearer each tool is to the intent's nearest clause than the catalogue's others, as z-scores."""
    if not clauses or not len(tools):
        return bytes([NEUTRAL]) * len(tools)
    return standing(_products(unpack(clauses), tools).max(axis=0))


MAX_MEAN = 8
"""Texts that a running mean counts as at most: later ones still move it."""


def mean_with(mean: bytes, vector: Vector, n: int) -> bytes:
    """The packed direction of a running mean of `n` texts, once `vector` joins them."""
    total = vector.astype(np.float64)
    if mean:
        total += unpack(mean)[0] * np.float32(min(n, MAX_MEAN))
    size = isqrt(int(total @ total))
    return pack(np.floor(total * LENGTH / size)) if size else mean


def cosine_to(direction: bytes, vector: Vector) -> int:
    """Cosine of a packed direction and a unit vector, in thousandths; 0 without one."""
    return int(unpack(direction)[0] @ vector) * 1000 >> 20 if direction else 0


def _products(a: Matrix, b: Matrix) -> npt.NDArray[np.int32]:
    """Cosines of the unit rows of `a` with a unit vector, or with unit rows, in thousandths."""
    return (a @ b.T).astype(np.int32) * 1000 >> 20


_FINE = 20
"""Bits of a basis vector's length: with as few as a vector has, what is left of near copies would be rounding."""
_ONE = float(1 << _FINE)
"""... as a float: products of two such lengths stay below 2**53, where floats hold every whole number."""


class Spanned(NamedTuple):
    """The clauses of an intent, and an orthonormal basis (length 2**_FINE) of what they span."""

    clauses: Matrix
    basis: Fine


@lru_cache(maxsize=2048)
def span(clauses: bytes) -> Spanned:
    """What packed clauses span, by Gram-Schmidt."""
    rows = unpack(clauses)
    basis = np.zeros((0, DIMS))
    for clause in rows.astype(np.float64) * (_ONE / LENGTH):
        rest = beside(clause, basis)
        size = isqrt(int(rest @ rest))
        if size >= 1 << _FINE - 3:  # what is left of a near copy is rounding
            basis = np.vstack([basis, np.floor(rest * _ONE / size)])
    return Spanned(rows, basis)


def beside(vector: Fine, basis: Fine) -> Fine:
    """What a basis leaves of a vector of length 2**_FINE; taken twice, since the first time rounds."""
    for _ in range(2):
        shares = np.floor(basis @ vector / _ONE) / _ONE
        vector = vector - np.add.reduce(np.floor(basis * shares[:, None]))
    return vector


_DESCRIBED = 2**32 - 1
"""A line's call, packed, where no call but a description said it: `models.text.index.DESCRIBED`."""
_LATEST = _DESCRIBED - 1


class Explained(NamedTuple):
    """How far a call is explained, in thousandths.

    Attributes
    ----------
    clause : place of the nearest clause, -1 without any
    nearness : its cosine
    rest : length of what the intent's clauses leave unexplained of the call
    gain : how much of that rest the best line explains, 0 below the gate
    line : call whose result said that line, or `models.text.index.DESCRIBED`, which stands here without one too
    line_tool : cosine of that line and the tool
    line_vector : what that line means, as a unit vector; None without one
    """

    clause: int
    nearness: int
    rest: int
    gain: int
    line: int
    line_tool: int
    line_vector: Vector | None = None


def explain(call: Vector, tool: Vector, clauses: bytes, lines: bytes) -> Explained:
    """Which clause is nearest to a call, and which line explains best what the clauses leave of it."""
    if not np.count_nonzero(call):
        return Explained(-1, 0, 0, 0, -1, 0)
    clause, nearness = -1, 0
    rest = call.astype(np.float64) * (_ONE / LENGTH)
    if clauses:
        intent = span(clauses)
        near = _products(intent.clauses, call).tolist()
        nearness = max(near)
        clause = near.index(nearness)
        rest = beside(rest, intent.basis)
    size = isqrt(int(rest @ rest))
    share = min(1000, size * 1000 >> _FINE)
    if not lines or share < ROUNDING:
        return Explained(clause, nearness, share, 0, -1, 0)
    kept = np.frombuffer(lines, _LINE)
    spoken: Matrix = UNPACKED.take(kept["vector"].view(np.uint8))
    gains = _products(spoken, np.floor(rest * LENGTH / size).astype(np.float32)).tolist()
    gain = max(gains)
    if gain < GATE:
        return Explained(clause, nearness, share, 0, -1, 0)
    best = gains.index(gain)
    with_tool = int(spoken[best] @ tool) * 1000 >> 20
    said = int(kept["call"][best])
    said = DESCRIBED if said == _DESCRIBED else said
    return Explained(clause, nearness, share, gain * share // 1000, said, with_tool, spoken[best])


_ASKED = (np.arange(256, dtype=np.int32) - NEUTRAL) * 2
"""How far the intent speaks of a tool, by its likeness, to set against a line's cosine."""


def with_lines(lines: bytes, spoken: Matrix, call: int, likeness_: bytes, tools: Matrix) -> bytes:
    """The lines that a session keeps once call `call` answered with what `spoken` means, a row a line.

    A line pulls as far as it raises some tool of the catalogue above where the intent has it.
    """
    known = np.logical_or.reduce(spoken, axis=1)
    if not np.logical_and.reduce(known):
        spoken = spoken[known]
        if not len(spoken):
            return lines
    fresh = np.zeros(len(spoken), _LINE)
    fresh["call"] = min(call, _LATEST) if call >= 0 else _DESCRIBED
    pack_into(fresh["vector"], spoken)
    if len(tools):
        near = _products(spoken, tools)
        asked = _ASKED.take(np.frombuffer(likeness_, np.uint8))
        fresh["pull"] = np.maximum.reduce(near - asked, axis=1) - np.add.reduce(near, axis=1) // len(tools)
    if len(lines) + fresh.nbytes <= MAX_LINES * LINE:
        return lines + fresh.tobytes()
    rows = np.concatenate([np.frombuffer(lines, _LINE), fresh])
    kept = np.argsort(-rows["pull"].astype(np.int64), kind="stable")[:MAX_LINES]
    return rows[np.sort(kept)].tobytes()
