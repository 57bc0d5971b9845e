"""Moments of sessions become bus events: numbered, timed and ended, the same bytes for the same files."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from models.errors import ContractError
from stream.events import dumps, parse
from stream.offline.imports.steps import (
    Acting,
    Called,
    Moment,
    Notes,
    Offered,
    Prompt,
    Returned,
    Step,
    identifier,
)
from stream.offline.recorded import START, drawn_gap_s

TENANT = "imported"
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9998, 1, 1, tzinfo=UTC)


class Made(NamedTuple):
    """An event as it goes onto the bus."""

    root: str
    value: bytes


def checked(event: dict[str, Any], notes: Notes) -> bytes | None:
    """The bytes of an event that the contract takes; None for another, which is noted without its values."""
    try:
        value = dumps(event)
        parse(value)
    except (TypeError, ContractError) as error:  # orjson writes 254 levels
        why = error.detail if isinstance(error, ContractError) else "nested deeper than an event may be"
        notes.refuse(
            f"session {event['session_id']}, event {event.get('seq', event['id'])} ({event['type']})", why
        )
        return None
    return value


def merged(sources: Iterable[tuple[datetime | None, Callable[[], Iterator[Moment]]]]) -> Iterator[Moment]:
    """Moments of several files by their times, each file's in its own order; a file is opened when its start comes.

    Parameters
    ----------
    sources : iterable of (start, opener)
    """
    waiting = deque(sorted(sources, key=lambda source: source[0] or EARLIEST))
    heap: list[tuple[datetime, int, Moment, Iterator[Moment]]] = []
    opened = 0

    def push(latest: datetime, order: int, moments: Iterator[Moment]) -> None:
        for moment in moments:
            heapq.heappush(heap, (max(latest, moment.time or latest), order, moment, moments))
            return

    while heap or waiting:
        while waiting and (not heap or (waiting[0][0] or EARLIEST) <= heap[0][0]):
            push(EARLIEST, opened, waiting.popleft()[1]())
            opened += 1
        if heap:
            time, order, moment, moments = heapq.heappop(heap)
            yield moment
            push(time, order, moments)


def events(moments: Iterable[Moment], notes: Notes, run: str = "") -> Iterator[Made]:
    """The events of sessions that work for one another, sub-agents ended before what they work for; `run` prefixes ids."""
    sessions: dict[str, _Session] = {}
    for moment in moments:
        session = sessions.get(moment.session)
        if session is None:
            above = sessions.get(moment.parent or "")
            if moment.parent and above is None:
                notes.lose("links to sessions above that were not among the files")
            named = f"{run}-{moment.session}" if run else moment.session
            session = _Session(identifier(named), above, notes)
            sessions[moment.session] = session
        yield from session.take(moment.time, moment.step)
    for session in reversed(sessions.values()):
        yield from session.end()


@dataclass
class _Session:
    """A session as far as its moments were read."""

    id: str
    above: _Session | None
    notes: Notes
    agent: dict[str, str] = field(default_factory=dict)
    tools: dict[str, dict[str, Any]] = field(default_factory=dict)
    held: list[tuple[datetime, str]] = field(default_factory=list)
    begun: bool = False
    has_intent: bool = False
    asked: list[str] = field(default_factory=list)
    seq: int = 0
    clock: datetime | None = None
    calls: dict[str, tuple[str, int]] = field(default_factory=dict)
    unanswered: set[str] = field(default_factory=set)

    @property
    def root(self) -> str:
        return self.above.root if self.above else self.id

    def take(self, time: datetime | None, step: Step) -> Iterator[Made]:
        self.clock = self._not_before(time, step)
        match step:
            case Prompt(text):
                if not text.strip():
                    return
                self.held.append((self.clock, text))
                if self.begun:
                    yield from self._asked()
            case Acting(agent):
                self.agent |= {name: identifier(value) for name, value in agent.items() if value}
            case Offered(tools):
                new = {str(tool["name"]): tool for tool in tools}
                # A name by itself says nothing new of a tool that was described.
                new = {name: tool for name, tool in new.items() if len(tool) > 1 or name not in self.tools}
                changed = [tool for name, tool in new.items() if self.tools.get(name) != tool]
                self.tools |= new
                if self.begun and changed:
                    yield from self._event("catalogue.changed", {"tools": changed})
            case Called():
                yield from self._begin()
                yield from self._called(step)
            case Returned():
                yield from self._begin()
                yield from self._returned(step)

    def end(self) -> Iterator[Made]:
        """What was held back, and the end."""
        yield from self._begin()
        if self.unanswered:
            self.notes.lose("results that are not there", len(self.unanswered))
        if not self.tools:
            self.notes.lose("tool catalogues that are not known")
        if not self.has_intent:
            self.notes.lose("intents that are not known")
        yield from self._event("session.ended", {"reason": "the recording ends"})

    def _begin(self) -> Iterator[Made]:
        """The declaration, with what was learnt before the first call."""
        if self.begun:
            return
        self.begun = True
        self.notes.mapped["sessions"] += 1
        if self.above:
            self.notes.mapped["sub-agents among them"] += 1
        if not self.held:
            # A sub-agent's work is what the user said, whether or not its own file tells what it was told.
            yield from self._declared(self._intent() if self.above and self.said() else None)
        yield from self._asked()

    def _asked(self) -> Iterator[Made]:
        """The prompts that are held: the first that there is declares, the others amend."""
        held, self.held = self.held, []
        for time, text in held:
            if not self.has_intent:
                self.asked.append(text)
                yield from self._declared(self._intent(text), time)
            elif self.above:
                # Only the user widens an intent, and this the agent above wrote.
                self.notes.lose("further instructions to sub-agents")
            else:
                self.asked.append(text)
                self.notes.mapped["amendments"] += 1
                yield from self._event("intent.amended", {"intent": {"text": text}}, time)

    def _intent(self, *told: str) -> dict[str, Any]:
        """The intent of a session that was first told so: a sub-agent works for what the user said, and has what it was told as its plan."""
        if not self.above:
            return {"text": told[0]}
        return {"text": "\n\n".join(self.above.said()), **({"plan": list(told)} if told else {})}

    def said(self) -> list[str]:
        """What the user said so far, to this session or to the one that it works for."""
        if self.above:
            return self.above.said()
        return [*self.asked, *(text for _, text in self.held)]

    def _declared(self, intent: dict[str, Any] | None, time: datetime | None = None) -> Iterator[Made]:
        body: dict[str, Any] = {}
        if self.agent:
            body["agent"] = self.agent
        if intent is not None:
            self.has_intent = True
            body["intent"] = intent | {"known_by": "observer"}
        if self.tools:
            body["tools"] = list(self.tools.values())
        if self.above:
            body["parent_session_id"] = self.above.id
        yield from self._event("session.declared", body, time)

    def _called(self, step: Called) -> Iterator[Made]:
        given = step.arguments if isinstance(step.arguments, dict) else {"input": step.arguments}
        told = identifier(step.call_id)
        _, times = self.calls.get(told, ("", 0))
        call_id = f"{told}~{times}" if times else told
        body = {"call_id": call_id, "tool": identifier(step.tool), "arguments": given}
        made = list(self._event("tool.called", body))
        if made:
            self.calls[told] = (call_id, times + 1)
            self.unanswered.add(call_id)
            self.notes.mapped["calls"] += 1
        yield from made

    def _returned(self, step: Returned) -> Iterator[Made]:
        told = identifier(step.call_id)
        call_id, _ = self.calls.get(told, (told, 0))
        if told not in self.calls:
            self.notes.lose("calls of results that are not there")
        self.unanswered.discard(call_id)
        status = "not_run" if not step.ran else "error" if step.failed else "ok"
        made = list(
            self._event("tool.returned", {"call_id": call_id, "status": status, "result": step.result})
        )
        self.notes.mapped["results"] += len(made)
        yield from made

    def _event(self, kind: str, body: dict[str, Any], time: datetime | None = None) -> Iterator[Made]:
        event: dict[str, Any] = {
            "id": f"{self.id}/{self.seq}",
            "type": kind,
            "session_id": self.id,
            "seq": self.seq,
            "tenant": TENANT,
            "time": rfc3339_of(time or self.clock or START),
            **body,
        }
        if self.above:
            event["root_session_id"] = self.root
        value = checked(event, self.notes)
        if value is None:
            return
        self.seq += 1
        yield Made(self.root, value)

    def _not_before(self, time: datetime | None, step: Step) -> datetime:
        """`time` if there is one that the contract knows and that does not step back; else one drawn, as of recorded sessions."""
        if time is not None and EARLIEST <= time < LATEST:
            return max(time, self.clock) if self.clock else time
        last = self.clock or START
        if isinstance(step, Acting | Offered):
            return last
        self.notes.lose("times of steps, drawn instead")
        return last + timedelta(seconds=drawn_gap_s(self.id, self.seq))


def rfc3339_of(moment: datetime) -> str:
    # To the millisecond at most in every known format; what is finer is kept.
    rest = timedelta(microseconds=moment.microsecond % 1000)
    return moment.isoformat(timespec="microseconds" if rest else "milliseconds").replace("+00:00", "Z")
