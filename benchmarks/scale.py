"""Scale: one, two and four workers of one group over twelve partitions.

All join before the load is produced, in one go; rates count from the first 15 % of the decisions. Nothing is
pinned: broker and workers share the cores there are, so that beyond them only the CPU cost of an event tells
whether another worker costs more than its share.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks import results
from benchmarks.load import Message, event_count, preload
from benchmarks.rig import PARTITIONS, Rig
from benchmarks.worker import EVENTS_EACH, WARM
from stream.events import EVENTS

WORKERS = (1, 2, 4)
REPEATS = 1


def run(rig: Rig, items: list[Message], workers: int, partitions: int) -> dict[str, float]:
    """`workers` over `items`; raises if they do not decide and acknowledge everything."""
    settings = rig.settings(partitions=partitions)
    calls = sum(item.call is not None for item in items)
    with ExitStack() as stack:
        programs = [stack.enter_context(rig.start("driftline", settings)) for _ in range(workers)]
        rig.await_members(settings, programs)
        preload(settings, items)
        samples: list[tuple[float, list[float], float, int]] = []

        def sampled() -> bool:
            done = rig.count(settings)
            each = [program.cpu_s() for program in programs]
            samples.append((time.monotonic(), each, rig.broker_s(), done))
            return done >= calls

        rig.wait(sampled, programs, limit_s=300)
        if any(program.stop() for program in programs):
            raise RuntimeError("a worker did not stop cleanly")
    if rig.committed(settings, EVENTS) != len(items) or rig.count(settings) != calls:
        raise RuntimeError("workers of one group lost or repeated decisions without a fault")
    first = next(sample for sample in samples if sample[3] >= WARM * calls)
    last = samples[-1]
    timed = (last[3] - first[3]) / calls * len(items)
    wall = last[0] - first[0]
    each = [b - a for a, b in zip(first[1], last[1], strict=True)]
    broker = (last[2] - first[2]) / wall
    return {
        "events_per_s": timed / wall,
        "cpu_us_per_event": 1e6 * sum(each) / timed,
        "broker_cores": broker,
        "worker_cores": sum(each) / wall,
        "least_share": min(each) / max(sum(each) / workers, 1e-9),
    }


def compare(
    rig: Rig,
    counts: Sequence[int] = WORKERS,
    events: int = EVENTS_EACH,
    partitions: int = PARTITIONS,
    repeats: int = REPEATS,
) -> dict[str, Any]:
    """Each number of workers, there and back."""
    items = event_count(events)
    runs: dict[int, list[dict[str, float]]] = {n: [] for n in counts}
    for turn in range(repeats):
        for n in counts if turn % 2 == 0 else counts[::-1]:
            results.console.print(f"[dim]run {turn + 1} of {repeats}: {n} workers[/]")
            runs[n].append(run(rig, items, n, partitions))
    found: dict[str, Any] = {
        "events": events,
        "partitions": partitions,
        "cores": os.cpu_count(),
        "workers": {},
    }
    for n, each in runs.items():
        found["workers"][str(n)] = {
            **{key: results.spread(one[key] for one in each) for key in each[0]},
            "times_one": results.spread(
                a["events_per_s"] / b["events_per_s"] for a, b in zip(each, runs[counts[0]], strict=True)
            ),
            "cpu_times_one": results.spread(
                a["cpu_us_per_event"] / b["cpu_us_per_event"]
                for a, b in zip(each, runs[counts[0]], strict=True)
            ),
        }
    return found


COLUMNS = (
    "workers",
    "events/s",
    "× one",
    "CPU µs an event",
    "× one",
    "cores: workers",
    "cores: broker",
    "least busy worker",
)


def rows(found: dict[str, Any]) -> list[list[str]]:
    """The table of `compare`."""
    return [
        [
            n,
            results.cell(each["events_per_s"]),
            results.cell(each["times_one"], 2),
            results.cell(each["cpu_us_per_event"]),
            results.cell(each["cpu_times_one"], 2),
            results.cell(each["worker_cores"]["median"], 2),
            results.cell(each["broker_cores"]["median"], 2),
            f"{100 * each['least_share']['median']:.0f} % of its share",
        ]
        for n, each in found["workers"].items()
    ]


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=EVENTS_EACH)
    parser.add_argument("--workers", default=",".join(map(str, WORKERS)))
    parser.add_argument("--partitions", type=int, default=PARTITIONS)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    options = parser.parse_args()
    counts = [int(n) for n in options.workers.split(",")]
    with Rig(pinned=False) as rig:
        found = compare(rig, counts, options.events, options.partitions, options.repeats)
    results.merge("scale", found)
    results.show("Workers of one group", COLUMNS, rows(found))


if __name__ == "__main__":
    main()
