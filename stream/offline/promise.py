"""A promise on false alerts, made by an ecosystem's own sessions: what is asked, what is kept, and how a release tells it.

Sessions are read off decisions. What counts is whether one alerts at all: by a score that speaks with enough families, or by a
signal alone, which no threshold stops. The arithmetic, with its sources, is in `models.promise.conformal`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import numpy as np

from models.errors import ArtefactError, InputError
from models.forest.units import UNITS, Ints
from models.promise import conformal
from models.promise.conformal import ALWAYS, Days, Kept
from stream.core.verdict import corroborating
from stream.events import counted
from stream.offline.signal_rates import Session, spoken
from stream.policy import Policy, levels

Tasks = Literal["intent", "agent", "session"]
"""What makes two sessions one task: one intent word for word, one agent, or nothing."""
HALF = Fraction(1, 2)
MANIFEST_KEY = "promise"
VERSION = 1
ALL = "(all)"
"""Whose alarm that of the pooled promise is."""
MOST_TENANTS = 1000
"""Tenants with thresholds of their own, at most: those with most tasks; the others share the pooled ones."""
ASSUMPTIONS = (
    "sessions to come are exchangeable with those calibrated on: one draw of the same work, agents and tools",
    "tasks are exchangeable with one another, each counting the same",
    "no larger share of the sessions was hijacked than is stated",
    "the sessions were whole, and the release, the core and the policy's signals stay as they were",
    "expected over the draw of both the sessions calibrated on and the next one; at_most is what holds of this calibration, so sure as is stated",
)


@dataclass
class Seen:
    """A session as its decisions tell it.

    Attributes
    ----------
    scored : its highest score of those that alert where they reach the threshold, in units of 0.0001
    loud : signals that spoke where they count
    task : what it is one of
    day : of its first decision
    """

    root: str
    agent: str
    intent: str
    day: date
    first: int
    scored: int = 0
    loud: set[str] = field(default_factory=set)


class Asked(NamedTuple):
    """What is to be promised: so many false alerts a session, or a day and tenant, and what is supposed of the sessions."""

    per: Literal["session", "day"]
    budget: Fraction
    hijacked: Fraction
    tasks: Tasks


class Made(NamedTuple):
    """A tenant's promise, or that of all tenants together (tenant None): false alerts a session, the threshold, and the days seen."""

    tenant: str | None
    alpha: Fraction
    kept: Kept
    days: Days


Bounds = Callable[[Fraction], tuple[int, int]]
"""Of false alerts a session, the lowest and the highest threshold that a sample may lead to: nobody teaches a model to look away."""


class Promise(NamedTuple):
    """What is promised: of all together, of tenants by themselves, which tenants have too few tasks for that, and to whom nothing is.

    Attributes
    ----------
    refused : why nothing can be promised to a tenant; none of its sessions is among those of all together
    """

    asked: Asked
    pooled: Made
    own: Sequence[Made]
    sharing: Sequence[str]
    refused: Mapping[str, str]


def sessions(decisions: Iterable[tuple[str, Mapping[str, Any]]], release: str) -> dict[Session, Seen]:
    """The sessions of decisions that `release` made; each decision comes with its place, for errors.

    Raises
    ------
    InputError
        A document is no decision.
    """
    found: dict[Session, Seen] = {}
    for where, document in decisions:
        try:
            if document["release"] == release and "refused" not in document["marks"]:
                fold(found, document)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{where}: not a whole decision ({error!r}); give those of agent.decisions.v1 as they came"
            ) from error
    return found


def fold(found: dict[Session, Seen], document: Mapping[str, Any]) -> None:
    """Fold a decision into its session; one that is not whole raises whatever it lacks."""
    key = str(document["tenant"]), str(document["session_id"])
    seq, score = int(document["call_seq"]), round(float(document["score"]) * UNITS)
    if not 0 <= score <= UNITS:
        raise ValueError("the score of a decision lies between 0 and 1")
    seen = found.get(key)
    if seen is None or seq < seen.first:
        agent = str(document["agent"])
        intent = str(document["intent_digest"] or f"none of {agent}")
        begun = Seen(
            str(document["root_session_id"]), agent, intent, date.fromisoformat(document["time"][:10]), seq
        )
        if seen is not None:
            begun.scored, begun.loud = seen.scored, seen.loud
        found[key] = seen = begun
    if not let_pass(document):
        seen.loud |= spoken(document)
    alert = round(float(document["thresholds"]["alert"]) * UNITS)
    seen.scored = max(seen.scored, counting(document, score, alert))


