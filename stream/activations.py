"""Signed release activations: which release goes live in a partition, said by a key that is trusted for it.

An activation is a compact JSON Web Signature. Its header has ``typ`` and the ``kid`` of a trusted key; its payload the
partition, a rising epoch, the release's digest and scope, and as ``aud`` the installation it was made for, so that
neither a token signed for something else nor one for another installation's topic of the same name activates anything.
Verification is pure: keys come in at the start and no clock is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.errors import SchemaError
from stream import jose
from stream.core.deployment import Activation

TOKEN_TYPE = "driftline-activation+jwt"
_MEMBERS = {"topic": str, "partition": int, "epoch": int, "digest": str, "scope": str}


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
        try:
            return _activation(jose.claims_of(token, TOKEN_TYPE, self._keys, self._audience, _MEMBERS))
        except ValueError as error:
            raise SchemaError("control", f"the activation is not valid: {error}") from error


def sign(activation: Activation, audience: str, key: Any) -> str:
    """The token that activates a release in one partition of the installation `audience`.

    Parameters
    ----------
    key : RSAKey, ECKey or OKPKey
        Private, with a ``kid`` that the installation's workers trust.
    """
    return jose.token_of(TOKEN_TYPE, {**activation._asdict(), "aud": audience}, key)


def _activation(claims: Mapping[str, Any]) -> Activation:
    """What a token activates whose signature holds; `ValueError` where that is nothing."""
    if claims["scope"] not in ("new", "open") or claims["epoch"] < 0:
        raise ValueError("its scope is neither new nor open, or its epoch is negative")
    return Activation(**claims)
