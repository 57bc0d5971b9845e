"""Whether what was revoked is dead: said once, when it is known, and when it is late."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contracts import CredentialRef, Outcome
from stream.events import (
    ALERTS,
    CASES,
    FEEDBACK,
    OUTCOMES,
    QUARANTINE,
    REVOCATIONS,
    Output,
    Record,
    dumps,
    rfc3339,
)
from stream.outbound import containment
from stream.outbound.act import Actor
from stream.outbound.claims import SESSION_REVOKED, credential_id
from stream.outbound.ocsf import problems
from stream.shell.act_stage import forwarded
from tests.unit.test_breaker import BUDGET, KEYS, NINE_MS, Stage, a_case, a_ruling, breakers, log, rulings

MINUTE_MS = 60_000
CONFIRMED = {**BUDGET, "agent": None, "tenant": None, "confirm_minutes": 5.0}


def revoked(n: int = 0, *credentials: str, **changes: Any) -> dict[str, Any]:
    """Case number `n`, whose token names these credentials."""
    case = a_case(n, **{"budget": CONFIRMED, "finding": told_of(n), **changes})
    if credentials:
        event = case["sets"][0]["claims"]["events"][SESSION_REVOKED]
        event["driftline_credentials"] = [
            {"broker": "sso", "kind": "sid", "value": value, "scope": None} for value in credentials
        ]
    return case


def told_of(n: int) -> dict[str, Any]:
    until_ms = NINE_MS + 65 * MINUTE_MS
    return {
        "finding_info": {"uid": f"case-{n}", "title": "drift"},
        "metadata": {"tenant_uid": "acme"},
        "actor": {"session": {"uid": f"s-{n}"}, "app_name": "a"},
        "unmapped": {"exposure": {"worst_case_until": until_ms}},
    }


def outcome(n: int = 0, status: str = "done", value: str | None = None, **more: Any) -> dict[str, Any]:
    """What a broker says of a credential of case number `n`."""
    ref = CredentialRef(broker="sso", kind="sid", value=str(n) if value is None else value, scope=None)
    told = {
        "jti": f"j-acme-{n}",
        "case_id": f"case-{n}",
        "broker": "sso",
        "kind": "sid",
        "credential": credential_id("acme", ref),
        "status": status,
        "time": rfc3339(NINE_MS + 212),
        **more,
    }
    return {"type": "outcome.told", "tenant": "acme", "outcome": told}


def at(*documents: tuple[float, dict[str, Any] | None]) -> list[Record]:
    """Documents at so many minutes after nine; None is a tick."""
    records = []
    for offset, (minute, document) in enumerate(documents):
        value = {"type": "clock.tick"} if document is None else document
        key = None if document is None else document["tenant"].encode()
        records.append(
            Record(CASES, 3, offset, round(NINE_MS + minute * MINUTE_MS), "append", key, (), dumps(value))
        )
    return records


def findings(outputs: Sequence[Output]) -> list[dict[str, Any]]:
    """The alerts about containment among outputs."""
    read = [orjson.loads(output.value) for output in outputs if output.topic == ALERTS]
    return [
        each
        for each in read
        if each["finding_info"].get("analytic", {}).get("uid") == "driftline.containment"
    ]


def test_a_confirmed_revocation_is_said_to_be_contained_and_how_soon_after_the_call() -> None:
    (found,) = findings(Actor(KEYS).act(at((0, revoked()), (0.01, outcome()))))
    assert problems(found) == []
    assert found["message"] == "Session s-0: contained, 212 ms after the call"
    assert (found["action"], found["disposition"]) == ("Denied", "Access Revoked")
    assert (found["finding_info"]["uid"], found["activity_name"]) == ("case-0", "Update")
    assert found["is_alert"] is False
    assert found["unmapped"]["exposure"]["revocation"] == "done"
    assert found["unmapped"]["exposure"]["worst_case_until"] == NINE_MS + 212


def test_it_belongs_to_the_alert_that_the_soc_has() -> None:
    outputs = Actor(KEYS).act(at((0, revoked()), (0.01, outcome())))
    first, last = [orjson.loads(each.value) for each in outputs if each.topic == ALERTS]
    assert first["finding_info"]["uid"] == last["finding_info"]["uid"]
    assert first["actor"] == last["actor"]
    assert last["unmapped"]["dedup_key"] == "acme|s-0|drift"


def test_nothing_is_said_before_the_last_credential_is_dead() -> None:
    actor = Actor(KEYS)
    assert findings(actor.act(at((0, revoked(0, "a", "b")), (0.01, outcome(value="a"))))) == []
    (found,) = findings(actor.act(at((0.02, outcome(value="b", status="already_gone")))))
    assert "contained" in found["message"]


def test_what_stays_valid_is_said_with_its_end() -> None:
    more = {"survives": "access tokens checked offline", "survives_until": rfc3339(NINE_MS + 5 * MINUTE_MS)}
    (found,) = findings(Actor(KEYS).act(at((0, revoked()), (0.01, outcome(**more)))))
    assert "until 2026-01-01 09:05 UTC: access tokens checked offline." in found["finding_info"]["desc"]
    assert found["unmapped"]["exposure"]["worst_case_until"] == NINE_MS + 5 * MINUTE_MS
    (found,) = findings(Actor(KEYS).act(at((0, revoked()), (0.01, outcome(survives="tokens")))))
    assert "with no known end: tokens." in found["finding_info"]["desc"]
    assert found["unmapped"]["exposure"]["worst_case_until"] is None


def test_more_than_was_asked_for_is_said() -> None:
    wider = outcome(status="wider", detail="all sessions of the user")
    (found,) = findings(Actor(KEYS).act(at((0, revoked()), (0.01, wider))))
    assert "sso sid: wider (all sessions of the user)." in found["finding_info"]["desc"]


def test_a_failure_calls_somebody_and_says_how_long_the_credential_lives() -> None:
    failed = outcome(status="failed", detail="given up: 503")
    (found,) = findings(Actor(KEYS).act(at((0, revoked()), (0.01, failed))))
    assert problems(found) == []
    assert found["is_alert"] is True
    assert found["severity"] == "Critical"
    assert (
        found["message"] == "Session s-0: revocation failed; a credential may work until 2026-01-01 10:05 UTC"
    )
    assert "sso sid: failed (given up: 503)." in found["finding_info"]["desc"]
    assert found["unmapped"]["exposure"]["worst_case_until"] == NINE_MS + 65 * MINUTE_MS


def test_a_failure_that_was_mended_is_contained_and_what_is_dead_stays_dead() -> None:
    failed, done = outcome(status="failed"), outcome(time=rfc3339(NINE_MS + 90_000))
    found = findings(
        Actor(KEYS).act(at((0, revoked()), (1, failed), (2, done), (3, failed), (4, done), (9, None)))
    )
    assert [each["unmapped"]["exposure"]["revocation"] for each in found] == ["failed", "done"]
    assert "contained, 2 min after the call" in found[1]["message"]


def test_a_broker_that_says_nothing_in_time_is_told_of_at_the_next_stamp() -> None:
    actor = Actor(KEYS)
    assert findings(actor.act(at((0, revoked()), (4.99, None)))) == []
    assert actor.next_deadline(3) == NINE_MS + 5 * MINUTE_MS
    (found,) = findings(actor.act(at((5, None))))
    assert problems(found) == []
    assert "no confirmation within 5 minutes" in found["message"]
    assert "sso sid: nothing was said." in found["finding_info"]["desc"]
    assert found["time"] == NINE_MS + 5 * MINUTE_MS
    assert actor.next_deadline(3) is None
    assert findings(actor.act(at((60, None)))) == []
    (found,) = findings(actor.act(at((61, outcome()))))
    assert "contained" in found["message"]


def test_a_broker_that_still_tries_is_late_all_the_same_and_says_why() -> None:
    trying = outcome(status="requested", detail="not yet: 429")
    (found,) = findings(Actor(KEYS).act(at((0, revoked()), (1, trying), (6, None))))
    assert "sso sid: requested (not yet: 429)." in found["finding_info"]["desc"]


def test_the_outcome_that_comes_at_the_deadline_is_late() -> None:
    found = findings(Actor(KEYS).act(at((0, revoked()), (5, outcome()))))
    assert [each["unmapped"]["exposure"]["revocation"] for each in found] == ["overdue", "done"]


def test_a_broker_that_fails_and_tries_by_turns_is_told_of_once() -> None:
    turns = [(n, outcome(status=("failed", "requested")[n % 2])) for n in range(1, 20)]
    found = findings(Actor(KEYS).act(at((0, revoked()), *turns)))
    assert len(found) == 2


def test_without_a_deadline_nothing_is_late_and_a_failure_is_told_all_the_same() -> None:
    actor = Actor(KEYS)
    case = revoked(budget={**CONFIRMED, "confirm_minutes": None})
    assert findings(actor.act(at((0, case), (900, None)))) == []
    assert actor.next_deadline(3) is None
    assert len(findings(actor.act(at((901, outcome(status="failed")))))) == 1


@pytest.mark.parametrize(
    "changes", [{"enforced": False}, {"cause": "ended", "kind": "ended"}], ids=["shadow", "ended"]
)
def test_what_is_not_revoked_for_drift_is_not_followed(changes: dict[str, Any]) -> None:
    failed = outcome(status="failed")
    assert findings(Actor(KEYS).act(at((0, revoked(**changes)), (1, failed), (9, None)))) == []


def test_an_outcome_of_another_tenant_case_token_or_broker_says_nothing() -> None:
    others = [
        {**outcome(), "tenant": "other"},
        outcome(1),
        outcome(jti="another"),
        outcome(broker="vault"),
        outcome(credential="another"),
    ]
    assert findings(Actor(KEYS).act(at((0, revoked()), *((1, other) for other in others)))) == []


def test_an_outcome_that_names_no_credential_speaks_of_all_that_the_token_asks_of_the_broker() -> None:
    told = outcome(credential=None, kind=None)
    (found,) = findings(Actor(KEYS).act(at((0, revoked(0, "a", "b")), (1, told))))
    assert "contained" in found["message"]


def test_credentials_that_come_to_light_later_are_waited_for_too() -> None:
    later = revoked(0, "a", record_id="case-0/2", finding=None)
    actor = Actor(KEYS)
    assert len(findings(actor.act(at((0, revoked()), (1, outcome()), (2, later))))) == 1
    assert actor.next_deadline(3) == NINE_MS + 7 * MINUTE_MS
    (found,) = findings(actor.act(at((3, outcome(value="a", time=rfc3339(NINE_MS + 3 * MINUTE_MS))))))
    assert "3 min after the call" in found["message"]


def test_what_is_held_is_waited_for_once_a_person_sends_it() -> None:
    budget = {**CONFIRMED, "tenant": 1}
    wave = [revoked(n, budget=budget, agent=f"a{n}") for n in range(2)]
    (breaker,) = breakers(Actor(KEYS).act(log(*wave)))
    stage = Stage(Actor(KEYS, rulings().read))
    assert findings(stage.act(at((0, wave[0]), (0, wave[1]), (1, outcome(0)), (30, None))))
    (found,) = findings(stage.act(at(*[(0.0, wave[0])] * 4, (31, a_ruling(breaker)), (37, None))[4:]))
    assert found["message"].startswith("Session s-1: no confirmation")


def test_no_more_cases_of_a_partition_are_followed_than_fit_and_the_latest_ones_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(containment, "MAX_OPEN", 2)
    actor = Actor(KEYS)
    elsewhere = [each._replace(partition=4) for each in log(revoked(9))]
    actor.act([*elsewhere, *log(*(revoked(n) for n in range(5)))])
    assert actor.standing() == {"held": 0, "dropped": 0, "awaited": 3, "failed": 0, "overdue": 0}
    assert findings(actor.act(at((1, outcome(0, "failed"))))) == []
    assert findings(actor.act(at((1, outcome(4, "failed")))))
    told = [each._replace(partition=4) for each in at((1, outcome(9, "failed")))]
    assert findings(actor.act(told)), "what happens in one partition moves no other"


def test_a_case_that_is_contained_makes_room_and_is_known_when_it_comes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(containment, "MAX_OPEN", 2)
    actor = Actor(KEYS)
    actor.act(at((0, revoked(0)), (0, revoked(1)), (1, outcome(1)), (1, revoked(2)), (2, revoked(1))))
    assert actor.standing()["awaited"] == 2
    assert [each["finding_info"]["uid"] for each in findings(actor.act(at((9, None))))] == [
        "case-0",
        "case-2",
    ]


def test_of_each_credential_it_is_told_once_that_it_failed() -> None:
    told = [outcome(value="a", status="failed"), outcome(value="a"), outcome(value="b", status="failed")]
    found = findings(
        Actor(KEYS).act(at((0, revoked(0, "a", "b")), *((n + 1, each) for n, each in enumerate(told))))
    )
    assert [each["unmapped"]["exposure"]["revocation"] for each in found] == ["failed", "failed"]
    assert len({each["metadata"]["uid"] for each in found}) == 2


def test_an_outcome_of_a_kind_says_nothing_of_another_kind() -> None:
    case = revoked(0, "a")
    event = case["sets"][0]["claims"]["events"][SESSION_REVOKED]
    event["driftline_credentials"].append({"broker": "sso", "kind": "jti", "value": "b", "scope": None})
    told = outcome(credential=None)
    actor = Actor(KEYS)
    assert findings(actor.act(at((0, case), (1, told)))) == []
    assert findings(actor.act(at((2, outcome(credential=None, kind="jti")))))


def test_the_same_failure_after_a_credential_came_to_light_is_another_record() -> None:
    failed, later = outcome(status="failed"), revoked(0, "a", record_id="case-0/2", finding=None)
    found = findings(Actor(KEYS).act(at((0, revoked()), (1, failed), (2, later), (3, failed))))
    assert len(found) == len({each["metadata"]["uid"] for each in found}) == 2


def test_to_ask_for_the_next_deadline_changes_nothing() -> None:
    log_ = at(
        (0, revoked()),
        (1, revoked(0, "a", record_id="case-0/2")),
        (2, outcome()),
        (9, None),
        (10, outcome(0, "failed", "a")),
    )
    plain, asked = Actor(KEYS), Actor(KEYS)
    expected = [each.value for each in plain.act(log_) if each.topic == ALERTS]
    told = []
    for record in log_:
        asked.next_deadline(3)
        told += [each.value for each in asked.act([record]) if each.topic == ALERTS]
    assert told == expected


def test_a_ruling_of_another_tenant_on_this_opening_sends_nothing_when_it_is_read_back() -> None:
    budget = {**CONFIRMED, "tenant": 1}
    wave = [revoked(n, budget=budget, agent=f"a{n}") for n in range(2)]
    (breaker,) = breakers(Actor(KEYS).act(log(*wave)))
    records = at((0, wave[0]), (0, wave[1]), (0, outcome(0)), (1, a_ruling(breaker, tenant="other")))
    stage = Stage(Actor(KEYS, rulings().read))
    stage.act(records)
    after = Actor(KEYS, rulings().read)
    after.recall(records, stage.held())
    assert (
        after.standing()
        == stage.actor.standing()
        == {"held": 1, "dropped": 0, "awaited": 0, "failed": 0, "overdue": 0}
    )


def test_what_a_person_sent_is_waited_for_by_whoever_takes_over_however_long_it_was_held() -> None:
    budget = {**CONFIRMED, "tenant": 1}
    wave = [revoked(n, budget=budget, agent=f"a{n}") for n in range(2)]
    (breaker,) = breakers(Actor(KEYS).act(log(*wave)))
    records = at((0, wave[0]), (0, wave[1]), (180, a_ruling(breaker)))
    stage = Stage(Actor(KEYS, rulings().read))
    stage.act(records)
    after = Actor(KEYS, rulings().read)
    after.recall(records[2:], stage.held())  # the cases lie further back than is read
    assert after.next_deadline(3) == NINE_MS + 185 * MINUTE_MS


POISON = [
    {"latency_ms": 10**20},
    {"latency_ms": -1},
    {"schema_version": 10**23},
    {"time": "0001-01-01T00:00:00+14:00"},
    {"time": "9999-12-31T23:59:59Z"},
    {"survives": "x", "survives_until": "0001-01-01T00:00:00+14:00"},
    {"survives": "x", "survives_until": "9999-12-31T23:59:59-14:00"},
    {"detail": "x" * 2000},
    {"jti": ""},
    {"broker": None},
]


@pytest.mark.parametrize("poison", POISON)
def test_an_outcome_that_no_reader_could_keep_goes_to_quarantine_and_stops_nobody(
    poison: dict[str, Any],
) -> None:
    value = json.dumps({**outcome()["outcome"], **poison}).encode()
    (refused,) = forwarded([Record(OUTCOMES, 0, 1, NINE_MS, "append", b"acme", (), value)], OUTCOMES)
    assert refused.topic == QUARANTINE
    told = json.dumps({"type": "outcome.told", "tenant": "acme", "outcome": json.loads(value)}).encode()
    record = at((1, outcome()))[0]._replace(value=told)
    actor = Actor(KEYS)
    assert QUARANTINE in [each.topic for each in actor.act([*at((0, revoked())), record])]
    actor.recall([*at((0, revoked())), record], ())


def test_a_ruling_that_no_reader_could_keep_goes_to_quarantine() -> None:
    value = json.dumps(
        {"type": "held.resolved", "tenant": "acme", "token": "x", "schema_version": 10**23}
    ).encode()
    (refused,) = forwarded([Record(FEEDBACK, 0, 1, NINE_MS, "append", b"acme", (), value)], FEEDBACK)
    assert refused.topic == QUARANTINE


def test_what_nobody_foresaw_puts_a_record_aside_and_the_next_one_is_acted_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("secret text")

    actor = Actor(KEYS)
    actor.act(at((0, revoked())))
    with monkeypatch.context() as patched:
        patched.setattr(actor.containment, "take", fail)
        (aside,) = actor.act(at((1, outcome())))
        actor.recall(at((1, outcome())), ())
    assert dict(aside.headers)["reason"] == b"internal"
    assert b"secret" not in dumps({name: value.decode() for name, value in aside.headers})
    assert findings(actor.act(at((2, outcome()))))


def test_the_standing_of_revocations_is_counted() -> None:
    actor = Actor(KEYS)
    told = [(1.0, outcome(1, "failed")), (1.0, outcome(2))]
    actor.act(at(*((0, revoked(n)) for n in range(4)), *told))
    assert actor.standing() == {"held": 0, "dropped": 0, "awaited": 2, "failed": 1, "overdue": 0}
    actor.act(at((9, None)))
    assert actor.standing() == {"held": 0, "dropped": 0, "awaited": 0, "failed": 1, "overdue": 2}


def test_a_token_that_names_no_credential_is_not_followed() -> None:
    case = revoked()
    case["sets"][0]["claims"]["events"][SESSION_REVOKED]["driftline_credentials"] = [{"broker": "sso"}]
    actor = Actor(KEYS)
    assert findings(actor.act(at((0, case), (1, outcome()), (9, None)))) == []
    assert actor.standing()["awaited"] == 0


@pytest.mark.parametrize(
    "finding", [{"actor": 1, "unmapped": []}, {"unmapped": {"exposure": {"worst_case_until": "x"}}}]
)
def test_a_finding_of_another_shape_stops_nobody(finding: dict[str, Any]) -> None:
    case = revoked(finding={**finding, "finding_info": {"title": "drift"}})
    (found,) = findings(Actor(KEYS).act(at((0, case), (1, outcome(status="failed")))))
    assert "until somebody revokes it" in found["message"]


def test_outcomes_become_records_of_their_tenants_and_garbage_goes_to_quarantine() -> None:
    told = outcome()["outcome"]
    good = Record(OUTCOMES, 0, 1, NINE_MS, "append", b"acme", (), dumps(told))
    bad = [
        good._replace(value=b"{}"),
        good._replace(key=None),
        good._replace(key=b"\xff"),
        good._replace(value=None),
    ]
    forward, *refused = forwarded([good, *bad], OUTCOMES)
    assert (forward.topic, forward.key) == (CASES, b"acme")
    record = at((0, revoked()))[0]
    after = record._replace(offset=1, value=forward.value)
    assert len(findings(Actor(KEYS).act([record, after]))) == 1
    assert [each.topic for each in refused] == [QUARANTINE] * 4
    assert [each.topic for each in forwarded([good], FEEDBACK)] == [QUARANTINE]
    assert Outcome.model_validate_json(dumps(orjson.loads(forward.value)["outcome"])).status == "done"


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["case", "again", "outcome", "ruling", "tick"]),
        st.integers(0, 7),
        st.sampled_from(["requested", "done", "already_gone", "failed", "wider"]),
        st.integers(0, 4),
    ),
    max_size=24,
)


def written(steps: Sequence[tuple[str, int, str, int]]) -> list[Record]:
    """A log out of drawn steps, with cases beyond the budget, rulings, outcomes and silence."""
    made: list[tuple[float, dict[str, Any] | None]] = []
    minute = 0
    for what, n, status, minutes in steps:
        minute += minutes
        budget = {**CONFIRMED, "tenant": 4}
        if what == "case":
            made.append((minute, revoked(n, budget=budget, agent=f"a{n}")))
        elif what == "again" and made:
            made.append((minute, made[n % len(made)][1]))
        elif what == "outcome":
            made.append((minute, outcome(n, status, time=rfc3339(NINE_MS + minute * MINUTE_MS))))
        elif what == "ruling":
            seen = breakers(Actor(KEYS, rulings().read).act(at(*made)))
            made.append((minute, a_ruling(seen[-1] if seen else "none", "send" if n % 2 else "drop")))
        else:
            made.append((minute, None))
    return at(*made)


def _said(outputs: Sequence[Output]) -> list[bytes]:
    return [dumps(each) for each in findings(outputs)]


@given(STEPS, st.integers(1, 7))
def test_batches_change_nothing(steps: list[tuple[str, int, str, int]], size: int) -> None:
    records = written(steps)
    stage = Stage(Actor(KEYS, rulings().read))
    parts = [each for at_ in range(0, len(records), size) for each in stage.act(records[at_ : at_ + size])]
    assert _said(parts) == _said(Actor(KEYS, rulings().read).act(records))


@given(STEPS, st.data())
def test_a_worker_that_takes_over_says_what_the_one_before_would_have(
    steps: list[tuple[str, int, str, int]], data: st.DataObject
) -> None:
    records = written(steps)
    acknowledged = data.draw(st.integers(0, len(records)))
    ended = data.draw(st.integers(acknowledged, len(records)))
    before = Stage(Actor(KEYS, rulings().read))
    first, lost = before.act(records[:acknowledged]), before.act(records[acknowledged:ended])
    after = Stage(Actor(KEYS, rulings().read), before.standing)
    after.actor.recall(records[:acknowledged], after.held())
    rest = after.act(records[acknowledged:])
    assert [*_said(first), *_said(rest)] == _said(Actor(KEYS, rulings().read).act(records))
    assert set(_said(lost)) <= set(_said(rest))


def test_time_that_fails_stops_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    actor = Actor(KEYS)

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(actor.containment, "pass_time", fail)
    assert [output.topic for output in actor.act(log(revoked()))] == [QUARANTINE, ALERTS, REVOCATIONS]
