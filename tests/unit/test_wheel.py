"""The installed wheel, away from the repository: `driftline replay` on a sample that it ships."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from models.contracts import Decision

ROOT = Path(__file__).parents[2]
SAMPLE = "18-support-ticket-exfiltration.jsonl"

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DRIFTLINE_", "PYTHON", "VIRTUAL_ENV"))
    }
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=240
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("dist")
    # The build backend itself, without an isolated environment that would need the network.
    made = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", into, cwd=ROOT)
    assert made.returncode == 0, made.stderr
    (found,) = into.glob("driftline-*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of a new venv that holds the wheel, and sees this environment's libraries."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, with_pip=False, symlinks=True)
    paths = {
        name: Path(sysconfig.get_path(name, "venv", {"base": str(home), "platbase": str(home)}))
        for name in ("purelib", "scripts")
    }
    made = run(
        sys.executable, "-m", "pip", "--python", paths["scripts"] / "python", "install", "--no-deps",
        "--no-index", "--disable-pip-version-check", wheel, cwd=home,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    # A path alone: this environment's own .pth files, its link to the repository among them, are not read.
    (paths["purelib"] / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return paths["scripts"]


def test_the_wheel_ships_samples_policy_and_model_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"stream/samples/{SAMPLE}", "stream/policy.yaml", "models/release/bundled/model.skops"} <= set(
        names
    )
    assert not [name for name in names if name.startswith(("tests/", "docs/", "notebooks/"))]


def test_the_installed_package_is_not_the_repository(installed: Path, tmp_path: Path) -> None:
    told = run(installed / "python", "-c", "import stream, models; print(stream.__file__)", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert Path(told.stdout.strip()).is_relative_to(installed.parent)
    assert not Path(told.stdout.strip()).is_relative_to(ROOT)


def test_the_installed_command_replays_a_shipped_sample(installed: Path, tmp_path: Path) -> None:
    code = "from importlib import resources; print(resources.files('stream') / 'samples')"
    sample = Path(run(installed / "python", "-c", code, cwd=tmp_path).stdout.strip()) / SAMPLE
    calls = sum(json.loads(line)["type"] == "tool.called" for line in sample.read_text("utf-8").splitlines())
    replayed = run(installed / "driftline", "replay", sample, cwd=tmp_path)
    assert replayed.returncode == 0, replayed.stderr
    decisions = [Decision.model_validate_json(line) for line in replayed.stdout.splitlines()]
    assert [d.call_seq for d in decisions] == list(range(calls))
    assert "Traceback" not in replayed.stderr
