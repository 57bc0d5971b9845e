"""Notebooks run from their first cell to their last, as plain Python, and are kept without outputs."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def _sessions(left: dict[str, Any]) -> None:
    decisions, X = left["sessions"]["hijacked"]
    assert len(decisions) == len(X) > 0


def _month(left: dict[str, Any]) -> None:
    assert left["answer"]["calls"] > 500
    assert 0 < left["answer"]["flagged"] < 100


def _flagged(left: dict[str, Any]) -> None:
    assert left["answer"]["verdict"] == "revoke"
    assert left["answer"]["label"] == "hijacked"
    assert left["answer"]["explanation"]


def _budget(left: dict[str, Any]) -> None:
    thresholds = [row[1] for row in left["promised"]]
    assert thresholds == sorted(thresholds)
    assert left["answer"]["promised"] >= 3


def _challenger(left: dict[str, Any]) -> None:
    assert left["passed"] == {"boosted trees": [], "random forest": []}
    assert all(0.5 < area <= 1 for area in left["answer"].values())


def _ecosystem(left: dict[str, Any]) -> None:
    assert sum(by > 0.25 for by in left["shifts"]["globex"].values()) > 10
    assert sum(by > 0.25 for by in left["shifts"]["acme"].values()) == 0
    assert left["answer"]["acme"] < 2


HOLDS = {
    "01_what_does_a_session_look_like": _sessions,
    "02_a_month_of_sessions": _month,
    "03_why_was_this_session_flagged": _flagged,
    "04_thresholds_from_a_budget": _budget,
    "05_a_challenger": _challenger,
    "06_a_new_ecosystem_without_labels": _ecosystem,
}
"""What each notebook leaves behind, held against what it says."""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_uses_the_program_s_own_code_and_defines_nothing_worth_testing(path: Path) -> None:
    tree = ast.parse("\n".join("".join(cell["source"]) for cell in cells(path)))
    used = {
        node.module.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
    }
    assert used & {"stream", "models"}
    defined = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    assert [node.name for node in defined if isinstance(node, ast.ClassDef) or len(node.body) > 1] == []


def cells(path: Path) -> list[dict[str, Any]]:
    return [c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]


def test_there_is_a_notebook() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    assert not [c for c in cells(path) if c["outputs"] or c["execution_count"] is not None]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib", reason="the extra `plots` is not installed")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    namespace: dict[str, Any] = {"__name__": "notebook"}
    try:
        for number, cell in enumerate(cells(path), 1):
            exec(compile("".join(cell["source"]), f"{path.name}, code cell {number}", "exec"), namespace)
        assert pyplot.get_fignums(), "a notebook shows something"
    finally:
        pyplot.close("all")
    HOLDS[path.stem](namespace)
