"""Plays the scenarios on Apache Kafka and writes what was seen.

    python -m tests.chaos.run [--seed N] [--only NAME ...] [--minutes M] [--brokers 1,3] [--rounds N] [--docs]
    python -m tests.chaos.run --render FILE ... [--docs]

Results go to ``build/chaos.json``; ``--docs`` also rewrites the tables of ``docs/reliability.md`` from it. With
``--minutes`` the scenarios are played again, each time with the next seed, until the time is up. ``--render`` plays
nothing and takes the results of runs made apart, for instance for one broker and for three. Exit code 1: at least one
run failed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from stream.core import cases
from stream.events import ALERTS, CASES, DECISIONS, ENDS, EVENTS, QUARANTINE, REVOCATIONS, RISK
from stream.shell import stage
from tests.chaos.faults import SCENARIOS, Scenario
from tests.chaos.scene import Scene, SceneError
from tests.chaos.verify import Bus, Found, Reference, compare, states_differ, unsigned
from tests.cluster import Cluster

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "build" / "chaos.json"
DOCUMENT = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- chaos: begin -->", "<!-- chaos: end -->"
COMPARED = {
    "decisions": DECISIONS,
    "cases": CASES,
    "alerts": ALERTS,
    "revocations": REVOCATIONS,
    "risk changes": RISK,
    "words on what ends released": ENDS,
    "quarantined records": QUARANTINE,
}
QUIET_S = 45.0
"""After so many seconds without a new record on any topic, what is missing will not come."""
COLD_S = 240.0
"""Within so many seconds a run comes to rest before its first fault: three brokers that have just started compile their code
for over a minute and take most of two cores with it."""
MOST_TOLD = 8
NUMBERS = {1: "one", 3: "three"}


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
    rate = scenario.rates.get(len(cluster.nodes), rate)
    result: dict[str, Any] = {
        "scenario": scenario.name,
        "brokers": len(cluster.nodes),
        "seed": seed,
        "recorded": bool(os.environ.get("DRIFTLINE_DATA")),
        "core": cases.CORE,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "rate": rate,
    }
    failures: list[str] = []
    scene = Scene(
        cluster,
        seed,
        directory,
        tell,
        rate=rate,
        poisoned=scenario.poisoned,
        checkpoint_records=scenario.checkpoint_records,
        rounds=rounds,
    )
    try:
        with scene:
            try:
                scene.load.start()
                scene.fleet.scale(scenario.workers)
                scene.flowing(COLD_S)
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
            sent = sorted(
                run["facts"]["events_per_s"] for run in runs if "events_per_s" in run.get("facts", {})
            )
            notes = [*disks, *([f"{sent[0]:,} events/s sent at least"] if sent else [])]
            told = texts[name] + (f" ({', '.join(notes)})" if notes else "")
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
    recorded = sum(result["recorded"] for result in results)
    lines = [
        BEGIN,
        f"{sums['runs']} runs, {sums['ok']} of them without a difference; {cores_of(results)}; {seeds_of(results)}. "
        f"{recorded} of them had recorded sessions beside generated ones. {sums['faults']} faults were injected.",
        "",
        "| on the bus, over all runs | records |",
        "| --- | ---: |",
        f"| input, read back and replayed | {sums[EVENTS]:,} |",
        *(f"| {kind}, compared with the replay | {sums[topic]:,} |" for kind, topic in COMPARED.items()),
        f"| stored states, compared with the replay | {sums['states']:,} |",
        "",
        "| scenario | brokers | runs without a difference | faults | restarts | decisions compared | repeated on the wire "
        "| every partition decides again, s: median, most | no lag, s: median, most |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *rows,
        "",
        "| point | passed | killed there | terminated there | stopped there | producer error there | slowed there |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| `{point}` | {passed[point]:,} | "
            + " | ".join(
                str(at_points[point, action]) for action in ("kill", "terminate", "stop", "raise", "slow")
            )
            + " |"
            for point in stage.POINTS
        ),
        END,
    ]
    return "\n".join(lines)


def cores_of(results: Sequence[dict[str, Any]]) -> str:
    """The cores that were judged with, and the days on which.

    >>> cores_of([{"core": "30", "date": f"2026-11-{day}"} for day in (29, 30)])
    'core 30 (2026-11-29, 2026-11-30)'
    """
    days: dict[str, set[str]] = defaultdict(set)
    for result in results:
        days[result["core"]].add(result.get("date", "no day kept"))
    return ", ".join(f"core {core} ({', '.join(sorted(of))})" for core, of in sorted(days.items()))


def seeds_of(results: Sequence[dict[str, Any]]) -> str:
    """The seeds that were played, by the number of brokers.

    >>> seeds_of([{"brokers": n, "seed": seed} for n, seed in ((1, 1), (1, 2), (1, 5), (3, 3), (3, 4))])
    'seeds 1 to 2, 5 on one broker, 3 to 4 on three'
    """
    played: dict[int, set[int]] = defaultdict(set)
    for result in results:
        played[result["brokers"]].add(result["seed"])
    told = [f"{_ranges(seeds)} on {NUMBERS.get(n, n)}" for n, seeds in sorted(played.items())]
    first = min(played)
    told[0] += " broker" if first == 1 else " brokers"
    return "seeds " + ", ".join(told)


def _ranges(numbers: Iterable[int]) -> str:
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(f"{first} to {last}" if last > first else f"{first}" for first, last in spans)


def _span(values: list[float]) -> str:
    if not values:
        return "–"
    ordered = sorted(values)
    return f"{ordered[len(ordered) // 2]:.1f}, {ordered[-1]:.1f}"


def write_document(results: Sequence[dict[str, Any]], page: Path = DOCUMENT) -> None:
    """Rewrite what stands between the marks in ``docs/reliability.md``."""
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    page.write_text(before + document(results) + after, encoding="utf-8")


def render(files: Iterable[Path], console: Console, page: Path | None) -> int:
    """Tell the runs that lie in `files`, and write the tables of `page` from all of them."""
    results = [run for path in files for run in json.loads(path.read_text(encoding="utf-8"))["runs"]]
    for result in results:
        console.print(told(result), style=None if result["ok"] else "bold red")
    if page is not None:
        write_document(results, page)
    return 0 if results and all(result["ok"] for result in results) else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="delivery under faults, on Apache Kafka")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", metavar="NAME", help="scenarios to play (default: all)")
    parser.add_argument("--minutes", type=float, default=0.0, help="play again until so many are over")
    parser.add_argument("--brokers", default="1,3", help="numbers of brokers, by commas")
    parser.add_argument(
        "--rounds", type=int, default=1, help="how often each scenario repeats its faults; 0: the short form"
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=250.0,
        help="events a second, but for scenarios that have a rate of their own",
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results go")
    parser.add_argument("--add", action="store_true", help="keep the results that the file of --out has")
    parser.add_argument(
        "--render", nargs="+", type=Path, metavar="FILE", help="play nothing; take the results of these files"
    )
    parser.add_argument("--docs", action="store_true", help="rewrite the tables of docs/reliability.md")
    parser.add_argument("--keep", type=Path, help="directory for the logs of runs that fail")
    options = parser.parse_args(arguments)
    console = Console(stderr=True, highlight=False)
    if options.render:
        return render(options.render, console, DOCUMENT if options.docs else None)
    if options.only and options.docs and not (options.add and options.out.exists()):
        parser.error(
            "--only with --docs would leave the tables with these scenarios alone: give --add to keep the results that "
            f"{options.out} has, or write the tables of several files by --render FILE ... --docs"
        )
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
