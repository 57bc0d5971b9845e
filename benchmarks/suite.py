"""All benchmarks in one go, in about twenty minutes: ``make bench``.

Prints the tables, leaves the figures in ``build/bench.json``, and with ``--docs`` writes the tables of
``docs/performance.md`` anew, each with the command that measures it alone. ``--tables`` measures nothing and
shows what ``build/bench.json`` holds.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import core, fairness, latency, recovery, results, scale, soak, worker
from benchmarks.rig import ROOT, Rig

PARTITIONS = 12
DOCUMENT = ROOT / "docs" / "performance.md"
Table = tuple[str, Sequence[str], Callable[[Any], list[list[str]]], str]
TABLES: dict[str, Table] = {
    "throughput": ("Throughput", worker.COLUMNS, worker.rows, "python benchmarks/worker.py"),
    "latency": (
        "Produced to decision readable",
        latency.COLUMNS,
        latency.rows,
        "python benchmarks/latency.py --rates 200,1000",
    ),
    "load": (
        "At 50 % and 80 % of the most that the worker judges",
        latency.COLUMNS[:-1],
        lambda found: [row[:-1] for row in latency.rows(found)],
        "python benchmarks/latency.py --loops driftline --maximum EVENTS_PER_S",
    ),
    "revocations": (
        "Produced to revoked",
        latency.REVOKED_COLUMNS,
        latency.revoked_rows,
        "python benchmarks/latency.py --revocations",
    ),
    "scale": ("Workers of one group", scale.COLUMNS, scale.rows, "python benchmarks/scale.py"),
    "recovery": ("A partition taken over", recovery.COLUMNS, recovery.rows, "python benchmarks/recovery.py"),
    "commits": (
        "Two seconds' work made durable",
        recovery.COMMIT_COLUMNS,
        recovery.commit_rows,
        "python benchmarks/recovery.py --transactions",
    ),
    "fairness": ("One hot key", fairness.COLUMNS, fairness.rows, "python benchmarks/fairness.py"),
    "long_session": (
        "One session of many calls",
        core.GROWTH_COLUMNS,
        core.growth_rows,
        "python benchmarks/core.py",
    ),
    "soak": ("Soak", soak.COLUMNS, soak.rows, "make soak"),
}


ORJSON_US = 2.8
"""What orjson took for an event where the targets were set, in µs: the yardstick of the table."""


def targets(report: dict[str, Any]) -> list[list[str]]:
    """Each target, what was measured, and whether it is met; those without a measurement are left out."""
    table: list[list[str]] = []

    def add(name: str, least: float, aim: float, value: float, digits: int, *, high: bool = True) -> None:
        reaches = (lambda bound: value >= bound) if high else (lambda bound: value <= bound)
        met = "aim" if reaches(aim) else "yes" if reaches(least) else "no"
        table.append([name, f"{least:,g}", f"{aim:,g}", results.cell(value, digits), met])

    if found := report.get("throughput"):
        ours = found["programs"]["driftline"]
        for peer, least, aim in (("confluent", 0.70, 0.90), ("quixstreams", 1.0, 1.3)):
            if ratio := found["ratios"].get(peer):
                for kind, told, digits in (("wall", "wall", 2), ("cpu_for_core", "CPU for the same core", 3)):
                    add(f"throughput, ratio to {peer} ({told})", least, aim, ratio[kind]["median"], digits)
        add("events per second per core", 5000, 12000, ours["events_per_core_s"]["median"], 0)
        add("µs an event beside the core", 25, 12, ours["shell_us_per_event"]["median"], 0, high=False)
        yardstick = results.cell(found["orjson_us_per_event"]["median"], 1)
        table.append(["the machine: µs that orjson takes for an event", f"{ORJSON_US}", "", yardstick, ""])
    for rate, at in report.get("latency", {}).get("rates", {}).items():
        if "p99_ratio" in at.get("confluent", {}):
            name = f"p99 at {int(rate):,} events/s, ratio to confluent"
            add(name, 1.25, 1.0, at["confluent"]["p99_ratio"]["median"], 2, high=False)
    for rate, at in report.get("revocations", {}).items():
        if at["p99_ratio"]:
            add(
                f"p99 to revoked at {int(rate):,}, ratio to decided", 2.5, 2.0, at["p99_ratio"], 2, high=False
            )
    return table


TARGET_COLUMNS = ("target", "at least", "aim", "measured", "met")


def measure(only: Sequence[str]) -> None:
    """Run what `only` names, in an order that lets later ones use earlier figures."""

    def wanted(name: str) -> bool:
        return not only or name in only

    def keep(name: str, measured: Callable[[], Any]) -> None:
        began = time.monotonic()
        results.merge(name, measured())
        results.console.print(f"[dim]{name}: {time.monotonic() - began:.0f} s[/]")

    if wanted("core"):
        before = results.read()
        subprocess.run([sys.executable, str(ROOT / "benchmarks" / "core.py")], cwd=ROOT, check=True)
        results.write({**before, **results.read()})  # it writes the file anew
    with Rig() as rig:
        if wanted("throughput"):
            names = ["driftline", "confluent", "quixstreams"]
            keep("throughput", lambda: worker.compare(rig, names, 30_000, PARTITIONS, 2))
        if wanted("latency"):
            pair = ["driftline", "confluent"]
            keep("latency", lambda: latency.compare(rig, pair, [200.0, 1000.0], 12, 4, PARTITIONS))
        most = results.read().get("throughput", {}).get("programs", {}).get("driftline")
        if wanted("load") and most:
            rates = [share * most["events_per_s"]["median"] for share in (0.5, 0.8)]
            keep("load", lambda: latency.compare(rig, ["driftline"], rates, 12, 2, PARTITIONS))
        if wanted("revocations"):
            keep("revocations", lambda: latency.revocations(rig, [200.0, 1000.0], 10, PARTITIONS))
        if wanted("recovery"):
            keep("recovery", lambda: recovery.recovery(rig, 100_000, 2))
        if wanted("commits"):
            keep("commits", lambda: recovery.transactions(rig, PARTITIONS, 20))
        if wanted("fairness"):
            keep(
                "fairness",
                lambda: {
                    kind: fairness.flood(rig, kind, 30_000, 200, 12, PARTITIONS, 1000)
                    for kind in fairness.KINDS
                },
            )
    if wanted("scale"):
        with Rig(pinned=False) as rig:
            keep("scale", lambda: scale.compare(rig, [1, 2, 4], 30_000, PARTITIONS, 1))


def main() -> None:
    """Measure, print, keep, and write the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help=f"some of core, {', '.join(TABLES)}, by commas")
    parser.add_argument("--docs", action="store_true", help="write the tables of docs/performance.md")
    parser.add_argument("--tables", action="store_true", help="measure nothing; show build/bench.json")
    options = parser.parse_args()
    if not options.tables:
        measure([name for name in options.only.split(",") if name])
    report = results.read()
    for name, (title, columns, rows, command) in TABLES.items():
        if name not in report:
            continue
        table = rows(report[name])
        results.show(title, columns, table)
        if options.docs:
            busy = report.get("load_before", {}).get(name)
            text = f"{results.markdown(columns, table)}\n\n`{command}`; load of the machine before it: {busy}"
            results.write_between(DOCUMENT, name, text)
    table = targets(report)
    results.show("Targets", TARGET_COLUMNS, table)
    if options.docs:
        results.write_between(DOCUMENT, "targets", results.markdown(TARGET_COLUMNS, table))


if __name__ == "__main__":
    main()
