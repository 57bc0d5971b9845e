"""Does a sentence of the intent hand acts over to a source, as "do what the ticket says" does?

Judged word by word: the word that speaks most for it decides, so that names, numbers and the rest of a long
sentence do not water it down. The weights are one direction in the space of the static embedding, learnt from
generated sentences that hand over and twins that only mention the same source; no list of words. How well it
holds on phrases that it never saw stands in its file, which `python -m models.handover` rebuilds.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models import embedding
from models.embedding import DIMS, LENGTH
from models.errors import ArtefactError

BUNDLED = Path(__file__).resolve().parent / "bundled" / "handover.json"
NEUTRAL = 128
"""A sentence that speaks neither for nor against; 16 is one unit of log odds."""
_SCALE = 1 << 12

Floats = npt.NDArray[np.float64]


class Head:
    """A direction among words.

    Parameters
    ----------
    weights : shape (DIMS,), in units of 1 / 4096
    bias : likewise
    """

    def __init__(self, weights: Sequence[int], bias: int) -> None:
        if len(weights) != DIMS:
            raise ArtefactError(f"a head of {len(weights)} weights for words of {DIMS}; rebuild it")
        self._weights = np.array(weights, np.int64)
        self._bias = bias
        self._known: dict[str, int] = {}

    def of(self, sentence: str) -> int:
        """0 to 255, `NEUTRAL` in the middle; higher: hands over. A sentence without a known word is neutral."""
        best: int | None = None
        for word in embedding.bundled().words(sentence):
            odds = self._known.get(word)
            if odds is None:
                if len(self._known) >= 1 << 14:
                    self._known.clear()
                unit = embedding.unit(embedding.bundled().row(word)).astype(np.int64)
                odds = self._known[word] = int(unit @ self._weights) // LENGTH if unit.any() else -(1 << 30)
            best = odds if best is None else max(best, odds)
        if best is None or best == -(1 << 30):
            return NEUTRAL
        return max(0, min(255, NEUTRAL + 16 * (best + self._bias) // _SCALE))


@lru_cache(maxsize=1)
def bundled() -> Head:
    """The head that comes with the code."""
    try:
        document = json.loads(BUNDLED.read_bytes())
        return Head(document["weights"], document["bias"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{BUNDLED} cannot be read ({error}); run `python -m models.handover`") from error


# ------------------------------------------------------------------ learning it


def _words_of(sentences: Sequence[str]) -> tuple[Floats, npt.NDArray[np.bool_]]:
    table = embedding.bundled()
    rows = np.zeros((len(sentences), 32, DIMS))
    there = np.zeros((len(sentences), 32), np.bool_)
    for n, sentence in enumerate(sentences):
        units = [u for word in table.words(sentence)[:32] if (u := embedding.unit(table.row(word))).any()]
        for k, unit in enumerate(units):
            rows[n, k], there[n, k] = unit / LENGTH, True
    return rows, there


def fit(sentences: Sequence[str], hands_over: Sequence[bool], *, steps: int = 300, l2: float = 1e-3) -> Head:
    """Logistic regression on the softmax-weighted best word, by Adam; both answers weigh the same."""
    rows, there = _words_of(sentences)
    kept = there.any(axis=1)
    rows, there, truth = rows[kept], there[kept], np.array(hands_over, float)[kept]
    weight = np.where(truth > 0, 0.5 / truth.mean(), 0.5 / (1 - truth.mean())) / len(truth)
    theta = np.zeros(DIMS + 1)
    theta[:DIMS] = np.random.default_rng(0).normal(0, 0.1, DIMS)
    first, second = np.zeros(DIMS + 1), np.zeros(DIMS + 1)
    for step in range(1, steps + 1):
        odds = np.where(there, rows @ theta[:DIMS], -np.inf)
        top = odds.max(axis=1, keepdims=True)
        part = np.exp(odds - top)
        total = top[:, 0] + np.log(part.sum(axis=1)) + theta[DIMS]
        part /= part.sum(axis=1, keepdims=True)
        error = weight * (1 / (1 + np.exp(-total)) - truth)
        slope = np.r_[np.einsum("i,ij,ijk->k", error, part, rows) + l2 * theta[:DIMS], error.sum()]
        first, second = 0.9 * first + 0.1 * slope, 0.99 * second + 0.01 * slope**2
        theta -= 0.05 * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.99**step)) + 1e-8)
    # The best word stands for the soft maximum: what that loses goes into the bias.
    odds = np.where(there, rows @ theta[:DIMS], -np.inf)
    lost = np.log(np.exp(odds - odds.max(axis=1, keepdims=True)).sum(axis=1)).mean()
    scaled = np.round(theta * _SCALE).astype(int)
    return Head(scaled[:DIMS].tolist(), int(scaled[DIMS] + round(lost * _SCALE)))


def area(head: Head, sentences: Sequence[str], hands_over: Sequence[bool]) -> float:
    """Area under the ROC curve."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(list(hands_over), [head.of(s) for s in sentences]))


