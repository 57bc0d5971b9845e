"""People sign in to the console at a real Keycloak, in a real browser, and what an analyst says there closes a case on the bus."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from stream.events import ALERTS, EVENTS, dumps
from stream.settings import Settings
from stream.shell import topics
from stream.shell.broker import EmbeddedBroker
from stream.shell.outputs import claims_of
from stream.shell.send import Message, Sender
from tests.broker.test_breaker import World, astray
from tests.broker.test_console import console
from tests.broker.test_feedback import documents, run
from tests.console.test_browser import Watched, browser
from tests.keycloak.server import Keycloak, secret

__all__ = ["browser"]
pytestmark = [pytest.mark.keycloak, pytest.mark.slow, pytest.mark.timeout(600)]
ROLES = {"alice": "soc-analysts", "bob": "soc-readers", "carol": "staff"}
CLIENT = "driftline-console"


def create(keycloak: Keycloak, path: str, document: Any) -> None:
    """Create something in the realm; what is there already stays."""
    reply = keycloak.realm_admin("POST", path, document)
    assert reply.status in (201, 204, 409), reply.text


def people(keycloak: Keycloak, *, public: bool) -> str:
    """A client for the console, and people in groups that its ID tokens name; gives the client's id in the realm."""
    in_tokens = {"id.token.claim": "true", "claim.name": "groups", "full.path": "false"}
    mapper = {
        "name": "groups",
        "protocol": "openid-connect",
        "protocolMapper": "oidc-group-membership-mapper",
        "config": in_tokens,
    }
    name = str(uuid.uuid4())
    client = {
        "id": name,
        "clientId": f"{CLIENT}-{name[:8]}",
        "publicClient": public,
        "standardFlowEnabled": True,
        "attributes": {"pkce.code.challenge.method": "S256"},
        "protocolMappers": [mapper],
    }
    create(keycloak, "clients", client | ({} if public else {"secret": secret(CLIENT)}))
    password = {"type": "password", "value": "carol-test-password"}
    carol = {
        "username": "carol",
        "enabled": True,
        "email": "c@example.com",
        "firstName": "C",
        "lastName": "E",
    }
    create(keycloak, "users", {**carol, "emailVerified": True, "credentials": [password]})
    for user, group in ROLES.items():
        create(keycloak, "groups", {"name": group})
        found = keycloak.realm_admin("GET", f"groups?exact=true&search={group}").json
        joined = keycloak.realm_admin("PUT", f"users/{keycloak.user_id(user)}/groups/{found[0]['id']}")
        assert joined.status == 204
    return name


class Desk:
    """A console whose people Keycloak knows, over a case on a bus with a worker."""

    def __init__(self, keycloak: Keycloak, address: str, client: str, case: str, log: Any) -> None:
        self.keycloak, self.address, self.case, self.log = keycloak, address, case, log
        reply = keycloak.realm_admin("GET", f"clients/{client}").json
        changed = {**reply, "redirectUris": [f"{address}/callback"]}
        assert keycloak.realm_admin("PUT", f"clients/{client}", changed).status == 204

    def sign_in(self, page: Page, user: str, path: str = "/") -> None:
        """From a page of the console through Keycloak's own, and back."""
        page.goto(f"{self.address}{path}")
        page.wait_for_url("**/login**")
        page.click("text=Sign in at")
        page.fill("#username", user)
        page.fill("#password", f"{user}-test-password")
        page.click("#kc-login")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, str]]:
    """A worker that acted on a session that went astray, and its case."""
    with EmbeddedBroker() as broker:
        settings = Settings(bootstrap=broker.bootstrap, partitions=2, session_timeout_s=20.0)
        topics.create(settings)
        made = World(settings, tmp_path_factory.mktemp("world"))
        worker = made.worker()
        try:
            with Sender(settings) as sender:
                for event in astray("s-1"):
                    sender.send(Message(EVENTS, b"s-1", (), dumps(event)))
            alerts = documents(made.read(ALERTS, lambda seen: bool(seen)))
            yield made, alerts[-1]["finding_info"]["uid"]
        finally:
            worker.terminate()
            worker.wait(30)


@pytest.fixture(params=["confidential", "public"])
def desk(
    keycloak: Keycloak, world: tuple[World, str], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Desk]:
    made, case = world
    client = people(keycloak, public=request.param == "public")
    (tmp_path / "secret").write_text(secret(CLIENT), encoding="utf-8")
    told: dict[str, Any] = {
        "issuer": keycloak.issuer,
        "client_id": f"{CLIENT}-{client[:8]}",
        "timeout_s": 4.0,
        "roles": {"claim": "groups", "viewer": ["soc-readers"], "analyst": ["soc-analysts"]},
    }
    if request.param == "confidential":
        told["client_secret_file"] = str(tmp_path / "secret")
    (tmp_path / "oidc.yaml").write_text(json.dumps(told), encoding="utf-8")
    options = ("--oidc", str(tmp_path / "oidc.yaml"), "--feedback-key", str(made.key), "--days", "0")
    issuer = {name: value for name, value in made.environment.items() if name == "DRIFTLINE_ISSUER"}
    with console(made.settings, tmp_path / "log", *options, **issuer) as (running, address):
        yield Desk(keycloak, address, client, case, running)
        assert "Traceback" not in running.said()
        assert secret(CLIENT) not in running.said()


