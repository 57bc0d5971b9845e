"""One token pushed to its receiver (RFC 8935), and what the answer means."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import NamedTuple

import aiohttp
import orjson
from yarl import URL

from models.errors import ConfigError
from stream.bridge.providers.http import retry_after_s, unreached
from stream.events import printable

CONTENT_TYPE = "application/secevent+jwt"
MAX_REPLY = 16 * 1024
"""Bytes of an answer that are read."""
MAX_TOLD = 200
"""Characters of what a receiver says of an error that are kept."""
ITS_OWN = (401, 403, 404, 405, 407, 408, 410, 421, 425, 429, 502, 503, 504)
"""Answers about the receiver or the way to it, whatever the token: it is waited for. So is all below 400 but 202."""
KNOWN_ERRORS = (
    *("invalid_request", "invalid_key", "invalid_issuer", "invalid_audience"),
    *("authentication_failed", "access_denied", "invalid_state"),
)
"""Registered at IANA (Security Event Token Error Codes), and ``invalid_state`` of SSF 1.0, 8.1.4.1."""


class Taken(NamedTuple):
    """202: the receiver has it."""


class Refused(NamedTuple):
    """400: the receiver will never take it; `err` and `description` as it says."""

    err: str
    description: str


class Held(NamedTuple):
    """Not taken, and worth another attempt.

    Attributes
    ----------
    why : str
        For people; nothing of what was sent.
    retry_after_s : float or None
        How long the receiver asks to be left alone.
    about_token : bool
        Whether it may be this token's fault, and others would be taken.
    """

    why: str
    retry_after_s: float | None = None
    about_token: bool = False


Answer = Taken | Refused | Held


class Pusher:
    """Pushes to one receiver: TLS checked, no redirect followed, answers bounded.

    Parameters
    ----------
    ca_file : Path or None
        The authority of its certificate; None trusts the system's.
    timeout_s : float
        After which it has not answered.

    Raises
    ------
    ConfigError
        The authority's file cannot be read.
    """

    def __init__(self, ca_file: Path | None, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._client: aiohttp.ClientSession | None = None
        try:
            self._tls = ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"ca_file {ca_file} holds no certificate that can be read") from error

    async def send(self, url: str, authorization: str | None, token: bytes) -> Answer:
        """One POST of one token."""
        if self._client is None:
            timeout = aiohttp.ClientTimeout(total=self._timeout_s)
            self._client = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        headers = {"Content-Type": CONTENT_TYPE, "Accept": "application/json"}
        if authorization is not None:
            headers["Authorization"] = authorization
        try:
            async with self._client.post(
                URL(url, encoded=True), data=token, headers=headers, allow_redirects=False, ssl=self._tls
            ) as answer:
                raw = b""
                while len(raw) < MAX_REPLY and (more := await answer.content.read(MAX_REPLY - len(raw))):
                    raw += more
                return meaning(answer.status, raw, retry_after_s(answer.headers))
        except (TimeoutError, asyncio.IncompleteReadError):
            return Held(f"no answer within {self._timeout_s:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return Held(unreached(error))
        except ValueError:
            return Held("its Authorization is no header; mend token_file")

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None


def meaning(status: int, body: bytes, retry_after: float | None) -> Answer:
    """What an answer means for the token that was sent.

    Notes
    -----
    202 alone is success (RFC 8935, 2.2). A page with 200, of a proxy for one, has not stored a revocation.
    """
    if status == 202:
        return Taken()
    if status == 400:
        try:
            said = orjson.loads(body)
        except orjson.JSONDecodeError:
            said = None
        if isinstance(said, dict) and isinstance(said.get("err"), str):
            return Refused(plain(said["err"], 64), plain(said.get("description"), MAX_TOLD))
        return Held("HTTP 400 without err; a receiver says why (RFC 8935, 2.3)", about_token=True)
    if status < 400:
        return Held(f"HTTP {status}; RFC 8935 asks for 202, and no redirect is followed", retry_after)
    return Held(f"HTTP {status}", retry_after, about_token=status not in ITS_OWN)


def plain(text: object, most: int) -> str:
    """What somebody else said, fit for one line of a log."""
    if not isinstance(text, str):
        return ""
    return printable(text[:most])
