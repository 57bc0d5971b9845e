"""Exact scoring: the same integers everywhere, one unit at most from scikit-learn."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from decimal import Context, Decimal
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from models.errors import ArtefactError, FeaturesMismatch
from models.forest import allowances, odds, trees, units
from tests.builders import first

CUTS_DIGEST = "36f1a406a44fdff93dd9f63dead18a4bb887130b97cdbd1f00e187d77caabab1"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny fits on many threads wait for each other far longer than they compute."""
    with threadpool_limits(1):
        yield


def rows(n: int, seed: int, missing: float = 0.0) -> tuple[units.Floats, units.Ints]:
    """Rows in steps of 0.01, so that many values tie with each other, and a target made of two of them."""
    draws = np.random.default_rng(seed)
    X = np.round(draws.normal(size=(n, 7)), 2)
    y = (X[:, 0] + X[:, 1] * X[:, 2] + draws.normal(size=n) > 1.2).astype(np.int64)
    X[draws.random(X.shape) < missing] = np.nan
    return X, y


def fitted(missing: float = 0.0, **options: Any) -> Any:
    X, y = rows(3000, seed=1, missing=missing)
    options = {"max_iter": 40, "max_leaf_nodes": 31, "min_samples_leaf": 20, **options}
    boosted = HistGradientBoostingClassifier(early_stopping=False, random_state=3, **options).fit(
        X[:2000], y[:2000]
    )
    return CalibratedClassifierCV(FrozenEstimator(boosted), method="sigmoid").fit(X[2000:], y[2000:])


def split_points(pipeline: Any, X: units.Floats) -> units.Floats:
    """Rows rewritten to lie exactly on the trees' own thresholds, where < and <= differ."""
    on = X.copy()
    boosted = pipeline.calibrated_classifiers_[0].estimator.estimator
    nodes = np.concatenate([trees_of_round[0].nodes for trees_of_round in boosted._predictors])
    for node in nodes[nodes["is_leaf"] == 0]:
        on[node["count"] % len(on), node["feature_idx"]] = node["num_threshold"]
    return on


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_score_on_fresh_rows_is_within_one_unit_of_scikit_learn(missing: float) -> None:
    pipeline = fitted(missing)
    forest = trees.from_sklearn(pipeline)
    X, _ = rows(2500, seed=2, missing=missing)
    for tried in (X, split_points(pipeline, X)):
        theirs = pipeline.predict_proba(tried)[:, 1] * units.UNITS
        ours = forest.score(tried, first(tried))
        assert np.abs(ours - theirs).max() <= 1
        assert (ours == np.round(theirs)).mean() > 0.999
        assert len(np.unique(ours)) > 500


def test_score_of_a_row_is_the_same_alone_and_in_any_batch() -> None:
    forest = trees.from_sklearn(fitted(missing=0.1))
    X, _ = rows(331, seed=4, missing=0.1)
    together = forest.score(X, first(X))
    alone = np.concatenate([forest.score(X[at : at + 1], first(X[:1])) for at in range(len(X))])
    shuffled = np.random.default_rng(0).permutation(len(X))
    assert together.dtype == np.int64
    assert np.array_equal(together, alone)
    assert np.array_equal(together[shuffled], forest.score(np.asfortranarray(X[shuffled]), first(X)))
    assert forest.score(X[:0], first(X[:0])).shape == (0,)


def test_sums_do_not_depend_on_the_order_of_trees() -> None:
    pipeline = fitted()
    X, _ = rows(400, seed=5)
    before = trees.from_sklearn(pipeline).sums(X)
    pipeline.calibrated_classifiers_[0].estimator.estimator._predictors.reverse()
    assert np.array_equal(before, trees.from_sklearn(pipeline).sums(X))


@pytest.mark.parametrize("far", [np.inf, -np.inf, 1e308, -1e308, 0.0, -0.0])
def test_score_of_extreme_values_agrees_with_scikit_learn(far: float) -> None:
    pipeline = fitted()
    X, _ = rows(50, seed=6)
    X[::2, :3] = far
    theirs = pipeline.calibrated_classifiers_[0].estimator.estimator._raw_predict(X).ravel()
    assert np.abs(trees.from_sklearn(pipeline).sums(X) / 2.0**32 - theirs).max() < 1e-7


def test_trees_without_a_split_are_read_as_one_leaf() -> None:
    pipeline = fitted(min_samples_leaf=1500)
    forest = trees.from_sklearn(pipeline)
    X, _ = rows(20, seed=7)
    assert len(set(forest.score(X, first(X)).tolist())) == 1
    assert abs(forest.score(X, first(X))[0] - pipeline.predict_proba(X)[0, 1] * units.UNITS) <= 1


