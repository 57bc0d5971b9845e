"""What a reader is shown of a call: the intent, the call, and what earlier answers say that its values or its tool lead back to.

::

    [CLS] intent and amendments
    [SEP] tool, description, and for each argument: name, whether intent, a snippet or nothing says it, value
    [SEP] for each snippet: the call that fetched it, and the words around what the call took from it
    [SEP]
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from benchmarks.reader.pieces import pieces, vocabulary
from models.text.meaning import sentences_of
from models.tools.names import name_words
from models.training.distill_encoder import folded

MAX_PIECES = 160
OF_INTENT, OF_CALL, OF_SNIPPET, OF_FETCHER = 44, 42, 22, 10
"""Word pieces of each part that are shown."""
SNIPPETS = 3
MAX_SEGMENTS = 600
"""Segments of one answer that are looked at."""
FIELD = 60
"""Characters of a field that stands in a row with others."""
NAME_SPEAKS, DESCRIPTION_SPEAKS = 0.5, 0.2
"""What a word of a tool's name, and of its description, is worth beside a word of a value."""
LEAST = 0.3
"""What a snippet must be worth to be shown."""

_STOP = frozenset(
    "the a an of to in on for and or is are be with by at from this that it as i my you your me we our please can could would not no if"
    " then all any was has have will do does did so but its am up out us about into".split()
)
_THINGS = re.compile(r"[^\W_]+(?:[@.\-_/:+][^\W_]+)*")
_JOINTS = re.compile(r"[@.\-_/:+]")
_SEGMENT = re.compile(r"(?<=[.!?;])\s+|\n+|<br ?/?>|\s\|\s")
Session = Mapping[str, Any]


class Marks(NamedTuple):
    """Word pieces that stand for something else than a word: they come first after the padding in the vocabulary."""

    said: int  # the intent says this value
    first: int  # the first snippet says it; the next two marks stand for the second and third
    nowhere: int
    text: int  # what follows is a description, or an answer's words
    argument: int


MARKS = Marks(2, 3, 6, 7, 8)
LAST_MARK = MARKS.argument


class Segment(NamedTuple):
    """A row or sentence of an answer, and the call that fetched it."""

    call: int
    text: str
    words: frozenset[str]


def spoken(name: str) -> str:
    """The words of a name: ``sendMoney``, ``send_money`` and ``send.money`` alike."""
    return " ".join(name_words(name))


def things(text: str) -> list[str]:
    """Words of a text, and what signs join (addresses, numbers, paths) whole and in parts."""
    found: list[str] = []
    for thing in _THINGS.findall(folded(text[:4000])):
        found.append(thing)
        if not thing.isalnum():
            found += [part for part in _JOINTS.split(thing) if len(part) > 1]
    return found


@lru_cache(maxsize=100_000)
def weight(word: str) -> float:
    """How much it tells that two texts share a word: figures and addresses tell most, frequent words little."""
    if word in _STOP:
        return 0.0
    if any(map(str.isdigit, word)):
        return 0.4 if len(word) <= 2 else 2.5 if len(word) >= 4 else 1.2
    if _JOINTS.search(word):
        return 3.0
    if len(word) <= 2:
        return 0.1
    place = vocabulary().get(word)  # the vocabulary is in order of frequency
    return 2.0 if place is None else 0.25 if place < 2500 else 0.5 if place < 6000 else 1.0


