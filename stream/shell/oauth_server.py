"""The embedded OAuth server: tokens that really die, in memory, for the demo and for tests of the bridge.

The protocol is Authlib's: client credentials and refresh (RFC 6749), revocation (RFC 7009), introspection (RFC 7662).
Ours are the tokens in memory, and the end of a whole grant by its id, as OpenID's draft of Grant Management has it:
a reference, unlike a token, may stand on a bus. It is no server for anything else: it speaks plain HTTP on loopback,
believes each client about whom it acts for, and forgets everything when it stops.
"""

from __future__ import annotations

import base64
import hmac
import json
import logging
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote, urlencode

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import AccessDeniedError, TokenEndpoint
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant, RefreshTokenGrant
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from flask import Flask, request
from werkzeug import Request, Response
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from models.errors import ConfigError

MAX_TOKENS = 10_000
"""Tokens held at once (chosen): beyond it the oldest are forgotten, and so are dead."""
MAX_BODY = 65_536
"""Bytes of a request's body."""
CLIENT_TIMEOUT_S = 10.0
"""Of a connection that says nothing, and of our own calls."""

Around = Callable[[Request, Callable[[], Response]], Response]
"""A fault: given a request and what would answer it. May answer otherwise, sleep, or raise ConnectionError to hang up,
before the real answer or after it. It leaves the request's body unread."""


@dataclass(frozen=True, slots=True)
class Issued:
    """What `/token` answered. With a subject there is a refresh token too."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    grant_id: str
    expires_in: int


@dataclass(frozen=True, slots=True)
class _Client:
    """A client as Authlib asks about it."""

    client_id: str
    secret: str = field(repr=False)
    is_revoker: bool

    def check_client_secret(self, secret: str) -> bool:
        return hmac.compare_digest(self.secret.encode(), secret.encode())

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "client_secret_basic"

    def check_grant_type(self, grant_type: str) -> bool:
        return True

    def get_allowed_scope(self, scope: str | None) -> str:
        return scope or ""


@dataclass(slots=True)
class _Grant:
    """What tokens are issued under; when it is over, so are they."""

    id: str
    client_id: str
    subject: str | None
    over: bool = False


@dataclass(slots=True)
class _Token:
    """A token as Authlib asks about it."""

    kind: Literal["access_token", "refresh_token"]
    grant: _Grant
    scope: str
    issued_at: int
    expires_at: int | None
    clock: Callable[[], float]
    jti: str = field(default_factory=lambda: uuid.uuid4().hex)
    revoked: bool = False

    def check_client(self, client: _Client) -> bool:
        return self.grant.client_id == client.client_id

    def get_scope(self) -> str:
        return self.scope

    def is_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= self.clock()

    def is_revoked(self) -> bool:
        return self.revoked or self.grant.over


class _Tokens:
    """Tokens by their text, at most `capacity`."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held: OrderedDict[str, _Token] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, text: str, token: _Token) -> None:
        with self._lock:
            self._held[text] = token
            while len(self._held) > self._capacity:
                self._held.popitem(last=False)

    def get(self, text: str) -> _Token | None:
        return self._held.get(text)

    def end_grant(self, grant_id: str) -> bool:
        """End the grant; whether there was one to end."""
        with self._lock:
            grants = (token.grant for token in self._held.values())
            grant = next((one for one in grants if one.id == grant_id and not one.over), None)
            if grant is not None:
                grant.over = True
        return grant is not None


class _Authorization(AuthorizationServer):
    """Authlib's server on our clients and tokens."""

    def __init__(
        self, app: Flask, clients: Mapping[str, _Client], tokens: _Tokens, clock: Callable[[], float]
    ) -> None:
        super().__init__(app)
        self.tokens = tokens
        self._clients, self._clock = clients, clock
        for grant in (_ClientCredentials, _Refresh):
            self.register_grant(grant)
        for endpoint in (_Revocation, _Introspection, _GrantEnd):
            self.register_endpoint(endpoint)

    def query_client(self, client_id: str) -> _Client | None:
        return self._clients.get(client_id)

    def save_token(self, token: dict[str, Any], request: Any) -> None:
        """Keep what was issued. Authlib answers with this very `token`, so the grant's id goes into the answer."""
        refreshed: _Token | None = request.refresh_token
        grant = (
            _Grant(uuid.uuid4().hex, request.client.client_id, request.form.get("subject") or None)
            if refreshed is None
            else refreshed.grant
        )
        token["grant_id"] = grant.id
        scope, now = token.get("scope", ""), int(self._clock())
        expires_at = now + token["expires_in"]
        access = _Token("access_token", grant, scope, now, expires_at, self._clock)
        self.tokens.add(token["access_token"], access)
        if (text := token.get("refresh_token")) is not None:
            self.tokens.add(text, _Token("refresh_token", grant, scope, now, None, self._clock))