@pytest.mark.parametrize(("slope", "intercept"), [(-1.0, 0.0), (-3.62, -1.24), (-0.7, 2.5)])
def test_cuts_are_the_least_sums_that_reach_each_score(slope: float, intercept: float) -> None:
    cuts = odds.sigmoid_cuts(slope, intercept)
    assert len(cuts) == units.UNITS
    assert (np.diff(cuts) > 0).all()
    exact = Context(prec=60)

    def probability(units: int) -> Decimal:
        raw = exact.divide(Decimal(units), Decimal(2**32))
        inside = exact.add(exact.multiply(Decimal(slope), raw), Decimal(intercept))
        return exact.divide(Decimal(1), exact.add(Decimal(1), exact.exp(inside)))

    for k in (1, 2, 17, 4999, 5000, 5001, 9990, 9999, 10000):
        half = exact.divide(Decimal(2 * k - 1), Decimal(20000))
        assert probability(int(cuts[k - 1])) >= half - Decimal("1e-45")
        assert probability(int(cuts[k - 1]) - 1) < half


def test_cuts_are_the_same_bytes_on_every_machine() -> None:
    cuts = odds.sigmoid_cuts(-1.25, 0.375)
    assert hashlib.sha256(cuts.astype("<i8").tobytes()).hexdigest() == CUTS_DIGEST


@pytest.mark.parametrize("slope", [0.0, 0.5, float("nan")])
def test_a_calibration_that_ranks_backwards_is_refused(slope: float) -> None:
    with pytest.raises(ArtefactError, match="backwards"):
        odds.sigmoid_cuts(slope, 0.0)


def test_rows_of_another_width_are_refused() -> None:
    forest = trees.from_sklearn(fitted(max_iter=3))
    with pytest.raises(FeaturesMismatch, match="7 features"):
        forest.score(np.zeros((2, 6)), first(np.zeros((2, 6))))


def test_other_estimators_are_refused() -> None:
    X, y = rows(200, seed=8)
    linear = LogisticRegression().fit(X, y)
    wrapped = CalibratedClassifierCV(FrozenEstimator(linear), method="sigmoid").fit(X, y)
    for estimator in (linear, wrapped, None):
        with pytest.raises(ArtefactError, match="retrain"):
            trees.from_sklearn(estimator)


def test_trees_with_too_many_leaves_are_refused() -> None:
    with pytest.raises(ArtefactError, match="leaves"):
        trees.from_sklearn(fitted(max_iter=2, max_leaf_nodes=200, min_samples_leaf=2))


def test_each_doubling_of_a_sessions_calls_costs_as_much_and_there_is_an_end() -> None:
    seen = np.arange(5000)
    none = np.zeros((5000, 0))
    spent = allowances.allowance(seen, none, ())
    assert spent[0] == 0
    assert (np.diff(spent) >= 0).all()
    powers = 2 ** np.arange(allowances.MAX_DOUBLINGS + 1) - 1
    doubled = np.diff(allowances.allowance(powers, none, ()))
    assert set(doubled.tolist()) == {units.whole(allowances.ALLOWANCE)}
    assert spent.max() == spent[63] == allowances.MAX_DOUBLINGS * units.whole(allowances.ALLOWANCE)


@pytest.mark.parametrize("name", allowances.BY_FEATURE)
def test_what_is_hidden_shifts_a_score_alike_at_every_call(name: str) -> None:
    seen, shifts = np.arange(200), allowances.shifts_of(["another", name])
    hidden = np.tile([5.0, 7.0], (200, 1))
    more = allowances.allowance(seen, hidden, shifts) - allowances.allowance(seen, 0 * hidden, shifts)
    assert set(more.tolist()) == {7 * units.whole(allowances.BY_FEATURE[name])}


def test_a_score_loses_or_gains_by_what_is_hidden_and_by_nothing_else() -> None:
    pipeline = fitted()
    X, _ = rows(300, seed=9)
    column = int(np.argmax([len(np.unique(X[:, n])) for n in range(X.shape[1])]))
    X[:, column] = X[:, column] > np.median(X[:, column])
    seen, shown = np.zeros(len(X), np.int64), X[:, column] == 0
    plain = trees.from_sklearn(pipeline).score(X, seen)
    for given, way in ((0.4, 1), (-0.3, -1)):
        shifted = trees.from_sklearn(pipeline, ((column, units.whole(given)),)).score(X, seen)
        assert np.array_equal(plain[shown], shifted[shown])
        assert (way * (plain - shifted)[~shown] >= 0).all()
        assert (plain != shifted).any()


def test_later_calls_of_a_session_score_no_higher_for_the_same_row() -> None:
    forest = trees.from_sklearn(fitted())
    X, _ = rows(300, seed=9)
    scores = [forest.score(X, np.full(len(X), seen)) for seen in (0, 1, 7, 63, 10_000)]
    assert all((early >= late).all() for early, late in itertools.pairwise(scores))
    assert (scores[0] > scores[3]).any()
    assert np.array_equal(scores[3], scores[4])
