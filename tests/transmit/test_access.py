"""Who may call, what a configuration must not say, and where tokens must not be pushed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey
from pydantic import ValidationError
from typer.testing import CliRunner

from models.errors import ConfigError, StateError
from stream.bridge.configuration import read_as
from stream.bridge.provider import Unavailable
from stream.cli.main import app
from stream.transmit.access import Access, Caller, Denied
from stream.transmit.configuration import PUSH, Configuration
from stream.transmit.sealing import Seal
from stream.transmit.stream import Problem, Terms, created, read
from tests.transmit.rig import BEARER, IDP, ISSUER, configured, document, written

NOW = 1_796_000_000
SSO, HERE = "https://sso.acme.test/realms/bank", "https://ssf.acme.test"
KEY = ECKey.generate_key("P-256", {"kid": "sso-1"})


def access(tmp_path: Path) -> Access:
    jwks = tmp_path / "sso.json"
    jwks.write_text(json.dumps({"keys": [KEY.as_dict(private=False)]}), encoding="utf-8")
    content = document(tmp_path, oauth={"issuer": SSO, "audience": HERE, "jwks_file": str(jwks)})
    content["receivers"]["idp"] = {"audiences": [IDP], "oauth_client": "idp-ssf"}
    return Access(Configuration.model_validate_json(json.dumps(content)), lambda: NOW)


def token(key: Any = KEY, header: dict[str, Any] | None = None, **changes: Any) -> str:
    claims = {
        "iss": SSO, "aud": ["other", HERE], "exp": NOW + 300, "iat": NOW, "client_id": "idp-ssf", "scope": "openid ssf.manage",
        **changes,
    }  # fmt: skip
    shown = {"alg": "ES256", "typ": "at+jwt", "kid": "sso-1", **(header or {})}
    return jwt.encode(
        shown, {k: v for k, v in claims.items() if v is not None}, key, algorithms=[shown["alg"]]
    )


def test_an_access_token_names_its_receiver_and_what_it_may_do(tmp_path: Path) -> None:
    door = access(tmp_path)
    for given, manages in (
        (token(), True),
        (token(header={"typ": "JWT"}, client_id=None, azp="idp-ssf"), True),
        (token(client_id=None, sub="idp-ssf", scope="ssf.manage.poll"), True),
        (token(scope="ssf.read"), False),
    ):
        assert door.caller(f"Bearer {given}", manages=False) == Caller("idp", manages)
    with pytest.raises(Denied) as denied:
        door.caller(f"Bearer {token(scope='ssf.read')}", manages=True)
    assert denied.value.status == 403
    assert 'error="insufficient_scope", scope="ssf.manage"' in denied.value.challenge


@pytest.mark.parametrize(
    "given",
    [
        token(exp=NOW), token(exp=None), token(exp="soon"), token(nbf=NOW + 9), token(iss="https://evil.test"), token(aud="other"),
        token(aud=None), token(client_id="desk-ssf"), token(client_id=None), token(client_id=7),
        token(header={"typ": "secevent+jwt"}), token(header={"kid": "sso-2"}), token(key=ECKey.generate_key("P-256")),
        token()[:-6] + "AAAAAA", "a.b.c", "a.b", "x" * 9000, BEARER["idp"],
    ],
    ids=range(18),
)  # fmt: skip
def test_what_is_no_access_token_for_here_is_401(tmp_path: Path, given: str) -> None:
    with pytest.raises(Denied) as denied:
        access(tmp_path).caller(f"Bearer {given}", manages=False)
    assert (denied.value.status, 'error="invalid_token"' in denied.value.challenge) == (401, True)


def test_a_scope_of_another_api_is_insufficient(tmp_path: Path) -> None:
    for scope in ("openid", "ssfx.manage", "", None):
        with pytest.raises(Denied) as denied:
            access(tmp_path).caller(f"Bearer {token(scope=scope)}", manages=False)
        assert denied.value.status == 403


def test_a_symmetric_signature_with_the_public_key_is_no_signature(tmp_path: Path) -> None:
    forged = jwt.encode(
        {"alg": "HS256", "typ": "at+jwt", "kid": "sso-1"},
        {"iss": SSO, "aud": HERE, "exp": NOW + 9, "client_id": "idp-ssf", "scope": "ssf.manage"},
        OctKey.import_key(json.dumps(KEY.as_dict(private=False))),
        algorithms=["HS256"],
    )
    with pytest.raises(Denied):
        access(tmp_path).caller(f"Bearer {forged}", manages=False)


def test_bearer_tokens_rotate_in_their_files_and_short_or_shared_ones_are_refused(tmp_path: Path) -> None:
    content = document(tmp_path)
    door = Access(Configuration.model_validate_json(json.dumps(content)), lambda: NOW)
    assert door.caller(f"bearer {BEARER['desk']}", manages=True) == Caller("desk", True)
    (tmp_path / "desk.token").write_text("n" * 40 + "\n", encoding="utf-8")
    assert door.caller(f"Bearer {'n' * 40}", manages=True) == Caller("desk", True)
    for header in (
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Basic {'n' * 40}",
        f"Bearer {BEARER['desk']}",
        "Bearer \u00e9",
    ):
        with pytest.raises(Denied):
            door.caller(header, manages=False)
    (tmp_path / "desk.token").unlink()
    with pytest.raises(Denied):
        door.caller("Bearer  ", manages=False)  # a file that is gone holds no token, and this is none
    for text, why in (("short", "holds no bearer token"), (BEARER["idp"], "have one bearer token")):
        (tmp_path / "desk.token").write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=why) as refused:
            Access(Configuration.model_validate_json(json.dumps(content)), lambda: NOW)
        assert text not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"listen": {"host": "0.0.0.0"}}, "beyond loopback only TLS"),
        ({"listen": {"certificate_file": "c.pem"}}, "go together"),
        ({"url": "http://ssf.acme.test"}, "in the clear"),
        ({"receivers": {}}, "at least 1"),
        ({"receivers": {"Idp!": {"audiences": [IDP], "token_file": "t"}}}, "lower-case"),
        ({"receivers": {"idp": {"audiences": [IDP]}}}, "set token_file or oauth_client"),
        ({"receivers": {n: {"audiences": [IDP], "token_file": n} for n in "ab"}}, "have one audience"),
        ({"receivers": {"a": {"audiences": [IDP], "oauth_client": "a"}}}, "oauth must say"),
        (
            {
                "receivers": {
                    "a": {
                        "audiences": [IDP],
                        "token_file": "t",
                        "stream": {"delivery": {"method": "push", "endpoint_url": "http://idp.acme.test"}},
                    }
                }
            },
            "in the clear",
        ),
        ({"limits": {"timeout_s": 0}}, "greater than 0"),
        ({"sealed": "x"}, "no such setting"),
    ],
)
def test_a_configuration_that_would_harm_is_refused_with_its_place(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    path = written(tmp_path / "ssf.yaml", document(tmp_path, **changes))
    with pytest.raises(ConfigError, match=why):
        read_as(Configuration, path, "a mapping")


def test_what_goes_without_tls_is_named(tmp_path: Path) -> None:
    assert configured(tmp_path).plain() == ["listen", "receivers.idp"]
    served = {"listen": {"certificate_file": "c", "key_file": "k"}, "url": "http://127.0.0.1:8443"}
    assert configured(tmp_path, **served).plain() == ["url", "receivers.idp"]


@pytest.mark.parametrize(
    "url",
    [
        "https://169.254.169.254/latest", "https://idp.acme.test.evil.test/ssf", "https://idp.acme.test@evil.test/ssf",
        "https://idp.acme.test:22/ssf", "http://idp.acme.test/ssf", "https://idp.acme.test/admin", "https://idp.acme.test/ssf/../admin",
        "https://idp.acme.test/ssf/%2e%2e/admin", "file:///etc/passwd", "https://idp.acme.test/ssf#x", "https://idp.acme.test\\@evil.test/ssf",
        "https://idp.acme.test/ssf\r\nX: y", "http://127.0.0.1:2/", "https://user:word@idp.acme.test/ssf", "https://[::1]/ssf", "//idp.acme.test/ssf",
    ],
)  # fmt: skip
def test_a_receiver_has_tokens_pushed_only_to_where_its_operator_allows(tmp_path: Path, url: str) -> None:
    receiver = configured(tmp_path).receivers["idp"]
    terms = Terms(ISSUER, "https://ssf.acme.test", 0)
    with pytest.raises(Problem) as problem:
        created("idp", receiver, "s", {"delivery": {"method": PUSH, "endpoint_url": url}}, terms)
    assert problem.value.status == 403
    allowed = {"delivery": {"method": PUSH, "endpoint_url": "https://idp.acme.test/ssf/events?stream=7"}}
    assert (
        created("idp", receiver, "s", allowed, terms).delivery.endpoint_url
        == allowed["delivery"]["endpoint_url"]
    )


def test_what_a_receiver_wants_kept_secret_is_refused_without_a_key_and_sealed_with_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "seal"
    path.write_bytes(b"k" * 32)
    seal, receiver = Seal(path), configured(tmp_path).receivers["idp"]
    asked = {
        "method": PUSH,
        "endpoint_url": "https://idp.acme.test/ssf",
        "authorization_header": "Bearer s3cret",
    }
    with pytest.raises(Problem, match="seal_key_file"):
        created("idp", receiver, "s", {"delivery": asked}, Terms(ISSUER, HERE, 0))
    kept = created("idp", receiver, "s", {"delivery": asked}, Terms(ISSUER, HERE, 0, seal.close)).dumped()
    assert b"s3cret" not in kept
    assert seal.open(read(kept).delivery.authorization or "") == "Bearer s3cret"
    path.write_bytes(b"other" * 8)
    with pytest.raises(Unavailable, match="another key"):
        Seal(path).open(read(kept).delivery.authorization or "")
    path.write_bytes(b"short")
    with pytest.raises(ConfigError, match="at least 32"):
        Seal(path)
    with pytest.raises(Problem, match="a header's value"):
        created(
            "idp",
            receiver,
            "s",
            {"delivery": {**asked, "authorization_header": "é"}},
            Terms(ISSUER, HERE, 0, seal.close),
        )


@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"[]", b"{}", b'{"stream_id": "s", "receiver": "r", "delivery": {"method": "x"}, "new": 1}'],
)
def test_a_stream_that_cannot_be_read_stops_the_transmitter(value: bytes) -> None:
    with pytest.raises(StateError, match=r"agent\.streams\.v1"):
        read(value)


def test_an_rsa_key_of_1024_bits_vouches_for_nobody(tmp_path: Path) -> None:
    jwks = tmp_path / "weak.json"
    with pytest.warns(Warning, match="2048"):
        jwks.write_text(
            json.dumps({"keys": [RSAKey.generate_key(1024).as_dict(private=False)]}), encoding="utf-8"
        )
    content = document(tmp_path, oauth={"issuer": SSO, "audience": HERE, "jwks_file": str(jwks)})
    with pytest.raises(ConfigError), pytest.warns(Warning, match="2048"):
        Access(Configuration.model_validate_json(json.dumps(content)), lambda: NOW)
    with pytest.raises(ValidationError):
        Configuration.model_validate({**content, "oauth": {"issuer": SSO}})


def test_the_help_of_the_command_tells_what_its_exit_codes_mean() -> None:
    told = CliRunner().invoke(app, ["transmit", "--help"], env={"COLUMNS": "200"}).stdout
    told = " ".join(told.split())
    for said in (
        "Exit 0: ended as told",
        "--refused: nothing was refused",
        "Exit 1: --check: an endpoint does not",
    ):
        assert said in told


def test_a_key_file_of_the_oauth_server_that_is_not_there_is_told_as_that(tmp_path: Path) -> None:
    gone = tmp_path / "gone.json"
    content = document(tmp_path, oauth={"issuer": SSO, "audience": HERE, "jwks_file": str(gone)})
    with pytest.raises(ConfigError, match=r"oauth.jwks_file .*gone\.json: cannot be read: No such file"):
        Access(Configuration.model_validate_json(json.dumps(content)), lambda: NOW)
