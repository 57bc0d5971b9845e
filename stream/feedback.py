"""Signed verdicts of analysts on cases.

A token as rulings on what is held are, of another ``typ``, verified with the same keys. Verification is pure: keys come in at the start
and no clock is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
from pydantic import ValidationError

from models.contracts import Feedback
from models.errors import SchemaError
from stream import jose
from stream.events import milliseconds, rfc3339
from stream.outbound.feedback import cleaned

TOKEN_TYPE = "driftline-feedback+jwt"
MAX_BY = 64
"""Characters of a name, as the contract has it."""
_MEMBERS: Mapping[str, type] = dict.fromkeys(Feedback.model_fields, str) | {
    "severity_id": int,
    "enforced": bool,
}


class Heard(NamedTuple):
    """What was said, and the id of the key that signed it."""

    said: Feedback
    key: str


class SignedFeedback(jose.Responders):
    """Verifies the tokens of ``feedback.given`` records."""

    def read(self, token: str) -> Heard:
        """What `token` says, verified; raises `SchemaError` with reason ``control`` otherwise."""
        try:
            claims = jose.claims_of(token, TOKEN_TYPE, self._keys, self._audience, _MEMBERS)
            said = Feedback.model_validate(claims)
            if not said.by.isprintable():
                raise ValueError("its by is no name of printable characters")
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False, include_context=False)[0]
            where = ".".join(str(step) for step in first["loc"])
            raise SchemaError("control", f"the feedback is not valid: its {where}: {first['msg']}") from error
        except ValueError as error:
            raise SchemaError(
                "control",
                f"the feedback is not valid: {error}; `driftline feedback` signs it, with a key whose public half stands in "
                "DRIFTLINE_RESPONDER_JWKS, for this DRIFTLINE_ISSUER",
            ) from error
        header = orjson.loads(jose.decoded(token.partition(".")[0]))
        return Heard(said, str(header["kid"]))


def sign(said: Feedback, audience: str, key: Any, whom: Mapping[str, str] | None = None) -> str:
    """The token that says `said` in the installation `audience`, its comment cleaned.

    Parameters
    ----------
    key : any
        Private, with a ``kid`` that workers trust.
    whom : mapping of str to str or None
        ``iss`` and ``sub`` of whom an identity provider named, where the key is not the person's own. It stands in the token for auditors
        (``sub_id`` of RFC 9493); nothing depends on it.
    """
    claims = said.model_dump(mode="json")
    told = {"time": rfc3339(milliseconds(said.time)), "comment": cleaned(said.comment), "aud": audience}
    named = {} if whom is None else {"sub_id": {"format": "iss_sub", **whom}}
    return jose.token_of(TOKEN_TYPE, claims | told | named, key)
