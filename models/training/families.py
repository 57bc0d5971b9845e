"""Other estimators of scikit-learn in the place of the boosted trees, brought into the one form that is scored live.

What a worker scores is a sum of small trees in whole numbers (`models.forest.trees`). So an estimator may take part if all that
it says is such a sum, or a straight line of one: trees boosted, averaged or alone. What cannot be told so is refused with the reason,
before hours are spent on it: see `models.training.checks`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.calibration import _SigmoidCalibration
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.tree import DecisionTreeClassifier

from models.errors import ConfigError, DatasetError
from models.forest.units import Floats, Ints

BOOSTING = "sklearn.ensemble.HistGradientBoostingClassifier"
"""What the bundled model is of."""
EXACT = 1e-6
"""How far the log odds of a converted estimator may lie from its own: a hundredth of what moves a score by one unit."""


class NoBetter(DatasetError):
    """An estimator tells drift from work no better than chance on the rows that it learnt from."""


class Told(NamedTuple):
    """A fitted estimator as a sum of trees: of each row `base`, and the leaf that it reaches in each of `trees`."""

    trees: list[Any]
    base: float
    own: Callable[[Floats], Floats]
    """What the estimator itself says of rows: the same sum."""
    log_odds: bool
    """Whether that is log odds; else it is a share."""


def _nodes(tree: Any, values: Floats) -> Any:
    """A tree of ``sklearn.tree`` in the layout of the boosted ones, each node with its place in `values`."""
    inner = tree.children_left >= 0
    nodes = np.zeros(tree.node_count, dtype=PREDICTOR_RECORD_DTYPE)
    nodes["value"], nodes["count"], nodes["is_leaf"] = values, tree.n_node_samples, ~inner
    for name, column in (
        ("feature_idx", tree.feature),
        ("num_threshold", tree.threshold),
        ("left", tree.children_left),
        ("right", tree.children_right),
        ("missing_go_to_left", tree.missing_go_to_left),
    ):
        nodes[name][inner] = column[inner]
    return nodes


def _averaged(fitted: Any, members: Sequence[Any]) -> Told:
    """Trees that each say a share, of which the mean is taken."""
    trees = [_nodes(one.tree_, one.tree_.value[:, 0, 1] / len(members)) for one in members]
    return Told(trees, 0.0, lambda X: fitted.predict_proba(X)[:, 1], log_odds=False)


def _boosted(fitted: Any) -> Told:
    members, rate = fitted.estimators_[:, 0], fitted.learning_rate
    trees = [_nodes(one.tree_, one.tree_.value[:, 0, 0] * rate) for one in members]
    row = np.zeros((1, fitted.n_features_in_))
    steps = sum(rate * one.predict(row).item() for one in members)
    return Told(trees, fitted.decision_function(row).item() - steps, fitted.decision_function, log_odds=True)


CONVERSIONS: dict[type, Callable[[Any], Told]] = {
    DecisionTreeClassifier: lambda fitted: _averaged(fitted, [fitted]),
    ExtraTreesClassifier: lambda fitted: _averaged(fitted, fitted.estimators_),
    GradientBoostingClassifier: _boosted,
    RandomForestClassifier: lambda fitted: _averaged(fitted, fitted.estimators_),
}
"""Families beside `BOOSTING`. One of your own may be entered here: from what was fitted to the trees that it is the sum of."""


def named() -> Iterator[str]:
    """The families by the names that a plan gives them."""
    yield BOOSTING
    for family in CONVERSIONS:
        yield f"{family.__module__.partition('._')[0]}.{family.__name__}"


def build(name: str, parameters: Mapping[str, Any], offered: Mapping[str, Any]) -> Any:
    """An estimator of scikit-learn, not yet fitted.

    Parameters
    ----------
    name : as it is imported, for instance ``sklearn.ensemble.RandomForestClassifier``
    parameters : what it is told; names that it does not have are refused
    offered : what a recipe would tell it; names that it does not have are passed over

    Raises
    ------
    ConfigError
        scikit-learn has none of this name, or it is no sum of trees, or takes no such parameter.
    """
    module, _, kind = name.rpartition(".")
    if module.split(".")[0] != "sklearn":
        raise ConfigError(
            f"estimator {name!r}: a plan names classes of scikit-learn alone, of {', '.join(named())}"
        )
    try:
        family = getattr(importlib.import_module(module), kind)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"estimator {name!r}: scikit-learn has none of this name ({error})") from error
    if family is not HistGradientBoostingClassifier and family not in CONVERSIONS:
        raise _no_sum(name)
    made = family()
    known = made.get_params(deep=False)
    if unknown := sorted(set(parameters) - set(known)):
        raise ConfigError(
            f"estimator {name!r} has no parameter {', '.join(unknown)}; it has {', '.join(sorted(known))}"
        )
    return made.set_params(
        **{**{name: value for name, value in offered.items() if name in known}, **parameters}
    )


def _no_sum(name: str) -> ConfigError:
    return ConfigError(
        f"{name} is no sum of trees, so that no exact score can be made of it; use one of {', '.join(named())}"
    )


def additive(fitted: Any, X: Floats, target: Ints, weight: Floats) -> Any:
    """A fitted estimator as boosted trees whose sum is its log odds; `BOOSTING` as it is.

    An estimator that says shares rather than log odds has Platt's straight line between them, fitted on the rows that it
    learnt from: the calibration on others follows later (`models.training.boosting.fit`).

    Parameters
    ----------
    X, target, weight : what it was fitted on

    Raises
    ------
    ConfigError
        It is of no family of `CONVERSIONS`, or what became of it does not say what it says.
    NoBetter
        It tells the two kinds of rows no better than chance.
    """
    if isinstance(fitted, HistGradientBoostingClassifier):
        return fitted
    convert = CONVERSIONS.get(type(fitted))
    if convert is None:
        raise _no_sum(type(fitted).__name__)
    told = convert(fitted)
    slope, start = (1.0, 0.0) if told.log_odds else _line(told.own(X), target, weight)
    shell = HistGradientBoostingClassifier(max_iter=1, random_state=0).fit(np.zeros((2, X.shape[1])), [0, 1])
    # Where boosting would begin: parts that are averaged begin at one place (`models.training.boosting`).
    share = float(np.average(target, weights=weight))
    shell._baseline_prediction = np.full((1, 1), np.log(share / (1 - share)))
    more = slope * told.base + start - shell._baseline_prediction.item()
    none = np.zeros((0, 8), dtype=np.uint32)
    shell._predictors = []
    for nodes in told.trees:
        nodes["value"] = nodes["value"] * slope + more / len(told.trees)
        shell._predictors.append([TreePredictor(nodes, none, none)])
    apart = float(np.abs(shell.decision_function(X) - (slope * told.own(X) + start)).max())
    if not apart <= EXACT:
        raise ConfigError(
            f"{type(fitted).__name__}: the trees made of it say something else than it does, by log odds of {apart:g}; it cannot be scored exactly"
        )
    return shell


def _line(said: Floats, target: Ints, weight: Floats) -> tuple[float, float]:
    """Slope and start of the log odds along the shares that an estimator says."""
    platt = _SigmoidCalibration().fit(said, target, weight)
    if not platt.a_ < 0:
        raise NoBetter(
            "the estimator tells drift from work no better than chance on the rows that it learnt from"
        )
    return -float(platt.a_), -float(platt.b_)
