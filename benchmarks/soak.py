"""Soak: hours at a steady load; memory must stay flat and latency stable.

The worker runs both stages. Every few seconds its resident memory is read, every decision is timed from the
moment its call was due. What may grow by design is made to reach its bound soon: sessions end, ids of finished
sessions are forgotten after two minutes instead of a day (``tombstone_hours`` of a policy made for the run), and a
burst of `BURST` records at once, far more than one fetch of all partitions holds, fills the buffers early; so that
after a third of the run, and five minutes, nothing may grow. ``--check`` fails when, over the rest, memory rises by
more than `RSS_MB_PER_HOUR` **and** `RSS_SHARE` of what it was, or when the p99 of a minute in the last third is, in the
median, more than `P99_DRIFT` times that of a minute in the middle third and more than `P99_SLACK_MS` above it: a machine
that stands still for a moment spoils one minute, a worker that slows down all of them.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Iterable
from statistics import median
from typing import Any

import yaml

from benchmarks import results
from benchmarks.latency import Reader, call_of
from benchmarks.load import Steady, endless, event_count, preload
from benchmarks.rig import PARTITIONS, ROOT, Program, Rig
from stream.events import DECISIONS

RSS_MB_PER_HOUR = 24.0
RSS_SHARE = 0.03
"""Of the memory at the beginning of the judged part, over its length: below it a slope is allocator noise."""
P99_DRIFT = 1.5
P99_SLACK_MS = 50.0
TOMBSTONE_HOURS = 2 / 60
WARM_S = 300.0
"""Before it memory is not judged: sessions of some three minutes, then ids remembered for two."""
BURST = 30_000
BURST_AT_S = 120.0
EVERY_S = 5.0


class Sampler(threading.Thread):
    """Reads the worker's memory and CPU every `EVERY_S`, and prints a line a minute."""

    def __init__(self, program: Program) -> None:
        super().__init__(daemon=True)
        self._program = program
        self.samples: list[tuple[float, float, float]] = []  # monotonic s, MB, CPU s
        self.halt = threading.Event()

    def run(self) -> None:
        """Sample until `halt` is set or the program is gone."""
        while not self.halt.wait(EVERY_S) and self._program.process.poll() is None:
            now = time.monotonic()
            self.samples.append((now, self._program.rss_bytes() / 1e6, self._program.cpu_s()))
            if len(self.samples) % round(60 / EVERY_S) == 0:
                first = self.samples[0]
                minutes = (now - first[0]) / 60
                results.console.print(f"[dim]{minutes:5.1f} min  {self.samples[-1][1]:7.1f} MB[/]")


def slope(points: list[tuple[float, float]]) -> float:
    """Least-squares slope of y over x.

    >>> slope([(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)])
    2.0
    """
    mx = sum(x for x, _ in points) / len(points)
    my = sum(y for _, y in points) / len(points)
    return sum((x - mx) * (y - my) for x, y in points) / sum((x - mx) ** 2 for x, _ in points)


def soak(rig: Rig, seconds: float, rate: float, partitions: int) -> dict[str, Any]:
    """One run; raises if the worker ends or does not decide everything."""
    policy = yaml.safe_load((ROOT / "stream" / "policy.yaml").read_text())
    policy.setdefault("limits", {})["tombstone_hours"] = TOMBSTONE_HOURS
    path = rig.directory / "policy.yaml"
    path.write_text(yaml.safe_dump(policy))
    settings = rig.settings(partitions=partitions, policy_path=path)
    reader = Reader(settings, [DECISIONS], keep=lambda value: call_of(value).encode())
    reader.start()
    with rig.start("driftline", settings, stage="both") as program:
        rig.await_members(settings, [program])
        rig.await_members(settings, [program], "act")
        sampler = Sampler(program)
        sender = Steady(settings, endless(1, at_once=200), rate, seconds)
        flood = event_count(min(BURST, int(rate * seconds / 20)), run="burst")
        burst = threading.Timer(min(BURST_AT_S, seconds / 6), preload, (settings, flood))
        burst.daemon = True
        began = time.monotonic()
        sender.start()
        sampler.start()
        burst.start()
        while sender.is_alive():
            sender.join(1.0)
            program.check()
        sampler.halt.set()
        burst.join()
        calls = len(sender.due) + sum(item.call is not None for item in flood)
        rig.wait(lambda: reader.first(DECISIONS) >= calls, [program], limit_s=60)
        code = program.stop()
    reader.halt.set()
    reader.join()
    if code != 0:
        raise RuntimeError(f"the worker stopped with {code}")
    first = min(sender.due.values())
    third = seconds / 3
    timed = [
        (due - first, at - due)
        for at, value in reader.seen[DECISIONS]
        if (due := sender.due.get(value.decode())) is not None
    ]
    middle, last = minutes(timed, third, 2 * third), minutes(timed, 2 * third, seconds)
    # A run too short to be warm is judged from its third on all the same.
    warm = max(third, WARM_S) if seconds > WARM_S + third / 2 else third
    flat = [(at - began, mb) for at, mb, _ in sampler.samples if at - began >= warm]
    per_s = slope(flat)
    return {
        "seconds": seconds,
        "rate": rate,
        "decisions": len(timed),
        "rss_mb_start": flat[0][1],
        "rss_mb_end": flat[-1][1],
        "rss_mb_per_hour": 3600 * per_s,
        "rss_growth_share": per_s * (flat[-1][0] - flat[0][0]) / flat[0][1],
        "cores": (sampler.samples[-1][2] - sampler.samples[0][2])
        / (sampler.samples[-1][0] - sampler.samples[0][0]),
        "middle": middle,
        "last": last,
        "sender_late_ms": 1000 * sender.late_s,
    }


