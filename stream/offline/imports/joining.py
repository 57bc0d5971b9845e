"""Spans, as they come, become the events of sessions: joined by trace and conversation, in the order in which they began.

A span is exported when it ends, so children come before what they belong to. The spans of a trace are held until its root came, or
until nothing of it came for a while; then they are told in the order of their starts. What comes later is told as it comes.

Ids are made from the span's own ids and its content, so the same span gives the same events whenever it is delivered. Nothing here
reads a clock: whoever hands spans in says what time it is.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

from stream.events import dumps
from stream.offline.imports import genai
from stream.offline.imports.assembly import EARLIEST, Made, checked, rfc3339_of
from stream.offline.imports.genai import Recorded
from stream.offline.imports.otlp import Span
from stream.offline.imports.steps import Notes, identifier

MAX_SAID = 16_384
"""Characters of what the user said that are kept, to tell sub-agents whom they work for."""
MAX_SCOPES = 64
"""Instrumentations of a session that are remembered, of those that record answers and of those that do not."""
MAX_TOOLS = 1024
"""Tools of a session whose definitions are remembered."""
MAX_HEARD = 4096
"""Texts of a session's user that are told; later ones could not be told from texts that come again."""
MAX_RESULT = 262_144
"""Bytes of a result that go onto the bus; the beginning of a longer one does."""
MAX_ARGUMENTS = 524_288
"""Bytes of arguments that do; longer ones count as not recorded."""
BLIND_NS = 3_600 * 10**9
"""How long after a restart a conversation that is not known may be one that was: as long as the shipped policy leaves a session open."""


@dataclass(frozen=True)
class Limits:
    """How long spans are held, and how many.

    Parameters
    ----------
    settle_s : float
        A trace is told so long after its root came: what was on the way may arrive till then.
    quiet_s, longest_s : float
        Without its root it is told once nothing of it came for so long, and once its first held span waited so long.
    linger_s : float
        How long it is remembered, after that, whom a late span works for.
    spans, bytes : int
        Held at most of all traces; beyond, the oldest trace is told early. Nothing is dropped.
    trace_spans : int
        Held of one trace at most, and remembered; the earliest are forgotten first.
    traces, nodes, sessions : int
        Traces, spans of them and sessions that are remembered at most, the ones longest quiet forgotten first.
    """

    settle_s: float = 2.0
    quiet_s: float = 10.0
    longest_s: float = 60.0
    linger_s: float = 60.0
    spans: int = 200_000
    bytes: int = 256 << 20
    trace_spans: int = 20_000
    traces: int = 100_000
    nodes: int = 1_000_000
    sessions: int = 50_000


@dataclass
class Seen:
    """How much the spans told: what evidence can speak."""

    sessions: int = 0
    intents: int = 0
    catalogues: int = 0
    calls: int = 0
    arguments: int = 0
    results: int = 0

    def lines(self) -> list[str]:
        """For people, in two sentences."""
        speak = {
            "intent": _share(self.intents, self.sessions),
            "provenance": _share(min(self.arguments, self.results), self.calls),
            "content": _share(self.results, self.calls),
            "scope, sequence, tempo": "all calls" if self.calls else "none",
            "identity": "none, spans name no credential",
        }
        return [
            f"coverage: of {self.sessions} sessions {self.intents} have an intent and {self.catalogues} a catalogue; "
            f"of {self.calls} calls {self.arguments} have arguments and {self.results} an answer",
            "evidence that can speak: " + "; ".join(f"{family}: {share}" for family, share in speak.items()),
        ]


def _share(part: int, whole: int) -> str:
    return f"{100 * part // whole} %" if whole else "none"


class _Place(NamedTuple):
    """Which session something belongs to, the one above it, and the one that all work for."""

    session: str
    parent: str | None
    root: str


class _Node(NamedTuple):
    """What is remembered of a span, so that others find whom they work for; `name` is the agent's or the tool's, `mark` see there."""

    parent: str
    kind: genai.Kind | None
    name: str
    mark: str
    conversation: str
    start_ns: int
    digest: str


