"""What a session's end revokes: what was issued for its task, and nothing that another open session holds."""

from __future__ import annotations

from typing import Any

import pytest

from stream.core.partition import Partition
from stream.events import REVOCATIONS
from tests import builders as b

LEASE = {"broker": "vault", "kind": "lease", "value": "lease/1", "issued_for_task": True}
LONG = {"broker": "vault", "kind": "lease", "value": "lease/2"}
SHORT = {"broker": "demo", "kind": "jti", "value": "j-1"}
IDLE_S = 3600


def holding(session: str, *credentials: dict[str, Any], **more: Any) -> dict[str, Any]:
    return b.declared(session, credentials=list(credentials), **more)


def revoked(run: b.Run) -> list[tuple[str, list[str]]]:
    """For each revocation whose session it is of, and which credentials it names."""
    events = [
        (case["session_id"], next(iter(each["claims"]["events"].values())))
        for case in run.cases
        for each in case["sets"]
        if each["topic"] == REVOCATIONS
    ]
    return [(session, [ref["value"] for ref in event["driftline_credentials"]]) for session, event in events]


def released(run: b.Run) -> list[tuple[str, str, str]]:
    return [(case["session_id"], ref["value"], ref["why"]) for case in run.cases for ref in case["released"]]


def test_an_end_revokes_what_was_issued_for_the_task_and_releases_the_rest() -> None:
    denied = {**SHORT, "value": "j-2", "issued_for_task": False}
    run = b.play([holding("s", LEASE, LONG, SHORT, denied), b.ended("s", 1)])
    assert {value for _, values in revoked(run) for value in values} == {"lease/1", "j-1"}
    assert released(run) == [("s", "lease/2", "not_for_task"), ("s", "j-2", "not_for_task")]
    assert [ref["value"] for ref in run.cases[0]["credentials"]] == ["lease/1", "lease/2", "j-1", "j-2"]


@pytest.mark.parametrize("batch", [1, 2, 512])
def test_an_end_never_revokes_what_another_open_session_of_the_tenant_holds(batch: int) -> None:
    shared = {**LEASE, "scope": "less"}
    values = [holding("s", LEASE), holding("t", shared), b.ended("s", 1), b.ended("t", 1)]
    run = b.play(values, batch)
    assert released(run) == [("s", "lease/1", "held_elsewhere")]
    assert revoked(run) == [("t", ["lease/1"])]


def test_what_another_session_holds_is_known_to_whoever_loads_the_states() -> None:
    before = b.play([holding("s", LEASE), holding("t", LEASE), holding("u", LEASE), b.ended("u", 1)])
    loaded = b.Run(b.judge(), Partition.load(before.partition.states))
    assert loaded.partition.holders == before.partition.holders
    loaded.feed([b.record(b.ended("s", 1), 10), b.record(b.ended("t", 1), 11)])
    assert released(loaded) == [("s", "lease/1", "held_elsewhere")]
    assert revoked(loaded) == [("t", ["lease/1"])]
    assert loaded.partition.holders == {}


def test_another_tenant_s_credential_of_the_same_name_is_another_one() -> None:
    values = [holding("s", LEASE, tenant="a"), holding("s", LEASE, tenant="b"), b.ended("s", 1, tenant="a")]
    run = b.play(values)
    assert revoked(run) == [("s", ["lease/1"])]


def test_a_tree_that_ends_together_keeps_no_credential_for_itself() -> None:
    child = {"root_session_id": "p", "parent_session_id": "p"}
    values = [holding("p", LEASE), holding("k", LEASE, **child), b.ended("p", 1)]
    assert revoked(b.play(values)) == [("p", ["lease/1"]), ("k", ["lease/1"])]
    alone = b.play([*values[:2], b.ended("k", 1, root_session_id="p"), b.ended("p", 1)])
    assert revoked(alone) == [("p", ["lease/1"])]
    assert released(alone) == [("k", "lease/1", "held_elsewhere")]


