"""The reader in whole numbers: the same bytes on every machine, in every batch, with any padding.

Products are of whole numbers whose sums stay below 2**24, which float32 holds exactly in any order, so BLAS may take them. What
remains is elementwise and rounds alike everywhere (IEEE 754: sums, products, quotients, square roots), is a look-up in a table, or
is a sum of whole numbers below 2**53. No function of the mathematics library lies on the way.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.reader.texts import LAST_MARK

Floats = npt.NDArray[np.float32]
MOST = np.float32(127)
FINE = 4096
"""Steps of one in which a value stands before it is normed."""
GELU = np.array([x * 0.5 * (1 + math.erf(x / 2**0.5)) for x in np.arange(-1024, 1025) / 128], np.float32)
EXP = np.rint(127 * np.array([math.exp(-n / 64) for n in range(1025)])).astype(np.float32)
"""Of an attention's distance below the greatest, in 64ths: what weight it has, of 127. A release would carry both tables."""


class Matrix:
    """Weights as whole numbers of at most 127, with what one of them is worth, a column each."""

    def __init__(self, weights: Floats, bias: Floats) -> None:
        self.unit = (np.maximum(np.abs(weights).max(0), 1e-9) / 127).astype(np.float32)
        self.whole = np.ascontiguousarray(np.rint(weights / self.unit), np.float32)
        self.bias = bias.astype(np.float32)

    def of(self, x: Floats) -> Floats:
        """`x` times the weights, and the bias."""
        whole, unit = rows_of(x)
        half = 1024  # rows of weights: 1024 * 127 * 127 is below 2**24
        total = whole[:, :half] @ self.whole[:half]
        if len(self.whole) > half:
            total += whole[:, half:] @ self.whole[half:]
        total *= unit
        total *= self.unit
        total += self.bias
        return total


def rows_of(x: Floats) -> tuple[Floats, Floats]:
    """Rows as whole numbers of at most 127, and what one of them is worth in each row."""
    unit = np.maximum(np.abs(x).max(-1, keepdims=True), np.float32(1e-6)) / MOST
    return np.rint(x / unit), unit


def normed(x: Floats, weight: Floats, bias: Floats) -> Floats:
    """Rows of mean 0 and variance 1, scaled."""
    fine = np.rint(x * np.float32(FINE)).astype(np.float64)
    n = x.shape[-1]
    mean = np.add.reduce(fine, -1, keepdims=True) / n
    spread = np.add.reduce(fine * fine, -1, keepdims=True) / n - mean * mean
    unit = 1 / np.sqrt(np.maximum(spread, 1.0))
    return ((fine - mean) * unit).astype(np.float32) * weight + bias


class Reader:
    """A fitted reader, whose weights were made whole."""

    def __init__(self, w: dict[str, Any]) -> None:
        self.unit = (np.abs(w["words"]).max(1, keepdims=True) / 127 + 1e-12).astype(np.float32)
        self.words = np.rint(w["words"] / self.unit).astype(np.int8)
        self.w = {
            name: np.asarray(value, np.float32)
            for name, value in w.items()
            if name not in ("layers", "words")
        }
        self.layers = [
            {
                **{
                    name: Matrix(layer[name], layer[f"{name}_bias"]) for name in ("ask", "seen", "up", "down")
                },
                **{name: np.asarray(layer[name], np.float32) for name in layer if name.startswith("norm")},
            }
            for layer in w["layers"]
        ]
        self.answer = Matrix(w["answer"], w["answer_bias"])

    def read(self, pieces: npt.NDArray[Any], parts: npt.NDArray[Any]) -> Floats:
        """Log odds of each row of word pieces, padded with zeros."""
        n, length = pieces.shape
        there = pieces != 0
        marked = (pieces > 1) & (pieces <= LAST_MARK)
        x = self.words[pieces] * self.unit[pieces] + self.w["places"][:length] + self.w["parts"][parts]
        x = x + self.w["marks"][np.where(marked, pieces - 1, 0)] * marked[..., None]
        x = normed(x.astype(np.float32), self.w["norm"], self.w["norm_bias"])
        x = x.reshape(n * length, -1)
        for layer in self.layers:
            x = self._through(layer, x, there)
        fine = np.rint(x.reshape(n, length, -1) * np.float32(FINE)).astype(np.float64) * there[..., None]
        mean = np.add.reduce(fine, 1) / there.sum(1, keepdims=True) / FINE
        first = x.reshape(n, length, -1)[:, 0]
        return self.answer.of(np.concatenate([first, mean.astype(np.float32)], -1))[:, 0]

    def _through(self, layer: dict[str, Any], x: Floats, there: npt.NDArray[np.bool_]) -> Floats:
        n, length = there.shape
        asked = layer["ask"].of(x).reshape(n, length, 3, 12, -1).transpose(2, 0, 3, 1, 4)
        query, of_query = rows_of(asked[0])
        about, of_about = rows_of(asked[1])
        # of padding nothing is read, so what one is worth must not depend on it
        value = asked[2] * there[:, None, :, None]
        of_value = np.maximum(np.abs(value).max((2, 3), keepdims=True), np.float32(1e-6)) / MOST
        heed = query @ about.transpose(0, 1, 3, 2)
        heed *= of_query
        heed *= of_about.transpose(0, 1, 3, 2)
        heed *= np.float32(32**-0.5)
        heed += np.where(there, np.float32(0), np.float32(-1e9))[:, None, None, :]
        heed -= heed.max(-1, keepdims=True)
        weights = EXP.take(np.minimum(np.rint(heed * np.float32(-64)), np.float32(1024)).astype(np.int32))
        seen = (weights @ np.rint(value / of_value)) * of_value / np.add.reduce(weights, -1, keepdims=True)
        seen = seen.transpose(0, 2, 1, 3).reshape(n * length, -1)
        x = normed(x + layer["seen"].of(seen), layer["norm1"], layer["norm1_bias"])
        inner = layer["up"].of(x)
        curved = GELU.take(np.clip(np.rint(inner * np.float32(128)), -1024, 1024).astype(np.int32) + 1024)
        curved = np.where(inner > 8, inner, curved)
        return normed(x + layer["down"].of(curved), layer["norm2"], layer["norm2_bias"])
