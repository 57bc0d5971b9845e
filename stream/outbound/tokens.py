"""What a credential broker receives: Security Event Tokens; their claims, their keys, and how to verify them.

Claims are a function of a case's facts and of configuration; the clock is never read, so a case acted on
twice gives the same ids and the same claims. Signing is the only place where a private key is used.

Standards: SET (RFC 8417), OpenID SSF 1.0 and CAEP 1.0, subject identifiers (RFC 9493).
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import threading
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

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

from models.contracts import CredentialRef, Standing
from models.errors import ConfigError, ContractError
from stream.events import dumps, short_hash
from stream.outbound.findings import CaseFacts

SESSION_REVOKED = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"
RISK_LEVEL_CHANGE = "https://schemas.openid.net/secevent/caep/event-type/risk-level-change"
TOKEN_TYPE = "secevent+jwt"
ALGORITHMS = ("RS256",)
"""Fixed here, never taken from a token: the CAEP Interoperability Profile asks for RS256."""

MIN_KEY_BITS = 2048
MAX_PAYLOAD = 64 * 1024
"""Bytes of claims in one token. Receivers on joserfc refuse more than 96,000; half of that leaves room."""

MAX_CREDENTIALS_BYTES = 32 * 1024
"""Bytes of credential references in one token; a broker with more gets a further token, none is cut."""

MAX_REASON = 400

_log = logging.getLogger(__name__)


class TokenError(ContractError):
    """A Security Event Token must not be acted on, or its claims must not be signed.

    ``reason`` is one of ``malformed``, ``size``, ``algorithm``, ``key``, ``signature``, ``typ``, ``claims``,
    ``issuer``, ``audience``, ``event``, ``subject``, ``age``, ``repeated``.

    Operator action: for ``key`` fetch the JWKS again; anything else is a forged or foreign token.
    """


# ------------------------------------------------------------------------------------------ claims


def default_audience(broker: str) -> str:
    """The audience of a broker that the configuration does not name; it can reach nobody by accident."""
    return f"https://{quote(broker, safe='')}.broker.invalid/set"


def revocation_claims(facts: CaseFacts, issuer: str, audiences: Mapping[str, str]) -> list[dict[str, Any]]:
    """Claims of the CAEP `session-revoked` tokens of a case, one for each audience, in order of audience.

    Parameters
    ----------
    facts : CaseFacts
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
    if facts.cause == "internal":
        return []
    by_audience: dict[str, dict[bytes, CredentialRef]] = {}
    for ref in facts.credentials:
        audience = audiences.get(ref.broker) or default_audience(ref.broker)
        by_audience.setdefault(audience, {})[dumps(ref.model_dump())] = ref
    if facts.cause == "drift":
        entity, why = "policy", "Agent session drifted from its declared intent"
    else:
        entity, why = "system", "Agent session is over"
    reason = f"{why}: {facts.reason[:MAX_REASON]}" if facts.reason else why
    claims = []
    for audience, refs in sorted(by_audience.items()):
        for part, group in enumerate(_grouped(refs)):
            suffix = () if part == 0 else (str(part),)
            claims.append(
                {
                    "iss": issuer,
                    "jti": short_hash("session-revoked", facts.case_id, facts.cause, audience, *suffix),
                    "iat": facts.time_ms // 1000,
                    "aud": audience,
                    "txn": facts.case_id,
                    "sub_id": _subject(facts),
                    "events": {
                        SESSION_REVOKED: {
                            "event_timestamp": facts.time_ms // 1000,
                            "initiating_entity": entity,
                            "reason_admin": {"en": f"{reason} (case {facts.case_id})"},
                            "driftline_cause": facts.cause,
                            "driftline_credentials": [ref.model_dump() for ref in group],
                        }
                    },
                }
            )
    return claims


_LEVELS: dict[Standing, str] = {
    "quiet": "LOW",
    "watch": "MEDIUM",
    "alert": "HIGH",
    "contained": "HIGH",
    "closed": "LOW",
}


def risk_level(standing: Standing) -> str:
    """CAEP knows three levels; a session that is over can do nothing, so its risk is low again."""
    return _LEVELS[standing]


def risk_changed(before: Standing, after: Standing) -> bool:
    """Whether a receiver of risk levels hears of this change."""
    return risk_level(before) != risk_level(after)


