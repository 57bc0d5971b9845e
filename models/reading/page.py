"""What the reader is shown of a call: the intent, the call, and what earlier answers say that its values or its tool lead back to.

::

    [start] intent and amendments
    [end] tool, description, and for each argument: name, whether intent, a snippet or nothing says it, value
    [end] for each snippet: the call that fetched it, and the words around what the call took from it
    [end]
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from models.reading.memory import Segment, segments_in, sentences_in
from models.reading.pieces import PLACE, Mark, Pieces, Thing, packed, unpacked

MAX_PAGE = 160
"""Pieces of a page."""
OF_INTENT, OF_CALL, OF_SNIPPET = 44, 42, 22
"""Pieces of each part."""
OF_TOOL, OF_DESCRIPTION, OF_NAME = 8, 12, 3
"""... of a tool's name and its description, and of an argument's name."""
SNIPPETS = 3
MAX_SCALARS = 64
"""Values of a call's arguments that are looked at."""
NAME_SPEAKS, DESCRIPTION_SPEAKS = 0.5, 0.2
"""What a word of a tool's name, and of its description, is worth beside a word of a value."""
ALREADY_SAID = 0.2
"""... and one of a value that the intent or another snippet says."""
LEAST = 0.3
"""What a snippet must be worth to be shown."""
TELLS = 0.25
"""Weight from which on a thing tells what says it."""


_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Page(NamedTuple):
    """What the reader is shown: places of pieces, and the calls whose answers its snippets are from."""

    places: tuple[int, ...]
    sources: tuple[int, ...]


def page_of(
    intents: Sequence[bytes], heard: bytes, tool: str, description: str, arguments: Any, pieces: Pieces
) -> Page:
    """The page of a call.

    Parameters
    ----------
    intents : kept intents that the call works for, the widest first
    heard : answers that its session keeps
    tool, description : in words
    """
    asked: set[Thing] = set()
    sentences = [sentence for intent in intents for sentence in sentences_in(intent)]
    for sentence in sentences:
        asked.update(pieces.things(sentence))
    named, told = pieces.of(tool, OF_TOOL), pieces.of(description, 3 * OF_DESCRIPTION)
    given = [
        (pieces.of(name, OF_NAME), pieces.of(value, OF_CALL)) for name, value in _scalars(arguments, "")
    ][:MAX_SCALARS]
    values = {thing for _, value in given for thing in pieces.things(packed(value))}
    speaking = dict.fromkeys(pieces.things(packed(named)), NAME_SPEAKS)
    for thing in pieces.things(packed(told)):
        speaking.setdefault(thing, DESCRIPTION_SPEAKS)
    shown = _shown(list(segments_in(heard)), values, asked, speaking, pieces)
    says: dict[Thing, Mark] = {}
    for place, (_, things) in enumerate(shown):
        for thing in things:
            says.setdefault(thing, Mark(Mark.FIRST + place))
    row = [Mark.START, *_intent(sentences, values | speaking.keys(), pieces), Mark.END]
    row += [*_call(named, told[:OF_DESCRIPTION], given, asked, says, pieces), Mark.END]
    for place, (segment, things) in enumerate(shown):
        wanted = things & (values - asked) or things & (values | speaking.keys())
        row += [Mark.FIRST + place, *unpacked(segment.fetcher), Mark.TEXT]
        row += _around(unpacked(segment.pieces), wanted)
    places = (piece & PLACE for piece in [*row[: MAX_PAGE - 1], Mark.END])
    return Page(tuple(places), tuple(dict.fromkeys(segment.seq for segment, _ in shown)))