def test_an_analyst_signs_in_and_closes_a_case_a_viewer_reads_and_others_stay_out(
    desk: Desk, browser: Browser, world: tuple[World, str]
) -> None:
    reason = f"the payee is ours {uuid.uuid4().hex[:6]}"
    with Watched(browser, "light", "desk") as seen:
        page = seen.page
        desk.sign_in(page, "alice", f"/sessions/{desk.case}")
        # Back where alice wanted to go, by a strict cookie, though the way began at Keycloak.
        page.wait_for_url(f"**/sessions/{desk.case}")
        page.wait_for_selector("#state:text('live')")
        assert page.inner_text(".visitor") == "alice, analyst"
        assert page.evaluate("document.cookie") == ""
        page.keyboard.press("f")
        page.keyboard.press("ArrowDown")
        assert page.is_checked("input[value=false_positive]")
        page.fill("#say textarea", reason)
        page.click("text=Say it")
        page.wait_for_url(f"**/sessions/{desk.case}#said")
        page.wait_for_selector("#said .verdict", timeout=90_000)  # live, once the worker has told of it
        page.wait_for_selector(f"#said :text('{reason}')", timeout=90_000)
        assert "false_positive by alice, signed by" in page.inner_text("#said")
        page.reload()
        assert page.inner_text("#said").count(reason) == 1
        assert seen.violations() == []
        cookies = {each["name"]: each for each in page.context.cookies(desk.address)}
        assert (cookies["driftline"]["httpOnly"], cookies["driftline"]["sameSite"]) == (True, "Strict")
        assert "driftline-begun" not in cookies
        page.click("text=Sign out")
        page.wait_for_url("**/login")
        page.goto(f"{desk.address}/")
        page.wait_for_url("**/login")
    made, _ = world
    listed = json.loads(run(made, "feedback", desk.case, "--json").stdout)
    (said,) = [each for each in listed if each["comment"] == reason]
    kid = json.loads(made.key.read_bytes())["kid"]
    assert (said["verdict"], said["by"], said["key"], said["stands"]) == (
        "false_positive",
        "alice",
        kid,
        True,
    )
    # An auditor finds in the token on the bus whom Keycloak named, for good.
    told = [json.loads(record.value) for record in made.read("agent.cases.v1", lambda seen: bool(seen), 10)]
    claims = [claims_of(each["token"].encode()) for each in told if each.get("type") == "feedback.given"]
    (mine,) = [each for each in claims if each["comment"] == reason]
    alice = desk.keycloak.user_id("alice")
    assert mine["sub_id"] == {"format": "iss_sub", "iss": desk.keycloak.issuer, "sub": alice}

    with Watched(browser, "dark", "phone") as seen:
        desk.sign_in(seen.page, "bob", f"/sessions/{desk.case}")
        seen.page.wait_for_selector("#state:text('live')")
        assert seen.page.inner_text(".visitor") == "bob, viewer"
        assert seen.page.query_selector("#say form") is None
        assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert seen.violations() == []
    with Watched(browser, "dark", "desk") as seen:
        desk.sign_in(seen.page, "carol")
        seen.page.wait_for_selector("text=carol has no role here")
        seen.page.goto(desk.address)
        seen.page.wait_for_url("**/login")


def test_without_scripts_a_case_is_reopened_and_keys_that_rotate_lock_nobody_out(
    desk: Desk, browser: Browser
) -> None:
    rotated = {
        "name": f"rotated-{uuid.uuid4().hex[:6]}",
        "providerId": "rsa-generated",
        "providerType": "org.keycloak.keys.KeyProvider",
        # Above the key that another run of this test left: the highest one signs.
        "config": {"priority": [str(round(time.time()))], "keySize": ["2048"]},
    }
    signers: list[str] = []
    for _ in range(2):
        context = browser.new_context(java_script_enabled=False)
        page = context.new_page()
        desk.sign_in(page, "alice", f"/sessions/{desk.case}")
        page.wait_for_selector(".visitor:has-text('alice')")
        page.check("input[value=reopen]")
        page.fill("#say textarea", "looked at anew")
        page.click("text=Say it")
        page.wait_for_url(f"**/sessions/{desk.case}#said")
        assert "reopen by alice" in page.inner_text("#said")
        context.close()
        signed = desk.keycloak.realm_admin("GET", "keys").json["active"]["RS256"]
        assert signed not in signers
        signers.append(signed)
        create(desk.keycloak, "components", rotated)


def test_a_keycloak_that_is_away_is_a_sentence_and_whoever_is_in_stays_in(
    desk: Desk, browser: Browser
) -> None:
    with Watched(browser, "light", "desk") as seen:
        desk.sign_in(seen.page, "bob")
        seen.page.wait_for_selector(".visitor:has-text('bob')")
        context = browser.new_context()
        desk.keycloak.pause()
        try:
            page = context.new_page()
            page.goto(f"{desk.address}/login")
            # Where to go is known already; that nobody answers shows with the code, or at Keycloak itself.
            answer = page.request.get(f"{desk.address}/sign-in", max_redirects=0)
            assert answer.status == 303
            state = re.findall("state=([0-9a-f]+)", answer.headers["location"])[0]
            back = page.goto(f"{desk.address}/callback?state={state}&code=x")
            assert back is not None
            assert back.status == 503
            assert "no answer within 4 s" in page.inner_text("main")
            seen.page.goto(f"{desk.address}/overview")
            assert seen.page.inner_text("h1") == "Overview"
        finally:
            desk.keycloak.resume()
            context.close()
