"""A budget of alerts a day: beyond it what is like an alert already told calls nobody, and nothing new is hidden."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contracts import Case
from models.errors import ConfigError
from stream import bootstrap
from stream.events import ALERTS, Record, dumps
from stream.offline.generate import Profile, sessions
from stream.outbound import volume
from stream.outbound.act import Actor
from stream.outbound.campaigns import DAY_MS
from stream.outbound.ocsf import VERSIONS, Version, in_version, problems
from stream.outbound.volume import AlertBudgets
from stream.policy import parse_policy, read_policy
from stream.settings import Settings
from tests import builders as b
from tests.unit.test_breaker import KEYS
from tests.unit.test_campaigns import LOGS, NOON, TOLD, a_record, calling, drifted
from tests.unit.test_findings import an_evidence


def within(n: int, most: int | None = 2, **how: Any) -> Case:
    """The case of a session that drifted to a target of its own, under a budget."""
    case = drifted(n, how.pop("target", f"own-{n}"), **how)
    return case.model_copy(update={"alerts_a_day": most})


def told(cases: list[Case]) -> list[list[dict[str, Any]]]:
    known = AlertBudgets()
    return [known.take(case, case.finding or {}, 0) for case in cases]


def test_beyond_the_budget_one_alert_says_so_and_the_rest_is_silent() -> None:
    outputs = told([within(n) for n in range(24)])
    assert calling(outputs) == [1, 1, 1, *[0] * 21]
    silent = [said[0] for said in outputs[2:]]
    assert [each["unmapped"]["beyond_budget"] for each in silent] == [*range(1, 23)]
    notices = [said[1] for said in outputs if len(said) == 2]
    assert [each["metadata"]["uid"].rpartition("/")[2] for each in notices] == ["1", "2", "5", "10", "20"]
    assert len({each["finding_info"]["uid"] for each in notices}) == 1
    assert [each["is_alert"] for each in notices] == [True, *[False] * 4]
    assert [each["activity_name"] for each in notices] == ["Create", *["Update"] * 4]
    assert "Analysts of this tenant were called 2 times today" in notices[0]["finding_info"]["desc"]
    assert "20 findings that are like one already told" in notices[4]["finding_info"]["desc"]
    for version in VERSIONS:
        assert all(problems(in_version(each, version)) == [] for said in outputs for each in said)


@pytest.mark.parametrize(
    "new",
    [
        within(9, tenant="globex"),
        within(9, severity=5),
        within(9, agent="another"),
        within(9, after="contained"),
        within(9, over=True, again=1),
        within(9, enforced=False),
        within(9, evidence=[an_evidence(family="identity", name="after_revocation", argument=None)]),
        within(9, evidence=[TOLD, an_evidence(family="sequence", name="trifecta", argument=None)]),
        within(9, spiffe_id="spiffe://acme/other"),
        within(9, inherited_from="another"),
        within(9, at_ms=NOON + DAY_MS),
    ],
    ids=[
        "tenant",
        "graver",
        "agent",
        "contained",
        "goes on",
        "otherwise enforced",
        "evidence",
        "a second evidence",
        "workload",
        "inherited",
        "day",
    ],
)
def test_what_is_new_calls_whatever_the_budget(new: Case) -> None:
    outputs = told([*(within(n) for n in range(5)), new])
    assert calling(outputs) == [1, 1, 1, 0, 0, 1]
    assert outputs[-1] == [new.finding]


def test_a_case_that_was_closed_and_alerts_again_calls_once_more() -> None:
    closing = within(3, again=1)
    closed = {**(closing.finding or {}), "is_alert": False, "status": "Suppressed"}
    closing = closing.model_copy(update={"finding": closed})
    log = [within(0), within(1), within(2), within(3), closing, within(3, again=2), within(3, again=3)]
    assert calling(told(log)) == [1, 1, 1, 0, 0, 1, 0]
    assert told([*log, *log]) == [*told(log), *told(log)]
    known = AlertBudgets()
    for said in told(log[:5]):
        for each in said:
            known.recall(each, 0)
    rest = [known.take(case, case.finding or {}, 0) for case in log[4:]]
    assert rest == told(log)[4:]


def test_a_number_on_the_topic_that_is_none_of_ours_stops_nothing() -> None:
    for odd in (2**64 - 1, -1, True, "1", None):
        known = AlertBudgets()
        forged = within(0).finding or {}
        known.recall(
            {**forged, "is_alert": False, "unmapped": {**forged["unmapped"], "beyond_budget": odd}}, 0
        )
        cases = [within(n) for n in range(1, 5)]
        said = [known.take(case, case.finding or {}, 0) for case in cases]
        assert calling(said) == [1, 1, 1, 0]
        assert all(dumps(each) for group in said for each in group)


def test_what_is_milder_is_not_new() -> None:
    cases = [within(n, severity=severity) for n, severity in enumerate((5, 5, 4, 2, 5))]
    assert calling(told(cases)) == [1, 1, 1, 0, 0]  # the third is that of the day


def test_without_a_budget_all_call_and_one_that_comes_later_counts_them() -> None:
    many = [within(n, None) for n in range(5)]
    assert told(many) == [[case.finding] for case in many]
    assert calling(told([*many, within(5, 5), within(6, 7)])) == [1, 1, 1, 1, 1, 1, 1]
    assert [said[0]["is_alert"] for said in told([*many, within(5, 5), within(6, 7)])[5:]] == [False, True]


def test_a_case_that_is_read_twice_is_counted_once_and_told_as_before() -> None:
    cases = [within(n) for n in range(6)]
    once = told(cases)
    assert told([case for case in cases for _ in range(2)]) == [said for said in once for _ in range(2)]
    assert told([*cases, *cases]) == [*once, *once]


def test_what_calls_nobody_or_is_of_no_case_is_not_counted() -> None:
    quiet = within(0)
    quiet = quiet.model_copy(update={"finding": {**(quiet.finding or {}), "is_alert": False}})
    forged = [{}, {"is_alert": True}, {"is_alert": True, "unmapped": {"standing": 3}, "evidences": [3]}]
    cases = [quiet, *(within(n).model_copy(update={"finding": each}) for n, each in enumerate(forged))]
    assert told(cases * 3) == [[case.finding] for case in cases * 3]
    odd = {"is_alert": True, "time": 1, "severity_id": 4, "unmapped": {"standing": {}}, "evidences": [3]}
    known = AlertBudgets()
    for each in (*forged, odd, {**odd, "unmapped": {"standing": {}, "beyond_budget": "x"}}):
        known.recall(each, 0)
    assert calling([known.take(within(0), within(0).finding or {}, 0)]) == [1]


def test_what_was_forgotten_calls_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volume, "MAX_KINDS", 2)
    agents = [within(n, 1, agent=f"a{n % 3}") for n in range(9)]
    assert calling(told(agents)) == [1] * 9
    monkeypatch.setattr(volume, "MAX_TOLD", 3)
    monkeypatch.setattr(volume, "MAX_DAYS", 1)
    days = [within(n, 1, at_ms=NOON + n % 2 * DAY_MS) for n in range(8)]
    assert calling(told(days)) == [1] * 8


@given(LOGS, st.integers(1, 3), st.integers(0, 12), st.integers(0, 3), st.sampled_from(VERSIONS))
def test_whoever_takes_over_says_what_the_one_before_would_have_said(
    log: list[Any], most: int, at: int, more: int, version: Version
) -> None:
    clock, records = NOON, []
    for offset, (session, target, severity, again, pause) in enumerate(log):
        clock += pause // 8
        how = {"target": f"{target}{session % 4}", "severity": severity, "again": again, "at_ms": clock}
        records.append(a_record(within(session, most, **how), offset))
    stayed, came = (Actor(KEYS, ocsf_version=version) for _ in range(2))
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


def played(most: int | None) -> list[dict[str, Any]]:
    """Alerts of a log of generated hijacked sessions, judged under a policy with a budget and acted on."""
    release = bootstrap.release(Settings(), mode="enforce")
    policy = release.policy.model_copy(update={"alerts_a_day": most})
    run = b.Run(bootstrap.judge_with(Settings(), release._replace(policy=policy)))
    events = sessions(7, 24, Profile(hijacked=1.0, run="hijacked"))
    run.feed(b.log(events))
    actor = Actor(KEYS)
    cases = [Case.model_validate(case) for case in run.cases]
    outputs = [output for n, case in enumerate(cases) for output in actor.act([a_record(case, n)])]
    assert [case.alerts_a_day for case in cases] == [most if case.finding else None for case in cases]
    return [orjson.loads(output.value) for output in outputs if output.topic == ALERTS]


def test_a_policy_that_says_so_calls_less_and_tells_of_every_session() -> None:
    free, bound = played(None), played(1)
    assert len([each for each in bound if each["is_alert"]]) < len(
        [each for each in free if each["is_alert"]]
    )
    silent = {each["metadata"]["uid"]: each for each in bound if "beyond_budget" in each["unmapped"]}
    assert silent
    of_cases = [each for each in bound if each["finding_info"]["analytic"]["uid"] != volume.ANALYTIC[0]]
    assert [each["metadata"]["uid"] for each in of_cases] == [each["metadata"]["uid"] for each in free]
    loud = [_said(each) for each in of_cases if each["metadata"]["uid"] not in silent]
    assert loud == [_said(each) for each in free if each["metadata"]["uid"] not in silent]


def _said(alert: dict[str, Any]) -> tuple[Any, ...]:
    """What an alert tells: ids of decisions have the policy in them."""
    return alert["is_alert"], alert["severity_id"], alert["message"], alert["finding_info"]["desc"]


def test_a_budget_of_none_is_refused() -> None:
    for odd in ("0", "-1", "many", "100001"):
        with pytest.raises(ConfigError, match="alerts_a_day"):
            parse_policy(read_policy()[0].replace("alerts_a_day: null", f"alerts_a_day: {odd}"), "p")


def test_a_campaign_and_the_budget_are_counted_apart() -> None:
    """Findings of one campaign call by the campaign; of the budget each that calls by itself takes one."""
    actor = Actor(KEYS)
    cases = [within(n, 2, target="thief") for n in range(4)] + [within(n, 2) for n in range(4, 7)]
    said = [
        orjson.loads(o.value)
        for n, c in enumerate(cases)
        for o in actor.act([a_record(c, n)])
        if o.topic == ALERTS
    ]
    assert [each["unmapped"].get("beyond_budget") for each in said if "standing" in each["unmapped"]] == [
        None, None, None, None, None, 1, 2,
    ]  # fmt: skip