def test_of_sessions_that_are_idle_at_once_the_last_gives_the_credential_up() -> None:
    values = [(0, holding("s", LEASE)), (1, holding("t", LEASE)), (2 * IDLE_S, b.declared("u"))]
    run = b.play_stamped(values)
    assert released(run) == [("s", "lease/1", "held_elsewhere")]
    assert revoked(run) == [("t", ["lease/1"])]


def test_drift_takes_a_credential_whoever_else_holds_it_and_whatever_it_was_issued_for() -> None:
    drift = b.called("s", 1, tool="wire_money", arguments={"to": "desk@evil.example", "text": "zq"})
    run = b.play(
        [holding("s", LEASE, LONG), holding("t", LEASE), drift],
        bundled=b.release(scorer=b.ConstantScorer(10_000)),
    )
    assert revoked(run) == [("s", ["lease/1", "lease/2"])]
    assert released(run) == []


def test_a_session_whose_record_could_not_be_judged_still_holds_its_credentials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr("stream.core.take.observe_result", fail)
        before = b.play([holding("t", LEASE), b.returned("t", 1, call="x"), holding("s", LEASE)])
    run = b.Run(b.judge(), before.partition).feed([b.record(b.ended("s", 1), 9)])
    assert released(run) == [("s", "lease/1", "held_elsewhere")]


@pytest.mark.parametrize("mode", ["enforce", "shadow"])
def test_the_finding_of_an_end_says_what_becomes_of_the_credentials(mode: str) -> None:
    bad = b.called("s", 1, credential={**SHORT, "value": "of another"})
    release = b.release(scorer=b.ConstantScorer(0), mode=mode)
    told = [
        b.play([holding("s", *held), bad, b.ended("s", 2)], bundled=release).cases[-1]["finding"]["unmapped"]
        for held in ([LEASE, LONG], [LONG])
    ]
    asked = "requested" if mode == "enforce" else "not requested"
    assert [each["exposure"]["revocation"] for each in told] == [asked, "not requested"]
    assert "1 of 1" in told[1]["exposure"]["note"]


def test_calls_after_the_end_go_on_being_numbered_one_by_one() -> None:
    run = b.play([b.declared("s"), b.called("s", 1), b.ended("s", 2), *(b.called("s", n) for n in (3, 4, 5))])
    assert [d["call_seq"] for d in run.decisions] == [0, 1, 2, 3]


IDP = "https://idp.example.com/realms/acme"


def users(run: b.Run) -> list[Any]:
    return [each["claims"]["sub_id"].get("user") for case in run.cases for each in case["sets"]]


def test_the_user_s_issuer_goes_from_the_declaration_into_the_tokens_by_way_of_the_state() -> None:
    agent = {"id": "a", "user": "u-1", "user_issuer": IDP}
    before = b.play([holding("s", LEASE, agent=agent), holding("t", LEASE, agent={"user": "u-1"})])
    loaded = b.Run(b.judge(), Partition.load(before.partition.states))
    loaded.feed([b.record(b.ended("t", 1), 10), b.record(b.ended("s", 1), 11)])
    assert users(loaded) == [{"format": "iss_sub", "iss": IDP, "sub": "u-1"}]


def test_the_user_s_issuer_outlives_a_record_that_could_not_be_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    agent = {"user": "u-1", "user_issuer": IDP}
    with monkeypatch.context() as broken:
        broken.setattr("stream.core.take.observe_result", fail)
        before = b.play([holding("s", LEASE, agent=agent), b.returned("s", 1, call="x")])
    run = b.Run(b.judge(), before.partition).feed([b.record(b.ended("s", 2), 9)])
    assert users(run) == [{"format": "iss_sub", "iss": IDP, "sub": "u-1"}]


