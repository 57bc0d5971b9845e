"""What a producer with rights on an input topic may try against the worker and against other sessions."""

from __future__ import annotations

from typing import Any

import pytest

from models.session import Session, Tombstone, load
from stream import events
from stream.core.partition import Partition, state_key
from stream.events import CASES, DECISIONS, EVENTS, Record, dumps, short_hash
from stream.policy import Limits
from tests import builders as b

MIB = 1 << 20
HOUR = 3600


def heavy(session: str, seq: int = 1) -> dict[str, Any]:
    """A result of thousands of values that occur nowhere else: what fills a session's memory."""
    words = " ".join(short_hash(session, str(seq), str(n), size=6) for n in range(2500))
    return b.returned(session, seq, "c", result=words)


def opened(partition: Partition) -> dict[str, Session]:
    found = {key: load(raw) for key, raw in partition.states.items() if key.startswith("s/")}
    return {key: state for key, state in found.items() if isinstance(state, Session)}


def tombs(partition: Partition) -> list[bytes]:
    return [
        raw
        for key, raw in partition.states.items()
        if key.startswith("s/") and isinstance(load(raw), Tombstone)
    ]


# ------------------------------------------------------------------------------------------------ memory


def test_a_flood_of_sessions_pushes_out_its_own_undeclared_ones_and_no_declared_one() -> None:
    flood = [b.called(f"flood-{n}", 0) for n in range(3000)]
    run = b.play([b.declared("honest"), *flood, b.called("honest", 1)], open_sessions=100, tombstones=200)
    assert len(opened(run.partition)) == 100
    assert len(run.partition.states) <= 100 + 200 + 2
    assert "undeclared" not in run.decisions[-1]["marks"]
    assert len(run.decisions) == 3001


def heavies(n: int) -> list[dict[str, Any]]:
    """Sessions that each take some 50 KiB, one after the other."""
    return [
        value for k in range(n) for value in (b.called(f"h{k}", 0), *(heavy(f"h{k}", m) for m in (1, 2, 3)))
    ]


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 64])
def test_heavy_sessions_are_closed_by_their_weight_at_the_same_record_whatever_the_batches(
    batch: int,
) -> None:
    values = [b.declared("honest"), *heavies(30)]
    run = b.play(values, batch, open_mib=1)
    whole = b.play(values, 512, open_mib=1)
    assert run.outputs == whole.outputs
    assert run.partition.states == whole.partition.states
    held = opened(run.partition)
    assert 15 <= len(held) <= 28
    assert {case["reason"] for case in run.cases} <= {
        "the partition's or the tree's limit of open sessions was reached"
    }
    assert sum(map(len, run.partition.states.values())) < 1.5 * MIB
    assert state_key("default", "honest", "honest") in held
    assert run.partition.weight == sum(state.weight for state in held.values()) <= MIB


@pytest.mark.slow
def test_the_weight_is_known_again_after_a_crash() -> None:
    values = heavies(27)
    whole = b.play(values, open_mib=1)
    half = b.Run(b.judge(open_mib=1)).feed(b.log(values)[:90])
    again = b.Run(half.judge, Partition.load(dict(half.partition.states))).feed(b.log(values))
    assert half.outputs + again.outputs == whole.outputs
    assert again.partition.weight == whole.partition.weight


def test_a_session_weighs_about_what_it_takes() -> None:
    """The estimate is never far below the bytes: a limit that is met is one that bounds memory."""
    long = [b.called("long", n, arguments={"path": f"f{n}"}) for n in range(1500)]
    named = b.declared(
        "named", credentials=[{**b.CREDENTIAL, "value": "v" * 256, "scope": "s" * 1024} for _ in range(16)]
    )
    run = b.play([b.called("plain", 0), b.called("h", 0), heavy("h"), *long, named])
    assert sorted(state.session for state in opened(run.partition).values()) == [
        "h",
        "long",
        "named",
        "plain",
    ]
    for key, state in opened(run.partition).items():
        decided = len(dumps([list(map(str, row)) for row in state.dossier.path])) + 512
        assert len(run.partition.states[key]) <= 1.25 * state.weight + decided, state.session


def test_ids_of_the_greatest_length_leave_a_bounded_tombstone() -> None:
    long = "x" * 256
    calls = [
        b.called(long, n, tool="t" * 256, call_id=f"{n:03d}" + "c" * 253, id=f"{n:03d}" + "i" * 253)
        for n in range(100)
    ]
    end = b.ended(long, 100, id="e" * 256)
    run = b.play(
        [b.declared(long, id="d" * 256), *calls, end], bundled=b.release(scorer=b.ConstantScorer(10_000))
    )
    (tomb,) = tombs(run.partition)
    assert len(tomb) < 10_240


def test_ids_beyond_the_greatest_length_and_keys_of_any_length_leave_no_state() -> None:
    values = [
        b.record({**b.called("s", 0), field: "x" * 257}, n, key=None)
        for n, field in enumerate(("session_id", "root_session_id", "id", "call_id", "tool", "tenant"))
    ]
    keys = [
        Record(EVENTS, 0, 10 + n, 0, "none", b"k%d" % n * 1000, (), dumps(b.called("s", 0)))
        for n in range(50)
    ]
    run = b.Run(b.judge()).feed([*values, *keys])
    assert {reason for reason, _ in run.quarantined} == {"schema", "key"}
    assert len(run.quarantined) == 56
    assert set(run.partition.states) == {"ledger"}


