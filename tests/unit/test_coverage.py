"""`driftline coverage`: what is not seen is counted, by whoever reads the log in whatever way."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from stream.cli.main import app
from stream.core.items import Mark
from stream.events import CASES, DECISIONS, EVENTS, Record, dumps
from stream.offline.coverage import MENDS, NAMELESS, Agent, Coverage
from stream.offline.files import bus_records
from stream.offline.replay import run_replay
from stream.settings import Settings
from stream.shell.metrics import Measures
from tests import builders as b
from tests.cluster import ROOT
from tests.unit.test_samples import SAMPLES

AGENT = {"id": "clerk"}
TENANTS: dict[str, str | None] = {EVENTS: None}
VAGUE = "You are a helpful assistant."


def good(session: str, **more: Any) -> list[dict[str, Any]]:
    """A session that leaves nothing unseen."""
    return [
        b.declared(session, 0, agent=AGENT, **more),
        b.called(session, 1),
        b.returned(session, 2, call=f"{session}:1"),
        b.ended(session, 3),
    ]


def without(kind: str, session: str) -> list[dict[str, Any]]:
    kept = [event for event in good(session) if event["type"] != kind]
    if kind != "session.declared":
        return kept  # it was sent, and got lost
    return [{**event, "seq": n, "id": f"{session}/{n}"} for n, event in enumerate(kept)]


def records(events: Sequence[dict[str, Any]]) -> list[Record]:
    """The events, and what a judge makes of them."""
    run = b.play(events)
    outputs = [
        Record(out.topic, 0, n, 0, "none", out.key, out.headers, out.value)
        for n, out in enumerate(run.outputs)
        if out.topic in (DECISIONS, CASES)
    ]
    return [*b.log(events), *outputs]


def covered(found: Sequence[Record], idle_minutes: float = 60) -> Coverage:
    return Coverage(TENANTS, idle_minutes).take(found)


def only(events: Sequence[dict[str, Any]], idle_minutes: float = 60) -> Agent:
    (agent,) = covered(records(events), idle_minutes).agents()
    return agent


def told(agent: Agent) -> dict[str, tuple[int, int]]:
    return {each.what: (each.count, each.of) for each in agent.findings}


def test_a_session_that_declares_calls_answers_and_ends_leaves_nothing_unseen() -> None:
    agent = only(good("s"))
    assert (agent.tenant, agent.name) == ("default", "clerk")
    assert (agent.sessions, agent.declared, agent.calls, agent.abstained) == (1, 1, 1, 0)
    assert agent.results == (1, 1)
    assert agent.ends == {"ended": 1}
    assert agent.findings == []


@pytest.mark.parametrize(
    ("events", "found"),
    [
        (without("session.declared", "s"), {"undeclared": (1, 1)}),
        ([b.declared("s", 0, VAGUE, agent=AGENT), *good("s")[1:]], {"vague": (1, 1)}),
        (
            [b.called("s", 0), b.declared("s", 1, agent=AGENT), b.called("s", 2), b.ended("s", 3)],
            {"late": (1, 1), "unanswered": (2, 2)},
        ),
        (without("tool.returned", "s"), {"unanswered": (1, 1), "missing": (1, 4)}),
        (
            [*good("s")[:3], b.event("clock.tick", "t"), *good("u", credentials=[])],
            {},
        ),
        ([*good("s")[:2], *good("s")[3:]], {"missing": (1, 4), "unanswered": (1, 1)}),
        (
            [*good("s")[:3], b.called("s", 4, arguments={"path": 7}, tool=""), b.ended("s", 5)],
            {"refused": (1, 2), "missing": (2, 6)},
        ),
        ([*good("s"), b.called("s", 4)], {"after_end": (1, 2), "unanswered": (1, 2)}),
        (
            [
                b.declared("s", 0, agent=AGENT),
                b.called("s", 1),
                b.called("s", 1, call_id="x"),
                b.ended("s", 2),
            ],
            {"reused": (1, 1), "unanswered": (1, 1)},
        ),
        (
            [b.declared("s", 0, agent=AGENT), b.called("s", 1, tool="transfer_money"), b.ended("s", 2)],
            {"unknown_tools": (1, 1), "unanswered": (1, 1)},
        ),
        (
            [
                b.declared("s", 0, agent=AGENT),
                b.event("tool.called", "s", 1, call_id="s:1", tool="read_file", arguments_seen=False),
                b.called("s", 2, arguments={}),
                b.ended("s", 3),
            ],
            {"unseen_arguments": (1, 2), "unanswered": (2, 2)},
        ),
    ],
)
def test_what_a_host_leaves_out_is_told(
    events: list[dict[str, Any]], found: dict[str, tuple[int, int]]
) -> None:
    assert told(covered(records(events)).agents()[0]) == found


def test_a_session_that_never_says_its_end_is_idle_once_the_log_goes_on_so_long() -> None:
    silent = good("s")[:3]
    assert only(silent).ends == {"open": 1}
    later = [dict(event, time="2026-01-01T10:00:00Z") for event in good("t")]
    agent = only([*silent, *later])
    assert agent.ends == {"ended": 1, "idle": 1}
    assert told(agent) == {"not_ended": (1, 2)}
    assert only([*silent, *later], idle_minutes=61).ends == {"ended": 1, "open": 1}


def test_a_case_says_how_a_session_ended_that_did_not() -> None:
    silent = good("s")[:3]
    run = b.play_stamped([*((n, event) for n, event in enumerate(silent)), (4000, {"type": "clock.tick"})])
    cases = [Record(o.topic, 0, 0, 0, "none", o.key, o.headers, o.value) for o in run.outputs]
    (agent,) = covered(cases).agents()
    assert agent.ends == {"idle": 1}
    assert agent.results is None


def test_what_was_not_read_is_not_known_and_no_finding() -> None:
    (agent,) = covered([r for r in records(good("s")[:3]) if r.topic == DECISIONS]).agents()
    assert agent.ends == {"unknown": 1}
    assert agent.results is None
    assert agent.findings == []
    (agent,) = covered([r for r in records(without("session.declared", "s")) if r.topic == EVENTS]).agents()
    assert "undeclared" in told(agent)
    assert agent.calls == 0


def test_the_worst_agent_comes_first_and_tenants_are_kept_apart() -> None:
    events = [
        *good("a"),
        *[{**event, "tenant": "acme"} for event in good("a")],
        *without("session.declared", "b"),
    ]
    agents = covered(records(events)).agents()
    assert [(agent.tenant, agent.name) for agent in agents] == [
        ("default", NAMELESS),
        ("acme", "clerk"),
        ("default", "clerk"),
    ]


def test_a_topic_bound_to_a_tenant_beats_what_its_records_say() -> None:
    made = Coverage({EVENTS: "bound"}, 60).take(b.log([{**event, "tenant": "x"} for event in good("s")]))
    assert [agent.tenant for agent in made.agents()] == ["bound"]


def test_an_id_that_is_born_again_is_another_session_s_calls() -> None:
    first = [r for r in records(good("s")) if r.topic == DECISIONS]
    again = [r for r in records([*good("s")[:1], b.called("s", 1, tool="run_shell")]) if r.topic == DECISIONS]
    assert covered([*first, *again]).agents()[0].calls == 2
    assert covered([*first, *again, *again]).agents()[0].calls == 2


def test_garbage_counts_for_nothing_and_is_counted() -> None:
    junk = [
        Record(topic, 0, 0, 0, "none", None, (), raw)
        for topic in (DECISIONS, CASES, EVENTS)
        for raw in (None, b"", b"{", b"[]", b'{"tenant":1}')
    ]
    made = covered([*junk, Record("other", 0, 0, 0, "none", None, (), b"{"), *records(good("s"))])
    assert made.unread == len(junk)
    assert made.document()["agents"] == covered(records(good("s"))).document()["agents"]


MESS = [
    *good("a"),
    *without("session.declared", "b"),
    *without("tool.returned", "c"),
    *good("d")[:3],
    *good("e"),
    b.called("e", 4),
    b.declared("f", 0, VAGUE),
    b.called("f", 3, tool="transfer_money"),
    b.event("tool.called", "f", 5, call_id="f:5"),
    *[{**event, "seq": None, "id": f"g{n}"} for n, event in enumerate(good("g"))],
]
ALL = records(MESS)


def lanes() -> dict[tuple[str, str], list[Record]]:
    """The records of each session on each topic, which keep their order."""
    found: dict[tuple[str, str], list[Record]] = {}
    for record in ALL:
        session = json.loads(record.value or b"")["session_id"]
        found.setdefault((record.topic, session), []).append(record)
    return found


@given(st.randoms(use_true_random=False), st.lists(st.integers(0, len(ALL)), max_size=6))
def test_coverage_is_the_same_in_any_batches_and_any_order_of_topics_and_sessions(
    chance: Any, cuts: list[int]
) -> None:
    waiting = {key: list(rows) for key, rows in lanes().items()}
    mixed: list[Record] = []
    for key in chance.sample([key for key, rows in waiting.items() for _ in rows], len(ALL)):
        mixed.append(waiting[key].pop(0))
    made = Coverage(TENANTS, 60)
    at = 0
    for cut in sorted({*cuts, len(mixed)}):
        made.take(mixed[at:cut])
        at = cut
    assert made.document() == covered(ALL).document()


@given(st.integers(0, len(ALL) - 1))
def test_records_written_again_after_a_crash_change_nothing(last: int) -> None:
    assert covered([*ALL, *ALL[last:]]).document() == covered(ALL).document()
    assert covered([*ALL[: last + 1], *ALL]).document() == covered(ALL).document()


def test_each_mend_is_one_sentence_for_the_host_and_every_finding_has_one() -> None:
    assert len(MENDS) == 16
    assert all(text and not text.endswith(".") and len(text) < 140 for text in MENDS.values())


def test_calls_whose_arguments_nobody_saw_and_sessions_of_the_agent_s_own_word_are_told() -> None:
    blind = b.event("tool.called", "s", 1, call_id="s:1", tool="read_file", arguments_seen=False)
    own = b.declared("s", 0, intent={"text": "read notes.txt", "known_by": "agent"})
    agent = only([own, blind, b.called("s", 2)])
    assert told(agent)["unseen_arguments"] == (1, 2)
    assert told(agent)["self_asserted"] == (1, 1)
    assert agent.abstained == 1


# ------------------------------------------------------------------ the command


def written(place: Path, events: Sequence[dict[str, Any]]) -> tuple[Path, Path]:
    found = records(events)
    outputs, inputs = place / "all.jsonl", place / "events.jsonl"
    rows = [r for r in found if r.topic != EVENTS]
    outputs.write_bytes(
        b"".join(dumps({"topic": r.topic, "value": json.loads(r.value or b"")}) + b"\n" for r in rows)
    )
    inputs.write_bytes(b"".join((r.value or b"") + b"\n" for r in found if r.topic == EVENTS))
    return outputs, inputs


def test_the_command_reads_files_and_says_what_it_did_not_read(tmp_path: Path) -> None:
    outputs, inputs = written(tmp_path, without("session.declared", "s"))
    done = CliRunner().invoke(app, ["coverage", "--file", str(outputs), "--file", str(inputs), "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["read"] == ["cases", "decisions", "events"] or document["read"] == ["decisions", "events"]
    (agent,) = document["agents"]
    (found,) = agent["findings"]
    assert found == {
        "what": "undeclared",
        "count": 1,
        "of": 1,
        "share": 1.0,
        "example": "s",
        "mend": MENDS["undeclared"],
    }
    shown = CliRunner().invoke(app, ["coverage", "--file", str(outputs)])
    assert "unread" in shown.stdout
    assert "undeclared, 1 of 1, such as s" in shown.stdout
    alone = CliRunner().invoke(app, ["coverage", "--file", str(inputs)])
    assert "no decisions were read" in alone.stderr


def test_nothing_to_tell_is_refused_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_bytes(b"")
    done = CliRunner().invoke(app, ["coverage", "--file", str(tmp_path / "empty.jsonl")])
    assert done.exit_code != 0
    assert "driftline replay FILE --all" in str(done.exception)


def test_a_file_may_hold_any_topics(tmp_path: Path) -> None:
    outputs, inputs = written(tmp_path, good("s"))
    together = tmp_path / "both.jsonl"
    together.write_bytes(outputs.read_bytes() + inputs.read_bytes() + b.as_log_lines(b.log(good("t"))))
    topics = [record.topic for record in bus_records(together)]
    assert topics.count(EVENTS) == 8
    assert DECISIONS in topics


def test_hostile_names_reach_the_terminal_on_one_line(tmp_path: Path) -> None:
    named = [
        {**event, **({"agent": {"id": "a\x1b[2Jb\nc [red]"}} if event["type"] == "session.declared" else {})}
        for event in good("s")
    ]
    outputs, _ = written(tmp_path, named)
    done = CliRunner().invoke(app, ["coverage", "--file", str(outputs)])
    assert "\x1b" not in done.stdout
    assert "[red]" in done.stdout


# ------------------------------------------------------------------ the page

PAGE = (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE)


def rows_below(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, cell by cell."""
    below = PAGE.split(f"{heading}\n", 1)[1]
    table = re.search(r"^\|.*\n\| ---.*\n((?:\|.*\n)+)", below, re.M)
    assert table is not None
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[1].splitlines()]


