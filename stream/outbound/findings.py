"""What a SOC analyst reads: one OCSF 1.8.0 Detection Finding for each change of a case that matters to them.

A finding is a function of the change alone: times come from the record, ids from the case. It repeats no
argument value, only what `Evidence` carries (path, length, keyed hash, a masked excerpt). Every list is
bounded, and what is cut is counted under ``unmapped.cut``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from models.contracts import FAMILIES, CredentialRef, Evidence, Family, PathStep
from stream.events import clipped
from stream.outbound import alert_text
from stream.outbound.change import RANK, Change
from stream.outbound.frameworks import attacks, frameworks
from stream.outbound.ocsf import CONFIDENCE, OCSF_VERSION, PROFILES, RISK_LEVEL, SEVERITY, classified, product
from stream.outbound.severity import confidence_of, severity_of, step_of_amount

BROKER_LAG_MS = 15 * 60 * 1000
"""Longest delay between a revocation and its effect that a broker's vendor documents: 15 minutes, Entra with
continuous access evaluation. It bounds the exposure from below: a short token does not make it smaller."""

MAX_EVIDENCE = 16
MAX_PATH = 32
MAX_CREDENTIALS = 16
MAX_CALLS = 32
MAX_REASON = 600
MAX_NAME = 256

_CREATED, _UPDATED, _CLOSED = 1, 2, 3  # activities of OCSF; no case is closed by what a session does


def is_told(change: Change) -> bool:
    """Whether the SOC hears of this change.

    It does of one that is graver than what it came from, and of a case told before also that its session is over,
    that calls come all the same, and that a second opinion closed it.
    """
    case = change.case
    if case.kind == "ended":
        return change.alerted or change.revoked
    if _is_closed(change):
        return change.alerted
    return (
        case.kind == "standing"
        and case.after in ("alert", "contained")
        and (change.in_earnest or change.over or RANK[case.after] > RANK[case.before])
    )


def _is_closed(change: Change) -> bool:
    """Whether a second opinion closed the case."""
    return change.case.cause == "opinion" and change.case.after == "quiet"


class _Shown(NamedTuple):
    """The parts of a change that a finding shows, within its limits, what drives it first."""

    families: list[Family]
    driver: str
    signals: list[str]
    declaration: bool
    cited: list[tuple[int, str]]
    path: list[PathStep]
    evidence: list[Evidence]
    credentials: list[CredentialRef]
    tools: list[str]


def _shown(change: Change) -> _Shown:
    case = change.case
    families = [family for family in dict.fromkeys(case.families) if family in FAMILIES]
    path = case.path[-MAX_PATH:]
    leading = alert_text.leading(change)
    # What supports the verdict comes first, so that the cut falls on what does not.
    ranked = [*leading, *(each for each in change.evidence if not each.supports)]
    cited = alert_text.cited(change)
    return _Shown(
        families,
        leading[0].family if leading else families[0] if families else "drift",
        [alert_text.signal_of(each) for each in leading],
        alert_text.rests_on_declaration(change),
        cited,
        path,
        ranked[:MAX_EVIDENCE],
        case.credentials[:MAX_CREDENTIALS],
        sorted({tool for _, tool in cited if tool} | {step.tool[:MAX_NAME] for step in path}),
    )


def finding(change: Change, *, runbook_url: str | None = None) -> dict[str, Any]:
    """The OCSF Detection Finding that tells an analyst of this change; ask `is_told` first.

    Parameters
    ----------
    runbook_url : str or None
        Where the SOC's runbooks lie; the driving family's name is appended. None: no link.

    Notes
    -----
    Nothing here claims an effect. Action "Observed" and disposition "Alert" are all that is true when a
    revocation is only requested; "Access Revoked" belongs to the broker's confirmation.
    """
    case, shown = change.case, _shown(change)
    by_call = {step.call_seq: step for step in case.path}
    event: dict[str, Any] = {
        **_classified(change),
        "action_id": 3,
        "action": "Observed",
        "disposition_id": 19,
        "disposition": "Alert",
        "message": _message(change),
        "metadata": {
            "version": OCSF_VERSION,
            "profiles": list(PROFILES),
            "uid": case.record_id,
            "sequence": case.change,
            "correlation_uid": case.root_session_id,
            "tenant_uid": case.tenant,
            "product": product(case.core),
        },
        "actor": _actor(change),
        "finding_info": _info(change, shown),
        "evidences": [_evidence(each, by_call) for each in shown.evidence],
        "resources": [{"uid": tool, "name": tool, "type": "tool"} for tool in shown.tools],
        "observables": _observables(case.user, shown.tools),
        "remediation": {"desc": _next_steps(change)},
        "unmapped": _unmapped(change, shown),
    }
    if runbook_url is not None:
        event["remediation"]["references"] = [f"{runbook_url.rstrip('/')}/{shown.driver}"]
    # Empty lists say nothing and some readers index their first member.
    for name in ("evidences", "resources", "observables"):
        if not event[name]:
            del event[name]
    for name in ("attacks", "related_events", "types"):
        if not event["finding_info"][name]:
            del event["finding_info"][name]
    return event


def _classified(change: Change) -> dict[str, Any]:
    """Class, activity, severity, confidence and risk, each as OCSF numbers it and in its words."""
    severity, confidence = severity_of(change), confidence_of(change)
    risk = severity - 1
    percent = max(0, min(100, round(change.case.score * 100)))
    closed = _is_closed(change)
    activity = _CLOSED if closed else _UPDATED if RANK[change.peak] >= RANK["alert"] else _CREATED
    return {
        **classified(activity),
        "time": change.time_ms,
        "severity_id": severity,
        "severity": SEVERITY[severity],
        # That the session is over calls nobody, nor that nothing was wrong with it.
        "is_alert": change.case.kind != "ended" and not closed,
        "confidence_id": confidence,
        "confidence": CONFIDENCE[confidence],
        "confidence_score": percent,
        "risk_level_id": risk,
        "risk_level": RISK_LEVEL[risk],
        "risk_score": percent,
        **_status(change),
    }


def _status(change: Change) -> dict[str, Any]:
    """Where the case stands. Whoever works on it says when that is no longer so: a session's end leaves it as it is."""
    if change.case.kind == "ended":
        return {}
    status, name = (3, "Suppressed") if _is_closed(change) else (1, "New")
    return {"status_id": status, "status": name}


