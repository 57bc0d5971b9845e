"""Keycloak, by its admin REST API.

===========  ==============================================  =================================================
kind         what is revoked                                 what stays valid
===========  ==============================================  =================================================
``sid``      that one session, online or offline, with       access tokens at resources that check signatures
             every token made of it, exchanged ones too      alone and ask nobody, until they expire
``user_id``  all online sessions of that user (*wider*)      the same, and offline sessions
===========  ==============================================  =================================================

A client-credentials token has no session: declare the session of the user whom the agent acts for, and exchange its token for the
task (RFC 8693). The bridge's client needs the role ``manage-users`` of ``realm-management``; Keycloak has none that is smaller.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from models.contracts import CredentialRef
from stream.bridge.provider import Effect, Rejected, Unavailable, named
from stream.bridge.providers.bearer import ClientCredentials
from stream.bridge.providers.http import Http, Reply, not_its_own, step
from stream.bridge.providers.settings import Minutes, WebProvider

SETTLE_S = 0.25
"""How long a session must stay away before it counts as dead (chosen: several times what an introspection takes)."""
MOST_ROUNDS = 20
GONE = ("ssion not found", "user not found")
"""How Keycloak's 404 ends that is about the thing and not about the path; it spells the first with one s more."""
SURVIVES = "access tokens at resources that do not introspect, until they expire"


class KeycloakSettings(WebProvider):
    """A realm of a Keycloak.

    Attributes
    ----------
    realm : str
        Whose sessions are revoked, and where the bridge's client lives.
    client_id, client_secret_file
        The bridge's client.
    access_token_minutes : float
        The realm's longest life of an access token: what survives a revocation, and for how long.
    """

    provider: Literal["keycloak"]
    realm: str
    client_id: str = "driftline-bridge"
    client_secret_file: Path
    access_token_minutes: Minutes = 5.0


class Keycloak:
    """Revokes sessions of one realm; the class of `KeycloakSettings`."""

    def __init__(self, settings: KeycloakSettings) -> None:
        self._settings, self._http = settings, Http(settings)
        realm = quote(settings.realm, safe="")
        self._admin = f"/admin/realms/{realm}"
        self._bearer = ClientCredentials(
            self._http,
            f"/realms/{realm}/protocol/openid-connect/token",
            settings.client_id,
            settings.client_secret_file,
        )

    async def revoke(self, credential: CredentialRef, issued_before_s: int) -> Effect:
        """End the session, or all sessions of the user."""
        life_s = self._settings.access_token_minutes * 60
        name = step(named(credential))
        if credential.kind == "sid":
            was_there = await self._end(f"/sessions/{name}")
            return Effect("done" if was_there else "already_gone", survives=SURVIVES, survives_s=life_s)
        if credential.kind == "user_id":
            reply = await self._call("POST", f"/users/{name}/logout")
            if _is_gone(reply):
                return Effect("already_gone", detail="no such user")
            return Effect("wider", "all online sessions of the user", f"offline sessions; {SURVIVES}")
        raise Rejected(
            f"Keycloak revokes by sid or user_id, not by {credential.kind!r}; declare the session's sid"
        )

    async def _end(self, path: str) -> bool:
        """End a session until it is not there twice running, with `SETTLE_S` between; whether it ever was.

        One 204 is no proof: a token that is introspected amid the call brings the session back from Keycloak's cache (seen in six
        of ten with two clients asking, 26.7.3; `python -m benchmarks.keycloak_ghosts`). Both halves are asked for, as single sign-on
        gives an online and an offline session one id. The offline call comes first: it ends both, where there are both.
        """
        was_there = settled = False
        for _ in range(MOST_ROUNDS):
            halves = ("?isOffline=true", "")
            gone = [_is_gone(await self._call("DELETE", path + half)) for half in halves]
            if not all(gone):
                was_there, settled = True, False
            elif settled:
                return was_there
            else:
                settled = True
                await asyncio.sleep(SETTLE_S)
        raise Unavailable("the session comes back as often as it is ended")

    async def check(self) -> str:
        """Ask for a session that cannot be there: the answer needs the same right as a revocation."""
        reply = await self._call("DELETE", "/sessions/driftline-check")
        if not _is_gone(reply):
            raise Unavailable(reply.error())
        return f"client {self._settings.client_id} may end sessions of realm {self._settings.realm}"

    async def close(self) -> None:
        await self._http.close()

    async def _call(self, method: str, path: str) -> Reply:
        """An answer of the admin API; a token that was refused is fetched anew, once."""
        for attempt in range(2):
            headers = await self._bearer.headers()
            reply = await self._http.call(
                method, self._admin + path, headers=headers, refusals_are_final=attempt == 0
            )
            if reply.status not in (401, 403):
                break
            self._bearer.forget()
        if reply.status == 404 and "ealm" in str((reply.body or {}).get("error")):
            raise Rejected(
                f"Keycloak knows no realm {self._settings.realm!r}; mend realm in the bridge's configuration"
            )
        return reply


def _is_gone(reply: Reply) -> bool:
    """Whether what was to end is not there, by Keycloak's own word and not by that of a gateway; False where it has ended now."""
    if reply.status == 404:
        if str((reply.body or {}).get("error")).lower().endswith(GONE):
            return True
        raise not_its_own("Keycloak", reply)
    if reply.status != 204:
        raise Rejected(f"Keycloak answered {reply.error()}")
    return False
