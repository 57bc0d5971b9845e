"""Notebooks run from their first cell to their last, as plain Python, and are kept without outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


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
    decisions, X = namespace["sessions"]["hijacked"]
    assert len(decisions) == len(X) > 0
