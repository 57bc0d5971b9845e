"""The finding that says that revocations are held, and the one that says what a person did about it."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote

from models.contracts import Case
from stream.events import milliseconds
from stream.outbound.breaker import Opening
from stream.outbound.ocsf import CONFIDENCE, OCSF_VERSION, PROFILES, RISK_LEVEL, SEVERITY, classified


def held(case: Case, opening: Opening) -> dict[str, Any]:
    """The OCSF Detection Finding of an opening; `case` is the first whose revocations are held."""
    desc = (
        f"Drift revoked {opening.budget} sessions of {opening.scope} within {opening.window_minutes:g} minutes, which is the policy's "
        "budget. Further revocations are held until a person sends or drops them; their credentials live on."
    )
    steps = (
        f"1. driftline held {opening.breaker} shows what is held and why. 2. If the sessions did drift, an attack is under way: driftline "
        f"held {opening.breaker} --send --by NAME --key FILE. 3. If they are honest, something changed: a release, a tool, a policy. driftline held "
        f"{opening.breaker} --drop --by NAME --key FILE, and go back to shadow until it is mended."
    )
    return _finding(
        case,
        opening.breaker,
        opening.scope,
        activity=1,
        title="Revocations are held",
        desc=desc,
        steps=steps,
    )


def resolved(case: Case, breaker: str, *, sent: bool, by: str, count: int) -> dict[str, Any]:
    """The finding that closes an opening; `case` is one of those that it held."""
    did = "sent" if sent else "dropped"
    return _finding(
        case,
        breaker,
        "",
        activity=3,
        title=f"Held revocations were {did}",
        desc=f"{by} {did} the revocations of {count} sessions. The tenant's budget begins anew.",
        steps="Nothing is left to do."
        if sent
        else "Look whether the cases of these sessions are false alarms, and close them.",
    )


def _finding(
    case: Case, breaker: str, scope: str, *, activity: int, title: str, desc: str, steps: str
) -> dict[str, Any]:
    closes, time_ms = activity == 3, milliseconds(datetime.fromisoformat(case.time))
    return {
        **classified(activity),
        "time": time_ms,
        "severity_id": 5,
        "severity": SEVERITY[5],
        "is_alert": not closes,
        "confidence_id": 3,
        "confidence": CONFIDENCE[3],
        "risk_level_id": 4,
        "risk_level": RISK_LEVEL[4],
        "status_id": 4 if closes else 1,
        "status": "Resolved" if closes else "New",
        "action_id": 3,
        "action": "Observed",
        "disposition_id": 19,
        "disposition": "Alert",
        "message": f"{title}: {scope}" if scope else title,
        "metadata": {
            "version": OCSF_VERSION,
            "profiles": list(PROFILES),
            "uid": f"{breaker}/{activity}",
            "correlation_uid": breaker,
            "tenant_uid": case.tenant,
            "product": {"name": "Driftline", "vendor_name": "Driftline", "version": case.core},
        },
        "finding_info": {
            "uid": breaker,
            "title": title,
            "desc": desc,
            "first_seen_time": time_ms,
            "last_seen_time": time_ms,
            "analytic": {
                "uid": "driftline.breaker",
                "name": "Driftline circuit breaker",
                "type_id": 1,
                "type": "Rule",
                "version": case.policy,
            },
        },
        "remediation": {"desc": steps},
        "unmapped": {
            "dedup_key": f"{quote(case.tenant, safe='')}|breaker|{breaker}",
            "enforced": True,
            "exposure": {
                "revocation": "decided" if closes else "held",
                "worst_case_until": None,
                "note": desc,
            },
        },
    }
