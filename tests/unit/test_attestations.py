"""Who declares is shown by an issuer of workload identity: what counts, what does not, and what each misuse is told as."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OKPKey, RSAKey

from models.errors import ConfigError
from models.session import MAX_STATE, Session, dump
from models.session import load as unpacked
from stream import bootstrap
from stream.attestations import Issuer, SignedAttestations, load_issuers
from stream.core.deployment import Attested
from stream.core.judge import Judge
from stream.core.partition import Partition, state_key
from stream.core.releases import Release
from stream.declarations import SignedDeclarations, sign
from stream.events import dumps
from stream.jose import decoded, encoded
from stream.policy import AttestationDemand, Signatures, load_policy, parse_policy
from stream.settings import Settings
from tests import attested as a
from tests import builders as b

NOW = b.T0 // 1000
"""Seconds since 1970 of the first event."""
SKEW_MS = 300_000
TRUSTED = SignedAttestations({"acme": [Issuer.model_validate(each) for each in a.issuers()]}, a.OURS)
FREE = AttestationDemand()
DEMANDED = AttestationDemand(required=True)
BOUND = AttestationDemand(required=True, bound=True)
THIEF = f"{a.TRUST_DOMAIN}/agent/travel-assistant"
AGENT = {"id": "support-assistant", "spiffe_id": a.SUPPORT, "user": "u-1"}
IDENTITY = {
    "attestation_refused",
    "credential_of_another",
    "declared_for_another",
    "signed_by_another",
    "token_replayed",
    "token_shared",
}


def release(demand: AttestationDemand = FREE, **more: Any) -> Release:
    made = b.release(scorer=b.ConstantScorer(0))
    return made._replace(policy=made.policy.model_copy(update={"attestations": demand, **more}))


JUDGES: dict[str, Judge] = {}


def judge_of(demand: AttestationDemand = FREE, *keys: Any, signatures: bool = False) -> Judge:
    """A judge that believes our issuers and signatures by `keys`, made once: it keeps nothing between logs."""
    jwks = [key.as_dict(private=False) for key in keys]
    name = json.dumps([demand.model_dump(), jwks, signatures])
    if name not in JUDGES:
        JUDGES[name] = judge = b.judge(release(demand, signatures=Signatures(required=signatures)))
        signed = SignedDeclarations({"acme": {"keys": jwks}}) if jwks else None
        judge.deployment = judge.deployment._replace(attestations=TRUSTED, declarations=signed)
    return JUDGES[name]


def play(
    *values: Any,
    demand: AttestationDemand = FREE,
    stamp: int | None = None,
    keys: Any = (),
    **more: Any,
) -> b.Run:
    records = [b.record(value, n, stamp) for n, value in enumerate(values)]
    return b.Run(judge_of(demand, *keys, **more)).feed(records)


def declared(
    token: str | None, session: str = "s", agent: Mapping[str, Any] = AGENT, **more: Any
) -> dict[str, Any]:
    return b.declared(session, tenant="acme", agent=dict(agent), attestation=token, **more)


def call(seq: int, session: str = "s", **more: Any) -> dict[str, Any]:
    return b.called(session, seq, tenant="acme", **more)


def spoke(decision: Mapping[str, Any]) -> set[str]:
    """Signals of identity that speak against a call."""
    return {e["name"] for e in decision["evidence"] if e["supports"]} & IDENTITY


def state(run: b.Run, session: str = "s", root: str | None = None) -> Session:
    found = unpacked(run.partition.states[state_key("acme", root or session, session)])
    assert isinstance(found, Session)
    return found


# ------------------------------------------------------------------ what counts

KINDS: dict[str, Callable[..., str]] = {
    "jwt-svid": lambda **more: a.svid(NOW, audience=f"{a.OURS}#s", **more),
    "oauth": lambda **more: a.access(NOW, **more),
    "txn-token": lambda **more: a.transaction(NOW, "s", **more),
}
SHOWN = {
    "jwt-svid": {"issuer": a.TRUST_DOMAIN, "principal": None, "bound": True},
    "oauth": {"issuer": a.IDP, "principal": "u-1", "bound": False},
    "txn-token": {"issuer": a.TTS, "principal": "u-1", "bound": True},
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_token_shows_who_declares(kind: str) -> None:
    token = KINDS[kind]()
    run = play(declared(token), call(1), demand=DEMANDED)
    decision = run.decisions[-1]
    shown = decision["attested"]
    assert {name: shown[name] for name in SHOWN[kind]} == SHOWN[kind]
    assert shown["agent"] == a.SUPPORT
    assert shown["token"] == hashlib.sha256(token.rpartition(".")[0].encode()).hexdigest()[:16]
    assert (decision["marks"], spoke(decision), decision["agent"]) == ([], set(), "support-assistant")
    assert "unattested_declaration" not in run.counters


@pytest.mark.parametrize("token", [a.access(NOW), None])
def test_an_alert_says_who_was_attested_as_the_decision_does(token: str | None) -> None:
    strange = call(1, credential={"broker": "demo", "kind": "jti", "value": "of another"})
    run = play(declared(token, credentials=[b.CREDENTIAL]), strange)
    assert run.decisions[-1]["verdict"] == "alert"
    found = run.cases[-1]["finding"]["unmapped"]
    assert found.get("attested") == run.decisions[-1].get("attested")
    assert ("attested" in found) == (token is not None)


def test_without_an_attestation_nothing_of_it_is_told_or_kept() -> None:
    run = play(declared(None), call(1))
    assert "attested" not in run.decisions[-1]
    assert state(run).identity is None


def test_an_attestation_of_a_tenant_without_issuers_is_not_looked_at() -> None:
    for tenant, judge in (("other", judge_of()), ("acme", b.judge(release()))):
        values = [{**declared("garbage"), "tenant": tenant}, {**call(1), "tenant": tenant}]
        with_it = b.Run(judge).feed(b.log(values)).decisions
        without = b.Run(judge).feed(
            b.log([{k: v for k, v in values[0].items() if k != "attestation"}, values[1]])
        )
        assert with_it == without.decisions


# ------------------------------------------------------------------ what does not


def _refused(token: str, now_s: int = NOW) -> Any:
    return TRUSTED.read("acme", token, now_s * 1000, SKEW_MS)


def _hmac(token: str, secret: bytes) -> str:
    """The payload of `token` with a signature by HMAC, as if a public key were a shared secret."""
    head = encoded(dumps({"alg": "HS256", "kid": a.KEYS[a.IDP].kid, "typ": "at+jwt"}))
    content = f"{head}.{token.split('.')[1]}"
    return f"{content}.{encoded(hmac.digest(secret, content.encode(), hashlib.sha256))}"


def _unsigned(token: str) -> str:
    head = encoded(dumps({"alg": "none", "kid": a.KEYS[a.IDP].kid, "typ": "at+jwt"}))
    return f"{head}.{token.split('.')[1]}."


def _reheaded(token: str, **more: Any) -> str:
    head, payload, seal = token.split(".")
    return f"{encoded(dumps({**json.loads(decoded(head)), **more}))}.{payload}.{seal}"


STRANGER = ECKey.generate_key("P-256", auto_kid=True)
WEAK: dict[str, tuple[str, str]] = {
    "nothing": ("", "unreadable"),
    "text": ("hello", "unreadable"),
    "dots": ("...", "unreadable"),
    "five parts": ("a.b.c.d.e", "unreadable"),
    "no object": (f"e30.{encoded(b'[1]')}.e30", "unreadable"),
    "alg none": (_unsigned(a.access(NOW)), "signature"),
    "HMAC by the public key": (_hmac(a.access(NOW), a.KEYS[a.IDP].as_pem(private=False)), "signature"),
    "HMAC by its JWK": (_hmac(a.access(NOW), dumps(a.KEYS[a.IDP].as_dict(private=False))), "signature"),
    "no kid": (a.access(NOW, header={"typ": "at+jwt", "kid": None}), "signature"),
    "unknown kid": (a.access(NOW, header={"typ": "at+jwt", "kid": "x"}), "signature"),
    "own key under the issuer's kid": (
        a.svid(NOW, key=STRANGER, header={"kid": a.KEYS[a.TRUST_DOMAIN].kid}),
        "signature",
    ),
    "key of another issuer": (
        a.svid(NOW, key=a.KEYS[a.TTS], header={"kid": a.KEYS[a.TTS].kid}),
        "signature",
    ),
    "key in the header": (
        a.access(
            NOW, key=RSAKey.generate_key(2048, auto_kid=True), header={"typ": "at+jwt", "jwk": {"kty": "oct"}}
        ),
        "signature",
    ),
    "critical extension": (_reheaded(a.access(NOW), crit=["b64"], b64=False), "signature"),
    "unknown issuer": (a.access(NOW, iss="https://elsewhere.example.com"), "issuer"),
    "another trust domain": (a.svid(NOW, "spiffe://evil.example.com/agent/support-assistant"), "issuer"),
    "svid of no workload": (a.svid(NOW, a.TRUST_DOMAIN), "issuer"),
    "svid with a dotted path": (a.svid(NOW, f"{a.TRUST_DOMAIN}/agent/../support"), "issuer"),
    "svid for another trust domain by iss": (
        a.svid(NOW, "spiffe://other.example.com/agent/x", iss=a.TRUST_DOMAIN),
        "claims",
    ),
    "svid header with more": (a.svid(NOW, header={"typ": "JWT", "x5u": "https://evil.example.com"}), "type"),
    "svid of another typ": (a.svid(NOW, header={"typ": "at+jwt"}), "type"),
    "id token": (a.access(NOW, header={"typ": "JWT"}), "type"),
    "no typ": (a.access(NOW, header={}), "type"),
    "logout token": (a.access(NOW, header={"typ": "logout+jwt"}), "type"),
    "txn token as access token": (a.access(NOW, header={"typ": "txntoken+jwt"}), "type"),
    "typ is a list": (_reheaded(a.svid(NOW), typ=["JWT"]), "signature"),
    "no audience": (a.access(NOW, audience=None), "audience"),
    "no audiences": (a.svid(NOW, audience=[]), "audience"),
    "another audience": (a.svid(NOW, audience="https://vault.acme.example.com"), "audience"),
    "another audience too": (a.svid(NOW, audience=[a.OURS, "https://vault.acme.example.com"]), "audience"),
    "an audience that begins like ours": (a.svid(NOW, audience=f"{a.OURS}/more"), "audience"),
    "an audience in an object": (a.access(NOW, audience={"x": a.OURS}), "audience"),
    "expired": (a.svid(NOW, exp=NOW - 1), "expired"),
    "ends now": (a.svid(NOW, exp=NOW), "expired"),  # RFC 7519, 4.1.4: on or after
    "no end": (a.svid(NOW, exp=None), "claims"),
    "end is a text": (a.svid(NOW, exp=str(NOW + 60)), "claims"),
    "end is true": (a.svid(NOW, exp=True), "claims"),
    "end has a fraction": (a.svid(NOW, exp=NOW + 60.5), "claims"),
    "lives two days": (a.svid(NOW, exp=NOW + 2 * 86_400), "long_lived"),
    "not yet": (a.svid(NOW, nbf=NOW + 301), "early"),
    "issued later": (a.svid(NOW, iat=NOW + 301), "early"),
    "no actor": (a.access(NOW, act=None), "claims"),
    "actor without a name": (a.access(NOW, act={"client_id": "x"}), "claims"),
    "actor is a text": (a.access(NOW, act="x"), "claims"),
    "actor with a long name": (a.access(NOW, act={"sub": "x" * 257}), "claims"),
    "actor with a line break": (a.access(NOW, act={"sub": "x\ny"}), "claims"),
    "no principal": (a.access(NOW, sub=None), "claims"),
    "tied to a certificate": (a.access(NOW, cnf={"x5t#S256": "x" * 43}), "proof"),
    "tied to a key and a certificate": (
        a.access(NOW, cnf={"jkt": a.BEARER.thumbprint(), "x5t#S256": "x" * 43}),
        "proof",
    ),
    "tied to nothing that can be read": (
        a.access(NOW, cnf={"jwk": {"kty": "oct", "k": "c2VjcmV0"}}),
        "proof",
    ),
    "bound to two sessions": (a.transaction(NOW, "s", aud=f"{a.OURS}#t"), "claims"),
}


@pytest.mark.parametrize("what", WEAK)
def test_a_token_that_does_not_hold_attests_nothing_and_is_told(what: str) -> None:
    token, why = WEAK[what]
    assert _refused(token) == why
    free = play(declared(token), call(1))
    assert spoke(free.decisions[-1]) == {"attestation_refused"}
    assert "attested" not in free.decisions[-1]
    assert free.decisions[-1]["intent_digest"] is not None  # where nothing is demanded it counts as without
    demanded = play(declared(token), call(1), demand=DEMANDED)
    assert demanded.decisions[-1]["marks"] == ["undeclared", "unattested"]


def test_where_an_attestation_is_demanded_a_declaration_without_one_is_said_to_lack_it() -> None:
    decision = play(declared(None), call(1), demand=DEMANDED).decisions[-1]
    assert (decision["verdict"], decision["marks"]) == ("abstain", ["undeclared", "unattested"])
    assert "the declaration lacks the attestation that the policy demands" in decision["explanation"]


def test_a_skew_of_the_issuer_s_clock_is_let_pass_but_no_end() -> None:
    assert isinstance(_refused(a.svid(NOW, iat=NOW + 300, nbf=NOW + 300)), Attested)
    assert isinstance(_refused(a.svid(NOW, exp=NOW + 1)), Attested)
    assert _refused(a.svid(NOW, exp=NOW + 1), NOW + 1) == "expired"


def test_the_log_s_clock_tells_whether_a_token_is_over_and_not_the_event_s_own_time() -> None:
    token = a.svid(NOW)  # ends 280 s after the start
    for stamp, refused in ((0, False), (279, False), (280, True), (4000, True)):
        run = play(declared(token), call(1), stamp=stamp)
        assert (spoke(run.decisions[-1]) == {"attestation_refused"}) is refused
    late = [(600, b.called("other", 0)), (600, declared(token)), (601, call(1))]
    assert spoke(b.Run(judge_of()).feed(b.stamped(late)).decisions[-1]) == {"attestation_refused"}


def test_a_token_that_ended_after_its_declaration_still_shows_who_declared() -> None:
    values = [(0, declared(a.svid(NOW))), (3000, call(1))]
    decision = b.Run(judge_of(DEMANDED)).feed(b.stamped(values)).decisions[-1]
    assert (decision["attested"]["agent"], decision["marks"]) == (a.SUPPORT, [])


def test_a_token_longer_than_the_contract_allows_is_refused_with_its_event() -> None:
    run = play(declared("x" * 8193), call(1))
    assert run.quarantined == [("schema", 0)]


# ------------------------------------------------------------------ a verifier that is not ours, and mutations


@pytest.mark.parametrize("kind", KINDS)
def test_what_we_accept_another_library_accepts_and_reads_alike(kind: str) -> None:
    token = KINDS[kind]()
    claims, read = a.read_by_authlib(token, NOW), _refused(token)
    assert claims is not None
    assert isinstance(read, Attested)
    assert read.agent == (claims["sub"] if kind == "jwt-svid" else claims["act"]["sub"])
    assert (read.principal, read.expires_ms) == (
        None if kind == "jwt-svid" else claims["sub"],
        claims["exp"] * 1000,
    )


OURS_ALONE = ("key of another issuer", "ends now")
"""Authlib is asked with the keys of all issuers, and takes a token in the second in which it ends."""
FORGED = [name for name, (_, why) in WEAK.items() if why in ("unreadable", "signature", "expired")]


@pytest.mark.parametrize("what", [name for name in FORGED if name not in OURS_ALONE])
def test_what_we_refuse_as_forged_or_over_another_library_refuses(what: str) -> None:
    assert a.read_by_authlib(WEAK[what][0], NOW) is None


TOKENS = [make() for make in KINDS.values()]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.="


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(TOKENS), st.data())
def test_no_mutation_of_a_token_attests_anything(token: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(token) - 1))
    how = data.draw(st.sampled_from(["replace", "delete", "insert", "cut", "swap parts", "case"]))
    if how == "replace":
        made = token[:at] + data.draw(st.sampled_from(LETTERS)) + token[at + 1 :]
    elif how == "delete":
        made = token[:at] + token[at + 1 :]
    elif how == "insert":
        made = token[:at] + data.draw(st.sampled_from(LETTERS)) + token[at:]
    elif how == "cut":
        made = token[:at]
    elif how == "case":
        made = token[:at] + token[at].swapcase() + token[at + 1 :]
    else:
        one, two = token.split("."), data.draw(st.sampled_from(TOKENS)).split(".")
        place = data.draw(st.integers(0, 2))
        made = ".".join([*one[:place], two[place], *one[place + 1 :]])
    if made != token:
        assert not isinstance(_refused(made), Attested)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(TOKENS),
    st.sampled_from(["head", "payload"]),
    st.text(max_size=8),
    st.integers() | st.text() | st.none(),
)
@example(TOKENS[0], "payload", "exp", 2**63)
@example(TOKENS[1], "payload", "sub", "eve")
@example(TOKENS[2], "head", "alg", "none")
def test_no_claim_or_header_may_change_under_a_signature(
    token: str, part: str, name: str, value: Any
) -> None:
    head, payload, seal = token.split(".")
    whole = json.loads(decoded(head if part == "head" else payload))
    changed = {**whole, name: value}
    if changed == whole:
        return
    text = encoded(json.dumps(changed).encode())
    made = f"{text}.{payload}.{seal}" if part == "head" else f"{head}.{text}.{seal}"
    assert not isinstance(_refused(made), Attested)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200) | st.binary(max_size=200).map(encoded).map(lambda text: f"{text}.{text}.{text}"))
def test_whatever_comes_as_a_token_raises_nothing(text: str) -> None:
    assert isinstance(TRUSTED.read("acme", text, b.T0, SKEW_MS), str)


def test_another_spelling_of_a_signature_is_the_same_token() -> None:
    """Of an ECDSA signature (r, s) any reader takes (r, n - s) too."""
    head, payload, seal = a.svid(NOW).split(".")
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    raw = decoded(seal)
    other = raw[:32] + (order - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
    one, two = (_refused(f"{head}.{payload}.{encoded(each)}") for each in (raw, other))
    assert isinstance(one, Attested)
    assert one == two


# ------------------------------------------------------------------ in whose name

NAMES = {
    "another id": {"id": "finance-assistant"},
    "another SPIFFE id": {"spiffe_id": THIEF},
    "an id that no issuer lists": {"id": "support"},
    "another user": {"user": "u-2"},
    "another user's issuer": {"user": "u-1", "user_issuer": "https://other.example.com"},
}


@pytest.mark.parametrize("what", NAMES)
@pytest.mark.parametrize("kind", ["oauth", "txn-token"])
def test_an_agent_cannot_declare_in_another_s_name(what: str, kind: str) -> None:
    token, agent = KINDS[kind](), {**AGENT, **NAMES[what]}
    free = play(declared(token, agent=agent), call(1)).decisions[-1]
    assert spoke(free) == {"declared_for_another"}
    assert free["verdict"] == "alert"
    assert free["attested"]["agent"] == a.SUPPORT
    demanded = play(declared(token, agent=agent), call(1), b.ended("s", 2, tenant="acme"), demand=DEMANDED)
    decision = demanded.decisions[-1]
    assert decision["marks"] == ["undeclared", "unattested"]
    assert (decision["agent"], decision["intent_digest"]) == (None, None)
    assert spoke(decision) == {"declared_for_another"}
    assert demanded.counters["unattested_declaration"] == 1
    assert all(case["credentials"] == [] for case in demanded.cases)


NAMED = st.sampled_from([None, a.SUPPORT, "support-assistant", THIEF, "travel-assistant", "x"])


@settings(max_examples=60, deadline=None)
@given(NAMED, NAMED, st.sampled_from([None, "u-1", "u-2"]), st.sampled_from(sorted(KINDS)))
def test_a_declaration_counts_only_if_each_of_its_names_is_borne_out(
    name: str | None, spiffe: str | None, user: str | None, kind: str
) -> None:
    told = {"id": name, "spiffe_id": spiffe, "user": user}
    agent = {field: value for field, value in told.items() if value is not None}
    decision = play(declared(KINDS[kind](), agent=agent), call(1), demand=DEMANDED).decisions[-1]
    holds = {name, spiffe} <= {None, a.SUPPORT, "support-assistant"} and (kind == "jwt-svid" or user != "u-2")
    assert ("undeclared" not in decision["marks"]) is holds
    assert (spoke(decision) == set()) is holds


@pytest.mark.parametrize("agent", [{}, {"id": a.SUPPORT}, {"spiffe_id": a.SUPPORT}, AGENT])
def test_a_declaration_may_name_less_than_is_attested(agent: Mapping[str, Any]) -> None:
    run = play(declared(KINDS["oauth"](), agent=agent), call(1), demand=DEMANDED)
    assert (run.decisions[-1]["marks"], spoke(run.decisions[-1])) == ([], set())


def test_a_user_s_issuer_is_the_token_s_or_the_one_that_is_configured_for_it() -> None:
    agent = {**AGENT, "user_issuer": a.IDP}
    for kind in ("oauth", "txn-token"):
        assert spoke(play(declared(KINDS[kind](), agent=agent), call(1)).decisions[-1]) == set()


def test_an_amendment_or_catalogue_by_another_agent_is_told_and_where_demanded_does_not_count() -> None:
    wide = {"text": "mail bob@example.com", "actions": ["write"]}
    thief = a.svid(NOW, THIEF, f"{a.OURS}#s")
    for kind, more in (
        ("intent.amended", {"intent": wide}),
        ("catalogue.changed", {"tools": [{"name": "wire_money"}]}),
    ):
        event = b.event(kind, "s", 1, tenant="acme", attestation=thief, **more)
        told = play(declared(KINDS["jwt-svid"]()), event, call(2)).decisions[-1]
        assert spoke(told) == {"declared_for_another"}
        for token in (thief, None):
            sent = {k: v for k, v in {**event, "attestation": token}.items() if v is not None}
            run = play(declared(KINDS["jwt-svid"]()), sent, call(2), demand=DEMANDED)
            without = play(declared(KINDS["jwt-svid"]()), call(2), demand=DEMANDED)
            assert "unattested" in run.decisions[-1]["marks"]
            assert run.decisions[-1]["intent_digest"] == without.decisions[-1]["intent_digest"]
            assert state(run).catalogue == state(without).catalogue


@pytest.mark.parametrize("token", [a.access(NOW, THIEF), a.access(NOW, user="u-2")])
def test_who_was_attested_stays_who_it_is_whatever_the_declaration_named(token: str) -> None:
    more = b.event("intent.amended", "s", 1, tenant="acme", intent={"text": "go on"}, attestation=token)
    run = play(declared(KINDS["oauth"](), agent={}), more, call(2))
    assert spoke(run.decisions[-1]) == {"declared_for_another"}
    assert (run.decisions[-1]["attested"]["agent"], run.decisions[-1]["attested"]["principal"]) == (
        a.SUPPORT,
        "u-1",
    )


def test_an_attestation_stands_in_for_no_signature() -> None:
    """An agent that was attested may not widen its intent itself: that takes the signature that the policy demands."""
    key = ECKey.generate_key("P-256", auto_kid=True)
    narrow = declared(KINDS["jwt-svid"](), intent={"text": "read notes.txt", "actions": ["read"]})
    wide = b.event(
        "intent.amended", "s", 1, tenant="acme", intent={"text": "mail", "actions": ["write"]},
        attestation=a.svid(NOW, audience=f"{a.OURS}#s"),
    )  # fmt: skip
    mail = call(2, tool="send_email", arguments={"to": "bob@example.com"})
    rules: dict[str, Any] = {"keys": [key], "demand": DEMANDED, "signatures": True}
    unsigned = play(sign("acme", narrow, key), wide, mail, **rules).decisions[-1]
    assert unsigned["marks"] == ["unsigned"]
    assert "action_not_allowed" in {e["name"] for e in unsigned["evidence"]}
    signed = play(sign("acme", narrow, key), sign("acme", wide, key), mail, **rules).decisions[-1]
    assert "action_not_allowed" not in {e["name"] for e in signed["evidence"]}
    # A signed event whose attestation fails uses no number up.
    stale = sign("acme", {**wide, "attestation": WEAK["expired"][0]}, key)
    later = sign("acme", {**wide, "id": "s/x", "seq": 1}, key)
    run = play(sign("acme", narrow, key), stale, later, mail, **rules)
    assert run.decisions[-1]["intent_digest"] == signed["intent_digest"]


def test_nobody_s_attestation_speaks_against_a_session_that_did_not_sign_it() -> None:
    key = ECKey.generate_key("P-256", auto_kid=True)
    forged = b.event("intent.amended", "s", 1, tenant="acme", intent={"text": "x"}, attestation="garbage")
    run = play(
        sign("acme", declared(KINDS["jwt-svid"]()), key),
        forged,
        call(2),
        keys=[key],
        signatures=True,
    )
    assert spoke(run.decisions[-1]) == set()


def test_the_genuine_declaration_counts_after_one_in_its_name() -> None:
    forged = declared(a.svid(NOW, THIEF, f"{a.OURS}#s"), id="s/forged")
    run = play(forged, declared(KINDS["jwt-svid"]()), call(1), demand=DEMANDED)
    decision = run.decisions[-1]
    assert decision["attested"]["agent"] == a.SUPPORT
    assert decision["intent_digest"] is not None
    assert spoke(decision) == {"declared_for_another"}


@pytest.mark.parametrize("token", ["jwt-svid", "oauth"])
def test_an_attested_sub_agent_only_narrows(token: str) -> None:
    top = b.declared("top", tenant="acme", intent={"text": "read notes.txt", "actions": ["read"]})
    below = {
        "root_session_id": "top",
        "parent_session_id": "top",
        "intent": {"text": "pay bob@example.com", "actions": ["read", "write", "execute"]},
    }
    made = a.svid(NOW, audience=f"{a.OURS}#low") if token == "jwt-svid" else KINDS[token]()
    child = declared(made, "low", **below)
    pay = call(1, "low", tool="send_email", arguments={"to": "bob@example.com"}, root_session_id="top")
    decision = play(top, child, pay).decisions[-1]
    assert decision["attested"]["agent"] == a.SUPPORT
    assert "action_not_allowed" in {e["name"] for e in decision["evidence"] if e["supports"]}
    assert decision["verdict"] in ("deny", "revoke")


# ------------------------------------------------------------------ replayed, shared, stolen


@pytest.mark.parametrize("token", [a.svid(NOW, audience=f"{a.OURS}#other"), a.transaction(NOW, "other")])
def test_a_token_for_another_session_is_told_and_shows_nobody(token: str) -> None:
    decision = play(declared(token), call(1)).decisions[-1]
    assert spoke(decision) == {"token_replayed"}
    assert decision["verdict"] == "alert"
    assert "attested" not in decision
    assert "undeclared" in play(declared(token), call(1), demand=DEMANDED).decisions[-1]["marks"]


def test_a_policy_may_demand_that_a_token_names_its_session() -> None:
    for kind, counts in (("jwt-svid", True), ("oauth", False), ("txn-token", True)):
        decision = play(declared(KINDS[kind]()), call(1), demand=BOUND).decisions[-1]
        assert ("undeclared" not in decision["marks"]) is counts
        assert (spoke(decision) == set()) is counts


def both(first: dict[str, Any], *between: Any, batch: int = 512, token: str | None = None) -> dict[str, Any]:
    """The decision on a call of `t`, which came with the token of `s`."""
    again = declared(token or first["attestation"], "t")
    values = [first, *between, again, call(1, "t")]
    run = b.Run(judge_of(DEMANDED)).feed([b.record(value, n) for n, value in enumerate(values)], batch)
    return run.decisions[-1]


@pytest.mark.parametrize("batch", [1, 2, 512])
def test_a_token_that_names_no_session_is_told_where_another_open_session_came_with_it(batch: int) -> None:
    first = declared(KINDS["oauth"]())
    shared = both(first, batch=batch)
    assert (spoke(shared), shared["marks"]) == ({"token_shared"}, [])
    assert spoke(both(first, batch=batch, token=a.access(NOW, jti="j-2"))) == set()
    # Once the other is over nobody remembers it: see docs/identity.md.
    assert spoke(both(first, b.ended("s", 1, tenant="acme"), batch=batch)) == set()


def test_a_session_may_come_with_its_own_token_again() -> None:
    token = KINDS["oauth"]()
    more = b.event("intent.amended", "s", 1, tenant="acme", intent={"text": "go on"}, attestation=token)
    run = play(declared(token), more, declared(token, id="s/2", seq=2), call(3), demand=DEMANDED)
    assert spoke(run.decisions[-1]) == set()
    assert run.partition.holders == {
        bytes.fromhex(run.decisions[-1]["attested"]["token"]): 1,
        **_credential(run),
    }


def _credential(run: b.Run) -> dict[bytes, int]:
    """What a run's partition holds beside the token: the one credential of the declaration."""
    return {state(run).holds[8:]: 1}


