"""The whole system on one machine: broker, topics, worker, sessions played in, and a live view.

The worker is a process of its own, as in production; the broker is the embedded one. Everything ends with
the demo, and nothing is left behind.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.live import Live
from rich.table import Table

from models.errors import BrokerError, DriftlineError, InputError
from stream.events import DECISIONS, REVOCATIONS
from stream.settings import Settings
from stream.shell import topics
from stream.shell.broker import EmbeddedBroker
from stream.shell.send import Message, Sender, interleaved, messages, paced
from stream.shell.watch import Board, Seen, plain, records

SAMPLES = Path(__file__).parents[1] / "samples"
PARTITIONS = 4
READY_S = 40.0
QUIET_S = 2.0
"""With every call decided, this long without anything new ends the demo: act has caught up."""
STALL_S = 20.0
"""This long without a decision, while some are missing, is a failure."""


def sample_messages() -> list[Message]:
    """The repository's sample sessions, interleaved as concurrent sessions would arrive."""
    files = sorted(SAMPLES.glob("*.jsonl"))
    if not files:
        raise InputError(f"no samples in {SAMPLES}; reinstall, or name a file with --data")
    return interleaved([list(messages(file)) for file in files])


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` of `values` do not exceed; None of nothing.

    >>> percentile([3.0, 1.0, 2.0], 0.5)
    2.0
    """
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


class Latency:
    """When each event was sent, and how long its decision and its revocation took to be readable."""

    def __init__(self) -> None:
        self._sent: dict[str, float] = {}
        self._case_sent: dict[str, float] = {}
        self._early: dict[str, float] = {}  # revocations read before the decision that led to them
        self.decided_ms: list[float] = []
        self.revoked_ms: list[float] = []

    def sent(self, event_id: str, at: float) -> None:
        """The event went to the broker."""
        self._sent[event_id] = at

    def read(self, seen: Seen, document: dict[str, Any]) -> None:
        """A decision or a revocation became readable."""
        if seen.topic == DECISIONS:
            at = self._sent.get(str(document.get("event_id")))
            if at is None:
                return
            self.decided_ms.append((seen.read_at - at) * 1000)
            case = document.get("case_id")
            if document.get("verdict") == "revoke" and case is not None and case not in self._case_sent:
                self._case_sent[case] = at
                if case in self._early:
                    self.revoked_ms.append((self._early.pop(case) - at) * 1000)
        elif seen.topic == REVOCATIONS:
            case = str(document.get("txn"))
            if case in self._case_sent:
                self.revoked_ms.append((seen.read_at - self._case_sent[case]) * 1000)
            else:
                self._early[case] = seen.read_at


def _worker(settings: Settings, log: Any) -> subprocess.Popen[bytes]:
    kept = ("DRIFTLINE_MODEL_DIR", "DRIFTLINE_POLICY_PATH")  # to show one's own model or policy at work
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
    return subprocess.Popen(
        [sys.executable, "-m", "stream.cli.main", "worker", "--mode", "enforce"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=log,
        start_new_session=True,  # Ctrl-C reaches the demo alone, which then stops the worker
    )


def _await_ready(worker: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if worker.poll() is not None:
            raise DriftlineError(f"the worker ended with code {worker.returncode}: {_last_line(log)}")
        if b"driftline: ready" in log.read_bytes():
            return
        time.sleep(0.1)
    raise BrokerError(f"the worker was not ready within {READY_S:.0f} s: {_last_line(log)}")


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def _feed(
    settings: Settings, played: Sequence[Message], rate: float, latency: Latency, failures: list[Exception]
) -> Iterator[None]:
    with Sender(settings) as sender:
        for message in paced(played, rate):
            try:
                event_id = orjson.loads(message.value or b"").get("id")
            except (orjson.JSONDecodeError, AttributeError):
                event_id = None
            if isinstance(event_id, str):
                latency.sent(event_id, time.time())
            sender.send(message)
            if failures:
                return
            yield


def n_calls(played: Sequence[Message]) -> int:
    """Distinct calls among `played`, by event: what must be decided before the demo is over."""
    ids: set[tuple[str, str]] = set()
    for message in played:
        try:
            event = orjson.loads(message.value or b"")
        except orjson.JSONDecodeError:
            continue
        if isinstance(event, dict) and event.get("type") == "tool.called":
            ids.add((str(event.get("session_id")), str(event.get("id"))))
    return len(ids)


def run(
    data: Path | None = None, *, rate: float = 40.0, tools: Path | None = None, limit: int | None = None
) -> int:
    """Play `data` (default: the samples) through a whole Driftline; gives the exit code.

    Raises
    ------
    InputError, BrokerError, DriftlineError
        The file cannot be read, or a part of the system did not come up.
    """
    console = Console()
    played = sample_messages() if data is None else list(messages(data, tools=tools))
    if limit is not None:
        played = played[:limit]
    expected = n_calls(played)
    console.print(
        f"{len(played)} events, {expected} calls; policy mode enforce; embedded broker (not Apache Kafka)"
    )
    with tempfile.TemporaryDirectory(prefix="driftline-demo-") as scratch, EmbeddedBroker() as broker:
        settings = replace(
            Settings(bootstrap=broker.bootstrap, partitions=PARTITIONS),
            state_dir=Path(scratch),
            # On this broker a group's first join takes half the session timeout.
            session_timeout_s=4.0,
            fetch_wait_ms=10,
        )
        topics.create(settings)
        log = Path(scratch) / "worker.log"
        with log.open("wb") as sink:
            worker = _worker(settings, sink)
        try:
            with console.status("the worker is joining its groups ..."):
                _await_ready(worker, log)
            code = _play(console, settings, worker, log, played, expected, rate)
        finally:
            _stop(worker)
    return code


def _play(
    console: Console,
    settings: Settings,
    worker: subprocess.Popen[bytes],
    log: Path,
    played: Sequence[Message],
    expected: int,
    rate: float,
) -> int:
    board, latency = Board(), Latency()
    failures: list[Exception] = []
    done = threading.Event()

    def send() -> None:
        try:
            for _ in _feed(settings, played, rate, latency, failures):
                pass
        except Exception as error:  # shown by the main thread
            failures.append(error)
        finally:
            done.set()

    sender = threading.Thread(target=send, name="send", daemon=True)
    sender.start()
    last = time.monotonic()
    stalled = False
    with Live(
        board.render(), console=console, refresh_per_second=4, transient=not console.is_terminal
    ) as live:
        for batch in records(settings, beginning=True, wait_ms=50):
            for seen in batch:
                document = board.feed(seen)
                if document is not None:
                    latency.read(seen, document)
                    last = time.monotonic()
            live.update(board.render())
            quiet = time.monotonic() - last
            if failures:
                break
            if worker.poll() is not None:
                raise DriftlineError(f"the worker ended with code {worker.returncode}: {_last_line(log)}")
            if done.is_set() and board.n_calls + board.n_quarantined >= expected and quiet > QUIET_S:
                break
            if done.is_set() and quiet > STALL_S:
                stalled = True
                break
    if failures:
        raise failures[0]
    _summary(console, board, latency)
    if stalled:
        console.print(f"[red]only {board.n_calls} of {expected} calls were decided within {STALL_S:.0f} s")
        return 1
    return 0


def _summary(console: Console, board: Board, latency: Latency) -> None:
    def shown(values: Sequence[float]) -> str:
        p50, p99 = percentile(values, 0.5), percentile(values, 0.99)
        return "-" if p50 is None or p99 is None else f"p50 {p50:.0f} ms, p99 {p99:.0f} ms"

    drifted = Table(title="sessions that drifted, and why", title_justify="left", expand=True)
    for name, width in (("session", 27), ("call", 4), ("tool", 16), ("verdict", 7)):
        drifted.add_column(name, width=width if console.width >= 100 else min(width, 14), overflow="fold")
    drifted.add_column("why", ratio=1, overflow="fold")
    for session, one in sorted(board.raised.items()):
        why = plain(one.get("explanation"), 160)
        drifted.add_row(session, str(one.get("call_seq")), str(one.get("tool")), str(one.get("verdict")), why)
    console.print(drifted)
    table = Table(title="what happened", show_header=False, title_justify="left")
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(board.verdicts.items()))
    for name, value in (
        ("sessions", str(len(board.sessions))),
        ("calls decided", f"{board.n_calls} ({verdicts})"),
        ("alert records for the SOC", str(board.n_alerts)),
        ("revocations", f"{board.n_revocations} for drift, {board.n_ended} as sessions ended"),
        ("records refused", str(board.n_quarantined)),
        ("produced to decided", shown(latency.decided_ms)),
        ("produced to revoked", shown(latency.revoked_ms)),
    ):
        table.add_row(name, value)
    console.print(table)


def _stop(worker: subprocess.Popen[bytes]) -> None:
    if worker.poll() is None:
        worker.send_signal(signal.SIGTERM)
        try:
            worker.wait(20)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
