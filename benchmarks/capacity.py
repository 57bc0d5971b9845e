"""A million open sessions and 100,000 events a second: the plan's arithmetic, and a simulation of its queues.

No machine here can run that load, so it is computed from unit costs that are measured: CPU of an event in core
and shell and of a case in act, bytes in and out, bytes of a state, seconds to recover one (``build/bench.json``
after ``make bench``, else what ``docs/capacity.md`` keeps of the last; the rest is measured here). The simulation draws a million session ids, spreads them by
Kafka's own murmur2 over the partitions, gives each session a rate of its own (lognormal: a few are far busier than the mean),
deals the partitions out to workers, and lets batches queue in steps of 20 ms. After a minute a worker dies: its
partitions stand still for the session's timeout and the recovery, then their new owners catch up.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks import results
from benchmarks.load import messages
from models.session import Tombstone, load
from stream import bootstrap
from stream.core.partition import Partition
from stream.events import CASES, CORE, DECISIONS, EVENTS, Record, murmur2
from stream.settings import Settings

SIGMA = 1.0
"""Spread of the sessions' rates (standard deviation of their logarithm): the busiest of a million do 90 times the mean."""
BURST = 0.3
"""Relative swing of a partition's rate from second to second, beyond Poisson's."""
STEP_S = 0.02
BASE_S = 0.01
"""Fetch, confirmation and reading: what a decision takes when nothing waits (p50 of the latency table)."""
OBJECT_BYTES = 1_400
"""What Python takes for a session that is held, beside its packed bytes: 100,000 loaded states of 2.5 kB make a process
387 MB larger."""
ID_BYTES = 370
"""... for the id of a finished one: 200,000 loaded tombstones of 259 bytes make it 126 MB larger."""
CALM = 0.75
"""Load of the fullest worker below which a decision waits for its client alone (the simulated table)."""
PAGE = results.ROOT / "docs" / "capacity.md"
TIMEOUT_S = 10.0
DIES_AT_S, LENGTH_S = 60.0, 180.0


def units() -> dict[str, float]:
    """Unit costs: by the other benchmarks where they ran, by the page where they did not, the rest measured here."""
    settings = Settings()
    judge, actor = bootstrap.judge(settings, mode="enforce"), bootstrap.actor(settings)
    partition = Partition.empty()
    log = [
        Record(EVENTS, 0, n, 1_780_000_000_000, "append", item.key, (), item.value)
        for n, item in enumerate(messages(1, 3000))
    ]
    out: dict[str, int] = {}
    cases: list[Record] = []
    for start in range(0, len(log), 500):
        step = judge.judge(partition, log[start : start + 500])
        partition.apply(step.changes)
        for output in step.outputs:
            out[output.topic] = out.get(output.topic, 0) + len(output.value) + len(output.key)
            if output.topic == CASES:
                cases.append(
                    Record(CASES, 0, len(cases), 0, "append", output.key, output.headers, output.value)
                )
    began = time.process_time()
    acted = actor.act(cases)
    act = 1e6 * (time.process_time() - began) / len(cases)
    tombs = [len(raw) for raw in partition.states.values() if isinstance(_state(raw), Tombstone)]
    return {
        **kept(),
        **measured(results.read()),
        "act_us": act,
        "events_per_session": len(log) / 3000,
        "cases_per_event": len(cases) / len(log),
        "in_bytes": sum(len(r.value or b"") + len(r.key or b"") for r in log) / len(log),
        "decision_bytes": out[DECISIONS] / len(log),
        "case_bytes": out[CASES] / len(log),
        "act_bytes": sum(len(o.value) + len(o.key) for o in acted) / len(log),
        "tombstone_bytes": sum(tombs) / len(tombs),
    }


def kept() -> dict[str, float]:
    """The unit costs that the page holds, by name.

    >>> sorted(kept()) == sorted(TOLD)
    True
    """
    found = {row[0]: float(row[1].split()[0].replace(",", "")) for row in results.rows_between(PAGE, "units")}
    return {name: found[what] for name, (_, what) in TOLD.items()}


