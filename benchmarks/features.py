"""What rows of features cost beside the same log replayed alone, and that their memory does not grow with the log.

Both commands judge one file of generated sessions, each as a process of its own, in turns; then one of four times the size. CPU
time, since machines are shared, with the start and all that is written.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import results
from stream.events import dumps
from stream.offline import generate

SESSIONS = 1500
TIMES = 4
"""By how much the longer log is longer."""
COMMAND = (sys.executable, "-m", "stream.cli.main")
KINDS = ("replay", "features")
TURNS = ("replay", "features", "features", "replay")


def log_of(path: Path, sessions: int) -> int:
    """Write a file of events of so many sessions, fifty at once; how many calls they have."""
    calls = 0
    with path.open("wb") as sink:
        for event in generate.sessions(1, sessions, at_once=50):
            calls += event["type"] == "tool.called"
            sink.write(dumps(event) + b"\n")
    return calls


def run(kind: str, log: Path) -> tuple[float, float]:
    """CPU seconds that a command takes for a log, and its most resident memory in MB."""
    out = log.with_name("rows.parquet")
    out.unlink(missing_ok=True)
    arguments = [kind, str(log), *(["--out", str(out)] if kind == "features" else [])]
    process = subprocess.Popen([*COMMAND, *arguments], cwd=results.ROOT, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{kind} ended with {process.returncode}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1000


def measure(sessions: int = SESSIONS) -> dict[str, Any]:
    """Both commands over a log, and over one of `TIMES` the size."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in (sessions, TIMES * sessions):
            log = Path(folder) / f"{size}.jsonl"
            calls = log_of(log, size)
            turns: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
            for kind in TURNS:
                turns[kind].append(run(kind, log))
            found[str(calls)] = {
                kind: {
                    "calls_per_cpu_s": round(calls / statistics.mean(took for took, _ in each)),
                    "peak_mb": round(max(mb for _, mb in each)),
                }
                for kind, each in turns.items()
            }
    return found


COLUMNS = (
    "calls",
    "replay, calls per CPU s",
    "features, calls per CPU s",
    "× replay",
    "replay, MB at most",
    "features, MB at most",
)


def rows(found: dict[str, Any]) -> list[list[str]]:
    """The table."""
    table = []
    for calls, each in found.items():
        alone, with_rows = (each[kind] for kind in KINDS)
        table.append(
            [
                f"{int(calls):,}",
                f"{alone['calls_per_cpu_s']:,}",
                f"{with_rows['calls_per_cpu_s']:,}",
                f"{with_rows['calls_per_cpu_s'] / alone['calls_per_cpu_s']:.2f}",
                f"{alone['peak_mb']:,}",
                f"{with_rows['peak_mb']:,}",
            ]
        )
    return table


def main() -> None:
    """Measure, print, keep."""
    found = measure()
    results.merge("features", found)
    print(json.dumps({"features": found}, indent=2))


if __name__ == "__main__":
    main()
