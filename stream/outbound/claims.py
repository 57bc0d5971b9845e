"""What the Security Event Tokens of a case say: claims for act to sign, made where the case is.

Claims are a function of the change and of whom they are for; the clock is never read, so a case acted on
twice gives the same ids and the same claims. Nothing here knows a key.

Standards: SET (RFC 8417), OpenID SSF 1.0 and CAEP 1.0, subject identifiers (RFC 9493).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from pydantic import ValidationError

from models.contracts import Case, CredentialRef, Signed, Standing
from stream.events import ENDS, REVOCATIONS, RISK, clipped, dumps, short_hash
from stream.outbound.change import Change, Receivers

SESSION_REVOKED = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"
RISK_LEVEL_CHANGE = "https://schemas.openid.net/secevent/caep/event-type/risk-level-change"

CREDENTIALS_RELEASED = "urn:uuid:01f01c84-f32b-4c1d-9d37-bcae5bdc2175"
"""An event of our own: CAEP knows none that says that a credential lives on and nobody uses it. No domain is ours to name it by."""

MAX_CREDENTIALS_BYTES = 32 * 1024
"""Bytes of credential references in one token; a broker with more gets a further token, none is cut."""

MAX_REASON = 400
"""Characters of a case's reason that a token tells."""


def default_audience(broker: str) -> str:
    """The audience of a broker that the configuration does not name; it can reach nobody by accident."""
    return f"https://{quote(broker, safe='')}.broker.invalid/set"


def signed_sets(change: Change, receivers: Receivers) -> list[Signed]:
    """All claims that `change` leads to, with the topic of each, in the order in which act sends them.

    Credentials are revoked once: when drift contains the session, when it falls with the one that it works
    for, or, if neither happened for good, when it is over; then save those that are released.
    """
    case = change.case
    revokes = (
        (case.after == "contained" and not change.revoked)
        or case.inherited_from is not None
        or _is_honest_end(change)
    )
    sets: list[Signed] = []
    if revokes:
        claims = revocation_claims(change, receivers.issuer, receivers.audiences)
        sets += [Signed(topic=REVOCATIONS, claims=each) for each in claims]
    before, after = risk_levels(change)
    if before != after:
        risk = risk_claims(change, receivers.issuer, receivers.risk_audience)
        sets.append(Signed(topic=RISK, claims=risk))
    return sets


def signed_end_sets(change: Change, receivers: Receivers) -> list[Signed]:
    """The claims that tell brokers what the end of a session leaves alive; none where drift took all before."""
    if not _is_honest_end(change):
        return []
    claims = released_claims(change, receivers.issuer, receivers.audiences)
    return [Signed(topic=ENDS, claims=each) for each in claims]


def _is_honest_end(change: Change) -> bool:
    """Whether a session is over whose credentials drift did not take before, or in shadow alone."""
    return change.case.kind == "ended" and (change.withheld or not change.revoked)


def revocation_claims(change: Change, issuer: str, audiences: Mapping[str, str]) -> list[dict[str, Any]]:
    """Claims of the CAEP `session-revoked` tokens of a case, one for each audience, in order of audience.

    Parameters
    ----------
    change : Change
        Without credentials there is nothing to revoke and no token.
    issuer : str
        The stream's ``iss``.
    audiences : mapping of broker to audience
        A broker that is not named gets `default_audience`. Brokers that share an audience share its token.

    Notes
    -----
    ``session`` is always set: to SSF an absent member is a wildcard, so a token without it would revoke
    every session of the tenant. ``jti`` hashes case, cause and audience; where an audience has more
    references than one token holds, further tokens also hash their number.
    """
    case = change.case
    if case.cause == "internal":
        return []
    event = _Event(SESSION_REVOKED, "session-revoked", _revoked)
    return _one_for_each(change, issuer, audiences, taken(case), event)


def taken(case: Case) -> list[CredentialRef]:
    """The credentials that a revocation of `case` is of: all but those that its end releases."""
    spared = {(ref.broker, ref.kind, ref.value) for ref in case.released}
    return [ref for ref in case.credentials if (ref.broker, ref.kind, ref.value) not in spared]


def released_claims(change: Change, issuer: str, audiences: Mapping[str, str]) -> list[dict[str, Any]]:
    """Claims of the tokens that say what an end leaves alive, for each audience and with ids as `revocation_claims` has them."""
    event = _Event(CREDENTIALS_RELEASED, "credentials-released", _released)
    return _one_for_each(change, issuer, audiences, change.announced, event)


class _Event(NamedTuple):
    """An event about credentials: its type, what its ids are made with, and what it says of some of them."""

    uri: str
    name: str
    of: Callable[[Change, Sequence[CredentialRef]], dict[str, Any]]


def _one_for_each(
    change: Change, issuer: str, audiences: Mapping[str, str], refs: Iterable[CredentialRef], event: _Event
) -> list[dict[str, Any]]:
    """Claims about `refs`: a token for each audience, or several where one does not take them all."""
    case = change.case
    by_audience: dict[str, dict[bytes, CredentialRef]] = {}
    for ref in refs:
        audience = audiences.get(ref.broker) or default_audience(ref.broker)
        by_audience.setdefault(audience, {})[dumps(ref.model_dump())] = ref
    claims = []
    for audience, theirs in sorted(by_audience.items()):
        for part, group in enumerate(_grouped(theirs)):
            suffix = () if part == 0 else (str(part),)
            jti = short_hash(event.name, case.case_id, case.cause, audience, *suffix)
            claims.append(_claims(change, issuer, audience, jti, {event.uri: event.of(change, group)}))
    return claims


