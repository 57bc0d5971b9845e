"""Each provider against a server that keeps to its documented contract: alive before, dead after, and what a repeat does.

Keycloak is also tested for real (tests/keycloak), OAuth servers against Authlib's, AWS against moto's IAM.
"""

from __future__ import annotations

import asyncio
import json
import stat
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from werkzeug import Response

from models.contracts import CredentialRef
from models.errors import ConfigError
from models.text.secrets import digested
from stream.bridge.configuration import load, provider_of
from stream.bridge.provider import Effect, Provider, Rejected, Unavailable
from stream.bridge.providers.aws import AwsSettings
from stream.bridge.providers.entra import EntraSettings
from stream.bridge.providers.keycloak import KeycloakSettings
from stream.bridge.providers.okta import OktaSettings
from stream.bridge.providers.rfc7009 import OAuthServerSettings
from stream.bridge.providers.spire import SpireSettings
from stream.bridge.providers.vault import VaultSettings
from stream.shell.oauth_server import Around, EmbeddedOAuthServer, Issued

REVOKED_S = 1_767_258_000
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def ref(kind: str, value: str) -> CredentialRef:
    return CredentialRef(broker="b", kind=kind, value=value)


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A server on loopback, all of whose requests `handler` answers."""
    app = web.Application()

    async def answer(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def made(settings: Any) -> AsyncIterator[Provider]:
    provider = provider_of(settings)
    try:
        yield provider
    finally:
        await provider.close()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("s3cret\n", encoding="utf-8")
    return path


def providers_that_know_404(url: str, secret: Path) -> list[tuple[Any, str]]:
    entra = {"provider": "entra", "url": url, "login_url": url, "tenant": "t", "client_id": "c"}
    return [
        (keycloak(url, secret), "sid"),
        (keycloak(url, secret), "user_id"),
        (OktaSettings(provider="okta", url=url, token_file=secret), "user_id"),
        (EntraSettings.model_validate({**entra, "client_secret_file": secret}), "user_id"),
    ]


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(text="default backend - 404", status=404),
        lambda: web.json_response({"error": "Unable to find matching target resource method"}, status=404),
        lambda: web.json_response({"message": "no Route matched with those values"}, status=404),
    ],
)
def test_a_404_of_what_stands_before_a_provider_is_no_proof_that_a_credential_is_gone(
    secret: Path, answer: Callable[[], web.Response]
) -> None:
    """An ingress without a backend, a gateway without a route, an address with a wrong path: the credential lives."""

    async def gateway(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/token"):
            return web.json_response({"access_token": "t", "expires_in": 60})
        return answer()

    async def main() -> None:
        async with serving(gateway) as url:
            for settings, kind in providers_that_know_404(url, secret):
                async with made(settings) as provider:
                    with pytest.raises(Unavailable, match="mend url"):
                        await provider.revoke(ref(kind, "x"), REVOKED_S)
                    if kind == "sid":
                        with pytest.raises(Unavailable, match="mend url"):
                            await provider.check()

    asyncio.run(main())


def test_a_token_endpoint_that_is_not_routed_for_a_moment_fails_no_credential(secret: Path) -> None:
    async def gateway(_: web.Request) -> web.StreamResponse:
        return web.Response(text="default backend - 404", status=404)

    async def main() -> None:
        async with serving(gateway) as url, made(keycloak(url, secret)) as provider:
            with pytest.raises(Unavailable, match="mend url"):
                await provider.revoke(ref("sid", "x"), REVOKED_S)

    asyncio.run(main())


# --------------------------------------------------------------------------- Keycloak


class FakeKeycloak:
    """The admin API's answers, as they were measured of Keycloak 26.7.3 (tests/keycloak)."""

    def __init__(self) -> None:
        self.online, self.offline, self.tokens = {"on"}, {"off"}, 0
        self.user = "u1"  # whose sessions these are
        self.comes_back = 0  # how often a session that was deleted is there again, out of the cache
        self.valid = ""
        self.seen: list[str] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(f"{request.method} {request.path_qs}")
        if request.path.endswith("/token"):
            if (
                request.headers.get("Authorization", "").startswith("Basic ")
                and (await request.post())["grant_type"] == "client_credentials"
            ):
                self.tokens += 1
                self.valid = f"t{self.tokens}"
                return web.json_response({"access_token": self.valid, "expires_in": 60})
            return web.json_response({"error": "unauthorized_client"}, status=401)
        if request.headers.get("Authorization") != f"Bearer {self.valid}":
            return web.json_response({"error": "HTTP 401 Unauthorized"}, status=401)
        if not request.path.startswith("/admin/realms/bank/"):
            return web.json_response({"error": "Realm not found."}, status=404)
        held = self.offline if request.query.get("isOffline") == "true" else self.online
        name = request.path.rpartition("/")[2]
        if request.path.endswith("/logout"):
            if request.path.split("/")[-2] != self.user:
                return web.json_response({"error": "User not found"}, status=404)
            self.online.clear()
            return web.Response(status=204)
        if name not in held:
            return web.json_response({"error": "Sesssion not found"}, status=404)
        if self.comes_back:
            self.comes_back -= 1
        else:
            held.discard(name)
        return web.Response(status=204)


