"""A fitted, calibrated boosting model as exact integer arithmetic.

scikit-learn sums floating-point leaves and calls ``exp``; both may differ in the last bit between machines.
A decision must not. Here leaves are integers (units of 2**-32), their sum has no order, and the sigmoid is a
table of 10,000 integers computed once in decimal arithmetic, so that one row gives one score everywhere,
alone or in a batch.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from functools import cache
from math import log
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import ArtefactError, FeaturesMismatch

UNITS = 10_000
"""Scores count units of 0.0001."""

LEAF_BITS = 32
"""Leaves are kept in units of 2**-32: far below what could move a score by one unit."""

_LEAVES_MAX = 64
_ALL = np.uint64(2**64 - 1)
_ROWS = 24
"""Rows handled at a time: the comparison matrix then stays in the processor's cache."""

_FAR = np.iinfo(np.int64).max
_DECIMAL = Context(prec=50)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Shifts = tuple[tuple[int, int], ...]
"""Columns, and what scores give up for each unit in them, in units of 2**-32."""


@dataclass(frozen=True)
class Forest:
    """Trees as flat arrays, and the calibration table.

    Every inner node of every tree is one column: ``feature``, ``threshold``, ``missing_left``, and ``keep``,
    the leaves (bits, numbered from the left) that remain possible once the node sends a row to the right.
    The leaf that a row reaches is then the lowest bit that all its right turns keep. Columns lie slot by
    slot (slot 0 of every tree, slot 1 of every tree ...); trees with fewer nodes are filled up with nodes
    that never turn right.

    Attributes
    ----------
    leaves : flat table of trees x 64 leaf values, in units of 2**-32
    baseline : start value of every sum, in the same unit
    cuts : for each k in 1..10000 the least sum whose probability, rounded, is at least k units
    n_features : number of columns that `score` expects
    shifts : what scores give up for what a column holds, see `allowance`
    """

    feature: npt.NDArray[np.intp]
    threshold: Floats
    missing_left: npt.NDArray[np.bool_]
    keep: npt.NDArray[np.uint64]
    leaves: Ints
    baseline: int
    cuts: Ints
    n_features: int
    shifts: Shifts = ()

    @property
    def n_trees(self) -> int:
        """Number of trees."""
        return len(self.leaves) // _LEAVES_MAX

    def sums(self, X: Floats) -> Ints:
        """Raw sums of leaves for each row, in units of 2**-32."""
        if X.ndim != 2 or X.shape[1] != self.n_features:
            raise FeaturesMismatch(f"the model reads {self.n_features} features, got an array {X.shape}")
        out = np.empty(len(X), dtype=np.int64)
        trees = self.n_trees
        rows_of_leaves = np.arange(trees, dtype=np.int64) * _LEAVES_MAX
        for start in range(0, len(X), _ROWS):
            part = X[start : start + _ROWS]
            values = part[:, self.feature]
            right = values > self.threshold
            if np.isnan(part).any():
                right |= np.isnan(values) & ~self.missing_left
            kept = np.where(right, self.keep, _ALL).reshape(len(part), -1, trees)
            reached = np.bitwise_and.reduce(kept, axis=1)
            # Bits below the lowest one that is set: their number is the leaf's number.
            leaf = np.bitwise_count(~reached & (reached - np.uint64(1))).astype(np.int64)
            out[start : start + _ROWS] = self.leaves[leaf + rows_of_leaves].sum(axis=1) + self.baseline
        return out

    def score(self, X: Floats, seen: Ints) -> Ints:
        """Probability of drift for each row, 0..10000, its log odds less the `allowance` for what came before it."""
        spent = allowance(seen, X, self.shifts)
        return np.searchsorted(self.cuts, self.sums(X) - spent, side="right").astype(np.int64)


def whole(value: float) -> int:
    """A leaf value in units of 2**-32, rounded half to even; exact, since scaling by 2**32 is."""
    return round(float(value) * 2.0**LEAF_BITS)


