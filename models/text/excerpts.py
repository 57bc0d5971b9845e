"""What is read of what an answer is too long for: lines that name something.

Of a long text its two ends are read, of many values the first (`models.evidence.results.read_answer`). Values that a later call may carry, and
texts that demand an act with a target, may stand in the rest. Lines that hold what addresses, numbers, paths, stamped and
encoded values have are read there too. They count as prose, whatever they look like: out of what record a line was taken is
not known any more, so that nothing in it stands beside what the intent names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from models.text.documents import MAX_LEAF_CHARS
from models.text.fingerprints import fingerprint
from models.text.privacy import HASHED

MAX_EXCERPTS = 8192
"""Characters that are read of what is left of one answer (chosen: as many as of an end)."""
MAX_LONG = 256
"""Long texts of one answer that are looked at one by one, the room shared; all others are one more text."""
_LONG = 4096
"""Characters from which on a text is long."""
_LEAST, _MOST = 64, 400
"""Characters of one excerpt: more lines where they are short, so that there are few, and a part of a line that is long."""
_HUGE = 10**64
"""A number from which on nothing is named."""
_NEAR = 64
"""Characters within which a place to cut is sought."""

_NAMES = re.compile(
    rf"\d{{3}}|[@\\\uff20]|://|&#|%[0-9A-Fa-f]{{2}}|[^\W_][/.][^\W_]|\d\d[ -]\d|[A-Za-z0-9+/_-]{{24}}|{HASHED}"
)


def excerpts(unread: Sequence[Any], key: bytes) -> list[str]:
    """Excerpts of values that were not read, the long texts first; together at most `MAX_EXCERPTS` characters.

    Where there is more to read, what is read is drawn by the fingerprints that `key` gives: whoever writes the text cannot know
    what is left out, and how long a line is or where it stands does not decide.
    """
    long: list[str] = []
    others: list[str] = []
    for text in _texts(unread):
        (long if len(text) >= _LONG and len(long) < MAX_LONG else others).append(text)
    parts = [*long, "\n".join(others)] if others else long
    spans = [list(_naming(text)) for text in parts]
    needed = [sum(last - first for first, last in lines) for lines in spans]
    rooms, left = [0] * len(parts), MAX_EXCERPTS
    for n, at in enumerate(sorted(range(len(parts)), key=needed.__getitem__)):
        rooms[at] = min(needed[at], left // (len(parts) - n))  # what one does not need is for the longer ones
        left -= rooms[at]
    shares = zip(parts, spans, needed, rooms, strict=True)
    return [part for text, lines, length, room in shares for part in _drawn(text, lines, length, room, key)]


def _texts(values: Sequence[Any]) -> Iterator[str]:
    """Names and scalars of these values as texts, in order; small numbers name nothing."""
    stack = list(reversed(values))
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            stack += [part for name, child in reversed(node.items()) for part in (child, str(name))]
        elif isinstance(node, list):
            stack += reversed(node)
        elif isinstance(node, str):
            yield node
        elif isinstance(node, float) or (isinstance(node, int) and 99 < abs(node) < _HUGE):
            yield repr(node)


def middle(text: str) -> str:
    """What is not read of a text that is an answer: what lies between its ends."""
    if len(text) <= MAX_LEAF_CHARS:
        return ""
    stop = _cut(text, len(text) - MAX_LEAF_CHARS // 2, back=False)
    return _in_lines(text[_cut(text, MAX_LEAF_CHARS // 2) : stop], text)


def beyond(text: str, room: int) -> str:
    """What is not read, or not understood, of a text in a record for which there is room for `room` characters.

    Of a long one the values are read as far as there is room, its meaning and what it says to an agent less far.
    """
    read = min(room, MAX_LEAF_CHARS // 2) if len(text) > MAX_LEAF_CHARS else room
    return _in_lines(text[_cut(text, read) :], text) if read < len(text) else ""


def _in_lines(part: str, text: str) -> str:
    """A part of a text; of one that stood within JSON, and so breaks its lines by ``\\n``, in lines."""
    within = text.count("\\n") > 2 + 2 * text.count("\n")
    return part.replace("\\n", "\n") if within else part


def _drawn(text: str, spans: list[tuple[int, int]], needed: int, room: int, key: bytes) -> list[str]:
    share = 1.0 if needed <= room else 0.9 * room / needed  # a little less, so that the room is seldom short
    drawn: list[str] = []
    for first, last in spans:
        if share < 1 and fingerprint(f"{first} {text[first:last]}", key) >= share * 2**32:
            continue
        room -= last - first
        if room < 0:
            break
        drawn.append(text[first:last])
    return drawn


def _naming(text: str) -> Iterator[tuple[int, int]]:
    """Where the excerpts of `text` lie: whole lines, where they are not long."""
    at, stop = 0, len(text)
    while (name := _NAMES.search(text, at, stop)) is not None:
        first = max(at, name.start() - _MOST // 2)
        begin = text.rfind("\n", first, name.start()) + 1 or _after_space(text, first, name.start())
        last = min(stop, begin + _MOST)
        end = text.find("\n", max(name.end(), begin + _LEAST), last)
        if end < 0:
            end = last if last == stop else _cut(text, last)
        at = max(end, begin + _LEAST)
        yield begin, min(at, stop)


def _after_space(text: str, first: int, last: int) -> int:
    """The place after the first space between two places, the first itself where there is none."""
    return text.find(" ", first, last) + 1 or first


def _cut(text: str, at: int, *, back: bool = True) -> int:
    """The nearest place before `at`, or after it, that tears nothing, if there is one near."""
    if back:
        near = max(0, at - _NEAR)
        return max(text.rfind("\n", near, at), text.rfind(" ", near, at)) + 1 or at
    ends = [place for mark in "\n " if (place := text.find(mark, at, at + _NEAR)) >= 0]
    return min(ends, default=at)
