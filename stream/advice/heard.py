"""What sessions were asked and did, in words: remembered from their events, bounded, for as long as they may be asked about."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MAX_SESSIONS = 2000
"""Sessions that are remembered, those that were heard of last."""
MAX_CALLS = 64
"""Calls of a session, the latest."""
MAX_SAID = 3000
"""Characters of one text: the first two thirds of them, and the last."""
MAX_INTENTS = 16
"""Texts that say what is asked for: the intent, and the user's amendments, the latest."""


class Place(NamedTuple):
    """Where a session's events lie: an opinion on it belongs there too."""

    topic: str
    partition: int


@dataclass
class Step:
    """A call, and what it brought so far."""

    tool: str
    arguments: str
    result: str | None = None


@dataclass
class Words:
    """One session.

    Attributes
    ----------
    intents : what the user asked for, in order
    steps : calls by their id
    """

    place: Place
    intents: list[str] = field(default_factory=list)
    steps: OrderedDict[str, Step] = field(default_factory=OrderedDict)


class Heard:
    """The words of the sessions heard of last."""

    def __init__(self, tenants: Mapping[str, str | None]) -> None:
        self._tenants = tenants
        self._sessions: OrderedDict[tuple[str, str], Words] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def take(self, place: Place, event: Any) -> None:
        """Remember what an event says; what has another shape than the contract's says nothing."""
        if not isinstance(event, dict):
            return
        session, kind = event.get("session_id"), event.get("type")
        if not isinstance(session, str) or not isinstance(kind, str):
            return
        words = self._words(self._tenant(place, event), session, place)
        if kind in ("session.declared", "intent.amended"):
            intent = event.get("intent")
            text = intent.get("text") if isinstance(intent, dict) else None
            if isinstance(text, str):
                words.intents = [*words.intents, shortened(text)][-MAX_INTENTS:]
        elif kind == "tool.called" and isinstance(call := event.get("call_id"), str):
            words.steps[call] = Step(
                str(event.get("tool"))[:256], shortened(_spelled(event.get("arguments")))
            )
            while len(words.steps) > MAX_CALLS:
                words.steps.popitem(last=False)
        elif kind == "tool.returned" and (step := words.steps.get(str(event.get("call_id")))) is not None:
            step.result = shortened(_spelled(event.get("result")))

    def of(self, tenant: str, session: str) -> Words | None:
        """What is remembered of a session."""
        return self._sessions.get((tenant, session))

    def _tenant(self, place: Place, event: Mapping[str, Any]) -> str:
        return self._tenants.get(place.topic) or str(event.get("tenant") or "default")

    def _words(self, tenant: str, session: str, place: Place) -> Words:
        words = self._sessions.setdefault((tenant, session), Words(place))
        self._sessions.move_to_end((tenant, session))
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return words


def shortened(text: str, most: int = MAX_SAID) -> str:
    """`text`, without its middle where it is too long.

    >>> shortened("abcdefghij", 6)
    'abcd … ij'
    """
    return text if len(text) <= most else f"{text[: 2 * most // 3]} … {text[-(most // 3) :]}"


def steps_before(words: Words, call: str) -> Iterator[tuple[int, Step]]:
    """The calls of a session before `call` that are remembered, each with its place among these."""
    for number, (name, step) in enumerate(words.steps.items()):
        if name == call:
            return
        yield number, step


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
