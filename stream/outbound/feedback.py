"""The finding that says what an analyst said of a case: it closes the case, or opens it again, and revokes and restores nothing."""

from __future__ import annotations

from typing import Any, NamedTuple

from models.contracts import Feedback
from models.text.secrets import digested
from stream.events import CORE, clipped, dumps, milliseconds, printable, rfc3339, short_hash
from stream.outbound.findings import dedup_key
from stream.outbound.ocsf import OCSF_VERSION, PROFILES, SEVERITY, classified, product

MAX_COMMENT = 1000
"""Characters of a comment that are told."""


class _Said(NamedTuple):
    """What a verdict does to a case: its activity and status by OCSF, whether somebody is called, and the words for it."""

    activity: int
    status: tuple[int, str]
    calls: bool
    title: str
    steps: str


_VERDICTS: dict[str, _Said] = {
    "true_positive": _Said(
        3,
        (4, "Resolved"),
        False,
        "Case closed: an analyst confirmed the drift",
        "See that the credentials are dead and that what the session did is mended.",
    ),
    "false_positive": _Said(
        3,
        (3, "Suppressed"),
        False,
        "Case closed: an analyst calls it a false alarm",
        "driftline feedback CASE --propose shows which line of the policy would have let it pass.",
    ),
    "benign": _Said(
        3,
        (3, "Suppressed"),
        False,
        "Case closed: an analyst says that it was meant to happen",
        "Declare it: an intent or an amendment by the user that says so lets it pass.",
    ),
    "unsure": _Said(
        2,
        (2, "In Progress"),
        False,
        "An analyst looked and is unsure",
        "Somebody else looks: driftline feedback --list shows what was said.",
    ),
    "reopen": _Said(
        2,
        (1, "New"),
        True,
        "Case opened again by an analyst",
        "Judge it anew: driftline feedback --list shows what was said before.",
    ),
}
VERDICTS = tuple(_VERDICTS)


def closes(verdict: str) -> bool:
    """Whether a verdict closes the case."""
    return _VERDICTS[verdict].activity == 3


def cleaned(comment: str) -> str:
    """A comment as it may be told: one line of data, secrets of known shapes as their digests, of bounded length.

    >>> cleaned("seen" + chr(10) + "ghp_" + "a1" * 18)[:30]
    'seen secret-sha256:3e74e06519a'
    """
    return clipped(" ".join(printable(digested(comment)).split()), MAX_COMMENT)


def uid_of(said: Feedback, key: str) -> str:
    """The id of what was said by a key: the same whenever the same is said again, whatever its token's signature."""
    told = said.model_dump() | {"time": rfc3339(milliseconds(said.time)), "comment": cleaned(said.comment)}
    return short_hash("feedback", key, dumps(told).decode())


def finding(said: Feedback, key: str) -> dict[str, Any]:
    """The OCSF Detection Finding of a verdict; `key` is the id of the key that signed it.

    A function of what was said alone: act knows nothing of the case, and asks nobody.
    """
    verdict, time_ms = _VERDICTS[said.verdict], milliseconds(said.time)
    severity = said.severity_id if said.severity_id in SEVERITY else 0
    actor: dict[str, Any] = {"session": {"uid": said.session_id}}
    if said.agent:
        actor["app_name"] = said.agent
    event: dict[str, Any] = {
        **classified(verdict.activity),
        "time": time_ms,
        "severity_id": severity,
        "severity": SEVERITY.get(severity, "Unknown"),
        "is_alert": verdict.calls,
        "confidence_id": 3,
        "confidence": "High",
        "status_id": verdict.status[0],
        "status": verdict.status[1],
        "status_detail": said.verdict,
        "message": f"Session {said.session_id}: {said.verdict.replace('_', ' ')}, says {said.by}",
        "metadata": {
            "version": OCSF_VERSION,
            "profiles": list(PROFILES),
            "uid": uid_of(said, key),
            "correlation_uid": said.root_session_id,
            "tenant_uid": said.tenant,
            "product": product(CORE),
        },
        "actor": actor,
        "finding_info": {
            "uid": said.case_id,
            "title": verdict.title,
            "desc": f"{verdict.title}. A verdict revokes nothing and restores nothing.",
            "last_seen_time": time_ms,
        },
        "remediation": {"desc": verdict.steps},
        "unmapped": {
            "dedup_key": dedup_key(said.tenant, said.session_id),
            "enforced": said.enforced,
            "exposure": {
                "revocation": "not requested",
                "worst_case_until": None,
                "note": "A verdict revokes nothing and restores nothing; see the findings before it.",
            },
            "feedback": {
                "verdict": said.verdict,
                "by": said.by,
                "key": key,
                "time": rfc3339(time_ms),
            },
        },
    }
    if comment := cleaned(said.comment):
        event["comment"] = comment
    return event