def risk_claims(facts: CaseFacts, issuer: str, audience: str) -> dict[str, Any]:
    """Claims of the CAEP `risk-level-change` token of one change; ask `risk_changed` first."""
    levels = ("LOW", "MEDIUM", "HIGH")
    before, after = risk_level(facts.before), risk_level(facts.after)
    if facts.after == "closed":
        why = "SESSION_OVER"
    elif levels.index(after) < levels.index(before):
        why = "INTENT_DRIFT_SUBSIDED"
    else:
        why = "INTENT_DRIFT"
    return {
        "iss": issuer,
        "jti": short_hash("risk-level-change", facts.case_id, facts.record_id, audience),
        "iat": facts.time_ms // 1000,
        "aud": audience,
        "txn": facts.case_id,
        "sub_id": _subject(facts),
        "events": {
            RISK_LEVEL_CHANGE: {
                "principal": "SESSION",
                "previous_level": before,
                "current_level": after,
                "risk_reason": why,
                "event_timestamp": facts.time_ms // 1000,
                "initiating_entity": "policy" if facts.after != "closed" else "system",
            }
        },
    }


def _subject(facts: CaseFacts) -> dict[str, Any]:
    """One principal: this session of this tenant, told by its application and user where they are known."""
    subject: dict[str, Any] = {
        "format": "complex",
        "session": {"format": "opaque", "id": facts.session_id},
        "tenant": {"format": "opaque", "id": facts.tenant},
    }
    if facts.spiffe_id is not None:
        subject["application"] = {"format": "uri", "uri": facts.spiffe_id}
    elif facts.agent is not None:
        subject["application"] = {"format": "opaque", "id": facts.agent}
    if facts.user is not None:
        # Not `email` or `iss_sub`: we know neither that it is an address nor which issuer it belongs to.
        subject["user"] = {"format": "opaque", "id": facts.user}
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


# -------------------------------------------------------------------------------------- what may be signed


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
        if not _text(claims.get(name)):
            raise TokenError("claims", f"{name} must be a non-empty string")
    if not _number(claims.get("iat")):
        raise TokenError("claims", "iat must be a number of seconds")
    audience = claims.get("aud")
    if not _text(audience) and not (
        isinstance(audience, list) and audience and all(_text(one) for one in audience)
    ):
        raise TokenError("audience", "aud must be a non-empty string or a list of them")
    events = claims.get("events")
    if not isinstance(events, dict) or len(events) != 1:
        raise TokenError("event", "events must hold exactly one event")
    uri, event = next(iter(events.items()))
    if not isinstance(event, dict):
        raise TokenError("event", "an event must be an object")
    subject = claims.get("sub_id")
    if not isinstance(subject, dict) or not _text(subject.get("format")):
        raise TokenError("subject", "sub_id must be a subject identifier")
    if uri in (SESSION_REVOKED, RISK_LEVEL_CHANGE):
        session = subject.get("session") if subject["format"] == "complex" else None
        if not isinstance(session, dict) or not _text(session.get("format")):
            raise TokenError("subject", "sub_id.session is required: without it every session would match")
        if session["format"] == "opaque" and not _text(session.get("id")):
            raise TokenError("subject", "sub_id.session.id must be a non-empty string")
        if not _number(event.get("event_timestamp")):
            raise TokenError("event", "event_timestamp must be a number of seconds")
    if uri == SESSION_REVOKED:
        reason = event.get("reason_admin")
        if not isinstance(reason, dict) or not reason or not all(_text(text) for text in reason.values()):
            raise TokenError("event", "reason_admin must map a language to a text")
        if event.get("initiating_entity") not in ("admin", "user", "policy", "system"):
            raise TokenError("event", "initiating_entity must be admin, user, policy or system")
    if uri == RISK_LEVEL_CHANGE:
        if not _text(event.get("principal")):
            raise TokenError("event", "principal must be a non-empty string")
        if event.get("current_level") not in ("LOW", "MEDIUM", "HIGH"):
            raise TokenError("event", "current_level must be LOW, MEDIUM or HIGH")


def _text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _number(value: object) -> bool:
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


# ------------------------------------------------------------------------------------------------ keys

_PEM_BLOCK = re.compile(r"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----", re.DOTALL)
_DEVELOPMENT_FILE = "signing-key.dev.json"


