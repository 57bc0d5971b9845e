"""Input faster than the worker judges: it must stay in Kafka as lag, and not come into memory.

A backlog lies on the topic before the worker starts, once a small one and once many times as much; the worker's memory
is read twice a second while it works. One that read ahead would grow with what lies there.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from benchmarks import results
from benchmarks.load import event_count, preload
from benchmarks.rig import PARTITIONS, Rig
from stream.events import EVENTS

MEGABYTES = (50, 1000)
RESULT_CHARS = 8_000
"""Of a result: 3.5 kB an event, so that a gigabyte is on the topic within a minute."""
EVENT_BYTES = 3_500
SECONDS = 30.0


def backlog(
    rig: Rig, megabytes: int, seconds: float = SECONDS, partitions: int = PARTITIONS
) -> dict[str, Any]:
    """The worker's memory over its first `seconds` with `megabytes` of input waiting, or until all is judged."""
    settings = rig.settings(partitions=partitions)
    items = event_count(megabytes * 1_000_000 // EVENT_BYTES, result_chars=RESULT_CHARS)
    size, waiting = sum(len(item.value) for item in items), len(items)
    preload(settings, items)
    del items
    most = 0
    with rig.start("driftline", settings) as program:
        rig.await_members(settings, [program])
        began = time.monotonic()
        while time.monotonic() - began < seconds and rig.committed(settings, EVENTS) < waiting:
            program.check()
            most = max(most, program.rss_bytes())
            time.sleep(0.5)
        judged = rig.committed(settings, EVENTS)
        code = program.stop()
    if code != 0:
        raise RuntimeError(f"the worker stopped with {code}")
    return {"bytes": size, "records": waiting, "judged": judged, "rss_mb_most": most / 1e6}


def compare(rig: Rig) -> list[dict[str, Any]]:
    """All of `MEGABYTES`, smallest first."""
    return [backlog(rig, megabytes) for megabytes in MEGABYTES]


COLUMNS = ("backlog MB", "records", "judged meanwhile", "worker MB at most")


def rows(found: list[dict[str, Any]]) -> list[list[str]]:
    """The table of `compare`."""
    return [
        [
            results.cell(one["bytes"] / 1e6),
            results.cell(one["records"]),
            results.cell(one["judged"]),
            results.cell(one["rss_mb_most"]),
        ]
        for one in found
    ]


def main() -> None:
    """Measure, print, keep."""
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    with Rig() as rig:
        found = compare(rig)
    results.merge("backlog", found)
    results.show("Memory with input waiting", COLUMNS, rows(found))


if __name__ == "__main__":
    main()
