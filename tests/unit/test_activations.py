"""Only a release activation signed by a trusted key is read."""

from __future__ import annotations

import json

import pytest
from joserfc import jws
from joserfc.jwk import RSAKey

from models.errors import SchemaError
from stream.bootstrap import SignedActivations

PAYLOAD = {"topic": "agent.events.v1", "partition": 2, "epoch": 7, "digest": "abc", "scope": "open"}


@pytest.fixture(scope="module")
def key() -> RSAKey:
    return RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)


def token(key: RSAKey, payload: dict[str, object]) -> str:
    header = {"alg": "RS256", "kid": key.kid}
    return jws.serialize_compact(header, json.dumps(payload).encode(), key, algorithms=["RS256"])


def jwks(key: RSAKey) -> dict[str, object]:
    return {"keys": [key.as_dict(private=False)]}


def test_a_signed_activation_is_read_with_its_place_epoch_and_scope(key: RSAKey) -> None:
    read = SignedActivations(jwks(key)).read(token(key, PAYLOAD))
    assert read._asdict() == PAYLOAD


def test_an_activation_by_another_key_is_refused(key: RSAKey) -> None:
    other = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)
    with pytest.raises(SchemaError) as refused:
        SignedActivations(jwks(key)).read(token(other, PAYLOAD))
    assert refused.value.reason == "control"


@pytest.mark.parametrize("change", [{"scope": "all"}, {"epoch": "soon"}, {"digest": None, "topic": None}])
def test_a_signed_activation_of_another_shape_is_refused(key: RSAKey, change: dict[str, object]) -> None:
    payload = {k: v for k, v in {**PAYLOAD, **change}.items() if v is not None}
    with pytest.raises(SchemaError):
        SignedActivations(jwks(key)).read(token(key, payload))


def test_without_a_trusted_key_every_activation_is_refused(key: RSAKey) -> None:
    with pytest.raises(SchemaError, match="no key is trusted"):
        SignedActivations(None).read(token(key, PAYLOAD))
