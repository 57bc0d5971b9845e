"""From scores to promises: thresholds that keep a budget, in ecosystems that nobody has seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from models.forest import odds
from models.forest.units import Floats, Ints
from models.release.registry import NEVER
from models.training.dataset import Calls

BUDGETS = (0.001, 0.005, 0.01, 0.05)
"""Session-level false-positive rates that a manifest has thresholds for."""


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


SURE = 0.9
"""How sure a sample must be that a lower threshold keeps its budget."""


def lowered(threshold: int, maxima: npt.NDArray[np.int64], budget: float, floor: int) -> int:
    """A threshold, lowered for an ecosystem whose own sessions score so low that it keeps its budget further down.

    Of n sessions so few reach the new one that, if more than the budget did in truth, one would see as few in a tenth of all samples
    at most (binomial, for sessions of tasks of their own). Under 1 % that takes 230 sessions of which none does, or 390 with one.
    Hijacks among them hold it up, unless they are rarer than the budget. It never falls below `floor`.

    Parameters
    ----------
    maxima : highest score of each session of the sample
    floor : for instance the threshold of five times the budget
    """
    fewer = int(binom.ppf(1 - SURE, len(maxima), budget)) if len(maxima) else 0
    allowed = fewer if binom.cdf(fewer, len(maxima), budget) <= 1 - SURE else fewer - 1
    if allowed < 0:
        return threshold
    return min(threshold, max(floor, int(np.sort(maxima)[::-1][allowed]) + 1))


def fitted(threshold: int, maxima: npt.NDArray[np.int64], budget: float, floor: int, ceiling: int) -> int:
    """A threshold, `raised` to `ceiling` at most or `lowered` to `floor` at most, by what an ecosystem's own sessions score."""
    higher = raised(threshold, maxima, budget, ceiling)
    return higher if higher > threshold else lowered(threshold, maxima, budget, floor)


def own_thresholds(
    highest: Ints, calls: Calls, budget: float, among: npt.NDArray[np.bool_] | None = None
) -> dict[str, int]:
    """For each domain with honest sessions (`among` these, if given) the threshold that keeps the budget on them, by task."""
    found: dict[str, int] = {}
    for domain in calls.domains():
        honest = np.array([s.domain == domain and s.sets_limits for s in calls.sessions])
        if among is not None:
            honest &= among
        if honest.any():
            found[domain] = _threshold_on(np.flatnonzero(honest).tolist(), highest, calls, budget)
    return found


def _threshold_on(places: Sequence[int], highest: Ints, calls: Calls, budget: float) -> int:
    """The threshold that keeps the budget on the sessions at these places, by task."""
    weights = task_weights([calls.sessions[place].task for place in places])
    return weighted_threshold(highest[places], weights, budget)


def held(highest: Ints, calls: Calls, budget: float, domain: str) -> int:
    """The threshold by which an own domain with honest sessions keeps a budget, so taken that no single source lifts it.

    It is the lower median of the thresholds of its agents, or of those of its labellers, whichever is less.
    """
    mine = [place for place, s in enumerate(calls.sessions) if s.domain == domain and s.sets_limits]
    medians = []
    for source in ("suite", "labeller"):
        by_source: dict[str | None, list[int]] = {}
        for place in mine:
            by_source.setdefault(getattr(calls.sessions[place], source), []).append(place)
        limits = sorted(_threshold_on(places, highest, calls, budget) for places in by_source.values())
        medians.append(limits[(len(limits) - 1) // 2])
    return min(medians)


def thresholds(
    scores: Ints,
    calls: Calls,
    budgets: Sequence[float] = BUDGETS,
    at_least: Callable[[float], Mapping[str, int]] = lambda _: {},
) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Budgets (as text, for JSON) to thresholds, and the thresholds by domain that they come from.

    Taken on honest sessions (`LabelledSession.sets_limits`), each scored by a model that saw nothing of its domain; a stricter
    budget never has a lower threshold. Of own traffic a label is a person's word, so hijacks may be called honest: see `held`.

    Parameters
    ----------
    at_least : of a budget, thresholds by domain that are known from elsewhere: the higher one counts
    """
    highest = session_maxima(scores, calls)
    own = {session.domain for session in calls.sessions if session.is_own}
    others = np.array([session.domain not in own for session in calls.sessions], dtype=np.bool_)
    found: dict[str, int] = {}
    by_domain: dict[str, dict[str, int]] = {}
    least = 0
    for budget in sorted(budgets, reverse=True):
        here = own_thresholds(highest, calls, budget)
        ceiling = transferable(own_thresholds(highest, calls, budget / 10, others)) if own else NEVER
        known = at_least(budget)
        kept = {
            domain: min(held(highest, calls, budget, domain), ceiling)
            if domain in own
            else max(limit, known.get(domain, 0))
            for domain, limit in here.items()
        }
        least = found[f"{budget:g}"] = max(least, transferable(kept))
        by_domain[f"{budget:g}"] = kept
    return found, by_domain
