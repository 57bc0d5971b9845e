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

MAX_DEPTH = 64
"""Levels of nesting; what lies deeper is left out, as by Driftline."""
_CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-]|\.\d)", re.ASCII)


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
    >>> shown = Redaction(b"k" * 32).arguments({"note": "card 4111 1111 1111 1111", "amount": 40})
    >>> shown["note"][:8], len(shown["note"]), shown["amount"]
    ('card fp:', 72, 40)
    """

    def __init__(self, key: bytes | None = None) -> None:
        if key is not None and len(key) < 16:
            raise ValueError("key: 16 bytes or more; secrets.token_bytes(32) makes one")
        self._key = key or secrets.token_bytes(32)

    def arguments(self, arguments: dict[str, Any]) -> Any:
        """Of a call's arguments."""
        return self._whole(arguments, 0)

    def result(self, result: Any) -> Any:
        """Of what a tool answered; what JSON has no form for goes as text."""
        return self._whole(result, 0)

    def named(self, intent: str) -> list[str]:
        """Nothing: the words of an intent stay."""
        return []

    def text(self, text: str) -> str:
        """A text without what is secret in it."""
        text = _SHAPES.sub(self._hidden, text)
        return _CARD.sub(lambda found: self._hidden(found) if is_card(found[0]) else found[0], text)

    def _whole(self, value: Any, depth: int) -> Any:
        if depth >= MAX_DEPTH:
            return None
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(name)): self._whole(each, depth + 1) for name, each in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._whole(each, depth + 1) for each in value]
        if isinstance(value, int) and not isinstance(value, bool) and is_card(str(value)):
            return self.text(str(value))
        return value if isinstance(value, bool | int | float | None) else self.text(str(value))

    def _hidden(self, found: re.Match[str]) -> str:
        value = re.sub(r"[ -]", "", found[0]) if _CARD.fullmatch(found[0]) else found[0]
        return "fp:" + hmac.new(self._key, value.encode(errors="replace"), hashlib.sha256).hexdigest()


def is_card(text: str) -> bool:
    """Whether digits are the number of a payment card: 13 to 19 of them, as issuers begin them, with Luhn's check digit.

    >>> is_card("4111 1111 1111 1111"), is_card("4111 1111 1111 1112"), is_card("0000000000000000")
    (True, False, False)
    """
    digits = [int(each) for each in text if each.isdigit()]
    if not 13 <= len(digits) <= 19 or digits[0] not in (2, 3, 4, 5, 6):
        return False
    doubled = (2 * each - 9 * (2 * each > 9) if at % 2 else each for at, each in enumerate(reversed(digits)))
    return sum(doubled) % 10 == 0


def _shapes() -> re.Pattern[str]:
    """The shapes of secrets that Driftline itself looks for (`models.text.secrets`), made by ``make schemas``."""
    told = json.loads(Path(__file__).with_name("secrets.json").read_text(encoding="utf-8"))
    return re.compile(told["pattern"], re.VERBOSE | re.DOTALL | re.ASCII)


_SHAPES = _shapes()
