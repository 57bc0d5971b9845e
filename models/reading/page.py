"""What the reader is shown of a call: the intent, the call, and what earlier answers say that its values or its tool lead back to.

::

    [start] intent and amendments
    [end] tool, description, and for each argument: name, whether intent, a snippet or nothing says it, value
    [end] for each snippet: who led to what fetched it, how that was called, its record, and the words around what the call took
    [end]
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from models.reading.memory import Segment, segments_in, sentences_in
from models.reading.pieces import PLACE, Mark, Pieces, Thing, packed, unpacked
from models.text.documents import Leaf

MAX_PAGE = 192
"""Pieces of a page."""
OF_INTENT, OF_CALL, OF_SNIPPET, OF_ROW = 52, 50, 22, 8
"""Pieces of each part: of a snippet its words, and the row that they stand beside."""
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


class Led(NamedTuple):
    """A call whose answer a page shows, and the way to it.

    Attributes
    ----------
    seq : the call
    through : calls whose answers say what it was given, what these were given and so on, the nearest first
    begins : who says what the first of them was given: `Mark.SAID` the intent, `Mark.NOWHERE` nobody; None where it was given nothing
    """

    seq: int
    through: tuple[int, ...]
    begins: Mark | None


class Page(NamedTuple):
    """What the reader is shown: places of pieces, and of each snippet the call that it is from."""

    places: tuple[int, ...]
    sources: tuple[Led, ...]

    def without(self, n: int) -> Page:
        """The page without its snippet `n`: what that says nobody says."""
        ends = [place for place, piece in enumerate(self.places) if piece == Mark.END]
        mark, called, last = Mark.FIRST + n, self.places[: ends[1] + 1], self.places[ends[1] + 1 : -1]
        start = last.index(mark) if mark in last else len(last)
        behind = last[start + 1 :]
        stop = next((at for at, piece in enumerate(behind) if Mark.FIRST <= piece <= Mark.THIRD), len(behind))
        silenced = (Mark.NOWHERE if piece == mark else piece for piece in called)
        return Page((*silenced, *last[:start], *behind[stop:], Mark.END), self.sources)


def page_of(
    intents: Sequence[bytes],
    heard: bytes,
    tool: str,
    description: str,
    arguments: Sequence[Leaf],
    pieces: Pieces,
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
        (pieces.of(_name_of(leaf.path), OF_NAME), pieces.of(value_of(leaf), OF_CALL))
        for leaf in arguments[:MAX_SCALARS]
    ]
    values = {thing for _, value in given for thing in pieces.things(packed(value))}
    speaking = dict.fromkeys(pieces.things(packed(named)), NAME_SPEAKS)
    for thing in pieces.things(packed(told)):
        speaking.setdefault(thing, DESCRIPTION_SPEAKS)
    told_before = [(segment, frozenset(pieces.things(segment.pieces))) for segment in segments_in(heard)]
    shown = _shown(told_before, values, asked, speaking, pieces)
    says: dict[Thing, Mark] = {}
    for place, (_, things) in enumerate(shown):
        for thing in things:
            says.setdefault(thing, Mark(Mark.FIRST + place))
    ways = _Ways(asked, told_before, pieces)
    row = [Mark.START, *_intent(sentences, values | speaking.keys(), pieces), Mark.END]
    row += [*_call(named, told[:OF_DESCRIPTION], given, asked, says, pieces), Mark.END]
    for place, (segment, things) in enumerate(shown):
        wanted = things & (values - asked) or things & (values | speaking.keys())
        row += [Mark.FIRST + place, *ways.mark(segment.seq)]
        row += [*unpacked(segment.called), *unpacked(segment.given), Mark.TEXT]
        if segment.row:
            row += [*_around(unpacked(segment.row), asked, OF_ROW), Mark.TEXT]
        row += _around(unpacked(segment.pieces), wanted, OF_SNIPPET)
    places = (piece & PLACE for piece in [*row[: MAX_PAGE - 1], Mark.END])
    return Page(tuple(places), tuple(ways.to(segment.seq) for segment, _ in shown))


def value_of(leaf: Leaf) -> str:
    """A value of an argument as text: a whole number without a fraction."""
    return leaf.text.removesuffix(".0") if not leaf.is_string else leaf.text


def _name_of(path: str) -> str:
    """The name that a value stands under, in words."""
    name = next((step for step in reversed(path.split(".")) if not step.isdigit()), "")
    return _HUMP.sub(" ", name).replace("_", " ")


class _Ways:
    """Who says what calls were given that fetched something: the intent, an answer before them, or nobody."""

    def __init__(
        self, asked: Collection[Thing], told: Sequence[tuple[Segment, frozenset[Thing]]], pieces: Pieces
    ) -> None:
        self._asked, self._told, self._pieces = asked, told, pieces
        self._given = {segment.seq: segment.given for segment, _ in told}
        self._said: dict[int, tuple[Mark | None, int]] = {}

    def mark(self, seq: int) -> list[Mark]:
        """Who says what call `seq` was given; nothing where it was given nothing."""
        mark, _ = self._by(seq)
        return [] if mark is None else [mark]

    def to(self, seq: int) -> Led:
        """The way that leads to call `seq`; ways go back in time, so that each ends."""
        through: list[int] = []
        mark, before = self._by(seq)
        while mark is Mark.LED:
            through.append(before)
            mark, before = self._by(before)
        return Led(seq, tuple(through), mark)

    def _by(self, seq: int) -> tuple[Mark | None, int]:
        if seq not in self._said:
            self._said[seq] = self._look(seq)
        return self._said[seq]

    def _look(self, seq: int) -> tuple[Mark | None, int]:
        things = self._pieces.things(self._given[seq])
        if not things:
            return None, -1
        first: dict[Thing, int] = {}
        for segment, said in self._told:
            if segment.seq < seq:
                for thing in things:
                    if thing in said:
                        first.setdefault(thing, segment.seq)
        mark = _said_by(things, self._asked, dict.fromkeys(first, Mark.LED), self._pieces)
        led = Counter(at for thing, at in first.items() if thing not in self._asked)
        return mark, led.most_common(1)[0][0] if mark is Mark.LED else -1


def _said_by(
    things: Sequence[Thing], asked: Collection[Thing], says: Mapping[Thing, Mark], pieces: Pieces
) -> Mark:
    """Who says most of these things: the intent, whoever `says` it, or nobody."""
    telling = [thing for thing in things if pieces.weight(thing) >= TELLS] or things
    marks = Counter(Mark.SAID if thing in asked else says.get(thing, Mark.NOWHERE) for thing in telling)
    return marks.most_common(1)[0][0] if marks else Mark.NOWHERE


def _shown(
    told: Sequence[tuple[Segment, frozenset[Thing]]],
    values: Collection[Thing],
    asked: Collection[Thing],
    speaking: Mapping[Thing, float],
    pieces: Pieces,
) -> list[tuple[Segment, frozenset[Thing]]]:
    """Segments that together say most of what the intent does not, and then of what the tool is about."""
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
        mark = _said_by(pieces.things(packed(value)), asked, says, pieces)
        values += [Mark.ARGUMENT, *name, mark, *value[:each]]
    return row + values[:room]


def _around(segment: Sequence[int], wanted: Collection[Thing], most: int) -> Sequence[int]:
    """At most so many pieces around the first of `wanted`: more of what stands before it."""
    if len(segment) <= most:
        return segment
    firsts = {thing[0] for thing in wanted}
    at = next((place for place, piece in enumerate(segment) if piece & PLACE in firsts), 0)
    start = max(0, min(at - 2 * most // 3, len(segment) - most))
    return segment[start : start + most]
