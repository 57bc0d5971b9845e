"""The whole system on one machine: broker, topics, worker, sessions played in, and a live view.

The worker is a process of its own, as in production; the broker is the embedded one. Everything ends with
the demo, and nothing is left behind.
"""

from __future__ import annotations

import importlib.util
import io
import re
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

import orjson
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from models.contracts import ToolCalled
from models.errors import ContractError, InputError, brings
from stream.events import parse
from stream.settings import Settings
from stream.shell import topics
from stream.shell.board import Board, plain
from stream.shell.broker import EmbeddedBroker
from stream.shell.demo_credentials import credentials
from stream.shell.latency import Latency, p50_p99
from stream.shell.outputs import records
from stream.shell.screen import WIDE, screen
from stream.shell.send import Message, Sender, interleaved, messages, paced, refuse_unjudgeable
from stream.shell.worker_process import ChildProcess

SAMPLES = Path(__file__).parents[1] / "samples"
PARTITIONS = 4
QUIET_S = 2.0
"""With every call decided, this long without anything new ends the demo: act has caught up."""
STALL_S = 20.0
"""This long without a decision, while some are missing, is a failure."""


class Watched(Protocol):
    """A process beside the demo."""

    def await_ready(self) -> None:
        """Wait until it works."""
        ...

    def check(self) -> None:
        """Raise if it has ended."""
        ...


class Lived(NamedTuple):
    """Tokens that the OAuth server called active before anything was played, and after all of it."""

    before: int
    after: int


def sample_messages() -> list[Message]:
    """The repository's sample sessions, interleaved as concurrent sessions would arrive."""
    files = sorted(SAMPLES.glob("*.jsonl"))
    if not files:
        raise InputError(f"no samples in {SAMPLES}; reinstall, or name a file with --data")
    return interleaved([list(messages(file)) for file in files])


class Expected(NamedTuple):
    """What must come out before the demo is over: decisions of distinct calls, and records that are refused."""

    calls: int
    refused: int


def expected(played: Sequence[Message]) -> Expected:
    """What `played` leads to."""
    calls: set[tuple[str, str]] = set()
    refused = 0
    for message in played:
        try:
            event = parse(message.value).event
        except ContractError:
            refused += 1
            continue
        if isinstance(event, ToolCalled):
            calls.add((event.session_id, event.id))
    return Expected(len(calls), refused)


def run(
    data: Path | None = None,
    *,
    rate: float = 40.0,
    tools: Path | None = None,
    limit: int | None = None,
    picture: Path | None = None,
) -> int:
    """Play `data` (default: the samples) through a whole Driftline; gives the exit code.

    `picture` is where an SVG of the last view and the summary goes.

    Raises
    ------
    InputError, BrokerError, DriftlineError
        The file cannot be read, nothing in it could be judged, or a part of the system did not come up.
    """
    console = screen()
    played = sample_messages() if data is None else list(messages(data, tools=tools))
    if limit is not None:
        played = played[:limit]
    refuse_unjudgeable(played)
    awaited = expected(played)
    console.print(
        f"{len(played)} events, {awaited.calls} calls; policy mode enforce; embedded broker (not Apache Kafka)"
    )
    with tempfile.TemporaryDirectory(prefix="driftline-demo-") as scratch, EmbeddedBroker() as broker:
        settings = replace(
            Settings(bootstrap=broker.bootstrap, partitions=PARTITIONS),
            state_dir=Path(scratch),
            attestation_issuers=SAMPLES / "issuers.json",
            # On this broker a group's first join takes half the session timeout.
            session_timeout_s=4.0,
            fetch_wait_ms=10,
        )
        topics.create(settings)
        with ExitStack() as running:
            scene = credentials(settings, played, Path(scratch))
            if isinstance(scene, str):
                console.print(Text(scene, style="dim"))
            # Together: each waits for the first join of a group.
            processes: list[Watched] = [] if isinstance(scene, str) else [running.enter_context(scene)]
            processes.append(running.enter_context(ChildProcess(settings, Path(scratch) / "worker.log")))
            pages = _console(settings, Path(scratch))
            if pages is not None:
                processes.append(running.enter_context(pages))
            with console.status("the worker and the bridge are joining their groups ..."):
                for process in processes:
                    process.await_ready()
            if pages is not None:
                address = re.search(r"https?://\S+", pages.ready())
                console.print(
                    f"console, while this runs: {address[0].rstrip(';') if address else pages.ready()}"
                )
            else:
                console.print(Text(f"no console: {brings('console')}", style="dim"))
            feed = _Feed(settings, played, rate)
            complete = _show(console, settings, processes, feed, sum(awaited))
            lived = None if isinstance(scene, str) else Lived(scene.issued, len(scene.alive()))
    _summary(console, feed, lived)
    if picture is not None:
        _draw(feed, picture, lived)
    if not complete:
        console.print(
            f"[red]only {feed.board.n_calls} of {awaited.calls} calls were decided within {STALL_S:.0f} s"
        )
    elif feed.board.n_quarantined and not feed.board.n_judged:
        raise InputError(f"nothing could be judged: {feed.board.n_quarantined} records were refused")
    return 0 if complete else 1


