"""A program that a provider is asked through: bounded in time and words, and gone with all that it started."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress

from stream.bridge.provider import Unavailable

LINGER_S = 0.5
"""How long words may still come once the program has ended: what it left running may hold its output open."""


async def run(
    command: Sequence[str],
    asked: bytes = b"",
    *,
    name: str,
    timeout_s: float,
    most: int,
    with_errors: bool = False,
) -> tuple[int, bytes]:
    """Run a command without a shell; gives its exit code, and the first `most` bytes that it said, or one more.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    asked : bytes
        For its standard input.
    name : str
        What people call it.
    timeout_s : float
        How long it may take.
    most : int
        A program that says more is ended at once.
    with_errors : bool
        Whether what it says on standard error counts.

    Raises
    ------
    Unavailable
        It cannot be run, or did not end in time.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT if with_errors else asyncio.subprocess.DEVNULL,
            start_new_session=True,  # so that what it starts is ended with it
        )
    except OSError as error:
        raise Unavailable(f"{name} cannot be run: {error.strerror}") from error
    assert process.stdin is not None
    assert process.stdout is not None
    said = bytearray()
    saying = asyncio.create_task(_hear(process.stdout, said, most))
    ended = asyncio.create_task(_end(process))
    try:
        process.stdin.write(asked)
        process.stdin.close()
        async with asyncio.timeout(timeout_s):
            await asyncio.wait({saying, ended}, return_when=asyncio.FIRST_COMPLETED)
            if len(said) > most:
                return 0, bytes(said)
            code = await asyncio.shield(ended)
            await asyncio.wait({saying}, timeout=LINGER_S)
        return code, bytes(said)
    except TimeoutError as error:
        raise Unavailable(f"{name} did not end within {timeout_s:g} s") from error
    finally:
        if not (ended.done() and saying.done()):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        saying.cancel()
        await asyncio.wait({saying})
        emptied = asyncio.create_task(_empty(process.stdout))  # or its transport would stay open
        await asyncio.wait({ended, emptied}, timeout=LINGER_S)
        ended.cancel()
        emptied.cancel()


async def _end(process: asyncio.subprocess.Process) -> int:
    """A process's exit code; its own `wait` also waits for the pipes, which others may hold open."""
    while process.returncode is None:
        await asyncio.sleep(0.005)
    return process.returncode


async def _hear(stream: asyncio.StreamReader, said: bytearray, most: int) -> None:
    while len(said) <= most and (more := await stream.read(most + 1 - len(said))):
        said += more


async def _empty(stream: asyncio.StreamReader) -> None:
    while await stream.read(65_536):
        pass