def minutes(timed: Iterable[tuple[float, float]], start: float, end: float) -> dict[str, float]:
    """The p99 in ms of the minutes from `start` to `end`, a rest at the end left out: their median and the greatest.

    Parameters
    ----------
    timed : iterable of tuple of float
        When a call was due, in s since the beginning, and how many s its decision took.
    """
    by_minute: dict[int, list[float]] = {}
    for due, took in timed:
        if start <= due < start + 60 * max(1, (end - start) // 60):
            by_minute.setdefault(int((due - start) // 60), []).append(took)
    found = sorted(results.latencies(one)["p99"] for one in by_minute.values())
    return {"p99": median(found), "p99_most": found[-1]}


def complaints(
    found: dict[str, Any], ceiling_mb: float | None = None, slack_ms: float = P99_SLACK_MS
) -> list[str]:
    """Which of the bounds a run broke; with a ceiling, memory is held against that instead of its slope."""
    said = []
    if ceiling_mb is not None:
        if found["rss_mb_end"] > ceiling_mb:
            said.append(f"memory reached {found['rss_mb_end']:.0f} MB (ceiling {ceiling_mb:.0f} MB)")
    elif found["rss_mb_per_hour"] > RSS_MB_PER_HOUR and found["rss_growth_share"] > RSS_SHARE:
        said.append(
            f"memory rose by {found['rss_mb_per_hour']:.1f} MB an hour "
            f"(bound {RSS_MB_PER_HOUR:g}) and {100 * found['rss_growth_share']:.1f} % (bound {100 * RSS_SHARE:g} %)"
        )
    before, after = found["middle"]["p99"], found["last"]["p99"]
    if after > P99_DRIFT * before and after > before + slack_ms:
        said.append(
            f"p99 of a minute went from {before:.1f} to {after:.1f} ms (bounds × {P99_DRIFT:g}, + {slack_ms:g} ms)"
        )
    return said


COLUMNS = (
    "minutes",
    "events/s",
    "MB once warm",
    "MB at the end",
    "MB an hour",
    "p99 ms of a minute, middle third: median",
    "most",
    "last third: median",
    "most",
    "cores",
)


def rows(found: dict[str, Any]) -> list[list[str]]:
    """The table of `soak`."""
    return [
        [
            results.cell(found["seconds"] / 60),
            results.cell(found["rate"]),
            results.cell(found["rss_mb_start"], 1),
            results.cell(found["rss_mb_end"], 1),
            results.cell(found["rss_mb_per_hour"], 1),
            *(
                results.cell(found[third][name], 1)
                for third in ("middle", "last")
                for name in ("p99", "p99_most")
            ),
            results.cell(found["cores"], 2),
        ]
    ]


def main() -> int:
    """Measure, print, keep; 1 with ``--check`` when a bound is broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--partitions", type=int, default=PARTITIONS)
    parser.add_argument("--check", action="store_true", help="fail when memory or latency drift")
    parser.add_argument(
        "--ceiling", type=float, help="MB; for runs too short for memos to fill, which they do once"
    )
    parser.add_argument("--slack-ms", type=float, default=P99_SLACK_MS)
    options = parser.parse_args()
    with Rig() as rig:
        found = soak(rig, options.seconds, options.rate, options.partitions)
    results.merge("soak", found)
    results.show("Soak", COLUMNS, rows(found))
    said = complaints(found, options.ceiling, options.slack_ms)
    for line in said:
        print(line, file=sys.stderr)
    return 1 if said and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
