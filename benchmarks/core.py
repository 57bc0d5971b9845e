"""What one core judges, and what a session holds: ``make bench``.

Events of the seeded generator (and, with DRIFTLINE_DATA, recorded AgentDojo sessions) go through the whole
core: parse, observe, extract, score, rule, encode, in batches of 500, of 16 and of one. A session of 100,000
calls shows whether cost grows with length; 100,000 open sessions show the memory that a partition takes, and
the time in which it is rebuilt from its states; sessions of every recorded set show what a state takes. CPU time, not
wall time. Where a call's time goes is timed apart, stage by stage. The result is printed and left in ``build/bench.json``.
"""

from __future__ import annotations

import argparse
import functools
import gc
import itertools
import json
import os
import pkgutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks import results
from stream import bootstrap
from stream.core.partition import Partition
from stream.events import DECISIONS, EVENTS, Record, dumps, rfc3339
from stream.offline import files, generate, lines
from stream.offline.files import load_tools, name_of
from stream.offline.recorded import events_of
from stream.settings import Settings

BATCH = 500
SMALL = (16, 1)
LONG_CALLS = 100_000
OPEN_SESSIONS = 100_000
SESSIONS_OF_A_SET = 300
T0 = 1_767_258_000_000


def _record(event: dict[str, Any], offset: int) -> Record:
    key = (event.get("root_session_id") or event["session_id"]).encode()
    return Record(EVENTS, 0, offset, 0, "none", key, (), dumps(event))


def generated(n: int, profile: generate.Profile = generate.USUAL) -> list[Record]:
    """Events of `n` generated sessions, interleaved fifty at a time."""
    drawn = generate.sessions(1, n, profile, at_once=50)
    return [_record(e, i) for i, e in enumerate(drawn)]


def recorded(n: int) -> list[Record]:
    """The first `n` events of the recorded AgentDojo sessions."""
    path = Path(os.environ["DRIFTLINE_DATA"]) / "agentdojo.jsonl.gz"
    return [record for record, _ in itertools.islice(files.read_records(path), n)]


def judged(records: Sequence[Record], batch: int) -> tuple[float, int]:
    """CPU seconds that `records` take in batches of `batch`, and how many calls were decided."""
    judge = bootstrap.judge(Settings(), mode="enforce")
    partition = Partition.empty()
    decisions = 0
    began = time.process_time()
    for start in range(0, len(records), batch):
        step = judge.judge(partition, records[start : start + batch])
        partition.apply(step.changes)
        decisions += sum(output.topic == DECISIONS for output in step.outputs)
    return time.process_time() - began, decisions


def calls(records: Sequence[Record]) -> Iterator[Callable[[], None]]:
    """What judges a call by itself with the work at its result's return, for each; to be run before the next is asked for.

    Calls of the second half alone, when words and catalogues were met before; what lies between is judged beside.
    """
    judge = bootstrap.judge(Settings(), mode="enforce")
    partition = Partition.empty()
    at = 0
    while at < len(records):
        pair = [record for record in records[at : at + 2] if b'"type":"tool.' in (record.value or b"")]
        batch = records[at : at + max(1, len(pair))]

        def run(batch: Sequence[Record] = batch) -> None:
            partition.apply(judge.judge(partition, batch).changes)

        if len(pair) == 2 and at > len(records) // 2:
            yield run
        else:
            run()
        at += len(batch)


