"""The circuit breaker: beyond a budget revocations are held, and the same log always leads to the same ones."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from models.errors import SchemaError
from stream.events import ALERTS, CASES, HELD, QUARANTINE, REVOCATIONS, RISK, Output, Record, dumps, rfc3339
from stream.outbound.act import Actor
from stream.outbound.breaker import MAX_HELD, Breaker, Held, Resolution
from stream.outbound.claims import SESSION_REVOKED
from stream.outbound.keys import SigningKeys
from stream.outbound.ocsf import problems
from stream.resolutions import SignedResolutions, sign
from stream.shell.outputs import claims_of

NINE_MS, MINUTE_MS = 1_767_258_000_000, 60_000
AUDIENCE = "https://driftline.acme.test/ssf"
KEY = ECKey.generate_key("P-256", {"kid": "on-call"})
KEYS = SigningKeys(state_dir=Path(tempfile.mkdtemp(prefix="driftline-keys-")))
BUDGET = {"window_minutes": 60.0, "agent": 2, "tenant": 3}


def rulings() -> SignedResolutions:
    return SignedResolutions({"keys": [KEY.as_dict(private=False)]}, AUDIENCE)


def a_case(
    n: int, minute: float = 0, agent: str = "a", tenant: str = "acme", **changes: Any
) -> dict[str, Any]:
    """Case number `n`: drift revokes session s-n of an agent."""
    time = rfc3339(int(NINE_MS + minute * MINUTE_MS))
    claims = {
        "iss": AUDIENCE,
        "jti": f"j-{tenant}-{n}",
        "iat": NINE_MS // 1000,
        "aud": "https://sso.acme.test/set",
        "txn": f"case-{n}",
        "sub_id": {
            "format": "complex",
            "session": {"format": "opaque", "id": f"s-{n}"},
            "tenant": {"format": "opaque", "id": tenant},
        },
        "events": {
            SESSION_REVOKED: {
                "event_timestamp": NINE_MS // 1000,
                "initiating_entity": "policy",
                "reason_admin": {"en": "drift"},
                "driftline_credentials": [{"broker": "sso", "kind": "sid", "value": str(n), "scope": None}],
            }
        },
    }
    return {
        "schema_version": 1,
        "record_id": f"case-{n}/1",
        "case_id": f"case-{n}",
        "change": 1,
        "kind": "standing",
        "cause": "drift",
        "tenant": tenant,
        "root_session_id": f"s-{n}",
        "session_id": f"s-{n}",
        "time": time,
        "before": "quiet",
        "after": "contained",
        "reason": "pays whom nobody named",
        "verdict": "revoke",
        "score": 0.9,
        "families": ["provenance"],
        "agent": agent,
        "user": None,
        "credentials": [{"broker": "sso", "kind": "sid", "value": str(n), "scope": None}],
        "path": [],
        "enforced": True,
        "inherited_from": None,
        "finding": None,
        "budget": BUDGET,
        "sets": [{"topic": REVOCATIONS, "claims": claims}],
        "release": "bundled",
        "policy": "p-1",
        "core": "1",
        **changes,
    }


def a_ruling(breaker: str, action: str = "send", tenant: str = "acme", by: str = "ada") -> dict[str, Any]:
    token = sign(Resolution(tenant, breaker, action, by), AUDIENCE, KEY)
    return {"type": "held.resolved", "tenant": tenant, "token": token}


def log(*documents: dict[str, Any]) -> list[Record]:
    """The documents as records of one partition of the case log."""
    return [
        Record(CASES, 3, offset, NINE_MS + offset, "append", document["tenant"].encode(), (), dumps(document))
        for offset, document in enumerate(documents)
    ]


def told(outputs: Sequence[Output]) -> list[str]:
    """Outputs in a word each: the number of the session that a revocation names, or what is held, opened, closed."""
    words = []
    for output in outputs:
        if output.topic == REVOCATIONS:
            words.append("revoke " + str(claims_of(output.value)["sub_id"]["session"]["id"]))
        elif output.topic == HELD:
            headers = dict(output.headers)
            held = "ruled" if "action" in headers else "hold " + orjson.loads(output.value)["session_id"]
            words.append(held)
        elif output.topic == ALERTS:
            words.append(orjson.loads(output.value)["finding_info"]["title"])
        else:
            words.append(output.topic)
    return words


class Stage:
    """What the act stage does around an actor: what stands as held is read where a ruling is to be carried out."""

    def __init__(self, actor: Actor, standing: Sequence[Output] = ()) -> None:
        self.actor, self.standing = actor, list(standing)

    def act(self, records: Sequence[Record]) -> list[Output]:
        outputs = self.actor.act(records, self.held())
        self.standing += [output for output in outputs if output.topic == HELD]
        return outputs

    def held(self) -> list[Record]:
        return [
            Record(HELD, 3, n, 0, "create", out.key, out.headers, out.value)
            for n, out in enumerate(self.standing)
        ]


def breakers(outputs: Sequence[Output]) -> list[str]:
    return list(dict.fromkeys(dict(o.headers)["breaker"].decode() for o in outputs if o.topic == HELD))


def test_beyond_the_budget_of_a_tenant_revocations_are_held_and_one_alarm_says_so() -> None:
    outputs = Actor(KEYS).act(log(*(a_case(n, agent=f"a{n}") for n in range(5))))
    assert told(outputs) == [
        *("revoke s-0", "revoke s-1", "revoke s-2"),
        *("Revocations are held", "hold s-3", "hold s-4"),
    ]


def test_the_budget_of_an_agent_holds_that_agent_alone() -> None:
    cases = [a_case(0, agent="a"), a_case(1, agent="a"), a_case(2, agent="a"), a_case(3, agent="b")]
    budget = {**BUDGET, "tenant": None}
    outputs = Actor(KEYS).act(log(*({**case, "budget": budget} for case in cases)))
    assert told(outputs) == ["revoke s-0", "revoke s-1", "Revocations are held", "hold s-2", "revoke s-3"]


def test_the_alarm_is_a_finding_by_the_official_schema_and_so_is_its_end() -> None:
    records = log(*(a_case(n, agent=f"a{n}") for n in range(4)))
    stage = Stage(Actor(KEYS, rulings().read))
    opened = stage.act(records)
    (breaker,) = breakers(opened)
    closed = stage.act(log(*([a_case(0)] * 9), a_ruling(breaker))[-1:])
    for output in (*opened, *closed):
        if output.topic == ALERTS:
            assert problems(orjson.loads(output.value)) == []
    assert told(closed) == ["revoke s-3", "Held revocations were sent", "ruled"]


def test_tenants_do_not_share_a_budget() -> None:
    cases = [a_case(n, agent=f"a{n}", tenant=f"t{n % 2}") for n in range(6)]
    assert told(Actor(KEYS).act(log(*cases))) == [f"revoke s-{n}" for n in range(6)]


OVERALL = {"window_minutes": 60.0, "agent": None, "tenant": 2, "overall": 4}


def many(*tenants: str, minute: float = 0, budget: Mapping[str, Any] = OVERALL) -> list[dict[str, Any]]:
    """A case of each of these tenants in turn."""
    return [a_case(n, minute, tenant=tenant, budget=budget) for n, tenant in enumerate(tenants)]


def test_a_wave_over_many_tenants_is_held_by_the_overall_budget_and_each_tenant_is_told() -> None:
    outputs = Actor(KEYS).act(log(*many("t0", "t1", "t2", "t3", "t4", "t5", "t4")))
    assert told(outputs) == [
        *(f"revoke s-{n}" for n in range(4)),
        *("Revocations are held", "hold s-4"),
        *("Revocations are held", "hold s-5"),
        "hold s-6",
    ]
    assert [out.key for out in outputs if out.topic == ALERTS] == [b"t4", b"t5"]
    assert len(breakers(outputs)) == 2
    scopes = {dict(out.headers)["scope"] for out in outputs if out.topic == HELD}
    assert scopes == {b"all tenants on partition 3 of the cases"}
    without = {**OVERALL, "overall": None}
    assert len(_revoked(Actor(KEYS).act(log(*many(*(f"t{n}" for n in range(9)), budget=without))))) == 9


def test_one_tenant_uses_its_own_budget_of_the_overall_one_and_never_holds_back_another() -> None:
    outputs = Actor(KEYS).act(log(*many(*["loud"] * 9, "quiet", "quiet", "third")))
    assert told(outputs)[:3] == ["revoke s-0", "revoke s-1", "Revocations are held"]
    assert told(outputs)[-4:] == ["revoke s-9", "revoke s-10", "Revocations are held", "hold s-11"]


def test_tenants_of_other_partitions_use_none_of_it() -> None:
    records = log(*many(*(f"t{n}" for n in range(8))))
    apart = [record._replace(partition=n % 2) for n, record in enumerate(records)]
    assert told(Actor(KEYS).act(apart)) == [f"revoke s-{n}" for n in range(8)]


def test_an_overall_wave_that_is_over_or_ruled_on_uses_no_budget_any_more() -> None:
    wave = many(*(f"t{n}" for n in range(5)))
    later = [a_case(7, 61, tenant="t6", budget=OVERALL)]
    assert told(Actor(KEYS).act(log(*wave, *later)))[-1] == "revoke s-7"
    (breaker,) = breakers(Actor(KEYS).act(log(*wave)))
    at_once = [a_case(7, tenant="t6", budget=OVERALL)]
    ruled = log(*wave, a_ruling(breaker, "drop", tenant="t4"), *at_once)
    assert told(Stage(Actor(KEYS, rulings().read)).act(ruled))[-1] == "revoke s-7"
    assert told(Actor(KEYS, rulings().read).act(log(*wave, *at_once)))[-1] == "hold s-7"


def test_what_ends_with_its_task_and_what_shadow_only_would_do_uses_no_budget() -> None:
    ended = [a_case(n, cause="ended", kind="ended", agent=f"a{n}") for n in range(10)]
    shadow = [a_case(n, enforced=False, agent=f"a{n}") for n in range(10, 20)]
    outputs = Actor(KEYS).act(log(*ended, *shadow, *(a_case(n, agent=f"a{n}") for n in range(20, 23))))
    assert told(outputs) == [f"revoke s-{n}" for n in (*range(10), 20, 21, 22)]


def test_a_wave_that_is_over_uses_no_budget_any_more() -> None:
    wave = [a_case(n, minute=n, agent=f"a{n}") for n in range(5)]
    later = [a_case(n, minute=60 + n, agent=f"a{n}") for n in range(5, 7)]
    assert told(Actor(KEYS).act(log(*wave, *later)))[3:] == [
        *("Revocations are held", "hold s-3", "hold s-4", "revoke s-5", "revoke s-6"),
    ]


def test_a_clock_that_runs_backwards_opens_nothing_anew() -> None:
    cases = [a_case(0, 0), a_case(1, 50, agent="b"), a_case(2, 5, agent="c"), a_case(3, 1, agent="d")]
    assert told(Actor(KEYS).act(log(*cases)))[-1] == "hold s-3"


def test_a_sub_agent_falls_with_the_session_above_it_and_waits_with_it() -> None:
    free = [a_case(0, agent="x"), *(a_case(n, agent="x", inherited_from="s-0") for n in range(1, 6))]
    assert told(Actor(KEYS).act(log(*free))) == [f"revoke s-{n}" for n in range(6)]
    full = [
        *(a_case(n, agent=f"a{n}") for n in range(3)),
        a_case(3, agent="x"),
        a_case(4, agent="x", inherited_from="s-3"),
    ]
    assert told(Actor(KEYS).act(log(*full)))[-2:] == ["hold s-3", "hold s-4"]


def test_a_person_drops_what_is_held_and_the_budget_begins_anew() -> None:
    actor = Actor(KEYS, rulings().read)
    wave = [a_case(n, agent=f"a{n}") for n in range(5)]
    (breaker,) = breakers(Actor(KEYS).act(log(*wave)))
    after = [a_case(n, agent=f"a{n}") for n in range(5, 9)]
    outputs = actor.act(log(*wave, a_ruling(breaker, "drop"), *after))
    assert told(outputs)[6:] == [
        *("Held revocations were dropped", "ruled", "revoke s-5", "revoke s-6", "revoke s-7"),
        *("Revocations are held", "hold s-8"),
    ]
    assert len(breakers(outputs)) == 2


def test_a_ruling_that_nobody_trusted_signed_or_for_another_opening_moves_nothing() -> None:
    wave = [a_case(n, agent=f"a{n}") for n in range(4)]
    (breaker,) = breakers(Actor(KEYS).act(log(*wave)))
    stranger = ECKey.generate_key("P-256", {"kid": "on-call"})
    forged = {
        **a_ruling(breaker),
        "token": sign(Resolution("acme", breaker, "send", "eve"), AUDIENCE, stranger),
    }
    elsewhere = {
        **a_ruling(breaker),
        "token": sign(Resolution("other", breaker, "send", "ada"), AUDIENCE, KEY),
    }
    outputs = Actor(KEYS, rulings().read).act(log(*wave, forged, elsewhere, a_ruling("another")))
    assert told(outputs)[5:] == [QUARANTINE, QUARANTINE]
    assert told(Actor(KEYS).act(log(*wave, a_ruling(breaker))))[5:] == [QUARANTINE]
    with pytest.raises(SchemaError, match="neither send nor drop"):
        rulings().read(sign(Resolution("acme", breaker, "burn", "ada"), AUDIENCE, KEY))


def test_alerts_and_risk_of_a_held_case_go_out_all_the_same() -> None:
    level = {**a_case(9)["sets"][0]["claims"], "jti": "risk"}
    level["events"] = {
        "https://schemas.openid.net/secevent/caep/event-type/risk-level-change": {
            "principal": "SESSION",
            "current_level": "HIGH",
            "event_timestamp": NINE_MS // 1000,
        }
    }
    last = a_case(9, agent="z", finding={"finding_info": {"title": "drift"}})
    last["sets"].append({"topic": RISK, "claims": level})
    words = told(Actor(KEYS).act(log(*(a_case(n, agent=f"a{n}") for n in range(3)), last)))
    assert words[3:] == ["drift", "Revocations are held", "hold s-9", RISK]


def documents(steps: Sequence[tuple[int, int, int]]) -> list[dict[str, Any]]:
    """A log out of drawn steps: cases, some of them twice, and rulings on the openings that they lead to."""
    made: list[dict[str, Any]] = []
    for what, minutes, agent in steps:
        if what < 6 or not made:
            made.append(a_case(len(made), minute=minutes, agent=f"a{agent}"))
        elif what < 8:
            made.append(a_case(len(made), minutes, tenant=f"t{agent}", budget=OVERALL))
        elif what == 8:
            made.append(made[minutes % len(made)])
        else:
            held = [out for out in Actor(KEYS, rulings().read).act(log(*made)) if out.topic == HELD]
            breaker = dict(held[-1].headers)["breaker"].decode() if held else "none"
            tenant = held[-1].key.decode() if held else "acme"
            made.append(a_ruling(breaker, "send" if minutes % 2 else "drop", tenant))
    return made


STEPS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 90), st.integers(0, 2)), max_size=30)


@given(STEPS, st.integers(1, 7))
def test_batches_change_nothing(steps: list[tuple[int, int, int]], size: int) -> None:
    records = log(*documents(steps))
    whole = Actor(KEYS, rulings().read).act(records)
    stage = Stage(Actor(KEYS, rulings().read))
    parts = [each for at in range(0, len(records), size) for each in stage.act(records[at : at + size])]
    assert parts == whole


@given(STEPS, st.data())
def test_a_worker_that_takes_over_goes_on_as_the_one_before_would_have(
    steps: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    """It reads back the cases and what stands as held, of which more may stand than was acknowledged."""
    records = log(*documents(steps))
    acknowledged = data.draw(st.integers(0, len(records)))
    written = data.draw(st.integers(acknowledged, len(records)))
    before, whole = Stage(Actor(KEYS, rulings().read)), Actor(KEYS, rulings().read).act(records)
    first = before.act(records[:acknowledged])
    lost = before.act(records[acknowledged:written])  # sent, and not acknowledged
    after = Stage(Actor(KEYS, rulings().read), before.standing)
    after.actor.recall(records[:acknowledged], after.held())
    rest = after.act(records[acknowledged:])
    # What went out twice says the same; together it is what one worker sends.
    assert _revoked([*first, *lost, *rest]) == _revoked(whole)
    assert set(told(rest)) <= set(told(whole))


@pytest.mark.parametrize("action", ["send", "drop"])
def test_a_ruling_that_was_carried_out_and_not_acknowledged_decides_no_case_before_it(action: str) -> None:
    """The worker ends after a case was held and ruled on, and before either was acknowledged: both are read again."""
    wave = [a_case(n, agent=f"a{n}") for n in range(5)]
    (breaker,) = breakers(Actor(KEYS).act(log(*wave)))
    records = log(*wave, a_ruling(breaker, action))
    before = Stage(Actor(KEYS, rulings().read))
    first = before.act(records[:4])
    lost = [*before.act(records[4:5]), *before.act(records[5:])]
    after = Stage(Actor(KEYS, rulings().read), before.standing)
    after.actor.recall(records[:4], after.held())
    rest = after.act(records[4:])
    whole = Actor(KEYS, rulings().read).act(records)
    assert _revoked([*first, *lost, *rest]) == _revoked(whole)
    assert told(rest)[0] == "hold s-4"


def _revoked(outputs: Sequence[Output]) -> set[str]:
    return {word for word in told(outputs) if word.startswith("revoke")}


@given(STEPS)
def test_read_twice_over_a_log_revokes_no_more(steps: list[tuple[int, int, int]]) -> None:
    records = log(*documents(steps))
    stage = Stage(Actor(KEYS, rulings().read))
    once, again = stage.act(records), stage.act(records)
    assert _revoked(again) <= _revoked(once)


def test_memory_is_bounded() -> None:
    breaker = Breaker()
    for n in range(MAX_HELD + 5):
        breaker.hold("acme", Held("b", 3, n, str(n)))
    assert breaker.n_dropped == 5
    assert breaker.n_held == MAX_HELD
    held = breaker.resolve("acme", "b", (3, MAX_HELD + 5), sends=False)
    assert (held[0].record_id, len(held)) == ("5", MAX_HELD)
