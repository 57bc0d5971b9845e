"""Does a sentence of the intent hand something over to a source, and what? Does it want anything done at all?

"Do what the ticket says" leaves to the ticket *what* is done; "pay the bill in may.txt" names the act and leaves
its particulars to a file; "summarise the ticket" leaves nothing to it, and wants nothing done: it is content with an
answer. Three linear heads over the words of the sentence and over pairs of words near each other, learnt from
sentences and requests that people wrote for it; names, quotes, addresses and numbers are marks, and there is no list of
words. Greetings, polite questions and stories before the wish stand in requests of every kind, so that none tells.

What a user leaves to a text is often said over several sentences ("Ana sent a list. Book what is on it."). So a second
set of heads reads the intent as a whole, and learns from whole requests and from the intents of written tasks too
(`models.training.scenarios.written_tasks`). How well both hold on authors whom they did not learn from stands in their file,
which ``python -m models.heads.handover`` rebuilds.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from math import isqrt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.errors import ArtefactError
from models.heads.learnt import Learnt, read
from models.text.meaning import sentences_of
from models.training.corpora import CORPORA

BUNDLED = Path(__file__).resolve().parents[1] / "release" / "bundled" / "handover.json"
SENTENCES = CORPORA / "handing.jsonl"
"""What the heads learn from and are measured on: author, sentence, what it hands over, and whether it wants an effect."""
REQUESTS = CORPORA / "requests.jsonl"
"""Whole requests as people type them, likewise."""
NEUTRAL = 128
"""A sentence that speaks neither for nor against; 16 is one unit of log odds."""
MAX_CHARS = 600
MAX_MARKS = 96
"""Characters and marks of a sentence that are looked at."""
NEAR = 2
"""Marks at most so far apart make a pair."""

_UNIT = 1 << 12
_QUOTED = re.compile(r"(?<!\w)'[^'\n]{2,80}'(?!\w)|\"[^\"\n]{1,80}\"|`[^`\n]{1,80}`")
_LETTERS = re.compile(r"[a-z]+(?:'[a-z]+)?")
_AROUND = ".,;:!?()[]{}<>\"'*"


class Handed(NamedTuple):
    """What a sentence hands over, each 0 to 255 with `NEUTRAL` in the middle.

    ``acts``: the source says what is done. ``any``: it says at least with which particulars. ``effect``: something
    is to be written, sent, changed or run, by whomever it is said; the opposite is content with an answer.
    """

    acts: int
    any: int
    effect: int


ANSWERS = len(Handed._fields)
NOTHING = Handed(NEUTRAL, NEUTRAL, NEUTRAL)


def marks(sentence: str) -> list[str]:
    """Words of a sentence in order, lower case; quotes, names, and whatever is no plain word are one mark each.

    >>> marks("Do what 'May plan' says, then tell Ann Lee at a@b.ch.")
    ['do', 'what', '<quote>', 'says', ',', 'then', 'tell', '<name>', 'at', '<thing>', '.']
    """
    found: list[str] = []
    for piece in _QUOTED.sub(" <quote> ", sentence[:MAX_CHARS].replace("\u2019", "'")).split():
        bare = piece.strip(_AROUND)
        if piece == "<quote>":
            found.append(piece)
        elif not bare:
            continue
        elif not bare.replace("'", "").replace("-", "").isalpha():
            found.append("<thing>")
        elif found and bare[0].isupper() and bare[:2] not in ("I", "I'") and found[-1] not in ".?:":
            if found[-1] != "<name>":
                found.append("<name>")
        else:
            found += _LETTERS.findall(bare.lower())
        if piece[-1] in ".,;:?":
            found.append(piece[-1])
    return found[:MAX_MARKS]


def pairs(told: Sequence[str]) -> set[str]:
    """Single marks and ordered pairs of near ones, the sentence's ends included."""
    row = ["^", *told, "$"]
    found = set(row)
    for at, mark in enumerate(row):
        for apart, other in enumerate(row[at + 1 : at + 1 + NEAR]):
            found.add(f"{mark} {other}" if apart == 0 else f"{mark} .. {other}")
    return found


