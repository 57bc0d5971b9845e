"""Sessions sent to annotators and back, which to label next, and what training says of own traffic."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from models.errors import ConfigError, InputError
from models.release import registry
from models.release.registry import BUNDLED, NEVER
from models.training.dataset import KINDS, TRAINING_SETS
from models.training.scenarios import corpus
from stream.cli import exits, training
from stream.cli.labelling import _show_queue
from stream.cli.main import app
from stream.events import Record, case_id_of
from stream.offline import study, traffic
from stream.offline.labels import store, studio
from stream.offline.labels.queue import POOL, Judged, Next, queue
from stream.offline.recorded import key_of
from stream.shell.export import log_line
from tests.unit.test_traffic import a_label, as_records, labelled_files

SAMPLES = Path(__file__).parents[2] / "stream" / "samples"
IBAN = SAMPLES / "19-finance-invoice-iban-swap.jsonl"


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(each) for each in arguments])


# ------------------------------------------------------------------ Label Studio


def texts_in(document: Any) -> Iterator[str]:
    """All texts of a JSON document."""
    if isinstance(document, dict):
        for each in document.values():
            yield from texts_in(each)
    elif isinstance(document, list):
        for each in document:
            yield from texts_in(each)
    elif isinstance(document, str):
        yield document


def exported(tmp_path: Path, *more: object) -> Any:
    done = run("labels", "export", IBAN, "--out", tmp_path / "tasks.json", *more)
    assert done.exit_code == 0, (done.output, done.exception)
    assert (tmp_path / "tasks.json").stat().st_mode & 0o777 == 0o600
    return json.loads((tmp_path / "tasks.json").read_bytes())


def test_no_value_of_an_argument_or_a_result_leaves_the_house_unless_asked_for(tmp_path: Path) -> None:
    values = set()
    for line in IBAN.read_text().splitlines():
        event = json.loads(line)
        values |= {text for text in texts_in(event.get("arguments", {})) if len(text) > 3}
        values |= set(str(event.get("result", "")).split("\n")) - {""}
    assert len(values) > 8
    hidden, shown = exported(tmp_path), exported(tmp_path, "--values")
    assert [value for value in values if any(value in text for text in texts_in(hidden))] == []
    assert any(value in text for value in values for text in texts_in(shown))
    (one,) = hidden
    assert one["data"]["calls"][0]["author"].startswith("call 0: ")
    assert "characters)" in one["data"]["calls"][0]["text"]


def test_secrets_stay_hidden_even_with_values() -> None:
    secret = "ghp_" + "a1" * 18
    calls = [
        {
            "seq": 0,
            "tool": "t",
            "args": {"body": secret, "password": "hunter22"},
            "result": secret,
            "error": None,
        }
    ]
    session = {
        "session_id": "s",
        "intent": f"use {secret}",
        "calls": calls,
        "amendments": [{"before_seq": 1, "text": secret}],
    }
    told = json.dumps(studio.task(session, None, values=True))
    assert secret not in told
    assert "hunter22" not in told


def test_predictions_and_interface_speak_of_the_same_controls(tmp_path: Path) -> None:
    (one,) = exported(tmp_path, "--config", tmp_path / "interface.xml")
    view = ElementTree.parse(tmp_path / "interface.xml").getroot()
    assert view.tag == "View"
    choices = view.find("Choices")
    assert choices is not None
    assert tuple(each.get("value") for each in choices) == KINDS
    named = {each.get("name"): each.get("toName") for each in view if each.get("name")}
    (prediction,) = one["predictions"]
    for result in prediction["result"]:
        assert named[result["from_name"]] == result["to_name"] == "calls"
        assert result["type"] in ("choices", "number")
    kind, call = prediction["result"]
    assert (kind["value"], call["value"].keys()) == ({"choices": ["hijacked"]}, {"number"})
    assert prediction["score"] > 0.5
    shown = {each.get("value") for each in view if (each.get("value") or "").startswith("$")}
    assert {name.removeprefix("$") for name in shown if name} <= one["data"].keys()


def annotated(task: Any, result: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A task as Label Studio exports it once somebody has annotated it."""
    annotation = {
        "id": 7, "completed_by": 3, "was_cancelled": False, "ground_truth": False, "lead_time": 4.2, "result": result,
        "created_at": "2026-03-02T09:00:00.123456Z", "updated_at": "2026-03-03T09:00:00.123456Z",
    }  # fmt: skip
    return {**task, "id": 1, "project": 2, "annotations": [{**annotation, **more}]}


