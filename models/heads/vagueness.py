"""Does an intent tell anything of what will be done, or with what?

"You are a helpful assistant" and "do what is needed" say nothing to judge against, "you are a nutrition coach" and
"refund him" do. A linear model over the words of an intent, over how many of them are rare, and over what it means says
how sure it is that nothing is told. It learnt from intents that were written for it, and from the requests and sentences
of `models.heads.handover` and the written tasks, which all tell something. How well it holds on authors whom it did not
learn from stands in its file, which ``python -m models.heads.vagueness`` rebuilds.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from models.heads import handover
from models.heads.learnt import Learnt, demand_whole, read
from models.text.embedding import DIMS, LENGTH
from models.text.meaning import MAX_READ, sentences_of, vector_of, vectors_of
from models.text.privacy import HASHED
from models.tools.catalogue import stem
from models.training.corpora import CORPORA

BUNDLED = Path(__file__).resolve().parents[1] / "release" / "bundled" / "vagueness.json"
INTENTS = CORPORA / "intents.jsonl"
"""Intents that tell nothing and short ones that do: author, text, whether it tells anything."""
REPORT = ("b",)
"""Authors of whom nothing is learnt."""
SURE = 50
"""Log odds, in hundredths, from which on an intent is taken to say nothing (chosen on authors held out)."""
RARE = 3
"""So many rare words are told apart from fewer."""

_UNIT = 1 << 12
_MEANS = 3
"""How much what a text means counts beside one word of it."""
_ENDS = frozenset(".,;:?")
PREAMBLE = "You are a helpful assistant. Use the available tools and follow the instructions of the user."
"""What is put before intents that tell something, to see whether they are still heard."""


def words_of(text: str) -> set[str]:
    """Stems of a text's words; names, quotes, numbers and addresses are a mark each.

    >>> sorted(words_of("Handle the requests of 'Ops', ticket 17."))
    ['<quote>', '<thing>', 'handl', 'of', 'request', 'the', 'ticket']
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return {stem(mark) for mark in handover.marks(plain) if mark not in _ENDS}


class Vagueness:
    """How sure it is that a text tells nothing.

    Parameters
    ----------
    weights : by word, in units of 1 / 4096 of log odds; a word without is rare
    rare : of a text with at least one rare word, two, and so on
    meaning : by column of the text's unit vector, whose length is `LENGTH`
    bias : likewise
    """

    def __init__(
        self, weights: Mapping[str, int], rare: Sequence[int], meaning: Sequence[int], bias: int
    ) -> None:
        if len(rare) != RARE or len(meaning) != DIMS:
            raise ValueError(f"there are not {RARE} weights of rare words and {DIMS} of meaning")
        self._weights = dict(weights)
        self._rare = [sum(rare[:n]) for n in range(RARE + 1)]
        self._meaning = np.array(meaning, np.int64)
        self._bias = bias
        self.document = {"weights": self._weights, "rare": list(rare), "meaning": list(meaning), "bias": bias}

    def of(self, text: str) -> int:
        """Log odds, in hundredths, that a text of at most `handover.MAX_CHARS` characters tells nothing.

        0 for one of which no word is known: it may be of another language.
        """
        words = words_of(text)
        known = [weight for word in words if (weight := self._weights.get(word)) is not None]
        if not known:
            return 0
        meant = int(self._meaning @ vector_of(text).astype(np.int64)) // LENGTH
        total = sum(known) + self._rare[min(RARE, len(words) - len(known))] + meant + self._bias
        return 100 * total // _UNIT

    def is_vague(self, text: str) -> bool:
        """Whether neither a sentence of `text` nor a longer part tells anything: a request may follow whatever stands before it."""
        if not any(map(str.isalnum, text)):
            return True
        if len(text) > MAX_READ or HASHED in text:
            return False  # its middle is not read; what is hashed is named
        pieces = dict.fromkeys((*sentences_of(text), *handover.parts_of(text)))
        return all(self.of(piece) >= SURE for piece in pieces)


@lru_cache(maxsize=1)
def bundled() -> Vagueness:
    """What comes with the code."""

    def made_of(document: Any) -> Vagueness:
        made = Vagueness(document["weights"], document["rare"], document["meaning"], document["bias"])
        demand_whole((made._bias, *made._weights.values(), *document["rare"], *document["meaning"]))
        return made

    return read(BUNDLED, "models.heads.vagueness", made_of)


_IN_USE = Learnt(bundled)
current, instead = _IN_USE.current, _IN_USE.instead


