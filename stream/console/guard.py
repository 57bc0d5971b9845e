"""What stands before every page: to which host, from which page, with which method and by whom it is asked; and what browsers are told.

Pure ASGI, so that an answer that streams is guarded as any other. Signing in and out, and what an analyst says of a case, are posted;
nothing else is.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.errors import ConfigError
from stream import jose
from stream.bearer import is_token, shown
from stream.console.provider import Person, Provider, Role
from stream.events import dumps

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
BACK = "/callback"
"""Where the provider sends browsers back to."""
MAX_BACK = 8_192
"""Bytes of that address's query: a code has no bound, and those of some providers are long."""
BEGUN_S = 600
"""How long signing in at the provider may take."""
MAX_USED = 4_096
"""Sign-ins, and forms, of which it is remembered that they were used."""
MAX_TO = 512
"""Characters of the address to which signing in leads: encoded once more it still is a query."""
_POSTED = re.compile(r"/login|/logout|/sessions/[^/]{1,64}/feedback")
_OWN = re.compile(r"/(?:[a-z0-9-]+(?:/[a-z0-9-]+)*)?(?:\?[A-Za-z0-9%&=._~+-]*)?")
"""A page of the console's as an address without a host: neither ``//`` nor ``\\`` can stand at its beginning."""


class Visitor(NamedTuple):
    """Who asks.

    Attributes
    ----------
    role : Role
        An analyst may say what a case was.
    session : str
        What forms are bound to; secret, where somebody signed in at a browser.
    person : Person or None
        None where no provider says who it is.
    """

    role: Role
    session: str
    person: Person | None = None


class Login(NamedTuple):
    """A browser that is signed in: by the token, or as a person; `until_s` by the clock that only rises."""

    until_s: float
    token: str
    person: Person | None


class SignIn(NamedTuple):
    """A sign-in at the provider that a browser has begun: what only that browser, the provider and the console know of it."""

    id: str
    to: str
    state: str
    nonce: str
    verifier: str


class Once:
    """What may be used once; of so much it is remembered, the latest."""

    def __init__(self) -> None:
        self._used: OrderedDict[str, None] = OrderedDict()

    def use(self, what: str) -> bool:
        """Whether it was not used before; from now on it was."""
        if what in self._used:
            return False
        self._used[what] = None
        if len(self._used) > MAX_USED:
            self._used.popitem(last=False)
        return True

    def give_back(self, what: str) -> None:
        """It was not used after all."""
        self._used.pop(what, None)


@dataclass
class Access:
    """Who may see the console, and do what.

    Attributes
    ----------
    hosts : what the ``Host`` header may say, with the port where it is not the scheme's own
    token_file : holds the token, read at each sign-in
    is_secure : the console is reached over TLS alone
    provider : who says who somebody is; where there is neither it nor a token nobody has to sign in
    may_judge : the console has a key to sign verdicts with, so that there can be analysts
    used : sign-ins at the provider that were ended
    """

    hosts: Collection[str]
    token_file: Path | None = None
    is_secure: bool = False
    provider: Provider | None = None
    may_judge: bool = False
    used: Once = field(default_factory=Once)
    _logins: OrderedDict[str, Login] = field(default_factory=OrderedDict)
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))

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
        return is_token(given, self._token())

    def _token(self) -> str:
        """The token as its file has it now; "", which lets nobody in, where there is none any more."""
        try:
            return token_in(self.token_file) if self.token_file is not None else ""
        except ConfigError:
            return ""

    @property
    def asks(self) -> bool:
        """Whether somebody has to sign in."""
        return self.token_file is not None or self.provider is not None

    def sign_in(self, person: Person | None = None, life_s: float = LOGIN_S) -> str:
        """A new login's secret, for its cookie: of a person, or of the token, with which it ends too."""
        made = secrets.token_urlsafe(32)
        self._logins[made] = Login(time.monotonic() + life_s, self._token(), person)
        while len(self._logins) > MAX_LOGINS:
            self._logins.popitem(last=False)
        return made

    def sign_out(self, cookies: str) -> None:
        """Forget a login."""
        self._logins.pop(cookie_parser(cookies).get(self.cookie, ""), None)

    def visitor(self, headers: Headers) -> Visitor | None:
        """Who asks: somebody who is signed in, bears the token, or need not; None: nobody who may."""
        # Where people are known, verdicts are theirs: whoever has the token is nobody in particular.
        role: Role = "analyst" if self.may_judge and self.provider is None else "viewer"
        if not self.asks:
            return Visitor(role, "")
        if self.is_token(shown(headers.get("authorization", ""))):
            return Visitor(role, "bearer")
        held = cookie_parser(headers.get("cookie", "")).get(self.cookie, "")
        login = self._logins.get(held)
        if login is None or login.until_s <= time.monotonic():
            return None
        if login.person is not None:
            return Visitor(login.person.role, held, login.person)
        return Visitor(role, held) if self.is_token(login.token) else None

    # ------------------------------------------------------------------ what was begun here

    def sealed(self, *parts: str) -> str:
        """A digest of the parts that nobody else can make, and that this process alone knows again."""
        return hmac.new(self._secret, dumps([*parts]), hashlib.sha256).hexdigest()

    def is_sealed(self, seal: str, *parts: str) -> bool:
        """Whether `sealed` made it of these parts, in a time that tells nothing of where it differs."""
        return hmac.compare_digest(seal.encode(errors="replace"), self.sealed(*parts).encode())

    @property
    def begun_cookie(self) -> str:
        """The name of the cookie that knows which sign-in a browser has begun."""
        return f"{self.cookie}-begun"

    def begin(self, to: str) -> tuple[str, SignIn]:
        """A sign-in that leads to a page of the console's, and what the browser keeps of it: nothing is kept here."""
        name, until = secrets.token_urlsafe(32), str(int(time.monotonic()) + BEGUN_S)
        there = jose.encoded(own_page(to).encode())
        kept = ".".join((name, until, there, self.sealed("begun", name, until, there)))
        return kept, self._begun(name, there)

    def begun(self, cookies: str) -> SignIn | None:
        """The sign-in that a browser has begun here, if not too long ago."""
        name, _, rest = cookie_parser(cookies).get(self.begun_cookie, "").partition(".")
        until, _, rest = rest.partition(".")
        there, _, seal = rest.partition(".")
        if not self.is_sealed(seal, "begun", name, until, there) or int(until) < time.monotonic():
            return None
        return self._begun(name, there)

    def _begun(self, name: str, there: str) -> SignIn:
        to = own_page(jose.decoded(there).decode())
        return SignIn(name, to, *(self.sealed(what, name) for what in ("state", "nonce", "verifier")))


