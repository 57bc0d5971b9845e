"""Runs a program of Python with the CPU that its core takes counted from inside: ``-m benchmarks.counted FILE PROGRAM``.

What a shell costs beside its core is a small difference of two large numbers, and the speed of a shared machine changes
between two runs by more than that. So the CPU of the one thread that judges is summed up in the very run whose process
is measured from outside; the sum stands in FILE, eight bytes of a float, for `core_s`.
"""

from __future__ import annotations

import mmap
import runpy
import struct
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

_SUM = struct.Struct("<d")


def core_s(path: Path) -> float:
    """Seconds of CPU that the core of the program at work has taken so far; 0 before its first batch."""
    raw = path.read_bytes() if path.exists() else b""
    return float(_SUM.unpack(raw)[0]) if raw else 0.0


def count(path: Path) -> None:
    """Sum up in `path` what `Judge.judge` and `Partition.apply` take from here on."""
    from stream.core.judge import Judge
    from stream.core.partition import Partition

    path.write_bytes(_SUM.pack(0.0))
    with path.open("r+b") as file:
        shared = mmap.mmap(file.fileno(), _SUM.size)

    def counted(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def run(*given: Any) -> Any:
            began = time.thread_time()
            try:
                return method(*given)
            finally:
                _SUM.pack_into(shared, 0, _SUM.unpack_from(shared)[0] + time.thread_time() - began)

        return run

    for owner, name in ((Judge, "judge"), (Partition, "apply")):
        setattr(owner, name, counted(getattr(owner, name)))


def main() -> None:
    """Count, then become the program: a module behind ``-m``, or a script."""
    path, program, *arguments = sys.argv[1:]
    count(Path(path))
    if program == "-m":
        program, *arguments = arguments
        sys.argv = [program, *arguments]
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        sys.argv = [program, *arguments]
        runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
