"""Throughput: the worker, a confluent-kafka loop and a quixstreams application over one core, in one run.

Each program gets the same log on topics of its own: produced before it starts, so that it never waits for
input. Rates are taken between the first 15 % and the last decision, from outside, alike for all: decisions on
the broker, CPU time of the process. Runs alternate (A B C C B A ...), since the machine is noisy; the ratio of
two programs is that of neighbouring runs. What a shell costs beside its core is counted within each run
(`benchmarks.counted`): its share of the process's CPU does not depend on how fast the machine happens to be, and as all
cores do the same work, the shares compare the programs too. Afterwards each program's decisions are compared, byte for
byte, and its acknowledged input counted: a fast program that lost or changed one decision fails.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import orjson

from benchmarks import results
from benchmarks.load import Message, event_count, preload
from benchmarks.rig import PARTITIONS, Rig
from stream.events import DECISIONS, EVENTS
from stream.shell.checkpoints import STATE_TOPIC

PROGRAMS = ("driftline", "confluent", "quixstreams")
EVENTS_EACH = 30_000
REPEATS = 4
"""Turns, there and back twice: A B C C B A A B C C B A."""
WARM = 0.15
"""Share of the decisions that is not timed: start, group join, first fetches, caches."""


def run(rig: Rig, name: str, items: list[Message], partitions: int, **started: Any) -> dict[str, Any]:
    """One program over `items`; raises if it does not decide and acknowledge everything.

    `started` are more arguments of `Rig.start`.
    """
    settings = rig.settings(partitions=partitions)
    preload(settings, items)
    calls = sum(item.call is not None for item in items)
    samples: list[tuple[float, float, float, float, int]] = []
    most = 0
    with rig.start(name, settings, **started) as program:

        def sampled() -> bool:
            nonlocal most
            most = max(most, program.rss_bytes())
            done = rig.count(settings)
            samples.append((time.monotonic(), program.cpu_s(), program.core_s(), rig.broker_s(), done))
            return done >= calls

        rig.wait(sampled, [program], limit_s=300)
        code = program.stop()
    if code != 0:
        raise RuntimeError(f"{name} stopped with {code}: {program._tail()}")
    acknowledged = rig.committed(settings, EVENTS)
    if acknowledged != len(items):
        raise RuntimeError(f"{name} acknowledged {acknowledged} of {len(items)} records: {program._tail()}")
    decisions = rig.values(settings, DECISIONS)
    first = next(sample for sample in samples if sample[-1] >= WARM * calls)
    wall, cpu, core, broker, decided = (b - a for a, b in zip(first, samples[-1], strict=True))
    timed = decided / calls * len(items)
    state = rig.values(settings, STATE_TOPIC)
    return {
        "events_per_s": timed / wall,
        "cpu_us_per_event": 1e6 * cpu / timed,
        "shell_us_per_event": 1e6 * (cpu - core) / timed,
        "shell_per_cent": 100 * (cpu - core) / cpu,
        "cores": cpu / wall,
        "broker_us_per_event": 1e6 * broker / timed,
        "events_per_core_s": timed / cpu,
        "state_records_per_event": len(state) / len(items),
        "state_bytes_per_event": sum(len(value or b"") for value in state) / len(items),
        "rss_mb": most / 1e6,
        "repeated": len(decisions) - calls,
        "digest": hashlib.sha256(b"\n".join(sorted(set(decisions)))).hexdigest()[:16],
    }


def compare(
    rig: Rig,
    names: Sequence[str] = PROGRAMS,
    events: int = EVENTS_EACH,
    partitions: int = PARTITIONS,
    repeats: int = REPEATS,
) -> dict[str, Any]:
    """Alternating runs of all programs; medians, ratios of neighbours, and the shell's cost over the core."""
    items = event_count(events)
    runs = alternate({name: partial(run, rig, name, items, partitions) for name in names}, repeats)
    ours = runs.get("driftline")
    return {
        "events": events,
        "bytes_per_event": sum(len(item.value) for item in items) / len(items),
        "partitions": partitions,
        "orjson_us_per_event": decoding(items),
        "programs": spreads(runs),
        "ratios": {name: ratios(ours, runs[name]) for name in names if ours and name != "driftline"},
    }


