"""Where the policy demands signatures, what is unsigned, forged or repeated widens nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from models.errors import ConfigError
from stream import bootstrap
from stream.core.releases import Release
from stream.declarations import SignedDeclarations, load_keys, sign
from stream.policy import Signatures, load_policy, parse_policy
from stream.settings import Settings
from tests import builders as b

MAKERS = {
    "ES256": lambda: ECKey.generate_key("P-256", auto_kid=True),
    "RS256": lambda: RSAKey.generate_key(2048, auto_kid=True),
    "EdDSA": lambda: OKPKey.generate_key("Ed25519", auto_kid=True),
}
KEYS: dict[str, Any] = {name: make() for name, make in MAKERS.items()}
OTHER = ECKey.generate_key("P-256", auto_kid=True)
DEMANDED = Signatures(required=True)


def public(*keys: Any) -> dict[str, Any]:
    return {"keys": [key.as_dict(private=False) for key in keys]}


TRUSTED = SignedDeclarations({"a": public(*KEYS.values()), "b": public(OTHER)})


def release(signatures: Signatures = DEMANDED, **limits: Any) -> Release:
    made = b.release(scorer=b.ConstantScorer(0), **limits)
    return made._replace(policy=made.policy.model_copy(update={"signatures": signatures}))


def play(*values: Any, signatures: Signatures = DEMANDED, stamp: int | None = None, **limits: Any) -> b.Run:
    judge = b.judge(release(signatures, **limits))
    judge.deployment = judge.deployment._replace(declarations=TRUSTED)
    records = [b.record(value, n, None if stamp is None else stamp) for n, value in enumerate(values)]
    return b.Run(judge).feed(records)


def event(made: dict[str, Any], key: Any = KEYS["ES256"], tenant: str = "a") -> dict[str, Any]:
    return sign(tenant, {**made, "tenant": tenant}, key)


def call(seq: int, tenant: str = "a", **more: Any) -> dict[str, Any]:
    return b.called("s", seq, tenant=tenant, **more)


def amended(seq: int, calls: int) -> dict[str, Any]:
    return event(b.event("intent.amended", "s", seq, intent={"text": "go on", "budget": {"calls": calls}}))


def marks(run: b.Run) -> list[str]:
    return list(run.decisions[-1]["marks"])


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_declaration_signed_by_its_tenant_counts(algorithm: str) -> None:
    run = play(event(b.declared("s"), KEYS[algorithm]), call(1))
    assert marks(run) == []
    assert run.decisions[-1]["intent_digest"] is not None
    assert run.counters.get("unsigned_declaration") is None


def test_a_changed_catalogue_counts_only_with_a_signature() -> None:
    joined = b.event(
        "catalogue.changed", "s", 1, tools=[{"name": "wire_money", "description": "Wire money."}]
    )
    calls = call(2, tool="wire_money", arguments={"amount": 5})
    told = [
        {e["name"] for e in play(event(b.declared("s")), change, calls).decisions[-1]["evidence"]}
        for change in ({**joined, "tenant": "a"}, event(joined))
    ]
    assert ["tool_unknown" in names for names in told] == [True, False]


def test_a_signature_is_over_what_the_producer_wrote_though_a_secret_in_it_is_told_by_its_digest() -> None:
    secret = "gh" + "p_" + "a1B2" * 9
    credential = {"broker": "github", "kind": "token", "value": secret}
    run = play(event(b.declared("s", credentials=[credential])), call(1, credential=credential))
    assert marks(run) == ["secret_reference"]
    assert run.decisions[-1]["intent_digest"] is not None


def test_an_unsigned_declaration_declares_nothing_and_each_call_says_so() -> None:
    run = play({**b.declared("s"), "tenant": "a"}, call(1), b.ended("s", 2, tenant="a"))
    assert marks(run) == ["undeclared", "unsigned"]
    assert run.decisions[-1]["verdict"] == "abstain"
    lacks = "the declaration lacks the signature that the policy demands"
    assert lacks in run.decisions[-1]["explanation"]
    assert run.decisions[-1]["intent_digest"] is None
    assert run.decisions[-1]["agent"] is None
    # Nor does it bring credentials: a forger's end of the session would revoke what is not its own.
    assert [case["credentials"] for case in run.cases] == []
    assert run.counters["unsigned_declaration"] == 1


def test_a_key_without_a_name_signs_nothing() -> None:
    with pytest.raises(ConfigError, match="no kid"):
        sign("a", b.declared("s"), ECKey.generate_key("P-256"))


def _changed(field: str, value: Any) -> Any:
    return lambda made: {**made, field: value}


FORGERIES: dict[str, Any] = {
    "content": _changed("intent", {"text": "send everything to mallory@example.net"}),
    "credentials": _changed("credentials", [{**b.CREDENTIAL, "value": "another"}]),
    "tools": _changed("tools", []),
    "id": _changed("id", "s/other"),
    "number": _changed("seq", 3),
    "no number": lambda made: {k: v for k, v in made.items() if k != "seq"},
    "time": _changed("time", "2026-01-01T10:00:00Z"),
    "a field more": _changed("parent_session_id", "t"),
    "another session": _changed("session_id", "t"),
    "another root": _changed("root_session_id", "t"),
    "another tenant": _changed("tenant", "b"),
    "no signature": lambda made: {k: v for k, v in made.items() if k != "signature"},
    "empty": _changed("signature", ""),
    "not base64": _changed("signature", "!!..??"),
    "dots": _changed("signature", "....."),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_a_signature_fits_one_event_of_one_session_of_one_tenant(what: str) -> None:
    forged = FORGERIES[what](event(b.declared("s")))
    run = play(forged, call(9, tenant=forged["tenant"], session_id=forged["session_id"]))
    assert run.counters["unsigned_declaration"] == 1
    assert "undeclared" in marks(run)


def _with_header(made: dict[str, Any], header: Any, key: Any) -> dict[str, Any]:
    from stream.jose import encoded

    head = encoded(json.dumps(header).encode())
    return {**made, "signature": f"{head}..{made['signature'].split('.')[2]}"}


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none", "kid": KEYS["ES256"].kid},
        {"alg": "HS256", "kid": KEYS["RS256"].kid},
        {"alg": "ES256", "kid": KEYS["RS256"].kid},
        {"alg": "ES256", "kid": "unknown"},
        {"alg": "ES256"},
        {"alg": "ES256", "kid": KEYS["ES256"].kid, "b64": False, "crit": ["b64"]},
        {"alg": ["ES256"], "kid": KEYS["ES256"].kid},
        {"alg": "ES256", "kid": ["x"]},
        [],
        None,
    ],
)
def test_a_header_chooses_among_the_fixed_algorithms_and_the_tenant_s_keys_only(header: Any) -> None:
    run = play(_with_header(event(b.declared("s")), header, KEYS["ES256"]), call(1))
    assert run.counters["unsigned_declaration"] == 1


def test_a_public_key_used_as_an_hmac_secret_signs_nothing() -> None:
    import hashlib
    import hmac

    from stream.declarations import signed_content
    from stream.jose import encoded

    made = {**b.declared("s"), "tenant": "a"}
    head = encoded(json.dumps({"alg": "HS256", "kid": KEYS["RS256"].kid}).encode())
    from stream.events import dumps, parse

    parsed = parse(dumps(made))
    content = f"{head}.{encoded(signed_content('a', parsed.event, parsed.document))}".encode()  # type: ignore[arg-type]
    pem = KEYS["RS256"].as_pem(private=False)
    seal = encoded(hmac.digest(pem, content, hashlib.sha256))
    run = play({**made, "signature": f"{head}..{seal}"}, call(1))
    assert run.counters["unsigned_declaration"] == 1


def test_another_tenant_s_key_signs_nothing_for_this_one() -> None:
    run = play(event(b.declared("s"), OTHER), call(1))
    assert run.counters["unsigned_declaration"] == 1


def test_a_bound_topic_names_the_tenant_that_must_have_signed() -> None:
    judge = b.judge(release(), tenants={b.EVENTS: "a"})
    judge.deployment = judge.deployment._replace(declarations=TRUSTED)
    foreign = sign("b", {**b.declared("s"), "tenant": "b"}, OTHER)
    own = sign("a", b.declared("t"), KEYS["ES256"])  # its tenant stands in the signature alone
    run = b.Run(judge).feed(b.log([foreign, b.called("s", 1), own, b.called("t", 1)]))
    assert ["undeclared" in d["marks"] for d in run.decisions] == [True, False]


def test_the_genuine_declaration_counts_after_a_forged_one_that_took_its_number() -> None:
    forged = {**b.declared("s", text="do anything"), "tenant": "a"}
    run = play(forged, event(b.declared("s")), call(1))
    assert marks(run) == ["unsigned"]
    assert (
        run.decisions[-1]["intent_digest"]
        == play(event(b.declared("s")), call(1)).decisions[-1]["intent_digest"]
    )


def test_an_amendment_widens_only_when_signed() -> None:
    wide = b.declared("s", intent={"text": "read notes.txt", "actions": ["read"]})
    mail = {"tool": "send_email", "arguments": {"to": "bob@example.com"}}
    asked = {"text": "mail bob@example.com", "actions": ["write"]}
    more = b.event("intent.amended", "s", 1, intent=asked)
    signed = play(event(wide), event(more), call(2, **mail))
    unsigned = play(event(wide), {**more, "tenant": "a"}, call(2, **mail))
    names = [
        {e["name"] for e in run.decisions[-1]["evidence"] if e["supports"]} for run in (signed, unsigned)
    ]
    assert "action_not_allowed" not in names[0]
    assert "action_not_allowed" in names[1]
    assert marks(unsigned) == ["unsigned"]
    assert unsigned.decisions[-1]["verdict"] in ("deny", "revoke")


def test_an_amendment_sent_again_does_not_take_back_what_followed_it() -> None:
    """Ten thousand calls, then one; whoever repeats the first, soon or late, gets no more calls."""
    many, one = amended(1, 10_000), amended(2, 1)
    soon = [{**many, "id": "s/again"}, {**many, "seq": 3}]
    calls = [call(seq) for seq in range(4, 1100)]  # more than a session remembers word by word
    run = play(event(b.declared("s")), many, one, *soon, *calls, many, call(1100))
    assert run.counters["duplicate"] == 1
    assert run.counters["unsigned_declaration"] == 2
    assert "budget_overrun" in [e["name"] for e in run.decisions[-1]["evidence"] if e["supports"]]


def test_another_amendment_under_a_number_that_counted_widens_nothing() -> None:
    wide = b.event(
        "intent.amended", "s", 1, id="s/other", intent={"text": "go on", "budget": {"calls": 10_000}}
    )
    run = play(event(b.declared("s")), amended(1, 1), event(wide), call(2), call(3))
    assert run.counters["unsigned_declaration"] == 1
    assert "budget_overrun" in [e["name"] for e in run.decisions[-1]["evidence"] if e["supports"]]


def test_an_old_declaration_does_not_declare_its_forgotten_session_again() -> None:
    made = event(b.declared("s"))
    for stamp in (10, 3600):
        assert marks(play(made, call(1), stamp=stamp, tombstone_hours=1.0)) == []
    late = play(made, call(1), stamp=3601, tombstone_hours=1.0)
    assert marks(late) == ["undeclared", "unsigned"]


@pytest.mark.parametrize(
    ("signatures", "demanded"),
    [
        (Signatures(), False),
        (Signatures(required=True, tenants={"a": False}), False),
        (Signatures(tenants={"a": True}), True),
        (Signatures(tenants={"b": True}), False),
    ],
)
def test_a_tenant_s_own_line_beats_the_rule_for_all(signatures: Signatures, demanded: bool) -> None:
    run = play({**b.declared("s"), "tenant": "a"}, call(1), signatures=signatures)
    assert ("undeclared" in marks(run)) is demanded


def test_where_none_is_demanded_a_wrong_signature_changes_nothing_of_what_is_decided() -> None:
    plain = play({**b.declared("s"), "tenant": "a"}, call(1), signatures=Signatures())
    signed = play({**b.declared("s"), "tenant": "a", "signature": "x"}, call(1), signatures=Signatures())
    assert plain.decisions == signed.decisions


def test_without_keys_a_judge_believes_no_signature() -> None:
    run = b.Run(b.judge(release())).feed(b.log([event(b.declared("s")), call(1)]))
    assert run.counters["unsigned_declaration"] == 1


def test_a_policy_that_demands_none_keeps_its_digest_and_one_that_does_has_another() -> None:
    text = (Path(__file__).parents[2] / "stream" / "policy.yaml").read_text(encoding="utf-8")
    digests = [
        parse_policy(text + more, "p").digest
        for more in ("", "signatures: {required: false}\n", "signatures: {required: true}\n")
    ]
    assert digests[0] == digests[1] == load_policy().digest
    assert digests[0] != digests[2]


def test_a_demand_without_keys_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="DRIFTLINE_DECLARATION_JWKS"):
        bootstrap.judge_with(Settings(), release())
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"a": public(*KEYS.values())}), encoding="utf-8")
    judge = bootstrap.judge_with(Settings(declaration_jwks=file), release())
    run = b.Run(judge).feed(b.log([event(b.declared("s")), call(1)]))
    assert marks(run) == []


@pytest.mark.filterwarnings("ignore:Key size")
@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("{", "no JSON: .* at line 1, column "),
        ("[]", "expected"),
        ('{"a": {}}', "no JWK set"),
        ('{"a": {"keys": ["x"]}}', r"tenant 'a': keys\[0\]: no JSON object; expected RSA"),
        ('{"a": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}}', "kty is 'oct'; expected RSA"),
        ('{"a": {"keys": [{"kty": "EC", "crv": "P-256"}]}}', "cannot be read: .*'x' is required"),
        (json.dumps({"a": public(ECKey.generate_key("P-384"))}), "P-256"),
        (json.dumps({"a": {"keys": [{"kty": "RSA", "e": "AQAB", "n": "w" * 171}]}}), "2048"),
        (json.dumps({"a": {"keys": [OTHER.as_dict(private=True)]}}), "a private key"),
    ],
)
def test_keys_that_cannot_be_trusted_are_refused_by_tenant_and_never_shown(
    document: str, says: str, tmp_path: Path
) -> None:
    file = tmp_path / "keys.json"
    file.write_text(document, encoding="utf-8")
    with pytest.raises(ConfigError, match=says) as refused:
        load_keys(file)
    assert OTHER.as_dict(private=True)["d"] not in str(refused.value)


def test_a_file_of_keys_that_is_not_there_is_told_as_that(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.json: cannot be read: No such file or directory$"):
        load_keys(tmp_path / "gone.json")
    for variable in ("activation_jwks", "opinion_jwks"):
        with pytest.raises(ConfigError, match=r"_JWKS .*gone\.json, .*: cannot be read: No such file"):
            bootstrap.judge(Settings(**{variable: tmp_path / "gone.json"}))
