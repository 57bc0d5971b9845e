"""What an estimator must hold to before anybody trains with it for an hour: docs/training.md lists it.

It is fitted on small made-up rows as `models.training.boosting.fit` fits it, and scored as a worker scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from models.errors import DriftlineError
from models.forest import trees
from models.forest.trees import Forest
from models.forest.units import UNITS, Floats, Ints
from models.training import families
from models.training.boosting import calibrated, grown
from models.training.recipes import Recipe

ROWS, TREES, LEAST = 1_200, 40, 20
DIRECTIONS = (1, -1, 0, 0, 0, 0)
TELLS = 0.75
"""Area that an estimator reaches on the made-up rows; their maker reaches 0.93."""


class Check(NamedTuple):
    """One of the checks: whether it holds, and what was found."""

    name: str
    holds: bool
    found: str


class _Rows(NamedTuple):
    X: Floats
    target: Ints
    weight: Floats


def check_estimator(recipe: Recipe) -> list[Check]:
    """All checks, of the estimator and the parameters that a recipe names; those after a first one that it does not pass are not made.

    Sizes are the checks' own: at most `TREES` trees, on `ROWS` rows of six whole numbers.
    """
    small = replace(
        recipe,
        trees=min(recipe.trees, TREES),
        min_samples_leaf=min(recipe.min_samples_leaf, LEAST),
        max_features=max(recipe.max_features, 0.5),
        directions=DIRECTIONS,
        without=((), (4, 5)),
        apart=(),
        shifts=(),
    )
    with threadpool_limits(1):  # threads on fits this small wait for each other
        return _made(small, _made_up(np.random.default_rng(recipe.seed)))


def _made(small: Recipe, rows: _Rows) -> list[Check]:
    try:
        fitted = _fitted(rows, small)
        forest = trees.from_sklearn(fitted)
    except (DriftlineError, ValueError, TypeError) as error:
        return [Check("fits and converts", False, " ".join(str(error).split()))]
    return [
        Check("fits and converts", True, f"{forest.n_trees} trees of at most {trees.LEAVES_MAX} leaves"),
        *_checks(rows, small, fitted, forest),
    ]


def _made_up(draws: np.random.Generator) -> _Rows:
    X = np.round(draws.normal(300, 250, size=(ROWS, len(DIRECTIONS))))
    odds = (X[:, 0] - X[:, 1]) / 120 + np.where(X[:, 2] > 300, X[:, 4] - 300, 300 - X[:, 4]) / 200 - 1
    target = (draws.random(ROWS) < 1 / (1 + np.exp(-odds))).astype(np.int64)
    return _Rows(X, target, np.round(draws.uniform(0.5, 2.0, ROWS), 2))


def _fitted(rows: _Rows, recipe: Recipe) -> Any:
    forest = grown(*rows, recipe)
    return calibrated(forest, forest.decision_function(rows.X), rows.target, rows.weight)


def _checks(rows: _Rows, recipe: Recipe, fitted: Any, forest: Forest) -> Iterator[Check]:
    X = rows.X
    sums = forest.sums(X)
    area = roc_auc_score(rows.target, sums)
    yield Check("tells the two kinds apart", area >= TELLS, f"area {area:.3f}, {TELLS} is asked for")
    again = trees.from_sklearn(_fitted(rows, recipe)).sums(X)
    yield _same("the same seed gives the same model", sums, again)
    order = np.random.default_rng(0).permutation(ROWS)
    shuffled = _fitted(_Rows(rows.X[order], rows.target[order], rows.weight[order]), recipe)
    yield _same("rows in another order give the same model", sums, trees.from_sklearn(shuffled).sums(X))
    alone = np.concatenate([forest.sums(X[[place]]) for place in range(0, ROWS, 5)])
    yield _same("a row alone scores as among others", sums[::5], alone)
    yield _monotone(X, recipe, forest)
    yield _exact("a score is scikit-learn's own, to 0.0001", _at_the_splits(X, forest), fitted, forest)
    lacking = X.copy()
    lacking[np.random.default_rng(1).random(X.shape) < 0.3] = np.nan
    yield _exact("a missing value is scored, and the same", lacking, fitted, forest)


def _same(name: str, one: Ints, other: Ints) -> Check:
    differ = int((one != other).sum())
    return Check(name, differ == 0, f"{differ} of {len(one)} rows differ")


def _monotone(X: Floats, recipe: Recipe, forest: Forest) -> Check:
    """Of pairs of rows that differ in one column that has a direction, none whose scores part the other way."""
    name = "evidence moves a score in its direction"
    promised = "monotonic_cst" in families.build(recipe.estimator, {}, {}).get_params(deep=False)
    wrong = 0
    for column, direction in enumerate(DIRECTIONS):
        if direction:
            higher = X.copy()
            higher[:, column] += np.resize([1.0, 40.0, 400.0], len(X))
            wrong += int(((forest.sums(higher) - forest.sums(X)) * direction < 0).sum())
    if not promised:
        return Check(
            name, True, f"it promises no directions: {wrong} of {2 * len(X)} pairs part the other way"
        )
    return Check(name, wrong == 0, f"{wrong} of {2 * len(X)} pairs part the other way")


def _at_the_splits(X: Floats, forest: Forest) -> Floats:
    """Rows with values on, just below and just above the places at which trees part."""
    probes = X.copy()
    for column, (_, places) in enumerate(forest.thresholds):
        if places:
            near = np.resize(places, len(X))
            third = np.arange(len(X)) % 3
            probes[:, column] = np.choose(
                third, (near, np.nextafter(near, -np.inf), np.nextafter(near, np.inf))
            )
    return probes


def _exact(name: str, X: Floats, fitted: Any, forest: Forest) -> Check:
    scores = np.searchsorted(forest.cuts, forest.sums(X), side="right")
    apart = float(np.abs(scores - fitted.predict_proba(X)[:, 1] * UNITS).max())
    return Check(name, apart <= 1, f"at most {apart / UNITS:.6f} apart")
