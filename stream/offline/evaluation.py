"""What `driftline evaluate` measures: verdicts of a release on sessions that it never saw, or scores of models fitted without a group.

Both come to the same account (`models.training.quality`), which says which of the two it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from models.errors import ConfigError
from models.evidence.features.registry import FEATURES
from models.forest.units import Ints
from models.release.registry import Model
from models.training import boosting, circumstances, dataset, evaluate, quality, splits
from models.training.calibrate import session_maxima
from models.training.circumstances import Circumstances
from models.training.costs import Budget
from models.training.quality import Judged
from models.training.rates import Flags
from models.training.recipes import Recipe, recipe_for
from models.training.scenarios.corpus import Set
from stream.offline import study
from stream.offline.rows import RAISED, REVOKED, WAYS, spoken_by
from stream.offline.study import Meter, Progress
from stream.policy import FalsePositiveBudget, Policy, load_policy

Group = Literal["ecosystem", "attack", "goal", "agent-model", "time"]
GROUPS: tuple[Group, ...] = get_args(Group)
"""What may be left out of fits."""
ALERT, REVOKE = 0.01, 0.001
"""Budgets of models fitted here, where the policy gives its thresholds as numbers: those of the shipped policy."""


class Given(NamedTuple):
    """Labelled sessions, and the calls that show of an attempted one that it acted."""

    sets: Sequence[Set]
    telling: dict[str, int]

    def labels(self) -> list[dataset.LabelledSession]:
        """Labels of all sessions."""
        return [dataset.of_record(session, self.telling) for one in self.sets for session in one.sessions]

    def circumstances_of(self, calls: dataset.Calls) -> list[Circumstances]:
        """What is told of the sessions of `calls`, in their order."""
        told = {
            session["session_id"]: circumstances.of_record(session)
            for one in self.sets
            for session in one.sessions
        }
        return [told[session.session_id] for session in calls.sessions]


class Found(NamedTuple):
    """Labels, what became of their calls, the report of the score, and in words how the figures came about."""

    calls: dataset.Calls
    judged: Judged
    report: dict[str, Any]
    told: dict[str, Any]


def checked(leave_out: str | None, cut: str | None, *, needs_fit: bool) -> tuple[Group | None, str | None]:
    """What is to be left out and the cut in time, in one spelling; `ConfigError` where they do not fit together."""
    group = next((one for one in GROUPS if one == leave_out), None)
    if leave_out is not None and group is None:
        raise ConfigError(f"--leave-out is {leave_out!r}; there are {', '.join(GROUPS)}")
    if (cut is not None) != (group == "time"):
        raise ConfigError("--leave-out time and --cut belong together: --leave-out time --cut 2026-11-15")
    if group is None and needs_fit:
        group = "ecosystem"
    return group, None if cut is None else _moment(cut)


def _moment(text: str) -> str:
    """A day or a time, spelled as sessions' times are."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"--cut is {text!r}; it is a day or a time in UTC, as 2026-11-15 or 2026-11-15T09:00:00Z"
        ) from error
    return (at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)).isoformat(
        timespec="microseconds"
    )


def held_out(given: Given, model: Model, folder: Path | None, policy: Path | None, meter: Meter) -> Found:
    """The release in `folder` under a policy, on sessions of which it knows nothing."""
    calls, judged = study.verdicts(given.sets, given.telling, folder, policy, meter)
    report = evaluate.evaluate(np.empty((0, 0)), calls, "score-only", model=model, scores=judged.scores)
    return Found(
        calls,
        judged,
        report,
        {
            "held_out": True,
            "left_out": None,
            "what": "The model in use judged every session, under the policy in use, as a deployment would.",
            "standing": "Held out: its manifest knows no intent, no attacker's goal and no source of these sessions. They stay a test only "
            "as long as nothing is chosen by this page. What people looked at when they chose policy and signals, no manifest knows.",
        },
    )


