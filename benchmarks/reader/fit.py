"""Trains the reader: the first layers of the sentence encoder, as a cross-encoder of what `texts` shows. Needs jax and optax."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax

from benchmarks.reader.pairs import Pairs
from benchmarks.reader.vocabulary import encoder_places
from benchmarks.reader.whole import HEADS, Weights
from models.reading.encoder import PARTS, parts_of
from models.reading.page import MAX_PAGE
from models.reading.pieces import FIRST_HASH, FIRST_WORD, Mark
from models.training.distill_encoder import Floats, find_folder, read_weights

WIDTH = 384
LENGTHS = (48, 64, 80, 96, 112, 128, 144, MAX_PAGE)
"""What rows of a batch are padded to: few, since each is compiled."""
LOOKED = 400
"""Batches after which a fit is looked at."""
DROPPED = 0.1
"""Share of what the last layer says that is left out while learning."""
UNKNOWN, CLASSIFIES, SEPARATES = 100, 101, 102
"""Places of the sentence encoder's own marks for what it does not know, a beginning and an end."""
SPOKEN = {
    Mark.SAID: "asked",
    Mark.FIRST: "first",
    Mark.SECOND: "second",
    Mark.THIRD: "third",
    Mark.NOWHERE: "unknown",
    Mark.TEXT: ":",
    Mark.ARGUMENT: ";",
}
"""What other marks begin as: words that mean about the same."""
TAUGHT = 0.8
"""What a larger reader's word is worth beside the labels."""
SMOOTHED = 0.01
"""How far labels stay from 0 and 1."""


class Recipe(NamedTuple):
    """How a reader is fitted."""

    layers: int = 6
    frozen: int = 3  # of these the first, which stay as they are, with all that lies before them
    pairs: int = 20_000
    batch: int = 32
    rate: float = 1e-4
    decay: float = 0.01
    warm_up: int = 60
    seed: int = 1
    minutes: float = 1e9  # after which it stops where it is


def encoder(words: Sequence[str], layers: int, seed: int) -> Weights:
    """Weights of the sentence encoder's first layers, and new ones for hashes, parts, marks and the answer."""
    kept = read_weights((find_folder() / "model.safetensors").read_bytes())
    rng = np.random.default_rng(seed)
    of = "embeddings"
    known, places = kept[f"{of}.word_embeddings.weight"], encoder_places()
    own = known[UNKNOWN] + rng.normal(0, known.std(), (FIRST_WORD, WIDTH)).astype(np.float32)
    own[Mark.START], own[Mark.END] = known[CLASSIFIES], known[SEPARATES]
    for mark, word in SPOKEN.items():
        own[mark] = known[places[word]]
    return {
        "words": np.concatenate([own, known[[places[word] for word in words]]]),
        "places": kept[f"{of}.position_embeddings.weight"][:MAX_PAGE]
        + kept[f"{of}.token_type_embeddings.weight"][0],
        "parts": np.zeros((PARTS, WIDTH), np.float32),
        "marks": np.zeros((FIRST_HASH, WIDTH), np.float32),
        "norm": kept[f"{of}.LayerNorm.weight"],
        "norm_bias": kept[f"{of}.LayerNorm.bias"],
        "layers": [_layer(kept, f"encoder.layer.{n}") for n in range(layers)],
        "answer": rng.normal(0, 0.02, (2 * WIDTH, 1)).astype(np.float32),
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


def _normed(x: Any, weight: Any, bias: Any) -> Any:
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-12) * weight + bias


def forward(w: Weights, pieces: Any, parts: Any, key: Any = None) -> Any:
    """Log odds that each row's call is bad; `key` draws what is left out while learning."""
    rows, length = pieces.shape
    there = pieces != 0
    marked = (pieces > 0) & (pieces < FIRST_HASH)
    x = w["words"][pieces] + w["places"][:length] + w["parts"][parts]
    x = x + w["marks"][jnp.where(marked, pieces, 0)] * marked[..., None]
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


