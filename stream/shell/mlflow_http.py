"""MLflow's REST API as its documents have it, spoken without its package: one server, within a time, bounded both ways.

What a server answers is told by its status and by the code of its error alone: its words may quote what was sent.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import Request

from models.errors import ConfigError, TrackingError
from stream.shell import direct_http
from stream.tls import NO_ADDRESS, address_for_secrets

LOG_S = 120.0
"""How long all that is told to a server may take."""
MAX_REPLY = 1 << 20
"""Bytes of an answer that are read."""
MAX_FILE = 256 << 20
"""Bytes of a file, as of a release."""
MAX_TOKEN = 8192
OLDEST = (2, 3)
"""The version of MLflow from which on models have aliases."""
ABSENT = "RESOURCE_DOES_NOT_EXIST"
"""What the API says of a name that means nothing."""


class Names(NamedTuple):
    """Where releases stand: the registered model, and the experiment of their runs."""

    model: str
    experiment: str


class Refused(TrackingError):
    """The server answered, and did not do it. Operator action: as for TrackingError."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


def checked_address(url: str) -> str:
    """An address of a server without its last slash, if a token may be sent there; `ConfigError` otherwise."""
    try:
        is_odd = urlsplit(url).port == 0
    except ValueError:  # it would quote the address
        is_odd = True
    if url and "://" not in url and "@" not in url:
        raise ConfigError(
            "--mlflow: the address has no scheme: put https:// before it, or http:// for this machine"
        )
    if is_odd or not (url.isascii() and url.isprintable() and " " not in url):
        raise ConfigError(f"--mlflow: {NO_ADDRESS}")
    try:
        return address_for_secrets(url)
    except ValueError as error:
        raise ConfigError(f"--mlflow: {error}") from error


def authorization(path: Path | None) -> str | None:
    """The header that shows what a file holds: a bearer token, or ``name:password``; None without a file.

    Raises
    ------
    ConfigError
        It cannot be read, or holds neither; nothing of it is told.
    """
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            held = file.read(MAX_TOKEN + 1).decode().strip()
    except OSError as error:
        raise ConfigError(f"--mlflow-token-file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:  # the error would quote the file
        held = ""
    if ":" in held and held.isprintable() and len(held) <= MAX_TOKEN:
        return f"Basic {base64.b64encode(held.encode()).decode()}"
    if not re.fullmatch(r"[A-Za-z0-9._~+/=-]+", held) or len(held) > MAX_TOKEN:
        raise ConfigError(
            f"--mlflow-token-file {path} holds neither a bearer token nor name:password on one line"
        )
    return f"Bearer {held}"


def checked_names(model: str, experiment: str) -> Names:
    """Names that MLflow takes, and that need no quoting in its filters; `ConfigError` otherwise."""
    for option, name in (("--mlflow-model", model), ("--mlflow-experiment", experiment)):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}", name):
            raise ConfigError(
                f"{option} is no name of letters, digits, blanks and . _ - alone, of at most 100 characters"
            )
    return Names(model, experiment)


def checked_alias(alias: str) -> str:
    """An alias without its ``@``, if MLflow takes it; `ConfigError` otherwise."""
    name = alias.removeprefix("@")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,255}", name) or re.fullmatch(r"v\d+|latest", name, re.I):
        raise ConfigError(
            f"@{name} is no alias in MLflow: letters, digits, _ and - are, but not latest, nor v and a number"
        )
    return name


