"""Logs of Inspect (inspect_ai): ``.json``, and ``.eval``, a zip of one JSON document for each sample.

The shape is ``EvalLog`` of inspect_ai 0.3.285, version 2 of the log; older samples without events are read by their messages.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from models.errors import InputError, brings
from stream.events import member
from stream.offline.imports.reading import MAX_DOCUMENT, Head, document_in, whole
from stream.offline.imports.steps import (
    MISSHAPEN,
    Acting,
    Called,
    Moment,
    Notes,
    Offered,
    Prompt,
    Returned,
    Step,
    moment_of,
    text_of,
    tool_of,
)

_JSON = re.compile(r'\s*\{\s*"version"\s*:\s*\d+\s*,\s*"status"\s*:')
_SAMPLE = re.compile(r"samples/[^/]+\.json")
_ATTACHMENT = re.compile(r"attachment://([0-9a-f]{32})")
ZIP_MAGIC = "PK\x03\x04"
ZSTANDARD = 93
"""How zip files name the compression that Inspect uses since 0.3.2xx, which Python reads from 3.14 on."""
_LOCAL_HEADER = 30


def recognised(head: Head) -> bool:
    """Whether a file begins like a log: a zip is taken for one."""
    return head.text.startswith(ZIP_MAGIC) or (bool(_JSON.match(head.text)) and '"eval"' in head.text)


def moments(path: Path, notes: Notes) -> Iterator[Moment]:
    """What happened, sample by sample, by the log at `path`.

    Raises
    ------
    InputError
        It is damaged, too large, or compressed in a way that cannot be read here.
    """
    with path.open("rb") as opened:
        is_zip = opened.read(4) == ZIP_MAGIC.encode()
    samples = _zipped(path, notes) if is_zip else _plain(path, notes)
    for where, log, sample in samples:
        try:
            yield from _moments(log, sample, notes)
        except MISSHAPEN as error:
            notes.refuse(where, f"a sample of another shape ({type(error).__name__})")


def _plain(path: Path, notes: Notes) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    log = whole(path)
    if not isinstance(log, dict):
        notes.refuse(str(path), "not one JSON object")
        return
    for number, sample in enumerate(log.get("samples") or (), 1):
        if isinstance(sample, dict):
            yield f"{path}, sample {number}", member(log, "eval"), sample


def _zipped(path: Path, notes: Notes) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as raw:
            names = {
                each.filename: each for each in archive.infolist()
            }  # of a name that is there twice the last counts
            head = names.get("header.json") or names.get("_journal/start.json")
            if head is None:
                raise InputError(f"{path}, a zip file, is no log of Inspect")
            log = document_in(_member(archive, raw, head))
            for name in names:
                if not _SAMPLE.fullmatch(name):
                    continue
                sample = document_in(_member(archive, raw, names[name]))
                if isinstance(sample, dict):
                    yield f"{path}, {name}", member(log, "eval"), sample
                else:
                    notes.refuse(f"{path}, {name}", "no JSON object")
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise InputError(f"{path}, damaged or not written to its end: {error}") from error


def _member(archive: zipfile.ZipFile, raw: IO[bytes], entry: zipfile.ZipInfo) -> bytes:
    """One file of the archive, within bounds whatever its header says."""
    if entry.compress_type != ZSTANDARD:
        with archive.open(entry) as opened:
            content = opened.read(MAX_DOCUMENT + 1)
    else:
        content = _unpacked(raw, entry, archive.filename or "")
    if len(content) > MAX_DOCUMENT:
        raise InputError(f"{archive.filename}, {entry.filename} is more than {MAX_DOCUMENT >> 20} MiB")
    return content


def _unpacked(raw: IO[bytes], entry: zipfile.ZipInfo, path: str) -> bytes:
    try:
        import zstandard
    except ImportError as error:
        raise InputError(
            f"{path}, compressed with Zstandard: {brings('import')}, "
            "or write it as JSON with inspect log convert --to json"
        ) from error
    raw.seek(entry.header_offset)
    header = raw.read(_LOCAL_HEADER)
    # APPNOTE.TXT 4.3.7: the lengths of name and extra field, before the data.
    raw.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), 1)
    packed = raw.read(min(entry.compress_size, MAX_DOCUMENT))
    try:
        # A member is one frame or several, one behind another.
        with zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True) as reader:
            return bytes(reader.read(MAX_DOCUMENT + 1))
    except zstandard.ZstdError as error:
        raise InputError(f"{path}, {entry.filename} is damaged: {error}") from error


def _moments(log: dict[str, Any], sample: dict[str, Any], notes: Notes) -> Iterator[Moment]:
    session = str(sample.get("uuid") or "") or "/".join(
        str(part) for part in (log.get("run_id"), log.get("task_id"), sample["id"], sample.get("epoch", 1))
    )
    attachments = member(sample, "attachments")
    events = [each for each in _flat(sample.get("events")) if isinstance(each, dict)]
    started = sample.get("started_at") or log.get("created")

    def at(time: Any, step: Step) -> Moment:
        return Moment(session, moment_of(time), step)

    yield at(
        None,
        Acting(
            {
                "id": str(log.get("task") or "inspect"),
                "framework": _version(log),
                "model": str(log.get("model") or ""),
            }
        ),
    )
    models = [each for each in events if each.get("event") == "model"]
    tools = {str(tool["name"]): tool_of(tool) for each in models for tool in each.get("tools") or ()}
    if tools:
        yield at(started, Offered(list(tools.values())))
    given = sample.get("input")
    asked = [given] if isinstance(given, str) else [m["content"] for m in given or () if m["role"] == "user"]
    for content in asked:
        yield at(started, Prompt(_resolved(text_of(content, notes), attachments)))
    messages = sample.get("messages") or []
    written = sum(1 for each in messages if each["role"] == "user") - len(asked)
    if written > 0:
        notes.lose("messages that solvers wrote in the user's place", written)
    notes.lose(
        "texts of the agent", sum(1 for m in messages if m["role"] == "assistant" and m.get("content"))
    )
    if any(each.get("event") == "tool" for each in events):
        for event in events:
            if event.get("event") == "tool":
                yield from _of_event(event, attachments, at, notes)
    else:
        for message in messages:
            yield from _of_message(message, attachments, at, notes)


def _of_event(event: dict[str, Any], attachments: dict[str, Any], at: Any, notes: Notes) -> Iterator[Moment]:
    yield at(
        event.get("timestamp"),
        Called(
            str(event["id"]), str(event["function"]), _resolved(event.get("arguments") or {}, attachments)
        ),
    )
    if event.get("pending"):
        return
    yield at(
        event.get("completed") or event.get("timestamp"),
        _returned(str(event["id"]), event.get("result"), event.get("error"), attachments, notes),
    )


def _of_message(
    message: dict[str, Any], attachments: dict[str, Any], at: Any, notes: Notes
) -> Iterator[Moment]:
    if message["role"] == "assistant":
        for call in message.get("tool_calls") or ():
            given = _resolved(call.get("arguments") or {}, attachments)
            yield at(None, Called(str(call["id"]), str(call["function"]), given))
    elif message["role"] == "tool":
        yield at(
            None,
            _returned(
                str(message.get("tool_call_id")),
                message.get("content"),
                message.get("error"),
                attachments,
                notes,
            ),
        )


def _returned(call_id: str, result: Any, error: Any, attachments: dict[str, Any], notes: Notes) -> Returned:
    if isinstance(result, list):
        result = text_of(result, notes)
    if isinstance(error, dict):
        return Returned(call_id, _resolved(result or error.get("message"), attachments), True)
    return Returned(call_id, _resolved(result, attachments))


def _flat(events: Any) -> Iterator[Any]:
    """Events with those that older logs nest in the event of a tool."""
    for event in events or ():
        yield event
        if isinstance(event, dict) and event.get("event") == "tool":
            yield from event.get("events") or ()


def _resolved(value: Any, attachments: dict[str, Any]) -> Any:
    """`value` with the texts that the sample keeps apart put back in their places."""
    if isinstance(value, str):
        if "attachment://" not in value:
            return value
        return _ATTACHMENT.sub(lambda found: str(attachments.get(found[1], found[0])), value)
    if isinstance(value, dict):
        return {name: _resolved(each, attachments) for name, each in value.items()}
    return [_resolved(each, attachments) for each in value] if isinstance(value, list) else value


def _version(log: dict[str, Any]) -> str:
    return f"inspect_ai/{member(log, 'packages').get('inspect_ai') or 'unknown'}"
