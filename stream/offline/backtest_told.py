"""The sums of a backtest: what parts of a log add up to, in any order, and the report that they make.

Every table has a bound, and what lies beyond it does not depend on how the log was cut: of too many names those of the least hashes
are kept, of too many sessions the gravest changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from typing import Any, NamedTuple

from models.contracts import FLAGGED, Standing, Verdict
from stream.events import dumps, short_hash
from stream.offline.call_rows import OTHERS

MAX_NAMES = 1000
"""Tenants, tools and days that are counted by name: producers choose names."""
INTERRUPTED = ("deny", "revoke")
"""Verdicts that stop an agent, where the policy enforces them."""


class Tallies:
    """Counts by name; of more names than `most` those of the least hashes, the others together."""

    def __init__(self, most: int = MAX_NAMES) -> None:
        self._most = most
        self._of: dict[str, Counter[str]] = {}
        self._greatest: list[tuple[int, str]] = []
        self._others: Counter[str] = Counter()

    def add(self, name: str, counts: Mapping[str, int]) -> None:
        """Count for a name."""
        if name not in self._of:
            place = -int(short_hash(name, size=6), 16), name
            if len(self._of) >= self._most and place < self._greatest[0]:
                self._others.update(counts)
                return
            self._of[name] = Counter()
            heappush(self._greatest, place)
            if len(self._of) > self._most:
                self._others.update(self._of.pop(heappop(self._greatest)[1]))
        self._of[name].update(counts)

    def merge(self, other: Tallies) -> None:
        """Add what was counted elsewhere."""
        for name, counts in other._of.items():
            self.add(name, counts)
        self._others.update(other._others)

    def __len__(self) -> int:
        return len(self._of)

    def rows(self) -> dict[str, Counter[str]]:
        """The counts, by name in order; those of names beyond the bound last."""
        named = dict(sorted(self._of.items()))
        return {**named, OTHERS: self._others} if self._others else named


class Change:
    """What becomes otherwise under a candidate than under the base.

    Attributes
    ----------
    sessions, cases : int
        Whose gravest verdict is another; whose case reaches another state.
    graver, milder : int
        Of the first.
    found, lost : int
        Sessions that are alerted, denied or revoked now and were not, and the other way round.
    lost_honest : int
        Of these, those labelled benign.
    moves : counts of "before to after"
    labels : counts of what became of labelled sessions
    """

    def __init__(self, most_flips: int) -> None:
        self.sessions = self.cases = self.graver = self.milder = 0
        self.found = self.lost = self.lost_honest = 0
        self.moves: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self._most = most_flips
        self._flips: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def flip(self, steps: int, told: dict[str, Any]) -> None:
        """Count a session whose verdict went up or down by so many steps, or whose case changed, and keep it if it is among the gravest."""
        before, after = told["before"], told["after"]
        self.cases += before["case"] != after["case"]
        if before["verdict"] != after["verdict"]:
            self.sessions += 1
            self.graver += steps > 0
            self.milder += steps < 0
            self.moves[f"{before['verdict']} to {after['verdict']}"] += 1
            was, now = (each["verdict"] in FLAGGED for each in (before, after))
            self.found += now and not was
            self.lost += was and not now
            self.lost_honest += was and not now and told["label"] == "benign"
        order = (-abs(steps), told["tenant"], told["root_session_id"], told["session_id"], dumps(told))
        self._flips.append((order, told))
        if len(self._flips) > 2 * self._most + 64:
            self._cut()

    def _cut(self) -> None:
        self._flips.sort(key=lambda each: each[0])
        del self._flips[self._most :]

    def labelled(self, label: str, before: Verdict, after: Verdict) -> None:
        """Count a labelled session: an honest one by what stops or alerts it, a hijacked one by whether it is caught."""
        if label not in ("benign", "hijacked"):
            self.labels["others"] += 1
            return
        self.labels[label] += 1
        was, now = before in FLAGGED, after in FLAGGED
        if label == "hijacked":
            self.labels["newly_caught"] += now and not was
            self.labels["newly_missed"] += was and not now
            return
        self.labels["newly_alerted"] += now and not was
        self.labels["no_longer_alerted"] += was and not now
        stopped, stops = before in INTERRUPTED, after in INTERRUPTED
        self.labels["newly_interrupted"] += stops and not stopped
        self.labels["no_longer_interrupted"] += stopped and not stops

    def merge(self, other: Change) -> None:
        """Add what was found elsewhere."""
        for name in ("sessions", "cases", "graver", "milder", "found", "lost", "lost_honest"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.moves.update(other.moves)
        self.labels.update(other.labels)
        self._flips += other._flips
        self._cut()

    def flips(self) -> list[dict[str, Any]]:
        """Changed sessions one by one, the greatest changes first."""
        self._cut()
        return [told for _, told in self._flips]


LABELLED = (
    "benign", "newly_alerted", "no_longer_alerted", "newly_interrupted", "no_longer_interrupted",
    "hijacked", "newly_caught", "newly_missed", "others",
)  # fmt: skip


class Told:
    """What a log, or a part of one, came to under each combination."""

    def __init__(self, n: int, most_flips: int) -> None:
        self.n = n
        self.records = self.calls = self.sessions = self.torn = 0
        self.refused: Counter[str] = Counter()
        self.verdicts: list[Counter[Verdict]] = [Counter() for _ in range(n)]
        self.standings: list[Counter[Standing]] = [Counter() for _ in range(n)]
        self.tenants, self.tools, self.days = Tallies(), Tallies(), Tallies()
        self.changes = [Change(most_flips) for _ in range(n - 1)]

    def call(self, tenant: str, tool: str, day: str) -> None:
        """Count a call."""
        self.calls += 1
        for tallies, name in ((self.tenants, tenant), (self.tools, tool), (self.days, day)):
            tallies.add(name, {"calls": 1})

    def case(self, side: int, tenant: str, tool: str, day: str, *, alerts: bool, revokes: bool) -> None:
        """Count an alert, a revocation or both under a combination."""
        counts = {f"alerts {side}": int(alerts), f"revocations {side}": int(revokes)}
        for tallies, name in ((self.tenants, tenant), (self.tools, tool), (self.days, day)):
            tallies.add(name, counts)

    def session(
        self, tenant: str, verdicts: Sequence[Verdict], standings: Sequence[Standing], *, torn: bool
    ) -> None:
        """Count a session by its gravest verdict and the state that its case reached, under each combination."""
        self.sessions += 1
        self.torn += torn
        self.tenants.add(tenant, {"sessions": 1})
        for counts, verdict in zip(self.verdicts, verdicts, strict=True):
            counts[verdict] += 1
        for states, standing in zip(self.standings, standings, strict=True):
            states[standing] += 1

    def changed(self, side: int, tenant: str, tool: str | None) -> None:
        """Count a changed session for its tenant, and for the tool of the call at which the combinations part."""
        self.tenants.add(tenant, {f"changed {side}": 1})
        if tool is not None:
            self.tools.add(tool, {f"changed {side}": 1})

    def merge(self, other: Told) -> None:
        """Add what another part of the log came to."""
        for name in ("records", "calls", "sessions", "torn"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.refused.update(other.refused)
        for mine, theirs in zip(self.verdicts, other.verdicts, strict=True):
            mine.update(theirs)
        for states, more in zip(self.standings, other.standings, strict=True):
            states.update(more)
        for tallies, those in zip(
            (self.tenants, self.tools, self.days), (other.tenants, other.tools, other.days), strict=True
        ):
            tallies.merge(those)
        for change, found in zip(self.changes, other.changes, strict=True):
            change.merge(found)

    def document(self) -> dict[str, Any]:
        """The report as JSON, without what the combinations are."""
        days = max(1, sum(1 for counts in self.days.rows().values() if counts["calls"]))
        return {
            "records": self.records,
            "calls": self.calls,
            "sessions": self.sessions,
            "not_whole": self.torn,
            "days": days,
            "refused": dict(sorted(self.refused.items())),
            "combinations": [
                {
                    "verdicts": dict(sorted(self.verdicts[side].items())),
                    "cases": dict(sorted(self.standings[side].items())),
                    "alerts_a_day": self._a_day("alerts", side, days),
                    "revocations_a_day": self._a_day("revocations", side, days),
                }
                for side in range(self.n)
            ],
            "candidates": [self._candidate(side, change) for side, change in enumerate(self.changes, 1)],
            "tenants": self._table(self.tenants, ("calls", "sessions"), days),
            "tools": self._table(self.tools, ("calls",), days),
            "by_day": self._table(self.days, ("calls",), 1, each=("alerts", "revocations")),
        }

    def _a_day(self, what: str, side: int, days: int) -> float:
        total = sum(counts[f"{what} {side}"] for counts in self.tenants.rows().values())
        return round(total / days, 4)

    def _candidate(self, side: int, change: Change) -> dict[str, Any]:
        flips = change.flips()
        changed = sum(counts[f"changed {side}"] for counts in self.tenants.rows().values())
        return {
            "changed": changed,
            "verdict_changed": change.sessions,
            "case_changed": change.cases,
            "graver": change.graver,
            "milder": change.milder,
            "newly_flagged": change.found,
            "lost": change.lost,
            "lost_labelled_honest": change.lost_honest,
            "moves": dict(sorted(change.moves.items())),
            "labels": {name: change.labels[name] for name in LABELLED} if change.labels else None,
            "flips": flips,
            "flips_left_out": changed - len(flips),
        }

    def _table(
        self, tallies: Tallies, counted: Sequence[str], days: int, each: Sequence[str] = ()
    ) -> dict[str, dict[str, Any]]:
        """Rows by name: counts, and of alerts and revocations a list with one rate for each combination."""
        rates = each or ("alerts_a_day", "revocations_a_day")
        return {
            name: {
                **{what: counts[what] for what in counted},
                **{
                    rate: [round(counts[f"{what} {side}"] / days, 4) for side in range(self.n)]
                    for rate, what in zip(rates, ("alerts", "revocations"), strict=True)
                },
                **({} if each else {"changed": [counts[f"changed {side}"] for side in range(1, self.n)]}),
            }
            for name, counts in tallies.rows().items()
        }


class Limit(NamedTuple):
    """What a candidate may do at most, and what it did."""

    name: str
    candidate: int
    most: float
    found: float

    @property
    def holds(self) -> bool:
        """Whether it keeps within."""
        return self.found <= self.most


def limits(document: Mapping[str, Any], most: Mapping[str, float | None]) -> list[Limit]:
    """The limits that were set, held against a report.

    Parameters
    ----------
    most : by name: ``new_alerts_a_day``, ``new_revocations_a_day``, ``lost``, ``interrupted``; None: no limit
    """
    base = document["combinations"][0]
    found = []
    for number, candidate in enumerate(document["candidates"], 1):
        after = document["combinations"][number]
        labels = candidate["labels"] or {}
        figures = {
            "new_alerts_a_day": round(after["alerts_a_day"] - base["alerts_a_day"], 4),
            "new_revocations_a_day": round(after["revocations_a_day"] - base["revocations_a_day"], 4),
            "lost": candidate["lost"] - candidate["lost_labelled_honest"],
            "interrupted": labels.get("newly_interrupted", 0),
        }
        found += [
            Limit(name, number, bound, figures[name]) for name, bound in most.items() if bound is not None
        ]
    return found
