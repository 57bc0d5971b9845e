"""The console: what it knows of a session, what its pages show to whom, and that nothing of what others wrote runs in them."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from models.contracts import FAMILIES
from models.errors import ConfigError
from stream import bootstrap
from stream.console import guard, index, listing, site, story
from stream.console.guard import Access
from stream.console.index import Index
from stream.console.serving import Listen
from stream.console.site import Site, application
from stream.events import (
    ALERTS,
    CASES,
    DECISIONS,
    EVENTS,
    FEEDBACK,
    OUTCOMES,
    REVOCATIONS,
    Record,
    dumps,
    printable,
)
from stream.offline import files, replay
from stream.offline.chain import Name
from stream.offline.coverage import MENDS, Coverage
from stream.settings import Settings
from tests import builders as b

SAMPLES = Path(__file__).parents[2] / "stream" / "samples"
CONSOLE = Path(index.__file__).parent
TOKEN = "0123456789abcdef0123456789abcdef"
HOST = "http://127.0.0.1:8800"
PAYLOADS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'-alert(1)-'",
    "</title></svg><svg onload=alert(1)>",
    "{{ 7*7 }}{% raw %}",
    "javascript:alert(1)",
    "\u202egnp.exe\u2066",
    "a\r\nSet-Cookie: x=1",
)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """Two samples as the bus has them: events, and all that they led to."""
    samples = ("01-support-refund-lookup", "19-finance-invoice-iban-swap")
    return of_samples(tmp_path_factory.mktemp("state"), *samples)


def of_samples(state: Path, *samples: str) -> list[Record]:
    """Samples as the bus has them: events, and all that they led to."""
    configured = Settings(state_dir=state)
    judge, actor = bootstrap.judge(configured, mode="enforce"), bootstrap.actor(configured)
    made: list[Record] = []
    for sample in samples:
        path = SAMPLES / f"{sample}.jsonl"
        made += (record for record, _ in files.read_records(path))
        made += (
            Record(o.topic, 0, n, 0, "none", o.key, o.headers, o.value)
            for n, o in enumerate(replay.replay(files.read_records(path), judge, actor))
        )
    return made


def indexed(records: Sequence[Record], **how: Any) -> Index:
    made = Index({EVENTS: None}, coverage=Coverage({EVENTS: None}, 60.0), **how)
    for record in records:
        made.take(record)
    return made


def client(made: Index, access: Access | None = None, base: str = HOST) -> TestClient:
    return TestClient(
        application(made, access or Access({"127.0.0.1:8800"})), base_url=base, follow_redirects=False
    )


def finding(session: str = "s", severity: int = 4, sequence: int = 0, **more: Any) -> dict[str, Any]:
    """An alert of a session, as act publishes one."""
    return {
        "time": b.T0 + sequence,
        "severity_id": severity,
        "confidence_id": 2,
        "is_alert": True,
        "status": "New",
        "metadata": {
            "uid": f"{session}/{sequence}",
            "sequence": sequence,
            "tenant_uid": "acme",
            "correlation_uid": session,
        },
        "actor": {"session": {"uid": session}, "app_name": "agent", "user": {"uid": "user"}},
        "finding_info": {"uid": "x", "title": f"title {sequence}", "desc": "desc"},
        "unmapped": {
            "standing": {"after": "alert"},
            "score": 0.5,
            "exposure": {"revocation": "not requested"},
        },
        **more,
    }


def told(topic: str, document: Any, at: int = 0) -> Record:
    value = document if isinstance(document, bytes) else dumps(document)
    return Record(topic, 0, at, 0, "none", b"acme", (), value)


# ------------------------------------------------------------------------ what is known


def test_index_knows_a_case_by_its_alert_and_a_quiet_session_by_its_calls(records: list[Record]) -> None:
    made = indexed(records)
    (case,) = made.cases()
    assert case.name == Name("acme", "finance-invoice-iban-swap", "finance-invoice-iban-swap")
    assert (case.severity, case.confidence, case.standing, case.fate) == (5, 3, "contained", "requested")
    assert (case.agent, case.user) == ("finance-assistant", "omar.keller@acme.example.com")
    assert case.title.startswith("Asked “Summarise this week's supplier invoices")
    assert (case.calls, case.begins) == (5, 0)
    assert {"update_payee", "search_inbox"} <= case.tools
    assert "revoke" in case.verdicts
    quiet = [row for row in made.sessions() if not row.finding]
    assert [(row.name.session, row.flagged) for row in quiet if row.name] == [("support-refund-lookup", 0)]


def test_index_knows_the_same_however_records_are_ordered_and_repeated(records: list[Record]) -> None:
    def facts(made: Index) -> Any:
        return {
            key: (
                row.name,
                row.title,
                row.severity,
                row.fate,
                row.standing,
                row.calls,
                row.flagged,
                row.tools,
            )
            for key, row in made.rows.items()
        }

    by_topic = sorted(records, key=lambda each: each.topic)
    assert facts(indexed(by_topic)) == facts(indexed(records))
    assert facts(indexed([*records, *records])) == facts(indexed(records))


def test_the_gravest_alert_stands_for_a_case_and_the_latest_says_its_standing() -> None:
    later = finding(severity=3, sequence=2, unmapped={"standing": {"after": "contained"}, "score": 0.9})
    made = indexed([told(ALERTS, finding(severity=4)), told(ALERTS, later)])
    (case,) = made.cases()
    assert (case.severity, case.title, case.standing) == (4, "title 0", "contained")


def test_what_a_broker_told_of_a_credential_beats_what_was_asked_for() -> None:
    notice = finding(
        sequence=3,
        is_alert=False,
        unmapped={"exposure": {"revocation": "done", "worst_case_until": None}},
        finding_info={"title": "Contained"},
    )
    over = finding(
        sequence=4,
        is_alert=False,
        unmapped={"standing": {"after": "contained"}, "exposure": {"revocation": "requested"}},
    )
    asked = finding(
        unmapped={
            "standing": {"after": "contained"},
            "exposure": {"revocation": "requested", "requested_time": b.T0},
        }
    )
    (case,) = indexed([told(ALERTS, each) for each in (asked, notice, over)]).cases()
    assert (case.fate, case.title, case.asked_ms, case.dead_ms) == ("done", "title 0", b.T0, b.T0 + 3)


def test_an_alarm_of_the_breaker_is_no_case_and_stands_on_every_page() -> None:
    alarm = finding()
    del alarm["actor"]
    alarm["finding_info"] = {"uid": "b-1", "title": "Revocations are held", "desc": "of acme"}
    made = indexed([told(ALERTS, alarm)])
    assert not list(made.cases())
    assert "Revocations are held" in client(made).get("/").text
    made.take(told(ALERTS, {**alarm, "is_alert": False}))
    assert "Revocations are held" not in client(made).get("/").text


def test_the_last_verdict_closes_a_case_or_opens_it_and_leaves_the_credentials_fate() -> None:
    dead = finding(is_alert=False, sequence=1, unmapped={"exposure": {"revocation": "done"}})
    said = {
        verdict: finding(
            sequence=at,
            status=status,
            is_alert=False,
            unmapped={
                "exposure": {"revocation": "not requested"},
                "feedback": {"verdict": verdict, "by": "mo"},
            },
        )
        for verdict, status, at in (("false_positive", "Suppressed", 5), ("reopen", "New", 9))
    }
    over = finding(sequence=7, is_alert=False)
    del over["status"]
    closed = indexed([told(ALERTS, each) for each in (finding(), dead, said["false_positive"], over)])
    (case,) = closed.cases()
    assert (case.fate, case.title, listing.is_closed(case)) == ("done", "title 0", True)
    assert "false_positive by mo" in client(closed).get("/").text
    orders = ([said["false_positive"], said["reopen"]], [said["reopen"], said["false_positive"]])
    for order in orders:
        (case,) = indexed([told(ALERTS, each) for each in (finding(), *order)]).cases()
        assert (case.feedback, listing.is_closed(case)) == ("reopen by mo", False)


def test_a_session_of_a_campaign_is_a_case_and_the_campaign_is_told() -> None:
    first = finding("first")
    case_id = next(iter(indexed([told(ALERTS, first)]).rows))
    joined = finding("second", is_alert=False)
    joined["unmapped"]["campaign"] = {"uid": "c", "of": "source", "sessions": 2, "first_case": case_id}
    incident = finding(sequence=3)
    del incident["actor"]
    incident["finding_info"] = {
        "uid": "c",
        "title": "2 sessions drift to one target",
        "desc": "see the first",
        "analytic": {"uid": "driftline.campaign"},
    }
    more = {**incident, "time": b.T0 + 99, "is_alert": False}
    more["finding_info"] = {**incident["finding_info"], "title": "5 sessions drift to one target"}
    for order in ([incident, more], [more, incident]):
        made = indexed([told(ALERTS, each) for each in (first, joined, *order)])
        assert len(list(made.cases())) == 2
        pages = client(made)
        assert "5 sessions drift to one target" in pages.get("/overview").text
        assert "drift to one target" not in pages.get("/").text
        second = next(row for row in made.cases() if row.campaign_case)
        assert f'href="/sessions/{case_id}"' in pages.get(f"/sessions/{second.case_id}").text
        for each in (case_id, second.case_id):
            assert "2 sessions with one source" in pages.get(f"/sessions/{each}").text


def test_families_have_plain_words_and_filter_by_their_names() -> None:
    assert {listing.plain(each) for each in FAMILIES}.isdisjoint(FAMILIES)
    page = client(indexed([told(ALERTS, finding())])).get("/").text
    assert '<option value="provenance">a value from elsewhere (provenance)</option>' in page
    assert '<option value="revoke">revoke</option>' in page


def test_a_session_beyond_the_day_s_budget_is_a_case_and_the_budget_is_told_on_the_overview() -> None:
    silent = finding("silent", is_alert=False)
    silent["unmapped"]["beyond_budget"] = 1
    notices = []
    for n, text in enumerate(("1 finding", "2 findings")):
        each = finding(sequence=3 + n, is_alert=not n)
        del each["actor"]
        analytic = {"uid": "driftline.alert_budget"}
        each["finding_info"] = {"uid": "b", "title": "used up", "desc": text, "analytic": analytic}
        notices.append(each)
    for order in (notices, notices[::-1]):
        made = indexed([told(ALERTS, each) for each in (silent, *order)])
        assert [row.title for row in made.cases()] == ["title 0"]
        assert "2 findings" in client(made).get("/overview").text
        assert "used up" not in client(made).get("/").text


@settings(max_examples=50)
@given(
    st.sampled_from((EVENTS, DECISIONS, ALERTS, CASES, OUTCOMES, FEEDBACK, REVOCATIONS)),
    st.one_of(
        st.binary(max_size=40),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        "tenant root_session_id session_id call_seq verdict families time metadata actor session uid unmapped "
                        "finding_info exposure standing severity_id is_alert resources case_id txn tenant_uid correlation_uid "
                        "sequence type id agent tool requested_time shares".split()
                    ),
                    inner,
                    max_size=8,
                )
            ),
            max_leaves=25,
        ),
    ),
)
def test_index_takes_whatever_stands_on_a_topic(topic: str, value: Any) -> None:
    try:
        record = told(topic, value)
    except TypeError:
        return  # no JSON: a number beyond 64 bits
    made = indexed([record, record])
    assert made.read[topic] == 2
    pages = client(made)
    assert pages.get("/?show=all").status_code == 200
    for case_id in made.rows:
        assert pages.get(f"/sessions/{case_id}").status_code in (200, 404)


def test_a_name_beyond_the_contract_takes_no_memory() -> None:
    made = indexed([told(EVENTS, {"session_id": "s" * 300, "type": "session.declared"})])
    assert not made.rows
    assert made.size == 0


# ------------------------------------------------------------------------ bounded memory


def test_memory_is_bounded_and_quiet_sessions_go_before_cases() -> None:
    made = indexed([told(ALERTS, finding("case"))], max_sessions=10)
    for n in range(100):
        made.take(told(DECISIONS, _decision(f"s-{n}", 0)))
        assert len(made.rows) <= 10
    assert [row.name.session for row in made.cases() if row.name] == ["case"]
    assert {row.name.session for row in made.sessions() if row.name} == {
        "case",
        *(f"s-{n}" for n in range(91, 100)),
    }
    assert made.gone == {"sessions": 91}
    assert made.coverage is not None
    assert sum(agent.sessions for agent in made.coverage.agents()) == 9  # and the case had no call
    for n in range(20):
        made.take(told(ALERTS, finding(f"c-{n}")))
    assert len(made.rows) == 10
    assert made.gone == {"sessions": 100, "cases": 11}
    assert made.size == sum(row.size for row in made.rows.values())
    assert "Gone to make room" in client(made).get("/").text


def test_records_are_packed_and_stay_within_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "MAX_UNPACKED", 20_000)
    monkeypatch.setattr(index, "BLOCK", 4_000)
    made = Index({EVENTS: None}, max_bytes=60_000)
    for n in range(2_000):
        made.take(told(DECISIONS, _decision(f"s-{n % 200}", n // 200), n))
        assert made.size <= 60_000
        assert made.size == sum(row.size for row in made.rows.values())
    row = next(reversed(made.rows.values()))
    assert [json.loads(each.value or b"")["call_seq"] for each in row.kept()] == sorted(
        json.loads(each.value or b"")["call_seq"] for each in row.kept()
    )


def test_what_one_session_has_too_much_of_is_left_out_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "MAX_RECORDS", 5)
    made = indexed([told(DECISIONS, _decision("s", n), n) for n in range(8)])
    (row,) = made.sessions()
    assert (row.records, row.left_out, row.calls) == (5, 3, 8)
    assert "3 records are left out" in " ".join(story.told(made, row).missing)


def _decision(session: str, number: int, **more: Any) -> dict[str, Any]:
    return {
        "tenant": "acme",
        "root_session_id": session,
        "session_id": session,
        "decision_id": f"{session}/{number}",
        "event_id": f"{session}/e{number}",
        "call_id": f"{session}:{number}",
        "call_seq": number,
        "time": "2026-01-01T09:00:00.000Z",
        "agent": None,
        "tool": "read_file",
        "action": "read",
        "marks": [],
        "verdict": "allow",
        "score": 0.1,
        "standing": "quiet",
        "evidence": [],
        "explanation": "x" * 300,
        **more,
    }


# ------------------------------------------------------------------------ the story


def test_a_story_is_drawn_from_source_to_sink(records: list[Record]) -> None:
    made = indexed(records)
    (case,) = made.cases()
    shown = story.told(made, case)
    assert shown.drawing is not None
    kinds = {node.label: node.kind for node in shown.drawing.nodes}
    assert kinds["call 0: search_inbox"] == "source"
    assert kinds["call 2: update_payee"] == "sink"
    assert [moment.label for moment in shown.moments] == ["exposed", "acted, and judged", "revocation sent"]
    assert shown.asked[0].endswith("Do not pay anything.”")
    assert shown.chain == "The chain of its 5 decisions holds"


def test_where_no_line_has_to_do_with_what_was_flagged_the_page_says_so(tmp_path: Path) -> None:
    alone = of_samples(tmp_path, "24-finance-slow-creep")
    for how, told in (("masked", True), ("full", True), ("none", False)):
        made = indexed(alone, quotes=how)
        (case,) = made.cases()
        shown = story.told(made, case)
        assert not shown.lines
        assert bool(shown.lines_why) is told
        text = client(made).get(f"/sessions/{case.case_id}").text
        assert ("No line of an earlier answer has to do with what was flagged" in text) is told
    blind = indexed([each for each in alone if each.topic != EVENTS])
    blind.unread = {EVENTS: "no right"}
    (case,) = blind.cases()
    assert story.told(blind, case).lines_why == ""


def test_where_a_line_is_quoted_nothing_else_is_said_of_it(records: list[Record]) -> None:
    made = indexed(records)
    (case,) = made.cases()
    shown = story.told(made, case)
    assert (bool(shown.lines), shown.lines_why) == (True, "")


def test_a_credential_that_ends_with_its_session_is_no_containment(tmp_path: Path) -> None:
    made = indexed(of_samples(tmp_path, "01-support-refund-lookup"))
    (row,) = made.rows.values()
    assert [moment.label for moment in story.told(made, row).moments] == ["over; revocation sent"]


def test_what_a_soc_may_not_read_is_said_and_not_told_otherwise(records: list[Record]) -> None:
    made = indexed([each for each in records if each.topic in (ALERTS, DECISIONS)])
    hidden = (EVENTS, CASES, REVOCATIONS, OUTCOMES)
    made.unread = dict.fromkeys(hidden, "no right")
    (case,) = made.cases()
    shown = story.told(made, case)
    assert "may not read the topic of events" in shown.asked_why
    assert shown.fates == [
        "Not read here: agent.revocations.v1, agent.outcomes.v1. What stands above is what the alerts tell."
    ]
    assert not [each for each in shown.missing if "ended" in each or "revocation" in each]
    text = client(made).get(f"/sessions/{case.case_id}").text
    assert all(f"<b>{base}</b> is not read" in text for base in hidden)
    assert "Summarise this week" in text  # the alert's quote
    assert "Nobody" not in text


def test_from_the_alert_alone_the_source_is_drawn_all_the_same(records: list[Record]) -> None:
    made = indexed([each for each in records if each.topic == ALERTS])
    made.unread = dict.fromkeys((EVENTS, DECISIONS, CASES, REVOCATIONS, OUTCOMES), "no right")
    (case,) = made.cases()
    drawing = story.told(made, case).drawing
    assert drawing is not None
    assert [node.label for node in drawing.nodes] == ["call 0: search_inbox", "call 2: update_payee"]
    text = client(made).get(f"/sessions/{case.case_id}").text
    assert "may read neither events nor decisions" in text


def test_a_story_is_told_anew_once_something_was_heard_of_its_session(records: list[Record]) -> None:
    made = indexed(records)
    (case,) = made.cases()
    pages = client(made)
    assert "one_more" not in pages.get(f"/sessions/{case.case_id}").text
    assert case.name is not None
    names = {"root_session_id": case.name.root, "session_id": case.name.session}
    decided = [json.loads(record.value or b"") for record in records if record.topic == DECISIONS]
    more = next(each for each in reversed(decided) if names.items() <= each.items())
    made.take(
        told(DECISIONS, {**more, "decision_id": "f" * 32, "call_seq": 99, "tool": "one_more"}, at=10_000)
    )
    assert "one_more" in pages.get(f"/sessions/{case.case_id}").text


# ------------------------------------------------------------------------ lists


def test_cases_are_listed_by_risk_and_closed_ones_last() -> None:
    findings = [
        finding("low", 2),
        finding("closed", 5, status="Suppressed"),
        finding("high", 4),
        finding("critical", 5),
    ]
    found = listing.listed(indexed([told(ALERTS, each) for each in findings]), listing.Filters(), 1)
    assert [row.name.session for row in found.rows if row.name] == ["critical", "high", "low", "closed"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", 1),
        ("tenant=acme", 1),
        ("tenant=other", 0),
        ("agent=FINANCE", 1),
        ("tool=payee", 1),
        ("tool=nothing", 0),
        ("family=provenance", 1),
        ("family=tempo", 0),
        ("verdict=revoke", 1),
        ("severity=critical", 1),
        ("severity=low", 0),
        ("q=omar.keller", 1),
        ("show=all", 2),
        ("unknown=x&page=999999999999", 1),
        ("page=-1&page=x", 1),
    ],
)
def test_filters_of_the_address_narrow_the_list(records: list[Record], query: str, found: int) -> None:
    answer = client(indexed(records)).get(f"/?{query}")
    assert answer.status_code == 200
    assert answer.text.count('<li class="case') == found


def test_a_long_list_has_pages_that_keep_the_filters() -> None:
    made = indexed([told(ALERTS, finding(f"s-{n}")) for n in range(120)])
    first = client(made).get("/?agent=a%26b%22%3E&q=")
    assert first.text.count('<li class="case') == 0
    page = client(made).get("/?agent=agent&page=2").text
    assert page.count('<li class="case') == 50
    assert 'href="/?agent=agent&amp;page=3"' in page


def test_every_page_is_there_before_anything_was_read() -> None:
    made = Index({EVENTS: None})
    with client(made) as pages:
        for path in ("/", "/overview", "/coverage", "/health", "/?show=all"):
            assert pages.get(path).status_code == 200
    made.unread = {ALERTS: "no right", DECISIONS: "no right"}
    made.away, made.behind = "The broker has not answered since 09:00:00 UTC.", {EVENTS: 7}
    text = client(made).get("/").text
    assert "Alerts may not be read" in text
    assert "The broker has not answered" in text
    assert "7 records are not read yet" in text


def test_health_tells_the_lag_and_what_is_in_force() -> None:
    made = Index({EVENTS: None})
    call = {"type": "tool.called", "id": "s/e0", "session_id": "s", "tenant": "acme", "tool": "t"}
    decision = _decision("s", 0, event_id="s/e0", policy="p@1", release="r@2", core="39")
    for record, stamp in ((told(DECISIONS, decision), b.T0 + 40), (told(EVENTS, call), b.T0)):
        made.take(record._replace(timestamp_ms=stamp, timestamp_type="append"))
    assert list(made.delays_ms) == [40]
    text = client(made).get("/health").text
    assert "40 ms in the middle" in text
    assert all(each in text for each in ("p@1", "r@2"))


def test_health_tells_by_tenant_what_the_model_is_not_asked_does_not_know_and_gets_wrong() -> None:
    def unlisted(supports: bool) -> list[dict[str, Any]]:
        return [{"family": "scope", "name": "tool_unknown", "supports": supports}]

    def said(session: str, verdict: str) -> dict[str, Any]:
        return finding(
            session,
            is_alert=False,
            unmapped={"feedback": {"verdict": verdict, "by": "mo", "time": "2026-01-01T09:00:00Z"}},
        )

    told_of = [
        *(_decision("a", n, verdict="abstain" if n < 3 else "allow") for n in range(4)),
        *(_decision("b", n, evidence=unlisted(n == 0)) for n in range(2)),
        _decision("x", 7, tenant="globex", evidence=[7, {"family": [], "name": {}}]),
    ]
    findings = [finding("a"), finding("b"), finding("c"), said("a", "true_positive"), said("b", "benign")]
    made = indexed([*(told(DECISIONS, each) for each in told_of), *(told(ALERTS, each) for each in findings)])
    assert listing.watched(made) == [
        listing.Watched("acme", 3, 6, 3, 1, 3, 2, 1),
        listing.Watched("globex", 1, 1, 0, 0, 0, 0, 0),
    ]
    text = " ".join(client(made).get("/health").text.split())
    assert "<td>3 (50.0 %)</td><td>1 (16.7 %)</td><td>3</td><td>2</td><td>1 (50 %)</td>" in text


def test_health_has_a_row_for_so_many_tenants_and_one_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_TENANTS", 2)
    rows = [_decision(f"s{n}", 0, tenant=f"t{n}") for n in range(5)]
    found = listing.watched(indexed([told(DECISIONS, each) for each in rows]))
    assert [(each.tenant, each.sessions) for each in found] == [("t0", 1), ("t1", 1), ("(others)", 3)]


def test_coverage_tells_what_the_command_tells_and_of_one_tenant_where_it_is_asked(
    records: list[Record],
) -> None:
    made = indexed(records)
    assert made.coverage is not None
    apart = Coverage({EVENTS: None}, 60.0).take(records)
    assert made.coverage.agents() == apart.agents()
    pages = client(made)
    text = " ".join(Tags(pages.get("/coverage").text).text.split())
    for agent in apart.agents():
        assert f"{agent.name} {agent.tenant}" in text or f"{agent.name}{agent.tenant}" in text
        for each in agent.findings:
            assert MENDS[each.what] in text
    strange = indexed(
        [
            *records,
            told(
                DECISIONS,
                _decision("x", 0, tenant="globex", agent="roamer", marks=["undeclared"], verdict="abstain"),
            ),
        ]
    )
    page = client(strange).get("/coverage?tenant=globex").text
    text = Tags(page).text
    assert "What is not seen of 1 agent" in text
    assert "roamer" in text
    assert MENDS["undeclared"] in text
    assert "support-assistant" not in text
    assert '<option value="globex" selected>' in page


def test_coverage_without_events_says_what_it_does_not_know(records: list[Record]) -> None:
    text = client(indexed([each for each in records if each.topic != EVENTS])).get("/coverage").text
    assert "No events were read" in text
    assert "<td>unread</td>" in text


def test_coverage_is_counted_anew_after_a_while_and_not_at_each_page(monkeypatch: pytest.MonkeyPatch) -> None:
    made = indexed([told(DECISIONS, _decision("a", 0, agent="one"))])
    pages = client(made)
    assert "What is not seen of 1 agent" in pages.get("/coverage").text
    made.take(told(DECISIONS, _decision("b", 0, agent="two")))
    assert "What is not seen of 1 agent" in pages.get("/coverage").text
    later = time.monotonic() + site.COVERED_S
    monkeypatch.setattr(site.time, "monotonic", lambda: later)
    assert "What is not seen of 2 agents" in pages.get("/coverage").text


# ------------------------------------------------------------------------ hostile text


class Tags(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile(document: Any, payload: str) -> Any:
    """The document with every text of others in it replaced; what the console goes by stays."""
    kept = {
        "time",
        "status",
        "verdict",
        "family",
        "families",
        "revocation",
        "after",
        "before",
        "kind",
        "type",
        "action",
    }
    if isinstance(document, dict):
        return {
            name: value
            if name in kept and isinstance(value, str | list)
            else f"{payload}{value}"[:250]
            if isinstance(value, str)
            and name
            not in (
                "case_id",
                "txn",
                "tenant_uid",
                "correlation_uid",
                "tenant",
                "root_session_id",
                "session_id",
            )
            else hostile(value, payload)
            for name, value in document.items()
        }
    return [hostile(each, payload) for each in document] if isinstance(document, list) else document


def attacked(records: Sequence[Record], payload: str) -> Index:
    """An index in which every text of every record begins with the payload, names of sessions among them."""
    made = Index({EVENTS: None})
    session = f"{payload}s"[:200]
    for record in records:
        if record.topic == REVOCATIONS or record.topic.startswith("agent.risk"):
            continue
        document = hostile(json.loads(record.value or b"{}"), payload)
        for name in ("session_id", "root_session_id"):
            if name in document:
                document[name] = session + str(document[name])[:20]
        if record.topic == ALERTS:
            document["actor"]["session"]["uid"] = session + "finance-invoice-iban-swap"[:20]
            document["metadata"]["correlation_uid"] = session + "finance-invoice-iban-swap"[:20]
        made.take(record._replace(value=dumps(document)))
    made.unread = {OUTCOMES: f"{payload} why"}
    made.away = payload
    return made


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_that_others_wrote_becomes_markup(records: list[Record], payload: str) -> None:
    made = attacked(records, payload)
    assert list(made.cases())
    pages = client(made)
    shown = [
        "/",
        "/?show=all",
        "/overview",
        "/coverage",
        "/health",
        *(f"/sessions/{case_id}" for case_id in made.rows),
    ]
    clean = client(Index({EVENTS: None}))
    allowed = {
        tag
        for path in ("/", "/overview", "/coverage", "/health")
        for tag, _ in Tags(clean.get(path).text).tags
    } | set(
        "ol li time bdi b br section blockquote dd dt div dl svg defs marker path text rect table thead tbody tr th td "
        "details summary code figure figcaption title span i ul nav abbr".split()
    )
    for path in shown:
        answer = pages.get(path)
        assert answer.status_code == 200, path
        page = Tags(answer.text)
        for tag, attributes in page.tags:
            assert tag in allowed, (path, tag)
            assert not [name for name in attributes if name.startswith("on") or name in ("style", "srcdoc")]
            for name in ("href", "src", "action"):
                assert str(attributes.get(name, "/")).startswith(("/", "#")), (path, attributes)
            assert tag != "script" or str(attributes.get("src")).startswith("/static/console.js?v=")
        assert not re.search("[\u202a-\u202e\u2066-\u2069]", page.text)
        assert "set-cookie" not in answer.headers
    assert printable(payload) in Tags(pages.get("/").text).text


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_of_an_address_becomes_markup(payload: str) -> None:
    pages = client(Index({EVENTS: None}))
    for name in ("q", "tenant", "agent", "tool", "family", "verdict", "severity", "show", "page"):
        answer = pages.get("/", params={name: payload})
        assert answer.status_code == 200
        page = Tags(answer.text)
        assert [tag for tag, _ in page.tags].count("script") == 1
        assert not {"img", "svg"} & {tag for tag, _ in page.tags}
        assert all(not name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_templates_escape_everything_and_hold_no_script_or_style() -> None:
    for path in (CONSOLE / "templates").glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\|\s*safe|autoescape|<style|\sstyle=|\son\w+=|<script>|https?://", text), path
    script = (CONSOLE / "static" / "console.js").read_text(encoding="utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval|Function\(|https?://", script
    )
    assert len(script.splitlines()) < 150


# ------------------------------------------------------------------------ who may ask, and how


def test_every_answer_forbids_what_no_page_needs(records: list[Record]) -> None:
    pages = client(indexed(records))
    answers = [
        *(
            pages.get(path)
            for path in (
                "/",
                "/overview",
                "/coverage",
                "/health",
                "/sessions/x",
                "/static/console.js",
                "/nowhere",
            )
        ),
        pages.post("/"),
        pages.get("/", headers={"host": "evil.example"}),
    ]
    for answer in answers:
        for name, value in guard.HEADERS.items():
            assert answer.headers[name] == value
        assert answer.headers.get_list("content-security-policy") == [guard.POLICY]
    assert "unsafe" not in guard.POLICY
    assert "*" not in guard.POLICY
    assert "http" not in guard.POLICY.replace("'", "").split()
    assert {"frame-ancestors 'none'", "base-uri 'none'", "default-src 'none'"} <= set(
        guard.POLICY.split("; ")
    )


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1:8800.evil.example", "127.0.0.1", "localhost:1", "", "127.0.0.1:8800@evil"],
)
def test_another_host_name_is_refused_as_dns_rebinding_needs_one(host: str) -> None:
    assert client(Index({})).get("/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"]
)
@pytest.mark.parametrize("path", ["/", "/overview", "/sessions/0", "/live", "/static/console.js", "/nowhere"])
def test_nothing_is_changed_whatever_is_sent(method: str, path: str) -> None:
    answer = client(Index({})).request(method, path, headers={"origin": HOST})
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"


def test_another_page_may_neither_draw_from_here_nor_post_to_here(tmp_path: Path) -> None:
    pages = client(Index({}), access(tmp_path))
    cross = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert pages.get("/static/console.js", headers=cross).status_code == 403
    assert pages.get("/login", headers={**cross, "sec-fetch-mode": "navigate"}).status_code == 200
    for origin in (None, "null", "http://evil.example", "https://127.0.0.1:8800", f"{HOST}.evil.example"):
        headers = {} if origin is None else {"origin": origin}
        answer = pages.post("/login", data={"token": TOKEN}, headers=headers)
        assert (answer.status_code, answer.headers.get("set-cookie")) == (403, None)
    # What browsers send under this site's own referrer policy, and what they send from elsewhere.
    for sender, status in (("same-origin", 303), ("same-site", 403), ("cross-site", 403), ("none", 403)):
        headers = {"origin": "null", "sec-fetch-site": sender, "sec-fetch-mode": "navigate"}
        assert pages.post("/login", data={"token": TOKEN}, headers=headers).status_code == status


@pytest.mark.parametrize(
    "path",
    [
        "/static/../site.py",
        "/static/%2e%2e/site.py",
        "/static/..%2fsite.py",
        "/static//etc/passwd",
        "/static/console.css%00",
        "/sessions/../../etc/passwd",
        "/sessions/%3Cscript%3E",
        "/sessions/00000000000000000000000000000000",
        "//evil.example/",
        "/%2f%2fevil.example",
    ],
)
def test_a_path_leads_to_a_page_or_nowhere(path: str) -> None:
    answer = client(Index({})).get(HOST + path)
    assert answer.status_code == 404
    assert "location" not in answer.headers
    assert "<script>" not in answer.text


def test_an_address_without_end_is_refused() -> None:
    assert client(Index({})).get("/?q=" + "x" * 3_000).status_code == 414


def access(tmp_path: Path, *, is_secure: bool = False) -> Access:
    (tmp_path / "token").write_text(TOKEN, encoding="utf-8")
    return Access({"127.0.0.1:8800"}, tmp_path / "token", is_secure)


def test_with_a_token_nothing_is_shown_before_signing_in(records: list[Record], tmp_path: Path) -> None:
    pages = client(indexed(records), access(tmp_path))
    for path in ("/", "/overview", "/coverage", "/health", "/live", "/sessions/0", "/nowhere"):
        assert pages.get(path).status_code == 401
        sent = pages.get(path, headers={"accept": "text/html"})
        to = "" if path == "/" else f"?to={quote(path, safe='')}"
        assert (sent.status_code, sent.headers["location"]) == (303, f"/login{to}")
    assert pages.get("/login").status_code == 200
    wrong = pages.post("/login", data={"token": TOKEN[:-1]}, headers={"origin": HOST})
    assert (wrong.status_code, wrong.headers.get("set-cookie")) == (403, None)
    assert TOKEN not in wrong.text
    assert pages.post("/login", content=b"token=" + b"x" * 9_999, headers={"origin": HOST}).status_code == 403


def test_signing_in_gives_a_cookie_that_no_script_and_no_other_site_has(tmp_path: Path) -> None:
    pages = client(Index({}), access(tmp_path, is_secure=True), "https://127.0.0.1:8800")
    secure = "https://127.0.0.1:8800"
    answer = pages.post("/login", data={"token": f" {TOKEN}\n"}, headers={"origin": secure})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-driftline=")
    assert {"HttpOnly", "Secure", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert TOKEN not in cookie
    assert answer.headers["strict-transport-security"]
    assert pages.get("/").status_code == 200
    assert pages.post("/logout", headers={"origin": "https://evil.example"}).status_code == 403
    assert pages.post("/logout", headers={"origin": secure}).status_code == 303
    pages.cookies.set("__Host-driftline", cookie.split("=", 1)[1].split(";")[0])
    assert pages.get("/").status_code == 401


def test_a_bearer_of_the_token_need_not_sign_in_and_a_new_token_counts_at_once(tmp_path: Path) -> None:
    pages = client(Index({}), access(tmp_path))
    assert pages.get("/", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    for wrong in (f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer", "Bearer é"):
        assert pages.get("/", headers={"authorization": wrong.encode()}).status_code == 401
    (tmp_path / "token").write_text(TOKEN[::-1], encoding="utf-8")
    assert pages.get("/", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 401


def test_a_login_ends_and_so_many_are_remembered(tmp_path: Path) -> None:
    made = access(tmp_path)
    pages = client(Index({}), made)
    first = made.sign_in()
    for _ in range(guard.MAX_LOGINS):
        last = made.sign_in()
    assert [
        pages.get("/", headers={"cookie": f"driftline={each}"}).status_code for each in (first, last)
    ] == [401, 200]
    (tmp_path / "token").write_text(TOKEN[::-1], encoding="utf-8")
    assert pages.get("/", headers={"cookie": f"driftline={last}"}).status_code == 401  # the token is another
    (tmp_path / "token").unlink()
    assert pages.get("/", headers={"cookie": f"driftline={last}"}).status_code == 401
    (tmp_path / "token").write_text(TOKEN, encoding="utf-8")
    ended = made.sign_in(life_s=-1.0)
    assert pages.get("/", headers={"cookie": f"driftline={ended}"}).status_code == 401


# ------------------------------------------------------------------------ where it may listen


@pytest.mark.parametrize(
    ("listen", "lacks"),
    [
        (Listen("0.0.0.0"), "a token .* and TLS"),
        (Listen("192.0.2.1"), "a token .* and TLS"),
        (Listen("console.example.com", certificate_file=Path("c"), key_file=Path("k")), "needs a token"),
        (Listen("192.0.2.1", token_file=Path("t")), "needs TLS"),
        (Listen(certificate_file=Path("c")), "go together"),
        (Listen(token_file=Path("/nowhere")), "cannot be read"),
        (Listen("0.0.0.0", 1, (), Path("t"), Path("c"), Path("k")), "--name"),
    ],
)
def test_an_address_that_is_not_safe_is_refused(listen: Listen, lacks: str) -> None:
    with pytest.raises(ConfigError, match=lacks):
        listen.checked()


def test_a_short_token_or_a_file_that_is_no_certificate_is_refused(tmp_path: Path) -> None:
    short, good = tmp_path / "short", tmp_path / "good"
    short.write_text("secret", encoding="utf-8")
    good.write_text(TOKEN, encoding="utf-8")
    with pytest.raises(ConfigError, match="32 characters"):
        Listen(token_file=short).checked()
    with pytest.raises(ConfigError, match="cannot be used"):
        Listen("192.0.2.1", 1, (), good, good, good).checked()


@pytest.mark.parametrize("text", ["", f"{TOKEN}\n{TOKEN}", "ü" * 40])
def test_a_token_that_no_header_can_carry_is_refused_with_the_command_that_makes_one(
    text: str, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(text, encoding="utf-8")
    for path in (tmp_path / "token", tmp_path / "none"):
        with pytest.raises(ConfigError, match="openssl rand -hex 32"):
            Listen(token_file=path).checked()


def test_the_names_by_which_it_may_be_asked_have_its_port() -> None:
    assert Listen().checked().access(8800).hosts == {"127.0.0.1:8800", "localhost:8800", "[::1]:8800"}
    beyond = Listen(
        "192.0.2.1", 443, ("console.example.com", "other.example:8443"), None, Path("c"), Path("k")
    )
    assert beyond.access(443).hosts == {"192.0.2.1", "console.example.com", "other.example:8443"}
    assert beyond.access(443).is_secure


def test_a_missing_extra_is_a_sentence_that_tells_the_mend() -> None:
    program = "import sys; sys.modules['uvicorn'] = None; sys.argv = ['driftline', 'console']; from stream.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install -e '.[console]' in Driftline's folder" in done.stderr
    assert "Traceback" not in done.stderr


# ------------------------------------------------------------------------ live


class Page:
    """A request of a page that is kept live until it has had so many events."""

    def __init__(self, seen: str) -> None:
        self.headers = {"last-event-id": seen} if seen else {}
        self.query_params: dict[str, str] = {}

    async def is_disconnected(self) -> bool:
        return False


def test_a_live_page_hears_at_once_of_what_it_missed_and_then_of_what_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stream.console.site.LOOK_S", 0.01)
    made = Index({EVENTS: None})

    async def heard() -> None:
        closing = asyncio.Event()
        site = Site(made, Access({"h"}), closing)
        stream = site._events(Page(""), site._version())  # type: ignore[arg-type]
        assert (await anext(stream)).startswith(b"retry:")
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.05)
        assert not waiting.done()  # it has seen all there is
        made.take(told(ALERTS, finding()))
        first = await asyncio.wait_for(waiting, 5)
        assert f"id: {site._version()}\n".encode() in first
        made.take(told(ALERTS, finding(sequence=1)))
        # Cut off, and back with the id of the event before: what came meanwhile is told at once.
        again = site._events(Page(""), first.split(b"id: ")[1].split(b"\n")[0].decode())  # type: ignore[arg-type]
        assert [b"retry" in await anext(again), site._version().encode() in await anext(again)] == [
            True,
            True,
        ]
        # A console that was started anew has other versions, lower ones among them.
        anew = Site(Index({}), Access({"h"}), closing)._events(Page(""), site._version())  # type: ignore[arg-type]
        assert b"retry" in await anext(anew)
        assert b"event: news" in await anext(anew)
        closing.set()
        assert [each async for each in again] == []
        await stream.aclose()
        await anew.aclose()

    asyncio.run(heard())


def test_so_many_pages_are_kept_live_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.console.site.MAX_LIVE", 0)
    answer = client(Index({})).get("/live")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")


# ------------------------------------------------------------------------ contrast


def _colours() -> Iterator[tuple[str, str, str]]:
    text = (CONSOLE / "static" / "console.css").read_text(encoding="utf-8")
    yield from re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", text)


def _luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    brighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_every_text_has_the_contrast_of_wcag_aa(theme: int) -> None:
    colours = {name: (light, dark)[theme] for name, light, dark in _colours()}
    for text in ("text", "quiet", "link", "bad", "good", "warn"):
        for ground in ("page", "panel"):
            assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for badge in ("critical", "high", "medium", "low"):
        assert _contrast(colours["on-badge"], colours[badge]) >= 4.5, badge
    for shape in ("fill", "bad", "quiet"):  # of charts and of the edges of fields
        assert _contrast(colours[shape], colours["page"]) >= 3, shape


@pytest.mark.parametrize("quotes", ["none", "masked", "full"])
def test_pages_quote_of_arguments_and_answers_what_the_console_was_told_to(
    records: list[Record], quotes: Any
) -> None:
    made = indexed(records, quotes=quotes)
    (row,) = made.cases()
    page = client(made).get(f"/sessions/{row.case_id}").text
    assert ("GB33BUKB20201555555555" in page) == (quotes == "full")
    assert ("What it rests on" in page) == (quotes != "none")
