"""A command of Driftline as a process of its own, which may be killed at the nth pass of a named step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from stream.settings import Settings

ROOT = Path(__file__).parents[1]
_KILLED = """
import asyncio, os, signal, sys

from stream.cli.main import main
{imports}

step, at = os.environ["KILL_AT"].rsplit(":", 1)
left = int(at)


def here(name):
    global left
    if name == step:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def around(owner, method, name):
    real = getattr(owner, method)

    async def killed(*arguments, **options):
        here("before " + name)
        result = await real(*arguments, **options)
        here("after " + name)
        return result

    setattr(owner, method, killed)


{steps}
sys.argv[0] = "driftline"
main()
"""


def killed(imports: str, steps: Mapping[str, tuple[str, str]]) -> str:
    """A program that runs the command and ends by SIGKILL; `steps` has owner and method by the name of what is around them."""
    lines = [f"around({owner}, {method!r}, {name!r})" for name, (owner, method) in steps.items()]
    return _KILLED.format(imports=imports, steps="\n".join(lines))


class CommandProcess:
    """A command as a process; `kill_at` is ``step:n`` of the program `killed_program`."""

    def __init__(
        self,
        settings: Settings,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        killed_program: str = "",
        kill_at: str | None = None,
    ) -> None:
        self._log = log
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DRIFTLINE_", "KAFKA_"))}
        kept |= {
            "DRIFTLINE_BOOTSTRAP": settings.bootstrap,
            "DRIFTLINE_PREFIX": settings.prefix,
            "DRIFTLINE_GROUP": settings.group,
            "DRIFTLINE_SESSION_TIMEOUT_S": str(settings.session_timeout_s),
            "PYTHONPATH": str(ROOT),
            **environment,
        }
        program = ["-m", "stream.cli.main"]
        if kill_at is not None:
            kept["KILL_AT"] = kill_at
            program = ["-c", killed_program]
        self._sink = log.open("ab")
        self.process = subprocess.Popen(
            [sys.executable, *program, *arguments],
            env=kept,
            stdin=subprocess.DEVNULL,
            stdout=self._sink,
            stderr=self._sink,
            cwd=ROOT,
        )

    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_said(self, text: str, within_s: float = 60) -> None:
        deadline = time.monotonic() + within_s
        while text not in self.said():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)

    def ended(self, within_s: float) -> int:
        """Wait for its end; gives the code."""
        return self.process.wait(within_s)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._sink.close()
