"""What a session keeps of its intent and of answers, so that a later call can be read beside them: bounded, as packed pieces.

Kept text is a chain of entries, each a head of 16 bits, its kind and its length, and as many pieces. Of an intent each sentence
is an entry. Of answers each call that was answered is one entry, its number and how it was called. Each record of its answer
follows: its fields in a row, and each sentence of its prose.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

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
MAX_CALLED, MAX_GIVEN = 5, 9
"""Pieces of a tool's name and of what it is given, where a call stands before what it fetched."""
MAX_FETCHER = 1 + MAX_CALLED + MAX_GIVEN
"""... of both, and how many of them are the name's."""

_TEXT, _CALL, _ROW, _OF_ROW = range(4)
"""Kinds of entries: prose by itself, a call, fields of a record in a row, and what else stands in that record."""
_DASH = re.compile(r"^\s*-\s+")
_QUOTED = re.compile(r"(?<!\w)['\"]|['\"](?!\w)")
_SEGMENT = re.compile(r"(?<=[.!?;])\s+|\n+|<br ?/?>|\s\|\s")


class Told(NamedTuple):
    """A record of an answer: its short fields, each with its name if it has one, and its lines of prose."""

    fields: Sequence[str]
    lines: Sequence[str]


class Segment(NamedTuple):
    """A row or sentence of an answer: what fetched it, what that was given, and the row that it stands beside, if any."""

    seq: int
    called: bytes
    given: bytes
    row: bytes
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


def fetcher_of(tool: str, values: Iterable[str], pieces: Pieces) -> bytes:
    """How a call was called, as it is kept before what it fetched."""
    called = pieces.of(tool, MAX_CALLED)
    return packed([len(called), *called, *pieces.of(" ".join(islice(values, MAX_GIVEN)), MAX_GIVEN)])


def with_answer(
    kept: bytes, seq: int, fetcher: bytes, records: Iterable[Told], pieces: Pieces, room: int = 2 * MAX_HEARD
) -> bytes:
    """Kept answers with that of call `seq`, which `fetcher` says how it was called, in `room` bytes."""
    segments = _telling(_segments_of(records, pieces), pieces)
    if not segments:
        return kept
    return _chained(
        _shortened([*_entries(kept), (_CALL, (seq & 0xFFFF, *(unpacked(fetcher) or (0,)))), *segments], room)
    )


def shortened(kept: bytes, room: int) -> bytes:
    """The latest of kept answers, in `room` bytes."""
    return kept if len(kept) <= room else _chained(_shortened(list(_entries(kept)), room))


def segments_in(kept: bytes) -> Iterator[Segment]:
    """The segments of kept answers, in order."""
    seq, called, given, row = -1, b"", b"", b""
    for kind, entry in _entries(kept):
        if kind == _CALL:
            at = 2 + entry[1]
            seq, called, given, row = entry[0], packed(entry[2:at]), packed(entry[at:]), b""
            continue
        segment = packed(entry)
        yield Segment(seq, called, given, row if kind == _OF_ROW else b"", segment)
        if kind == _ROW:
            row = segment


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


def _segments_of(records: Iterable[Told], pieces: Pieces) -> list[tuple[int, int, Sequence[int]]]:
    """What records say: the kind of each segment, the place of the row that it stands beside, and its pieces."""
    found: list[tuple[int, int, Sequence[int]]] = []

    def add(text: str, kind: int, row: int) -> None:
        spelled = pieces.of(text, 8 * MAX_SEGMENT)
        for at in range(0, len(spelled), MAX_SEGMENT):
            # What a long row goes on with stands beside its beginning.
            beside = (_OF_ROW, max(row, len(found) - 1)) if kind == _ROW and at else (kind, row)
            found.append((*beside, spelled[at : at + MAX_SEGMENT]))

    for record in records:
        row = len(found)
        add(", ".join(map(_bare, record.fields)), _ROW, -1)
        kind = _OF_ROW if len(found) > row else _TEXT
        for line in record.lines:
            for sentence in _sentences(line):
                add(sentence, kind, row)
        if len(found) >= MAX_SEGMENTS:
            break
    return found[:MAX_SEGMENTS]


def _telling(
    found: Sequence[tuple[int, int, Sequence[int]]], pieces: Pieces
) -> list[tuple[int, Sequence[int]]]:
    """The segments, in order; of more than there is room for, those whose things tell most."""
    chosen = set(range(len(found)))
    if sum(1 + len(segment) for _, _, segment in found) > MAX_ANSWER:

        def worth(place: int) -> float:
            segment = found[place][2]
            things: tuple[Thing, ...] = pieces.things(packed(segment))
            return sum(pieces.weight(thing) for thing in dict.fromkeys(things)) / (4 + len(segment))

        room, chosen = MAX_ANSWER, set()
        for place in sorted(range(len(found)), key=worth, reverse=True):
            room -= 1 + len(found[place][2])
            if room < 0:
                break
            chosen.add(place)
    return [
        (_TEXT if kind == _OF_ROW and row not in chosen else kind, segment)
        for place, (kind, row, segment) in enumerate(found)
        if place in chosen
    ]


def _bare(field: str) -> str:
    """A field without the signs of its form: the dash of a listing, quotation marks."""
    return _QUOTED.sub("", _DASH.sub("", field))


def _sentences(text: str) -> list[str]:
    return [part.strip() for part in _SEGMENT.split(text) if part.strip()]
