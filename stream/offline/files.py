"""What a file holds: bus events, recorded sessions or a log, as JSON lines, gzipped or not.

The reader tells which by each line's fields. A log is what ``driftline topics dump`` writes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import orjson

from models.errors import ConfigError, InputError
from stream.events import DECISIONS, EVENTS, Record, dumps
from stream.offline.lines import Heard, documents_in, is_log, is_recorded, open_text, unheard
from stream.offline.recorded import events_of


def name_of(path: Path) -> str:
    """A recorded file's name without its endings."""
    return path.name.removesuffix(".gz").removesuffix(".jsonl")


def tools_path(path: Path | str) -> Path:
    """Where the catalogues of a recorded file lie: ``<name>_tools.json`` beside it."""
    path = Path(path)
    return path.with_name(f"{name_of(path)}_tools.json")


def load_tools(path: Path | str, given: Path | None = None) -> dict[str, list[dict[str, Any]]] | None:
    """Catalogues by ``tools_ref`` for a file of recorded sessions; None when there are none beside it.

    Parameters
    ----------
    path : the recorded file, or the ``.json`` file of catalogues itself
    given : the same, named by the user: it must be there

    Raises
    ------
    ConfigError
        `given` is missing.
    InputError
        The file holds no catalogues.
    """
    place = Path(given or path)
    if str(place) == "-":
        return None
    beside = place if place.suffix == ".json" else tools_path(place)
    try:
        text = beside.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        if given is not None:
            raise ConfigError(f"the tool catalogues {beside} (--tools) do not exist") from error
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the tool catalogues {beside}: {error}") from error
    try:
        catalogues = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{beside} is not JSON: {error}") from error
    if not isinstance(catalogues, dict) or not all(isinstance(tools, list) for tools in catalogues.values()):
        raise InputError(f"{beside} must map each tools_ref to a list of tools")
    return cast(dict[str, list[dict[str, Any]]], catalogues)


def read_records(
    path: Path | str,
    tools: Path | None = None,
    *,
    warn: Callable[[str], None] | None = None,
    heard: Heard = unheard,
) -> Iterator[tuple[Record, int | None]]:
    """Records of a file in order, each with the partition count of its log (None: a plain file).

    Parameters
    ----------
    heard : see `stream.offline.lines.open_text`

    Raises
    ------
    InputError
        The file cannot be opened, or a line of a log or a recorded session has another shape. A line that is
        not JSON is passed on as it is, so that it reaches quarantine like on the bus.
    """
    return ((record, partitions) for _, record, partitions in numbered(path, tools, warn, heard))


def numbered(
    path: Path | str, tools: Path | None, warn: Callable[[str], None] | None, heard: Heard = unheard
) -> Iterator[tuple[int, Record, int | None]]:
    """What `read_records` gives, each with the number of its line."""
    catalogues = load_tools(path, tools)
    warned = False
    offset = 0
    for n, raw, document in documents_in(path, heard):
        if is_log(document):
            yield n, *log_record(document, f"{path}, line {n}")
        elif is_recorded(document):
            if catalogues is None and not warned and warn is not None:
                warned = True
                warn(
                    f"{path} has no tool catalogues beside it: tools are judged by their calls alone (--tools)"
                )
            for event in events_at(f"{path}, line {n}", document, catalogues):
                root = event.get("root_session_id") or event["session_id"]
                yield n, plain_record(dumps(event), root, offset), None
                offset += 1
        else:
            root = None
            if isinstance(document, dict):
                root = document.get("root_session_id") or document.get("session_id")
            yield n, plain_record(raw, root if isinstance(root, str) else None, offset), None
            offset += 1


def one_log(
    paths: Sequence[Path | str],
    tools: Path | None,
    warn: Callable[[str], None] | None,
    heard: Heard = unheard,
) -> Iterator[tuple[str, Record, int | None]]:
    """What `numbered` gives of files that are one log, in this order; each with its place in words.

    Plain files follow one another, as ``cat`` would join them; records of dumps say themselves where they stood.
    """
    offset = 0
    for path in paths:
        for n, record, partitions in numbered(path, tools, warn, heard):
            where = f"line {n}" if len(paths) == 1 else f"{path}, line {n}"
            if record.timestamp_type == "none" and partitions is None:
                yield where, record._replace(offset=offset), None
                offset += 1
            else:
                yield where, record, partitions


def bus_records(path: Path | str) -> Iterator[Record]:
    """Records of whatever topics a file has: logs, outputs of ``replay`` with ``--all`` or without, events, recorded sessions.

    What has no place on a bus has partition -1, and its line as offset.

    Raises
    ------
    InputError
        As of `read_records`.
    """
    for n, raw, document in documents_in(path):
        if is_log(document):
            yield log_record(document, f"{path}, line {n}")[0]
        elif is_recorded(document):
            for event in events_at(f"{path}, line {n}", document, None):
                yield Record(EVENTS, -1, n, 0, "none", None, (), dumps(event))
        elif isinstance(document, dict) and "topic" in document:
            yield output_record(document, n, f"{path}, line {n}")
        else:
            is_decision = isinstance(document, dict) and "decision_id" in document
            yield Record(DECISIONS if is_decision else EVENTS, -1, n, 0, "none", None, (), raw)


def output_record(row: dict[str, Any], line: int, where: str) -> Record:
    """A line of ``replay --all`` as a record; `where` it stands, for the error.

    Raises
    ------
    InputError
        It has another shape.
    """
    try:
        value = dumps(row["value"]) if "value" in row else base64.b64decode(row["value_b64"])
        headers = tuple((str(name), str(text).encode()) for name, text in row.get("headers") or ())
        return Record(
            str(row["topic"]), -1, line, 0, "none", str(row.get("key") or "").encode(), headers, value
        )
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{where}: not an output of driftline replay --all ({error!r})") from error


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


def plain_record(value: bytes, root: str | None, offset: int) -> Record:
    """A record of a plain file: the only partition, no stamp, the root session as its key."""
    return Record(EVENTS, 0, offset, 0, "none", root.encode() if root is not None else None, (), value)


def log_record(row: dict[str, Any], where: str) -> tuple[Record, int | None]:
    """A line of a log as the record that it was, with the partition count; `where` it stands, for the error.

    Raises
    ------
    InputError
        It has another shape.
    """
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
        if not (0 <= record.partition < 2**31 and 0 <= record.offset < 2**63):
            raise ValueError("no log has such a partition or offset")
        return record, int(row["partitions"]) if row.get("partitions") else None
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise InputError(
            f"{where}: not a record of a log ({error!r}); write it with driftline topics dump"
        ) from error


def read_sessions(path: Path | str) -> Sequence[dict[str, Any]]:
    """The recorded sessions of a file."""
    with open_text(path) as lines:
        return [orjson.loads(line) for line in lines if line.strip()]
