"""Commands whose input is refused as a whole say so, and end with exit code 3."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from models.errors import DatasetError, InputError
from stream.cli import exits, playing
from stream.cli.main import app
from stream.settings import Settings
from stream.shell import demo, send
from stream.shell.send import Message, Refusals

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "stream" / "samples" / "19-finance-invoice-iban-swap.jsonl"
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
    assert "line 1 is not JSON" in str(done.exception)


@pytest.mark.parametrize("command", [["send"], ["demo", "--data"], ["replay"]])
def test_a_file_with_no_call_left_to_judge_is_refused_alike(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def given(self: Kept, message: Message) -> None:
        raise AssertionError("nothing of it may be sent")

    monkeypatch.setattr(Kept, "send", given)
    path = tmp_path / "events.jsonl"
    declared = SAMPLE.read_text().splitlines()[0]
    path.write_text(f'{declared}\n{{"type": "tool.called", "session_id": "a"}}\n')
    done = CliRunner().invoke(app, [*command, str(path)])
    assert isinstance(done.exception, InputError), done.output
    assert exits.exit_code(done.exception) == 3
    assert "schema" in str(done.exception)


@pytest.mark.parametrize("command", [["send"], ["demo", "--data"], ["replay"], ["privileges"]])
@pytest.mark.parametrize("content", [None, "no JSON\n", '{"a": 1}\n[]\n', "\x00\ufffd"], ids=repr)
def test_a_file_that_is_none_of_ours_is_refused_before_anything_heavy_is_imported(
    command: list[str], content: str | None, tmp_path: Path
) -> None:
    """What takes seconds is the model, the contracts and the Kafka client: none of them is there yet."""
    path = tmp_path / "events.jsonl"
    if content is not None:
        path.write_text(content)
    refused_lightly(*command, str(path))


@pytest.mark.parametrize("command", [["evaluate"], ["train"], ["calibrate", "--out", "new"]])
@pytest.mark.parametrize("content", [None, "no JSON\n"])
def test_a_file_to_learn_from_is_refused_before_anything_heavy_is_imported(
    command: list[str], content: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "recorded.jsonl"
    if content is not None:
        path.write_text(content)
    refused_lightly(*command, str(path))


@pytest.mark.parametrize("command", ["evaluate", "train"])
def test_from_an_empty_file_nothing_is_learnt(command: str, tmp_path: Path) -> None:
    path = tmp_path / "recorded.jsonl"
    path.touch()
    done = CliRunner().invoke(app, [command, str(path)])
    assert isinstance(done.exception, DatasetError), done.output
    assert exits.exit_code(done.exception) == 3


def refused_lightly(*arguments: str) -> None:
    program = (
        "import sys\nfrom stream.cli.main import main\n"
        "try:\n    main()\nfinally:\n    print(*sys.modules, file=sys.stdout)"
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DRIFTLINE_", "KAFKA_"))}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=kept, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert arguments[-1] in done.stderr
    assert len(done.stderr.splitlines()) == 1
    heavy = {"numpy", "sklearn", "kafka", "models.contracts", "models.release.registry"}
    assert not heavy & set(done.stdout.split())


def test_garbage_is_shown_by_replay_that_is_asked_for_everything(tmp_path: Path) -> None:
    path = tmp_path / "garbage.jsonl"
    path.write_text(GARBAGE)
    done = CliRunner().invoke(app, ["replay", str(path), "--all"])
    assert isinstance(done.exception, InputError)
    assert done.stdout.count('"topic":"agent.quarantine.v1"') == 2


def test_an_empty_file_is_judged_as_an_empty_topic_is(tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.touch()
    done = CliRunner().invoke(app, ["replay", str(path)])
    assert (done.exit_code, done.stdout) == (0, "")


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
    assert "line 1 is not JSON" in str(done.exception)
