"""Releases on a real MLflow server: logged, promoted and rolled back, and read back with MLflow's own client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from joserfc.jwk import ECKey

from models.release import readers, registry
from stream.bootstrap import release_digest
from stream.events import dumps
from stream.policy import load_policy
from stream.settings import Settings
from stream.shell import topics
from stream.shell.broker import EmbeddedBroker, free_port
from tests.builders import release_in
from tests.mlflow_server import ADMIN, PASSWORD, MlflowServer, mlflow_server
from tests.worker import Worker

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow") / "server") as made:
        yield made


def command(*arguments: str | Path, code: int = 0, **variables: str) -> tuple[str, str]:
    """What ``driftline release`` prints and says; it must end with this code."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DRIFTLINE_", "KAFKA_"))}
    ran = subprocess.run(
        [sys.executable, "-m", "stream.cli.main", "release", *map(str, arguments)],
        env={**kept, "PYTHONPATH": str(ROOT), **variables},
        cwd=ROOT, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert ran.returncode == code, ran.stderr
    return ran.stdout, ran.stderr


def test_a_release_in_a_folder_is_logged_once_and_comes_back_byte_for_byte(
    server: MlflowServer, tmp_path: Path
) -> None:
    folder, digest = release_in(tmp_path / "ours", 61)
    (folder / "notes.txt").write_text("what no decision depends on stays here")
    report = tmp_path / "report.html"
    report.write_text("<p>figures")
    at = ("--mlflow", server.url, "--mlflow-model", "of folders", "--mlflow-experiment", "of folders")
    said, _ = command("log", folder, "--alias", "@challenger", "--by", "ann", *at)
    assert said == "MLflow: version 1 of of folders, @challenger\n"
    said, _ = command("log", folder, "--alias", "candidate", "--report", report, *at)
    assert said == "MLflow: version 1 of of folders, which was there, @candidate\n"

    there = server.read("of folders", "challenger")
    assert there["aliases"] == {"challenger": "1", "candidate": "1"}
    (version,) = there["versions"].values()
    assert version["tags"] == {"driftline.digest": digest, "driftline.logged_by": "ann"}
    assert version["status"] == "FINISHED"
    assert version["reports"] == ["reports/report.html"]
    manifest = registry.read_manifest(folder)
    assert version["metrics"]["threshold/0.01"] == manifest["thresholds"]["0.01"] / 10_000
    found = manifest["metrics"]["by_suite"]["banking"]["at"]["0.01"]["detected"]["rate"]
    assert version["metrics"]["by_suite/banking/at/0.01/detected/rate"] == found
    assert version["params"]["recipe.leaves"] == str(manifest["recipe"]["leaves"])
    assert version["run_tags"]["driftline.features_version"] == str(manifest["features_version"])

    downloaded = server.folder / "downloaded"
    assert release_digest(downloaded, load_policy(downloaded / "policy.yaml")) == digest
    registry.load(downloaded)
    readers.load(downloaded)
    assert not (downloaded / "notes.txt").exists()
    # Changed by one byte it is another release, with a version of its own.
    other, _ = release_in(tmp_path / "other", 62)
    said, _ = command("log", other, "--alias", "challenger", *at)
    assert said == "MLflow: version 2 of of folders, @challenger\n"
    assert server.read("of folders")["aliases"] == {"challenger": "2", "candidate": "1"}


def test_aliases_follow_promotions_and_rollbacks_and_an_mlflow_that_is_away_stops_none(
    server: MlflowServer, tmp_path: Path
) -> None:
    key = ECKey.generate_key("P-256", auto_kid=True)
    (tmp_path / "key.json").write_bytes(dumps(key.as_dict(private=True)))
    (tmp_path / "trusted.json").write_bytes(dumps({"keys": [key.as_dict(private=False)]}))
    trust = {"DRIFTLINE_ACTIVATION_JWKS": str(tmp_path / "trusted.json")}
    with EmbeddedBroker() as broker:
        settings = Settings(
            bootstrap=broker.bootstrap,
            partitions=2,
            session_timeout_s=4.0,
            state_dir=tmp_path / "state",
            metrics_port=0,
        )
        topics.create(settings)
        variables = {
            **trust,
            "DRIFTLINE_BOOTSTRAP": broker.bootstrap,
            "DRIFTLINE_STATE_DIR": str(tmp_path / "mine"),
            "DRIFTLINE_ACTIVATION_KEY_FILE": str(tmp_path / "key.json"),
            "DRIFTLINE_MLFLOW_MODEL": "of the bus",
        }
        there = {**variables, "DRIFTLINE_MLFLOW_URL": server.url}
        with Worker(settings, tmp_path / "worker.log", environment=trust):
            folder, first = release_in(tmp_path / "first", 30)
            said, told = command("publish", folder, "--alias", "challenger", "--by", "ann", **there)
            assert said == f"{first}\n"
            assert "MLflow: version 1 of of the bus, @challenger" in told
            _, told = command("promote", "@challenger", "--by", "ann", **there)
            assert "MLflow: version 1 of of the bus, which was there, @champion" in told
            now = server.read("of the bus")
            assert now["aliases"] == {"challenger": "1", "champion": "1"}
            tags = now["versions"]["1"]["tags"]
            assert tags["driftline.digest"] == first
            assert tags["driftline.signed_by"] == key.kid
            assert tags["driftline.location"] == folder.as_uri()
            assert tags["driftline.promoted_by"] == "ann"
            assert tags["driftline.gates"].split(" of ")[0] in tags["driftline.gates"].split(" of ")[1]
            assert now["versions"]["1"]["metrics"]["gates/MB/holds"] == 1
            assert now["versions"]["1"]["promotions"] == 1

            # Nothing listens there: all is done on the bus all the same, and said later.
            other, second = release_in(tmp_path / "second", 31)
            away = {**variables, "DRIFTLINE_MLFLOW_URL": f"http://127.0.0.1:{free_port()}"}
            _, told = command("publish", other, **away)
            assert "WARNING: all is done on the bus, and MLflow does not have it" in told
            said, told = command("promote", second, "--by", "bob", **away)
            assert "judges sessions that begin from now on in 2 partitions" in said
            assert "nothing listens there" in told
            assert "release log @champion" in told
            assert server.read("of the bus")["aliases"]["champion"] == "1"
            said, _ = command("log", "@champion", "--by", "bob", **there)
            assert said == "MLflow: version 2 of of the bus, @champion\n"

            command("rollback", "--by", "ann", **there)
            assert server.read("of the bus")["aliases"] == {"challenger": "1", "champion": "1"}
            _, told = command("rollback", "--by", "ann", **there)
            assert "@champion is what workers begin with" in told
            assert server.read("of the bus")["aliases"] == {"challenger": "1"}
            champion = json.loads(command("list", "--json", **variables)[0])["aliases"][1]
            assert (champion["alias"], champion["digest"]) == ("champion", "")


def test_a_guarded_server_takes_a_name_and_a_password_of_a_file_and_neither_is_told(tmp_path: Path) -> None:
    folder, _ = release_in(tmp_path / "ours", 63)
    secret, wrong = tmp_path / "secret", tmp_path / "wrong"
    secret.write_text(f"{ADMIN}:{PASSWORD}\n")
    wrong.write_text("admin:not-this-one-either")
    with mlflow_server(tmp_path / "server", guarded=True) as guarded:
        at = ("--mlflow", guarded.url)
        said = [
            *command("log", folder, *at, code=1),
            *command("log", folder, *at, "--mlflow-token-file", wrong, code=1),
            *command("log", folder, *at, "--mlflow-token-file", secret),
        ]
        assert "HTTP 401" in said[1]
        assert "--mlflow-token-file names a file" in said[1]
        assert "HTTP 401" in said[3]
        assert said[4] == "MLflow: version 1 of driftline\n"
        assert not any(word in text for text in said for word in ("not-this-one", PASSWORD))
        assert PASSWORD not in guarded.said()