class SigningKeys:
    """The keys that sign our tokens: the first private one signs, all are published.

    Parameters
    ----------
    path : Path, optional
        PEM blocks, a JWK or a JWK set. Read again whenever the file changes, so keys rotate without a
        restart: add the new key behind the old one, wait for receivers' caches, then swap their order, and
        keep the old public key until the last token signed with it has left retention.
    text : str, optional
        The same, from the environment; it cannot change. Used when there is no `path`.
    state_dir : Path, optional
        Where a development key is made when neither is given. Its ``kid`` begins with ``dev-``.
    make : bool
        Without it a development key is read where there is one, and none is made: for who only verifies.

    Raises
    ------
    ConfigError
        No key can be read, it is not RSA, or it is shorter than 2048 bits.
    """

    def __init__(
        self,
        *,
        path: Path | None = None,
        text: str | None = None,
        state_dir: Path | None = None,
        make: bool = True,
    ) -> None:
        self.is_development = path is None and not text
        self._lock = threading.Lock()
        if self.is_development:
            if state_dir is None:
                raise ConfigError("signing key: give a file, or a state directory for a development key")
            path = _development_key(state_dir) if make else state_dir / _DEVELOPMENT_FILE
        self._path = path
        self._stamp = _stamp(path) if path is not None else None
        self._keys = _load(_read(path) if path is not None else text or "", str(path or "environment"))

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Compact JWS of `claims`, RS256, ``typ`` ``secevent+jwt``.

        Raises
        ------
        TokenError
            The claims break `check_claims`, or are larger than `MAX_PAYLOAD`.
        """
        check_claims(claims)
        payload = dumps(dict(claims))
        if len(payload) > MAX_PAYLOAD:
            raise TokenError("size", f"claims of {len(payload)} bytes; at most {MAX_PAYLOAD} are signed")
        key = next(one for one in self._current() if one.is_private)
        header = {"alg": ALGORITHMS[0], "typ": TOKEN_TYPE, "kid": key.kid}
        return jws.serialize_compact(header, payload, key, algorithms=list(ALGORITHMS))

    def jwks(self) -> dict[str, Any]:
        """The public key set, as a ``jwks_uri`` serves it."""
        return {
            "keys": [
                {**key.as_dict(private=False), "use": "sig", "alg": ALGORITHMS[0], "kid": key.kid}
                for key in self._current()
            ]
        }

    def _current(self) -> Sequence[RSAKey]:
        """The keys of the file as it is now; the last good ones while it is being written."""
        with self._lock:
            path = self._path
            if path is None:
                return self._keys
            stamp = _stamp(path)
            if stamp != self._stamp:
                # Noted before the attempt: a broken file is complained of once, not at each signature.
                self._stamp = stamp
                try:
                    self._keys = _load(_read(path), str(path))
                except ConfigError as error:
                    # Revocations must go on during a botched rotation. The message holds no key material.
                    _log.warning("signing keys kept as they were: %s", error)
            return self._keys


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Changes with the file's content; the inode because a mounted secret is swapped by a symbolic link."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"signing key {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"signing key {path}: cannot be read as text") from error


def _load(text: str, where: str) -> list[RSAKey]:
    """The keys in `text`, in its order. No message quotes any of it."""
    keys: list[RSAKey] = []
    try:
        if text.lstrip().startswith("{"):
            document = json.loads(text)
            keys.extend(RSAKey.import_key(entry) for entry in document.get("keys", [document]))
        else:
            keys.extend(RSAKey.import_key(block.group(0)) for block in _PEM_BLOCK.finditer(text))
    except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"signing key {where}: not an unencrypted RSA key in PEM or JWK") from error
    named = []
    for key in keys:
        if key.public_key.key_size < MIN_KEY_BITS:
            raise ConfigError(f"signing key {where}: {key.public_key.key_size} bits; at least {MIN_KEY_BITS}")
        # The RFC 7638 thumbprint, so that one key has one name wherever it is loaded.
        entry = {**key.as_dict(private=key.is_private), "kid": key.kid or key.thumbprint()}
        named.append(RSAKey.import_key(entry))
    if not any(key.is_private for key in named):
        raise ConfigError(f"signing key {where}: holds no RSA private key in PEM or JWK")
    return named


def _development_key(state_dir: Path) -> Path:
    """The development key's file; made if it is missing, by exactly one of the workers that race for it."""
    path = state_dir / _DEVELOPMENT_FILE
    if path.exists():
        return path
    key = RSAKey.generate_key(MIN_KEY_BITS)
    entry = {**key.as_dict(private=True), "kid": f"dev-{key.thumbprint()}"}
    draft = state_dir / f".{_DEVELOPMENT_FILE}.{secrets.token_hex(8)}"
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(dumps(entry))
                stream.flush()
                os.fsync(stream.fileno())
            # A link, not a rename: it fails when another worker was first, and nobody reads half a key.
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"development signing key in {state_dir}: {error.strerror or error}") from error
    return path
