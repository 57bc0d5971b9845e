"""Trees, grown as a recipe says and calibrated, and scores by models that did not see what they score."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from itertools import zip_longest
from multiprocessing import get_context
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.calibration import CalibratedClassifierCV, _CalibratedClassifier, _SigmoidCalibration
from threadpoolctl import threadpool_limits

from models.errors import DatasetError
from models.forest import allowances, trees, units
from models.forest.units import Floats, Ints
from models.training import families
from models.training.dataset import LEFT_OUT, Calls, task_folds
from models.training.recipes import Recipe
from models.training.splits import Split, by_domain

Progress = Callable[[str], None]


def silent(_: str) -> None:
    """Progress for callers that do not want any."""


def booster(recipe: Recipe) -> Any:
    """The recipe's trees, not yet fitted, without the sigmoid. What another estimator calls otherwise it is told in `Recipe.parameters`."""
    return families.build(
        recipe.estimator,
        dict(recipe.parameters),
        {
            "max_iter": recipe.trees,
            "n_estimators": recipe.trees,
            "max_leaf_nodes": recipe.leaves,
            "learning_rate": recipe.learning_rate,
            "min_samples_leaf": recipe.min_samples_leaf,
            "l2_regularization": recipe.l2,
            "max_features": recipe.max_features,
            "monotonic_cst": list(recipe.directions) or None,
            "early_stopping": False,
            "categorical_features": None,
            "random_state": recipe.seed,
        },
    )


def distinct(X: Floats, target: Ints, weight: Floats) -> tuple[Floats, Ints, Floats]:
    """Each row once for each target (0 or 1) that it has, with the weight of all its copies, in an order of their own.

    A scenario is made of a session in many variants, most of whose calls are the same in all of them: copies would pass
    for as many observations where a leaf asks for `Recipe.min_samples_leaf`.
    """
    whole = np.ascontiguousarray(X) + 0.0  # of the two zeros one
    as_bytes = whole.view(np.dtype((np.void, whole.dtype.itemsize * whole.shape[1]))).ravel()
    _, row = np.unique(as_bytes, return_inverse=True)
    _, first, kind = np.unique(2 * row + target, return_index=True, return_inverse=True)
    total = np.bincount(kind, weights=weight).astype(np.float64)
    return whole[first], target[first], total


def grown(X: Floats, target: Ints, weight: Floats, recipe: Recipe) -> Any:
    """The recipe's trees, fitted: each part on `distinct` rows that say nothing in the columns that it is `without`.

    Of a part there are two where the recipe sets some rows `apart`, and enough of them, of either kind, are there.
    """
    least, more = divmod(recipe.trees, len(recipe.without))
    everywhere = np.ones(len(X), dtype=np.bool_)
    parts = []

    def fitted(rows: npt.NDArray[np.bool_], number: int, columns: Sequence[int], seed: int) -> Any:
        seen = X[rows]
        seen[:, columns] = 0.0  # a column of one value splits nothing, whatever it holds later
        each = replace(
            recipe, trees=least + (number < more), without=((),), apart=(), seed=recipe.seed + seed
        )
        seen, kind, total = distinct(seen, target[rows], weight[rows])
        return families.additive(booster(each).fit(seen, kind, sample_weight=total), seen, kind, total)

    for number, (silent_columns, gate) in enumerate(zip_longest(recipe.without, recipe.apart)):
        columns = [*silent_columns, *(gate or ())[:1]]
        part = fitted(everywhere, number, columns, number)
        if gate is not None:
            column, value = gate
            here = X[:, column] >= value
            if min(np.bincount(target[here], minlength=2)) >= recipe.min_samples_leaf:
                own = fitted(here, number, columns, len(recipe.without) + number)
                part = _parted(part, own, column, value)
        parts.append(part)
    return _mean(parts)


def _parted(there: Any, here: Any, column: int, value: float) -> Any:
    """One model that is `here` where a column holds `value` or more, and `there` elsewhere."""
    more = (here._baseline_prediction - there._baseline_prediction).item() / len(here._predictors)
    for (tree,) in here._predictors:
        tree.nodes["value"] += more  # what the two start from differs: leaves make up for it
        _gate(tree, column, value, inside=True)
    for (tree,) in there._predictors:
        _gate(tree, column, value, inside=False)
    there._predictors = [*there._predictors, *here._predictors]
    return there


def _gate(tree: Any, column: int, value: float, *, inside: bool) -> None:
    """Put a root before a tree's own: on the one side of `value` the tree, on the other a leaf that says nothing."""
    own = tree.nodes
    nodes = np.zeros(len(own) + 2, dtype=own.dtype)
    nodes[2:] = own
    inner = nodes[2:]["is_leaf"] == 0
    for side in ("left", "right"):
        nodes[2:][side][inner] += 2
    nodes["depth"][2:] += 1
    nodes["is_leaf"][1], nodes["depth"][1] = 1, 1
    nodes["feature_idx"][0], nodes["num_threshold"][0] = column, value - 0.5
    nodes["missing_go_to_left"][0], nodes["count"][0] = 1, own["count"][0]
    nodes["left"][0], nodes["right"][0] = (1, 2) if inside else (2, 1)
    tree.nodes = nodes


def _mean(parts: Sequence[Any]) -> Any:
    """One model whose log odds are the mean of these models', which were fitted with the same targets and weights.

    All start at the log odds of the weighted targets, so that leaves alone are shared out.
    """
    first = parts[0]
    for part in parts:
        for (tree,) in part._predictors:
            tree.nodes["value"] /= len(parts)
    first._predictors = [iteration for part in parts for iteration in part._predictors]
    return first


