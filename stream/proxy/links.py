"""The sides of a connection that are pipes: this process's standard input and output, and a server that it starts, with what it started in turn."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from models.errors import ConfigError
from stream.proxy.messages import MAX_MESSAGE

GRACE_S = 2.0
"""How long a server may take to end once its input has ended, and once more after SIGTERM."""
SECRETS = ("DRIFTLINE_", "KAFKA_")
"""How variables begin that a server does not inherit: it is what is watched."""


class Pipes:
    """Two pipes, a message a line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._is_finished = False  # it has had its time already to go on

    async def lines(self) -> AsyncIterator[bytes]:
        """What comes, until its end, or a line that is too long to be a message.

        Raises
        ------
        ConnectionError
            Such a line: whoever waits for an answer in it would wait for ever.
        """
        while True:
            try:
                line = await self._reader.readline()
            except ValueError as error:
                raise ConnectionError(f"a message of more than {MAX_MESSAGE:,} bytes") from error
            if not line:
                return
            yield line.rstrip(b"\n")

    async def send(self, line: bytes) -> None:
        """Write a line; waits while nobody reads."""
        self._writer.write(line + b"\n")
        await self._writer.drain()

    def finish(self) -> bool:
        """End what is written."""
        with suppress(OSError):
            self._writer.close()
        self._is_finished = True
        return True


class Blocking:
    """Where to write to a file or a terminal, which never make anybody wait for long."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes) -> None:
        """Write all of it."""
        while data:
            data = data[os.write(self._descriptor, data) :]

    async def drain(self) -> None:
        """Nothing waits."""


@asynccontextmanager
async def standard() -> AsyncIterator[Pipes]:
    """This process's standard input and output. Whatever else prints goes to stderr meanwhile: on stdout is MCP alone."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=MAX_MESSAGE)
    sys.stdout.flush()
    source, sink = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    transports: list[Any] = []
    try:
        if _waits(source):
            transport, _ = await loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(source, "rb", buffering=0)
            )
            transports.append(transport)
        else:
            reader.feed_data(os.read(source, MAX_MESSAGE))
            reader.feed_eof()
        writer: Any = Blocking(sink)
        if _waits(sink) and not os.isatty(sink):
            out, protocol = await loop.connect_write_pipe(
                asyncio.streams.FlowControlMixin, os.fdopen(sink, "wb", buffering=0)
            )
            transports.append(out)
            writer = asyncio.StreamWriter(out, protocol, None, loop)
        yield Pipes(reader, writer)
    finally:
        os.dup2(sink, 1)
        for each in transports:
            each.close()


def _waits(descriptor: int) -> bool:
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor)


class Child(Pipes):
    """A server that this process started, with all that it started in turn.

    Attributes
    ----------
    code : int or None
        How it ended, as a shell says it; None: it did not end by itself.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        assert process.stdin is not None
        super().__init__(process.stdout, process.stdin)
        self._process = process
        self.code: int | None = None

    async def end(self) -> None:
        """Have it end: by the end of its input, by SIGTERM, by SIGKILL; then nothing of its group runs any more."""
        if self._process.returncode is None and self._reader.at_eof():
            await self._gone(GRACE_S)  # it closed its output: it is about to end
        if self._process.returncode is not None and not self._is_finished:
            code = self._process.returncode
            self.code = 128 - code if code < 0 else code
        had_time = self._is_finished
        self.finish()
        if not await self._gone(0 if had_time else GRACE_S):
            self._signal(signal.SIGTERM)
            await self._gone(GRACE_S)
        self._signal(signal.SIGKILL)
        await self._gone(GRACE_S)
        self._process._transport.close()  # type: ignore[attr-defined]  # asyncio closes it once nobody holds the pipes

    async def _gone(self, within_s: float) -> bool:
        """Whether it ended in time. asyncio's own wait goes on while a process that it left behind holds its pipes."""
        until = asyncio.get_running_loop().time() + within_s
        while self._process.returncode is None:
            if asyncio.get_running_loop().time() >= until:
                return False
            await asyncio.sleep(0.01)
        return True

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


@asynccontextmanager
async def child(command: Sequence[str], say: Callable[[str], None]) -> AsyncIterator[Child]:
    """A server, started in a process group of its own; nothing of it is left when this ends.

    Raises
    ------
    ConfigError
        It cannot be started.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(SECRETS)}
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=MAX_MESSAGE,
            env=environment,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the server {command[0]} cannot be started ({getattr(error, 'strerror', None) or error}); name a command behind --"
        ) from error
    started = Child(process)
    try:
        yield started
    finally:
        ending = asyncio.ensure_future(started.end())
        while not ending.done():  # whoever is cancelled here leaves no server behind
            with suppress(asyncio.CancelledError):
                await asyncio.shield(ending)
        if started.code is not None:
            say(f"the server ended with exit code {started.code}")
