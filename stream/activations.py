"""Signed release activations: which release goes live in a partition, said by a key that is trusted for it.

An activation is a compact JSON Web Signature. Its header has ``typ`` and the ``kid`` of a trusted key; its payload the
partition, a rising epoch, the release's digest and scope, and as ``aud`` the installation it was made for, so that
neither a token signed for something else nor one for another installation's topic of the same name activates anything.
Verification is pure: keys come in at the start and no clock is read.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import Any

import orjson

from models.errors import SchemaError
from stream import jose
from stream.core.deployment import Activation
from stream.events import dumps

TOKEN_TYPE = "driftline-activation+jwt"
"""What ``typ`` must say: a token that the same key signed for another purpose is none (RFC 8725, section 3.11)."""


class SignedActivations:
    """Verifies the tokens of ``release.activated`` records.

    Parameters
    ----------
    jwks : mapping or None
        Public keys that may activate releases; None trusts nobody, so that every activation goes to quarantine.
    audience : str
        This installation, as activations name it: its issuer.

    Raises
    ------
    ConfigError
        A key is private, weak or unreadable, see `stream.jose`.
    """

    def __init__(self, jwks: Mapping[str, Any] | None, audience: str) -> None:
        self._keys = None if jwks is None else jose.public_keys(jwks, "activation keys")
        self._audience = audience

    def read(self, token: str) -> Activation:
        """What `token` activates, verified; raises `SchemaError` with reason ``control`` otherwise."""
        if self._keys is None:
            raise SchemaError("control", "no key is trusted to activate releases")
        head, _, rest = token.partition(".")
        middle, _, seal = rest.partition(".")
        try:
            content = jose.decoded(middle)
            header = jose.verify(head, content, seal, self._keys)
            return _activation(header, orjson.loads(content), self._audience)
        except binascii.Error as error:
            raise SchemaError("control", "the activation is not valid: it is no compact JWS") from error
        except (ValueError, RecursionError) as error:
            raise SchemaError("control", f"the activation is not valid: {_why(error)}") from error


def sign(activation: Activation, audience: str, key: Any) -> str:
    """The token that activates a release in one partition of the installation `audience`.

    Parameters
    ----------
    key : RSAKey, ECKey or OKPKey
        Private, with a ``kid`` that the installation's workers trust.
    """
    content = dumps({**activation._asdict(), "aud": audience})
    head, seal = jose.sign({"typ": TOKEN_TYPE}, content, key)
    return f"{head}.{jose.encoded(content)}.{seal}"


def _activation(header: Mapping[str, Any], claims: Any, audience: str) -> Activation:
    """What a token whose signature holds activates; `ValueError` where it is none, or is for somebody else."""
    if header.get("typ") != TOKEN_TYPE:
        raise ValueError(f"its typ is not {TOKEN_TYPE}")
    if not isinstance(claims, dict):
        raise ValueError("its payload is no JSON object")
    stated = claims.get("aud")
    if audience not in (stated if isinstance(stated, list) else [stated]):
        raise ValueError("its aud does not name this installation's issuer")
    for name, wanted in (("topic", str), ("partition", int), ("epoch", int), ("digest", str), ("scope", str)):
        # Exactly: a bool is an int to Python, and 7.0 an epoch to nobody.
        if type(claims.get(name)) is not wanted:
            raise ValueError(f"its {name} is missing or of another type")
    if claims["scope"] not in ("new", "open") or claims["epoch"] < 0:
        raise ValueError("its scope is neither new nor open, or its epoch is negative")
    return Activation(**{name: claims[name] for name in Activation._fields})


def _why(error: Exception) -> str:
    """What to say of an error: our own sentence, or the kind of a library's, which may quote the payload."""
    return str(error) if type(error) is ValueError else "its payload is no JSON"
