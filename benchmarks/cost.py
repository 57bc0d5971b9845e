"""What an event costs beside the decoding of its JSON, core by core: ``make cost``.

Each chunk of a log is decoded by ``orjson`` and then judged, round after round in several processes; of both the least CPU
time of each chunk counts, which leaves out most of what other programs on the machine do to it.
``make cost`` holds it against the line of this core in ``docs/performance.md`` (that of the last core where there is none
yet), and ``make cost WRITE=1`` writes the line. ``make cost CALLS=1`` holds the calls alone, which are the same on any machine.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

import orjson

from benchmarks import results
from benchmarks.core import generated, recorded
from stream import bootstrap
from stream.core.partition import Partition
from stream.events import CORE, Record
from stream.offline import generate
from stream.settings import Settings

PAGE = results.ROOT / "docs" / "performance.md"
ADRS = results.ROOT / "docs" / "adr"
MARK = "cost"
COLUMNS = ("core", "generated, × decode", "calls", "recorded, × decode", "calls", "day", "bought by")
LOADS = ("generated", "recorded")
MORE = {"calls": 1.10, "decodings": 1.25}
"""So many times what is recorded is too much. Calls are exact; of two runs with the core to themselves one took 16 % more CPU."""
SESSIONS, EVENTS = 40, 600
"""Generated sessions, and events of recorded ones, that are judged."""
RESULT_CHARS = 600
"""Characters of a generated result, as in the load of the other benchmarks."""
CHUNK = 20
"""Events that are judged at once: so few that some of a chunk's rounds are not disturbed."""
PROCESSES, ROUNDS = 5, 3
"""Processes one after the other, since one by itself is up to a tenth faster or slower all along, and the rounds of each."""
TRIES = 3
"""A ratio that is too high is measured again so often: what disturbs a machine only adds."""
BUSY = 1.1
"""A run that took so many times its CPU time shared its core: what its caches lost to others counts as its own, so only calls are held."""
Spent = list[tuple[int, int]]
"""CPU ns of each chunk, decoded and judged."""


class Cost(NamedTuple):
    """CPU µs of an event, judged and decoded, the calls of functions that it takes, and the time by the clock over that by CPU."""

    judged: float
    decoded: float
    calls: float
    by_clock: float = 1.0

    @property
    def ratio(self) -> float:
        """How many decodings an event costs."""
        return self.judged / self.decoded


class Held(NamedTuple):
    """What is on record of an event: its ratio and its calls."""

    ratio: float
    calls: float


def records_of(load: str) -> list[Record]:
    """The events of a log."""
    if load == "recorded":
        return recorded(EVENTS)
    return generated(SESSIONS, generate.Profile(result_chars=RESULT_CHARS))


def rounds(load: str) -> tuple[list[Spent], int]:
    """What each chunk of a log takes, round by round, and the calls of one more round; what is read before is remembered."""
    records = records_of(load)
    chunks = [records[at : at + CHUNK] for at in range(0, len(records), CHUNK)]
    judge = bootstrap.judge(Settings(), mode="enforce")
    bootstrap.spare_the_collector()
    found: list[Spent] = []
    for _ in range(ROUNDS + 1):
        partition, spent = Partition.empty(), []
        for chunk in chunks:
            values = [record.value or b"" for record in chunk]
            _decode(values)  # what just came is in the processor's cache
            began = time.process_time_ns()
            _decode(values)
            decoded = time.process_time_ns()
            partition.apply(judge.judge(partition, chunk).changes)
            spent.append((decoded - began, time.process_time_ns() - decoded))
        found.append(spent)
    partition, profile = Partition.empty(), cProfile.Profile()
    for chunk in chunks:
        step = profile.runcall(judge.judge, partition, chunk)
        partition.apply(step.changes)
    return found[1:], sum(each.callcount for each in profile.getstats())


def _decode(values: Sequence[bytes]) -> None:
    for value in values:
        orjson.loads(value)


def timed(load: str) -> tuple[list[Spent], int, float]:
    """`rounds`, and the time by the clock over that by CPU."""
    clock, cpu = time.monotonic(), time.process_time()
    found, calls = rounds(load)
    return found, calls, (time.monotonic() - clock) / (time.process_time() - cpu)


def measured(load: str, processes: int = PROCESSES) -> Cost:
    """What an event of a log costs, the least of several rounds of several processes, chunk by chunk."""
    found: list[Spent] = []
    by_clock = []
    for _ in range(processes):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
            spent, calls, share = fresh.submit(timed, load).result()
        found += spent
        by_clock.append(share)
    decoded, judged = (
        sum(min(spent[of] for spent in chunk) for chunk in zip(*found, strict=True)) for of in (0, 1)
    )
    n = len(records_of(load))
    return Cost(judged / n / 1000, decoded / n / 1000, calls / n, statistics.median(by_clock))