def keycloak(url: str, secret: Path, **changes: Any) -> KeycloakSettings:
    return KeycloakSettings.model_validate(
        {"provider": "keycloak", "url": url, "realm": "bank", "client_secret_file": secret, **changes}
    )


def test_keycloak_ends_one_session_online_or_offline_and_a_repeat_finds_it_gone(secret: Path) -> None:
    async def main() -> None:
        fake = FakeKeycloak()
        async with serving(fake) as url, made(keycloak(url, secret, access_token_minutes=2)) as provider:
            assert fake.online == {"on"}
            done = await provider.revoke(ref("sid", "on"), REVOKED_S)
            assert (done.status, done.survives_s) == ("done", 120)
            assert fake.online == set()
            assert fake.offline == {"off"}  # the end of one session leaves the other
            assert (await provider.revoke(ref("sid", "off"), REVOKED_S)).status == "done"
            assert fake.offline == set()
            assert (await provider.revoke(ref("sid", "on"), REVOKED_S)).status == "already_gone"
            assert fake.tokens == 1  # one for all calls

    asyncio.run(main())


def test_keycloak_a_session_that_comes_back_is_ended_until_it_stays_away(secret: Path) -> None:
    async def main() -> None:
        fake = FakeKeycloak()
        async with serving(fake) as url, made(keycloak(url, secret)) as provider:
            fake.comes_back = 3
            assert fake.online == {"on"}
            assert (await provider.revoke(ref("sid", "on"), REVOKED_S)).status == "done"
            assert fake.online == set()
            fake.online, fake.comes_back = {"on"}, 1000
            with pytest.raises(Unavailable, match="comes back"):
                await provider.revoke(ref("sid", "on"), REVOKED_S)

    asyncio.run(main())


def test_keycloak_fetches_a_new_token_when_the_old_one_is_refused(secret: Path) -> None:
    async def main() -> None:
        fake = FakeKeycloak()
        async with serving(fake) as url, made(keycloak(url, secret)) as provider:
            await provider.check()
            fake.valid = "restarted"
            assert fake.online == {"on"}
            assert (await provider.revoke(ref("sid", "on"), REVOKED_S)).status == "done"
            assert fake.online == set()
            assert fake.tokens == 2

    asyncio.run(main())


def test_keycloak_logging_a_user_out_is_wider(secret: Path) -> None:
    async def main() -> None:
        fake = FakeKeycloak()
        async with serving(fake) as url, made(keycloak(url, secret)) as provider:
            assert (fake.user, fake.online) == ("u1", {"on"})
            assert (await provider.revoke(ref("user_id", "u2"), REVOKED_S)).status == "already_gone"
            assert fake.online == {"on"}
            assert (await provider.revoke(ref("user_id", "u1"), REVOKED_S)).status == "wider"
            assert fake.online == set()

    asyncio.run(main())


def test_keycloak_a_wrong_realm_is_no_session_that_is_gone(secret: Path) -> None:
    async def main() -> None:
        async with serving(FakeKeycloak()) as url, made(keycloak(url, secret, realm="bnak")) as provider:
            with pytest.raises(Rejected, match="no realm 'bnak'"):
                await provider.revoke(ref("sid", "on"), REVOKED_S)

    asyncio.run(main())


@pytest.mark.parametrize(
    "value", ["../users/u1/logout", "..", "a/b", "a%2fb", "a?isOffline=true", "a b", "a\n", ""]
)
def test_what_is_no_id_reaches_no_path(secret: Path, value: str) -> None:
    async def main() -> None:
        fake = FakeKeycloak()
        async with serving(fake) as url, made(keycloak(url, secret)) as provider:
            with pytest.raises(Rejected, match="no id"):
                await provider.revoke(ref("sid", value), REVOKED_S)
            assert fake.seen == []

    asyncio.run(main())


# --------------------------------------------------------------------------- Vault