def per_call(records: Sequence[Record]) -> dict[str, float]:
    """What a call costs, its result included: the middle, and the 99th percentile."""
    spent = []
    for run in calls(records):
        began = time.perf_counter()
        run()
        spent.append(1e6 * (time.perf_counter() - began))
    spent.sort()
    return {
        "us_per_call_p50": round(spent[len(spent) // 2], 1),
        "us_per_call_p99": round(spent[int(0.99 * len(spent))], 1),
    }


STAGES: Mapping[str, Sequence[str]] = {
    "record parsed, contract checked": ("stream.core.take.events.parse",),
    "session unpacked, packed": (
        "stream.core.draft.load",
        "stream.core.draft.dump",
        "stream.core.partition.Partition.apply",
    ),
    "call: where its arguments' values come from": (
        "models.evidence.origins.leaf_tokens",
        "models.evidence.origins.origin",
    ),
    "call: what it means beside intent and lines": (
        "models.text.vectors.Vectoriser.vector_of",
        "models.evidence.meaning.spoken_call",
        "models.evidence.meaning.explain",
        "models.heads.expectation.Expectation.of",
        "models.heads.expectation.Expectation.of_line",
        "models.heads.expectation.Expectation.rank",
    ),
    "call: its other figures": ("stream.core.take_call.extract", "stream.core.take_call.row_of"),
    "call: credentials, signals, policy": (
        "stream.core.take_call.circumstances",
        "stream.core.take_call.observe",
        "stream.core.take_call.registry.check",
    ),
    "call: trees": ("stream.core.judge._score",),
    "call: decision, evidence, chain": ("stream.core.decisions.Decisions.decide",),
    "call: kept in the window": ("stream.core.take_call.observe_call",),
    "answer: read": (
        "stream.core.observe.read_answer",
        "stream.core.observe.read_excerpts",
        "stream.core.observe.leave_out_echo",
    ),
    "answer: its lines against intent and tools": (
        "stream.core.observe._listen",
        "stream.core.observe.talks_to_agent",
    ),
    "answer: kept in the index": ("stream.core.take.observe_result",),
}
"""Where a call's time goes: what stands for each stage, each without what it calls of another."""
BESIDE = "order, limits, numbers, hashes and the rest"


def stages(records: Sequence[Record]) -> dict[str, float]:
    """Mean µs of each stage of a call and its result, each without those inside it."""
    spent = dict.fromkeys((*STAGES, BESIDE), 0.0)
    inside = [0.0]

    def timed(stage: str, made: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(made)
        def run(*args: Any, **kwargs: Any) -> Any:
            inside.append(0.0)
            began = time.perf_counter()
            try:
                return made(*args, **kwargs)
            finally:
                took = time.perf_counter() - began
                spent[stage] += took - inside.pop()
                inside[-1] += took

        return run

    told, judged_calls = dict(spent), 0
    with ExitStack() as stack:
        for stage, names in STAGES.items():
            for name in names:
                stack.enter_context(mock.patch(name, timed(stage, pkgutil.resolve_name(name))))
        for run in calls(records):
            before = dict(spent)
            timed(BESIDE, run)()
            judged_calls += 1
            told = {stage: told[stage] + spent[stage] - before[stage] for stage in spent}
    return {stage: round(1e6 * took / judged_calls, 1) for stage, took in told.items()}


def with_long_results(n: int, lines: int) -> list[Record]:
    """`n` sessions of one call each, whose results have `lines` lines of prose."""
    records: list[Record] = []
    for session in range(n):
        head = {"session_id": f"lines{session}", "root_session_id": f"lines{session}"}
        text = "\n".join(
            f"line {k}: user{k * session % 977} asked to move order {k * 7919} to shelf {k % 31}"
            for k in range(lines)
        )
        events: list[dict[str, Any]] = [
            {"type": "session.declared", "intent": {"text": "read the warehouse log and tell me what moved"}},
            {"type": "tool.called", "call_id": "0", "tool": "read_log", "arguments": {"path": "log.txt"}},
            {"type": "tool.returned", "call_id": "0", "result": text},
            {
                "type": "tool.called",
                "call_id": "1",
                "tool": "move",
                "arguments": {"order": f"{7919 * session}"},
            },
            {"type": "tool.returned", "call_id": "1", "result": text},
        ]
        records += [
            _record(
                {**head, **e, "id": f"lines{session}/{seq}", "seq": seq, "time": rfc3339(T0 + 500 * seq)},
                5 * session + seq,
            )
            for seq, e in enumerate(events)
        ]
    return records


def held(records: Sequence[Record]) -> Partition:
    """A partition after `records` without their ends: every session is still open."""
    judge = bootstrap.judge(Settings(), mode="enforce")
    partition = Partition.empty()
    unended = [r for r in records if b'"type":"session.ended"' not in (r.value or b"")]
    for start in range(0, len(unended), BATCH):
        partition.apply(judge.judge(partition, unended[start : start + BATCH]).changes)
    return partition


def sizes_of(records: Sequence[Record]) -> list[int]:
    """Packed bytes of the sessions just before they end, catalogues apart, in order of size."""
    return sorted(len(raw) for key, raw in held(records).states.items() if key.startswith("s/"))


def measure(records: list[Record]) -> dict[str, float]:
    """Cost of judging `records`, and the packed size of the sessions just before they end."""
    spent, decisions = judged(records, BATCH)
    sizes = sizes_of(records)
    few = records[: len(records) // 4]
    return {
        "events": len(records),
        "calls": decisions,
        "events_per_second": round(len(records) / spent),
        "calls_per_second": round(decisions / spent),
        "us_per_event": round(1e6 * spent / len(records), 1),
        **{f"us_per_event_in_batches_of_{n}": round(1e6 * judged(few, n)[0] / len(few), 1) for n in SMALL},
        **per_call(few),
        "sessions": len(sizes),
        **{f"session_bytes_{name}": value for name, value in told(sizes).items()},
    }


def told(sizes: Sequence[int]) -> dict[str, int]:
    """Mean, p95 and maximum of sizes in order."""
    return {
        "mean": round(sum(sizes) / len(sizes)),
        "p95": sizes[int(0.95 * (len(sizes) - 1))],
        "max": sizes[-1],
    }


def sample(path: Path, most: int) -> tuple[list[Record], int]:
    """Events of every k-th session of a recorded file, of `most` sessions at most, and how many sessions it has."""
    count = sum(1 for _ in lines.documents_in(path))
    tools = load_tools(path) or {}
    records: list[Record] = []
    for _, _, document in itertools.islice(lines.documents_in(path), 0, None, max(1, -(-count // most))):
        for event in events_of(document, tools.get(document.get("tools_ref", ""))):
            records.append(_record(event, len(records)))
    return records, count


def session_bytes(paths: Sequence[Path], most: int = SESSIONS_OF_A_SET) -> dict[str, Any]:
    """What a session's state takes in each recorded set, and in all: each set's mean counts as often as it has sessions."""
    sets = {}
    for path in paths:
        records, count = sample(path, most)
        sizes = sizes_of(records)
        sets[name_of(path)] = {"recorded": count, "sessions": len(sizes), **told(sizes)}
    recorded = sum(each["recorded"] for each in sets.values())
    mean = sum(each["mean"] * each["recorded"] for each in sets.values()) / recorded
    return {"recorded": recorded, "mean": round(mean), "sets": sets}


STAGE_COLUMNS = ("a call and its result", "generated, µs", "per cent", "recorded, µs", "per cent")


def stage_rows(found: dict[str, dict[str, float]]) -> list[list[str]]:
    """The table of `stages`, and all of them together."""
    logs = [found.get(name) for name in ("generated", "agentdojo")]
    rows = []
    for stage in (*STAGES, BESIDE, "all"):
        row = [stage]
        for log in logs:
            if log is None:
                row += ["", ""]
                continue
            whole = sum(log.values())
            took = whole if stage == "all" else log[stage]
            row += [f"{took:,.0f}", f"{100 * took / whole:.0f}"]
        rows.append(row)
    return rows


COST_COLUMNS = ("a call and its result", "p50 µs", "p99 µs")


def cost_rows(found: dict[str, dict[str, float]]) -> list[list[str]]:
    """The table of what a call costs, by what is judged."""
    names = {"generated": "generated sessions", "agentdojo": "recorded sessions"}
    return [
        [names.get(label, label), *(f"{each[f'us_per_call_{p}']:,.0f}" for p in ("p50", "p99"))]
        for label, each in found.items()
    ]


SIZE_COLUMNS = ("recorded set", "sessions", "of them measured", "state bytes, mean", "p95", "max")


def size_rows(found: dict[str, Any]) -> list[list[str]]:
    """The table of `session_bytes`."""
    names = ("recorded", "sessions", "mean", "p95", "max")
    sets = found["sets"]
    pooled = {
        **found,
        "sessions": sum(each["sessions"] for each in sets.values()),
        "max": max(each["max"] for each in sets.values()),
    }
    rows = [[label, *(f"{each[name]:,}" for name in names)] for label, each in sets.items()]
    return [*rows, ["all", *(f"{pooled[name]:,}" if name in pooled else "" for name in names)]]


def long_session(n: int, start: int) -> list[Record]:
    """`n` calls, each with its return, of one session whose results never repeat; calls count from `start`."""
    head = {"session_id": "long", "root_session_id": "long"}
    events: list[dict[str, Any]] = []
    if start == 0:
        intent = {"text": "read the project's files, then mail a report to bob@example.com"}
        tools = [
            {"name": "read_file", "description": "Read a file of the project"},
            {"name": "send_email", "description": "Send an email to a recipient"},
        ]
        events.append({"type": "session.declared", "intent": intent, "tools": tools})
    for call in range(start, start + n):
        path = f"src/part{call % 997}/file{call}.py"
        result = f"owner: user{call % 5000}@example.com\nsize: {call * 37}\nlast changed by someone on a Monday for release {call}"
        events += [
            {"type": "tool.called", "call_id": str(call), "tool": "read_file", "arguments": {"path": path}},
            {"type": "tool.returned", "call_id": str(call), "result": result},
        ]
    first = 2 * start + (start > 0)
    return [
        _record({**head, **e, "id": f"long/{seq}", "seq": seq, "time": rfc3339(T0 + 500 * seq)}, seq)
        for seq, e in enumerate(events, first)
    ]


def growth(calls: int) -> dict[str, float]:
    """Cost of each tenth of one session of `calls` calls: the second and the last should be alike."""
    judge = bootstrap.judge(Settings(), mode="enforce")
    partition = Partition.empty()
    costs = []
    for tenth in range(10):
        records = long_session(calls // 10, tenth * calls // 10)
        began = time.process_time()
        for start in range(0, len(records), BATCH):
            partition.apply(judge.judge(partition, records[start : start + BATCH]).changes)
        costs.append(round(1e6 * (time.process_time() - began) / (calls // 10), 1))
    return {
        "calls": calls,
        "us_per_call_first_tenth": costs[0],
        "us_per_call_second_tenth": costs[1],
        "us_per_call_last_tenth": costs[-1],
        "session_bytes": max(len(raw) for key, raw in partition.states.items() if key.startswith("s/")),
    }


GROWTH_COLUMNS = (
    "calls of one session",
    "µs a call, first tenth",
    "second tenth",
    "last tenth",
    "state bytes",
)


def growth_rows(found: dict[str, float]) -> list[list[str]]:
    """The table of one long session."""
    names = ("calls", "us_per_call_first_tenth", "us_per_call_second_tenth", "us_per_call_last_tenth")
    return [[f"{found[name]:,.0f}" for name in (*names, "session_bytes")]]


def memory(model: Partition, sessions: int) -> dict[str, float]:
    """Memory and recovery time of `sessions` open sessions, copies of those in `model` under names of their own.

    Every copy has its own key and bytes, as if it had been read from the state topic; catalogues lie once.
    """
    originals = [(key, raw) for key, raw in model.states.items() if key.startswith("s/")]
    shared = {key: raw for key, raw in model.states.items() if not key.startswith("s/")}
    gc.collect()
    before = _resident()
    states = dict(shared)
    for n in range(sessions):
        key, raw = originals[n % len(originals)]
        states[f"{key[:-6]}{n:06x}"] = bytes(bytearray(raw))
    began = time.process_time()
    partition = Partition.load(states)
    spent = time.process_time() - began
    del states
    gc.collect()
    grown = _resident() - before
    packed = sum(len(raw) for raw in partition.states.values())
    return {
        "open_sessions": len(partition.declared) + len(partition.undeclared),
        "mib": round(grown / 2**20, 1),
        "bytes_per_session": round(grown / sessions),
        "bytes_per_session_packed": round(packed / sessions),
        "recovery_seconds": round(spent, 2),
    }


def _resident() -> int:
    """Bytes of this process's memory that are resident."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


@functools.cache
def logs() -> dict[str, list[Record]]:
    """What is judged: generated sessions, and recorded ones where there are any."""
    found = {"generated": generated(1500)}
    if os.environ.get("DRIFTLINE_DATA"):
        found["agentdojo"] = recorded(30_000)
    return found


SECTIONS: Mapping[str, Callable[[], Any]] = {
    "core": lambda: (
        {name: measure(records) for name, records in logs().items()}
        | {"with results of 2,000 lines": per_call(with_long_results(200, 2000))}
    ),
    "stages": lambda: {name: stages(records[: len(records) // 4]) for name, records in logs().items()},
    "long_session": lambda: growth(LONG_CALLS),
    "memory": lambda: memory(held(logs().get("agentdojo", logs()["generated"])), OPEN_SESSIONS),
    "session_bytes": lambda: session_bytes(results.recorded_files()),
}
"""What is measured, by its section of ``build/bench.json``."""


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, by commas")
    for name in parser.parse_args().only.split(","):
        if name == "session_bytes" and not os.environ.get("DRIFTLINE_DATA"):
            results.console.print("NOT RUN: session_bytes, DRIFTLINE_DATA is not set", style="bold yellow")
            continue
        found = SECTIONS[name]()
        results.merge(name, found)
        print(json.dumps({name: found}, indent=2))


if __name__ == "__main__":
    main()
