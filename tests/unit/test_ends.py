"""What a session's end takes: what was issued for its task, and nothing that another open session holds; what it releases is told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contracts import Case
from stream.core import intents
from stream.core.partition import Partition
from stream.core.releases import Release
from stream.events import CASES, ENDS, REVOCATIONS, Record
from stream.outbound.act import Actor, plan
from stream.outbound.claims import CREDENTIALS_RELEASED
from stream.policy import ModeOf
from stream.shell.outputs import claims_of
from tests import builders as b
from tests.unit.test_breaker import KEYS

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


def told(run: b.Run) -> list[tuple[str, list[str]]]:
    """For each word to brokers on what an end released whose session it is of, and which credentials it names."""
    sets = [(case["session_id"], each) for case in run.cases for each in case.get("end_sets", ())]
    assert all(each["topic"] == ENDS for _, each in sets)
    events = [(session, each["claims"]["events"][CREDENTIALS_RELEASED]) for session, each in sets]
    return [(session, [ref["value"] for ref in event["driftline_released"]]) for session, event in events]


def saying(ends: dict[str, dict[str, str]], mode: str = "enforce", units: int = 0) -> Release:
    made = b.release(scorer=b.ConstantScorer(units), mode=mode)
    return made._replace(policy=made.policy.model_copy(update={"ends": ends}))


def test_an_end_revokes_what_was_issued_for_the_task_and_releases_the_rest() -> None:
    denied = {**SHORT, "value": "j-2", "issued_for_task": False}
    run = b.play([holding("s", LEASE, LONG, SHORT, denied), b.ended("s", 1)])
    assert {value for _, values in revoked(run) for value in values} == {"lease/1", "j-1"}
    assert released(run) == [("s", "lease/2", "not_for_task"), ("s", "j-2", "not_for_task")]
    assert [ref["value"] for ref in run.cases[0]["credentials"]] == ["lease/1", "lease/2", "j-1", "j-2"]
    assert sorted(told(run)) == [("s", ["j-2"]), ("s", ["lease/2"])]  # a token for each audience


@pytest.mark.parametrize(
    ("declared", "policy", "becomes"),
    [
        (None, None, "told"),
        (None, "release", "told"),
        (None, "revoke", "revoked"),
        (None, "nothing", "silent"),
        # A declaration's word on its own credential goes before the policy's on its kind; what lives on may still be passed over in
        # silence.
        (True, "release", "revoked"),
        (True, "nothing", "revoked"),
        (False, "revoke", "told"),
        (False, "release", "told"),
        (False, "nothing", "silent"),
    ],
)
def test_the_declaration_says_whether_an_end_takes_a_credential_and_else_the_policy_does(
    declared: bool | None, policy: str | None, becomes: str
) -> None:
    held = {**LONG, "issued_for_task": declared}
    ends = {"vault": {"lease": policy}} if policy is not None else {}
    run = b.play([holding("s", held), b.ended("s", 1)], bundled=saying(ends))
    named = [("s", ["lease/2"])]
    assert (revoked(run), told(run)) == (
        named if becomes == "revoked" else [],
        named if becomes == "told" else [],
    )
    assert released(run) == ([] if becomes == "revoked" else [("s", "lease/2", "not_for_task")])


@pytest.mark.parametrize("batch", [1, 2, 512])
@pytest.mark.parametrize("first", ["s", "t"])
def test_the_last_holder_s_end_tells_of_a_shared_credential_and_no_other_does(batch: int, first: str) -> None:
    last = "t" if first == "s" else "s"
    values = [
        holding("s", LONG),
        holding("t", {**LONG, "scope": "less"}),
        b.ended(first, 1),
        b.ended(last, 1),
    ]
    run = b.play(values, batch)
    assert released(run) == [(first, "lease/2", "held_elsewhere"), (last, "lease/2", "not_for_task")]
    assert told(run) == [(last, ["lease/2"])]
    assert revoked(run) == []


def test_what_one_session_had_for_its_task_and_another_only_borrowed_is_told_by_neither_but_revoked_by_the_last() -> (
    None
):
    borrowed = {**LEASE, "issued_for_task": False}
    run = b.play([holding("s", borrowed), holding("t", LEASE), b.ended("s", 1), b.ended("t", 1)])
    assert released(run) == [("s", "lease/1", "held_elsewhere")]
    assert (told(run), revoked(run)) == ([], [("t", ["lease/1"])])


@pytest.mark.parametrize("how", ["ended", "idle", "evicted"])
def test_however_a_session_ends_brokers_are_told_what_lives_on(how: str) -> None:
    after = {
        "ended": [(1, b.ended("s", 1))],
        "idle": [(2 * IDLE_S, b.declared("u"))],
        "evicted": [(1, b.declared("u"))],
    }
    run = b.play_stamped(
        [(0, holding("s", LONG)), *after[how]], **({"open_sessions": 1} if how == "evicted" else {})
    )
    assert told(run) == [("s", ["lease/2"])]
    assert run.cases[0]["kind"] == "ended"


def test_a_tree_that_ends_together_tells_for_each_session_what_it_gave_up() -> None:
    child = {"root_session_id": "p", "parent_session_id": "p"}
    values = [holding("p", LONG), holding("k", LONG, **child), b.ended("p", 1)]
    assert told(b.play(values)) == [("p", ["lease/2"]), ("k", ["lease/2"])]
    alone = b.play([*values[:2], b.ended("k", 1, root_session_id="p"), b.ended("p", 1)])
    assert told(alone) == [("p", ["lease/2"])]


def test_after_drift_took_all_the_end_tells_nothing() -> None:
    drift = b.called("s", 1, tool="wire_money", arguments={"to": "desk@evil.example", "text": "zq"})
    run = b.play([holding("s", LEASE, LONG), drift, b.ended("s", 2)], bundled=saying({}, units=10_000))
    assert revoked(run) == [("s", ["lease/1", "lease/2"])]
    assert run.cases[-1]["kind"] == "ended"
    assert released(run) == [("s", "lease/2", "not_for_task")]
    assert told(run) == []


def test_what_fell_in_shadow_alone_is_told_at_the_end_of_a_session_that_is_enforced() -> None:
    made = saying({}, "shadow", units=10_000)
    rows = [ModeOf(agent="a", mode="enforce")]
    release = made._replace(policy=made.policy.model_copy(update={"modes": rows}))
    child = {"root_session_id": "p", "parent_session_id": "p", "agent": {"id": "a"}}
    drift = b.called("p", 1, tool="wire_money", arguments={"to": "desk@evil.example", "text": "zq"})
    values = [holding("p"), holding("c", LONG, **child), drift, b.ended("c", 1, root_session_id="p")]
    run = b.play(values, bundled=release)
    assert told(run) == [("c", ["lease/2"])]
    assert [out.topic for out in Actor(KEYS).act(records(run)) if out.topic in (REVOCATIONS, ENDS)] == [ENDS]


def test_a_declaration_that_fails_half_way_leaves_a_holder_that_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = intents.widen

    def fail_once(*_: Any) -> None:
        monkeypatch.setattr(intents, "widen", whole)
        raise ZeroDivisionError

    monkeypatch.setattr(intents, "widen", fail_once)
    run = b.play([holding("s", LEASE), holding("t", LEASE), b.ended("t", 1), b.ended("s", 1)])
    assert run.counters["internal"] == 1
    assert released(run) == [("t", "lease/1", "held_elsewhere")]
    assert revoked(run) == [("s", ["lease/1"])]


WORDS = st.sampled_from([None, True, False])
HOLDINGS = st.dictionaries(st.integers(0, 2), WORDS, max_size=3)


@given(
    st.lists(HOLDINGS, min_size=1, max_size=5),
    st.dictionaries(st.integers(0, 2), st.sampled_from(["revoke", "release", "nothing"])),
    st.sampled_from([1, 3, 512]),
    st.data(),
)
def test_each_credential_goes_one_way_and_only_by_the_end_of_its_last_holder(
    sessions: list[dict[int, bool | None]], ends: dict[int, str], batch: int, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(sessions))))
    held = [
        [
            {"broker": "vault", "kind": f"k{n}", "value": "v", "issued_for_task": word}
            for n, word in each.items()
        ]
        for each in sessions
    ]
    values = [
        *(holding(f"s{n}", *each) for n, each in enumerate(held)),
        *(b.ended(f"s{n}", 1) for n in order),
    ]
    release = saying({"vault": {f"k{n}": end for n, end in ends.items()}})
    run = b.play(values, batch, bundled=release)
    went: dict[tuple[str, str], str] = {}
    for case in run.cases:
        for each in [*case["sets"], *case.get("end_sets", ())]:
            ((event,),) = [each["claims"]["events"].values()]
            for way in ("driftline_credentials", "driftline_released"):
                for ref in event.get(way, ()):
                    assert went.setdefault((case["session_id"], ref["kind"]), way) == way
    expected = {}
    for place, n in enumerate(order):
        for kind, word in sessions[n].items():
            if any(kind in sessions[later] for later in order[place + 1 :]):
                continue
            end = ends.get(kind, "release")
            if word or (word is None and end == "revoke"):
                expected[f"s{n}", f"k{kind}"] = "driftline_credentials"
            elif end != "nothing":
                expected[f"s{n}", f"k{kind}"] = "driftline_released"
    assert went == expected


def records(run: b.Run) -> list[Record]:
    made = [out for out in run.outputs if out.topic == CASES]
    return [Record(CASES, 0, n, 0, "none", out.key, (), out.value) for n, out in enumerate(made)]


@pytest.mark.parametrize(("mode", "topics"), [("enforce", [REVOCATIONS, ENDS]), ("shadow", [])])
def test_in_shadow_brokers_are_told_nothing_and_else_both_without_an_alert(
    mode: str, topics: list[str]
) -> None:
    run = b.play([holding("s", LEASE, LONG), b.ended("s", 1)], bundled=saying({}, mode))
    assert told(run) == [("s", ["lease/2"])]  # what it would be stands in the case, as a revocation does
    assert [out.topic for out in Actor(KEYS).act(records(run))] == topics
    (case,) = run.cases
    assert [signed.topic for signed in plan(Case.model_validate(case))] == topics


def test_a_case_that_is_read_again_tells_the_same_by_whatever_worker_and_batch() -> None:
    values = [holding("s", LEASE, LONG, SHORT), holding("t", LONG), b.ended("s", 1), b.ended("t", 1)]
    runs = [b.play(values, batch) for batch in (1, 512)]
    assert [run.cases for run in runs] == [runs[0].cases] * 2
    log = records(runs[0])
    once, again = ([out.value for out in Actor(KEYS).act(log) if out.topic == ENDS] for _ in range(2))
    assert len(once) == 1
    assert [claims_of(token) for token in once] == [claims_of(token) for token in again]
    two = [claims_of(out.value) for out in Actor(KEYS).act([*log, *log]) if out.topic == ENDS]
    assert [claims["jti"] for claims in two] == [claims_of(once[0])["jti"]] * 2
    revocations = {each["claims"]["jti"] for case in runs[0].cases for each in case["sets"]}
    assert two[0]["jti"] not in revocations


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