class FakeVault:
    """Vault's answers by its API documentation: 204 for leases known or not, 400 for accessors that are not known."""

    def __init__(self) -> None:
        self.leases, self.accessors = {"db/creds/1"}, {"acc"}

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if (
            request.headers.get("X-Vault-Token") != "s3cret"
            or request.headers.get("X-Vault-Namespace") != "bank"
        ):
            return web.json_response({"errors": ["permission denied"]}, status=403)
        if request.path == "/v1/auth/token/lookup-self":
            return web.json_response({"data": {"display_name": "token-bridge", "policies": ["bridge"]}})
        asked = await request.json()
        if request.path == "/v1/sys/leases/revoke":
            assert asked["sync"] is True
            self.leases.discard(asked["lease_id"])
            return web.Response(status=204)
        assert request.path == "/v1/auth/token/revoke-accessor"
        if asked["accessor"] == "batch":
            return web.json_response({"errors": ["batch tokens cannot be revoked"]}, status=400)
        if asked["accessor"] not in self.accessors:
            return web.json_response({"errors": ["1 error occurred: * invalid accessor"]}, status=400)
        self.accessors.discard(asked["accessor"])
        return web.Response(status=204)


def vault(url: str, secret: Path, namespace: str | None = "bank") -> VaultSettings:
    return VaultSettings(provider="vault", url=url, token_file=secret, namespace=namespace)


def test_vault_revokes_a_lease_and_a_token_and_a_repeat_does_no_harm(secret: Path) -> None:
    async def main() -> None:
        fake = FakeVault()
        async with serving(fake) as url, made(vault(url, secret)) as provider:
            assert "bridge" in await provider.check()
            assert fake.leases == {"db/creds/1"}
            for _ in range(2):
                assert (await provider.revoke(ref("lease", "db/creds/1"), REVOKED_S)).status == "done"
            assert fake.leases == set()
            assert fake.accessors == {"acc"}
            assert (await provider.revoke(ref("accessor", "acc"), REVOKED_S)).status == "done"
            assert fake.accessors == set()
            assert (await provider.revoke(ref("accessor", "acc"), REVOKED_S)).status == "already_gone"
            with pytest.raises(Rejected):
                await provider.revoke(ref("accessor", "batch"), REVOKED_S)

    asyncio.run(main())


def test_vault_a_refused_token_may_be_mended_so_it_is_tried_again(secret: Path) -> None:
    async def main() -> None:
        async with serving(FakeVault()) as url, made(vault(url, secret, None)) as provider:
            with pytest.raises(Unavailable, match="403"):
                await provider.revoke(ref("lease", "db/creds/1"), REVOKED_S)

    asyncio.run(main())


# --------------------------------------------------------------------------- Okta, Entra


def test_okta_clears_all_of_a_user_and_says_that_this_is_wider(secret: Path) -> None:
    users = {"u@1": 3}

    async def okta(request: web.Request) -> web.StreamResponse:
        if request.headers["Authorization"] != "SSWS s3cret":
            return web.json_response({"errorCode": "E0000011"}, status=401)
        if request.path == "/api/v1/users/me":
            return web.json_response({"id": "bridge"})
        assert request.method == "DELETE"
        assert request.query["oauthTokens"] == "true"
        name = request.path.split("/")[4]
        if name not in users:
            return web.json_response({"errorCode": "E0000007"}, status=404)
        users[name] = 0
        return web.Response(status=204)

    async def main() -> None:
        async with (
            serving(okta) as url,
            made(OktaSettings(provider="okta", url=url, token_file=secret)) as provider,
        ):
            await provider.check()
            assert users["u@1"] == 3
            effect = await provider.revoke(ref("user_id", "u@1"), REVOKED_S)
            assert (effect.status, effect.survives_s) == ("wider", 3600)
            assert users["u@1"] == 0
            assert (await provider.revoke(ref("user_id", "nobody"), REVOKED_S)).status == "already_gone"
            with pytest.raises(Rejected, match="user_id"):
                await provider.revoke(ref("sid", "x"), REVOKED_S)

    asyncio.run(main())


