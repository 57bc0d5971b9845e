"""The installed wheel, away from the repository: `driftline replay` on a sample that it ships."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from models.contracts import Decision
from tests import builders as b

ROOT = Path(__file__).parents[2]
MOST_BYTES = 12_500_000
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
    assert not [name for name in names if name.startswith(("tests/", "docs/", "notebooks/", "corpora/"))]
    assert not [name for name in names if name.endswith(".jsonl") and not name.startswith("stream/samples/")]


def test_one_wheel_serves_every_platform(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith((".so", ".pyd"))]


def test_the_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < MOST_BYTES


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


@pytest.mark.parametrize("corpora", [None, "elsewhere"])
def test_training_without_corpora_says_in_a_sentence_where_they_are(
    installed: Path, tmp_path: Path, corpora: str | None
) -> None:
    session = b.attacked("Pay the rent.", "Pay a stranger.", [{"tool": "pay", "arguments": {"amount": 4}}], 0)
    (tmp_path / "sessions.jsonl").write_text(json.dumps(session) + "\n", encoding="utf-8")
    named = ("env", f"DRIFTLINE_CORPORA={corpora}") if corpora else ()
    refused = run(*named, installed / "driftline", "train", "sessions.jsonl", cwd=tmp_path)
    assert refused.returncode == 2, refused.stderr
    assert refused.stderr.startswith("driftline: training reads scenario texts and invented catalogues")
    assert "set DRIFTLINE_CORPORA to corpora/ of a checkout" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_training_from_an_installed_package_finds_the_corpora_that_are_named(
    installed: Path, tmp_path: Path
) -> None:
    told = "from models.training import corpora; print(len(corpora.names('written')))"
    found = run(
        "env", f"DRIFTLINE_CORPORA={ROOT / 'corpora'}", installed / "python", "-c", told, cwd=tmp_path
    )
    assert int(found.stdout) == len(list((ROOT / "corpora" / "written").iterdir())), found.stderr


def test_the_source_distribution_has_the_corpora(tmp_path: Path) -> None:
    made = run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path, cwd=ROOT)
    assert made.returncode == 0, made.stderr
    (packed,) = tmp_path.glob("driftline-*.tar.gz")
    with tarfile.open(packed) as held:
        names = {name.partition("/")[2] for name in held.getnames()}
    assert {"corpora/README.md", "corpora/handing.jsonl", "corpora/report/texts.json"} <= names


def test_the_client_is_a_wheel_of_its_own_with_all_that_it_reads(tmp_path: Path) -> None:
    made = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, cwd=ROOT / "client")
    assert made.returncode == 0, made.stderr
    (found,) = tmp_path.glob("driftline_client-*.whl")
    packed = zipfile.ZipFile(found)
    names = {name for name in packed.namelist() if ".dist-info/" not in name}
    assert names == {
        f"driftline_client/{each.name}"
        for each in (ROOT / "client" / "driftline_client").iterdir()
        if each.is_file()
    }
    assert (
        packed.read("driftline_client/privacy.py") == (ROOT / "models" / "text" / "privacy.py").read_bytes()
    )
    packed.extractall(tmp_path / "there")
    told = run(
        sys.executable,
        "-c",
        "import driftline_client, driftline_client.privacy as p; print(p.__file__)",
        cwd=tmp_path / "there",
    )
    assert Path(told.stdout.strip()).is_relative_to(tmp_path), told.stderr
