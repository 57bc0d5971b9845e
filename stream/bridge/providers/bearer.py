"""The bridge's own access token at a provider, by the client-credentials grant (RFC 6749, 4.4)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from stream.bridge.provider import Rejected, Unavailable
from stream.bridge.providers.http import Http, basic, not_its_own
from stream.bridge.providers.settings import secret

EARLY_S = 30.0
"""How long before its end a token is no longer used."""


class ClientCredentials:
    """Fetches access tokens and keeps the latest for as long as it is good.

    Parameters
    ----------
    http : Http
        Of the authorization server.
    path : str
        Of its token endpoint.
    client_id : str
        Who the bridge is there.
    secret_file : Path
        Holds its secret, read at each request.
    scope : str or None
        What to ask for.
    in_form : bool
        Whether id and secret go into the form, in place of the header.
    """

    def __init__(
        self,
        http: Http,
        path: str,
        client_id: str,
        secret_file: Path,
        scope: str | None = None,
        *,
        in_form: bool = False,
    ) -> None:
        self._http, self._path, self._client_id, self._file = http, path, client_id, secret_file
        self._form = {"grant_type": "client_credentials"} | ({"scope": scope} if scope else {})
        self._in_form, self._one = in_form, asyncio.Lock()
        self._token, self._until_s = "", 0.0

    async def headers(self) -> dict[str, str]:
        """What a request needs to be let in.

        Raises
        ------
        Unavailable, Rejected
            There is no token to be had; for now, or as things are configured.
        """
        async with self._one:
            now_s = asyncio.get_running_loop().time()
            if now_s >= self._until_s:
                await self._fetch(now_s)
            return {"Authorization": f"Bearer {self._token}"}

    def forget(self) -> None:
        """Fetch another one next time: this one was refused."""
        self._until_s = 0.0

    async def _fetch(self, now_s: float) -> None:
        own = secret(self._file)
        who = {"client_id": self._client_id, "client_secret": own} if self._in_form else {}
        headers = {} if self._in_form else basic(self._client_id, own)
        reply = await self._http.call("POST", self._path, form={**self._form, **who}, headers=headers)
        token, life_s = (reply.body or {}).get("access_token"), (reply.body or {}).get("expires_in", 60)
        if reply.status != 200 or not isinstance(token, str) or not isinstance(life_s, int | float):
            if reply.status == 404 and reply.body is None:  # a gateway's, while the server is being replaced
                raise not_its_own("the token endpoint", reply)
            if reply.status in (400, 404):
                raise Rejected(
                    f"no access token for {self._client_id}: {reply.error()}; mend client_id or the address"
                )
            raise Unavailable(f"no access token for {self._client_id}: {reply.error()}")
        self._token, self._until_s = token, now_s + max(1.0, life_s - EARLY_S)