def alternate(
    programs: Mapping[str, Callable[[], dict[str, Any]]], repeats: int
) -> dict[str, list[dict[str, Any]]]:
    """The runs of each program, there and back by turns; raises if one decided something else than another."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in programs}
    for turn in range(repeats):
        for name in programs if turn % 2 == 0 else reversed(programs):
            results.console.print(f"[dim]run {turn + 1} of {repeats}: {name}[/]")
            runs[name].append(programs[name]())
    digests = {one["digest"] for each in runs.values() for one in each}
    if len(digests) != 1:
        raise RuntimeError(f"the programs did not decide alike: {digests}")
    return runs


def spreads(runs: Mapping[str, Sequence[dict[str, Any]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Each figure of each program over its runs."""
    return {
        name: {key: results.spread(one[key] for one in each) for key in each[0] if key != "digest"}
        for name, each in runs.items()
    }


def ratios(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """How many times as fast `ours` are as their neighbours `theirs`: by wall, by CPU, by CPU for the same core."""
    pairs = list(zip(ours, theirs, strict=True))
    return {
        "wall": results.spread(a["events_per_s"] / b["events_per_s"] for a, b in pairs),
        "cpu": results.spread(b["cpu_us_per_event"] / a["cpu_us_per_event"] for a, b in pairs),
        "cpu_for_core": results.spread(
            (100 - a["shell_per_cent"]) / (100 - b["shell_per_cent"]) for a, b in pairs
        ),
    }


def decoding(items: list[Message]) -> dict[str, float]:
    """What `orjson` alone takes for an event here: a yardstick of the machine, by which absolute figures compare."""
    spent = []
    for _ in range(9):
        began = time.process_time()
        for item in items[:5000]:
            orjson.loads(item.value)
        spent.append(1e6 * (time.process_time() - began) / len(items[:5000]))
    return results.spread(spent)


COLUMNS = (
    "program",
    "events/s",
    "events/s per core",
    "CPU µs an event",
    "of it beside the core",
    "in per cent",
    "broker µs an event",
    "state bytes an event",
    "MB at most",
    "driftline is × (wall)",
    "× (CPU)",
    "× (CPU for the same core)",
)


def rows(found: dict[str, Any]) -> list[list[str]]:
    """The table of `compare`."""
    table = []
    for name, each in found["programs"].items():
        ratio = found["ratios"].get(name)
        table.append(
            [
                name,
                results.cell(each["events_per_s"]),
                results.cell(each["events_per_core_s"]),
                results.cell(each["cpu_us_per_event"]),
                results.cell(each["shell_us_per_event"], 1),
                results.cell(each["shell_per_cent"], 1),
                results.cell(each["broker_us_per_event"]),
                results.cell(each["state_bytes_per_event"]),
                results.cell(each["rss_mb"]),
                results.cell(ratio["wall"], 2) if ratio else "",
                results.cell(ratio["cpu"], 2) if ratio else "",
                results.cell(ratio["cpu_for_core"], 3) if ratio else "",
            ]
        )
    return table


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=EVENTS_EACH)
    parser.add_argument("--loops", default=",".join(PROGRAMS))
    parser.add_argument("--partitions", type=int, default=PARTITIONS)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    options = parser.parse_args()
    with Rig() as rig:
        found = compare(rig, options.loops.split(","), options.events, options.partitions, options.repeats)
    results.merge("throughput", found)
    results.show(
        f"Throughput: {options.events:,} events of {found['bytes_per_event']:.0f} bytes, "
        f"{options.partitions} partitions; orjson takes {results.cell(found['orjson_us_per_event'], 1)} µs an event here",
        COLUMNS,
        rows(found),
    )


if __name__ == "__main__":
    main()
