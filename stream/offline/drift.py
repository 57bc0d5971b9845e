"""Traffic of now beside that of before: by tenant, feature and tool, and whether that calls for another calibration or training.

Both times are rows of calls, as `driftline features` writes them (`stream.offline.call_rows`). Counts are whole and their number is
bounded by tenant, tool and bin; of a session its highest score and a few flags are kept. The rule only suggests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from models.contracts import FLAGGED, Label
from models.evidence.features.registry import FEATURES
from models.forest.units import UNITS, Floats, Ints
from models.promise import shift
from models.promise.alarm import FALSE_ALARM, Alarm, tie
from models.promise.conformal import ALWAYS
from models.promise.shift import Shift
from stream.offline import promise
from stream.offline.call_rows import OTHERS, bounded

MAX_TENANTS = 100
MAX_TOOLS = 200
"""Tenants, and tools of each, that are counted by name: producers choose names."""
UNKNOWN = ("scope.tool_unknown", "scope.unknown_tool_reads")
"""What is said of calls of a tool that no catalogue lists."""

FEWEST_SESSIONS = 50
"""Of a tenant in both times, for the rule to say anything of it (chosen)."""
MOVED = 0.25
"""Index beyond chance from which on a feature has moved: 0.25 is what credit scoring calls a major shift."""
MOVED_FEATURES = 0.1
"""Share of the features that must have moved for a retraining (chosen)."""
NEW_TOOLS = 0.1
"""Share of the calls that go to tools not called before, for a retraining (chosen)."""
MORE_ABSTAINED = 0.1
"""By how much the share of calls that are not judged grows, for a look at declarations (chosen)."""
FEWEST_VERDICTS = 20
CONFIRMED = 0.25
"""Of so many alerts with a verdict, share that is confirmed below which a retraining is suggested (chosen)."""


class Chunk(NamedTuple):
    """Some rows: their columns by name, and their features."""

    columns: Mapping[str, Sequence[Any]]
    features: Floats


@dataclass
class SessionNow:
    """A session of a time, as its rows tell it."""

    last: Any = None
    score: int = 0
    loud: set[str] = field(default_factory=set)
    flagged: bool = False
    whole: bool = True
    releases: set[str] = field(default_factory=set)


@dataclass
class Tenant:
    """What a tenant's calls of a time come to."""

    calls: int = 0
    features: Ints = field(default_factory=lambda: np.zeros((len(FEATURES), shift.BINS), np.int64))
    scores: Ints = field(default_factory=lambda: np.zeros(shift.BINS, np.int64))
    tools: dict[str, Ints] = field(default_factory=dict)
    verdicts: Counter[str] = field(default_factory=Counter)
    unknown: int = 0
    sessions: dict[str, SessionNow] = field(default_factory=dict)

    def share(self, verdict: str) -> float:
        """Of the calls, those with a verdict."""
        return self.verdicts[verdict] / self.calls if self.calls else 0.0


def period(chunks: Iterable[Chunk]) -> dict[str, Tenant]:
    """A time's rows, counted by tenant."""
    found: dict[str, Tenant] = {}
    for chunk in chunks:
        bins = shift.bins(chunk.features)
        places = shift.bins(np.round(np.array(chunk.columns["score"], np.float64) * UNITS)).tolist()
        by_tenant: dict[str, list[int]] = {}
        for row, asked in enumerate(chunk.columns["tenant"]):
            name = bounded(asked, found, MAX_TENANTS)
            found.setdefault(name, Tenant())
            by_tenant.setdefault(name, []).append(row)
        for name, rows in by_tenant.items():
            tenant = found[name]
            tenant.calls += len(rows)
            for column in range(len(FEATURES)):
                tenant.features[column] += np.bincount(bins[rows, column], minlength=shift.BINS)
            for row in rows:
                _take(tenant, places[row], {key: values[row] for key, values in chunk.columns.items()})
    return found


def _take(tenant: Tenant, place: int, row: Mapping[str, Any]) -> None:
    tenant.scores[place] += 1
    tool = bounded(row["tool"], tenant.tools, MAX_TOOLS)
    tenant.tools.setdefault(tool, np.zeros(shift.BINS, np.int64))[place] += 1
    tenant.verdicts[row["verdict"]] += 1
    tenant.unknown += any(signal in row["signals"] for signal in UNKNOWN)
    session = tenant.sessions.setdefault(row["session_id"], SessionNow())
    session.last = row["time"] if session.last is None else max(session.last, row["time"])
    session.flagged |= row["verdict"] in FLAGGED
    session.whole &= row["whole"]
    session.releases.add(row["release"])
    if not promise.let_pass(row):
        session.loud.update(row["signals"])
    alert = None if row["alert_at"] is None else round(row["alert_at"] * UNITS)
    session.score = max(session.score, promise.counting(row, round(row["score"] * UNITS), alert))


