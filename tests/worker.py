"""The worker as a process, and what its topics say: shared by broker tests, chaos and benchmarks."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from stream import bootstrap
from stream.events import DECISIONS, EVENTS, Record, dumps
from stream.offline.replay import replay
from stream.settings import Settings
from stream.shell import export, topics
from stream.shell.outputs import claims_of
from stream.shell.send import Message

ROOT = Path(__file__).parents[1]
COMMAND = (sys.executable, "-m", "stream.cli.main", "worker", "--mode", "enforce")
_PASSED = (
    "bootstrap",
    "prefix",
    "partitions",
    "state_dir",
    "session_timeout_s",
    "checkpoint_s",
    "checkpoint_records",
    "metrics_port",
    "security_protocol",
    "sasl_mechanism",
    "sasl_username",
    "sasl_password",
    "ssl_cafile",
    "ssl_certfile",
    "ssl_keyfile",
)

Pairs = list[tuple[bytes | None, bytes | None]]


class Worker:
    """A worker process with the settings given, in mode enforce.

    Parameters
    ----------
    settings : Settings
        Passed on through the environment.
    log : Path
        Appended to: standard output and error.
    command : sequence of str
        Another program that runs the worker, for instance one with faults.
    environment : mapping
        More variables.
    """

    def __init__(
        self,
        settings: Settings,
        log: Path,
        command: Sequence[str] = COMMAND,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        known = {k: v for k, v in os.environ.items() if not k.startswith("KAFKA_")}
        for name in _PASSED:
            value = getattr(settings, name)
            if value is not None:
                known[f"DRIFTLINE_{name.upper()}"] = str(value)
        known["PYTHONFAULTHANDLER"] = "1"
        with log.open("ab") as sink:
            self._begins = sink.tell()
            self.process = subprocess.Popen(
                list(command), env={**known, **(environment or {})}, cwd=ROOT, stdout=sink, stderr=sink
            )

    def ready(self) -> bool:
        """Whether this process has said so, whatever an earlier one wrote to the same log."""
        return b"ready" in self.log.read_bytes()[self._begins :]

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def pause(self) -> None:
        """SIGSTOP: a zombie to be."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> tuple[int, float]:
        """SIGTERM; gives the exit code and how long it took in seconds."""
        began = time.monotonic()
        self.process.terminate()
        code = self.process.wait(30)
        return code, time.monotonic() - began

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()


def wait_until(condition: Callable[[], bool], worker: Worker, limit_s: float = 60.0) -> None:
    """Poll `condition`; fail with the worker's log once it ended or the limit has passed."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert worker.process.poll() is None, worker.log.read_text()
        if time.monotonic() > deadline:
            worker.process.send_signal(signal.SIGABRT)  # faulthandler writes where each thread is
            worker.process.wait(10)
            pytest.fail(worker.log.read_text())
        time.sleep(0.2)


def mixed(events: Iterable[dict[str, Any]], rng: random.Random, at_once: int = 12) -> Iterator[Message]:
    """Events in any order that keeps each session's own, of so many sessions at once."""
    queues: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        queues.setdefault(event["session_id"], []).append(event)
    while queues:
        session = rng.choice(list(queues)[:at_once])
        yield Message(EVENTS, session.encode(), (), dumps(queues[session].pop(0)))
        if not queues[session]:
            del queues[session]


def make_anew(settings: Settings, base: str) -> None:
    """Delete a topic with all that it holds, wait until it is gone, and make it again."""
    admin = topics.admin_client(settings)
    admin.delete_topics([settings.topic(base)])
    deadline = time.monotonic() + 60
    while settings.topic(base) in admin.list_topics():
        assert time.monotonic() < deadline, "the topic does not go"
        time.sleep(0.2)
    admin.close()
    topics.create(settings)


def read(settings: Settings, base: str) -> list[Record]:
    """Every record of a topic up to its present end."""
    return [record for record, _ in export.records(settings, base)]


def live(settings: Settings, base: str) -> Pairs:
    """Key and value of every record of a topic."""
    return [(record.key, record.value) for record in read(settings, base)]


def by_root(pairs: Pairs) -> dict[str, list[bytes]]:
    """Values of each root session (of an alert: each case) in order, byte-identical repeats dropped."""
    found: dict[str, dict[bytes, None]] = defaultdict(dict)
    for _, value in pairs:
        document = json.loads(value or b"")
        root = document.get("root_session_id") or document["finding_info"]["uid"]
        if value is not None:
            found[root].setdefault(value)
    return {root: list(values) for root, values in found.items()}


def claims(pairs: Pairs) -> Counter[str]:
    """Distinct claims; the signatures' bytes may differ."""
    return Counter({str(sorted(claims_of(value or b"").items())) for _, value in pairs})


def replayed(settings: Settings) -> tuple[dict[str, Pairs], int]:
    """What `replay` makes of an export of the input log, by topic; and how many decisions."""
    judge = bootstrap.judge(settings, mode="enforce")
    outputs: dict[str, Pairs] = defaultdict(list)
    for output in replay(export.records(settings, EVENTS), judge, bootstrap.actor(settings)):
        outputs[output.topic].append((output.key, output.value))
    return outputs, len(outputs[DECISIONS])
