"""The gate's listener for gRPC, on a port of its own, under the rules of the one for HTTP."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc

from models.errors import ConfigError
from stream.console.serving import MAX_CONNECTIONS, MAX_HEAD, STOP_S, Listen
from stream.gate.callers import Callers, Stranger
from stream.gate.extmcp import Processor
from stream.gate.extmcp_messages import SERVICE

HANDSHAKE_MS, IDLE_MS = 5_000, 30_000
"""How long a connection may take to stand, and be held by nobody who asks."""
MESSAGE_S = 10.0
"""How long a call's message may take."""
_Check = Callable[[str, bytes], Awaitable[bytes]]


class _Service(grpc.GenericRpcHandler):
    """What may be called, and by whom. Where there are several tenants, the calls of one hold half of the places at most."""

    def __init__(self, callers: Callers, checks: Mapping[str, _Check]) -> None:
        self._callers, self._checks = callers, checks
        self._share = MAX_CONNECTIONS // 2 if callers.are_several else MAX_CONNECTIONS
        self._held: Counter[str] = Counter()

    def service(self, details: Any) -> Any:
        """The handler of a call; None: there is no such method."""
        check = self._checks.get(details.method)
        if check is None:
            return None
        try:
            tenant = self._callers.tenant(_authorization(details.invocation_metadata))
        except Stranger:
            return grpc.stream_unary_rpc_method_handler(_stranger)
        # gRPC waits for the one message of a call for ever. Nothing on the wire tells it from a stream, for which we wait ourselves.
        return grpc.stream_unary_rpc_method_handler(partial(self._answered, check, tenant))

    async def _answered(
        self, check: _Check, tenant: str, messages: AsyncIterator[bytes], context: Any
    ) -> bytes:
        if self._held[tenant] >= self._share:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"{self._share} calls of this caller are being answered"
            )
        self._held[tenant] += 1
        try:
            return await check(tenant, await _message(messages, context))
        finally:
            self._held[tenant] -= 1


def _authorization(metadata: Any) -> str:
    found = [value for name, value in metadata or () if name == "authorization"]
    # Two are one too many: whoever stands before us may have read the other.
    return str(found[0]) if len(found) == 1 else "" if not found else "several"


async def _message(messages: AsyncIterator[bytes], context: Any) -> bytes:
    try:
        async with asyncio.timeout(MESSAGE_S):
            message = await anext(messages)
    except TimeoutError:
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the message did not come")
    except StopAsyncIteration:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call has no message")
    return message


async def _stranger(_: AsyncIterator[bytes], context: Any) -> None:
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, "send authorization: Bearer TOKEN")


@asynccontextmanager
async def listening(
    listen: Listen, callers: Callers, processor: Processor, message_bytes: int
) -> AsyncIterator[str]:
    """Serve ExtMCP while the block runs; gives its address.

    Raises
    ------
    ConfigError
        The address is taken.
    """
    server = grpc.aio.server(
        maximum_concurrent_rpcs=MAX_CONNECTIONS,
        options=(
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", message_bytes),
            ("grpc.max_concurrent_streams", MAX_CONNECTIONS),
            ("grpc.max_allowed_incoming_connections", MAX_CONNECTIONS),
            ("grpc.max_metadata_size", MAX_HEAD),
            ("grpc.absolute_max_metadata_size", MAX_HEAD),
            ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
            ("grpc.max_connection_idle_ms", IDLE_MS),
        ),
    )
    checks: Mapping[str, _Check] = {
        f"/{SERVICE}/CheckRequest": processor.request,
        f"/{SERVICE}/CheckResponse": processor.response,
    }
    server.add_generic_rpc_handlers((_Service(callers, checks),))
    host = f"[{listen.host}]" if listen.host.count(":") > 1 else listen.host
    credentials = _credentials(listen)
    try:
        address = f"{host}:{listen.port}"
        port = (
            server.add_insecure_port(address)
            if credentials is None
            else server.add_secure_port(address, credentials)
        )
    except RuntimeError as error:
        raise ConfigError(f"{host}:{listen.port} cannot be listened on: take another --rpc-port") from error
    await server.start()
    try:
        yield f"{host}:{port}"
    finally:
        await server.stop(STOP_S)


def _credentials(listen: Listen) -> Any:
    if listen.certificate_file is None or listen.key_file is None:
        return None
    authorities = None if listen.client_ca_file is None else listen.client_ca_file.read_bytes()
    pair = (listen.key_file.read_bytes(), listen.certificate_file.read_bytes())
    return grpc.ssl_server_credentials([pair], authorities, authorities is not None)
