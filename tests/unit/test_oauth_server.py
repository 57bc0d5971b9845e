"""The embedded OAuth server: what is dead was alive before, and what must not kill does not."""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection, RemoteDisconnected
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
from werkzeug import Request, Response

from models.errors import ConfigError
from stream.shell.oauth_server import EmbeddedOAuthServer, Issued, basic

SECRETS = {"agent": "a-secret: of %é", "other": "another-secret", "bridge": "bridge-secret"}
NOW = 1_767_258_000.0


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def call(
    server: EmbeddedOAuthServer,
    path: str,
    form: Mapping[str, str] | None = None,
    *,
    as_: str = "agent",
    authorization: str | None = None,
    method: str = "POST",
) -> Answer:
    connection = HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    headers = {
        "Authorization": basic(as_, SECRETS[as_]) if authorization is None else authorization,
        "Content-Type": "application/x-www-form-urlencoded",
    }
    try:
        connection.request(method, path, urlencode(form or {}), headers)
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()


def alive(server: EmbeddedOAuthServer, token: str | None) -> bool:
    assert token is not None
    return server.is_active("bridge", token)


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedOAuthServer]:
    with EmbeddedOAuthServer(SECRETS, revoker="bridge") as running:
        yield running


@pytest.fixture
def issued(server: EmbeddedOAuthServer) -> Issued:
    """A token that is seen alive, acting for a person: with a refresh token."""
    token = server.issue("agent", "invoices:read", subject="omar")
    assert alive(server, token.access_token)
    assert alive(server, token.refresh_token)
    return token


def test_an_issued_token_is_told_with_its_client_person_scope_and_grant(
    server: EmbeddedOAuthServer, issued: Issued
) -> None:
    told = call(server, "/introspect", {"token": issued.access_token}, as_="bridge").json
    assert (told["client_id"], told["sub"], told["scope"]) == ("agent", "omar", "invoices:read")
    assert told["grant_id"] == issued.grant_id
    assert told["exp"] - told["iat"] == issued.expires_in == 3600


def test_a_token_for_nobody_is_its_clients_own_and_has_no_refresh_token(server: EmbeddedOAuthServer) -> None:
    token = server.issue("agent", "invoices:read")
    assert token.refresh_token is None
    assert call(server, "/introspect", {"token": token.access_token}).json["sub"] == "agent"


def test_a_revoked_access_token_is_dead_and_its_refresh_token_lives(
    server: EmbeddedOAuthServer, issued: Issued
) -> None:
    assert call(server, "/revoke", {"token": issued.access_token}).status == 200
    assert not alive(server, issued.access_token)
    assert alive(server, issued.refresh_token)


def test_a_revoked_refresh_token_takes_every_token_of_its_grant_along(
    server: EmbeddedOAuthServer, issued: Issued
) -> None:
    refresh = {"grant_type": "refresh_token", "refresh_token": issued.refresh_token or ""}
    renewed = call(server, "/token", refresh).json
    assert renewed["grant_id"] == issued.grant_id
    assert alive(server, renewed["access_token"])
    assert call(server, "/revoke", {"token": issued.refresh_token or ""}).status == 200
    assert not alive(server, renewed["access_token"])
    assert not alive(server, issued.access_token)
    assert not alive(server, issued.refresh_token)
    assert call(server, "/token", refresh).json == {"error": "invalid_grant"}


def test_an_access_token_does_not_renew_itself(server: EmbeddedOAuthServer, issued: Issued) -> None:
    renewal = {"grant_type": "refresh_token", "refresh_token": issued.access_token}
    assert call(server, "/token", renewal).json == {"error": "invalid_grant"}


@pytest.mark.parametrize("hint", ["access_token", "refresh_token"])
def test_a_token_with_either_hint_is_found(server: EmbeddedOAuthServer, issued: Issued, hint: str) -> None:
    assert call(server, "/revoke", {"token": issued.access_token, "token_type_hint": hint}).status == 200
    assert not alive(server, issued.access_token)