def test_entra_revokes_sign_ins_and_disables_workloads(secret: Path) -> None:
    state = {"sign_ins": True, "enabled": True}

    async def entra(request: web.Request) -> web.StreamResponse:
        if request.path == "/contoso/oauth2/v2.0/token":
            form = await request.post()
            assert form["scope"] == "https://graph.microsoft.com/.default"
            return web.json_response({"access_token": "graph", "expires_in": 3599})
        assert request.headers["Authorization"] == "Bearer graph"
        if request.method == "POST" and request.path == "/v1.0/users/u1/revokeSignInSessions":
            state["sign_ins"] = False
            return web.json_response({"value": True})
        if request.method == "PATCH" and request.path == "/v1.0/servicePrincipals/sp1":
            state["enabled"] = (await request.json())["accountEnabled"]
            return web.Response(status=204)
        return web.json_response({"error": {"code": "Request_ResourceNotFound"}}, status=404)

    async def main() -> None:
        async with serving(entra) as url:
            settings = EntraSettings(
                provider="entra",
                url=url,
                login_url=url,
                tenant="contoso",
                client_id="c",
                client_secret_file=secret,
            )
            async with made(settings) as provider:
                assert state == {"sign_ins": True, "enabled": True}
                assert (await provider.revoke(ref("user_id", "u1"), REVOKED_S)).status == "wider"
                assert (
                    await provider.revoke(ref("service_principal_id", "sp1"), REVOKED_S)
                ).status == "wider"
                assert state == {"sign_ins": False, "enabled": False}
                assert (await provider.revoke(ref("user_id", "u2"), REVOKED_S)).status == "already_gone"

    asyncio.run(main())


# --------------------------------------------------------------------------- an OAuth server with RFC 7009


FIND = """
import json, sys
asked = json.loads(sys.stdin.readline())
assert asked["broker"] == "b" and asked["kind"] == "grant"
held = json.load(open(sys.argv[1]))
if asked["value"] not in held:
    sys.exit(3)
print(json.dumps({"tokens": held[asked["value"]]}))
"""


@contextmanager
def authlibs(
    tmp_path: Path, around: Around | None = None, **changes: Any
) -> Iterator[tuple[EmbeddedOAuthServer, Issued, Any]]:
    """Authlib's server, what it issued to the agent under the reference ``ref-1``, and settings for a provider."""
    held, own = tmp_path / "held.json", tmp_path / "agent-secret"
    own.write_text("50%-of:it", encoding="utf-8")
    with EmbeddedOAuthServer({"agent": "50%-of:it"}, around=around) as server:
        issued = server.issue("agent", "payments", subject="ada")
        tokens = [{"token": issued.access_token}, {"token": issued.refresh_token, "hint": "refresh_token"}]
        held.write_text(json.dumps({"ref-1": tokens, "ended": []}), encoding="utf-8")
        yield (
            server,
            issued,
            OAuthServerSettings.model_validate(
                {
                    "provider": "rfc7009",
                    "url": server.url,
                    "introspect_path": "/introspect",
                    "client_id": "agent",
                    "client_secret_file": own,
                    "token_command": [sys.executable, "-c", FIND, str(held)],
                    "kinds": ["grant"],
                    **changes,
                }
            ),
        )