def scalars(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """The scalars of a JSON value with the names that they stand under."""
    if isinstance(value, dict):
        for key, child in list(value.items())[:64]:
            yield from scalars(child, str(key))
    elif isinstance(value, list):
        for child in value[:32]:
            yield from scalars(child, name)
    elif value is not None:
        yield name, str(value)


def segments(answer: Any) -> list[str]:
    """Rows of a document, and sentences and lines of a text."""
    if isinstance(answer, str) and answer.strip()[:1] in ("[", "{"):
        with contextlib.suppress(ValueError):
            answer = json.loads(answer)
    if isinstance(answer, str):
        return _sentences(answer[:20_000])
    rows: list[str] = []
    _rows(answer, rows)
    return rows[:MAX_SEGMENTS]


def _sentences(text: str) -> list[str]:
    return [part.strip() for part in _SEGMENT.split(text) if part.strip()][:MAX_SEGMENTS]


def _rows(node: Any, rows: list[str]) -> None:
    if isinstance(node, dict):
        plain = [(key, value) for key, value in node.items() if not isinstance(value, dict | list)]
        if short := [f"{key}: {value}" for key, value in plain if len(str(value)) <= FIELD]:
            rows.append(", ".join(short))
        for key, value in plain:
            if len(str(value)) > FIELD:
                rows += [f"{key}: {part}" for part in _sentences(str(value))]
        for value in node.values():
            if isinstance(value, dict | list):
                _rows(value, rows)
    elif isinstance(node, list):
        if all(not isinstance(child, dict | list) for child in node):
            rows.append(", ".join(map(str, node[:32])))
        else:
            for child in node[:200]:
                _rows(child, rows)
    elif node is not None:
        rows += _sentences(str(node))


def shown(
    session: Session, tools: Sequence[Mapping[str, Any]], calls: Collection[int]
) -> dict[int, list[int]]:
    """For each of `calls` of a recorded session the word pieces that a reader is shown, `MAX_PIECES` at most."""
    said = [str(session["intent"])]
    later = sorted(session.get("amendments") or (), key=lambda wish: wish["before_seq"])
    declared = {tool["name"]: tool.get("description") or "" for tool in tools}
    heard: list[Segment] = []
    found: dict[int, list[int]] = {}
    for n, call in enumerate(session["calls"]):
        while later and later[0]["before_seq"] <= n:
            said.append(later.pop(0)["text"])
        if n in calls:
            found[n] = _shown(said, call, declared.get(call["tool"], ""), heard, session["calls"])[
                :MAX_PIECES
            ]
        answer = call["result"] if not call.get("error") else f"{call['error']} {call['result'] or ''}"
        for text in segments(answer):
            if words := frozenset(things(text[:1500])):
                heard.append(Segment(n, text, words))
    return found


def _shown(
    said: Sequence[str],
    call: Mapping[str, Any],
    description: str,
    heard: Sequence[Segment],
    calls: Sequence[Any],
) -> list[int]:
    known = vocabulary()
    asked = set(things("\n".join(said)))
    arguments = list(scalars(call["args"]))
    values = {word for _, text in arguments for word in things(text)}
    speaking = dict.fromkeys(things(spoken(call["tool"])), NAME_SPEAKS)
    for word in things(description[:200]):
        speaking.setdefault(word, DESCRIPTION_SPEAKS)
    chosen = _chosen(heard, values - asked, values, speaking)
    says: dict[str, int] = {}
    for place, segment in enumerate(chosen):
        for word in segment.words:
            says.setdefault(word, place)
    row = [known["[CLS]"], *_intent(said, values | speaking.keys()), known["[SEP]"]]
    row += [*_call(call, description, arguments, asked, says), known["[SEP]"]]
    for place, segment in enumerate(chosen):
        wanted = segment.words & (values - asked) or segment.words & (values | speaking.keys())
        row += [MARKS.first + place, *_fetcher(calls[segment.call]), MARKS.text]
        row += _around(segment.text, wanted, OF_SNIPPET)
    return [*row, known["[SEP]"]]


def _chosen(
    heard: Sequence[Segment], foreign: set[str], values: set[str], speaking: Mapping[str, float]
) -> list[Segment]:
    """Segments that together say most of what the intent does not, and then of what the tool is about."""
    frequent = Counter(word for segment in heard for word in segment.words & speaking.keys())
    left, chosen = set(foreign), list[Segment]()
    for _ in range(SNIPPETS):
        best, most = None, LEAST
        for segment in heard:
            if segment in chosen:
                continue
            new = segment.words & left
            worth = sum(map(weight, new)) + 0.2 * sum(map(weight, (segment.words & values) - new))
            worth += sum(
                speaking[word] * weight(word) / frequent[word] ** 0.5
                for word in segment.words & speaking.keys()
            )
            if worth > most + 1e-9:
                best, most = segment, worth
        if best is None:
            break
        chosen.append(best)
        left -= best.words
    return chosen


def _intent(said: Sequence[str], wanted: Collection[str]) -> list[int]:
    """The intent, or of a long one the sentences that share most with the call, the first and the last."""
    text = "\n".join(said)
    whole = pieces(text, 400)
    if len(whole) <= OF_INTENT:
        return whole
    sentences = sentences_of(text)
    worth = [sum(weight(word) for word in set(things(part)).intersection(wanted)) for part in sentences]
    worth[0] += 0.7
    worth[-1] += 0.3
    room, parts = OF_INTENT, dict[int, list[int]]()
    for n in sorted(range(len(sentences)), key=lambda n: -worth[n]):
        parts[n] = pieces(sentences[n], room)
        room -= len(parts[n])
        if room < 4:
            break
    return [piece for n in sorted(parts) for piece in parts[n]]


def _call(
    call: Mapping[str, Any],
    description: str,
    arguments: Sequence[tuple[str, str]],
    asked: Collection[str],
    says: Mapping[str, int],
) -> list[int]:
    row = [*pieces(spoken(call["tool"]), 8), MARKS.text, *pieces(description, 12)]
    room = max(10, OF_CALL - len(row))
    each = max(6, room // max(1, len(arguments)) - 3)
    told: list[int] = []
    for name, value in arguments:
        words = [word for word in things(value) if weight(word) >= 0.25] or things(value)
        marks = Counter(_mark(word, asked, says) for word in words)
        mark = marks.most_common(1)[0][0] if marks else MARKS.nowhere
        told += [MARKS.argument, *pieces(spoken(name), 3), mark, *pieces(value, each)]
    return row + told[:room]


def _mark(word: str, asked: Collection[str], says: Mapping[str, int]) -> int:
    if word in asked:
        return MARKS.said
    return MARKS.first + says[word] if word in says else MARKS.nowhere


def _fetcher(call: Mapping[str, Any]) -> list[int]:
    given = " ".join(text for _, text in scalars(call["args"]) if len(text) <= FIELD)
    return (pieces(spoken(call["tool"]), 5) + pieces(given, 5))[:OF_FETCHER]


def _around(text: str, wanted: Collection[str], most: int) -> list[int]:
    """Pieces of `text` around the first of `wanted`: more of what stands before it."""
    whole = pieces(text, 400)
    if len(whole) <= most:
        return whole
    low = folded(text)
    at = min((place for word in wanted if (place := low.find(word)) >= 0), default=0)
    start = max(0, min(len(pieces(low[:at], 400)) - 2 * most // 3, len(whole) - most))
    return whole[start : start + most]
