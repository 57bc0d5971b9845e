"""Latency: from the moment a call was to be sent until its decision can be read, at steady rates.

One process sends and reads, on the broker's core. A record counts from the moment it was *due*, not from when
it left, so that a stall shows in every record it delayed; the same is given from the broker's stamp. Rates are
events a second, some 43 % of which are calls. Programs alternate (A B B A); samples of a program's runs are
pooled, and the ratio of two p99 is given for each pair of runs too. Revocations (``--revocations``) are read as
well, with both stages in the worker: from the call that caused one until it can be read.
"""

from __future__ import annotations

import argparse
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from benchmarks import results
from benchmarks.load import Message, Steady, call_of, endless
from benchmarks.rig import PARTITIONS, Program, Rig
from stream.events import DECISIONS, REVOCATIONS
from stream.settings import Settings
from stream.shell.outputs import claims_of

PROGRAMS = ("driftline", "confluent")
RATES = (200.0, 1000.0)
SECONDS = 12.0
REPEATS = 4
LOAD_SHARES = (0.5, 0.8)
LOAD_REPEATS = 2
REVOKED_SECONDS = 30.0
REVOKED_HIJACKED = 0.6
"""More hijacked sessions than in life where revocations are timed: a p99 needs a hundred of them at the lowest rate too."""
LEAD_S = 3.0
"""Sent before the first record that counts: connections, caches, the first checkpoint."""


class Reader(threading.Thread):
    """Notes when each record of some topics could be read, and what `keep` makes of its value."""

    def __init__(
        self, settings: Settings, bases: Sequence[str], keep: Callable[[bytes], bytes] = bytes
    ) -> None:
        super().__init__(daemon=True)
        self._keep = keep
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.bootstrap,
                "group.id": f"{settings.prefix}latency",
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )
        self._names = {settings.topic(base): base for base in bases}
        self._consumer.assign(
            [TopicPartition(name, n, 0) for name in self._names for n in range(settings.partitions)]
        )
        self.seen: dict[str, list[tuple[float, bytes]]] = {base: [] for base in bases}
        self.halt = threading.Event()

    def run(self) -> None:
        """Read until `halt` is set."""
        while not self.halt.is_set():
            message = self._consumer.poll(0.1)
            if message is not None and not message.error():
                now = time.time()
                self.seen[self._names[message.topic()]].append((now, self._keep(message.value())))
        self._consumer.close()

    def first(self, base: str) -> int:
        """How many records of a topic were read."""
        return len(self.seen[base])


def observed(
    rig: Rig,
    settings: Settings,
    program: Program,
    reader: Reader,
    source: Iterator[Message],
    rate: float,
    seconds: float,
) -> dict[str, list[float]]:
    """Latencies in seconds of one program at one rate; waits until everything sent was decided."""
    before = {base: reader.first(base) for base in reader.seen}
    cpu, began = program.cpu_s(), time.monotonic()
    sender = Steady(settings, source, rate, LEAD_S + seconds)
    sender.start()
    sender.join()
    busy = (program.cpu_s() - cpu) / (time.monotonic() - began)
    rig.wait(lambda: reader.first(DECISIONS) - before[DECISIONS] >= len(sender.due), [program], limit_s=60)
    if REVOCATIONS in reader.seen:
        time.sleep(1.0)
    starts = min(sender.due.values()) + LEAD_S
    found: dict[str, list[float]] = {"due": [], "stamp": [], "revoked": [], "ended": []}
    caused: dict[str, float] = {}
    for at, value in reader.seen[DECISIONS][before[DECISIONS] :]:
        call = call_of(value)
        due = sender.due.get(call)
        if due is None or due < starts:
            continue
        found["due"].append(at - due)
        found["stamp"].append(at - sender.stamps[call])
        if b'"verdict":"revoke"' in value:
            caused.setdefault(call.rsplit(":", 1)[0], due)
    for at, value in reader.seen.get(REVOCATIONS, [])[before.get(REVOCATIONS, 0) :]:
        for session, ended in sessions_of(value):
            due = (sender.ends if ended else caused).get(session)
            if due is not None and due >= starts:
                found["ended" if ended else "revoked"].append(at - due)
    found["late"] = [sender.late_s]
    found["busy"] = [busy]
    return found


