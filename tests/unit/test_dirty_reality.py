"""What real logs do to a judge: each disorder has one defined behaviour."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

import stream.core.take_call
import stream.core.words
from models.errors import ArtefactError
from models.session import MAX_STATE, Session, Tombstone, load
from stream.core.partition import Partition, state_key
from stream.core.releases import Release
from stream.events import EVENTS, QUARANTINE, REVOCATIONS, RISK, murmur2_partition
from tests import builders as b

UNKNOWN = "wire_money"
HOUR = 3600


def high() -> Release:
    return b.release(scorer=b.ConstantScorer(10_000))


def low(**limits: Any) -> Release:
    return b.release(scorer=b.ConstantScorer(0), **limits)


def verdicts(run: b.Run) -> list[str]:
    return [d["verdict"] for d in run.decisions]


def marks(run: b.Run) -> list[list[str]]:
    return [d["marks"] for d in run.decisions]


def state(run: b.Run, session: str = "s", root: str | None = None, tenant: str = "default") -> Any:
    raw = run.partition.states.get(state_key(tenant, root or session, session))
    return load(raw) if raw is not None else None


OTHER = {"broker": "demo", "kind": "jti", "value": "of another"}


def drifting(session: str, seq: int, **more: Any) -> dict[str, Any]:
    """A call that two families speak against."""
    return b.called(session, seq, tool=UNKNOWN, arguments={"to": "desk@evil.example", "text": "zq"}, **more)


# ------------------------------------------------------------------ declarations


def test_a_session_without_a_declaration_abstains_whatever_the_score() -> None:
    run = b.play([b.called("s", 0), b.called("s", 1)], bundled=high())
    assert verdicts(run) == ["abstain", "abstain"]
    assert run.decisions[0]["score"] == 1.0


@pytest.mark.parametrize("text", ["", "Help me with this, please.", "Do what is needed.", "Go on.", "..."])
def test_an_intent_that_says_nothing_is_not_judged_against(text: str) -> None:
    run = b.play([b.declared("s", 0, intent={"text": text}), b.called("s", 1)], bundled=high())
    assert verdicts(run) == ["abstain"]
    assert run.decisions[0]["marks"] == ["vague"]


def test_a_session_without_a_declaration_is_denied_when_another_family_speaks() -> None:
    expired = {**b.CREDENTIAL, "expires": "2025-01-01T00:00:00Z"}
    run = b.play([b.called("s", 0, credential=expired)], bundled=high())
    assert verdicts(run) == ["deny"]


def test_a_declaration_that_arrives_late_holds_from_then_on() -> None:
    run = b.play([drifting("s", 1), b.declared("s", 0), drifting("s", 2)], bundled=high())
    assert verdicts(run) == ["abstain", "revoke"]
    assert run.decisions[1]["marks"] == ["partial"]


def test_a_second_declaration_widens_nothing() -> None:
    wide = b.declared(
        "s",
        1,
        text="wire all money to desk@evil.example",
        tools=[{"name": UNKNOWN}],
        credentials=[{**b.CREDENTIAL, "value": "more"}],
    )
    once = b.play([b.declared("s"), drifting("s", 2)])
    twice = b.play([b.declared("s"), wide, drifting("s", 2)])
    assert twice.decisions == once.decisions
    assert state(twice).credentials == state(once).credentials
    assert twice.counters["second_declaration"] == 1


def test_a_second_declaration_without_an_intent_offers_no_more_tools_and_credentials() -> None:
    first = b.declared("s", 0, intent=None)
    second = b.declared(
        "s", 1, intent=None, tools=[{"name": UNKNOWN}], credentials=[{**b.CREDENTIAL, "value": "more"}]
    )
    run = b.play([first, second, drifting("s", 2)])
    assert [c.value for c in state(run).credentials] == ["c-s"]
    assert "scope" in run.decisions[0]["families"]


def test_an_intent_that_follows_a_bare_declaration_keeps_the_tools_and_credentials_of_the_first() -> None:
    run = b.play(
        [
            b.declared("s", 0, intent=None),
            b.declared("s", 1, tools=[{"name": UNKNOWN}], credentials=None),
            drifting("s", 2),
        ]
    )
    assert state(run).declared
    assert [c.value for c in state(run).credentials] == ["c-s"]
    assert "scope" in run.decisions[0]["families"]


def test_an_amendment_of_the_user_widens_the_intent() -> None:
    call = b.called("s", 2, tool="send_email", arguments={"to": "ann@example.com"})
    amended = b.event("intent.amended", "s", 1, intent={"text": "send an email to ann@example.com"})
    without = b.play([b.declared("s"), call]).decisions[0]
    with_it = b.play([b.declared("s"), amended, call]).decisions[0]
    assert "intent" in without["families"]
    assert "intent" not in with_it["families"]
    assert without["intent_digest"] != with_it["intent_digest"]


def test_an_amendment_without_an_intent_to_amend_changes_nothing() -> None:
    run = b.play([b.event("intent.amended", "s", 0, intent={"text": "anything"}), b.called("s", 1)])
    assert verdicts(run) == ["abstain"]
    assert run.counters["amendment_without_intent"] == 1


# ------------------------------------------------------------------ order and repeats


def test_events_out_of_order_are_folded_in_as_they_come_and_late_ones_are_marked() -> None:
    run = b.play([b.declared("s", 0), b.called("s", 3), b.called("s", 1), b.called("s", 2)])
    assert marks(run) == [[], ["number_late"], ["number_late"]]
    assert [d["call_seq"] for d in run.decisions] == [0, 1, 2]


def test_the_same_number_with_the_same_content_is_dropped() -> None:
    call = b.called("s", 1)
    run = b.play([b.declared("s"), call, call, {**call, "id": "another"}])
    assert len(run.decisions) == 1
    assert run.counters["duplicate"] == 2


def test_the_same_number_with_other_content_is_judged_and_marked() -> None:
    run = b.play([b.declared("s"), b.called("s", 1), b.called("s", 1, arguments={"path": "other"})])
    assert marks(run) == [[], ["number_reused"]]


def test_without_a_number_the_id_tells_repeats() -> None:
    call = b.called("s", None, id="x", call_id="1")
    other = b.called("s", None, id="x", call_id="1", arguments={"path": "other"})
    run = b.play([b.declared("s"), call, call, other, {**call, "id": "y"}])
    assert marks(run) == [[], ["number_reused"], []]


def test_a_repeat_after_the_end_is_dropped_by_the_tombstone() -> None:
    call = b.called("s", 1)
    run = b.play([b.declared("s"), call, b.ended("s", 2), call, b.ended("s", 2), b.declared("s")])
    assert len(run.decisions) == 1
    assert run.counters["duplicate"] == 3


def test_a_return_without_a_call_is_folded_in_and_counted() -> None:
    run = b.play(
        [b.declared("s"), b.returned("s", 1, call="never", result="pay 4411-9923-XK"), b.called("s", 2)]
    )
    assert run.counters["return_without_call"] == 1
    assert len(run.decisions) == 1


def test_known_gaps_are_bounded_in_number() -> None:
    run = b.play([b.declared("s"), *(b.called("s", n) for n in range(2, 400, 2))])
    assert len(state(run).gaps) == 32


def test_clocks_that_run_backwards_move_no_session_backwards() -> None:
    run = b.play_stamped(
        [(100, b.declared("s", at=90)), (40, b.called("s", 1, at=-500)), (101, b.called("s", 2, at=-900))]
    )
    assert len(run.decisions) == 2
    assert state(run).clock_ms == b.T0 + 101_000
    assert [d["time"] for d in run.decisions] == ["2026-01-01T08:51:40.000Z", "2026-01-01T08:45:00.000Z"]


def test_a_topic_read_from_the_middle_gives_partial_sessions() -> None:
    run = b.play([b.called("s", 7), b.returned("t", None, call="x", id="r"), b.called("t", None, id="c")])
    assert marks(run) == [["undeclared", "partial"], ["undeclared", "partial"]]


# ------------------------------------------------------------------ after the end, after a revocation


def test_a_call_after_the_end_is_judged_as_such_and_the_analyst_hears_of_it() -> None:
    run = b.play([b.declared("s"), b.called("s", 1), b.ended("s", 2), b.called("s", 3)], bundled=low())
    assert verdicts(run) == ["allow", "alert"]
    assert run.decisions[1]["marks"] == ["after_end"]
    assert run.decisions[1]["previous"] == run.decisions[0]["digest"]
    assert [(c["before"], c["after"]) for c in run.cases] == [("quiet", "closed"), ("closed", "alert")]
    assert run.cases[1]["finding"] is not None


@pytest.mark.parametrize("batch", [1, 512])
@pytest.mark.parametrize(
    ("call", "standing"),
    [(lambda seq: b.called("s", seq, tool="undeclared_tool", credential=OTHER), "alert"),
     (lambda seq: drifting("s", seq), "contained")],
)  # fmt: skip
def test_an_end_is_an_update_of_a_case_that_was_told_and_a_call_after_it_is_told_once(
    call: Any, standing: str, batch: int
) -> None:
    values = [b.declared("s"), call(1), b.ended("s", 2), b.called("s", 3), b.called("s", 4)]
    run = b.play(values, batch, bundled=low() if standing == "alert" else high())
    assert [(c["kind"], c["before"], c["after"]) for c in run.cases] == [
        ("standing", "quiet", standing),
        ("ended", standing, standing),
        ("standing", standing, standing),
    ]
    assert [c["finding"]["activity_name"] for c in run.cases] == ["Create", "Update", "Update"]
    assert [c["finding"].get("status") for c in run.cases] == ["New", None, "New"]
    risks = [s["claims"]["events"] for c in run.cases for s in c["sets"] if s["topic"] == RISK]
    told = [next(iter(events.values())) for events in risks]
    assert [(r["previous_level"], r["current_level"]) for r in told] == [
        ("LOW", "HIGH"),
        ("HIGH", "LOW"),
        ("LOW", "HIGH"),
    ]


def test_a_case_that_nobody_was_told_of_closes_with_its_session() -> None:
    drift = b.called("s", 1, tool="undeclared_tool")
    run = b.play([b.declared("s"), drift, b.ended("s", 2)], bundled=low())
    assert [(c["kind"], c["after"]) for c in run.cases] == [("standing", "watch"), ("ended", "closed")]
    assert run.cases[1]["finding"] is None


def test_a_case_that_was_told_and_calmed_down_stays_open_when_its_session_ends() -> None:
    drift = b.called("s", 1, credential=OTHER)
    calm = [b.called("s", n, arguments={"path": f"{n}.txt"}) for n in range(2, 40)]
    holds_none = [b.declared("s", credentials=[{**OTHER, "value": "own"}]), drift, *calm, b.ended("s", 40)]
    run = b.play(holds_none, bundled=low())
    assert [c["after"] for c in run.cases] == ["alert", "watch", "quiet", "quiet"]
    assert run.cases[-1]["finding"]["message"] == "Session s is over; its case stays open"


def test_a_declaration_after_the_end_changes_nothing() -> None:
    run = b.play([b.declared("s"), b.ended("s", 1), b.declared("s", 2, text="anything"), b.called("s", 3)])
    assert isinstance(state(run), Tombstone)
    assert run.decisions[0]["marks"] == ["after_end"]


def test_a_call_after_a_revocation_is_denied_and_nothing_is_revoked_twice() -> None:
    run = b.play(
        [b.declared("s"), drifting("s", 1), drifting("s", 2), b.called("s", 3), b.ended("s", 4)],
        bundled=high(),
    )
    assert run.decisions[0]["verdict"] == "revoke"
    assert all("identity" in d["families"] for d in run.decisions[1:])
    assert [c["kind"] for c in run.cases] == ["standing", "ended"]
    revocations = [s for c in run.cases for s in c["sets"] if s["topic"] == "agent.revocations.v1"]
    assert len(revocations) == 1
    calm = b.play([b.declared("s"), drifting("s", 1)], bundled=high())
    after = b.Run(b.judge(low()), Partition.load(calm.partition.states)).feed([b.record(b.called("s", 2), 9)])
    assert verdicts(after) == ["deny"]


def test_an_end_revokes_what_was_issued_for_the_session_without_an_alert() -> None:
    run = b.play([b.declared("s"), b.ended("s", 1)])
    (case,) = run.cases
    assert case["cause"] == "ended"
    assert case["finding"] is None
    (token,) = case["sets"]
    held = next(iter(token["claims"]["events"].values()))["driftline_credentials"]
    assert [c["value"] for c in held] == ["c-s"]


@pytest.mark.parametrize(("at", "expired"), [(9.999, False), (10, True), (11, True)])
def test_a_credential_is_expired_from_the_very_millisecond_at_which_it_expires(
    at: float, expired: bool
) -> None:
    short = {**b.CREDENTIAL, "expires": "2026-01-01T09:00:10Z"}
    run = b.play([b.declared("s", credentials=[short]), b.called("s", 1, at=at, credential=short)])
    names = [e["name"] for e in run.decisions[0]["evidence"] if e["supports"]]
    assert ("credential_expired" in names) == expired


def test_a_credential_that_expired_in_1970_does_not_stop_the_end_of_its_session() -> None:
    old = {**b.CREDENTIAL, "expires": "1970-01-01T00:00:00Z"}
    run = b.play([b.declared("s", credentials=[old]), b.called("s", 1), b.ended("s", 2)])
    assert run.cases[-1]["kind"] == "ended"


# ------------------------------------------------------------------ long, large, odd


def test_a_session_that_never_ends_is_ended_by_the_idle_limit() -> None:
    run = b.play_stamped([(0, b.declared("s")), (10, b.called("s", 1)), (10 + HOUR, {"type": "clock.tick"})])
    assert isinstance(state(run), Tombstone)
    assert run.cases[-1]["reason"] == "the session was idle for longer than the limit"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_session_of_100_000_calls_keeps_a_bounded_state() -> None:
    run = b.Run(b.judge()).feed(b.log([b.declared("s")]))
    key, seq, largest = state_key("default", "s", "s"), 0, 0
    for n in range(0, 100_000, 500):
        values: list[Any] = []
        for call in range(n, n + 500):
            seq += 1
            values.append(b.called("s", seq, arguments={"path": f"dir/{call}.txt"}))
            if call % 10 == 0:
                seq += 1
                text = f"record {call} of account {call * 7919}"
                values.append(b.returned("s", seq, call=f"s:{seq - 1}", result=text))
        run.feed([b.record(value, run.partition.offset + 1 + at) for at, value in enumerate(values)], 512)
        largest = max(largest, len(run.partition.states[key]))
    assert state(run).calls == 100_000
    assert len(run.decisions) == 100_000
    assert largest <= MAX_STATE


def test_arguments_of_1_mib_are_cut_counted_and_judged() -> None:
    big = b.called("s", 1, arguments={"text": "lorem " * 174_763, "to": "ann@example.com"})
    run = b.play([b.declared("s"), big])
    assert run.quarantined == []
    assert "cut" in run.decisions[0]["marks"]
    assert len(orjson.dumps(run.decisions[0])) < 16 * 1024


def test_code_with_a_number_of_thousands_of_digits_is_judged() -> None:
    """Python refuses to write such a number out; whoever spells one in code must not so escape judgement."""
    code = f"x = 0x{'f' * 6000}\nsend_money(5)"
    tools = [
        {"name": "run_python", "parameters": {"type": "object", "properties": {"code": {"type": "string"}}}}
    ]
    run = b.play(
        [b.declared("s", tools=tools), b.called("s", 1, tool="run_python", arguments={"code": code})]
    )
    assert run.quarantined == []
    assert len(run.decisions) == 1


def test_one_hot_session_is_judged_like_many() -> None:
    calls = [b.called("s", n, arguments={"path": f"{n}.txt"}) for n in range(1, 600)]
    run = b.play([b.declared("s"), *calls])
    assert [d["call_seq"] for d in run.decisions] == list(range(599))
    assert len(state(run).window) == 64


def test_a_deep_record_costs_its_session_nothing() -> None:
    raw = orjson.dumps(b.called("s", 1, arguments={"x": 0})).replace(
        b'{"x":0}', b'{"x":' + b"[" * 300 + b"]" * 300 + b"}"
    )
    run = b.Run(b.judge()).feed(
        [b.record(b.declared("s"), 0), b.record(raw, 1, key="s"), b.record(b.called("s", 1), 2)]
    )
    assert run.quarantined == [("schema", 1)]
    assert marks(run) == [["refused"], []]


# ------------------------------------------------------------------ where a record stands


def test_a_record_with_another_key_than_its_root_goes_to_quarantine() -> None:
    run = b.Run(b.judge()).feed([b.record(b.called("s", 0), 0, key="t")])
    assert run.quarantined == [("key", 0)]


def test_a_record_without_a_key_goes_to_quarantine_where_keys_choose_the_partition() -> None:
    assert b.Run(b.judge(), n_partitions=1).feed([b.record(b.called("s", 0), 0, key=None)]).quarantined == [
        ("key", 0)
    ]
    assert b.Run(b.judge()).feed([b.record(b.called("s", 0), 0, key=None)]).quarantined == []


def test_a_record_in_the_wrong_partition_goes_to_quarantine_with_advice() -> None:
    right = murmur2_partition(b"s", 12)
    records = [
        b.record(b.called("s", n), n)._replace(partition=p) for n, p in enumerate([right, (right + 1) % 12])
    ]
    run = b.Run(b.judge(), n_partitions=12).feed(records)
    assert run.quarantined == [("partition", 1)]
    detail = dict(run.outputs[-1].headers if run.outputs[-1].topic == QUARANTINE else run.outputs[0].headers)[
        "detail"
    ]
    assert b"murmur2_random" in detail


def test_an_event_ahead_of_the_broker_by_more_than_the_skew_goes_to_quarantine() -> None:
    run = b.play_stamped([(0, b.called("s", 0, at=299)), (1, b.called("s", 1, at=302))])
    assert run.quarantined == [("time", 1)]
    assert b.play([b.called("s", 0, at=10**6)]).quarantined == []


@pytest.mark.parametrize(
    ("change", "reason"), [({"type": "tool.dreamt"}, "type"), ({"schema_version": 2}, "version")]
)
def test_an_unknown_type_or_newer_version_goes_to_quarantine(change: dict[str, Any], reason: str) -> None:
    assert b.play([{**b.called("s", 0), **change}]).quarantined == [(reason, 0)]


def test_the_same_id_under_two_tenants_is_two_sessions() -> None:
    run = b.play(
        [b.declared("s", tenant="one"), b.called("s", 1, tenant="two"), b.called("s", 1, tenant="one")]
    )
    assert [d["tenant"] for d in run.decisions] == ["two", "one"]
    assert marks(run)[0] == ["undeclared", "partial"]
    assert state(run, tenant="two").calls == state(run, tenant="one").calls == 1
    assert len({d["decision_id"] for d in run.decisions}) == 2


def test_the_tenant_bound_to_the_topic_beats_the_record() -> None:
    run = b.play([b.called("s", 0, tenant="forged")], tenants={EVENTS: "bound"})
    assert run.decisions[0]["tenant"] == "bound"


# ------------------------------------------------------------------ clocks


@pytest.mark.parametrize(("last", "ends"), [(HOUR - 1, 0), (HOUR, 1)])
def test_a_session_is_over_exactly_at_the_limit_before_the_record_is_applied(last: int, ends: int) -> None:
    run = b.play_stamped([(0, b.declared("s")), (last, b.called("s", 1))], bundled=low())
    assert [c["kind"] for c in run.cases] == ["ended", "standing"][: 2 * ends]
    assert ("after_end" in run.decisions[0]["marks"]) == bool(ends)


def test_a_tick_or_a_record_of_another_session_brings_the_same_end_about() -> None:
    for value in ({"type": "clock.tick"}, b.called("t", 0), b"garbage"):
        run = b.play_stamped([(0, b.declared("s")), (HOUR, value)])
        assert [c["session_id"] for c in run.cases] == ["s"]
        assert run.cases[0]["time"] == "2026-01-01T10:00:00.000Z"


def test_a_forged_tick_moves_nothing() -> None:
    forged = {"type": "clock.tick", "time": "2099-01-01T00:00:00Z", "session_id": "s"}
    run = b.play_stamped([(0, b.declared("s")), (5, forged), (6, b.called("s", 1))], bundled=low())
    assert run.cases == []
    assert marks(run) == [[]]
    assert b.play([b.declared("s"), forged]).cases == []


def test_without_stamps_only_its_own_next_event_finds_a_session_idle() -> None:
    late = b.called("t", 0, at=10 * HOUR)
    assert b.play([b.declared("s"), late]).cases == []
    run = b.play([b.declared("s"), late, b.called("s", 1, at=HOUR)])
    assert [c["session_id"] for c in run.cases] == ["s", "s"]
    assert marks(run)[-1] == ["after_end"]


def test_tombstones_are_forgotten_after_their_time_and_ids_may_then_be_born_again() -> None:
    day = 24 * HOUR
    before = b.play_stamped([(0, b.declared("s")), (1, b.ended("s", 1)), (day, b.called("s", 2))])
    after = b.play_stamped([(0, b.declared("s")), (1, b.ended("s", 1)), (day + 1, b.called("s", 2))])
    assert before.decisions[0]["marks"] == ["after_end"]
    assert after.decisions[0]["marks"] == ["undeclared", "partial"]
    assert isinstance(state(after), Session)


def test_the_cap_on_tombstones_drops_the_oldest_end_first() -> None:
    values = [v for s in "abc" for v in (b.declared(s), b.ended(s, 1))]
    run = b.play(values, tombstones=2)
    assert [state(run, s) is not None for s in "abc"] == [False, True, True]


# ------------------------------------------------------------------ limits


def test_the_limit_of_open_sessions_closes_undeclared_ones_first_then_the_lowest_last_offset() -> None:
    values = [
        b.declared("a"),
        b.declared("b"),
        b.called("u", 0),
        b.called("a", 1),
        b.declared("c"),
        b.declared("d"),
    ]
    run = b.play(values, bundled=low(open_sessions=3))
    assert [s for s in "abucd" if isinstance(state(run, s), Tombstone)] == ["b", "u"]
    assert [c["session_id"] for c in run.cases] == ["b"]  # the undeclared one held no credentials
    assert "limit of open sessions" in run.cases[0]["reason"]


def test_the_limit_of_sub_agents_closes_the_oldest_of_the_tree_and_never_its_root() -> None:
    values = [b.declared("p"), *(b.declared(f"k{n}", root_session_id="p") for n in range(4))]
    run = b.play(values, sub_agents=2)
    over = [s for s in ("p", "k0", "k1", "k2", "k3") if isinstance(state(run, s, "p"), Tombstone)]
    assert over == ["k0", "k1"]


def test_a_tree_without_its_root_has_the_same_limit_of_sub_agents() -> None:
    run = b.play([b.declared(f"k{n}", root_session_id="p") for n in range(3)], sub_agents=2)
    assert [isinstance(state(run, f"k{n}", "p"), Tombstone) for n in range(3)] == [True, False, False]


# ------------------------------------------------------------------ releases


MORE = {"r1": b.release("r1", b.ConstantScorer(1)), "r2": b.release("r2", b.ConstantScorer(2))}


def released(*values: Any) -> list[str]:
    run = b.play_stamped([(n, v) for n, v in enumerate(values)], more=MORE)
    return [d["release"] for d in run.decisions]


def test_a_release_for_new_sessions_leaves_open_ones_under_theirs() -> None:
    values = [b.declared("old"), b.activation("r1"), b.called("old", 1), b.called("new", 0)]
    assert released(*values) == ["bundled", "r1"]


def test_a_release_for_open_sessions_judges_all_from_its_offset_on() -> None:
    values = [b.called("old", 0), b.activation("r1", 1, "open"), b.called("old", 1), b.called("new", 0)]
    assert released(*values) == ["bundled", "r1", "r1"]


def test_a_later_release_for_new_sessions_does_not_undo_one_for_open_sessions() -> None:
    values = [
        b.called("old", 0),
        b.activation("r1", 1, "open"),
        b.activation("r2", 2),
        b.called("old", 1),
        b.called("new", 0),
    ]
    assert released(*values) == ["bundled", "r1", "r2"]


def test_an_old_epoch_is_ignored_and_counted() -> None:
    run = b.play_stamped(
        [
            (0, b.activation("r1", 5)),
            (1, b.activation("r2", 5)),
            (2, b.activation("r2", 4)),
            (3, b.called("s", 0)),
        ],
        more=MORE,
    )
    assert run.decisions[0]["release"] == "r1"
    assert run.counters["stale_activation"] == 2


@pytest.mark.parametrize("more", [{"partition": 1}, {"topic": "other"}, {"signature": "bad"}])
def test_an_activation_for_elsewhere_or_badly_signed_goes_to_quarantine(more: dict[str, Any]) -> None:
    run = b.play_stamped([(0, b.activation("r1", 1, **more)), (1, b.called("s", 0))], more=MORE)
    assert run.quarantined == [("control", 0)]
    assert run.decisions[0]["release"] == "bundled"


def test_an_activation_of_a_release_that_is_not_here_stops_the_worker_and_applies_nothing() -> None:
    run = b.Run(b.judge())
    with pytest.raises(ArtefactError, match="nowhere"):
        run.feed(b.stamped([(0, b.called("s", 0)), (1, b.activation("nowhere"))]))
    assert run.partition.states == {}


# ------------------------------------------------------------------ what nobody foresaw


@pytest.mark.parametrize("batch", [1, 512])
def test_an_unforeseen_exception_quarantines_the_record_marks_the_session_and_goes_on(
    batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = stream.core.take_call.extract

    def failing(context: Any, tool: str, *rest: Any) -> Any:
        if tool == "boom":
            raise ZeroDivisionError("a secret value")
        return real(context, tool, *rest)

    monkeypatch.setattr(stream.core.take_call, "extract", failing)
    values = [
        b.declared("s"),
        b.called("s", 1),
        b.called("s", 2, tool="boom"),
        b.called("s", 3),
        b.called("t", 0),
        b.ended("s", 4),
    ]
    run = b.play(values, batch, bundled=low())
    assert run.quarantined == [("internal", 2)]
    assert (run.counters["internal"], run.counters["quarantined"]) == (1, 1)
    refused = next(o for o in run.outputs if o.topic == QUARANTINE)
    assert dict(refused.headers)["detail"] == b"ZeroDivisionError"
    first = run.cases[0]
    assert (first["session_id"], first["kind"], first["cause"]) == ("s", "unjudged", "internal")
    assert marks(run) == [[], ["refused"], ["undeclared", "partial", "unjudged_before"], ["undeclared"]]
    assert run.decisions[2]["previous"] == run.decisions[0]["digest"]
    assert [c["value"] for c in run.cases[-1]["credentials"]] == ["c-s"]
    monkeypatch.setattr(stream.core.take_call, "extract", real)
    again = b.Run(b.judge(), run.partition).feed([b.record(b.called("s", 9, tool="boom"), 50)])
    assert len(again.decisions) == 1


def test_the_record_that_failed_is_judged_when_it_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    real = stream.core.take_call.extract
    monkeypatch.setattr(stream.core.take_call, "extract", lambda *a: 1 // 0)
    run = b.play([b.declared("s"), b.called("s", 1)])
    monkeypatch.setattr(stream.core.take_call, "extract", real)
    run.feed([b.record(b.called("s", 1), 10), b.record(b.called("s", 1), 11)])
    assert marks(run) == [["refused"], ["undeclared", "partial", "unjudged_before"]]


def test_an_unforeseen_exception_while_deciding_is_told_too_and_the_rest_is_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = stream.core.words.explain

    def failing(ruling: Any, score: int, *rest: Any, **more: Any) -> str:
        if score == 10_000:
            raise ZeroDivisionError
        return real(ruling, score, *rest, **more)

    monkeypatch.setattr(stream.core.words, "explain", failing)
    more = {"hot": high()}
    values = [(0, b.called("s", 0)), (1, b.activation("hot")), (2, b.called("t", 0)), (3, b.called("s", 1))]
    runs = [b.play_stamped(values, size, bundled=low(), more=more) for size in (1, 512)]
    assert runs[0].outputs == runs[1].outputs
    assert runs[0].quarantined == [("internal", 2)]
    assert [c["kind"] for c in runs[0].cases] == ["unjudged"]
    assert [d["session_id"] for d in runs[0].decisions] == ["s", "t", "s"]
    assert [d["marks"] == ["refused"] for d in runs[0].decisions] == [False, True, False]


def test_an_unforeseen_exception_after_the_end_is_a_case_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream.core.take_call, "extract", lambda *a: 1 // 0)
    run = b.play([b.declared("s"), b.ended("s", 1), b.called("s", 2)])
    assert run.quarantined == [("internal", 2)]
    assert run.cases[-1]["kind"] == "unjudged"


# ------------------------------------------------------------------ sub-agents

CHILD: dict[str, Any] = {"root_session_id": "p"}


def of(session: str, **more: Any) -> dict[str, Any]:
    return {"root_session_id": "p", "parent_session_id": session, **more}


def contained(run: b.Run) -> list[str]:
    return [c["session_id"] for c in run.cases if c["kind"] == "standing" and c["after"] == "contained"]


def test_a_sub_agent_is_revoked_with_its_parent_and_its_own_credentials_named() -> None:
    values = [b.declared("p"), b.declared("k", **of("p")), b.declared("kk", **of("k")), drifting("p", 1)]
    run = b.play(values, bundled=high())
    assert contained(run) == ["p", "k", "kk"]
    assert [c["inherited_from"] for c in run.cases] == [None, "p", "p"]
    assert [c["finding"]["activity_name"] for c in run.cases] == ["Create"] * 3
    assert [c["credentials"][0]["value"] for c in run.cases] == ["c-p", "c-k", "c-kk"]
    assert all(c["sets"] for c in run.cases)


def test_a_revocation_never_goes_up_or_sideways() -> None:
    values = [
        b.declared("p"),
        b.declared("k", **of("p")),
        b.declared("j", **of("p")),
        drifting("k", 1, **CHILD),
    ]
    assert contained(b.play(values, bundled=high())) == ["k"]


def test_a_root_that_names_its_sub_agent_as_parent_stays_above_it() -> None:
    values = [b.declared("p", parent_session_id="k"), b.declared("k", **of("p")), drifting("k", 1, **CHILD)]
    assert contained(b.play(values, bundled=high())) == ["k"]


def test_parents_that_name_each_other_in_a_ring_are_survived() -> None:
    values = [
        b.declared("i", **of("j")),
        b.declared("j", **of("i")),
        b.declared("k", **of("k")),
        drifting("i", 1, **CHILD),
        b.ended("j", 1, **CHILD),
    ]
    run = b.play(values, bundled=high())
    assert contained(run) == ["i", "j"]
    assert isinstance(state(run, "i", "p"), Tombstone)


def test_sub_agents_end_with_their_parent() -> None:
    run = b.play([b.declared("p"), b.declared("k", **of("p")), b.declared("kk", **of("k")), b.ended("p", 1)])
    assert [c["session_id"] for c in run.cases] == ["p", "k", "kk"]
    assert all(isinstance(state(run, s, "p"), Tombstone) for s in ("p", "k", "kk"))


def test_the_end_of_a_sub_agent_leaves_its_parent_open() -> None:
    run = b.play([b.declared("p"), b.declared("k", **of("p")), b.ended("k", 1, **CHILD)])
    assert isinstance(state(run, "p"), Session)


def test_credentials_that_a_sub_agent_declares_after_its_parent_was_revoked_are_revoked_too() -> None:
    values = [b.declared("p"), drifting("p", 1), b.declared("k", **of("p")), b.called("k", 1, **CHILD)]
    for batch in (1, 512):
        run = b.play(values, batch, bundled=high())
        assert contained(run) == ["p", "k"]
        assert run.cases[1]["inherited_from"] == "p"
        assert "identity" in run.decisions[-1]["families"]


def switched(*phases: tuple[str, list[Any]], score: int = 10_000) -> b.Run:
    """A log whose parts are judged under one mode of the policy after the other."""
    records = b.log([event for _, events in phases for event in events])
    run = b.Run(b.judge())
    for mode, events in phases:
        run.judge = b.judge(b.release(scorer=b.ConstantScorer(score), mode=mode))
        run.feed(records[: len(events)])
        records = records[len(events) :]
    return run


def revoked(run: b.Run) -> list[tuple[str, str]]:
    """Whose credentials are asked back in earnest, and why."""
    sets = [(c, s) for c in run.cases if c["enforced"] for s in c["sets"] if s["topic"] == REVOCATIONS]
    return [(case["session_id"], case["cause"]) for case, _ in sets]


def test_what_shadow_alone_revoked_is_revoked_at_its_end_once_the_policy_enforces() -> None:
    drifted = [b.declared("p"), b.declared("k", **of("p")), drifting("p", 1)]
    over = [b.ended("p", 2)]
    assert revoked(switched(("shadow", drifted), ("enforce", over))) == [("p", "ended"), ("k", "ended")]
    assert revoked(switched(("enforce", drifted), ("enforce", over))) == [("p", "drift"), ("k", "drift")]
    assert revoked(switched(("enforce", drifted), ("shadow", over))) == [("p", "drift"), ("k", "drift")]
    assert revoked(switched(("shadow", drifted), ("shadow", over))) == []


def test_what_shadow_alone_revoked_is_revoked_once_when_it_drifts_on_under_a_policy_that_enforces() -> None:
    drifted = [b.declared("p"), b.declared("k", **of("p")), drifting("p", 1)]
    on = [drifting("p", 2), drifting("p", 3), b.ended("p", 4)]
    run = switched(("shadow", drifted), ("enforce", on))
    assert revoked(run) == [("p", "drift"), ("k", "drift")]
    told = [c for c in run.cases if c["enforced"] and c["session_id"] == "p" and c["finding"]]
    assert [c["cause"] for c in told] == ["drift", "ended"]


def test_what_shadow_revoked_and_denied_is_nothing_that_happened_to_the_agent() -> None:
    drifted = [b.declared("s"), drifting("s", 1), b.called("s", 2)]
    on = [b.called("s", 3, arguments={"path": "notes.txt"}), b.called("s", 4, arguments={"path": "more.txt"})]
    for score in (0, 10_000):
        run = switched(("shadow", drifted), ("enforce", on), score=score)
        plain = switched(("enforce", [b.declared("s"), *on]), score=score)
        assert verdicts(run)[-2:] == verdicts(plain)
        heard = {e["name"] for d in run.decisions[-2:] for e in d["evidence"]}
        assert heard.isdisjoint({"after_revocation", "denied_before"})
        assert not revoked(run)
    told = {e["name"] for e in switched(("shadow", drifted)).decisions[-1]["evidence"]}
    assert "after_revocation" in told


def test_a_sub_agent_that_only_shadow_revoked_is_not_forgotten_when_the_policy_enforces_again() -> None:
    first, late = [b.declared("p"), drifting("p", 1)], [b.declared("n", **of("p"))]
    for on, why in (([drifting("n", 1, **CHILD)], "drift"), ([b.ended("n", 1, **CHILD)], "ended")):
        run = switched(("enforce", first), ("shadow", late), ("enforce", on))
        assert revoked(run) == [("p", "drift"), ("n", why)]


def test_each_of_a_tree_that_is_revoked_in_earnest_is_told_again_and_its_end_says_when() -> None:
    drifted = [b.declared("p"), b.declared("k", **of("p")), drifting("p", 1)]
    run = switched(("shadow", drifted), ("enforce", [drifting("p", 2), b.ended("p", 3)]))
    told = [c["session_id"] for c in run.cases if c["enforced"] and c["cause"] == "drift" and c["finding"]]
    assert told == ["p", "k"]
    closed = [
        c["finding"]["unmapped"]["exposure"]
        for c in (
            *switched(("shadow", drifted), ("enforce", [b.ended("p", 2)])).cases,
            *switched(("enforce", drifted), ("shadow", [b.ended("p", 2)])).cases,
            *switched(("shadow", drifted), ("shadow", [b.ended("p", 2)])).cases,
        )
        if c["cause"] == "ended" and c["session_id"] == "p"
    ]
    assert [one["revocation"] for one in closed] == ["requested", "requested", "shadow"]
    assert "now that the session is over" in closed[0]["note"]
    assert "earlier" in closed[1]["note"]


def test_credentials_that_come_to_light_under_a_policy_that_enforces_are_not_revoked_for_what_shadow_found() -> (
    None
):
    drifted = [b.declared("p"), drifting("p", 1)]
    late = [b.declared("k", **of("p"))]
    assert revoked(switched(("shadow", drifted), ("enforce", late))) == []
    assert revoked(switched(("enforce", drifted), ("enforce", late))) == [("p", "drift"), ("k", "drift")]


def test_a_parent_whose_intent_tells_nothing_narrows_nothing() -> None:
    told = b.declared("k", text="send an email to ann@example.com", **of("p"))
    alone = narrowed([told])
    under = narrowed([b.declared("p", text="You are a helpful assistant."), told])
    assert {name: under[name] for name in under if name != "marks"} == {
        name: alone[name] for name in alone if name != "marks"
    }


def test_an_amendment_lists_actions_beside_those_of_the_declaration_and_restricts_none_by_itself() -> None:
    def read(declared: list[str] | None) -> str:
        intent = {"text": "read notes.txt", **({"actions": declared} if declared is not None else {})}
        more = b.event("intent.amended", "s", 1, intent={"text": "also mail it", "actions": ["write"]})
        return str(
            verdicts(b.play([b.declared("s", 0, intent=intent), more, b.called("s", 2)], bundled=low()))[0]
        )

    assert read(None) == read(["read"]) == "allow"
    assert read(["execute"]) == "deny"


def narrowed(values: list[Any]) -> dict[str, Any]:
    run = b.play([*values, b.called("k", 1, tool="send_email", arguments={"to": "ann@example.com"}, **CHILD)])
    return {e["name"]: e["value"] for e in run.decisions[-1]["evidence"]} | {
        "marks": run.decisions[-1]["marks"]
    }


def test_a_value_that_only_the_sub_agents_own_intent_holds_is_not_intended() -> None:
    told = b.declared("k", text="send an email to ann@example.com", **of("p"))
    alone = narrowed([told])
    under = narrowed([b.declared("p", text="read notes.txt"), told])
    shared = narrowed([b.declared("p", text="send an email to ann@example.com"), told])
    assert alone["marks"] == ["orphan"]
    assert alone["not_asked"] == 1.0
    assert shared["not_asked"] == 1.0
    assert under["not_asked"] == 0.0


def test_an_orphan_is_adopted_and_narrowed_when_its_parent_appears() -> None:
    told = b.declared("k", text="send an email to ann@example.com", **of("p"))
    late = narrowed([told, b.declared("p", text="read notes.txt")])
    assert late["marks"] == []
    assert late["not_asked"] == 0.0
    run = b.play([told, b.declared("p"), drifting("p", 1)], bundled=high())
    assert contained(run) == ["p", "k"]


# ------------------------------------------------------------------ shadow


def test_shadow_gives_the_same_verdicts_unenforced() -> None:
    values = [b.declared("s"), b.called("s", 1), drifting("s", 2), b.ended("s", 3)]
    hard = b.play(values, bundled=high())
    soft = b.play(values, bundled=b.release(scorer=b.ConstantScorer(10_000), mode="shadow"))
    assert verdicts(soft) == verdicts(hard)
    assert "revoke" in verdicts(soft)
    assert {d["enforced"] for d in soft.decisions} == {False}
    assert {d["enforced"] for d in hard.decisions} == {True}
    assert {c["enforced"] for c in soft.cases} == {False}
