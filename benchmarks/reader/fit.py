"""Trains the reader: the first layers of the sentence encoder, as a cross-encoder of what `texts` shows. Needs jax and optax."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax

from benchmarks.reader.pairs import Pairs
from benchmarks.reader.pieces import vocabulary
from benchmarks.reader.texts import LAST_MARK, MAX_PIECES
from models.training.distill_encoder import Floats, find_folder, read_weights

Weights = dict[str, Any]
WIDTH, HEADS = 384, 12
LENGTHS = (48, 64, 80, 96, 112, 128, 144, MAX_PIECES)
"""What rows of a batch are padded to: few, since each is compiled."""
DROPPED = 0.1
"""Share of what the last layer says that is left out while learning."""
SMOOTHED = 0.01
"""How far labels stay from 0 and 1."""


class Recipe(NamedTuple):
    """How a reader is fitted."""

    layers: int = 3
    pairs: int = 60_000
    batch: int = 32
    rate: float = 1.5e-4
    decay: float = 0.01
    warm_up: int = 60
    seed: int = 1
    minutes: float = 1e9  # after which it stops where it is


def encoder(layers: int, seed: int) -> Weights:
    """Weights of the sentence encoder's first layers, and new ones for parts, marks and the answer."""
    kept = read_weights((find_folder() / "model.safetensors").read_bytes())
    rng = np.random.default_rng(seed)
    of = "embeddings"
    drawn = [rng.normal(0, 0.02, shape).astype(np.float32) for shape in ((LAST_MARK, WIDTH), (2 * WIDTH, 1))]
    return {
        "words": kept[f"{of}.word_embeddings.weight"],
        "places": kept[f"{of}.position_embeddings.weight"][:MAX_PIECES]
        + kept[f"{of}.token_type_embeddings.weight"][0],
        "parts": np.zeros((4, WIDTH), np.float32),
        "marks": drawn[0],
        "norm": kept[f"{of}.LayerNorm.weight"],
        "norm_bias": kept[f"{of}.LayerNorm.bias"],
        "layers": [_layer(kept, f"encoder.layer.{n}") for n in range(layers)],
        "answer": drawn[1],
        "answer_bias": np.zeros(1, np.float32),
    }


def _layer(kept: dict[str, Floats], at: str) -> dict[str, Floats]:
    parts = [f"{at}.attention.self.{part}" for part in ("query", "key", "value")]
    return {
        "ask": np.concatenate([kept[f"{part}.weight"] for part in parts]).T,
        "ask_bias": np.concatenate([kept[f"{part}.bias"] for part in parts]),
        "seen": kept[f"{at}.attention.output.dense.weight"].T,
        "seen_bias": kept[f"{at}.attention.output.dense.bias"],
        "norm1": kept[f"{at}.attention.output.LayerNorm.weight"],
        "norm1_bias": kept[f"{at}.attention.output.LayerNorm.bias"],
        "up": kept[f"{at}.intermediate.dense.weight"].T,
        "up_bias": kept[f"{at}.intermediate.dense.bias"],
        "down": kept[f"{at}.output.dense.weight"].T,
        "down_bias": kept[f"{at}.output.dense.bias"],
        "norm2": kept[f"{at}.output.LayerNorm.weight"],
        "norm2_bias": kept[f"{at}.output.LayerNorm.bias"],
    }


