"""A session's story: every record in its place, what is missing told, values masked, and a page that nobody's text can write on."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from models.errors import ConfigError, InputError
from stream import bootstrap
from stream.cli.main import app
from stream.events import (
    ALERTS,
    CASES,
    DECISIONS,
    ENDS,
    EVENTS,
    FEEDBACK,
    HELD,
    OUTCOMES,
    QUARANTINE,
    REVOCATIONS,
    RISK,
    Record,
    case_id_of,
    dumps,
)
from stream.offline import trail_story as story
from stream.offline.files import read_records
from stream.offline.replay import line_of, replay
from stream.offline.trail import Files, Trail, build
from stream.offline.trail_page import page
from stream.outbound.act import Actor
from stream.outbound.keys import SigningKeys
from stream.settings import Settings
from stream.shell.demo import SAMPLES
from stream.shell.export import log_line
from stream.shell.outputs import claims_of
from tests import builders as b

CLI = CliRunner()
SAMPLE = SAMPLES / "19-finance-invoice-iban-swap.jsonl"
SESSION = "finance-invoice-iban-swap"
DOCUMENT = Path(__file__).parents[2] / "docs" / "audit.md"
IBAN = "GB33BUKB20201555555555"
SECRET = "ghp_" + "a1B2" * 9
INPUTS: dict[str, str | None] = {EVENTS: None}


class Told:
    """Topics as a list of records."""

    def __init__(self, records: Sequence[Record], unread: dict[str, str] | None = None) -> None:
        self.records, self.unread = records, unread or {}

    def read(self, bases: Any, root: str | None = None) -> Any:
        return (
            record for record in self.records if record.topic in bases and record.topic not in self.unread
        )

    def base(self, topic: str) -> str:
        return topic


def on_the_bus(events: Sequence[Record], outputs: Any) -> list[Record]:
    """Events and what they led to, each topic with offsets of its own."""
    made, offsets = list(events), dict[str, int]()
    for output in outputs:
        at = offsets[output.topic] = offsets.get(output.topic, -1) + 1
        made.append(Record(output.topic, 0, at, 0, "create", output.key, output.headers, output.value))
    return made


@cache
def keys() -> SigningKeys:
    import tempfile

    return SigningKeys(state_dir=Path(tempfile.mkdtemp()))


@cache
def sample(mode: str = "enforce") -> tuple[Record, ...]:
    """The session whose payee is swapped, judged as shipped, and all that it led to."""
    records = list(read_records(SAMPLE))
    outputs = replay(records, bootstrap.judge(Settings(), mode=mode), Actor(keys()))
    return tuple(on_the_bus([record for record, _ in records], outputs))


def told(value: Any, topic: str, key: bytes = b"acme", at: int = 0, headers: Any = ()) -> Record:
    return Record(topic, 0, at, 1_772_443_200_000, "create", key, headers, dumps(value))


def of_session(events: Sequence[Any], **how: Any) -> list[Record]:
    log = b.log(events)
    return on_the_bus(log, b.Run(b.judge(scorer=b.ConstantScorer(100), **how)).feed(log).outputs)


def kinds(trail: Trail) -> list[str]:
    return [each.kind for each in trail.entries if each.kind != "gap"]


def gaps(trail: Trail) -> list[str]:
    return [each.data["gap"] for each in trail.of("gap")]


def test_every_record_stands_in_its_place_with_topic_partition_and_offset() -> None:
    trail = build(Told(sample()), SESSION, INPUTS)
    call = ["called", "decided", "returned"]
    led_to = ["case", "alert", "revocation", "risk"]
    assert kinds(trail) == [
        "declared",
        *call * 2,
        *["called", "decided", *led_to, "returned"],
        *call * 2,
        *["ended", "case", "alert", "risk"],
    ]
    assert sorted(each.place for each in trail.entries if each.place) == sorted(
        (record.topic, record.partition, record.offset) for record in sample()
    )
    assert gaps(trail) == ["ran", "ran", "ran", "no_outcome"]
    assert trail.chain.holds
    assert trail.document()["session"] == {
        "tenant": "acme",
        "root_session_id": SESSION,
        "session_id": SESSION,
        "case_id": case_id_of("acme", SESSION, SESSION),
        "agent": "finance-assistant",
        "user": "omar.keller@acme.example.com",
        "standing": "contained",
    }


def unsigned(claims: dict[str, Any]) -> str:
    """A token that says so, whoever would sign it."""
    parts = ({"alg": "ES256", "kid": "k"}, claims)
    return ".".join(
        [
            *(base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in parts),
            "c2ln",
        ]
    )


def test_outcome_feedback_and_rulings_are_of_the_case_whoever_told_them() -> None:
    case_id = case_id_of("acme", SESSION, SESSION)
    revocation = next(record for record in sample() if record.topic == REVOCATIONS)
    jti = claims_of(revocation.value or b"")["jti"]
    case = next(record for record in sample() if record.topic == CASES)
    outcome = {
        "jti": jti,
        "case_id": case_id,
        "broker": "ledger",
        "kind": "jti",
        "status": "done",
        "latency_ms": 310,
        "time": "2026-03-02T09:18:19.500Z",
    }
    feedback = {
        "case_id": case_id,
        "verdict": "true_positive",
        "by": "ada",
        "comment": "called the supplier",
        "time": "2026-03-03T08:00:00Z",
    }
    others = [
        told({**outcome, "case_id": "another"}, OUTCOMES),
        told({"type": "feedback.given", "token": unsigned({**feedback, "case_id": "another"})}, FEEDBACK),
        told({"type": "feedback.given", "token": 7}, FEEDBACK),
        told({"type": "held.resolved", "token": "x"}, FEEDBACK),
    ]
    opening = (("breaker", b"b-1"), ("scope", b"acme"), ("partition", b"0"), ("offset", b"0"))
    ruled = (("action", b"send"), ("breaker", b"b-1"), ("by", b"ada"), ("partition", b"0"), ("offset", b"9"))
    more = [
        told(outcome, OUTCOMES, at=1),
        told(outcome, OUTCOMES, at=2),
        told({"type": "feedback.given", "token": unsigned(feedback)}, FEEDBACK, at=3),
        case._replace(topic=HELD, headers=opening),
        Record(HELD, 0, 1, 1_772_443_105_000, "create", b"acme", ruled, b""),
        Record(
            HELD, 0, 2, 1_772_443_105_000, "create", b"acme", (("action", b"drop"), ("breaker", b"b-2")), b""
        ),
    ]
    trail = build(Told([*sample(), *others, *more]), SESSION, INPUTS)
    assert [each.repeats for each in trail.of("outcome")] == [1]
    said = trail.of("feedback")[0]
    assert said.text == "ada says true_positive (signature not verified here): called the supplier"
    assert said.data["signature"] == "unverified"
    assert [each.data["by"] for each in trail.of("ruling")] == ["ada"]
    order = kinds(trail)
    assert order.index("revocation") < order.index("outcome") < order.index("ended")
    assert order.index("held") < order.index("ruling") < order.index("feedback") == len(order) - 1
    assert gaps(trail) == ["ran"] * 3
    assert "310 ms after the revocation" in story.fate(trail)[-1]
    assert "held" in gaps(build(Told([*sample(), *more[:4]]), SESSION, INPUTS))


CARD_LIKE = "4111111111111111" + "ab" * 8
"""An id of ours whose digits could be a card's."""


