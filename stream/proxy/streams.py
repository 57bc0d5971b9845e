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
)
from mcp.shared.message import ClientMessageMetadata, SessionMessage
from mcp_types import JSONRPCResponse, jsonrpc_message_adapter

from stream.proxy.messages import MAX_MESSAGE, NAMES, VERSION, meta_of
from stream.proxy.relay import Uncarried

ASK_S, READ_S = 30.0, 3_600.0
"""How long a server over HTTP may take to take a request, and to answer it: tools may work for long."""

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

    async def lines(self) -> AsyncIterator[bytes]:
        """What comes, until its end."""
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
            async for item in self._read:
                if not isinstance(item, SessionMessage):
                    _log.warning("a message could not be read (%s)", type(item).__name__)
                    continue
                if isinstance(item.message, JSONRPCResponse) and item.message.id == self._initialize:
                    version = item.message.result.get("protocolVersion")
                    self._version = version if isinstance(version, str) else None
                yield item.message.model_dump_json(by_alias=True, exclude_unset=True).encode()

    async def send(self, line: bytes) -> None:
        """Pass a message on."""
        try:
            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError as error:
            raise Uncarried from error
        metadata = self._stamp(message) if self._to_server else None
        try:
            await self._write.send(SessionMessage(message, metadata=metadata))
        except (anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
            raise ConnectionError from error

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
        if isinstance(name := document["params"].get(NAMES.get(method, "")), str):
            headers[MCP_NAME_HEADER] = encode_header_value(name)
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