def test_a_stored_partition_still_knows_shared_tokens() -> None:
    first = play(declared(KINDS["oauth"]()), demand=DEMANDED)
    run = b.Run(judge_of(DEMANDED), Partition.load(first.partition.states))
    run.feed([b.record(declared(KINDS["oauth"](), "t"), 1), b.record(call(1, "t"), 2)])
    assert spoke(run.decisions[-1]) == {"token_shared"}


def test_a_token_tied_to_a_key_counts_with_an_event_that_this_key_signed() -> None:
    other = ECKey.generate_key("P-256", auto_kid=True)
    for cnf in ({"jkt": a.BEARER.thumbprint()}, {"jwk": a.BEARER.as_dict(private=False)}):
        made = declared(a.access(NOW, cnf=cnf))
        for event, keys, holds in (
            (sign("acme", made, a.BEARER), [a.BEARER, other], True),
            (sign("acme", made, other), [a.BEARER, other], False),
            (sign("acme", made, a.BEARER), [other], False),
            (sign("acme", made, a.BEARER), [], False),
            (made, [a.BEARER], False),
        ):
            decision = play(event, call(1), keys=keys, demand=DEMANDED).decisions[-1]
            assert (spoke(decision) == set()) is holds
            assert ("undeclared" in decision["marks"]) is not holds
            free = play(event, call(1), keys=keys).decisions[-1]
            assert ("attested" in free) is holds
            assert spoke(free) == (set() if holds else {"signed_by_another"})


