"""The tests that mutants meet: which of them reach which line, and the few of them that one mutant is shown to.

``python -m benchmarks.mutants.suite`` runs the fast suite once and keeps which test reaches which line. It imports nothing of what
is mutated before it watches.
"""

from __future__ import annotations

import ast
import json
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from coverage import Coverage

ROOT = Path(__file__).parents[2]
TARGETS = ("stream/core", "stream/signals", "stream/policy.py", "models/evidence")
"""What is mutated; each is a row of the page."""
KEPT = ROOT / "build" / "mutants" / "reached.json"
FAST = "not slow and not broker and not kafka and not recorded"
SHOWN = """dirty_reality narrowing signals signal_boundaries numbering declarations attestations releases activations take_over deadlines policy verdict
findings would_pass sample_outcomes samples signal_registry refused_input refused_calls readers state_bounds changed_catalogues systems ends dispatch
commands provenance results call_evidence decision_record features feature_registry meaning tools excerpts privacy attribution""".split()
"""The unit tests that mutants are shown to: those that judge, or read evidence. Tests against noted digests (tests/golden) are
not among them: any change of output fails them, so they tell nothing of a mutant."""
PATHS = [*(f"tests/unit/test_{name}.py" for name in SHOWN), *TARGETS]
OPTIONS = [
    *("-q", "-m", FAST, "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header", "--no-summary"),
    *("-W", "default::pytest.PytestAssertRewriteWarning"),
]


def files() -> list[Path]:
    """Every module that is mutated, relative to the repository, in order; what writes a page decides nothing."""
    listed: list[Path] = []
    for target in TARGETS:
        path = ROOT / target
        found = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        read = (one for one in found if one.name != "page.py" and one.read_text(encoding="utf-8").strip())
        listed += [one.relative_to(ROOT) for one in read]
    return listed


def package(path: str) -> str:
    """The target that the module at `path` belongs to."""
    return next(target for target in TARGETS if path.startswith(target))


def repeatable() -> None:
    """Let hypothesis draw the same examples for every mutant, and remember none of another."""
    settings.register_profile("mutants", settings(database=None, derandomize=True, deadline=None))
    settings.load_profile("mutants")


class Watch:
    """Notes, test by test, the seconds of processor time it takes and the lines that it reaches."""

    def __init__(self, cover: Coverage) -> None:
        self.cover = cover
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Let what follows count for this test."""
        self.cover.switch_context(item.nodeid)
        began = time.process_time()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.process_time() - began
            self.cover.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what fails already."""
        if report.failed:
            self.failed.add(report.nodeid)


def watch() -> None:
    """Run the fast suite once and keep which test reaches which line."""
    import coverage

    cover = coverage.Coverage(
        data_file=None, include=[*(str(ROOT / path) for path in files()), str(ROOT / "tests" / "*")]
    )
    repeatable()
    watching = Watch(cover)
    cover.start()
    pytest.main([*OPTIONS, *PATHS], plugins=[watching])
    cover.stop()
    tests = sorted(set(watching.seconds) - watching.failed)
    number = {test: n for n, test in enumerate(tests)}
    reached: dict[str, dict[int, list[int]]] = {}
    for path in files():
        contexts = cover.get_data().contexts_by_lineno(str(ROOT / path))
        reached[str(path)] = {
            line: sorted(number[test] for test in found if test in number) for line, found in contexts.items()
        }
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    KEPT.write_text(
        json.dumps(
            {
                "tests": tests,
                "seconds": [round(watching.seconds[test], 4) for test in tests],
                "failed": sorted(watching.failed),
                "reached": reached,
                "unreached_asserts": unreached(cover),
            }
        ),
        encoding="utf-8",
    )
    print(f"{len(tests)} tests, {len(watching.failed)} left out since they fail already")


def unreached(cover: Coverage) -> list[str]:
    """Assertions in the tests that no test of the fast suite came to: they may stand in loops over nothing."""
    data, found = cover.get_data(), []
    for name in sorted(data.measured_files()):
        path = Path(name)
        if not path.is_relative_to(ROOT / "tests"):
            continue
        lines = set(data.lines(name) or ())
        found += [
            f"{path.relative_to(ROOT)}:{node.lineno}"
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Assert)
            and not lines & set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        ]
    return found


def chosen(reached: Mapping[str, Any], numbers: Collection[int], budget: float) -> list[str]:
    """Of the tests of `numbers` as many as take `budget` seconds: short ones first, of each file in turn."""
    by_file: dict[str, list[int]] = defaultdict(list)
    tests, seconds = reached["tests"], reached["seconds"]
    for n in sorted(numbers, key=lambda n: (seconds[n], n)):
        by_file[tests[n].split("::")[0]].append(n)
    turns = sorted((turn, seconds[n], n) for listed in by_file.values() for turn, n in enumerate(listed))
    picked: list[str] = []
    spent = 0.0
    for _, cost, n in turns:
        if spent + cost > budget:
            continue
        spent += cost
        picked.append(tests[n])
    return picked


if __name__ == "__main__":
    watch()
