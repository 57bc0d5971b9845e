"""A server as a process that tests and benchmarks start, pause, kill and start again."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from stream.shell.broker import _die_with_parent


class ServerProcess:
    """What Kafka's nodes and Keycloak share. It dies with the thread that started it, so start it in one that stays.

    Attributes
    ----------
    log : Path
        Appended to: standard output and error of each process.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start the process; nothing tells yet that it answers."""
        with self.log.open("ab") as sink:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=environment,
                preexec_fn=_die_with_parent,
                start_new_session=True,
            )

    @property
    def pid(self) -> int | None:
        """Process id while it runs, paused or not."""
        return self._process.pid if self.running() and self._process is not None else None

    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def said(self) -> str:
        """The end of its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-2000:]

    def kill(self) -> None:
        """SIGKILL: no farewell to anybody."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(10)

    def pause(self) -> None:
        """SIGSTOP: connections stay open or are taken, nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after `pause`."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """A controlled shutdown, SIGKILL after 20 seconds."""
        if self._process is None or not self.running():
            return
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()

    def _signal(self, number: int) -> None:
        if self._process is not None and self.running():
            self._process.send_signal(number)
