"""The sessions that `driftline labels next` asks for, out of the file that it wrote, each with what the console knows of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import orjson

from stream.console.index import MAX_IDENTIFIER, Index, Row
from stream.console.written import Written
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
    """A file of `labels next`."""

    def __init__(self, path: Path) -> None:
        self.file = Written[Sequence[Asked]](
            path,
            list[Asked],
            [],
            most=MAX_BYTES,
            command=COMMAND,
            what="list of sessions as `labels next --json` has it",
            fewer="ask for fewer with --count",
        )

    def places(self, index: Index) -> list[Place]:
        """Its sessions, in its order; none where the file cannot be read, and the file says why."""
        self.file.look()
        return [Place(each, index.rows.get(each.case_id)) for each in self.file.content]
