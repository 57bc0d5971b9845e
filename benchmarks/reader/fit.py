"""Trains the reader: the sentence encoder, as a cross-encoder of a call's page. Needs torch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.reader.pairs import Pairs
from benchmarks.reader.vocabulary import encoder_places
from benchmarks.reader.whole import HEADS, Weights, layers_of
from models.reading.encoder import PARTS, parts_of
from models.reading.page import MAX_PAGE
from models.reading.pieces import FIRST_HASH, FIRST_WORD, Mark
from models.training.distill_encoder import Floats, find_folder, read_weights

WIDTH = 384
STEP = 16
"""Rows are padded to a multiple of it: few lengths, since each is prepared for."""
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
    frozen: int = 0  # of these the first, which stay as they are, with all that lies before them
    pairs: int = 90_000
    batch: int = 32
    rate: float = 5e-5
    decay: float = 0.01
    hidden: float = 0.1  # share of what each layer adds that is left out while learning
    masked: float = 0.0  # share of words that are shown as unknown while learning
    warm_up: int = 100
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
    w = {
        "words": np.concatenate([own, known[[places[word] for word in words]]]),
        "places": kept[f"{of}.position_embeddings.weight"][:MAX_PAGE]
        + kept[f"{of}.token_type_embeddings.weight"][0],
        "parts": np.zeros((PARTS, WIDTH), np.float32),
        "marks": np.zeros((FIRST_HASH, WIDTH), np.float32),
        "norm": kept[f"{of}.LayerNorm.weight"],
        "norm_bias": kept[f"{of}.LayerNorm.bias"],
        "answer": rng.normal(0, 0.02, (2 * WIDTH, 1)).astype(np.float32),
        "answer_bias": np.zeros(1, np.float32),
    }
    for n in range(layers):
        w |= {f"{n}.{name}": value for name, value in _layer(kept, f"encoder.layer.{n}").items()}
    return {name: np.ascontiguousarray(value, np.float32) for name, value in w.items()}


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


def forward(
    w: dict[str, Tensor], pieces: Tensor, parts: Tensor, dropped: float = 0.0, hidden: float = 0.0
) -> Tensor:
    """Log odds that each row's call is bad; of what the last layer says, and each layer adds, a share is left out while learning."""
    rows, length = pieces.shape
    there = pieces != 0
    marked = (pieces < FIRST_HASH) & there
    x = F.embedding(pieces, w["words"])
    if "widen" in w:
        x = x @ w["widen"] + w["widen_bias"]
    x = x + w["places"][:length] + F.embedding(parts, w["parts"])
    x = x + F.embedding(torch.where(marked, pieces, 0), w["marks"]) * marked[..., None]
    width = x.shape[-1]

    def some(x: Tensor) -> Tensor:
        return F.dropout(x, hidden, training=hidden > 0)

    def normed(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (width,), w[name], w[f"{name}_bias"], 1e-12)

    x, unseen = some(normed(x, "norm")), torch.where(there, 0.0, -1e4)[:, None, None]
    for n in range(layers_of(w)):
        asked = (x @ w[f"{n}.ask"] + w[f"{n}.ask_bias"]).view(rows, length, 3, HEADS, -1)
        query, about, value = asked.permute(2, 0, 3, 1, 4)
        heed = query * query.shape[-1] ** -0.5 @ about.transpose(-1, -2) + unseen.to(query.dtype)
        # Plain softmax would leave bfloat16, and torch's own attention is three times slower at this size.
        seen = (torch._softmax(heed, -1, False) @ value).transpose(1, 2).reshape(rows, length, -1)
        x = normed(x + some(seen @ w[f"{n}.seen"] + w[f"{n}.seen_bias"]), f"{n}.norm1")
        inner = F.gelu(x @ w[f"{n}.up"] + w[f"{n}.up_bias"])
        x = normed(x + some(inner @ w[f"{n}.down"] + w[f"{n}.down_bias"]), f"{n}.norm2")
    mean = (x * there[..., None]).sum(1) / there.sum(1, keepdim=True)
    said = F.dropout(torch.cat([x[:, 0], mean], -1), dropped, training=dropped > 0)
    return (said @ w["answer"] + w["answer_bias"])[:, 0].float()