def test_a_flood_of_catalogues_is_bounded_in_the_partition_and_in_the_process() -> None:
    values = []
    for n in range(600):
        tools = [{"name": f"tool{n}-{k}", "description": "word " * 50} for k in range(3)]
        values += [b.declared(f"s{n}", tools=tools), b.called(f"s{n}", 1)]
    judge = b.judge(catalogues=40)
    run = b.Run(judge).feed(b.log(values))
    kept = [key for key in run.partition.states if key.startswith("c/")]
    assert len(kept) == 40
    assert run.counters["catalogue_not_kept"] == 560
    assert len(judge.catalogues) <= 256
    assert len(events._checked) <= 128
    assert len(run.decisions) == 600


def test_the_counters_of_a_partition_do_not_grow_with_what_is_sent() -> None:
    values: list[Any] = [b"\xff%d" % n for n in range(500)]
    values += [{"type": f"t{n}", "session_id": "s"} for n in range(500)]
    values += [{"type": "release.activated", "token": f"{n}"} for n in range(500)]
    run = b.play(values)
    assert len(run.quarantined) == 1500
    assert len(run.partition.states["ledger"]) < 200


# ------------------------------------------------------------------------------------- other people's sessions


def test_another_tenant_s_events_under_the_same_ids_touch_nothing_of_a_session() -> None:
    tenants: dict[str, str | None] = {"a.events": "a", "b.events": "b"}
    honest = [b.declared("s", tenant="a"), b.called("s", 1, tenant="a"), b.called("s", 2, tenant="a")]
    forged = [
        b.ended("s", 1, tenant="a"),
        b.event("intent.amended", "s", 2, intent={"text": "send all", "actions": ["write"]}, tenant="a"),
        b.declared("s", 3, text="do anything", tenant="a"),
        b.called("s", 2, tool="run_shell", tenant="a"),
    ]

    def records(topic: str, values: list[Any]) -> list[Record]:
        return [b.record(value, n)._replace(topic=topic) for n, value in enumerate(values)]

    judge = b.judge(tenants=tenants)
    alone = b.Run(judge).feed(records("a.events", honest))
    # One partition holds one topic; even mixed into it, b's records are b's, whatever tenant they claim.
    mixed = [
        pair
        for pairs in zip(records("a.events", honest), records("b.events", forged[:3]), strict=True)
        for pair in pairs
    ]
    together = b.Run(judge).feed([record._replace(offset=n) for n, record in enumerate(mixed)])
    assert [d for d in together.decisions if d["tenant"] == "a"] == alone.decisions
    assert [c for c in together.cases if c["tenant"] == "a"] == alone.cases


@pytest.mark.parametrize("kind", ["create", "none"])
def test_a_stamp_that_the_broker_did_not_make_expires_nobody(kind: str) -> None:
    first = b.stamped([(0, b.declared("s"))])
    forged = Record(EVENTS, 0, 1, b.T0 + 10**12, kind, None, (), dumps({"type": "clock.tick"}))
    event = b.record(b.called("t", 0), 2)._replace(timestamp_ms=b.T0 + 10**12, timestamp_type=kind)
    run = b.Run(b.judge()).feed([*first, forged, event])
    assert state_key("default", "s", "s") in opened(run.partition)
    assert run.cases == []


def test_a_flood_of_ticks_and_events_of_the_far_future_expires_nobody() -> None:
    ahead = [
        b.called("t", n, time=time)
        for n, time in enumerate(("9998-12-31T23:59:59Z", "2027-01-01T00:00:00Z", "2026-01-01T09:06:00Z"))
    ]
    ticks = [{"type": "clock.tick", "time": "9998-01-01T00:00:00Z", "session_id": "s"}] * 100
    run = b.play_stamped([(0, b.declared("s")), *((1, value) for value in [*ahead, *ticks])])
    assert [reason for reason, _ in run.quarantined] == ["time"] * 3
    assert state_key("default", "s", "s") in opened(run.partition)
    assert run.cases == []


@pytest.mark.parametrize("seq", [0, 2**53])
def test_a_number_taken_by_a_forger_takes_no_call_out_of_judgement(seq: int) -> None:
    forged = b.called("s", seq, tool="read_file", arguments={"path": "x"}, call_id="forged")
    run = b.play([b.declared("s", None, id="d"), forged, b.called("s", seq), b.called("s", 7)])
    assert [d["call_id"] for d in run.decisions] == ["forged", f"s:{seq}", "s:7"]


def test_headers_are_not_read_whatever_they_say() -> None:
    odd: Any = (("reason", b"x"), ("tenant", b"other"), ("\ufffd", None), ("h" * 10_000, b"\xff" * 10_000))
    plain = b.log([b.declared("s"), b.called("s", 1)])
    with_headers = [record._replace(headers=odd) for record in plain]
    assert b.Run(b.judge()).feed(with_headers).outputs == b.Run(b.judge()).feed(plain).outputs


def test_outputs_of_the_largest_input_stay_within_the_headroom() -> None:
    from stream.shell.topic_table import HEADROOM_BYTES

    room = MIB - 2048
    wide = b.declared("s", credentials=[{**b.CREDENTIAL, "value": f"{n}" + "v" * 250} for n in range(16)])
    big = b.called("s", 1, tool="wire_money", arguments={"to": "x@evil.example", "text": "é" * (room // 2)})
    garbage = b"\xff" * MIB
    run = b.play([wide, big, garbage, b.ended("s", 2)])
    assert {o.topic for o in run.outputs} >= {DECISIONS, CASES}
    assert max(len(o.value) for o in run.outputs) <= MIB + HEADROOM_BYTES


def test_the_shipped_limits_are_those_of_the_page() -> None:
    limits = Limits()
    assert (limits.open_sessions, limits.open_mib, limits.tombstones) == (100_000, 512, 200_000)
    assert (limits.sub_agents, limits.catalogues) == (256, 1024)
