"""Mutants of the core, the signals, the policy and the evidence, a drawn sample of them, and which the fast tests notice.

``make mutants`` runs the fast suite once under coverage, to know which test reaches which line, then shows each mutant to the
tests that reach it, up to so many seconds of them, until one fails. It appends to ``build/mutants/outcomes.jsonl`` and goes on
where it was stopped; ``N=`` mutants, ``SEED=``; ``DOCS=1`` writes docs/figures/mutants.json and the tables of docs/mutants.md.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.mutants import page, suite
from benchmarks.mutants.places import Module, Mutant
from benchmarks.mutants.trial import Trials, changes, source_of

OUTCOMES = suite.KEPT.with_name("outcomes.jsonl")
WEIGHTS = {"stream/core": 4, "models/evidence": 4, "stream/signals": 2, "stream/policy.py": 1}
"""Of so many mutants of each target a round consists."""


def sample(seed: int, reached: dict[str, Any]) -> Iterator[Mutant]:
    """Mutants of every target in turn, each of another place, in an order that `seed` draws; those reached at import alone left out."""
    streams = {target: _of_target(target, seed, reached) for target in suite.TARGETS}
    while streams:
        for target in list(streams):
            for _ in range(WEIGHTS[target]):
                mutant = next(streams[target], None)
                if mutant is None:
                    streams.pop(target)
                    break
                yield mutant


def _of_target(target: str, seed: int, reached: dict[str, Any]) -> Iterator[Mutant]:
    modules = [
        Module(str(path), source_of(str(path))) for path in suite.files() if str(path).startswith(target)
    ]
    places = [(module, place) for module in modules for place in module.places]
    random_ = random.Random(f"{seed}:{target}")
    for module, place in random_.sample(places, len(places)):
        mutant = module.drawn(place, random_.random())
        lines = reached["reached"][module.path]
        spoken = [lines[str(n)] for n in range(place.first, place.last + 1) if str(n) in lines]
        if mutant is not None and (any(spoken) or not spoken):
            yield mutant


def tests_of(mutant: Mutant, reached: dict[str, Any], budget: float) -> tuple[list[str], int]:
    """The tests that a mutant is shown to, and how many reach it."""
    lines = reached["reached"][mutant.path]
    numbers = {test for n in range(mutant.lines[0], mutant.lines[1] + 1) for test in lines.get(str(n), ())}
    return suite.chosen(reached, numbers, budget), len(numbers)


def tried(trials: Trials, arguments: argparse.Namespace, reached: dict[str, Any]) -> None:
    """Show the sample to its tests, and append how each ended."""
    known = {(row["path"], row["diff"], row["lines"][0]) for row in page.rows(OUTCOMES)}
    until = time.monotonic() + 60 * arguments.minutes
    with OUTCOMES.open("a", encoding="utf-8") as kept:
        for n, mutant in enumerate(sample(arguments.seed, reached)):
            if n == arguments.n or time.monotonic() > until:
                return
            if (mutant.path, mutant.diff, mutant.lines[0]) in known:
                continue
            tests, reaching = tests_of(mutant, reached, arguments.budget)
            changed = changes(mutant.path, source_of(mutant.path), mutant.source)
            ended, killer = trials.outcome(changed, tests) if tests else ("unreached", "")
            told = {name: getattr(mutant, name) for name in ("path", "lines", "operator", "diff")}
            row = {**told, "outcome": ended, "killer": killer, "shown": len(tests), "reaching": reaching}
            kept.write(json.dumps(row) + "\n")
            kept.flush()


def _as_it_is_now(row: dict[str, Any]) -> str | None:
    """The mutant of an earlier run in the module of today; none where its lines are no longer there."""
    lines = source_of(row["path"]).splitlines()
    old, new = ([line[1:] for line in row["diff"].splitlines() if line[0] == sign] for sign in "-+")
    starts = [n for n in range(len(lines)) if lines[n : n + len(old)] == old]
    if not starts:
        return None
    start = min(starts, key=lambda n: abs(n + 1 - row["lines"][0]))
    return "\n".join([*lines[:start], *new, *lines[start + len(old) :], ""])


def again(trials: Trials, arguments: argparse.Namespace, _: dict[str, Any]) -> None:
    """Show what survived, or was not reached, to every test of the files that are named; append what is killed now."""
    ended, killer = trials.outcome([], list(trials.items))
    if ended != "survived":
        pytest.exit(f"NOT RUN: {killer} fails on the code as it is, so it would seem to notice everything", 1)
    with OUTCOMES.open("a", encoding="utf-8") as kept:
        for row in page.rows(OUTCOMES):
            mutated = _as_it_is_now(row)
            if row["outcome"] in ("survived", "unreached") and mutated is not None:
                changed = changes(row["path"], source_of(row["path"]), mutated)
                ended, killer = trials.outcome(changed, list(trials.items))
                print(f"{ended:10}{row['path']}:{row['lines'][0]} {killer}", file=sys.__stderr__, flush=True)
                if ended in ("killed", "endless"):
                    kept.write(json.dumps({**row, "outcome": "killed since", "killer": killer}) + "\n")
                    kept.flush()


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=1000, help="mutants")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--budget", type=float, default=10.0, help="seconds of tests that a mutant is shown to at most"
    )
    parser.add_argument(
        "--minutes", type=float, default=10_000.0, help="after which no further mutant begins"
    )
    parser.add_argument(
        "--against",
        nargs="+",
        default=[],
        metavar="FILE",
        help="show survivors to the tests of these files, and no more",
    )
    parser.add_argument("--docs", action="store_true", help="write the figures and the page")
    arguments = parser.parse_args()
    reached = json.loads(suite.KEPT.read_text(encoding="utf-8"))
    work = again if arguments.against else tried
    trials = Trials(lambda trials: work(trials, arguments, reached))
    temporary = f"--basetemp={suite.KEPT.with_name('tmp')}"
    suite.repeatable()
    ended = pytest.main([*suite.OPTIONS, temporary, *(arguments.against or suite.PATHS)], plugins=[trials])
    if ended:
        sys.exit(f"NOT RUN: the tests do not collect ({ended})")
    about = {"seed": arguments.seed, "budget_s": arguments.budget, "tests": len(reached["tests"])}
    packages = {str(path): suite.package(str(path)) for path in suite.files()}
    page.write(page.rows(OUTCOMES), packages, about, docs=arguments.docs)


if __name__ == "__main__":
    main()
