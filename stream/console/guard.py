"""What stands before every page: to which host, from which page, with which method and by whom it is asked; and what browsers are told.

Pure ASGI, so that an answer that streams is guarded as any other. Pages change nothing: only signing in and out are posted.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.errors import ConfigError

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cache-Control": "no-store",
}
SHORTEST_TOKEN = 32
"""Characters of the console's token, at least (chosen): nobody guesses 32 random ones."""
MAX_LOGINS, LOGIN_S = 256, 12 * 3600.0
"""Browsers that are signed in at once; after how long they sign in again."""
WRONG_S = 0.5
"""How long the answer to a wrong token takes."""
MAX_QUERY = 2_048
"""Bytes of an address's query."""


@dataclass
class Access:
    """Who may see the console.

    Attributes
    ----------
    hosts : what the ``Host`` header may say, with the port where it is not the scheme's own
    token_file : holds the token, read at each sign-in; None: nobody has to sign in
    is_secure : the console is reached over TLS alone
    """

    hosts: Collection[str]
    token_file: Path | None = None
    is_secure: bool = False
    _logins: OrderedDict[str, tuple[float, str]] = field(default_factory=OrderedDict)

    @property
    def cookie(self) -> str:
        """The cookie's name: over TLS one that no other host or path can set."""
        return "__Host-driftline" if self.is_secure else "driftline"

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return "https" if self.is_secure else "http"

    def is_token(self, given: str) -> bool:
        """Whether it is the token, in a time that tells nothing of where it differs."""
        token = self._token()
        return bool(token) and hmac.compare_digest(given.encode(errors="replace"), token.encode())

    def _token(self) -> str:
        """The token as its file has it now; "", which lets nobody in, where there is none any more."""
        try:
            return token_in(self.token_file) if self.token_file is not None else ""
        except ConfigError:
            return ""

    def sign_in(self) -> str:
        """A new login's secret, for its cookie; it holds as long as the token does."""
        made = secrets.token_urlsafe(32)
        self._logins[made] = time.monotonic() + LOGIN_S, self._token()
        while len(self._logins) > MAX_LOGINS:
            self._logins.popitem(last=False)
        return made

    def sign_out(self, cookies: str) -> None:
        """Forget a login."""
        self._logins.pop(cookie_parser(cookies).get(self.cookie, ""), None)

    def allows(self, headers: Headers) -> bool:
        """Whether who asks is signed in, bears the token, or need not."""
        if self.token_file is None:
            return True
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(bearer.strip()):
            return True
        held = cookie_parser(headers.get("cookie", "")).get(self.cookie, "")
        until, token = self._logins.get(held, (0.0, ""))
        return until > time.monotonic() and self.is_token(token)


def token_in(path: Path) -> str:
    """The token in a file; `ConfigError` where there is none that is long enough.

    Raises
    ------
    ConfigError
        The file cannot be read, or holds too little.
    """
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"the token file {path} cannot be read ({type(error).__name__})") from error
    if len(token) < SHORTEST_TOKEN:
        raise ConfigError(
            f"{path} holds no token; write one line of at least {SHORTEST_TOKEN} characters: `openssl rand -hex 32 > {path}`"
        )
    return token


class Guard:
    """The application behind it sees only what may pass."""

    open_paths: tuple[str, ...] = ("/login", "/static/")

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":
            return  # no websocket is spoken: the server refuses it

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                if self._access.is_secure:
                    headers["Strict-Transport-Security"] = "max-age=31536000"
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            return await refusal(scope, receive, told)
        if not self._access.allows(headers := Headers(scope=scope)) and not scope["path"].startswith(
            self.open_paths
        ):
            if "authorization" in headers:
                await asyncio.sleep(WRONG_S)
            return await self._stranger(scope, headers)(scope, receive, told)
        return await self._app(scope, receive, told)

    def _stranger(self, scope: Scope, headers: Headers) -> ASGIApp:
        """What somebody is answered who has not signed in."""
        if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            return RedirectResponse("/login", 303)
        return PlainTextResponse("sign in at /login, or send Authorization: Bearer TOKEN\n", 401)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        """What is answered to a request that may not pass, whoever sends it; None where it may."""
        headers = Headers(scope=scope)
        # A page elsewhere whose name was pointed at this address asks with its own name (DNS rebinding).
        if headers.getlist("host") not in [[host] for host in self._access.hosts]:
            return PlainTextResponse("not a name by which this is asked; see --help, --name\n", 421)
        if len(scope["query_string"]) > MAX_QUERY:
            return PlainTextResponse("the address is too long\n", 414)
        return self._misused(scope, headers)

    def _misused(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        path, method = scope["path"], scope["method"]
        if method not in ("GET", "HEAD", "POST") or (method == "POST" and path not in ("/login", "/logout")):
            return PlainTextResponse("the console only shows\n", 405, {"Allow": "GET, HEAD"})
        if method == "POST" and not self._is_own(headers):
            return PlainTextResponse("posted from another page\n", 403)
        # Links from elsewhere may lead here; nothing of another page's may be drawn from here.
        if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            return PlainTextResponse("asked for by another page\n", 403)
        return None

    def _is_own(self, headers: Headers) -> bool:
        """Whether a page of the console's own posts: under ``no-referrer`` browsers say an origin of ``null``, and beside it whose."""
        origin = headers.get("origin")
        own = f"{self._access.scheme}://{headers['host']}"
        return origin == own or (origin == "null" and headers.get("sec-fetch-site") == "same-origin")


class ProgramGuard(Guard):
    """What stands before an endpoint to which programs post: the same hosts and token, no page and no cookie."""

    open_paths = ()

    def _stranger(self, scope: Scope, headers: Headers) -> ASGIApp:
        return PlainTextResponse(
            "send Authorization: Bearer TOKEN\n", 401, {"WWW-Authenticate": 'Bearer realm="driftline"'}
        )

    def _misused(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        # What a page posts names its origin, which the SDK behind refuses; what it only fetches is told by this alone.
        if headers.get("sec-fetch-site") not in (None, "none"):
            return PlainTextResponse("asked for by a page\n", 403)
        return None
