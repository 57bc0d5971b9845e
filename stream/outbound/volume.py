"""The budget of alerts a day: beyond it a finding like one already told calls nobody, and what is new still does.

An analyst who is called a hundred times for one thing mutes the topic. A day is one of the findings' own time (UTC). What is known of
it stands in the findings that went out, so that whoever takes over reads it there. A finding that is made again is counted once, and
told as before.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple
from urllib.parse import quote

from models.contracts import Case
from stream.events import member, short_hash
from stream.outbound.campaigns import DAY_MS, is_round
from stream.outbound.notice import LATEST_MS, Notice, Subject, finding
from stream.outbound.ocsf import agent_of

MAX_TOLD, MAX_KINDS, MAX_DAYS, MAX_CLOSED = 50_000, 50_000, 10_000, 10_000
"""Findings, kinds of them, days of tenants and closed cases that are known of a partition, the latest: some 30 MB at most. What was
forgotten calls anew."""
MAX_BEYOND = 1_000_000_000
"""Findings beyond a budget; a larger number on the topic is none of ours."""
ANALYTIC = "driftline.alert_budget", "Driftline alert budget"
_MARK = "beyond_budget"

_Day = tuple[str, int]
"""A tenant, and the number of the day since 1970."""
_Kind = tuple[Any, ...]
"""Of whose day; the agent by name and workload, an evidence, what brought it about, the standing it came to, whether inherited, whether
enforced, and whether after the end."""


class _Finding(NamedTuple):
    """What counts of a case's finding that calls."""

    uid: str
    case: str
    day: _Day
    kinds: tuple[_Kind, ...]
    severity: int


class _Partition:
    def __init__(self) -> None:
        # By finding: the how manieth beyond the budget, 0 if it called or closed a case.
        self.told: OrderedDict[str, int] = OrderedDict()
        self.kinds: OrderedDict[_Kind, int] = OrderedDict()  # how severe it was at most
        self.called: OrderedDict[_Day, int] = OrderedDict()
        self.beyond: OrderedDict[_Day, int] = OrderedDict()
        self.closed: OrderedDict[str, None] = OrderedDict()  # cases that a second opinion closed

    def note(self, found: _Finding, beyond: int) -> None:
        """Note what became of a finding."""
        self.told[found.uid] = beyond
        for kind in found.kinds:
            self.kinds[kind] = max(found.severity, self.kinds.get(kind, 0))
            self.kinds.move_to_end(kind)
        self.closed.pop(found.case, None)
        if beyond:
            self.beyond[found.day] = max(beyond, self.beyond.get(found.day, 0))
        else:
            self.called[found.day] = self.called.get(found.day, 0) + 1
        self._bound()

    def close(self, found: _Finding) -> None:
        """Note that a case was closed: what comes after is another alert."""
        if found.uid not in self.told:
            self.told[found.uid] = 0
            self.closed[found.case] = None
            self._bound()

    def is_like(self, found: _Finding) -> bool:
        """Whether all that a finding says was told that day, and as gravely."""
        return found.case not in self.closed and all(
            found.severity <= self.kinds.get(kind, -1) for kind in found.kinds
        )

    def _bound(self) -> None:
        bounds = (
            (self.told, MAX_TOLD),
            (self.kinds, MAX_KINDS),
            (self.called, MAX_DAYS),
            (self.beyond, MAX_DAYS),
            (self.closed, MAX_CLOSED),
        )
        for known, most in bounds:
            while len(known) > most:
                known.popitem(last=False)


