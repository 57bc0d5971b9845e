"""The sides of a connection that are the SDK's transports over HTTP, read and written as lines."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import httpx2
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.inbound import (
    MCP_METHOD_HEADER,
    MCP_NAME_HEADER,
    MCP_PROTOCOL_VERSION_HEADER,
    encode_header_value,
    find_invalid_x_mcp_header,
    mcp_param_headers,
    x_mcp_header_map,
)
from mcp.shared.message import ClientMessageMetadata, ServerMessageMetadata, SessionMessage
from mcp_types import (
    JSONRPCError,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    jsonrpc_message_adapter,
)

from stream.proxy.messages import MAX_MESSAGE, NAMES, TOOL_CALL, VERSION, meta_of
from stream.proxy.relay import Uncarried

ASK_S, READ_S = 30.0, 3_600.0
"""How long a server over HTTP may take to take a request, and to answer it: tools may work for long."""
MAX_TOOLS = 10_000
"""Tools of which it is known what stands in headers."""

_log = logging.getLogger("driftline.proxy")


class Streams:
    """A transport of the SDK, whose messages are read and written as lines.

    Parameters
    ----------
    to_server : bool
        Whether a server stands at its other end, which wants to be told in headers what bodies say.
    """

    def __init__(self, read: Any, write: Any, *, to_server: bool) -> None:
        self._read, self._write, self._to_server = read, write, to_server
        self._version: str | None = None
        self._initialize: Any = None
        self._headers: dict[str, dict[tuple[str, ...], str]] = {}  # of tools, by their arguments
        self._open: dict[Any, Any] = {}  # what ends the answer to a client's request that gets none

    async def lines(self) -> AsyncIterator[bytes]:
        """What comes, until its end."""
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
            async for item in self._read:
                if not isinstance(item, SessionMessage):
                    _log.warning("a message could not be read (%s)", type(item).__name__)
                    continue
                message = item.message
                if isinstance(message, JSONRPCResponse):
                    self._learn(message)
                elif isinstance(item.metadata, ServerMessageMetadata) and isinstance(message, JSONRPCRequest):
                    self._open[message.id] = item.metadata.on_request_unanswered
                yield message.model_dump_json(by_alias=True, exclude_unset=True).encode()
                if isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
                    await self._ended((message.params or {}).get("requestId"))

    async def _ended(self, request: Any) -> None:
        """End the answer to a request that was cancelled: its client waits for nothing more."""
        ends = self._open.pop(request, None) if isinstance(request, int | str) else None
        if ends is not None:
            await ends()

    def _learn(self, answer: JSONRPCResponse) -> None:
        """What a server's answer says of headers: the version that it speaks, and arguments that stand in headers too."""
        version, tools = answer.result.get("protocolVersion"), answer.result.get("tools")
        if answer.id == self._initialize:
            self._version = version if isinstance(version, str) else None
        for tool in tools if isinstance(tools, list) else ():
            name, schema = (
                (tool.get("name"), tool.get("inputSchema")) if isinstance(tool, dict) else (None, None)
            )
            if isinstance(name, str) and (len(self._headers) < MAX_TOOLS or name in self._headers):
                self._headers[name] = {} if find_invalid_x_mcp_header(schema) else x_mcp_header_map(schema)

    async def send(self, line: bytes) -> None:
        """Pass a message on."""
        try:
            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError as error:
            raise Uncarried from error
        if isinstance(message, JSONRPCResponse | JSONRPCError):
            self._open.pop(message.id, None)
        metadata = self._stamp(message) if self._to_server else None
        try:
            await self._write.send(SessionMessage(message, metadata=metadata))
        except (anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
            raise ConnectionError from error

    def finish(self) -> bool:
        """Its transport ends both ways at once."""
        return False

    def _stamp(self, message: Any) -> ClientMessageMetadata | None:
        """The headers of a message: the version of the protocol, and where it has no handshake what the body says."""
        document = message.model_dump(by_alias=True, exclude_unset=True)
        method, version = document.get("method"), meta_of(document).get(VERSION)
        if method == "initialize":
            self._initialize = document.get("id")
            return None
        if not isinstance(version, str):
            return (
                None
                if self._version is None
                else ClientMessageMetadata(headers={MCP_PROTOCOL_VERSION_HEADER: self._version})
            )
        headers = {MCP_PROTOCOL_VERSION_HEADER: version, MCP_METHOD_HEADER: method}
        params = document["params"]
        if isinstance(name := params.get(NAMES.get(method, "")), str):
            headers[MCP_NAME_HEADER] = encode_header_value(name)
        if method == TOOL_CALL and isinstance(arguments := params.get("arguments"), dict):
            headers |= mcp_param_headers(self._headers.get(name, {}), arguments)
        return ClientMessageMetadata(headers=headers)


@asynccontextmanager
async def at(url: str, token: str) -> AsyncIterator[Streams]:
    """A server at an address, told the token that it asks for."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(ASK_S, read=READ_S)) as http,
        streamable_http_client(url, http_client=http, max_sse_event_size=MAX_MESSAGE) as (read, write),
    ):
        yield Streams(read, write, to_server=True)