def student(teacher: Weights, kept: Sequence[int]) -> Weights:
    """What a smaller reader begins as: some layers of a larger one, and all that lies before and behind them."""
    return {**teacher, "layers": [teacher["layers"][n] for n in kept]}


def fitted(
    pairs: Pairs,
    begun: Weights,
    recipe: Recipe,
    say: Callable[[str], None],
    look: Callable[[Weights], None],
    told: npt.NDArray[np.floating[Any]] | None = None,
) -> Weights:
    """A reader that has learnt from `pairs`; `look` sees it now and then, and changes nothing.

    Parameters
    ----------
    begun : what it is before
    told : log odds that a larger reader gives each of the pairs, where one teaches it
    """
    rng = np.random.default_rng(recipe.seed)
    w = jax.tree.map(jnp.asarray, begun)
    wanted = np.where(pairs.bad, 1 - SMOOTHED, SMOOTHED)
    if told is not None:
        wanted = TAUGHT / (1 + np.exp(-told)) + (1 - TAUGHT) * wanted
    learning = {
        "layers": w["layers"][recipe.frozen :],
        "answer": w["answer"],
        "answer_bias": w["answer_bias"],
    }

    def whole(learning: Weights) -> Weights:
        return {**w, **learning, "layers": [*w["layers"][: recipe.frozen], *learning["layers"]]}

    steps = recipe.pairs // recipe.batch
    rate = optax.warmup_cosine_decay_schedule(0.0, recipe.rate, recipe.warm_up, steps, recipe.rate / 20)
    rule = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=recipe.decay))

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(learning: Weights, state: Any, pieces: Any, parts: Any, wanted: Any, key: Any) -> Any:
        def loss(learning: Weights) -> Any:
            told = forward(whole(learning), pieces, parts, key)
            return optax.sigmoid_binary_cross_entropy(told, wanted).mean()

        missed, slope = jax.value_and_grad(loss)(learning)
        change, state = rule.update(slope, state, learning)
        return optax.apply_updates(learning, change), state, missed

    state, began, learnt, missed = rule.init(learning), time.monotonic(), 0, []
    chosen = np.concatenate(
        [rng.permutation(len(pairs.bad)) for _ in range(-(-recipe.pairs // len(pairs.bad)))]
    )
    for n, rows in enumerate(batches(pairs, chosen[: recipe.pairs], recipe, rng)):
        pieces = padded(pairs.pieces[rows])
        key = jax.random.key(int(rng.integers(1 << 30)))
        learning, state, lost = step(
            learning, state, pieces, parts_of(pieces), wanted[rows].astype(np.float32), key
        )
        missed.append(float(lost))
        learnt += len(rows)
        took = time.monotonic() - began
        if n % 100 == 99:
            say(
                f"{learnt} of {recipe.pairs} pairs, loss {np.mean(missed[-100:]):.4f}, {learnt / took:.1f} pairs/s"
            )
        if n % LOOKED == LOOKED - 1:
            look(whole(learning))
        if took > 60 * recipe.minutes:
            break
    return jax.tree.map(np.asarray, whole(learning))


def save(w: Weights, path: Path) -> None:
    """Write the weights to a file that `load` reads."""
    flat, _ = jax.tree_util.tree_flatten_with_path(w)
    np.savez(path, **{jax.tree_util.keystr(at): np.asarray(value) for at, value in flat})


def load(path: Path) -> Weights:
    """Weights from a file."""
    found: Weights = {"layers": []}
    with np.load(path) as kept:
        for name in kept.files:
            at, *inner = re.findall(r"\['(\w+)'\]|\[(\d+)\]", name)
            if not inner:
                found[at[0]] = kept[name]
                continue
            (_, number), (part, _) = inner
            while len(found["layers"]) <= int(number):
                found["layers"].append({})
            found["layers"][int(number)][part] = kept[name]
    return found