def test_an_id_of_ours_that_looks_like_a_card_is_whole_in_what_to_do_and_a_card_beside_it_is_not() -> None:
    case_id = case_id_of("acme", SESSION, SESSION)
    records = [
        record._replace(value=(record.value or b"").replace(case_id.encode(), CARD_LIKE.encode()))
        for record in sample()
        if record.topic == ALERTS
    ]
    records = [
        record._replace(value=(record.value or b"").replace(b"1. ", b"1. 4111111111111111: "))
        for record in records
    ]
    told = " ".join(story.steps(build(Told(records), SESSION, INPUTS)))
    assert f"driftline show {CARD_LIKE} tells the session" in told
    assert told.startswith("1. ********: ")


def test_an_outcome_and_a_ruling_are_found_though_their_ids_look_like_cards() -> None:
    revocation = next(record for record in sample() if record.topic == REVOCATIONS)
    case = next(record for record in sample() if record.topic == CASES)
    claims = {**claims_of(revocation.value or b""), "jti": CARD_LIKE}
    outcome = {"jti": CARD_LIKE, "case_id": claims["txn"], "status": "done", "time": case_time(case)}
    breakers = [CARD_LIKE.replace("ab", each, 1).encode() for each in ("cd", "ef")]
    records = [
        *(record for record in sample() if record.topic != REVOCATIONS),
        revocation._replace(value=unsigned(claims).encode()),
        told(outcome, OUTCOMES),
        case._replace(topic=HELD, headers=(("breaker", breakers[0]),)),
        Record(HELD, 0, 1, 0, "create", b"acme", (("action", b"send"), ("breaker", breakers[1])), b""),
    ]
    trail = build(Told(records), SESSION, INPUTS)
    assert "no_outcome" not in gaps(trail)
    assert [each.data["breaker"] for each in trail.of("held")] == [breakers[0].decode()]
    assert not trail.of("ruling")  # that of another opening


def case_time(case: Record) -> str:
    return str(json.loads(case.value or b"")["time"])


def test_records_repeated_by_a_crash_or_a_producer_change_nothing_but_their_count() -> None:
    once = build(Told(sample()), SESSION, INPUTS).document()
    again = [record._replace(offset=record.offset + 1000) for record in sample()]
    twice = build(Told([*sample(), *again]), SESSION, INPUTS).document()
    assert {each["repeats"] for each in twice["trail"] if each["kind"] != "gap"} == {1}
    assert without_places(once) == without_places(twice)


def without_places(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in each.items() if name not in ("place", "repeats", "origin")}
        for each in document["trail"]
    ]