def rows_of(pieces: npt.NDArray[np.uint16]) -> tuple[Tensor, Tensor]:
    """Rows of pieces, cut behind the longest of them or a little later, and the part of the page that each stands in."""
    longest = int((pieces != 0).sum(-1).max())
    cut = pieces[:, : -(-longest // STEP) * STEP].astype(np.int32)
    return torch.from_numpy(cut), torch.from_numpy(parts_of(cut))


def scores(w: Weights, pieces: npt.NDArray[np.uint16], batch: int = 64) -> npt.NDArray[np.float64]:
    """Log odds of each row."""
    order = np.argsort((pieces != 0).sum(-1), kind="stable")
    found, held = np.zeros(len(pieces)), tensors(w)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for at in range(0, len(order), batch):
            chosen = order[at : at + batch]
            found[chosen] = forward(held, *rows_of(pieces[chosen])).numpy()
    return found


def tensors(w: Weights) -> dict[str, Tensor]:
    """The weights as torch holds them."""
    return {name: torch.from_numpy(np.array(value)) for name, value in w.items()}


def batches(pairs: Pairs, recipe: Recipe, rng: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    """Places of rows of about one length, in an order that `rng` draws; each row again only when all were had."""
    rounds = -(-recipe.pairs // len(pairs.bad))
    chosen = np.concatenate([rng.permutation(len(pairs.bad)) for _ in range(rounds)])[: recipe.pairs]
    lengths = (pairs.pieces != 0).sum(-1)
    many = recipe.batch * 16
    for at in range(0, len(chosen), many):
        chunk = chosen[at : at + many]
        chunk = chunk[np.argsort(lengths[chunk], kind="stable")]
        groups = [chunk[n : n + recipe.batch] for n in range(0, len(chunk) - recipe.batch + 1, recipe.batch)]
        yield from (groups[n] for n in rng.permutation(len(groups)))


def with_unknowns(
    pieces: npt.NDArray[np.uint16], share: float, rng: np.random.Generator
) -> npt.NDArray[np.uint16]:
    """Rows in which a share of the words is shown as words that no vocabulary spells."""
    chosen = (pieces >= FIRST_WORD) & (rng.random(pieces.shape) < share)
    return np.where(chosen, rng.integers(FIRST_HASH, FIRST_WORD, pieces.shape, np.uint16), pieces)


def student(teacher: Weights, kept: Sequence[int], inner: int, columns: int) -> Weights:
    """What a smaller reader begins as: some layers of a larger one, and all that lies before and behind them.

    Parameters
    ----------
    kept : the layers
    inner : values in the middle of each of them: those whose weights are greatest
    columns : of the table of words, which one more matrix widens: the directions in which it spreads most
    """
    found = {name: value for name, value in teacher.items() if not name[0].isdigit()}
    for n, of in enumerate(kept):
        layer = {
            name.removeprefix(f"{of}."): value for name, value in teacher.items() if name.startswith(f"{of}.")
        }
        size = np.linalg.norm(layer["up"], axis=0) * np.linalg.norm(layer["down"], axis=1)
        those = np.sort(np.argsort(-size, kind="stable")[:inner])
        layer |= {
            "up": layer["up"][:, those],
            "up_bias": layer["up_bias"][those],
            "down": layer["down"][those],
        }
        found |= {f"{n}.{name}": value for name, value in layer.items()}
    if columns < WIDTH:
        left, spread, right = np.linalg.svd(found["words"], full_matrices=False)
        found["words"] = left[:, :columns] * spread[:columns]
        found |= {"widen": right[:columns], "widen_bias": np.zeros(WIDTH, np.float32)}
    return found


def _learns(name: str, recipe: Recipe) -> bool:
    layer = name.split(".")[0]
    return name.startswith("answer") or (
        int(layer) >= recipe.frozen if layer.isdigit() else recipe.frozen == 0
    )


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
    torch.manual_seed(recipe.seed)
    w = tensors(begun)
    learning = [value.requires_grad_() for name, value in w.items() if _learns(name, recipe)]
    wanted = np.where(pairs.bad, 1 - SMOOTHED, SMOOTHED)
    if told is not None:
        wanted = TAUGHT / (1 + np.exp(-told)) + (1 - TAUGHT) * wanted
    steps = recipe.pairs // recipe.batch
    rule = torch.optim.AdamW(learning, recipe.rate, weight_decay=recipe.decay, fused=True)

    def pace(n: int) -> float:
        left = max(0.0, (steps - n) / max(1, steps - recipe.warm_up))
        return min(1.0, (n + 1) / recipe.warm_up) * (0.05 + 0.95 * (1 - math.cos(math.pi * min(1, left))) / 2)

    paced = torch.optim.lr_scheduler.LambdaLR(rule, pace)
    began, learnt, missed = time.monotonic(), 0, list[float]()
    for n, chosen in enumerate(batches(pairs, recipe, rng)):
        with torch.autocast("cpu", torch.bfloat16):
            shown = with_unknowns(pairs.pieces[chosen], recipe.masked, rng)
            answered = forward(w, *rows_of(shown), DROPPED, recipe.hidden)
        lost = F.binary_cross_entropy_with_logits(
            answered, torch.from_numpy(wanted[chosen].astype(np.float32))
        )
        lost.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        rule.step()
        paced.step()
        rule.zero_grad()
        missed.append(lost.item())
        learnt += len(chosen)
        took = time.monotonic() - began
        if n % 100 == 99:
            say(
                f"{learnt} of {recipe.pairs} pairs, loss {np.mean(missed[-100:]):.4f}, {learnt / took:.1f} pairs/s"
            )
        if n % LOOKED == LOOKED - 1:
            look(_held(w))
        if took > 60 * recipe.minutes:
            break
    return _held(w)


def _held(w: dict[str, Tensor]) -> Weights:
    return {name: value.detach().numpy().copy() for name, value in w.items()}


def save(w: Weights, path: Path) -> None:
    """Write the weights to a file that `load` reads."""
    np.savez(path, **w)


def load(path: Path) -> Weights:
    """Weights from a file."""
    with np.load(path) as kept:
        return {name: kept[name] for name in kept.files}
