"""What receivers reach over HTTP: metadata, keys, the stream management API (SSF 1.0, sections 7 and 8.1), and polls (RFC 8936)."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from aiohttp import web
from aiokafka.errors import KafkaError

from models.errors import ConfigError
from stream.transmit import stream
from stream.transmit.access import Access, Caller, Denied
from stream.transmit.configuration import POLL, PUSH, Configuration, Listen
from stream.transmit.stream import Problem
from stream.transmit.streams import Streams

MAX_BODY = 256 * 1024
"""Bytes of a request; an acknowledgement of 1,000 tokens takes a quarter of it."""
KEPT_S = 300
"""How long receivers may keep metadata and keys: a new key is published longer before it signs (chosen)."""
BODY_S = 10.0
"""How long a request's body may take."""
RELOAD_S = 10.0
"""How often the certificate's files are looked at."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = logging.getLogger("driftline.transmit")


def metadata(streams: Streams, configuration: Configuration) -> dict[str, Any]:
    """The transmitter's metadata (SSF 1.0, 7.1)."""
    url = configuration.url
    schemes = [{"spec_urn": "urn:ietf:rfc:6750"}]
    if configuration.oauth is not None:
        schemes.insert(0, {"spec_urn": "urn:ietf:rfc:6749"})
    return {
        "spec_version": "1_0",
        "issuer": streams.terms.issuer,
        "jwks_uri": f"{url}/ssf/jwks.json",
        "delivery_methods_supported": [PUSH, POLL],
        "configuration_endpoint": f"{url}/ssf/stream",
        "status_endpoint": f"{url}/ssf/status",
        "verification_endpoint": f"{url}/ssf/verify",
        "critical_subject_members": ["session"],
        "authorization_schemes": schemes,
        "default_subjects": "ALL",
    }


def well_known(issuer: str) -> str:
    """The path of the metadata: before the issuer's own (SSF 1.0, 7.2).

    >>> well_known("https://driftline.example.com/ssf"), well_known("https://driftline.example.com")
    ('/.well-known/ssf-configuration/ssf', '/.well-known/ssf-configuration')
    """
    return "/.well-known/ssf-configuration" + urlsplit(issuer).path.rstrip("/")


def application(streams: Streams, configuration: Configuration, access: Access) -> web.Application:
    """Everything that is served."""

    def caller(request: web.Request, *, manages: bool) -> Caller:
        # Never from the query: it ends in logs (RFC 6750, 2.3; the Interoperability Profile forbids it).
        return access.caller(request.headers.get("Authorization"), manages=manages)

    async def told(request: web.Request) -> web.Response:
        return _public(metadata(streams, configuration))

    async def keys(request: web.Request) -> web.Response:
        return _public(streams.jwks())

    async def read_stream(request: web.Request) -> web.Response:
        who = caller(request, manages=False)
        streams.must_serve()
        if "stream_id" not in request.query:
            return _json(streams.told(who.receiver))
        lane = streams.lane(who.receiver, request.query["stream_id"])
        return _json(stream.told(lane.record, lane.receiver, streams.terms))

    async def create_stream(request: web.Request) -> web.Response:
        who = caller(request, manages=True)
        return _json(await streams.create(who.receiver, await _body(request)), 201)

    async def update_stream(request: web.Request) -> web.Response:
        who = caller(request, manages=True)
        return _json(await streams.change(who.receiver, await _body(request), stream.updated))

    async def replace_stream(request: web.Request) -> web.Response:
        who = caller(request, manages=True)
        return _json(await streams.change(who.receiver, await _body(request), stream.replaced))

    async def delete_stream(request: web.Request) -> web.Response:
        who = caller(request, manages=True)
        await streams.delete(who.receiver, request.query.get("stream_id"))
        return web.Response(status=204)

    async def read_status(request: web.Request) -> web.Response:
        who = caller(request, manages=False)
        streams.must_serve()
        lane = streams.lane(who.receiver, request.query.get("stream_id"))
        return _json(stream.status_told(lane.record))

    async def update_status(request: web.Request) -> web.Response:
        who = caller(request, manages=True)
        return _json(await streams.set_status(who.receiver, await _body(request)))

    async def verify(request: web.Request) -> web.Response:
        who = caller(request, manages=True)
        await streams.verify(who.receiver, await _body(request))
        return web.Response(status=204)

    async def poll(request: web.Request) -> web.Response:
        who = caller(request, manages=True)
        streams.must_serve()
        lane = streams.lane(who.receiver, request.match_info["stream_id"])
        if lane.record.delivery.method != POLL:
            raise Problem(404, "this stream is pushed, not polled")
        return _json(await lane.poll(await _body(request), lambda: request.transport is None))

    made = web.Application(client_max_size=MAX_BODY, middlewares=[_answered])
    made.router.add_get(well_known(streams.terms.issuer), told)
    made.router.add_get("/ssf/jwks.json", keys)
    made.router.add_get("/ssf/stream", read_stream)
    made.router.add_post("/ssf/stream", create_stream)
    made.router.add_patch("/ssf/stream", update_stream)
    made.router.add_put("/ssf/stream", replace_stream)
    made.router.add_delete("/ssf/stream", delete_stream)
    made.router.add_get("/ssf/status", read_status)
    made.router.add_post("/ssf/status", update_status)
    made.router.add_post("/ssf/verify", verify)
    made.router.add_post("/ssf/poll/{stream_id}", poll)
    return made


