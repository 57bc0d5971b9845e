"""A file that another command writes and a page shows: read anew whenever it is another one, bounded, and told of where it is wrong."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

Content = TypeVar("Content")


class Written(Generic[Content]):
    """Such a file, as JSON of one type.

    Parameters
    ----------
    path : Path
    kind : type
        What its content must be.
    nothing : Content
        What stands for it while it cannot be read.
    most : int
        Bytes that are read of it at most.
    command : str
        What writes such a file.
    what : str
        What it should hold, for whoever gave another one.
    fewer : str
        How a smaller one is had.
    """

    def __init__(
        self,
        path: Path,
        kind: type[Content],
        nothing: Content,
        *,
        most: int,
        command: str,
        what: str,
        fewer: str,
    ) -> None:
        self.path = path
        self.problem = ""
        self.written_ms = 0
        self.content = self._nothing = nothing
        self._kind, self._most = kind, most
        self._command, self._what, self._fewer = command, what, fewer
        self._seen: tuple[int, int, int] | None = None

    def look(self) -> str:
        """Read the file, where it is another one than before; what is wrong with it, or nothing."""
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                seen = status.st_ino, status.st_size, status.st_mtime_ns
                if seen != self._seen:
                    self._seen, self.written_ms = seen, status.st_mtime_ns // 1_000_000
                    self.content, self.problem = self._read(file.read(self._most + 1))
        except OSError as error:
            self.content, self._seen = self._nothing, None
            self.problem = f"{self.path} cannot be read ({error.strerror}): write it with {self._command}"
        return self.problem

    def _read(self, content: bytes) -> tuple[Content, str]:
        """What stands in such a file, and what is wrong with it."""
        if len(content) > self._most:
            return self._nothing, f"{self.path} has more than {self._most // 1024**2} MiB: {self._fewer}"
        try:
            return msgspec.json.decode(content, type=self._kind), ""
        except (msgspec.DecodeError, UnicodeDecodeError):
            # Whose words name a place in the type, and no mend.
            return self._nothing, f"{self.path} is no {self._what}: write it anew with {self._command}"