def counting(said: Mapping[str, Any], score: int, alert: int | None) -> int:
    """What of a call's score counts for a promise, and for its alarm: all of it, or nothing.

    Parameters
    ----------
    said : verdict, families and marks of its decision
    alert : from which score on it alerted; None where that is not known: then nothing counts of a call that was expected
    """
    # Without an intent the score is not acted on; one that was reached and let pass was expected.
    expected = let_pass(said) and (alert is None or score >= alert)
    return score if said["verdict"] != "abstain" and not expected and corroborating(said["families"]) else 0


def let_pass(said: Mapping[str, Any]) -> bool:
    """Whether a call went on since it was expected: what speaks against such a call alerts nobody."""
    return "expected" in said["marks"] and said["verdict"] in ("allow", "abstain")


def alerting(policy: Policy) -> set[str]:
    """Signals that alert a session alone under `policy`."""
    return {
        signal
        for signal, leads_to in policy.signals.items()
        if leads_to in ("alert", "deny") and not signal.startswith("content.")
    }


def make(seen: Mapping[Session, Seen], asked: Asked, signals: Set[str], bounds: Bounds) -> Promise:
    """The thresholds that keep what is asked: of each tenant with enough tasks by its own sessions, of the rest by everybody's.

    Parameters
    ----------
    signals : that alert a session whatever its score

    Raises
    ------
    InputError
        Nothing can be promised to anybody: there are too few tasks, or too many sessions score high, or alert whatever the threshold.
    """
    by_tenant: dict[str, dict[Session, Seen]] = {}
    for key, one in seen.items():
        by_tenant.setdefault(key[0], {})[key] = one
    alphas = {tenant: _alpha(asked, _days(of.values())) for tenant, of in by_tenant.items()}
    own: dict[str, Made] = {}
    refused: dict[str, str] = {}
    if len(by_tenant) > 1:
        ranked = sorted(by_tenant, key=lambda tenant: (-_n_tasks(by_tenant[tenant], asked.tasks), tenant))
        enough = [
            tenant
            for tenant in ranked
            if _n_tasks(by_tenant[tenant], asked.tasks) >= conformal.needed(alphas[tenant], asked.hijacked)
        ]
        for tenant in sorted(enough[:MOST_TENANTS]):
            try:
                own[tenant] = _made(tenant, by_tenant[tenant], alphas[tenant], asked, signals, bounds)
            except InputError as error:
                refused[tenant] = str(error)
    sharing = sorted(by_tenant.keys() - own.keys() - refused.keys())
    pooled = _pooled(seen, sharing, refused, alphas, asked, signals, bounds)
    return Promise(asked, pooled, list(own.values()), sharing if len(by_tenant) > 1 else [], refused)


def _pooled(
    seen: Mapping[Session, Seen],
    sharing: list[str],
    refused: dict[str, str],
    alphas: Mapping[str, Fraction],
    asked: Asked,
    signals: Set[str],
    bounds: Bounds,
) -> Made:
    """The promise of all together, without those of `sharing` that stand in its way: they go to `refused`."""
    alone, together = [*refused.values()], ""
    while among := {key: one for key, one in seen.items() if key[0] not in refused}:
        # The pooled threshold keeps the strictest of what those that share it, and strangers, need.
        strictest = min(alphas[tenant] for tenant in sharing or {key[0] for key in among})
        try:
            return _made(None, among, strictest, asked, signals, bounds)
        except InputError as error:
            together = together or str(error)
            if len(alphas) == 1 or not sharing:
                break
            if _n_tasks(among, asked.tasks) < conformal.needed(strictest, asked.hijacked):
                worst = min(sharing, key=lambda tenant: (alphas[tenant], tenant))
            else:
                worst = _loudest(among, sharing, signals, bounds(strictest)[1])
            refused[worst] = f"tenant {worst}, among all together: {error}"
            sharing.remove(worst)
    raise InputError("; ".join([*alone, together] if together else alone))


def _loudest(seen: Mapping[Session, Seen], tenants: Iterable[str], signals: Set[str], most: int) -> str:
    """Of `tenants` the one of whose sessions the largest share reaches the highest threshold that may be."""
    over = Counter(key[0] for key, one in seen.items() if score(one, signals) >= most)
    of = Counter(key[0] for key in seen)
    return max(tenants, key=lambda tenant: (over[tenant] / of[tenant], tenant))


def _alpha(asked: Asked, days: Days) -> Fraction:
    """False alerts a session: of a budget for a day, its share for each session of a full one."""
    return asked.budget if asked.per == "session" else min(HALF, asked.budget / max(1, days.most))


