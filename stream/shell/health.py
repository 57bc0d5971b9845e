"""Health, readiness and metrics over HTTP. Loopback needs no password; any other address needs a bearer token."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol

from prometheus_client import CollectorRegistry, generate_latest

from models.errors import ConfigError
from stream.bearer import is_token, shown, token_of
from stream.tls import is_loopback

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SHORTEST_TOKEN = 16
"""Characters of a bearer token, at least (chosen)."""

Route = Callable[[], tuple[bool, bytes]]
"""Whether all is well, and the body to answer."""


class Measured(Protocol):
    """What a process tells about itself."""

    registry: CollectorRegistry

    def healthy(self) -> bool:
        """Whether it turns."""
        ...

    def is_ready(self) -> bool:
        """Whether it does its work."""
        ...


class HealthServer:
    """``/metrics``, ``/healthz`` and ``/readyz`` over HTTP, on a thread of its own.

    Parameters
    ----------
    measures : Measured
        What is told.
    host, port
        Where to listen.
    token_file : Path or None
        Holds the bearer token, read at each request so that it can be rotated; needed beyond loopback.

    Raises
    ------
    ConfigError
        The address is not loopback and there is no token, or the port is taken.
    """

    def __init__(self, measures: Measured, host: str, port: int, token_file: Path | None) -> None:
        if token_file is None and not is_loopback(host):
            raise ConfigError(
                f"metrics on {host} would be open to the network: set DRIFTLINE_METRICS_TOKEN_FILE to a file "
                "with a bearer token, or listen on 127.0.0.1"
            )
        if token_file is not None and not token_of(token_file, SHORTEST_TOKEN):
            raise ConfigError(
                f"{token_file} holds no bearer token; write one line of at least {SHORTEST_TOKEN} characters"
            )
        routes: dict[str, Route] = {
            "/metrics": lambda: (True, generate_latest(measures.registry)),
            "/healthz": lambda: _answer(measures.healthy(), "the event loop stands still"),
            "/readyz": lambda: _answer(measures.is_ready(), "not ready: joining, recovering, or no broker"),
        }
        try:
            self._server = ThreadingHTTPServer((host, port), _handler(routes, token_file))
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"metrics cannot listen on {host}:{port} ({error}); choose another port with --metrics-port, "
                "or 0 for none"
            ) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port in use."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def _handler(routes: Mapping[str, Route], token_file: Path | None) -> type[BaseHTTPRequestHandler]:
    """What answers a request: by path, to whoever bears the token where one is needed."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # of a connection that says nothing

        def do_GET(self) -> None:
            if token_file is not None and not self._allowed(token_of(token_file, SHORTEST_TOKEN)):
                return self._send(401, b"bearer token required\n")
            route = routes.get(self.path.split("?")[0])
            if route is None:
                return self._send(404, b"try /metrics, /healthz or /readyz\n")
            good, body = route()
            return self._send(200 if good else 503, body)

        def _allowed(self, token: str) -> bool:
            return is_token(shown(self.headers.get("Authorization", "")), token)

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _answer(good: bool, otherwise: str) -> tuple[bool, bytes]:
    return good, b"ok\n" if good else f"{otherwise}\n".encode()
