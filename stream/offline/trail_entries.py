"""The entries of a session's story: what a record of each topic says, for people and for machines, masked where it has to be."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from joserfc import jws
from joserfc.errors import JoseError
from pydantic import ValidationError

from models.contracts import (
    CallHeld,
    Case,
    CatalogueChanged,
    Credential,
    Decision,
    Intent,
    IntentAmended,
    OpinionGiven,
    SessionDeclared,
    SessionEvent,
    ToolCalled,
    ToolReturned,
)
from stream.events import (
    ALERTS,
    CASES,
    DECISIONS,
    ENDS,
    HELD,
    QUARANTINE,
    REVOCATIONS,
    RISK,
    Record,
    clipped,
    counted,
    member,
    milliseconds,
    moment_ms,
    printable,
    rfc3339,
)
from stream.offline.values import plain, shown
from stream.outbound.ocsf import comment_of

MAX_TOLD = 8
"""Values that a sentence names."""
MAX_LISTED = 256
"""Tools, credentials, members of a list that one entry names."""
_ID = re.compile(r"[0-9a-f]{32}")
"""An id of ours: of a case, a decision, a token, an opening of the breaker."""
_OFFSET = re.compile(r"[0-9]{1,18}")
"""A partition or an offset as a header has it: Kafka's have 63 bits."""


@dataclass
class Entry:
    """One step of the story.

    Attributes
    ----------
    kind : str
        ``declared``, ``amended``, ``catalogue``, ``called``, ``returned``, ``call_held``, ``opinion``, ``ended``, ``refused`` (an
        event that breaks the contract), ``decided``, ``case``, ``alert``, ``revocation``, ``risk``, ``released``, ``held``, ``ruling``,
        ``outcome``, ``feedback``, ``quarantined``, ``unreadable`` (no decision or case, though its topic says so), or ``gap``.
    time : str
        As the record itself says it; of a gap, of the step before.
    text : str
        One sentence for people.
    place : (str, int, int) or None
        Topic, partition and offset; None of a gap.
    repeats : int
        How often the same record stands there again.
    data : dict
        What the record says, for machines.
    """

    kind: str
    time: str
    text: str
    place: tuple[str, int, int] | None
    data: dict[str, Any] = field(default_factory=dict)
    repeats: int = 0
    stamp_ms: int = 0  # of its record on the bus; 0 where it has none
    late_ms: int = 0  # of a decision: how long after its call it came there

    def document(self) -> dict[str, Any]:
        """It as JSON."""
        topic, partition, offset = self.place or (None, None, None)
        return {
            "kind": self.kind,
            "time": self.time,
            "text": self.text,
            "place": {"topic": topic, "partition": partition, "offset": offset}
            if topic is not None
            else None,
            "repeats": self.repeats,
            **self.data,
        }


def claims_in(token: bytes | None) -> dict[str, Any] | None:
    """What a token claims, whoever signed it."""
    try:
        claims = orjson.loads(jws.extract_compact(token or b"").payload)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None


def place_of(record: Record) -> tuple[str, int, int]:
    return record.topic, record.partition, record.offset


def stamp_ms(record: Record, time: str) -> int:
    """When a record happened by the session's clock: as the broker stamped it, else as it says."""
    return record.timestamp_ms if record.timestamp_type == "append" else moment_ms(time)


def time_of(value: Any) -> str:
    """A time of an alert or a token, in milliseconds since 1970, as all others are written."""
    return rfc3339(value) if type(value) is int and 0 <= value < 253_370_764_800_000 else ""


def text_of(value: Any, most: int = 256, whole: str = "") -> str:
    """What others wrote, masked and cut; `whole`, an id of ours, stays: a run of its digits may be as long as a card's number."""
    text = str(value if value is not None else "")
    told = whole.join(map(plain, text.split(whole))) if whole else plain(text)
    return clipped(printable(told), most)