def credentials_of(claims: Mapping[str, Any]) -> list[CredentialRef]:
    """The credentials that the claims of a revocation name; none where they have another shape."""
    try:
        named = claims["events"][SESSION_REVOKED]["driftline_credentials"]
        return [CredentialRef.model_validate(each) for each in named]
    except (KeyError, TypeError, ValidationError):
        return []


def credential_id(tenant: str, credential: CredentialRef) -> str:
    """What a credential is called in outcomes: a hash, since values may be read by more people than may use them."""
    return short_hash("credential", tenant, credential.broker, credential.kind, credential.value)


def _revoked(change: Change, refs: Sequence[CredentialRef]) -> dict[str, Any]:
    case = change.case
    if case.cause == "drift":
        entity, why = "policy", "Agent session drifted from its declared intent"
    else:
        entity, why = "system", "Agent session is over"
    return {
        "event_timestamp": change.time_ms // 1000,
        "initiating_entity": entity,
        "reason_admin": _reason(change, why),
        "driftline_cause": case.cause,
        "driftline_credentials": [ref.model_dump() for ref in refs],
    }


def _released(change: Change, refs: Sequence[CredentialRef]) -> dict[str, Any]:
    return {
        "event_timestamp": change.time_ms // 1000,
        "initiating_entity": "system",
        "reason_admin": _reason(change, "Agent session is over and these credentials live on"),
        "driftline_released": [ref.model_dump() for ref in refs],
    }


def _reason(change: Change, why: str) -> dict[str, str]:
    case = change.case
    reason = f"{why}: {clipped(case.reason, MAX_REASON)}" if case.reason else why
    return {"en": f"{reason} (case {case.case_id})"}


def _claims(
    change: Change, issuer: str, audience: str, jti: str, events: Mapping[str, Any]
) -> dict[str, Any]:
    """What every token of ours holds around its one event."""
    return {
        "iss": issuer,
        "jti": jti,
        "iat": change.time_ms // 1000,
        "aud": audience,
        "txn": change.case.case_id,
        "sub_id": _subject(change),
        "events": events,
    }


_LEVELS: dict[Standing, str] = {
    "quiet": "LOW",
    "watch": "MEDIUM",
    "alert": "HIGH",
    "contained": "HIGH",
    "closed": "LOW",
}


def risk_levels(change: Change) -> tuple[str, str]:
    """The session's risk before and after a change, in CAEP's three levels.

    A session that is over can do nothing, so its risk is low, however its case stands, until a call comes after
    the end.
    """
    case = change.case
    by_call = case.kind == "standing" and case.cause != "opinion"
    is_over = case.kind == "ended" or (change.over and not by_call)
    return "LOW" if change.over else _LEVELS[case.before], "LOW" if is_over else _LEVELS[case.after]


def risk_claims(change: Change, issuer: str, audience: str) -> dict[str, Any]:
    """Claims of the CAEP `risk-level-change` token of one change; ask `risk_levels` first."""
    case = change.case
    levels = ("LOW", "MEDIUM", "HIGH")
    before, after = risk_levels(change)
    if case.kind == "ended":
        why = "SESSION_OVER"
    elif levels.index(after) < levels.index(before):
        why = "INTENT_DRIFT_SUBSIDED"
    else:
        why = "INTENT_DRIFT"
    event = {
        "principal": "SESSION",
        "previous_level": before,
        "current_level": after,
        "risk_reason": why,
        "event_timestamp": change.time_ms // 1000,
        "initiating_entity": "policy" if case.kind != "ended" else "system",
    }
    jti = short_hash("risk-level-change", case.case_id, case.record_id, audience)
    return _claims(change, issuer, audience, jti, {RISK_LEVEL_CHANGE: event})


def _subject(change: Change) -> dict[str, Any]:
    """One principal: this session of this tenant, told by its application and user where they are known."""
    subject: dict[str, Any] = {
        "format": "complex",
        "session": {"format": "opaque", "id": change.case.session_id},
        "tenant": {"format": "opaque", "id": change.case.tenant},
    }
    if change.spiffe_id is not None:
        subject["application"] = {"format": "uri", "uri": change.spiffe_id}
    elif change.case.agent is not None:
        subject["application"] = {"format": "opaque", "id": change.case.agent}
    if change.case.user is not None and change.user_issuer is not None:
        subject["user"] = {"format": "iss_sub", "iss": change.user_issuer, "sub": change.case.user}
    elif change.case.user is not None:
        # Not `email` or `iss_sub`: we know neither that it is an address nor which issuer it belongs to.
        subject["user"] = {"format": "opaque", "id": change.case.user}
    return subject


def _grouped(refs: Mapping[bytes, CredentialRef]) -> list[list[CredentialRef]]:
    """References in order of their bytes, cut into runs that fit one token; every reference is in one run."""
    groups: list[list[CredentialRef]] = [[]]
    size = 0
    for raw, ref in sorted(refs.items()):
        if groups[-1] and size + len(raw) > MAX_CREDENTIALS_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(ref)
        size += len(raw) + 1
    return groups
