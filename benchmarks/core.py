"""What one core judges, and what a session holds: ``make bench``.

Events of the seeded generator (and, with DRIFTLINE_DATA, recorded AgentDojo sessions) go through the whole
core in batches of 500: parse, observe, extract, score, rule, encode. CPU time, not wall time. The result is
printed and left in ``build/bench.json``.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import time
from pathlib import Path

import orjson

from stream import bootstrap, generate, replay
from stream.events import DECISIONS, EVENTS, Record, dumps
from stream.settings import Settings
from stream.window import Partition

BATCH = 500


def generated(n: int) -> list[Record]:
    """Events of `n` generated sessions, interleaved fifty at a time."""
    return [
        Record(EVENTS, 0, i, 0, "none", (e.get("root_session_id") or e["session_id"]).encode(), (), dumps(e))
        for i, e in enumerate(generate.sessions(1, n, at_once=50))
    ]


def recorded(n: int) -> list[Record]:
    """The first `n` events of the recorded AgentDojo sessions."""
    path = Path(os.environ["DRIFTLINE_DATA"]) / "agentdojo.jsonl.gz"
    return [record for record, _ in itertools.islice(replay.read_records(path), n)]


def measure(records: list[Record]) -> dict[str, float]:
    """Cost of judging `records`, and the packed size of the sessions just before they end."""
    judge = bootstrap.judge(Settings(), mode="enforce")
    partition = Partition.empty()
    decisions = 0
    spent = 0.0
    for start in range(0, len(records), BATCH):
        batch = records[start : start + BATCH]
        began = time.process_time()
        step = judge.judge(partition, batch)
        partition.apply(step.changes)
        spent += time.process_time() - began
        decisions += sum(output.topic == DECISIONS for output in step.outputs)
    unended = [r for r in records if b'"type":"session.ended"' not in (r.value or b"")]
    held = Partition.empty()
    for start in range(0, len(unended), BATCH):
        held.apply(judge.judge(held, unended[start : start + BATCH]).changes)
    sizes = sorted(len(raw) for key, raw in held.states.items() if key.startswith("s/"))
    return {
        "events": len(records),
        "calls": decisions,
        "events_per_second": round(len(records) / spent),
        "calls_per_second": round(decisions / spent),
        "us_per_event": round(1e6 * spent / len(records), 1),
        "sessions": len(sizes),
        "session_bytes_mean": round(sum(sizes) / len(sizes)),
        "session_bytes_p95": sizes[int(0.95 * (len(sizes) - 1))],
        "session_bytes_max": sizes[-1],
    }


def main() -> None:
    """Measure, print, leave ``build/bench.json``."""
    results = {"generated": measure(generated(1500))}
    if os.environ.get("DRIFTLINE_DATA"):
        results["agentdojo"] = measure(recorded(30_000))
    report = {"python": platform.python_version(), "machine": platform.machine(), "core": results}
    Path("build").mkdir(exist_ok=True)
    Path("build/bench.json").write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
