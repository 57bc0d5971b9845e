"""How forest and reader are joined: from what each said of calls in domains that it had not learnt from."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from models.errors import DatasetError
from models.forest.joint import Joint
from models.forest.odds import log_odds_of
from models.forest.units import UNITS, Floats, Ints
from models.training import calibrate, evaluate
from models.training.dataset import LEFT_OUT, Calls, unseen_with
from models.training.scenarios.written_tasks import MET

READ = 0.05
"""Share of honest calls that is read, each domain weighing the same: those that the forest scores highest (chosen: a fifth finds no more)."""
ALERTED = 0.01
"""Budget of false positives of an alert under the shipped policy."""


class KeptReader(NamedTuple):
    """A reader that a newly fitted forest keeps from another release.

    Attributes
    ----------
    joint : how that release joins it with a forest
    says : of the forest's scores, a row each, its log odds; NaN where nothing is read, or no limit depends on it
    limits : budgets to the thresholds of that release by domain. The reader learnt from these domains, so its word on them lowers none
    """

    joint: Joint
    says: Callable[[Ints], Floats]
    limits: Mapping[str, Mapping[str, int]]

    def limits_at(self, budget: float) -> Mapping[str, int]:
        """Thresholds of a budget, or of the next stricter one that is known, of the strictest where none is stricter."""
        known = sorted(self.limits, key=float)
        stricter = [one for one in known if float(one) <= budget] or known[:1]
        return self.limits[stricter[-1]] if stricter else {}


def least_read(scores: Ints, calls: Calls, share: float = READ) -> int:
    """The forest's score from which on calls are read: one that this share of the honest calls reaches at most.

    Raises
    ------
    DatasetError
        No session sets limits (`LabelledSession.sets_limits`).
    """
    honest = calls.rows_where(session.sets_limits for session in calls.sessions)
    if not honest.any():
        raise DatasetError("no honest session tells which calls are worth reading")
    domains = np.array([session.domain for session in calls.sessions])[calls.session[honest]]
    _, domain, n = np.unique(domains, return_inverse=True, return_counts=True)
    order = np.argsort(-scores[honest], kind="stable")
    reached = np.cumsum(1 / (n[domain[order]] * len(n)))
    allowed = int(np.searchsorted(reached, share + 1e-12, side="right"))
    return min(UNITS, int(scores[honest][order[allowed]]) + 1) if allowed < len(order) else 0


def fit_joint(scores: Ints, said: Floats, calls: Calls, share: float = READ) -> Joint:
    """Weights of both log odds by logistic regression on the calls that are read, none below 0; each call weighs what it teaches.

    Parameters
    ----------
    scores : of the forest, in units, a row each
    said : log odds of the reader; NaN where none is known
    calls : labels of the rows

    Raises
    ------
    DatasetError
        Of the calls that would be read none is known to be drift, or none not to be.
    """
    least = least_read(scores, calls, share)
    rows = (scores >= least) & np.isfinite(said) & (calls.target != LEFT_OUT)
    bad = calls.target[rows] == 1
    if bad.all() or not bad.any():
        raise DatasetError(
            f"of {len(bad)} calls that are read {bad.sum()} are drift: it takes both kinds to join two scores"
        )
    odds = np.stack([log_odds_of(scores[rows]), said[rows], np.ones(len(bad))])
    sign, weight = np.where(bad, 1.0, -1.0), calls.weight[rows] / calls.weight[rows].sum()

    def missed(weights: Floats) -> tuple[float, Floats]:
        margin = sign * (weights @ odds)
        slope = -weight * sign / (1 + np.exp(margin))
        return float(weight @ np.logaddexp(0, -margin)), odds @ slope

    found = minimize(
        missed, [1.0, 0.5, 0.0], jac=True, method="L-BFGS-B", bounds=[(0, None), (0, None), (None, None)]
    )
    forest, reader, bias = (round(float(one), 4) for one in found.x)
    return Joint(least, forest, reader, bias)


def joined(joint: Joint, scores: Ints, said: Floats) -> Ints:
    """Scores as the judge joins them: of calls that are read with the reader's word, of others the forest's alone."""
    read = (scores >= joint.least) & np.isfinite(said)
    found = scores.copy()
    found[read] = joint.scores(scores[read], said[read])
    return found


def left_out(calls: Calls, scores: Mapping[str, Ints], read: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """What each of `scores` finds in domains that its models learnt nothing of, at their own points and at the others' threshold.

    By domain, and by source where one has several; of all its sessions, and of those that are as they were recorded.

    Parameters
    ----------
    scores : by what gives them, a row for each call
    read : sessions of which the reader read what it would be asked about
    """
    domains = np.array([session.domain for session in calls.sessions])
    sources = np.array([session.source for session in calls.sessions])
    kinds = np.array([session.kind for session in calls.sessions])
    highest = {name: calibrate.session_maxima(those, calls) for name, those in scores.items()}
    alerted = {name: _alerted(most, domains, calls) for name, most in highest.items()}
    groups = {domain: domains == domain for domain in calls.domains()}
    groups |= {
        source: here
        for source in dict.fromkeys(sources.tolist())
        if len(set(domains[here := sources == source])) > 1
    }
    recorded = np.array([session.variant == "recorded" for session in calls.sessions])
    groups |= {
        f"{group} as recorded": here & recorded for group, here in groups.items() if not recorded[here].all()
    }
    found: dict[str, Any] = {}
    for group, here in groups.items():
        honest, hijacked = (here & read & (kinds == kind) for kind in ("benign", "hijacked"))
        if not honest.any() or not hijacked.any():
            continue
        found[group] = {"honest": int(honest.sum()), "hijacked": int(hijacked.sum())}
        for name, most in highest.items():
            points = evaluate.detection(most, calls, here & read)
            found[group][name] = {
                "area": points["auc"],
                "at 1 %": points["at"]["0.01"]["detected"]["rate"],
                "at 5 %": points["at"]["0.05"]["detected"]["rate"],
                "honest alerted": float(alerted[name][honest].mean()),
                "hijacked alerted": float(alerted[name][hijacked].mean()),
            }
    return found


SAMPLES = (300, 1000)
"""Sessions of an ecosystem's own by which thresholds are fitted."""
DRAWS = 20