@web.middleware
async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure as an answer; none quotes the request."""
    try:
        answer = await handler(request)
    except Denied as denied:
        answer = _failed(denied.status, "who is this? see WWW-Authenticate")
        answer.headers["WWW-Authenticate"] = denied.challenge
    except Problem as problem:
        answer = _failed(problem.status, problem.why)
        if problem.retry_after_s is not None:
            answer.headers["Retry-After"] = str(problem.retry_after_s)
    except web.HTTPException as error:
        answer = _failed(error.status, error.reason)
        if "Allow" in error.headers:
            answer.headers["Allow"] = error.headers["Allow"]
    except KafkaError as error:
        _log.warning("a request could not be kept: %s", type(error).__name__)
        answer = _failed(503, "what was asked for could not be kept; come again")
        answer.headers["Retry-After"] = "5"
    except Exception:
        _log.exception(
            "a request that nobody foresaw: %s %s", request.method, request.match_info.handler.__name__
        )
        answer = _failed(500, "the transmitter failed; its operator sees why")
    answer.headers.setdefault("Cache-Control", "no-store")
    answer.headers["Server"] = "driftline"
    return answer


def _failed(status: int, why: str) -> web.Response:
    return _json({"err": "invalid_request" if status == 400 else "failed", "description": why}, status)


def _json(document: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(document), status=status, content_type="application/json")


def _public(document: Any) -> web.Response:
    """What everybody may read, and keep for some minutes."""
    answer = _json(document)
    answer.headers["Cache-Control"] = f"public, max-age={KEPT_S}"
    return answer


async def _body(request: web.Request) -> dict[str, Any]:
    """A request's JSON object."""
    try:
        async with asyncio.timeout(BODY_S):
            raw = await request.read()
    except TimeoutError:
        raise Problem(408, "the request's body did not come") from None
    try:
        read = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Problem(400, "the request's body is no JSON") from None
    if not isinstance(read, dict):
        raise Problem(400, "the request's body is no JSON object")
    return read


class Server:
    """The application on its address, with TLS from files that may change.

    Parameters
    ----------
    made : web.Application
        What is served.
    listen : Listen
        Where.

    Raises
    ------
    ConfigError
        The certificate cannot be used.
    """

    def __init__(self, made: web.Application, listen: Listen) -> None:
        self._runner = web.AppRunner(made, access_log=None, handle_signals=False, shutdown_timeout=2.0)
        self._listen = listen
        self._tls = None if listen.certificate_file is None else server_context(listen)
        self._stamps = _stamps(listen)
        self.port = listen.port

    async def start(self) -> None:
        """Listen.

        Raises
        ------
        ConfigError
            The address is taken, or is none of this machine.
        """
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._listen.host, self._listen.port, ssl_context=self._tls)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError(
                f"listen: {self._listen.host}:{self._listen.port} cannot be used ({error.strerror}); choose another port"
            ) from error
        self.port = self._runner.addresses[0][1]

    async def renew(self) -> None:
        """Look at the certificate's files now and then; what is broken is complained of, and the old one serves."""
        while True:
            await asyncio.sleep(RELOAD_S)
            stamps = _stamps(self._listen)
            if self._tls is None or stamps == self._stamps:
                continue
            self._stamps = stamps
            try:
                server_context(self._listen)  # a pair that does not fit must not reach the context in use
                self._tls.load_cert_chain(
                    str(self._listen.certificate_file), str(self._listen.key_file), password=""
                )
                _log.info("the certificate was read again")
            except (ConfigError, OSError) as error:
                _log.warning("the certificate is kept as it was: %s", error)

    async def stop(self) -> None:
        """Listen no more; requests that wait are answered with nothing."""
        await self._runner.cleanup()


def server_context(listen: Listen) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # An encrypted key would ask for its password on the terminal, where nobody sits.
        made.load_cert_chain(str(listen.certificate_file), str(listen.key_file), password="")
    except OSError as error:  # ssl.SSLError included
        raise ConfigError(
            f"listen: {listen.certificate_file} and {listen.key_file} cannot be used "
            f"({getattr(error, 'reason', None) or error.strerror}); expected PEM, the key unencrypted and belonging to it"
        ) from error
    return made


def _stamps(listen: Listen) -> list[tuple[int, int] | None]:
    return [_stamp(path) for path in (listen.certificate_file, listen.key_file)]


def _stamp(path: Path | None) -> tuple[int, int] | None:
    try:
        stat = None if path is None else path.stat()
    except OSError:
        return None
    return None if stat is None else (stat.st_mtime_ns, stat.st_ino)
