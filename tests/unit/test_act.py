"""act: a case becomes an alert and signed tokens, the same ones each time, and nothing is lost."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import KeySet

from models.contracts import Case, Signed
from stream.events import ALERTS, CASES, CORE, ENDS, QUARANTINE, REVOCATIONS, RISK, Output, Record, dumps
from stream.outbound.act import Actor, plan
from stream.outbound.claims import CREDENTIALS_RELEASED, RISK_LEVEL_CHANGE, SESSION_REVOKED
from stream.outbound.keys import SigningKeys

SUBJECT = {
    "format": "complex",
    "session": {"format": "opaque", "id": "s-1"},
    "tenant": {"format": "opaque", "id": "acme"},
}
REVOKE = {
    "iss": "https://driftline.example.com/ssf",
    "jti": "j-1",
    "iat": 1_767_258_000,
    "aud": "https://vault.example.com/set",
    "txn": "case-1",
    "sub_id": SUBJECT,
    "events": {
        SESSION_REVOKED: {
            "event_timestamp": 1_767_258_000,
            "initiating_entity": "policy",
            "reason_admin": {"en": "drift"},
            "driftline_credentials": [{"broker": "vault", "kind": "lease", "value": "1", "scope": None}],
        }
    },
}
LEVEL = {
    **REVOKE,
    "jti": "j-2",
    "events": {
        RISK_LEVEL_CHANGE: {
            "principal": "SESSION",
            "current_level": "HIGH",
            "event_timestamp": 1_767_258_000,
        }
    },
}


RELEASED = {
    **REVOKE,
    "jti": "j-3",
    "events": {
        CREDENTIALS_RELEASED: {
            "event_timestamp": 1_767_258_000,
            "initiating_entity": "system",
            "reason_admin": {"en": "over"},
            "driftline_released": [{"broker": "vault", "kind": "lease", "value": "1", "scope": None}],
        }
    },
}


def a_case(**changes: Any) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "record_id": "case-1/2",
        "case_id": "case-1",
        "change": 2,
        "kind": "standing",
        "cause": "drift",
        "tenant": "acme",
        "root_session_id": "s-1",
        "session_id": "s-1",
        "time": "2026-01-01T09:00:00.000Z",
        "before": "alert",
        "after": "contained",
        "reason": "customer rows to an outside host",
        "verdict": "revoke",
        "score": 0.91,
        "families": ["provenance"],
        "agent": None,
        "user": None,
        "credentials": [],
        "path": [],
        "enforced": True,
        "inherited_from": None,
        "finding": {"class_uid": 2004, "finding_info": {"uid": "case-1"}},
        "sets": [{"topic": REVOCATIONS, "claims": REVOKE}, {"topic": RISK, "claims": LEVEL}],
        "release": "bundled",
        "policy": "p-1",
        "core": "1",
        **changes,
    }


def a_record(value: Any, key: bytes | None = b"acme", offset: int = 7) -> Record:
    raw = value if value is None or isinstance(value, bytes) else dumps(value)
    return Record(CASES, 3, offset, 1_767_258_000_000, "append", key, (), raw)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> SigningKeys:
    return SigningKeys(state_dir=tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="module")
def actor(keys: SigningKeys) -> Actor:
    return Actor(keys)


def published(keys: SigningKeys) -> KeySet:
    members: Any = keys.jwks()
    return KeySet.import_key_set(members)


def topics(outputs: Sequence[Output]) -> list[str]:
    return [output.topic for output in outputs]


def test_act_on_a_case_sends_its_finding_and_its_tokens_keyed_by_tenant(actor: Actor) -> None:
    outputs = actor.act([a_record(a_case())])
    assert topics(outputs) == [ALERTS, REVOCATIONS, RISK]
    assert {output.key for output in outputs} == {b"acme"}


def test_act_sends_the_finding_as_the_case_carries_it(actor: Actor) -> None:
    (alert,) = [one for one in actor.act([a_record(a_case())]) if one.topic == ALERTS]
    assert orjson.loads(alert.value) == a_case()["finding"]


def test_act_sends_tokens_whose_claims_are_those_of_the_case(actor: Actor, keys: SigningKeys) -> None:
    for output, claims in zip(actor.act([a_record(a_case())])[1:], (REVOKE, LEVEL), strict=True):
        opened = jws.deserialize_compact(output.value, published(keys), algorithms=["RS256"])
        assert orjson.loads(opened.payload) == claims
        assert output.headers == (("content-type", b"application/secevent+jwt"), ("core", CORE.encode()))


def test_act_twice_on_a_case_gives_equal_outputs(actor: Actor, keys: SigningKeys) -> None:
    record = a_record(a_case())
    assert actor.act([record]) == actor.act([record]) == Actor(keys).act([record])


def test_act_on_a_batch_gives_what_one_by_one_gives(actor: Actor) -> None:
    records = [a_record(a_case(case_id="case-2", sets=[])), a_record(b"{"), a_record(a_case())]
    assert actor.act(records) == [output for record in records for output in actor.act([record])]


def test_act_in_shadow_sends_alert_and_risk_but_no_revocation(actor: Actor) -> None:
    assert topics(actor.act([a_record(a_case(enforced=False))])) == [ALERTS, RISK]


def test_act_on_the_end_of_a_session_sends_its_revocation_and_no_alert(actor: Actor) -> None:
    case = a_case(kind="ended", cause="ended", finding=None, sets=[{"topic": REVOCATIONS, "claims": REVOKE}])
    assert topics(actor.act([a_record(case)])) == [REVOCATIONS]


def test_plan_of_an_enforced_case_is_all_that_it_carries() -> None:
    case = Case.model_validate(a_case())
    assert plan(case) == [
        Signed(topic="agent.revocations.v1", claims=REVOKE),
        Signed(topic="agent.risk.v1", claims=LEVEL),
    ]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, b"decode"),
        (b"", b"decode"),
        (b"{", b"decode"),
        (b"\xff\xfe", b"decode"),
        (b'{"score": NaN}', b"decode"),
        (b"[]", b"schema"),
        (b"{}", b"schema"),
        (a_case(score="high"), b"schema"),
        (a_case(sets=[{"topic": "agent.events.v1", "claims": REVOKE}]), b"schema"),
        (a_case(schema_version=2), b"version"),
        (a_case(tenant="other"), b"key"),
    ],
)
def test_act_on_a_malformed_case_puts_it_into_quarantine_as_it_came(
    actor: Actor, value: Any, reason: bytes
) -> None:
    record = a_record(value)
    (output,) = actor.act([record])
    assert (output.topic, output.key, output.value) == (QUARANTINE, b"acme", record.value or b"")
    headers = dict(output.headers)
    assert headers.pop("detail")
    told = {"reason": reason, "topic": CASES.encode(), "partition": b"3", "offset": b"7"}
    assert headers == {**told, "core": CORE.encode()}


def test_act_on_a_case_with_a_field_it_does_not_know_acts_all_the_same(actor: Actor) -> None:
    assert topics(actor.act([a_record(a_case(newer="field"))])) == [ALERTS, REVOCATIONS, RISK]


WILDCARD = {**REVOKE, "sub_id": {"format": "complex", "tenant": {"format": "opaque", "id": "acme"}}}
OTHER_SESSION = {**REVOKE, "sub_id": {**SUBJECT, "session": {"format": "opaque", "id": "s-2"}}}
OTHER_TENANT = {**REVOKE, "sub_id": {**SUBJECT, "tenant": {"format": "opaque", "id": "globex"}}}


@pytest.mark.parametrize(
    "claims",
    [
        WILDCARD,
        OTHER_SESSION,
        OTHER_TENANT,
        {**REVOKE, "txn": "case-2"},
        {**REVOKE, "exp": 1},
        {**REVOKE, "padding": "x" * 70_000},
    ],
    ids=["wildcard", "other session", "other tenant", "other case", "forbidden claim", "too large"],
)
def test_act_never_signs_claims_that_reach_beyond_the_case(actor: Actor, claims: dict[str, Any]) -> None:
    case = a_case(sets=[{"topic": REVOCATIONS, "claims": claims}, {"topic": RISK, "claims": LEVEL}])
    outputs = actor.act([a_record(case)])
    assert topics(outputs) == [ALERTS, RISK, QUARANTINE]
    assert dict(outputs[-1].headers)["reason"] == b"schema"


@pytest.mark.parametrize(
    ("topic", "claims"), [(REVOCATIONS, RELEASED), (RISK, RELEASED), (ENDS, REVOKE), (ENDS, LEVEL)]
)
def test_act_signs_no_release_for_another_topic_and_nothing_else_for_its_own(
    actor: Actor, topic: str, claims: dict[str, Any]
) -> None:
    case = a_case(sets=[], end_sets=[{"topic": topic, "claims": claims}])
    outputs = actor.act([a_record(case)])
    assert topics(outputs) == [ALERTS, QUARANTINE]
    assert f"does not belong on {topic}" in dict(outputs[-1].headers)["detail"].decode()


@pytest.mark.parametrize("events", [None, 5, "x", [], {}])
def test_events_of_another_shape_keep_the_rest_of_a_case_from_nobody(actor: Actor, events: Any) -> None:
    forged = {"topic": ENDS, "claims": {**RELEASED, "events": events}}
    outputs = actor.act([a_record(a_case(end_sets=[forged]))])
    assert topics(outputs) == [ALERTS, REVOCATIONS, RISK, QUARANTINE]
    assert dict(outputs[-1].headers)["reason"] == b"schema"


@pytest.mark.parametrize("field", ["sets", "end_sets"])
@pytest.mark.parametrize(("topic", "claims"), [(REVOCATIONS, REVOKE), (ENDS, RELEASED)])
def test_shadow_tells_brokers_nothing_in_whichever_list_it_stands(
    field: str, topic: str, claims: dict[str, Any]
) -> None:
    case = a_case(**{"sets": [], field: [{"topic": topic, "claims": claims}], "enforced": False})
    assert plan(Case.model_validate(case)) == []


def test_act_sends_what_an_end_released_behind_the_rest(actor: Actor) -> None:
    case = a_case(end_sets=[{"topic": ENDS, "claims": RELEASED}])
    assert topics(actor.act([a_record(case)])) == [ALERTS, REVOCATIONS, RISK, ENDS]


@given(value=st.binary(max_size=200))
def test_act_on_any_bytes_gives_one_quarantined_record(actor: Actor, value: bytes) -> None:
    assert topics(actor.act([a_record(value)])) == [QUARANTINE]


def test_act_in_another_process_with_the_same_key_gives_equal_outputs(tmp_path: Path) -> None:
    first, second = (Actor(SigningKeys(state_dir=tmp_path)) for _ in range(2))
    assert first.act([a_record(a_case())]) == second.act([a_record(a_case())])
