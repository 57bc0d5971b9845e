"""Signatures of others, strictly read: which public keys may verify what decides something, and how a JWS is opened.

Declarations and activations shape decisions. A key that is weak, private or of another kind is refused when it is
read, at the start, and not when the first signature meets it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from models.errors import ConfigError
from stream.events import dumps

ALGORITHMS: Mapping[str, tuple[str, ...]] = {
    "EC": ("ES256",),
    "RSA": ("RS256",),
    "OKP": ("EdDSA", "Ed25519"),
}
"""By kind of key, fixed here: a token's header chooses among them, never beyond, and never ``none`` or HMAC."""
MAX_HEADER = 1024
MIN_RSA_BITS = 2048
MAX_TOLD = 64
"""Characters of a ``kid`` that errors tell."""

_KINDS: Mapping[str, Any] = {"EC": ECKey, "RSA": RSAKey, "OKP": OKPKey}
_CURVES = ("P-256", "Ed25519")
_EXPECTED = f"RSA of {MIN_RSA_BITS} bits, P-256 or Ed25519"


class Responders:
    """Verifies what those may say who answer alerts: rulings on what is held, and verdicts on cases.

    Parameters
    ----------
    jwks : mapping
        Their public keys; None: nobody may.
    audience : str
        This installation, as their tokens name it: its issuer.

    Raises
    ------
    ConfigError
        A key is private, weak or unreadable.
    """

    def __init__(self, jwks: Mapping[str, Any] | None, audience: str) -> None:
        self._keys = {} if jwks is None else public_keys(jwks, "responders' keys")
        self._audience = audience


def public_keys(jwks: Mapping[str, Any], whose: str) -> Mapping[str, Any]:
    """The keys of a public JWK set by ``kid``, or by thumbprint where they have none.

    Parameters
    ----------
    jwks : mapping
        ``{"keys": [...]}``.
    whose : str
        Whose keys they are, for errors.

    Raises
    ------
    ConfigError
        A key is private, of another kind than RSA (2048 bits and more), P-256 or Ed25519, or unreadable.
    """
    entries = jwks.get("keys")
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f'{whose}: no JWK set with at least one key; expected {{"keys": [...]}}')
    keys: dict[str, Any] = {}
    for place, entry in enumerate(entries):
        which = f"{whose}: {key_named(entry, place)}"
        key = _public_key(entry, which)
        keys[key.kid or key.thumbprint()] = key
    return keys


def key_named(entry: Any, place: int) -> str:
    """What errors call an entry of a JWK set: by its ``kid``, or by its place from 0; nothing else of it is told."""
    kid = entry.get("kid") if isinstance(entry, dict) else None
    return f"key {kid[:MAX_TOLD]!r}" if isinstance(kid, str) and kid else f"keys[{place}]"


def _public_key(entry: Any, which: str) -> Any:
    if not isinstance(entry, dict):
        raise ConfigError(f"{which}: no JSON object; expected {_EXPECTED}")
    kind = _KINDS.get(str(entry.get("kty")))
    if kind is None:
        raise ConfigError(f"{which}: kty is {_told(entry, 'kty')}; expected {_EXPECTED}")
    crv = entry.get("crv")
    if kind is not RSAKey and crv not in _CURVES:
        raise ConfigError(f"{which}: its curve is {_told(entry, 'crv')}; expected {_EXPECTED}")
    try:
        key = kind.import_key(entry)
    except JoseError as error:  # its description names the member and the rule, and no value
        raise ConfigError(f"{which}: it cannot be read: {error.description}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{which}: it cannot be read: its members make no key of its kind") from error
    if key.is_private:
        raise ConfigError(f"{which}: a private key; give the public one, and replace this pair")
    if not _strong(key):  # of the others the curve said it
        raise ConfigError(f"{which}: {key.public_key.key_size} bits; expected {_EXPECTED}")
    return key


def _told(entry: Mapping[str, Any], member: str) -> str:
    """A member that is no key material, for errors."""
    value = entry.get(member)
    return "missing" if value is None else repr(value)[:MAX_TOLD]


def read_json(path: Path, whose: str) -> Any:
    """The JSON document in a file of public keys or of whose they are.

    Raises
    ------
    ConfigError
        It cannot be read, or is no JSON; with `whose`, why and where, and nothing of what it holds.
    """
    try:
        return orjson.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{whose}: cannot be read: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        raise ConfigError(f"{whose}: no JSON: {error.msg} at {at}") from error


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """Thumbprint (RFC 7638) of a JWK; raises `ValueError` where it cannot be read."""
    kind = _KINDS.get(str(jwk.get("kty")))
    if kind is None:
        raise ValueError("no JWK of kind RSA, EC or OKP")
    try:
        return str(kind.import_key(dict(jwk)).thumbprint())
    except (JoseError, TypeError, KeyError) as error:
        raise ValueError("no readable JWK") from error


