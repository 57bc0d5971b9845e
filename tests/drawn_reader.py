"""A reader that learnt nothing: weights are drawn, so that what it says depends on every piece of a page."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmarks.reader.whole import Weights, quantised
from models.reading.encoder import Encoder
from models.reading.page import MAX_PAGE
from models.reading.pieces import FIRST_HASH, Pieces
from models.reading.reader import Reader

WIDTH, WORDS, LONGEST = 48, 300, 40
"""Of the encoder that `weights` draws: columns, pieces, and the longest page."""
Floats = npt.NDArray[np.float64]


def weights(
    seed: int, layers: int = 2, words: int = WORDS, longest: int = LONGEST, columns: int = WIDTH
) -> Weights:
    """Weights of the form that a fit leaves, drawn; a table of words of fewer columns is widened."""
    rng = np.random.default_rng(seed)

    def drawn(*shape: int) -> npt.NDArray[np.float32]:
        return rng.normal(0, 0.4, shape).astype(np.float32)

    found = {
        "words": drawn(words, columns),
        "places": drawn(longest, WIDTH),
        "parts": drawn(4, WIDTH),
        "marks": drawn(FIRST_HASH, WIDTH),
        "norm": 1 + drawn(WIDTH),
        "norm_bias": drawn(WIDTH),
        "answer": drawn(2 * WIDTH, 1),
        "answer_bias": drawn(1),
    }
    if columns < WIDTH:
        found |= {"widen": drawn(columns, WIDTH), "widen_bias": drawn(WIDTH)}
    shapes = {
        "ask": (WIDTH, 3 * WIDTH),
        "seen": (WIDTH, WIDTH),
        "up": (WIDTH, 4 * WIDTH),
        "down": (4 * WIDTH, WIDTH),
    }
    for n in range(layers):
        for name, shape in shapes.items():
            found |= {f"{n}.{name}": drawn(*shape), f"{n}.{name}_bias": drawn(shape[1])}
        for name in ("norm1", "norm2"):
            found |= {f"{n}.{name}": 1 + drawn(WIDTH), f"{n}.{name}_bias": drawn(WIDTH)}
    return found


PIECES = Pieces([
    *"abcdefghijklmnopqrstuvwxyz0123456789.,-_/:@+?!",
    *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz0123456789"),
    "the", "pay", "bill", "bob", "invoice", "account", "net", "note", "code", "mail", "read", "##ice",
])  # fmt: skip


def reader(seed: int = 1) -> Reader:
    """A reader of `PIECES`."""
    arrays = quantised(weights(seed, 1, len(PIECES), MAX_PAGE))
    return Reader(PIECES, Encoder(arrays))