def test_every_test_that_the_page_names_is_there() -> None:
    assert len(NAMED) > 50
    sources = {file: (ROOT / file).read_text(encoding="utf-8") for file, _ in NAMED}
    assert [
        (file, name) for file, name in NAMED if not re.search(rf"^def {name}\(", sources[file], re.M)
    ] == []


def test_what_is_met_or_met_in_part_names_a_test_and_what_is_not_names_none() -> None:
    must = rows_below("### The fields that it calls MUST")
    should = rows_below("### Of those that it calls SHOULD")
    rules = rows_below("### Its rules")
    aarm = rows_below("## AARM")
    states = [(row[2], row[-1]) for row in must]
    states += [(row[1], row[-1]) for row in (*should, *rules)]
    states += [(row[3], row[-1]) for row in aarm]
    assert {state for state, _ in states} == {"met", "in part", "not met"}
    assert [row for row in states if (row[0] == "not met") != (row[1].strip("| ") == "-")] == []
    assert [row[0].strip("| ") for row in aarm] == [f"R{n}" for n in range(1, 10)]
    counts = Counter(row[2] for row in must)
    assert len(must) == 50
    said = f"Of 50, {counts['met']} are met, {counts['in part']} in part, {counts['not met']} not."
    assert said in PAGE


def test_the_page_tells_of_every_finding_and_of_metrics_that_there_are() -> None:
    findings = PAGE.split("| finding | counts |", 1)[1].split("\n\n", 1)[0].replace(" ", "_")
    assert [what for what in MENDS if what not in findings] == []
    known = {metric.name for metric in Measures().registry.collect()}
    named = set(re.findall(r"`(driftline_\w+?)(?:_total)?(?:\{[^`]*)?`", PAGE))
    assert named
    assert named - known == set()
    assert set(re.findall(r'mark="(\w+)"', PAGE)) <= set(get_args(Mark))


