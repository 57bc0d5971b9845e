"""Many sessions, one target: the first alerts, the rest is counted with it, and nothing new is hidden."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contracts import Case
from stream.events import ALERTS, CASES, Record, dumps, rfc3339
from stream.outbound import campaigns
from stream.outbound.act import Actor
from stream.outbound.campaigns import DAY_MS, Campaigns
from stream.outbound.findings import finding
from stream.outbound.ocsf import problems
from tests.unit.test_breaker import KEYS
from tests.unit.test_findings import an_evidence, some_change

NOON = 1_767_268_800_000


def drifted(
    session: int,
    target: str = "t",
    severity: int = 4,
    tenant: str = "acme",
    *,
    again: int = 0,
    at_ms: int = NOON,
    **more: Any,
) -> Case:
    """The case of a session that drifted to a target."""
    argument = an_evidence().argument
    assert argument is not None
    told = an_evidence(name="foreign_destination", argument=argument.model_copy(update={"hash": target}))
    named = {
        "case_id": f"c-{session}",
        "record_id": f"c-{session}/{again}",
        "tenant": tenant,
        "session_id": f"s-{session}",
    }
    beside = {
        "severity": severity,
        "score": 0.6,
        "peak": "alert" if again else None,
        "evidence": [told],
        **more,
    }
    change = some_change(**named, **beside, time=rfc3339(at_ms), time_ms=at_ms)
    return change.case.model_copy(update={"finding": finding(change)})


TOLD = an_evidence(name="foreign_destination")


def test_a_decoy_alert_of_its_own_hides_no_session_from_a_campaign() -> None:
    decoys = [drifted(n, f"own-{n}", severity=2, score=0.3) for n in range(10)]
    grave = [drifted(n, "thief", severity=5, again=1, after="contained") for n in range(10)]
    outputs = told([case for pair in zip(decoys, grave, strict=True) for case in pair])[1::2]
    assert calling(outputs) == [1, 1, *[0] * 8]
    assert [len(said) for said in outputs] == [1, 2, 1, 1, 2, 1, 1, 1, 1, 2]


def told(cases: list[Case]) -> list[list[dict[str, Any]]]:
    known = Campaigns()
    return [known.take(case.finding or {}, 0) for case in cases]


def calling(outputs: list[list[dict[str, Any]]]) -> list[int]:
    """How many of what each case led to call somebody."""
    return [sum(each["is_alert"] for each in said) for said in outputs]


def test_of_many_sessions_with_one_target_the_first_and_the_campaign_call() -> None:
    outputs = told([drifted(n) for n in range(12)])
    assert calling(outputs) == [1, 1, *[0] * 10]
    incidents = {n: said[1] for n, said in enumerate(outputs, 1) if len(said) == 2}
    assert list(incidents) == [2, 5, 10]
    assert [each["finding_info"]["title"] for each in incidents.values()] == [
        f"{n} sessions drift to one target" for n in (2, 5, 10)
    ]
    assert len({each["finding_info"]["uid"] for each in incidents.values()}) == 1
    assert len({each["metadata"]["uid"] for each in incidents.values()}) == 3
    assert [each["activity_name"] for each in incidents.values()] == ["Create", "Update", "Update"]
    for n, said in enumerate(outputs[1:], 2):
        assert said[0]["unmapped"]["campaign"] == {
            "uid": incidents[2]["finding_info"]["uid"],
            "of": "target",
            "sessions": n,
            "first_case": "c-0",
        }
    for said in outputs:
        for each in said:
            assert problems(each) == []


@pytest.mark.parametrize(
    "second",
    [
        drifted(1, target="other"),
        drifted(1, tenant="globex"),
        drifted(1, severity=5),
        drifted(1, after="contained"),
        drifted(0, again=1, after="contained"),
        drifted(0, again=1, over=True),
        drifted(1, enforced=False),
        drifted(1, evidence=[an_evidence(family="identity", name="after_revocation", argument=None), TOLD]),
    ],
    ids=[
        "target",
        "tenant",
        "graver",
        "contained",
        "itself contained",
        "goes on",
        "otherwise enforced",
        "signal",
    ],
)
def test_what_is_new_alerts(second: Case) -> None:
    assert all(calling(told([drifted(0), second])))


def test_a_day_later_it_alerts_again() -> None:
    assert calling(told([drifted(n, at_ms=NOON + n * DAY_MS) for n in range(2)])) == [1, 1]


def test_a_session_of_a_campaign_that_alerts_again_is_counted_once() -> None:
    outputs = told([drifted(0), drifted(1), drifted(1, again=1), drifted(0, again=1), drifted(2)])
    assert calling(outputs) == [1, 1, 0, 0, 0]
    assert outputs[-1][0]["unmapped"]["campaign"]["sessions"] == 3


def test_what_has_no_target_or_calls_nobody_stays_as_it_is() -> None:
    change = some_change(evidence=[an_evidence(argument=None)])
    bare = change.case.model_copy(update={"finding": finding(change)})
    quiet = drifted(0)
    quiet = quiet.model_copy(update={"finding": {**(quiet.finding or {}), "is_alert": False}})
    assert told([bare, bare, quiet, quiet]) == [[bare.finding]] * 2 + [[quiet.finding]] * 2


def test_a_forged_finding_stops_nothing() -> None:
    forged = [
        {},
        {"is_alert": True},
        {"is_alert": True, "unmapped": {"target": 3}},
        {"is_alert": True, "unmapped": {"target": "t"}},
    ]
    cases = [drifted(n).model_copy(update={"finding": each}) for n, each in enumerate(forged * 3)]
    assert [len(said) for said in told(cases)].count(0) == 0


def test_beyond_the_bound_the_oldest_is_forgotten_and_alerts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaigns, "MAX_CAMPAIGNS", 2)
    assert calling(told([drifted(0, "a"), drifted(1, "b"), drifted(2, "c"), drifted(3, "a")])) == [1, 1, 1, 1]
    again = told(
        [drifted(0, "a"), drifted(1, "a"), drifted(2, "b"), drifted(3, "c"), drifted(4, "a"), drifted(5, "a")]
    )
    first, second = again[1][1], again[5][1]
    assert first["metadata"]["uid"] != second["metadata"]["uid"]  # another one, not the same told otherwise


def test_a_case_that_is_read_twice_is_counted_once_and_told_as_before() -> None:
    cases = [drifted(n) for n in range(6)]
    once = told(cases)
    twice = told([case for case in cases for _ in range(2)])
    assert twice == [said for said in once for _ in range(2)]
    assert told([*cases, *cases]) == [*once, *once]


def a_record(case: Case, offset: int) -> Record:
    return Record(CASES, 0, offset, NOON, "append", case.tenant.encode(), (), dumps(case.model_dump()))


LOGS = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.sampled_from("ab"),
        st.sampled_from([3, 4, 5]),
        st.integers(0, 2),
        st.integers(0, DAY_MS),
    ),
    min_size=1,
    max_size=12,
)


@given(LOGS, st.integers(0, 12), st.integers(0, 3))
def test_whoever_takes_over_says_what_the_one_before_would_have_said(
    log: list[Any], at: int, more: int
) -> None:
    clock, records = NOON, []
    for offset, (session, target, severity, again, pause) in enumerate(log):
        clock += pause // 8
        records.append(a_record(drifted(session, target, severity, again=again, at_ms=clock), offset))
    stayed, came = Actor(KEYS), Actor(KEYS)
    whole = [[o for o in stayed.act([record]) if o.topic == ALERTS] for record in records]
    came.recall(records[:at], ())
    # Of what the one before sent more may be there than it acknowledged.
    sent = [output for said in whole[: at + more] for output in said]
    came.recall_alerts(
        Record(ALERTS, 0, n, NOON, "append", out.key, (), out.value) for n, out in enumerate(sent)
    )
    rest = [[o for o in came.act([record]) if o.topic == ALERTS] for record in records[at:]]
    assert rest == whole[at:]
    assert all(orjson.loads(each.value) for said in whole for each in said)