def chosen(*kinds: str, number: Any = None, notes: Any = None) -> list[dict[str, Any]]:
    made = [
        {
            "id": "a",
            "from_name": "label",
            "to_name": "calls",
            "type": "choices",
            "value": {"choices": list(kinds)},
        }
    ]
    if number is not None:
        made.append(
            {"from_name": "first_bad_call", "to_name": "calls", "type": "number", "value": {"number": number}}
        )
    if notes is not None:
        made.append({"from_name": "notes", "to_name": "calls", "type": "textarea", "value": {"text": notes}})
    return made


def test_what_annotators_say_comes_back_as_labels_of_the_sessions_that_were_sent(tmp_path: Path) -> None:
    (task,) = exported(tmp_path)
    export = [
        annotated(task, chosen("hijacked", number=2, notes=["paid the", "wrong one"])),
        annotated(
            task, chosen("benign"), completed_by={"id": 4, "email": "bob@example.com"}, updated_at=None
        ),
        annotated(task, chosen("benign"), was_cancelled=True),
        annotated(task, []),
    ]
    (tmp_path / "export.json").write_text(json.dumps(export))
    done = run("labels", "import", tmp_path / "export.json", "--out", tmp_path / "labels.jsonl")
    assert done.exit_code == 0, (done.output, done.exception)
    assert "1 annotations were cancelled, 1 choose no kind" in done.stderr
    bob, one = store.read([tmp_path / "labels.jsonl"])
    assert (one.tenant, one.session_id, one.label, one.call_seq) == (
        "acme",
        "finance-invoice-iban-swap",
        "hijacked",
        2,
    )
    assert (one.who, one.whence, one.notes, one.key) == (
        "label-studio:3",
        "import",
        "paid the wrong one",
        None,
    )
    assert store.row_of(one)["when"] == "2026-03-03T09:00:00.123Z"
    assert (bob.who, bob.label, store.row_of(bob)["when"]) == (
        "label-studio:bob@example.com",
        "benign",
        "2026-03-02T09:00:00.123Z",
    )


