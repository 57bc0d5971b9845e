"""What the bridge takes from the bus: tokens that hold and are for it, and nothing else."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import RSAKey

from models.contracts import CredentialRef
from models.errors import ConfigError
from stream.bridge.keys import KeyFile
from stream.bridge.order import MAX_TOKEN, REMEMBERED_S, Trust, order_of
from stream.events import dumps
from stream.outbound.claims import CREDENTIALS_RELEASED, RISK_LEVEL_CHANGE, SESSION_REVOKED, credential_id
from stream.outbound.keys import SigningKeys
from stream.outbound.tokens import TokenError

ISSUER, US, OTHERS = (
    "https://driftline.acme.test/ssf",
    "https://sso.acme.test/set",
    "https://vault.acme.test/set",
)
NOW_S = 1_767_258_000.0
SID = {"broker": "sso", "kind": "sid", "value": "5d1c", "scope": None}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> SigningKeys:
    path = tmp_path_factory.mktemp("keys") / "key.json"
    path.write_bytes(dumps(RSAKey.generate_key(2048).as_dict(private=True)))
    return SigningKeys(path=path)


@pytest.fixture(scope="module")
def development(tmp_path_factory: pytest.TempPathFactory) -> SigningKeys:
    return SigningKeys(state_dir=tmp_path_factory.mktemp("state"))


def claims(**changes: Any) -> dict[str, Any]:
    event = {
        "event_timestamp": int(NOW_S),
        "initiating_entity": "policy",
        "reason_admin": {"en": "drifted"},
        "driftline_cause": "drift",
        "driftline_credentials": changes.pop("credentials", [SID]),
    }
    return {
        "iss": ISSUER,
        "jti": "j",
        "iat": int(NOW_S),
        "aud": US,
        "txn": "case",
        "sub_id": {
            "format": "complex",
            "session": {"format": "opaque", "id": "s"},
            "tenant": {"format": "opaque", "id": "acme"},
        },
        "events": {SESSION_REVOKED: event},
        **changes,
    }


def trust(keys: SigningKeys, **changes: Any) -> Trust:
    return Trust(
        **{"keys": keys.jwks, "issuer": ISSUER, "audiences": [US, "https://okta.acme.test/set"], **changes}
    )


def test_a_token_for_the_bridge_names_session_case_and_credentials(keys: SigningKeys) -> None:
    order = order_of(keys.sign(claims()).encode(), trust(keys), NOW_S)
    assert order is not None
    assert (order.jti, order.case_id, order.tenant, order.session_id) == ("j", "case", "acme", "s")
    assert (order.cause, order.issued_s) == ("drift", int(NOW_S))
    assert order.credentials == (CredentialRef(broker="sso", kind="sid", value="5d1c"),)


def test_a_token_for_somebody_else_is_skipped_and_not_refused(keys: SigningKeys) -> None:
    assert order_of(keys.sign(claims(aud=OTHERS)).encode(), trust(keys), NOW_S) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": "https://evil.test"}, "issuer"),
        ({"iat": int(NOW_S - REMEMBERED_S - 1)}, "age"),
        (
            {
                "events": {
                    RISK_LEVEL_CHANGE: {"principal": "SESSION", "current_level": "LOW", "event_timestamp": 1}
                }
            },
            "event",
        ),
        ({"events": {CREDENTIALS_RELEASED: {"event_timestamp": 1, "driftline_released": [SID]}}}, "event"),
        ({"credentials": [{"broker": "sso"}]}, "event"),
        ({"credentials": "sid"}, "event"),
        ({"sub_id": {"format": "complex", "session": {"format": "opaque", "id": "s"}}}, "event"),
        # What an outcome could not say would be found out after the credential is dead, and again at each start.
        ({"txn": ""}, "event"),
        ({"txn": "x" * 257}, "event"),
        ({"jti": "x" * 257}, "event"),
        ({"credentials": [{**SID, "broker": "x" * 257}]}, "event"),
        ({"credentials": [{**SID, "kind": ""}]}, "event"),
        ({"iat": int(NOW_S) + 10**12}, "event"),
        ({"iat": -(2**63)}, "age"),
    ],
)
def test_what_does_not_hold_is_refused_with_its_reason(
    keys: SigningKeys, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(TokenError) as refused:
        order_of(keys.sign(claims(**changes)).encode(), trust(keys), NOW_S)
    assert refused.value.reason == reason


def test_a_forged_token_is_refused(keys: SigningKeys, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_bytes(dumps(RSAKey.generate_key(2048).as_dict(private=True)))
    forged = SigningKeys(path=tmp_path / "other.json").sign(claims())
    with pytest.raises(TokenError) as refused:
        order_of(forged.encode(), trust(keys), NOW_S)
    assert refused.value.reason == "key"


def test_a_development_key_is_refused_unless_asked_for(development: SigningKeys) -> None:
    token = development.sign(claims(iat=1)).encode()
    with pytest.raises(TokenError) as refused:
        order_of(token, trust(development), NOW_S)
    assert refused.value.reason == "key"
    assert order_of(token, trust(development, development=True), NOW_S) is not None
    before_time = development.sign(
        claims(iat=-(2**63))
    ).encode()  # old tokens are taken here, but that is no time
    with pytest.raises(TokenError, match="iat is no time"):
        order_of(before_time, trust(development, development=True), NOW_S)


def test_a_new_key_is_found_once_the_key_set_has_it(keys: SigningKeys, tmp_path: Path) -> None:
    (tmp_path / "old.json").write_bytes(dumps(RSAKey.generate_key(2048).as_dict(private=True)))
    sets = iter([SigningKeys(path=tmp_path / "old.json").jwks(), keys.jwks()])

    def held() -> Any:
        return next(sets)

    assert order_of(keys.sign(claims()).encode(), trust(keys)._replace(keys=held), NOW_S) is not None


def test_a_key_file_that_is_broken_or_gone_for_a_moment_refuses_no_token_and_says_so_once(
    keys: SigningKeys, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that is written in place is half a file for a moment; a token refused then would never be read again."""
    path = tmp_path / "jwks.json"
    whole = dumps(keys.jwks())
    path.write_bytes(whole)
    held = trust(keys)._replace(keys=KeyFile(path))
    token = keys.sign(claims()).encode()
    for broken in (b"", whole[:40], b"{}", b'{"keys": []}', b"[]", b"\xff", None):
        path.unlink() if broken is None else path.write_bytes(broken)
        for _ in range(2):
            assert order_of(token, held, NOW_S) is not None
        assert len(caplog.messages) == 1
        assert "jwks.json" in caplog.messages[0]
        caplog.clear()
        path.write_bytes(whole)
        assert order_of(token, held, NOW_S) is not None
    (tmp_path / "other.json").write_bytes(dumps(RSAKey.generate_key(2048).as_dict(private=True)))
    path.write_text(json.dumps(SigningKeys(path=tmp_path / "other.json").jwks()), encoding="utf-8")
    with pytest.raises(TokenError, match="kid"):
        order_of(token, held, NOW_S)