@pytest.mark.parametrize(
    "issuer", ["http://idp.example.com", "idp", "https://", "https://a b", "https://a?b", "https://a#b", ""]
)
def test_a_user_s_issuer_that_is_no_https_address_is_refused(issuer: str) -> None:
    run = b.play([holding("s", LEASE, agent={"user": "u-1", "user_issuer": issuer}), b.called("s", 1)])
    assert [reason for reason, _ in run.quarantined] == ["schema"]
    detail = next(dict(o.headers)["detail"] for o in run.outputs if o.topic == "agent.quarantine.v1")
    assert detail.startswith(b"agent.user_issuer does not match ^https://")


def of_ended_task(run: b.Run) -> list[bool]:
    """For each decision whether its call uses a credential whose own task is over."""
    return [any(e["name"] == "credential_of_ended_task" for e in d["evidence"]) for d in run.decisions]


OTHERS = {**LEASE, "value": "lease/3"}


@pytest.mark.parametrize("batch", [1, 2, 512])
@pytest.mark.parametrize(
    ("held", "again", "named", "spoken"),
    [
        (LEASE, [LEASE], None, True),
        (LEASE, [LEASE], LEASE, True),
        (LEASE, [LEASE, OTHERS], LEASE, True),
        (LEASE, [LEASE, OTHERS], OTHERS, False),
        (LEASE, [LEASE, OTHERS], None, False),  # it may have used the other
        (LEASE, [OTHERS], LEASE, True),  # not declared at all
        (LEASE, [], LEASE, True),
        (LEASE, [], None, False),
        (LONG, [LONG], LONG, False),  # not issued for a task
        (SHORT, [{**SHORT, "issued_for_task": False}], SHORT, True),  # the policy says what jti are for
    ],
)
def test_a_credential_issued_for_a_task_that_is_over_is_told_where_another_session_uses_it(
    held: dict[str, Any],
    again: list[dict[str, Any]],
    named: dict[str, Any] | None,
    spoken: bool,
    batch: int,
) -> None:
    used = {k: v for k, v in named.items() if k != "issued_for_task"} if named else None
    values = [
        holding("s", held),
        b.called("s", 1, credential=None),
        b.ended("s", 2),
        holding("t", *again),
        b.called("t", 1, credential=used),
    ]
    assert of_ended_task(b.play(values, batch)) == [False, spoken]


def test_a_task_s_credential_that_was_shared_in_time_is_nobody_else_s() -> None:
    values = [
        holding("s", LEASE),
        holding("t", LEASE),
        b.ended("s", 1),
        b.called("t", 1, credential=None),  # held it before the other ended, which took nothing
        b.ended("t", 2),
        holding("u", LEASE),
        b.called("u", 1, credential=None),
    ]
    assert of_ended_task(b.play(values)) == [False, True]


def test_another_tenant_may_use_what_has_the_same_name() -> None:
    values = [
        holding("s", LEASE, tenant="a"),
        b.ended("s", 1, tenant="a"),
        holding("t", LEASE, tenant="b"),
        b.called("t", 1, credential=None, tenant="b"),
    ]
    assert of_ended_task(b.play(values)) == [False]


def test_an_ended_task_s_credentials_are_forgotten_with_its_tombstone_and_known_to_whoever_loads_the_states() -> (
    None
):
    before = b.play([holding("s", LEASE), b.ended("s", 1), holding("v", LEASE, OTHERS), b.ended("v", 1)])
    loaded = b.Run(b.judge(), Partition.load(before.partition.states))
    assert loaded.partition.spent == before.partition.spent
    assert sorted(loaded.partition.spent.values()) == [1, 2]
    loaded.feed([b.record(holding("t", LEASE), 10), b.record(b.called("t", 1, credential=None), 11)])
    assert of_ended_task(loaded) == [True]
    day_s = 24 * 3600
    gone = b.play_stamped(
        [
            (0, holding("s", LEASE)),
            (1, b.ended("s", 1)),
            (day_s + 2, holding("t", LEASE)),
            (day_s + 3, b.called("t", 1, credential=None)),
        ]
    )
    assert of_ended_task(gone) == [False]
    assert gone.partition.spent == {}
