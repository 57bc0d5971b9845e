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
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import ArtefactError, FeaturesMismatch
from models.forest.allowances import Shifts, allowance
from models.forest.odds import sigmoid_cuts
from models.forest.units import Floats, Ints, whole

LEAVES_MAX = 32
"""Leaves of a tree that are read: one bit each."""
_Bits = np.uint32
_ALL = _Bits(2**LEAVES_MAX - 1)
_ROWS = 256
"""Rows summed at a time: a set of any length then takes the memory of these."""

Bits = npt.NDArray[np.uint32]
_Node = tuple[float, bool, int, np.uint32]
"""An inner node: its threshold, whether a missing value goes right, its tree, and the leaves that remain on the right."""


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
            out[start : start + _ROWS] = self._sums_reached(reached)
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
        return self._sums_reached(reached)

    def _places(self, values: Sequence[float]) -> list[int]:
        """For each column its row of ``remain``."""
        return [
            first + (bisect_left(below, value) if value == value else len(below) + 1)
            for (first, below), value in zip(self.thresholds, values, strict=True)
        ]

    def _sums_reached(self, reached: Bits) -> Ints:
        """Sums, by the leaves that remain in each tree."""
        # Bits below the lowest one that is set: their number is the leaf's number.
        leaf = np.bitwise_count(~reached & (reached - _Bits(1)))
        sums: Ints = self.leaves[leaf + np.arange(self.n_trees) * LEAVES_MAX].sum(axis=1) + self.baseline
        return sums

    def score(self, X: Floats, seen: Ints) -> Ints:
        """Probability of drift for each row, 0..10000, its log odds less the `allowance` for what came before it."""
        spent = allowance(seen, X, self.shifts)
        return np.searchsorted(self.cuts, self.sums(X) - spent, side="right").astype(np.int64)


def _spans(nodes: Any) -> tuple[list[tuple[int, int, int]], list[int]]:
    """Inner nodes as (node, first leaf, first leaf right of it), and the leaves' nodes, from the left."""
    inner: list[tuple[int, int, int]] = []
    order: list[int] = []

    def visit(at: int) -> None:
        if nodes["is_leaf"][at]:
            order.append(at)
            if len(order) > LEAVES_MAX:  # also where nodes lead round, or to one another twice
                raise ArtefactError(f"a tree has more than {LEAVES_MAX} leaves; retrain it")
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
        if nodes["is_categorical"].any():
            raise ArtefactError("categorical splits are not read; retrain on numeric features")
        for at, first, beyond in inner:
            feature = int(nodes["feature_idx"][at])
            if not 0 <= feature < n_features:
                raise ArtefactError(
                    "a split names a feature that the model does not have; reinstall the model"
                )
            if nodes["num_threshold"][at] != nodes["num_threshold"][at]:
                raise ArtefactError("a split has no threshold; reinstall the model")
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
