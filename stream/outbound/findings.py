"""What a SOC analyst reads: one OCSF 1.8.0 Detection Finding for each change of a case that matters to them.

A finding is a function of the case's facts alone: times come from the record, ids from the case. It repeats
no argument value, only what `Evidence` carries (path, length, keyed hash, a masked excerpt). Every list is
bounded, and what is cut is counted under ``unmapped.cut``.

Class and profiles: https://schema.ocsf.io/1.8.0/classes/detection_finding?profiles=host,security_control
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple
from urllib.parse import quote, urlsplit

from models.contracts import FAMILIES, CredentialRef, Evidence, Family, PathStep, Standing, Verdict

OCSF_VERSION = "1.8.0"
PROFILES = ("security_control", "host")
ATLAS_VERSION = "5.6.0"

BROKER_LAG_MS = 15 * 60 * 1000
"""Longest delay between a revocation and its effect that a broker's vendor documents: 15 minutes, Entra with
continuous access evaluation. It bounds the exposure from below: a short token does not make it smaller."""

MAX_EVIDENCE = 16
MAX_PATH = 32
MAX_CREDENTIALS = 16
MAX_CALLS = 32
MAX_REASON = 600
MAX_NAME = 256

_WEIGHT: dict[Standing, int] = {"quiet": 0, "closed": 0, "watch": 1, "alert": 2, "contained": 3}


@dataclass(frozen=True, kw_only=True)
class CaseFacts:
    """What is known when a session's standing changes; nothing outside it shapes a finding or a claim.

    Parameters
    ----------
    change : int
        Number of this change within the case, from 0.
    time_ms : int
        The moment of the change, from the log; ``time`` is the same as RFC 3339.
    first_time_ms : int
        When the first call on the path was made.
    max_credential_expiry_ms : int or None
        Latest expiry among the credentials; None when any of them does not say.
    peak : Standing or None
        The highest standing the session had before this change; None means ``before``. It tells a first
        alert from a repeated one, and what is being closed.
    withheld : bool
        What drift called for before this change was told in shadow alone.
    """

    case_id: str
    record_id: str
    change: int
    kind: Literal["standing", "ended", "unjudged"]
    cause: Literal["drift", "ended", "internal"]
    tenant: str
    root_session_id: str
    session_id: str
    time: str
    time_ms: int
    before: Standing
    after: Standing
    reason: str
    verdict: Verdict | None
    score: float
    families: Sequence[Family]
    evidence: Sequence[Evidence]
    agent: str | None
    spiffe_id: str | None
    user: str | None
    credentials: Sequence[CredentialRef]
    path: Sequence[PathStep]
    first_time_ms: int
    enforced: bool
    inherited_from: str | None
    release: str
    policy: str
    core: str
    max_credential_expiry_ms: int | None = None
    peak: Standing | None = None
    withheld: bool = False


class _Driver(NamedTuple):
    """What a family means to an analyst, and where the frameworks put it (a judgement, not a rule)."""

    title: str
    steps: str
    asi: tuple[str, ...]
    nhi: tuple[str, ...]
    maestro: tuple[str, ...]
    nist: tuple[str, ...]
    atlas: tuple[str, ...]


_DRIVERS: dict[Family, _Driver] = {
    "intent": _Driver(
        "actions outside the declared intent",
        "Compare the calls listed here with what the user asked for, over the whole session.",
        ("ASI01",),
        (),
        ("L3", "L1"),
        ("MEASURE 2.4", "MANAGE 2.4"),
        ("AML.T0051",),
    ),
    "provenance": _Driver(
        "an untrusted value reached a sink",
        "Find the call whose result the marked argument came from, and who controls that source.",
        ("ASI01", "ASI02"),
        (),
        ("L2", "L3"),
        ("MEASURE 2.7", "MANAGE 4.1"),
        ("AML.T0051.001", "AML.T0053"),
    ),
    "scope": _Driver(
        "an action beyond the declared scope",
        "Ask the agent's owner whether this tool and this resource belong to the task.",
        ("ASI02", "ASI03", "ASI04"),
        ("NHI5", "NHI3"),
        ("L3", "L6", "L7"),
        ("MEASURE 2.6", "MANAGE 2.4"),
        ("AML.T0053",),
    ),
    "sequence": _Driver(
        "harmless steps that add up",
        "Read the path from its first call: which private data was read, and where could it leave.",
        ("ASI02",),
        ("NHI2",),
        ("L2", "L7"),
        ("MEASURE 2.7", "MANAGE 4.1"),
        ("AML.T0086",),
    ),
    "tempo": _Driver(
        "a pace unlike the task",
        "Look for loops and bursts in the last hour of the session, and at the budget it declared.",
        ("ASI10",),
        (),
        ("L5",),
        ("MEASURE 3.1", "MANAGE 4.3"),
        (),
    ),
    "identity": _Driver(
        "an identity or credential that does not fit",
        "Check who issued the credential, for which workload, and when it should have expired.",
        ("ASI03",),
        ("NHI1", "NHI7", "NHI9"),
        ("L6",),
        ("MANAGE 2.4", "GOVERN 1.5"),
        ("AML.T0012", "AML.T0055"),
    ),
    "content": _Driver(
        "a tool result that instructs the agent",
        "Read the result that speaks to the agent, and take it out of reach of other sessions.",
        ("ASI01", "ASI06"),
        (),
        ("L1", "L2"),
        ("MEASURE 2.4", "MEASURE 2.7"),
        ("AML.T0051.001",),
    ),
}

# MITRE ATLAS 5.6.0. A tactic is given only where the matrix names exactly one that fits.
_TACTICS = {
    "AML.TA0005": "Execution",
    "AML.TA0010": "Exfiltration",
}
_TECHNIQUES: dict[str, tuple[str, str | None]] = {
    "AML.T0012": ("Valid Accounts", None),
    "AML.T0051": ("LLM Prompt Injection", "AML.TA0005"),
    "AML.T0053": ("AI Agent Tool Invocation", "AML.TA0005"),
    "AML.T0055": ("Unsecured Credentials", None),
    "AML.T0086": ("Exfiltration via AI Agent Tool Invocation", "AML.TA0010"),
}
_SUB_TECHNIQUES = {"AML.T0051.001": "Indirect"}

_ACTIVITY = {1: "Create", 2: "Update", 3: "Close"}
_SEVERITY = {4: "High", 5: "Critical"}
_CONFIDENCE = {1: "Low", 2: "Medium", 3: "High"}
_RISK_LEVEL = {3: "High", 4: "Critical"}


def has_finding(facts: CaseFacts) -> bool:
    """Whether the SOC hears of this change: a change to alert or contained, and the close of such a case."""
    if facts.kind == "unjudged":
        return False
    if facts.after in ("alert", "contained"):
        return True
    return facts.after == "closed" and _WEIGHT[_peak(facts)] >= _WEIGHT["alert"]


def finding(facts: CaseFacts, *, runbook_url: str | None = None) -> dict[str, Any]:
    """The OCSF Detection Finding that tells an analyst of this change; ask `has_finding` first.

    Parameters
    ----------
    runbook_url : str or None
        Where the SOC's runbooks lie; the driving family's name is appended. None: no link.

    Notes
    -----
    Nothing here claims an effect. Action "Observed" and disposition "Alert" are all that is true when a
    revocation is only requested; "Access Revoked" belongs to the broker's confirmation.
    """
    reached = max(_peak(facts), facts.after, key=_WEIGHT.__getitem__)
    severity = 5 if reached == "contained" else 4
    risk = 4 if reached == "contained" else 3
    percent = max(0, min(100, round(facts.score * 100)))
    confidence = 3 if percent >= 80 else 2 if percent >= 50 else 1
    activity = _activity(facts)
    families = _ordered(facts.families)
    driver = families[0] if families else "drift"
    title = _DRIVERS[families[0]].title if families else "drift from the declared intent"
    path = list(facts.path)[-MAX_PATH:]
    by_call = {step.call_seq: step for step in facts.path}
    # What supports the verdict comes first, so that the cut falls on what does not.
    ranked = sorted(facts.evidence, key=lambda one: (not one.supports, -one.value, one.family, one.name))
    shown = ranked[:MAX_EVIDENCE]
    credentials = list(facts.credentials)[:MAX_CREDENTIALS]
    tools = sorted({step.tool[:MAX_NAME] for step in path})

    event: dict[str, Any] = {
        "class_uid": 2004,
        "class_name": "Detection Finding",
        "category_uid": 2,
        "category_name": "Findings",
        "activity_id": activity,
        "activity_name": _ACTIVITY[activity],
        "type_uid": 200_400 + activity,
        "type_name": f"Detection Finding: {_ACTIVITY[activity]}",
        "time": facts.time_ms,
        "severity_id": severity,
        "severity": _SEVERITY[severity],
        "is_alert": activity != 3,
        "confidence_id": confidence,
        "confidence": _CONFIDENCE[confidence],
        "confidence_score": percent,
        "risk_level_id": risk,
        "risk_level": _RISK_LEVEL[risk],
        "risk_score": percent,
        "action_id": 3,
        "action": "Observed",
        "disposition_id": 19,
        "disposition": "Alert",
        "message": _message(facts, title),
        "metadata": {
            "version": OCSF_VERSION,
            "profiles": list(PROFILES),
            "uid": facts.record_id,
            "sequence": facts.change,
            "correlation_uid": facts.root_session_id,
            "tenant_uid": facts.tenant,
            "product": {"name": "Driftline", "vendor_name": "Driftline", "version": facts.core},
        },
        "actor": _actor(facts),
        "finding_info": {
            "uid": facts.case_id,
            "title": f"Agent session drift: {title}",
            "desc": facts.reason[:MAX_REASON] or title,
            "types": list(families),
            "first_seen_time": min(facts.first_time_ms, facts.time_ms),
            "last_seen_time": facts.time_ms,
            "analytic": {
                "uid": f"driftline.{driver}",
                "name": f"Driftline {driver} family",
                "type_id": 2,
                "type": "Behavioral",
                "version": facts.release,
            },
            "attacks": _attacks(families),
            "related_events": [_related(step) for step in path],
            "related_events_count": len(facts.path),
        },
        "evidences": [_evidence(one, by_call) for one in shown],
        "resources": [{"uid": tool, "name": tool, "type": "tool"} for tool in tools],
        "observables": _observables(facts, tools),
        "remediation": {"desc": _next_steps(facts, families)},
        "unmapped": {
            "dedup_key": dedup_key(facts),
            "standing": {"before": facts.before, "after": facts.after, "peak": reached},
            "verdict": facts.verdict,
            "cause": facts.cause,
            "enforced": facts.enforced,
            "inherited_from": facts.inherited_from,
            "policy": facts.policy,
            "core": facts.core,
            "score": facts.score,
            "frameworks": _frameworks(families),
            "exposure": exposure(facts),
            "credentials": [
                {"broker": ref.broker, "kind": ref.kind, "value": ref.value} for ref in credentials
            ],
            "cut": {
                "credentials": len(facts.credentials) - len(credentials),
                "evidence": len(ranked) - len(shown),
                "path": len(facts.path) - len(path),
            },
        },
    }
    if activity == 3:
        # "Resolved" would say that somebody reviewed and mended it. All we know is that the session is over.
        event["status_id"], event["status"] = 99, "Session over"
    else:
        event["status_id"], event["status"] = 1, "New"
    if runbook_url is not None:
        event["remediation"]["references"] = [f"{runbook_url.rstrip('/')}/{driver}"]
    # Empty lists say nothing and some readers index their first member.
    for name in ("evidences", "resources", "observables"):
        if not event[name]:
            del event[name]
    for name in ("attacks", "related_events", "types"):
        if not event["finding_info"][name]:
            del event["finding_info"][name]
    return event


def dedup_key(facts: CaseFacts) -> str:
    """``tenant|session|drift``: the same for every change of a case, whatever family drives it that time."""
    return "|".join(quote(part, safe="/:@.-_~") for part in (facts.tenant, facts.session_id, "drift"))


def exposure(facts: CaseFacts) -> dict[str, Any]:
    """How long the credentials may still work, at worst, as far as the facts tell."""
    if facts.after == "closed" and facts.peak == "contained":
        late = facts.withheld and facts.enforced
        return {
            "revocation": "shadow" if facts.withheld and not facts.enforced else "requested",
            "worst_case_until": facts.max_credential_expiry_ms,
            "note": "Requested now that the session is over: what drift called for was told in shadow alone."
            if late
            else "Decided earlier in this case; see its first finding for when, and for the bound.",
        }
    if facts.after != "contained" or facts.cause != "drift":
        return {
            "revocation": "not requested",
            "worst_case_until": None,
            "note": "No revocation was requested.",
        }
    if not facts.enforced:
        return {
            "revocation": "shadow",
            "worst_case_until": facts.max_credential_expiry_ms,
            "note": "Shadow mode: revocation decided, not published; credentials live until they expire.",
        }
    if not facts.credentials:
        return {
            "revocation": "nothing to revoke",
            "worst_case_until": None,
            "note": "The session named no credential, so nothing could be revoked: stop the agent by hand.",
        }
    if facts.max_credential_expiry_ms is None:
        return {
            "revocation": "requested",
            "requested_time": facts.time_ms,
            "worst_case_until": None,
            "note": "Unbounded: at least one credential does not say when it expires.",
        }
    until = max(facts.max_credential_expiry_ms, facts.time_ms + BROKER_LAG_MS)
    return {
        "revocation": "requested",
        "requested_time": facts.time_ms,
        "worst_case_until": until,
        "note": "Tokens that are checked offline work until they expire; brokers may need up to 15 minutes.",
    }


def _peak(facts: CaseFacts) -> Standing:
    return facts.before if facts.peak is None else facts.peak


def _activity(facts: CaseFacts) -> int:
    if facts.after == "closed":
        return 3
    return 2 if _WEIGHT[_peak(facts)] >= _WEIGHT["alert"] else 1


def _ordered(families: Sequence[Family]) -> list[Family]:
    """`families` without repeats, in their own order: the first one drives."""
    return [family for family in dict.fromkeys(families) if family in FAMILIES]


def _message(facts: CaseFacts, title: str) -> str:
    session = facts.session_id[:MAX_NAME]
    if facts.after == "closed":
        return f"Session {session} is over; its case is closed"
    mode = "" if facts.enforced else " (shadow)"
    if facts.after == "contained":
        asked = "would be revoked" if not facts.enforced else "revocation requested"
        return f"Session {session}: {title}; {asked}{mode}"
    return f"Session {session}: {title}{mode}"


def _actor(facts: CaseFacts) -> dict[str, Any]:
    actor: dict[str, Any] = {"session": {"uid": facts.session_id}}
    if facts.agent is not None:
        actor["app_name"] = facts.agent
    if facts.spiffe_id is not None:
        actor["app_uid"] = facts.spiffe_id
    if facts.user is not None:
        actor["user"] = {"uid": facts.user}
    return actor


def _attacks(families: Sequence[Family]) -> list[dict[str, Any]]:
    attacks = []
    for uid in dict.fromkeys(uid for family in families for uid in _DRIVERS[family].atlas):
        parent = uid if uid in _TECHNIQUES else uid.rsplit(".", 1)[0]
        name, tactic = _TECHNIQUES[parent]
        attack: dict[str, Any] = {"version": ATLAS_VERSION, "technique": {"uid": parent, "name": name}}
        if tactic is not None:
            attack["tactic"] = {"uid": tactic, "name": _TACTICS[tactic]}
        if uid in _SUB_TECHNIQUES:
            attack["sub_technique"] = {"uid": uid, "name": _SUB_TECHNIQUES[uid]}
        attacks.append(attack)
    return attacks


def _frameworks(families: Sequence[Family]) -> dict[str, list[str]]:
    def gather(pick: Callable[[_Driver], tuple[str, ...]]) -> list[str]:
        return list(dict.fromkeys(uid for family in families for uid in pick(_DRIVERS[family])))

    return {
        "owasp_asi": gather(lambda driver: driver.asi),
        "owasp_nhi": gather(lambda driver: driver.nhi),
        "csa_maestro": gather(lambda driver: driver.maestro),
        "nist_ai_rmf": gather(lambda driver: driver.nist),
    }


def _related(step: PathStep) -> dict[str, Any]:
    return {
        "uid": step.decision_id,
        "type": "decision",
        "title": f"call {step.call_seq}: {step.tool[:MAX_NAME]}",
        "desc": f"{step.verdict} at score {step.score:.4f}, {step.time}, call id {step.call_id[:MAX_NAME]}",
    }


def _evidence(one: Evidence, by_call: dict[int, PathStep]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": f"{one.family}: {one.name}"[:MAX_NAME],
        "data": {
            "family": one.family,
            "name": one.name[:MAX_NAME],
            "value": one.value,
            "unit": one.unit[:MAX_NAME],
            "supports": one.supports,
            "calls": list(one.calls)[-MAX_CALLS:],
            "text": one.text,
        },
    }
    if one.argument is not None:
        told["data"]["argument"] = one.argument.model_dump()
    step = next((by_call[call] for call in reversed(one.calls) if call in by_call), None)
    if step is not None:
        told["api"] = {"operation": step.tool[:MAX_NAME], "request": {"uid": step.call_id[:MAX_NAME]}}
    return told


def _observables(facts: CaseFacts, tools: Sequence[str]) -> list[dict[str, Any]]:
    observables: list[dict[str, Any]] = []
    if facts.user is not None:
        observables.append({"name": "actor.user.uid", "type_id": 31, "value": facts.user})
    for index, tool in enumerate(tools):
        observables.append({"name": f"resources[{index}].uid", "type_id": 10, "value": tool})
    return observables


def _next_steps(facts: CaseFacts, families: Sequence[Family]) -> str:
    """Two or three steps, each with where to look."""
    if facts.after == "closed":
        return (
            "Nothing is urgent: the session is over. If it was a false alarm, would_pass in its decisions says what"
            " would have let the calls through."
        )
    steps = [_DRIVERS[family].steps for family in families[:2]]
    if facts.after == "contained" and facts.enforced:
        steps.append(
            "Check that each broker confirmed; reissue credentials only after the owner has answered."
        )
    elif facts.after == "contained":
        steps.append(
            "Nothing was revoked (shadow): if this is real, revoke the credentials named here by hand."
        )
    else:
        steps.append("If this is real, end the session; if not, record the case as a false positive.")
    return " ".join(f"{number}. {step}" for number, step in enumerate(steps, 1))


@cache
def _validator() -> Any:
    """The official schema's validator; built once, since building it costs a second and a check 0.5 ms."""
    ocsf = importlib.import_module("ocsf_json_schema")
    jsonschema = importlib.import_module("jsonschema")
    schema = ocsf.OcsfJsonSchemaEmbedded(ocsf.get_ocsf_schema(version=OCSF_VERSION)).get_class_schema(
        "detection_finding", profiles=list(PROFILES)
    )
    return jsonschema.Draft202012Validator(schema)


