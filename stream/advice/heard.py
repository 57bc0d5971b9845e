"""What sessions were asked and did, in words: remembered from their events, bounded, for as long as they may be asked about."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from models.contracts import IntentAmended, SessionDeclared, ToolCalled, ToolReturned
from models.errors import ContractError
from stream.core.deployment import Declarations
from stream.events import dumps, parse

MAX_WORDS = 64_000_000
"""Characters that are remembered of all sessions; those that were not heard of for longest go first."""
MAX_CALLS = 64
"""Calls of a session, the latest."""
MAX_SAID = 3000
"""Characters of one text: the first two thirds of them, and the last."""
MAX_INTENTS = 16
"""Texts that say what is asked for: the intent, and the user's latest amendments."""


class Place(NamedTuple):
    """Where a session's events lie: an opinion on it belongs there too."""

    topic: str
    partition: int


class Name(NamedTuple):
    """A session, as decisions name it."""

    tenant: str
    root: str
    session: str


@dataclass(frozen=True)
class Step:
    """A call, what was asked for when it was made, and what it brought so far."""

    tool: str
    arguments: str
    asked: tuple[str, ...]
    result: str | None = None


@dataclass
class Words:
    """One session.

    Attributes
    ----------
    asked : what the user asked for, in order
    steps : calls by their id; None for an id that was used for two
    """

    place: Place
    declared: bool = False
    asked: tuple[str, ...] = ()
    steps: OrderedDict[str, Step | None] = field(default_factory=OrderedDict)

    def weighs(self) -> int:
        """Characters that it holds, ids and what holds them included."""
        steps = sum(
            400 + len(call) + (len(step.arguments) + len(step.result or "") if step is not None else 0)
            for call, step in self.steps.items()
        )
        return 1000 + sum(map(len, self.asked)) + steps


class Heard:
    """The words of the sessions heard of last.

    Parameters
    ----------
    tenants : full name of an input topic -> the tenant bound to it
    declarations : where keys are known, only what they signed says what is asked for
    """

    def __init__(self, tenants: Mapping[str, str | None], declarations: Declarations | None = None) -> None:
        self._tenants, self._declarations = tenants, declarations
        self._sessions: OrderedDict[Name, Words] = OrderedDict()
        self._weights: dict[Name, int] = {}
        self._total = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def take(self, place: Place, raw: bytes) -> None:
        """Remember what an event says; one that the contract refuses says nothing."""
        try:
            parsed = parse(raw)
            event = parsed.event
            if not isinstance(event, SessionDeclared | IntentAmended | ToolCalled | ToolReturned):
                return
            # What is nested too deep for the judge is too deep here.
            said = _said(event)
        except (ContractError, TypeError):
            return
        tenant = self._tenants.get(place.topic) or event.tenant or "default"
        name = Name(tenant, event.root_session_id or event.session_id, event.session_id)
        words = self._sessions.setdefault(name, Words(place))
        if words.place != place:
            return  # of two places one is another's
        self._sessions.move_to_end(name)
        if isinstance(event, ToolCalled):
            fresh = Step(event.tool, said, words.asked)
            words.steps[event.call_id] = fresh if event.call_id not in words.steps else None
            while len(words.steps) > MAX_CALLS:
                words.steps.popitem(last=False)
        elif isinstance(event, ToolReturned):
            step = words.steps.get(event.call_id)
            if step is not None and step.result is None:
                words.steps[event.call_id] = Step(step.tool, step.arguments, step.asked, said)
        elif self._counts(tenant, event, parsed.document, words):
            words.asked = (*words.asked[:1], *words.asked[1:][-(MAX_INTENTS - 2) :], said)
            words.declared = True
        self._weigh(name, words)

    def of(self, name: Name) -> Words | None:
        """What is remembered of a session."""
        return self._sessions.get(name)

    def _counts(
        self, tenant: str, event: SessionDeclared | IntentAmended, document: Mapping[str, Any], words: Words
    ) -> bool:
        """Whether it says what is asked for: the first declaration, and amendments after it."""
        if event.intent is None or words.declared == isinstance(event, SessionDeclared):
            return False
        if isinstance(event, IntentAmended) and event.by_agent:
            return False
        return self._declarations is None or self._declarations.signer(tenant, event, document) is not None

    def _weigh(self, name: Name, words: Words) -> None:
        weight = words.weighs()
        self._total += weight - self._weights.get(name, 0)
        self._weights[name] = weight
        while self._total > MAX_WORDS:
            oldest, _ = self._sessions.popitem(last=False)
            self._total -= self._weights.pop(oldest)


def shortened(text: str, most: int = MAX_SAID) -> str:
    """`text`, without its middle where it is too long.

    >>> shortened("abcdefghij", 6)
    'abcd … ij'
    """
    return text if len(text) <= most else f"{text[: 2 * most // 3]} … {text[len(text) - most // 3 :]}"


def steps_before(words: Words, call: str) -> Iterator[tuple[int, Step]]:
    """The calls of a session before `call` that are remembered, each with its place among these."""
    for number, (name, step) in enumerate(words.steps.items()):
        if name == call:
            return
        if step is not None:
            yield number, step


def _said(event: SessionDeclared | IntentAmended | ToolCalled | ToolReturned) -> str:
    if isinstance(event, ToolCalled | ToolReturned):
        value = event.arguments if isinstance(event, ToolCalled) else event.result
        return shortened(value if isinstance(value, str) else dumps(value).decode())
    return shortened(event.intent.text if event.intent is not None else "")
