"""The gate's front: one table of wires over one client, and what stands before each of them: names, tokens, sizes, times."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, NamedTuple, Protocol

import orjson
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stream.gate.acs import Guardian
from stream.gate.acs_envelope import INVALID_REQUEST
from stream.gate.authzen import BadRequest, Decider, metadata
from stream.gate.callers import Callers, Stranger
from stream.gate.configuration import Configuration, WireName
from stream.gate.extmcp import STANDARD as EXTMCP
from stream.gate.extmcp import Processor
from stream.gate.interceptor_server import Endpoint
from stream.gate.interceptors import STANDARD as INTERCEPTORS
from stream.gate.interceptors import Interceptors
from stream.gate.sessions import Gate, Tasks

BODY_S = 10.0
"""How long a request's body may take."""
WRONG_S = 0.5
"""How long the answer to a wrong token takes."""
SWEEP_S = 15.0
"""How often what is idle is looked for."""
MAX_REQUEST_ID = 256
OPEN = ("/healthz", "/readyz")
"""Paths for probes, which know no token and no name."""
_log = logging.getLogger("driftline.gate")


class Swept(Protocol):
    """What a wire keeps between requests."""

    @property
    def n_sessions(self) -> int:
        """How many are known."""

    def sweep(self) -> None:
        """End what is idle."""


class Wire(NamedTuple):
    """A wire as it is served: at `routes`, which need `running` meanwhile, or by `processor` over gRPC."""

    standard: str
    routes: list[Route]
    keeps: Swept
    processor: Processor | None = None
    running: Callable[[], AbstractAsyncContextManager[None]] = nullcontext


@dataclass(frozen=True)
class Parts:
    """What wires are made of.

    Attributes
    ----------
    address : where callers find the front
    now_s, rising_s : seconds since 1970; a clock that only rises
    """

    gate: Gate
    configuration: Configuration
    callers: Callers
    address: str
    now_s: Callable[[], float]
    rising_s: Callable[[], float]

    def tasks(self) -> Tasks:
        """The sessions of a wire whose callers name them."""
        limits = self.configuration.limits
        return Tasks(self.gate, limits.sessions, limits.idle_s, self.rising_s)


def _acs(parts: Parts) -> Wire:
    secrets = parts.configuration.secrets()
    limits = parts.configuration.limits
    guardian = Guardian(parts.gate, secrets, parts.configuration.acs, limits, parts.now_s, parts.rising_s)
    sole = next(iter(secrets)) if len(secrets) == 1 else None

    async def asked(request: Request) -> Response:
        named = request.path_params.get("tenant", sole)
        # Its signature says who sends a message; adapters send no token, but a wrong one is one.
        if "authorization" in request.headers:
            tenant = parts.callers.tenant(request.headers["authorization"])
            if named is not None and named != tenant:
                raise Stranger
            named = tenant
        if named not in secrets:
            return PlainTextResponse("no such Guardian; its address is /acs/TENANT\n", 404)
        if not _is_json(request):
            return _json(_refused("Content-Type is application/json"), 415)
        try:
            raw = await _body(request, limits.body_bytes)
        except _Refused as refused:
            return _json(_refused(str(refused)), refused.status)
        return _json(await guardian.answer(named, raw))

    routes = [Route(path, asked, methods=["POST"]) for path in ("/acs", "/acs/{tenant}")]
    return Wire("OWASP Agent Control Standard 0.1.0", routes, guardian)


def _authzen(parts: Parts) -> Wire:
    limits = parts.configuration.limits
    tasks = parts.tasks()
    decider = Decider(parts.gate, tasks)

    def answering(decide: Callable[[str, bytes], Awaitable[dict[str, Any]]]) -> Callable[[Request], Any]:
        async def asked(request: Request) -> Response:
            try:
                tenant = parts.callers.tenant(request.headers.get("authorization", ""))
                if not _is_json(request):
                    raise BadRequest("Content-Type is application/json")
                return _json(await decide(tenant, await _body(request, limits.body_bytes)))
            except BadRequest as error:
                return PlainTextResponse(f"{error}\n", 400)
            except _Refused as refused:
                return PlainTextResponse(f"{refused}\n", refused.status)

        return asked

    async def described(request: Request) -> Response:
        return _json(metadata(parts.address))

    routes = [
        Route("/access/v1/evaluation", answering(decider.evaluation), methods=["POST"]),
        Route("/access/v1/evaluations", answering(decider.evaluations), methods=["POST"]),
        Route("/.well-known/authzen-configuration", described),
    ]
    return Wire("AuthZEN Authorization API 1.0", routes, tasks)


def _extmcp(parts: Parts) -> Wire:
    tasks = parts.tasks()
    return Wire(EXTMCP, [], tasks, Processor(parts.gate, tasks, parts.configuration.limits.body_bytes))