def test_an_oauth_server_kills_the_tokens_that_the_command_finds_and_says_so_only_then(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        with authlibs(tmp_path) as (server, issued, settings):
            async with made(settings) as provider:
                await provider.check()
                assert server.is_active("agent", issued.access_token)
                assert server.is_active("agent", str(issued.refresh_token))
                assert (await provider.revoke(ref("grant", "ref-1"), REVOKED_S)).status == "done"
                assert not server.is_active("agent", issued.access_token)
                assert not server.is_active("agent", str(issued.refresh_token))
                assert (await provider.revoke(ref("grant", "ref-1"), REVOKED_S)).status == "already_gone"
                assert (await provider.revoke(ref("grant", "ended"), REVOKED_S)).status == "already_gone"

    asyncio.run(main())


def test_an_oauth_reference_that_nobody_knows_is_never_done(tmp_path: Path) -> None:
    async def main() -> None:
        with authlibs(tmp_path) as (server, issued, settings):
            assert server.is_active("agent", issued.access_token)
            async with made(settings) as provider:
                with pytest.raises(Rejected, match="does not know"):
                    await provider.revoke(ref("grant", "ref-2"), REVOKED_S)
                with pytest.raises(Rejected, match="kinds"):
                    await provider.revoke(ref("jti", "ref-1"), REVOKED_S)
            assert server.is_active("agent", issued.access_token)

    asyncio.run(main())


FLOOD = "import sys\nwhile True: sys.stdout.write('x' * 65536)"
LEAVES = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open(sys.argv[1], "w").write(str(child.pid))
print('{"tokens": []}', flush=True)
%s
"""


def test_a_token_command_that_floods_is_ended_at_once(tmp_path: Path) -> None:
    """Ten seconds of it were some ten gigabytes."""

    async def main() -> None:
        with authlibs(tmp_path, token_command=[sys.executable, "-c", FLOOD]) as (_, _, settings):
            async with made(settings) as provider:
                async with asyncio.timeout(5):
                    with pytest.raises(Rejected, match="another shape"):
                        await provider.revoke(ref("grant", "ref-1"), REVOKED_S)

    asyncio.run(main())


@pytest.mark.parametrize("then", ["", "import time; time.sleep(60)"])
def test_what_a_token_command_leaves_running_is_ended_with_it(tmp_path: Path, then: str) -> None:
    left = tmp_path / "left"

    async def main() -> None:
        command = [sys.executable, "-c", LEAVES % then, str(left)]
        with authlibs(tmp_path, token_command=command, timeout_s=3) as (_, _, settings):
            async with made(settings) as provider:
                if then:
                    with pytest.raises(Unavailable, match="did not end"):
                        await provider.revoke(ref("grant", "ref-1"), REVOKED_S)
                else:
                    assert (await provider.revoke(ref("grant", "ref-1"), REVOKED_S)).status == "already_gone"

    asyncio.run(main())
    deadline = time.monotonic() + 5
    status = Path("/proc") / left.read_text(encoding="utf-8") / "stat"
    while status.exists() and " Z " not in status.read_text(encoding="utf-8"):
        assert time.monotonic() < deadline, "it runs on"
        time.sleep(0.05)


def test_an_oauth_answer_that_is_lost_is_asked_again_and_found_gone(tmp_path: Path) -> None:
    lost = iter([True])

    def around(request: Any, real: Callable[[], Any]) -> Any:
        answer = real()
        if request.path == "/revoke" and next(lost, False):
            raise ConnectionError("the line is cut after the effect")
        return answer

    async def main() -> None:
        with authlibs(tmp_path, around) as (server, issued, settings):
            async with made(settings) as provider:
                assert server.is_active("agent", str(issued.refresh_token))
                with pytest.raises(Unavailable):
                    await provider.revoke(ref("grant", "ref-1"), REVOKED_S)
                await provider.revoke(ref("grant", "ref-1"), REVOKED_S)
                assert not server.is_active("agent", str(issued.refresh_token))

    asyncio.run(main())


def test_an_oauth_server_that_takes_it_and_does_nothing_is_found_out(tmp_path: Path) -> None:
    def around(request: Any, real: Callable[[], Any]) -> Any:
        return Response() if request.path == "/revoke" else real()

    async def main() -> None:
        with authlibs(tmp_path, around) as (_, _, settings):
            async with made(settings) as provider:
                with pytest.raises(Unavailable, match="still active"):
                    await provider.revoke(ref("grant", "ref-1"), REVOKED_S)

    asyncio.run(main())


def test_an_oauth_client_with_another_secret_is_refused_and_tried_again(tmp_path: Path) -> None:
    async def main() -> None:
        with authlibs(tmp_path) as (server, issued, settings):
            settings.client_secret_file.write_text("other", encoding="utf-8")
            async with made(settings) as provider:
                with pytest.raises(Unavailable, match="401"):
                    await provider.revoke(ref("grant", "ref-1"), REVOKED_S)
            assert server.is_active("agent", issued.access_token)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("import sys; sys.exit(1)", Unavailable),
        ("import time; time.sleep(60)", Unavailable),
        ("print('the-token')", Rejected),
        ('print(\'{"tokens": [{"token": ""}]}\')', Rejected),
        ("print('{\"tokens\": [' + ' ' * 100_000 + ']}')", Rejected),
    ],
)
def test_a_token_command_that_fails_hangs_or_babbles_never_revokes(
    secret: Path, program: str, error: type[Exception]
) -> None:
    settings = OAuthServerSettings(
        provider="rfc7009",
        url="http://127.0.0.1:9",
        client_id="bridge",
        client_secret_file=secret,
        token_command=[sys.executable, "-c", program],
        kinds=["grant"],
        timeout_s=1.0,
    )

    async def main() -> None:
        async with made(settings) as provider:
            with pytest.raises(error) as told:
                await provider.revoke(ref("grant", "ref-1"), REVOKED_S)
            assert "the-token" not in str(told.value)

    asyncio.run(main())


def test_a_token_command_that_is_not_there_is_told(secret: Path) -> None:
    settings = OAuthServerSettings(
        provider="rfc7009",
        url="http://127.0.0.1:9",
        client_id="bridge",
        client_secret_file=secret,
        token_command=["/nowhere/token-of"],
        kinds=["grant"],
    )

    async def main() -> None:
        async with made(settings) as provider:
            with pytest.raises(Unavailable, match="cannot be run"):
                await provider.revoke(ref("grant", "ref-1"), REVOKED_S)

    asyncio.run(main())


# --------------------------------------------------------------------------- AWS, SPIRE


@pytest.fixture
def iam(monkeypatch: pytest.MonkeyPatch) -> Any:
    """moto's IAM with one role."""
    import boto3
    from moto import mock_aws

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        client = boto3.client("iam", region_name="us-east-1")
        client.create_role(RoleName="agent", Path="/bots/", AssumeRolePolicyDocument="{}")
        yield client


ROLE = "arn:aws:iam::123456789012:role/bots/agent"


def test_aws_denies_what_began_before_and_a_late_repeat_never_moves_it_back(iam: Any) -> None:
    def before() -> str:
        document = iam.get_role_policy(RoleName="agent", PolicyName="DriftlineRevokedBefore")[
            "PolicyDocument"
        ]
        (statement,) = document["Statement"]
        assert (statement["Effect"], statement["Action"], statement["Resource"]) == ("Deny", ["*"], ["*"])
        return str(statement["Condition"]["DateLessThan"]["aws:TokenIssueTime"])

    async def main() -> None:
        async with made(AwsSettings(provider="aws", account="123456789012")) as provider:
            await provider.check()
            assert iam.list_role_policies(RoleName="agent")["PolicyNames"] == []
            assert (await provider.revoke(ref("role_arn", ROLE), REVOKED_S)).status == "wider"
            assert before() == "2026-01-01T09:00:00Z"
            await provider.revoke(ref("role_arn", ROLE), REVOKED_S + 60)
            await provider.revoke(ref("role_arn", ROLE), REVOKED_S)
            assert before() == "2026-01-01T09:01:00Z"
        async with made(AwsSettings(provider="aws", account="123456789012")) as another:
            await another.revoke(ref("role_arn", ROLE), REVOKED_S)
            assert before() == "2026-01-01T09:01:00Z"

    asyncio.run(main())


def test_aws_denies_one_session_of_a_role_by_its_name(iam: Any) -> None:
    async def main() -> None:
        async with made(AwsSettings(provider="aws", account="123456789012")) as provider:
            assert iam.list_role_policies(RoleName="agent")["PolicyNames"] == []
            for _ in range(2):
                assert (
                    await provider.revoke(ref("role_session", f"{ROLE}/task-17"), REVOKED_S)
                ).status == "done"
            (name,) = iam.list_role_policies(RoleName="agent")["PolicyNames"]
            document = iam.get_role_policy(RoleName="agent", PolicyName=name)["PolicyDocument"]
            role_id = iam.get_role(RoleName="agent")["Role"]["RoleId"]
            assert document["Statement"][0]["Condition"] == {
                "StringEquals": {"aws:userid": f"{role_id}:task-17"}
            }

    asyncio.run(main())


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("role_arn", "agent"),
        ("role_session", ROLE.replace("role/", "user/") + "/x"),
        ("role_session", f"{ROLE}/*"),
        ("sid", "x"),
        # Another account's: it may well live, and a role of that name here is somebody else's.
        ("role_arn", ROLE.replace("123456789012", "999999999999")),
        ("role_arn", ROLE.replace("123456789012", "999999999999").replace("agent", "gone")),
        ("role_session", ROLE.replace("123456789012", "999999999999") + "/task"),
    ],
)
def test_aws_what_names_no_role_is_rejected(iam: Any, kind: str, value: str) -> None:
    async def main() -> None:
        async with made(AwsSettings(provider="aws", account="123456789012")) as provider:
            with pytest.raises(Rejected):
                await provider.revoke(ref(kind, value), REVOKED_S)

    asyncio.run(main())


