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

HEAD = 2
"""Bytes before an entry's pieces: how many these are, and of which kind it is."""
_TEXT, _CALL, _ROW, _OF_ROW = range(4)
"""Kinds of entries: prose by itself, a call, fields of a record in a row, and what else stands in that record."""
Entry = tuple[int, bytes]
"""Its kind, and its pieces, packed."""
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
    entries = [
        *_entries(kept),
        *((_TEXT, packed(pieces.of(sentence, MAX_SEGMENT))) for sentence in sentences),
    ]
    first: list[Entry] = []
    last: list[Entry] = []
    half = 2 * (room // 4)
    room = half
    while entries and room > len(entries[0][1]):
        room -= HEAD + len(entries[0][1])
        first.append(entries.pop(0))
    room += half
    while entries and room > len(entries[-1][1]):
        room -= HEAD + len(entries[-1][1])
        last.append(entries.pop())
    return _chained([*first, *reversed(last)])


def sentences_in(kept: bytes) -> list[bytes]:
    """The sentences of a kept intent, packed."""
    return [entry for _, entry in _entries(kept)]


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
    call = _CALL, packed([seq & 0xFFFF]) + (fetcher or packed([0]))
    return shortened(kept + _chained([call, *segments]), room)


def shortened(kept: bytes, room: int) -> bytes:
    """The latest of kept answers, in `room` bytes: the oldest segments go first, and calls of which none is left."""
    over = len(kept) - room
    if over <= 0:
        return kept
    at, called = 0, slice(0, 0)  # where the latest call stands
    while at < len(kept):
        end = at + HEAD + 2 * kept[at]
        if kept[at + 1] == _CALL:
            over -= called.stop - called.start
            called = slice(at, end)
        elif over > 0:
            over -= end - at
        else:
            return kept[called] + kept[at:]
        at = end
    return b""


def segments_in(kept: bytes) -> Iterator[Segment]:
    """The segments of kept answers, in order."""
    seq, called, given, row = -1, b"", b"", b""
    for kind, entry in _entries(kept):
        if kind == _CALL:
            seq, n_called = unpacked(entry[:4])
            at = 4 + 2 * n_called
            called, given, row = entry[4:at], entry[at:], b""
            continue
        yield Segment(seq, called, given, row if kind == _OF_ROW else b"", entry)
        if kind == _ROW:
            row = entry


def _entries(kept: bytes) -> Iterator[Entry]:
    at = 0
    while at < len(kept):
        end = at + HEAD + 2 * kept[at]
        yield kept[at + 1], kept[at + HEAD : end]
        at = end


def _chained(entries: Iterable[Entry]) -> bytes:
    return b"".join(bytes((len(entry) // 2, kind)) + entry for kind, entry in entries)


def _segments_of(records: Iterable[Told], pieces: Pieces) -> list[tuple[int, int, bytes]]:
    """What records say: the kind of each segment, the place of the row that it stands beside, and its pieces."""
    found: list[tuple[int, int, bytes]] = []

    def add(text: str, kind: int, row: int) -> None:
        spelled = pieces.of(text, 8 * MAX_SEGMENT)
        for at in range(0, len(spelled), MAX_SEGMENT):
            # What a long row goes on with stands beside its beginning.
            beside = (_OF_ROW, max(row, len(found) - 1)) if kind == _ROW and at else (kind, row)
            found.append((*beside, packed(spelled[at : at + MAX_SEGMENT])))

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


def _telling(found: Sequence[tuple[int, int, bytes]], pieces: Pieces) -> list[Entry]:
    """The segments, in order; of more than there is room for, those whose things tell most."""
    chosen = set(range(len(found)))
    if sum(HEAD + len(segment) for _, _, segment in found) > 2 * MAX_ANSWER:

        def worth(place: int) -> float:
            segment = found[place][2]
            things: tuple[Thing, ...] = pieces.things(segment)
            return sum(pieces.weight(thing) for thing in dict.fromkeys(things)) / (4 + len(segment) // 2)

        room, chosen = 2 * MAX_ANSWER, set()
        for place in sorted(range(len(found)), key=worth, reverse=True):
            room -= HEAD + len(found[place][2])
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
