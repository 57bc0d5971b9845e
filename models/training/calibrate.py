"""From scores to promises: calibrated fits, scores out of fold, and thresholds that keep a budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binom
from sklearn.calibration import CalibratedClassifierCV, _CalibratedClassifier, _SigmoidCalibration
from sklearn.ensemble import HistGradientBoostingClassifier

from models.errors import DatasetError
from models.evidence.features.registry import BY_NAME, GATES
from models.evidence.features.spec import HALVES, Half
from models.forest import allowances, odds, trees, units
from models.forest.allowances import Shifts
from models.forest.units import Floats, Ints
from models.release.registry import NEVER
from models.training.dataset import LEFT_OUT, Calls, task_folds

BUDGETS = (0.001, 0.005, 0.01, 0.05)
"""Session-level false-positive rates that a manifest has thresholds for."""

Progress = Callable[[str], None]


def silent(_: str) -> None:
    """Progress for callers that do not want any."""


@dataclass(frozen=True)
class Recipe:
    """How a model is fitted; part of the manifest.

    Attributes
    ----------
    trees : in as many equal parts as `without` has; the first ones have one more where that cannot be
    folds : parts of the user tasks; each is calibrated on by a model that was fitted on the others
    first_trees, first_rate : of the fit that finds the hardest honest sessions, see `emphasised`
    hardest, emphasis : their share of a domain's, and how much more each of them weighs
    directions : for each feature 1 where it may only raise a score, -1 only lower it, 0 either; () = all 0
    without : for each part of the trees the features, by place, that it does without; the log odds are the parts' mean
    apart : for each part of the trees a feature's place, and from which whole number on that part's trees are others, as many
        more, learnt from such rows alone; None for a part that has none. None of them splits by that feature but at its root
    shifts : what scores give up for each unit of a feature, by its place; see `allowances.allowance`
    """

    trees: int = 240
    leaves: int = 31
    learning_rate: float = 0.03
    min_samples_leaf: int = 60
    l2: float = 5.0
    max_features: float = 0.2
    folds: int = 3
    first_trees: int = 54
    first_rate: float = 0.09
    hardest: float = 0.05
    emphasis: float = 8.0
    seed: int = 20260101
    directions: tuple[int, ...] = ()
    without: tuple[tuple[int, ...], ...] = ((),)
    apart: tuple[tuple[int, int] | None, ...] = ()
    shifts: Shifts = ()

    def __post_init__(self) -> None:
        if not 0 < len(self.without) <= self.trees:
            raise DatasetError(f"{self.trees} trees in {len(self.without)} parts: each wants one at least")
        if len(self.apart) > len(self.without) or not all(
            gate is None or (isinstance(gate, tuple) and len(gate) == 2) for gate in self.apart
        ):
            raise DatasetError(
                f"apart = {self.apart}: for each of {len(self.without)} parts a feature's place and a value, or None"
            )
        if self.leaves + any(self.apart) > trees.LEAVES_MAX:
            raise DatasetError(
                f"{self.leaves} leaves and a root that asks first: {trees.LEAVES_MAX} are read at most"
            )

    def as_manifest(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def recipe_for(features: Sequence[str], **changes: Any) -> Recipe:
    """The recipe with what these features say of themselves: directions, what half of the trees do without, own trees, shifts.

    That half does without what sets rows apart for the other, too: such a figure is the most of several, each with a
    direction of its own that a split by it would not keep. What moves a call across such a value may move its score either
    way, whatever direction it has by itself.
    """
    specs = [BY_NAME.get(name) for name in features]
    meaning = {place for place, spec in enumerate(specs) if spec is not None and spec.means_intent}
    gates = {place for place, spec in enumerate(specs) if spec is not None and spec.gate is not None}
    halved = 0 < len(meaning) < len(features)
    given = {
        "directions": tuple(spec.direction if spec is not None else 0 for spec in specs),
        "without": ((), tuple(sorted(meaning | gates))) if halved else ((),),
        "apart": tuple(_gate_of(half, features) for half in HALVES) if halved else (),
        "shifts": allowances.shifts_of(features),
    }
    return Recipe(**{**given, **changes})


def _gate_of(half: Half, features: Sequence[str]) -> tuple[int, int] | None:
    """The place and value from which on other trees of a half judge a row; None where none of these features says so."""
    for name, gate in GATES.items():
        if gate.half == half and name in features:
            return features.index(name), gate.least
    return None


def booster(recipe: Recipe) -> Any:
    """The recipe's trees, not yet fitted, without the sigmoid."""
    return HistGradientBoostingClassifier(
        max_iter=recipe.trees,
        max_leaf_nodes=recipe.leaves,
        learning_rate=recipe.learning_rate,
        min_samples_leaf=recipe.min_samples_leaf,
        l2_regularization=recipe.l2,
        max_features=recipe.max_features,
        monotonic_cst=list(recipe.directions) or None,
        early_stopping=False,
        categorical_features=None,
        random_state=recipe.seed,
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
        return booster(each).fit(seen, kind, sample_weight=total)

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
    rate = recipe.first_rate
    first = booster(replace(recipe, trees=recipe.first_trees, learning_rate=rate, without=((),), apart=()))
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
    forest = grown(X, target, taught, recipe)
    calibrated = CalibratedClassifierCV(forest, method="sigmoid", ensemble=False)
    calibrated.classes_ = forest.classes_
    # The emphasis is the trees' own: a sigmoid that counted hard sessions eightfold would be no probability.
    sigmoid = _SigmoidCalibration().fit(raw, target, calls.weight)
    calibrated.calibrated_classifiers_ = [
        _CalibratedClassifier(forest, [sigmoid], classes=forest.classes_, method="sigmoid")
    ]
    return calibrated


def out_of_fold(X: Floats, calls: Calls, recipe: Recipe, progress: Progress = silent) -> Ints:
    """Scores of every row by a model that saw nothing of the row's domain.

    A domain is an AgentDojo suite or another whole set: its tools, tasks and injection goals are all new to
    the model that scores it.
    """
    domains = calls.domains()
    if len(domains) < 2:
        raise DatasetError(f"leaving one suite out needs two or more, found {', '.join(domains) or 'none'}")
    scores = np.zeros(len(calls), dtype=np.int64)
    for number, domain in enumerate(domains, start=1):
        held_out = calls.rows_of(domain)
        progress(f"fold {number} of {len(domains)}: fitting without {domain}, {int((~held_out).sum())} calls")
        pipeline = fit(X[~held_out], calls.take(~held_out), recipe)
        forest = trees.from_sklearn(pipeline, recipe.shifts)
        scores[held_out] = forest.score(X[held_out], calls.call_seq[held_out])
    return scores


def session_maxima(scores: Ints, calls: Calls) -> Ints:
    """Each session's highest score."""
    highest = np.zeros(len(calls.sessions), dtype=np.int64)
    np.maximum.at(highest, calls.session, scores)
    return highest


def task_weights(tasks: Sequence[str]) -> Floats:
    """Weights of sessions, given their user tasks, such that each task weighs the same.

    >>> task_weights(["a", "a", "b"]).tolist()
    [0.5, 0.5, 1.0]
    """
    times = Counter(tasks)
    return np.array([1 / times[task] for task in tasks], dtype=np.float64)


def weighted_threshold(maxima: npt.NDArray[np.int64], weights: npt.NDArray[np.float64], budget: float) -> int:
    """Least threshold (flagged: score >= it) that at most the share `budget` of the weight reaches."""
    if not len(maxima):
        return NEVER
    order = np.argsort(-maxima, kind="stable")
    flagged = np.cumsum(weights[order]) / weights.sum()
    allowed = int(np.searchsorted(flagged, budget + 1e-12, side="right"))
    return int(maxima[order[allowed]]) + 1 if allowed < len(maxima) else 0


def upper_mean(values: Iterable[float]) -> float:
    """Of domains' thresholds, in log odds, the one for a domain not among them: the mean of three tenths, below the highest tenth.

    Of nine to eleven the second to the fourth count, of fewer than five the highest. A domain is as likely as not to be harder than
    the median one, the hardest of all is often one task, and where there are enough no single one should decide (chosen).

    >>> upper_mean([0, 0, 900, 0, 0, 300, 400, 100, 200])
    300.0
    """
    ranked = sorted(values, reverse=True)
    first = (len(ranked) + 5) // 10
    counted = ranked[first : first + max(1, (3 * len(ranked) + 5) // 10)]
    return sum(counted) / len(counted)


def transferable(by_domain: Mapping[str, int]) -> int:
    """One threshold from those that keep a budget in each of several domains: their `upper_mean`, in log odds.

    Parameters
    ----------
    by_domain : least scores that are flagged, 1..10000; what none reaches counts as 10001
    """
    return odds.least_score(upper_mean(map(odds.log_odds, by_domain.values()))) if by_domain else NEVER


SUSPECTED = 0.05
"""Share of an unlabelled sample that may be hijacked without moving the threshold (chosen)."""


def raised(threshold: int, maxima: npt.NDArray[np.int64], budget: float, ceiling: int) -> int:
    """A threshold, raised for an ecosystem by what its own sessions score, nobody having labelled them.

    Of n sessions, as many may reach it as the budget and a share `SUSPECTED` of hijacks explain nine times out of
    ten (binomial); where more do, the ecosystem scores higher than those that the threshold comes from, and it
    rises until no more do. It never falls, and never rises above `ceiling`: whoever floods the sample with
    attacks can push it there and no further.

    Parameters
    ----------
    maxima : highest score of each session of the sample
    ceiling : for instance the threshold of a tenth of the budget
    """
    if not len(maxima):
        return threshold
    allowed = int(binom.ppf(0.9, len(maxima), min(1.0, budget + SUSPECTED)))
    ranked = np.sort(maxima)[::-1]
    needed = int(ranked[allowed]) + 1 if allowed < len(ranked) else 0
    return max(threshold, min(needed, ceiling))


def own_thresholds(highest: Ints, calls: Calls, budget: float) -> dict[str, int]:
    """For each domain with honest sessions the threshold that keeps the budget on them, by task."""
    found: dict[str, int] = {}
    for domain in calls.domains():
        honest = np.array([s.domain == domain and s.sets_limits for s in calls.sessions])
        if honest.any():
            tasks = [s.task for s, one in zip(calls.sessions, honest, strict=True) if one]
            found[domain] = weighted_threshold(highest[honest], task_weights(tasks), budget)
    return found


def thresholds(
    scores: Ints, calls: Calls, budgets: Sequence[float] = BUDGETS
) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Budgets (as text, for JSON) to thresholds, and the thresholds by domain that they come from.

    Taken on honest sessions (`LabelledSession.sets_limits`), each scored by a model that saw nothing of its domain; a stricter
    budget never has a lower threshold.
    """
    highest = session_maxima(scores, calls)
    found: dict[str, int] = {}
    by_domain: dict[str, dict[str, int]] = {}
    least = 0
    for budget in sorted(budgets, reverse=True):
        here = own_thresholds(highest, calls, budget)
        least = found[f"{budget:g}"] = max(least, transferable(here))
        by_domain[f"{budget:g}"] = here
    return found, by_domain