def _info(change: Change, shown: _Shown) -> dict[str, Any]:
    case = change.case
    return {
        "uid": case.case_id,
        "title": alert_text.title(change),
        "desc": alert_text.description(change),
        "types": list(shown.families),
        "first_seen_time": min(change.first_time_ms, change.time_ms),
        "last_seen_time": change.time_ms,
        "analytic": {
            "uid": f"driftline.{shown.driver}",
            "name": f"Driftline {shown.driver} family",
            "type_id": 2,
            "type": "Behavioral",
            "version": case.release,
        },
        "attacks": attacks(shown.signals, declaration=shown.declaration),
        "related_events": _related(case.case_id, shown),
        "related_events_count": len(
            {step.call_seq for step in case.path} | {call for call, _ in shown.cited}
        ),
    }


def _unmapped(change: Change, shown: _Shown) -> dict[str, Any]:
    """What OCSF has no place for."""
    case = change.case
    attested = {"attested": dict(change.attested)} if change.attested is not None else {}
    return attested | {
        "dedup_key": dedup_key(case.tenant, case.session_id),
        "standing": {
            "before": case.before,
            "after": case.after,
            "peak": max(change.peak, case.after, key=RANK.__getitem__),
        },
        "verdict": case.verdict,
        "cause": case.cause,
        "enforced": case.enforced,
        "inherited_from": case.inherited_from,
        "policy": case.policy,
        "core": case.core,
        "score": case.score,
        "reason": clipped(case.reason, MAX_REASON),
        "shares": _shares(change),
        "after_end": change.over and case.kind == "standing",
        **({"target": target} if (target := alert_text.target(change)) is not None else {}),
        **({"source": source} if (source := alert_text.source(change)) is not None else {}),
        **({"amount": "large" if step > 0 else "trivial"} if (step := step_of_amount(change)) else {}),
        "would_pass": change.deed.would_pass if change.deed is not None else "",
        "frameworks": frameworks(shown.signals, declaration=shown.declaration),
        "exposure": exposure(change),
        "credentials": [
            {"broker": ref.broker, "kind": ref.kind, "value": ref.value} for ref in shown.credentials
        ],
        "cut": {
            "credentials": len(case.credentials) - len(shown.credentials),
            "evidence": len(change.evidence) - len(shown.evidence),
            "path": len(case.path) - len(shown.path),
        },
    }