ALLOWANCE = 0.28
"""Log odds that a score gives up for each doubling of the calls that its session has made.

A session is flagged by its highest score, so that one of a hundred calls would spend a hundred chances. Where the upper
tail of single scores is exponential, the highest of n lies the mean excess times ln n above one alone (Embrechts,
Klueppelberg and Mikosch, Modelling Extremal Events, 1997, 3.3). The mean excess of honest calls over their 98th
percentile is 0.4 in the median domain, 0.3 to 0.6 in all: 0.4 times ln 2.
"""
MAX_DOUBLINGS = 6
"""Calls beyond 63 earn a session no further allowance: nobody hides an act behind a thousand harmless calls."""
SHIFTED = {"answers_silent": 0.4, "hashed": -0.0002}
"""Log odds that a score gives up for each unit of a feature: where a producer withholds what results say, or hashes values.

While no answer has told anything an honest value that came from a result looks as if it came from nowhere, in every call of
every session. On the recorded domains without an attack, their results withheld, the first brings false alarms from 3.4 and
4.8 to 1.8 and 2.4 % (two seeds; chosen there). An answer of a single word, "error" or "ok", tells something and ends it.

Of fingerprints no meaning is known: all scores are lower, and fewer sessions flagged than the budget allows. The second gives
0.2 back where all of a call's values are hashed: the most that keeps 1 % of all honest sessions so recorded, each domain left
out (0.9 and 1.0 %, two seeds, for 0.4 and 0.6 without; their hijacks 51 and 58 % for 44 and 50; chosen there).
"""
ALLOWED = {"log_odds": ALLOWANCE, "doublings": MAX_DOUBLINGS, "features": SHIFTED}
"""All of it, as a manifest names it: its thresholds hold for scores with this allowance alone."""
_FRACTION = 16


def allowance(seen: Ints, X: Floats, shifts: Shifts) -> Ints:
    """What the scores of calls give up, in units of 2**-32, for what came before them in their session, and for what is hidden.

    The binary logarithm of one more than the calls `seen`, linear between powers of two: whole numbers, the same on every
    machine; and what `shifts` say of the rows `X` of these calls.

    >>> seen = np.array([0, 1, 2, 3, 63, 10**6])
    >>> [round(int(a) / 2**32, 3) for a in allowance(seen, np.zeros((6, 0)), ())]
    [0.0, 0.28, 0.42, 0.56, 1.68, 1.68]
    >>> [round(int(a) / 2**32, 3) for a in allowance(seen[1:3], np.array([[0.0], [1.0]]), ((0, 2**31),))]
    [0.28, 0.92]
    """
    calls = np.minimum(np.asarray(seen, dtype=np.int64), (1 << MAX_DOUBLINGS) - 1) + 1
    doublings = np.frexp(calls.astype(np.float64))[1].astype(np.int64) - 1
    beyond = (calls - (1 << doublings) << _FRACTION) >> doublings
    spent: Ints = ((doublings << _FRACTION) + beyond) * whole(ALLOWANCE) >> _FRACTION
    for column, units in shifts:
        spent += units * X[:, column].astype(np.int64)
    return spent


def shifts_of(features: Sequence[str]) -> Shifts:
    """`SHIFTED`, by the places of these features."""
    return tuple((features.index(name), whole(given)) for name, given in SHIFTED.items() if name in features)


def sigmoid_cuts(slope: float, intercept: float) -> Ints:
    """Least sum for each score of 1 / (1 + exp(slope * sum + intercept)), k = 1..10000.

    Computed in decimal arithmetic of 50 digits, whose logarithm is correctly rounded: the same table on every
    machine, which the C library's ``exp`` would not promise.
    """
    if not slope < 0:
        raise ArtefactError(
            f"calibration slope {slope} is not negative: the model ranks backwards, retrain it"
        )
    context = _DECIMAL
    a, b = Decimal(slope), Decimal(intercept)
    scale = Decimal(2**LEAF_BITS)
    cuts = np.empty(UNITS, dtype=np.int64)
    for number, logit in enumerate(_logits()):
        margin = context.divide(context.minus(context.add(logit, b)), a)
        least = context.multiply(margin, scale).to_integral_value(rounding=ROUND_CEILING, context=context)
        cuts[number] = max(-_FAR, min(_FAR, int(least)))
    return cuts


@cache
def _logits() -> tuple[Decimal, ...]:
    """Log odds from which on a probability rounds to k units, k = 1..10000: those of (k - 1/2) units."""
    return tuple(
        _DECIMAL.ln(_DECIMAL.divide(Decimal(2 * k - 1), Decimal(2 * UNITS - 2 * k + 1)))
        for k in range(1, UNITS + 1)
    )


