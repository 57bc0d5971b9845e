"""The console's listener: where it may listen, over what, and for whom; uvicorn and the reader of the bus in one loop."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from models.errors import ConfigError
from models.text.quotes import Quotes
from stream.console.bus import Follower
from stream.console.connections import Connection
from stream.console.drifted import Drifted
from stream.console.guard import Access, token_in
from stream.console.index import Index
from stream.console.provider import Provider
from stream.console.queue import Queue
from stream.console.saying import Saying
from stream.console.site import application
from stream.offline.coverage import Coverage
from stream.policy import load_policy
from stream.settings import Settings
from stream.shell.clients import told_to_stop
from stream.tls import is_loopback

ANY = ("0.0.0.0", "::")
"""Every address of the machine, which is no name to ask by."""
MAX_CONNECTIONS = 256
KEEP_ALIVE_S, STOP_S = 20, 2
MAX_HEAD = 16_384
"""Bytes of a request's line and headers."""


@dataclass(frozen=True)
class Listen:
    """Where the console listens, or another listener under the same rules.

    Attributes
    ----------
    what : str
        What listens; its token's variable is called after it.
    names : host names by which browsers reach it, beside `host`; each with its port where that is another than `port`
    token_file, certificate_file, key_file : None where there is none
    provider : who says who somebody is; None: nobody does
    client_ca_file : whose certificates callers show; None: they show none
    knows_callers : whoever comes is known by other means than this token
    """

    host: str = "127.0.0.1"
    port: int = 8800
    names: Sequence[str] = ()
    token_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    what: str = "console"
    provider: Provider | None = None
    client_ca_file: Path | None = None
    knows_callers: bool = False

    def checked(self) -> Listen:
        """It, if it is safe.

        Raises
        ------
        ConfigError
            It is not loopback and lacks TLS, or both a token and a provider, or is no address to reach, or a file is no good.
        """
        if (self.certificate_file is None) != (self.key_file is None):
            raise ConfigError("--certificate and --key go together; give both, or neither")
        if not is_loopback(self.host):
            missing = [
                what
                for what, there in (
                    (
                        f"a token (--token-file, DRIFTLINE_{self.what.upper()}_TOKEN_FILE)"
                        + (" or OpenID Connect (--oidc)" if self.what == "console" else ""),
                        self.token_file is not None or self.provider is not None or self.knows_callers,
                    ),
                    ("TLS (--certificate and --key)", self.certificate_file is not None),
                )
                if not there
            ]
            if missing:
                raise ConfigError(
                    f"{self.what} on {self.host} would be open to the network: it needs {' and '.join(missing)}; or listen on 127.0.0.1"
                )
            if self.host in ANY and not self.names:
                raise ConfigError(
                    f"{self.host} is no name by which anybody asks: say --name {self.what}.example.com as well"
                )
        if self.token_file is not None:
            token_in(self.token_file)
        if self.certificate_file is not None and self.key_file is not None:
            try:
                context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
                context.load_cert_chain(self.certificate_file, self.key_file)
                if self.client_ca_file is not None:
                    context.load_verify_locations(self.client_ca_file)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(
                    f"the certificate {self.certificate_file}, its key or the authorities cannot be used: {error}; "
                    "PEM files, of which certificate and key belong together"
                ) from error
        return self

    def access(self, port: int, *, may_judge: bool = False) -> Access:
        """Who may see it, and under which names, now that its port is known; `may_judge`: there is a key to sign verdicts with."""
        is_secure = self.certificate_file is not None
        names = {
            self.host,
            *self.names,
            *(("localhost", "127.0.0.1", "::1") if is_loopback(self.host) else ()),
        }
        hosts = {f"[{name}]" if name.count(":") > 1 else name for name in names}
        implied = port == (443 if is_secure else 80)
        with_port = {host if _has_port(host) or implied else f"{host}:{port}" for host in hosts}
        return Access(frozenset(with_port), self.token_file, is_secure, self.provider, may_judge)

    def address(self, port: int) -> str:
        """Where a browser finds it: by the first name, if it has one."""
        host = next(iter(self.names), self.host)
        host = f"[{host}]" if host.count(":") > 1 and "]" not in host else host
        scheme = "http" if self.certificate_file is None else "https"
        return f"{scheme}://{host}" if _has_port(host) else f"{scheme}://{host}:{port}"


def _has_port(host: str) -> bool:
    return host.rpartition("]")[2].rpartition(":")[2].isdecimal() and ":" in host.rpartition("]")[2]


async def serve(
    settings: Settings,
    listen: Listen,
    *,
    since_ms: int | None,
    say: Callable[[str], None],
    saying: Saying | None = None,
    quotes: Quotes = "masked",
    queue: Queue | None = None,
    drift: Drifted | None = None,
) -> None:
    """Read and serve until SIGTERM or SIGINT; with `saying` analysts say what cases were. `quotes`: how much of arguments and answers pages quote.
    `queue`: the sessions to label next. `drift`: what changed in the traffic.

    Raises
    ------
    ConfigError
        The address is taken.
    BrokerError
        The first connection to the broker fails.
    """
    stop = told_to_stop()
    coverage = Coverage(settings.input_topics, load_policy(settings.policy_path).limits.idle_minutes)
    index = Index(settings.input_topics, settings.base, quotes=quotes, coverage=coverage)
    follower = Follower(settings, index, since_ms)
    bound = bound_to(listen)
    port = bound.getsockname()[1]
    access = listen.access(port, may_judge=saying is not None)
    app = application(index, access, closing=stop, saying=saying, queue=queue, drift=drift)
    say(f"ready: the console is at {listen.address(port)}/; Ctrl-C ends it")
    await served(app, listen, bound, follower.run(), stop)


async def served(
    app: ASGIApp,
    listen: Listen,
    bound: socket.socket,
    reading: Coroutine[Any, Any, None],
    stop: asyncio.Event,
) -> None:
    """Serve an application at `bound`, beside `reading`, until `stop` is set or one of them ends; raises what either does."""
    server = _Server(
        uvicorn.Config(
            app,
            ssl_certfile=listen.certificate_file,
            ssl_keyfile=listen.key_file,
            ssl_ca_certs=None if listen.client_ca_file is None else str(listen.client_ca_file),
            ssl_cert_reqs=ssl.CERT_NONE if listen.client_ca_file is None else ssl.CERT_REQUIRED,
            http=Connection,
            ws="none",
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_config=None,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=STOP_S,
            h11_max_incomplete_event_size=MAX_HEAD,
        )
    )
    read = asyncio.create_task(reading)
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    told = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({read, serving, told}, return_when=asyncio.FIRST_COMPLETED)
        for task in (read, serving):
            if task.done():
                task.result()
    finally:
        stop.set()
        server.should_exit = True
        told.cancel()
        read.cancel()
        await asyncio.gather(read, serving, told, return_exceptions=True)


class _Server(uvicorn.Server):
    """uvicorn's, whose signals are this program's own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are handled already."""
        yield


def bound_to(listen: Listen) -> socket.socket:
    """A socket that listens there; `ConfigError` where that cannot be."""
    try:
        found = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, proto, _, address = found[0]
        bound = socket.socket(family, kind, proto)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(MAX_CONNECTIONS)  # who asks before the first turn is answered then
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"{listen.what} cannot listen on {listen.host}:{listen.port} ({error}); choose another port with --port"
        ) from error
    return bound
