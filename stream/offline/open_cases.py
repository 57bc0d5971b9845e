"""Which cases are open, as the alerts tell of them: a listing that ends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from stream.events import member, rfc3339
from stream.offline.chain import name_of_alert
from stream.outbound.ocsf import agent_of

CLOSED = (3, 4, 5)
"""``status_id`` of a case that nobody works on any more: suppressed, resolved, archived."""


@dataclass
class Listed:
    """A case: `title` is that of its gravest finding, `verdict` and `by` the last word on it, `status` where it stands (OCSF)."""

    tenant: str
    case_id: str
    session_id: str
    root_session_id: str
    agent: str
    severity_id: int
    title: str
    first_ms: int
    last_ms: int
    status: str = "New"
    is_open: bool = True
    verdict: str = ""
    by: str = ""
    said_ms: int = -1

    def document(self) -> dict[str, Any]:
        """The case as JSON has it, times as RFC 3339."""
        told = asdict(self)
        first, last, said = (told.pop(name) for name in ("first_ms", "last_ms", "said_ms"))
        times = {"first": rfc3339(first), "last": rfc3339(last), "said": rfc3339(said) if said >= 0 else None}
        return told | times


def cases(findings: Iterable[Any]) -> list[Listed]:
    """Cases that somebody was told of, the gravest first, of these the one that was told of last.

    As they come, each finding once: a worker that crashed says the same again. Of verdicts the one with the latest time counts; a
    session that gets graver after it has a case that is open anew.
    """
    found: dict[tuple[str, str], Listed] = {}
    heard: set[str] = set()
    for each in findings:
        uid = str(member(each, "metadata").get("uid"))
        if isinstance(each, dict) and uid not in heard:
            heard.add(uid)
            _take(found, each)
    return sorted(found.values(), key=lambda one: (-one.severity_id, -one.last_ms, one.case_id))


def _take(found: dict[tuple[str, str], Listed], finding: dict[str, Any]) -> None:
    info, unmapped = member(finding, "finding_info"), member(finding, "unmapped")
    said, standing = member(unmapped, "feedback"), member(unmapped, "standing")
    name, time_ms, severity = name_of_alert(finding), finding.get("time"), finding.get("severity_id")
    if name is None or not (said or standing) or type(time_ms) is not int or type(severity) is not int:
        return
    key = name.tenant, str(info.get("uid"))
    case = found.get(key)
    # A session that joins a campaign, or comes beyond the day's budget, calls nobody by itself, and is a case all the same.
    is_case = said or finding.get("is_alert") is True or "campaign" in unmapped or "beyond_budget" in unmapped
    if case is None and not is_case:
        return
    title, agent = str(info.get("title")), str(agent_of(finding) or "")
    if case is None:
        case = Listed(*key, name.session, name.root, agent, severity, title, time_ms, time_ms)
        found[key] = case
    elif standing and severity > case.severity_id:
        case.severity_id, case.title = severity, title
    case.agent = case.agent or agent
    case.first_ms, case.last_ms = min(case.first_ms, time_ms), max(case.last_ms, time_ms)
    if said and time_ms >= case.said_ms:
        case.said_ms, case.verdict, case.by = time_ms, str(said.get("verdict")), str(said.get("by"))
    elif said:
        return
    if type(finding.get("status_id")) is int:
        case.status, case.is_open = str(finding.get("status")), finding["status_id"] not in CLOSED