class _ClientCredentials(ClientCredentialsGrant):
    """Client credentials; whoever acts for a `subject` gets a refresh token as well, as an agent of a person would."""

    def generate_token(self, **asked: Any) -> Any:
        return super().generate_token(
            **{**asked, "include_refresh_token": bool(self.request.form.get("subject"))}
        )


class _Refresh(RefreshTokenGrant):
    """A new access token of the same grant; the refresh token stays."""

    def authenticate_refresh_token(self, text: str) -> _Token | None:
        token: _Token | None = self.server.tokens.get(text)
        return None if token is None or token.kind != "refresh_token" or token.is_revoked() else token

    def authenticate_user(self, token: _Token) -> str | None:
        return token.grant.subject

    def revoke_old_credential(self, token: _Token) -> None:
        pass


class _Revocation(RevocationEndpoint):
    """RFC 7009: an access token dies alone, a refresh token takes its grant along (section 2.1)."""

    def query_token(self, text: str, hint: str | None) -> Any:
        return self.server.tokens.get(text)

    def revoke_token(self, token: _Token, request: Any) -> None:
        token.revoked = True
        if token.kind == "refresh_token":
            token.grant.over = True


class _Introspection(IntrospectionEndpoint):
    """RFC 7662: a client learns about its own tokens, the revoker about all."""

    def query_token(self, text: str, hint: str | None) -> Any:
        return self.server.tokens.get(text)

    def check_permission(self, token: _Token, client: _Client, request: Any) -> bool:
        return client.is_revoker or token.check_client(client)

    def introspect_token(self, token: _Token) -> dict[str, Any]:
        told = {
            "client_id": token.grant.client_id,
            "sub": token.grant.subject or token.grant.client_id,
            "scope": token.scope,
            "jti": token.jti,
            "grant_id": token.grant.id,
            "iat": token.issued_at,
            "exp": token.expires_at,
        }
        return {name: value for name, value in told.items() if value is not None}


class _GrantEnd(TokenEndpoint):
    """`DELETE /grants/ID`: 204, and 404 for what is unknown or already over. For the revoker alone."""

    ENDPOINT_NAME = "grant"

    def create_endpoint_response(self, asked: Any) -> tuple[int, str, list[tuple[str, str]]]:
        if not self.authenticate_endpoint_client(asked).is_revoker:
            raise AccessDeniedError(status_code=403)
        ended = self.server.tokens.end_grant((request.view_args or {})["grant_id"])
        return (204 if ended else 404), "", []


class _Handler(WSGIRequestHandler):
    timeout = CLIENT_TIMEOUT_S

    def log(self, type: str, message: str, *args: Any) -> None:
        """Nothing: a line of a request would repeat what a client put into its address."""

    def connection_dropped(self, error: BaseException, environ: object = None) -> None:
        self.close_connection = True  # else a fault that hangs up would leave the client waiting


