"""The same judge and actor over files and logs: offline, no broker.

A file is JSON lines, gzipped or not, of bus events, of recorded sessions, or of a log as ``driftline topics
dump`` writes it; the reader tells which by each line's fields.
"""

from __future__ import annotations

import base64
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
import numpy.typing as npt
import orjson

from models.contracts import Family
from models.errors import InputError
from models.evidence.features import FEATURES
from stream import bootstrap
from stream.core.judge import Judge
from stream.core.window import Partition
from stream.events import CASES, DECISIONS, EVENTS, QUARANTINE, Output, Record, dumps
from stream.offline.recorded import events_of, load_tools, open_text
from stream.outbound.act import Actor
from stream.policy import corroborating, load_policy
from stream.settings import Settings

BATCH = 512


def is_recorded(document: Any) -> bool:
    """Whether a line of a file is a recorded session rather than a bus event."""
    return isinstance(document, dict) and "calls" in document and "type" not in document


def is_log(document: Any) -> bool:
    """Whether a line of a file is a record of a log."""
    return isinstance(document, dict) and "value_b64" in document and "offset" in document


def documents_in(path: Path | str) -> Iterator[tuple[int, bytes, Any]]:
    """Line number, bytes and JSON document (None where it is none) of each line of `path` that is not blank."""
    with open_text(path) as lines:
        for n, line in enumerate(lines, 1):
            raw = line.rstrip("\r\n").encode("utf-8", "surrogateescape")
            if not raw.strip():
                continue
            try:
                yield n, raw, orjson.loads(raw)
            except orjson.JSONDecodeError:
                yield n, raw, None


def read_records(
    path: Path | str, tools: Path | None = None, *, warn: Callable[[str], None] | None = None
) -> Iterator[tuple[Record, int | None]]:
    """Records of a file in order, each with the partition count of its log (None: a plain file).

    Raises
    ------
    InputError
        The file cannot be opened, or a line of a log or a recorded session has another shape. A line that is
        not JSON is passed on as it is, so that it reaches quarantine like on the bus.
    """
    return ((record, partitions) for _, record, partitions in _numbered(path, tools, warn))


def _numbered(
    path: Path | str, tools: Path | None, warn: Callable[[str], None] | None
) -> Iterator[tuple[int, Record, int | None]]:
    """What `read_records` gives, each with the number of its line."""
    catalogues = load_tools(path, tools)
    warned = False
    offset = 0
    for n, raw, document in documents_in(path):
        if is_log(document):
            yield n, *_log_record(document, f"{path}, line {n}")
        elif is_recorded(document):
            if catalogues is None and not warned and warn is not None:
                warned = True
                warn(
                    f"{path} has no tool catalogues beside it: tools are judged by their calls alone (--tools)"
                )
            for event in events_at(f"{path}, line {n}", document, catalogues):
                root = event.get("root_session_id") or event["session_id"]
                yield n, _plain(dumps(event), root, offset), None
                offset += 1
        else:
            root = None
            if isinstance(document, dict):
                root = document.get("root_session_id") or document.get("session_id")
            yield n, _plain(raw, root if isinstance(root, str) else None, offset), None
            offset += 1


def events_at(
    where: str,
    session: dict[str, Any],
    catalogues: dict[str, list[dict[str, Any]]] | None,
    run: str = "",
) -> list[dict[str, Any]]:
    """As `events_of`, with its catalogue of these, and the place of the session in its errors."""
    try:
        return events_of(session, (catalogues or {}).get(str(session.get("tools_ref", ""))), run)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _plain(value: bytes, root: str | None, offset: int) -> Record:
    return Record(EVENTS, 0, offset, 0, "none", root.encode() if root is not None else None, (), value)


def _log_record(row: dict[str, Any], where: str) -> tuple[Record, int | None]:
    try:
        key, value = row.get("key"), row.get("value_b64")
        headers = row.get("headers") or []
        pairs = headers.items() if isinstance(headers, dict) else ((h[0], h[1]) for h in headers)
        record = Record(
            str(row["topic"]),
            int(row["partition"]),
            int(row["offset"]),
            int(row["timestamp_ms"]),
            str(row["timestamp_type"]),
            key.encode() if isinstance(key, str) else None,
            tuple((str(k), str(v).encode()) for k, v in pairs),
            base64.b64decode(value) if value is not None else None,
        )
        return record, int(row["partitions"]) if row.get("partitions") else None
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise InputError(
            f"{where}: not a record of a log ({error!r}); write it with driftline topics dump"
        ) from error


def replay(
    records: Iterable[tuple[Record, int | None]],
    judge: Judge,
    actor: Actor | None = None,
    *,
    batch: int = BATCH,
) -> Iterator[Output]:
    """Every output that the log leads to, in order; with an `actor`, alerts and tokens follow their cases."""
    partitions: dict[tuple[str, int], Partition] = {}
    waiting: list[Record] = []
    acted = 0

    def flush() -> Iterator[Output]:
        nonlocal acted
        if not waiting:
            return
        where = (waiting[0].topic, waiting[0].partition)
        partition = partitions.setdefault(where, Partition.empty())
        step = judge.judge(partition, waiting)
        partition.apply(step.changes)
        waiting.clear()
        for output in step.outputs:
            yield output
            if actor is not None and output.topic == CASES:
                case = Record(CASES, 0, acted, 0, "none", output.key, output.headers, output.value)
                acted += 1
                yield from actor.act([case])

    for record, n in records:
        judge.partitions = n
        if waiting and (
            len(waiting) >= batch
            or (record.topic, record.partition) != (waiting[0].topic, waiting[0].partition)
        ):
            yield from flush()
        waiting.append(record)
    yield from flush()


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


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"driftline: {text}\n")


