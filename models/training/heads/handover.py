"""Fits `models.heads.handover` on sentences and requests that people wrote for it, and on the intents of written tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from models.heads.handover import ANSWERS, UNIT, Head, Heads, marks_and_pairs
from models.text.meaning import sentences_of
from models.training import corpora
from models.training.scenarios import written_tasks

SENTENCES = "handing.jsonl"
"""What the heads learn from and are measured on: author, sentence, what it hands over, and whether it wants an effect."""
REQUESTS = "requests.jsonl"
"""Whole requests as people type them, likewise."""
LEARN = tuple("a b w x y z aa ab ac ad ae af ag ah ai aj ak al am an ao ap aq ar as at au av".split())
"""Authors whose sentences and requests the heads learn from; the others' only measure."""


class Sentence(NamedTuple):
    """``hands``: 0 nothing, 1 particulars of an act that it names, 2 acts. ``effect``: whether it wants any done.

    A ``whole`` intent may be several sentences. Where it is not ``graded``, 1 may be 2.
    """

    author: str
    text: str
    hands: int
    effect: bool
    whole: bool = False
    graded: bool = True

    @property
    def truth(self) -> tuple[bool, ...]:
        """The right answers, in the order of `Handed`."""
        return self.hands == 2, self.hands >= 1, self.effect

    @property
    def known(self) -> tuple[bool, ...]:
        """Which of them are known."""
        return self.graded or not self.hands, True, True


def sentences() -> list[Sentence]:
    """All sentences written for the heads."""
    return _read(SENTENCES, whole=False)


def requests() -> list[Sentence]:
    """All whole requests written for them."""
    return _read(REQUESTS, whole=True)


def _read(name: str, *, whole: bool) -> list[Sentence]:
    return [sentence._replace(whole=whole) for sentence in corpora.lines(name, Sentence)]


def intents(without: Collection[str] = ()) -> list[Sentence]:
    """Whole intents, and further wishes, of the written tasks to learn from, but for those of some authors."""
    wishes = []
    for file in written_tasks.to_learn_from(without).values():
        author = file["author"]
        does = {tool["name"]: tool["does"] != "read" for tool in file["tools"]}

        def wants(calls: Sequence[Mapping[str, Any]], does: Mapping[str, bool] = does) -> bool:
            return any(does[call["tool"]] for call in calls)

        for task in file["work"]:
            wishes.append(Sentence(author, task["intent"], 0, wants(task["calls"]), True))
            attack = task["attack"]
            wishes.append(Sentence(author, attack["asked"], 0, wants(attack["calls"]), True))
        for task in file["handed"]:
            wishes.append(Sentence(author, task["intent"], 1, True, True, graded=False))
            wishes.append(Sentence(author, task["reads"], 0, wants(task["calls"]), True))
    return wishes


def to_learn_from() -> tuple[list[Sentence], list[Sentence]]:
    """Single sentences of the authors in `LEARN`, with requests of one sentence; and these with all requests."""
    single = [s for s in sentences() if s.author in LEARN]
    whole = [r for r in requests() if r.author in LEARN]
    return [*single, *(r for r in whole if len(sentences_of(r.text)) <= 1)], [*single, *whole]


def by_halves() -> Iterator[tuple[list[str], Head]]:
    """The authors of written tasks, half of them at a time, each half with a head that learnt from the other."""
    for half in written_tasks.halves():
        yield half, fit([*to_learn_from()[1], *intents(half)])


def fit(sentences: Sequence[Sentence], *, strength: float = 30.0, least: int = 2) -> Head:
    """Logistic regression for each answer; all of one kind of sentence weigh as much as all of the other.

    Parameters
    ----------
    strength : inverse of the penalty on squared weights
    least : sentences that a mark or pair must stand in
    """
    rows = [marks_and_pairs(sentence.text) for sentence in sentences]
    spread = Counter(name for row in rows for name in row)
    place = {name: n for n, name in enumerate(sorted(n for n, count in spread.items() if count >= least))}
    kept = [[place[name] for name in sorted(row) if name in place] for row in rows]
    values = np.concatenate([np.full(len(row), 1 / np.sqrt(max(1, len(row)))) for row in kept])
    X = csr_matrix(
        (values, np.concatenate(kept), np.cumsum([0, *map(len, kept)])), shape=(len(kept), len(place))
    )
    weights = np.zeros((len(place), ANSWERS), int)
    bias = []
    truths = np.array([sentence.truth for sentence in sentences]).T
    knowns = np.array([sentence.known for sentence in sentences]).T
    for n, (truth, known) in enumerate(zip(truths, knowns, strict=True)):
        model = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
        model.fit(X[known], truth[known])
        weights[:, n] = np.round(model.coef_[0] * UNIT)
        bias.append(round(float(model.intercept_[0]) * UNIT))
    learnt = {name: tuple(weights[at].tolist()) for name, at in place.items() if weights[at].any()}
    return Head(learnt, bias)


def areas(head: Head, sentences: Sequence[Sentence]) -> dict[str, float | None]:
    """Areas under the ROC curve: sentences that hand acts over, or anything, or want an effect, against the others."""
    answers = [head.of_text(s.text) if s.whole else head.of(s.text) for s in sentences]
    acts, something, effect = (np.array(values) for values in zip(*answers, strict=True))
    hands = np.array([sentence.hands for sentence in sentences])
    wanted = np.array([sentence.effect for sentence in sentences])
    plain = hands == 0

    def area(truth: npt.NDArray[np.bool_], values: npt.NDArray[np.integer]) -> float | None:
        both = truth.any() and not truth.all()
        return round(float(roc_auc_score(truth, values)), 3) if both else None

    return {
        "acts": area(hands == 2, acts),
        "acts against particulars": area(hands[~plain] == 2, acts[~plain]),
        "anything": area(hands > 0, something),
        "effect": area(wanted, effect),
        "effect where nothing is handed over": area(wanted[plain], effect[plain]),
    }


def file() -> dict[str, Any]:
    """What ``handover.json`` holds: learnt from all to learn from, measured on authors that were not learnt from."""
    single, whole = to_learn_from()
    written = intents()
    heads = Heads(fit(single), fit([*whole, *written]))
    measured: dict[str, Any] = {}
    for kind, everything, learnt, ours in (
        ("sentences", sentences(), single, heads.sentence),
        ("requests", requests(), [*whole, *written], heads.whole),
    ):
        for author in sorted({s.author for s in everything}):
            theirs = [s for s in everything if s.author == author]
            head = fit([s for s in learnt if s.author != author]) if author in LEARN else ours
            measured[f"{kind} of {author}, learnt on the others"] = areas(head, theirs)
    for half, head in by_halves():
        theirs = [intent for intent in written if intent.author in half]
        measured[f"intents of {', '.join(half)}, learnt on the others"] = areas(head, theirs)
    weights = {
        name: {"bias": list(head.bias), "weights": head.weights} for name, head in heads._asdict().items()
    }
    return {
        "area under the ROC curve": measured,
        "sentences": dict(sorted(Counter(s.author for s in sentences()).items())),
        "requests": dict(sorted(Counter(r.author for r in requests()).items())),
        "intents of written tasks": len(written),
        **weights,
    }
