"""MLflow's own server and client, each in the environment of `make mlflow`, on SQLite and this machine alone."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stream.shell.broker import free_port
from tests.conftest import ROOT, absent
from tests.process import ServerProcess

ENVIRONMENT = ROOT / "build" / "mlflow"
START_S = 120
ADMIN, PASSWORD = "admin", "not-for-anybody-else"


class MlflowServer(ServerProcess):
    """A server that answers.

    Parameters
    ----------
    folder : Path
        Its database, artifacts and log.
    guarded : bool
        Whether it asks for a name and a password.
    """

    def __init__(self, folder: Path, *, guarded: bool = False) -> None:
        folder.mkdir(parents=True)
        super().__init__(folder / "server.log")
        port = free_port()
        self.url, self.folder = f"http://127.0.0.1:{port}", folder
        command = [
            str(ENVIRONMENT / "bin" / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{folder}/mlflow.sqlite",
            "--serve-artifacts", "--artifacts-destination", str(folder / "artifacts"),
            *(["--app-name", "basic-auth"] if guarded else []),
        ]  # fmt: skip
        more = {}
        if guarded:
            configuration = folder / "auth.ini"
            configuration.write_text(
                f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder}/auth.sqlite\n"
                f"admin_username = {ADMIN}\nadmin_password = {PASSWORD}\n"
                "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
            )
            more = {
                "MLFLOW_AUTH_CONFIG_PATH": str(configuration),
                "MLFLOW_FLASK_SERVER_SECRET_KEY": "of the test",
            }
        self.launch(command, {**_quiet(folder), **more})
        until = time.monotonic() + START_S
        while not self._answers():
            assert self.running(), self.said()
            assert time.monotonic() < until, self.said()
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def read(self, model: str, download: str | None = None) -> dict[str, Any]:
        """What MLflow's own client says of a model, its versions and their runs; with `download` it fetches that version's files."""
        folder = self.folder / "downloaded"
        arguments = [self.url, model, *([download, str(folder)] if download else [])]
        done = subprocess.run(
            [str(ENVIRONMENT / "bin" / "python"), str(ROOT / "tests" / "mlflow_client.py"), *arguments],
            env=_quiet(self.folder), cwd=self.folder, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        return dict(json.loads(done.stdout))


def _quiet(folder: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"], "HOME": str(folder), "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore", "GIT_PYTHON_REFRESH": "quiet",
    }  # fmt: skip


@contextmanager
def mlflow_server(folder: Path, *, guarded: bool = False) -> Iterator[MlflowServer]:
    """A server until the end of the block; skips, or fails where all is required, where `make mlflow` did not run."""
    if not (ENVIRONMENT / ".installed").exists():
        absent("NOT RUN: MLflow is needed; `make mlflow` brings it, with 270 MB")
    server = MlflowServer(folder, guarded=guarded)
    try:
        yield server
    finally:
        server.stop()
