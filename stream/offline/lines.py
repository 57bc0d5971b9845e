"""Lines of JSON: a file opened, its documents, what each is, and files refused before anything heavy is loaded.

Nothing of the contracts or of a model is imported here, so that a wrong file is told at once.
"""

from __future__ import annotations

import gzip
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO, cast

import orjson

from models.errors import ConfigError, InputError

_GZIP_MAGIC = b"\x1f\x8b"
_OURS = frozenset({"type", "session_id", "calls", "value_b64"})
"""What a line has at least one of that is an event, a recorded session or a record of a log."""

Heard = Callable[[int], None]
Told = Callable[[bytes, Any], bool]
"""Whether a line, given as bytes and as the document in them, is of the kind that is wanted."""


def unheard(_: int) -> None:
    """For callers that do not ask how far the reading is."""


class _Watched(io.FileIO):
    """A file that tells how many bytes each read of it gave."""

    def __init__(self, path: Path | str, heard: Heard) -> None:
        super().__init__(path, "rb")
        self._heard = heard

    def readinto(self, buffer: Any) -> int:
        count = super().readinto(buffer)
        self._heard(count)
        return count


def open_text(path: Path | str, heard: Heard = unheard) -> TextIO:
    """Open JSON lines: plain or gzipped (told by its bytes, not its name), ``-`` = standard input.

    Only line feeds split lines. Bytes that are not UTF-8 come back as surrogate escapes, so that a caller can
    restore them and quarantine that line instead of losing the file.

    Parameters
    ----------
    heard : hears of each part of a file as it is read, in bytes on disk; of standard input it hears nothing.

    Raises
    ------
    InputError
        The file cannot be opened.
    """
    raw: io.BufferedReader
    if str(path) == "-":
        stdin = sys.stdin.buffer
        raw = stdin if isinstance(stdin, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, stdin))
    else:
        try:
            raw = io.BufferedReader(_Watched(path, heard))
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from error
    binary: Any = raw
    if raw.peek(2)[:2] == _GZIP_MAGIC:
        binary = gzip.GzipFile(fileobj=raw)
        binary.myfileobj = raw  # so that closing the text closes the file too
    return io.TextIOWrapper(binary, encoding="utf-8", errors="surrogateescape", newline="\n")


def is_recorded(document: Any) -> bool:
    """Whether a line of a file is a recorded session rather than a bus event."""
    return isinstance(document, dict) and "calls" in document and "type" not in document


def is_log(document: Any) -> bool:
    """Whether a line of a file is a record of a log."""
    return isinstance(document, dict) and "value_b64" in document and "offset" in document


def documents_in(path: Path | str, heard: Heard = unheard) -> Iterator[tuple[int, bytes, Any]]:
    """Line number, bytes and JSON document (None where it is none) of each line of `path` that is not blank."""
    with open_text(path, heard) as lines:
        for n, line in enumerate(lines, 1):
            raw = line.rstrip("\r\n").encode("utf-8", "surrogateescape")
            if not raw.strip():
                continue
            try:
                yield n, raw, orjson.loads(raw)
            except orjson.JSONDecodeError:
                yield n, raw, None


def is_input(_: bytes, document: Any) -> bool:
    """Whether a line may be an event, a recorded session or a record of a log, by the names in it."""
    return isinstance(document, dict) and not _OURS.isdisjoint(document)


def is_recording(_: bytes, document: Any) -> bool:
    """As `is_recorded`, of a line."""
    return is_recorded(document)


def is_json(line: bytes, _: Any) -> bool:
    """Whether a line may begin JSON, of a line or of a whole file."""
    return line.lstrip()[:1] in (b"{", b"[")


def check(paths: Sequence[Path], told: Told | None, wanted: str, tools: Path | None = None) -> None:
    """Refuse what a command could only refuse later: a file that is not there, or with no line of the kind wanted.

    A file is read up to the first such line, so garbage among other lines is met when it is judged. An empty file is let pass, as
    an empty topic is. Standard input and pipes can be read once alone, so of these nothing is known yet.

    Parameters
    ----------
    told : tells a line of the kind wanted; None asks for files alone
    wanted : what they should hold, for the error
    tools : catalogues that were named, which must be there

    Raises
    ------
    InputError
        A file cannot be read, or holds something else.
    ConfigError
        Standard input is named twice, or `tools` are missing.
    """
    if [str(path) for path in paths].count("-") > 1:
        raise ConfigError("- is named twice, and standard input can be read once")
    if tools is not None and not tools.exists():
        raise ConfigError(f"the tool catalogues {tools} (--tools) do not exist")
    for path in paths:
        if str(path) == "-" or (path.exists() and not (path.is_file() or path.is_dir())):
            continue
        with open_text(path):
            pass
        if told is None:
            continue
        first = None
        for number, line, document in documents_in(path):
            if told(line, document):
                break
            first = (
                first or f"line {number} is {'another JSON document' if document is not None else 'not JSON'}"
            )
        else:
            if first is not None:
                raise InputError(f"{path} holds no {wanted}: {first}, and no other line is better")