def measured(report: Mapping[str, Any]) -> dict[str, float]:
    """The unit costs that other benchmarks found and left in their report; those that did not run give none."""
    found: dict[str, float] = {}
    if "throughput" in report:
        judged = report["throughput"]["programs"]["driftline"]
        found |= {
            "judge_us": judged["cpu_us_per_event"]["median"],
            "broker_us": judged["broker_us_per_event"]["median"],
        }
    if "recovery" in report:
        recovered = report["recovery"]
        found |= {
            "state_bytes": recovered["state_bytes_mean"] + 60,
            "recover_us": 1e6 * recovered["ready_s"]["median"] / recovered["sessions"],
            "rewrite_us": 1e6 * recovered["first_checkpoint_s"]["median"] / recovered["sessions"],
        }
    return found


def _state(raw: bytes) -> Any:
    try:
        return load(raw)
    except Exception:  # a catalogue or the ledger
        return None


def touched(sessions: float, events: float) -> float:
    """Different sessions among `events` records of `sessions` equally busy ones.

    >>> round(touched(1_000_000, 200_000))
    181269
    """
    return sessions * (1 - math.exp(-events / sessions))


def shares(sessions: int, partitions: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Share of the load and number of sessions of each partition, by murmur2 of a million ids."""
    place = np.fromiter(
        ((murmur2(f"session-{seed}-{n:07d}".encode()) & 0x7FFFFFFF) % partitions for n in range(sessions)),
        np.int64,
        sessions,
    )
    rates = np.random.default_rng(seed).lognormal(0, SIGMA, sessions)
    load_ = np.bincount(place, rates, partitions)
    return load_ / load_.sum(), np.bincount(place, minlength=partitions)


def queues(
    part: np.ndarray, held: np.ndarray, workers: int, rate: float, unit: dict[str, float], seed: int
) -> dict[str, float]:
    """Waits before and after a worker dies.

    Parameters
    ----------
    part, held : arrays of shape (partitions,)
        Share of the load, and states to recover.
    workers : int
        One core each; partitions are dealt out evenly by number, as Kafka's assignors do.
    rate : float
        Events a second of all.
    """
    rng = np.random.default_rng(seed)
    owner = np.arange(len(part)) % workers
    capacity = STEP_S / (unit["judge_us"] / 1e6)
    backlog = np.zeros(len(part))
    frozen = np.zeros(len(part))  # until this time nobody judges the partition
    waits: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"before": [], "after": []}
    swing = np.ones(len(part))
    drained = math.inf
    worst = 0.0
    for n in range(int(LENGTH_S / STEP_S)):
        now = n * STEP_S
        if n % int(1 / STEP_S) == 0:
            swing = np.clip(rng.normal(1, BURST, len(part)), 0, None)
        if abs(now - DIES_AT_S) < STEP_S / 2:
            lost = owner == 0
            load_of = np.bincount(owner, part, workers)
            load_of[0] = math.inf
            for place in np.flatnonzero(lost):  # to whoever has least
                owner[place] = int(load_of.argmin())
                load_of[owner[place]] += part[place]
            # A new owner recovers its partitions together, then goes on; it judges while it writes their states.
            for place in np.flatnonzero(lost):
                mine = lost & (owner == owner[place])
                frozen[place] = now + TIMEOUT_S + held[mine].sum() * unit["recover_us"] / 1e6
        arrived = rng.poisson(part * rate * STEP_S * swing)
        backlog += arrived
        ready = frozen <= now
        asked = np.where(ready, backlog, 0.0)
        total = np.bincount(owner, asked, workers)
        served = asked * np.minimum(1.0, capacity / np.maximum(total, 1e-9))[owner]
        # Who arrives now waits until what is before it, in its worker, is judged.
        wait = BASE_S + np.where(
            ready, total[owner] / capacity * STEP_S, frozen - now + backlog / capacity * STEP_S
        )
        waits["before" if now < DIES_AT_S else "after"].append((wait, arrived))
        backlog -= served
        if now > DIES_AT_S:
            worst = max(worst, float(wait.max()))
            if drained == math.inf and ready.all() and backlog.max() < rate * part.max():
                drained = now - DIES_AT_S

    def quantile(name: str, share: float) -> float:
        values = np.concatenate([w for w, _ in waits[name]])
        weights = np.concatenate([a for _, a in waits[name]])
        order = values.argsort()
        at = np.searchsorted(np.cumsum(weights[order]), share * weights.sum())
        return float(values[order][min(at, len(values) - 1)])

    load_of = np.bincount(np.arange(len(part)) % workers, part, workers) * rate * unit["judge_us"] / 1e6
    return {
        "busiest": float(load_of.max()),
        "mean": float(load_of.mean()),
        "p50_ms": 1000 * quantile("before", 0.5),
        "p99_ms": 1000 * quantile("before", 0.99),
        "worst_s": worst,
        "p99_after_s": quantile("after", 0.99),
        "drained_s": drained,
    }


def plan(
    sessions: int, rate: float, partitions: int, unit: dict[str, float], checkpoint_s: float
) -> dict[str, float]:
    """The arithmetic: cores, bytes a second, bytes held."""
    ended = rate / unit["events_per_session"]
    states = touched(sessions, rate * checkpoint_s) / checkpoint_s
    tombs = min(200_000 * partitions, ended * 86_400)
    return {
        "judge_cores": rate * unit["judge_us"] / 1e6,
        "act_cores": rate * unit["cases_per_event"] * unit["act_us"] / 1e6,
        "in_mb_s": rate * unit["in_bytes"] / 1e6,
        "decisions_mb_s": rate * unit["decision_bytes"] / 1e6,
        "cases_mb_s": rate * unit["case_bytes"] / 1e6,
        "act_mb_s": rate * unit["act_bytes"] / 1e6,
        "state_records_s": states,
        "state_mb_s": states * unit["state_bytes"] / 1e6,
        "sessions_ended_s": ended,
        "open_gb": sessions * unit["state_bytes"] / 1e9,
        "tombstones": tombs,
        "tombstone_gb": tombs * unit["tombstone_bytes"] / 1e9,
        "tombstone_hours": tombs / ended / 3600,
    }


PLAN_COLUMNS = ("checkpoint every", "state records/s", "state MB/s", "all topics MB/s", "× 3 replicas MB/s")
UNIT_COLUMNS = ("unit", "measured", "core, day")
QUEUE_COLUMNS = (
    "workers (cores)",
    "busy, mean",
    "busy, fullest",
    "p50 ms",
    "p99 ms",
    "a worker dies: longest wait s",
    "caught up after s",
)


BY_OTHERS = {
    "judge_us": "throughput",
    "broker_us": "throughput",
    "state_bytes": "recovery",
    "recover_us": "recovery",
    "rewrite_us": "recovery",
}
"""The section of ``build/bench.json`` that a unit comes from, of those not measured here."""


TOLD = {
    "judge_us": ("µs", "CPU of an event, core and shell"),
    "broker_us": ("µs", "CPU of an event on the broker, one replica"),
    "act_us": ("µs", "CPU of a case in act, signatures included"),
    "events_per_session": ("", "events of a session"),
    "cases_per_event": ("", "cases to an event (each session ends with one)"),
    "in_bytes": ("B", "an event's key and value"),
    "decision_bytes": ("B", "decisions, to an event"),
    "case_bytes": ("B", "cases, to an event"),
    "act_bytes": ("B", "alerts and tokens, to an event"),
    "state_bytes": ("B", "an open session's state record"),
    "tombstone_bytes": ("B", "a finished session's"),
    "recover_us": ("µs", "reading and loading one state"),
    "rewrite_us": ("µs", "writing one state as its new owner"),
}
"""Symbol of each unit, and what the page says that it is of."""
DIGITS = {"cases_per_event": 3, "events_per_session": 1}


def unit_rows(unit: Mapping[str, float], runs: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """The unit costs, what they are of, and of which core and day.

    Those that another benchmark measures are of its run in `runs`, or, where it did not run, of the page's.
    """
    page = {row[0]: row[2] for row in results.rows_between(PAGE, "units")}
    here = {"core": CORE, "date": results.today()}
    table = []
    for name, (symbol, what) in TOLD.items():
        run = runs.get(BY_OTHERS[name]) if name in BY_OTHERS else here
        table.append(
            [
                what,
                f"{results.cell(unit[name], DIGITS.get(name, 0))} {symbol}".strip(),
                f"{run['core']}, {run['date']}" if run else page[what],
            ]
        )
    return table


def main() -> None:
    """Compute, simulate, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=100_000)
    parser.add_argument("--partitions", type=int, default=128)
    parser.add_argument(
        "--workers",
        default="",
        help="numbers of workers; default: from the judge's cores, and one to a partition",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--docs", action="store_true", help="write the tables of docs/capacity.md")
    parser.add_argument(
        "--kept",
        action="store_true",
        help="compute with the unit costs that docs/capacity.md holds; measure nothing",
    )
    options = parser.parse_args()
    unit = kept() if options.kept else units()
    plans = {s: plan(options.sessions, options.rate, options.partitions, unit, s) for s in (2.0, 10.0, 30.0)}
    cores = plans[2.0]["judge_cores"]
    counts = (
        [int(n) for n in options.workers.split(",")]
        if options.workers
        else sorted({math.ceil(cores * f) for f in (1.15, 1.4, 1.7, 2.0)} | {options.partitions})
    )
    part, states = shares(options.sessions, options.partitions, options.seed)
    held = states + min(200_000, plans[2.0]["tombstones"] / options.partitions)
    simulated = {n: queues(part, held, n, options.rate, unit, options.seed) for n in counts}
    results.merge(
        "capacity",
        {
            "units": unit,
            "plans": plans,
            "simulated": simulated,
            "skew": float(part.max() * options.partitions),
            "sessions_of_the_fullest": int(states.max()),
        },
    )
    fixed = ("in_mb_s", "decisions_mb_s", "cases_mb_s", "act_mb_s")
    plan_rows = [
        [
            f"{every:.0f} s",
            results.cell(one["state_records_s"]),
            results.cell(one["state_mb_s"]),
            results.cell(total := one["state_mb_s"] + sum(one[name] for name in fixed)),
            results.cell(3 * total),
        ]
        for every, one in plans.items()
    ]
    queue_rows = [
        [
            str(n),
            f"{100 * one['mean']:.0f} %",
            f"{100 * one['busiest']:.0f} %",
            results.cell(one["p50_ms"]),
            results.cell(one["p99_ms"]),
            results.cell(one["worst_s"], 1),
            results.cell(one["drained_s"], 0) if one["drained_s"] < math.inf else "not within two minutes",
        ]
        for n, one in simulated.items()
    ]
    first = plans[2.0]
    calm = next((n for n, one in simulated.items() if one["busiest"] < CALM), None)
    if calm is None:
        sys.exit(
            f"the fullest worker is above {100 * CALM:.0f} % with any of {counts} workers: plan with more --partitions"
        )
    objects = (options.sessions * OBJECT_BYTES + first["tombstones"] * ID_BYTES) / 1e9
    totals = [
        ["judge", f"{first['judge_cores']:.1f} cores"],
        ["act", f"{first['act_cores']:.1f} cores"],
        ["events in", f"{first['in_mb_s']:.0f} MB/s"],
        ["decisions", f"{first['decisions_mb_s']:.0f} MB/s"],
        ["cases", f"{first['cases_mb_s']:.0f} MB/s"],
        ["alerts and tokens", f"{first['act_mb_s']:.0f} MB/s"],
        ["sessions that end", f"{first['sessions_ended_s']:,.0f} a second"],
        ["open sessions, packed", f"{first['open_gb']:.1f} GB"],
        [
            "ids remembered",
            f"{first['tombstones'] / 1e6:,.1f} million, {first['tombstone_gb']:.1f} GB, the last {first['tombstone_hours']:.1f} hours",
        ],
        [
            "fullest of the partitions",
            f"{part.max() * options.partitions:.2f} times the mean load, {states.max():,} sessions",
        ],
        [
            "a partition, on average",
            f"{options.rate / options.partitions:,.0f} events/s, {cores / options.partitions:.2f} of a core",
        ],
        [
            f"one of {calm} workers",
            f"{options.sessions / calm:,.0f} open sessions, {first['tombstones'] / calm / 1e6:.1f} million ids, "
            f"{(first['open_gb'] + first['tombstone_gb'] + objects) / calm:.1f} GB",
        ],
    ]
    tables = {
        **({} if options.kept else {"units": (UNIT_COLUMNS, unit_rows(unit, results.read()["runs"]))}),
        "totals": (("of all workers", "at full load"), totals),
        "network": (PLAN_COLUMNS, plan_rows),
        "simulated": (QUEUE_COLUMNS, queue_rows),
    }
    for name, (columns, rows) in tables.items():
        results.show(name, columns, rows)
        if options.docs:
            results.write_between(PAGE, name, results.markdown(columns, rows))


if __name__ == "__main__":
    main()