@pytest.mark.slow
def test_the_page_shows_what_the_command_says_of_the_samples(tmp_path: Path) -> None:
    events = tmp_path / "samples.jsonl"
    events.write_bytes(b"".join(file.read_bytes() for file in sorted(SAMPLES.glob("*.jsonl"))))
    outputs = tmp_path / "all.jsonl"
    with outputs.open("w", encoding="utf-8") as out:
        run_replay([events], True, None, Settings(state_dir=tmp_path), out)
    done = CliRunner().invoke(app, ["coverage", "--file", str(outputs), "--file", str(events)])
    shown = PAGE.split("```\n", 2)[1]
    assert shown.strip() == done.stdout[done.stdout.index("globex, (no name): ") :].strip()


# ------------------------------------------------------------------ the worker's metrics


def test_marks_are_counted_by_the_worker_and_only_known_ones() -> None:
    measures = Measures()
    outputs = b.play(without("session.declared", "s") + good("t") + [b.called("t", 9)]).outputs
    measures.confirmed("judge", [], outputs, 0.0)
    value = measures.registry.get_sample_value
    assert value("driftline_marked_decisions_total", {"mark": "undeclared"}) == 1
    assert value("driftline_marked_decisions_total", {"mark": "after_end"}) == 1
    assert value("driftline_marked_decisions_total", {"mark": "vague"}) is None
    known = {mark for each in b.play(MESS).decisions for mark in each["marks"]}
    assert known <= set(get_args(Mark))
