"""Only a release activation made for this installation, and signed by a strong key that is trusted for it, is read."""

from __future__ import annotations

import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

from models.errors import ConfigError, SchemaError
from stream import activations, bootstrap
from stream.activations import SignedActivations, sign
from stream.core.deployment import Activation
from stream.jose import encoded
from stream.settings import Settings

HERE = "https://driftline.acme.example.com"
ACTIVATION = Activation(topic="agent.events.v1", partition=2, epoch=7, digest="abc", scope="open")
KINDS = {
    "RSA": lambda: RSAKey.generate_key(2048, auto_kid=True),
    "EC": lambda: ECKey.generate_key("P-256", auto_kid=True),
    "OKP": lambda: OKPKey.generate_key("Ed25519", auto_kid=True),
}


@pytest.fixture(scope="module")
def key() -> RSAKey:
    return RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)


def token(key: Any, payload: dict[str, object] | bytes, **header: object) -> str:
    head = {"alg": "RS256", "kid": key.kid, "typ": activations.TOKEN_TYPE, **header}
    head = {name: value for name, value in head.items() if value is not None}
    content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return jws.serialize_compact(head, content, key, algorithms=["RS256", "HS256"])


def payload(**change: object) -> dict[str, object]:
    told = {**ACTIVATION._asdict(), "aud": HERE, **change}
    return {name: value for name, value in told.items() if value is not None}


def jwks(key: Any, *, private: bool = False) -> dict[str, Any]:
    return {"keys": [key.as_dict(private=private)]}


def refused(key: RSAKey, text: str) -> str:
    with pytest.raises(SchemaError) as error:
        SignedActivations(jwks(key), HERE).read(text)
    assert error.value.reason == "control"
    return error.value.detail


@pytest.mark.parametrize("kind", KINDS)
def test_a_signed_activation_is_read_with_its_place_epoch_and_scope(kind: str) -> None:
    key = KINDS[kind]()
    assert SignedActivations(jwks(key), HERE).read(sign(ACTIVATION, HERE, key)) == ACTIVATION


def test_one_of_several_audiences_may_be_this_installation(key: RSAKey) -> None:
    text = token(key, payload(aud=["https://other.example.com", HERE]))
    assert SignedActivations(jwks(key), HERE).read(text) == ACTIVATION


def test_an_activation_by_another_key_is_refused(key: RSAKey) -> None:
    other = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)
    assert "key" in refused(key, token(other, payload()))
    assert "signature" in refused(key, token(other, payload(), kid=key.kid))


@pytest.mark.parametrize(
    "aud", [None, "", "https://staging.acme.example.com", HERE + "/", [], [HERE.upper()], 7]
)
def test_an_activation_for_another_installation_is_refused(key: RSAKey, aud: object) -> None:
    assert "aud" in refused(key, token(key, payload(aud=aud)))


@pytest.mark.parametrize("typ", [None, "JWT", "secevent+jwt", "application/json"])
def test_a_token_that_was_signed_for_something_else_is_refused(key: RSAKey, typ: object) -> None:
    assert "typ" in refused(key, token(key, payload(), typ=typ))


@pytest.mark.parametrize(
    "change",
    [
        {"scope": "all"},
        {"scope": ["new"]},
        {"epoch": "soon"},
        {"epoch": 7.0},
        {"epoch": True},
        {"epoch": -1},
        {"partition": "2"},
        {"partition": None},
        {"digest": None},
        {"digest": 3},
        {"topic": None},
    ],
    ids=str,
)
def test_a_signed_activation_of_another_shape_is_refused(key: RSAKey, change: dict[str, object]) -> None:
    refused(key, token(key, payload(**change)))


@pytest.mark.parametrize("content", [b"", b"[]", b"7", b"null", b"{", b"\xff", b"[" * 100_000], ids=repr)
def test_a_signed_payload_that_is_no_object_is_refused(key: RSAKey, content: bytes) -> None:
    refused(key, token(key, content))


@pytest.mark.parametrize("text", ["", "x", "..", "a.b.c", "e30.e30.e30", "\x00", "[" * 9000, "W10.e30.e30"])
def test_what_is_no_token_is_refused(key: RSAKey, text: str) -> None:
    refused(key, text)


def test_a_token_without_a_key_id_or_with_extensions_is_refused(key: RSAKey) -> None:
    refused(key, token(key, payload(), kid=None))
    header = {"alg": "RS256", "kid": key.kid, "typ": activations.TOKEN_TYPE}
    rest = token(key, payload()).partition(".")[2]
    for more in ({"crit": ["exp"], "exp": 1}, {"b64": False, "crit": ["b64"]}):
        changed = encoded(json.dumps({**header, **more}).encode())
        refused(key, f"{changed}.{rest}")


def test_a_public_key_is_never_taken_for_a_shared_secret(key: RSAKey) -> None:
    head = {"alg": "HS256", "kid": key.kid, "typ": activations.TOKEN_TYPE}
    signed = f"{encoded(json.dumps(head).encode())}.{encoded(json.dumps(payload()).encode())}"
    seal = hmac.digest(key.as_pem(private=False), signed.encode(), "sha256")
    assert "algorithm" in refused(key, f"{signed}.{encoded(seal)}")


def test_without_a_trusted_key_every_activation_is_refused(key: RSAKey) -> None:
    with pytest.raises(SchemaError, match="no key is trusted"):
        SignedActivations(None, HERE).read(sign(ACTIVATION, HERE, key))


@pytest.mark.filterwarnings("ignore:Key size should be")
@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (lambda: jwks(RSAKey.generate_key(1024, auto_kid=True)), "RSA of 2048 bits"),
        (lambda: jwks(ECKey.generate_key("P-521", auto_kid=True)), "P-256"),
        (lambda: {"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "s"}]}, "expected RSA"),
        (lambda: jwks(RSAKey.generate_key(2048, auto_kid=True), private=True), "private key"),
        (lambda: jwks(ECKey.generate_key("P-256", auto_kid=True), private=True), "private key"),
        (lambda: {"keys": []}, "at least one key"),
        (lambda: {"keys": "all"}, "at least one key"),
        (lambda: {}, "at least one key"),
        (lambda: {"keys": [{"kty": "RSA", "n": "?", "e": "AQAB"}]}, "cannot be read"),
    ],
    ids=[
        "short RSA",
        "other curve",
        "shared secret",
        "private RSA",
        "private EC",
        "none",
        "text",
        "empty",
        "broken",
    ],
)
def test_keys_that_must_not_activate_releases_are_refused_at_the_start(
    keys: Any, says: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=says):
        SignedActivations(keys(), HERE)
    path = tmp_path / "activators.json"
    path.write_text(json.dumps(keys()))
    with pytest.raises(ConfigError, match=r"DRIFTLINE_ACTIVATION_JWKS|activators\.json"):
        bootstrap.judge(Settings(activation_jwks=path))


def test_the_judge_reads_activations_for_the_issuer_of_its_settings(key: RSAKey, tmp_path: Path) -> None:
    path = tmp_path / "activators.json"
    path.write_text(json.dumps(jwks(key)))
    judge = bootstrap.judge(Settings(activation_jwks=path, issuer=HERE))
    assert judge.deployment.activations.read(sign(ACTIVATION, HERE, key)) == ACTIVATION
    with pytest.raises(SchemaError, match="aud"):
        judge.deployment.activations.read(sign(ACTIVATION, "https://other.example.com", key))