class Moved(NamedTuple):
    """A tenant in both times.

    Attributes
    ----------
    features : how far each has moved, the farthest first; `scores` the same of the score
    tools : of each, its share of the calls before and now, and how far scores of its calls have moved
    new_tools : share of the calls now that go to tools without a call before
    alarm : over the sessions now, in order; None where the tenant has no promise of its own, or another model scored them all
    judged, confirmed : sessions alerted now on which there is a word, and those that were hijacked
    """

    tenant: str
    before: Tenant
    now: Tenant
    features: Sequence[tuple[str, Shift]]
    scores: Shift
    tools: Sequence[tuple[str, float, float, Shift]]
    new_tools: float
    alarm: Alarm | None
    judged: int
    confirmed: int


class Report(NamedTuple):
    """All tenants that have calls now, and the alarm of the pooled promise over all their sessions; None as in `Moved`."""

    tenants: Sequence[Moved]
    alarm: Alarm | None


def compare(
    before: Mapping[str, Tenant],
    now: Mapping[str, Tenant],
    promised: Mapping[str, Any] | None = None,
    model: str = "",
    labels: Iterable[Label] = (),
) -> Report:
    """Each tenant that has calls now, beside itself before.

    Parameters
    ----------
    promised, model : what a release promises, and how its model's digest begins: the alarm takes the sessions that this one scored
    labels : words on sessions, one for each
    """
    words = {(word.tenant, word.session_id): word.label for word in labels}
    moved = [
        _moved(name, before.get(name, Tenant()), tenant, promised, model, words)
        for name, tenant in sorted(now.items())
    ]
    if promised is None:
        return Report(moved, None)
    # It was made on all tenants together that have a promise, so that it watches these together: one by itself is other traffic.
    having = {name: tenant for name, tenant in now.items() if name not in promise.refused(promised)}
    return Report(moved, _alarm(promised["pooled"], promised, having, model))


def _moved(
    name: str,
    before: Tenant,
    now: Tenant,
    promised: Mapping[str, Any] | None,
    model: str,
    words: Mapping[tuple[str, str], str],
) -> Moved:
    sizes = len(before.sessions), len(now.sessions)
    features = [
        (feature, shift.shift(before.features[n], now.features[n], *sizes))
        for n, feature in enumerate(FEATURES)
    ]
    none = np.zeros(shift.BINS, np.int64)
    tools = []
    for tool in sorted({*before.tools, *now.tools}):
        counts = before.tools.get(tool, none), now.tools.get(tool, none)
        called = [int(count.sum()) for count in counts]
        shares = called[0] / max(1, before.calls), called[1] / max(1, now.calls)
        # As many sessions as a tool has calls, or as there are: its calls of one session are alike.
        of = [min(n, most) for n, most in zip(called, sizes, strict=True)]
        tools.append((tool, *shares, shift.shift(*counts, *of)))
    flagged = [session for session, one in now.sessions.items() if one.flagged]
    said = [
        words[name, session] for session in flagged if words.get((name, session)) in ("benign", "hijacked")
    ]
    return Moved(
        name,
        before,
        now,
        sorted(features, key=lambda one: (-one[1].beyond_chance, one[0])),
        shift.shift(before.scores, now.scores, *sizes),
        sorted(tools, key=lambda one: (-abs(one[2] - one[1]), one[0])),
        sum(
            int(count.sum())
            for tool, count in now.tools.items()
            if tool != OTHERS and tool not in before.tools
        )
        / max(1, now.calls),
        _alarm(promised["tenants"][name], promised, {name: now}, model)
        if promised is not None and name in promised["tenants"]
        else None,
        len(said),
        said.count("hijacked"),
    )


def _alarm(
    part: Mapping[str, Any], promised: Mapping[str, Any], now: Mapping[str, Tenant], model: str
) -> Alarm | None:
    """The alarm over whole sessions that `model` scored, in the order of their last calls."""
    taken = [
        (one.last, name, session, one)
        for name, tenant in now.items()
        for session, one in tenant.sessions.items()
        if one.whole and all(name.endswith(f"@{model}") for name in one.releases)
    ]
    if not taken:
        return None
    alarm, alone = Alarm(promise.scores_of(part)), set(promised["signals"])
    for _, name, session, one in sorted(taken, key=lambda each: each[:3]):
        alarm.take(ALWAYS if one.loud & alone else one.score, tie(name, session))
    return alarm


