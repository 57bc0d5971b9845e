"""What holds for the shape of the code, whoever edits it."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from models import errors

ROOT = Path(__file__).parents[1]
MODULES = sorted([*(ROOT / "stream").rglob("*.py"), *(ROOT / "models").rglob("*.py")])
SHELL = {
    "stage.py",
    "act_stage.py",
    "judge_stage.py",
    "send.py",
    "case_feedback.py",
    "advise.py",
    "challenging.py",
    "demo.py",
    "outputs.py",
    "tokens.py",
    "topics.py",
    "broker.py",
    "oauth_server.py",
    "bridge.py",
    "verifying.py",
    "consoling.py",
    "gating.py",
    "transmitter.py",
    "span_feed.py",
    "releases.py",
    "mlflow_log.py",
}
"""Modules that may read the time: they live in it."""


def test_packages_have_empty_init_files_and_tests_have_none() -> None:
    for package in ("stream", "models"):
        marks = list((ROOT / package).rglob("__init__.py"))
        assert {path.parent for path in marks} == {path.parent for path in (ROOT / package).rglob("*.py")}
        assert not any(ast.parse(path.read_bytes()).body[1:] for path in marks)
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_the_error_tree_in_the_docstring_is_the_tree_of_classes() -> None:
    told: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").split("\n"):
        found = re.match(r"^    ((?:│   |    )*)(├── |└── )?([A-Z]\w+)", line)
        if found and found[3].endswith(("Error", "Mismatch")):
            depth = len(found[1]) // 4 + bool(found[2])
            path[depth:] = [found[3]]
            told[found[3]] = path[depth - 1] if depth else "Exception"
    classes = {
        name: made.__bases__[0].__name__
        for name, made in inspect.getmembers(errors, inspect.isclass)
        if made.__module__ == errors.__name__
    }
    assert told == classes


@pytest.mark.parametrize("name", [n for n, _ in inspect.getmembers(errors, inspect.isclass)])
def test_every_error_tells_the_operator_what_to_do(name: str) -> None:
    assert "Operator action:" in (getattr(errors, name).__doc__ or "")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_a_module_has_a_telling_name_and_a_docstring(path: Path) -> None:
    banned = ("util", "helper", "base", "manager", "common", "misc")
    assert not any(word in path.stem.split("_") or f"{word}s" in path.stem.split("_") for word in banned)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert path.name == "__init__.py" or ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            assert not re.search(r"(Manager|Helper|Utils?)$", node.name)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_no_module_pickles_prints_or_reads_a_clock_it_has_no_business_with(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        tops = {name.split(".")[0] for name in names}
        assert not {"pickle", "joblib", "dill", "cloudpickle"} & tops
        assert "mode" not in tops or path == ROOT / "stream" / "shell" / "transport.py"
        if isinstance(node, ast.Call):
            called = ".".join(
                ast.unparse(node.func).split(".")[-2:]
            )  # `datetime.datetime.now` is `datetime.now`
            assert called not in ("print", "eval", "exec")
            if path.name not in SHELL:
                assert called not in ("time.time", "datetime.now", "datetime.utcnow", "random.random")


@pytest.mark.slow
def test_the_import_contracts_hold() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
