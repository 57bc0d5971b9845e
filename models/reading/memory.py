"""What a session keeps of its intent and of answers, so that a later call can be read beside them: bounded, as packed pieces.

Kept text is a chain of entries, each a head of 16 bits, its kind and its length, and as many pieces. Of an intent each sentence
is an entry. Of answers each call that was answered is one entry, its number and how it was called, and each segment of its answer
(a sentence of a text, a row of a document) is one.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from models.reading.pieces import Pieces, Thing, packed, unpacked

MAX_INTENT = 512
"""Pieces and heads of an intent that are kept; of more, the first half and the last."""
MAX_HEARD = 3072
"""Pieces and heads of all answers that are kept at most, the latest (chosen: most recorded sessions fill less than half)."""
MAX_ANSWER = 1024
"""... of one answer: the segments that tell most, so that no answer drives out all others."""
MAX_SEGMENT = 48
"""Pieces of one segment; a longer one is several."""
MAX_SEGMENTS = 600
"""Segments of one answer that are looked at."""
MAX_FETCHER = 10
"""Pieces of how a call was called."""
MAX_CHARS = 20_000
"""Characters of an answer that are looked at."""
MAX_DEPTH = 64
"""Levels of nesting of a document that are looked at."""
FIELD = 60
"""Characters of a field that stands in a row with others."""

_CALL, _TEXT = 1, 0
_SEGMENT = re.compile(r"(?<=[.!?;])\s+|\n+|<br ?/?>|\s\|\s")


class Segment(NamedTuple):
    """A row or sentence of an answer, and the call that fetched it."""

    seq: int
    fetcher: bytes
    pieces: bytes


def with_sentences(
    kept: bytes, sentences: Iterable[str], pieces: Pieces, room: int = 2 * MAX_INTENT
) -> bytes:
    """A kept intent with more sentences, in `room` bytes."""
    entries = [*_entries(kept), *((_TEXT, pieces.of(sentence, MAX_SEGMENT)) for sentence in sentences)]
    first: list[tuple[int, Sequence[int]]] = []
    last: list[tuple[int, Sequence[int]]] = []
    half = room // 4
    room = half
    while entries and room > len(entries[0][1]):
        room -= 1 + len(entries[0][1])
        first.append(entries.pop(0))
    room += half
    while entries and room > len(entries[-1][1]):
        room -= 1 + len(entries[-1][1])
        last.append(entries.pop())
    return _chained([*first, *reversed(last)])


def sentences_in(kept: bytes) -> list[bytes]:
    """The sentences of a kept intent, packed."""
    return [packed(entry) for _, entry in _entries(kept)]


def with_answer(
    kept: bytes, seq: int, fetcher: bytes, answer: Any, pieces: Pieces, room: int = 2 * MAX_HEARD
) -> bytes:
    """Kept answers with that of call `seq`, which `fetcher` says how it was called, in `room` bytes."""
    segments = _telling(segments_of(answer), pieces)
    if not segments:
        return kept
    entries = list(_entries(kept))
    entries.append((_CALL, (seq & 0xFFFF, *unpacked(fetcher))))
    entries += [(_TEXT, segment) for segment in segments]
    return _chained(_shortened(entries, room))


def shortened(kept: bytes, room: int) -> bytes:
    """The latest of kept answers, in `room` bytes."""
    return kept if len(kept) <= room else _chained(_shortened(list(_entries(kept)), room))


def segments_in(kept: bytes) -> Iterator[Segment]:
    """The segments of kept answers, in order."""
    seq, fetcher = -1, b""
    for kind, entry in _entries(kept):
        if kind == _CALL:
            seq, fetcher = entry[0], packed(entry[1:])
        else:
            yield Segment(seq, fetcher, packed(entry))


def _entries(kept: bytes) -> Iterator[tuple[int, Sequence[int]]]:
    numbers = unpacked(kept)
    at = 0
    while at < len(numbers):
        kind, length = divmod(numbers[at], 1 << 8)
        yield kind, numbers[at + 1 : at + 1 + length]
        at += 1 + length


def _chained(entries: Iterable[tuple[int, Sequence[int]]]) -> bytes:
    return packed(number for kind, entry in entries for number in (kind << 8 | len(entry), *entry))


def _shortened(entries: Sequence[tuple[int, Sequence[int]]], room: int) -> list[tuple[int, Sequence[int]]]:
    """Without the oldest segments, and calls of which none is left, where there is no room for all."""
    over = sum(1 + len(entry) for _, entry in entries) - room // 2
    kept: list[tuple[int, Sequence[int]]] = []
    held: tuple[int, Sequence[int]] | None = None
    for kind, entry in entries:
        if kind == _CALL:
            if held is not None:
                over -= 1 + len(held[1])
            held = kind, entry
        elif over > 0:
            over -= 1 + len(entry)
        else:
            if held is not None:
                kept.append(held)
                held = None
            kept.append((kind, entry))
    return kept


def _telling(segments: Sequence[str], pieces: Pieces) -> list[list[int]]:
    """The segments as pieces, in order; of more than there is room for, those whose things tell most."""
    found: list[list[int]] = []
    for segment in segments:
        spelled = pieces.of(segment, 8 * MAX_SEGMENT)
        found += [spelled[at : at + MAX_SEGMENT] for at in range(0, len(spelled), MAX_SEGMENT)]
    if sum(map(len, found)) + len(found) <= MAX_ANSWER:
        return found

    def worth(place: int) -> float:
        things: tuple[Thing, ...] = pieces.things(packed(found[place]))
        return sum(pieces.weight(thing) for thing in dict.fromkeys(things)) / (4 + len(found[place]))

    room, chosen = MAX_ANSWER, []
    for place in sorted(range(len(found)), key=worth, reverse=True):
        room -= 1 + len(found[place])
        if room < 0:
            break
        chosen.append(place)
    return [found[place] for place in sorted(chosen)]


def segments_of(answer: Any) -> list[str]:
    """Rows of a document, and sentences and lines of a text: `MAX_SEGMENTS` and some `MAX_CHARS` characters at most.

    >>> segments_of({"mails": [{"from": "bob@example.com", "read": True}], "note": "Two more.\\nSee below."})
    ['note: Two more.\\nSee below.', 'from: bob@example.com, read: True']
    """
    if isinstance(answer, str) and answer.strip()[:1] in ("[", "{"):
        with contextlib.suppress(ValueError, RecursionError):
            answer = json.loads(answer)
    rows = _Rows([], MAX_CHARS)
    rows.take(answer, 0)
    return rows.found[:MAX_SEGMENTS]


class _Rows:
    def __init__(self, found: list[str], room: int) -> None:
        self.found, self._room = found, room

    def take(self, node: Any, depth: int) -> None:
        """Take in a value of a document, as long as there is room."""
        if node is None or self._room <= 0 or depth > MAX_DEPTH:
            return
        if isinstance(node, dict):
            self._take_fields(node, depth)
        elif isinstance(node, list):
            if any(isinstance(child, dict | list) for child in node):
                for child in node:
                    self.take(child, depth + 1)
            else:
                self._add([", ".join(map(str, node))])
        else:
            self._add(_sentences(str(node)))

    def _take_fields(self, record: dict[str, Any], depth: int) -> None:
        plain = {
            key: str(value)
            for key, value in record.items()
            if value is not None and not isinstance(value, dict | list)
        }
        self._add([", ".join(f"{key}: {value}" for key, value in plain.items() if len(value) <= FIELD)])
        for key, value in plain.items():
            if len(value) > FIELD:
                self._add([f"{key}: {part}" for part in _sentences(value)])
        for key, value in record.items():
            if isinstance(value, dict):
                self.take(value, depth + 1)
            elif isinstance(value, list) and value:
                if any(isinstance(child, dict | list) for child in value):
                    self.take(value, depth + 1)
                else:
                    self._add([f"{key}: {', '.join(map(str, value))}"])

    def _add(self, texts: Sequence[str]) -> None:
        for text in texts:
            if text and self._room > 0:
                self.found.append(text[: self._room])
                self._room -= len(text)


def _sentences(text: str) -> list[str]:
    return [part.strip() for part in _SEGMENT.split(text[:MAX_CHARS]) if part.strip()]