def test_aws_a_role_that_is_gone_is_said_to_be(iam: Any) -> None:
    async def main() -> None:
        async with made(AwsSettings(provider="aws", account="123456789012")) as provider:
            gone = ROLE.replace("agent", "gone")
            assert (await provider.revoke(ref("role_arn", gone), REVOKED_S)).status == "already_gone"
            assert (
                await provider.revoke(ref("role_session", f"{gone}/task"), REVOKED_S)
            ).status == "already_gone"

    asyncio.run(main())


def test_spire_deletes_an_entry_and_a_repeat_finds_it_gone(tmp_path: Path) -> None:
    """By the words of spire-server's command line."""
    entries = tmp_path / "entries"
    entries.mkdir()
    (entries / "e1").touch()
    program = tmp_path / "spire-server"
    program.write_text(
        f"""#!{sys.executable}
import pathlib, sys
assert sys.argv[-2:] == ["-socketPath", "/run/spire.sock"]
if sys.argv[1] == "healthcheck":
    sys.exit(print("Server is healthy."))
assert sys.argv[1:4] == ["entry", "delete", "-entryID"]
entry = pathlib.Path({str(entries)!r}) / sys.argv[4]
if not entry.exists():
    sys.exit("Failed to delete entry with ID " + sys.argv[4] + " (code: NotFound, msg: \\"entry not found\\")")
entry.unlink()
print("Deleted entry with ID:", sys.argv[4])
""",
        encoding="utf-8",
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)

    async def main() -> None:
        settings = SpireSettings(
            provider="spire",
            command=(str(program),),
            options=("-socketPath", "/run/spire.sock"),
            svid_minutes=30,
        )
        async with made(settings) as provider:
            await provider.check()
            assert (entries / "e1").exists()
            assert await provider.revoke(ref("entry_id", "e1"), REVOKED_S) == Effect(
                "done", "", "SVIDs already issued, until they expire", 1800
            )
            assert not (entries / "e1").exists()
            assert (await provider.revoke(ref("entry_id", "e1"), REVOKED_S)).status == "already_gone"
            with pytest.raises(Rejected):
                await provider.revoke(ref("entry_id", "-all"), REVOKED_S)

    asyncio.run(main())


