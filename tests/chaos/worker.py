"""The worker with faults: what `driftline worker` runs, and a callback that kills, stops, ends, slows or raises.

``CHAOS_DIR`` names a directory that the scene and this program share:

``armed.json``
    One fault to come: ``{"point", "nth", "action", "seconds", "error"}``. It is taken away before the fault
    happens, so that it happens once, in whichever process reaches the point for the nth time first.
``hits.jsonl``
    A line for each fault, written before it happens.
``reached``
    A byte for each point passed: its place in `POINTS`. Bytes handed to the kernel outlive a SIGKILL.

``CHAOS_CORE`` runs another core version, as a deploy would; ``CHAOS_JWKS`` is a file of public keys that may
activate the release `CANDIDATE`; ``CHAOS_REQUEST_TIMEOUT_S`` makes the producer give up earlier than it would.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import aiokafka.errors

from models.errors import BrokerError, DriftlineError
from models.release.registry import NullModel
from stream import bootstrap
from stream.core import cases, decisions
from stream.core.judge import Judge
from stream.policy import load_policy
from stream.settings import Settings
from stream.shell import app, stage, transport

CANDIDATE = "candidate"
"""Digest under which a release is known that says other things of most calls: no model at all."""


class Fault(NamedTuple):
    """One fault at a named point."""

    point: str
    nth: int = 1
    action: str = "kill"
    seconds: float = 0.0
    error: str = "RequestTimedOutError"


def judge_of(settings: Settings, jwks: dict[str, Any] | None) -> Judge:
    """The judge of worker and offline replay alike, in mode enforce, with the candidate at hand."""
    return bootstrap.judge_with(
        settings,
        bootstrap.release(settings, mode="enforce"),
        jwks=jwks,
        more={
            CANDIDATE: bootstrap.make_release(NullModel(), load_policy(settings.policy_path, mode="enforce"))
        },
    )


@contextlib.contextmanager
def core(version: str | None) -> Iterator[None]:
    """Judge as core `version` would call itself; None leaves it."""
    before = cases.CORE
    cases.CORE = decisions.CORE = version or before
    try:
        yield
    finally:
        cases.CORE = decisions.CORE = before


class Faults:
    """The callback that `stream.shell.app.run` calls at each of its points."""

    def __init__(self, directory: Path) -> None:
        self._armed = directory / "armed.json"
        self._hits = directory / "hits.jsonl"
        self._reached = os.open(directory / "reached", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._number = {name: bytes([n]) for n, name in enumerate(stage.POINTS)}
        self._fault: Fault | None = None
        self._read_at = 0
        self._passed: Counter[str] = Counter()

    def __call__(self, point: str) -> None:
        os.write(self._reached, self._number[point])
        fault = self._current()
        if fault is None or fault.point != point:
            return
        self._passed[point] += 1
        if self._passed[point] == fault.nth:
            if fault.action != "slow":
                with contextlib.suppress(FileNotFoundError):
                    self._armed.unlink()
                self._fault = None
            self._told(fault)
        if self._passed[point] >= fault.nth:
            self._happen(fault)

    def _current(self) -> Fault | None:
        try:
            written = self._armed.stat().st_mtime_ns
        except FileNotFoundError:
            self._fault, self._read_at = None, 0
            return None
        if written != self._read_at:
            self._read_at = written
            self._passed.clear()
            with contextlib.suppress(FileNotFoundError):
                self._fault = Fault(**json.loads(self._armed.read_text()))
        return self._fault

    def _told(self, fault: Fault) -> None:
        line = {**fault._asdict(), "pid": os.getpid(), "monotonic": time.monotonic()}
        with self._hits.open("a") as sink:
            sink.write(json.dumps(line) + "\n")

    def _happen(self, fault: Fault) -> None:
        if fault.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault.action == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif fault.action == "terminate":
            os.kill(os.getpid(), signal.SIGTERM)
        elif fault.action == "slow":
            time.sleep(fault.seconds)
        else:
            raise getattr(aiokafka.errors, fault.error)


def _end_with(parent: int) -> None:
    # Not by the kernel's death signal: that goes by the thread that started us, and those come and go.
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def main() -> int:
    """Run the worker; the exit codes are the command line's."""
    threading.Thread(target=_end_with, args=[os.getppid()], daemon=True).start()
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    logging.getLogger("driftline").setLevel(logging.INFO)
    for name in ("kafka", "aiokafka"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    trusted = os.environ.get("CHAOS_JWKS")
    try:
        settings = Settings.from_environment()
        transport.REQUEST_TIMEOUT_S = float(
            os.environ.get("CHAOS_REQUEST_TIMEOUT_S", transport.REQUEST_TIMEOUT_S)
        )
        with core(os.environ.get("CHAOS_CORE")):
            return app.run(
                settings,
                judge=judge_of(settings, json.loads(Path(trusted).read_text()) if trusted else None),
                actor=bootstrap.actor(settings),
                announce=lambda text: sys.stderr.write(f"{time.monotonic():.2f} {text}\n") and None,
                at=Faults(Path(os.environ["CHAOS_DIR"])),
            )
    except BrokerError as error:
        sys.stderr.write(f"driftline: {error}\n")
        return app.EXIT_BROKER
    except DriftlineError as error:
        sys.stderr.write(f"driftline: {error}\n")
        return app.EXIT_ARTEFACT


if __name__ == "__main__":
    ended = main()
    sys.stderr.flush()
    # As the command line does: client threads may wait for a broker that is gone.
    os._exit(ended)
