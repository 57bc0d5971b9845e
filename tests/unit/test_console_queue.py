"""The console's page To label: the queue that `driftline labels next` wrote, and why each session is asked for."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from models.errors import InputError
from stream.console import queue, serving
from stream.console.guard import Access
from stream.console.index import Index
from stream.console.queue import Asked, Place, Queue
from stream.console.site import application
from stream.events import ALERTS, EVENTS, Record, case_id_of
from stream.offline.labels import store
from tests.unit.test_console import HOST, PAYLOADS, SAMPLES, TOKEN, Tags, finding, indexed, records, told
from tests.unit.test_labelling import run

__all__ = ["records"]


def asked(session: str, **more: Any) -> dict[str, Any]:
    return {
        "tenant": "acme", "session_id": session, "case_id": case_id_of("acme", session, session), "agent": "bot",
        "calls": 3, "call_seq": 2, "tool": "pay", "score": 0.31, "threshold": 0.35, "from_threshold": 0.18,
        "from_others": None, **more,
    }  # fmt: skip


def written(folder: Path, *sessions: dict[str, Any]) -> Queue:
    path = folder / "queue.json"
    path.write_text(json.dumps(sessions), encoding="utf-8")
    return Queue(path)


def client(made: Index, queue: Queue | None, access: Access | None = None) -> TestClient:
    app = application(made, access or Access({"127.0.0.1:8800"}), queue=queue)
    return TestClient(app, base_url=HOST, follow_redirects=False)


def test_what_labels_next_writes_is_shown_in_its_order_with_its_reasons(
    records: list[Record], tmp_path: Path
) -> None:
    files = [
        SAMPLES / f"{name}.jsonl" for name in ("01-support-refund-lookup", "19-finance-invoice-iban-swap")
    ]
    done = run("labels", "next", *files, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    listed = json.loads(done.stdout)
    (tmp_path / "queue.json").write_text(done.stdout, encoding="utf-8")
    made = indexed(records)
    text = client(made, Queue(tmp_path / "queue.json")).get("/queue").text
    assert "<h1>2 sessions to label next</h1>" in text
    places = [text.index(f'href="/sessions/{each["case_id"]}"') for each in listed]
    assert places == sorted(places)
    for each in listed:
        assert f"Call {each['call_seq']}, <bdi>{each['tool']}</bdi>, has the highest score" in text
        assert f"{each['from_threshold']:.2f} off in log odds" in text
    assert "Nothing is labelled yet that it could be compared with" in text
    assert f"{listed[1]['from_others']:.2f} away or more" in text


def test_a_case_leads_to_its_verdict_and_a_session_without_one_to_a_line_that_is_a_label(
    records: list[Record], tmp_path: Path
) -> None:
    made = indexed(records)
    (case,) = made.cases()
    names = ["finance-invoice-iban-swap", "support-refund-lookup", "gone"]
    text = client(made, written(tmp_path, *map(asked, names))).get("/queue").text
    quiet, gone = (case_id_of("acme", name, name) for name in names[1:])
    assert f'href="/sessions/{case.case_id}"' in text
    assert "Its page says how" in text
    assert f'href="/sessions/{quiet}"' in text
    assert f'href="/sessions/{gone}"' not in text
    assert f"driftline show {gone}" in text
    (line,) = re.findall(r'\{"tenant".*\}', Tags(text).text)
    filled = line.replace("YOUR NAME", "ann")
    (tmp_path / "mine.jsonl").write_text(filled + "\n", encoding="utf-8")
    done = run("labels", "merge", tmp_path / "mine.jsonl", "--out", tmp_path / "all.jsonl")
    assert done.exit_code == 0, (done.output, done.exception)


def test_what_was_judged_since_is_asked_no_more_until_it_is_taken_back(tmp_path: Path) -> None:
    def said(verdict: str, at: int) -> Record:
        word = {"feedback": {"verdict": verdict, "by": "ada", "key": "ada", "time": "2026-03-02"}}
        return told(ALERTS, finding("s", 4, at, is_alert=False, unmapped=word))

    made, listed = indexed([told(ALERTS, finding("s"))]), written(tmp_path, asked("s"), asked("t"))
    assert "<h1>2 sessions to label next" in client(made, listed).get("/queue").text
    made.take(said("benign", 5))
    text = client(made, listed).get("/queue").text
    assert "<h1>1 session to label next" in text
    assert "1 session of it has a verdict since" in text
    made.take(said("reopen", 6))
    assert "<h1>2 sessions to label next" in client(made, listed).get("/queue").text


def test_another_file_is_read_anew_and_what_is_no_queue_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, listed = Index({EVENTS: None}), written(tmp_path, asked("first"))
    pages = client(made, listed)
    assert "first" in pages.get("/queue").text
    other = tmp_path / "other.json"
    other.write_text(json.dumps([asked("second")]), encoding="utf-8")
    os.replace(other, listed.file.path)
    assert "second" in pages.get("/queue").text
    for content in (
        "{",
        '{"tenant": "acme"}',
        '[{"tenant": "acme"}]',
        json.dumps([asked("x", case_id="../")]),
    ):
        listed.file.path.write_text(content, encoding="utf-8")
        text = pages.get("/queue").text
        assert "is no list of sessions as `labels next --json` has it: write it anew with" in text, content
        assert "Object" not in text
        assert "$" not in text
        assert "driftline labels next" in text
    monkeypatch.setattr(queue, "MAX_BYTES", 1024)
    pages = client(made, listed := Queue(listed.file.path))
    listed.file.path.write_text(json.dumps([asked(f"s-{n}") for n in range(9)]), encoding="utf-8")
    assert "ask for fewer with --count" in pages.get("/queue").text
    listed.file.path.unlink()
    assert "cannot be read (No such file" in pages.get("/queue").text
    assert "has no queue" in client(made, None).get("/queue").text


def test_a_queue_that_cannot_be_read_is_told_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def serve(*_: Any, queue: Queue | None, **__: Any) -> None:
        assert queue is not None

    monkeypatch.setattr(serving, "serve", serve)
    missing = run("console", "--queue", tmp_path / "none.json")
    assert (missing.exit_code, "cannot be read (No such file" in missing.stderr) == (0, True), missing.output
    assert run("console", "--queue", written(tmp_path, asked("s")).file.path).stderr == ""


def test_a_label_line_whose_name_is_not_filled_in_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(Place(Asked(**asked("s")), None).line, encoding="utf-8")
    with pytest.raises(InputError, match=r"labels.jsonl, line 1: who is still 'YOUR NAME'"):
        store.read([path])
    path.write_text(path.read_text().replace("YOUR NAME", "ann"), encoding="utf-8")
    assert [each.who for each in store.read([path])] == ["ann"]


def test_a_long_queue_has_pages(tmp_path: Path) -> None:
    pages = client(Index({EVENTS: None}), written(tmp_path, *(asked(f"s-{n}") for n in range(120))))
    text = pages.get("/queue?page=3").text
    assert text.count('<li class="case') == 20
    assert "<bdi>s-119</bdi>" in text
    assert 'href="/queue?page=2"' in text
    assert pages.get("/queue?page=x").text.count('<li class="case') == 50


def test_nobody_sees_the_queue_before_signing_in(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN, encoding="utf-8")
    access = Access({"127.0.0.1:8800"}, tmp_path / "token")
    answer = client(Index({EVENTS: None}), written(tmp_path, asked("hidden")), access).get("/queue")
    assert "hidden" not in answer.text
    assert answer.status_code == 401


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_in_the_file_becomes_markup(payload: str, tmp_path: Path) -> None:
    listed = written(tmp_path, asked(payload, agent=payload, tool=payload))
    text = client(Index({EVENTS: None}), listed).get("/queue").text
    page = Tags(text)
    assert "to label next" in text
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not {"img", "svg"} & {tag for tag, _ in page.tags}
    assert all(not name.startswith("on") for _, attributes in page.tags for name in attributes)
