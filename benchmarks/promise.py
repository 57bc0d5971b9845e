"""Promises on false alerts, held against tasks that they were not made on: ``make promise``.

The honest sessions of each recorded set, and of the long written work, are judged by the bundled release. Tasks are halved, 40 times: a promise
is made on the sessions of one half, and false alerts are counted in the other. The alarm is made on one half, too, and runs over
the other, over other sessions of the same tasks, and over another set. Writes ``docs/figures/promise.json``; ``--docs`` the tables, too.

The model has learnt from most of these sets, so the thresholds are lower than on work that it does not know. Whether a promise is
kept does not depend on that: both halves were learnt from alike.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from functools import lru_cache
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np

from benchmarks import results
from benchmarks.shipped import CHUNK, Catalogues, all_sets, decisions
from models.forest.units import Ints
from models.promise import conformal
from models.promise.alarm import Alarm
from stream import bootstrap
from stream.core.judge import Judge
from stream.offline import promise
from stream.offline.recorded import events_of
from stream.settings import Settings

FIGURES = results.ROOT / "docs" / "figures" / "promise.json"
PAGE = results.ROOT / "docs" / "promise.md"
BUDGETS = ("0.1", "0.05", "0.02", "0.01")
SPLITS = 40
FEWEST_TASKS = 16
"""Tasks of a set from which on halves of them say anything."""


class Honest(NamedTuple):
    """The honest sessions of a set: each one's highest score that alerts, its task, and whether signals alone alert it."""

    scores: Ints
    tasks: Ints
    loud: int


@lru_cache(maxsize=1)
def _judge() -> Judge:
    return bootstrap.judge(Settings(), mode="enforce")


def _part(job: tuple[list[dict[str, Any]], Catalogues]) -> list[tuple[int, bool]]:
    sessions, tools = job
    policy = _judge().releases[""].policy
    name, alone = _judge().releases[""].name, promise.alerting(policy)
    found = []
    for session in sessions:
        catalogue = tools.get(session.get("tools_ref", ""))
        told = decisions(_judge(), events_of(dict(session), list(catalogue) if catalogue else None))
        seen = promise.sessions((("a decision", one) for one in told), name)
        for one in seen.values():
            found.append((one.scored, bool(one.loud & alone)))
    return found


def honest_sets(jobs: int) -> dict[str, Honest]:
    """Honest sessions by set; AgentDojo's suites are sets of their own."""
    by_name: dict[str, list[tuple[int, bool, str]]] = {}
    for name, sessions, tools in all_sets():
        honest = [one for one in sessions if one["label"] == "benign" and one["calls"]]
        parts = [(honest[at : at + CHUNK], tools) for at in range(0, len(honest), CHUNK)]
        with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
            judged = [one for part in pool.map(_part, parts) for one in part]
        for session, (score, loud) in zip(honest, judged, strict=True):
            whose = session["suite"] if name == "agentdojo" else name
            by_name.setdefault(whose, []).append(
                (score, loud, f"{session['suite']}/{session['user_task_id']}")
            )
        print(f"{name}: {len(honest)} honest sessions", file=sys.stderr)
    found = {}
    for name, rows in sorted(by_name.items()):
        numbers: dict[str, int] = {}
        tasks = np.array([numbers.setdefault(task, len(numbers)) for _, _, task in rows])
        found[name] = Honest(
            np.array([score for score, _, _ in rows]), tasks, sum(loud for _, loud, _ in rows)
        )
    return found


def renumbered(tasks: Ints) -> Ints:
    """Tasks counted from 0 without gaps."""
    return np.unique(tasks, return_inverse=True)[1].astype(np.int64)