def test_a_token_revoked_again_or_never_known_is_answered_200(
    server: EmbeddedOAuthServer, issued: Issued
) -> None:
    for _ in range(2):
        assert call(server, "/revoke", {"token": issued.access_token}).status == 200
        assert not alive(server, issued.access_token)
    assert call(server, "/revoke", {"token": "never-known"}).status == 200


@pytest.mark.parametrize("as_", ["other", "bridge"])
def test_a_token_of_another_client_is_refused_and_lives(
    server: EmbeddedOAuthServer, issued: Issued, as_: str
) -> None:
    answer = call(server, "/revoke", {"token": issued.access_token}, as_=as_)
    assert (answer.status, answer.json) == (400, {"error": "invalid_grant"})
    assert alive(server, issued.access_token)


@pytest.mark.parametrize(
    "authorization",
    [
        basic("agent", "wrong"),
        basic("nobody", SECRETS["agent"]),
        "Basic " + base64.b64encode(b"agent").decode(),
        "Bearer " + SECRETS["agent"],
        "",
    ],
    ids=["secret", "client", "no-secret", "scheme", "none"],
)
@pytest.mark.parametrize("path", ["/token", "/revoke", "/introspect", "/grants/{}"])
def test_a_client_that_does_not_authenticate_gets_401_and_kills_nothing(
    server: EmbeddedOAuthServer, issued: Issued, path: str, authorization: str
) -> None:
    form = {"token": issued.access_token, "grant_type": "client_credentials"}
    method = "DELETE" if path.startswith("/grants") else "POST"
    answer = call(server, path.format(issued.grant_id), form, authorization=authorization, method=method)
    assert answer.status == 401
    assert answer.json["error"] == "invalid_client"
    assert alive(server, issued.access_token)


def test_credentials_in_the_body_do_not_authenticate(server: EmbeddedOAuthServer, issued: Issued) -> None:
    form = {"token": issued.access_token, "client_id": "agent", "client_secret": SECRETS["agent"]}
    assert call(server, "/revoke", form, authorization="").status == 401
    assert alive(server, issued.access_token)


def test_a_request_without_a_token_is_invalid(server: EmbeddedOAuthServer) -> None:
    assert call(server, "/revoke").json == {"error": "invalid_request"}
    assert call(server, "/revoke", method="GET").status == 405


def test_another_client_learns_nothing_of_a_live_token(server: EmbeddedOAuthServer, issued: Issued) -> None:
    assert call(server, "/introspect", {"token": issued.access_token}, as_="other").json == {"active": False}


def test_the_revoker_ends_a_grant_by_its_id_with_every_token(
    server: EmbeddedOAuthServer, issued: Issued
) -> None:
    bystander = server.issue("agent", "invoices:read", subject="omar")
    path = f"/grants/{issued.grant_id}"
    assert call(server, path, as_="bridge", method="DELETE").status == 204
    assert not alive(server, issued.access_token)
    assert not alive(server, issued.refresh_token)
    assert alive(server, bystander.access_token)
    assert call(server, path, as_="bridge", method="DELETE").status == 404


@pytest.mark.parametrize("as_", ["agent", "other"])
def test_nobody_but_the_revoker_ends_a_grant(server: EmbeddedOAuthServer, issued: Issued, as_: str) -> None:
    assert call(server, f"/grants/{issued.grant_id}", as_=as_, method="DELETE").status == 403
    assert alive(server, issued.access_token)


def test_a_token_is_no_name_of_its_grant(server: EmbeddedOAuthServer, issued: Issued) -> None:
    assert call(server, f"/grants/{issued.access_token}", as_="bridge", method="DELETE").status == 404
    assert alive(server, issued.access_token)


def test_an_access_token_dies_at_its_expiry_and_its_refresh_token_does_not() -> None:
    now = [NOW]
    with EmbeddedOAuthServer(SECRETS, revoker="bridge", lifetime_s=60, clock=lambda: now[0]) as server:
        token = server.issue("agent", "invoices:read", subject="omar")
        now[0] = NOW + 59
        assert alive(server, token.access_token)
        now[0] = NOW + 60
        assert not alive(server, token.access_token)
        assert alive(server, token.refresh_token)


