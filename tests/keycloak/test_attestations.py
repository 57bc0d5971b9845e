"""A task's token of a real Keycloak attests who declares: standard token exchange, the agent in a claim of our own."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models.errors import ConfigError
from stream.attestations import load_issuers
from stream.core.deployment import Attested
from tests import builders as b
from tests.keycloak.server import REALM, Keycloak, Tokens

pytestmark = [pytest.mark.keycloak, pytest.mark.slow, pytest.mark.timeout(900)]

OURS = "https://driftline.example.com/ssf"
SKEW_MS = 300_000


@pytest.fixture
def realm(keycloak: Keycloak) -> Iterator[Keycloak]:
    """The realm with a client that stands for Driftline, and an agent whose tokens may be for it and name it."""
    made = keycloak.realm_admin("POST", "clients", {"clientId": OURS, "enabled": True, "publicClient": True})
    assert made.status == 201
    (driftline,) = [c for c in keycloak.realm_admin("GET", "clients").json if c["clientId"] == OURS]
    (agent,) = [c for c in keycloak.realm_admin("GET", "clients").json if c["clientId"] == "agent"]
    mappers = f"clients/{agent['id']}/protocol-mappers/models"
    told = {"protocol": "openid-connect"}
    audience = {"included.client.audience": OURS, "access.token.claim": "true"}
    named = {
        "claim.name": "workload",
        "claim.value": "invoice-agent",
        "jsonType.label": "String",
        "access.token.claim": "true",
    }
    for name, mapper, config in (
        ("for driftline", "oidc-audience-mapper", audience),
        ("who it is", "oidc-hardcoded-claim-mapper", named),
    ):
        entry = {**told, "name": name, "protocolMapper": mapper, "config": config}
        assert keycloak.realm_admin("POST", mappers, entry).status == 201
    yield keycloak
    for mapper in keycloak.realm_admin("GET", mappers).json:
        if mapper["name"] in ("for driftline", "who it is"):
            keycloak.realm_admin("DELETE", f"{mappers}/{mapper['id']}")
    keycloak.realm_admin("DELETE", f"clients/{driftline['id']}")


def issuer(keycloak: Keycloak, folder: Path, **more: Any) -> Path:
    """A file of issuers with this realm, its keys as it publishes them."""
    certs = keycloak.request("GET", f"/realms/{REALM}/protocol/openid-connect/certs").json
    assert {key["use"] for key in certs["keys"]} == {"sig", "enc"}, "keys that sign no token are there too"
    (folder / "certs.json").write_text(json.dumps(certs), encoding="utf-8")
    entry = {
        "kind": "oauth",
        "issuer": keycloak.issuer,
        "jwks": "certs.json",
        "typ": "JWT",
        "agent": ["workload"],
        "session": "sid",
        **more,
    }
    file = folder / "issuers.json"
    file.write_text(json.dumps({"acme": [entry]}), encoding="utf-8")
    return file


def test_a_token_that_was_exchanged_for_driftline_names_agent_principal_and_session(
    realm: Keycloak, tmp_path: Path
) -> None:
    alice = realm.login("alice")
    task = realm.exchange(alice, audience=OURS)
    trusted = load_issuers(issuer(realm, tmp_path), OURS)
    read = trusted.read("acme", task.access, round(time.time() * 1000), SKEW_MS)
    assert isinstance(read, Attested), read
    assert (read.agent, read.principal, read.session) == (
        "invoice-agent",
        realm.user_id("alice"),
        alice.session,
    )
    assert read.issuer == read.principal_issuer == realm.issuer
    assert read.expires_ms == task.claims["exp"] * 1000
    assert trusted.read("acme", task.access, read.expires_ms, SKEW_MS) == "expired"
    judged(realm, task, trusted)


def judged(realm: Keycloak, task: Tokens, trusted: Any) -> None:
    """A session under Keycloak's own id is attested; another one that comes with the token is told."""
    judge = b.judge(b.release(scorer=b.ConstantScorer(0)))
    judge.deployment = judge.deployment._replace(attestations=trusted)
    agent = {"id": "invoice-agent", "user": realm.user_id("alice")}
    stamp = round(time.time()) - b.T0 // 1000
    for session, told in ((task.session, set()), ("another", {"token_replayed"})):
        values = [
            b.declared(session, tenant="acme", agent=agent, attestation=task.access),
            b.called(session, 1, tenant="acme"),
        ]
        (decision,) = (
            b.Run(judge).feed([b.record(value, n, stamp) for n, value in enumerate(values)]).decisions
        )
        assert {e["name"] for e in decision["evidence"] if e["family"] == "identity"} == told
        assert ("attested" in decision) is (not told)


def test_tokens_of_keycloak_for_others_or_of_another_kind_attest_nothing(
    realm: Keycloak, tmp_path: Path
) -> None:
    trusted = load_issuers(issuer(realm, tmp_path), OURS)
    alice = realm.login("alice")
    now_ms = round(time.time() * 1000)
    for_the_bank = realm.exchange(alice)
    assert trusted.read("acme", for_the_bank.access, now_ms, SKEW_MS) == "audience"
    assert trusted.read("acme", alice.access, now_ms, SKEW_MS) == "audience"
    assert alice.refresh is not None
    assert trusted.read("acme", alice.refresh, now_ms, SKEW_MS) in ("signature", "audience")
    at_rfc_9068 = load_issuers(issuer(realm, tmp_path, typ="at+jwt"), OURS)
    mine = realm.exchange(alice, audience=OURS).access
    assert at_rfc_9068.read("acme", mine, now_ms, SKEW_MS) == "type"
    head, payload, _ = mine.split(".")
    forged = ".".join([head, payload, for_the_bank.access.split(".")[2]])
    assert trusted.read("acme", forged, now_ms, SKEW_MS) == "signature"


def test_keycloak_s_keys_without_those_that_sign_are_refused(realm: Keycloak, tmp_path: Path) -> None:
    file = issuer(realm, tmp_path)
    certs = json.loads((tmp_path / "certs.json").read_text(encoding="utf-8"))
    certs["keys"] = [key for key in certs["keys"] if key["use"] == "enc"]
    (tmp_path / "certs.json").write_text(json.dumps(certs), encoding="utf-8")
    with pytest.raises(ConfigError, match="at least one key"):
        load_issuers(file, OURS)