def calibrated(calls: Calls, scores: Ints) -> dict[str, Any]:
    """What alerts in domains left out, once their own honest sessions have fitted the threshold (`calibrate.fitted`).

    Samples are drawn with repetition from the sessions of one half of a domain's tasks; what alerts is counted in the other half.
    Shares of sessions as they were recorded, means over `DRAWS` samples of either half; None where there are no hijacks.
    """
    highest = calibrate.session_maxima(scores, calls)
    domains = np.array([session.domain for session in calls.sessions])
    half = np.array([zlib.crc32(session.task.encode()) % 2 for session in calls.sessions])
    honest = np.array([session.sets_limits for session in calls.sessions])
    hijacked = np.array([s.kind == "hijacked" and s.variant in MET | {"recorded"} for s in calls.sessions])
    own = {
        budget: calibrate.own_thresholds(highest, calls, budget)
        for budget in (ALERTED / 10, ALERTED, 5 * ALERTED)
    }
    found: dict[str, Any] = {}
    for domain in own[ALERTED]:
        ceiling, before, floor = (
            calibrate.transferable({of: at for of, at in limits.items() if of not in unseen_with(domain)})
            for limits in own.values()
        )
        here, rates = domains == domain, list[Floats]()
        for side in (0, 1):
            sample, checked = here & honest & (half == side), here & (half != side)
            if not sample.any() or not (checked & honest).any():
                continue
            for draw in range(DRAWS):
                rng = np.random.default_rng([draw, side])
                limits = [before]
                for size in SAMPLES:
                    seen = rng.choice(highest[sample], size)
                    limits.append(calibrate.fitted(before, seen, ALERTED, floor, ceiling))
                rates.append(
                    np.array(
                        [[_share(highest[checked & of], at) for at in limits] for of in (honest, hijacked)]
                    )
                )
        if rates:
            found[domain] = {
                of: dict(zip(("before", *map(str, SAMPLES)), row, strict=True))
                for of, row in zip(("honest", "hijacked"), _means(rates), strict=True)
            }
    return found


def _share(highest: Ints, limit: int) -> float:
    return float((highest >= limit).mean()) if len(highest) else np.nan


def _means(rates: Sequence[Floats]) -> list[list[float | None]]:
    """Means of each place over what is known of it; None where nothing is."""
    known = np.isfinite(stacked := np.stack(rates))
    totals, counts = np.where(known, stacked, 0.0).sum(0).tolist(), known.sum(0).tolist()
    return [
        [total / n if n else None for total, n in zip(row, times, strict=True)]
        for row, times in zip(totals, counts, strict=True)
    ]


def _alerted(highest: Ints, domains: npt.NDArray[np.str_], calls: Calls) -> npt.NDArray[np.bool_]:
    """Sessions that reach the alert threshold which the domains other than their own give."""
    limits = calibrate.own_thresholds(highest, calls, ALERTED)
    flags = np.zeros(len(highest), np.bool_)
    for domain in calls.domains():
        here = domains == domain
        others = {of: limit for of, limit in limits.items() if of not in unseen_with(domain)}
        flags[here] = highest[here] >= calibrate.transferable(others)
    return flags