def _made(
    tenant: str | None,
    seen: Mapping[Session, Seen],
    alpha: Fraction,
    asked: Asked,
    signals: Set[str],
    bounds: Bounds,
) -> Made:
    whose = f"tenant {tenant}: " if tenant is not None else ""
    tasks = _tasks(seen, asked.tasks)
    n_tasks, least = int(tasks.max()) + 1, conformal.needed(alpha, asked.hijacked)
    if n_tasks < least:
        few = (
            "; --tasks session takes each session for a task, and promises for further sessions of these tasks alone"
            if len(seen) >= least
            else ""
        )
        raise InputError(
            f"{whose}{counted(len(seen), 'session')} of {counted(n_tasks, 'task')}: to promise {float(alpha):g} false alerts a session takes {least} tasks; "
            f"wait for more, or promise less{few}"
        )
    highest = np.array([score(one, signals) for one in seen.values()], np.int64)
    kept = conformal.fit(highest, tasks, alpha, asked.hijacked)
    if kept is None:
        raise InputError(whose + _too_loud(seen, highest, alpha, signals))
    lowest, most = bounds(alpha)
    if kept.threshold > most:
        n_over = int((highest >= most).sum())
        raise InputError(
            f"{whose}{n_over} of {len(seen)} sessions reach {most / UNITS:.4f}, and to promise {float(alpha):g} a session takes "
            f"{kept.threshold / UNITS:.4f}. No sample moves the alert so far: look for attacks in it and label them (--labels), or promise more"
        )
    kept = conformal.reached(highest, tasks, max(kept.threshold, lowest))
    return Made(tenant, alpha, kept, _days(seen.values()))


def _too_loud(seen: Mapping[Session, Seen], highest: Ints, alpha: Fraction, signals: Set[str]) -> str:
    loud = Counter(name for one in seen.values() for name in one.loud & signals)
    told = ", ".join(f"{name} in {count}" for name, count in loud.most_common(5)) or "none"
    return (
        f"{int((highest >= UNITS).sum())} of {len(seen)} sessions alert at every threshold, too many to promise {float(alpha):g} a "
        f"session. Signals that alert alone: {told}. Label what was hijacked (--labels), mend what was declared, or set such signals to watch"
    )


def score(one: Seen, signals: Set[str]) -> int:
    """A session's highest score, `ALWAYS` where a signal alone alerts it."""
    return ALWAYS if one.loud & signals else one.scored


def _days(seen: Iterable[Seen]) -> Days:
    """Sessions a day, from the first day to the last; a day without any counts."""
    counts = Counter(one.day.toordinal() for one in seen)
    return conformal.a_day([counts[day] for day in range(min(counts), max(counts) + 1)])


def _tasks(seen: Mapping[Session, Seen], by: Tasks) -> Ints:
    """Each session's task, counted from 0: that of its root session, so that a tree is never two tasks."""
    numbers: dict[tuple[str, ...], int] = {}
    return np.array(
        [numbers.setdefault(_task(seen, key, by), len(numbers)) for key in seen],
        np.int64,
    )


def _task(seen: Mapping[Session, Seen], key: Session, by: Tasks) -> tuple[str, ...]:
    tenant, root = key[0], seen[key].root
    begun = seen.get((tenant, root), seen[key])
    return tenant, {"intent": begun.intent, "agent": begun.agent, "session": root}[by]


def _n_tasks(seen: Mapping[Session, Seen], by: Tasks) -> int:
    return len({_task(seen, key, by) for key in seen})


def document(promise: Promise, seen: Mapping[Session, Seen], signals: Set[str]) -> dict[str, Any]:
    """The promise as a manifest keeps it, with how often each score was seen, for the alarm."""
    asked = promise.asked
    days = [one.day for (tenant, _), one in seen.items() if tenant not in promise.refused]
    by_tenant: dict[str, Counter[int]] = {}
    for (tenant, _), one in seen.items():
        if tenant not in promise.refused:
            by_tenant.setdefault(tenant, Counter())[score(one, signals)] += 1
    pooled = sum(by_tenant.values(), Counter[int]())
    return {
        "version": VERSION,
        "per": asked.per,
        "false_alerts": float(asked.budget),
        "hijacked_at_most": float(asked.hijacked),
        "tasks": asked.tasks,
        "assumptions": list(ASSUMPTIONS),
        "first_day": min(days).isoformat(),
        "last_day": max(days).isoformat(),
        "pooled": _kept(promise.pooled, pooled),
        "tenants": {made.tenant: _kept(made, by_tenant[str(made.tenant)]) for made in promise.own},
        "sharing": {
            "count": len(promise.sharing),
            "names": list(promise.sharing[:MOST_TENANTS]),
        },
        "refused": dict(promise.refused),
        "signals": sorted(signals),
    }