@given(st.data())
@settings(max_examples=20)
def test_the_trail_does_not_depend_on_how_topics_and_other_sessions_are_mixed(data: st.DataObject) -> None:
    """Only the order within a topic's partition counts: that is all that a bus, or files in any order, keep."""
    others = of_session([b.declared("other"), b.called("other", 1), b.ended("other", 2)])
    queues: dict[str, list[Record]] = {}
    for record in (*sample(), *others):
        queues.setdefault(f"{record.topic}/{record in others}", []).append(record)
    mixed: list[Record] = []
    while queues:
        name = data.draw(st.sampled_from(sorted(queues)))
        mixed.append(queues[name].pop(0))
        if not queues[name]:
            del queues[name]
    assert (
        build(Told(mixed), SESSION, INPUTS).document()["trail"]
        == build(Told(sample()), SESSION, INPUTS).document()["trail"]
    )


def test_a_trail_of_files_is_that_of_the_bus(tmp_path: Path) -> None:
    dumped, played = tmp_path / "events.jsonl", tmp_path / "all.jsonl"
    events = [record for record in sample() if record.topic == EVENTS]
    dumped.write_bytes(b"".join(log_line(record, 1) + b"\n" for record in events))
    outputs = replay(read_records(dumped), bootstrap.judge(Settings(), mode="enforce"), Actor(keys()))
    played.write_bytes(b"".join(line_of(output) + b"\n" for output in outputs))
    made = build(Files([played, dumped], lambda topic: topic), SESSION, INPUTS)
    live = build(Told(sample(), {OUTCOMES: "no"}), SESSION, INPUTS)
    assert without_places(made.document()) == without_places(live.document())
    assert made.of("declared")[0].place == (EVENTS, 0, 0)
    only = build(Files([played], lambda topic: topic), SESSION, INPUTS)
    assert EVENTS in only.unread
    assert story.asked_for(only) == [f"not known here: {EVENTS} may not be read, or is missing"]
    assert gaps(only) == []
    with pytest.raises(InputError, match="two passes"):
        Files([Path("-")], str)


GAPS: list[tuple[str, Callable[[], list[Record]], list[str]]] = [
    (
        "no decision",
        lambda: [
            r
            for r in of_session(
                [b.declared(), b.called(seq=1), b.returned(seq=2, call="s:1"), b.ended(seq=3)]
            )
            if r.topic != DECISIONS
        ],
        ["undecided"],
    ),
    (
        "no number",
        lambda: of_session([b.declared(), b.called(seq=1), b.returned(seq=4, call="s:1"), b.ended(seq=6)]),
        ["events", "events"],
    ),
    (
        "no end",
        lambda: of_session([b.declared(), b.called(seq=1), b.returned(seq=2, call="s:1")]),
        ["not_ended"],
    ),
    ("no result", lambda: of_session([b.declared(), b.called(seq=1), b.ended(seq=2)]), ["no_return"]),
    (
        "no declaration",
        lambda: of_session([b.called(seq=0), b.returned(seq=1, call="s:0"), b.ended(seq=2)]),
        ["abstained", "undeclared"],
    ),
    (
        "a refused call",
        lambda: of_session([b.declared(), {**b.called(seq=1), "schema_version": 9}, b.ended(seq=2)]),
        ["refused", "events"],
    ),
    (
        "no events",
        lambda: [r for r in of_session([b.declared(), b.called(seq=1), b.ended(seq=2)]) if r.topic != EVENTS],
        ["no_events"],
    ),
    (
        "a decision taken out",
        lambda: [
            r
            for r in of_session(
                [
                    b.declared(),
                    *(b.called(seq=n) for n in (1, 2, 3)),
                    *(b.returned(seq=n + 3, call=f"s:{n}") for n in (1, 2, 3)),
                    b.ended(seq=7),
                ]
            )
            if b'"call_seq":1,' not in (r.value or b"") or r.topic != DECISIONS
        ],
        ["undecided", "decisions", "chain"],
    ),
]


@pytest.mark.parametrize(("made", "missing"), [case[1:] for case in GAPS], ids=[case[0] for case in GAPS])
def test_what_is_not_there_is_a_record_of_the_trail(
    made: Callable[[], list[Record]], missing: list[str]
) -> None:
    assert gaps(build(Told(made()), "s", INPUTS)) == missing


def test_an_honest_session_that_is_whole_has_no_gap_and_a_topic_that_may_not_be_read_makes_none() -> None:
    whole = of_session([b.declared(), b.called(seq=1), b.returned(seq=2, call="s:1"), b.ended(seq=3)])
    assert gaps(build(Told(whole), "s", INPUTS)) == []
    for topic in (EVENTS, DECISIONS):
        trail = build(Told(whole, {topic: "it may not be read"}), "s", INPUTS)
        assert gaps(trail) == []
        assert trail.document()["not_read"] == {topic: "it may not be read"}


