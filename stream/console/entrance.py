"""Signing in and out: by the console's token, or at the provider that knows people."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from stream.bridge.provider import Unavailable
from stream.console.guard import BACK, BEGUN_S, LOGIN_S, WRONG_S, Access, own_page
from stream.console.provider import NotLetIn, Person, Provider

MAX_FORM = 4_096
"""Bytes of what is posted to sign in."""
MAX_ASKING = 8
"""Sign-ins of which the provider is asked at once."""
MAX_CODE = 6_144
"""Characters of a code."""
_REFUSALS = {
    "access_denied": "it was refused there, by you or by the provider",
    "login_required": "the provider wants you to sign in there first",
    "interaction_required": "the provider wants something of you first",
    "consent_required": "the provider wants your consent first",
    "invalid_scope": "the provider does not know a scope that the console's configuration names",
    "unauthorized_client": "the provider does not let the console's client do this",
    "temporarily_unavailable": "the provider is busy",
    "server_error": "the provider failed",
}
"""Errors that the provider may send a browser back with (RFC 6749, 4.1.2.1; OpenID Connect Core, 3.1.2.6); no other text of an address is shown."""

Page = Callable[..., Response]
"""Renders a page: its name, the request, the status, and what it shows."""

_log = logging.getLogger("driftline.console")


class Entrance:
    """What the addresses for signing in and out answer."""

    def __init__(self, access: Access, page: Page) -> None:
        self._access, self._page = access, page
        self._asking = asyncio.Semaphore(MAX_ASKING)

    def routes(self) -> list[Route]:
        """The addresses; those of the provider only where there is one."""
        common = [
            Route("/login", self.login, methods=["GET", "POST"]),
            Route("/logout", self.logout, methods=["POST"]),
        ]
        at_provider = [Route("/sign-in", self.sign_in), Route(BACK, self.back)]
        return common + (at_provider if self._access.provider is not None else [])

    async def login(self, request: Request) -> Response:
        """The form, and what it posts."""
        if not self._access.asks:
            return RedirectResponse("/", 303)
        if request.method != "POST" or self._access.token_file is None:
            return self._form(request, own_page(request.query_params.get("to", "/")))
        given = await posted(request, MAX_FORM) or {}
        to = own_page(given.get("to", "/"))
        if not self._access.is_token(given.get("token", "").strip()):
            await asyncio.sleep(WRONG_S)
            return self._form(request, to, 403, "That is not the token of this console.")
        answer = RedirectResponse(to, 303)
        self._let_in(request, answer, self._access.sign_in(), LOGIN_S)
        return answer

    async def logout(self, request: Request) -> Response:
        """Forget who signed in."""
        self._access.sign_out(request.headers.get("cookie", ""))
        answer = RedirectResponse("/login", 303)
        self._forget(answer, self._access.cookie, "strict")
        return answer

    async def sign_in(self, request: Request) -> Response:
        """Send a browser to the provider."""
        provider = self._provider()
        kept, begun = self._access.begin(request.query_params.get("to", "/"))
        try:
            where = await self._asked(
                provider.address(
                    self._back(request), state=begun.state, nonce=begun.nonce, verifier=begun.verifier
                )
            )
        except Unavailable as error:
            return self._away(request, begun.to, error)
        answer = RedirectResponse(where, 303)
        # Lax: the provider's page leads back here, and a strict one would stay behind.
        self._keep(answer, self._access.begun_cookie, kept, BEGUN_S, "lax")
        return answer

    async def back(self, request: Request) -> Response:
        """Let in whom the provider sends back, if this browser began it here and has not used it yet."""
        provider, query = self._provider(), request.query_params
        begun = self._access.begun(request.headers.get("cookie", ""))
        states = query.getlist("state")
        if (
            begun is None
            or len(states) != 1
            or not hmac.compare_digest(states[0].encode(), begun.state.encode())
        ):
            return self._form(
                request,
                "/",
                400,
                "Nobody was signed in: this browser began no such sign-in here, began another since, or took longer than ten minutes. Begin "
                "anew.",
            )
        if not self._access.used.use(begun.id):
            return self._form(
                request, begun.to, 400, "Nobody was signed in: this sign-in was used already. Begin anew."
            )
        try:
            person = await self._asked(self._person(provider, request, begun.nonce, begun.verifier))
        except Unavailable as error:
            return self._away(request, begun.to, error)
        except NotLetIn as error:
            await asyncio.sleep(WRONG_S)
            _log.warning("nobody was signed in: %s", str(error))
            return self._form(request, begun.to, 403, f"Nobody was signed in: {error}.")
        # A page and no redirect: on one that began elsewhere browsers leave a strict cookie behind.
        answer = self._page("welcome.html", request, to=begun.to, person=person)
        life_s = provider.openid.hours * 3600
        self._let_in(request, answer, self._access.sign_in(person, life_s), life_s)
        self._forget(answer, self._access.begun_cookie, "lax")
        _log.info("%s signed in as %s", person.name, person.role)
        return answer

    async def _person(self, provider: Provider, request: Request, nonce: str, verifier: str) -> Person:
        query = request.query_params
        # Who answers, where it says so (RFC 9207).
        if query.get("iss", provider.openid.issuer) != provider.openid.issuer:
            raise NotLetIn("another provider answered")
        if "error" in query:
            raise NotLetIn(
                _REFUSALS.get(query["error"], "the provider gives a reason that is not known here")
            )
        code = query.get("code", "")
        if not 0 < len(code) <= MAX_CODE or not code.isascii() or not code.isprintable():
            raise NotLetIn("the provider gave no code")
        return await provider.person(code, self._back(request), nonce=nonce, verifier=verifier)

    async def _asked(self, question: Any) -> Any:
        """What the provider answers, so many at once."""
        if self._asking.locked():
            question.close()
            raise Unavailable("too many sign in at once; try again in a moment")
        async with self._asking:
            return await question

    def _provider(self) -> Provider:
        assert self._access.provider is not None  # these addresses are there with it alone
        return self._access.provider

    def _back(self, request: Request) -> str:
        """Where the provider leads back to: by the name by which the browser asked, which the guard knows."""
        return f"{self._access.scheme}://{request.headers['host']}{BACK}"

    def _away(self, request: Request, to: str, error: Unavailable) -> Response:
        _log.warning("nobody can sign in: %s", error.why)
        why = f"Nobody was signed in: {self._provider().host} cannot be asked who you are ({error.why}). Try again, or tell whoever runs the console."
        return self._form(request, to, 503, why)

    def _form(self, request: Request, to: str, status: int = 200, problem: str = "") -> Response:
        provider = self._access.provider
        return self._page(
            "login.html",
            request,
            status,
            to=to,
            problem=problem,
            provider="" if provider is None else provider.host,
            takes_token=self._access.token_file is not None,
        )

    def _let_in(self, request: Request, answer: Response, login: str, life_s: float) -> None:
        """Give the browser its cookie, always a new one; the login that it had before ends."""
        self._access.sign_out(request.headers.get("cookie", ""))
        self._keep(answer, self._access.cookie, login, life_s, "strict")

    def _keep(self, answer: Response, name: str, value: str, life_s: float, site: Any) -> None:
        answer.set_cookie(
            name,
            value,
            max_age=int(life_s),
            path="/",
            secure=self._access.is_secure,
            httponly=True,
            samesite=site,
        )

    def _forget(self, answer: Response, name: str, site: Any) -> None:
        answer.delete_cookie(name, path="/", secure=self._access.is_secure, httponly=True, samesite=site)


async def posted(request: Request, most: int) -> Mapping[str, str] | None:
    """The fields of a form, the first of each name; None where there is no form, or too much of it."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > most:
            return None
    try:
        fields = parse_qs(body.decode("ascii", errors="replace"), keep_blank_values=True, max_num_fields=8)
    except ValueError:
        return None
    return {name: values[0] for name, values in fields.items()}