def left_out(
    given: Given,
    group: Group,
    cut: str | None,
    known: Mapping[str, int],
    say: Progress,
    meter: Meter,
    recipe: Recipe | None = None,
) -> Found:
    """Models fitted without a group of sessions each, on the sessions that they did not see."""
    labelled = study.labelled(given.sets, given.telling, say, meter=meter)
    told = given.circumstances_of(labelled.calls)
    chosen = _splits(labelled.calls, told, group, cut)
    scores = boosting.out_of_fold(labelled.X, labelled.calls, recipe or recipe_for(FEATURES), say, chosen)
    judged = _ruled(labelled, scores, chosen, load_policy())
    reported = np.logical_or.reduce([split.score for split in chosen if split.reported])
    rows = labelled.calls.rows_where(reported)
    calls = labelled.calls.take(rows)
    judged = Judged(
        judged.scores[rows],
        {way: flags[rows] for way, flags in judged.raised.items()},
        {way: flags[rows] for way, flags in judged.revoked.items()},
    )
    if any(session.kind == "hijacked" for session in calls.sessions):
        report = evaluate.evaluate(np.empty((0, 0)), calls, scores=judged.scores)
    else:
        report = {"calls": len(calls)}
    return Found(calls, judged, report | {"mode": _mode(group)}, _told_of(group, cut, chosen, known))


def _mode(group: Group) -> str:
    return "leave-one-suite-out" if group == "ecosystem" else f"leave-out: {group}"


def _splits(
    calls: dataset.Calls, told: Sequence[Circumstances], group: Group, cut: str | None
) -> list[splits.Split]:
    if group == "ecosystem":
        return splits.by_domain(calls)
    if group == "time":
        return splits.by_time(calls, [one.began for one in told], [one.ended for one in told], str(cut))
    values: dict[str, list[str | None]] = {
        "attack": [session.attack for session in calls.sessions],
        "goal": [one.goal or session.goal for one, session in zip(told, calls.sessions, strict=True)],
        "agent-model": [one.model for one in told],
    }
    return splits.by_value(calls, values[group], group)


def _ruled(labelled: study.Labelled, scores: Ints, chosen: Sequence[splits.Split], policy: Policy) -> Judged:
    """What the shipped policy makes of such scores, at thresholds that the other groups give, and of signals."""
    calls = labelled.calls
    highest = session_maxima(scores, calls)

    def by_score(budget: float, families: int) -> Flags:
        limit = splits.limits(highest, calls, chosen, budget)[calls.session]
        return np.asarray((scores >= limit) & (labelled.families >= families))

    alert = by_score(_budget(policy.thresholds.alert, ALERT), policy.families.alert)
    revoke = by_score(_budget(policy.thresholds.revoke, REVOKE), policy.families.revoke)
    return Judged(
        scores,
        {way: spoken_by(way, alert, labelled.by_signals >= RAISED) for way in WAYS},
        {way: spoken_by(way, revoke, labelled.by_signals >= REVOKED) for way in WAYS},
    )


def _budget(threshold: Any, otherwise: float) -> float:
    return threshold.budget if isinstance(threshold, FalsePositiveBudget) else otherwise


_LEFT_OUT: dict[Group, str] = {
    "ecosystem": "each ecosystem (a suite, a set or a tenant) was left out of a fit in turn",
    "attack": "kinds of attack were left out, whole; honest sessions by user task",
    "goal": "attackers' goals were left out, whole; honest sessions by user task",
    "agent-model": "agent models were left out, whole; user tasks are known from other models",
    "time": "a model of what had ended before the cut judged what began after it",
}


def _told_of(
    group: Group, cut: str | None, chosen: Sequence[splits.Split], known: Mapping[str, int]
) -> dict[str, Any]:
    knows = ", ".join(f"{n} by {what}" for what, n in known.items())
    standing = (
        f"Development figures: the model in use knows sessions of these ({knows}), and how models are made was chosen on sets like them. "
        "They say how well the recipe carries over, not what a deployment gets."
        if known
        else "Left out: no fit saw what it scored. The recipe was not chosen on these sessions, as far as the model's manifest knows."
    )
    return {
        "held_out": False,
        "left_out": group,
        "cut": cut,
        "fits": [
            {"left out": split.name, "learnt from": int(split.learn.sum()), "scored": int(split.score.sum())}
            for split in chosen
        ],
        "what": f"{len(chosen)} models were fitted for this page, of the forest alone, without a reader: {_LEFT_OUT[group]}. Thresholds "
        "come from honest sessions of the other groups. Verdicts are what the shipped policy makes of score, families and signals.",
        "standing": standing,
    }


def whole(found: Found, given: Given, budget: Budget, more: Mapping[str, Any]) -> dict[str, Any]:
    """The report: that of the score, and the account of all of it."""
    account = quality.account(found.calls, found.judged, given.circumstances_of(found.calls), budget)
    return {**found.report, **account, "made_by": {**found.told, **more}}
