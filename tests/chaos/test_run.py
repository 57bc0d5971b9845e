"""What the chaos command makes of results, and how a worker's end is judged; nothing is played here."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from stream.events import DECISIONS, EVENTS
from stream.shell import stage
from tests.chaos import run
from tests.chaos.faults import SCENARIOS
from tests.chaos.scene import Slot
from tests.chaos.worker import Faults

CONSOLE = Console(quiet=True)


def result(scenario: str, brokers: int, seed: int, *, ok: bool = True, **more: Any) -> dict[str, Any]:
    """A run as it lies in a file of results."""
    return {
        "scenario": scenario,
        "brokers": brokers,
        "seed": seed,
        "recorded": True,
        "core": "10",
        "date": "2026-11-27",
        "counts": {EVENTS: 100, DECISIONS: 40, f"{DECISIONS} repeated": 3},
        "states": 5,
        "faults": [],
        "points": {"judge.sent": 7},
        "ok": ok,
        "seconds": 30.0,
        **more,
    }


def fault(point: str | None, action: str, again: float | None = 1.0) -> dict[str, Any]:
    return {"point": point, "action": action, "decided_again_s": again, "no_lag_s": again}


def file_of(path: Path, *runs: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"seed": 1, "runs": runs}))
    return path


def test_every_scenario_has_a_name_of_its_own_and_runs_of_it_a_row() -> None:
    names = [scenario.name for scenario in SCENARIOS]
    assert len(set(names)) == len(names)
    text = run.document([result(name, 1, n) for n, name in enumerate(names)])
    assert [row.split(":")[0] for row in text.splitlines() if row.startswith("| ") and " 1 of 1 " in row] == [
        f"| {name}" for name in names
    ]


def test_the_points_table_counts_each_action_in_its_column() -> None:
    acted = [("kill", 1), ("terminate", 2), ("stop", 3), ("raise", 4), ("slow", 5)]
    faults = [fault("judge.sent", action) for action, n in acted for _ in range(n)]
    text = run.document([result("kill-at-points", 1, 1, faults=[*faults, fault(None, "terminate")])])
    assert "| point | passed | killed there | terminated there | stopped there |" in text
    assert "| `judge.sent` | 7 | 1 | 2 | 3 | 4 | 5 |" in text
    assert text.count("| `") == len(stage.POINTS)


def test_the_rate_that_was_reached_is_told_not_only_the_one_that_was_asked_for() -> None:
    ran = [
        result("kill-at-load", 1, seed, facts={"events_per_s": rate}) for seed, rate in ((1, 1480), (2, 1310))
    ]
    assert "early checkpoints (1,310 events/s sent at least) | 1 | 2 of 2 |" in run.document(ran)


def test_seeds_are_told_by_brokers_and_gaps_are_not_hidden() -> None:
    ran = [result("scale", 1, seed) for seed in (101, 102, 103, 117)]
    ran += [result("scale", 3, seed) for seed in (301, 302)]
    assert "; seeds 101 to 103, 117 on one broker, 301 to 302 on three. " in run.document(ran)
    assert "; seeds 301 to 302 on three brokers. " in run.document(ran[4:])


def test_the_cores_and_days_of_runs_are_told() -> None:
    ran = [result("scale", 1, 1), result("scale", 3, 2, date="2026-11-28"), result("zombie", 1, 3, core="30")]
    assert "; core 10 (2026-11-27, 2026-11-28), core 30 (2026-11-27); seeds" in run.document(ran)


def test_rendering_files_writes_the_tables_from_all_of_them(tmp_path: Path) -> None:
    one = file_of(tmp_path / "one.json", result("scale", 1, 101), result("zombie", 1, 102))
    three = file_of(tmp_path / "three.json", result("scale", 3, 301))
    page = tmp_path / "page.md"
    page.write_text(f"before\n{run.BEGIN}\nold\n{run.END}\nafter\n")
    assert run.render([one, three], CONSOLE, page) == 0
    text = page.read_text()
    assert text.startswith(
        f"before\n{run.BEGIN}\n3 runs, 3 of them without a difference; core 10 (2026-11-27); seeds 101 to 102 on one"
    )
    assert text.endswith(f"{run.END}\nafter\n")
    assert "old" not in text
    assert "| input, read back and replayed | 300 |\n| decisions, compared with the replay | 120 |" in text


def test_rendering_a_run_that_failed_says_so_in_the_exit_code(tmp_path: Path) -> None:
    assert run.render([file_of(tmp_path / "one.json", result("scale", 1, 1, ok=False))], CONSOLE, None) == 1


def test_the_document_is_not_replaced_by_some_scenarios_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run.main(["--only", "zombie", "--docs"])
    told = capsys.readouterr().err
    assert "--add" in told
    assert "--render" in told


def test_a_fault_that_terminates_sends_the_worker_sigterm_at_that_pass_and_no_other(tmp_path: Path) -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        at = Faults(tmp_path)
        (tmp_path / "armed.json").write_text(
            json.dumps({"point": "judge.sent", "nth": 2, "action": "terminate"})
        )
        seen = []
        for point in ("judge.sent", "judge.decided", "judge.sent", "judge.sent"):
            at(point)
            seen.append(len(received))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [0, 0, 1, 1]
    (hit,) = Slot(0, tmp_path).hits()
    assert Slot(0, tmp_path).terminated(hit["pid"])
    assert not Slot(0, tmp_path).terminated(hit["pid"] + 1)  # the process after it was not told to end