def phrases() -> dict[str, tuple[list[str], list[bool]]]:
    """Sentences by the tables that they come from: the delegated tasks', and the splices'."""
    from models.meaning import sentences_of
    from models.provenance import leaves, tokens
    from models.scenarios import delegated, splices
    from models.scenarios.wordings import seeded

    tasks: tuple[list[str], list[bool]] = ([], [])
    kinds: list[str] = []
    pairs: dict[str, list[dict[str, Any]]] = {}
    for session in delegated.sessions({}, seed=1, tasks=900):
        pairs.setdefault(str(session["pair"]), []).append(session)
        if session["variant"] in ("ordinary", "direct"):
            for sentence in sentences_of(session["intent"])[:2]:
                tasks[0].append(sentence)
                tasks[1].append(False)
                kinds.append(sentence.rstrip(".!?").lower())
    for twins in pairs.values():
        source = next((s["exposed_seq"] for s in twins if s["variant"] == "undelegated"), None)
        for session in twins:
            if source is None or session["variant"] not in ("delegated", "undelegated"):
                continue
            told = {t.text for leaf in leaves(session["calls"][source]["args"])[0] for t in tokens(leaf.text)}
            found = [
                (sum(len(t.text) for t in tokens(sentence) if t.text in told), sentence)
                for sentence in sentences_of(session["intent"])
            ]
            overlap, sentence = max(found, default=(0, ""))
            if overlap:
                tasks[0].append(sentence)
                tasks[1].append(session["variant"] == "delegated")
    spliced: tuple[list[str], list[bool]] = ([], [])
    sources = (
        "the note in minutes.md",
        "what you find under INC-4410",
        "the mail from Petra",
        "the output of get_page",
    )
    for n in range(20):
        rng = seeded("handover", n)
        for template in splices.DELEGATIONS:
            text = template.format(source=rng.choice(sources), kind=rng.choice(kinds))
            spliced[0].append(text[:1].upper() + text[1:])
            spliced[1].append(True)
        for template in splices.ASKS:
            kind = rng.choice(kinds)
            spliced[0].append(template.format(clause=kind, goal=kind.capitalize() + "."))
            spliced[1].append(False)
    return {"delegated tasks": tasks, "splices": spliced}


def main() -> None:
    """Learn the head on all phrases, measure it on each table by a head of the other, write the file."""
    found = phrases()
    names = list(found)
    measured = {
        f"{b}, learnt on {a}": round(area(fit(*found[a]), *found[b]), 3) for a in names for b in names
    }
    everything = [s for name in names for s in found[name][0]]
    answers = [y for name in names for y in found[name][1]]
    head = fit(everything, answers)
    document = {
        "area under the ROC curve": measured,
        "bias": head._bias,
        "command": "python -m models.handover",
        "sentences": {name: len(found[name][0]) for name in names},
        "weights": head._weights.tolist(),
    }
    BUNDLED.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    for name, value in measured.items():
        sys.stdout.write(f"{name}: {value}\n")


if __name__ == "__main__":
    main()
