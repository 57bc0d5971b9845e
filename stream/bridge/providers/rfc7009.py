"""Any OAuth 2.0 authorization server with token revocation (RFC 7009).

===============  ===============================================  ================================================
kind             what is revoked                                  what stays valid
===============  ===============================================  ================================================
``token_id``     that token; a refresh token usually with the     tokens at resources that check signatures alone
(any other too)  access tokens made of it                         and ask nobody, until they expire
===============  ===============================================  ================================================

RFC 7009 takes the token itself, which never travels on the bus. `token_command` finds it: it is run with the reference on its standard
input, prints the token, and ends with code 0; it prints nothing where that reference is not known, or no longer. Without it the
reference is sent as it is, for servers that take ids of tokens.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Literal

import aiohttp
from pydantic import Field

from models.contracts import CredentialRef
from stream.bridge.provider import Effect, Rejected, Unavailable
from stream.bridge.providers.http import Http
from stream.bridge.providers.settings import WebProvider, secret

SURVIVES = "tokens at resources that do not introspect, until they expire"
MAX_TOKEN = 64 * 1024


class OAuthServerSettings(WebProvider):
    """An authorization server.

    Attributes
    ----------
    revoke_path : str
        Of its revocation endpoint.
    client_id, client_secret_file
        The bridge's client; most servers revoke only what was issued to the same client.
    token_command : list of str or None
        Program and arguments that find the token of a reference; run without a shell.
    access_token_minutes : float
        The longest life of an access token.
    """

    provider: Literal["rfc7009"]
    revoke_path: str = "/revoke"
    client_id: str
    client_secret_file: Path
    token_command: Annotated[list[str], Field(min_length=1)] | None = None
    access_token_minutes: float = Field(default=60.0, gt=0)


class OAuthServer:
    """Revokes tokens; the class of `OAuthServerSettings`."""

    def __init__(self, settings: OAuthServerSettings) -> None:
        self._settings, self._http = settings, Http(settings)

    async def revoke(self, credential: CredentialRef, issued_before_s: int) -> Effect:
        """Revoke the token."""
        life_s = self._settings.access_token_minutes * 60
        token = credential.value
        if self._settings.token_command is not None:
            token = await self._found(self._settings.token_command, credential.value)
            if not token:
                return Effect(
                    "already_gone", "the token command knows no token of this reference", SURVIVES, life_s
                )
        reply = await self._revoke(token)
        if reply != 200:
            raise Rejected(
                f"the authorization server answered HTTP {reply}; is this token the bridge's to revoke?"
            )
        return Effect("done", "servers answer alike for a token that they do not know", SURVIVES, life_s)

    async def check(self) -> str:
        """Revoke a token that cannot be: 200, if the client is let in."""
        if (status := await self._revoke("driftline-check")) != 200:
            raise Rejected(
                f"the authorization server answered HTTP {status}; mend client_id, its secret or revoke_path"
            )
        return f"client {self._settings.client_id} may revoke tokens"

    async def close(self) -> None:
        await self._http.close()

    async def _revoke(self, token: str) -> int:
        who = aiohttp.BasicAuth(self._settings.client_id, secret(self._settings.client_secret_file))
        reply = await self._http.call("POST", self._settings.revoke_path, form={"token": token}, auth=who)
        return reply.status

    async def _found(self, command: list[str], reference: str) -> str:
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            raise Unavailable(f"token_command cannot be run: {error.strerror}") from error
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                said, _ = await process.communicate(reference.encode())
        except TimeoutError as error:
            raise Unavailable(f"token_command did not end within {self._settings.timeout_s:g} s") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise Unavailable(f"token_command ended with code {process.returncode}")
        token = said.decode("utf-8", "replace").strip()
        if len(token) > MAX_TOKEN or not token.isprintable():
            raise Rejected("token_command printed something that is no token")
        return token
