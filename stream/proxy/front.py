"""The proxy for clients over HTTP: a connection, and a server, for each session of the protocol."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any

import anyio
from mcp.server.streamable_http import MCP_SESSION_ID_HEADER, StreamableHTTPServerTransport
from mcp.server.transport_security import RequestBodyLimitMiddleware, TransportSecuritySettings
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.errors import ConfigError
from stream.console.guard import Access, ProgramGuard
from stream.console.serving import Listen, bound_to, served
from stream.proxy.messages import INTERNAL_ERROR, INVALID_REQUEST
from stream.proxy.serving import Proxy
from stream.proxy.streams import Streams
from stream.shell.clients import told_to_stop

PATH = "/mcp"
MAX_BODY = 4 * 1024 * 1024
"""Bytes of a request over HTTP."""
IDLE_S = 1_800.0
"""After how long without a request a connection over HTTP ends."""
UNSUPPORTED = -32022
"""The protocol's code for a version that is not spoken."""

_log = logging.getLogger("driftline.proxy")


class Front:
    """The endpoint over HTTP: a connection for each session of the protocol, bounded in number.

    Parameters
    ----------
    most : int
        Connections at once, each with a server of its own.
    """

    def __init__(self, proxy: Proxy, access: Access, most: int) -> None:
        self._proxy, self._most = proxy, most
        self._security = TransportSecuritySettings(allowed_hosts=sorted(access.hosts), allowed_origins=[])
        self._open: dict[str, StreamableHTTPServerTransport] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        answer = self._refusal(scope, headers)
        if answer is not None:
            return await answer(scope, receive, send)
        name = headers.get(MCP_SESSION_ID_HEADER)
        if name is not None:
            return await self._open[name].handle_request(scope, receive, send)
        await self._begin(headers, scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        name, version = headers.get(MCP_SESSION_ID_HEADER), headers.get(MCP_PROTOCOL_VERSION_HEADER)
        if scope["path"] != PATH:
            return _refused(404, INVALID_REQUEST, f"the endpoint is {PATH}")
        if version is not None and version not in HANDSHAKE_PROTOCOL_VERSIONS:
            spoken = {"supported": list(HANDSHAKE_PROTOCOL_VERSIONS), "requested": version[:64]}
            return _refused(400, UNSUPPORTED, "over HTTP this proxy speaks versions with a handshake", spoken)
        if name is not None and name not in self._open:
            return _refused(404, INVALID_REQUEST, "Session not found")
        if name is None and len(self._open) >= self._most:
            return _refused(503, INTERNAL_ERROR, "too many connections at once")
        return None

    async def _begin(self, headers: Headers, scope: Scope, receive: Receive, send: Send) -> None:
        """A first request: its connection stands, with a server of its own, if it is an ``initialize`` that is answered well."""
        name, status = uuid.uuid4().hex, 500
        transport = StreamableHTTPServerTransport(name, security_settings=self._security, idle_timeout=IDLE_S)
        self._open[name] = transport
        header = headers.get(self._proxy.asked.header, "") if self._proxy.asked.header else ""
        stands: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._connection(name, transport, header, stands))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await asyncio.wait({task, stands}, return_when=asyncio.FIRST_COMPLETED)
            if not stands.done():
                return await _refused(502, INTERNAL_ERROR, "the server cannot be reached")(
                    scope, receive, send
                )
            await transport.handle_request(scope, receive, noting)
        finally:
            if status >= 400:
                task.cancel()

    async def _connection(
        self, name: str, transport: StreamableHTTPServerTransport, header: str, stands: asyncio.Future[None]
    ) -> None:
        try:
            async with self._proxy.reached() as back, transport.connect() as (read, write):
                stands.set_result(None)
                front = Streams(read, write, to_server=False)
                with transport.idle_scope or anyio.CancelScope():
                    self._proxy.say(await self._proxy.connected(front, back, header))
        except ConfigError as error:
            self._proxy.say(str(error))
        except Exception as error:
            _log.error("a connection failed: %s", error)
        finally:
            self._open.pop(name, None)
            with anyio.CancelScope(shield=True):
                await transport.terminate()

    async def run(self) -> None:
        """Until it is cancelled, and every connection with it."""
        try:
            await asyncio.Event().wait()
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)


async def serve_http(proxy: Proxy, listen: Listen, most: int) -> None:
    """Serve clients over HTTP until SIGTERM or SIGINT.

    Raises
    ------
    ConfigError
        The address is taken.
    """
    stop = told_to_stop()
    bound = bound_to(listen)
    port = bound.getsockname()[1]
    access = listen.access(port)
    front = Front(proxy, access, most)
    proxy.say(f"ready: MCP is at {listen.address(port)}{PATH}; Ctrl-C ends it")
    await served(
        ProgramGuard(RequestBodyLimitMiddleware(front, MAX_BODY), access), listen, bound, front.run(), stop
    )


def _refused(status: int, code: int, text: str, data: Any = None) -> ASGIApp:
    error = {"code": code, "message": text} | ({} if data is None else {"data": data})
    return JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, status)
