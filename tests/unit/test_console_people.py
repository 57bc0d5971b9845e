"""Who is let into the console by an OpenID provider, as what, and that nobody else is: tokens forged, replayed and odd, and a provider that fails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import RSAKey
from pydantic import ValidationError
from starlette.testclient import TestClient

from models.errors import ConfigError
from stream.bridge.configuration import read_as
from stream.console import entrance, guard
from stream.console.guard import Access, own_page
from stream.console.index import Index
from stream.console.provider import OpenId, Provider, Roles, role_of
from stream.console.serving import Listen
from stream.events import ALERTS, EVENTS
from tests.identity import CLIENT, Identity, rsa_key
from tests.unit.test_console import HOST, TOKEN, Tags, client, finding, indexed, told

GROUPS = Roles(claim="groups", viewer=("soc-readers",), analyst=("soc",))


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> Iterator[Identity]:
    monkeypatch.setattr(entrance, "WRONG_S", 0.0)
    with Identity() as running:
        yield running


def console(provider: Provider, **how: Any) -> TestClient:
    return client(Index({EVENTS: None}), Access({"127.0.0.1:8800"}, provider=provider, **how))


def begun(pages: TestClient, to: str = "") -> str:
    """Where the browser is sent to sign in."""
    answer = pages.get("/sign-in", params={"to": to} if to else None)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def signed_in(pages: TestClient, identity: Identity, to: str = "") -> Any:
    return pages.get("/callback", params=identity.code(begun(pages, to)))


def cookies(answer: Any) -> dict[str, set[str]]:
    """The cookies that an answer sets, with their attributes."""
    lines = [line.split("; ") for line in answer.headers.get_list("set-cookie")]
    return {line[0].split("=")[0]: set(line[1:]) for line in lines}


# ------------------------------------------------------------------------ let in


def test_a_person_signs_in_sees_their_role_and_signs_out(identity: Identity, tmp_path: Path) -> None:
    identity.changes = {"groups": ["staff", "soc"]}
    pages = console(identity.provider(tmp_path, roles=GROUPS))
    sent = pages.get("/overview", headers={"accept": "text/html"})
    assert (sent.status_code, sent.headers["location"]) == (303, "/login?to=%2Foverview")
    (way,) = re.findall(r'href="(/sign-in[^"]*)"', pages.get(sent.headers["location"]).text)
    answer = pages.get(
        "/callback", params=identity.code(begun(pages, parse_qs(urlsplit(way).query)["to"][0]))
    )
    assert answer.status_code == 200
    assert '<meta http-equiv="refresh" content="0; url=/overview">' in answer.text
    assert {"HttpOnly", "SameSite=strict", "Path=/", "Max-Age=28800"} == cookies(answer)["driftline"]
    page = Tags(pages.get("/overview").text).text
    assert "ada, analyst" in page
    assert pages.post("/logout", headers={"origin": HOST}).status_code == 303
    assert pages.get("/overview").status_code == 401


def test_over_tls_both_cookies_are_this_hosts_alone(identity: Identity, tmp_path: Path) -> None:
    access = Access({"127.0.0.1:8800"}, None, True, identity.provider(tmp_path))
    pages = client(Index({}), access, "https://127.0.0.1:8800")
    sent = pages.get("/sign-in")
    assert parse_qs(urlsplit(sent.headers["location"]).query)["redirect_uri"] == [
        "https://127.0.0.1:8800/callback"
    ]
    assert {"HttpOnly", "Secure", "SameSite=lax", "Path=/"} <= cookies(sent)["__Host-driftline-begun"]
    answer = pages.get("/callback", params=identity.code(sent.headers["location"]))
    assert {"HttpOnly", "Secure", "SameSite=strict", "Path=/"} <= cookies(answer)["__Host-driftline"]
    assert "Max-Age=0" in cookies(answer)["__Host-driftline-begun"]


def test_what_a_browser_carries_holds_neither_verifier_nor_nonce_nor_token(
    identity: Identity, tmp_path: Path
) -> None:
    pages = console(identity.provider(tmp_path))
    asked = parse_qs(urlsplit(begun(pages)).query)
    kept = pages.cookies["driftline-begun"]
    assert not any(asked[name][0] in kept for name in ("state", "nonce", "code_challenge"))
    again = parse_qs(urlsplit(begun(pages)).query)
    assert not any(asked[name] == again[name] for name in ("state", "nonce", "code_challenge"))


def test_a_public_client_has_no_secret_and_is_let_in_by_pkce(identity: Identity, tmp_path: Path) -> None:
    pages = console(identity.provider(tmp_path, client_secret_file=None))
    assert signed_in(pages, identity).status_code == 200
    assert "ada, viewer" in Tags(pages.get("/").text).text  # no roles are mapped


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": [CLIENT]},
        {"aud": ["other", CLIENT], "azp": CLIENT},
        {"exp": -30, "iat": -400},
        {"iat": 30, "nbf": 30},
        {"preferred_username": " Ada Löwe-Ōe "},
    ],
)
def test_what_a_token_may_say_otherwise_lets_in(
    identity: Identity, tmp_path: Path, changes: dict[str, Any]
) -> None:
    now = int(identity.now_s())
    identity.changes = {name: now + each if isinstance(each, int) else each for name, each in changes.items()}
    assert signed_in(console(identity.provider(tmp_path)), identity).status_code == 200


def test_keys_rotate_and_a_key_that_was_withdrawn_counts_no_longer(
    identity: Identity, tmp_path: Path
) -> None:
    provider = identity.provider(tmp_path)
    pages = console(provider)
    assert signed_in(pages, identity).status_code == 200
    old = identity.key
    identity.key = rsa_key("two")
    encrypts = rsa_key("three", use="enc").as_dict(private=False)
    identity.keys = [{"kty": "oct", "k": "AAAA"}, {}, encrypts, {"kty": "RSA", "n": 7}, identity.key]
    assert signed_in(pages, identity).status_code == 200
    identity.key = old
    assert signed_in(pages, identity).status_code == 403
    # The one that is trusted now is withdrawn, too: it counts for an hour at most.
    identity.key, now_s = identity.keys[-1], identity.now_s()
    identity.keys = [old]
    identity.now_s = lambda: now_s + 3700
    assert signed_in(pages, identity).status_code == 403


# ------------------------------------------------------------------------ not let in


@pytest.mark.parametrize(
    ("changes", "header", "says"),
    [
        ({}, {"alg": "none"}, "does not fit the key"),
        ({}, {"alg": "None"}, "does not fit the key"),
        ({}, {"alg": "HS256"}, "does not fit the key"),
        ({}, {"kid": "unknown"}, "no key is known"),
        ({}, {"kid": None}, "no key is known|cannot be read"),
        ({}, {"kid": {"a": 1}}, "no key is known|cannot be read"),
        ({}, {"typ": "logout+jwt"}, "another kind"),
        ({"iss": "https://evil.example"}, {}, "another issuer"),
        ({"iss": None}, {}, "another issuer"),
        ({"aud": "other"}, {}, "another client"),
        ({"aud": [f"{CLIENT}-2", "other"]}, {}, "another client"),
        ({"aud": ["other", CLIENT]}, {}, "another client"),
        ({"aud": [CLIENT], "azp": "other"}, {}, "another client"),
        ({"aud": {CLIENT: True}}, {}, "another client"),
        ({"aud": None}, {}, "another client"),
        ({"exp": -3600}, {}, "expired"),
        ({"exp": None}, {}, "from when to when"),
        ({"exp": True}, {}, "from when to when"),
        ({"exp": "9999999999"}, {}, "from when to when"),
        ({"exp": float("nan")}, {}, "no JWT|from when to when"),
        ({"iat": None}, {}, "from when to when"),
        ({"iat": 3600}, {}, "of the future"),
        ({"nbf": 3600}, {}, "of the future"),
        ({"nonce": "other"}, {}, "another sign-in"),
        ({"nonce": None}, {}, "another sign-in"),
        ({"nonce": ["x"]}, {}, "another sign-in"),
        ({"sub": None}, {}, "names nobody"),
        ({"sub": ""}, {}, "names nobody"),
        ({"sub": 1}, {}, "names nobody"),
        ({"preferred_username": None}, {}, "no preferred_username"),
        ({"preferred_username": "x" * 65}, {}, "no preferred_username"),
        ({"preferred_username": "  "}, {}, "no preferred_username"),
        ({"preferred_username": "ada\u202e"}, {}, "no preferred_username"),
        ({"preferred_username": ["ada"]}, {}, "no preferred_username"),
    ],
)
def test_a_token_that_is_not_for_this_console_and_this_sign_in_lets_nobody_in(
    identity: Identity, tmp_path: Path, changes: dict[str, Any], header: dict[str, Any], says: str
) -> None:
    now = int(identity.now_s())
    identity.changes = {
        name: now + each if type(each) is int and name in ("exp", "iat", "nbf") else each
        for name, each in changes.items()
    }
    identity.header = header
    pages = console(identity.provider(tmp_path))
    answer = signed_in(pages, identity)
    assert answer.status_code == 403
    assert re.search(says, answer.text), Tags(answer.text).text
    assert "driftline" not in cookies(answer)
    assert pages.get("/").status_code == 401


def test_a_forged_signature_lets_nobody_in(identity: Identity, tmp_path: Path) -> None:
    pages = console(identity.provider(tmp_path))
    identity.key = RSAKey.generate_key(2048, {"kid": "one"})  # by the name of one that is trusted
    answer = signed_in(pages, identity)
    assert answer.status_code == 403
    assert "the signature does not hold" in answer.text


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/realm/.well-known/openid-configuration", 500, b"{}"),
        ("/realm/.well-known/openid-configuration", 404, b"<html>"),
        ("/realm/.well-known/openid-configuration", 200, b"[" * 9_999),
        ("/realm/.well-known/openid-configuration", 200, b"x" * 999_999),
        ("/realm/.well-known/openid-configuration", 200, b'{"issuer": "https://evil.example"}'),
        ("/realm/.well-known/openid-configuration", 302, b""),
        ("/realm/keys", 200, b'{"keys": 7}'),
        ("/realm/keys", 503, b""),
        ("/realm/token/", 500, b""),
        ("/realm/token/", 401, b'{"error": "invalid_client"}'),
        ("/realm/token/", 400, b'{"error": "invalid_client"}'),
    ],
)
def test_a_provider_that_is_down_or_sends_garbage_gives_a_sentence_and_lets_nobody_in(
    identity: Identity, tmp_path: Path, path: str, status: int, body: bytes
) -> None:
    pages = console(identity.provider(tmp_path))
    identity.answers[path] = status, body
    answer = pages.get("/sign-in")
    if answer.status_code == 303:
        answer = pages.get("/callback", params=identity.code(answer.headers["location"]))
    assert answer.status_code == 503
    assert "Nobody was signed in: 127.0.0.1:" in Tags(answer.text).text
    assert "Traceback" not in answer.text
    assert pages.get("/").status_code == 401
    identity.answers.clear()  # and once it is mended it is asked again
    assert signed_in(pages, identity).status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"id_token": 7}', b'{"id_token": "a.b.c"}', b'{"id_token": "..."}']
)
def test_an_answer_without_an_id_token_lets_nobody_in(
    identity: Identity, tmp_path: Path, body: bytes
) -> None:
    pages = console(identity.provider(tmp_path))
    identity.answers["/realm/token/"] = 200, body
    answer = signed_in(pages, identity)
    assert answer.status_code == 403
    assert "Nobody was signed in" in answer.text


def test_a_provider_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    openid = OpenId(issuer="http://127.0.0.1:1/realm", client_id=CLIENT)
    answer = console(Provider(openid, lambda: 0.0)).get("/sign-in")
    assert answer.status_code == 503
    assert "nothing listens there" in answer.text


def test_endpoints_that_are_not_https_get_no_code_and_no_secret(identity: Identity, tmp_path: Path) -> None:
    description = b'{"issuer": "%s", "authorization_endpoint": "%s/auth", "token_endpoint": "http://192.0.2.1/token", "jwks_uri": "file:///etc/passwd"}'
    at = identity.issuer.encode()
    identity.answers["/realm/.well-known/openid-configuration"] = 200, description % (at, at)
    answer = signed_in(console(identity.provider(tmp_path)), identity)
    assert answer.status_code == 503
    assert "not https" in answer.text


# ------------------------------------------------------------------------ another browser's, another time's


def test_a_callback_counts_once_and_in_the_browser_that_began_alone(
    identity: Identity, tmp_path: Path
) -> None:
    provider = identity.provider(tmp_path)
    access = Access({"127.0.0.1:8800"}, provider=provider)
    pages, others = (client(Index({}), access) for _ in range(2))
    back = identity.code(begun(pages))
    kept = pages.cookies["driftline-begun"]
    # An attacker's own sign-in, put upon a victim's browser: with none begun there, and with another.
    assert others.get("/callback", params=back).status_code == 400
    begun(others)
    assert others.get("/callback", params=back).status_code == 400
    for state in ("", "x", back["state"][:-1], f"{back['state']}x", "é"):
        assert pages.get("/callback", params={**back, "state": state}).status_code == 400
    assert pages.get(f"/callback?code=x&state={back['state']}&state={back['state']}").status_code == 400
    assert pages.get("/callback", params=back).status_code == 200
    pages.cookies.set("driftline-begun", kept)
    identity.code(f"{identity.issuer}/auth?response_type=code&code_challenge_method=S256&state=x")
    replayed = pages.get("/callback", params=back)
    assert (replayed.status_code, "used already" in replayed.text) == (400, True)
    assert identity.asked.count("/realm/token/") == 1


@pytest.mark.parametrize("place", range(4))
def test_a_begun_sign_in_that_was_changed_is_none(identity: Identity, tmp_path: Path, place: int) -> None:
    pages = console(identity.provider(tmp_path))
    back = identity.code(begun(pages))
    parts = pages.cookies["driftline-begun"].split(".")
    assert len(parts) == 4
    for changed in ("", "x", parts[place][:-1], f"9{parts[place]}", "Ly9ldmlsLmV4YW1wbGU"):
        forged = ".".join([*parts[:place], changed, *parts[place + 1 :]])
        answer = pages.get("/callback", params=back, headers={"cookie": f"driftline-begun={forged}"})
        assert answer.status_code == 400


def test_a_sign_in_that_took_too_long_is_begun_anew(
    identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = console(identity.provider(tmp_path))
    monkeypatch.setattr(guard, "BEGUN_S", -1)
    answer = signed_in(pages, identity)
    assert (answer.status_code, "ten minutes" in answer.text) == (400, True)


def test_signing_in_gives_a_new_session_and_ends_the_one_before(identity: Identity, tmp_path: Path) -> None:
    pages = console(identity.provider(tmp_path))
    pages.cookies.set("driftline", "planted")
    signed_in(pages, identity)
    first = [each.value for each in pages.cookies.jar if each.name == "driftline" and each.value != "planted"]
    pages.cookies.clear()
    assert pages.get("/", headers={"cookie": "driftline=planted"}).status_code == 401
    pages.cookies.set("driftline", str(first[0]))
    assert pages.get("/").status_code == 200
    signed_in(pages, identity)
    assert pages.get("/", headers={"cookie": f"driftline={first[0]}"}).status_code == 401


def test_a_session_ends(identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = console(identity.provider(tmp_path, hours=0.5))
    assert "Max-Age=1800" in cookies(signed_in(pages, identity))["driftline"]
    now = guard.time.monotonic()
    monkeypatch.setattr(guard.time, "monotonic", lambda: now + 1801)
    assert pages.get("/").status_code == 401


@pytest.mark.parametrize(
    "to",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "/%2f/evil.example/..",
        "/x//y",
        "/login\r\nSet-Cookie: a=b",
        '/"><script>',
        "/?q=<script>",
        "/?q=a;url=//evil.example",
        "/" + "a" * 600,
        "///",
        "/.evil",
        "\t//evil.example",
        "",
    ],
)
def test_signing_in_leads_to_the_console_alone(identity: Identity, tmp_path: Path, to: str) -> None:
    (tmp_path / "token").write_text(TOKEN, encoding="utf-8")
    pages = console(identity.provider(tmp_path), token_file=tmp_path / "token")
    assert 'content="0; url=/"' in signed_in(pages, identity, to).text
    answer = pages.post("/login", data={"token": TOKEN, "to": to}, headers={"origin": HOST})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_a_page_of_the_console_s_is_led_to() -> None:
    for page in ("/", "/overview", "/?agent=a%26b&page=2", f"/sessions/{'0' * 32}", "/health"):
        assert own_page(page) == page


def test_no_text_of_a_callback_s_address_is_shown(identity: Identity, tmp_path: Path) -> None:
    pages = console(identity.provider(tmp_path))
    for query in (
        {"error": "<b>call +1 555</b>"},
        {"error": "access_denied", "error_description": "call +1 555"},
    ):
        back = identity.code(begun(pages))
        answer = pages.get("/callback", params={"state": back["state"], **query})
        assert answer.status_code == 403
        assert "555" not in answer.text
    assert "it was refused there" in answer.text
    back = identity.code(begun(pages)) | {"iss": "https://evil.example"}
    assert "another provider answered" in pages.get("/callback", params=back).text
    for code in ("", "é", "x" * 7_000):
        back = identity.code(begun(pages)) | {"code": code}
        assert "no code" in pages.get("/callback", params=back).text


# ------------------------------------------------------------------------ roles


@pytest.mark.parametrize(
    ("said", "role"),
    [
        (["soc"], "analyst"),
        ("soc", "analyst"),
        (["soc-readers", "x"], "viewer"),
        (["soc-readers", "soc"], "analyst"),
        ([], None),
        (None, None),
        ("soc-readers soc", None),
        ("SOC", None),
        (["/soc"], None),
        ([["soc"]], None),
        ({"soc": True}, None),
        ({"soc": "soc"}, None),
        (True, None),
        (7, None),
        (["x"] * 10_000 + ["soc"], None),
    ],
)
def test_a_role_is_a_value_of_the_claim_and_an_odd_claim_gives_none(said: Any, role: str | None) -> None:
    assert role_of({"groups": said}, GROUPS) == role
    assert role_of({"roles": said}, GROUPS) is None
    assert role_of({"groups": said}, None) == "viewer"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_no_claim_without_the_very_value_makes_an_analyst(said: Any) -> None:
    texts = (
        [said]
        if isinstance(said, str)
        else [each for each in said if isinstance(each, str)]
        if isinstance(said, list)
        else []
    )
    assert (role_of({"groups": said}, GROUPS) == "analyst") == ("soc" in texts)


def test_who_has_no_role_is_not_let_in_and_told_so(identity: Identity, tmp_path: Path) -> None:
    identity.changes = {"groups": {"soc": True}}
    pages = console(identity.provider(tmp_path, roles=GROUPS))
    answer = signed_in(pages, identity)
    assert answer.status_code == 403
    assert "ada has no role here" in answer.text
    assert pages.get("/").status_code == 401


def test_where_the_provider_leaves_the_roles_claim_out_the_page_says_to_put_it_in(
    identity: Identity, tmp_path: Path
) -> None:
    elsewhere = GROUPS.model_copy(update={"claim": "soc_groups"})
    answer = signed_in(console(identity.provider(tmp_path, roles=elsewhere)), identity)
    assert answer.status_code == 403
    assert "has no claim soc_groups: have the provider put it into" in answer.text


def test_a_name_is_no_markup_wherever_it_stands(identity: Identity, tmp_path: Path) -> None:
    name = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    identity.changes = {"preferred_username": name}
    pages = console(identity.provider(tmp_path))
    for text in (signed_in(pages, identity).text, pages.get("/").text):
        page = Tags(text)
        assert name in page.text
        assert [tag for tag, _ in page.tags].count("script") == 1
        assert "img" not in {tag for tag, _ in page.tags}


def test_a_mail_address_that_nobody_verified_names_nobody(identity: Identity, tmp_path: Path) -> None:
    pages = console(identity.provider(tmp_path, name_claim="email"))
    identity.changes = {"email": "boss@acme.example", "email_verified": False}
    assert signed_in(pages, identity).status_code == 403
    identity.changes = {"email": "boss@acme.example", "email_verified": True}
    assert signed_in(pages, identity).status_code == 200


# ------------------------------------------------------------------------ before anybody is signed in


def test_nothing_that_the_console_knows_is_shown_to_who_is_not_signed_in(
    identity: Identity, tmp_path: Path
) -> None:
    alarm = finding()
    del alarm["actor"]
    alarm["finding_info"] = {"uid": "b-1", "title": "Revocations are held", "desc": "of acme"}
    made = indexed([told(ALERTS, alarm)])
    made.away = "The broker has not answered"
    pages = client(made, Access({"127.0.0.1:8800"}, provider=identity.provider(tmp_path)))
    for path in ("/login", "/login/x", "/static/nothing", "/callback", "/callback?state=x", "/sign-in/x"):
        text = pages.get(path).text
        assert "Revocations are held" not in text, path
        assert "has not answered" not in text, path
        assert "data-version" not in text


def test_without_a_provider_there_is_no_such_way_in(tmp_path: Path) -> None:
    for path in ("/sign-in", "/callback"):
        assert client(Index({})).get(path).status_code == 404


# ------------------------------------------------------------------------ the configuration


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "issuer: Field required"),
        ("{issuer: https://sso.example.com, client_id: c, secret: x}", "no such setting"),
        ("{issuer: http://sso.example.com, client_id: c}", "in the clear"),
        ("{issuer: 'https://sso.example.com?x=1', client_id: c}", "without a name"),
        ("{issuer: https://sso.example.com, client_id: c, client_secret_file: /nowhere}", "cannot be read"),
        (
            "{issuer: https://sso.example.com, client_id: c, roles: {claim: groups}}",
            "nobody would have a role",
        ),
        (
            "{issuer: https://sso.example.com, client_id: c, roles: {claim: groups, analyst: ['']}}",
            "at least 1 character",
        ),
        (
            "{issuer: https://sso.example.com, client_id: c, roles: {claim: groups, admin: [x]}}",
            "no such setting",
        ),
        ("{issuer: https://sso.example.com, client_id: c, scopes: groups}", "scopes: expected a list"),
        (
            "{issuer: https://sso.example.com, client_id: c, roles: {claim: groups, viewer: soc}}",
            "roles.viewer: expected a list",
        ),
        ("{issuer: https://sso.example.com, client_id: c, hours: 25}", "less than or equal to 24"),
        ("x", "as docs/console.md shows"),
    ],
)
def test_a_configuration_that_is_wrong_is_refused_with_its_place(
    tmp_path: Path, text: str, says: str
) -> None:
    (tmp_path / "oidc.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(says)):
        read_as(OpenId, tmp_path / "oidc.yaml", "a mapping, as docs/console.md shows", "--oidc")


def test_an_issuer_keeps_its_last_slash(tmp_path: Path) -> None:
    assert OpenId(issuer="https://acme.auth0.example/", client_id="c").issuer.endswith("/")
    with pytest.raises(ValidationError):
        OpenId(issuer="ftp://acme", client_id="c")


def test_beyond_loopback_a_provider_will_do_in_place_of_a_token(tmp_path: Path) -> None:
    provider = Provider(OpenId(issuer="https://sso.example.com", client_id="c"), lambda: 0.0)
    with pytest.raises(ConfigError, match=r"needs TLS \(--certificate and --key\); or"):
        Listen("192.0.2.1", provider=provider).checked()
    assert Listen(provider=provider).checked().access(8800).asks