# ------------------------------------------------------------------ credentials of another workload


@pytest.mark.parametrize(
    ("agent", "issued_to", "told"),
    [
        (AGENT, THIEF, True),
        (AGENT, a.SUPPORT, False),
        (AGENT, "support-assistant", False),
        (AGENT, "travel-assistant", True),
        ({"id": "support-assistant"}, THIEF, False),  # nobody knows its SPIFFE id
        ({"spiffe_id": a.SUPPORT}, "travel-assistant", False),
        ({}, THIEF, False),
        (AGENT, None, False),
    ],
)
def test_a_credential_that_was_issued_to_another_workload_is_told(
    agent: Mapping[str, Any], issued_to: str | None, told: bool
) -> None:
    lease = {"broker": "vault", "kind": "lease", "value": "lease/1"}
    issued = {**lease, "issued_to": issued_to} if issued_to is not None else lease
    listed = play(declared(None, agent=agent, credentials=[issued]), call(1, credential=lease)).decisions[-1]
    unnamed = play(declared(None, agent=agent, credentials=[issued]), call(1)).decisions[-1]
    by_call = play(declared(None, agent=agent, credentials=[lease]), call(1, credential=issued)).decisions[-1]
    assert {("credential_of_another" in spoke(d)) for d in (listed, unnamed, by_call)} == {told}


