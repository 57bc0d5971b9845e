"""The page of mutants holds its figures, and a mutant changes the functions that it means and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.mutants import page, suite
from benchmarks.mutants.trial import changes

FIGURES: dict[str, Any] = json.loads(page.FIGURES.read_text(encoding="utf-8"))


@pytest.mark.parametrize("mark", ["sample", "score", "survivors"])
def test_the_page_has_the_tables_of_the_figures(mark: str) -> None:
    table = page.tables(FIGURES)[mark]
    assert f"<!-- {mark} -->\n{table}\n<!-- /{mark} -->" in page.PAGE.read_text(encoding="utf-8")


def test_every_mutant_that_nothing_noticed_at_first_is_told_with_what_became_of_it() -> None:
    for name, counted in FIGURES["packages"].items():
        own = [one for one in FIGURES["survivors"] if one["path"].startswith(name)]
        assert len(own) == sum(counted.values()) - counted.get("killed", 0) - counted.get("endless", 0)
    assert set(FIGURES["packages"]) == set(suite.TARGETS)
    for one in FIGURES["survivors"]:
        assert one["class"] in page.CLASSES
        assert one["why"], f"say why {one['path']}:{one['line']} is {one['class']}"


BEFORE = "LIMIT = 3\ndef over(n):\n    return n > LIMIT\nclass A:\n    def b(self):\n        return 1\n"


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("n > LIMIT", "n >= LIMIT", ["over"]),
        ("return 1", "return 2", ["A.b"]),
        ("LIMIT = 3", "LIMIT = 4", []),
        ("    return n > LIMIT\n", "    return n > LIMIT  # as it was\n", []),
        ("def over(n)", "def over(n=1)", []),
    ],
)
def test_a_change_is_of_functions_and_none_where_what_runs_at_import_differs(
    old: str, new: str, changed: list[str]
) -> None:
    pairs = changes("stream/policy.py", BEFORE, BEFORE.replace(old, new))
    assert [after.co_qualname for _, after in pairs] == changed


def test_a_mutant_meets_short_tests_of_each_file_first_and_no_more_than_it_may() -> None:
    tests = ["a::1", "a::2", "b::1", "b::2", "c::1"]
    reached = {"tests": tests, "seconds": [0.2, 0.1, 0.5, 4.0, 9.0]}
    assert suite.chosen(reached, range(5), 5.0) == ["a::2", "b::1", "a::1", "b::2"]
    assert suite.chosen(reached, [3, 4], 5.0) == ["b::2"]
