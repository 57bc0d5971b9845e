"""Plays the scenarios on Apache Kafka and writes what was seen.

    python -m tests.chaos.run [--seed N] [--only NAME ...] [--minutes M] [--brokers 1,3] [--rounds N] [--docs]

Results go to ``build/chaos.json``; ``--docs`` also rewrites the tables of ``docs/reliability.md`` from it. With
``--minutes`` the scenarios are played again, each time with the next seed, until the time is up. Exit code 1: at
least one run failed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from stream import app, rulings
from stream.events import ALERTS, CASES, DECISIONS, EVENTS, QUARANTINE, REVOCATIONS, RISK
from tests.chaos.faults import SCENARIOS, Scenario
from tests.chaos.scene import Scene, SceneError
from tests.chaos.verify import Bus, Found, Reference, compare, states_differ, unsigned
from tests.cluster import Cluster

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "build" / "chaos.json"
DOCUMENT = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- chaos: begin -->", "<!-- chaos: end -->"
QUIET_S = 45.0
"""After so many seconds without a new record on any topic, what is missing will not come."""
MOST_TOLD = 8


def play(
    scenario: Scenario,
    cluster: Cluster,
    seed: int,
    directory: Path,
    tell: Callable[[str], None],
    *,
    rounds: int = 1,
    rate: float = 250.0,
) -> dict[str, Any]:
    """Play one scenario and verify what it left; never raises for what it finds."""
    began = time.monotonic()
    result: dict[str, Any] = {
        "scenario": scenario.name,
        "brokers": len(cluster.nodes),
        "seed": seed,
        "recorded": bool(os.environ.get("DRIFTLINE_DATA")),
        "core": rulings.CORE,
    }
    failures: list[str] = []
    scene = Scene(cluster, seed, directory, tell, rate=rate, poisoned=scenario.poisoned, rounds=rounds)
    try:
        with scene:
            try:
                scene.load.start()
                scene.fleet.scale(scenario.workers)
                scene.flowing()
                scenario.run(scene)
                if scenario.release and not scene.facts.get("releases"):
                    raise SceneError("no release went live")
                scene.load.finish()
                found, n_states, left = _verified(scene, tell)
                failures += [*found.differences[:MOST_TOLD], *left[:MOST_TOLD]]
                result |= {"counts": found.counts, "states": n_states, "differences": len(found.differences)}
                failures += scene.fleet.failures
            finally:
                scene.measure()
                result |= {
                    "faults": [vars(fault) for fault in scene.faults],
                    "points": dict(scene.fleet.reached()),
                    "restarts": scene.fleet.n_restarts,
                    "exits": dict(scene.fleet.exits),
                    "facts": scene.facts,
                }
            if failures:
                raise SceneError("; ".join(failures))
    except Exception as error:  # a run that breaks is a result, the next one is played all the same
        failures = failures or [f"{type(error).__name__}: {error}"]
    return {**result, "ok": not failures, "failures": failures, "seconds": round(time.monotonic() - began, 1)}


def _verified(scene: Scene, tell: Callable[[str], None]) -> tuple[Found, int, list[str]]:
    """Wait until live and replay agree, drain the workers, and compare everything once more."""
    with Bus(scene.settings) as bus:
        reference = Reference(scene.settings, scene.jwks, deploys=scene.deploys)
        older = None if scene.drained else Reference(scene.settings, scene.jwks)
        found = Found([], {})

        def look() -> int:
            nonlocal found
            n = bus.catch_up()
            for replayed in (reference, older):
                if replayed is not None:
                    replayed.extend(bus.logs[EVENTS].records)
            found = compare(bus, reference, older)
            return n

        news = time.monotonic()
        while time.monotonic() - news < QUIET_S:
            scene.check()
            if look():
                news = time.monotonic()
            if found.equal and not reference.open_sessions:
                break
            time.sleep(1.0)
        else:
            tell(f"{len(found.differences)} differences stay, {reference.open_sessions} sessions open")
        scene.fleet.scale(0)
        look()
        n_states, left = states_differ(scene.settings, reference)
        if reference.open_sessions:
            left.append(f"{reference.open_sessions} sessions were never ended by a tick")
        left += unsigned(bus, scene.signers)
        if left or not found.equal:
            bus.dump(scene.directory)
        return found, n_states, left


def told(result: dict[str, Any]) -> str:
    """One line for people."""
    counts = result.get("counts", {})
    level = [fault["no_lag_s"] for fault in result.get("faults", ()) if fault["no_lag_s"] is not None]
    return (
        f"{'ok  ' if result['ok'] else 'FAIL'} {result['scenario']} on {result['brokers']}: "
        f"{len(result.get('faults', ()))} faults, {result.get('restarts', 0)} restarts, "
        f"{counts.get(EVENTS, 0)} records, {counts.get(DECISIONS, 0)} decisions equal, "
        f"{counts.get(f'{DECISIONS} repeated', 0)} repeated, {counts.get(CASES, 0)} cases, "
        f"{counts.get(QUARANTINE, 0)} quarantined, {result.get('states', 0)} states, "
        f"no lag after {max(level, default=0):.1f} s at most, {result['seconds']:.0f} s"
    )


def document(results: Sequence[dict[str, Any]]) -> str:
    """The generated part of ``docs/reliability.md``."""
    by_name: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for result in results:
        by_name[result["scenario"], result["brokers"]].append(result)
    texts = {scenario.name: scenario.text for scenario in SCENARIOS}
    sums: Counter[str] = Counter()
    rows = []
    for name in texts:
        for brokers in (1, 3):
            runs = by_name.get((name, brokers))
            if not runs:
                continue
            faults = [fault for run in runs for fault in run.get("faults", ())]
            counts = sum((Counter(run.get("counts", {})) for run in runs), Counter())
            good = sum(run["ok"] for run in runs)
            again = [f["decided_again_s"] for f in faults if f["decided_again_s"] is not None]
            level = [f["no_lag_s"] for f in faults if f["no_lag_s"] is not None]
            disks = sorted({run["facts"]["disk"] for run in runs if "disk" in run.get("facts", {})})
            told = texts[name] + (f" ({', '.join(disks)})" if disks else "")
            rows.append(
                f"| {name}: {told} | {brokers} | {good} of {len(runs)} | {len(faults)} | "
                f"{sum(run.get('restarts', 0) for run in runs)} | {counts[DECISIONS]:,} | "
                f"{counts[f'{DECISIONS} repeated']:,} | {_span(again)} | {_span(level)} |"
            )
            sums.update(counts)
            sums["faults"] += len(faults)
            sums["states"] += sum(run.get("states", 0) for run in runs)
            sums["runs"] += len(runs)
            sums["ok"] += good
    at_points = Counter(
        (fault["point"], fault["action"])
        for result in results
        for fault in result.get("faults", ())
        if fault["point"] is not None
    )
    passed = sum((Counter(result.get("points", {})) for result in results), Counter())
    seeds = sorted({result["seed"] for result in results})
    cores = ", ".join(sorted({result["core"] for result in results}))
    recorded = sum(result["recorded"] for result in results)
    lines = [
        BEGIN,
        f"{sums['runs']} runs, {sums['ok']} of them without a difference; core {cores}; seeds {seeds[0]} to "
        f"{seeds[-1]}; recorded sessions beside generated ones in {recorded} of them; "
        f"{sums['faults']} faults injected; {sums[EVENTS]:,} input records read back, "
        f"{sums[DECISIONS]:,} decisions, {sums[CASES]:,} cases, {sums[ALERTS]:,} alerts, {sums[REVOCATIONS]:,} "
        f"revocations, {sums[RISK]:,} risk changes, {sums[QUARANTINE]:,} quarantined records and "
        f"{sums['states']:,} stored states compared with the replay.",
        "",
        "| scenario | brokers | runs without a difference | faults | restarts | decisions compared | repeated on the wire "
        "| every partition decides again, s: median, most | no lag, s: median, most |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *rows,
        "",
        "| point | passed | killed there | stopped there | producer error there | slowed there |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| `{point}` | {passed[point]:,} | "
            + " | ".join(str(at_points[point, action]) for action in ("kill", "stop", "raise", "slow"))
            + " |"
            for point in app.POINTS
        ),
        END,
    ]
    return "\n".join(lines)


def _span(values: list[float]) -> str:
    if not values:
        return "–"
    ordered = sorted(values)
    return f"{ordered[len(ordered) // 2]:.1f}, {ordered[-1]:.1f}"


def write_document(results: Sequence[dict[str, Any]]) -> None:
    """Rewrite what stands between the marks in ``docs/reliability.md``."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    DOCUMENT.write_text(before + document(results) + after, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="delivery under faults, on Apache Kafka")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", metavar="NAME", help="scenarios to play (default: all)")
    parser.add_argument("--minutes", type=float, default=0.0, help="play again until so many are over")
    parser.add_argument("--brokers", default="1,3")
    parser.add_argument(
        "--rounds", type=int, default=1, help="how often each scenario repeats its faults; 0: the short form"
    )
    parser.add_argument("--rate", type=float, default=250.0, help="events a second")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results go")
    parser.add_argument("--add", action="store_true", help="keep the results that build/chaos.json has")
    parser.add_argument("--docs", action="store_true", help="rewrite the tables of docs/reliability.md")
    parser.add_argument("--keep", type=Path, help="directory for the logs of runs that fail")
    options = parser.parse_args(arguments)
    console = Console(stderr=True, highlight=False)
    unknown = set(options.only or ()) - {scenario.name for scenario in SCENARIOS}
    if unknown:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    chosen = [one for one in SCENARIOS if not options.only or one.name in options.only]
    results: list[dict[str, Any]] = (
        json.loads(options.out.read_text())["runs"] if options.add and options.out.exists() else []
    )
    if not os.environ.get("DRIFTLINE_DATA"):
        console.print(
            "NOT RUN: recorded sessions, DRIFTLINE_DATA is not set; generated ones alone", style="bold yellow"
        )
    until = time.monotonic() + 60 * options.minutes
    n = 0
    with tempfile.TemporaryDirectory(prefix="chaos") as scratch:
        work = options.keep or Path(scratch)
        first = True
        while first or time.monotonic() < until:
            first = False
            for size in map(int, options.brokers.split(",")):
                playing = [one for one in chosen if size in one.brokers]
                if not playing:
                    continue
                with Cluster(size, work / f"cluster-{size}-{n}") as cluster:
                    for scenario in playing:
                        if results and options.minutes and time.monotonic() > until:
                            break
                        n += 1
                        seed = options.seed + n - 1
                        name = f"{scenario.name}, {size} broker{'s' if size > 1 else ''}, seed {seed}"
                        with console.status(name) as status:

                            def tell(line: str, status: Any = status, name: str = name) -> None:
                                status.update(f"{name}: {line}")
                                if not console.is_terminal:
                                    console.print(f"  {line}")

                            where = work / f"{scenario.name}-{size}-{seed}"
                            result = play(
                                scenario, cluster, seed, where, tell, rounds=options.rounds, rate=options.rate
                            )
                        results.append(result)
                        console.print(told(result), style=None if result["ok"] else "bold red")
                        for failure in result["failures"]:
                            console.print(f"     {failure}", markup=False)
                        options.out.parent.mkdir(exist_ok=True)
                        options.out.write_text(
                            json.dumps({"seed": options.seed, "runs": results}, indent=1) + "\n"
                        )
    if options.docs:
        write_document(results)
    return 0 if results and all(result["ok"] for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
