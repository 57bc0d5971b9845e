"""How fast a backtest of two policies is beside one pass of the same log through the judge, on one core and on two.

`driftline replay` is the judge that a worker runs, without a broker: its calls per CPU second are what one judging core of a worker
reaches at most. A dump of generated sessions in twelve partitions goes through it, and through `driftline backtest` of the policy in
use and another, with one process and with two, in turns there and back; then a longer dump. CPU time, since machines are shared:
on two free cores the wall time is half of the CPU time of two processes. What a further call costs is the difference of the two dumps, so
that starts do not count.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks import results
from stream.core.arrival import murmur2_partition
from stream.events import EVENTS, Record, dumps
from stream.offline import generate
from stream.policy import read_policy
from stream.shell.export import log_line

SESSIONS = 700
TIMES = 3
"""By how much the longer dump is longer."""
PARTITIONS = 12
MANY = 2_000_000
"""Calls, of which the table says how long they would take."""
KINDS = {"replay": (), "one": ("--jobs", "1"), "two": ("--jobs", "2")}
TURNS = ("replay", "one", "two", "two", "one", "replay")
FIRST_MS = 1_800_000_000_000


def dump_of(path: Path, sessions: int) -> int:
    """Write a dump of so many sessions, fifty at once, as a topic has them; how many calls they have."""
    calls, offsets = 0, Counter[int]()
    with path.open("wb") as sink:
        for n, event in enumerate(generate.sessions(1, sessions, at_once=50)):
            calls += event["type"] == "tool.called"
            key = event["session_id"].encode()
            partition = murmur2_partition(key, PARTITIONS)
            place = (EVENTS, partition, offsets[partition], FIRST_MS + 300 * n, "append")
            sink.write(log_line(Record(*place, key, (), dumps(event)), PARTITIONS) + b"\n")
            offsets[partition] += 1
    return calls


def run(kind: str, dump: Path, policy: Path) -> dict[str, float]:
    """What a command takes for a dump: wall and CPU seconds, its processes together, and the most memory of one of them."""
    how = ["replay", str(dump)]
    if kind != "replay":
        how = ["backtest", str(dump), "--policy", str(policy), "--json", *KINDS[kind]]
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "stream.cli.main", *how], cwd=results.ROOT, stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{kind} ended with {process.returncode}")
    cpu_s = used.ru_utime + used.ru_stime
    return {"wall_s": time.monotonic() - began, "cpu_s": cpu_s, "mb": used.ru_maxrss / 1000}


def measure(sessions: int = SESSIONS) -> dict[str, Any]:
    """All three over a dump, and over one of `TIMES` the size."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        policy = Path(folder) / "other.yaml"
        text, _ = read_policy()
        policy.write_text(text.replace("alert: {budget: 0.01}", "alert: {budget: 0.02}"), encoding="utf-8")
        for size in (sessions, TIMES * sessions):
            dump = Path(folder) / f"{size}.jsonl"
            calls = dump_of(dump, size)
            turns: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
            for kind in TURNS:
                turns[kind].append(run(kind, dump, policy))
            found[str(calls)] = {
                kind: {name: round(statistics.mean(turn[name] for turn in each), 1) for name in each[0]}
                for kind, each in turns.items()
            }
    return found


COLUMNS = (
    "",
    "calls",
    "wall s",
    "CPU s",
    "MB of one process, at most",
    "calls per CPU s, start apart",
    "× replay",
    "two million calls on as many free cores",
)
NAMES = {"replay": "replay, one policy", "one": "two policies, 1 process", "two": "two policies, 2 processes"}


def rows(found: dict[str, Any]) -> list[list[str]]:
    """The table."""
    (few, short), (many, long) = ((int(calls), each) for calls, each in found.items())
    rates = {kind: (many - few) / (long[kind]["cpu_s"] - short[kind]["cpu_s"]) for kind in KINDS}
    table = []
    for kind, name in NAMES.items():
        for calls, each in ((few, short[kind]), (many, long[kind])):
            row = [name, f"{calls:,}", f"{each['wall_s']:.0f}", f"{each['cpu_s']:.0f}", f"{each['mb']:.0f}"]
            if calls == many:
                minutes = MANY / rates[kind] / (2 if kind == "two" else 1) / 60
                row += [f"{rates[kind]:.0f}", f"{rates[kind] / rates['replay']:.2f}", f"{minutes:.0f} min"]
            table.append(row + [""] * (len(COLUMNS) - len(row)))
    return table


def main() -> None:
    """Measure, print, keep."""
    found = measure()
    results.merge("backtest", found)
    print(json.dumps({"backtest": found}, indent=2))


if __name__ == "__main__":
    main()