def sessions_of(token: bytes) -> list[tuple[str, bool]]:
    """The sessions whose credentials a revocation kills, and whether because they ended."""
    (event,) = claims_of(token)["events"].values()
    routine = event["driftline_cause"] == "ended"
    return [(item["value"], routine) for item in event["driftline_credentials"]]


def measure(
    rig: Rig, name: str, rates: Sequence[float], seconds: float, *, partitions: int, revocations: bool
) -> dict[float, dict[str, list[float]]]:
    """One program, started once, at each rate in turn."""
    settings = rig.settings(partitions=partitions)
    reader = Reader(settings, [DECISIONS, REVOCATIONS] if revocations else [DECISIONS])
    reader.start()
    source = endless(1, hijacked=REVOKED_HIJACKED if revocations else 0.1, at_once=100)
    found = {}
    with rig.start(name, settings, stage="both" if revocations else "judge") as program:
        group = "act" if revocations else "judge"
        rig.await_members(settings, [program])
        rig.await_members(settings, [program], group)
        for rate in rates:
            results.console.print(f"[dim]{name}: {rate:,.0f} events/s for {seconds:.0f} s[/]")
            found[rate] = observed(rig, settings, program, reader, source, rate, seconds)
        program.stop()
    reader.halt.set()
    reader.join()
    return found


def compare(
    rig: Rig,
    names: Sequence[str] = PROGRAMS,
    rates: Sequence[float] = RATES,
    seconds: float = SECONDS,
    repeats: int = REPEATS,
    partitions: int = PARTITIONS,
) -> dict[str, Any]:
    """Percentiles of each program at each rate, and the p99 ratios of driftline to each peer."""
    runs: dict[str, list[dict[float, dict[str, list[float]]]]] = {name: [] for name in names}
    for turn in range(repeats):
        for name in names if turn % 2 == 0 else names[::-1]:
            runs[name].append(measure(rig, name, rates, seconds, partitions=partitions, revocations=False))
    found: dict[str, Any] = {"seconds": seconds, "repeats": repeats, "rates": {}}
    for rate in rates:
        at: dict[str, Any] = {}
        for name in names:
            each = [run[rate] for run in runs[name]]
            at[name] = {
                "due": results.latencies(itertools.chain.from_iterable(run["due"] for run in each)),
                "stamp": results.latencies(itertools.chain.from_iterable(run["stamp"] for run in each)),
                "p99_of_runs": results.spread(results.latencies(run["due"])["p99"] for run in each),
                "cores": results.spread(run["busy"][0] for run in each),
                "sender_late_ms": max(1000 * run["late"][0] for run in each),
            }
        for name in names:
            if name != "driftline" and "driftline" in at:
                pairs = zip(runs["driftline"], runs[name], strict=True)
                at[name]["p99_ratio"] = results.spread(
                    results.latencies(a[rate]["due"])["p99"] / results.latencies(b[rate]["due"])["p99"]
                    for a, b in pairs
                )
        found["rates"][str(round(rate))] = at
    return found


def under_load(
    rig: Rig,
    maximum: float,
    seconds: float = SECONDS,
    repeats: int = LOAD_REPEATS,
    partitions: int = PARTITIONS,
) -> dict[str, Any]:
    """The worker alone, at shares of the most that it judges."""
    rates = [share * maximum for share in LOAD_SHARES]
    return compare(rig, ["driftline"], rates, seconds, repeats, partitions)