def _console(settings: Settings, scratch: Path) -> ChildProcess | None:
    """``driftline console`` beside the demo, on a free port; None where the extra ``console`` is not installed."""
    if not all(importlib.util.find_spec(name) for name in ("starlette", "uvicorn", "jinja2")):
        return None
    return ChildProcess(settings, scratch / "console.log", ("console", "--port", "0"))


class _Feed(threading.Thread):
    """Plays the messages onto the bus beside the view, and holds what both know: the board, and the times."""

    def __init__(self, settings: Settings, played: Sequence[Message], rate: float) -> None:
        super().__init__(name="send", daemon=True)
        self.board, self.latency = Board(), Latency()
        self.failure: Exception | None = None
        self.done = threading.Event()
        self._settings, self._played, self._rate = settings, played, rate

    def run(self) -> None:
        """Send everything; what fails is kept for the main thread."""
        try:
            with Sender(self._settings) as sender:
                for message in paced(self._played, self._rate):
                    if (event_id := _event_id(message)) is not None:
                        self.latency.sent(event_id, time.time())
                    sender.send(message)
        except Exception as error:
            self.failure = error
        finally:
            self.done.set()


def _event_id(message: Message) -> str | None:
    try:
        event_id = orjson.loads(message.value or b"").get("id")
    except (orjson.JSONDecodeError, AttributeError):
        return None
    return event_id if isinstance(event_id, str) else None


def _show(
    console: Console, settings: Settings, processes: Sequence[Watched], feed: _Feed, expected: int
) -> bool:
    """Show what is decided until all of it is; whether every call was."""
    board = feed.board
    feed.start()
    last = time.monotonic()
    with Live(board, console=console, refresh_per_second=4, transient=not console.is_terminal):
        for batch in records(settings, beginning=True, wait_ms=50):
            for seen in batch:
                if (document := board.feed(seen)) is not None:
                    feed.latency.read(seen, document)
                    last = time.monotonic()
            quiet_s = time.monotonic() - last
            if feed.failure is not None:
                raise feed.failure
            for process in processes:
                process.check()
            if feed.done.is_set() and board.n_calls + board.n_quarantined >= expected and quiet_s > QUIET_S:
                return True
            if feed.done.is_set() and quiet_s > STALL_S:
                return False
    raise AssertionError("records never end by themselves")


def _draw(feed: _Feed, picture: Path, lived: Lived | None) -> None:
    """The last view and the summary as a picture."""
    canvas = Console(record=True, file=io.StringIO(), width=120, height=32)
    canvas.print(feed.board)
    _summary(canvas, feed, lived)
    canvas.save_svg(str(picture), title="make demo")


def _summary(console: Console, feed: _Feed, lived: Lived | None) -> None:
    """The sessions that drifted, and the counts."""
    board = feed.board
    fits = console.width < WIDE
    drifted = Table(title="sessions that drifted, and why", title_justify="left", expand=fits)
    for name, width in (("session", 27), ("call", 4), ("tool", 16), ("verdict", 7)):
        narrow = width if console.width >= 100 else min(width, 14)
        drifted.add_column(name, width=narrow if fits else None, overflow="fold")
    drifted.add_column("why", ratio=1, overflow="fold")
    for session, decision in sorted(board.raised.items()):
        call, tool, verdict = (str(decision.get(name)) for name in ("call_seq", "tool", "verdict"))
        drifted.add_row(session, call, tool, verdict, plain(decision.get("explanation"), 160))
    console.print(drifted)
    table = Table(title="what happened", show_header=False, title_justify="left")
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(board.verdicts.items()))
    for name, value in (
        ("sessions", str(len(board.sessions))),
        ("calls decided", f"{board.n_calls} ({verdicts})"),
        ("alerts for the SOC", f"{board.n_alerts}, and {board.n_updates} updates of their cases"),
        ("revocations", f"{board.n_revocations} for drift, {board.n_ended} as sessions ended"),
        ("records refused", str(board.n_quarantined)),
        ("produced to decided", p50_p99(feed.latency.decided_ms)),
        ("produced to revoked", p50_p99(feed.latency.revoked_ms)),
        *_fates(feed, lived),
    ):
        table.add_row(name, value)
    console.print(table)


def _fates(feed: _Feed, lived: Lived | None) -> list[tuple[str, str]]:
    """What became of the credentials, by the OAuth server's own word."""
    if lived is None:
        return []
    failed = feed.board.outcomes["failed"]
    text = f"{lived.before} active at the OAuth server before, {lived.after} after"
    text += " (not issued for a task that ended)" if lived.after else ""
    return [
        ("credentials", text + (f"; {failed} revocations failed" if failed else "")),
        ("the SOC was told", f"{feed.board.n_contained} sessions contained: all that drift revoked is dead"),
        ("produced to dead", f"{p50_p99(feed.latency.dead_ms)} (introspection says inactive)"),
    ]