class Advice(NamedTuple):
    """One line of the rule: whether it holds of a tenant, what it says, what was found, and what it suggests."""

    tenant: str
    holds: bool
    rule: str
    found: str
    suggests: str


def advice(report: Report) -> list[Advice]:
    """The rule, line by line."""
    pooled = [] if report.alarm is None else [_of_alarm(promise.ALL, report.alarm)]
    return [*pooled, *(line for moved in report.tenants for line in of_tenant(moved))]


def _of_alarm(tenant: str, alarm: Alarm) -> Advice:
    return Advice(
        tenant,
        alarm.rings(),
        f"the alarm has ever reached {1 / FALSE_ALARM:g}",
        f"10^{alarm.highest:.1f} after {alarm.highest_at} of {alarm.sessions} sessions",
        "calibrate again",
    )


def of_tenant(moved: Moved) -> list[Advice]:
    """The rule for a tenant; of one with few sessions less is said."""
    sizes = len(moved.before.sessions), len(moved.now.sessions)
    found: list[Advice] = []

    def say(holds: bool, rule: str, seen: str, suggests: str) -> None:
        found.append(Advice(moved.tenant, holds, rule, seen, suggests))

    if moved.alarm is not None:
        found.append(_of_alarm(moved.tenant, moved.alarm))
    if min(sizes) >= FEWEST_SESSIONS:
        far = sum(one.beyond_chance >= MOVED for _, one in moved.features)
        say(
            far >= MOVED_FEATURES * len(FEATURES),
            f"{100 * MOVED_FEATURES:g} % of the features have moved by {MOVED:g} or more",
            f"{far} of {len(FEATURES)}",
            "train a challenger",
        )
        say(
            moved.scores.beyond_chance >= MOVED,
            f"the score has moved by {MOVED:g} or more",
            f"{moved.scores.beyond_chance:.2f}",
            "look for attacks, then calibrate again",
        )
        say(
            moved.new_tools >= NEW_TOOLS,
            f"{100 * NEW_TOOLS:g} % of the calls go to tools not called before",
            f"{100 * moved.new_tools:.1f} %",
            "train a challenger",
        )
        abstained = moved.before.share("abstain"), moved.now.share("abstain")
        say(
            abstained[1] - abstained[0] >= MORE_ABSTAINED,
            f"calls that are not judged are {100 * MORE_ABSTAINED:g} points more",
            f"{100 * abstained[0]:.1f} % before, {100 * abstained[1]:.1f} % now",
            "look which agents declare no intent (driftline coverage)",
        )
    if moved.judged >= FEWEST_VERDICTS:
        say(
            moved.confirmed < CONFIRMED * moved.judged,
            f"of the alerts with a verdict fewer than {100 * CONFIRMED:g} % are confirmed",
            f"{moved.confirmed} of {moved.judged}",
            "train a challenger with these labels",
        )
    return found


def document(report: Report) -> dict[str, Any]:
    """The comparison as JSON."""
    return {
        "tenants": {one.tenant: _tenant(one) for one in report.tenants},
        "alarm": _rung(report.alarm),
        "rule": [line._asdict() for line in advice(report)],
    }


def _rung(alarm: Alarm | None) -> dict[str, Any] | None:
    if alarm is None:
        return None
    return {
        "sessions": alarm.sessions,
        "log10_wealth": round(alarm.wealth, 4),
        "highest": round(alarm.highest, 4),
        "highest_at": alarm.highest_at,
        "rings": alarm.rings(),
    }


def _tenant(one: Moved) -> dict[str, Any]:
    return {
        "sessions": [len(one.before.sessions), len(one.now.sessions)],
        "calls": [one.before.calls, one.now.calls],
        "features": {name: _shift(of) for name, of in one.features},
        "score": _shift(one.scores),
        "tools": {
            tool: {
                "before": round(before, 6),
                "now": round(now, 6),
                "score": _shift(of) if before and now else None,
            }
            for tool, before, now, of in one.tools
        },
        "calls_of_new_tools": round(one.new_tools, 6),
        "calls_of_undeclared_tools": [
            round(of.unknown / of.calls, 6) if of.calls else None for of in (one.before, one.now)
        ],
        "abstained": [round(of.share("abstain"), 6) for of in (one.before, one.now)],
        "sessions_alerted": [
            sum(session.flagged for session in of.sessions.values()) for of in (one.before, one.now)
        ],
        "alerts_with_a_verdict": one.judged,
        "of_these_confirmed": one.confirmed,
        "alarm": _rung(one.alarm),
    }


def _shift(of: Shift) -> dict[str, Any]:
    return {"psi": round(of.psi, 4), "groups": of.groups, "beyond_chance": round(of.beyond_chance, 4)}
