"""What is not seen: agents that declare no intent, send no results, use unknown tools or never end, told from decisions, cases and events.

A fold over records: no clock, no broker. Repeats of records, as a crash leaves them, change nothing, and neither does the order in
which topics or sessions are read, as long as each session's decisions keep theirs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from models.contracts import ControlEvent, SessionDeclared, SessionEnded, ToolCalled, ToolReturned
from models.errors import ContractError
from models.session import MAX_GAPS
from stream.core.cases import OVER
from stream.events import CASES, DECISIONS, Record, milliseconds, parse, rfc3339

NAMELESS = "(no name)"
"""Sessions whose declarations name no agent, or that declared nothing, all together."""
MAX_TOOLS = 8
"""Unknown tools that are named for an agent."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that an agent's host leaves unseen.

    Attributes
    ----------
    what : str
        One of `MENDS`.
    count, of : int
        How many sessions, calls or events, and of how many.
    example : str
        A session in which it was seen; the first by name.
    """

    what: str
    count: int
    of: int
    example: str

    @property
    def share(self) -> float:
        """`count` of `of`, 0 to 1."""
        return round(self.count / self.of, 4) if self.of else 0.0


MENDS = {
    "unjudged": "sessions with a record that Driftline failed to judge; it is ours: docs/operations.md#driftlineinternalerror",
    "refused": "calls that the contract refused; send them as docs/schemas/agent.events.v1.json has them, quarantine has the reason",
    "undeclared": "sessions without an intent; have the host send session.declared with the user's words before the first call",
    "vague": "sessions whose intent tells nothing; send the user's own words, not the agent's role",
    "late": "sessions that called tools before they declared; send session.declared first",
    "unsigned": "sessions declared without the signature that the policy demands; give the host a key: docs/security.md",
    "unattested": "sessions declared without the attestation that the policy demands; docs/identity.md",
    "self_asserted": "sessions of which the agent itself says what it is for; have the host declare the user's words",
    "missing": "events that never came or were refused, by their numbers; let the producer write with acks=all and idempotence",
    "partial": "sessions whose beginning was not seen; check retention, and that the host sends from the first event on",
    "reused": "sessions with two events under one number; one writer for each session, and a new id after a restart",
    "unanswered": "calls without tool.returned; send results, or provenance and content see nothing",
    "unseen_arguments": "calls whose arguments nobody saw, so their scores are not acted on; let the source tell them: docs/signals.md#marks",
    "unknown_tools": "calls of tools that no catalogue offered; declare tools, or send catalogue.changed when some join",
    "not_ended": "sessions that never said that they were over; send session.ended, or their credentials live until the idle limit",
    "after_end": "calls after the end; let the host send session.ended last",
}
"""What a finding means and how it is mended, the gravest first."""


@dataclass(slots=True)
class _Session:
    last_ms: int = 0
    # of decisions
    agent: str | None = None
    first_id: str = ""
    highest: int = -1
    calls: int = 0
    abstained: int = 0
    undeclared: int = 0
    vague: int = 0
    unseen: int = 0
    after_end: int = 0
    marks: set[str] = field(default_factory=set)
    unknown: Counter[str] = field(default_factory=Counter)
    refused: set[str] = field(default_factory=set)
    # of cases
    agent_of_cases: str | None = None
    over: str | None = None
    # of events
    agent_of_events: str | None = None
    intent: bool = False
    said_end: bool = False
    numbers: list[list[int]] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    called: int = 0
    returned: int = 0
    unseen_told: int = 0
    has_events: bool = False

    @property
    def name(self) -> str:
        """Its agent, as decisions, cases or events tell, in this order."""
        return self.agent or self.agent_of_cases or self.agent_of_events or NAMELESS

    @property
    def undeclared_all_along(self) -> bool:
        """Whether no call of it was judged against an intent, or might have been."""
        return self.undeclared == self.calls if self.calls else self.called > 0 and not self.intent


class _Evidence(msgspec.Struct):
    name: str


class _Decision(msgspec.Struct):
    """What is read of a decision."""

    decision_id: str
    tenant: str
    root_session_id: str
    session_id: str
    call_seq: int
    time: datetime
    agent: str | None
    tool: str
    verdict: str
    marks: list[str]
    evidence: list[_Evidence]


class _Case(msgspec.Struct):
    """What is read of a case."""

    tenant: str
    root_session_id: str
    session_id: str
    time: datetime
    kind: str
    reason: str
    agent: str | None


_DECISION, _CASE = msgspec.json.Decoder(_Decision), msgspec.json.Decoder(_Case)
_HOW = {why: how for how, why in OVER.items()}
_UNKNOWN = {"tool_unknown", "unknown_tool_reads"}
_KEPT = {"unsigned", "unattested", "self_asserted", "partial", "number_reused", "unjudged_before"}
"""Marks that count for a session as a whole."""


@dataclass
class Agent:
    """What is seen of one agent of one tenant.

    Attributes
    ----------
    sessions, declared : int
        Known; of these, with an intent that can be judged against.
    calls, abstained, refused : int
        Decided; of these, not judged, and of these refused by the contract.
    results : tuple of (int, int), or None
        Calls that were answered, and calls, as events tell; None where none were read.
    ends : counts
        Sessions that said their end (``ended``), ended with the one that they work for, were ``idle`` or ``evicted``, are ``open``,
        or of whose end nothing is known: a quiet session's end makes no case, and its events were not read.
    tools : counts by tool
        Calls of unknown ones.
    findings : list of Finding
        The gravest first.
    """

    tenant: str
    name: str
    sessions: int = 0
    declared: int = 0
    calls: int = 0
    abstained: int = 0
    refused: int = 0
    results: tuple[int, int] | None = None
    ends: Counter[str] = field(default_factory=Counter)
    tools: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    @property
    def over(self) -> int:
        """Of the sessions, those that are known to be over."""
        return sum(n for how, n in self.ends.items() if how not in ("open", "unknown"))

    @property
    def ended(self) -> int:
        """Of these, those that said so, or that ended with the one that they work for."""
        return self.ends["ended"] + self.ends["parent_ended"]

    def such_as(self, finding: Finding) -> str:
        """An example of a finding: a session, or some of the unknown tools."""
        return (
            ", ".join(sorted(self.tools)[:MAX_TOOLS]) if finding.what == "unknown_tools" else finding.example
        )

    def document(self) -> dict[str, Any]:
        """As JSON."""
        named = sorted(self.tools.items(), key=lambda row: (-row[1], row[0]))
        return {
            "tenant": self.tenant,
            "agent": self.name,
            "sessions": self.sessions,
            "declared": self.declared,
            "calls": self.calls,
            "abstained": self.abstained,
            "refused": self.refused,
            "results": None
            if self.results is None
            else dict(zip(("answered", "calls"), self.results, strict=True)),
            "ends": dict(self.ends),
            "unknown_tools": dict(named[:MAX_TOOLS]),
            "findings": [
                {**asdict(each), "share": each.share, "mend": MENDS[each.what]} for each in self.findings
            ],
        }


class Coverage:
    """What records tell of how much of each agent is seen.

    Parameters
    ----------
    tenants : mapping of str to (str or None)
        Which tenant an input topic is bound to, as `stream.core.deployment.Deployment` has it.
    idle_minutes : float
        The policy's: after so long without an event a session is over.
    """

    def __init__(self, tenants: Mapping[str, str | None], idle_minutes: float) -> None:
        self._tenants = tenants
        self._idle_ms = idle_minutes * 60_000
        self._sessions: dict[tuple[str, str, str], _Session] = {}
        self.first_ms: int | None = None
        self.last_ms = 0
        self.read: set[str] = set()
        self.unread = 0

    def take(self, records: Iterable[Record]) -> Coverage:
        """Fold in records, their topics named as without a prefix; of others than these three kinds none counts."""
        for record in records:
            try:
                if record.topic == DECISIONS:
                    self._decision(_DECISION.decode(record.value or b""))
                elif record.topic == CASES:
                    self._case(_CASE.decode(record.value or b""))
                elif record.topic in self._tenants:
                    self._event(record)
                else:
                    continue
            except (msgspec.MsgspecError, ContractError):
                self.unread += 1
        return self

    def forget(self, tenant: str, root: str, session: str) -> None:
        """Know nothing more of a session: for whoever has to bound how many are known."""
        self._sessions.pop((tenant, root, session), None)

    def agents(self) -> list[Agent]:
        """Each agent of each tenant: those first of whose calls most were not judged, then those with most findings."""
        of: dict[tuple[str, str], list[tuple[str, _Session]]] = {}
        for (tenant, _, name), session in sorted(self._sessions.items()):
            of.setdefault((tenant, session.name), []).append((name, session))
        made = [self._agent(*who, sessions) for who, sessions in of.items()]
        return sorted(made, key=lambda a: (-a.abstained, -len(a.findings), a.tenant, a.name))

    def document(self) -> dict[str, Any]:
        """The report as JSON."""
        return {
            "first": None if self.first_ms is None else rfc3339(self.first_ms),
            "last": None if self.first_ms is None else rfc3339(self.last_ms),
            "sessions": len(self._sessions),
            "read": sorted(self.read),
            "agents": [agent.document() for agent in self.agents()],
        }

    # ------------------------------------------------------------------ one record

    def _at(self, kind: str, key: tuple[str, str, str], time_ms: int) -> _Session:
        self.read.add(kind)
        self.first_ms = time_ms if self.first_ms is None else min(self.first_ms, time_ms)
        self.last_ms = max(self.last_ms, time_ms)
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = _Session()
        session.last_ms = max(session.last_ms, time_ms)
        return session

    def _decision(self, decision: _Decision) -> None:
        key = decision.tenant, decision.root_session_id, decision.session_id
        session = self._at("decisions", key, milliseconds(decision.time))
        session.agent = decision.agent or session.agent
        if "refused" in decision.marks:  # it has no place among the session's calls
            session.refused.add(decision.decision_id)
            return
        if decision.call_seq == 0 and decision.decision_id != session.first_id:
            # Its first call, or that of another life of the same id, once the tombstone was forgotten.
            session.first_id, session.highest = decision.decision_id, -1
        if decision.call_seq <= session.highest:
            return  # decided again after a crash
        session.highest = decision.call_seq
        session.calls += 1
        session.abstained += decision.verdict == "abstain"
        session.undeclared += "undeclared" in decision.marks
        session.vague += "vague" in decision.marks
        session.unseen += "arguments_unseen" in decision.marks
        session.after_end += "after_end" in decision.marks
        session.marks.update(_KEPT.intersection(decision.marks))
        if any(each.name in _UNKNOWN for each in decision.evidence):
            session.unknown[decision.tool] += 1

    def _case(self, case: _Case) -> None:
        session = self._at(
            "cases", (case.tenant, case.root_session_id, case.session_id), milliseconds(case.time)
        )
        session.agent_of_cases = case.agent or session.agent_of_cases
        if case.kind == "unjudged":
            session.marks.add("unjudged_before")
        elif case.kind == "ended":
            session.over = _HOW.get(case.reason, "unknown")

    def _event(self, record: Record) -> None:
        event = parse(record.value).event
        if isinstance(event, ControlEvent):
            return  # a control record is of no session
        tenant = self._tenants[record.topic] or event.tenant or "default"
        root = event.root_session_id or event.session_id
        session = self._at("events", (tenant, root, event.session_id), milliseconds(event.time))
        session.has_events = True
        if event.seq is not None:
            if not _noted(session.numbers, event.seq):
                return
        elif event.id in session.ids:
            return
        else:
            session.ids.add(event.id)
        session.called += isinstance(event, ToolCalled)
        session.returned += isinstance(event, ToolReturned)
        session.unseen_told += isinstance(event, ToolCalled) and event.unseen
        session.said_end |= isinstance(event, SessionEnded)
        if isinstance(event, SessionDeclared):
            session.intent |= event.intent is not None
            if event.agent is not None:
                session.agent_of_events = event.agent.id or session.agent_of_events

    # ------------------------------------------------------------------ one agent

    def _agent(self, tenant: str, name: str, sessions: list[tuple[str, _Session]]) -> Agent:
        agent = Agent(tenant, name, len(sessions))
        counts: Counter[str] = Counter()
        examples: dict[str, str] = {}
        answered = called = events = 0
        for session_id, each in sessions:
            agent.declared += each.calls > each.undeclared + each.vague if each.calls else each.intent
            agent.calls += each.calls + len(each.refused)
            agent.abstained += each.abstained + len(each.refused)
            agent.refused += len(each.refused)
            agent.tools += each.unknown
            how = self._how(each)
            agent.ends[how] += 1
            answered += min(each.returned, each.called)
            called += each.called
            missing = sum(
                low - high - 1 for (_, high), (low, _) in zip(each.numbers, each.numbers[1:], strict=False)
            )
            events += sum(high - low + 1 for low, high in each.numbers) + missing
            for what, count in (
                ("unjudged", "unjudged_before" in each.marks),
                ("refused", len(each.refused)),
                ("undeclared", each.undeclared_all_along),
                ("vague", each.vague > 0),
                ("late", 0 < each.undeclared < each.calls),
                ("unsigned", "unsigned" in each.marks),
                ("unattested", "unattested" in each.marks),
                ("self_asserted", "self_asserted" in each.marks),
                ("missing", missing),
                ("partial", "partial" in each.marks),
                ("reused", "number_reused" in each.marks),
                ("unanswered", max(0, each.called - each.returned)),
                ("unseen_arguments", max(each.unseen, each.unseen_told)),
                ("unknown_tools", each.unknown.total()),
                ("not_ended", how in ("idle", "evicted")),
                ("after_end", each.after_end),
            ):
                if count:
                    counts[what] += int(count)
                    examples.setdefault(what, session_id)
        if any(each.has_events for _, each in sessions):
            agent.results = answered, called
        of = {
            "refused": agent.calls,
            "missing": events,
            "unanswered": called,
            "unseen_arguments": max(agent.calls, called),
            "unknown_tools": agent.calls,
            "not_ended": agent.over,
            "after_end": agent.calls,
        }
        agent.findings = [
            Finding(what, counts[what], of.get(what, agent.sessions), examples[what])
            for what in MENDS
            if counts[what]
        ]
        return agent

    def _how(self, session: _Session) -> str:
        if session.said_end:
            return "ended"
        if session.over is not None:
            return session.over
        if not session.has_events:
            return "unknown"
        return "idle" if session.last_ms + self._idle_ms <= self.last_ms else "open"


def _noted(numbers: list[list[int]], seq: int) -> bool:
    """Put `seq` among the ranges of numbers that were seen; False if it was there. Of many gaps the lowest are forgotten.

    >>> seen = [[0, 3]]
    >>> _noted(seen, 5), _noted(seen, 4), _noted(seen, 2), seen
    (True, True, False, [[0, 5]])
    """
    at = len(numbers)
    while at and numbers[at - 1][0] > seq:
        at -= 1
    if at and numbers[at - 1][1] >= seq:
        return False
    numbers.insert(at, [seq, seq])
    for n in (at, at - 1):  # joined with what follows, then with what stands before
        if 0 <= n < len(numbers) - 1 and numbers[n][1] + 1 >= numbers[n + 1][0]:
            numbers[n][1] = max(numbers[n][1], numbers.pop(n + 1)[1])
    while len(numbers) > MAX_GAPS + 1:
        numbers[0][1] = numbers.pop(1)[1]
    return True
