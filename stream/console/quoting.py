"""What a page quotes of arguments and answers: equal values under one letter, and the lines that a flagged call rests on.

How much of a text is quoted is the console's `quotes`: nothing, words without values (`models.text.quotes`), or the text. Secrets never are.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from models.evidence.content import talks_to_agent
from models.text import quotes as quoting
from models.text.quotes import Quotes
from models.tools.amounts import names_a_sum
from models.tools.names import name_words
from stream.offline.values import MASK

_SUM = re.compile(r"-?\d{1,9}(?:\.\d{1,4})?", re.ASCII)
_NO_SIGNS = str.maketrans("⟪⟫", "  ")
MOST_VALUES, MOST_BROUGHT = 500, 1 << 18
"""Values of a session's calls that are looked for in its answers; characters of these, the first."""
LEAST = 4
"""Characters of a value that is told apart from others: shorter ones are equal by chance."""
MOST_LINES = 400
"""Lines of an answer that are looked at."""
MOST_GIVEN = 8
"""Arguments of a call that are listed."""
_SENTENCE = re.compile(r"(?<=[.!?:]) +")
_LONG = 160
"""Characters of a line that is looked at sentence by sentence."""


class Given(NamedTuple):
    """An argument as it is shown; `letter` is the same for equal values of a session that several calls carry, else empty."""

    path: str
    text: str
    letter: str


class Line(NamedTuple):
    """A line of what an earlier call returned."""

    call: int
    tool: str
    text: str


class Letters:
    """Letters for the values that calls of a session carry more than once, or that an answer brought, in the order of their first call."""

    def __init__(
        self,
        calls: Iterable[Sequence[Mapping[str, Any]]],
        answers: Iterable[Sequence[Mapping[str, Any]]] = (),
    ) -> None:
        seen: dict[str, int] = {}
        for rows in calls:
            for value in dict.fromkeys(_values(rows)):
                seen[value] = seen.get(value, 0) + 1
        brought = "\n".join(_texts(answers, MOST_BROUGHT))
        told = (value for value, n in islice(seen.items(), MOST_VALUES) if n > 1 or value in brought)
        self._letters = dict(zip(told, string.ascii_uppercase, strict=False))

    def of(self, value: str) -> str:
        """The letter of a value, or an empty text."""
        return self._letters.get(value, "")

    def marked(self, text: str, quotes: Quotes) -> str:
        """A passage as far as it may be quoted, each value that has a letter with it."""
        text = quoting.without_secrets(text.translate(_NO_SIGNS))
        told: dict[str, str] = {}
        for value, letter in sorted(self._letters.items(), key=lambda one: -len(one[0])):
            # A sign stands in its place while the rest is masked. Part of a word is no value: what is left of the word would be shown.
            whole = rf"(?<!\S)([\"'(\[<]*){re.escape(value)}([\"')\]>,.;:!?]*)(?!\S)"
            found = re.sub(whole, rf"\1⟪{letter}⟫\2", text)
            if found != text:
                text, told[letter] = found, quoting.value(value, quotes)
        shown = re.sub(r"⟪([A-Z])⟫", lambda sign: f"{told[sign[1]]} {sign[1]}", quoting.passage(text, quotes))
        return shown.translate(_NO_SIGNS)


def given(rows: Sequence[Mapping[str, Any]], letters: Letters, quotes: Quotes) -> list[Given]:
    """The first arguments of a call, each as far as it may be quoted, and how many are left out."""
    shown = [
        Given(
            quoting.member(str(row["path"]), quotes)[:60], _value(row, quotes), letters.of(str(row["text"]))
        )
        for row in rows[:MOST_GIVEN]
    ]
    return shown if len(rows) <= MOST_GIVEN else [*shown, Given("", f"and {len(rows) - MOST_GIVEN} more", "")]


def _value(row: Mapping[str, Any], quotes: Quotes) -> str:
    text, path = str(row["text"]), str(row["path"])
    if quotes == "masked" and _SUM.fullmatch(text) and names_a_sum(path.rpartition(".")[2]):
        return text  # how much is what one has to know first, and names nobody
    return quoting.value(text, quotes) or MASK[: int(row["length"])]


def telling(
    answer: Sequence[Mapping[str, Any]], tool: str, arguments: Sequence[Mapping[str, Any]]
) -> tuple[int, str]:
    """The passage of an answer that has most to do with a call: it carries the call's values, talks to the agent, or names what the tool does.

    Gives how much, 0 for nothing, and the passage: the most telling line, with lines around it as long as there is room.
    """
    values = {value.lower() for value in _values(arguments)}
    words = {word for word in name_words(tool) if len(word) >= LEAST}
    best, at, lines = 0, 0, _lines(answer)
    for n, line in enumerate(lines):
        low = line.lower()
        much = 1000 * sum(value in low for value in values) + talks_to_agent(line)
        much += (300 if much else 100) * sum(word in low for word in words)
        if much > best:
            best, at = much, n
    return (best, _around(lines, at)) if best else (0, "")


def _around(lines: Sequence[str], at: int) -> str:
    """The line at a place, what leads to it, and what follows, as far as a passage goes."""
    first, before = at, 0
    while first and (before := before + len(lines[first - 1])) < quoting.MAX_PASSAGE // 3:
        first -= 1
    told = " ".join(lines[first : at + 1])
    for line in lines[at + 1 :]:
        if len(told) + len(line) >= quoting.MAX_PASSAGE:
            break
        told += f" {line}"
    return told


def _lines(answer: Sequence[Mapping[str, Any]]) -> list[str]:
    found: list[str] = []
    for row in answer:
        for line in str(row["text"]).splitlines():
            found += _SENTENCE.split(line) if len(line) > _LONG else [line]
            if len(found) >= MOST_LINES:
                return found[:MOST_LINES]
    return found


def _texts(answers: Iterable[Sequence[Mapping[str, Any]]], most: int) -> Iterator[str]:
    """The texts of answers, up to so many characters."""
    for text in (str(row["text"]) for answer in answers for row in answer):
        yield text[:most]
        most -= len(text)
        if most <= 0:
            return


def _values(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [str(row["text"]) for row in rows if LEAST <= len(str(row["text"])) <= 400 and row["path"]]
