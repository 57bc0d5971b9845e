"""The sessions that `driftline labels next` asks for, out of the file that it wrote, each with what the console knows of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import orjson

from stream.console.index import MAX_IDENTIFIER, Index, Row
from stream.offline.labels.store import NOBODY

MAX_BYTES = 8 * 1024 * 1024
"""Of the file: the 10,000 sessions that `labels next` lists at most, and some room."""
COMMAND = "driftline labels next events.jsonl --labels labels.jsonl --json > queue.json"
"""What writes such a file."""

Text = Annotated[str, msgspec.Meta(max_length=MAX_IDENTIFIER)]


class Asked(msgspec.Struct, frozen=True):
    """A session to label, as `stream.offline.labels.queue.Next` tells it."""

    tenant: Text
    session_id: Text
    case_id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
    agent: Text
    calls: int
    call_seq: int
    tool: Text
    score: float
    threshold: float
    from_threshold: float
    from_others: float | None = None


class Place(NamedTuple):
    """A session of the queue, and its row, where the console holds the session."""

    asked: Asked
    row: Row | None

    @property
    def is_answered(self) -> bool:
        """Whether an analyst has said since what its case was; taken back, it is asked for again."""
        said = self.row.feedback if self.row is not None else ""
        return bool(said) and not said.startswith("reopen ")

    @property
    def line(self) -> str:
        """A line of a label file for it, whose label and name are to be filled in."""
        of = {"tenant": self.asked.tenant, "session_id": self.asked.session_id}
        return orjson.dumps(of | {"label": "benign", "whence": "import", "who": NOBODY}).decode()


class Queue:
    """A file of `labels next`, read anew whenever it is another one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._asked: Sequence[Asked] = ()
        self.problem = ""
        self.written_ms = 0

    def places(self, index: Index) -> list[Place]:
        """Its sessions, in its order; none where the file cannot be read, and `problem` says why."""
        self.look()
        return [Place(each, index.rows.get(each.case_id)) for each in self._asked]

    def look(self) -> str:
        """Read the file, where it is another one than before; what is wrong with it, or nothing."""
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                seen = status.st_ino, status.st_size, status.st_mtime_ns
                if seen != self._seen:
                    self._seen, self.written_ms = seen, status.st_mtime_ns // 1_000_000
                    self._asked, self.problem = self._read(file.read(MAX_BYTES + 1))
        except OSError as error:
            self._asked, self._seen = (), None
            self.problem = f"{self.path} cannot be read ({error.strerror}): write it with {COMMAND}"
        return self.problem

    def _read(self, content: bytes) -> tuple[Sequence[Asked], str]:
        """The sessions of such a file, and what is wrong with it."""
        if len(content) > MAX_BYTES:
            return (), f"{self.path} has more than {MAX_BYTES // 1024**2} MiB: ask for fewer with --count"
        try:
            return msgspec.json.decode(content, type=list[Asked]), ""
        except (msgspec.DecodeError, UnicodeDecodeError):
            # Whose words name a place in the type, and no mend.
            return (
                (),
                f"{self.path} is no list of sessions as `labels next --json` has it: write it anew with {COMMAND}",
            )