def ours(value: Any) -> str:
    """`value`, where it has the form of our ids, else nothing."""
    return value if isinstance(value, str) and _ID.fullmatch(value) else ""


def id_of(value: Any) -> str:
    """An id of ours as it is; whatever else stands in its place, masked."""
    return text_of(value, whole=ours(value))


def number_of(value: Any) -> float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0


def _listed(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)][:MAX_LISTED] if isinstance(value, list) else []


def said_by(event: SessionEvent, values: bool) -> tuple[str, str, dict[str, Any]]:
    """Kind, sentence and data of an event."""
    if isinstance(event, SessionDeclared):
        return _declared(event)
    if isinstance(event, IntentAmended):
        return (
            "amended",
            f"the user's intent amended: {_intent(event.intent)}",
            {"intent": _asked_for(event.intent), "signed": event.signature is not None},
        )
    if isinstance(event, CatalogueChanged):
        tools, left = (
            [text_of(each.name) for each in event.tools or ()],
            [text_of(each) for each in event.left or ()],
        )
        text = f"the catalogue changed: {counted(len(tools), 'tool')} joined or changed, {len(left)} left"
        return "catalogue", text, {"joined": tools[:MAX_LISTED], "left": left[:MAX_LISTED]}
    if isinstance(event, ToolCalled):
        arguments = shown(event.arguments, values=values)
        used = _reference(event.credential) if event.credential is not None else None
        data: dict[str, Any] = {
            "call_id": event.call_id,
            "tool": text_of(event.tool),
            "arguments": arguments,
            "credential": used,
        }
        given = f" with {_rows(arguments)}" if arguments else ""
        return "called", f"called {text_of(event.tool)}{given}", data
    if isinstance(event, CallHeld):
        data = {
            "call_id": event.call_id,
            "how": event.how,
            "answer": event.answer,
            "by": text_of(event.by) if event.by is not None else None,
        }
        return "call_held", _of_held(event), data
    if isinstance(event, ToolReturned):
        result = shown(event.result, values=values)
        data = {"call_id": event.call_id, "status": event.status, "result": result if values else len(result)}
        told = f": {_rows(result)}" if values and result else ""
        return "returned", f"call {text_of(event.call_id)} returned {event.status}{told}", data
    if isinstance(event, OpinionGiven):
        claims = claims_in(event.token.encode()) or {}
        data = {member: text_of(claims.get(member)) for member in ("by", "opinion")}
        data["decision_id"] = id_of(claims.get("decision_id"))
        return "opinion", f"a second opinion by {data['by']}: {data['opinion']}", data
    return (
        "ended",
        f"the session ended: {text_of(event.reason)}" if event.reason else "the session ended",
        {"reason": text_of(event.reason, 1024)},
    )


def _of_held(event: CallHeld) -> str:
    """What a call waits for, or who let it run."""
    by = f" by {text_of(event.by)}" if event.by is not None else ""
    if event.answer is not None:
        return f"call {text_of(event.call_id)} was {event.answer}{by}"
    waits = "a person is asked" if event.how == "asked" else "it is put off"
    return f"call {text_of(event.call_id)} waits: {waits}{by}"


def _rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """Values of arguments or of a result on one line; `Entry.data` has them all, and whole."""
    given = ", ".join(
        f"{text_of(row['path'], 60)} {text_of(row['text'], 200)}".strip() for row in rows[:MAX_TOLD]
    )
    return given if len(rows) <= MAX_TOLD else f"{given} and {len(rows) - MAX_TOLD} more"