def parts_of(pieces: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Which part of the text each piece stands in: 0 intent, 1 call, 2 snippets, 3 padding."""
    ends = pieces == vocabulary()["[SEP]"]
    return np.minimum(np.cumsum(ends, axis=-1) - ends, 3).astype(np.int32)


def _normed(x: Any, weight: Any, bias: Any) -> Any:
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-12) * weight + bias


def forward(w: Weights, pieces: Any, parts: Any, key: Any = None) -> Any:
    """Log odds that each row's call is bad; `key` draws what is left out while learning."""
    rows, length = pieces.shape
    there = pieces != 0
    marked = (pieces > 1) & (pieces <= LAST_MARK)
    x = w["words"][pieces] + w["places"][:length] + w["parts"][parts]
    x = x + w["marks"][jnp.where(marked, pieces - 1, 0)] * marked[..., None]
    x = _normed(x, w["norm"], w["norm_bias"])
    hidden = jnp.where(there, 0.0, -1e9)[:, None, None, :]
    for layer in w["layers"]:
        asked = (x @ layer["ask"] + layer["ask_bias"]).reshape(rows, length, 3, HEADS, WIDTH // HEADS)
        query, about, value = asked[:, :, 0], asked[:, :, 1], asked[:, :, 2]
        heed = jnp.einsum("nqhd,nkhd->nhqk", query, about) / (WIDTH // HEADS) ** 0.5 + hidden
        seen = jnp.einsum("nhqk,nkhd->nqhd", jax.nn.softmax(heed, -1), value).reshape(rows, length, WIDTH)
        x = _normed(x + seen @ layer["seen"] + layer["seen_bias"], layer["norm1"], layer["norm1_bias"])
        inner = jax.nn.gelu(x @ layer["up"] + layer["up_bias"], approximate=False)
        x = _normed(x + inner @ layer["down"] + layer["down_bias"], layer["norm2"], layer["norm2_bias"])
    mean = (x * there[..., None]).sum(1) / there.sum(1, keepdims=True)
    said = jnp.concatenate([x[:, 0], mean], -1)
    if key is not None:
        said = said * jax.random.bernoulli(key, 1 - DROPPED, said.shape) / (1 - DROPPED)
    return (said @ w["answer"] + w["answer_bias"])[:, 0]


def padded(pieces: npt.NDArray[np.uint16]) -> npt.NDArray[np.int32]:
    """Rows of pieces, cut behind the longest of them."""
    longest = int((pieces != 0).sum(-1).max())
    return pieces[:, : next(n for n in LENGTHS if n >= longest)].astype(np.int32)


_answer = jax.jit(forward)


def scores(w: Weights, pieces: npt.NDArray[np.uint16], batch: int = 64) -> npt.NDArray[np.float64]:
    """Log odds of each row."""
    order = np.argsort((pieces != 0).sum(-1), kind="stable")
    found = np.zeros(len(pieces))
    for at in range(0, len(order), batch):
        chosen = order[at : at + batch]
        rows = padded(pieces[np.resize(chosen, batch)])
        found[chosen] = np.asarray(_answer(w, rows, parts_of(rows)))[: len(chosen)]
    return found


def batches(
    pairs: Pairs, chosen: npt.NDArray[np.int64], recipe: Recipe, rng: np.random.Generator
) -> Iterator[Any]:
    """Places of rows of about one length, in an order that `rng` draws."""
    lengths = (pairs.pieces != 0).sum(-1)
    many = recipe.batch * 16
    for at in range(0, len(chosen), many):
        chunk = chosen[at : at + many]
        chunk = chunk[np.argsort(lengths[chunk], kind="stable")]
        groups = [chunk[n : n + recipe.batch] for n in range(0, len(chunk) - recipe.batch + 1, recipe.batch)]
        yield from (groups[n] for n in rng.permutation(len(groups)))


def fitted(
    pairs: Pairs, recipe: Recipe, say: Callable[[str], None], look: Callable[[Weights], None]
) -> Weights:
    """A reader that has learnt from `pairs`; `look` sees it now and then, and changes nothing."""
    rng = np.random.default_rng(recipe.seed)
    w = jax.tree.map(jnp.asarray, encoder(recipe.layers, recipe.seed))
    words = w.pop("words")  # stay as they are: a fifth of the time less, and rare words keep what they mean
    steps = recipe.pairs // recipe.batch
    rate = optax.warmup_cosine_decay_schedule(0.0, recipe.rate, recipe.warm_up, steps, recipe.rate / 20)
    rule = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=recipe.decay))

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(w: Weights, state: Any, pieces: Any, parts: Any, bad: Any, key: Any) -> Any:
        def loss(w: Weights) -> Any:
            wanted = bad * (1 - 2 * SMOOTHED) + SMOOTHED
            told = forward({**w, "words": words}, pieces, parts, key)
            return optax.sigmoid_binary_cross_entropy(told, wanted).mean()

        missed, slope = jax.value_and_grad(loss)(w)
        change, state = rule.update(slope, state, w)
        return optax.apply_updates(w, change), state, missed

    state, began, learnt, missed = rule.init(w), time.monotonic(), 0, []
    chosen = np.concatenate(
        [rng.permutation(len(pairs.bad)) for _ in range(-(-recipe.pairs // len(pairs.bad)))]
    )
    for n, rows in enumerate(batches(pairs, chosen[: recipe.pairs], recipe, rng)):
        pieces = padded(pairs.pieces[rows])
        key = jax.random.key(int(rng.integers(1 << 30)))
        w, state, lost = step(w, state, pieces, parts_of(pieces), pairs.bad[rows].astype(np.float32), key)
        missed.append(float(lost))
        learnt += len(rows)
        took = time.monotonic() - began
        if n % 100 == 99:
            say(
                f"{learnt} of {recipe.pairs} pairs, loss {np.mean(missed[-100:]):.4f}, {learnt / took:.1f} pairs/s"
            )
        if n % 500 == 499:
            look({**w, "words": words})
        if took > 60 * recipe.minutes:
            break
    return jax.tree.map(np.asarray, {**w, "words": words})


def save(w: Weights, path: Path) -> None:
    """Write the weights to a file that `load` reads."""
    flat, _ = jax.tree_util.tree_flatten_with_path(w)
    np.savez(path, **{jax.tree_util.keystr(at): np.asarray(value) for at, value in flat})


def load(path: Path, layers: int) -> Weights:
    """Weights from a file."""
    w = encoder(layers, 0)
    flat, shape = jax.tree_util.tree_flatten_with_path(w)
    with np.load(path) as kept:
        return jax.tree_util.tree_unflatten(shape, [kept[jax.tree_util.keystr(at)] for at, _ in flat])
