"""Sessions that drift to one target, or follow one source: the first alerts, the others are counted with it, and what is new alerts anew.

An attacker who poisons one document meets many agents, and an analyst then reads one alert many times. A campaign lives for one day of
its findings' own time (UTC). What is known of it stands in the findings that went out, so that whoever takes over reads it there. A
finding that is made again is counted once, and told as before.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Literal, NamedTuple

from stream.events import member, rfc3339, short_hash
from stream.outbound.notice import LATEST_MS, Notice, Subject, finding

DAY_MS = 86_400_000
MAX_CAMPAIGNS, MAX_CHANGES, MAX_KINDS = 4_000, 1_000, 200
"""Campaigns of a partition that are known, and changes, cases and kinds of each, the latest: some 2 KiB a campaign and 0.5 a change.
Of an older campaign each session alerts by itself, as one of an older kind does; an older case that is heard of again counts as another
session."""
MAX_TITLE = 300
ANALYTIC = "driftline.campaign", "Driftline campaigns"


_Kind = tuple[str, str, str, bool, bool]
"""Of what is not new in a campaign: the signal that tells most, the tool that is called, the standing that the case came to, whether
that is enforced, and whether the session goes on after its end. Of one target the first two are empty: the target names its signal."""


class _Key(NamedTuple):
    """What sessions of one campaign have in common, of a tenant, on a day since 1970: of what it is, and its hash."""

    of: Literal["source", "target"]
    tenant: str
    common: str
    day: int


class _Change(NamedTuple):
    """What counts of a case's finding: its id and case, how severe it is, and to which campaigns it may belong, as what kind."""

    uid: str
    case: str
    severity: int
    kinds: dict[_Key, _Kind]


class _Told(NamedTuple):
    """What was made of a change of a case: how many sessions there were with it, and how severe it was.

    ``alone``: its finding calls by itself. ``news``: that of the campaign goes out behind it; ``begins``: for the first time.
    """

    sessions: int
    severity: int
    alone: bool
    news: bool
    begins: bool


class _Campaign:
    """Sessions of one tenant that in one day drifted by one tactic to one target, or followed one source."""

    def __init__(self, key: _Key, finding: dict[str, Any]) -> None:
        metadata, info, unmapped = (
            member(finding, name) for name in ("metadata", "finding_info", "unmapped")
        )
        self.of = key.of
        self.subject = Subject(
            tenant=_text(metadata, "tenant_uid"),
            case_id=_text(info, "uid"),
            root_session_id=_text(metadata, "correlation_uid"),
            session_id=_text(member(member(finding, "actor"), "session"), "uid"),
            time=rfc3339(finding["time"]),
            core=_text(unmapped, "core"),
            policy=_text(unmapped, "policy"),
        )
        # By its first case too: one that was forgotten and comes again is another.
        self.uid = short_hash("campaign", key.tenant, key.common, str(key.day), self.subject.case_id)
        self.title = _text(info, "title")[:MAX_TITLE]
        self.told: OrderedDict[str, _Told] = OrderedDict()
        self._speaks = False
        self._severity = self._called = 0  # at most, of all sessions and of findings that called
        self._kinds: OrderedDict[_Kind, int] = (
            OrderedDict()
        )  # how severe at most a finding of each was that called
        self._cases: OrderedDict[str, None] = OrderedDict()
        self.sessions = 0

    def has_told(self, kind: _Kind, severity: int) -> bool:
        """Whether a finding called that says as much: of one source the same as gravely, of one target any as gravely."""
        if kind not in self._kinds:
            return False
        return severity <= (self._kinds[kind] if self.of == "source" else self._called)

    def count(self, change: _Change, kind: _Kind, *, calls: bool) -> bool:
        """Count the session of a change; whether it is a new one here. What did not call makes nothing after it less new."""
        is_new = change.case not in self._cases
        self.sessions += is_new
        self._cases[change.case] = None
        self._severity = max(self._severity, change.severity)
        if calls:
            self._called = max(self._called, change.severity)
            self._kinds[kind] = max(change.severity, self._kinds.get(kind, 0))
            self._kinds.move_to_end(kind)
        for held, most in ((self._cases, MAX_CHANGES), (self._kinds, MAX_KINDS)):
            if len(held) > most:
                held.popitem(last=False)
        return is_new

    def tell(self, change: _Change, *, alone: bool, is_new: bool) -> _Told:
        """Note what is made of a change, which `count` counted."""
        news = is_new and self.sessions > 1 and is_round(self.sessions)
        told = _Told(self.sessions, self._severity, alone, news, news and not self._speaks)
        self._speaks = self._speaks or news
        self.told[change.uid] = told
        if len(self.told) > MAX_CHANGES:
            self.told.popitem(last=False)
        return told


