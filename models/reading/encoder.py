"""The encoder in whole numbers: the same bytes on every machine, in every batch.

Products are of whole numbers whose sums stay below 2**24, which float32 holds exactly in any order, so BLAS may take them. What
remains is elementwise and rounds alike everywhere (IEEE 754: sums, products, quotients, square roots), is a look-up in a table
that comes with the weights, or is a sum of whole numbers below 2**53. No function of the mathematics library lies on the way.

The layers are those of BERT (Devlin et al., 2019) behind a cross-encoder's single answer, from a page's first piece and the mean
of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from models.reading.pieces import FIRST_HASH, Mark

Floats = npt.NDArray[np.float32]
MOST = np.float32(127)
LEAST_UNIT = np.float32(1e-6)
FINE = 4096
"""Steps of one in which a value stands before it is normed."""
HALF = 1024
"""Rows of weights that are multiplied at once: HALF * 127 * 127 is below 2**24."""
CURVE_STEPS, CURVE_END = 128, 8
"""The curve of an inner value: steps of one that it stands in, and from where on it is the value itself."""
HEED_STEPS, HEED_END = 64, 16
"""... and that of how much a piece heeds another, by its distance below the greatest, from where on it is nothing."""
PARTS = 4
MATRICES = ("ask", "seen", "up", "down")
NORMS = ("norm1", "norm2")


@cache
def _blas() -> ThreadpoolController:
    """The threads that multiply: looked up once, which takes longer than a page."""
    return ThreadpoolController().select(user_api="blas")


class Matrix:
    """Weights as whole numbers of at most 127, with what one of them is worth, a column each."""

    def __init__(self, whole: npt.NDArray[np.int8], unit: Floats, bias: Floats) -> None:
        self.whole, self.unit, self.bias = whole.astype(np.float32), unit, bias

    def of(self, x: Floats) -> Floats:
        """`x` times the weights, and the bias."""
        whole, unit = rows_of(x)
        total = whole[:, :HALF] @ self.whole[:HALF]
        for at in range(HALF, len(self.whole), HALF):
            total += whole[:, at : at + HALF] @ self.whole[at : at + HALF]
        total *= unit
        total *= self.unit
        total += self.bias
        return total


def rows_of(x: Floats) -> tuple[Floats, Floats]:
    """Rows as whole numbers of at most 127, and what one of them is worth in each row."""
    unit = np.maximum(np.abs(x).max(-1, keepdims=True), LEAST_UNIT) / MOST
    whole = x / unit
    return np.rint(whole, out=whole), unit


def normed(x: Floats, weight: Floats, bias: Floats) -> Floats:
    """Rows of mean 0 and variance 1, scaled."""
    steps = x * np.float32(FINE)
    fine = np.rint(steps, out=steps).astype(np.float64)
    n = x.shape[-1]
    mean = np.add.reduce(fine, -1, keepdims=True) / n
    spread = np.add.reduce(fine * fine, -1, keepdims=True) / n - mean * mean
    fine -= mean
    fine *= 1 / np.sqrt(np.maximum(spread, 1.0))
    found: Floats = fine.astype(np.float32)
    found *= weight
    found += bias
    return found


def parts_of(pieces: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Which part of the page each piece stands in: 0 intent, 1 call, 2 snippets; the weights know 3 too, of padding while they were fitted."""
    ends = pieces == Mark.END
    found: npt.NDArray[np.int32] = np.minimum(np.cumsum(ends, axis=-1) - ends, PARTS - 1).astype(np.int32)
    return found


