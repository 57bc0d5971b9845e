"""The gate's listener for gRPC, on a port of its own, under the rules of the one for HTTP."""

from __future__ import annotations

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

HANDSHAKE_MS, IDLE_MS = 5_000, 300_000
"""How long a connection may take to stand, and be held by nobody who asks."""
_Check = Callable[[str, bytes], Awaitable[bytes]]


class _Service(grpc.GenericRpcHandler):
    """What may be called, and by whom."""

    def __init__(self, callers: Callers, checks: Mapping[str, _Check]) -> None:
        self._callers, self._checks = callers, checks

    def service(self, details: Any) -> Any:
        """The handler of a call; None: there is no such method."""
        check = self._checks.get(details.method)
        if check is None:
            return None
        try:
            tenant = self._callers.tenant(_authorization(details.invocation_metadata))
        except Stranger:
            # Of a stream, which begins without a message: whoever sends none takes nobody's place.
            return grpc.stream_unary_rpc_method_handler(_stranger)
        return grpc.unary_unary_rpc_method_handler(partial(_answered, check, tenant))


def _authorization(metadata: Any) -> str:
    found = [value for name, value in metadata or () if name == "authorization"]
    # Two are one too many: whoever stands before us may have read the other.
    return str(found[0]) if len(found) == 1 else "" if not found else "several"


async def _answered(check: _Check, tenant: str, message: bytes, context: Any) -> bytes:
    return await check(tenant, message)


async def _stranger(_: Any, context: Any) -> None:
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
