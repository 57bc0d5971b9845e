"""What is read of the middle of a text that is too long to be read whole: lines that name something.

Of a long text its two ends are read (`models.provenance.leaves`). Values that a later call may carry, and texts that demand an
act with a target, may stand between them. Lines that hold what addresses, numbers, paths, stamped and encoded values have
are read there too. They count as prose, whatever they look like: out of what record a line was taken is not known any more, so
that nothing in it stands beside what the intent names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from models.privacy import HASHED
from models.provenance import MAX_LEAF_CHARS, fingerprint

MAX_EXCERPTS = 8192
"""Characters that are read of the middles of one answer (chosen: as many as of an end)."""
MAX_LONG = 8
"""Long texts of one answer that are looked at; the room is shared evenly."""
_VISITED = 4096
"""Values of one answer among which they are sought."""
_LEAST, _MOST = 64, 400
"""Characters of one excerpt: more lines where they are short, so that there are few, and a part of a line that is long."""
_NEAR = 64
"""Characters within which a place to cut is sought."""

_NAMES = re.compile(
    rf"\d{{3}}|[@\\\uff20]|://|&#|%[0-9A-Fa-f]{{2}}|[^\W_][/.][^\W_]|\d\d[ -]\d|[A-Za-z0-9+/_-]{{24}}|{HASHED}"
)


def excerpts(answer: Any, key: bytes) -> list[str]:
    """Excerpts of the middles of an answer's long texts, in order; together at most `MAX_EXCERPTS` characters.

    Where there is more to read, what is read is drawn by the fingerprints that `key` gives: whoever writes the text cannot know
    what is left out, and how long a line is or where it stands does not decide.
    """
    texts = list(islice(_long(answer), MAX_LONG))
    whole = isinstance(answer, str)
    found: list[str] = []
    for n, text in enumerate(texts):
        # Of a text in a record its beginning alone was read, of a further one perhaps nothing.
        start = _cut(text, MAX_LEAF_CHARS // 2) if whole or not n else 0
        stop = _cut(text, len(text) - MAX_LEAF_CHARS // 2, back=False) if whole else len(text)
        found += _drawn(text, list(_naming(text, start, stop)), MAX_EXCERPTS // len(texts), key)
    return found


def _long(answer: Any) -> Iterator[str]:
    """Texts of which `models.provenance.leaves` reads the ends."""
    stack = [answer]
    for _ in range(_VISITED):
        if not stack:
            return
        node = stack.pop()
        if isinstance(node, str):
            if len(node) > MAX_LEAF_CHARS:
                yield node
        elif isinstance(node, dict | list):
            children = node.values() if isinstance(node, dict) else node
            stack += reversed(list(islice(children, _VISITED)))


def _drawn(text: str, spans: list[tuple[int, int]], room: int, key: bytes) -> list[str]:
    needed = sum(last - first for first, last in spans)
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


def _naming(text: str, at: int, stop: int) -> Iterator[tuple[int, int]]:
    """Where the excerpts between `at` and `stop` lie: whole lines, where they are not long."""
    while (found := _NAMES.search(text, at, stop)) is not None:
        first = max(at, found.start() - _MOST // 2)
        begin = text.rfind("\n", first, found.start()) + 1 or _after_space(text, first, found.start())
        last = min(stop, begin + _MOST)
        end = text.find("\n", max(found.end(), begin + _LEAST), last)
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
    found = [place for mark in "\n " if (place := text.find(mark, at, at + _NEAR)) >= 0]
    return min(found, default=at)