@pytest.mark.parametrize(
    "said", ['Error from server (NotFound): pods "spire-server-0" not found', "sh: spire-server: not found"]
)
def test_spire_a_pod_or_program_that_is_not_found_is_no_entry_that_is_gone(said: str) -> None:
    program = f"import sys; sys.exit({said!r})"
    settings = SpireSettings(provider="spire", command=(sys.executable, "-c", program))

    async def main() -> None:
        async with made(settings) as provider:
            with pytest.raises(Unavailable, match="command"):
                await provider.revoke(ref("entry_id", "e1"), REVOKED_S)

    asyncio.run(main())


# --------------------------------------------------------------------------- what all of them share


@pytest.mark.parametrize(
    ("status", "headers", "after_s"),
    [
        (429, {"Retry-After": "7"}, 7.0),
        (503, {}, None),
        (500, {}, None),
        (408, {}, None),
        (502, {"Retry-After": "soon"}, None),
    ],
)
def test_an_answer_to_come_again_is_no_failure(
    secret: Path, status: int, headers: dict[str, str], after_s: float | None
) -> None:
    async def busy(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers=headers)

    async def main() -> None:
        async with serving(busy) as url, made(vault(url, secret)) as provider:
            with pytest.raises(Unavailable) as told:
                await provider.revoke(ref("lease", "x"), REVOKED_S)
            assert told.value.retry_after_s == after_s
            assert str(status) in told.value.why

    asyncio.run(main())


def test_a_provider_that_is_not_there_hangs_or_drops_connections_is_tried_again(secret: Path) -> None:
    async def hangs(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    async def drops(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def main() -> None:
        urls = ["http://127.0.0.1:9"]
        async with serving(hangs) as slow, serving(drops) as rude:
            for url in [*urls, slow, rude]:
                settings = vault(url, secret).model_copy(update={"timeout_s": 0.3})
                async with made(settings) as provider:
                    with pytest.raises(Unavailable):
                        await provider.revoke(ref("lease", "x"), REVOKED_S)

    asyncio.run(main())


def test_no_redirect_takes_a_secret_elsewhere(secret: Path) -> None:
    heard: list[str] = []

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        heard.append(request.path)
        return web.Response(status=204)

    async def main() -> None:
        async with serving(elsewhere) as other:

            async def moved(_: web.Request) -> web.StreamResponse:
                return web.Response(status=307, headers={"Location": other})

            async with serving(moved) as url, made(vault(url, secret)) as provider:
                with pytest.raises(Rejected, match="307"):
                    await provider.revoke(ref("lease", "x"), REVOKED_S)

    asyncio.run(main())
    assert heard == []


def test_a_secret_is_read_at_each_use_and_its_absence_may_be_mended(secret: Path) -> None:
    async def main() -> None:
        fake = FakeVault()
        async with serving(fake) as url, made(vault(url, secret)) as provider:
            secret.write_text("old", encoding="utf-8")
            with pytest.raises(Unavailable, match="403"):
                await provider.revoke(ref("lease", "x"), REVOKED_S)
            secret.unlink()
            with pytest.raises(Unavailable, match="cannot be read"):
                await provider.revoke(ref("lease", "x"), REVOKED_S)
            secret.write_text("s3cret", encoding="utf-8")
            assert (await provider.revoke(ref("lease", "x"), REVOKED_S)).status == "done"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "kind"), [("vault", "lease"), ("vault", "accessor"), ("keycloak", "sid"), ("spire", "entry_id")]
)
def test_the_digest_of_a_secret_is_no_name_of_anything(secret: Path, name: str, kind: str) -> None:
    made_of = {
        "vault": vault("http://127.0.0.1:9", secret),
        "keycloak": keycloak("http://127.0.0.1:9", secret),
        "spire": SpireSettings(provider="spire", command=("/nowhere",)),
    }

    async def main() -> None:
        async with made(made_of[name]) as provider:
            with pytest.raises(Rejected, match="declare its id"):
                await provider.revoke(ref(kind, digested("ghp_" + "a1" * 18)), REVOKED_S)

    asyncio.run(main())