class Campaigns:
    """The campaigns of the partitions at hand."""

    def __init__(self) -> None:
        self._partitions: dict[int, OrderedDict[_Key, _Campaign]] = {}

    def take(self, finding: dict[str, Any], number: int) -> list[dict[str, Any]]:
        """Count a case's finding to its campaigns: what it becomes, and behind it that of a campaign where there is news.

        A finding that calls nobody, or has neither target nor source, stays as it is.
        """
        change = _counted(finding)
        if change is None:
            return [finding]
        known = self._partitions.setdefault(number, OrderedDict())
        campaigns = [(_campaign(known, key, finding), kind) for key, kind in change.kinds.items()]
        campaign = next((each for each, _ in campaigns if change.uid in each.told), None)
        if campaign is None:
            campaign = _joins(campaigns, change)
        told = campaign.told[change.uid]
        said = [finding if told.alone else _joined(finding, campaign, told)]
        return [*said, _incident(campaign, told, finding["time"])] if told.news else said


def _campaign(known: OrderedDict[_Key, _Campaign], key: _Key, finding: dict[str, Any]) -> _Campaign:
    """The campaign of a key, which may begin with this finding."""
    campaign = known.get(key)
    if campaign is None:
        campaign = known[key] = _Campaign(key, finding)
        if len(known) > MAX_CAMPAIGNS:
            known.popitem(last=False)
    return campaign


def _joins(campaigns: list[tuple[_Campaign, _Kind]], change: _Change) -> _Campaign:
    """The campaign that tells of a change, once all that it may belong to have counted it.

    The first that has told as much, so that it calls nobody; else it calls, and the first that is known tells of it.
    """
    like = next((each for each, kind in campaigns if each.has_told(kind, change.severity)), None)
    before = next((each for each, _ in campaigns if each.sessions), campaigns[0][0])
    teller = like if like is not None else before
    new = {each.uid: each.count(change, kind, calls=like is None) for each, kind in campaigns}
    teller.tell(change, alone=like is None, is_new=new[teller.uid])
    return teller


def _counted(finding: dict[str, Any]) -> _Change | None:
    """A finding as it counts; None of one that belongs to no campaign."""
    metadata, unmapped = member(finding, "metadata"), member(finding, "unmapped")
    time_ms, severity = finding.get("time"), finding.get("severity_id")
    calls = finding.get("is_alert") or "campaign" in unmapped or "beyond_budget" in unmapped
    if not calls or type(time_ms) is not int or type(severity) is not int or not 0 <= time_ms < LATEST_MS:
        return None
    state = (
        _text(member(unmapped, "standing"), "after"),
        unmapped.get("enforced") is True,
        unmapped.get("after_end") is True,
    )
    tenant, day = _text(metadata, "tenant_uid"), time_ms // DAY_MS
    kinds: dict[_Key, _Kind] = {}
    source, target = member(unmapped, "source"), unmapped.get("target")
    if read := _text(source, "hash"):
        kinds[_Key("source", tenant, read, day)] = (_text(source, "signal"), _text(source, "tool"), *state)
    if isinstance(target, str):
        kinds[_Key("target", tenant, target, day)] = ("", "", *state)
    if not kinds:
        return None
    return _Change(_text(metadata, "uid"), _text(member(finding, "finding_info"), "uid"), severity, kinds)


def _joined(finding: dict[str, Any], campaign: _Campaign, told: _Told) -> dict[str, Any]:
    """A finding that calls nobody: its campaign does."""
    named = {
        "uid": campaign.uid,
        "of": campaign.of,
        "sessions": told.sessions,
        "first_case": campaign.subject.case_id,
    }
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
    subject, words = campaign.subject, _WORDS[campaign.of]
    return finding(
        subject,
        Notice(
            uid=f"{campaign.uid}/{told.sessions}",
            about=campaign.uid,
            correlation=campaign.uid,
            dedup_key=f"{subject.tenant}|campaign|{campaign.uid}",
            analytic=ANALYTIC,
            activity=1 if told.begins else 2,
            calls=told.begins,
            title=f"{told.sessions} sessions {words.do}",
            message=f"{told.sessions} sessions {words.do}; the first: {campaign.title}",
            desc=(
                f"{told.sessions} sessions of this tenant {words.alike} on one day. The first is case {subject.case_id}: {campaign.title}"
            ),
            steps=(
                f"1. {words.look} 2. Take that source out of reach: other agents read it too. 3. Findings whose unmapped.campaign.uid is "
                f"this one are its sessions; {words.each}."
            ),
            revocation="by case",
            time_ms=time_ms,
            severity=told.severity if 2 <= told.severity <= 5 else 5,
        ),
    )


class _Words(NamedTuple):
    """How a campaign is told: what its sessions do, in what they are alike, where to look, and what each of them has."""

    do: str
    alike: str
    look: str
    each: str


_WORDS = {
    "target": _Words(
        "drift to one target",
        "drift in the same way to the same target",
        "Open the first case: where does the target come from, and who can write there?",
        "each has its own revocation",
    ),
    "source": _Words(
        "follow one source",
        "read the very same text and follow it rather than the user, to whatever target",
        "Open the first case: its unmapped.source.calls are the calls that read it. Who can write there?",
        "each has its own target and revocation",
    ),
}
