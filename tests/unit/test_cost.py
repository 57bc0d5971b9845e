"""What an event costs: held against what is on record, and written by one command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import cost, results
from benchmarks.cost import Cost
from stream.events import CORE

PAGE = "# Page\n\n<!-- cost -->\n<!-- /cost -->\n"
USUAL = Cost(judged=300.0, decoded=2.0, calls=700.0)
DEAR = USUAL._replace(judged=390.0)


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page without a line, and a decision 0007."""
    path = tmp_path / "performance.md"
    path.write_text(PAGE)
    (tmp_path / "0007-more-is-seen.md").write_text("# 7. More is seen\n")
    monkeypatch.setattr(cost, "PAGE", path)
    monkeypatch.setattr(cost, "ADRS", tmp_path)
    monkeypatch.setenv("DRIFTLINE_DATA", str(tmp_path))
    return path


def run(monkeypatch: pytest.MonkeyPatch, found: list[Cost], *words: str) -> int:
    """The command, where measurements find these costs in turn, the last one from then on."""
    turn = iter(found)
    monkeypatch.setattr(cost, "measured", lambda load: next(turn, found[-1]))
    monkeypatch.setattr(sys, "argv", ["cost", *words])
    return cost.main()


def test_without_a_line_the_check_fails_and_names_the_command(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, [USUAL]) == 1
    assert "make cost WRITE=1" in capsys.readouterr().err


def test_a_line_is_written_and_an_event_that_costs_as_much_passes(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(monkeypatch, [USUAL], "--write") == 0
    (row,) = results.rows_between(page, "cost")
    assert row == [CORE, "150.0", "700.0", "150.0", "700.0", results.today(), ""]
    assert run(monkeypatch, [USUAL._replace(judged=374.0)]) == 0


def test_a_dearer_event_fails_with_the_mend_and_is_recorded_only_with_a_decision(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, [USUAL], "--write")
    for words in ((), ("--write",)):
        assert run(monkeypatch, [DEAR], *words) == 1
        told = capsys.readouterr().err
        assert "generated: an event costs 195.0 decodings, 30 % more than the 150.0 on record" in told
        assert "make cost WRITE=1 ADR=number" in told
    with pytest.raises(SystemExit, match="no decision 0008"):
        run(monkeypatch, [DEAR], "--write", "--adr", "0008")
    assert run(monkeypatch, [DEAR], "--write", "--adr", "0007") == 0
    (row,) = results.rows_between(page, "cost")
    assert row[1] == "195.0"
    assert row[-1] == "[ADR 0007](adr/0007-more-is-seen.md)"


def test_a_machine_that_was_disturbed_is_measured_again(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, [USUAL], "--write")
    assert run(monkeypatch, [DEAR, DEAR, USUAL]) == 0


def test_ci_holds_calls_alone_and_asks_one_process_for_them(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, [USUAL], "--write")
    asked = []

    def measured(load: str, processes: int) -> Cost:
        asked.append(processes)
        return found

    monkeypatch.setattr(cost, "measured", measured)
    monkeypatch.setattr(sys, "argv", ["cost", "--calls"])
    found = DEAR
    assert cost.main() == 0
    found = USUAL._replace(calls=771.0)
    assert cost.main() == 1
    assert "771.0 calls, 10 % more than the 700.0 on record" in capsys.readouterr().err
    assert asked == [1] * 4


def test_on_a_busy_machine_calls_alone_are_held(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, [USUAL], "--write")
    busy = DEAR._replace(by_clock=2.0)
    assert run(monkeypatch, [busy]) == 0
    assert "NOT HELD" in capsys.readouterr().out
    assert run(monkeypatch, [busy._replace(calls=780.0)]) == 1
    assert "780.0 calls, 11 % more than the 700.0" in capsys.readouterr().err


def test_a_new_core_is_held_against_the_last_one_that_has_a_line(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, [USUAL], "--write")
    monkeypatch.setattr(cost, "reference", lambda rows: _reference(rows, "9999"))
    assert run(monkeypatch, [DEAR]) == 1


_reference = cost.reference


SHORT = """
from benchmarks import cost

cost.SESSIONS, cost.ROUNDS = 8, 1
(spent,), calls = cost.rounds("generated")
print(calls, *map(sum, zip(*spent)))
"""


@pytest.mark.slow
def test_an_event_takes_the_same_calls_in_every_process() -> None:
    begun = [
        subprocess.Popen(
            [sys.executable, "-c", SHORT],
            env={**os.environ, "PYTHONHASHSEED": "0"},
            cwd=results.ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    (first, decoded, judged), (second, *_) = (map(int, each.communicate()[0].split()) for each in begun)
    assert first == second > 50_000
    assert judged > decoded > 0
