"""Security Event Tokens: their claims, their keys, and that a stranger can verify them with joserfc alone."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jws
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from models.contracts import CredentialRef
from models.errors import ConfigError, ContractError
from stream.events import dumps
from stream.outbound.change import Change
from stream.outbound.claims import (
    CREDENTIALS_RELEASED,
    MAX_REASON,
    RISK_LEVEL_CHANGE,
    SESSION_REVOKED,
    default_audience,
    released_claims,
    revocation_claims,
    risk_claims,
    risk_levels,
)
from stream.outbound.keys import SigningKeys
from stream.outbound.tokens import MAX_PAYLOAD, TokenError, verify_token
from tests.builders import changed

ISSUER = "https://driftline.example.com/ssf"
VAULT = "https://vault.example.com/set"
AUDIENCES = {"vault": VAULT, "keycloak": "https://keycloak.example.com/set"}
NINE = 1_767_258_000_000  # 2026-01-01T09:00:00Z
LEASE = CredentialRef(broker="vault", kind="lease", value="db/creds/1", scope="db")
SID = CredentialRef(broker="keycloak", kind="sid", value="5d1c")


def some_change(**changes: Any) -> Change:
    return changed(
        **{
            "case_id": "case-1",
            "record_id": "case-1/2",
            "change": 2,
            "kind": "standing",
            "cause": "drift",
            "tenant": "acme",
            "root_session_id": "s-1",
            "session_id": "s-1",
            "time": "2026-01-01T09:00:00.500Z",
            "time_ms": NINE + 500,
            "before": "alert",
            "after": "contained",
            "reason": "customer rows to an outside host",
            "verdict": "revoke",
            "score": 0.91,
            "families": ["provenance", "sequence"],
            "evidence": [],
            "agent": "invoice-bot",
            "spiffe_id": "spiffe://example.org/agent/invoice-bot",
            "user": "u-4711",
            "credentials": [LEASE, SID],
            "path": [],
            "first_time_ms": NINE,
            "enforced": True,
            "inherited_from": None,
            "release": "bundled",
            "policy": "p-1",
            "core": "1",
            **changes,
        }
    )


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> SigningKeys:
    return SigningKeys(state_dir=tmp_path_factory.mktemp("state"))


def vault_claims() -> dict[str, Any]:
    return next(c for c in revocation_claims(some_change(), ISSUER, AUDIENCES) if c["aud"] == VAULT)


# ------------------------------------------------------------------------------------------ claims


def released_change(**changes: Any) -> Change:
    return some_change(**{"kind": "ended", "cause": "ended", "announced": [LEASE, SID], **changes})


def test_claims_of_what_an_end_released_are_one_token_for_each_audience_with_an_id_of_its_own() -> None:
    claims = released_claims(released_change(), ISSUER, AUDIENCES)
    named = {c["aud"]: c["events"][CREDENTIALS_RELEASED]["driftline_released"] for c in claims}
    assert named == {VAULT: [LEASE.model_dump()], AUDIENCES["keycloak"]: [SID.model_dump()]}
    assert claims == released_claims(released_change(), ISSUER, AUDIENCES)
    of_revocations = {c["jti"] for c in revocation_claims(released_change(), ISSUER, AUDIENCES)}
    assert len({c["jti"] for c in claims} | of_revocations) == 4
    assert b"driftline_credentials" not in dumps(claims)
    assert all(c["sub_id"] == vault_claims()["sub_id"] for c in claims)


def test_more_than_one_token_takes_comes_in_several_and_each_credential_in_one() -> None:
    many = [CredentialRef(broker="vault", kind="lease", value=f"{n:04}" + "v" * 200) for n in range(400)]
    claims = released_claims(released_change(announced=many), ISSUER, AUDIENCES)
    named = [ref["value"] for c in claims for ref in c["events"][CREDENTIALS_RELEASED]["driftline_released"]]
    assert len(claims) > 1
    assert sorted(named) == [ref.value for ref in many]
    assert len({c["jti"] for c in claims}) == len(claims)


@pytest.mark.parametrize(
    "change",
    [
        {"driftline_released": []},
        {"driftline_released": None},
        {"driftline_released": {"broker": "vault"}},
        {"driftline_credentials": [LEASE.model_dump()]},
        {"event_timestamp": "now"},
    ],
)
def test_a_release_of_another_shape_is_not_signed(keys: SigningKeys, change: dict[str, Any]) -> None:
    good = next(c for c in released_claims(released_change(), ISSUER, AUDIENCES) if c["aud"] == VAULT)
    assert verify_token(keys.sign(good), keys.jwks(), ISSUER, VAULT) == good
    bad = {**good, "events": {CREDENTIALS_RELEASED: {**good["events"][CREDENTIALS_RELEASED], **change}}}
    with pytest.raises(TokenError, match="event"):
        keys.sign(bad)


def test_revocation_claims_of_two_brokers_are_one_token_for_each_audience() -> None:
    claims = revocation_claims(some_change(), ISSUER, AUDIENCES)
    told = {c["aud"]: c["events"][SESSION_REVOKED]["driftline_credentials"] for c in claims}
    assert told == {VAULT: [LEASE.model_dump()], AUDIENCES["keycloak"]: [SID.model_dump()]}


def test_revocation_claims_name_exactly_one_session() -> None:
    assert vault_claims()["sub_id"] == {
        "format": "complex",
        "session": {"format": "opaque", "id": "s-1"},
        "application": {"format": "uri", "uri": "spiffe://example.org/agent/invoice-bot"},
        "user": {"format": "opaque", "id": "u-4711"},
        "tenant": {"format": "opaque", "id": "acme"},
    }


def test_a_user_whose_issuer_was_declared_is_named_by_both() -> None:
    user = {"format": "iss_sub", "iss": "https://idp.example.com", "sub": "u-4711"}
    change = some_change(user_issuer="https://idp.example.com")
    assert all(c["sub_id"]["user"] == user for c in revocation_claims(change, ISSUER, AUDIENCES))
    assert risk_claims(change, ISSUER, VAULT)["sub_id"]["user"] == user
    nobody = some_change(user=None, user_issuer="https://idp.example.com")
    assert all("user" not in c["sub_id"] for c in revocation_claims(nobody, ISSUER, AUDIENCES))


def test_revocation_claims_without_agent_or_user_still_name_session_and_tenant() -> None:
    (claims,) = revocation_claims(
        some_change(agent=None, spiffe_id=None, user=None, credentials=[LEASE]), ISSUER, AUDIENCES
    )
    assert set(claims["sub_id"]) == {"format", "session", "tenant"}


def test_revocation_claims_take_their_times_from_the_facts() -> None:
    claims = vault_claims()
    assert claims["iat"] == NINE // 1000
    assert claims["events"][SESSION_REVOKED]["event_timestamp"] == NINE // 1000


@pytest.mark.parametrize(("cause", "entity"), [("drift", "policy"), ("ended", "system")])
def test_revocation_claims_say_who_started_it(cause: str, entity: str) -> None:
    claims = revocation_claims(some_change(cause=cause), ISSUER, AUDIENCES)
    assert {c["events"][SESSION_REVOKED]["initiating_entity"] for c in claims} == {entity}


def reason_of(reason: str) -> str:
    claims = revocation_claims(some_change(reason=reason), ISSUER, AUDIENCES)
    return str(claims[0]["events"][SESSION_REVOKED]["reason_admin"]["en"])


def test_a_reason_that_is_too_long_ends_with_a_whole_word_and_an_ellipsis() -> None:
    words = " ".join(f"word-{n:03}" for n in range(60))
    why = "Agent session drifted from its declared intent: "
    assert reason_of(words[:400]) == f"{why}{words[:400]} (case case-1)"
    told = reason_of(words).removeprefix(why).removesuffix("… (case case-1)")
    assert words.startswith(f"{told} ")
    assert 380 <= len(told) < MAX_REASON


@pytest.mark.parametrize("text", ["x" * 900, f"first {'x' * 900}", "ab, " * 300, "é" * 401])
def test_a_reason_stays_within_its_bound_whatever_it_consists_of(text: str) -> None:
    told = (
        reason_of(text)
        .removeprefix("Agent session drifted from its declared intent: ")
        .removesuffix(" (case case-1)")
    )
    assert MAX_REASON // 2 < len(told) <= MAX_REASON
    assert told[-1] == "…"
    assert told[-2] not in " ,"


def test_revocation_claims_of_equal_facts_are_equal_whatever_order_the_credentials_come_in() -> None:
    turned = some_change(credentials=[SID, LEASE, SID])
    assert dumps(revocation_claims(turned, ISSUER, AUDIENCES)) == dumps(
        revocation_claims(some_change(), ISSUER, AUDIENCES)
    )


@pytest.mark.parametrize("changes", [{"case_id": "case-2"}, {"cause": "ended"}])
def test_revocation_jti_of_another_case_or_cause_is_another(changes: dict[str, Any]) -> None:
    first = {c["jti"] for c in revocation_claims(some_change(), ISSUER, AUDIENCES)}
    other = {c["jti"] for c in revocation_claims(some_change(**changes), ISSUER, AUDIENCES)}
    assert len(first | other) == 4


def test_revocation_jti_of_a_later_record_of_the_same_cause_stays_the_same() -> None:
    later = some_change(record_id="case-1/3", change=3, time_ms=NINE + 9000)
    assert [c["jti"] for c in revocation_claims(later, ISSUER, AUDIENCES)] == [
        c["jti"] for c in revocation_claims(some_change(), ISSUER, AUDIENCES)
    ]


def test_revocation_claims_of_brokers_that_share_an_audience_are_one_token() -> None:
    (claims,) = revocation_claims(some_change(), ISSUER, {"vault": VAULT, "keycloak": VAULT})
    assert len(claims["events"][SESSION_REVOKED]["driftline_credentials"]) == 2


def test_revocation_claims_of_an_unknown_broker_reach_an_audience_that_cannot_exist() -> None:
    (claims,) = revocation_claims(some_change(credentials=[LEASE]), ISSUER, {})
    assert claims["aud"] == "https://vault.broker.invalid/set" == default_audience("vault")


@pytest.mark.parametrize("changes", [{"credentials": []}, {"cause": "internal"}])
def test_revocation_claims_without_anything_to_revoke_are_none(changes: dict[str, Any]) -> None:
    assert revocation_claims(some_change(**changes), ISSUER, AUDIENCES) == []


def test_revocation_claims_of_many_long_credentials_lose_none_and_fit_their_tokens(keys: SigningKeys) -> None:
    wide = "\x01" * 250  # six bytes each in JSON
    many = [
        CredentialRef(broker="vault", kind=wide, value=f"{wide}{i:03d}", scope="\x01" * 1024)
        for i in range(40)
    ]
    claims = revocation_claims(some_change(credentials=many, reason="\x01" * 5000), ISSUER, AUDIENCES)
    told = [ref for c in claims for ref in c["events"][SESSION_REVOKED]["driftline_credentials"]]
    assert sorted(ref["value"] for ref in told) == sorted(ref.value for ref in many)
    assert len({c["jti"] for c in claims}) == len(claims) > 1
    for c in claims:
        assert len(dumps(c)) <= MAX_PAYLOAD
        verify_token(keys.sign(c), keys.jwks(), ISSUER, VAULT)


@pytest.mark.parametrize(
    ("before", "after", "more", "levels", "reason"),
    [
        ("quiet", "watch", {}, ("LOW", "MEDIUM"), "INTENT_DRIFT"),
        ("watch", "alert", {}, ("MEDIUM", "HIGH"), "INTENT_DRIFT"),
        ("alert", "watch", {}, ("HIGH", "MEDIUM"), "INTENT_DRIFT_SUBSIDED"),
        ("contained", "contained", {"kind": "ended"}, ("HIGH", "LOW"), "SESSION_OVER"),
        ("watch", "closed", {"kind": "ended"}, ("MEDIUM", "LOW"), "SESSION_OVER"),
        ("alert", "alert", {"over": True}, ("LOW", "HIGH"), "INTENT_DRIFT"),
    ],
)
def test_risk_claims_tell_the_level_before_and_after(
    before: str, after: str, more: dict[str, Any], levels: tuple[str, str], reason: str
) -> None:
    change = some_change(before=before, after=after, **more)
    claims = risk_claims(change, ISSUER, "https://soc.example.com/set")
    event = claims["events"][RISK_LEVEL_CHANGE]
    assert (event["previous_level"], event["current_level"]) == levels
    assert (event["principal"], event["risk_reason"]) == ("SESSION", reason)


@pytest.mark.parametrize(
    "changes",
    [
        {"before": "alert", "after": "contained"},
        {"before": "alert", "after": "alert", "kind": "unjudged", "over": True},
    ],
)
def test_risk_stays_as_it_is_from_one_high_standing_to_another_and_where_nothing_was_judged(
    changes: dict[str, Any],
) -> None:
    before, after = risk_levels(some_change(**changes))
    assert before == after


def test_risk_jti_of_each_change_is_its_own() -> None:
    assert (
        risk_claims(some_change(), ISSUER, "a")["jti"]
        != risk_claims(some_change(record_id="case-1/3"), ISSUER, "a")["jti"]
    )


# ---------------------------------------------------------------------------------------- signatures


def test_signed_token_verifies_with_joserfc_and_the_published_keys_alone(keys: SigningKeys) -> None:
    published = json.loads(json.dumps(keys.jwks()))
    opened = jws.deserialize_compact(
        keys.sign(vault_claims()), KeySet.import_key_set(published), algorithms=["RS256"]
    )
    assert json.loads(opened.payload) == vault_claims()
    assert opened.headers() == {"alg": "RS256", "typ": "secevent+jwt", "kid": published["keys"][0]["kid"]}


def test_jwks_holds_no_private_member(keys: SigningKeys) -> None:
    (entry,) = keys.jwks()["keys"]
    assert set(entry) == {"kty", "n", "e", "kid", "use", "alg"}


def test_sign_same_claims_twice_gives_the_same_bytes(keys: SigningKeys) -> None:
    assert keys.sign(vault_claims()) == keys.sign(vault_claims())


def test_verify_token_of_both_kinds_gives_back_the_claims(keys: SigningKeys) -> None:
    risk = risk_claims(some_change(), ISSUER, VAULT)
    for claims in (vault_claims(), risk):
        assert verify_token(keys.sign(claims), keys.jwks(), ISSUER, VAULT) == claims


def test_sign_claims_over_the_bound_refuses(keys: SigningKeys) -> None:
    with pytest.raises(TokenError) as caught:
        keys.sign({**vault_claims(), "padding": "x" * MAX_PAYLOAD})
    assert caught.value.reason == "size"


def without(claims: dict[str, Any], *path: str) -> dict[str, Any]:
    place = claims
    for name in path[:-1]:
        place = place[name]
    del place[path[-1]]
    return claims


def signed_by_hand(keys_dir: Path, claims: Any, **header: Any) -> str:
    """A token that our own signer would refuse to make."""
    key = RSAKey.import_key(json.loads((keys_dir / "signing-key.dev.json").read_text()))
    head = {"alg": "RS256", "typ": "secevent+jwt", "kid": key.kid, **header}
    return jws.serialize_compact(head, json.dumps(claims), key, algorithms=["RS256"])


WRONG_CLAIMS: dict[str, tuple[Callable[[], Any], str]] = {
    "sub": (lambda: {**vault_claims(), "sub": "s-1"}, "claims"),
    "exp": (lambda: {**vault_claims(), "exp": 1}, "claims"),
    "no iat": (lambda: without(vault_claims(), "iat"), "claims"),
    "iat text": (lambda: {**vault_claims(), "iat": "now"}, "claims"),
    "no jti": (lambda: without(vault_claims(), "jti"), "claims"),
    "empty jti": (lambda: {**vault_claims(), "jti": ""}, "claims"),
    "wrong iss": (lambda: {**vault_claims(), "iss": "https://evil.example.com"}, "issuer"),
    "wrong aud": (lambda: {**vault_claims(), "aud": "https://other.example.com"}, "audience"),
    "aud list of others": (lambda: {**vault_claims(), "aud": ["https://other.example.com"]}, "audience"),
    "no aud": (lambda: without(vault_claims(), "aud"), "audience"),
    "no events": (lambda: without(vault_claims(), "events"), "event"),
    "two events": (
        lambda: {**vault_claims(), "events": {**vault_claims()["events"], "urn:x": {}}},
        "event",
    ),
    "no sub_id": (lambda: without(vault_claims(), "sub_id"), "subject"),
    "no session": (lambda: without(vault_claims(), "sub_id", "session"), "subject"),
    "empty session": (lambda: without(vault_claims(), "sub_id", "session", "id"), "subject"),
    "no reason": (lambda: without(vault_claims(), "events", SESSION_REVOKED, "reason_admin"), "event"),
    "empty reason": (
        lambda: without(vault_claims(), "events", SESSION_REVOKED, "reason_admin", "en"),
        "event",
    ),
    "no timestamp": (lambda: without(vault_claims(), "events", SESSION_REVOKED, "event_timestamp"), "event"),
    "a list": (lambda: [1], "malformed"),
    "too large": (lambda: {**vault_claims(), "padding": "x" * MAX_PAYLOAD}, "size"),
}


@pytest.mark.parametrize(("claims", "reason"), WRONG_CLAIMS.values(), ids=WRONG_CLAIMS.keys())
def test_verify_token_with_wrong_claims_refuses_with_the_reason(
    tmp_path: Path, claims: Callable[[], Any], reason: str
) -> None:
    keys = SigningKeys(state_dir=tmp_path)
    with pytest.raises(ContractError) as caught:
        verify_token(signed_by_hand(tmp_path, claims()), keys.jwks(), ISSUER, VAULT)
    assert caught.value.reason == reason


def test_verify_token_addressed_to_several_readers_accepts_each(tmp_path: Path) -> None:
    keys = SigningKeys(state_dir=tmp_path)
    token = signed_by_hand(tmp_path, {**vault_claims(), "aud": [VAULT, "https://b.example.com"]})
    assert verify_token(token, keys.jwks(), ISSUER, "https://b.example.com")["aud"][0] == VAULT


@pytest.mark.parametrize("kind", ["JWT", "", None])
def test_verify_token_of_another_typ_refuses(tmp_path: Path, kind: str | None) -> None:
    keys = SigningKeys(state_dir=tmp_path)
    key = RSAKey.import_key(json.loads((tmp_path / "signing-key.dev.json").read_text()))
    head = {"alg": "RS256", "kid": key.kid} | ({} if kind is None else {"typ": kind})
    token = jws.serialize_compact(head, json.dumps(vault_claims()), key, algorithms=["RS256"])
    with pytest.raises(TokenError) as caught:
        verify_token(token, keys.jwks(), ISSUER, VAULT)
    assert caught.value.reason == "typ"


def test_verify_token_that_was_tampered_with_refuses(keys: SigningKeys) -> None:
    head, _, signature = keys.sign(vault_claims()).split(".")
    other = keys.sign({**vault_claims(), "txn": "case-2"}).split(".")[1]
    with pytest.raises(TokenError) as caught:
        verify_token(f"{head}.{other}.{signature}", keys.jwks(), ISSUER, VAULT)
    assert caught.value.reason == "signature"


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_verify_token_with_an_algorithm_of_its_own_choice_refuses(keys: SigningKeys, algorithm: str) -> None:
    secret = OctKey.import_key(json.dumps(keys.jwks()))
    kid = keys.jwks()["keys"][0]["kid"]
    token = jws.serialize_compact(
        {"alg": algorithm, "typ": "secevent+jwt", "kid": kid},
        json.dumps(vault_claims()),
        secret,
        algorithms=[algorithm],
    )
    with pytest.raises(TokenError) as caught:
        verify_token(token, keys.jwks(), ISSUER, VAULT)
    assert caught.value.reason == "algorithm"


@pytest.mark.parametrize(
    "token", ["", "a.b.c", "....", "e30.e30.", b"\xff\xfe", "e30", "eyJhbGciOiJSUzI1NiJ9.e30.AA"]
)
def test_verify_token_of_bytes_that_are_no_token_refuses(keys: SigningKeys, token: str | bytes) -> None:
    with pytest.raises(TokenError):
        verify_token(token, keys.jwks(), ISSUER, VAULT)


def test_verify_token_with_an_unknown_kid_fetches_the_keys_once_more(
    keys: SigningKeys, tmp_path: Path
) -> None:
    older = SigningKeys(state_dir=tmp_path).jwks()
    token = keys.sign(vault_claims())
    with pytest.raises(TokenError) as caught:
        verify_token(token, older, ISSUER, VAULT)
    assert caught.value.reason == "key"
    assert verify_token(token, older, ISSUER, VAULT, refetch=keys.jwks) == vault_claims()
    fetched: list[int] = []

    def still_old() -> dict[str, Any]:
        fetched.append(1)
        return older

    with pytest.raises(TokenError):
        verify_token(token, older, ISSUER, VAULT, refetch=still_old)
    assert fetched == [1]


@pytest.mark.parametrize("entry", [{"keys": []}, {}, {"keys": [{"kty": "EC"}]}, {"keys": [{"kty": "RSA"}]}])
def test_verify_token_with_a_useless_key_set_refuses(keys: SigningKeys, entry: dict[str, Any]) -> None:
    with pytest.raises(TokenError) as caught:
        verify_token(keys.sign(vault_claims()), entry, ISSUER, VAULT)
    assert caught.value.reason == "key"


def test_verify_token_seen_before_refuses(keys: SigningKeys) -> None:
    with pytest.raises(TokenError) as caught:
        verify_token(keys.sign(vault_claims()), keys.jwks(), ISSUER, VAULT, seen={vault_claims()["jti"]})
    assert caught.value.reason == "repeated"


def test_verify_token_issued_before_the_bound_refuses(keys: SigningKeys) -> None:
    token = keys.sign(vault_claims())
    assert verify_token(token, keys.jwks(), ISSUER, VAULT, oldest_iat=NINE // 1000)
    with pytest.raises(TokenError) as caught:
        verify_token(token, keys.jwks(), ISSUER, VAULT, oldest_iat=NINE // 1000 + 1)
    assert caught.value.reason == "age"


# ---------------------------------------------------------------------------------------------- keys


def pem(bits: int = 2048) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def test_development_key_is_private_to_its_owner_marked_and_found_again(tmp_path: Path) -> None:
    first, second = SigningKeys(state_dir=tmp_path / "new"), SigningKeys(state_dir=tmp_path / "new")
    assert first.is_development
    assert first.jwks() == second.jwks()
    assert first.jwks()["keys"][0]["kid"].startswith("dev-")
    (made,) = (tmp_path / "new").iterdir()
    assert stat.S_IMODE(made.stat().st_mode) == 0o600


def test_key_from_pem_signs_under_its_thumbprint(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text(pem())
    keys = SigningKeys(path=path)
    assert not keys.is_development
    assert keys.jwks()["keys"][0]["kid"] == RSAKey.import_key(path.read_text()).thumbprint()
    assert verify_token(keys.sign(vault_claims()), keys.jwks(), ISSUER, VAULT) == vault_claims()


def test_key_from_text_signs() -> None:
    keys = SigningKeys(text=json.dumps(RSAKey.generate_key(2048).as_dict(private=True)))
    assert verify_token(keys.sign(vault_claims()), keys.jwks(), ISSUER, VAULT) == vault_claims()


def test_keys_rotate_without_a_restart_and_older_tokens_still_verify(tmp_path: Path) -> None:
    path = tmp_path / "keys.pem"
    old, new = pem(), pem()
    path.write_text(old)
    keys = SigningKeys(path=path)
    before = keys.sign(vault_claims())
    path.write_text(new + old)
    after = keys.sign(vault_claims())
    assert jws.extract_compact(before.encode()).headers() != jws.extract_compact(after.encode()).headers()
    for token in (before, after):
        assert verify_token(token, keys.jwks(), ISSUER, VAULT) == vault_claims()


def test_keys_behind_a_swapped_link_are_read_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(pem())
    (tmp_path / "b").write_text(pem())
    link = tmp_path / "key.pem"
    link.symlink_to(tmp_path / "a")
    keys = SigningKeys(path=link)
    first = keys.jwks()
    (tmp_path / "next").symlink_to(tmp_path / "b")
    os.replace(tmp_path / "next", link)
    assert keys.jwks() != first


@pytest.mark.parametrize("text", ["", "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"])
def test_keys_whose_file_breaks_go_on_with_the_last_good_ones(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key.pem"
    path.write_text(pem())
    keys = SigningKeys(path=path)
    good = keys.jwks()
    path.write_text(text)
    assert keys.jwks() == good
    path.unlink()
    assert verify_token(keys.sign(vault_claims()), good, ISSUER, VAULT) == vault_claims()


def test_old_public_key_stays_published_and_never_signs() -> None:
    old = RSAKey.generate_key(2048, {"kid": "old"})
    new = RSAKey.generate_key(2048, {"kid": "new"})
    keys = SigningKeys(text=json.dumps({"keys": [old.as_dict(private=False), new.as_dict(private=True)]}))
    assert [entry["kid"] for entry in keys.jwks()["keys"]] == ["old", "new"]
    assert jws.extract_compact(keys.sign(vault_claims()).encode()).headers()["kid"] == "new"


UNUSABLE: dict[str, Callable[[], str]] = {
    "short": lambda: pem(1024),
    "elliptic": lambda: json.dumps(ECKey.generate_key("P-256").as_dict(private=True)),
    "public only": lambda: json.dumps(RSAKey.generate_key(2048).as_dict(private=False)),
    "not a key": lambda: "hello",
    "not JSON": lambda: "{",
    "a list": lambda: '{"keys": 3}',
}


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
@pytest.mark.parametrize("text", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_keys_that_cannot_sign_are_refused_without_quoting_them(text: Callable[[], str]) -> None:
    given = text()
    with pytest.raises(ConfigError) as caught:
        SigningKeys(text=given)
    assert given not in str(caught.value)


def test_keys_without_a_source_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        SigningKeys()
    with pytest.raises(ConfigError, match=r"missing\.pem: No such file"):
        SigningKeys(path=tmp_path / "missing.pem")