class _Above(NamedTuple):
    """What a span works for, itself included.

    Parameters
    ----------
    conversation : of the outermost span that tells one
    agent : str or None
        Name of the nearest; None: there is none. `is_inner`: it is an agent's own span, inside another agent's.
    start_ns : int
        At which nothing above it had yet to begin, whatever their clocks say.
    call, tool, mark : the outermost span of the call that it is part of, the tool's name and its mark; empty outside of one
    is_rooted : bool
        Whether all above it is known, or will be no more: before that, what passes for the user's word may be an agent's.
    """

    conversation: str
    place: _Place
    agent: str | None
    is_inner: bool
    start_ns: int
    call: str
    tool: str
    mark: str
    is_rooted: bool


class _Held(NamedTuple):
    """A span that waits; `key` tells it from any other that claims its id."""

    span: Span
    kind: genai.Kind
    key: str
    size: int


@dataclass
class _Trace:
    """What is known of a trace: `base` is its session, from the moment on at which anything was told of it."""

    id: str
    last_s: float
    first_s: float = 0.0
    root_s: float | None = None
    is_closed: bool = False
    base: str = ""
    nodes: OrderedDict[str, _Node] = field(default_factory=OrderedDict)
    held: dict[str, _Held] = field(default_factory=dict)
    told: dict[str, None] = field(default_factory=dict)
    places: dict[str, _Place] = field(default_factory=dict)
    mcp_sessions: set[str] = field(default_factory=set)
    parents_of_told: dict[str, tuple[str, str]] = field(default_factory=dict)
    asker: str | None = None
    is_conferred: bool = False
    origins: dict[Any, int] = field(default_factory=dict)
    pinned: dict[Any, int] = field(default_factory=dict)
    pinned_until_s: float = 0.0


@dataclass
class _Session:
    """What was told of a session: `heard` are digests of the user's texts, `tools` of definitions and who gave them.

    `mute` and `telling` are the instrumentations of the tree whose calls ended without an answer, and that record answers.
    """

    place: _Place
    latest_ns: int = 0
    is_open: bool = False
    is_asked: bool = False
    has_catalogue: bool = False
    said: list[str] = field(default_factory=list)
    heard: set[bytes] = field(default_factory=set)
    tools: dict[str, tuple[bytes | None, bytes | None, str]] = field(default_factory=dict)
    mute: set[str] = field(default_factory=set)
    telling: set[str] = field(default_factory=set)


@dataclass
class _Call:
    """What the spans of one call tell of it together."""

    call_id: str
    arguments: Recorded
    result: Recorded


class _Moment(NamedTuple):
    """The beginning of a span, or the end of a tool's; `order` sorts those of several traces."""

    order: tuple[int, int, int, str]
    held: _Held
    trace: _Trace
    above: _Above
    call: _Call | None
    is_end: bool

    @property
    def place(self) -> _Place:
        """The session that it belongs to."""
        return self.above.place

    @property
    def agent(self) -> str:
        """Who did it, as far as agents of one trace are told apart."""
        return self.above.agent or ""


@dataclass
class _Opening:
    """What the spans that are told together say of a session, the earliest first."""

    agent: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    instructions: str = ""
    tools: dict[str, tuple[dict[str, Any], str]] = field(default_factory=dict)


_ANSWERED, _ANSWERED_AT_ONCE = 0, 4
_RANKS: dict[genai.Kind, int] = {"agent": 1, "model": 2, "tool": 3}
"""At one moment: answers to earlier calls, then what begins, the outer before the inner, then answers that took no time."""