def test_where_a_name_is_not_borne_out_the_attested_one_tells_whose_a_credential_may_be() -> None:
    lease = {"broker": "vault", "kind": "lease", "value": "lease/1", "issued_to": a.SUPPORT}
    decision = play(declared(a.svid(NOW, THIEF), credentials=[lease]), call(1)).decisions[-1]
    assert spoke(decision) == {"credential_of_another", "declared_for_another"}


# ------------------------------------------------------------------ secrets, state, laws


def test_of_a_token_nothing_is_published_kept_or_counted_but_its_claims_and_a_hash() -> None:
    secret = {"email": "ada@private.example.com", "jti": "unguessable-4711"}
    tokens = [make(**secret) for make in KINDS.values()]
    tokens += [token for token, _ in WEAK.values() if len(token) > 20]
    for demand in (FREE, DEMANDED):
        for token in tokens:
            run = play(declared(token), call(1), b.ended("s", 2, tenant="acme"), demand=demand, stamp=5)
            told = b"".join([*(o.value + b"".join(v for _, v in o.headers) for o in run.outputs)])
            held = b"".join(run.partition.states.values())
            parts = [part for part in token.split(".") if len(part) > 8]
            for part in (*parts, "private.example.com", "unguessable"):
                assert part.encode() not in told + held
            assert run.outputs, "something was told at all"


