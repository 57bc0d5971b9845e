"""What all findings have in common that speak of revocations, not of a call: OCSF 1.8.0 Detection Findings, as `findings` makes them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from models.contracts import Case
from stream.events import milliseconds
from stream.outbound.ocsf import CONFIDENCE, OCSF_VERSION, PROFILES, RISK_LEVEL, SEVERITY, classified, product

LATEST_MS = 253_402_300_799_000
"""The end of the year 9999, after which Python has no dates."""


class Subject(NamedTuple):
    """What a notice takes over of the case that led to it."""

    tenant: str
    case_id: str
    root_session_id: str
    session_id: str
    time: str
    core: str
    policy: str

    @classmethod
    def of(cls, case: Case) -> Subject:
        """That of `case`."""
        return cls(*(getattr(case, name) for name in cls._fields))


NEW, RESOLVED = (1, "New"), (4, "Resolved")
OBSERVED, DENIED = (3, "Observed"), (2, "Denied")
ALERT, ACCESS_REVOKED, ERROR = (19, "Alert"), (24, "Access Revoked"), (27, "Error")


class Notice(NamedTuple):
    """What one of these findings says.

    Attributes
    ----------
    uid : of this record; the same whenever it is made again
    about : ``finding_info.uid``, what it belongs to
    correlation : what else belongs to that
    dedup_key : one for all that is said of it
    analytic : id and name of what found it
    activity : 1 begins, 2 goes on, 3 closes
    calls : whether it calls somebody
    status, action, disposition, severity : as OCSF numbers them, and in its words; no status: it stays as whoever works on it left it
    revocation, until_ms : what became of the revocation, and until when credentials may work at worst
    """

    uid: str
    about: str
    correlation: str
    dedup_key: str
    analytic: tuple[str, str]
    activity: int
    calls: bool
    title: str
    message: str
    desc: str
    steps: str
    revocation: str
    until_ms: int | None = None
    time_ms: int | None = None
    actor: dict[str, Any] | None = None
    status: tuple[int, str] | None = NEW
    action: tuple[int, str] = OBSERVED
    disposition: tuple[int, str] = ALERT
    severity: int = 5


def finding(subject: Subject, notice: Notice) -> dict[str, Any]:
    """The finding of a notice about a case."""
    began_ms = milliseconds(datetime.fromisoformat(subject.time))
    time_ms = began_ms if notice.time_ms is None else notice.time_ms
    event: dict[str, Any] = {
        **classified(notice.activity),
        "time": time_ms,
        "severity_id": notice.severity,
        "severity": SEVERITY[notice.severity],
        "is_alert": notice.calls,
        "confidence_id": 3,
        "confidence": CONFIDENCE[3],
        "risk_level_id": notice.severity - 1,
        "risk_level": RISK_LEVEL[notice.severity - 1],
        "action_id": notice.action[0],
        "action": notice.action[1],
        "disposition_id": notice.disposition[0],
        "disposition": notice.disposition[1],
        "message": notice.message,
        "metadata": {
            "version": OCSF_VERSION,
            "profiles": list(PROFILES),
            "uid": notice.uid,
            "correlation_uid": notice.correlation,
            "tenant_uid": subject.tenant,
            "product": product(subject.core),
        },
        "finding_info": {
            "uid": notice.about,
            "title": notice.title,
            "desc": notice.desc,
            "first_seen_time": min(began_ms, time_ms),
            "last_seen_time": time_ms,
            "analytic": {
                "uid": notice.analytic[0],
                "name": notice.analytic[1],
                "type_id": 1,
                "type": "Rule",
                "version": subject.policy,
            },
        },
        "remediation": {"desc": notice.steps},
        "unmapped": {
            "dedup_key": notice.dedup_key,
            "enforced": True,
            "exposure": {
                "revocation": notice.revocation,
                "worst_case_until": notice.until_ms,
                "note": notice.desc,
            },
        },
    }
    if notice.status is not None:
        event["status_id"], event["status"] = notice.status
    if notice.actor is not None:
        event["actor"] = notice.actor
    return event