def log_odds(units: int) -> float:
    """Log odds from which on a score is at least `units` of 0.0001; 10001, which none is, lies a step beyond the last.

    >>> log_odds(5000) < 0 < log_odds(5001), round(log_odds(10_000), 2), round(log_odds(10_001), 2)
    (True, 9.9, 11.29)
    """
    return _steps()[max(units, 1) - 1]


def least_score(odds: float) -> int:
    """The least score, in units of 0.0001, that stands for log odds of `odds` or more: the inverse of `log_odds`.

    >>> [least_score(log_odds(units)) for units in (1, 3821, 9999, 10_000, 10_001)]
    [1, 3821, 9999, 10000, 10001]
    """
    return bisect_left(_steps(), odds - 1e-9) + 1


@cache
def _steps() -> list[float]:
    """Log odds from which on a score is at least 1, 2 ... 10000 units, and those that stand for more."""
    return [*map(float, _logits()), log((UNITS - 0.125) / 0.125)]


def _spans(nodes: Any) -> tuple[list[tuple[int, int, int]], list[int]]:
    """Inner nodes as (node, first leaf, first leaf right of it), and the leaves' nodes, from the left."""
    inner: list[tuple[int, int, int]] = []
    order: list[int] = []

    def visit(at: int) -> None:
        if nodes["is_leaf"][at]:
            order.append(at)
            return
        first = len(order)
        visit(int(nodes["left"][at]))
        inner.append((at, first, len(order)))
        visit(int(nodes["right"][at]))

    visit(0)
    return inner, order


def from_sklearn(calibrated: Any, shifts: Shifts = ()) -> Forest:
    """Flatten a ``CalibratedClassifierCV`` with one sigmoid over one ``HistGradientBoostingClassifier``."""
    try:
        (member,) = calibrated.calibrated_classifiers_
        (sigmoid,) = member.calibrators
        boosted = getattr(member.estimator, "estimator", member.estimator)  # frozen or bare
        grown = [trees[0].nodes for trees in boosted._predictors if len(trees) == 1]
        slope, intercept = float(sigmoid.a_), float(sigmoid.b_)
        n_features = int(boosted.n_features_in_)
        baseline = whole(np.asarray(boosted._baseline_prediction).item())
        unsound = len(grown) != len(boosted._predictors) or list(boosted.classes_) != [0, 1]
        unsound = unsound or boosted._preprocessor is not None
    except (AttributeError, TypeError, ValueError, IndexError) as error:
        raise ArtefactError(f"not a sigmoid-calibrated binary boosting model: {error}; retrain it") from error
    if unsound or not grown:
        raise ArtefactError("not a binary boosting model over plain numeric features; retrain it")

    spans = [_spans(nodes) for nodes in grown]
    slots = max(1, max(len(inner) for inner, _ in spans))
    shape = (slots, len(grown))
    feature = np.zeros(shape, dtype=np.intp)
    threshold = np.full(shape, np.inf)
    missing_left = np.ones(shape, dtype=np.bool_)
    keep = np.full(shape, _ALL, dtype=np.uint64)
    leaves = np.zeros((len(grown), _LEAVES_MAX), dtype=np.int64)
    for tree, (nodes, (inner, order)) in enumerate(zip(grown, spans, strict=True)):
        if len(order) > _LEAVES_MAX:
            raise ArtefactError(f"a tree has {len(order)} leaves, at most {_LEAVES_MAX} are read; retrain it")
        if nodes["is_categorical"].any():
            raise ArtefactError("categorical splits are not read; retrain on numeric features")
        for slot, (at, first, beyond) in enumerate(inner):
            feature[slot, tree] = nodes["feature_idx"][at]
            threshold[slot, tree] = nodes["num_threshold"][at]
            missing_left[slot, tree] = bool(nodes["missing_go_to_left"][at])
            keep[slot, tree] = np.uint64((2**64 - 1) ^ ((1 << beyond) - (1 << first)))
        for number, at in enumerate(order):
            leaves[tree, number] = whole(nodes["value"][at])
    if feature.min() < 0 or feature.max() >= n_features:
        raise ArtefactError("a split names a feature that the model does not have; reinstall the model")
    return Forest(
        feature=feature.ravel(),
        threshold=threshold.ravel(),
        missing_left=missing_left.ravel(),
        keep=keep.ravel(),
        leaves=leaves.ravel(),
        baseline=baseline,
        cuts=sigmoid_cuts(slope, intercept),
        n_features=n_features,
        shifts=shifts,
    )