def _kept(made: Made, seen: Mapping[int, int]) -> dict[str, Any]:
    return {
        "per_session": round(float(made.alpha), 9),
        "alert": made.kept.threshold,
        "sessions": made.kept.sessions,
        "tasks": made.kept.tasks,
        "sessions_reached": made.kept.sessions_reached,
        "tasks_reached": made.kept.tasks_reached,
        "at_most": conformal.at_most(made.kept.tasks_reached, made.kept.tasks),
        "sure": conformal.SURE,
        "days": made.days.days,
        "sessions_a_day": [made.days.fewest, round(made.days.mean, 1), made.days.most],
        "day_chance": round(made.days.chance, 4),
        "scores": " ".join(f"{at}:{count}" for at, count in sorted(seen.items())),
    }


def read(manifest: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a manifest promises; None: nothing.

    Raises
    ------
    ArtefactError
        It has another shape.
    """
    told = manifest.get(MANIFEST_KEY)
    if told is None:
        return None
    try:
        if told["version"] != VERSION:
            raise ValueError(f"version {told['version']}")
        for part in (told["pooled"], *told["tenants"].values()):
            if not all(0 <= at <= ALWAYS for at in scores_of(part)) or not isinstance(part["alert"], int):
                raise ValueError("scores and thresholds lie between 0 and 1")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtefactError(
            f"the manifest's promise on false alerts cannot be read ({error!r}): calibrate again"
        ) from error
    found: Mapping[str, Any] = told
    return found


def scores_of(part: Mapping[str, Any]) -> dict[int, int]:
    """How often each score was seen among the sessions that a tenant's promise, or the pooled one, rests on."""
    pairs = (pair.split(":") for pair in str(part["scores"]).split())
    return {int(at): int(count) for at, count in pairs}


def refused(promise: Mapping[str, Any]) -> Mapping[str, str]:
    """To which tenants nothing is promised, and why: the alarm of all together leaves their sessions out."""
    found: Mapping[str, str] = promise.get("refused", {})  # older manifests name none
    return found


def told(promise: Mapping[str, Any]) -> list[str]:
    """What is promised, a line each, for people."""
    days = f"{promise['first_day']} to {promise['last_day']}"
    what = (
        f"{promise['false_alerts']:g} false alerts a session"
        if promise["per"] == "session"
        else f"{promise['false_alerts']:g} false alerts a day and tenant"
    )
    lines = [
        f"promised: at most {what}, expected, if at most {100 * promise['hijacked_at_most']:g} % of sessions were hijacked; by "
        f"{promise['tasks']}, {days}"
    ]
    shared = promise["sharing"]["count"]
    of_all = "all tenants together" + (f", for {shared} with too few tasks of their own" if shared else "")
    for name, part in ((of_all, promise["pooled"]), *promise["tenants"].items()):
        low, mean, high = part["sessions_a_day"]
        lines.append(
            f"  {name}: alert {part['alert'] / UNITS:.4f} for {part['per_session']:g} a session; {counted(part['sessions'], 'session')} of "
            f"{counted(part['tasks'], 'task')}, reached by {counted(part['sessions_reached'], 'session')} of {counted(part['tasks_reached'], 'task')}; this calibration's own rate is at most "
            f"{part['at_most']:g} ({100 * part['sure']:g} % sure, by task); sessions a day {low} to {high}, mean {mean:g} "
            f"({100 * part['day_chance']:.0f} % sure, {counted(part['days'], 'day')})"
        )
    lines += [f"  nothing is promised to {why}" for why in refused(promise).values()]
    return [*lines, *(f"  assumes: {one}" for one in promise["assumptions"])]


def broken(promise: Mapping[str, Any], policy: Policy, threshold: Callable[[float], int]) -> list[str]:
    """Where a policy alerts more than what was promised allows, in words; `threshold` maps a budget to a number (the manifest)."""
    found = []
    promised = {*promise["tenants"], *policy.tenant_thresholds} - refused(promise).keys()
    for tenant in (None, *sorted(promised)):
        at = levels(policy, threshold, tenant).alert
        least = promise["tenants"].get(tenant, promise["pooled"])["alert"]
        if at < least:
            whose = f"tenant {tenant}" if tenant is not None else "tenants without thresholds of their own"
            found.append(
                f"the policy alerts {whose} from {at / UNITS:.4f} on, and the promise holds from {least / UNITS:.4f} on"
            )
    if louder := sorted(alerting(policy) - set(promise["signals"])):
        found.append(f"signals that alert alone did not when it was made: {', '.join(louder)}")
    return found