def _interceptors(parts: Parts) -> Wire:
    def tenant(scope: Scope) -> str:
        return parts.callers.tenant(Headers(scope=scope).get("authorization", ""))

    tasks, program = parts.tasks(), version("driftline")
    made = Interceptors(parts.gate, tasks, program)
    endpoint = Endpoint(made, tenant, program, parts.configuration.limits.body_bytes)
    return Wire(
        INTERCEPTORS, [Route("/mcp", endpoint, methods=["POST"])], tasks, running=endpoint.manager.run
    )


WIRES: Mapping[WireName, Callable[[Parts], Wire]] = {
    "acs": _acs,
    "authzen": _authzen,
    "extmcp": _extmcp,
    "interceptors": _interceptors,
}
"""Every wire. A new one is a module beside these, and a line here and in `configuration.WireName`."""


class Front:
    """The application, and what it does between requests."""

    def __init__(self, parts: Parts, hosts: Collection[str]) -> None:
        self.wires = {name: WIRES[name](parts) for name in dict.fromkeys(parts.configuration.wires)}
        self._client = parts.gate.client
        routes = [route for wire in self.wires.values() for route in wire.routes]
        routes += [Route("/healthz", self._health), Route("/readyz", self._ready)]
        handlers: dict[Any, Any] = {Stranger: _stranger, Exception: _failed}
        made = Starlette(routes=routes, exception_handlers=handlers, lifespan=self._running)
        self.app: ASGIApp = _Door(made, hosts)

    @asynccontextmanager
    async def _running(self, _: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as wires:
            for wire in self.wires.values():
                await wires.enter_async_context(wire.running())
            yield

    async def swept(self) -> None:
        """End what is idle, for ever."""
        while True:
            await asyncio.sleep(SWEEP_S)
            for wire in self.wires.values():
                wire.keeps.sweep()

    async def _health(self, request: Request) -> Response:
        return _json({"status": "ok"})

    async def _ready(self, request: Request) -> Response:
        reads = self._client.ready()
        counts = {name: wire.keeps.n_sessions for name, wire in self.wires.items()}
        return _json(
            {"reads_decisions": reads, "lost": self._client.lost, "sessions": counts}, 200 if reads else 503
        )


class _Door:
    """Only programs come in, by a name that the front has."""

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Cache-Control"], headers["X-Content-Type-Options"] = "no-store", "nosniff"
                if _is_id(named):
                    headers["X-Request-ID"] = named
            await send(message)

        headers = Headers(scope=scope)
        named, app = headers.get("x-request-id", ""), self._app
        if scope["path"] not in OPEN:
            # A page elsewhere whose name was pointed at this address asks with its own name (DNS rebinding).
            if headers.getlist("host") not in [[host] for host in self._hosts]:
                app = PlainTextResponse("not a name by which this is asked; see --help, --name\n", 421)
            elif headers.get("sec-fetch-site") not in (None, "none"):
                app = PlainTextResponse("asked for by a page\n", 403)
            elif named and not _is_id(named):
                app = PlainTextResponse(
                    f"X-Request-ID is no printable text of {MAX_REQUEST_ID} characters\n", 400
                )
        await app(scope, receive, told)


def _is_id(named: str) -> bool:
    return 0 < len(named) <= MAX_REQUEST_ID and named.isascii() and named.isprintable()


async def _stranger(_: Request, __: Exception) -> Response:
    await asyncio.sleep(WRONG_S)
    challenge = {"WWW-Authenticate": 'Bearer realm="driftline"'}
    return PlainTextResponse("send Authorization: Bearer TOKEN\n", 401, challenge)


async def _failed(request: Request, error: Exception) -> Response:
    _log.error("a request that nobody foresaw: %s (%s)", request.url.path, type(error).__name__)
    return PlainTextResponse("the gate failed; its operator sees why\n", 500)


class _Refused(Exception):
    """A body that is not read to its end."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


async def _body(request: Request, most: int) -> bytes:
    """A request's body; `_Refused` where it is too large, or does not come."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise _Refused(413, f"a request takes {most:,} bytes at most")
                parts.append(part)
    except TimeoutError:
        raise _Refused(408, "the request's body did not come") from None
    except ClientDisconnect:
        raise _Refused(400, "the caller went away") from None
    return b"".join(parts)


def _is_json(request: Request) -> bool:
    # A page elsewhere may post other types without asking first.
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def _refused(why: str) -> dict[str, Any]:
    return {
        "jsonrpc": "2.0",
        "id": None,
        "error": {"code": INVALID_REQUEST, "message": f"invalid request: {why}"},
    }


def _json(document: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, media_type="application/json")
