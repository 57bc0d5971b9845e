"""Fits `models.heads.expectation` on written tasks: each call with the intent that it was made for, and with the others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from sklearn.metrics import roc_auc_score

from models.contracts import Tool
from models.heads.expectation import UNIT, Expectation
from models.release.readers import load_words
from models.text.documents import leaves
from models.text.embedding import DIMS
from models.text.meaning import clauses_of
from models.text.vectors import Fine, Vectoriser, pack, unpack
from models.tools.names import SPOKEN, spoken_call, spoken_names
from models.training.scenarios import written_tasks

SHARPNESS = 0.1
"""While it learns, the best clause is a soft maximum of this temperature, in log odds."""


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


def tasks(words: Vectoriser, without: Collection[str] = ()) -> list[Pairs]:
    """The written tasks to learn from, by catalogue, as `words` tell their meaning; but for those of some authors."""
    catalogues = written_tasks.catalogues()
    found = []
    for name, file in written_tasks.to_learn_from(without).items():
        found.append(_pairs(file, words, spoken_names([*map(Tool.model_validate, catalogues[name])])))
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


def _pairs(file: Mapping[str, Any], words: Vectoriser, names: Mapping[str, str]) -> Pairs:
    wanted = wishes(file)
    first = 2 * len(file["work"])
    shared = [(first + 3 * n, first + 3 * n + 1) for n in range(len(file["handed"]))]
    clauses = [
        _unit(unpack(pack(words.vectors_of([said for said, _ in clauses_of(text)])))) for text, _ in wanted
    ]
    made = [(call, n) for n, (_, calls) in enumerate(wanted) for call in calls]
    right = np.arange(len(wanted)) == np.array([n for _, n in made])[:, None]
    counts = ~right
    for one, other in shared:
        counts[right[:, one], other] = counts[right[:, other], one] = False
    weight = np.where(right, 1.0, counts / np.maximum(1, counts.sum(axis=1, keepdims=True)))
    weight *= np.array([len(wanted[n][1]) ** -0.5 for _, n in made])[:, None]
    vectors = [words.vector_of(spoken(names, call)) for call, _ in made]
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


def fit(told: Sequence[Pairs], *, decay: float = 1e-4, rounds: int = 80) -> Expectation:
    """Logistic regression for "this call was made for this intent", from cosines on.

    Parameters
    ----------
    decay : penalty on squared weights off the diagonals (chosen on authors held out)
    rounds : of L-BFGS
    """
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


def file() -> dict[str, Any]:
    """What ``expectation.json`` holds: learnt from all, measured on authors that were not learnt from."""
    told = tasks(load_words())
    cosine = Expectation(np.eye(DIMS) * UNIT, np.zeros((DIMS, DIMS)), 0)
    measured: dict[str, Any] = {}
    for half in written_tasks.halves():
        theirs = [one for one in told if one.author in half]
        other = fit([one for one in told if one.author not in half])
        measured[f"{', '.join(half)}, learnt on the others"] = round(area(other, theirs), 4)
        measured[f"{', '.join(half)}, cosine to the nearest clause"] = round(area(cosine, theirs), 4)
    head = fit(told)
    return {
        "area under the ROC curve": measured,
        "calls": sum(len(one.calls) for one in told),
        "intents": sum(len(one.means) for one in told),
        "bias": head.bias,
        "clause": head.clause.astype(int).tolist(),
        "whole": head.whole.astype(int).tolist(),
    }