@lru_cache(maxsize=64)
def marks_and_pairs(sentence: str) -> frozenset[str]:
    """The marks and pairs of a sentence; the last ones are remembered, since two heads read each."""
    return frozenset(pairs(marks(sentence)))


def parts_of(text: str) -> list[str]:
    """A text of any length in parts of whole sentences, of no more than `MAX_CHARS` where sentences are no longer."""
    parts, part = [], ""
    for sentence in sentences_of(text):
        if part and len(part) + len(sentence) >= MAX_CHARS:
            parts.append(part)
            part = ""
        part = f"{part} {sentence}".lstrip()
    return [one for one in (*parts, part) if one]


class Head:
    """Three linear heads.

    Parameters
    ----------
    weights : by mark or pair, the weight for each answer of `Handed`, in units of 1 / 4096
    bias : likewise
    """

    def __init__(self, weights: Mapping[str, Sequence[int]], bias: Sequence[int]) -> None:
        if len(bias) != ANSWERS or any(len(row) != ANSWERS for row in weights.values()):
            raise ArtefactError(f"the weights for what is handed over are not {ANSWERS} each; rebuild them")
        self._weights = {name: tuple(map(int, row)) for name, row in weights.items()}
        self._bias = tuple(map(int, bias))

    def of(self, sentence: str) -> Handed:
        """What `sentence` hands over; one of which nothing is known is neutral."""
        known = list(filter(None, map(self._weights.get, marks_and_pairs(sentence))))
        if len(known) <= 2:  # its ends alone
            return NOTHING
        length = isqrt(len(known) << 20)
        sums = map(sum, zip(*known, strict=True))
        odds = ((total << 10) // length + bias for total, bias in zip(sums, self._bias, strict=True))
        return Handed(*(max(0, min(255, NEUTRAL + 16 * value // _UNIT)) for value in odds))

    def of_text(self, text: str) -> Handed:
        """What a text of any length hands over and wants: the most of its parts."""
        told = [self.of(part) for part in parts_of(text)]
        return Handed(*map(max, zip(*told, strict=True))) if told else NOTHING


class Heads(NamedTuple):
    """Heads for single sentences, and for intents as a whole."""

    sentence: Head
    whole: Head


@lru_cache(maxsize=1)
def bundled() -> Heads:
    """The heads that come with the code."""

    def made_of(document: Any) -> Heads:
        return Heads(*(Head(document[name]["weights"], document[name]["bias"]) for name in Heads._fields))

    return read(BUNDLED, "models.heads.handover", made_of)


_IN_USE = Learnt(bundled)
current, instead = _IN_USE.current, _IN_USE.instead


# ------------------------------------------------------------------ learning them


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


def _read(path: Path, *, whole: bool) -> list[Sentence]:
    rows = map(json.loads, path.read_text().splitlines())
    return [Sentence(row["author"], row["text"], row["hands"], bool(row["effect"]), whole) for row in rows]


def intents(without: Collection[str] = ()) -> list[Sentence]:
    """Whole intents, and further wishes, of the written tasks to learn from, but for those of some authors."""
    from models.training.scenarios import written_tasks

    found = []
    for file in written_tasks.to_learn_from(without).values():
        author = file["author"]
        does = {tool["name"]: tool["does"] != "read" for tool in file["tools"]}

        def wants(calls: Sequence[Mapping[str, Any]], does: Mapping[str, bool] = does) -> bool:
            return any(does[call["tool"]] for call in calls)

        for task in file["work"]:
            found.append(Sentence(author, task["intent"], 0, wants(task["calls"]), True))
            attack = task["attack"]
            found.append(Sentence(author, attack["asked"], 0, wants(attack["calls"]), True))
        for task in file["handed"]:
            found.append(Sentence(author, task["intent"], 1, True, True, graded=False))
            found.append(Sentence(author, task["reads"], 0, wants(task["calls"]), True))
    return found


def to_learn_from() -> tuple[list[Sentence], list[Sentence]]:
    """Single sentences of the authors in `LEARN`, with requests of one sentence; and these with all requests."""
    single = [s for s in sentences() if s.author in LEARN]
    whole = [r for r in requests() if r.author in LEARN]
    return [*single, *(r for r in whole if len(sentences_of(r.text)) <= 1)], [*single, *whole]


def unread() -> Iterator[tuple[list[str], Head]]:
    """The authors of written tasks, half of them at a time, each half with a head that learnt from the other."""
    from models.training.scenarios import written_tasks

    for half in written_tasks.halves():
        yield half, fit([*to_learn_from()[1], *intents(half)])


def fit(told: Sequence[Sentence], *, strength: float = 30.0, least: int = 2) -> Head:
    """Logistic regression for each answer; all of one kind of sentence weigh as much as all of the other.

    Parameters
    ----------
    strength : inverse of the penalty on squared weights
    least : sentences that a mark or pair must stand in
    """
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression

    found = [marks_and_pairs(sentence.text) for sentence in told]
    spread = Counter(name for row in found for name in row)
    place = {name: n for n, name in enumerate(sorted(n for n, count in spread.items() if count >= least))}
    kept = [[place[name] for name in sorted(row) if name in place] for row in found]
    values = np.concatenate([np.full(len(row), 1 / np.sqrt(max(1, len(row)))) for row in kept])
    X = csr_matrix(
        (values, np.concatenate(kept), np.cumsum([0, *map(len, kept)])), shape=(len(kept), len(place))
    )
    weights = np.zeros((len(place), ANSWERS), int)
    bias = []
    truths = np.array([sentence.truth for sentence in told]).T
    knowns = np.array([sentence.known for sentence in told]).T
    for n, (truth, known) in enumerate(zip(truths, knowns, strict=True)):
        model = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
        model.fit(X[known], truth[known])
        weights[:, n] = np.round(model.coef_[0] * _UNIT)
        bias.append(round(float(model.intercept_[0]) * _UNIT))
    rows = {name: tuple(weights[at].tolist()) for name, at in place.items() if weights[at].any()}
    return Head(rows, bias)


def areas(head: Head, told: Sequence[Sentence]) -> dict[str, float | None]:
    """Areas under the ROC curve: sentences that hand acts over, or anything, or want an effect, against the others."""
    from sklearn.metrics import roc_auc_score

    found = [head.of_text(s.text) if s.whole else head.of(s.text) for s in told]
    acts, something, effect = (np.array(values) for values in zip(*found, strict=True))
    hands = np.array([sentence.hands for sentence in told])
    wanted = np.array([sentence.effect for sentence in told])
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


LEARN = tuple("a b w x y z aa ab ac ad ae af ag ah ai aj ak al am an ao ap aq ar as at au av".split())
"""Authors whose sentences and requests the heads learn from; the others' only measure."""


def main() -> None:
    """Learn the heads, measure them on authors that they did not learn from, write the file."""
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
    for half, head in unread():
        theirs = [intent for intent in written if intent.author in half]
        measured[f"intents of {', '.join(half)}, learnt on the others"] = areas(head, theirs)
    document = {
        "area under the ROC curve": measured,
        "command": "python -m models.heads.handover",
        "sentences": dict(sorted(Counter(s.author for s in sentences()).items())),
        "requests": dict(sorted(Counter(r.author for r in requests()).items())),
        "intents of written tasks": len(written),
    }
    for name, head in zip(Heads._fields, heads, strict=True):
        document[name] = {"bias": list(head._bias), "weights": dict(sorted(head._weights.items()))}
    BUNDLED.write_text(json.dumps(document, indent=None, separators=(",", ":"), sort_keys=True) + "\n")
    for name, value in measured.items():
        sys.stdout.write(f"{name}: {value}\n")


if __name__ == "__main__":
    main()