def _declared(event: SessionDeclared) -> tuple[str, str, dict[str, Any]]:
    agent = event.agent
    who = agent.model_dump(exclude_none=True) if agent is not None else {}
    data = {
        "agent": text_of(agent.id) if agent is not None and agent.id else None,
        "user": text_of(agent.user) if agent is not None and agent.user else None,
        "identity": {member: text_of(each) for member, each in who.items()},
        "intent": _asked_for(event.intent) if event.intent is not None else None,
        "tools": [text_of(tool.name) for tool in (event.tools or ())[:MAX_LISTED]],
        "credentials": [_credential(each) for each in (event.credentials or ())[:MAX_LISTED]],
        "parent_session_id": event.parent_session_id,
        "signed": event.signature is not None,
        "attested": event.attestation is not None,
    }
    by = " for ".join(str(data[member]) for member in ("agent", "user") if data[member]) or "nobody named"
    asked = _intent(event.intent) if event.intent is not None else "no intent"
    return "declared", f"declared by {by}: {asked}", data


def _intent(intent: Intent) -> str:
    return f"“{text_of(intent.text, 400)}”"


def _asked_for(intent: Intent) -> dict[str, Any]:
    told = intent.model_dump(exclude_none=True)
    lists: dict[str, Any] = {
        member: [text_of(each) for each in told[member][:MAX_LISTED]]
        for member in ("plan", "resources", "actions", "data_classes")
        if member in told
    }
    return {"text": plain(intent.text), **lists, **({"budget": told["budget"]} if "budget" in told else {})}


def _reference(credential: Credential) -> str:
    return text_of(f"{credential.broker}/{credential.kind}/{credential.value}", 800)


def _credential(credential: Credential) -> dict[str, Any]:
    return {
        "reference": _reference(credential),
        "scope": text_of(credential.scope, 1024) if credential.scope is not None else None,
        "expires": rfc3339(milliseconds(credential.expires)) if credential.expires is not None else None,
    }


def _decided(record: Record, decision: dict[str, Any]) -> Entry:
    members = (
        "decision_id",
        "event_id",
        "event_seq",
        "call_id",
        "call_seq",
        "verdict",
        "enforced",
        "score",
        "action",
        "standing",
    )
    data: dict[str, Any] = {member: decision.get(member) for member in members}
    data |= {
        "tool": text_of(decision.get("tool")),
        "agent": text_of(decision["agent"]) if decision.get("agent") else None,
        "families": decision.get("families"),
        "marks": decision.get("marks") or [],
        "why": text_of(decision.get("explanation"), 1200),
        "would_pass": text_of(decision.get("would_pass"), 400),
        "cites": sorted(
            {
                call
                for each in _listed(decision.get("evidence"))
                for call in each.get("calls", ())
                if type(call) is int
            }
        ),
        "evidence": [
            {
                member: each.get(member)
                for member in ("family", "name", "value", "supports", "calls", "text", "argument")
            }
            for each in _listed(decision.get("evidence"))
        ],
        "credential": text_of(decision["credential"], 800) if decision.get("credential") else None,
        **{member: decision.get(member) for member in ("policy", "release", "core", "digest", "previous")},
    }
    shadow = (
        ""
        if decision.get("enforced") or decision.get("verdict") in ("allow", "abstain")
        else " (shadow: told, not enforced)"
    )
    number = f"call {data['call_seq']}" if data["call_seq"] != -1 else "a refused call"
    verdict = f"{decision.get('verdict')}{shadow} at {number_of(decision.get('score')):.4f}"
    text = f"{number}, {data['tool']} ({data['action']}): {verdict}: {data['why']}"
    return Entry("decided", str(decision.get("time")), text, place_of(record), data)


