"""HTTP to a provider: no redirect is followed, a reply is bounded, and what may pass is told from what will not."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus

import aiohttp
from yarl import URL

from models.errors import ConfigError
from stream.bridge.provider import Rejected, Unavailable
from stream.bridge.providers.settings import WebProvider

MAX_REPLY = 256 * 1024
"""Bytes of a reply that are read."""
_ID = re.compile(r"[A-Za-z0-9@._~-]{1,256}")
_TRY_AGAIN = (401, 403, 408, 425, 429)
"""What mends itself, or is mended at the provider while the bridge waits: a secret, a right, a limit. So do 5xx."""


def step(value: str) -> str:
    """`value` as one step of a path.

    Raises
    ------
    Rejected
        It is no id that could be one: servers and proxies disagree about what an encoded slash or dots mean.
    """
    if not _ID.fullmatch(value) or set(value) == {"."}:
        raise Rejected("the reference is no id: expected letters, digits and @ . _ - ~ alone")
    return quote(value, safe="")


def basic(client_id: str, secret: str) -> dict[str, str]:
    """A client's id and secret as a header, each form-encoded first (RFC 6749, 2.3.1).

    >>> basic("b", "50%")
    {'Authorization': 'Basic Yjo1MCUyNQ=='}
    """
    packed = f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()
    return {"Authorization": f"Basic {base64.b64encode(packed).decode()}"}


class Reply(NamedTuple):
    """What a provider answered; `body` is None where that is no JSON object."""

    status: int
    body: Mapping[str, Any] | None

    def error(self) -> str:
        """The error that it names, shortened; its own texts may quote what was sent, so no more is told."""
        named = (self.body or {}).get("error")
        return f"HTTP {self.status}" + (
            f" {named[:64]}" if isinstance(named, str) and named.isprintable() else ""
        )


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """TLS that trusts the authority of a file, or the system's; `ConfigError` where the file cannot be read."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"ca_file {ca_file} holds no certificate that can be read") from error


class Http:
    """Calls to one provider.

    Parameters
    ----------
    settings : WebProvider
        Where it is, and how long a call may take.
    tls : ssl.SSLContext or None
        Whom it trusts; None: as `trusting` makes it of the settings.

    Raises
    ------
    ConfigError
        The authority's file cannot be read.
    """

    def __init__(self, settings: WebProvider, tls: ssl.SSLContext | None = None) -> None:
        self._url, self._timeout_s = settings.url, settings.timeout_s
        self._client: aiohttp.ClientSession | None = None
        self._tls = tls or trusting(settings.ca_file)

    async def call(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        document: Any = None,
        refusals_are_final: bool = False,
    ) -> Reply:
        """One request; `path` is put behind the provider's address.

        Parameters
        ----------
        refusals_are_final : bool
            Whether 401 and 403 are handed back, like any other answer.

        Raises
        ------
        Unavailable
            No answer, one that says to come again, or one that refuses the bridge itself.
        """
        if self._client is None:
            timeout = aiohttp.ClientTimeout(total=self._timeout_s)
            self._client = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        try:
            async with self._client.request(
                method,
                URL(self._url + path, encoded=True),
                headers=headers,
                data=form,
                json=document,
                allow_redirects=False,
                ssl=self._tls,
            ) as answer:
                raw = b""
                while len(raw) <= MAX_REPLY and (more := await answer.content.read(MAX_REPLY)):
                    raw += more
        except (TimeoutError, asyncio.IncompleteReadError) as error:
            raise Unavailable(f"no answer within {self._timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(unreached(error)) from error
        reply = Reply(answer.status, _object(raw))
        if answer.status >= 500 or (
            answer.status in _TRY_AGAIN and not (refusals_are_final and answer.status in (401, 403))
        ):
            raise Unavailable(reply.error() + _mend(answer.status), retry_after_s(answer.headers))
        return reply

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None


def not_its_own(provider: str, reply: Reply) -> Unavailable:
    """What a 404 means that is not the provider's own word for a thing that is not there: nothing of the thing."""
    return Unavailable(
        f"{reply.error()}, which is not {provider}'s answer for what is gone: mend url, or what stands before it"
    )


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer asks to wait, by `Retry-After` (RFC 9110, 10.2.3) or by the second at which its limit is lifted.

    Points in time are told from the answer's own `Date`, so that no clock of ours matters.

    >>> retry_after_s({"Retry-After": "7"})
    7.0
    >>> retry_after_s({"Date": "Tue, 01 Dec 2026 10:00:00 GMT", "Retry-After": "Tue, 01 Dec 2026 10:01:00 GMT"})
    60.0
    >>> retry_after_s({"Date": "Tue, 01 Dec 2026 10:00:00 GMT", "X-Rate-Limit-Reset": "1796119205"})
    5.0
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    now_s = _seconds(headers.get("Date", ""))
    reset = headers.get("X-Rate-Limit-Reset", "").strip()
    at_s = float(reset[:12]) if reset.isascii() and reset.isdigit() else _seconds(text)
    return None if now_s is None or at_s is None else max(0.0, at_s - now_s)


def unreached(error: Exception) -> str:
    """Why there was no answer, and the mend; no words of the client's, which may quote what was sent."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
        why = getattr(cause, "verify_message", "") or "it does not hold"
        return f"its certificate is refused ({why}): set ca_file to the authority that signed it, or mend it"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "no answer: its name is not known here; mend url, or the name service"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return "no answer: it speaks no TLS that holds; mend url, https or the port"
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ConnectionRefusedError):
        return "no answer: nothing listens there; mend url, or start it"
    return f"no answer ({type(error).__name__})"


def _seconds(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError):
        return None


def _mend(status: int) -> str:
    if status == 401:
        return " (the bridge's own credentials were refused: mend its secret)"
    return " (the bridge has no right to revoke: grant it)" if status == 403 else ""


def _object(raw: bytes) -> Mapping[str, Any] | None:
    try:
        read = json.loads(raw) if len(raw) <= MAX_REPLY else None
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, dict) else None
