"""Any OAuth 2.0 authorization server with token revocation (RFC 7009).

=========  ====================================================  =================================================
kind       what is revoked                                       what stays valid
=========  ====================================================  =================================================
of `kinds` the tokens that `token_command` names; with a refresh  access tokens at resources that check signatures
           token most servers end what was made of it             alone and ask nobody, until they expire
=========  ====================================================  =================================================

RFC 7009 takes the token itself, which never travels on the bus: events carry a reference, best the id of the grant. `token_command`
finds the tokens of a reference. It is run without a shell, hears one line of JSON on standard input,
``{"broker": ..., "kind": ..., "value": ...}``, and prints another: ``{"tokens": [{"token": ..., "hint": "refresh_token"}]}``, the hint
being optional. No tokens and exit code 0 say that all of them have ended. Exit code 3 says that the reference is not known, which is a
failure: a server answers 200 to a token that it never saw. Any other code, and silence, are tried again.

With `introspect_path` (RFC 7662) nothing is called done before the server says that the token is no longer active.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from models.contracts import CredentialRef
from stream.bridge.provider import Effect, Rejected, Unavailable
from stream.bridge.providers.http import Http, basic
from stream.bridge.providers.program import run
from stream.bridge.providers.settings import Minutes, WebProvider, secret
from stream.events import dumps

SURVIVES = "access tokens at resources that do not introspect, until they expire"
MAX_SAID = 64 * 1024
UNKNOWN = 3
"""Exit code of a token command that does not know the reference."""


class OAuthServerSettings(WebProvider):
    """An authorization server.

    Attributes
    ----------
    revoke_path, introspect_path : str
        Of its endpoints; without the second the answer to the first is believed.
    client_id, client_secret_file
        The bridge's client: most servers revoke only what was issued to the same client.
    token_command : list of str
        Program and arguments that find the tokens of a reference.
    kinds : list of str
        Kinds of reference that the command understands.
    access_token_minutes : float
        The longest life of an access token.
    """

    provider: Literal["rfc7009"]
    revoke_path: str = "/revoke"
    introspect_path: str | None = None
    client_id: str
    client_secret_file: Path
    token_command: Annotated[list[str], Field(min_length=1)]
    kinds: Annotated[list[str], Field(min_length=1)]
    access_token_minutes: Minutes = 60.0


class _Token(BaseModel):
    token: Annotated[str, Field(min_length=1, max_length=MAX_SAID)]
    hint: Literal["access_token", "refresh_token"] | None = None


class _Said(BaseModel):
    tokens: list[_Token]


_SAID = TypeAdapter(_Said)


class OAuthServer:
    """Revokes tokens; the class of `OAuthServerSettings`."""

    def __init__(self, settings: OAuthServerSettings) -> None:
        self._settings, self._http = settings, Http(settings)

    async def revoke(self, credential: CredentialRef, issued_before_s: int) -> Effect:
        """Revoke all tokens of the reference: refresh tokens first, that none makes another access token."""
        if credential.kind not in self._settings.kinds:
            known = " or ".join(self._settings.kinds)
            raise Rejected(
                f"this authorization server's references are {known}, not {credential.kind!r}; mend kinds"
            )
        tokens = await self._found(credential)
        tokens.sort(key=lambda each: each.hint != "refresh_token")
        if not tokens:
            return Effect("already_gone", "the token command says that they have ended")
        alive = [await self._is_active(each) for each in tokens]
        held = [await self._revoke(each) for each in tokens]
        for each in tokens:
            if await self._is_active(each):
                raise Unavailable(
                    "the authorization server took the revocation, and the token is still active"
                )
        gone = not any(held) or (self._settings.introspect_path is not None and not any(alive))
        life_s = self._settings.access_token_minutes * 60
        return Effect("already_gone" if gone else "done", survives=SURVIVES, survives_s=life_s)

    async def check(self) -> str:
        """Revoke a token that cannot be: 200, if the client is let in."""
        await self._revoke(_Token(token="driftline-check"))
        return f"client {self._settings.client_id} may revoke tokens"

    async def close(self) -> None:
        """Close connections."""
        await self._http.close()

    async def _revoke(self, token: _Token) -> bool:
        """Revoke a token; False where the server says, in its 200, that it knows no such token (Keycloak does)."""
        hint = {} if token.hint is None else {"token_type_hint": token.hint}
        reply = await self._http.call(
            "POST", self._settings.revoke_path, form={"token": token.token, **hint}, headers=self._headers()
        )
        if reply.status != 200:
            raise Rejected(
                f"the authorization server answered {reply.error()}; is the token this client's to revoke?"
            )
        return "error" not in (reply.body or {})

    async def _is_active(self, token: _Token) -> bool:
        """Whether the server says that a token is good; False where it is not asked."""
        if self._settings.introspect_path is None:
            return False
        reply = await self._http.call(
            "POST", self._settings.introspect_path, form={"token": token.token}, headers=self._headers()
        )
        active = (reply.body or {}).get("active")
        if reply.status != 200 or not isinstance(active, bool):
            raise Rejected(
                f"the authorization server answered {reply.error()} to introspection; mend introspect_path"
            )
        return active

    def _headers(self) -> dict[str, str]:
        return basic(self._settings.client_id, secret(self._settings.client_secret_file))

    async def _found(self, credential: CredentialRef) -> list[_Token]:
        asked = (
            dumps({"broker": credential.broker, "kind": credential.kind, "value": credential.value}) + b"\n"
        )
        code, said = await run(
            self._settings.token_command,
            asked,
            name="token_command",
            timeout_s=self._settings.timeout_s,
            most=MAX_SAID,
        )
        if code == UNKNOWN:
            raise Rejected("token_command does not know this reference, so nothing was revoked")
        if code != 0:
            raise Unavailable(
                f"token_command ended with code {code}; it should end with 0, or with 3 for what it does not know"
            )
        try:
            if len(said) > MAX_SAID:
                raise ValueError("too long")
            return _SAID.validate_json(said).tokens
        except (ValidationError, ValueError):
            # Not chained: the error would quote what was printed.
            raise Rejected('token_command printed another shape than {"tokens": [{"token": ...}]}') from None
