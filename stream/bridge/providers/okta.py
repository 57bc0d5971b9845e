"""Okta, by its management API.

===========  ================================================  ====================================================
kind         what is revoked                                   what stays valid
===========  ================================================  ====================================================
``user_id``  all Okta sessions of that user, and all OIDC and  sessions that web and native apps keep by themselves;
             OAuth tokens that Okta issued (*wider*)           JWTs at resources that ask nobody, until they expire
===========  ================================================  ====================================================

Okta ends sessions by user, so a revocation is always wider than one agent's session. Give each agent a user of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from models.contracts import CredentialRef
from stream.bridge.provider import Effect, Rejected, named
from stream.bridge.providers.http import Http, not_its_own, step
from stream.bridge.providers.settings import Minutes, WebProvider, secret

NO_SUCH = "E0000007"
"""Okta's code of a resource that is not found."""
SURVIVES = (
    "sessions that apps keep by themselves; JWTs at resources that do not introspect, until they expire"
)


class OktaSettings(WebProvider):
    """An Okta organisation.

    Attributes
    ----------
    token_file : Path
        Holds an API token (sent as ``SSWS``).
    access_token_minutes : float
        The longest life of an access token there.
    """

    provider: Literal["okta"]
    token_file: Path
    access_token_minutes: Minutes = 60.0


class Okta:
    """Clears the sessions of users; the class of `OktaSettings`."""

    def __init__(self, settings: OktaSettings) -> None:
        self._settings, self._http = settings, Http(settings)

    async def revoke(self, credential: CredentialRef, issued_before_s: int) -> Effect:
        """End all sessions and tokens of the user."""
        if credential.kind != "user_id":
            raise Rejected(f"Okta revokes by user_id, not by {credential.kind!r}; declare the agent's user")
        path = f"/api/v1/users/{step(named(credential))}/sessions?oauthTokens=true"
        reply = await self._http.call("DELETE", path, headers=self._headers())
        if reply.status == 404:
            if (reply.body or {}).get("errorCode") != NO_SUCH:
                raise not_its_own("Okta", reply)
            return Effect("already_gone", "no such user")
        if reply.status != 204:
            raise Rejected(f"Okta answered HTTP {reply.status}")
        life_s = self._settings.access_token_minutes * 60
        return Effect("wider", "all sessions and OAuth tokens of the user", SURVIVES, life_s)

    async def check(self) -> str:
        """Ask who the bridge is."""
        reply = await self._http.call("GET", "/api/v1/users/me", headers=self._headers())
        if reply.status != 200:
            raise Rejected(f"Okta answered HTTP {reply.status}")
        return "the API token is accepted; whether it may clear sessions shows at the first revocation"

    async def close(self) -> None:
        await self._http.close()

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"SSWS {secret(self._settings.token_file)}", "Accept": "application/json"}