class Encoder:
    """A fitted encoder.

    Parameters
    ----------
    arrays : by name, as `quantised` writes them
    """

    def __init__(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        words = arrays["words"] * arrays["words.unit"]
        self._words = _matrix(arrays, "widen").of(words) if "widen" in arrays else words
        self._places, self._parts, self._marks = arrays["places"], arrays["parts"], arrays["marks"]
        self._norm = arrays["norm"], arrays["norm_bias"]
        self._curve, self._heed = arrays["curve"], arrays["heed"]
        self._heads = int(arrays["heads"])
        self._layers: list[tuple[dict[str, Matrix], dict[str, tuple[Floats, Floats]]]] = []
        while f"{len(self._layers)}.ask" in arrays:
            at = f"{len(self._layers)}."
            self._layers.append(
                (
                    {name: _matrix(arrays, at + name) for name in MATRICES},
                    {name: (arrays[at + name], arrays[f"{at}{name}_bias"]) for name in NORMS},
                )
            )
        self._answer = _matrix(arrays, "answer")

    @property
    def n_pieces(self) -> int:
        """Pieces that it knows."""
        return len(self._words)

    def read(self, pages: Sequence[Sequence[int]]) -> Floats:
        """Log odds that the call of each page serves something else than what is asked."""
        # One page at a time stays in the processor's cache; more threads than one would wait for each other, and other judges for them.
        with _blas().limit(limits=1):
            return np.array([self._read(np.array(page, np.int32)) for page in pages], np.float32)

    def _read(self, pieces: npt.NDArray[np.int32]) -> np.float32:
        x = self._words[pieces] + self._places[: len(pieces)] + self._parts[parts_of(pieces)]
        marked = pieces < FIRST_HASH
        x = x + self._marks[np.where(marked, pieces, 0)] * marked[:, None]
        x = normed(x.astype(np.float32), *self._norm)
        for matrices, norms in self._layers:
            x = self._through(matrices, norms, x)
        fine = np.rint(x * np.float32(FINE)).astype(np.float64)
        mean = np.add.reduce(fine, 0) / len(pieces) / FINE
        answer: np.float32 = self._answer.of(np.concatenate([x[0], mean.astype(np.float32)])[None])[0, 0]
        return answer

    def _through(
        self, matrices: Mapping[str, Matrix], norms: Mapping[str, tuple[Floats, Floats]], x: Floats
    ) -> Floats:
        x = normed(x + matrices["seen"].of(self._heeded(matrices["ask"].of(x))), *norms["norm1"])
        inner = matrices["up"].of(x)
        steps = inner * np.float32(CURVE_STEPS)
        np.rint(steps, out=steps)
        steps += CURVE_END * CURVE_STEPS
        curved = self._curve.take(steps.astype(np.intp), mode="clip")
        np.copyto(curved, inner, where=inner > CURVE_END)
        return normed(x + matrices["down"].of(curved), *norms["norm2"])

    def _heeded(self, asked: Floats) -> Floats:
        """What each piece takes from those that it heeds, of queries, keys and values side by side."""
        query, about, value = asked.reshape(len(asked), 3, self._heads, -1).transpose(1, 2, 0, 3)
        query, of_query = rows_of(query)
        about, of_about = rows_of(about)
        of_value = np.maximum(np.abs(value).max((1, 2), keepdims=True), LEAST_UNIT) / MOST
        heed = query @ about.transpose(0, 2, 1)
        heed *= of_query
        heed *= of_about.transpose(0, 2, 1)
        heed *= 1 / np.sqrt(np.float32(query.shape[-1]))
        np.subtract(heed.max(-1, keepdims=True), heed, out=heed)
        heed *= np.float32(HEED_STEPS)
        np.rint(heed, out=heed)
        weights = self._heed.take(heed.astype(np.intp), mode="clip")
        whole = value / of_value
        seen: Floats = weights @ np.rint(whole, out=whole)
        seen *= of_value
        seen /= np.add.reduce(weights, -1, keepdims=True)
        return seen.transpose(1, 0, 2).reshape(len(asked), -1)


def _matrix(arrays: Mapping[str, npt.NDArray[Any]], name: str) -> Matrix:
    return Matrix(arrays[name], arrays[f"{name}.unit"], arrays[f"{name}_bias"])