class Joiner:
    """Joins spans into events.

    Parameters
    ----------
    notes : Notes
        Hears what was mapped, lost and refused.
    limits : Limits
    tenant : str or None
        Of every event; None: none is named.
    run : str
        Prefixes every id.
    instructions : bool
        Take the system instructions for the intent of a session whose user is not heard.
    resumed : bool
        Others joined the spans before these: a conversation that is not known may have begun with them.
    """

    def __init__(
        self,
        notes: Notes,
        limits: Limits | None = None,
        *,
        tenant: str | None = None,
        run: str = "",
        instructions: bool = False,
        resumed: bool = False,
    ) -> None:
        self.seen = Seen()
        self._notes, self._limits = notes, limits or Limits()
        self._tenant, self._run, self._instructions = tenant, run, instructions
        self._is_resumed, self._has_forgotten, self._blind_until_ns = resumed, False, 0
        self._traces: OrderedDict[str, _Trace] = OrderedDict()
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._n_held = self._n_bytes = self._n_nodes = 0

    @property
    def held(self) -> int:
        """How many spans are held."""
        return self._n_held

    def resume(self) -> None:
        """Hear that others joined the spans before these, as `resumed` says."""
        self._is_resumed = True

    def take(self, spans: Iterable[Span], now_s: float, origin: tuple[Any, int] | None = None) -> list[Made]:
        """Take what came together; gives the events that are due by it.

        Parameters
        ----------
        now_s : float
            Of any clock that only rises.
        origin : tuple or None
            Partition and offset from which these spans are read anew after a crash, see `needed_from`.
        """
        touched = {id(trace): trace for span in spans if (trace := self._hold(span, now_s, origin))}
        most = self._limits.trace_spans
        # What comes of a trace that was told with its root is told as it comes.
        made = self._tell(
            [trace for trace in touched.values() if trace.is_closed or len(trace.held) >= most], now_s
        )
        return made + self._within(now_s)

    def due(self, now_s: float) -> list[Made]:
        """The events of traces that waited long enough; what was told long ago is forgotten."""
        made = self._tell([trace for trace in self._traces.values() if self._is_due(trace, now_s)], now_s)
        for trace in [each for each in self._traces.values() if not each.held]:
            linger_s = self._limits.linger_s if trace.base else self._limits.quiet_s
            if now_s >= trace.last_s + linger_s:
                self._forget(trace)
            elif now_s >= trace.pinned_until_s:
                trace.pinned = {}
        return made

    def drain(self, now_s: float = 0.0) -> list[Made]:
        """The events of all that is held."""
        return self._tell(list(self._traces.values()), now_s)

    def ends(self) -> Iterator[Made]:
        """An end for each session that is remembered, sub-agents first: of recordings, after which nothing comes."""
        for session in reversed(self._sessions.values()):
            place = session.place
            body = {"reason": "the recording ends"}
            yield from self._event(place, f"{place.session}/ended", "session.ended", session.latest_ns, body)

    def needed_from(self) -> dict[Any, int]:
        """By partition, the first offset of what is held or lately told: from there it is read anew after a crash."""
        first: dict[Any, int] = {}
        for trace in self._traces.values():
            for origins in (trace.origins, trace.pinned):
                for place, offset in origins.items():
                    first[place] = min(offset, first.get(place, offset))
        return first

    # ------------------------------------------------------------------ what waits

    def _is_due(self, trace: _Trace, now_s: float) -> bool:
        limits = self._limits
        return bool(trace.held) and (
            (trace.root_s is not None and now_s >= trace.root_s + limits.settle_s)
            or now_s >= trace.last_s + limits.quiet_s
            or now_s >= trace.first_s + limits.longest_s
        )

    def _hold(self, span: Span, now_s: float, origin: tuple[Any, int] | None) -> _Trace | None:
        """Note a span; the trace where it waits, None where there is nothing to wait for."""
        kind = genai.kind_of(span)
        tool = genai.tool_named(span) if kind == "tool" else ""
        if kind is not None and span.start_ns == 0:
            self._notes.refuse(f"span {span.id}", "it tells no start")
            return None
        if kind == "tool" and not tool:
            self._notes.refuse(f"span {span.id}", "it names no tool: gen_ai.tool.name is not set")
            return None
        trace = self._traces.get(span.trace)
        if trace is None:
            trace = self._traces[span.trace] = _Trace(span.trace, now_s)
        self._traces.move_to_end(span.trace)
        trace.last_s = now_s
        if not span.parent and trace.root_s is None:
            trace.root_s = now_s
        raw = dumps(span[2:]) if kind is not None else b""
        digest = hashlib.blake2b(raw, digest_size=8).hexdigest() if raw else ""
        self._remember(trace, span, kind, tool, digest)
        if kind is None:
            return None
        key = f"{span.trace}/{span.id}/{digest}"
        if key in trace.held or key in trace.told:
            self._notes.lose("repeats of spans")
            return None
        if not trace.held:
            trace.first_s = now_s
        trace.held[key] = _Held(span, kind, key, len(raw))
        self._n_held += 1
        self._n_bytes += len(raw)
        if origin is not None:
            trace.origins.setdefault(*origin)
        if not self._blind_until_ns:
            self._blind_until_ns = span.start_ns + BLIND_NS
        return trace

    def _remember(self, trace: _Trace, span: Span, kind: genai.Kind | None, tool: str, digest: str) -> None:
        node = trace.nodes.get(span.id)
        # Of two that claim one id the same one counts, in whatever order they come.
        if node is not None and (kind is None or (node.kind is not None and node.digest <= digest)):
            return
        self._n_nodes += node is None
        name = genai.agent_of(span) if kind == "agent" else tool
        conversation = str(span.attributes.get(genai.CONVERSATION) or "")
        mark = genai.mark_of(span) if kind == "tool" else ""
        # Remembered longer than they are held: none is longer than an id.
        name, mark, conversation = (each and identifier(each) for each in (name, mark, conversation))
        trace.nodes[span.id] = _Node(span.parent, kind, name, mark, conversation, span.start_ns, digest)
        if (session := span.attributes.get(genai.MCP_SESSION)) and len(trace.mcp_sessions) < 2:
            trace.mcp_sessions.add(identifier(session))
        if len(trace.nodes) > self._limits.trace_spans:
            trace.nodes.popitem(last=False)
            self._n_nodes -= 1
            self._notes.lose("spans of long traces that were forgotten as parents")

    def _within(self, now_s: float) -> list[Made]:
        """Tell the oldest traces early, and forget them, until the limits hold."""
        limits, made = self._limits, list[Made]()
        while self._n_held > limits.spans or self._n_bytes > limits.bytes:
            oldest = next(trace for trace in self._traces.values() if trace.held)
            self._notes.lose("traces told early, since too much was held")
            made += self._tell([oldest], now_s)
        while len(self._traces) > limits.traces or self._n_nodes > limits.nodes:
            oldest = next(iter(self._traces.values()))
            made += self._tell([oldest], now_s)
            self._forget(oldest)
        return made

    def _forget(self, trace: _Trace) -> None:
        del self._traces[trace.id]
        self._n_nodes -= len(trace.nodes)

    # ------------------------------------------------------------------ whom spans work for

    def _above(self, trace: _Trace, span_id: str, known: dict[str, _Above]) -> _Above | None:
        """What a span that is known works for; `known` keeps what was found. A circle of parents ends where it was entered."""
        path: dict[str, _Node] = {}
        while span_id not in known and span_id not in path and (node := trace.nodes.get(span_id)):
            path[span_id] = node
            span_id = node.parent
        above = known.get(span_id)
        for each, node in reversed(path.items()):
            above = known[each] = self._below(trace, each, node, above)
        return above

    def _base(self, trace: _Trace) -> str:
        """The session of a trace: its one conversation, else the one MCP session of a trace without agents, else the trace."""
        conversations = {node.conversation for node in trace.nodes.values() if node.conversation}
        if len(conversations) == 1:
            return conversations.pop()
        has_agents = any(node.kind == "agent" for node in trace.nodes.values())
        if not conversations and not has_agents and len(trace.mcp_sessions) == 1:
            return next(iter(trace.mcp_sessions))
        return trace.id

    def _below(self, trace: _Trace, span_id: str, node: _Node, above: _Above | None) -> _Above:
        """What a span works for, and what is below it; an agent inside another, of another name, has a session of its own."""
        conversation = (above.conversation if above else "") or node.conversation
        base = conversation or trace.base
        agent = above.agent if above else None
        place = above.place if above and agent is not None else _Place(base, None, base)
        start_ns = max(node.start_ns, above.start_ns if above else 0)
        is_rooted = above.is_rooted if above else not node.parent or trace.root_s is not None
        if node.kind == "agent":
            if span_id in trace.places:
                place = trace.places[span_id]
            elif agent is not None and node.name != agent:
                place = _Place(f"{place.root}/{span_id}", place.session, place.root)
            trace.places[span_id] = place
            _bound(trace.places, self._limits.trace_spans)
            return _Above(
                conversation, place, node.name, agent is not None, start_ns, span_id, "", "", is_rooted
            )
        of, tool, mark = (above.call, above.tool, above.mark) if above else (span_id, "", "")
        if node.kind == "tool":
            is_part = bool(tool) and genai.is_one_call(tool, mark, node.name, node.mark)
            of, tool, mark = of if is_part else span_id, node.name, node.mark
        return _Above(conversation, place, agent, False, start_ns, of, tool, mark, is_rooted)

    # ------------------------------------------------------------------ what is told

    def _tell(self, traces: list[_Trace], now_s: float) -> list[Made]:
        """The events of what is held of these traces, in the order of their starts."""
        moments: list[_Moment] = []
        for trace in traces:
            if trace.held:
                moments += self._moments(trace, now_s)
        if not moments:
            return []
        moments.sort(key=lambda moment: moment.order)
        openings = self._read(moments)
        made: list[Made] = []
        for moment in moments:
            opening = openings.get(moment.place.session, _Opening())
            made += self._ended(moment) if moment.is_end else self._began(moment, opening)
        while len(self._sessions) > self._limits.sessions:
            self._sessions.popitem(last=False)
            self._has_forgotten = True
        return made

    def _moments(self, trace: _Trace, now_s: float) -> list[_Moment]:
        """What is held of a trace, taken out of it: beginnings, and ends of calls."""
        trace.base = trace.base or self._base(trace)
        trace.is_closed = trace.is_closed or trace.root_s is not None
        held = sorted(trace.held.values(), key=lambda each: (each.span.start_ns, each.key))
        trace.held = {}
        trace.origins, trace.pinned = {}, trace.origins
        trace.pinned_until_s = now_s + self._limits.linger_s
        self._n_held -= len(held)
        self._n_bytes -= sum(each.size for each in held)
        calls: dict[str, _Call] = {}
        parts: list[tuple[str, _Held]] = []
        found: list[_Moment] = []
        known: dict[str, _Above] = {}
        for each in held:
            trace.told[each.key] = None
            _bound(trace.told, self._limits.trace_spans)
            span, call = each.span, None
            above = self._above(trace, span.id, known)
            if above is None:  # of a trace so long that this span was forgotten
                above = _Above(
                    "", _Place(trace.base, None, trace.base), None, False, 0, span.id, "", "", False
                )
            start_ns = max(span.start_ns, above.start_ns)
            if each.kind == "tool":
                tool = genai.tool_named(span)
                if above.call != span.id:
                    parts.append((above.call, each))
                    continue
                mark = genai.mark_of(span)
                told = trace.parents_of_told.get(span.id)
                if told is not None and genai.is_one_call(tool, mark, *told):
                    self._notes.lose("spans of a call that another told before")
                    continue
                call = _Call(
                    _call_id(span),
                    genai.arguments_of(span, self._notes),
                    genai.result_of(span, self._notes),
                )
                calls.setdefault(span.id, call)
                if span.parent and span.parent not in trace.nodes:
                    trace.parents_of_told[span.parent] = tool, mark
                    _bound(trace.parents_of_told, self._limits.trace_spans)
                end_ns = max(start_ns, span.end_ns)
                rank = _ANSWERED if end_ns > start_ns else _ANSWERED_AT_ONCE
                found.append(_Moment((end_ns, rank, span.start_ns, each.key), each, trace, above, call, True))
            order = (start_ns, _RANKS[each.kind], span.start_ns, each.key)
            found.append(_Moment(order, each, trace, above, call, False))
        for whole, each in parts:
            self._notes.lose("spans that are part of a call of another span")
            if (of := calls.get(whole)) is not None:
                of.arguments = (
                    of.arguments if of.arguments.known else genai.arguments_of(each.span, self._notes)
                )
                of.result = of.result if of.result.known else genai.result_of(each.span, self._notes)
        return found

    def _read(self, moments: list[_Moment]) -> dict[str, _Opening]:
        """What spans that are told together say of sessions and, in models' turns, of calls of others."""
        openings: dict[str, _Opening] = {}
        called: dict[str, dict[str, Any]] = {}
        answered: dict[str, dict[str, Any]] = {}
        for asks in (
            "agent",
            "model",
        ):  # what an agent was asked is the user's word before what a model was shown
            for moment in moments:
                if moment.held.kind != asks:
                    continue
                span = moment.held.span
                opening = openings.setdefault(moment.place.session, _Opening())
                opening.agent = genai.described(span) | opening.agent
                teller = moment.agent or span.service
                is_first = (
                    not opening.tools
                )  # later ones join; what they say more of these is said from the beginning
                for name, tool in genai.offered(span, self._notes).items():
                    if is_first or (name in opening.tools and len(opening.tools[name][0]) < len(tool)):
                        opening.tools[name] = tool, teller
                opening.instructions = opening.instructions or genai.instructed(span, self._notes)
                texts = genai.asked(span, self._notes) if moment.above.is_rooted else []
                opening.asked = opening.asked or texts[: None if asks == "agent" else 1]
                if asks == "model":
                    of_calls, of_answers = genai.parts(span)
                    called.setdefault(moment.place.root, {}).update(of_calls)
                    answered.setdefault(moment.place.root, {}).update(of_answers)
        for moment in moments:
            if moment.call is None or moment.is_end:
                continue
            call, span, root = moment.call, moment.held.span, moment.place.root
            told = str(span.attributes.get("gen_ai.tool.call.id") or "")
            if not call.arguments.known and told in called.get(root, {}):
                call.arguments = genai.arguments_in(called[root][told])
            if not call.result.known and told in answered.get(root, {}):
                call.result = genai.structured(answered[root][told])
            if call.result.known:
                _noted(self._root(moment.place).telling, span.scope)
        return openings

    def _session(self, place: _Place) -> _Session:
        session = self._sessions.get(place.session)
        if session is None:
            session = self._sessions[place.session] = _Session(place)
        self._sessions.move_to_end(place.session)
        return session

    def _root(self, place: _Place) -> _Session:
        return self._session(_Place(place.root, None, place.root))

    def _began(self, moment: _Moment, opening: _Opening) -> list[Made]:
        session, kind = self._session(moment.place), moment.held.kind
        made = self._opened(moment, session, opening)
        if kind == "tool":
            return made + self._called(moment, session)
        if kind == "agent":
            made += self._turn(moment, session)
        return made + self._changed(moment, session)

    def _opened(self, moment: _Moment, session: _Session, opening: _Opening) -> list[Made]:
        """The declaration of a session, and a second one where the intent came late."""
        texts = opening.asked or (
            [opening.instructions] if self._instructions and opening.instructions else []
        )
        intent = self._intent(moment.place, texts)
        if session.is_open and (session.is_asked or intent is None):
            return []
        body: dict[str, Any] = {}
        if opening.agent:
            body["agent"] = {name: identifier(value) for name, value in opening.agent.items()}
        if intent is not None:
            body["intent"] = intent | {"known_by": "observer"}
        if not session.is_open and opening.tools:
            body["tools"] = [tool for tool, _ in opening.tools.values()]
        if moment.place.parent is not None:
            body["parent_session_id"] = self._named(moment.place.parent)
        made = self._made(moment, "declared", "session.declared", body)
        if not made:
            return made
        if not session.is_open:
            self.seen.sessions += 1
            self._notes.mapped["sessions"] += 1
            self._notes.mapped["sub-agents among them"] += moment.place.parent is not None
            if opening.tools:
                self._knows_catalogue(session)
                for name, (tool, teller) in opening.tools.items():
                    session.tools[name] = (*_prints(tool), teller)
        is_new, session.is_open = not session.is_open, True
        if intent is not None:
            session.is_asked = True
            self.seen.intents += 1
            self._hear(session, texts[:1])
            if is_new and moment.place.parent is None and self._may_go_on(moment):
                # The one who joined before may have declared it: then this declaration counts for nothing.
                made += self._made(moment, "asked/0", "intent.amended", {"intent": {"text": texts[0]}})
        return made

    def _intent(self, place: _Place, texts: list[str]) -> dict[str, Any] | None:
        """What a session is for: a sub-agent works for what the user said, and what it was told itself is its plan."""
        if place.parent is None:
            return {"text": texts[0]} if texts else None
        said = self._root(place).said
        return {"text": "\n\n".join(said)} | ({"plan": texts[:1]} if texts else {}) if said else None

    def _may_go_on(self, moment: _Moment) -> bool:
        """Whether a session that is not known may have been told before."""
        blind = self._is_resumed and moment.held.span.start_ns <= self._blind_until_ns
        return (blind or self._has_forgotten) and moment.place.session != moment.trace.id

    def _hear(self, session: _Session, texts: list[str]) -> None:
        for text in texts:
            session.heard.add(_print(text))
            if session.place.parent is None and sum(map(len, session.said)) < MAX_SAID:
                session.said.append(text[:MAX_SAID])

    def _turn(self, moment: _Moment, session: _Session) -> list[Made]:
        """What the user went on to say. Only who was asked first hears the user: what agents tell one another widens nothing."""
        trace, span = moment.trace, moment.held.span
        if moment.above.is_inner:
            return []
        if not moment.above.is_rooted:
            self._notes.lose("instructions of whom nobody knows whether a user or an agent gave them")
            return []
        trace.asker = trace.asker if trace.asker is not None else moment.agent
        trace.is_conferred = trace.is_conferred or trace.asker != moment.agent
        fresh = [text for text in genai.asked(span, Notes()) if _print(text) not in session.heard]
        if trace.is_conferred:
            self._notes.lose("instructions of one agent to another", len(fresh))
            return []
        room = max(0, MAX_HEARD - len(session.heard))
        self._notes.lose("texts of users beyond the number that is remembered", len(fresh[room:]))
        fresh = fresh[:room]
        made: list[Made] = []
        for number, text in enumerate(fresh, 1):
            made += self._made(moment, f"asked/{number}", "intent.amended", {"intent": {"text": text}})
            self._notes.mapped["amendments"] += 1
        self._hear(session, fresh)
        return made

    def _changed(self, moment: _Moment, session: _Session) -> list[Made]:
        """Tools that joined, or that the agent which offered them before declares otherwise now."""
        changed, teller = [], moment.agent or moment.held.span.service
        for name, tool in genai.offered(moment.held.span, Notes()).items():
            description, parameters = _prints(tool)
            known = session.tools.get(name)
            if known is None:
                if len(session.tools) >= MAX_TOOLS:
                    self._notes.lose("tools beyond the number that is remembered")
                    continue
                changed.append(tool)
            elif known[2] != teller:
                continue
            elif _differ(known[0], description) or _differ(known[1], parameters):
                changed.append(tool)
            else:  # what is left out now is not gone
                description, parameters = description or known[0], parameters or known[1]
            session.tools[name] = description, parameters, teller
        if not changed:
            return []
        self._knows_catalogue(session)
        return self._made(moment, "offered", "catalogue.changed", {"tools": changed})

    def _knows_catalogue(self, session: _Session) -> None:
        self.seen.catalogues += not session.has_catalogue
        session.has_catalogue = True

    def _called(self, moment: _Moment, session: _Session) -> list[Made]:
        call, root = moment.call, self._root(moment.place)
        assert call is not None
        given = call.arguments.value
        why = "" if call.arguments.known else "arguments that are not recorded"
        if not why and root.mute - root.telling:
            # What an answer said that nobody recorded would seem to come from nowhere.
            why = "arguments left out, since answers before them are not recorded"
        if not why and len(dumps(given)) > MAX_ARGUMENTS:
            why = "arguments that are too long"
        if why:
            self._notes.lose(why)
        body = {
            "call_id": call.call_id,
            "tool": identifier(genai.tool_named(moment.held.span)),
            **({"arguments_seen": False} if why else {"arguments": given}),
        }
        made = self._made(moment, "called", "tool.called", body)
        self.seen.calls += len(made)
        self.seen.arguments += len(made) if not why else 0
        self._notes.mapped["calls"] += len(made)
        return made

    def _ended(self, moment: _Moment) -> list[Made]:
        call, span = moment.call, moment.held.span
        assert call is not None
        has_failed = genai.failed(span)
        if not call.result.known and not has_failed:
            _noted(self._root(moment.place).mute, span.scope)
            self._notes.lose("results that are not recorded")
            return []
        body: dict[str, Any] = {"call_id": call.call_id, "status": "error" if has_failed else "ok"}
        if call.result.known:
            raw = dumps(call.result.value)
            cut = len(raw) > MAX_RESULT
            body["result"] = raw[:MAX_RESULT].decode(errors="ignore") if cut else call.result.value
            self._notes.lose("results of which the end is left out", cut)
        made = self._made(moment, "returned", "tool.returned", body)
        self.seen.results += len(made)
        self._notes.mapped["results"] += len(made)
        return made

    def _made(self, moment: _Moment, step: str, kind: str, body: dict[str, Any]) -> list[Made]:
        span = moment.held.span
        time_ns = max(span.start_ns, span.end_ns) if moment.is_end else span.start_ns
        return self._event(moment.place, f"{moment.held.key}/{step}", kind, time_ns, body)

    def _event(self, place: _Place, name: str, kind: str, time_ns: int, body: dict[str, Any]) -> list[Made]:
        session = self._session(place)
        session.latest_ns = max(session.latest_ns, time_ns)
        root = self._named(place.root)
        event: dict[str, Any] = {
            "id": f"{self._run}-{name}" if self._run else name,
            "type": kind,
            "session_id": self._named(place.session),
            "time": rfc3339_of(EARLIEST + timedelta(microseconds=time_ns // 1000)),
            **body,
        }
        if self._tenant is not None:
            event["tenant"] = self._tenant
        if place.parent is not None:
            event["root_session_id"] = root
        value = checked(event, self._notes)
        return [] if value is None else [Made(root, value)]

    def _named(self, session: str) -> str:
        return identifier(f"{self._run}-{session}" if self._run else session)


def _call_id(span: Span) -> str:
    """The provider's id of a call, if it is told, and the span's, since some providers count anew in each run."""
    told = span.attributes.get("gen_ai.tool.call.id")
    return f"{identifier(told)}/{span.id}" if told else span.id


def _bound(mapping: dict[str, Any], most: int) -> None:
    """Forget the oldest beyond `most`, one at a time."""
    if len(mapping) > most:
        del mapping[next(iter(mapping))]


def _print(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()


def _prints(tool: dict[str, Any]) -> tuple[bytes | None, bytes | None]:
    """Digests of what a definition says of its tool; None where it does not."""
    described, parameters = tool.get("description"), tool.get("parameters")
    return (_print(described) if described else None), (
        _print(dumps(parameters).decode()) if parameters else None
    )


def _differ(one: bytes | None, other: bytes | None) -> bool:
    return one is not None and other is not None and one != other


def _noted(scopes: set[str], scope: str) -> None:
    """Remember an instrumentation by its name: a few, and none longer than an id."""
    if len(scopes) < MAX_SCOPES:
        scopes.add(identifier(scope))
