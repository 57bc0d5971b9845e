"""From a token on the bus to what the bridge is to do: verified as any stranger must, or refused."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import orjson
from pydantic import TypeAdapter, ValidationError

from models.contracts import CredentialRef, Identifier
from stream.outbound.claims import SESSION_REVOKED, credential_id
from stream.outbound.tokens import TokenError, verify_token

REMEMBERED_S = 45 * 86_400
"""Older tokens are refused: the 30 days of the topic and the 14 from which a case may be signed again."""
LATEST_S = 253_402_300_800
"""The year 10000, from which on no provider can write a time down."""
_NAMES = TypeAdapter(list[Identifier])
MAX_TOKEN = 128 * 1024
"""Bytes of a record that are looked at."""


class Order(NamedTuple):
    """A verified token: which credentials of which session must go, and since when."""

    jti: str
    case_id: str
    tenant: str
    session_id: str
    cause: str
    issued_s: int
    credentials: tuple[CredentialRef, ...]

    def names(self) -> list[str]:
        """What its credentials are called in outcomes."""
        return [credential_id(self.tenant, each) for each in self.credentials]


class Trust(NamedTuple):
    """Whose tokens are carried out.

    Attributes
    ----------
    keys : callable
        The issuer's JWK set as it is now; asked again, by the caller's leave, for a key that is not known.
    issuer : str
        ``iss`` expected.
    audiences : collection of str
        Who this bridge is; tokens for others are skipped.
    development : bool
        Whether development keys and old tokens are taken: never in production.
    """

    keys: Callable[[], Mapping[str, Any]]
    issuer: str
    audiences: Collection[str]
    development: bool = False


def order_of(token: bytes, trust: Trust, now_s: float) -> Order | None:
    """What `token` asks for; None if it is for another receiver.

    Raises
    ------
    TokenError
        It is forged, foreign, too old, or of another kind.
    """
    if len(token) > MAX_TOKEN:
        raise TokenError("size", f"{len(token)} bytes; at most {MAX_TOKEN} are read")
    audience = addressee(token)
    if audience not in trust.audiences:
        return None
    if not trust.development and str(_part(token, 0).get("kid", "")).startswith("dev-"):
        raise TokenError("key", "signed by a development key; set DRIFTLINE_SIGNING_KEY_FILE for the worker")
    claims = verify_token(
        token,
        trust.keys(),
        trust.issuer,
        audience,
        refetch=trust.keys,
        oldest_iat=None if trust.development else now_s - REMEMBERED_S,
    )
    event = claims["events"].get(SESSION_REVOKED)
    if event is None:
        raise TokenError("event", "not a session-revoked event")
    subject = claims["sub_id"]
    try:
        if not 0 <= claims["iat"] < LATEST_S:
            raise TokenError("event", "iat is no time")
        order = Order(
            jti=claims["jti"],
            case_id=str(claims.get("txn", "")),
            tenant=str(subject["tenant"]["id"]),
            session_id=str(subject["session"]["id"]),
            cause=str(event.get("driftline_cause", "")),
            issued_s=int(claims["iat"]),
            credentials=tuple(CredentialRef.model_validate(each) for each in event["driftline_credentials"]),
        )
        # What outcomes say of it: told after the effect, it would be too late to find that they cannot.
        _NAMES.validate_python(
            [order.jti, order.case_id, *(n for c in order.credentials for n in (c.broker, c.kind))]
        )
    except (KeyError, TypeError, ValidationError) as error:
        raise TokenError(
            "event", "sub_id.tenant, txn, jti or driftline_credentials have another shape"
        ) from error
    return order


def addressee(token: bytes) -> str:
    """Whom a token says it is for, before anything of it is believed; empty where it says nothing."""
    stated = _part(token, 1).get("aud")
    return stated if isinstance(stated, str) else ""


def _part(token: bytes, number: int) -> dict[str, Any]:
    parts = token.split(b".")
    if len(parts) != 3:
        raise TokenError("malformed", "not a compact JWS")
    try:
        read = orjson.loads(base64.urlsafe_b64decode(parts[number] + b"=" * (-len(parts[number]) % 4)))
    except (binascii.Error, ValueError) as error:
        raise TokenError("malformed", "not a compact JWS") from error
    if not isinstance(read, dict):
        raise TokenError("malformed", "not a compact JWS of JSON objects")
    return read
