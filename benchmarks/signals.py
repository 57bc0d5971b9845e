"""What the shipped policy's signals raise by themselves, without any model, on recorded sessions.

``DRIFTLINE_DATA=... python benchmarks/signals.py``: sessions with an alert, a denial or a revocation, by set and
label. Signals learn nothing from these sets, so every set is a held-out one.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from models.release.registry import NullModel
from stream import bootstrap
from stream.core.judge import Judge
from stream.core.partition import Partition
from stream.events import DECISIONS, EVENTS, Record, dumps
from stream.offline import files
from stream.offline.files import load_tools
from stream.offline.recorded import events_of
from stream.policy import Levels, load_policy
from stream.settings import Settings

RAISED = ("alert", "deny", "revoke")


def decisions(judge: Judge, events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is decided of a session's calls."""
    records = [
        Record(EVENTS, 0, n, 0, "none", event["session_id"].encode(), (), dumps(event))
        for n, event in enumerate(events)
    ]
    outputs = judge.judge(Partition.empty(), records).outputs
    return [orjson.loads(o.value) for o in outputs if o.topic == DECISIONS]


def main() -> None:
    """Print one line for each set and label."""
    release = bootstrap.make_release(NullModel(), load_policy(mode="enforce"))
    # No score reaches a level above 10,000: what is raised is raised by a signal.
    judge = bootstrap.judge_with(Settings(), release._replace(levels=Levels(10_001, 10_001, 10_001)))
    print(f"{'set':<20}{'label':<12}{'sessions':>9}{'raised':>8}{'revoked':>9}")
    for path in sorted(Path(os.environ["DRIFTLINE_DATA"]).glob("*.jsonl.gz")):
        tools = load_tools(path) or {}
        seen: Counter[str] = Counter()
        raised: Counter[str] = Counter()
        revoked: Counter[str] = Counter()
        for session in files.read_sessions(path):
            label = session["label"]
            events = events_of(session, tools.get(session.get("tools_ref", "")))
            verdicts = {decision["verdict"] for decision in decisions(judge, events)}
            seen[label] += 1
            raised[label] += bool(verdicts & set(RAISED))
            revoked[label] += "revoke" in verdicts
        for label, n in sorted(seen.items()):
            name = path.name.removesuffix(".jsonl.gz")
            print(f"{name:<20}{label:<12}{n:>9}{raised[label]:>8}{revoked[label]:>9}")


if __name__ == "__main__":
    main()
