"""What may be signed, and what may be acted on: Security Event Tokens, checked and verified.

Standards: SET (RFC 8417), OpenID SSF 1.0 and CAEP 1.0, subject identifiers (RFC 9493).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any

import orjson
from joserfc import jws
from joserfc.errors import (
    BadSignatureError,
    ExceededSizeError,
    InvalidKeyIdError,
    JoseError,
    UnsupportedAlgorithmError,
)
from joserfc.jwk import KeySet, RSAKey

from models.errors import ContractError
from stream.outbound.claims import CREDENTIALS_RELEASED, RISK_LEVEL_CHANGE, SESSION_REVOKED

TOKEN_TYPE = "secevent+jwt"
ALGORITHMS = ("RS256",)
"""Fixed here, never taken from a token: the CAEP Interoperability Profile asks for RS256."""

MIN_KEY_BITS = 2048
MAX_PAYLOAD = 64 * 1024
"""Bytes of claims in one token. Receivers on joserfc refuse more than 96,000; half of that leaves room."""


class TokenError(ContractError):
    """A Security Event Token must not be acted on, or its claims must not be signed.

    ``reason`` is one of ``malformed``, ``size``, ``algorithm``, ``key``, ``signature``, ``typ``, ``claims``,
    ``issuer``, ``audience``, ``event``, ``subject``, ``age``, ``repeated``.

    Operator action: for ``key`` fetch the JWKS again; anything else is a forged or foreign token.
    """


def check_claims(claims: Mapping[str, Any]) -> None:
    """What holds for every token of ours, whoever reads it.

    Raises
    ------
    TokenError
        ``claims``, ``event`` or ``subject``: a forbidden or missing claim, another number of events than
        one, an event without its required members, or a subject that would match other sessions.
    """
    for name in ("sub", "exp"):
        if name in claims:
            raise TokenError("claims", f"{name} must not be present in a Security Event Token")
    for name in ("iss", "jti"):
        if not _is_text(claims.get(name)):
            raise TokenError("claims", f"{name} must be a non-empty string")
    if not _is_number(claims.get("iat")):
        raise TokenError("claims", "iat must be a number of seconds")
    audience = claims.get("aud")
    if not _is_text(audience) and not (
        isinstance(audience, list) and audience and all(_is_text(each) for each in audience)
    ):
        raise TokenError("audience", "aud must be a non-empty string or a list of them")
    events = claims.get("events")
    if not isinstance(events, dict) or len(events) != 1:
        raise TokenError("event", "events must hold exactly one event")
    uri, event = next(iter(events.items()))
    if not isinstance(event, dict):
        raise TokenError("event", "an event must be an object")
    subject = claims.get("sub_id")
    if not isinstance(subject, dict) or not _is_text(subject.get("format")):
        raise TokenError("subject", "sub_id must be a subject identifier")
    if uri in (SESSION_REVOKED, RISK_LEVEL_CHANGE, CREDENTIALS_RELEASED):
        _check_event(uri, event, subject)


def _check_event(uri: str, event: Mapping[str, Any], subject: Mapping[str, Any]) -> None:
    """What CAEP asks of its events beside that, and we of our own, and that the subject names one session."""
    session = subject.get("session") if subject["format"] == "complex" else None
    if not isinstance(session, dict) or not _is_text(session.get("format")):
        raise TokenError("subject", "sub_id.session is required: without it every session would match")
    if session["format"] == "opaque" and not _is_text(session.get("id")):
        raise TokenError("subject", "sub_id.session.id must be a non-empty string")
    if not _is_number(event.get("event_timestamp")):
        raise TokenError("event", "event_timestamp must be a number of seconds")
    if uri == SESSION_REVOKED:
        reason = event.get("reason_admin")
        if not isinstance(reason, dict) or not reason or not all(_is_text(text) for text in reason.values()):
            raise TokenError("event", "reason_admin must map a language to a text")
        if event.get("initiating_entity") not in ("admin", "user", "policy", "system"):
            raise TokenError("event", "initiating_entity must be admin, user, policy or system")
    elif uri == CREDENTIALS_RELEASED:
        released = event.get("driftline_released")
        if not isinstance(released, list) or not released or "driftline_credentials" in event:
            raise TokenError("event", "driftline_released must list credentials, and nothing else may")
    else:
        if not _is_text(event.get("principal")):
            raise TokenError("event", "principal must be a non-empty string")
        if event.get("current_level") not in ("LOW", "MEDIUM", "HIGH"):
            raise TokenError("event", "current_level must be LOW, MEDIUM or HIGH")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def verify_token(
    token: str | bytes,
    jwks: Mapping[str, Any],
    issuer: str,
    audience: str,
    *,
    refetch: Callable[[], Mapping[str, Any]] | None = None,
    seen: Container[str] = (),
    oldest_iat: float | None = None,
) -> dict[str, Any]:
    """The claims of a token that may be acted on.

    Parameters
    ----------
    token : str or bytes
        The compact JWS.
    jwks : mapping
        The issuer's public key set, as its ``jwks_uri`` gives it.
    issuer, audience : str
        Whom the reader trusts, and who the reader is.
    refetch : callable, optional
        Gives a newer key set; called at most once, for an unknown key. The caller limits the rate.
    seen : container of str
        Every ``jti`` acted on; kept longer than the topic's retention.
    oldest_iat : float, optional
        Seconds since 1970; what was issued earlier is refused, since these tokens have no expiry.

    Raises
    ------
    TokenError
        With the reason; see its docstring.
    """
    header, payload = _signed_payload(token, jwks, refetch)
    kind = header.get("typ")
    if not isinstance(kind, str) or kind.lower() not in (TOKEN_TYPE, f"application/{TOKEN_TYPE}"):
        raise TokenError("typ", f"typ must be {TOKEN_TYPE}")
    if len(payload) > MAX_PAYLOAD:
        raise TokenError("size", f"claims of {len(payload)} bytes; at most {MAX_PAYLOAD} are read")
    try:
        claims = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise TokenError("malformed", "the payload is not JSON") from error
    if not isinstance(claims, dict):
        raise TokenError("malformed", "the payload is not a JSON object")
    check_claims(claims)
    if claims["iss"] != issuer:
        raise TokenError("issuer", "iss is not the issuer expected")
    stated = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    if audience not in stated:
        raise TokenError("audience", "aud does not name this reader")
    if oldest_iat is not None and claims["iat"] < oldest_iat:
        raise TokenError("age", f"issued at {claims['iat']}, earlier than {oldest_iat}")
    if claims["jti"] in seen:
        raise TokenError("repeated", "this jti was acted on already")
    return claims


def _signed_payload(
    token: str | bytes, jwks: Mapping[str, Any], refetch: Callable[[], Mapping[str, Any]] | None
) -> tuple[Mapping[str, Any], bytes]:
    keys = key_set(jwks)
    try:
        opened = jws.deserialize_compact(token, keys, algorithms=list(ALGORITHMS))
    except InvalidKeyIdError as error:
        if refetch is not None:
            return _signed_payload(token, refetch(), None)
        raise TokenError("key", "no key of the set has this kid; fetch the JWKS again") from error
    except UnsupportedAlgorithmError as error:
        raise TokenError("algorithm", f"only {', '.join(ALGORITHMS)} is accepted") from error
    except BadSignatureError as error:
        raise TokenError("signature", "the signature does not fit") from error
    except ExceededSizeError as error:
        raise TokenError("size", "the token is too large") from error
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        # joserfc lets the errors of its decoders through on bytes that are no JWS at all.
        raise TokenError("malformed", "not a compact JWS") from error
    return opened.headers(), opened.payload


def key_id_of(token: str | bytes) -> str:
    """The ``kid`` of a token that was verified."""
    opened = jws.extract_compact(token if isinstance(token, bytes) else token.encode())
    return str(opened.headers().get("kid", ""))


def key_set(jwks: Mapping[str, Any]) -> KeySet:
    """The RSA keys of a JWKS that are long enough; entries of other kinds can sign nothing for us.

    Raises
    ------
    TokenError
        ``key``: it is no JWKS, or holds no such key.
    """
    keys: list[RSAKey] = []
    entries = jwks.get("keys") if isinstance(jwks, Mapping) else None
    if not isinstance(entries, list):
        raise TokenError("key", 'the JWKS is malformed: expected {"keys": [...]}')
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("kty") != "RSA":
            continue
        try:
            key = RSAKey.import_key(entry)
        except (JoseError, ValueError, TypeError, KeyError):
            continue
        if key.public_key.key_size >= MIN_KEY_BITS:
            keys.append(key)
    if not keys:
        raise TokenError("key", f"the JWKS holds no RSA key of {MIN_KEY_BITS} bits or more")
    return KeySet(list(keys))
