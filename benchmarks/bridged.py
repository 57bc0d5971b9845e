"""What benchmarks of the bridge share: the bridge as a process that reads, what stands on the bus and since when, and progress."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from confluent_kafka import Consumer, TopicPartition
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import results
from stream.settings import Settings
from tests.bridge.rig import AUDIENCE, BridgeProcess, Issuer


class Bus(threading.Thread):
    """Hears each record of some topics, and when it could be read; a context manager."""

    def __init__(
        self, settings: Settings, bases: Sequence[str], hear: Callable[[str, bytes, float], None]
    ) -> None:
        super().__init__(daemon=True)
        self._hear = hear
        self._names = {settings.topic(base): base for base in bases}
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.bootstrap,
                "group.id": f"{settings.prefix}watch",
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )
        self._consumer.assign(
            [TopicPartition(name, n, 0) for name in self._names for n in range(settings.partitions)]
        )
        self._halt = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        """Read until it is told to stop; what the hearer raises ends it."""
        try:
            while not self._halt.is_set():
                message = self._consumer.poll(0.1)
                if message is not None and not message.error():
                    self._hear(self._names[message.topic()], message.value(), time.monotonic())
        except BaseException as error:
            self.error = error
        finally:
            self._consumer.close()

    def check(self) -> None:
        """Raise what ended it, if something did."""
        if self.error is not None:
            raise self.error

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._halt.set()
        self.join()


@contextmanager
def progress(text: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar; what it gives is told how much is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=results.console) as shown:
        task = shown.add_task(text, total=total)
        yield lambda done: shown.update(task, completed=min(done, total))


def until(condition: Callable[[], bool], limit_s: float, what: str, *checks: Callable[[], None]) -> None:
    """Wait for `condition`; each of `checks` raises where waiting is no use.

    Raises
    ------
    RuntimeError
        It does not come about within the limit.
    """
    deadline = time.monotonic() + limit_s
    while not condition():
        for check in checks:
            check()
        if time.monotonic() > deadline:
            raise RuntimeError(f"after {limit_s:.0f} s still not: {what}")
        time.sleep(0.02)


def started_bridge(
    settings: Settings,
    issuer: Issuer,
    directory: Path,
    name: str,
    broker: str,
    part: Mapping[str, Any],
    limits: Mapping[str, Any],
) -> BridgeProcess:
    """A bridge that reads already; `part` says what the one broker is."""
    config = directory / f"{name}.yaml"
    document = {"audiences": [AUDIENCE], "brokers": {broker: part}, "limits": limits}
    config.write_text(json.dumps(document), encoding="utf-8")
    made = BridgeProcess(settings, config, issuer.jwks, directory / f"{name}.log")
    with ExitStack() as stack:
        stack.push(made)
        until(lambda: "ready: reads" in made.said(), 60, "the bridge reads", alive(made))
        stack.pop_all()
    return made


def alive(bridge: BridgeProcess) -> Callable[[], None]:
    """A check that the bridge runs."""

    def check() -> None:
        if bridge.process.poll() is not None:
            raise RuntimeError(f"the bridge ended: {bridge.said()[-1500:]}")

    return check