def test_a_refused_event_goes_to_quarantine_as_it_came_and_no_reason_holds_its_token() -> None:
    token = KINDS["oauth"]()
    run = play({**declared(token), "time": "yesterday"})
    (output,) = run.outputs
    assert token.encode() in (output.value or b"")  # the record itself, as for every secret on the input
    assert token[:20] not in str(output.headers)


def test_a_state_with_the_longest_names_stays_within_its_bound() -> None:
    agent, user = "a" * 256, "\U0001f600" * 256
    token = a.access(NOW, agent, user, cnf=None)
    event = declared(token, agent={"id": agent, "user": user}, intent={"text": "read " + "word " * 6000})
    run = play(event, *(call(n, arguments={"path": f"{n} {'x' * 3000}"}) for n in range(1, 80)))
    assert state(run).identity is not None
    assert len(dump(state(run))) <= MAX_STATE


def test_an_attestation_that_comes_with_an_amendment_weighs_what_it_takes() -> None:
    long = a.access(NOW, "a" * 256)
    more = b.event("intent.amended", "s", 1, tenant="acme", intent={"text": "go on"}, attestation=long)
    before, after = (
        play(*values) for values in ([declared(None, agent={})], [declared(None, agent={}), more])
    )
    assert state(after).named >= state(before).named + 256 + len(a.IDP)


