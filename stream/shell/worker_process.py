"""A worker, or another command, as a process of its own, started and stopped by the demo as a supervisor would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from models.errors import BrokerError, DriftlineError
from stream.settings import Settings

READY_S = 40.0
"""How long joining its groups may take; on the embedded broker it takes half a minute."""
STOP_S = 20.0


class ChildProcess:
    """A command under `settings`, whose stderr goes to the file `log`; a context manager.

    Of the environment it keeps the model and the policy alone: the demo shows those at work, and nothing else.
    """

    def __init__(
        self, settings: Settings, log: Path, command: Sequence[str] = ("worker", "--mode", "enforce")
    ) -> None:
        self._log, self._name = log, command[0]
        kept = ("DRIFTLINE_MODEL_DIR", "DRIFTLINE_POLICY_PATH")
        environment = {
            name: value
            for name, value in os.environ.items()
            if name in kept or not name.startswith(("DRIFTLINE_", "KAFKA_"))
        }
        environment |= {
            "DRIFTLINE_BOOTSTRAP": settings.bootstrap,
            "DRIFTLINE_PARTITIONS": str(settings.partitions),
            "DRIFTLINE_STATE_DIR": str(settings.state_dir),
            "DRIFTLINE_SESSION_TIMEOUT_S": str(settings.session_timeout_s),
        }
        if settings.attestation_issuers is not None:
            environment["DRIFTLINE_ATTESTATION_ISSUERS"] = str(settings.attestation_issuers)
        with log.open("wb") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "stream.cli.main", *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=sink,
                start_new_session=True,  # Ctrl-C reaches the demo alone, which then stops the worker
            )

    def await_ready(self) -> None:
        """Wait until it reads; `BrokerError` when it does not within `READY_S`."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            self.check()
            if b"driftline: ready" in self._log.read_bytes():
                return
            time.sleep(0.1)
        raise BrokerError(f"the {self._name} was not ready within {READY_S:.0f} s: {self._last_line()}")

    def ready(self) -> str:
        """What it said when it was ready."""
        lines = self._log.read_text(errors="replace").splitlines()
        return next(
            (line.partition("driftline: ready")[2] for line in lines if "driftline: ready" in line), ""
        )

    def check(self) -> None:
        """Raise `DriftlineError` with its last words if it has ended."""
        if self._process.poll() is not None:
            code = self._process.returncode
            raise DriftlineError(f"the {self._name} ended with code {code}: {self._last_line()}")

    def _last_line(self) -> str:
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1][:300] if lines else "it said nothing"

    def __enter__(self) -> Self:
        """The process runs already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it as a supervisor does: by SIGTERM, and by SIGKILL when that takes too long."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