# --------------------------------------------------------------------------- the configuration


GOOD = """
audiences: [https://sso.acme.test/set]
brokers:
  sso: {provider: keycloak, url: https://sso.acme.test, realm: bank, client_secret_file: /run/secrets/bridge}
  vault-eu1: {provider: vault, url: https://vault.acme.test/, token_file: /run/secrets/vault}
"""


def test_a_configuration_is_read(tmp_path: Path) -> None:
    path = tmp_path / "bridge.yaml"
    path.write_text(GOOD, encoding="utf-8")
    loaded = load(path)
    assert list(loaded.brokers) == ["sso", "vault-eu1"]
    assert loaded.brokers["vault-eu1"].url == "https://vault.acme.test"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("https://sso.acme.test,", "http://sso.acme.test,", "in the clear"),
        ("https://sso.acme.test,", "https://name:pa55@sso.acme.test,", "without a name"),
        ("provider: vault", "provider: valut", "brokers.vault-eu1"),
        ("realm: bank, ", "", "realm"),
        ("token_file", "token", "brokers.vault-eu1"),
        ("audiences: [https://sso.acme.test/set]", "audiences: []", "audiences"),
        ("brokers:", "brokers: [", "no YAML"),
    ],
)
def test_a_configuration_that_is_wrong_is_refused_with_its_place(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    path = tmp_path / "bridge.yaml"
    path.write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=told) as refused:
        load(path)
    assert "pa55" not in str(refused.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--config"):
        load(tmp_path / "nothing.yaml")


# --------------------------------------------------------------------------- the configuration


OKTA = "{provider: okta, url: 'https://okta.test', token_file: t, "


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"audiences: [us]\nbrokers: {{o: {OKTA}timeout_s: 0}}}}",
            "timeout_s",
        ),  # to the client that is: never
        (f"audiences: [us]\nbrokers: {{o: {OKTA}timeout_s: .inf}}}}", "timeout_s"),
        (f"audiences: [us]\nbrokers: {{o: {OKTA}access_token_minutes: .inf}}}}", "access_token_minutes"),
        (f"audiences: [us]\nbrokers: {{o: {OKTA}access_token_minutes: 1.0e+300}}}}", "access_token_minutes"),
        (f"audiences: [us]\nlimits: {{give_up_minutes: .inf}}\nbrokers: {{o: {OKTA}}}}}", "give_up_minutes"),
        (f"audiences: [us]\nbrokers: {{o: {OKTA}token: hunter2}}}}", "brokers.o.okta.token: no such setting"),
        ("audiences: [us]\nbrokers: {o: {provider: okta, token: hunter2}}", "token: no such setting"),
        ("audiences: [us, hunter2", "line 1"),
        ("", "a mapping with audiences and brokers"),
        ("- hunter2", "a mapping with audiences and brokers"),
    ],
)
def test_a_configuration_that_cannot_hold_is_told_by_place_and_never_by_value(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "bridge.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load(path)
    assert said in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_provider_that_cannot_be_reached_is_told_with_the_mend_and_no_name_of_a_class(secret: Path) -> None:
    async def main() -> None:
        async def never(_: web.Request) -> web.StreamResponse:
            return web.Response()

        async with serving(never) as url:
            plain = url.replace("http:", "https:")
            for place, said in (
                ("https://no-such-host.invalid", "its name is not known"),
                ("http://127.0.0.1:9", "nothing listens there"),
                (plain, "speaks no TLS"),
            ):
                settings = OktaSettings(provider="okta", url=place, token_file=secret)
                async with made(settings) as provider:
                    with pytest.raises(Unavailable, match=f"{said}.*mend url") as refused:
                        await provider.check()
                    assert "Error" not in str(refused.value)

    asyncio.run(main())
