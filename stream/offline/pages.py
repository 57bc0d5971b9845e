"""What a reader is shown of the calls of recorded sessions, as the live judge would show it: what readers learn from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from models.heads.readers import Readers
from models.reading.reader import Shown
from models.release.registry import NullModel
from stream import bootstrap
from stream.core.items import Call
from stream.core.partition import Partition
from stream.offline.rows import batches
from stream.policy import load_policy
from stream.settings import Settings


class ShownCall(NamedTuple):
    """A call of a session, and what a reader is shown of it."""

    session_id: str
    seq: int
    shown: Shown


def shown_calls(
    sessions: Iterable[dict[str, Any]], tools: dict[str, list[dict[str, Any]]], readers: Readers
) -> Iterator[ShownCall]:
    """The calls that the reader of `readers` may read, in order."""
    release = bootstrap.make_release(NullModel(), load_policy(), readers)._replace(readers=readers)
    judge = bootstrap.judge_with(Settings(), release)
    partition = Partition.empty()
    for batch in batches(sessions, tools):
        draft, items, _ = judge.taken(partition, batch)
        partition.apply(draft.changes({}))
        for item in items:
            if isinstance(item, Call) and item.shown is not None:
                yield ShownCall(item.session.session, item.seq, item.shown)
