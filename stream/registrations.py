"""Signed words on releases: that one may be activated and where its bytes are, and what an alias such as ``@champion`` means.

Tokens as those of `stream.activations`, by the same keys, each of a ``typ`` of its own. Verification is pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from models.contracts import ReleaseAlias, ReleaseRecord
from stream import jose

RELEASE_TYPE, ALIAS_TYPE = "driftline-release+jwt", "driftline-release-alias+jwt"
CHAMPION, CHALLENGER = "champion", "challenger"
"""The alias of the release that was promoted last, and the usual one of what may be."""
MAX_PREVIOUS = 16
"""Champions before this one that an alias remembers."""
BUNDLED = ""
"""In place of a digest: the release that workers begin with."""


class Place(NamedTuple):
    """A release by its digest, and where its bytes are."""

    digest: str
    location: str


class Alias(NamedTuple):
    """What a name stands for.

    Parameters
    ----------
    alias : str
        The name, without its ``@``.
    epoch : int
        Of the activation that came with it; rising.
    previous : list of str
        Digests that it stood for before, the last first.
    by, reason : str
        Who moved it, and why it was moved although a gate failed; empty where none did.
    """

    alias: str
    digest: str
    epoch: int
    previous: list[str]
    by: str
    reason: str


_PLACE = {"digest": str, "location": str}
_ALIAS = {"alias": str, "digest": str, "epoch": int, "previous": list, "by": str, "reason": str}


class SignedRegistrations:
    """Verifies what stands on the topic of releases.

    Parameters
    ----------
    jwks : mapping or None
        Public keys that may activate releases; None trusts nobody.
    audience : str
        This installation, as tokens name it: its issuer.

    Raises
    ------
    ConfigError
        A key is private, weak or unreadable, see `stream.jose`.
    """

    def __init__(self, jwks: Mapping[str, Any] | None, audience: str) -> None:
        self._keys = {} if jwks is None else jose.public_keys(jwks, "activation keys")
        self._audience = audience

    def place(self, token: str) -> Place:
        """What a release's token says; `ValueError` where nobody trusted signed it."""
        return Place(**jose.claims_of(token, RELEASE_TYPE, self._keys, self._audience, _PLACE))

    def alias(self, token: str) -> Alias:
        """What an alias's token says; `ValueError` where nobody trusted signed it."""
        claims = jose.claims_of(token, ALIAS_TYPE, self._keys, self._audience, _ALIAS)
        if not all(isinstance(one, str) for one in claims["previous"]):
            raise ValueError("its previous are no digests")
        return Alias(**claims)


def record_of(place: Place, manifest: Mapping[str, Any], audience: str, key: Any) -> ReleaseRecord:
    """The record that registers a release; `key` is private, with a ``kid`` that workers trust."""
    token = jose.token_of(RELEASE_TYPE, {**place._asdict(), "aud": audience}, key)
    return ReleaseRecord(**place._asdict(), manifest=dict(manifest), token=token)


def alias_record_of(alias: Alias, audience: str, key: Any) -> ReleaseAlias:
    """The record that says what an alias means; `key` as of `record_of`."""
    token = jose.token_of(ALIAS_TYPE, {**alias._asdict(), "aud": audience}, key)
    return ReleaseAlias(**alias._asdict(), token=token)
