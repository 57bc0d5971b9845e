"""Commands whose input is refused as a whole say so, and end with exit code 3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from models.errors import InputError
from stream.cli import exits, playing
from stream.cli.main import app
from stream.settings import Settings
from stream.shell import demo, send
from stream.shell.send import Message, Refusals

SAMPLE = Path(__file__).parents[2] / "stream" / "samples" / "19-finance-invoice-iban-swap.jsonl"
GARBAGE = "this is no event\n{}\n"


class Kept:
    """A sender that keeps what it is given, in place of one with a broker."""

    def __init__(self, settings: Settings) -> None:
        self.sent = 0

    def send(self, message: Message) -> None:
        self.sent += 1

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *_: Any) -> None:
        pass


@pytest.fixture(autouse=True)
def no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send, "Sender", Kept)


def sent(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["send", *arguments])


def test_a_file_of_which_nothing_is_an_event_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "garbage.jsonl"
    path.write_text(GARBAGE)
    done = sent(str(path))
    assert isinstance(done.exception, InputError)
    assert exits.exit_code(done.exception) == 3
    assert "2 of 2 records" in str(done.exception)
    assert "decode" in str(done.exception)


def test_a_file_of_which_some_records_are_no_events_is_sent_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    path.write_text(GARBAGE + SAMPLE.read_text())
    done = sent(str(path))
    assert done.exit_code == 0
    assert "2 of " in done.stderr


def test_a_file_of_events_is_sent_without_a_word_of_refusals() -> None:
    done = sent(str(SAMPLE))
    assert done.exit_code == 0
    assert "quarantine" not in done.stderr


def test_a_quarantine_of_which_nothing_is_mended_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def still_refused(configured: Settings, files: Any, refusals: list[str]) -> Any:
        refusals.append("agent.events.v1[0]@7 is still refused: schema")
        yield from ()

    monkeypatch.setattr(playing, "_mended", still_refused)
    done = sent("--from-quarantine")
    assert isinstance(done.exception, InputError)
    assert "agent.events.v1[0]@7" in done.output + str(done.exception)


def test_refusals_are_counted_by_what_the_contract_refuses() -> None:
    refusals = Refusals()
    events = list(send.messages(SAMPLE))
    assert list(refusals.watching(events)) == events
    assert (refusals.count, refusals.first) == (0, "")
    list(refusals.watching([Message("t", b"s", (), b"{"), Message("t", b"s", (), b"[]")]))
    assert refusals.count == 2
    assert refusals.first.startswith("decode")


def test_the_demo_waits_for_calls_and_for_records_that_will_be_refused() -> None:
    events = list(send.messages(SAMPLE))
    calls = sum(b'"tool.called"' in (message.value or b"") for message in events)
    assert demo.expected([*events, events[1]]) == (calls, 0)
    broken = Message("t", None, (), b'{"type": "tool.called"}')
    assert demo.expected([*events, Message("t", None, (), b"no event"), broken]) == (calls, 2)


def test_the_demo_refuses_a_file_of_which_nothing_is_an_event_before_anything_starts(tmp_path: Path) -> None:
    path = tmp_path / "garbage.jsonl"
    path.write_text(GARBAGE)
    done = CliRunner().invoke(app, ["demo", "--data", str(path)])
    assert isinstance(done.exception, InputError)
    assert "2 of 2 records" in str(done.exception)