def own_page(address: str) -> str:
    """`address` if it is one of a page of the console's own, and the first page otherwise.

    >>> own_page("/sessions/0f?x=1"), own_page("//evil.example"), own_page("https://evil.example"), own_page("/\\\\evil.example")
    ('/sessions/0f?x=1', '/', '/', '/')
    """
    return address if len(address) <= MAX_TO and _OWN.fullmatch(address) else "/"


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
        why = getattr(error, "strerror", None) or "it is no text"
        raise ConfigError(
            f"the token file {path} cannot be read: {why}; make one: `openssl rand -hex 32 > {path}`"
        ) from error
    if len(token) < SHORTEST_TOKEN or not (token.isascii() and token.isprintable()):
        raise ConfigError(
            f"{path} holds no token; write one line of at least {SHORTEST_TOKEN} characters, all of ASCII: "
            f"`openssl rand -hex 32 > {path}`"
        )
    return token


class Guard:
    """The application behind it sees only what may pass."""

    open_paths: tuple[str, ...] = ("/login", "/sign-in", "/callback")
    open_folders: tuple[str, ...] = ("/static/",)

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
        headers, path = Headers(scope=scope), scope["path"]
        visitor = self._access.visitor(headers)
        if visitor is None and path not in self.open_paths and not path.startswith(self.open_folders):
            if "authorization" in headers:
                await asyncio.sleep(WRONG_S)
            return await self._stranger(scope, headers)(scope, receive, told)
        return await self._app({**scope, "visitor": visitor}, receive, told)

    def _stranger(self, scope: Scope, headers: Headers) -> ASGIApp:
        """What somebody is answered who has not signed in."""
        if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            query = scope["query_string"].decode("ascii", errors="replace")
            there = own_page(f"{scope['path']}?{query}" if query else scope["path"])
            return RedirectResponse("/login" if there == "/" else f"/login?{urlencode({'to': there})}", 303)
        return PlainTextResponse(
            "nothing was done: sign in at /login, or send Authorization: Bearer TOKEN\n", 401
        )

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        """What is answered to a request that may not pass, whoever sends it; None where it may."""
        headers = Headers(scope=scope)
        # A page elsewhere whose name was pointed at this address asks with its own name (DNS rebinding).
        if headers.getlist("host") not in [[host] for host in self._access.hosts]:
            return PlainTextResponse("not a name by which this is asked; see --help, --name\n", 421)
        if len(scope["query_string"]) > (MAX_BACK if scope["path"] == BACK else MAX_QUERY):
            return PlainTextResponse("the address is too long\n", 414)
        return self._misused(scope, headers)

    def _misused(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        path, method = scope["path"], scope["method"]
        if method not in ("GET", "HEAD", "POST") or (method == "POST" and not _POSTED.fullmatch(path)):
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
    open_folders = ()

    def _stranger(self, scope: Scope, headers: Headers) -> ASGIApp:
        return PlainTextResponse(
            "send Authorization: Bearer TOKEN\n", 401, {"WWW-Authenticate": 'Bearer realm="driftline"'}
        )

    def _misused(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        # What a page posts names its origin, which the SDK behind refuses; what it only fetches is told by this alone.
        if headers.get("sec-fetch-site") not in (None, "none"):
            return PlainTextResponse("asked for by a page\n", 403)
        return None
