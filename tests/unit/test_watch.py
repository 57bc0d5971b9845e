"""The live view counts what it is given once, and never loses the reason."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from models.errors import ConfigError
from stream import bootstrap
from stream.events import ALERTS, CASES, DECISIONS, OUTCOMES, QUARANTINE, RISK, dumps
from stream.offline import files, replay
from stream.outbound.act import Actor
from stream.settings import Settings
from stream.shell.board import Board
from stream.shell.outputs import SHOWN, Seen
from stream.shell.selection import Selection, severity_of
from stream.shell.watch import _Lost, line_of
from tests import builders as b
from tests.unit.test_breaker import KEYS
from tests.unit.test_containment import at, outcome, revoked

JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=2)
)
SAMPLE = Path(__file__).parents[2] / "stream" / "samples" / "19-finance-invoice-iban-swap.jsonl"


def outputs(tmp_path: Path) -> list[Seen]:
    settings = Settings(state_dir=tmp_path)
    judge, actor = bootstrap.judge(settings, mode="enforce"), bootstrap.actor(settings)
    return [
        Seen(o.topic, o.key, o.headers, o.value, 0.0)
        for o in replay.replay(files.read_records(SAMPLE), judge, actor)
    ]


def test_board_counts_each_record_once_however_often_it_comes(tmp_path: Path) -> None:
    board = Board()
    for seen in [*outputs(tmp_path)] * 2:
        board.feed(seen)
    assert board.n_calls == 5
    assert board.n_revocations == 1
    assert len(board.sessions) == 1


def test_board_shows_the_session_and_the_reason_of_what_drifted(tmp_path: Path) -> None:
    board = Board()
    for seen in outputs(tmp_path):
        board.feed(seen)
    console = Console(file=io.StringIO(), width=160)
    console.print(board)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "finance-invoice-iban-swap" in shown
    assert "the destination iban comes from the result of call 0" in shown
    assert board.raised["finance-invoice-iban-swap"]["verdict"] == "revoke"


def test_board_counts_the_sessions_that_are_contained() -> None:
    board = Board()
    records = at((0, revoked(0)), (0.01, outcome(0)), (0.02, revoked(1)), (0.03, outcome(1, "failed")))
    for each in Actor(KEYS).act(records):
        board.feed(Seen(each.topic, each.key, each.headers, each.value, 0.0))
    assert board.n_contained == 1


def test_board_tells_of_credentials_that_went_with_their_session(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    judge, actor = bootstrap.judge(settings, mode="enforce"), bootstrap.actor(settings)
    board = Board()
    declared = b.declared(credentials=[{**b.CREDENTIAL, "issued_for_task": True}])
    events = ((record, None) for record in b.log([declared, b.called(seq=1), b.ended(seq=2)]))
    for output in replay.replay(events, judge, actor):
        if output.topic != CASES:  # which a watcher does not read
            board.feed(Seen(output.topic, output.key, output.headers, output.value, 0.0))
    assert board.headline().plain.endswith("0 alerts · 0 revocations for drift · 1 as sessions ended")


def test_board_counts_what_ends_released_in_its_headline_alone(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    judge, actor = bootstrap.judge(settings, mode="enforce"), bootstrap.actor(settings)
    board = Board()
    held = [{"broker": "vault", "kind": "lease", "value": value} for value in ("l-1", "l-2")]
    events = ((record, None) for record in b.log([b.declared(credentials=held), b.ended(seq=1)]))
    for output in [*replay.replay(events, judge, actor)] * 2:
        if output.topic != CASES:
            board.feed(Seen(output.topic, output.key, output.headers, output.value, 0.0))
    assert board.headline().plain.endswith("0 revocations for drift · 2 credentials released")
    assert not any(word in line for line in shown(board, 120, 30) for word in ("REVOKE", "REFUSED", "l-1"))


def shown(board: Board, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(board)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


def crowded(tmp_path: Path) -> Board:
    board = Board()
    for seen in outputs(tmp_path):
        board.feed(seen)
    for n in range(60):
        decision = {
            "decision_id": str(n),
            "session_id": f"s-{n}",
            "tool": "read",
            "verdict": "allow",
            "call_seq": n,
        }
        board.feed(Seen(DECISIONS, None, (), dumps(decision), 0.0))
        headers = (
            ("offset", str(n).encode()),
            ("reason", b"contract"),
            ("detail", f"field {n} is missing".encode()),
        )
        board.feed(Seen(QUARANTINE, f"session-{n}".encode(), headers, b"", 0.0))
    return board


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 12), (60, 30), (120, 40), (200, 60)])
def test_the_view_fits_the_screen_and_its_newest_rows_are_on_it(
    tmp_path: Path, width: int, height: int
) -> None:
    lines = shown(crowded(tmp_path), width, height)
    assert len(lines) < height
    assert all(len(line) <= width for line in lines)
    text = "\n".join(lines)
    assert "s-59" in text
    assert "REFUSED contract  session-59  field 59" in text
    assert " refused" in text


def test_a_lost_broker_stands_in_the_headline_until_one_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board()
    now = [100.0]
    monkeypatch.setattr("stream.shell.watch.time.monotonic", lambda: now[0])
    lost = _Lost(board)
    told = []
    for seconds, connected in ((1, True), (3, False), (3, False), (3, False), (1, True), (6, False)):
        now[0] += seconds
        lost.hear(connected)
        told.append((board.lost, lost.is_new))
    away = "no broker for 6 s"
    assert told == [
        ("", False),
        ("", False),
        (away, True),
        ("no broker for 9 s", False),
        ("", False),
        (away, True),
    ]
    assert board.headline().plain.endswith(away)


def some(**asked: Any) -> Board:
    return Board(selection=Selection(**asked))


def fed(board: Board, seen: Iterable[Seen]) -> list[tuple[str, dict[str, Any]]]:
    return [(each.topic, found) for each in seen if (found := board.feed(each)) is not None]


def test_a_watcher_sees_what_was_asked_after_and_counts_that_alone(tmp_path: Path) -> None:
    everything = outputs(tmp_path)
    whole = fed(Board(), everything)
    (session,) = {document["session_id"] for topic, document in whole if topic == DECISIONS}
    assert fed(some(session=session), everything) == [
        (topic, document) for topic, document in whole if topic != RISK and topic != CASES
    ]
    board = some(session="another")
    assert fed(board, everything) == []
    assert board.headline().plain.startswith("0 sessions · 0 calls")
    alerts = [(topic, document) for topic, document in whole if topic == ALERTS]
    for least in range(1, 7):
        graver = [(topic, document) for topic, document in alerts if document["severity_id"] >= least]
        assert fed(some(severity=least), everything) == graver
    assert alerts
    assert not graver


def test_an_outcome_is_of_whom_its_case_is() -> None:
    told = {"jti": "j", "broker": "sso", "status": "done", "time": "t", "case_id": "c"}
    decision = {"decision_id": "d", "tenant": "acme", "session_id": "s", "agent": "a", "case_id": "c"}
    first = Seen(DECISIONS, b"s", (), dumps(decision), 0.0)
    later = Seen(OUTCOMES, b"acme", (), dumps(told), 0.0)
    refused = Seen(QUARANTINE, b"s", (("offset", b"1"),), b"", 0.0)
    for asked, n in (
        ({"agent": "a"}, 2),
        ({"session": "s"}, 3),
        ({"tenant": "acme"}, 2),
        ({"agent": "b"}, 0),
    ):
        assert len(fed(some(**asked), [first, later, refused])) == n
    assert len(fed(some(agent="a"), [later, first])) == 1  # nobody knows yet whose it is
    assert len(fed(some(tenant="acme"), [later])) == 1


def test_a_watcher_remembers_a_bounded_number_of_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.shell.selection.REMEMBERED", 3)
    board = some(tenant="acme")
    for n in range(9):
        document = {"decision_id": str(n), "tenant": "acme", "case_id": f"c-{n}"}
        board.feed(Seen(DECISIONS, b"s", (), dumps(document), 0.0))
    assert list(board._selection._cases) == ["c-6", "c-7", "c-8"]


@given(st.dictionaries(st.sampled_from(["actor", "metadata", "sub_id", "severity_id", "tenant"]), JSON))
def test_no_shape_of_a_document_stops_a_watcher(document: dict[str, Any]) -> None:
    selection = Selection(severity=3, tenant="acme", agent="a", session="s")
    for topic in SHOWN:
        assert not selection.takes(Seen(topic, None, (), b"", 0.0), document)


def test_severities_are_ocsf_s_whatever_their_case() -> None:
    assert (severity_of("High"), severity_of("critical")) == (4, 5)
    with pytest.raises(ConfigError, match="expected one of informational"):
        severity_of("urgent")


def test_a_line_of_json_has_topic_key_and_document() -> None:
    seen = Seen(DECISIONS, b"s", (), b"", 0.0)
    assert line_of(seen, {"b": 1, "a": "\n"}) == (
        b'{"key":"s","topic":"agent.decisions.v1","value":{"a":"\\n","b":1}}\n'
    )