class EmbeddedOAuthServer:
    """An OAuth server on a free loopback port, on threads of this process, as a context manager.

    Parameters
    ----------
    clients : mapping of str to str
        The secret of each client, by its id.
    revoker : str or None
        The client that may end every grant and introspect every token. It may not revoke a token of another client
        at `/revoke`: RFC 7009 forbids that to everybody.
    lifetime_s : int
        Of access tokens, in seconds.
    capacity : int
        Tokens held at most.
    around : Around or None
        Faults, for tests.
    clock : callable
        Seconds since 1970.

    Raises
    ------
    ConfigError
        There is no client, one has no secret, or the revoker is none of them.
    """

    def __init__(
        self,
        clients: Mapping[str, str],
        *,
        revoker: str | None = None,
        lifetime_s: int = 3600,
        capacity: int = MAX_TOKENS,
        around: Around | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not clients or not all(clients) or not all(clients.values()):
            raise ConfigError("the embedded OAuth server needs clients, each with an id and a secret")
        if revoker is not None and revoker not in clients:
            raise ConfigError(f"the revoker {revoker} is none of the OAuth clients {', '.join(clients)}")
        self._clients = {name: _Client(name, secret, name == revoker) for name, secret in clients.items()}
        self._lifetime_s, self._capacity, self._around, self._clock = lifetime_s, capacity, around, clock
        self._server: BaseWSGIServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The address for clients, without a slash at its end.

        Raises
        ------
        ConfigError
            The server is not running.
        """
        return f"http://127.0.0.1:{self._port}"

    @property
    def _port(self) -> int:
        if self._server is None:
            raise ConfigError("the embedded OAuth server is not running; start it first")
        return self._server.port

    def start(self) -> Self:
        """Start to listen; clients may call at once."""
        if self._server is not None:
            return self
        # Authlib writes whole tokens into its lines of level DEBUG.
        logging.getLogger("authlib").setLevel(logging.INFO)
        self._server = make_server(
            "127.0.0.1", 0, self._application(), threaded=True, request_handler=_Handler
        )
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="oauth", daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop to listen, whatever is under way; all tokens are gone. Again it does nothing."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server = self._thread = None

    def issue(self, client_id: str, scope: str, subject: str | None = None) -> Issued:
        """Get a token at `/token`, as the client would.

        Raises
        ------
        ConfigError
            There is no such client, or the server refused.
        """
        form = {"grant_type": "client_credentials", "scope": scope}
        status, answer = self._post(
            client_id, "/token", form if subject is None else form | {"subject": subject}
        )
        if status != 200:
            raise ConfigError(f"the embedded OAuth server issued no token: status {status}")
        return Issued(
            answer["access_token"], answer.get("refresh_token"), answer["grant_id"], answer["expires_in"]
        )

    def is_active(self, client_id: str, token: str) -> bool:
        """Whether `/introspect` calls the token active when this client asks.

        Raises
        ------
        ConfigError
            There is no such client, or the server refused.
        """
        status, answer = self._post(client_id, "/introspect", {"token": token})
        if status != 200:
            raise ConfigError(f"the embedded OAuth server told nothing of a token: status {status}")
        return answer["active"] is True

    def _post(self, client_id: str, path: str, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        client = self._clients.get(client_id)
        if client is None:
            raise ConfigError(f"the embedded OAuth server has no client {client_id}")
        connection = HTTPConnection("127.0.0.1", self._port, timeout=CLIENT_TIMEOUT_S)
        try:
            connection.request(
                "POST",
                path,
                urlencode(form),
                {
                    "Authorization": basic(client_id, client.secret),
                    "Content-Type": "application/x-www-form-urlencoded",
                },
            )
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(body) if answer.status == 200 else {}

    def _application(self) -> Any:
        """The WSGI application, with the faults around it."""
        app = Flask(__name__)
        app.config.update(
            MAX_CONTENT_LENGTH=MAX_BODY,
            OAUTH2_REFRESH_TOKEN_GENERATOR=True,
            OAUTH2_TOKEN_EXPIRES_IN=dict.fromkeys(("client_credentials", "refresh_token"), self._lifetime_s),
        )
        server = _Authorization(app, self._clients, _Tokens(self._capacity), self._clock)
        answers: dict[str, Callable[[], Any]] = {
            "/token": server.create_token_response,
            "/revoke": lambda: server.create_endpoint_response("revocation"),
            "/introspect": lambda: server.create_endpoint_response("introspection"),
        }
        for path, answer in answers.items():
            app.add_url_rule(path, path, answer, methods=["POST"])
        app.add_url_rule(
            "/grants/<grant_id>",
            "/grants",
            lambda grant_id: server.create_endpoint_response("grant"),
            methods=["DELETE"],
        )
        around = self._around
        if around is None:
            return app
        return Request.application(
            lambda asked: around(asked, lambda: Response.from_app(app, asked.environ, buffered=True))
        )

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, whatever happened."""
        self.stop()


def basic(client_id: str, secret: str) -> str:
    """The header by which a client authenticates: both parts are encoded as forms are (RFC 6749, section 2.3.1).

    >>> basic("bridge", "a:b")
    'Basic YnJpZGdlOmElM0Fi'
    """
    both = f"{quote(client_id, safe='')}:{quote(secret, safe='')}"
    return "Basic " + base64.b64encode(both.encode()).decode()