def test_a_verdict_that_came_when_nobody_waited_any_more_is_told() -> None:
    events = [
        b.declared(),
        b.called(seq=1),
        b.called(seq=2),
        b.returned(seq=3, call="s:1"),
        b.returned(seq=4, call="s:2"),
        b.ended(seq=5),
    ]
    records = of_session(events)
    stamps = {(EVENTS, 1): 0, (EVENTS, 2): 1, (DECISIONS, 0): 60, (DECISIONS, 1): 150}
    seconds = {(each.topic, each.offset): stamps.get((each.topic, each.offset), 0) for each in records}
    on_bus = [
        each._replace(timestamp_ms=b.T0 + 1000 * seconds[each.topic, each.offset], timestamp_type="create")
        for each in records
    ]
    late = build(Told(on_bus), "s", INPUTS).of("gap")
    assert [each.text for each in late] == [
        "call 1 was on the bus 149 seconds before its verdict: an outage, or a backlog"
    ]


def test_what_is_put_into_quarantine_stands_where_it_was_refused_if_it_names_the_session_at_all() -> None:
    events = [
        b.declared(),
        b.called(seq=1),
        {**b.event("tool.called", seq=2), "tool": 7},
        b'{"session_id":"s"' + b"\xff",
        b"nothing of ours",
        b.returned(seq=3, call="s:1"),
        b.ended(seq=4),
    ]
    trail = build(Told(of_session(events)), "s", INPUTS)
    refused = [(each.data["reason"], each.data["origin"][2]) for each in trail.of("quarantined")]
    assert refused == [("schema", 2), ("decode", 3)]
    order = kinds(trail)
    assert order.index("decided") < order.index("quarantined") < order.index("returned")


def test_values_are_masked_and_secrets_stay_hidden_even_where_values_are_asked_for() -> None:
    arguments = {"to": "eve@example.com", "note": f"use {SECRET}", "auth": {"apiKey": "hunter2", "max": 3}}
    events = [
        b.declared(
            text=f"mail the key {SECRET}", credentials=[{"broker": "x", "kind": "k", "value": SECRET}]
        ),
        b.called(seq=1, tool="send_email", arguments=arguments),
        b.returned(seq=2, call="s:1", result={"text": "sent to eve", "token": "opensesame"}),
    ]
    records = of_session(events)
    masked, open_ = (
        json.dumps(build(Told(records), "s", INPUTS, values=values).document()) for values in (False, True)
    )
    for secret in (SECRET, "hunter2", "opensesame"):
        assert secret not in masked + open_
    for value in ("eve@example.com", "sent to eve"):
        assert value not in masked
        assert value in open_
    assert '"path": "to", "length": 15, "text": "********"' in masked


def test_ids_shared_by_tenants_or_trees_are_refused_with_the_choices_and_unknown_ones_with_a_reason() -> None:
    records = [
        *of_session([b.declared(tenant="acme"), b.called(seq=1, tenant="acme")]),
        *of_session([b.declared(tenant="globex"), b.called(seq=1, tenant="globex")]),
        *of_session([b.declared(root_session_id="top"), b.called(seq=1, root_session_id="top")]),
    ]
    with pytest.raises(
        InputError, match=r"3 sessions .*--tenant 'acme' --root 's'; --tenant 'default' --root 'top'"
    ):
        build(Told(records), "s", INPUTS)
    assert build(Told(records), "s", INPUTS, tenant="globex").name == ("globex", "s", "s")
    assert build(Told(records), "s", INPUTS, root="top").name == ("default", "top", "s")
    with pytest.raises(InputError, match="no record that can be read names session or case 'nobody'"):
        build(Told(records), "nobody", INPUTS)
    bound = build(Told(records[:3]), "s", {EVENTS: "acme"})
    assert bound.name.tenant == "acme"


@pytest.mark.parametrize("session", ["s/1", "сессия", 'a"b\\c', "é", "x" * 240])
def test_a_session_is_found_however_its_producer_escapes_its_id(session: str) -> None:
    events = [b.declared(session), b.called(session, 1)]
    values = [json.dumps(each, ensure_ascii=True).replace("/", "\\/").encode() for each in events]
    if session.isascii():
        values.append(
            json.dumps(b.ended(session, 2)).replace(session[0], f"\\u{ord(session[0]):04x}").encode()
        )
    log = [b.record(value, n, key=session) for n, value in enumerate(values)]
    outputs = b.Run(b.judge(scorer=b.ConstantScorer(100))).feed(log).outputs
    trail = build(Told(on_the_bus(log, outputs)), session, INPUTS)
    assert kinds(trail)[:3] == ["declared", "called", "decided"]
    assert ("ended" in kinds(trail)) == session.isascii()


def test_a_case_id_leads_to_its_session() -> None:
    case_id = case_id_of("acme", SESSION, SESSION)
    by_session = build(Told(sample()), SESSION, INPUTS).document()
    assert build(Told(sample()), case_id, INPUTS).document() == by_session
    without = [record for record in sample() if record.topic not in (CASES, ALERTS)]
    assert build(Told(without), case_id, INPUTS).name.session == SESSION
    assert (
        build(Told(of_session([b.declared(case_id), b.called(case_id, 1)])), case_id, INPUTS).name.session
        == case_id
    )


