"""Signed declarations and amendments: who may say what a session is for, where the policy demands it.

A consumer cannot see who wrote a record. Where `Policy.signatures` demands it, a ``session.declared``, an
``intent.amended`` or a ``catalogue.changed`` counts only with a JSON Web Signature by a key of its own tenant. What is signed is the
whole event, with its tenant and root session filled in, so that a signature fits no other tenant, session,
number or time, and no other content. Verification is pure: keys come in at the start and no clock is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.contracts import Signable
from models.errors import ConfigError
from stream import jose
from stream.events import dumps


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
        self._keys = {
            tenant: jose.public_keys(keys, f"declaration keys of tenant {tenant!r}")
            for tenant, keys in jwks.items()
        }

    def signer(self, tenant: str, event: Signable, document: Mapping[str, Any]) -> str | None:
        """Thumbprint (RFC 7638) of the key of `tenant` that signed `event`, read from `document`; None of none. Never raises."""
        if event.signature is None or event.seq is None:
            return None
        head, _, rest = event.signature.partition(".")
        middle, _, seal = rest.partition(".")
        if middle:
            return None  # the content is the event itself: a second one in the middle would be ambiguous
        keys = self._keys.get(tenant, {})
        try:
            header = jose.verify(head, signed_content(tenant, event, document), seal, keys)
        except (ValueError, TypeError, RecursionError):
            return None  # whatever is wrong with it, it is no signature
        return str(keys[header["kid"]].thumbprint())


def load_keys(path: Path) -> SignedDeclarations:
    """The verifier of a file: a JSON object of tenants, each with its public JWK set.

    Raises
    ------
    ConfigError
        The file cannot be read, or holds something else.
    """
    document = jose.read_json(path, f"declaration keys {path}")
    if not isinstance(document, dict) or not all(isinstance(keys, dict) for keys in document.values()):
        raise ConfigError(f'declaration keys {path}: expected {{"tenant": {{"keys": [...]}}, ...}}')
    return SignedDeclarations(document)


def signed_content(tenant: str, event: Signable, document: Mapping[str, Any]) -> bytes:
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
    whole = {name: value for name, value in event.items() if name != "signature"}
    whole |= {"tenant": tenant, "root_session_id": event.get("root_session_id") or event["session_id"]}
    head, seal = jose.sign({}, dumps(whole), key)
    return {**event, "signature": f"{head}..{seal}"}