class AlertBudgets:
    """How often the analysts of each tenant were called on each day, of the partitions at hand."""

    def __init__(self) -> None:
        self._partitions: dict[int, _Partition] = {}

    def take(self, case: Case, finding: dict[str, Any], number: int) -> list[dict[str, Any]]:
        """What a case's finding becomes under the case's budget, and behind it that of the day where there is news."""
        found = _counted(finding)
        if found is None:
            return [finding]
        known = self._partitions.setdefault(number, _Partition())
        if finding.get("is_alert") is not True:
            if _closes(finding):
                known.close(found)
            return [finding]
        most = case.alerts_a_day
        beyond = known.told.get(found.uid)
        if beyond is None:
            full = most is not None and known.called.get(found.day, 0) >= most
            beyond = known.beyond.get(found.day, 0) + 1 if full and known.is_like(found) else 0
            known.note(found, beyond)
        if not beyond or most is None:
            return [finding]
        silent = {**finding, "is_alert": False, "unmapped": {**finding["unmapped"], _MARK: beyond}}
        return [silent, _notice(case, found, beyond, finding["time"])] if is_round(beyond) else [silent]

    def recall(self, finding: dict[str, Any], number: int) -> None:
        """Note a finding that went out before."""
        found, beyond = _counted(finding), member(finding, "unmapped").get(_MARK, 0)
        known = self._partitions.setdefault(number, _Partition())
        if found is None or type(beyond) is not int or found.uid in known.told:
            return
        if (beyond or finding.get("is_alert") is True) and 0 <= beyond <= MAX_BEYOND:
            known.note(found, beyond)
        elif _closes(finding):
            known.close(found)


def _counted(finding: dict[str, Any]) -> _Finding | None:
    """A case's finding as it counts; None of every other one: of a breaker, a campaign, an outcome, a person's word."""
    metadata, unmapped = member(finding, "metadata"), member(finding, "unmapped")
    time_ms, severity, standing = finding.get("time"), finding.get("severity_id"), unmapped.get("standing")
    if not isinstance(standing, dict) or type(time_ms) is not int or type(severity) is not int:
        return None
    if not 0 <= time_ms < LATEST_MS:
        return None
    day = str(metadata.get("tenant_uid") or ""), time_ms // DAY_MS
    actor, evidences = member(finding, "actor"), finding.get("evidences")
    base = (
        day,
        str(agent_of(finding) or ""),
        str(actor.get("app_uid") or member(actor, "application").get("uid") or ""),
        str(unmapped.get("cause") or ""),
        str(standing.get("after") or ""),
        unmapped.get("inherited_from") is not None,
        unmapped.get("enforced") is True,
        unmapped.get("after_end") is True,
    )
    told = [each for each in evidences if isinstance(each, dict)] if isinstance(evidences, list) else []
    names = {str(each.get("name") or "") for each in told if member(each, "data").get("supports") is True}
    return _Finding(
        str(metadata.get("uid") or ""),
        str(member(finding, "finding_info").get("uid") or ""),
        day,
        tuple((*base, name) for name in sorted(names) or [""]),
        severity,
    )


def _closes(finding: dict[str, Any]) -> bool:
    return finding.get("status") == "Suppressed"


def _notice(case: Case, found: _Finding, beyond: int, time_ms: int) -> dict[str, Any]:
    begins, most = beyond == 1, case.alerts_a_day
    uid = short_hash("alerts", case.tenant, str(found.day[1]))
    return finding(
        Subject.of(case),
        Notice(
            uid=f"{uid}/{beyond}",
            about=uid,
            correlation=uid,
            dedup_key=f"{quote(case.tenant, safe='')}|alerts|{uid}",
            analytic=ANALYTIC,
            activity=1 if begins else 2,
            calls=begins,
            title="The day's budget of alerts is used up",
            message=f"The day's budget of {most} alerts is used up; {beyond} more were like ones already told",
            desc=(
                f"Analysts of this tenant were called {most} times today, which is the policy's budget. Since then {beyond} "
                f"{'finding that is' if begins else 'findings that are'} like one already told (the same agent, evidence and standing, no "
                "graver) called nobody. What is new still calls. Nothing else changes: cases stay open, and revocations go out."
            ),
            steps=(
                "1. Findings with unmapped.beyond_budget are those that called nobody; the console lists their cases by risk. 2. Which agent "
                "and which evidence do most of them share? If they are honest, driftline feedback CASE --verdict false_positive --propose "
                "says what would let the calls pass. 3. If they are not, stop that agent. 4. alerts_a_day in the policy is the budget."
            ),
            revocation="by case",
            time_ms=time_ms,
            severity=3 if begins else 2,
        ),
    )