def test_tokens_beyond_the_capacity_push_out_the_oldest() -> None:
    with EmbeddedOAuthServer(SECRETS, revoker="bridge", capacity=2) as server:
        first, second = (server.issue("agent", "x").access_token for _ in range(2))
        assert alive(server, first)
        third = server.issue("agent", "x").access_token
        assert [alive(server, token) for token in (first, second, third)] == [False, True, True]


def test_a_body_that_is_too_large_is_refused(server: EmbeddedOAuthServer) -> None:
    assert call(server, "/revoke", {"token": "x" * 70_000}).status == 413


Real = Callable[[], Response]


def test_a_fault_that_answers_keeps_the_request_from_the_server() -> None:
    faults = [Response(status=429, headers={"Retry-After": "1"}), Response(status=503)]

    def around(request: Request, real: Real) -> Response:
        return faults.pop(0) if faults and request.path == "/revoke" else real()

    with EmbeddedOAuthServer(SECRETS, revoker="bridge", around=around) as server:
        token = server.issue("agent", "x").access_token
        answer = call(server, "/revoke", {"token": token})
        assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
        assert call(server, "/revoke", {"token": token}).status == 503
        assert alive(server, token)
        assert call(server, "/revoke", {"token": token}).status == 200
        assert not alive(server, token)


@pytest.mark.parametrize("acts", [False, True], ids=["before", "after"])
def test_a_fault_that_hangs_up_does_so_before_the_server_acts_or_after(acts: bool) -> None:
    def around(request: Request, real: Real) -> Response:
        if request.path == "/revoke":
            if acts:
                real()
            raise ConnectionError
        return real()

    with EmbeddedOAuthServer(SECRETS, revoker="bridge", around=around) as server:
        token = server.issue("agent", "x").access_token
        assert alive(server, token)
        with pytest.raises(RemoteDisconnected):
            call(server, "/revoke", {"token": token})
        assert alive(server, token) is not acts


def test_the_server_stops_at_once_while_a_request_is_held_up() -> None:
    arrived, release = threading.Event(), threading.Event()

    def around(request: Request, real: Real) -> Response:
        arrived.set()
        release.wait(30)
        raise ConnectionError

    server = EmbeddedOAuthServer(SECRETS, around=around).start()

    def wait() -> None:
        with pytest.raises(RemoteDisconnected):
            call(server, "/revoke")

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert arrived.wait(10)
    began = time.monotonic()
    server.stop()
    took = time.monotonic() - began
    release.set()
    waiting.join(10)
    assert took < 5


def test_a_stopped_server_listens_no_more_and_forgets_its_tokens() -> None:
    server = EmbeddedOAuthServer(SECRETS, revoker="bridge").start()
    token, before = server.issue("agent", "x").access_token, server.url
    assert alive(server, token)
    server.stop()
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        HTTPConnection(before.removeprefix("http://"), timeout=5).request("GET", "/")
    with pytest.raises(ConfigError, match="not running"):
        _ = server.url
    with server:
        assert not alive(server, token)


@pytest.mark.parametrize(
    ("clients", "revoker"), [({}, None), ({"agent": ""}, None), ({"": "secret"}, None), (SECRETS, "nobody")]
)
def test_clients_that_make_no_sense_are_refused(clients: dict[str, str], revoker: str | None) -> None:
    with pytest.raises(ConfigError) as refused:
        EmbeddedOAuthServer(clients, revoker=revoker)
    assert not any(secret in str(refused.value) for secret in SECRETS.values())


def test_a_client_that_the_server_does_not_have_gets_no_token(server: EmbeddedOAuthServer) -> None:
    with pytest.raises(ConfigError, match="nobody"):
        server.issue("nobody", "x")


def test_no_secret_stands_in_a_log_line_or_in_what_a_debugger_prints(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG), EmbeddedOAuthServer(SECRETS, revoker="bridge") as server:
        token = server.issue("agent", "x", subject="omar")
        assert alive(server, token.access_token)
        call(server, f"/revoke?token={token.access_token}", {"token": token.access_token})
        assert not alive(server, token.access_token)
    told = caplog.text + "".join(capfd.readouterr()) + repr(token)
    for secret in (token.access_token, token.refresh_token or "", *SECRETS.values()):
        assert secret not in told
