"""Signed second opinions: what a model or a person who was asked says of a call, by a key that is trusted for it.

A token as activations are, of another ``typ``. Verification is pure: keys come in at the start and no clock is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.errors import SchemaError
from stream import jose
from stream.core.deployment import Opinion

TOKEN_TYPE = "driftline-opinion+jwt"
MAX_BY = 64
"""Characters of a name."""


class SignedOpinions:
    """Verifies the tokens of ``opinion.given`` records.

    Parameters
    ----------
    jwks : mapping
        Public keys of those who may give opinions.
    audience : str
        This installation, as opinions name it: its issuer.

    Raises
    ------
    ConfigError
        A key is private, weak or unreadable, see `stream.jose`.
    """

    def __init__(self, jwks: Mapping[str, Any], audience: str) -> None:
        self._keys = jose.public_keys(jwks, "opinion keys")
        self._audience = audience

    def read(self, token: str) -> Opinion:
        """What `token` says, verified; raises `SchemaError` with reason ``opinion`` otherwise."""
        try:
            members = dict.fromkeys(Opinion._fields, str)
            return _opinion(jose.claims_of(token, TOKEN_TYPE, self._keys, self._audience, members))
        except ValueError as error:
            raise SchemaError("opinion", f"the opinion is not valid: {error}") from error


def sign(opinion: Opinion, audience: str, key: Any) -> str:
    """The token that says `opinion` in the installation `audience`.

    Parameters
    ----------
    key : RSAKey, ECKey or OKPKey
        Private, with a ``kid`` that the installation's workers trust.
    """
    return jose.token_of(TOKEN_TYPE, {**opinion._asdict(), "aud": audience}, key)


def _opinion(claims: Mapping[str, Any]) -> Opinion:
    opinion = Opinion(**claims)
    if opinion.opinion not in ("serves", "drifts"):
        raise ValueError("its opinion is neither serves nor drifts")
    if not 0 < len(opinion.by) <= MAX_BY or not opinion.by.isprintable():
        raise ValueError(f"its by is no name of at most {MAX_BY} printable characters")
    return opinion