def emphasised(X: Floats, calls: Calls, recipe: Recipe) -> Floats:
    """How much each row, all of them labelled, teaches: `calls.weight`, and `emphasis` times that in the hardest honest sessions.

    A threshold hangs on the few honest sessions that score highest, a fit on the many that are told at a glance. So a
    first fit of a few trees finds the `hardest` share in each domain, of each way in which honest work is seen, see
    `_ways_seen`. The mean weight stays: the regularisation counts in whole sessions. This fit may split by what sets
    rows `apart`: it ranks sessions, and scores none.
    """
    few = replace(recipe, trees=recipe.first_trees, learning_rate=recipe.first_rate, without=((),), apart=())
    first = booster(replace(few, estimator=families.BOOSTING, parameters=()))
    seen, target, total = distinct(X, calls.target, calls.weight)
    first.fit(seen, target, sample_weight=total)
    spent = allowances.allowance(calls.call_seq, X, recipe.shifts)
    scores = first.decision_function(X) - spent / 2.0**units.LEAF_BITS
    highest = np.full(len(calls.sessions), -np.inf)
    np.maximum.at(highest, calls.session, np.where(calls.target == 0, scores, -np.inf))
    domain = np.array([s.domain for s in calls.sessions])
    times = np.ones(len(calls.sessions))
    for honest in _ways_seen(calls):
        for name in calls.domains():
            here = honest & (domain == name)
            if not here.any():
                continue
            cut = np.quantile(highest[here], 1 - recipe.hardest)
            if cut > highest[here].min():  # sessions that all score alike tell nothing
                times[here & (highest >= cut)] = recipe.emphasis
    heavier = calls.weight * times[calls.session]
    weight: Floats = heavier * (calls.weight.sum() / heavier.sum())
    return weight


def _ways_seen(calls: Calls) -> list[npt.NDArray[np.bool_]]:
    """Honest sessions as they were recorded, those that ignored an injection among them; without results; as fingerprints.

    One deployment sees one of these: whoever hides results must not pay for it with false alarms.
    """
    recorded = [s.sets_limits or (s.kind == "attempted" and s.variant == "recorded") for s in calls.sessions]
    hidden = [
        [s.kind == "benign" and s.variant == variant for s in calls.sessions]
        for variant in ("withheld", "fingerprints")
    ]
    return [np.array(flags, dtype=np.bool_) for flags in (recorded, *hidden)]


def fit(X: Floats, calls: Calls, recipe: Recipe) -> Any:
    """Boosting on all labelled calls, its sigmoid on scores of user tasks unknown to their scorer."""
    labelled = calls.target != LEFT_OUT
    part = task_folds(calls, recipe.folds, recipe.seed)[labelled]
    X, calls = X[labelled], calls.take(labelled)
    target = calls.target
    splits = [(part != fold, part == fold) for fold in range(recipe.folds)]
    if any(len(np.unique(target[learn])) != 2 for learn, _ in splits):
        raise DatasetError("the sessions to train on lack drift or its absence; add labelled sessions")
    taught = emphasised(X, calls, recipe)
    raw = np.empty(len(target))
    for learn, held in splits:
        fold = grown(X[learn], target[learn], taught[learn], recipe)
        raw[held] = fold.decision_function(X[held])
    # The emphasis is the trees' own: a sigmoid that counted hard sessions eightfold would be no probability.
    return calibrated(grown(X, target, taught, recipe), raw, target, calls.weight)


def calibrated(forest: Any, raw: Floats, target: Ints, weight: Floats) -> Any:
    """Trees with a sigmoid fitted on log odds, `raw`, of rows that their scorer had not learnt from."""
    made = CalibratedClassifierCV(forest, method="sigmoid", ensemble=False)
    made.classes_ = forest.classes_
    sigmoid = _SigmoidCalibration().fit(raw, target, weight)
    made.calibrated_classifiers_ = [
        _CalibratedClassifier(forest, [sigmoid], classes=forest.classes_, method="sigmoid")
    ]
    return made


def out_of_fold(
    X: Floats,
    calls: Calls,
    recipe: Recipe,
    progress: Progress = silent,
    splits: Sequence[Split] | None = None,
) -> Ints:
    """Scores of every row by a model that saw nothing of the row's domain, nor of one that shares its tools.

    A domain is an AgentDojo suite or another whole set: its tools, tasks and injection goals are all new to
    the model that scores it. As many of these models are fitted at once as there are cores, a thread each: much of
    a fit is sorting, at which a second thread would only wait.

    Parameters
    ----------
    splits : who is left out, in place of domains; a row that none of them scores gets 0
    """
    splits = by_domain(calls) if splits is None else splits
    scores = np.zeros(len(calls), dtype=np.int64)
    workers = min(os.cpu_count() or 1, len(splits))
    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
        held_out = {}
        for split in splits:
            learn, rows = calls.rows_where(split.learn), calls.rows_where(split.score)
            held_out[pool.submit(_scored_apart, X, calls, recipe, learn, rows)] = split.name, learn, rows
        for number, fold in enumerate(as_completed(held_out), start=1):
            name, learn, rows = held_out[fold]
            scores[rows] = fold.result()
            # Not `splits.folds` of a plan, which are those that each of these fits is calibrated on.
            progress(f"left out {number} of {len(splits)}: fitted without {name}, {learn.sum()} calls")
    return scores


def _scored_apart(
    X: Floats, calls: Calls, recipe: Recipe, learn: npt.NDArray[np.bool_], rows: npt.NDArray[np.bool_]
) -> Ints:
    """Scores of these rows by a model of those to learn from, in one thread."""
    with threadpool_limits(1):
        pipeline = fit(X[learn], calls.take(learn), recipe)
        return trees.from_sklearn(pipeline, recipe.shifts).score(X[rows], calls.call_seq[rows])