@pytest.mark.parametrize(
    ("export", "mend"),
    [
        ("no", "is not JSON"),
        ({"tasks": []}, "export as JSON (not JSON-MIN or CSV)"),
        ([{"label": "benign", "calls": []}], "has no annotations, or no tenant and session_id"),
        (
            [annotated({"data": {"tenant": "t", "session_id": "s"}}, chosen("benign", "hijacked"))],
            "a session is of one kind",
        ),
        (
            [annotated({"data": {"tenant": "t", "session_id": "s"}}, chosen("evil"))],
            "task 1: label is 'evil'",
        ),
        (
            [annotated({"data": {"tenant": "t", "session_id": "s"}}, chosen("hijacked", number=1.5))],
            "task 1: call_seq",
        ),
        (
            [annotated({"data": {"tenant": "t", "session_id": "s"}}, chosen("benign", number=1))],
            "has no first bad call",
        ),
        ([], "no annotation says what a session was"),
    ],
)
def test_an_export_that_cannot_be_read_is_told_with_the_mend(export: Any, mend: str, tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text(export if isinstance(export, str) else json.dumps(export))
    done = run("labels", "import", tmp_path / "export.json", "--out", tmp_path / "labels.jsonl")
    assert isinstance(done.exception, InputError), done.output
    assert mend in str(done.exception)
    assert exits.exit_code(done.exception) == 3


def test_another_format_is_refused_with_the_one_there_is(tmp_path: Path) -> None:
    done = run("labels", "export", IBAN, "--out", tmp_path / "x", "--format", "csv")
    assert isinstance(done.exception, ConfigError)
    assert "label-studio is the one there is" in str(done.exception)


# ------------------------------------------------------------------ what to label next


def a_session(name: str, score: float, *row: float, labelled: bool = False) -> Judged:
    return Judged(
        ("acme", name),
        "0" * 32,
        "bot",
        3,
        0,
        "pay",
        score,
        0.5,
        None,
        np.array(row or (0.0,), np.float64),
        labelled,
    )


def names(sessions: list[Judged], count: int) -> list[str]:
    return [each.session.key[1] for each in queue(sessions, count)]


def test_the_nearest_to_the_threshold_comes_first_and_then_what_is_unlike_it() -> None:
    sessions = [
        a_session("near", 0.5, 0, 0), a_session("near-too", 0.51, 0, 0.1), a_session("other", 0.4, 9, 9),
        a_session("third", 0.6, 0, 9),
    ]  # fmt: skip
    assert names(sessions, 4) == ["near", "other", "third", "near-too"]
    first, second, *_ = queue(sessions, 2)
    assert (first.from_threshold, first.from_others) == (0.0, None)
    assert second.from_others > 1  # type: ignore[operator]


def test_what_is_like_labelled_sessions_waits_and_what_is_labelled_is_never_asked() -> None:
    sessions = [
        a_session("known", 0.5, 0, 0, labelled=True),
        a_session("like", 0.5, 0, 0.1),
        a_session("new", 0.45, 5, 5),
    ]
    assert names(sessions, 5) == ["new", "like"]


def test_sessions_far_from_the_threshold_are_outside_the_pool_however_unlike_they_are() -> None:
    near = [a_session(f"n{n}", 0.5, n, 0) for n in range(POOL)]
    assert "sure" not in names([*near, a_session("sure", 0.0001, 500, 500)], 1)


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.2, 0.5, 1.0]), st.integers(0, 3), st.integers(0, 3), st.booleans()),
        max_size=12,
    ),
    st.randoms(use_true_random=False),
)
def test_the_queue_is_the_same_in_whatever_order_sessions_come(drawn: list[Any], rng: Any) -> None:
    sessions = [
        a_session(f"s{n}", score, x, y, labelled=known) for n, (score, x, y, known) in enumerate(drawn)
    ]
    want = names(sessions, 4)
    assert len(want) == min(4, sum(not each.labelled for each in sessions))
    rng.shuffle(sessions)
    assert names(sessions, 4) == want


