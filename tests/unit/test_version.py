"""``driftline --version`` says what an operator needs to compare: the package, and the core that decides."""

from __future__ import annotations

from importlib.metadata import version

from typer.testing import CliRunner

from stream.cli.main import app
from stream.events import CORE


def test_the_version_is_that_of_the_package_and_of_the_core() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert done.exit_code == 0
    assert done.stdout == f"driftline {version('driftline')}, core {CORE}\n"