def fetcher_of(tool: str, arguments: Any, most: int, pieces: Pieces) -> bytes:
    """How a call was called, in `most` pieces: half of them for its tool."""
    given = " ".join(value for _, value in _scalars(arguments, ""))
    called = pieces.of(tool, most // 2)
    return packed([*called, *pieces.of(given, most - len(called))])


def _scalars(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """The scalars of a JSON value with the names that they stand under, in words."""
    stack = [(name, value)]
    while stack:
        name, node = stack.pop()
        if isinstance(node, dict):
            stack += [(str(key), child) for key, child in reversed(list(node.items())[:MAX_SCALARS])]
        elif isinstance(node, list):
            stack += [(name, child) for child in reversed(node[:MAX_SCALARS])]
        elif node is not None:
            whole = isinstance(node, float) and node.is_integer()
            yield _HUMP.sub(" ", name).replace("_", " "), str(int(node) if whole else node)


def _shown(
    heard: Sequence[Segment],
    values: Collection[Thing],
    asked: Collection[Thing],
    speaking: Mapping[Thing, float],
    pieces: Pieces,
) -> list[tuple[Segment, frozenset[Thing]]]:
    """Segments that together say most of what the intent does not, and then of what the tool is about."""
    told = [(segment, frozenset(pieces.things(segment.pieces))) for segment in heard]
    spoken = [things & speaking.keys() for _, things in told]
    frequent = Counter(thing for things in spoken for thing in things)
    of_values = [things.intersection(values) for _, things in told]
    weight = pieces.weight
    topic = [
        sum(speaking[thing] * weight(thing) / math.sqrt(frequent[thing]) for thing in sorted(things))
        for things in spoken
    ]
    left = {thing for thing in values if thing not in asked}
    chosen: list[int] = []
    for _ in range(SNIPPETS):
        best, most = -1, LEAST
        for place, said in enumerate(of_values):
            if place in chosen or not (said or topic[place]):
                continue
            worth = topic[place]
            for thing in sorted(said):
                worth += weight(thing) * (1.0 if thing in left else ALREADY_SAID)
            if worth > most + 1e-9:
                best, most = place, worth
        if best < 0:
            break
        chosen.append(best)
        left -= told[best][1]
    return [told[place] for place in chosen]


def _intent(sentences: Sequence[bytes], wanted: Collection[Thing], pieces: Pieces) -> list[int]:
    """The intent, or of a long one the sentences that share most with the call, the first and the last."""
    spelled = [unpacked(sentence) for sentence in sentences]
    if sum(map(len, spelled)) <= OF_INTENT:
        return [piece for sentence in spelled for piece in sentence]
    worth = [
        sum(pieces.weight(thing) for thing in sorted(set(pieces.things(sentence)).intersection(wanted)))
        for sentence in sentences
    ]
    worth[0] += 0.7
    worth[-1] += 0.3
    room, parts = OF_INTENT, dict[int, tuple[int, ...]]()
    for n in sorted(range(len(spelled)), key=lambda n: -worth[n]):
        parts[n] = spelled[n][:room]
        room -= len(parts[n])
        if room < 4:
            break
    return [piece for n in sorted(parts) for piece in parts[n]]


def _call(
    named: Sequence[int],
    told: Sequence[int],
    given: Sequence[tuple[list[int], list[int]]],
    asked: Collection[Thing],
    says: Mapping[Thing, Mark],
    pieces: Pieces,
) -> list[int]:
    row = [*named, Mark.TEXT, *told]
    room = max(10, OF_CALL - len(row))
    each = max(6, room // max(1, len(given)) - OF_NAME)
    values: list[int] = []
    for name, value in given:
        things = pieces.things(packed(value))
        telling = [thing for thing in things if pieces.weight(thing) >= TELLS] or things
        marks = Counter(Mark.SAID if thing in asked else says.get(thing, Mark.NOWHERE) for thing in telling)
        mark = marks.most_common(1)[0][0] if marks else Mark.NOWHERE
        values += [Mark.ARGUMENT, *name, mark, *value[:each]]
    return row + values[:room]


def _around(segment: Sequence[int], wanted: Collection[Thing]) -> Sequence[int]:
    """Pieces around the first of `wanted`: more of what stands before it."""
    if len(segment) <= OF_SNIPPET:
        return segment
    firsts = {thing[0] for thing in wanted}
    at = next((place for place, piece in enumerate(segment) if piece & PLACE in firsts), 0)
    start = max(0, min(at - 2 * OF_SNIPPET // 3, len(segment) - OF_SNIPPET))
    return segment[start : start + OF_SNIPPET]