def test_an_id_that_no_session_has_finds_the_one_that_begins_so_and_lists_several(tmp_path: Path) -> None:
    names = "s-1.0a1b2c3d", "s-1.ffffffff", "s-2.0a1b2c3d", "s-2"
    records = [record for name in names for record in of_session([b.declared(name), b.called(name, 1)])]
    assert build(Told(records), "s-1.0", INPUTS) == build(Told(records), "s-1.0a1b2c3d", INPUTS)
    assert build(Told(records), "s-2", INPUTS).name.session == "s-2"
    several = "2 sessions have an id that begins with 's-1': say which, 's-1.0a1b2c3d' --tenant 'default' --root 's-1.0a1b2c3d'; 's-1.f"
    with pytest.raises(InputError, match=re.escape(several)):
        build(Told(records), "s-1", INPUTS)
    many = [record for n in range(20) for record in of_session([b.declared(f"m.{n}")])]
    with pytest.raises(InputError, match=r"^20 sessions .*; and 12 more$"):
        build(Told(many), "m", INPUTS)
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"".join(log_line(record, 1) + b"\n" for record in records))
    shown = CLI.invoke(app, ["show", "s-1.0", "--file", str(log)])
    assert "no session is called 's-1.0'; 's-1.0a1b2c3d' alone begins so" in shown.stderr
    assert "begins so" not in CLI.invoke(app, ["show", "s-2", "--file", str(log)]).stderr


def test_a_file_without_decisions_is_not_told_as_a_session_without_drift(tmp_path: Path) -> None:
    events, judged = tmp_path / "events.jsonl", tmp_path / "judged.jsonl"
    events.write_bytes(
        b"".join((record.value or b"") + b"\n" for record in sample() if record.topic == EVENTS)
    )
    shown = " ".join(CLI.invoke(app, ["show", SESSION, "--file", str(events)]).stdout.split())
    assert shown.count("`driftline replay FILE --all > judged.jsonl` judges a file of events") == 3
    assert not re.search("nothing was flagged|no alert was raised|chain holds", shown)
    judged.write_text(CLI.invoke(app, ["replay", str(events), "--all"]).stdout)
    shown = CLI.invoke(app, ["show", SESSION, "--file", str(events), "--file", str(judged)]).stdout
    assert "call 2, update_payee (write): revoke" in shown
    assert "It may be honest" in shown
    honest = of_session([b.declared(), b.called(seq=1), b.returned(seq=2, call="s:1"), b.ended(seq=3)])
    quiet = build(Told(honest, {ALERTS: "no record of it is in the files"}), "s", INPUTS)
    assert story.did_instead(quiet) == ["nothing was flagged"]
    assert story.steps(quiet) == ["nothing: no alert was raised"]
    undecided = build(Told([each for each in honest if each.topic != DECISIONS]), "s", INPUTS)
    assert story.did_instead(undecided) == ["not known: no decision on a call of it is there"]


@given(st.data())
@settings(
    max_examples=100, phases=(Phase.generate,)
)  # what fails is short, and to make it shorter takes minutes
def test_records_of_any_shape_stop_no_story(data: st.DataObject) -> None:
    """Files are anybody's; what has another shape is told as far as it goes, or not at all."""
    records = list(sample())
    json_ = st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**70), 2**70)
        | st.text(max_size=5)
        | st.floats(allow_nan=False),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
        max_leaves=4,
    )
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(records) - 1))
        if records[at].topic in (REVOCATIONS, RISK):
            claims = claims_of(records[at].value or b"")
            claims[data.draw(st.sampled_from(sorted(claims)))] = data.draw(json_)
            middle = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
            head, _, seal = (records[at].value or b"").split(b".")
            value = b".".join([head, middle, seal])
        else:
            document = json.loads(records[at].value or b"{}")
            if not isinstance(document, dict) or not document:
                continue
            document[data.draw(st.sampled_from(sorted(document)))] = data.draw(json_)
            value = json.dumps(document).encode()
        records[at] = records[at]._replace(value=value)
    refused = {"session_id": SESSION, "tenant": "acme", "time": data.draw(json_), "type": data.draw(json_)}
    records.append(told({}, QUARANTINE)._replace(value=json.dumps(refused).encode()))
    trail = build(
        Told(records), SESSION, INPUTS, tenant="acme", root=SESSION, values=data.draw(st.booleans())
    )
    json.dumps(trail.document())
    "".join(page(trail))
    for part in (story.asked_for, story.did_instead, story.fate, story.steps, story.notable):
        part(trail)


def test_a_decision_that_is_none_is_told_in_its_session_s_story() -> None:
    records = [
        each._replace(
            value=(each.value or b"").replace(b'"call_seq":1,"case_id"', b'"call_seq":"one","case_id"')
        )
        if each.topic == DECISIONS
        else each
        for each in sample()
    ]
    trail = build(Told(records), SESSION, INPUTS)
    assert [each.place for each in trail.of("unreadable")] == [(DECISIONS, 0, 1)]
    assert {"undecided", "decisions", "chain"} <= set(gaps(trail))


def test_an_event_that_steers_the_worker_is_of_no_session_whatever_it_names() -> None:
    records = of_session([b.declared(), b.called(seq=1)])
    tick = told({"type": "clock.tick", "session_id": "s", "tenant": "globex"}, EVENTS, key=b"s", at=9)
    assert build(Told([*records, tick]), "s", INPUTS).entries == build(Told(records), "s", INPUTS).entries
    with pytest.raises(InputError, match="no record"):
        build(Told([tick]), "s", INPUTS)