@pytest.mark.parametrize("broken", [None, b"", b"{}", b"[]", b"\xff"])
def test_a_key_file_that_never_was_good_is_a_wrong_configuration(
    tmp_path: Path, broken: bytes | None
) -> None:
    path = tmp_path / "jwks.json"
    if broken is not None:
        path.write_bytes(broken)
    with pytest.raises(ConfigError, match="--jwks"):
        KeyFile(path)


@given(st.binary(max_size=300))
def test_no_bytes_are_an_order_or_another_error(raw: bytes) -> None:
    with suppress(TokenError):
        assert order_of(raw, Trust(dict, ISSUER, [US]), NOW_S) is None


def test_a_record_that_is_too_large_is_not_looked_at() -> None:
    with pytest.raises(TokenError) as refused:
        order_of(b"x" * (MAX_TOKEN + 1), Trust(dict, ISSUER, [US]), NOW_S)
    assert refused.value.reason == "size"


def test_what_a_credential_is_called_tells_tenants_and_kinds_apart_and_no_value() -> None:
    refs = [CredentialRef(broker="sso", kind="sid", value=value) for value in ("5d1c", "5d1d")]
    names = {credential_id(tenant, ref) for tenant in ("acme", "other") for ref in refs}
    assert len(names) == 4
    assert all("5d1" not in name or len(name) == 32 for name in names)
    assert credential_id("acme", refs[0]) == credential_id("acme", refs[0].model_copy(update={"scope": "db"}))
