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

LEAVES_MAX = 32
"""Leaves of a tree that are read: one bit each."""
_Bits = np.uint32
_ALL = _Bits(2**LEAVES_MAX - 1)
_ROWS = 256
"""Rows summed at a time: a set of any length then takes the memory of these."""

_FAR = np.iinfo(np.int64).max
_DECIMAL = Context(prec=50)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint32]
_Node = tuple[float, bool, int, np.uint32]
"""An inner node: its threshold, whether a missing value goes right, its tree, and the leaves that remain on the right."""
Shifts = tuple[tuple[int, int], ...]
"""Columns, and what scores give up for each unit in them, in units of 2**-32."""


@dataclass(frozen=True)
class Forest:
    """Trees as one table of the leaves that remain possible, and the calibration table.

    A node sends a row to the right where its feature exceeds its threshold, and the leaves left of it are out. Which of a
    tree's leaves (bits, numbered from the left) a feature's value rules out depends only on how many of that feature's
    thresholds lie below it: one row of ``remain`` for each such number, and one for a missing value. The leaf that a tree
    reaches is the lowest bit that all features leave (Lucchese et al., QuickScorer, SIGIR 2015).

    Attributes
    ----------
    thresholds : for each feature its first row of ``remain``, and the values at which its nodes part, ascending
    remain : rows x trees bits of the leaves that remain; for each feature one row more than it has thresholds, and the
        last of it for a missing value
    leaves : flat table of trees x `LEAVES_MAX` leaf values, in units of 2**-32
    baseline : start value of every sum, in the same unit
    cuts : for each k in 1..10000 the least sum whose probability, rounded, is at least k units
    shifts : what scores give up for what a column holds, see `allowance`
    """

    thresholds: tuple[tuple[int, list[float]], ...]
    remain: Bits
    leaves: Ints
    baseline: int
    cuts: Ints
    shifts: Shifts = ()

    @property
    def n_trees(self) -> int:
        """Number of trees."""
        return len(self.leaves) // LEAVES_MAX

    @property
    def n_features(self) -> int:
        """Number of columns that `score` expects."""
        return len(self.thresholds)

    def sums(self, X: Floats) -> Ints:
        """Raw sums of leaves for each row, in units of 2**-32."""
        if X.ndim != 2 or X.shape[1] != self.n_features:
            raise FeaturesMismatch(f"the model reads {self.n_features} features, got an array {X.shape}")
        out = np.empty(len(X), dtype=np.int64)
        for start in range(0, len(X), _ROWS):
            part = X[start : start + _ROWS]
            reached = np.empty((len(part), self.n_trees), dtype=_Bits)
            for number, values in enumerate(part.tolist()):
                np.bitwise_and.reduce(self.remain[self._places(values)], axis=0, out=reached[number])
            out[start : start + _ROWS] = self._told(reached)
        return out

    def mixed(self, row: Sequence[float], other: Sequence[float], groups: Sequence[Sequence[int]]) -> Ints:
        """Sums of the rows that have each group of columns from `row` or from `other`: from `row` where the bit of its number is set.

        Groups hold every column once. Each side's way through the trees is looked up once, whatever number of rows.
        """
        sides = []
        for values in (other, row):
            places = np.array(self._places(values))
            sides.append(
                [np.bitwise_and.reduce(self.remain[places[list(group)]], axis=0) for group in groups]
            )
        reached = np.empty((1 << len(groups), self.n_trees), dtype=_Bits)
        for subset, bits in enumerate(reached):
            chosen = [sides[subset >> n & 1][n] for n in range(len(groups))]
            np.bitwise_and.reduce(chosen, axis=0, out=bits)
        return self._told(reached)

    def _places(self, values: Sequence[float]) -> list[int]:
        """For each column its row of ``remain``."""
        return [
            first + (bisect_left(below, value) if value == value else len(below) + 1)
            for (first, below), value in zip(self.thresholds, values, strict=True)
        ]

    def _told(self, reached: Bits) -> Ints:
        """Sums, by the leaves that remain in each tree."""
        # Bits below the lowest one that is set: their number is the leaf's number.
        leaf = np.bitwise_count(~reached & (reached - _Bits(1)))
        told: Ints = self.leaves[leaf + np.arange(self.n_trees) * LEAVES_MAX].sum(axis=1) + self.baseline
        return told

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


def _by_calls(seen: int) -> int:
    doublings = (seen + 1).bit_length() - 1
    beyond = (seen + 1 - (1 << doublings) << _FRACTION) >> doublings
    return ((doublings << _FRACTION) + beyond) * whole(ALLOWANCE) >> _FRACTION


_BY_CALLS = np.array([_by_calls(seen) for seen in range(1 << MAX_DOUBLINGS)], dtype=np.int64)


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
    spent: Ints = _BY_CALLS[np.minimum(seen, len(_BY_CALLS) - 1)]
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

    leaves = np.zeros((len(grown), LEAVES_MAX), dtype=np.int64)
    ruled: list[list[_Node]] = [[] for _ in range(n_features)]
    for tree, nodes in enumerate(grown):
        inner, order = _spans(nodes)
        if len(order) > LEAVES_MAX:
            raise ArtefactError(f"a tree has {len(order)} leaves, at most {LEAVES_MAX} are read; retrain it")
        if nodes["is_categorical"].any():
            raise ArtefactError("categorical splits are not read; retrain on numeric features")
        for at, first, beyond in inner:
            feature = int(nodes["feature_idx"][at])
            if not 0 <= feature < n_features:
                raise ArtefactError(
                    "a split names a feature that the model does not have; reinstall the model"
                )
            kept = _ALL ^ _Bits((1 << beyond) - (1 << first))
            missing_right = not nodes["missing_go_to_left"][at]
            ruled[feature].append((float(nodes["num_threshold"][at]), missing_right, tree, kept))
        for number, at in enumerate(order):
            leaves[tree, number] = whole(nodes["value"][at])
    thresholds, remain = _remaining(ruled, len(grown))
    return Forest(
        thresholds=thresholds,
        remain=remain,
        leaves=leaves.ravel(),
        baseline=baseline,
        cuts=sigmoid_cuts(slope, intercept),
        shifts=shifts,
    )


def _remaining(
    ruled: Sequence[Sequence[_Node]], trees: int
) -> tuple[tuple[tuple[int, list[float]], ...], Bits]:
    """`Forest.thresholds` and `Forest.remain`, of each feature's nodes."""
    thresholds, tables, first = [], [], 0
    for nodes in ruled:
        below = sorted({threshold for threshold, *_ in nodes})
        table = np.full((len(below) + 2, trees), _ALL)
        for threshold, missing_right, tree, kept in nodes:
            table[bisect_left(below, threshold) + 1, tree] &= kept
            if missing_right:
                table[-1, tree] &= kept
        np.bitwise_and.accumulate(table[:-1], axis=0, out=table[:-1])
        thresholds.append((first, below))
        tables.append(table)
        first += len(table)
    return tuple(thresholds), np.concatenate(tables)