def dedup_key(tenant: str, session_id: str) -> str:
    """``tenant|session|drift``: the same for every change of a case, whatever family drives it that time."""
    parts = (tenant, session_id, "drift")
    return "|".join(quote(part, safe="/:@.-_~") for part in parts)


def exposure(change: Change) -> dict[str, Any]:
    """How long the credentials may still work, at worst, as far as the change tells."""
    case, expiry_ms = change.case, change.max_credential_expiry_ms
    if case.kind == "ended":
        return _exposed_after(change)
    if case.cause == "opinion":
        note = (
            "The session was over before; see the finding of its end for what was revoked. "
            if change.over
            else ""
        )
        return _exposed("not requested", None, f"{note}A second opinion revokes nothing.")
    if change.over:
        note = "The session was over before this call; see the finding of its end for what was revoked."
        return _exposed("not requested", None, note)
    if case.after != "contained" or case.cause != "drift":
        return _exposed("not requested", None, "No revocation was requested.")
    if not case.enforced:
        note = "Shadow mode: revocation decided, not published; credentials live until they expire."
        return _exposed("shadow", expiry_ms, note)
    if not case.credentials:
        note = "The session named no credential, so nothing could be revoked: stop the agent by hand."
        return _exposed("nothing to revoke", None, note)
    if expiry_ms is None:
        note = "Unbounded: at least one credential does not say when it expires."
        return {**_exposed("requested", None, note), "requested_time": change.time_ms}
    until = max(expiry_ms, change.time_ms + BROKER_LAG_MS)
    note = "Tokens that are checked offline work until they expire; brokers may need up to 15 minutes."
    return {**_exposed("requested", until, note), "requested_time": change.time_ms}


def _exposed_after(change: Change) -> dict[str, Any]:
    """What a session's end leaves exposed."""
    case, expiry_ms = change.case, change.max_credential_expiry_ms
    if change.revoked and not (change.withheld and case.enforced):
        note = "Decided earlier in this case; see its first finding for when, and for the bound."
        return _exposed("shadow" if change.withheld else "requested", expiry_ms, note)
    n_asked = len(case.credentials) - len(case.released)
    if not case.enforced or not n_asked:
        note = "No revocation was requested."
        if case.released:
            note += f" Credentials that the end left alone: {len(case.released)} of {len(case.credentials)}."
        return _exposed("not requested", None, note)
    note = f"Requested now that the session is over, for {n_asked} of {len(case.credentials)} credentials."
    if change.withheld:
        note += " What drift called for before was told in shadow alone."
    return _exposed("requested", expiry_ms, note)


def _exposed(revocation: str, until_ms: int | None, note: str) -> dict[str, Any]:
    return {"revocation": revocation, "worst_case_until": until_ms, "note": note}


def _message(change: Change) -> str:
    """One line: who, in which session, and what changed."""
    case = change.case
    session = f"Session {case.session_id[:MAX_NAME]}"
    mode = "" if case.enforced else " (shadow)"
    if case.kind == "ended":
        return f"{session} is over; its case stays open"
    if _is_closed(change):
        return f"{session}: its calls are said to serve what was asked; the case is closed{mode}"
    told = alert_text.did(change)
    if change.over and case.cause != "opinion":
        return f"{session} goes on after its end: {told}{mode}"
    if case.after == "contained":
        asked = "would be revoked" if not case.enforced else "revocation requested"
        return f"{session}: {told}; {asked}{mode}"
    return f"{session}: {told}{mode}"


