"""Secrets and card numbers stay in the process: a keyed fingerprint leaves in their place, the same for the same value.

Driftline takes such a fingerprint for an identifier, so that it still sees a value that comes out of an answer and goes into a call.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from driftline_client.contract import MAX_RESULT

MAX_DEPTH, MAX_PARTS, MAX_CHARACTERS = 64, 50_000, 1_000_000
"""Levels of nesting, members and characters of one value that are looked at; what lies beyond is left out."""
MAX_GROUPS = 7
"""Groups of digits in which a card's number is written at most."""
_SLACK = 8_192
"""Characters beyond a cut that are looked at with it, so that no secret is cut in two."""
_DIGEST = "secret-sha256:"
"""What stands for a secret in a reference to a credential; Driftline gives them the same form."""
_DIGITS = re.compile(r"(?<![A-Za-z0-9])(?<!\d\.)\d{1,40}(?:[ \u00a0.-]\d{1,40})*(?![A-Za-z])", re.ASCII)
_GROUP = re.compile(r"\d+", re.ASCII)
_ESCAPED = re.compile(r"\\[nrtbf]|%[0-9A-Fa-f]{2}")


class Shown(Protocol):
    """What leaves a process of what an agent writes and reads. `privacy.Hidden` is another one."""

    def arguments(self, arguments: dict[str, Any]) -> Any:
        """Of a call's arguments."""

    def result(self, result: Any) -> Any:
        """Of what a tool answered, text or JSON."""

    def named(self, intent: str) -> list[str]:
        """What an intent names, as it will turn up in arguments and results; empty where its own words do."""


class Redaction:
    """All leaves but secrets and numbers of cards.

    Parameters
    ----------
    key : bytes or None
        Under which values are fingerprinted; the same in all processes whose values shall be found again in each other's sessions.
        None: one of this process alone.

    Examples
    --------
    >>> shown = Redaction(b"k" * 32).arguments({"note": "card 4111 1111 1111 1111, 123", "amount": 40})
    >>> shown["note"][:8], shown["note"][-5:], shown["amount"]
    ('card fp:', ', 123', 40)
    """

    def __init__(self, key: bytes | None = None) -> None:
        if key is not None and len(key) < 16:
            raise ValueError("key: 16 bytes or more; secrets.token_bytes(32) makes one")
        self._key = key or secrets.token_bytes(32)

    def arguments(self, arguments: dict[str, Any]) -> Any:
        """Of a call's arguments.

        Raises
        ------
        ValueError
            Some of them would be left out: what is not told is not judged, and may not run.
        """
        walk = _Walk(self)
        shown = walk.shown(arguments, 0)
        if walk.cut:
            raise ValueError(
                f"arguments are told whole or not at all: at most {MAX_DEPTH} levels, {MAX_PARTS:,} parts and {MAX_CHARACTERS:,} characters"
            )
        return shown

    def result(self, result: Any) -> Any:
        """Of what a tool answered, cut to what Driftline looks at; what JSON has no form for goes as text."""
        if isinstance(result, str):
            return self.text(result[: MAX_RESULT + _SLACK])[:MAX_RESULT]
        return self.whole(result)

    def named(self, intent: str) -> list[str]:
        """Nothing: the words of an intent stay."""
        return []

    def whole(self, value: Any) -> Any:
        """A value of any shape without what is secret in it."""
        return _Walk(self).shown(value, 0)

    def text(self, text: str) -> str:
        """A text without what is secret in it."""
        # Seen without escapes: in JSON as text the letter of a line break stands before the token.
        seen = _ESCAPED.sub(lambda found: " " * len(found[0]), text)
        spans = [(*found.span(), text[slice(*found.span())]) for found in _SHAPES.finditer(seen)]
        spans += [span for found in _DIGITS.finditer(seen) for span in _cards(found)]
        spans.sort()
        told, at = [], 0
        for start, end, value in spans:
            if start >= at:
                told += [text[at:start], self._print(value)]
                at = end
        return "".join([*told, text[at:]])

    def reference(self, value: Any) -> Any:
        """What names a credential, with a digest in place of a secret, as Driftline itself would give it."""
        if not isinstance(value, str):
            return value
        return _SHAPES.sub(
            lambda found: _DIGEST + hashlib.sha256(found[0].encode(errors="replace")).hexdigest(), value
        )

    def _print(self, value: str) -> str:
        return "fp:" + hmac.new(self._key, value.encode(errors="replace"), hashlib.sha256).hexdigest()


