"""What a page quotes of arguments and answers: equal values under one letter, and the lines that a flagged call rests on.

How much of a text is quoted is the console's `quotes`: nothing, words without values (`models.text.quotes`), or the text. Secrets never are.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from models.evidence.content import talks_to_agent
from models.text import quotes as quoting
from models.text.quotes import Quotes
from models.tools.names import name_words
from stream.offline.values import MASK

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
    """Letters for the values that more than one call of a session carries, in the order of their first call."""

    def __init__(self, calls: Iterable[Sequence[Mapping[str, Any]]]) -> None:
        seen: dict[str, int] = {}
        for rows in calls:
            for value in dict.fromkeys(_values(rows)):
                seen[value] = seen.get(value, 0) + 1
        repeated = (value for value, n in seen.items() if n > 1)
        self._letters = dict(zip(repeated, string.ascii_uppercase, strict=False))

    def of(self, value: str) -> str:
        """The letter of a value, or an empty text."""
        return self._letters.get(value, "")


def given(rows: Sequence[Mapping[str, Any]], letters: Letters, quotes: Quotes) -> list[Given]:
    """The first arguments of a call, each as far as it may be quoted, and how many are left out."""
    shown = [
        Given(
            quoting.plain(str(row["path"]))[:60],
            quoting.value(str(row["text"]), quotes) or MASK[: int(row["length"])],
            letters.of(str(row["text"])),
        )
        for row in rows[:MOST_GIVEN]
    ]
    return shown if len(rows) <= MOST_GIVEN else [*shown, Given("", f"and {len(rows) - MOST_GIVEN} more", "")]


def telling(
    answer: Sequence[Mapping[str, Any]], tool: str, arguments: Sequence[Mapping[str, Any]], quotes: Quotes
) -> tuple[int, str]:
    """The line of an answer that has most to do with a call: it carries the call's values, talks to the agent, or names what the tool does.

    Gives how much, 0 for nothing, and the line as far as it may be quoted.
    """
    if quotes == "none":
        return 0, ""
    values = {value.lower() for value in _values(arguments)}
    words = {word for word in name_words(tool) if len(word) >= LEAST}
    best, found = 0, ""
    for line in _lines(answer):
        low = line.lower()
        telling = 1000 * sum(value in low for value in values) + talks_to_agent(line)
        telling += (
            300 * sum(word in low for word in words) if telling else 100 * sum(word in low for word in words)
        )
        if telling > best:
            best, found = telling, line
    return best, quoting.line(found, quotes)


def _lines(answer: Sequence[Mapping[str, Any]]) -> list[str]:
    found: list[str] = []
    for row in answer:
        for line in str(row["text"]).splitlines():
            found += _SENTENCE.split(line) if len(line) > _LONG else [line]
            if len(found) >= MOST_LINES:
                return found[:MOST_LINES]
    return found


def _values(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [str(row["text"]) for row in rows if LEAST <= len(str(row["text"])) <= 400 and row["path"]]
