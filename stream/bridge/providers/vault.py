"""HashiCorp Vault and OpenBao, by their HTTP API.

============  ==================================================  ===================================================
kind          what is revoked                                     what stays valid
============  ==================================================  ===================================================
``lease``     that dynamic secret at its backend; ``sync`` makes  nothing of it
              Vault wait for the backend
``accessor``  that token, its child tokens, and their leases      secrets already read that are no leases, issued
                                                                  certificates whose readers check no revocation list
============  ==================================================  ===================================================

The bridge's token needs ``update`` on ``sys/leases/revoke`` and ``auth/token/revoke-accessor``. Batch tokens cannot be revoked: Vault
answers 400, and the outcome is ``failed``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from models.contracts import CredentialRef
from stream.bridge.provider import Effect, Rejected, named
from stream.bridge.providers.http import Http, Reply
from stream.bridge.providers.settings import WebProvider, secret


class VaultSettings(WebProvider):
    """A Vault or an OpenBao.

    Attributes
    ----------
    token_file : Path
        Holds the bridge's token; an agent beside it may renew the file.
    namespace : str or None
        Of Vault Enterprise and OpenBao.
    """

    provider: Literal["vault"]
    token_file: Path
    namespace: str | None = None


class Vault:
    """Revokes leases and tokens; the class of `VaultSettings`."""

    def __init__(self, settings: VaultSettings) -> None:
        self._settings, self._http = settings, Http(settings)

    async def revoke(self, credential: CredentialRef, issued_before_s: int) -> Effect:
        """Revoke the lease, or the token of the accessor."""
        if credential.kind == "lease":
            reply = await self._call("/v1/sys/leases/revoke", {"lease_id": named(credential), "sync": True})
            if reply.status == 202:
                return Effect("requested", "queued; Vault asks the backend again by itself")
            if reply.status == 204:
                return Effect("done", "Vault answers alike for a lease that it does not know")
        elif credential.kind == "accessor":
            reply = await self._call("/v1/auth/token/revoke-accessor", {"accessor": named(credential)})
            if reply.status == 204:
                return Effect("done", survives="what was already read, where it is no lease")
            if reply.status in (400, 403, 404) and _says(reply, "invalid accessor"):
                return Effect("already_gone", survives="what was already read, where it is no lease")
        else:
            raise Rejected(
                f"Vault revokes by lease or accessor, not by {credential.kind!r}; declare one of them"
            )
        raise Rejected(f"Vault answered HTTP {reply.status}")

    async def check(self) -> str:
        """Look the bridge's own token up."""
        reply = await self._http.call("GET", "/v1/auth/token/lookup-self", headers=self._headers())
        data = (reply.body or {}).get("data")
        if reply.status != 200 or not isinstance(data, dict):
            raise Rejected(f"Vault answered HTTP {reply.status} to lookup-self")
        return f"token of {data.get('display_name', 'the bridge')}, policies {data.get('policies', [])}"

    async def close(self) -> None:
        await self._http.close()

    async def _call(self, path: str, document: dict[str, object]) -> Reply:
        return await self._http.call("POST", path, headers=self._headers(), document=document)

    def _headers(self) -> dict[str, str]:
        namespace = {"X-Vault-Namespace": self._settings.namespace} if self._settings.namespace else {}
        return {"X-Vault-Token": secret(self._settings.token_file), "X-Vault-Request": "true", **namespace}


def _says(reply: Reply, text: str) -> bool:
    errors = (reply.body or {}).get("errors")
    return isinstance(errors, list) and any(text in str(each) for each in errors)