@pytest.mark.parametrize("topic", [REVOCATIONS, RISK])
def test_a_token_that_does_not_hold_is_a_gap_and_hides_none_of_the_same_id(topic: str) -> None:
    real = next(each for each in sample() if each.topic == topic)
    claims = claims_of(real.value or b"")
    forged = real._replace(offset=90, value=unsigned({**claims, "sub_id": {"user": "eve"}}).encode())
    same = real._replace(offset=91, value=unsigned(claims).encode())

    def signed(token: bytes) -> str:
        return "refused, signature" if token.endswith(b".c2ln") else "verified"

    whole = build(Told(sample()), SESSION, INPUTS, signed=signed)
    trail = build(Told([forged, same, *sample(), real]), SESSION, INPUTS, signed=signed)
    assert gaps(trail) == [*gaps(whole), "signature", "signature"]
    found = [each for each in trail.entries if each.data.get("jti") == claims["jti"]]
    assert sorted((each.data["signature"], each.repeats) for each in found) == [
        ("refused, signature", 0),
        ("refused, signature", 0),
        ("verified", 1),
    ]


@pytest.mark.parametrize("stamp", [-1, 10**18, -(10**18)])
def test_numbers_that_nobody_would_write_stop_no_story(stamp: int) -> None:
    case = next(each for each in sample() if each.topic == CASES)
    held = case._replace(topic=HELD, headers=(("breaker", b"b-1"),))
    ruled = (("breaker", b"b-1"), ("action", b"send"), ("by", b"ada"))
    digits = (("topic", EVENTS.encode()), ("partition", b"0"), ("offset", b"1" * 5000))
    more = [
        held,
        Record(HELD, 0, 1, stamp, "create", b"acme", ruled, b""),
        told({"session_id": SESSION, "tenant": "acme"}, QUARANTINE, headers=digits),
    ]
    trail = build(Told([*sample(), *more]), SESSION, INPUTS)
    assert [each.time for each in trail.of("ruling")] == [""]
    assert [each.data["origin"] for each in trail.of("quarantined")] == [(EVENTS, 0, -1)]


def test_events_and_what_was_refused_between_them_are_put_in_order_in_no_more_than_their_sum() -> None:
    size = 4000
    log = b.log([b.declared(), *(b.called(seq=n) for n in range(1, size))])
    headers = [("topic", EVENTS.encode()), ("partition", b"0")]
    refused = [
        told({"session_id": "s", "n": n}, QUARANTINE, headers=(*headers, ("offset", b"%d" % n)))
        for n in range(size)
    ]
    began = perf_counter()
    trail = build(Told([*log, *refused]), "s", INPUTS)
    took = perf_counter() - began
    there = [each for each in trail.entries if each.kind != "gap"]
    assert [each.kind == "quarantined" for each in there] == [False, True] * size
    assert took < 8


HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>\u202e\"'&<!--\x1b[31m"


class Seen(HTMLParser):
    """The tags of a page, their attributes, and its texts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.attributes |= {(name, str(value)) for name, value in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_runs_nothing_loads_nothing_and_shows_hostile_texts_as_texts() -> None:
    events = [
        b.declared(HOSTILE[:200], text=HOSTILE, agent={"id": HOSTILE, "user": HOSTILE}),
        b.called(HOSTILE[:200], 1, tool=HOSTILE, arguments={HOSTILE: HOSTILE}, call_id=HOSTILE),
        b.returned(HOSTILE[:200], 2, HOSTILE, {HOSTILE: HOSTILE}),
        b.ended(HOSTILE[:200], 3),
    ]
    html = "".join(page(build(Told(of_session(events)), HOSTILE[:200], INPUTS, values=True)))
    seen = Seen()
    seen.feed(html)
    page_of = "html head meta title style body h1 h2 p ul li table thead tbody tr th td details summary pre"
    assert seen.tags <= set(page_of.split())
    assert {name for name, _ in seen.attributes} <= {
        *("lang", "charset", "http-equiv", "content", "name", "class", "scope")
    }
    assert "<script>alert(1)</script>" in seen.text
    assert not any(mark in html for mark in ("\u202e", "\x1b", "http://", "https://", "url("))
    policy = next(value for name, value in seen.attributes if name == "content" and "default-src" in value)
    style = re.findall(r"<style>(.*?)</style>", html, re.S)[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Options that name the sample's topics as files."""
    options = []
    for topic in sorted({record.topic for record in sample()}):
        file = tmp_path / f"{topic}.jsonl"
        file.write_bytes(
            b"".join(log_line(record, 1) + b"\n" for record in sample() if record.topic == topic)
        )
        options += ["--file", str(file)]
    return options