def _case(record: Record, case: dict[str, Any]) -> Entry:
    members = (
        "record_id",
        "change",
        "cause",
        "before",
        "after",
        "verdict",
        "enforced",
        "score",
        "families",
        "inherited_from",
    )
    data: dict[str, Any] = {member: case.get(member) for member in members}
    path = [
        {member: step.get(member) for member in ("decision_id", "call_seq", "tool", "verdict", "score")}
        for step in _listed(case.get("path"))
    ]
    data |= {
        "case_id": case.get("case_id"),
        "case_kind": case.get("kind"),
        "standing": case.get("after"),
        "agent": text_of(case["agent"]) if case.get("agent") else None,
        "user": text_of(case["user"]) if case.get("user") else None,
        "why": text_of(case.get("reason"), 600),
        "path": path,
        "credentials": [_reference_of(each) for each in _listed(case.get("credentials"))],
        "released": [
            {"reference": _reference_of(each), "why": each.get("why")}
            for each in _listed(case.get("released"))
        ],
        "tokens": [
            str(signed["claims"].get("jti"))
            for signed in (*_listed(case.get("sets")), *_listed(case.get("end_sets")))
            if isinstance(signed.get("claims"), dict)
        ],
        "revokes": any(signed.get("topic") == REVOCATIONS for signed in _listed(case.get("sets"))),
        "by_call": case.get("kind") == "standing"
        and case.get("cause") == "drift"
        and case.get("inherited_from") is None
        and case.get("verdict") is not None,
    }
    moved = (
        f"{case.get('before')} to {case.get('after')}"
        if case.get("before") != case.get("after")
        else f"stays {case.get('after')}"
    )
    return Entry(
        "case",
        str(case.get("time")),
        f"case {moved} ({case.get('kind')}): {data['why']}",
        place_of(record),
        data,
    )


def _reference_of(ref: Mapping[str, Any]) -> str:
    return text_of(f"{ref.get('broker')}/{ref.get('kind')}/{ref.get('value')}", 800)


def _alert(record: Record, alert: dict[str, Any]) -> Entry:
    info, meta = member(alert, "finding_info"), member(alert, "metadata")
    exposure = member(member(alert, "unmapped"), "exposure")
    data: dict[str, Any] = {
        "record_id": str(meta.get("uid")),
        "case_id": info.get("uid"),
        "title": text_of(info.get("title")),
        "says": text_of(alert.get("message"), 600),
        "severity": text_of(alert.get("severity"), 20),
        "is_alert": alert.get("is_alert"),
        "steps": text_of(member(alert, "remediation").get("desc"), 2000, ours(info.get("uid"))),
        "exposure": {
            name: exposure[name] for name in ("revocation", "worst_case_until", "note") if name in exposure
        },
    }
    signed = ""
    if said := member(member(alert, "unmapped"), "feedback"):
        data["feedback"] = {name: text_of(said.get(name)) for name in ("verdict", "by", "key", "time")}
        data["comment"] = text_of(comment_of(alert), 4096)
        reason = f": {data['comment']}" if data["comment"] else ""
        signed = f", signed by the key {data['feedback']['key']}{reason}"
    return Entry(
        "alert",
        time_of(alert.get("time")),
        f"alert, {data['severity']}: {data['says']}{signed}",
        place_of(record),
        data,
    )


def _held(record: Record, case: dict[str, Any]) -> Entry:
    headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    breaker = id_of(headers.get("breaker"))
    data = {
        "record_id": str(case.get("record_id")),
        "breaker": breaker,
        "scope": text_of(headers.get("scope")),
    }
    return Entry(
        "held",
        str(case.get("time")),
        f"its revocations are held by the circuit breaker {breaker}",
        place_of(record),
        data,
    )


def _quarantined(record: Record, document: dict[str, Any]) -> Entry:
    headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    numbers = [
        int(text) if _OFFSET.fullmatch(text) else -1
        for text in (headers.get("partition", ""), headers.get("offset", ""))
    ]
    reason, detail = text_of(headers.get("reason"), 40), text_of(headers.get("detail"), 400)
    time = document.get("time")
    data = {
        "reason": reason,
        "detail": detail,
        "origin": (text_of(headers.get("topic")), *numbers),
        "type": text_of(document.get("type")) if document else None,
        "call_id": text_of(document.get("call_id")) if document.get("call_id") else None,
        "names_session": "as JSON" if document else "by its key or its bytes",
    }
    return Entry(
        "quarantined",
        time if isinstance(time, str) and moment_ms(time) else "",
        f"refused and put aside ({reason}): {detail}",
        place_of(record),
        data,
    )


