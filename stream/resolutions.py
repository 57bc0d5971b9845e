"""Signed rulings on revocations that are held: a person sends them, or drops them.

A token as opinions are, of another ``typ``. Verification is pure: keys come in at the start and no clock is read.
"""

from __future__ import annotations

from typing import Any

from models.errors import SchemaError
from stream import jose
from stream.outbound.breaker import Resolution

TOKEN_TYPE = "driftline-held+jwt"
MAX_BY = 64
"""Characters of a name."""


class SignedResolutions(jose.Responders):
    """Verifies the tokens of ``held.resolved`` records."""

    def read(self, token: str) -> Resolution:
        """What `token` rules, verified; raises `SchemaError` with reason ``control`` otherwise."""
        try:
            members = dict.fromkeys(Resolution._fields, str)
            resolution = Resolution(**jose.claims_of(token, TOKEN_TYPE, self._keys, self._audience, members))
            if resolution.action not in ("send", "drop"):
                raise ValueError("its action is neither send nor drop")
            if not 0 < len(resolution.by) <= MAX_BY or not resolution.by.isprintable():
                raise ValueError(f"its by is no name of at most {MAX_BY} printable characters")
        except ValueError as error:
            raise SchemaError("control", f"the ruling is not valid: {error}") from error
        return resolution


def sign(resolution: Resolution, audience: str, key: Any) -> str:
    """The token that says `resolution` in the installation `audience`; `key` is private, with a ``kid`` that workers trust."""
    return jose.token_of(TOKEN_TYPE, {**resolution._asdict(), "aud": audience}, key)