def test_show_tells_what_was_asked_what_it_did_instead_the_credential_s_fate_and_what_to_do(
    files: list[str],
) -> None:
    shown = CLI.invoke(app, ["show", SESSION, *files])
    assert shown.exit_code == 0, shown.output
    parts = re.split(
        r"^(asked|did instead|credential|what to do|the steps that matter.*)$", shown.stdout, flags=re.M
    )
    told_under = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert "Do not pay anything" in told_under["asked"]
    assert "call 2, update_payee (write): revoke at 0.88" in told_under["did instead"]
    assert "call 3 of create_payment ran, though judged revoke" in told_under["did instead"]
    assert "ledger/jti/led-finance-invoice-iban-swap: revocation sent" in told_under["credential"]
    assert "2. It may be honest" in told_under["what to do"]
    short = parts[-1]
    assert "call 0, search_inbox" in short  # its result is what the flagged call rests on
    assert " called " not in short
    every = CLI.invoke(app, ["show", case_id_of("acme", SESSION, SESSION), "--all", *files]).stdout
    assert len(every.splitlines()) > len(shown.stdout.splitlines())
    assert IBAN not in shown.stdout + every


def test_a_call_that_waits_for_a_person_is_no_revocation_that_is_held() -> None:
    events = [b.declared(), b.event("call.held", "s", 1, call_id="s:1", how="asked"), b.ended(seq=2)]
    trail = build(Told(of_session(events)), "s", INPUTS)
    assert gaps(trail) == []
    assert story.fate(trail) == ["no revocation was asked for"]


def test_audit_prints_text_json_and_a_page_and_verifies_tokens_where_keys_are_given(
    files: list[str], tmp_path: Path
) -> None:
    jwks = tmp_path / "keys.json"
    jwks.write_text(json.dumps(keys().jwks()))
    text = CLI.invoke(app, ["audit", SESSION, *files])
    assert f"[{EVENTS}, partition 0, offset 0]" in text.stdout
    assert "signature unverified" in text.stdout
    verified = CLI.invoke(app, ["audit", SESSION, *files, "--format", "json", "--jwks", str(jwks)])
    tokens = [each for each in json.loads(verified.stdout)["trail"] if "signature" in each]
    assert {each["signature"] for each in tokens} == {"verified, by a development key, which proves nothing"}
    foreign = CLI.invoke(
        app, ["audit", SESSION, *files, "--jwks", str(jwks), "--issuer", "https://else.example"]
    )
    assert (
        "the revocation for https://ledger.broker.invalid/set does not hold: refused, issuer"
        in foreign.stdout
    )
    html = CLI.invoke(app, ["audit", SESSION, *files, "--format", "html"]).stdout
    assert html.startswith("<!DOCTYPE html>")
    assert html.rstrip().endswith("</html>")
    assert IBAN not in text.stdout + verified.stdout + html
    assert IBAN in CLI.invoke(app, ["audit", SESSION, *files, "--values"]).stdout
    wrong = CLI.invoke(app, ["audit", SESSION, *files, "--format", "pdf"])
    assert isinstance(wrong.exception, ConfigError)


def every_kind() -> Trail:
    """A story with an entry of each kind, and one of each with all that may be told."""
    case_id = case_id_of("acme", SESSION, SESSION)
    case = next(record for record in sample() if record.topic == CASES)
    decision = next(record for record in sample() if record.topic == DECISIONS)
    alert = json.loads(next(record for record in sample() if record.topic == ALERTS).value or b"")
    alert["unmapped"]["feedback"] = {"verdict": "false_positive", "by": "ada", "key": "k", "time": "now"}
    risk = next(record for record in sample() if record.topic == RISK)
    fields = "status broker kind credential provider detail survives survives_until".split()
    outcome = {"case_id": case_id, "jti": "j", "time": case_time(case), "latency_ms": 1}
    outcome |= dict.fromkeys(fields, "told")
    said = {"case_id": case_id, "verdict": "true_positive", "by": "ada", "time": case_time(case)}
    person = {"comment": "called", "sub_id": {"iss": "https://id.example", "sub": "ada"}}
    events = [
        b.event("intent.amended", SESSION, 90, intent={"text": "Pay."}),
        b.event("catalogue.changed", SESSION, 91, left=["a"]),
        b.event("call.held", SESSION, 92, call_id="c", how="asked"),
        b.event("opinion.given", SESSION, 93, token=unsigned({"opinion": "drifts"})),
        b.event("tool.called", SESSION, 94, call_id="c", tool="t"),
        {"type": "nothing", "session_id": SESSION, "id": "x", "call_id": "c", "tool": "t"},
        {"type": "nothing", "session_id": SESSION},
    ]
    headers = (("breaker", b"b-1"), ("action", b"send"), ("by", b"ada"))
    more = [
        *(told({**each, "tenant": "acme"}, EVENTS, at=90 + n) for n, each in enumerate(events)),
        told({"session_id": SESSION, "tenant": "acme"}, QUARANTINE, headers=(("topic", EVENTS.encode()),)),
        told({**alert, "comment": "no"}, ALERTS, at=90),
        told({**json.loads(decision.value or b""), "call_seq": "one"}, DECISIONS, at=90),
        case._replace(topic=HELD, headers=headers),
        Record(HELD, 0, 1, 0, "create", b"acme", headers, b""),
        risk._replace(topic=ENDS),
        told({"jti": "j", "case_id": case_id}, OUTCOMES),
        told(outcome, OUTCOMES, at=1),
        *(
            told({"token": unsigned(each)}, FEEDBACK, at=n)
            for n, each in enumerate((said, {**said, **person}))
        ),
    ]
    call = [
        record for record in sample() if record.topic == EVENTS and b"tool.called" in (record.value or b"")
    ][-1]
    without = [record for record in sample() if record not in (decision, call)]
    return build(Told([*without, *more]), SESSION, INPUTS, tenant="acme", root=SESSION)


