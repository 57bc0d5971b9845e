"""Bus events become labelled recorded sessions, and nothing is lost that the core reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from models.contracts import Label
from models.errors import ConfigError, DatasetError, InputError
from models.training.dataset import of_record
from models.training.scenarios.corpus import set_of
from stream import bootstrap
from stream.cli import exits
from stream.cli.main import app
from stream.events import DECISIONS, dumps
from stream.offline import study, traffic
from stream.offline.files import load_tools, plain_record, read_records, read_sessions
from stream.offline.labels import store
from stream.offline.recorded import events_of
from stream.offline.replay import replay
from stream.offline.rows import decided, feature_rows
from stream.settings import Settings
from tests import builders as b

SAMPLES = Path(__file__).parents[2] / "stream" / "samples"
TENANTS: dict[str, str | None] = {}

names = st.sampled_from(["read_note", "send_mail", "pay"])
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
seconds = st.one_of(st.none(), st.integers(0, 10**9).map(lambda us: us / 1_000_000))


@st.composite
def recordings(draw: st.DrawFn) -> dict[str, Any]:
    """A recorded session of any shape that the format allows."""
    calls = [
        {
            "seq": seq,
            "tool": draw(names),
            "args": draw(st.dictionaries(texts, st.one_of(texts, st.integers(-5, 5), st.none()), max_size=2)),
            "result": draw(st.one_of(st.none(), texts)),
            "error": draw(st.one_of(st.none(), texts)),
            **({"t_call": at} if (at := draw(seconds)) is not None else {}),
            **({"t_result": at} if (at := draw(seconds)) is not None else {}),
        }
        for seq in range(draw(st.integers(0, 4)))
    ]
    places = sorted(draw(st.lists(st.integers(0, len(calls)), max_size=3)))
    return {
        "session_id": draw(st.text("abc-1", min_size=1, max_size=8)),
        "intent": draw(texts),
        "model": draw(st.one_of(st.none(), st.just("m-1"))),
        "calls": calls,
        "amendments": [{"before_seq": place, "text": draw(texts)} for place in places],
        **({"resources": ["inbox"]} if draw(st.booleans()) else {}),
    }


def as_records(events: Iterable[dict[str, Any]]) -> list[Any]:
    return [
        plain_record(dumps(event), event.get("root_session_id") or event.get("session_id"), place)
        for place, event in enumerate(events)
    ]


def a_label(session: str, tenant: str = "recorded", label: str = "benign", **more: Any) -> Label:
    row = {"tenant": tenant, "session_id": session, "label": label, "whence": "import", "who": "ada"}
    return Label.model_validate(row | more)


def taken(events: Sequence[dict[str, Any]], labels: Sequence[Label]) -> traffic.Traffic:
    trees, unread = traffic.trees_in(as_records(events), TENANTS)
    found = traffic.Traffic(unread=unread)
    traffic.take(found, trees, labels)
    return found


@given(recordings(), st.sampled_from([None, [], b.TOOLS]))
def test_a_recording_made_events_and_a_recording_again_gives_the_same_bytes(
    session: dict[str, Any], tools: list[dict[str, Any]] | None
) -> None:
    events = events_of(session, tools)
    found = taken(events, [a_label(session["session_id"])])
    (made,) = found.sessions
    assert [dumps(event) for event in events_of(made, None)] == [dumps(event) for event in events]
    # Without what came on the bus: of the fields alone, which scenarios are made of.
    bare = {name: value for name, value in made.items() if name not in ("events", "tree")}
    again = events_of(bare, found.catalogues.get(bare["tools_ref"]))
    assert [dumps(event) for event in again] == [dumps(event) for event in events]


@given(recordings())
def test_fields_that_the_core_reads_come_back_as_they_were(session: dict[str, Any]) -> None:
    (made,) = taken(events_of(session, b.TOOLS), [a_label(session["session_id"])]).sessions
    assert (made["intent"], made["amendments"]) == (session["intent"], session["amendments"])
    assert [(call["seq"], call["tool"], call["args"]) for call in made["calls"]] == [
        (call["seq"], call["tool"], call["args"]) for call in session["calls"]
    ]


def test_decisions_of_events_and_of_what_became_of_them_are_the_same_bytes() -> None:
    """Over all samples: sub-agents, tools that join, sessions that declare nothing, credentials of others."""
    settings = Settings(attestation_issuers=SAMPLES / "issuers.json")
    judge = bootstrap.judge(settings)  # what it has judged changes nothing of what it judges next
    n_trees = 0
    for path in sorted(SAMPLES.glob("*.jsonl")):
        trees, unread = traffic.read([path], TENANTS)
        assert not unread
        found = traffic.Traffic()
        traffic.take(found, trees, [a_label(s, tree.tenant) for tree in trees for s in tree.sessions()])
        live = [o.value for o in replay(read_records(path), judge) if o.topic == DECISIONS]
        offline = decided(judge, found.sessions, found.catalogues)
        assert [dumps(decision) for decision in offline] == [dumps(orjson.loads(value)) for value in live]
        n_trees += len(trees)
    assert n_trees > 40


def test_of_a_tree_each_labelled_session_has_its_rows_and_no_other() -> None:
    path = SAMPLES / "29-travel-team-offsite.jsonl"
    trees, _ = traffic.read([path], TENANTS)
    (tree,) = trees
    root, *below = tree.sessions()
    assert below
    found = traffic.Traffic()
    traffic.take(found, trees, [a_label(below[0], tree.tenant)])
    rows = feature_rows(found.sessions, found.catalogues)
    assert set(rows.session_ids) == {below[0]}
    whole = traffic.Traffic()
    traffic.take(whole, trees, [a_label(each, tree.tenant) for each in (root, *below)])
    every = feature_rows(whole.sessions, whole.catalogues)
    mine = [name == below[0] for name in every.session_ids]
    assert np.array_equal(every.X[mine], rows.X)
    assert len(rows.X) < len(every.X)


def test_what_a_scenario_makes_of_a_session_is_judged_by_its_own_calls() -> None:
    events = events_of({"session_id": "s", "intent": "Pay.", "calls": []}, b.TOOLS)
    (made,) = taken(events, [a_label("s")]).sessions
    (twin,) = set_of("made", [{**made, "session_id": "s-twin", "tools_ref": ""}], {}).sessions
    assert {event["session_id"] for event in events_of(twin, None)} == {"s-twin"}


def test_a_session_is_grouped_by_tenant_agent_and_what_was_asked() -> None:
    events = [
        b.declared("s", tenant="acme", agent={"id": "bot"}, text="Read  the notes"),
        b.declared("t", tenant="acme", agent={"id": "bot"}, text="read the NOTES"),
        b.declared("u", text="read the mail"),
    ]
    labels = [a_label("s", "acme"), a_label("t", "acme"), a_label("u", "default")]
    one, other, third = (of_record(made, {}) for made in taken(events, labels).sessions)
    assert one.task == other.task != third.task
    assert (one.source, one.suite, third.source, third.suite) == (
        "tenant:acme",
        "bot",
        "tenant:default",
        "unnamed",
    )


def test_what_has_no_label_or_a_wrong_one_is_counted_and_told() -> None:
    events = [
        b.declared("s"), b.called("s", 1), b.called("s", 1), b.called("s", 2, call_id="second"),
        b.declared("t"), b.declared("u"), b.declared("v"), b.declared("v", tenant="acme"), {"type": "feedback.given"},
    ]  # fmt: skip
    labels = [
        a_label("s", "default", "hijacked", call_id="second"),
        a_label("t", "default", "hijacked", call_seq=3),
        a_label("v", "acme"),
        a_label("nowhere", "acme"),
        a_label("u", "default", "benign"),
        a_label("u", "default", "hijacked", who="bob"),
    ]
    found = taken(events, labels)
    (made,) = found.sessions
    assert (made["session_id"], made["first_bad_seq"], len(made["calls"])) == ("s", 1, 2)
    told = "\n".join(traffic.left_out(found, labels))
    for sentence in (
        "1 records are no event of a session",
        "1 of 5 sessions have no label: left out",
        "people disagree on the label of 1 sessions (default/u)",
        "labels are about 1 sessions (acme/nowhere) that are not among",
        "the label of 1 sessions (default/t) names a first bad call that the session does not have",
        "the id of 1 sessions (acme/v) stands for another session too",
    ):
        assert sentence in told


def test_an_events_field_that_holds_no_events_is_refused() -> None:
    with pytest.raises(InputError, match="must be a list of bus events"):
        events_of({"session_id": "s", "events": [{"type": "tool.called"}]}, None)


def labelled_files(folder: Path, **changes: Any) -> tuple[Path, Path]:
    """Two sessions of strangers as events of two tenants, and their labels."""
    events: list[dict[str, Any]] = []
    for number, tenant in enumerate(("acme", "globex")):
        session = f"fair-{number}"
        events += [
            b.declared(session, tenant=tenant, text=f"Find out when the spring fair at pond {number} opens."),
            b.called(session, 1, tenant=tenant),
            b.returned(session, 2, f"{session}:1", "opens 9:30", tenant=tenant),
            b.ended(session, 3, tenant=tenant),
        ]
    log, labels = folder / "events.jsonl", folder / "labels.jsonl"
    log.write_bytes(b.as_log_lines(as_records(events)))
    rows = [
        {
            "tenant": "acme",
            "session_id": "fair-0",
            "label": "benign",
            "whence": "import",
            "who": "ada",
            **changes,
        },
        {
            "tenant": "globex",
            "session_id": "fair-1",
            "label": "hijacked",
            "call_seq": 0,
            "whence": "import",
            "who": "ada",
        },
    ]
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return log, labels


def test_a_dump_of_the_bus_is_evaluated_with_labels_by_the_scores_of_replay(tmp_path: Path) -> None:
    log, labels = labelled_files(tmp_path)
    done = CliRunner().invoke(app, ["evaluate", str(log), "--labels", str(labels), "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    report = json.loads(done.stdout)
    assert report["sessions"] == {"benign": 1, "hijacked": 1}
    replayed = CliRunner().invoke(app, ["replay", str(log)])
    scores = [json.loads(line)["score"] for line in replayed.stdout.splitlines()]
    assert report["highest"]["1"] == max(scores)


@pytest.mark.parametrize("command", ["evaluate", "train"])
@pytest.mark.parametrize(
    ("changes", "arguments", "mend"),
    [
        ({}, [], "give --labels FILE, which `driftline labels collect` makes"),
        ({}, ["--labels", "nowhere.jsonl"], "cannot read nowhere.jsonl"),
        (
            {"label": "evil"},
            ["--labels", "labels.jsonl"],
            "label is 'evil': Input should be 'benign', 'hijacked'",
        ),
        ({"call_seq": 1}, ["--labels", "labels.jsonl"], "a session that was benign has no first bad call"),
        (
            {"tenant": "acme", "session_id": "x"},
            ["--tools", "none.json", "--labels", "labels.jsonl"],
            "do not exist",
        ),
    ],
)
def test_what_is_missing_is_told_in_one_sentence_with_the_mend(
    command: str,
    changes: dict[str, Any],
    arguments: list[str],
    mend: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    labelled_files(tmp_path, **changes)
    done = CliRunner().invoke(app, [command, "events.jsonl", *arguments])
    assert isinstance(done.exception, InputError | DatasetError) or "--tools" in arguments, done.output
    assert mend in str(done.exception)
    assert exits.exit_code(done.exception) == (2 if "--tools" in arguments else 3)  # type: ignore[arg-type]


def test_labels_that_are_about_nothing_here_are_refused(tmp_path: Path) -> None:
    log, labels = labelled_files(tmp_path)
    labels.write_bytes(labels.read_bytes().splitlines()[0].replace(b"fair-0", b"fair-9") + b"\n")
    done = CliRunner().invoke(app, ["evaluate", str(log), "--labels", str(labels)])
    assert isinstance(done.exception, DatasetError)
    assert "a label names its session by tenant and session_id" in str(done.exception)


def test_recordings_take_labels_from_elsewhere_and_keep_their_own_without() -> None:
    sessions = [
        {
            "session_id": "a",
            "intent": "x",
            "label": "hijacked",
            "first_bad_seq": 0,
            "calls": [{"seq": 0}, {"seq": 1}],
        },
        {"session_id": "b", "intent": "x", "label": "attempted", "calls": []},
        {"session_id": "c", "intent": "x", "calls": []},
    ]
    found = traffic.Traffic()
    one, other = traffic.relabelled(found, sessions, [a_label("a", label="hijacked", call_id="a:1")])
    assert (one["first_bad_seq"], one["source"], other) == (1, "tenant:recorded", sessions[1])
    assert found.unlabelled == 1


@pytest.mark.recorded
@pytest.mark.slow
def test_recorded_sets_made_events_are_judged_as_the_recordings_are(recorded: Path) -> None:
    for name in ("agentdojo", "tau_retail", "bfcl_multiturn", "openagentsafety_a"):
        path = recorded / f"{name}.jsonl.gz"
        tools = load_tools(path) or {}
        sessions = list(read_sessions(path))[::97][:40]
        events = [e for s in sessions for e in events_of(s, tools.get(s["tools_ref"]))]
        found = taken(events, [a_label(s["session_id"]) for s in sessions])
        bare = [{k: v for k, v in made.items() if k not in ("events", "tree")} for made in found.sessions]
        want = [dumps(each) for each in decided(bootstrap.judge(Settings()), sessions, tools)]
        for made in (found.sessions, bare):
            got = decided(bootstrap.judge(Settings()), made, found.catalogues)
            assert [dumps(each) for each in got] == want


def test_study_reads_events_and_recordings_side_by_side(tmp_path: Path) -> None:
    log, labels = labelled_files(tmp_path)
    own = {
        "session_id": "a",
        "source": "s",
        "suite": "s",
        "user_task_id": "t",
        "label": "benign",
        "intent": "x",
        "calls": [],
    }
    (tmp_path / "own.jsonl").write_text(json.dumps(own) + "\n")
    said: list[str] = []
    from stream.offline.labels import store

    recorded, tools = study.given(
        [log, tmp_path / "own.jsonl"], None, store.read([labels]), TENANTS, said.append
    )
    assert {name: len(sessions) for name, sessions in recorded.items()} == {"own": 1, study.BUS: 2}
    assert {s["tools_ref"] for s in recorded[study.BUS]} <= tools.keys()
    assert [s["domain"] for s in recorded[study.BUS]] == ["tenant:acme", "tenant:globex"]
    assert said == []


def test_a_range_takes_trees_that_go_on_in_it_and_counts_what_is_no_event_within_it_alone() -> None:
    events = [
        *(b.declared("over"), b.called("over", 1)),
        *({"type": "no.such"}, b.declared("open")),
        *(b.called("open", 1), {"type": "no.such"}),
    ]
    records = as_records(events)
    trees, unread = traffic.trees_in(records, {}, {(records[0].topic, records[0].partition): 4})
    assert [[event["id"] for event in tree.events] for tree in trees] == [[events[3]["id"], events[4]["id"]]]
    assert unread == 1
    assert traffic.trees_in(records, {})[1] == 2


def test_a_session_whose_beginning_is_missing_teaches_nothing_and_that_is_told(tmp_path: Path) -> None:
    log, labels = labelled_files(tmp_path)
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[1:]))  # without the first session's declaration
    told: list[str] = []
    recorded, _ = study.given([log], None, store.read([labels]), {}, told.append)
    assert [each["session_id"] for each in recorded[study.BUS]] == ["fair-1"]
    assert any(each.startswith("1 trees of sessions began before what was read") for each in told)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--to", "2026-03-02"), "--to, --partition, --topic and --read-back are of the bus: give --from"),
        (("--partition", "1"), "give --from, too (topics: all that stands there)"),
        (("x.jsonl", "--from", "topics"), "are of the bus, and files are read whole"),
    ],
)
def test_options_of_the_bus_beside_files_or_without_a_beginning_are_refused(
    arguments: tuple[str, ...], said: str
) -> None:
    done = CliRunner().invoke(app, ["train", *arguments])
    assert isinstance(done.exception, ConfigError)
    assert said in str(done.exception)
