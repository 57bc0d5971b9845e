"""An OTLP/HTTP receiver of traces (OTLP 1.11): protobuf or JSON, gzipped or not, on ``/v1/traces``."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

import orjson
from aiohttp import web
from google.rpc.code_pb2 import INTERNAL, INVALID_ARGUMENT, UNAUTHENTICATED, UNAVAILABLE, UNIMPLEMENTED
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from models.errors import ConfigError, InputError
from stream.bearer import is_token, shown, token_of
from stream.offline.imports import otlp
from stream.offline.imports.steps import Notes
from stream.shell.health import SHORTEST_TOKEN
from stream.shell.span_feed import PAUSE_S, Feed
from stream.shell.transmit_http import Server
from stream.tls import is_loopback
from stream.transmit.configuration import Listen

PATH = "/v1/traces"
PROTOBUF, JSON = "application/x-protobuf", "application/json"
MAX_BODY = 16 << 20
"""Bytes of a request, unpacked (the Collector's own receiver takes 20 MiB)."""
MOST_BODIES = 8
"""Requests that are read at the same time; others are told to come again (429)."""
BODY_S = 30.0
"""How long a request's body may take."""
RETRY_S = 5
"""When to come again, in seconds, while the bus is away."""

_log = logging.getLogger("driftline.otel")


def checked(listen: Listen, token_file: Path | None) -> None:
    """Raise `ConfigError` where anybody of the network could write, or the token is none; `Listen` itself demands TLS there."""
    if token_file is None and not is_loopback(listen.host):
        raise ConfigError(
            f"a receiver on {listen.host} would be open to the network: it needs a token (--token-file, DRIFTLINE_OTEL_TOKEN_FILE); "
            "or listen on 127.0.0.1"
        )
    if token_file is not None and not token_of(token_file, SHORTEST_TOKEN):
        raise ConfigError(
            f"{token_file} holds no token; write one line of at least {SHORTEST_TOKEN} characters"
        )


class Receiver:
    """Takes what exporters send.

    Parameters
    ----------
    feed : Feed
    token_file : Path or None
        Holds the bearer token, read at each request so that it can be rotated; None: nobody has to show one.
    """

    def __init__(self, feed: Feed, token_file: Path | None) -> None:
        self._feed, self._token_file = feed, token_file
        self._bodies = 0

    def application(self) -> web.Application:
        """What is served."""
        made = web.Application(client_max_size=MAX_BODY)
        made.router.add_post(PATH, self._answered)
        return made

    async def _answered(self, request: web.Request) -> web.Response:
        kind = request.content_type
        try:
            answer = await self._taken(request, kind)
        except web.HTTPRequestEntityTooLarge:
            answer = _failed(
                kind, 413, INVALID_ARGUMENT, f"more than {MAX_BODY >> 20} MiB: send smaller batches"
            )
        except TimeoutError:
            answer = _failed(kind, 408, UNAVAILABLE, "the body did not come")
        except (web.RequestPayloadError, web.HTTPBadRequest):
            answer = _failed(kind, 400, INVALID_ARGUMENT, "the body is not packed as Content-Encoding says")
        except Exception:
            _log.exception("a request that nobody foresaw")
            answer = _failed(kind, 500, INTERNAL, "the receiver failed; its operator sees why")
        answer.headers["Server"] = "driftline"
        return answer

    async def _taken(self, request: web.Request, kind: str) -> web.Response:
        if not self._may(request):
            answer = _failed(kind, 401, UNAUTHENTICATED, "a bearer token is required")
            answer.headers["WWW-Authenticate"] = "Bearer"
            return answer
        if kind not in (PROTOBUF, JSON):
            return _failed(JSON, 415, UNIMPLEMENTED, f"send {PROTOBUF} or {JSON}")
        if self._feed.is_behind:
            return _later(kind, 503, RETRY_S, "the bus is away")
        if self._bodies >= MOST_BODIES:
            return _later(kind, 429, 1, "too much at once")
        self._bodies += 1
        try:
            async with asyncio.timeout(BODY_S):
                raw = await request.read()
            return await self._fed(raw, kind)
        finally:
            self._bodies -= 1

    async def _fed(self, raw: bytes, kind: str) -> web.Response:
        notes, read = self._feed.notes, Notes()
        try:
            if kind == JSON and not raw.strip():
                raise InputError("request: not one JSON object")
            # A long body takes seconds: whoever else sends is answered meanwhile.
            spans = await asyncio.to_thread(otlp.spans_in, raw, read, "request")
        except InputError as error:
            notes.refuse("a request", str(error))
            return _failed(kind, 400, INVALID_ARGUMENT, str(error))
        before, notes.first = notes.first, read.first
        refused = notes.refused
        made = self._feed.joiner.take(spans, asyncio.get_running_loop().time())
        rejected, why = read.refused + notes.refused - refused, notes.first
        notes.first = before or why
        notes.refused += read.refused
        notes.lost += read.lost
        # Taken, and kept until the broker has it: those that come meanwhile are told to wait.
        await self._feed.push(made)
        told = ExportTraceServiceResponse()
        if rejected:
            told.partial_success.rejected_spans = rejected
            told.partial_success.error_message = why
        if kind == PROTOBUF:
            return web.Response(body=told.SerializeToString(), content_type=PROTOBUF)
        partial = (
            {"partialSuccess": {"rejectedSpans": str(rejected), "errorMessage": why}} if rejected else {}
        )
        return web.Response(body=orjson.dumps(partial), content_type=JSON)

    def _may(self, request: web.Request) -> bool:
        if self._token_file is None:
            return True
        given = shown(request.headers.get("Authorization", ""))
        return is_token(given, token_of(self._token_file, SHORTEST_TOKEN))


def _failed(kind: str, status: int, code: int, why: str) -> web.Response:
    """A refusal with its ``google.rpc.Status``, as OTLP asks; it quotes nothing of the request."""
    if kind == PROTOBUF:
        body = Status(code=code, message=why).SerializeToString()
    else:
        kind, body = JSON, orjson.dumps({"code": code, "message": why})
    return web.Response(status=status, body=body, content_type=kind)


def _later(kind: str, status: int, after_s: int, why: str) -> web.Response:
    answer = _failed(kind, status, UNAVAILABLE, f"{why}; come again")
    answer.headers["Retry-After"] = str(after_s)
    return answer


async def receive(feed: Feed, server: Server, stop: asyncio.Event) -> None:
    """Serve until told to stop, by a server that listens; then tell all that is held."""
    renewing = asyncio.create_task(server.renew())
    loop = asyncio.get_running_loop()
    try:
        while not stop.is_set():
            await feed.turn(loop.time())
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSE_S / 2):
                    await stop.wait()
    finally:
        renewing.cancel()
        await server.stop()
        await feed.finish()