def _shares(change: Change) -> list[dict[str, Any]]:
    """What of the score's rise over a typical honest call comes from which family, in per cent, most first."""
    raising = {family: part for family, part in (change.deed.shares if change.deed else ()) if part > 0}
    whole = sum(raising.values())
    ranked = sorted(raising.items(), key=lambda each: -each[1])
    return [{"family": family, "percent": round(100 * part / whole)} for family, part in ranked]


def _actor(change: Change) -> dict[str, Any]:
    case = change.case
    actor: dict[str, Any] = {"session": {"uid": case.session_id}}
    if case.agent is not None:
        actor["app_name"] = case.agent
    if change.spiffe_id is not None:
        actor["app_uid"] = change.spiffe_id
    if case.user is not None:
        actor["user"] = {"uid": case.user}
    return actor


def _related(case_id: str, shown: _Shown) -> list[dict[str, Any]]:
    """The calls of the case, and those that evidence rests on beside them, in order: the way from source to sink."""
    on_path = {step.call_seq for step in shown.path}
    sources = [(call, _source(case_id, call, tool)) for call, tool in shown.cited if call not in on_path]
    steps = ((step.call_seq, _step(step)) for step in shown.path)
    return [event for _, event in sorted([*sources[:MAX_CALLS], *steps], key=lambda each: each[0])]


def _source(case_id: str, call: int, tool: str) -> dict[str, Any]:
    return {
        "uid": f"{case_id}#{call}",
        "type": "call",
        "title": f"call {call}: {tool}" if tool else f"call {call}",
        "desc": "the evidence rests on it",
    }


def _step(step: PathStep) -> dict[str, Any]:
    return {
        "uid": step.decision_id,
        "type": "decision",
        "title": f"call {step.call_seq}: {step.tool[:MAX_NAME]}",
        "desc": f"{step.verdict} at score {step.score:.4f}, {step.time}, call id {step.call_id[:MAX_NAME]}",
    }


def _evidence(evidence: Evidence, by_call: Mapping[int, PathStep]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": f"{evidence.family}: {evidence.name}"[:MAX_NAME],
        "data": {
            "family": evidence.family,
            "name": evidence.name[:MAX_NAME],
            "value": evidence.value,
            "unit": evidence.unit[:MAX_NAME],
            "supports": evidence.supports,
            "calls": list(evidence.calls)[-MAX_CALLS:],
            "text": evidence.text,
        },
    }
    if evidence.argument is not None:
        shown["data"]["argument"] = evidence.argument.model_dump()
    step = next((by_call[call] for call in reversed(evidence.calls) if call in by_call), None)
    if step is not None:
        shown["api"] = {"operation": step.tool[:MAX_NAME], "request": {"uid": step.call_id[:MAX_NAME]}}
    return shown


def _observables(user: str | None, tools: Sequence[str]) -> list[dict[str, Any]]:
    observables: list[dict[str, Any]] = []
    if user is not None:
        observables.append({"name": "actor.user.uid", "type_id": 31, "value": user})
    for index, tool in enumerate(tools):
        observables.append({"name": f"resources[{index}].uid", "type_id": 10, "value": tool})
    return observables


def _next_steps(change: Change) -> str:
    """Steps, each with where to look."""
    case = change.case
    if case.kind == "ended":
        return (
            f"The session is over and its case is not. driftline show {case.case_id} tells what its calls did; driftline feedback"
            f" {case.case_id} --verdict true_positive closes it, or false_positive: then --propose says what would let the calls pass."
        )
    if _is_closed(change):
        return (
            "A second opinion says that the calls of this case serve what was asked, so the case is closed. Look at it if"
            " you do not trust whoever gave it; opinions.close_cases in the policy takes that right away."
        )
    if case.after == "contained" and case.enforced:
        last = "Check that each broker confirmed; reissue credentials only after the owner has answered."
    elif case.after == "contained":
        last = "Nothing was revoked (shadow): if this is real, revoke the credentials named here by hand."
    else:
        last = "If this is real, end the session; its credentials live on."
    return alert_text.steps(change, last)