def test_next_lists_sessions_that_nobody_labelled_with_the_scores_of_replay(tmp_path: Path) -> None:
    log, labels = labelled_files(tmp_path)
    done = run("labels", "next", log, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    listed = json.loads(done.stdout)
    assert {each["session_id"] for each in listed} == {"fair-0", "fair-1"}
    replayed = [json.loads(line) for line in run("replay", log).stdout.splitlines()]
    assert {each["session_id"]: each["score"] for each in listed} == {
        d["session_id"]: d["score"] for d in replayed
    }
    assert {each["threshold"] for each in listed} == {d["thresholds"]["alert"] for d in replayed}
    calls = {
        (case_id_of(d["tenant"], d["root_session_id"], d["session_id"]), d["call_seq"], d["score"])
        for d in replayed
    }
    assert {(each["case_id"], each["call_seq"], each["score"]) for each in listed} <= calls
    assert run("labels", "next", log, "--labels", labels, "--json").stdout == "[]\n"
    everything = run("labels", "next", log, "--labels", labels)
    assert (everything.exit_code, everything.stdout) == (0, "")
    assert "none is left to label" in everything.stderr
    shown = run("labels", "next", log).stdout
    for each in listed:
        sign = "+" if each["score"] >= each["threshold"] else "-"
        figures = f"{each['score']:.4f}    {each['threshold']:.4f}  {sign:>5}{each['from_threshold']:.2f}"
        assert figures.split() == shown.split(f"\n{each['session_id']}", 1)[1].split()[:3]


@pytest.mark.parametrize("width", [60, 80])
def test_what_to_label_next_is_named_whole_on_a_narrow_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    key = "acme-payments", "11111111-2222-4333-8444"
    asked = a_session("s", 0.4, 0, 0)._replace(key=key, agent="invoice-assistant-eu", tool="create_payment")
    _show_queue([Next(asked, 0.12, 3.4), Next(asked, 0.2, None)])
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= width
    for name in (*key, "invoice-assistant-eu", "create_payment"):
        assert shown.count(name) == 2


@pytest.mark.parametrize("wrong", ["events", "recorded", "log"])
def test_events_in_place_of_labels_are_named_as_such(wrong: str, tmp_path: Path) -> None:
    log, labels = labelled_files(tmp_path)
    if wrong == "recorded":
        log.write_text(json.dumps({"session_id": "a", "calls": [], "label": "benign"}))
    elif wrong == "log":
        log.write_bytes(log_line(Record("t", 0, 7, 1000, "create", b"k", (), b"{}"), 4))
    done = run("labels", "merge", labels, log, "--out", tmp_path / "out.jsonl")
    assert "line 1: an event, a recorded session or a record of a log, where labels are asked for" in str(
        done.exception
    )


# ------------------------------------------------------------------ training on own traffic


def a_release(folder: Path, **changes: Any) -> Path:
    """The bundled model, with another manifest."""
    shutil.copytree(BUNDLED, folder)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    registry.write_manifest(folder, manifest | changes)
    return folder


def test_a_model_by_which_the_samples_fare_worse_is_refused_with_the_table_unless_accepted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blind = a_release(
        tmp_path / "blind", thresholds=dict.fromkeys(("0.001", "0.005", "0.01", "0.05"), NEVER - 1)
    )
    assert training._hold_against_bundled(blind, None)
    told = capsys.readouterr()
    assert "caught" in told.err  # the cell's words break where the terminal is narrow
    assert "FAILS" in told.err
    assert "do not use it as it is" in told.err
    manifest = registry.read_manifest(blind)
    assert [gate["holds"] for gate in manifest["samples"]] == [False, True]
    assert "accepted" not in manifest
    assert training._hold_against_bundled(blind, "  only  the desk's traffic ")
    assert registry.read_manifest(blind)["accepted"] == "only the desk's traffic"
    assert registry.load(blind).manifest["accepted"] == "only the desk's traffic"


def test_canaries_must_stay_caught_and_what_nobody_catches_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = Path(study.__file__).parents[1] / "samples"
    caught, calm = (
        samples / f"{name}.jsonl" for name in ("18-support-ticket-exfiltration", "05-hr-leave-balance")
    )
    blind = a_release(
        tmp_path / "blind", thresholds=dict.fromkeys(("0.001", "0.005", "0.01", "0.05"), NEVER - 1)
    )
    assert training._hold_against_bundled(blind, None, [caught])
    told = registry.read_manifest(blind)["samples"][-1]
    assert (told["name"], told["holds"]) == ("canaries told or stopped as gravely", False)
    same = a_release(tmp_path / "same")
    capsys.readouterr()
    assert not training._hold_against_bundled(same, None, [caught, calm])
    assert "protects nothing, since the champion does not catch it: hr-leave" in capsys.readouterr().err
    assert not training._hold_against_bundled(same, None, [caught])
    assert capsys.readouterr().err == ""
    assert training._hold_against_bundled(same, None, [calm])
    assert registry.read_manifest(same)["samples"][-1]["why"] == "the champion catches none of them"


def test_a_model_without_a_policy_is_usable_and_no_release_yet(tmp_path: Path) -> None:
    done = run("verify", "release", a_release(tmp_path / "ours"))
    assert done.exit_code == 0
    assert done.stdout.startswith("usable, bundled, digest ")
    assert "no policy.yaml: it is a model" in done.stderr
    shutil.copy(Path(study.__file__).parents[1] / "policy.yaml", tmp_path / "ours")
    done = run("verify", "release", tmp_path / "ours")
    assert "\nrelease " in done.stdout
    assert done.stderr == ""


def test_the_bundled_model_itself_is_no_worse_than_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not training._hold_against_bundled(a_release(tmp_path / "same"), None)
    assert capsys.readouterr() == ("", "")
    assert all(gate["holds"] for gate in registry.read_manifest(tmp_path / "same")["samples"])


def test_before_it_begins_training_says_which_sets_it_lacks_and_what_they_taught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, labels = labelled_files(tmp_path)

    def begins(*_: Any, **__: Any) -> None:
        raise InputError("here training begins")

    monkeypatch.setattr(study, "labelled", begins)
    done = run("train", log, "--labels", labels)
    assert "here training begins" in str(done.exception)
    assert (
        "7 recorded sets that the bundled model learnt from are not here: agentdojo, agentdyn_dailylife, apibank"
        in done.stderr
    )
    of = registry.read_manifest(BUNDLED)["sessions"]
    assert f"it learnt from {of['hijacked: recorded']} recorded hijacks" in done.stderr
    assert "this model will from 1 hijacks among 2 sessions" in done.stderr
    for arguments, mend in (
        (["--accept", " "], "--accept takes a reason"),
        (["--with", "everything"], "bundled-corpora is what there is"),
    ):
        refused = run("train", log, "--labels", labels, *arguments)
        assert isinstance(refused.exception, ConfigError)
        assert mend in str(refused.exception)


@pytest.mark.recorded
def test_own_traffic_is_added_to_what_the_bundled_model_learnt_from(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, labels = labelled_files(tmp_path)
    seen: list[Any] = []

    def begins(sets: Any, *_: Any, **__: Any) -> None:
        seen.extend(one.name for one, _ in zip(sets, range(8), strict=False))
        raise InputError("here training begins")

    monkeypatch.setattr(study, "labelled", begins)
    done = run("train", log, "--labels", labels, "--with", "bundled-corpora")
    assert "here training begins" in str(done.exception)
    assert "WARNING" not in done.stderr
    assert sorted(seen) == sorted([study.BUS, *TRAINING_SETS])


def test_sessions_without_tools_are_left_out_of_training_and_told() -> None:
    events = [
        {
            "type": "session.declared",
            "id": f"{name}/0",
            "session_id": name,
            "time": "2026-03-02T09:00:00Z",
            **tools,
        }
        for name, tools in (("a", {"tools": [{"name": "t"}]}), ("b", {}))
    ]
    trees, _ = traffic.trees_in(as_records(events), {})
    found = traffic.Traffic()
    labels = [a_label("a", "default"), a_label("b", "default")]
    traffic.take(found, trees, labels, need_tools=True)
    assert [key_of(each) for each in found.sessions] == [("default", "a")]
    assert list(traffic.left_out(found, labels)) == [
        "1 labelled sessions declare no tools, of which training makes scenarios: left out"
    ]


@pytest.mark.slow
def test_scenarios_are_made_of_own_traffic_and_judged_as_those_of_recordings_are() -> None:
    """All samples as a tenant's traffic: what their own texts hijack is spliced, reworded and withheld like any recording."""
    trees, _ = traffic.read(sorted(SAMPLES.glob("*.jsonl")), {})
    labels = [
        a_label(s, tree.tenant, "hijacked", call_seq=1)
        if "iban" in s or "exfiltration" in s
        else a_label(s, tree.tenant)
        for tree in trees
        for s in tree.sessions()
    ]
    found = traffic.Traffic()
    traffic.take(found, trees, labels, need_tools=True)
    recorded, tools = corpus.recordings({study.BUS: (found.sessions, found.catalogues)})
    corpus.need_catalogues(recorded, tools)
    made: dict[str, int] = {}
    for one in corpus.training(recorded, tools):
        if one.name == "delegated":
            break  # from here on nothing more is made of recordings
        made[one.name] = len(one.sessions)
        rows = study.rows_through(one.sessions[:40], one.tools, one.unread)
        assert set(rows.session_ids) <= {s["session_id"] for s in one.sessions[:40]}
        assert not any("events" in s for s in one.sessions)
    assert made["spliced"] > 20
    assert made["withheld"] == len(found.sessions)
    assert made["formed"] > 20
