"""Fits `models.heads.vagueness` on intents that were written for it, and on ordinary ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from models.heads.vagueness import RARE, UNIT, Vagueness, words_of
from models.release.readers import load_words
from models.text.embedding import LENGTH
from models.text.vectors import Vectoriser
from models.training import corpora
from models.training.heads import handover

INTENTS = "intents.jsonl"
"""Intents that tell nothing and short ones that do: author, text, whether it tells anything."""
REPORT = ("b",)
"""Authors of whom nothing is learnt."""
PREAMBLE = "You are a helpful assistant. Use the available tools and follow the instructions of the user."
"""What is put before intents that tell something, to see whether they are still heard."""
_MEANS = 3
"""How much what a text means counts beside one word of it."""


class LabelledIntent(NamedTuple):
    """An intent, and whether its author says that it tells anything."""

    author: str
    text: str
    tells: bool


def intents() -> list[LabelledIntent]:
    """The intents that were written for it."""
    return list(corpora.lines(INTENTS, LabelledIntent))


def without(authors: Collection[str], told: Sequence[LabelledIntent]) -> list[LabelledIntent]:
    """What others said, and these authors did not."""
    theirs = {one.text.lower() for one in told if one.author in authors}
    return [one for one in told if one.author not in authors and one.text.lower() not in theirs]


def ordinary() -> list[str]:
    """Sentences, requests and intents of written tasks: nearly all of them tell something."""
    single, whole = handover.to_learn_from()
    return [s.text for s in (*single, *whole, *handover.intents())]


def fit(
    told: Sequence[LabelledIntent],
    words: Vectoriser,
    others: Iterable[str] = (),
    *,
    weight: float = 0.4,
    least: int = 2,
) -> Vagueness:
    """Logistic regression.

    Parameters
    ----------
    words : what tells a text's meaning
    others : texts that tell something, each of which counts as `weight` of one that was written for this
    least : of these, texts that a word must stand in, or else it is rare
    """
    spread = Counter(stem for one in told for stem in words_of(one.text))
    known = {stem for stem, n in spread.items() if n >= least}
    texts = [one.text for one in told] + list(others)

    def row(text: str) -> dict[str, int]:
        stems = words_of(text)
        rare = min(RARE, len(stems - known))
        return dict.fromkeys(sorted(stems & known), 1) | {f"rare {n + 1}": 1 for n in range(rare)}

    columns = DictVectorizer()
    seen = columns.fit_transform(map(row, texts))
    X = hstack([seen, csr_matrix(words.vectors_of(texts) * (_MEANS / LENGTH))]).tocsr()
    nothing = np.array([not one.tells for one in told] + [False] * (len(texts) - len(told)))
    counts = np.array([1.0] * len(told) + [weight] * (len(texts) - len(told)))
    model = LogisticRegression(max_iter=3000).fit(X, nothing, sample_weight=counts)
    weights = np.round(model.coef_[0] * UNIT).astype(int).tolist()
    at = columns.vocabulary_
    return Vagueness(
        {stem: weights[at[stem]] for stem in sorted(known)},
        [weights[at[f"rare {n + 1}"]] for n in range(RARE)],
        [round(_MEANS * w) for w in weights[len(at) :]],
        round(float(model.intercept_[0]) * UNIT),
        words,
    )


def measured(head: Vagueness, told: Sequence[LabelledIntent]) -> dict[str, float]:
    """Area under the ROC curve; per cent taken to say nothing, of those that say nothing and of short ones that tell."""
    truth = np.array([not one.tells for one in told])
    taken = np.array([head.is_vague(one.text) for one in told])
    return {
        "area": round(float(roc_auc_score(truth, [head.of(one.text) for one in told])), 3),
        "vague": round(100 * float(taken[truth].mean()), 1),
        "short, taken for vague": round(100 * float(taken[~truth].mean()), 1),
        "behind a preamble, taken for vague": round(
            100 * float(np.mean([head.is_vague(f"{PREAMBLE} {one.text}") for one in told if one.tells])), 1
        ),
    }


def file() -> dict[str, Any]:
    """What ``vagueness.json`` holds: learnt from all to learn from, measured on authors that were not learnt from."""
    told, others, words = intents(), ordinary(), load_words()
    learnt = without(REPORT, told)
    head = fit(learnt, words, others)
    figures: dict[str, Any] = {}
    for author in sorted({one.author for one in told}):
        theirs = [one for one in told if one.author == author]
        other = head if author in REPORT else fit(without({*REPORT, author}, told), words, others)
        figures[f"{author}, learnt on the others"] = measured(other, theirs)
    halves = [fit(learnt, words, others[1 - n :: 2]) for n in (0, 1)]
    wrong = sum(half.is_vague(text) for n, half in enumerate(halves) for text in others[n::2])
    figures["ordinary ones, learnt on the other half: per cent taken for vague"] = round(
        100 * wrong / len(others), 2
    )
    return {
        "measured": figures,
        "intents": dict(sorted(Counter(one.author for one in told).items())),
        "ordinary": len(others),
        "weights": head.weights,
        "rare": head.rare,
        "meaning": head.meaning,
        "bias": head.bias,
    }