class _Walk:
    """One value, looked at as far as the bounds go."""

    def __init__(self, redaction: Redaction) -> None:
        self._redaction, self._parts, self._characters = redaction, MAX_PARTS, MAX_CHARACTERS
        self.cut = False  # whether something was left out

    def shown(self, value: Any, depth: int) -> Any:
        self._parts -= 1
        if depth >= MAX_DEPTH or self._parts < 0 or self._characters < 0:
            self.cut = True
            return None
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int | float):
            return self._number(value)
        if isinstance(value, bytes | bytearray):
            self.cut |= len(value) > self._characters + _SLACK
            return self._text(bytes(value[: self._characters + _SLACK]).decode(errors="replace"))
        if isinstance(value, Mapping):
            told: dict[str, Any] = {}
            for name, each in value.items():
                if self._parts < 0:
                    self.cut = True
                    break
                named = self._text(name if isinstance(name, str) else _said(name))
                while named in told:  # two names that are one as text
                    named += "'"
                told[named] = self.shown(each, depth + 1)
            return told
        if isinstance(value, list | tuple | set | frozenset):
            told_of = [self.shown(each, depth + 1) for each in value if self._parts >= 0]
            self.cut |= len(told_of) < len(value)
            return told_of
        return self._text(value if isinstance(value, str) else _said(value))

    def _text(self, text: str) -> str:
        room = max(0, self._characters)
        self._characters -= len(text)
        self.cut |= len(text) > room
        return self._redaction.text(text[: room + _SLACK])[:room]

    def _number(self, value: float) -> Any:
        is_whole = isinstance(value, int) or (value == value and abs(value) < 1e19 and value.is_integer())
        if is_whole and 1e12 <= abs(value) < 1e19 and is_card(digits := str(abs(int(value)))):
            return self._redaction.text(digits)
        return value


def _said(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # what a host's object says of itself stops no call
        return f"<{type(value).__name__}>"


def _cards(found: re.Match[str]) -> list[tuple[int, int, str]]:
    """The numbers of cards in a run of digits: one group, or some of which the first has four digits."""
    groups = [each.span() for each in _GROUP.finditer(found[0])]
    spans: list[tuple[int, int, str]] = []
    at = 0
    while at < len(groups):
        first, after = groups[at]
        behind_point = after - first != 4 and found[0][first - 1 : first] == "."
        card, taken = ("", 0) if behind_point else _card_at(found[0], groups[at : at + MAX_GROUPS])
        if taken:
            spans.append((found.start() + first, found.start() + groups[at + taken - 1][1], card))
        at += taken or 1
    return spans


def _card_at(run: str, groups: list[tuple[int, int]]) -> tuple[str, int]:
    """The number of the card that begins with the first group, and of how many groups it is; none: 0."""
    digits, card, taken = "", "", 0
    for n, (start, stop) in enumerate(groups, 1):
        digits += run[start:stop]
        if is_card(digits):
            card, taken = digits, n
        if len(digits) > 19 or (n == 1 and len(digits) != 4):
            break
    return card, taken


def is_card(text: str) -> bool:
    """Whether digits are the number of a payment card: 13 to 19 of them, as issuers begin them, with Luhn's check digit.

    >>> is_card("4111111111111111"), is_card("4111111111111112"), is_card("0000000000000000")
    (True, False, False)
    """
    digits = [int(each) for each in text]
    if not 13 <= len(digits) <= 19 or digits[0] not in (2, 3, 4, 5, 6):
        return False
    doubled = (2 * each - 9 * (2 * each > 9) if at % 2 else each for at, each in enumerate(reversed(digits)))
    return sum(doubled) % 10 == 0


def _shapes() -> re.Pattern[str]:
    """The shapes of secrets that Driftline itself looks for (`models.text.secrets`), made by ``make schemas``."""
    told = json.loads(Path(__file__).with_name("secrets.json").read_text(encoding="utf-8"))
    return re.compile(told["pattern"], re.VERBOSE | re.DOTALL | re.ASCII)


_SHAPES = _shapes()
