"""Microsoft Entra ID, by Microsoft Graph.

========================  ===============================================  ==============================================
kind                      what is revoked                                  what stays valid
========================  ===============================================  ==============================================
``user_id``               refresh tokens and browser sessions of that      access tokens, 60 to 90 minutes by default;
                          user for all apps (*wider*), within minutes      with continuous access evaluation up to 15
``service_principal_id``  that workload can get no new token: its          access tokens, up to 24 hours for workloads
                          service principal is disabled (*wider*)
========================  ===============================================  ==============================================

The bridge's application needs ``User.RevokeSessions.All``, and ``Application.ReadWrite.All`` to disable service principals.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import quote

from models.contracts import CredentialRef
from stream.bridge.provider import Effect, Rejected, named
from stream.bridge.providers.bearer import ClientCredentials
from stream.bridge.providers.http import Http, not_its_own, step
from stream.bridge.providers.settings import WebAddress, WebProvider


class EntraSettings(WebProvider):
    """A tenant of Entra ID.

    Attributes
    ----------
    tenant : str
        Its id or domain.
    client_id, client_secret_file
        The bridge's application.
    url : str
        Of Microsoft Graph.
    login_url : str
        Where tokens come from.
    """

    provider: Literal["entra"]
    url: WebAddress = "https://graph.microsoft.com"
    login_url: WebAddress = "https://login.microsoftonline.com"
    tenant: str
    client_id: str
    client_secret_file: Path


class Entra:
    """Revokes sign-in sessions and disables service principals; the class of `EntraSettings`."""

    def __init__(self, settings: EntraSettings) -> None:
        self._graph = Http(settings)
        self._login = Http(settings.model_copy(update={"url": settings.login_url}))
        self._bearer = ClientCredentials(
            self._login,
            f"/{quote(settings.tenant, safe='')}/oauth2/v2.0/token",
            settings.client_id,
            settings.client_secret_file,
            "https://graph.microsoft.com/.default",
            in_form=True,
        )

    async def revoke(self, credential: CredentialRef, issued_before_s: int) -> Effect:
        """Revoke the user's sign-ins, or disable the workload."""
        name, headers = step(named(credential)), await self._bearer.headers()
        if credential.kind == "user_id":
            reply = await self._graph.call(
                "POST", f"/v1.0/users/{name}/revokeSignInSessions", headers=headers
            )
            effect = Effect(
                "wider",
                "refresh tokens and browser sessions of the user, within minutes",
                "access tokens until they expire, or up to 15 minutes with continuous access evaluation",
                90 * 60,
            )
        elif credential.kind == "service_principal_id":
            reply = await self._graph.call(
                "PATCH",
                f"/v1.0/servicePrincipals/{name}",
                headers=headers,
                document={"accountEnabled": False},
            )
            effect = Effect(
                "wider", "the service principal is disabled", "access tokens until they expire", 24 * 3600
            )
        else:
            raise Rejected(
                f"Entra revokes by user_id or service_principal_id, not by {credential.kind!r}; declare one of them"
            )
        if reply.status == 404:
            error = (reply.body or {}).get("error")
            if not isinstance(error, dict) or "ResourceNotFound" not in str(error.get("code")):
                raise not_its_own("Microsoft Graph", reply)
            return Effect("already_gone", "no such user or service principal")
        if reply.status not in (200, 204):
            raise Rejected(f"Microsoft Graph answered HTTP {reply.status}")
        return effect

    async def check(self) -> str:
        """Fetch an access token."""
        await self._bearer.headers()
        return "an access token was given; whether it may revoke shows at the first revocation"

    async def close(self) -> None:
        await self._graph.close()
        await self._login.close()