def documented(page: str, heading: str) -> dict[str, tuple[set[str], set[str]]]:
    """Rows of a page's table by what each is about: members that are always there, and those that may be, marked so."""
    table = page.split(f"| {heading} |", 1)[1].split("\n\n", 1)[0]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]*) \|$", table, flags=re.M)[1:]
    return {
        name: (set(re.findall(r"`(\w+)`(?!\?)", told)), set(re.findall(r"`(\w+)`\?", told)))
        for names, told in rows
        for name in re.findall(r"`(\w+)`", names)
    }


def test_the_documented_members_of_the_json_form_are_those_that_are_printed() -> None:
    page = DOCUMENT.read_text()
    told = documented(page, "kind")
    printed: dict[str, list[set[str]]] = {}
    common = {"kind", "time", "text", "place", "repeats"}
    for entry in every_kind().document()["trail"]:
        assert common <= entry.keys()
        printed.setdefault(entry["kind"], []).append(entry.keys() - common)
    assert printed.keys() == told.keys()
    for kind, found in printed.items():
        always = set.intersection(*found)
        assert (always, set.union(*found) - always) == told[kind], kind


def test_the_documented_members_of_the_whole_document_are_those_that_are_printed(files: list[str]) -> None:
    told = documented(DOCUMENT.read_text(), "member")
    shown = json.loads(CLI.invoke(app, ["show", SESSION, "--json", *files]).stdout)
    audited = json.loads(CLI.invoke(app, ["audit", SESSION, "--json", *files]).stdout)
    assert shown.keys() == told.keys()
    assert audited.keys() == told.keys() - {"asked", "did_instead", "credential", "what_to_do"}
    for member in ("session", "chain"):
        assert shown[member].keys() == told[member][0]


def test_in_shadow_the_fate_says_that_nothing_was_sent() -> None:
    trail = build(Told(sample("shadow")), SESSION, INPUTS)
    assert any("shadow: a revocation was decided, and none was sent" in line for line in story.fate(trail))
    assert not trail.of("revocation")


@cache
def all_samples() -> tuple[Record, ...]:
    """All samples on one bus, judged as shipped, and all that they led to."""
    records = [record for file in sorted(SAMPLES.glob("*.jsonl")) for record, _ in read_records(file)]
    records = [record._replace(offset=at) for at, record in enumerate(records)]
    outputs = replay(
        ((record, None) for record in records), bootstrap.judge(Settings(), mode="enforce"), Actor(keys())
    )
    return tuple(on_the_bus(records, outputs))


@pytest.mark.slow
def test_every_record_of_all_samples_is_in_the_story_of_one_session_and_of_no_other() -> None:
    names = {
        (each.get("tenant", "default"), each.get("root_session_id") or each["session_id"], each["session_id"])
        for record in all_samples()
        if record.topic == EVENTS
        for each in [json.loads(record.value or b"")]
    }
    told_of: list[tuple[str, int, int]] = []
    for tenant, root, session in sorted(names):
        trail = build(Told(all_samples()), session, INPUTS, tenant=tenant, root=root)
        assert trail.chain.holds
        told_of += [each.place for each in trail.entries if each.place is not None]
        assert not {"undecided", "events", "decisions", "chain"} & set(gaps(trail))
    # That the breaker holds, and rulings, are of a tenant.
    of_all = [
        (record.topic, record.partition, record.offset)
        for record in all_samples()
        if b"Revocations are held" not in (record.value or b"")
    ]
    assert sorted(told_of) == sorted(of_all)


def test_what_became_of_credentials_is_not_told_where_revocations_were_not_read() -> None:
    unread = {REVOCATIONS: "may not be read"}
    assert story.fate(build(Told(sample(), unread), SESSION, INPUTS)) == [
        "revocations were not read: what was asked for is not known"
    ]


@pytest.mark.parametrize(("name", "number"), [("offset", 2**63), ("partition", 2**31), ("offset", -1)])
def test_a_record_that_no_log_can_have_is_refused_in_a_sentence(
    name: str, number: int, tmp_path: Path
) -> None:
    row = {
        "topic": "agent.decisions.v1",
        "partition": 0,
        "offset": 0,
        "timestamp_ms": 0,
        "timestamp_type": "create",
    }
    (tmp_path / "log.jsonl").write_text(
        json.dumps({**row, "key": None, "value_b64": "", name: number}) + "\n"
    )
    done = CliRunner().invoke(app, ["verify", "chain", str(tmp_path / "log.jsonl")])
    assert done.exit_code != 0
    assert not done.exception or isinstance(done.exception, SystemExit | InputError)
