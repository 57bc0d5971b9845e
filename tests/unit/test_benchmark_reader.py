"""The reader of the experiment: whole numbers give the same bytes alone, in a batch and with any padding, near what floats give."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.reader.exact import Reader
from benchmarks.reader.texts import LAST_MARK, MARKS, scalars, segments

WIDTH, WORDS, LONGEST = 48, 300, 40
Floats = npt.NDArray[np.float64]


def weights(seed: int, layers: int = 2) -> dict[str, Any]:
    """Weights of the form that a fit leaves, drawn."""
    rng = np.random.default_rng(seed)

    def drawn(*shape: int) -> npt.NDArray[np.float32]:
        return rng.normal(0, 0.4, shape).astype(np.float32)

    def layer() -> dict[str, Any]:
        shapes = {
            "ask": (WIDTH, 3 * WIDTH),
            "seen": (WIDTH, WIDTH),
            "up": (WIDTH, 4 * WIDTH),
            "down": (4 * WIDTH, WIDTH),
        }
        dense = {name: drawn(*shape) for name, shape in shapes.items()}
        biases = {f"{name}_bias": drawn(shape[1]) for name, shape in shapes.items()}
        norms = {name: 1 + drawn(WIDTH) for name in ("norm1", "norm2")}
        return {**dense, **biases, **norms, **{f"{name}_bias": drawn(WIDTH) for name in norms}}

    return {
        "words": drawn(WORDS, WIDTH),
        "places": drawn(LONGEST, WIDTH),
        "parts": drawn(4, WIDTH),
        "marks": drawn(LAST_MARK, WIDTH),
        "norm": 1 + drawn(WIDTH),
        "norm_bias": drawn(WIDTH),
        "layers": [layer() for _ in range(layers)],
        "answer": drawn(2 * WIDTH, 1),
        "answer_bias": drawn(1),
    }


def rows(seed: int, n: int) -> npt.NDArray[np.int32]:
    """Rows of pieces of different lengths, padded."""
    rng = np.random.default_rng(seed)
    pieces = rng.integers(1, WORDS, (n, LONGEST)).astype(np.int32)
    for row, length in zip(pieces, rng.integers(1, LONGEST, n), strict=True):
        row[length:] = 0
    return pieces


def parts(pieces: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    return np.minimum(np.arange(pieces.shape[1]) // 9, 3)[None, :].repeat(len(pieces), 0).astype(np.int32)


def in_floats(w: dict[str, Any], pieces: npt.NDArray[np.int32]) -> Floats:
    """The same encoder, plainly, in floats of 64 bits; `pieces` of one row without padding."""

    def normed(x: Floats, name: str, of: dict[str, Any]) -> Floats:
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x * x).mean(-1, keepdims=True)) * of[name] + of[f"{name}_bias"]

    (row,) = pieces
    x = w["words"][row].astype(float) + w["places"][: len(row)] + w["parts"][parts(pieces)[0]]
    marked = (row > 1) & (row <= LAST_MARK)
    x = normed(x + np.where(marked[:, None], w["marks"][np.where(marked, row - 1, 0)], 0), "norm", w)
    for layer in w["layers"]:
        query, about, value = (
            part.reshape(len(row), 12, -1).transpose(1, 0, 2)
            for part in np.split(x @ layer["ask"] + layer["ask_bias"], 3, axis=-1)
        )
        heed = np.exp(query @ about.transpose(0, 2, 1) / 32**0.5)
        seen = (heed / heed.sum(-1, keepdims=True) @ value).transpose(1, 0, 2).reshape(len(row), -1)
        x = normed(x + seen @ layer["seen"] + layer["seen_bias"], "norm1", layer)
        inner = x @ layer["up"] + layer["up_bias"]
        curved = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / 2**0.5))
        x = normed(x + curved @ layer["down"] + layer["down_bias"], "norm2", layer)
    return np.concatenate([x[0], x.mean(0)]) @ w["answer"] + w["answer_bias"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_row_is_read_alike_alone_in_a_batch_and_with_any_padding(seed: int) -> None:
    reader, pieces = Reader(weights(seed)), rows(seed, 12)
    together = reader.read(pieces, parts(pieces))
    for row, score in zip(pieces, together, strict=True):
        length = int((row != 0).sum())
        for padded in (length, (length + LONGEST) // 2, LONGEST):
            cut = row[None, :padded]
            assert reader.read(cut, parts(cut))[0] == score
    assert len(set(together.tolist())) == len(together)


def test_whole_numbers_say_about_what_floats_say() -> None:
    w, pieces = weights(4), rows(4, 60)
    as_floats = np.array([in_floats(w, row[None, : int((row != 0).sum())])[0] for row in pieces])
    whole = Reader(w).read(pieces, parts(pieces))
    assert np.corrcoef(as_floats, whole)[0, 1] > 0.995
    assert np.abs(as_floats - whole).mean() < 0.1 * as_floats.std()


def test_an_answer_falls_into_rows_of_fields_and_sentences() -> None:
    record = {
        "id": 7,
        "from": "ann",
        "body": "Please come on Friday. " * 4,
        "more": [{"to": "bob"}, {"to": "eve"}],
    }
    assert segments(record)[0] == "id: 7, from: ann"
    assert segments(record)[-2:] == ["to: bob", "to: eve"]
    assert segments("One sentence. Another one;\nand a line") == [
        "One sentence.",
        "Another one;",
        "and a line",
    ]
    assert segments('{"a": 1}') == ["a: 1"]
    assert segments("{no json}") == ["{no json}"]
    assert segments(None) == []


def test_arguments_are_told_with_the_names_that_they_stand_under() -> None:
    assert list(scalars({"to": ["ann", "bob"], "of": {"n": 3, "x": None}})) == [
        ("to", "ann"),
        ("to", "bob"),
        ("n", "3"),
    ]


def test_marks_are_pieces_of_their_own_before_all_words() -> None:
    told = [*MARKS, MARKS.first + 1, MARKS.first + 2]
    assert sorted(told) == list(range(2, LAST_MARK + 1))