def revocations(
    rig: Rig,
    rates: Sequence[float] = RATES,
    seconds: float = REVOKED_SECONDS,
    partitions: int = PARTITIONS,
) -> dict[str, Any]:
    """Produced to revoked beside produced to decided, in the worker with both stages."""
    found = {}
    for rate, run in measure(
        rig, "driftline", rates, seconds, partitions=partitions, revocations=True
    ).items():
        decided, revoked = results.latencies(run["due"]), results.latencies(run["revoked"])
        found[str(round(rate))] = {
            "decided": decided,
            "revoked": revoked,
            "ended": results.latencies(run["ended"]),
            "p99_ratio": revoked["p99"] / decided["p99"] if revoked["n"] else None,
        }
    return found


COLUMNS = (
    "events/s",
    "program",
    "p50 ms",
    "p90",
    "p99",
    "p99.9",
    "p99 from stamp",
    "cores",
    "driftline's p99 is ×",
)
REVOKED_COLUMNS = ("events/s", "to", "n", "p50 ms", "p99", "p99 is × decided")


def rows(found: dict[str, Any]) -> list[list[str]]:
    """The table of `compare`."""
    return [
        [
            f"{int(rate):,}",
            name,
            results.cell(each["due"]["p50"], 1),
            results.cell(each["due"]["p90"], 1),
            results.cell(each["due"]["p99"], 1),
            results.cell(each["due"]["p999"], 1),
            results.cell(each["stamp"]["p99"], 1),
            results.cell(each["cores"]["median"], 2),
            results.cell(each["p99_ratio"], 2) if "p99_ratio" in each else "",
        ]
        for rate, at in found["rates"].items()
        for name, each in at.items()
    ]


def revoked_rows(found: dict[str, Any]) -> list[list[str]]:
    """The table of `revocations`."""
    table = []
    for rate, at in found.items():
        for label, name in (
            ("decision", "decided"),
            ("revocation", "revoked"),
            ("revocation at an end", "ended"),
        ):
            each = at[name]
            if each["n"]:
                ratio = each["p99"] / at["decided"]["p99"]
                table.append(
                    [
                        f"{int(rate):,}",
                        label,
                        f"{each['n']:,}",
                        results.cell(each["p50"], 1),
                        results.p99(each),
                        results.cell(ratio, 2) if name != "decided" and each["n"] >= 100 else "",
                    ]
                )
    return table


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rates", default=",".join(f"{rate:g}" for rate in RATES))
    parser.add_argument("--loops", default=",".join(PROGRAMS))
    parser.add_argument(
        "--seconds", type=float, help=f"default: {SECONDS:g}; for revocations {REVOKED_SECONDS:g}"
    )
    parser.add_argument("--repeats", type=int, help=f"default: {REPEATS}; with --maximum {LOAD_REPEATS}")
    parser.add_argument("--partitions", type=int, default=PARTITIONS)
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument(
        "--maximum", type=float, help="the worker's most events/s: the worker alone at 50 %% and 80 %% of it"
    )
    kinds.add_argument("--revocations", action="store_true", help="produced to revoked only")
    options = parser.parse_args()
    rates = [float(rate) for rate in options.rates.split(",")]
    seconds = options.seconds or SECONDS
    columns, table = COLUMNS, rows
    with Rig() as rig:
        if options.revocations:
            name, title = "revocations", "Produced to revoked"
            columns, table = REVOKED_COLUMNS, revoked_rows
            found = revocations(rig, rates, options.seconds or REVOKED_SECONDS, options.partitions)
        elif options.maximum:
            name, title = "load", "Produced to decision readable, under load"
            repeats = options.repeats or LOAD_REPEATS
            found = under_load(rig, options.maximum, seconds, repeats, options.partitions)
        else:
            name, title = "latency", "Produced to decision readable"
            repeats = options.repeats or REPEATS
            found = compare(rig, options.loops.split(","), rates, seconds, repeats, options.partitions)
    results.merge(name, found)
    results.show(title, columns, table(found))


if __name__ == "__main__":
    main()
