"""Rates with their intervals, and the thresholds that keep a rate of false positives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.forest.units import Floats, Ints

Flags = npt.NDArray[np.bool_]
Rate = dict[str, Any]

RATES = (0.001, 0.01, 0.05)
"""False-positive rates that tables are made for."""
RESAMPLES = 400
_Z = 1.959963984540054


def wilson(hits: int, n: int) -> list[float]:
    """95 % interval of a rate (Wilson); [0, 1] when there is nothing to count."""
    if n == 0:
        return [0.0, 1.0]
    p, z2 = hits / n, _Z * _Z
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    reach = _Z / (1 + z2 / n) * float(np.sqrt(p * (1 - p) / n + z2 / (4 * n * n)))
    return [round(max(0.0, middle - reach), 6), round(min(1.0, middle + reach), 6)]


def rate(flags: Flags) -> dict[str, Any]:
    """A rate with its count and Wilson interval."""
    hits, n = int(flags.sum()), len(flags)
    return {"rate": round(hits / n, 6) if n else None, "hits": hits, "n": n, "wilson": wilson(hits, n)}


def least_threshold(negatives: Ints, false_positive_rate: float) -> int:
    """Least threshold (flagged: score >= it) with at most that share of these negatives flagged."""
    allowed = int(np.floor(false_positive_rate * len(negatives) + 1e-9))
    if allowed >= len(negatives):
        return 0
    return int(np.sort(negatives)[::-1][allowed]) + 1


def area(negatives: Ints, positives: Ints) -> float | None:
    """Area under the ROC curve, ties counted half."""
    if not len(negatives) or not len(positives):
        return None
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, side="left")
    upto = np.searchsorted(ordered, positives, side="right")
    return round(float((below + upto).mean() / 2 / len(negatives)), 6)


def resampled(
    negatives: Ints, negative_tasks: Ints, positives: Ints, positive_tasks: Ints, n_tasks: int, seed: int
) -> dict[float, list[float]]:
    """95 % intervals of the detection rate at each false-positive rate, resampling whole user tasks."""
    draws = np.random.default_rng(seed)
    order = np.argsort(negatives)[::-1]
    found: dict[float, list[float]] = {fpr: [] for fpr in RATES}
    for _ in range(RESAMPLES):
        times = np.bincount(draws.integers(0, n_tasks, n_tasks), minlength=n_tasks)
        flagged = np.cumsum(times[negative_tasks[order]])
        weight = times[positive_tasks]
        if not len(flagged) or not flagged[-1] or not weight.sum():
            continue
        for fpr in RATES:
            first_too_many = int(np.searchsorted(flagged, np.floor(fpr * flagged[-1] + 1e-9), side="right"))
            threshold = negatives[order[first_too_many]] + 1 if first_too_many < len(order) else 0
            found[fpr].append(float(weight[positives >= threshold].sum() / weight.sum()))
    return {
        fpr: [round(float(np.quantile(values, q)), 6) for q in (0.025, 0.975)] if values else [0.0, 1.0]
        for fpr, values in found.items()
    }


def clustered(
    flags: npt.ArrayLike, clusters: Sequence[npt.NDArray[Any]], weights: npt.ArrayLike | None = None
) -> Rate:
    """A weighted share with a 95 % interval from resampling all kinds of clusters at once.

    Where all or none are flagged, resampling says nothing: then Wilson's interval for as many trials as the
    smallest kind has clusters.
    """
    flagged = np.asarray(flags, dtype=np.float64)
    n = len(flagged)
    if not n:
        return {"rate": None, "n": 0, "clusters": 0, "interval": [0.0, 1.0]}
    weight = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    value = float((flagged * weight).sum() / weight.sum())
    places = [np.unique(np.asarray(ids, dtype=np.str_), return_inverse=True)[1] for ids in clusters]
    sizes = [int(place.max()) + 1 for place in places]
    if value in (0.0, 1.0):
        least = min(sizes)
        far = _Z * _Z / (least + _Z * _Z)
        interval = [0.0, round(far, 6)] if value == 0.0 else [round(1 - far, 6), 1.0]
    else:
        draws = np.random.default_rng(0)
        found = []
        for _ in range(RESAMPLES):
            times = weight.copy()
            for place, size in zip(places, sizes, strict=True):
                times *= np.bincount(draws.integers(0, size, size), minlength=size)[place]
            if times.sum() > 0:
                found.append(float((times * flagged).sum() / times.sum()))
        interval = [round(float(np.quantile(found, q)), 6) for q in (0.025, 0.975)]
    return {"rate": round(value, 6), "n": n, "clusters": min(sizes), "interval": interval}


def weighted_area(negatives: Ints, weights: Floats, positives: Ints) -> float | None:
    """Area under the ROC curve with weighted negatives, ties counted half.

    >>> weighted_area(np.array([1, 3]), np.array([1.0, 3.0]), np.array([2, 3]))
    0.4375
    """
    if not len(negatives) or not len(positives):
        return None
    order = np.argsort(negatives)
    below = np.concatenate([[0.0], np.cumsum(weights[order])]) / weights.sum()
    ranked = negatives[order]
    left, right = (np.searchsorted(ranked, positives, side=side) for side in ("left", "right"))
    return round(float((below[left] + below[right]).mean() / 2), 6)
