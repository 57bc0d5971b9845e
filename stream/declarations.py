"""Signed declarations and amendments: who may say what a session is for, where the policy demands it.

A consumer cannot see who wrote a record. Where `Policy.signatures` demands it, a ``session.declared`` or
``intent.amended`` counts only with a JSON Web Signature by a key of its own tenant. What is signed is the
whole event, with its tenant and root session filled in, so that a signature fits no other tenant, session,
number or time, and no other content. Verification is pure: keys come in at the start and no clock is read.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from models.contracts import IntentAmended, SessionDeclared
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

_KINDS: Mapping[str, Any] = {"EC": ECKey, "RSA": RSAKey, "OKP": OKPKey}


class SignedDeclarations:
    """Verifies declarations and amendments by the keys of their tenants.

    Parameters
    ----------
    jwks : mapping of str to dict
        Public JWK set of each tenant. A tenant without one has signed nothing.

    Raises
    ------
    ConfigError
        A key is private, of another kind than RSA (2048 bits and more), P-256 or Ed25519, or unreadable.

    Notes
    -----
    The keys shape decisions, so every worker and every replay needs the same ones: add a key before it is
    used, and keep the old one for as long as the log is kept.
    """

    def __init__(self, jwks: Mapping[str, Mapping[str, Any]]) -> None:
        self._keys = {tenant: dict(_named(tenant, one)) for tenant, one in jwks.items()}

    def holds(self, tenant: str, event: SessionDeclared | IntentAmended, document: Mapping[str, Any]) -> bool:
        """Whether `event`, read from `document`, is signed by a key of `tenant`; never raises."""
        if event.signature is None or event.seq is None:
            return False
        head, _, rest = event.signature.partition(".")
        middle, _, seal = rest.partition(".")
        if middle or len(head) > MAX_HEADER:
            return False  # the content is the event itself: a second one in the middle would be ambiguous
        try:
            header = orjson.loads(_decoded(head))
            key = self._keys.get(tenant, {})[header["kid"]]
            name = header["alg"]
            if name not in ALGORITHMS[key.key_type] or "crit" in header or "b64" in header:
                return False
            content = f"{head}.{_encoded(signed_content(tenant, event, document))}".encode()
            algorithm = JWSRegistry.algorithms[name]
            return bool(algorithm.verify(content, _decoded(seal), key))
        except (JoseError, ValueError, KeyError, TypeError, RecursionError):
            return False  # whatever is wrong with it, it is no signature


def load_keys(path: Path) -> SignedDeclarations:
    """The verifier of a file: a JSON object of tenants, each with its public JWK set.

    Raises
    ------
    ConfigError
        The file cannot be read, or holds something else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"declaration keys {path}: cannot be read as JSON") from error
    if not isinstance(document, dict) or not all(isinstance(one, dict) for one in document.values()):
        raise ConfigError(f'declaration keys {path}: expected {{"tenant": {{"keys": [...]}}, ...}}')
    return SignedDeclarations(document)


def signed_content(tenant: str, event: SessionDeclared | IntentAmended, document: Mapping[str, Any]) -> bytes:
    """The bytes that a signature is over: the event in canonical JSON, as the bus has it, without it.

    Notes
    -----
    Canonical is what `stream.events.dumps` writes (sorted keys, no spaces, UTF-8); for documents without
    fractional numbers that is RFC 8785. ``tenant`` and ``root_session_id`` are always present.
    """
    whole = {name: value for name, value in document.items() if name != "signature"}
    whole |= {
        "id": event.id,
        "tenant": tenant,
        "root_session_id": event.root_session_id or event.session_id,
    }
    return dumps(whole)


def sign(tenant: str, event: Mapping[str, Any], key: Any) -> dict[str, Any]:
    """`event` with its ``signature``, as a producer makes it.

    Parameters
    ----------
    key : RSAKey, ECKey or OKPKey
        Private, with a ``kid`` that the tenant's public set knows.

    Raises
    ------
    ConfigError
        The key has no ``kid``: no verifier would find it.
    """
    if not key.kid:
        raise ConfigError(
            "the signing key has no kid; give it the one of the tenant's public set, or key.thumbprint() where that has none"
        )
    whole = {name: value for name, value in event.items() if name != "signature"}
    whole |= {"tenant": tenant, "root_session_id": event.get("root_session_id") or event["session_id"]}
    name = ALGORITHMS[key.key_type][0]
    head = _encoded(dumps({"alg": name, "kid": key.kid}))
    seal = JWSRegistry.algorithms[name].sign(f"{head}.{_encoded(dumps(whole))}".encode(), key)
    return {**event, "signature": f"{head}..{_encoded(seal)}"}


def _named(tenant: str, jwks: Mapping[str, Any]) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    entries = jwks.get("keys")
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"declaration keys of tenant {tenant!r}: no JWK set with at least one key")
    for entry in entries:
        kind = _KINDS.get(str(entry.get("kty"))) if isinstance(entry, dict) else None
        try:
            key = kind.import_key(entry) if kind is not None else None
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise ConfigError(f"declaration keys of tenant {tenant!r}: a key cannot be read") from error
        if key is None or not _strong(key):
            raise ConfigError(
                f"declaration keys of tenant {tenant!r}: expected RSA of {MIN_RSA_BITS} bits, P-256 or Ed25519"
            )
        if key.is_private:
            raise ConfigError(f"declaration keys of tenant {tenant!r}: a private key; give the public one")
        found[key.kid or key.thumbprint()] = key
    return found


def _strong(key: Any) -> bool:
    if key.key_type == "RSA":
        return bool(key.public_key.key_size >= MIN_RSA_BITS)
    return key.as_dict(private=False)["crv"] in ("P-256", "Ed25519")


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    # Strict: Python's reader skips what is no base64, so that one signature would have many spellings.
    raw = base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
    if _encoded(raw) != text:
        raise binascii.Error("not canonical")
    return raw
