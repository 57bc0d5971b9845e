"""Keycloak for tests, benchmarks and the demo: fetched, built, started, paused, killed and restarted by them.

The distribution comes from Maven by coordinates (``tests/keycloak/pom.xml``). It is built once for a set of features,
in ``build/keycloak``. A server has a folder of its own, whose programs are links into that build and whose data are its
alone. So servers share nothing, and no realm outlives its folder. The realm is ``tests/keycloak/realm.json``: users log
in at ``app``; ``agent`` exchanges their tokens for a task's; ``bank-api`` takes these and asks whether they still stand;
``batch-agent`` works for no user; ``driftline-bridge`` may end sessions.

    with Keycloak() as keycloak:
        user = keycloak.login("alice")
        task = keycloak.exchange(user)
        assert keycloak.active(task)
        assert keycloak.delete_session(user.session).status == 204
        keycloak.wait_inactive(task)
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import html
import http.client
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from tests.cluster import free_ports
from tests.process import ServerProcess

ROOT = Path(__file__).parents[2]
POM = Path(__file__).with_name("pom.xml")
REALM_FILE = Path(__file__).with_name("realm.json")
BUILDS = ROOT / "build" / "keycloak"
REALM = "driftline"
REDIRECT = "http://127.0.0.1/app"
"""Where `app` is told of logins at a browser; nothing listens there, and nothing needs to."""
ADMIN, ADMIN_PASSWORD = "admin", "admin-test-password"
READY_S = 300.0
"""A first start takes some 20 seconds on two idle cores; beside other tests several times that."""
ANSWER_S = 10.0
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"

_MAIN = "io.quarkus.bootstrap.runner.QuarkusEntryPoint"
_OPENED = (
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.security",
    "java.base/java.lang",
)


class KeycloakError(RuntimeError):
    """Keycloak could not be had, started or asked; the text says what is missing."""


def distribution(features: tuple[str, ...] = ()) -> Path:
    """The folder of Keycloak with these features, fetched and built once for a version of the pom.

    Raises
    ------
    KeycloakError
        Java 17 or Maven is missing, the distribution cannot be fetched, or it cannot be built.
    """
    if shutil.which("java") is None:
        raise KeycloakError("java 17 or later is not on the PATH; install a JRE")
    wanted = POM.read_text(encoding="utf-8") + ",".join(sorted(features))
    name = "-".join(sorted(features)).replace(":", "_") or "plain"
    folder = BUILDS / name
    BUILDS.mkdir(parents=True, exist_ok=True)
    with _alone(BUILDS / f"{name}.lock"):
        done = folder / "built"
        if not done.exists() or done.read_text(encoding="utf-8") != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            fresh = BUILDS / f"{name}.fresh"
            shutil.rmtree(fresh, ignore_errors=True)
            _fetch(fresh)
            _build(next(fresh.glob("keycloak-*")), features)
            next(fresh.glob("keycloak-*")).rename(folder)
            shutil.rmtree(fresh)
            done.write_text(wanted, encoding="utf-8")
    return folder


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Nobody else on this machine is in here meanwhile; the system lets go of it when a process dies."""
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _fetch(folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise KeycloakError("mvn is not on the PATH, and Keycloak is not in build/keycloak; install Maven")
    unpack = [maven, "-q", "-B", "-Dstyle.color=never", "-f", str(POM), "dependency:unpack-dependencies"]
    # Maven marks what it has unpacked, and would not do so again into a folder that is fresh.
    places = [f"-DoutputDirectory={folder}", f"-DmarkersDirectory={folder / 'markers'}"]
    result = subprocess.run([*unpack, "-DincludeScope=runtime", *places], capture_output=True, text=True)
    if result.returncode != 0 or not list(folder.glob("keycloak-*/lib/quarkus-run.jar")):
        raise KeycloakError(f"maven could not fetch Keycloak: {(result.stdout + result.stderr)[-600:]}")


def _build(home: Path, features: tuple[str, ...]) -> None:
    options = ["--db=dev-file", "--health-enabled=true"]
    if features:
        options.append(f"--features={','.join(sorted(features))}")
    result = subprocess.run([*_java(home), "build", *options], capture_output=True, text=True)
    if result.returncode != 0:
        said = (result.stdout + result.stderr)[-2000:]
        raise KeycloakError(f"Keycloak could not be built, which takes Java 17 or later: {said}")


def _java(home: Path) -> list[str]:
    """What ``kc.sh`` runs, without the shell in between: a signal reaches the server itself."""
    return [
        "java",
        "-Xms64m",
        "-Xmx512m",
        "-XX:MaxMetaspaceSize=256m",
        "-XX:+ExitOnOutOfMemoryError",
        "-Djava.util.concurrent.ForkJoinPool.common.threadFactory=io.quarkus.bootstrap.forkjoin.QuarkusForkJoinWorkerThreadFactory",
        *(f"--add-opens={package}=ALL-UNNAMED" for package in _OPENED),
        "--enable-native-access=ALL-UNNAMED",
        "-Duser.language=en",
        "-Dfile.encoding=UTF-8",
        "-Djava.util.logging.manager=org.jboss.logmanager.LogManager",
        "-Dpicocli.disable.closures=true",
        f"-Dkc.home.dir={home}",
        f"-Djboss.server.config.dir={home / 'conf'}",
        "-cp",
        str(home / "lib" / "quarkus-run.jar"),
        _MAIN,
    ]


@dataclass(frozen=True)
class Reply:
    """An answer over HTTP, and how long it took to come."""

    status: int
    text: str
    seconds: float
    headers: Message

    @property
    def json(self) -> Any:
        """The answer's document; None where it is empty."""
        return json.loads(self.text) if self.text else None


@dataclass(frozen=True)
class Tokens:
    """What a client was given. `session` is the ``sid``; tokens that belong to no session have none."""

    client: str
    access: str
    refresh: str | None = None

    @property
    def claims(self) -> dict[str, Any]:
        """What the access token says; nothing is verified."""
        return claims(self.access)

    @property
    def session(self) -> str:
        """The session's id.

        Raises
        ------
        KeycloakError
            The token belongs to no session.
        """
        if "sid" not in self.claims:
            raise KeycloakError("this token has no sid: it belongs to no session")
        return str(self.claims["sid"])


def claims(token: str) -> dict[str, Any]:
    """What a JWT says; nothing is verified."""
    body = token.split(".")[1]
    read: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return read


def secret(client: str) -> str:
    """The secret of a client of the realm."""
    return f"{client}-test-secret"


class Keycloak(ServerProcess):
    """One Keycloak process with the realm, as a context manager.

    Its data outlive `kill` and `stop`; `start` after either goes on with them. The process dies with the thread that
    started it, so start it in one that stays.

    Parameters
    ----------
    directory : Path or None
        Where data and log go; must be empty or absent. None takes a temporary folder, which goes at the end.
    port : int or None
        Port on 127.0.0.1; None takes a free one.
    features : tuple of str
        Features beyond those that Keycloak has by itself, such as ``ssf``. Each set is built once. The standard token
        exchange needs none.
    """

    def __init__(
        self, directory: Path | None = None, *, port: int | None = None, features: tuple[str, ...] = ()
    ) -> None:
        self._own = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="driftline-keycloak-"))
        free = free_ports(2)
        self.port = port or free[0]
        self._management = free[1]
        self._features = features
        self._admin_token: tuple[float, str] | None = None
        super().__init__(self.directory / "keycloak.log")

    # The process.

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def issuer(self) -> str:
        """The realm's address, which its tokens name as ``iss``."""
        return f"{self.url}/realms/{REALM}"

    def start(self) -> Self:
        """Start the server and wait until it is ready; the realm is imported where it is not there yet.

        Raises
        ------
        KeycloakError
            Keycloak cannot be had, ended, or is not ready within `READY_S`; with the end of its log.
        """
        built = distribution(self._features)
        imports = self.directory / "data" / "import"
        imports.mkdir(parents=True, exist_ok=True)
        for name in ("lib", "providers", "conf", "themes"):
            if not (self.directory / name).exists():
                (self.directory / name).symlink_to(built / name)
        shutil.copy(REALM_FILE, imports / f"{REALM}-realm.json")
        given = {"KC_BOOTSTRAP_ADMIN_USERNAME": ADMIN, "KC_BOOTSTRAP_ADMIN_PASSWORD": ADMIN_PASSWORD}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("KC_", "QUARKUS_"))}
        options = [
            "start",
            "--optimized",
            "--import-realm",
            "--cache=local",
            "--http-enabled=true",
            "--http-host=127.0.0.1",
            f"--http-port={self.port}",
            f"--hostname={self.url}",
            "--http-management-host=127.0.0.1",
            f"--http-management-port={self._management}",
            "--log-level=INFO,io.smallrye.health:ERROR",
        ]
        self.launch([*_java(self.directory), *options], kept | given)
        try:
            self._wait()
        except BaseException:
            self.kill()
            raise
        return self

    def _wait(self) -> None:
        deadline = time.monotonic() + READY_S
        while not self.ready():
            if not self.running():
                raise KeycloakError(f"Keycloak ended: {self.said()}")
            if time.monotonic() > deadline:
                raise KeycloakError(f"Keycloak is not ready after {READY_S:.0f} s: {self.said()}")
            time.sleep(0.2)

    def ready(self) -> bool:
        """Whether the server says that it is."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return _ask(self._management, "GET", "/health/ready", limit_s=5.0).status == 200
        return False

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self._clean()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._clean()

    def _clean(self) -> None:
        if self._own:
            shutil.rmtree(self.directory, ignore_errors=True)

    # What clients ask of the realm.

    def request(
        self,
        method: str,
        path: str,
        *,
        form: Mapping[str, str] | None = None,
        document: Any = None,
        headers: Mapping[str, str] | None = None,
        limit_s: float = ANSWER_S,
    ) -> Reply:
        """Any request to the server, on a connection of its own; OSError where nothing answers."""
        sent = dict(headers or {})
        body = b""
        if form is not None:
            body = urlencode(form).encode()
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        elif document is not None:
            body = json.dumps(document).encode()
            sent["Content-Type"] = "application/json"
        return _ask(self.port, method, path, body=body, headers=sent, limit_s=limit_s)

    def oidc(self, endpoint: str, client: str, *, client_secret: str | None = None, **form: str) -> Reply:
        """A request to ``token``, ``token/introspect`` or ``revoke`` as a client, by its secret in the Authorization header."""
        name = f"{client}:{secret(client) if client_secret is None else client_secret}"
        basic = {"Authorization": "Basic " + base64.b64encode(name.encode()).decode()}
        return self.request(
            "POST", f"/realms/{REALM}/protocol/openid-connect/{endpoint}", form=form, headers=basic
        )

    def _tokens(self, client: str, **form: str) -> Tokens:
        reply = self.oidc("token", client, **form)
        if reply.status != 200:
            raise KeycloakError(f"{client} got no token: {reply.status} {reply.text}")
        return Tokens(client, reply.json["access_token"], reply.json.get("refresh_token"))

    def login(self, user: str = "alice") -> Tokens:
        """A new session of a user at ``app``: access token for ``agent``, refresh token, `session`."""
        return self._login(user, "openid")

    def offline(self, user: str = "alice") -> Tokens:
        """A new offline session of a user at ``app``; its refresh token is an offline token."""
        return self._login(user, "openid offline_access")

    def _login(self, user: str, scope: str) -> Tokens:
        password = f"{user}-test-password"
        return self._tokens("app", grant_type="password", username=user, password=password, scope=scope)

    def browser(self, user: str = "alice") -> tuple[Tokens, Tokens]:
        """A user who logs in at a browser, and then lets `app` work offline: one session that is both.

        The first tokens are online, the second offline, and their ``sid`` is the same.
        """
        cookies: dict[str, str] = {}
        online, offline = (self._visit(user, scope, cookies) for scope in ("openid", "openid offline_access"))
        return online, offline

    def _visit(self, user: str, scope: str, cookies: dict[str, str]) -> Tokens:
        wish = {"client_id": "app", "redirect_uri": REDIRECT, "response_type": "code", "scope": scope}
        path = f"/realms/{REALM}/protocol/openid-connect/auth?{urlencode(wish)}"
        reply = self._page("GET", path, cookies)
        if reply.status == 200:  # no cookie tells who this is, so here is the form
            found = re.search(r'action="([^"]+)"', reply.text)
            if found is None:
                raise KeycloakError("the login page has no form")
            action = urlsplit(html.unescape(found[1]))
            form = {"username": user, "password": f"{user}-test-password"}
            reply = self._page("POST", f"{action.path}?{action.query}", cookies, form)
        code = parse_qs(urlsplit(reply.headers.get("Location", "")).query).get("code")
        if code is None:
            raise KeycloakError(f"the browser got no code: {reply.status}")
        return self._tokens("app", grant_type="authorization_code", code=code[0], redirect_uri=REDIRECT)

    def _page(
        self, method: str, path: str, cookies: dict[str, str], form: Mapping[str, str] | None = None
    ) -> Reply:
        sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())} if cookies else {}
        reply = self.request(method, path, form=form, headers=sent)
        for line in reply.headers.get_all("Set-Cookie", []):
            name, _, value = line.partition(";")[0].partition("=")
            cookies[name] = value
        return reply

    def exchange(self, tokens: Tokens, *, client: str = "agent", audience: str = "bank-api") -> Tokens:
        """The access token of a task, for `audience`: standard token exchange of a user's (RFC 8693)."""
        return self._tokens(
            client,
            grant_type=TOKEN_EXCHANGE,
            subject_token=tokens.access,
            subject_token_type=ACCESS_TOKEN,
            requested_token_type=ACCESS_TOKEN,
            audience=audience,
        )

    def client_credentials(self, client: str = "batch-agent") -> Tokens:
        """A token of a client's own, which belongs to no session."""
        return self._tokens(client, grant_type="client_credentials")

    def refresh(self, tokens: Tokens) -> Reply:
        """The answer to a refresh by the client that the tokens were issued to: 200, or 400 ``invalid_grant``."""
        return self.oidc(
            "token", tokens.client, grant_type="refresh_token", refresh_token=tokens.refresh or ""
        )

    def introspect(self, token: str, client: str = "bank-api") -> dict[str, Any]:
        """What a client is told of a token. One outside the token's ``aud`` is always told ``active: false``."""
        reply = self.oidc("token/introspect", client, token=token)
        if reply.status != 200:
            raise KeycloakError(f"{client} may not introspect: {reply.status} {reply.text}")
        told: dict[str, Any] = reply.json
        return told

    def active(self, tokens: Tokens, client: str = "bank-api") -> bool:
        """Whether a client is told that an access token stands."""
        return bool(self.introspect(tokens.access, client)["active"])

    def wait_inactive(self, tokens: Tokens, client: str = "bank-api", limit_s: float = 5.0) -> float:
        """Ask until an access token no longer stands; the seconds that it took, to the end of the first ``false``.

        Raises
        ------
        KeycloakError
            It stands after `limit_s` still.
        """
        begun = time.monotonic()
        while self.active(tokens, client):
            if time.monotonic() - begun > limit_s:
                raise KeycloakError(f"the token stands {limit_s} s later")
            time.sleep(0.002)
        return time.monotonic() - begun

    def revoke(self, token: str, client: str, hint: str | None = None) -> Reply:
        """The answer to a revocation (RFC 7009) of an access or refresh token by a client."""
        return self.oidc("revoke", client, token=token, **({"token_type_hint": hint} if hint else {}))

    # What an administrator asks of it.

    def delete_session(self, session: str, *, offline: bool = False, bearer: str | None = None) -> Reply:
        """End one session as ``driftline-bridge``, or with another access token."""
        path = f"sessions/{quote(session, safe='')}" + ("?isOffline=true" if offline else "")
        return self.realm_admin(
            "DELETE", path, bearer=bearer or self.client_credentials("driftline-bridge").access
        )

    def user_id(self, user: str) -> str:
        """The id of a user, which tokens name as ``sub``."""
        return str(self.realm_admin("GET", f"users?exact=true&username={quote(user)}").json[0]["id"])

    def realm_admin(
        self, method: str, path: str, document: Any = None, *, bearer: str | None = None
    ) -> Reply:
        """A request to the realm's admin API, by the server's administrator or with another access token."""
        authorization = {"Authorization": f"Bearer {bearer or self._administrator()}"}
        return self.request(method, f"/admin/realms/{REALM}/{path}", document=document, headers=authorization)

    def _administrator(self) -> str:
        if self._admin_token is None or self._admin_token[0] < time.monotonic():
            form = {
                "grant_type": "password",
                "client_id": "admin-cli",
                "username": ADMIN,
                "password": ADMIN_PASSWORD,
            }
            reply = self.request("POST", "/realms/master/protocol/openid-connect/token", form=form)
            if reply.status != 200:
                raise KeycloakError(f"the administrator got no token: {reply.status} {reply.text}")
            self._admin_token = time.monotonic() + 30.0, reply.json["access_token"]
        return self._admin_token[1]


def _ask(
    port: int,
    method: str,
    path: str,
    *,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    limit_s: float = ANSWER_S,
) -> Reply:
    begun = time.monotonic()
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=limit_s)) as connection:
        connection.request(method, path, body=body or None, headers=dict(headers or {}))
        answer = connection.getresponse()
        text = answer.read().decode()
        return Reply(answer.status, text, time.monotonic() - begun, answer.headers)
