"""How many alerts an analyst sees of 10,000 honest and 100 hijacked sessions, and of 1,000: ``make volume``.

Generated sessions of one day, judged by the shipped release in enforce mode and acted on as live: each hijack by a thief of its own,
and all by one, as where many agents read one poisoned document; the former under a budget of alerts too. Generated sessions are too
regular to measure detection; what is measured is how many findings call somebody, beside how many sessions drifted. Writes the table of
docs/alerts.md with ``--docs``.
"""

from __future__ import annotations

import argparse
import heapq
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
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


def log(honest: int, hijacked: int, thief: str) -> Iterator[tuple[Record, int | None]]:
    """The day's events in the order of their times, as records without stamps."""
    of_day = heapq.merge(
        _spread(honest, Profile(hijacked=0.0, run="honest")),
        _spread(hijacked, Profile(hijacked=1.0, run="hijacked", thief=thief)),
        key=lambda event: str(event["time"]),
    )
    for offset, event in enumerate(of_day):
        yield Record(EVENTS, 0, offset, -1, "none", event["session_id"].encode(), (), dumps(event)), None


def _spread(n: int, profile: Profile) -> Iterator[dict[str, Any]]:
    """Sessions one after the other, begun at even distances through a day."""
    for index in range(n):
        start = START + DAY * index / n
        run = profile._replace(run=f"{profile.run}{index}")
        yield from sessions(7000 + index, 1, run, start=start)


def measured(honest: int, hijacked: int, thief: str, most: int | None) -> dict[str, int]:
    """Counts of a day, under a budget of alerts."""
    settings = Settings()
    release = bootstrap.release(settings, mode="enforce")
    policy = release.policy.model_copy(update={"alerts_a_day": most})
    judge = bootstrap.judge_with(settings, release._replace(policy=policy))
    counts: Counter[str] = Counter()
    drifted: set[str] = set()
    for output in replay(log(honest, hijacked, thief), judge, bootstrap.actor(settings)):
        value = orjson.loads(output.value) if output.topic in (ALERTS, CASES) else None
        if output.topic == CASES and value["finding"] is not None:
            drifted.add(value["session_id"])
        elif output.topic == ALERTS:
            counts["findings"] += 1
            counts["calling"] += value["is_alert"]
            counts["critical"] += value["is_alert"] and value["severity_id"] == 5
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
    for many, most, thief in (
        (1, None, ""),
        (1, None, "desk100"),
        (1, 20, ""),
        (10, None, ""),
        (10, 20, ""),
    ):
        hijacked = many * options.hijacked
        found = measured(options.honest, hijacked, thief, most)
        counts = (found.get(key, 0) for key in ("cases", "hijacked", "findings", "calling", "critical"))
        by, budget = "one thief" if thief else "a thief each", "none" if most is None else str(most)
        rows.append([f"{hijacked:,}, {by}", budget, *(f"{n:,}" for n in counts)])
    results.show(f"{options.honest:,} honest sessions and hijacked ones, one day", columns, rows)
    if options.docs:
        results.write_between(PAGE, "volume", results.markdown(columns, rows))


if __name__ == "__main__":
    main()
