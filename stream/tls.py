"""TLS to Kafka from files that may change while we run, and which client it takes.

Certificates rotate without a restart. A context read once at the start would go on with the old ones until
they expire, so `client_context` gives one that looks at its files before each handshake: a connection that
stands keeps its certificate, the next one has the new.
"""

from __future__ import annotations

import logging
import ssl
import threading
from importlib.metadata import version
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from models.errors import ConfigError

NO_ADDRESS = "expected an address such as https://server.example.com, without a name, password or query"
OLDEST_CLIENT = 3
"""Major version of kafka-python from which on its producers send to every broker we run on (tried, 2026-11-30)."""

_log = logging.getLogger("driftline.connection")


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine: what goes there needs no TLS, what listens there no password."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def address_for_secrets(url: str) -> str:
    """A web address without its last slash, if secrets may be sent there: https, or http to this machine; `ValueError` otherwise."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    # The address is not told: it may hold a secret, which is why it is refused.
    if (
        host is None
        or parts.scheme not in ("http", "https")
        or "@" in parts.netloc
        or parts.query
        or parts.fragment
    ):
        raise ValueError(NO_ADDRESS)
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("secrets would be sent in the clear; give an https address")
    return url.rstrip("/")


class _Rotating(ssl.SSLContext):
    """A client's context that hands each handshake to one made of the files as they are now."""

    _files: tuple[Path | None, Path | None, Path | None]
    _lock: threading.Lock
    _stamps: list[tuple[int, int, int] | None]
    _newest: ssl.SSLContext

    def __new__(cls, *_: object) -> _Rotating:
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, cafile: Path | None, certfile: Path | None, keyfile: Path | None) -> None:
        self._files = (cafile, certfile, keyfile)
        self._lock = threading.Lock()
        self._stamps = self._stamped()
        self._newest = _context(*self._files)

    def _stamped(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(path) for path in self._files]

    def _current(self) -> ssl.SSLContext:
        with self._lock:
            stamps = self._stamped()
            if stamps != self._stamps:
                # Noted before the attempt. Two files are never replaced at one moment: between them the pair
                # does not fit, the old one serves, and the second file's stamp leads to another attempt.
                self._stamps = stamps
                try:
                    self._newest = _context(*self._files)
                    _log.info("TLS files were read again")
                except ConfigError as error:
                    _log.warning("TLS files kept as they were: %s", error)
            return self._newest

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """As of `ssl.SSLContext`, with the newest files (kafka-python's way in)."""
        return self._current().wrap_socket(*args, **kwargs)

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """As of `ssl.SSLContext`, with the newest files (asyncio's way in, so aiokafka's and Faust's)."""
        return self._current().wrap_bio(*args, **kwargs)


def client_context(cafile: Path | None, certfile: Path | None, keyfile: Path | None) -> ssl.SSLContext:
    """A context for connections to Kafka: the server's certificate and name are checked, always.

    Parameters
    ----------
    cafile : Path or None
        Authorities in PEM; None trusts the system's.
    certfile, keyfile : Path or None
        Our own certificate chain and its key in PEM, for mTLS; the key may stand in `certfile`.

    Raises
    ------
    ConfigError
        A file cannot be read now. Later a broken one is complained of, and the last good ones serve.
    """
    return _Rotating(cafile, certfile, keyfile)


def _context(cafile: Path | None, certfile: Path | None, keyfile: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if cafile is None else str(cafile))
        if certfile is not None:
            # An encrypted key would ask for its password on the terminal, where nobody sits.
            context.load_cert_chain(str(certfile), None if keyfile is None else str(keyfile), password="")
    except OSError as error:  # ssl.SSLError included
        names = ", ".join(str(path) for path in (cafile, certfile, keyfile) if path is not None)
        why = getattr(error, "reason", None) or error.strerror or type(error).__name__
        raise ConfigError(
            f"TLS files for Kafka cannot be used ({names}: {why}); expected PEM, the key unencrypted and "
            "belonging to the certificate"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    """Changes with the file's content; the inode because a mounted secret is swapped by a symbolic link."""
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def check_client() -> None:
    """Raise `ConfigError` where the installed kafka-python is older than what Driftline runs on.

    Notes
    -----
    Pip installs one that fits; other packages of the environment may have taken it back. On the embedded broker
    an idempotent producer of 2.x never sends, without an error.
    """
    installed = version("kafka-python")
    if int(installed.partition(".")[0]) < OLDEST_CLIENT:
        raise ConfigError(
            f"kafka-python {installed} is installed, and Driftline needs {OLDEST_CLIENT}.0 or later: "
            f"pip install 'kafka-python>={OLDEST_CLIENT}.0'"
        )