def reference(rows: Sequence[Sequence[str]], core: str = CORE) -> dict[str, Held]:
    """What to hold against: the line of `core`, else of the last core that has one; nothing where no line is.

    >>> reference([["42", "90", "1", "100", "2", "", ""], ["43", "80", "700", "99", "900", "", ""]], "44")
    {'generated': Held(ratio=80.0, calls=700.0), 'recorded': Held(ratio=99.0, calls=900.0)}
    """
    row = next((row for row in rows if row[0] == core), rows[-1] if rows else None)
    if row is None:
        return {}
    return {load: Held(*map(float, row[1 + 2 * n : 3 + 2 * n])) for n, load in enumerate(LOADS)}


def too_much(load: str, cost: Cost, held: Held) -> list[str]:
    """In what an event costs too much, in words.

    >>> too_much("generated", Cost(260.0, 2.0, 800.0), Held(100.0, 800.0))
    ['generated: an event costs 130.0 decodings, 30 % more than the 100.0 on record']
    >>> too_much("generated", Cost(230.0, 2.0, 900.0, by_clock=1.4), Held(100.0, 800.0))
    ['generated: an event costs 900.0 calls, 12 % more than the 800.0 on record']
    """
    found = {"calls": (cost.calls, held.calls)}
    if cost.by_clock < BUSY:
        found["decodings"] = (cost.ratio, held.ratio)
    return [
        f"{load}: an event costs {now:.1f} {what}, {100 * now / then - 100:.0f} % more than the {then:.1f} on record"
        for what, (now, then) in found.items()
        if now > MORE[what] * then
    ]


def least_of(load: str, held: Held | None) -> Cost:
    """What an event of a log costs; where it seems too much, the least of several measurements."""
    costs = [measured(load)]
    while held is not None and len(costs) < TRIES and too_much(load, costs[-1], held):
        costs.append(measured(load))
    least = min(costs, key=lambda each: (each.by_clock >= BUSY, each.ratio))
    print(
        f"{load}: {least.judged:.0f} µs an event, {least.decoded:.2f} decoded: {least.ratio:.1f} decodings, {least.calls:.1f} calls"
    )
    if least.by_clock >= BUSY:
        print(f"{load}: NOT HELD, decodings: others had the core for a part of the time; calls alone are")
    return least


def calls_of(load: str) -> Cost:
    """The calls that an event of a log takes; its time, of one process, is told and not held."""
    cost = measured(load, processes=1)
    print(f"{load}: {cost.calls:.1f} calls; {cost.ratio:.1f} decodings in one process, which are not held")
    # As after a run that shared its core: of that, too, calls alone are held.
    return cost._replace(by_clock=BUSY)


def line(found: Mapping[str, Cost], bought: str, core: str = CORE) -> list[str]:
    """The line of a core."""
    figures = [text for load in LOADS for text in (f"{found[load].ratio:.1f}", f"{found[load].calls:.1f}")]
    return [core, *figures, results.today(), bought]


def bought_by(adr: str | None) -> str:
    """A link to the decision of a number; ends the program where there is none."""
    if adr is None:
        return ""
    named = sorted(ADRS.glob(f"{adr}-*.md"))
    if not named:
        sys.exit(f"docs/adr has no decision {adr}: write down what was bought first")
    return f"[ADR {adr}](adr/{named[0].name})"


def main() -> int:
    """Measure, and hold against what is recorded or record it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--write", action="store_true", help="write the line of this core")
    only.add_argument(
        "--calls",
        action="store_true",
        help="hold the calls alone, as CI does: a quarter of a minute, on any machine",
    )
    parser.add_argument("--adr", help="number of the decision that says what a dearer event bought")
    asked = parser.parse_args()
    if not os.environ.get("DRIFTLINE_DATA"):
        sys.exit("NOT RUN: DRIFTLINE_DATA is not set; it must name the directory of recorded sessions")
    bought = bought_by(asked.adr)
    rows = results.rows_between(PAGE, MARK)
    held = reference(rows)
    if not held and not asked.write:
        print("no cost of an event is on record: write it with make cost WRITE=1", file=sys.stderr)
        return 1
    found = {load: calls_of(load) if asked.calls else least_of(load, held.get(load)) for load in LOADS}
    dear = [told for load, cost in found.items() if held for told in too_much(load, cost, held[load])]
    if dear and not (asked.write and bought):
        print(*dear, sep="\n", file=sys.stderr)
        print(
            "mend it, or say in a decision (docs/adr) what was bought, and record it: make cost WRITE=1 ADR=number",
            file=sys.stderr,
        )
        return 1
    if held and not dear:
        print(f"within {100 * MORE['calls'] - 100:.0f} % of the calls on record")
    if asked.write:
        results.write_between(
            PAGE, MARK, results.markdown(COLUMNS, results.renewed(rows, [line(found, bought)]))
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
