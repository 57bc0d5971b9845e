"""All benchmarks in one go, in some forty minutes: ``make bench``.

Prints the tables, leaves the figures in ``build/bench.json``, and with ``--docs`` writes the tables of
``docs/performance.md`` anew, each with the command that measures it alone: sizes and repeats are each module's own
defaults. ``--tables`` measures nothing and shows what ``build/bench.json`` holds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from benchmarks import (
    backlog,
    backtest,
    challengers,
    core,
    effect,
    fairness,
    features,
    gate,
    latency,
    recovery,
    replayed,
    results,
    revocation,
    scale,
    secured,
    soak,
    worker,
)
from benchmarks.rig import ROOT, Rig

DOCUMENT = ROOT / "docs" / "performance.md"
Table = tuple[str, Sequence[str], Callable[[Any], list[list[str]]], str]
TABLES: dict[str, Table] = {
    "throughput": ("Throughput", worker.COLUMNS, worker.rows, "python benchmarks/worker.py"),
    "secured": (
        "Throughput with three copies and TLS",
        secured.COLUMNS,
        worker.rows,
        "python benchmarks/secured.py",
    ),
    "latency": (
        "Produced to decision readable",
        latency.COLUMNS,
        latency.rows,
        "python benchmarks/latency.py",
    ),
    "load": (
        "At 50 % and 80 % of the most that the worker judges",
        latency.COLUMNS[:-1],
        lambda found: [row[:-1] for row in latency.rows(found)],
        "python benchmarks/latency.py --maximum EVENTS_PER_S",
    ),
    "revocations": (
        "Produced to revoked",
        latency.REVOKED_COLUMNS,
        latency.revoked_rows,
        "python benchmarks/latency.py --revocations",
    ),
    "gate": (
        "A call and its decision, through the client",
        gate.COLUMNS,
        gate.rows,
        "python benchmarks/gate.py",
    ),
    "gate_faults": (
        "Calls while the worker or the broker is killed",
        gate.FAULT_COLUMNS,
        gate.fault_rows,
        "python benchmarks/gate.py --faults",
    ),
    "dead": (
        "From a bad call to a dead token at Keycloak",
        revocation.COLUMNS,
        revocation.rows,
        "python -m benchmarks.revocation",
    ),
    "replayed": (
        "Revocations put on the topic again",
        replayed.COLUMNS,
        replayed.rows,
        "python -m benchmarks.revocation",
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
    "backlog": ("Memory with input waiting", backlog.COLUMNS, backlog.rows, "python benchmarks/backlog.py"),
    "core": (
        "A call by itself",
        core.COST_COLUMNS,
        core.cost_rows,
        "DRIFTLINE_DATA=... python benchmarks/core.py --only core",
    ),
    "stages": (
        "Where its time goes",
        core.STAGE_COLUMNS,
        core.stage_rows,
        "DRIFTLINE_DATA=... python benchmarks/core.py --only stages",
    ),
    "long_session": (
        "One session of many calls",
        core.GROWTH_COLUMNS,
        core.growth_rows,
        "python benchmarks/core.py --only long_session",
    ),
    "session_bytes": (
        "A session's state, by recorded set",
        core.SIZE_COLUMNS,
        core.size_rows,
        "DRIFTLINE_DATA=... python benchmarks/core.py --only session_bytes",
    ),
    "backtest": (
        "A backtest of two policies beside replay",
        backtest.COLUMNS,
        backtest.rows,
        "python -m benchmarks.backtest",
    ),
    "features": (
        "Rows of features beside replay",
        features.COLUMNS,
        features.rows,
        "python -m benchmarks.features",
    ),
    "challengers": (
        "Challengers beside the worker",
        challengers.COLUMNS,
        challengers.rows,
        "python -m benchmarks.challengers",
    ),
    "effect": ("Promote and rollback", effect.COLUMNS, effect.rows, "python -m benchmarks.effect"),
    "soak": ("Soak", soak.COLUMNS, soak.rows, "make soak"),
}


ORJSON_US = 2.8
"""What orjson took for an event where the targets were set, in µs: the yardstick of the table."""


def targets(report: dict[str, Any]) -> list[list[str]]:
    """Each target, what was measured with which core, and whether it is met; those not measured are left out."""
    table: list[list[str]] = []
    core = {section: run["core"] for section, run in report.get("runs", {}).items()}

    def add(
        section: str,
        name: str,
        least: float,
        aim: float,
        value: float,
        digits: int,
        *,
        high: bool = True,
        decided_p50_ms: float = 0.0,
    ) -> None:
        # A load that was not carried gives the times of a queue, and a ratio of queues meets no target.
        carried = decided_p50_ms <= 1000 * revocation.BEHIND_S
        reaches = (lambda bound: value >= bound) if high else (lambda bound: value <= bound)
        met = "no" if not (carried and reaches(least)) else "aim" if reaches(aim) else "yes"
        table.append([name, f"{least:,g}", f"{aim:,g}", results.cell(value, digits), met, core[section]])

    if found := report.get("throughput"):
        ours = found["programs"]["driftline"]
        for peer, least, aim in (("confluent", 0.70, 0.90), ("quixstreams", 1.0, 1.3)):
            if ratio := found["ratios"].get(peer):
                for kind, told, digits in (
                    ("wall", "wall", 2),
                    ("cpu", "CPU", 2),
                    ("cpu_for_core", "CPU for the same core", 3),
                ):
                    name = f"throughput, ratio to {peer} ({told})"
                    add("throughput", name, least, aim, ratio[kind]["median"], digits)
        add("throughput", "events per second per core", 5000, 12000, ours["events_per_core_s"]["median"], 0)
        shell = ours["shell_us_per_event"]["median"]
        add("throughput", "µs an event beside the core", 25, 12, shell, 0, high=False)
        yardstick = results.cell(found["orjson_us_per_event"]["median"], 1)
        table.append(
            ["the machine: µs that orjson takes for an event", f"{ORJSON_US}", "", yardstick, "", ""]
        )
    if held := report.get("session_bytes"):
        name = "state of a session, bytes on average over the recorded sessions, catalogues apart"
        add("session_bytes", name, 8192, 6144, held["mean"], 0, high=False)
    for rate, at in report.get("latency", {}).get("rates", {}).items():
        if "p99_ratio" in at.get("confluent", {}):
            name = f"p99 at {int(rate):,} events/s, ratio to confluent"
            ratio, p50 = at["confluent"]["p99_ratio"]["median"], at["driftline"]["due"]["p50"]
            add("latency", name, 1.25, 1.0, ratio, 2, high=False, decided_p50_ms=p50)
    for rate, at in report.get("revocations", {}).items():
        if at["p99_ratio"]:
            name = f"p99 to revoked at {int(rate):,}, ratio to decided"
            p50 = at["decided"]["p50"]
            add("revocations", name, 2.5, 2.0, at["p99_ratio"], 2, high=False, decided_p50_ms=p50)
    return table


TARGET_COLUMNS = ("target", "at least", "aim", "measured", "met", "core")


def under_load(rig: Rig) -> dict[str, Any]:
    """The worker at shares of what it judged in the throughput runs."""
    known = results.read().get("throughput", {}).get("programs", {}).get("driftline")
    if not known:
        sys.exit("NOT RUN: load is measured at shares of the throughput; name throughput as well")
    return latency.under_load(rig, known["events_per_s"]["median"])


ON_A_CORE: dict[str, Callable[[Rig], Any]] = {
    "throughput": worker.compare,
    "latency": latency.compare,
    "load": under_load,
    "revocations": latency.revocations,
    "recovery": recovery.recovery,
    "commits": recovery.transactions,
    "backlog": backlog.compare,
    "challengers": challengers.measure,
    "effect": effect.measure,
    "fairness": lambda rig: {kind: fairness.flood(rig, kind) for kind in fairness.KINDS},
}
UNPINNED: dict[str, Callable[[Rig], Any]] = {
    "scale": scale.compare,
    "gate": gate.compare,
    "gate_faults": gate.faults,
}
BRIDGED: dict[str, Callable[[Rig], Any]] = {"dead": revocation.dead, "replayed": replayed.replayed}
"""The last, since Keycloak may not be there to be had."""
SECTIONS = (*core.SECTIONS, "features", "backtest", *ON_A_CORE, *UNPINNED, "secured", *BRIDGED)
"""What is measured, in an order that lets later ones use earlier figures."""


def measure(only: Sequence[str]) -> None:
    """Run what `only` names."""
    if offline := [name for name in core.SECTIONS if name in only]:
        # A process of its own: memory is measured in it.
        command = [sys.executable, str(ROOT / "benchmarks" / "core.py"), "--only", ",".join(offline)]
        subprocess.run(command, cwd=ROOT, check=True)
    if "backtest" in only:
        keep("backtest", backtest.measure)
    if "features" in only:
        keep("features", features.measure)
    on_one_rig(ON_A_CORE, only, pinned=True)
    on_one_rig(UNPINNED, only, pinned=False)
    if "secured" in only and "KAFKA_BOOTSTRAP" in os.environ:
        results.console.print("NOT RUN: secured, it needs brokers of its own", style="bold yellow")
    elif "secured" in only:
        keep("secured", secured.compare)
    on_one_rig(BRIDGED, only, pinned=False)


def on_one_rig(measured: dict[str, Callable[[Rig], Any]], only: Sequence[str], *, pinned: bool) -> None:
    """Those of `measured` that are wanted, on brokers that they share."""
    if wanted := [name for name in measured if name in only]:
        with Rig(pinned=pinned) as rig:
            for name in wanted:
                keep(name, partial(measured[name], rig))


def keep(name: str, measured: Callable[[], Any]) -> None:
    """Measure one section, keep what it found, and tell how long it took."""
    began = time.monotonic()
    results.merge(name, measured())
    results.console.print(f"[dim]{name}: {time.monotonic() - began:.0f} s[/]")


def sections(text: str) -> list[str]:
    """The sections that an option names, by commas.

    >>> sections("scale,throughput")
    ['scale', 'throughput']
    """
    names = [name for name in text.split(",") if name]
    if unknown := set(names) - set(SECTIONS):
        raise argparse.ArgumentTypeError(
            f"no such section: {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}"
        )
    return names


def main() -> None:
    """Measure, print, keep, and write the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--only",
        type=sections,
        default=[name for name in SECTIONS if name in TABLES],
        help=f"some of {', '.join(SECTIONS)}, by commas; without it all that have a table",
    )
    parser.add_argument("--docs", action="store_true", help="write the tables of docs/performance.md")
    parser.add_argument("--tables", action="store_true", help="measure nothing; show build/bench.json")
    options = parser.parse_args()
    if not options.tables:
        measure(options.only)
    report = results.read()
    for name, (title, columns, rows, command) in TABLES.items():
        if name not in report:
            continue
        table = rows(report[name])
        results.show(title, columns, table)
        if options.docs:
            line = results.measured_by(command, report["runs"][name])
            text = f"{results.markdown(columns, table)}\n\n{line}"
            results.write_between(DOCUMENT, name, text)
    table = targets(report)
    results.show("Targets", TARGET_COLUMNS, table)
    if options.docs:
        # What was not measured this time, or not on this machine, keeps its row.
        table = results.renewed(results.rows_between(DOCUMENT, "targets"), table)
        results.write_between(DOCUMENT, "targets", results.markdown(TARGET_COLUMNS, table))


if __name__ == "__main__":
    main()
