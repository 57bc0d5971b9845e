"""The live view counts what it is given once, and never loses the reason."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from stream import bootstrap
from stream.events import CASES
from stream.offline import files, replay
from stream.settings import Settings
from stream.shell.board import Board
from stream.shell.outputs import Seen
from tests import builders as b

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
    console.print(board.render())
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "finance-invoice-iban-swap" in shown
    assert "the destination iban comes from the result of call 0" in shown
    assert board.raised["finance-invoice-iban-swap"]["verdict"] == "revoke"


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
