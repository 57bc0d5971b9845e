"""The interceptors as an MCP server, on the official SDK: over HTTP, each request for itself."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from pydantic import Field
from starlette.types import Receive, Scope, Send

from stream.gate.interceptors import EXTENSION, HOOKS, INVOKE, LIST, Interceptors, Invocation, InvokeError

TENANT = "driftline.tenant"
INTERNAL = -32_603
_log = logging.getLogger("driftline.gate.interceptors")


class _List(types.RequestParams):
    event: str | None = None


class _Invoke(types.RequestParams):
    name: str
    event: str
    phase: Literal["request", "response"]
    payload: Any = None
    config: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    timeout_ms: Annotated[float | None, Field(alias="timeoutMs", gt=0)] = None


class Endpoint:
    """Where interceptors are asked; `tenant`: whose agents a request speaks for."""

    def __init__(
        self, interceptors: Interceptors, tenant: Callable[[Scope], str], version: str, body_bytes: int
    ) -> None:
        self._tenant = tenant
        self.manager = StreamableHTTPSessionManager(
            _server(interceptors, version),
            json_response=True,
            stateless=True,
            max_request_body_size=body_bytes,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of somebody who is known."""
        scope[TENANT] = self._tenant(scope)
        await self.manager.handle_request(scope, receive, send)


def _server(interceptors: Interceptors, version: str) -> Server[Any]:
    async def listed(_: Any, asked: _List) -> dict[str, Any]:
        return interceptors.listed(asked.event)

    async def invoked(context: Any, asked: _Invoke) -> dict[str, Any]:
        seconds = None if asked.timeout_ms is None else asked.timeout_ms / 1000
        invocation = Invocation(
            asked.name,
            asked.event,
            asked.phase,
            asked.payload,
            asked.config or {},
            asked.context or {},
            seconds,
        )
        return await _answered(interceptors.invoke(context.request.scope[TENANT], invocation))

    server: Server[Any] = Server(
        "driftline", version=version, title="Driftline: is this call what was asked for?"
    )
    server.add_request_handler(LIST, _List, listed)
    server.add_request_handler(INVOKE, _Invoke, invoked)
    server.extensions[EXTENSION] = {
        "supportedEvents": sorted({each for events in HOOKS.values() for each in events})
    }
    return server


async def _answered(asking: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    try:
        return await asking
    except InvokeError as error:
        raise MCPError(code=error.code, message=str(error), data=error.data) from error
    except Exception as error:
        _log.exception("an invocation that nobody foresaw")
        raise MCPError(code=INTERNAL, message="Interceptor execution failed", data=None) from error