def test_a_token_that_names_its_session_is_not_remembered() -> None:
    assert len(state(play(declared(KINDS["jwt-svid"](), credentials=[]), call(1))).holds) == 0
    assert len(state(play(declared(KINDS["oauth"](), credentials=[]), call(1))).holds) == 8


def test_what_was_attested_stays_when_a_session_begins_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    from stream.core import take

    def fails(*_: Any) -> None:
        raise RuntimeError("unforeseen")

    judge = judge_of(DEMANDED)
    run = b.Run(judge).feed([b.record(declared(KINDS["oauth"]()), 0)])
    with monkeypatch.context() as patched:
        patched.setattr(take, "observe_result", fails)
        run.feed([b.record(b.returned("s", 1, "s:0", tenant="acme"), 1)])
    run.feed([b.record(call(2), 2)])
    assert run.quarantined == [("internal", 1)]
    assert run.decisions[-1]["attested"]["agent"] == a.SUPPORT
    again = run.feed([b.record(declared(KINDS["oauth"](), "t"), 3), b.record(call(1, "t"), 4)]).decisions[-1]
    assert spoke(again) in (set(), {"token_shared"})


LOG = [
    declared(KINDS["oauth"]()),
    call(1),
    declared(a.svid(NOW, THIEF), "t"),
    call(1, "t"),
    declared(a.svid(NOW, THIEF), "u", agent={}),
    declared(WEAK["another audience too"][0], "v"),
    b.event("intent.amended", "s", 2, tenant="acme", intent={"text": "go on"}, attestation=TOKENS[0]),
    call(3),
    call(1, "u"),
    call(1, "v"),
    b.ended("s", 4, tenant="acme"),
    declared(a.access(NOW), "w"),
    call(1, "w"),
]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 5), max_size=12), st.sampled_from([FREE, DEMANDED, BOUND]))
def test_batches_change_no_byte(cuts: list[int], demand: AttestationDemand) -> None:
    records = [b.record(value, n, n) for n, value in enumerate(LOG)]
    whole = b.Run(judge_of(demand)).feed(records)
    cut = b.Run(judge_of(demand))
    at = 0
    for n in (*cuts, len(records)):
        cut.feed(records[at : at + n])
        cut.partition = Partition.load(cut.partition.states)  # as after a crash
        at += n
    assert cut.outputs == whole.outputs
    assert cut.partition.states == whole.partition.states


