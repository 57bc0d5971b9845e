"""How many alerts an analyst sees of 10,000 honest and 100 hijacked sessions, and of 1,000: ``make volume``.

Generated sessions of one day, judged by the shipped release in enforce mode and acted on as live: each hijack by a thief of its own;
all by one thief; and those of a line of work by one document that names 40 targets. The first under a budget of alerts too. Honest ones
and each kind of hijacked ones are judged once: a session's cases depend on its own events alone. Generated sessions are too regular to
measure detection; what is measured is how many findings call somebody, beside how many sessions drifted. Writes the table of docs/alerts.md
with ``--docs``.
"""

from __future__ import annotations

import argparse
import heapq
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from benchmarks import results
from stream import bootstrap
from stream.events import ALERTS, CASES, EVENTS, Record, dumps
from stream.offline.generate import START, Profile, sessions, truth
from stream.offline.replay import replay
from stream.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "alerts.md"
DAY = timedelta(days=1)


@cache
def cases(n: int, profile: Profile) -> list[dict[str, Any]]:
    """What judge says of a day's sessions, in the order of time."""
    settings = Settings()
    judge = bootstrap.judge_with(settings, bootstrap.release(settings, mode="enforce"))
    outputs = replay(_log(n, profile), judge, None)
    return [orjson.loads(output.value) for output in outputs if output.topic == CASES]


def _log(n: int, profile: Profile) -> Iterator[tuple[Record, int | None]]:
    """A day's events as records without stamps."""
    for offset, event in enumerate(_spread(n, profile)):
        yield Record(EVENTS, 0, offset, -1, "none", event["session_id"].encode(), (), dumps(event)), None


def _spread(n: int, profile: Profile) -> Iterator[dict[str, Any]]:
    """Sessions one after the other, begun at even distances through a day."""
    for index in range(n):
        start = START + DAY * index / n
        run = profile._replace(run=f"{profile.run}{index}")
        yield from sessions(7000 + index, 1, run, start=start)


def measured(honest: int, hijacked: int, how: Profile, most: int | None) -> dict[str, int]:
    """Counts of a day, under a budget of alerts."""
    actor = bootstrap.actor(Settings())
    of_day = heapq.merge(
        cases(honest, Profile(hijacked=0.0, run="honest")),
        cases(hijacked, how._replace(hijacked=1.0, run="hijacked")),
        key=lambda case: str(case["time"]),
    )
    counts: Counter[str] = Counter()
    drifted: set[str] = set()
    for offset, case in enumerate(of_day):
        if case["finding"] is not None:
            drifted.add(case["session_id"])
            case = {**case, "alerts_a_day": most}
        record = Record(CASES, 0, offset, 0, "none", case["tenant"].encode(), (), dumps(case))
        for output in actor.act([record]):
            if output.topic == ALERTS:
                finding = orjson.loads(output.value)
                counts["findings"] += 1
                counts["calling"] += finding["is_alert"]
                counts["critical"] += finding["is_alert"] and finding["severity_id"] == 5
    counts["cases"] = len(drifted)
    counts["hijacked"] = sum(session.startswith("hijacked") for session in drifted)
    return dict(counts)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--honest", type=int, default=10_000)
    parser.add_argument("--hijacked", type=int, default=100)
    parser.add_argument("--docs", action="store_true")
    options = parser.parse_args()
    assert None not in truth(7000, 1, Profile(hijacked=1.0)).values()
    columns = [
        "hijacked sessions",
        "budget a day",
        "sessions told of",
        "of them hijacked",
        "findings",
        "calling somebody",
        "critical of these",
    ]
    rows = []
    for many, most, how, by in (
        (1, None, Profile(), "a thief each"),
        (1, None, Profile(thief="desk100"), "one thief"),
        (1, None, Profile(one_source=True), "a source for each line of work"),
        (1, 20, Profile(), "a thief each"),
        (10, None, Profile(), "a thief each"),
        (10, None, Profile(one_source=True), "a source for each line of work"),
        (10, 20, Profile(), "a thief each"),
    ):
        hijacked = many * options.hijacked
        found = measured(options.honest, hijacked, how, most)
        counts = (found.get(key, 0) for key in ("cases", "hijacked", "findings", "calling", "critical"))
        budget = "none" if most is None else str(most)
        rows.append([f"{hijacked:,}, {by}", budget, *(f"{n:,}" for n in counts)])
    results.show(f"{options.honest:,} honest sessions and hijacked ones, one day", columns, rows)
    if options.docs:
        results.write_between(PAGE, "volume", results.markdown(columns, rows))


if __name__ == "__main__":
    main()
