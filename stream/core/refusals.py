"""rule, refused calls: a record that the contract refuses is never an allow, so whoever waits gets an answer."""

from __future__ import annotations

import hashlib

from stream.core.arrival import EARLIEST_MS, LATEST_MS
from stream.core.items import Call, Named, Refused
from stream.core.releases import PolicyNames
from stream.events import CORE, DECISIONS, Output, case_id_of, dumps, rfc3339, short_hash

_WOULD_PASS = "the call sent again as the contract has it, docs/schemas/agent.events.v1.json"


def undecided(call: Call, detail: str) -> Refused:
    """A call whose decision failed for a reason that nobody foresaw."""
    event, session = call.event, call.session
    named = Named(
        event.id,
        session.session,
        session.root,
        session.tenant,
        event.seq,
        event.call_id,
        event.tool,
        call.time_ms,
        declares=False,
    )
    return Refused(
        call.record, named, session.tenant, "internal", detail, session.agent, session.dossier, call.release
    )


def answer(item: Refused, policy_name: PolicyNames) -> Output:
    """The decision on a call whose record was refused: nothing was looked at, so it abstains and says why.

    It stands outside its session's chain, and the call has no place in the session: a record that breaks the
    contract must not move what the contract keeps. Equal records give equal answers.
    """
    named, policy, dossier = item.named, item.release.policy, item.dossier
    standing = dossier.standing if dossier is not None else "quiet"
    time_ms = named.time_ms
    if time_ms is None:
        time_ms = min(max(item.record.timestamp_ms, EARLIEST_MS), LATEST_MS)
    body = {
        "action": "execute",  # what it would have done was not read: the gravest
        "agent": item.agent,
        "arguments_digest": "",
        "call_id": named.call,
        "call_seq": -1,
        "case_id": case_id_of(item.tenant, named.root, named.session) if standing != "quiet" else None,
        "core": CORE,
        "credential": None,
        "enforced": policy.enforces(item.tenant, item.agent),
        "event_id": named.id,
        "event_seq": named.seq,
        "evidence": [],
        "explanation": f"the record was refused ({item.reason}) and the call not judged: {item.detail[:1000]}",
        "families": [],
        "intent_digest": None,
        "marks": ["refused"],
        "policy": policy_name(policy),
        "previous": "",
        "release": item.release.name,
        "root_session_id": named.root,
        "schema_version": 1,
        "score": 0.0,
        "session_id": named.session,
        "shares": [],
        "standing": standing,
        "tenant": item.tenant,
        "thresholds": item.release.levels_of(item.tenant).as_scores(),
        "time": rfc3339(time_ms),
        "tool": named.tool,
        "verdict": "abstain",
        "would_pass": _WOULD_PASS,
    }
    body["decision_id"] = short_hash("refused", dumps(body))
    digest = hashlib.sha256(dumps(body)).hexdigest()
    return Output(DECISIONS, named.root.encode(), (), dumps({**body, "digest": digest}))