# ------------------------------------------------------------------ configuration


def test_a_policy_that_demands_none_keeps_its_digest_and_one_that_does_has_another() -> None:
    text = (Path(__file__).parents[2] / "stream" / "policy.yaml").read_text(encoding="utf-8")
    digests = [
        parse_policy(text + more, "p").digest
        for more in ("", "attestations: {required: false}\n", "attestations: {required: true}\n")
    ]
    assert digests[0] == digests[1] == load_policy().digest
    assert digests[0] != digests[2]


def test_a_demand_without_issuers_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="DRIFTLINE_ATTESTATION_ISSUERS"):
        bootstrap.judge_with(Settings(), release(DEMANDED))
    file = tmp_path / "issuers.json"
    bundle = {**a.public(a.KEYS[a.TRUST_DOMAIN], use="jwt-svid"), "spiffe_sequence": 1}
    (tmp_path / "bundle.json").write_text(json.dumps(bundle), encoding="utf-8")
    svid = {**a.issuers()[0], "jwks": ["bundle.json"]}
    file.write_text(json.dumps({"acme": [svid]}), encoding="utf-8")
    judge = bootstrap.judge_with(Settings(attestation_issuers=file), release(DEMANDED))
    run = b.Run(judge).feed(b.log([declared(KINDS["jwt-svid"]()), call(1)]))
    assert run.decisions[-1]["marks"] == []


def test_a_demand_of_a_tenant_without_an_issuer_is_refused_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "issuers.json"
    file.write_text(json.dumps({"acme": a.issuers()}), encoding="utf-8")
    known = Settings(attestation_issuers=file)
    demand = AttestationDemand(tenants={"acme": True, "other": True, "sandbox": False})
    with pytest.raises(ConfigError, match=r"of 'other', but .*issuers.json names no issuer of theirs"):
        bootstrap.judge_with(known, release(demand))
    bootstrap.judge_with(known, release(AttestationDemand(tenants={"acme": True, "sandbox": False})))
    bootstrap.judge_with(known, release(DEMANDED))
    file.write_text('{"acme": []}', encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"demands attested declarations, but .*issuers.json names no issuer:"
    ):
        bootstrap.judge_with(known, release(DEMANDED))
    bootstrap.judge_with(known, release(FREE))


def test_keys_for_other_purposes_are_left_out_and_old_and_new_ones_held_together() -> None:
    old, new = (ECKey.generate_key("P-256", auto_kid=True) for _ in range(2))
    x509 = {**STRANGER.as_dict(private=False), "use": "x509-svid"}
    parts = [{"keys": [x509, *a.public(old, use="jwt-svid")["keys"]]}, a.public(new, use="jwt-svid")]
    made = SignedAttestations({"acme": [Issuer.model_validate({**a.issuers()[0], "jwks": parts})]}, a.OURS)
    read = [made.read("acme", a.svid(NOW, key=key), b.T0, SKEW_MS) for key in (old, new, STRANGER)]
    assert [isinstance(one, Attested) for one in read] == [True, True, False]


def test_an_issuer_may_have_an_audience_a_typ_and_claims_of_its_own() -> None:
    own = {
        "kind": "oauth",
        "issuer": a.IDP,
        "jwks": a.public(a.KEYS[a.IDP]),
        "audience": "driftline",
        "typ": "JWT",
        "agent": ["workload"],
        "session": "sid",
    }
    made = SignedAttestations({"acme": [Issuer.model_validate(own)]}, a.OURS)
    token = a.access(NOW, audience="driftline", header={"typ": "JWT"}, act=None, workload="payer", sid="s")
    read = made.read("acme", token, b.T0, SKEW_MS)
    assert isinstance(read, Attested)
    assert (read.agent, read.principal, read.session) == ("payer", "u-1", "s")
    assert (
        made.read("acme", a.access(NOW, header={"typ": "JWT"}, workload="payer"), b.T0, SKEW_MS) == "audience"
    )
    alone = SignedAttestations({"acme": [Issuer.model_validate({**own, "agent": ["sub"]})]}, a.OURS)
    read = alone.read("acme", token, b.T0, SKEW_MS)
    assert isinstance(read, Attested)
    assert (read.agent, read.principal) == ("u-1", None)