def token_entry(base: str, record: Record, claims: dict[str, Any], signature: str) -> Entry:
    uri, event = next(iter(member(claims, "events").items()), ("", {}))
    event = event if isinstance(event, dict) else {}
    refs = [
        _reference_of(each)
        for each in _listed(event.get("driftline_credentials") or event.get("driftline_released"))
    ]
    iat = claims.get("iat")
    data = {
        "jti": str(claims.get("jti")),
        "audience": text_of(claims.get("aud")),
        "issuer": text_of(claims.get("iss")),
        "signature": signature,
        "event": text_of(uri),
        "cause": event.get("driftline_cause"),
        "credentials": refs,
        "risk": [event.get("previous_level"), event.get("current_level")] if base == RISK else None,
    }
    kind = {REVOCATIONS: "revocation", RISK: "risk", ENDS: "released"}[base]
    what = {
        REVOCATIONS: f"revocation ({data['cause']}) of {', '.join(refs)}, for {data['audience']}",
        RISK: f"risk {event.get('previous_level')} to {event.get('current_level')}",
        ENDS: f"word that {', '.join(refs)} lives on",
    }[base]
    return Entry(
        kind,
        time_of(iat * 1000 if type(iat) is int else None),
        f"{what}; signature {signature}",
        place_of(record),
        data,
    )


def outcome_entry(record: Record, outcome: dict[str, Any]) -> Entry:
    texts = ("status", "broker", "kind", "credential", "provider", "detail", "survives", "survives_until")
    # An entry has a kind of its own.
    names = {"kind": "credential_kind"}
    data: dict[str, Any] = {
        names.get(member, member): text_of(outcome[member], 1024) for member in texts if outcome.get(member)
    }
    data["jti"] = id_of(outcome.get("jti"))
    took, latency = "", outcome.get("latency_ms")
    if type(latency) is int:
        data["latency_ms"], took = latency, f", {latency} ms after the revocation"
    detail = f": {data['detail']}" if "detail" in data else ""
    whose = " ".join(data[member] for member in ("broker", "credential_kind") if member in data)
    text = f"{whose}: {data.get('status')}{took}{detail}"
    return Entry("outcome", str(outcome.get("time")), text, place_of(record), data)


def feedback_entry(record: Record, feedback: dict[str, Any]) -> Entry:
    data: dict[str, Any] = {
        member: text_of(feedback[member], 4096)
        for member in ("verdict", "by", "comment")
        if feedback.get(member)
    }
    # Who may say it signs with a key of their own, which the issuer's key set does not hold.
    data["signature"] = "unverified"
    whom = ""
    if person := member(feedback, "sub_id"):  # whom an identity provider named to the console that signed it
        data["person"] = {name: text_of(person.get(name), 512) for name in ("iss", "sub")}
        whom = f", {data['person']['sub']} at {data['person']['iss']},"
    comment = f": {data['comment']}" if "comment" in data else ""
    return Entry(
        "feedback",
        str(feedback.get("time")),
        f"{data.get('by')}{whom} says {data.get('verdict')} (signature not verified here){comment}",
        place_of(record),
        data,
    )


def entry_of(base: str, record: Record, document: dict[str, Any]) -> Entry:
    """The entry of a record that names its session; one that is not what its topic has is told as such."""
    if (contract := _CONTRACTS.get(base)) is not None:
        try:
            document = contract.model_validate(document, extra="ignore").model_dump()
        except (ValidationError, RecursionError):
            return Entry("unreadable", "", "a record that breaks the contract of its topic", place_of(record))
    return _MADE[base](record, document)


_CONTRACTS: dict[str, type[Decision | Case]] = {DECISIONS: Decision, CASES: Case}
_MADE: dict[str, Callable[[Record, dict[str, Any]], Entry]] = {
    DECISIONS: _decided,
    CASES: _case,
    HELD: _held,
    ALERTS: _alert,
    QUARANTINE: _quarantined,
}
