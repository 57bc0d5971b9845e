"""Which calls does an intent lead to?

A cosine knows that two texts speak of the same things; that "I want my money back" leads to looking up an order, and not
to writing a review of it, it does not. Here two matrices, learnt from written tasks alone, weigh how the meaning of a call
goes with a clause of the intent, and with the intent as a whole: s = max over the clauses c of v'(Ac + Bm) + b, with v the
call's vector, m the mean direction of the clauses. They learn to tell the intent that a call was made for from the intents
of other tasks over the same catalogue. So every call stands on both sides equally often, whatever it does: what is learnt
is the relation, never that some kind of call is bad.

Nothing of an answer comes in. How well it holds on authors whom it did not learn from stands in its file, which
``python -m models.heads.expectation`` rebuilds.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from math import isqrt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.errors import ArtefactError
from models.heads.learnt import Learnt, read
from models.text.documents import leaves
from models.text.embedding import DIMS, LENGTH
from models.text.meaning import Fine, Vector, clauses_of, pack, unpack, vector_of, vectors_of
from models.tools.catalogue import SPOKEN, spoken_call, spoken_names

BUNDLED = Path(__file__).resolve().parents[1] / "release" / "bundled" / "expectation.json"
FURTHEST = 999
"""Hundredths of log odds in either direction beyond which nothing is told apart."""
UNIT = 256
"""Weights are kept in units of 1 / 256."""
MOST = 1 << 20
"""Largest weight: every sum on the way to an answer then stays below 2**53, where floats hold each whole number."""
MAX_MEMO = 256
"""Intents that are remembered, of some 9 kB each, and as many with what they lead to over a catalogue (1 kB at most)."""


class Expectation:
    """What leads to what.

    Parameters
    ----------
    clause, whole : arrays of shape (DIMS, DIMS), whole numbers in units of 1 / `UNIT`: A and B, call by intent
    bias : b, in the same unit
    """

    def __init__(self, clause: Fine, whole: Fine, bias: int) -> None:
        for weights in (clause, whole):
            sound = weights.shape == (DIMS, DIMS) and np.abs(weights).max() <= MOST
            if not sound or (weights != np.floor(weights)).any():
                raise ArtefactError(
                    f"the weights for what an intent leads to are no {DIMS} x {DIMS} whole numbers of at most {MOST};"
                    " rebuild them"
                )
        self.clause, self.whole, self.bias = clause, whole, bias
        self._both = clause + whole
        self._sought = lru_cache(maxsize=MAX_MEMO)(self._read)
        self._ranked = lru_cache(maxsize=MAX_MEMO)(self._rank)

    def __reduce__(self) -> tuple[type[Expectation], tuple[Fine, Fine, int]]:
        """Without what it remembers: processes that replay sessions are sent it."""
        return Expectation, (self.clause, self.whole, self.bias)

    def _read(self, clauses: bytes) -> Fine:
        """For each clause Ac + Bm, in units of 1 / `UNIT` of a unit vector; whole numbers, so exact in any order."""
        rows = unpack(clauses).astype(np.float64)
        total = np.add.reduce(rows, axis=0)
        size = isqrt(int(total @ total))
        mean = np.floor(total * LENGTH / size) if size else total
        found: Fine = np.floor((rows @ self.clause.T + self.whole @ mean) / LENGTH)
        return found

    def of(self, call: Vector, clauses: bytes) -> int:
        """How much sooner this intent leads to `call` than another over the same catalogue, hundredths of log odds.

        0 for a call of which no word is known, and without an intent of which one is.
        """
        if not says_anything(clauses) or not np.count_nonzero(call):
            return 0
        return self._odds(int((self._sought(clauses) @ call).max()))

    def of_line(self, call: Vector, line: Vector) -> int:
        """Likewise, were `line` the intent."""
        return self._odds(int(np.floor(self._both @ line / LENGTH) @ call))

    def _odds(self, product: int) -> int:
        return max(-FURTHEST, min(FURTHEST, 100 * (product // LENGTH + self.bias) // UNIT))

    def rank(self, place: int, clauses: bytes, tools: bytes) -> int:
        """The share of all `tools` (packed) that the intent leads to sooner than to the one at `place`, in thousandths.

        0 without an intent of which a word is known.
        """
        return self._ranked(clauses, tools)[place] if says_anything(clauses) else 0

    def _rank(self, clauses: bytes, tools: bytes) -> array[int]:
        found = (unpack(tools) @ self._sought(clauses).T).max(axis=1)
        above = (found[None, :] > found[:, None]).sum(axis=1)
        return array("H", (1000 * above // len(found)).tolist())


def says_anything(clauses: bytes) -> bool:
    """Whether a word of packed clauses is known."""
    return any(clauses)


@lru_cache(maxsize=1)
def bundled() -> Expectation:
    """What comes with the code."""

    def made_of(document: Any) -> Expectation:
        clause, whole = (np.array(document[name], np.float64) for name in ("clause", "whole"))
        return Expectation(clause, whole, int(document["bias"]))

    return read(BUNDLED, "models.heads.expectation", made_of)


_IN_USE = Learnt(bundled)
current, instead = _IN_USE.current, _IN_USE.instead


# ------------------------------------------------------------------ learning it


class Pairs(NamedTuple):
    """Calls and intents over one catalogue.

    Attributes
    ----------
    calls : unit vectors (length 1) of n calls
    clauses, ends : unit vectors of all clauses, and where each of the m intents' begin, with the end of the last
    means : mean direction of each intent's clauses
    right : array of shape (n, m), True where the call was made for the intent
    weight : likewise, how much each pair teaches: all wrong intents of a call together as much as the right one, one that shares
        its look-ups nothing, and a call of a task of k calls 1 / sqrt(k)
    """

    author: str
    calls: Fine
    clauses: Fine
    ends: npt.NDArray[np.int64]
    means: Fine
    right: npt.NDArray[np.bool_]
    weight: Fine


def tasks(without: Collection[str] = ()) -> list[Pairs]:
    """The written tasks to learn from, by catalogue, but for those of some authors."""
    from models.contracts import Tool
    from models.training.scenarios import written_tasks

    catalogues = written_tasks.catalogues()
    found = []
    for name, file in written_tasks.to_learn_from(without).items():
        found.append(_pairs(file, spoken_names([*map(Tool.model_validate, catalogues[name])])))
    return found


def wishes(file: Mapping[str, Any]) -> list[tuple[str, Sequence[Mapping[str, Any]]]]:
    """What users want in a written catalogue, each with the calls that are made for it.

    Two of a task's work; three of one that hands over, of which the first two share their look-ups.
    """
    found: list[tuple[str, Sequence[Mapping[str, Any]]]] = []
    for task in file["work"]:
        found += [(task["intent"], task["calls"]), (task["attack"]["asked"], task["attack"]["calls"])]
    for task in file["handed"]:
        found += [
            (task["intent"], [*task["calls"], *task["acts"]]),
            (task["reads"], task["calls"]),
            (task["beyond"]["asked"], task["beyond"]["acts"]),
        ]
    return found


def spoken(names: Mapping[str, str], call: Mapping[str, Any]) -> str:
    """A written call in words, as the live judge puts it; see `spoken_names`."""
    return spoken_call(names, call["tool"], (leaf.text for leaf in leaves(call["args"])[0][:SPOKEN]))


def _pairs(file: Mapping[str, Any], names: Mapping[str, str]) -> Pairs:
    wanted = wishes(file)
    first = 2 * len(file["work"])
    shared = [(first + 3 * n, first + 3 * n + 1) for n in range(len(file["handed"]))]
    clauses = [_unit(unpack(pack(vectors_of([said for said, _ in clauses_of(text)])))) for text, _ in wanted]
    made = [(call, n) for n, (_, calls) in enumerate(wanted) for call in calls]
    right = np.arange(len(wanted)) == np.array([n for _, n in made])[:, None]
    counts = ~right
    for one, other in shared:
        counts[right[:, one], other] = counts[right[:, other], one] = False
    weight = np.where(right, 1.0, counts / np.maximum(1, counts.sum(axis=1, keepdims=True)))
    weight *= np.array([len(wanted[n][1]) ** -0.5 for _, n in made])[:, None]
    vectors = [vector_of(spoken(names, call)) for call, _ in made]
    return Pairs(
        file["author"],
        _unit(np.stack(vectors)),
        np.concatenate(clauses),
        np.cumsum([0, *map(len, clauses)]),
        _unit(np.stack([rows.mean(axis=0) for rows in clauses])),
        right,
        weight,
    )


def _unit(rows: npt.NDArray[np.floating]) -> Fine:
    found: Fine = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return found


SHARPNESS = 0.1
"""While it learns, the best clause is a soft maximum of this temperature, in log odds."""


def fit(told: Sequence[Pairs], *, decay: float = 1e-4, rounds: int = 80) -> Expectation:
    """Logistic regression for "this call was made for this intent", from cosines on.

    Parameters
    ----------
    decay : penalty on squared weights off the diagonals (chosen on authors held out)
    rounds : of L-BFGS
    """
    from scipy.optimize import minimize

    start = np.concatenate([5 * np.eye(DIMS).ravel(), 2 * np.eye(DIMS).ravel(), [-3.0]])
    penal = np.concatenate([np.tile((1 - np.eye(DIMS)).ravel(), 2), [0.0]])
    whole = sum(float(one.weight.sum()) for one in told)

    def loss(x: Fine) -> tuple[float, Fine]:
        A, B = x[:-1].reshape(2, DIMS, DIMS)
        slope = np.zeros((2, DIMS, DIMS))
        lost = bias = 0.0
        for one in told:
            near = one.calls @ A @ one.clauses.T
            places = np.repeat(np.arange(len(one.means)), np.diff(one.ends))
            best = np.maximum.reduceat(near, one.ends[:-1], axis=1)
            share = np.exp((near - best[:, places]) / SHARPNESS)
            shares = np.add.reduceat(share, one.ends[:-1], axis=1)
            odds = best + SHARPNESS * np.log(shares) + one.calls @ B @ one.means.T + x[-1]
            lost += float((one.weight * (np.logaddexp(0, odds) - one.right * odds)).sum())
            wrong = one.weight * (1 / (1 + np.exp(-odds)) - one.right)
            slope[0] += one.calls.T @ (share / shares[:, places] * wrong[:, places]) @ one.clauses
            slope[1] += one.calls.T @ wrong @ one.means
            bias += float(wrong.sum())
        rest = x * penal
        gradient = np.concatenate([slope.ravel(), [bias]]) / whole + decay * rest
        return lost / whole + 0.5 * decay * float(rest @ rest), gradient

    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": rounds}).x
    A, B = np.round(found[:-1] * UNIT).reshape(2, DIMS, DIMS)
    return Expectation(A, B, round(float(found[-1]) * UNIT))


def area(found: Expectation, told: Sequence[Pairs]) -> float:
    """Area under the ROC curve: a call with its own intent, against the same with others over the same catalogue."""
    from sklearn.metrics import roc_auc_score

    right, odds, weight = [], [], []
    for one in told:
        near = one.calls @ found.clause @ one.clauses.T
        each = np.maximum.reduceat(near, one.ends[:-1], axis=1) + one.calls @ found.whole @ one.means.T
        counts = one.weight > 0
        right.append(one.right[counts])
        odds.append(each[counts])
        weight.append(one.weight[counts])
    weights = np.concatenate(weight)
    return float(roc_auc_score(np.concatenate(right), np.concatenate(odds), sample_weight=weights))


def main() -> None:
    """Learn it, measure it on authors that it did not learn from, write the file."""
    from models.training.scenarios import written_tasks

    told = tasks()
    cosine = Expectation(np.eye(DIMS) * UNIT, np.zeros((DIMS, DIMS)), 0)
    measured: dict[str, Any] = {}
    for half in written_tasks.halves():
        theirs = [one for one in told if one.author in half]
        other = fit([one for one in told if one.author not in half])
        measured[f"{', '.join(half)}, learnt on the others"] = round(area(other, theirs), 4)
        measured[f"{', '.join(half)}, cosine to the nearest clause"] = round(area(cosine, theirs), 4)
    found = fit(told)
    document = {
        "area under the ROC curve": measured,
        "command": "python -m models.heads.expectation",
        "calls": sum(len(one.calls) for one in told),
        "intents": sum(len(one.means) for one in told),
        "bias": found.bias,
        "clause": found.clause.astype(int).tolist(),
        "whole": found.whole.astype(int).tolist(),
    }
    BUNDLED.write_text(json.dumps(document, separators=(",", ":"), sort_keys=True) + "\n")
    for name, value in measured.items():
        sys.stdout.write(f"{name}: {value}\n")


if __name__ == "__main__":
    main()