class Server:
    """One server, for one piece of work.

    Parameters
    ----------
    url : as `checked_address` returns it
    authorization : as `authorization` returns it
    seconds : after which nothing more is asked
    """

    def __init__(self, url: str, authorization: str | None = None, seconds: float = LOG_S) -> None:
        self.netloc = urlsplit(url).netloc
        self._url, self._headers = url, {"Accept": "application/json"}
        if authorization is not None:
            self._headers["Authorization"] = authorization
        self._opener, self._until = direct_http.opener(url), time.monotonic() + seconds

    def need_aliases(self) -> None:
        """Refuse a server whose models have no aliases; one that does not tell its version may be new enough."""
        with suppress(Refused):
            told = self._ask("tell its version", Request(f"{self._url}/version", headers=self._headers))
            version = re.match(rb"(\d{1,4})\.(\d{1,4})\.", told)
            if version is not None and (int(version[1]), int(version[2])) < OLDEST:
                raise TrackingError(
                    f"MLflow at {self.netloc} is of version {told[:32].decode(errors='replace').strip()}, whose models have no aliases; 2.3 or newer is needed"
                )

    def call(
        self, what: str, method: str, path: str, document: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """What the server answers to one request.

        Parameters
        ----------
        what : what it is for, for errors: "make the run"
        document : the query of a ``GET``, else the body

        Raises
        ------
        Refused
            The server refuses it.
        TrackingError
            No answer, or none of MLflow's.
        """
        url, body = f"{self._url}/api/2.0/mlflow/{path}", None
        if method == "GET":
            url += f"?{urlencode(document or {})}"
        else:
            body = json.dumps(document, allow_nan=False).encode()
        headers = {**self._headers, "Content-Type": "application/json"}
        raw = self._ask(what, Request(url, body, headers, method=method))
        with suppress(ValueError, RecursionError):
            answer = json.loads(raw or b"{}")
            if isinstance(answer, dict):
                return answer
        raise self._error(what, "what answers is no MLflow server; mend the address")

    def put(self, what: str, path: str, file: Path) -> None:
        """Store a file's bytes under `path` of the server's artifacts; raises as `call`."""
        size = file.stat().st_size
        if size > MAX_FILE:
            raise self._error(what, f"{file} has more than {MAX_FILE >> 20} MiB")
        url = f"{self._url}/api/2.0/mlflow-artifacts/artifacts/{quote(path)}"
        headers = {
            **self._headers,
            "Content-Type": "application/octet-stream",
            "Content-Length": str(size),
        }
        with file.open("rb") as body:
            self._ask(what, Request(url, body, headers, method="PUT"))

    def _ask(self, what: str, request: Request) -> bytes:
        left = self._until - time.monotonic()
        try:
            if left <= 0:
                raise TimeoutError
            return direct_http.within(left, self._asking(what, request))
        except TimeoutError as error:
            raise self._error(
                what, "it took too long; run it again, what is there already is kept"
            ) from error
        except (OSError, ValueError, HTTPException) as error:
            raise self._error(what, _unreached(error)) from error

    def _asking(self, what: str, request: Request) -> Callable[[], bytes]:
        silent_s = direct_http.SILENT_S

        def ask() -> bytes:
            try:
                with self._opener.open(request, timeout=silent_s) as answer:
                    return _bounded(answer)
            except TimeoutError as error:  # of one silence, not of the whole
                raise URLError(error) from error
            except HTTPError as refusal:
                with refusal:
                    raise self._refused(what, refusal.code, _bounded(refusal)) from None

        return ask

    def _refused(self, what: str, status: int, raw: bytes) -> Refused:
        code = ""
        with suppress(ValueError, RecursionError, AttributeError):
            named = json.loads(raw).get("error_code")
            code = named if isinstance(named, str) and re.fullmatch(r"[A-Z_]{1,64}", named) else ""
        told = f"HTTP {status}{f' {code}' if code else ''}{_mend(status, code)}"
        return Refused(str(self._error(what, told)), code)

    def _error(self, what: str, why: str) -> TrackingError:
        return TrackingError(f"MLflow at {self.netloc}, asked to {what}: {why}")


def _bounded(answer: Any) -> bytes:
    raw: bytes = answer.read(MAX_REPLY + 1)
    if len(raw) > MAX_REPLY:
        raise ValueError(f"its answer has more than {MAX_REPLY >> 20} MiB")
    return raw


def _mend(status: int, code: str) -> str:
    if status == 401:
        return ": it wants to know who asks; --mlflow-token-file names a file with a bearer token or name:password that it takes"
    if status == 403:
        return ": whoever the token belongs to may not do this there; ask for the right, or let its --allowed-hosts have this name"
    if status == 404 and not code:
        return ": it knows no such path; mend the address, and if it is MLflow's, 2.3 or newer is needed"
    if status == 413:
        return ": too large for what stands before it; raise its limit"
    if status == 503 or (status >= 500 and not code):
        return ": it failed; its own log says why. Run it again later"
    return "; its own log says why"


def _unreached(error: Exception) -> str:
    """Why there was no answer, and the mend; no words of the client's, which may quote what was sent."""
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is refused ({cause.verify_message}); SSL_CERT_FILE names the authorities that count"
    if isinstance(cause, socket.gaierror):
        return "nothing here knows a host of this name; mend the address, or the name's resolution"
    if isinstance(cause, ConnectionRefusedError):
        return "nothing listens there; start it, or mend the address"
    if isinstance(cause, TimeoutError):
        return f"it was silent for {direct_http.SILENT_S:g} s; run it again later"
    if isinstance(cause, ValueError) and type(cause) is ValueError:
        return str(cause)  # our own: a redirect, or too much
    return f"no answer ({type(cause).__name__}); is it there, and does it speak {'TLS' if isinstance(cause, ssl.SSLError) else 'HTTP'}?"
