"""Sessions that drift to one target: the first alerts, the others are counted with it, and a new target or tactic alerts anew.

An attacker who poisons one document meets many agents, and an analyst then reads one alert many times. A campaign lives for one day of
its findings' own time (UTC). What is known of it stands in the findings that went out, so that whoever takes over reads it there. A
finding that is made again is counted once, and told as before.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

from stream.events import member, rfc3339, short_hash
from stream.outbound.notice import LATEST_MS, Notice, Subject, finding

DAY_MS = 86_400_000
MAX_CAMPAIGNS, MAX_CHANGES = 2_000, 1_000
"""Campaigns of a partition that are known, and changes and cases of each, the latest: some 0.5 KiB a campaign and 0.3 a change. Of an older
campaign each session alerts by itself; an older case that is heard of again counts as another session."""
MAX_TITLE = 300
ANALYTIC = "driftline.campaign", "Driftline campaigns"


_Kind = tuple[str, bool, bool]
"""The standing that a case came to, whether that is enforced, and whether the session goes on after its end."""


class _Told(NamedTuple):
    """What was made of a change of a case: how many sessions there were with it, and how severe it was.

    ``alone``: its finding calls by itself. ``news``: that of the campaign goes out behind it.
    """

    sessions: int
    severity: int
    alone: bool
    news: bool


class _Campaign:
    """Sessions of one tenant that drifted in one day by one tactic to one target."""

    def __init__(self, uid: str, finding: dict[str, Any], time_ms: int) -> None:
        metadata, info, unmapped = (
            member(finding, name) for name in ("metadata", "finding_info", "unmapped")
        )
        self.uid = uid
        self.subject = Subject(
            tenant=_text(metadata, "tenant_uid"),
            case_id=_text(info, "uid"),
            root_session_id=_text(metadata, "correlation_uid"),
            session_id=_text(member(member(finding, "actor"), "session"), "uid"),
            time=rfc3339(time_ms),
            core=_text(unmapped, "core"),
            policy=_text(unmapped, "policy"),
        )
        self.title = _text(info, "title")[:MAX_TITLE]
        self._count = self._severity = 0
        self._kinds: set[_Kind] = set()
        self._cases: OrderedDict[str, None] = OrderedDict()
        self._told: OrderedDict[str, _Told] = OrderedDict()

    def take(self, change: str, case: str, severity: int, kind: _Kind) -> _Told:
        """Note a change of a case. It calls where it is the first, graver than all before it, or of a kind that none before it was."""
        if (known := self._told.get(change)) is not None:
            return known
        alone = severity > self._severity or kind not in self._kinds
        is_new = case not in self._cases
        self._count += is_new
        self._severity = max(self._severity, severity)
        self._kinds.add(kind)
        self._cases[case] = None
        news = is_new and self._count > 1 and is_round(self._count)
        told = self._told[change] = _Told(self._count, self._severity, alone, news)
        for held in (self._told, self._cases):
            if len(held) > MAX_CHANGES:
                held.popitem(last=False)
        return told


class Campaigns:
    """The campaigns of the partitions at hand."""

    def __init__(self) -> None:
        self._partitions: dict[int, OrderedDict[tuple[str, str, int], _Campaign]] = {}

    def take(self, finding: dict[str, Any], number: int) -> list[dict[str, Any]]:
        """Count a case's finding to its campaign: what it becomes, and behind it that of the campaign where there is news.

        A finding that calls nobody, or has no target, stays as it is.
        """
        metadata, unmapped = member(finding, "metadata"), member(finding, "unmapped")
        target, time_ms, severity = unmapped.get("target"), finding.get("time"), finding.get("severity_id")
        calls = finding.get("is_alert") or "campaign" in unmapped or "beyond_budget" in unmapped
        if not calls or not isinstance(target, str) or type(time_ms) is not int or type(severity) is not int:
            return [finding]
        if not 0 <= time_ms < LATEST_MS:
            return [finding]
        key = _text(metadata, "tenant_uid"), target, time_ms // DAY_MS
        known = self._partitions.setdefault(number, OrderedDict())
        case = _text(member(finding, "finding_info"), "uid")
        campaign = known.get(key)
        if campaign is None:
            # By its first case too: one that was forgotten and comes again is another.
            uid = short_hash("campaign", *map(str, key), case)
            campaign = known[key] = _Campaign(uid, finding, time_ms)
            if len(known) > MAX_CAMPAIGNS:
                known.popitem(last=False)
        kind = (
            _text(member(unmapped, "standing"), "after"),
            unmapped.get("enforced") is True,
            unmapped.get("after_end") is True,
        )
        told = campaign.take(_text(metadata, "uid"), case, severity, kind)
        said = [finding if told.alone else _joined(finding, campaign, told)]
        return [*said, _incident(campaign, told, time_ms)] if told.news else said


def _joined(finding: dict[str, Any], campaign: _Campaign, told: _Told) -> dict[str, Any]:
    """A finding that calls nobody: its campaign does."""
    named = {"uid": campaign.uid, "sessions": told.sessions, "first_case": campaign.subject.case_id}
    return {**finding, "is_alert": False, "unmapped": {**finding["unmapped"], "campaign": named}}


def is_round(count: int) -> bool:
    """Whether so many sessions are news: 2, 5, 10, 20, 50, 100 and so on."""
    while count >= 10 and count % 10 == 0:
        count //= 10
    return count in (1, 2, 5)


def _text(value: dict[str, Any], name: str) -> str:
    found = value.get(name)
    return found if isinstance(found, str) else ""


def _incident(campaign: _Campaign, told: _Told, time_ms: int) -> dict[str, Any]:
    subject, begins = campaign.subject, told.sessions == 2
    said = f"{told.sessions} sessions of this tenant drift in the same way to the same target on one day."
    return finding(
        subject,
        Notice(
            uid=f"{campaign.uid}/{told.sessions}",
            about=campaign.uid,
            correlation=campaign.uid,
            dedup_key=f"{subject.tenant}|campaign|{campaign.uid}",
            analytic=ANALYTIC,
            activity=1 if begins else 2,
            calls=begins,
            title=f"{told.sessions} sessions drift to one target",
            message=f"{told.sessions} sessions drift to one target; the first: {campaign.title}",
            desc=f"{said} The first is case {subject.case_id}: {campaign.title}",
            steps=(
                "1. Open the first case: where does the target come from, and who can write there? 2. Take that source out of reach: "
                "other agents read it too. 3. Findings whose unmapped.campaign.uid is this one are its sessions; each has its own "
                "revocation."
            ),
            revocation="by case",
            time_ms=time_ms,
            severity=told.severity if 2 <= told.severity <= 5 else 5,
        ),
    )