# ------------------------------------------------------------------ learning it


class Said(NamedTuple):
    """An intent, and whether its author says that it tells anything."""

    author: str
    text: str
    tells: bool


def intents() -> list[Said]:
    """The intents that were written for it."""
    rows = map(json.loads, INTENTS.read_text(encoding="utf-8").splitlines())
    return [Said(row["author"], row["text"], row["tells"]) for row in rows]


def without(authors: Collection[str], told: Sequence[Said]) -> list[Said]:
    """What others said, and these authors did not."""
    theirs = {one.text.lower() for one in told if one.author in authors}
    return [one for one in told if one.author not in authors and one.text.lower() not in theirs]


def ordinary() -> list[str]:
    """Sentences, requests and intents of written tasks: nearly all of them tell something."""
    single, whole = handover.to_learn_from()
    return [s.text for s in (*single, *whole, *handover.intents())]


def fit(
    told: Sequence[Said], others: Iterable[str] = (), *, weight: float = 0.4, least: int = 2
) -> Vagueness:
    """Logistic regression.

    Parameters
    ----------
    others : texts that tell something, each of which counts as `weight` of one that was written for this
    least : of these, texts that a word must stand in, or else it is rare
    """
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression

    spread = Counter(word for one in told for word in words_of(one.text))
    known = {word for word, n in spread.items() if n >= least}
    texts = [one.text for one in told] + list(others)

    def row(text: str) -> dict[str, int]:
        words = words_of(text)
        rare = min(RARE, len(words - known))
        return dict.fromkeys(sorted(words & known), 1) | {f"rare {n + 1}": 1 for n in range(rare)}

    columns = DictVectorizer()
    seen = columns.fit_transform(map(row, texts))
    X = hstack([seen, csr_matrix(vectors_of(texts) * (_MEANS / LENGTH))]).tocsr()
    nothing = np.array([not one.tells for one in told] + [False] * (len(texts) - len(told)))
    counts = np.array([1.0] * len(told) + [weight] * (len(texts) - len(told)))
    model = LogisticRegression(max_iter=3000).fit(X, nothing, sample_weight=counts)
    found = np.round(model.coef_[0] * _UNIT).astype(int).tolist()
    at = columns.vocabulary_
    return Vagueness(
        {word: found[at[word]] for word in sorted(known)},
        [found[at[f"rare {n + 1}"]] for n in range(RARE)],
        [round(_MEANS * w) for w in found[len(at) :]],
        round(float(model.intercept_[0]) * _UNIT),
    )


def measured(found: Vagueness, told: Sequence[Said]) -> dict[str, float]:
    """Area under the ROC curve; per cent taken to say nothing, of those that say nothing and of short ones that tell."""
    from sklearn.metrics import roc_auc_score

    truth = np.array([not one.tells for one in told])
    taken = np.array([found.is_vague(one.text) for one in told])
    return {
        "area": round(float(roc_auc_score(truth, [found.of(one.text) for one in told])), 3),
        "vague": round(100 * float(taken[truth].mean()), 1),
        "short, taken for vague": round(100 * float(taken[~truth].mean()), 1),
        "behind a preamble, taken for vague": round(
            100 * float(np.mean([found.is_vague(f"{PREAMBLE} {one.text}") for one in told if one.tells])), 1
        ),
    }


def main() -> None:
    """Learn it, measure it on authors that it did not learn from, write the file."""
    told, others = intents(), ordinary()
    learnt = without(REPORT, told)
    found = fit(learnt, others)
    kept: dict[str, Any] = {}
    for author in sorted({one.author for one in told}):
        theirs = [one for one in told if one.author == author]
        other = found if author in REPORT else fit(without({*REPORT, author}, told), others)
        kept[f"{author}, learnt on the others"] = measured(other, theirs)
    halves = [fit(learnt, others[1 - n :: 2]) for n in (0, 1)]
    wrong = sum(half.is_vague(text) for n, half in enumerate(halves) for text in others[n::2])
    kept["ordinary ones, learnt on the other half: per cent taken for vague"] = round(
        100 * wrong / len(others), 2
    )
    document = {
        "measured": kept,
        "command": "python -m models.heads.vagueness",
        "intents": dict(sorted(Counter(one.author for one in told).items())),
        "ordinary": len(others),
        **found.document,
    }
    BUNDLED.write_text(json.dumps(document, separators=(",", ":"), sort_keys=True) + "\n")
    for name, value in kept.items():
        sys.stdout.write(f"{name}: {value}\n")


if __name__ == "__main__":
    main()