def private_key(raw: bytes, whose: str) -> Any:
    """A private JWK that may sign, with its thumbprint for a ``kid`` where it has none.

    Raises
    ------
    ConfigError
        It is unreadable, public, or of another kind than RSA (2048 bits and more), P-256 or Ed25519.
    """
    try:
        entry = orjson.loads(raw)
        kind = _KINDS[entry["kty"]]
        key = kind.import_key(entry)
        named = kind.import_key({**entry, "kid": key.kid or key.thumbprint()})
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{whose}: expected one private JWK, no set of them: {_EXPECTED}") from error
    if not named.is_private or not _strong(named):
        raise ConfigError(f"{whose}: expected a private key: {_EXPECTED}")
    return named


def _strong(key: Any) -> bool:
    if key.key_type == "RSA":
        return bool(key.public_key.key_size >= MIN_RSA_BITS)
    return key.as_dict(private=False)["crv"] in _CURVES


def sign(header: Mapping[str, Any], content: bytes, key: Any) -> tuple[str, str]:
    """Header and signature of a compact JWS over `content`, both encoded; ``alg`` and ``kid`` are the key's.

    Raises
    ------
    ConfigError
        The key has no ``kid``: no verifier would find it.
    """
    if not key.kid:
        raise ConfigError(
            "the signing key has no kid; give it the one of the public set, or key.thumbprint() where that has none"
        )
    name = ALGORITHMS[key.key_type][0]
    head = encoded(dumps({**header, "alg": name, "kid": key.kid}))
    return head, encoded(JWSRegistry.algorithms[name].sign(f"{head}.{encoded(content)}".encode(), key))


def verify(head: str, content: bytes, seal: str, keys: Mapping[str, Any]) -> Mapping[str, Any]:
    """The header of a compact JWS over `content`, if one of `keys` signed it.

    Parameters
    ----------
    head, seal : str
        Header and signature, encoded.

    Raises
    ------
    ValueError
        It is no signature by any of them; the message says why, without any of the token's text.
    """
    if len(head) > MAX_HEADER:
        raise ValueError("the header is too long")
    try:
        header = orjson.loads(decoded(head))
        key = keys.get(header["kid"])
        if key is None:
            raise ValueError("no key is known by this kid")
        name = header["alg"]
        if name not in ALGORITHMS[key.key_type]:
            raise ValueError("the algorithm does not fit the key")
        if "crit" in header or "b64" in header:
            raise ValueError("the header has extensions")
        holds = JWSRegistry.algorithms[name].verify(f"{head}.{encoded(content)}".encode(), decoded(seal), key)
    except (orjson.JSONDecodeError, binascii.Error) as error:
        raise ValueError("it is no compact JWS") from error
    except (JoseError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"it cannot be read ({type(error).__name__})") from error
    if not holds:
        raise ValueError("the signature does not hold")
    return dict(header)


def claims_of(
    token: str, kind: str, keys: Mapping[str, Any], audience: str, members: Mapping[str, type]
) -> dict[str, Any]:
    """What a compact JWS claims, if one of `keys` signed it as a token of this `kind` for `audience`.

    Parameters
    ----------
    members : what it must hold, each of exactly this type; no more is returned

    Raises
    ------
    ValueError
        It is no such token; the message says why, without any of its text.
    """
    head, _, rest = token.partition(".")
    middle, _, seal = rest.partition(".")
    try:
        content = decoded(middle)
    except binascii.Error as error:
        raise ValueError("it is no compact JWS") from error
    header = verify(head, content, seal, keys)
    # A token that the same key signed for another purpose is none (RFC 8725, section 3.11).
    if header.get("typ") != kind:
        raise ValueError(f"its typ is not {kind}")
    try:
        claims = orjson.loads(content)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise ValueError("its payload is no JSON") from error
    if not isinstance(claims, dict):
        raise ValueError("its payload is no JSON object")
    stated = claims.get("aud")
    if audience not in (stated if isinstance(stated, list) else [stated]):
        raise ValueError("its aud does not name this installation's issuer")
    for name, wanted in members.items():
        # Exactly: a bool is an int to Python, and 7.0 an epoch to nobody.
        if type(claims.get(name)) is not wanted:
            raise ValueError(f"its {name} is missing or of another type")
    return {name: claims[name] for name in members}


def kid_of(token: str) -> str:
    """The key that a compact JWS names, for people; whether it signed, `claims_of` says."""
    return str(orjson.loads(decoded(token.partition(".")[0]))["kid"])


def token_of(kind: str, claims: Mapping[str, Any], key: Any) -> str:
    """The compact JWS of `claims` that `claims_of` reads; `key` is private, with a ``kid`` that readers trust."""
    content = dumps(dict(claims))
    head, seal = sign({"typ": kind}, content, key)
    return f"{head}.{encoded(content)}.{seal}"


def encoded(raw: bytes) -> str:
    """`raw` in base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    """What `encoded` made `text` of; `binascii.Error` for any other spelling.

    Notes
    -----
    Strict: Python's reader skips what is no base64, so that one signature would have many spellings.
    """
    try:
        raw = base64.b64decode(
            text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True
        )
    except ValueError as error:
        raise binascii.Error("not base64url") from error
    if encoded(raw) != text:
        raise binascii.Error("not canonical")
    return raw