def halves(of: Honest, split: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which sessions are of the tasks of the first half."""
    n = int(of.tasks.max()) + 1
    first = np.random.default_rng([7, split]).permutation(n)[: n // 2]
    return np.isin(of.tasks, first)


def kept(of: Honest, budget: str) -> dict[str, Any]:
    """Per cent of the other half's sessions that alert: all alike, and each task alike; promised by session alone, and by task, too."""
    rates: dict[str, list[tuple[float, float]]] = {"session": [], "task": []}
    for split in range(SPLITS):
        first = halves(of, split)
        scores, tasks = of.scores[first], renumbered(of.tasks[first])
        rest, rest_tasks = of.scores[~first], renumbered(of.tasks[~first])
        for way, groups in (("session", np.arange(len(scores))), ("task", tasks)):
            made = conformal.fit(scores, groups, Fraction(budget), Fraction(0))
            if made is None:
                continue
            hit = rest >= made.threshold
            shares = np.bincount(rest_tasks, hit) / np.bincount(rest_tasks)
            rates[way].append((float(hit.mean()), float(shares.mean())))
    return {
        way: {
            "splits": len(found),
            "sessions": round(100 * float(np.mean([one for one, _ in found])), 2) if found else None,
            "tasks": round(100 * float(np.mean([one for _, one in found])), 2) if found else None,
            "error": round(100 * float(np.std([one for _, one in found])), 2) if found else None,
        }
        for way, found in rates.items()
    }


def rung(bag: Ints, stream: Ints, split: int) -> int | None:
    """After how many sessions of `stream` the alarm rings that was made on `bag`; None: never."""
    draws = np.random.default_rng([11, split])
    alarm = Alarm(dict(zip(*(part.tolist() for part in np.unique(bag, return_counts=True)), strict=True)))
    for n, score in enumerate(draws.permutation(stream).tolist(), 1):
        alarm.take(score, float(draws.random()))
        if alarm.rings():
            return n
    return None


def alarms(of: Honest, others: Mapping[str, Honest]) -> dict[str, Any]:
    """How often the alarm rings over the other half of the tasks, over other sessions of the same, and over other sets."""
    by_task, alike = [], []
    for split in range(SPLITS):
        first = halves(of, split)
        by_task.append(rung(of.scores[first], of.scores[~first], split))
        mixed = np.random.default_rng([13, split]).permutation(len(first)) < len(first) // 2
        alike.append(rung(of.scores[mixed], of.scores[~mixed], split))
    drift = {
        name: [rung(of.scores, other.scores, split) for split in range(5)] for name, other in others.items()
    }
    return {
        "same tasks": _share(alike),
        "other tasks": _share(by_task),
        "other sets": {name: [n for n in found if n is not None] for name, found in drift.items()},
    }


def _share(found: Sequence[int | None]) -> float:
    return round(sum(n is not None for n in found) / len(found), 3)


def tables(report: Mapping[str, Any]) -> dict[str, str]:
    """The tables of docs/promise.md, by the mark that they stand under."""
    sets = report["sets"]
    rows = [
        [
            name,
            f"{one['sessions']} / {one['tasks']}",
            *(_cell(one["budgets"][budget], way) for budget in BUDGETS for way in ("session", "task")),
        ]
        for name, one in sets.items()
    ]
    heads = [f"{100 * float(b):g} %, by {way}" for b in BUDGETS for way in ("session", "task")]
    rings = [
        [
            name,
            f"{100 * one['alarms']['same tasks']:.0f}",
            f"{100 * one['alarms']['other tasks']:.0f}",
            _drift(one["alarms"]["other sets"]),
        ]
        for name, one in sets.items()
    ]
    return {
        "promises": results.markdown(("set", "sessions / tasks", *heads), rows),
        "alarms": results.markdown(
            ("set", "other sessions, same tasks", "other tasks", "another set: rung, after (median)"), rings
        ),
    }


def _cell(found: Mapping[str, Any], way: str) -> str:
    one = found[way]
    return "-" if one["tasks"] is None else f"{one['tasks']:.1f}"


def _drift(found: Mapping[str, Iterable[int]]) -> str:
    runs = [list(one) for one in found.values()]
    after = sorted(n for one in runs for n in one)
    share = f"{len(after)} of {5 * len(runs)}"
    return f"{share}, {after[len(after) // 2]}" if after else share


def main() -> None:
    """The command line of ``make promise``."""
    parser = argparse.ArgumentParser(description="Promises on false alerts, held against other tasks.")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--docs", action="store_true", help="write the tables into docs/promise.md")
    asked = parser.parse_args()
    found = {
        name: one for name, one in honest_sets(asked.jobs).items() if int(one.tasks.max()) + 1 >= FEWEST_TASKS
    }
    report: dict[str, Any] = {
        "release": _judge().releases[""].name,
        "command": "make promise DOCS=1",
        "splits": SPLITS,
        "sets": {},
    }
    for name, one in found.items():
        others = {other: of for other, of in found.items() if other != name}
        report["sets"][name] = {
            "sessions": len(one.scores),
            "tasks": int(one.tasks.max()) + 1,
            "alerted by a signal alone": one.loud,
            "budgets": {budget: kept(one, budget) for budget in BUDGETS},
            "alarms": alarms(one, others),
        }
        print(name, file=sys.stderr)
    results.publish(FIGURES, report, PAGE, tables(report), docs=asked.docs)


if __name__ == "__main__":
    main()
