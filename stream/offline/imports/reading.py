"""Files as JSON documents, within bounds: lines, whole documents, and the first of a file by which its format is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from models.errors import InputError
from stream.offline.imports.steps import Notes
from stream.offline.lines import Heard, open_text, unheard

MAX_LINE = 16 << 20
"""Characters of one line (chosen: four times what a message with a picture has)."""
MAX_DOCUMENT = 256 << 20
"""Characters of a document that is read whole."""
HEAD_CHARS = 1 << 16
HEAD_LINES = 50


class Head(NamedTuple):
    """How a file begins: its text, and the objects among its first lines."""

    text: str
    documents: list[dict[str, Any]]


def head_of(path: Path) -> Head:
    """How the file at `path` begins.

    Raises
    ------
    InputError
        It cannot be read.
    """
    with open_text(path) as opened:
        text = opened.read(HEAD_CHARS)
    documents = []
    for number, (_, line) in enumerate(_lines(path)):
        if number >= HEAD_LINES:
            break
        document = None if line is None else document_in(line)
        if isinstance(document, dict):
            documents.append(document)
    return Head(text, documents)


def documents_of(path: Path, notes: Notes, heard: Heard = unheard) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each line that is a JSON object, with its number; what is none is noted."""
    for number, line in _lines(path, heard):
        document = None if line is None else document_in(line)
        if isinstance(document, dict):
            yield number, document
        elif line is None:
            notes.refuse(f"{path}, line {number}", f"longer than {MAX_LINE:,} characters")
        else:
            notes.refuse(f"{path}, line {number}", "no JSON object")


def texts_of(path: Path, notes: Notes, heard: Heard = unheard) -> Iterator[tuple[int, str]]:
    """Each line that is not blank, with its number; one that is too long is noted."""
    for number, line in _lines(path, heard):
        if line is None:
            notes.refuse(f"{path}, line {number}", f"longer than {MAX_LINE:,} characters")
        else:
            yield number, line


def whole(path: Path) -> Any:
    """The JSON document that the file at `path` is; None where it is none.

    Raises
    ------
    InputError
        It is larger than `MAX_DOCUMENT`.
    """
    with open_text(path) as opened:
        text = opened.read(MAX_DOCUMENT + 1)
    if len(text) > MAX_DOCUMENT:
        raise InputError(f"{path}, one document of more than {MAX_DOCUMENT >> 20} MiB: split it")
    return document_in(text)


def document_in(text: str | bytes) -> Any:
    """The JSON document in `text`, None where there is none: half a character becomes ``?``, a number that JSON lacks its name.

    >>> document_in('{"cut": "\\\\ud83d", "score": NaN}')
    {'cut': '?', 'score': 'NaN'}
    >>> document_in("[" * 2000) is None
    True
    """
    raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass
    try:
        # Agents cut texts in the middle of characters, and Python writes NaN.
        loose = json.loads(raw.decode("utf-8", "replace"), parse_constant=str)
        return orjson.loads(json.dumps(loose, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def _lines(path: Path, heard: Heard = unheard) -> Iterator[tuple[int, str | None]]:
    """Numbered lines that are not blank; None for one that is too long."""
    with open_text(path, heard) as opened:
        number = 0
        while line := opened.readline(MAX_LINE + 1):
            number += 1
            if len(line) <= MAX_LINE:
                if not line.isspace():
                    yield number, line
                continue
            while line and not line.endswith("\n"):
                line = opened.readline(MAX_LINE)
            yield number, None