def run_replay(
    path: Path | str,
    all_outputs: bool,
    tools: Path | None,
    settings: Settings,
    out: TextIO,
    *,
    mode: str | None = None,
    warn: Callable[[str], None] | None = None,
) -> int:
    """Write decisions, or with `all_outputs` everything, as JSON lines to `out`; return how many.

    Raises
    ------
    InputError
        Records were refused, and no call was left to judge; or as of `read_records`.
    """
    judge = bootstrap.judge(settings, mode=mode)
    actor = bootstrap.actor(settings) if all_outputs else None
    say = warn or _to_stderr
    written = decided = 0
    refused: Counter[str] = Counter()
    first = ""
    # An output follows its record by less than a batch, so no more lines need be remembered.
    lines: deque[tuple[tuple[str, int, int], int]] = deque(maxlen=BATCH + 1)

    def noted() -> Iterator[tuple[Record, int | None]]:
        for line, record, partitions in _numbered(path, tools, say):
            lines.append(((record.topic, record.partition, record.offset), line))
            yield record, partitions

    for output in replay(noted(), judge, actor):
        if output.topic == QUARANTINE:
            told = {name: value.decode() for name, value in output.headers}
            refused[told["reason"]] += 1
            if not first:
                line = dict(lines).get((told["topic"], int(told["partition"]), int(told["offset"])))
                # A case that act refuses is of no line.
                where = f"line {line}" if line is not None else f"of {told['topic']}"
                first = f"{where}: {told['reason']}, {told['detail']}"
        decided += output.topic == DECISIONS
        if all_outputs or output.topic == DECISIONS:
            out.write((line_of(output) if all_outputs else output.value).decode() + "\n")
            written += 1
    if refused:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(refused.items()))
        text = f"{refused.total()} records were refused ({reasons}); --all shows them; the first is {first}"
        if not decided:
            raise InputError(f"nothing in {path} could be judged: {text}")
        say(text)
    return written


class Rows(NamedTuple):
    """Feature rows as the live judge saw them.

    Attributes
    ----------
    X : float64 array of shape (n_calls, n_features)
    session_ids : list of str
    call_seqs : int64 array of shape (n_calls,)
    families : int64 array of shape (n_calls,)
        How many families of evidence spoke, as `stream.policy.decide` counts them for a revocation.
    """

    X: npt.NDArray[np.float64]
    session_ids: list[str]
    call_seqs: npt.NDArray[np.int64]
    families: npt.NDArray[np.int64]


class _Recorder:
    """A scorer that keeps the rows it is asked about: training sees what live scoring sees."""

    def __init__(self) -> None:
        self.rows: list[npt.NDArray[np.float64]] = []

    def score(self, X: npt.NDArray[np.float64], seen: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        self.rows.append(X)
        return np.zeros(len(X), np.int64)

    def shares(self, row: Sequence[float]) -> list[tuple[Family, int]]:
        return []


def feature_rows(
    sessions: Iterable[dict[str, Any]],
    tools: dict[str, list[dict[str, Any]]] | None,
    settings: Settings | None = None,
) -> Rows:
    """Feature rows of recorded sessions, one for each call, through the live judge."""
    from models.release.registry import NullModel

    used = settings or Settings()
    recorder = _Recorder()
    release = bootstrap.make_release(NullModel(), load_policy())._replace(scorer=recorder)
    judge = bootstrap.judge_with(used, release)
    ids: list[str] = []
    seqs: list[int] = []
    families: list[int] = []
    partition = Partition.empty()
    batch: list[Record] = []

    def flush() -> None:
        step = judge.judge(partition, batch)
        partition.apply(step.changes)
        batch.clear()
        for output in step.outputs:
            if output.topic == DECISIONS:
                decision = orjson.loads(output.value)
                ids.append(decision["session_id"])
                seqs.append(decision["call_seq"])
                families.append(len(corroborating(decision["families"])))

    offset = 0
    for session in sessions:
        for event in events_of(session, (tools or {}).get(session.get("tools_ref", ""))):
            batch.append(_plain(dumps(event), event["session_id"], offset))
            offset += 1
        if len(batch) >= BATCH:
            flush()
    if batch:
        flush()
    X = np.concatenate(recorder.rows) if recorder.rows else np.zeros((0, len(FEATURES)))
    return Rows(X, ids, np.array(seqs, np.int64), np.array(families, np.int64))


def read_sessions(path: Path | str) -> Sequence[dict[str, Any]]:
    """The recorded sessions of a file."""
    with open_text(path) as lines:
        return [orjson.loads(line) for line in lines if line.strip()]