SVID, OAUTH = a.issuers()[0], a.issuers()[1]
EDDSA = OKPKey.generate_key("Ed25519", auto_kid=True)
WRONG: dict[str, tuple[Any, str]] = {
    "no JSON": ("{", "no JSON: .* at line 1, column "),
    "a list": ([], "expected"),
    "no list": ({"acme": {}}, "expected"),
    "no issuer": ({"acme": [{}]}, "acme.0.kind"),
    "a field that is none": ({"acme": [{**OAUTH, "agnet": ["x"]}]}, "acme.0.agnet"),
    "a kind that is none": ({"acme": [{**OAUTH, "kind": "saml"}]}, "acme.0.kind"),
    "an audience with a session": ({"acme": [{**OAUTH, "audience": "x#y"}]}, "acme.0.audience"),
    "twice": ({"acme": [OAUTH, OAUTH]}, "twice"),
    "no trust domain": ({"acme": [{**SVID, "issuer": "https://spire.example.com"}]}, "trust domain"),
    "an svid's agent elsewhere": ({"acme": [{**SVID, "agent": ["x"]}]}, "leave agent away"),
    "an svid's typ": ({"acme": [{**SVID, "typ": "JWT"}]}, "kind oauth alone"),
    "no keys": ({"acme": [{**OAUTH, "jwks": {}}]}, "no JWK set"),
    "no object": ({"acme": [{**OAUTH, "jwks": {"keys": ["x"]}}]}, "no JWK set"),
    "a file that is not there": (
        {"acme": [{**OAUTH, "jwks": "gone.json"}]},
        "keys gone.json: cannot be read: No such file",
    ),
    "keys of another use alone": (
        {"acme": [{**SVID, "jwks": a.public(STRANGER, use="sig")}]},
        'at least one key with "use": "jwt-svid"; the keys there have use \'sig\'$',
    ),
    "no key at all": ({"acme": [{**OAUTH, "jwks": {"keys": []}}]}, "or without any; there are no keys$"),
    "keys of no use": ({"acme": [{**SVID, "jwks": a.public(STRANGER)}]}, "the keys there have use none$"),
    "no kid": (
        {"acme": [{**OAUTH, "jwks": {"keys": [ECKey.generate_key("P-256").as_dict(private=False)]}}]},
        r"keys\[0\]: a key without a kid",
    ),
    "one kid twice": (
        {"acme": [{**OAUTH, "jwks": [a.public(STRANGER, kid="k"), a.public(a.BEARER, kid="k")]}]},
        "key 'k': two keys with the kid 'k'; keep one",
    ),
    "private": (
        {"acme": [{**OAUTH, "jwks": {"keys": [STRANGER.as_dict(private=True)]}}]},
        f"key '{STRANGER.kid}': a private key; give the public one",
    ),
    "another algorithm": (
        {"acme": [{**OAUTH, "jwks": a.public(a.KEYS[a.IDP], alg="PS256")}]},
        "alg 'PS256' is an algorithm that is not read; have it sign with RS256 or ES256",
    ),
    "a secret": (
        {"acme": [{**OAUTH, "jwks": {"keys": [{"kty": "oct", "kid": "k", "k": "c2VjcmV0"}]}}]},
        "key 'k': kty is 'oct'; expected RSA",
    ),
    "another curve": (
        {"acme": [{**OAUTH, "jwks": a.public(ECKey.generate_key("P-384", auto_kid=True), kid="k")}]},
        "key 'k': its curve is 'P-384'; expected RSA of 2048 bits, P-256",
    ),
    "EdDSA in a bundle": ({"acme": [{**SVID, "jwks": a.public(EDDSA, use="jwt-svid")}]}, "RS256 or ES256"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_file_of_issuers_that_is_wrong_is_refused_at_the_start(what: str, tmp_path: Path) -> None:
    document, says = WRONG[what]
    file = tmp_path / "issuers.json"
    file.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    with pytest.raises(ConfigError, match=says):
        load_issuers(file, a.OURS)


@pytest.mark.filterwarnings("ignore:Key size")
@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"n": "?"}, "it cannot be read: its members make no key of its kind"),
        ({"e": None}, "it cannot be read: .*'e' "),
        ({"n": "w" * 171}, "1024 bits; expected RSA of 2048 bits"),
        ({"kty": None}, "kty is missing; expected RSA"),
        ({"kty": "EC"}, "its curve is missing; expected RSA"),
        ({"kty": "EC", "crv": "Ed25519"}, "it cannot be read"),
        ({"d": "c2VjcmV0"}, "it cannot be read|a private key"),
    ],
)
def test_a_key_that_is_refused_is_named_by_its_kid_with_the_reason_and_nothing_else_of_it(
    change: Mapping[str, Any], why: str, tmp_path: Path
) -> None:
    entry = {**RSAKey.generate_key(2048).as_dict(private=False), "kid": "2026-03", **change}
    file = tmp_path / "issuers.json"
    file.write_text(json.dumps({"acme": [{**OAUTH, "jwks": {"keys": [entry]}}]}), encoding="utf-8")
    with pytest.raises(ConfigError, match=f"of tenant 'acme': key '2026-03': (?:{why})") as refused:
        load_issuers(file, a.OURS)
    for member in ("n", "d"):
        value = str(entry.get(member))
        assert len(value) < 4 or value not in str(refused.value)