def is_web_address(text: str) -> bool:
    """Whether `text` is an http or https address, as a finding's references must be."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


_CAPTIONS: tuple[tuple[str, str, dict[int, str]], ...] = (
    ("activity_id", "activity_name", _ACTIVITY),
    ("severity_id", "severity", _SEVERITY),
    ("confidence_id", "confidence", _CONFIDENCE),
    ("risk_level_id", "risk_level", _RISK_LEVEL),
    ("action_id", "action", {1: "Allowed", 2: "Denied", 3: "Observed", 4: "Modified"}),
    ("disposition_id", "disposition", {19: "Alert", 24: "Access Revoked"}),
    ("status_id", "status", {1: "New", 2: "In Progress", 3: "Suppressed", 4: "Resolved", 5: "Archived"}),
)
# 2001-09-09 and 2286-11-20: what is smaller is a time in seconds, what is larger one in microseconds.
_FIRST_MS, _END_MS = 1_000_000_000_000, 10_000_000_000_000


def problems(event: dict[str, Any]) -> list[str]:
    """What is wrong with a finding by the official schema, and by the five rules that it cannot express.

    Notes
    -----
    The five: `type_uid` against `activity_id`, captions against ids, milliseconds, URLs, and the profiles
    that the metadata must name. They are asked only where the schema finds nothing: they lean on its types.
    """
    found = [
        f"{'.'.join(str(step) for step in error.absolute_path) or 'event'}: {error.message[:300]}"
        for error in _validator().iter_errors(event)
    ]
    if found:
        return found
    if event.get("type_uid") != 200_400 + event.get("activity_id", 0):
        found.append("type_uid: is not class_uid * 100 + activity_id")
    for number, caption, known in _CAPTIONS:
        expected = known.get(event.get(number, -1))
        if expected is not None and event.get(caption, expected) != expected:
            found.append(f"{caption}: {event[caption]!r} does not belong to {number} {event[number]}")
    info = event.get("finding_info", {})
    for name, moment in (
        ("time", event.get("time")),
        ("finding_info.first_seen_time", info.get("first_seen_time")),
        ("finding_info.last_seen_time", info.get("last_seen_time")),
    ):
        if moment is not None and not _FIRST_MS <= moment < _END_MS:
            found.append(f"{name}: {moment} is not a time in milliseconds")
    for reference in event.get("remediation", {}).get("references", []):
        if not is_web_address(reference):
            found.append("remediation.references: not a web address")
    if not set(PROFILES) <= set(event.get("metadata", {}).get("profiles", [])):
        found.append(f"metadata.profiles: must name {', '.join(PROFILES)}")
    return found
