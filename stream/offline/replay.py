"""The same judge and actor over files and logs (`stream.offline.files`): offline, no broker."""

from __future__ import annotations

import base64
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import orjson

from models.errors import InputError
from stream import bootstrap
from stream.core.judge import Judge
from stream.core.partition import Partition
from stream.core.references import SecretReference
from stream.events import CASES, DECISIONS, QUARANTINE, Output, Record, dumps
from stream.offline.files import one_log
from stream.offline.lines import Heard, unheard
from stream.outbound.act import Actor
from stream.settings import Settings

BATCH = 512


def replay(
    records: Iterable[tuple[Record, int | None]],
    judge: Judge,
    actor: Actor | None = None,
    *,
    batch: int = BATCH,
    warn: Callable[[SecretReference], None] = lambda _: None,
) -> Iterator[Output]:
    """Every output that the log leads to, in order; with an `actor`, alerts and tokens follow their cases.

    Parameters
    ----------
    records : iterable of (Record, int or None)
        Each with the partition count of the log that it comes from; None where that has none.
    warn : callable
        Hears of secrets that stood in place of references, batch by batch.
    """
    partitions: dict[tuple[str, int], Partition] = {}
    acted = 0
    for of_one_place in batches(records, batch):
        first, n_partitions = of_one_place[0]
        partition = partitions.setdefault((first.topic, first.partition), Partition.empty())
        partition.n_partitions = n_partitions
        step = judge.judge(partition, [record for record, _ in of_one_place])
        partition.apply(step.changes)
        for found in step.secrets:
            warn(found)
        for output in step.outputs:
            yield output
            if actor is not None and output.topic == CASES:
                case = Record(CASES, 0, acted, 0, "none", output.key, output.headers, output.value)
                acted += 1
                yield from actor.act([case])


def batches(
    records: Iterable[tuple[Record, int | None]], most: int
) -> Iterator[list[tuple[Record, int | None]]]:
    """The records in order, at most so many at a time, each time of one partition of one log."""
    waiting: list[tuple[Record, int | None]] = []
    place: tuple[str, int, int | None] | None = None
    for record, n_partitions in records:
        last, place = place, (record.topic, record.partition, n_partitions)
        if waiting and (place != last or len(waiting) >= most):
            yield waiting
            waiting = []
        waiting.append((record, n_partitions))
    if waiting:
        yield waiting


def line_of(output: Output) -> bytes:
    """An output as a line of ``replay --all``."""
    row: dict[str, Any] = {
        "topic": output.topic,
        "key": output.key.decode(errors="replace"),
        "headers": [[k, v.decode(errors="replace")] for k, v in output.headers],
    }
    try:
        row["value"] = orjson.loads(output.value)
    except orjson.JSONDecodeError:
        row["value_b64"] = base64.b64encode(output.value).decode()
    return dumps(row)


def run_replay(
    paths: Sequence[Path | str],
    all_outputs: bool,
    tools: Path | None,
    settings: Settings,
    out: TextIO,
    *,
    mode: str | None = None,
    heard: Heard = unheard,
) -> int:
    """Judge files as one log; write decisions, or with `all_outputs` everything, as JSON lines to `out`; return how many.

    Raises
    ------
    InputError
        Records were refused, and no call was left to judge; or as of `read_records`.
    """
    judge = bootstrap.judge(settings, mode=mode)
    actor = bootstrap.actor(settings) if all_outputs else None
    bootstrap.spare_the_collector()
    written, judged = 0, False
    refusals = _Refusals()
    warned: dict[tuple[str, str, str], SecretReference] = {}

    def warn(found: SecretReference) -> None:
        warned.setdefault(found[:3], found)

    for output in replay(refusals.noting(one_log(paths, tools, _to_stderr, heard)), judge, actor, warn=warn):
        if output.topic == QUARANTINE:
            refusals.add(output)
        judged = judged or (output.topic == DECISIONS and not _answers_a_refused_call(output))
        if all_outputs or output.topic == DECISIONS:
            out.write((line_of(output) if all_outputs else output.value).decode() + "\n")
            written += 1
    for secret in warned.values():
        _to_stderr(str(secret))
    if refusals.count:
        if not judged:
            names = " or ".join(map(str, paths))
            raise InputError(f"nothing in {names} could be judged: {refusals.text()}")
        _to_stderr(refusals.text())
    return written


def _answers_a_refused_call(decision: Output) -> bool:
    return "refused" in orjson.loads(decision.value)["marks"]


class _Refusals:
    """Records that went to quarantine: how many for which reason, and where the first one stands."""

    def __init__(self) -> None:
        self._reasons: Counter[str] = Counter()
        self._first = ""
        # An output follows its record by less than a batch, so no more lines need be remembered.
        self._lines: deque[tuple[tuple[str, int, int], str]] = deque(maxlen=BATCH + 1)

    def noting(self, placed: Iterable[tuple[str, Record, int | None]]) -> Iterator[tuple[Record, int | None]]:
        """The records with their partition counts, their lines remembered."""
        for line, record, partitions in placed:
            self._lines.append(((record.topic, record.partition, record.offset), line))
            yield record, partitions

    def add(self, output: Output) -> None:
        """Count a record of the quarantine topic."""
        headers = {name: value.decode() for name, value in output.headers}
        self._reasons[headers["reason"]] += 1
        if not self._first:
            place = headers["topic"], int(headers["partition"]), int(headers["offset"])
            line = dict(self._lines).get(place)
            # A case that act refuses is of no line.
            where = line if line is not None else f"of {headers['topic']}"
            self._first = f"{where}: {headers['reason']}, {headers['detail']}"

    @property
    def count(self) -> int:
        """Records refused."""
        return self._reasons.total()

    def text(self) -> str:
        """What to say of them."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self._reasons.items()))
        return f"{self.count} records were refused ({reasons}); --all shows them; the first is {self._first}"


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"driftline: {text}\n")
