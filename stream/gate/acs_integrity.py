"""What binds messages of the Agent Control Standard: their one canonical form, signatures of it, and the chain of a session's steps.

Sections 8.2 (chain) and 10 (signatures) of version 0.1.0; RFC 8785 (canonical JSON), RFC 5869 (HKDF).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import rfc8785
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

ALGORITHM = "HMAC-SHA256"
_KEY_BYTES = 32


def canonical(value: Any) -> bytes:
    """RFC 8785's form of a JSON value; `ValueError` for what it has no form for: numbers past a double, half a character.

    >>> canonical({"b": 1.0, "a": "é"})
    b'{"a":"\\xc3\\xa9","b":1}'
    >>> canonical(1152921504606847000)
    b'1152921504606847000'
    """
    try:
        return rfc8785.dumps(value)
    except rfc8785.IntegerDomainError:
        return rfc8785.dumps(_as_doubles(value))


def _as_doubles(value: Any) -> Any:
    """`value` with large whole numbers as the doubles that are written so; others stay, and have no form: two would have one."""
    if isinstance(value, dict):
        return {name: _as_doubles(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_as_doubles(each) for each in value]
    if isinstance(value, int) and 2**53 <= abs(value) < 10**21:
        return float(value) if rfc8785.dumps(float(value)) == str(value).encode() else value
    return value


def session_key(secret: bytes, session_id: str) -> bytes:
    """A session's key: HKDF-SHA256 without a salt, with the session's id as what it is for."""
    derived = HKDF(algorithm=hashes.SHA256(), length=_KEY_BYTES, salt=None, info=session_id.encode())
    return derived.derive(secret)


def holder(envelope: Mapping[str, Any]) -> str:
    """Where an envelope carries its signature."""
    return next(name for name in ("params", "error", "result") if name in envelope)


def signature(envelope: Mapping[str, Any], key: bytes) -> bytes:
    """The signature of an envelope: over all of it but the signature itself."""
    place = holder(envelope)
    inner = {name: value for name, value in envelope[place].items() if name != "signature"}
    return hmac.new(key, canonical({**envelope, place: inner}), hashlib.sha256).digest()


def signed(envelope: dict[str, Any], key: bytes, key_id: str) -> dict[str, Any]:
    """`envelope` with its signature."""
    value = base64.b64encode(signature(envelope, key)).decode()
    envelope[holder(envelope)]["signature"] = {"algorithm": ALGORITHM, "value": value, "key_id": key_id}
    return envelope


def is_signed(envelope: Mapping[str, Any], key: bytes) -> bool:
    """Whether an envelope bears a signature of `key`, in a time that tells nothing of where it differs."""
    given = envelope[holder(envelope)].get("signature")
    if not isinstance(given, dict) or given.get("algorithm") != ALGORITHM:
        return False
    try:
        value = base64.b64decode(given["value"], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        return False
    return hmac.compare_digest(signature(envelope, key), value)


def entry_hash(method: str, params: Mapping[str, Any], before: str | None) -> str:
    """The head of a session's chain after a step, as whoever saw the requests can compute it, too.

    Parameters
    ----------
    params : dict
        Of the request, as it came.
    before : str or None
        The head before it; None: it is the session's first step.
    """
    entry = {
        "entry_id": params["request_id"],
        "step_id": params["request_id"],
        "step_type": method,
        "request_hash": hashlib.sha256(canonical(params)).hexdigest(),
        "timestamp": params["timestamp"],
    }
    return hashlib.sha256(canonical(entry) + bytes.fromhex(before or "")).hexdigest()
