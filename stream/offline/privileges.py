"""Standing privilege by agent: what was granted, what of it was used, and the least that would have sufficed.

Granted is what the judge took of declarations: credentials with their scopes, actions, tools. Used is what calls did that the judge lets
pass. Which scope a call needs is told by the policy (`stream.policy.Credentials.scopes`), or by a credential that the call names and that
has one scope alone; of anything else the state is ``unknown``, and what is unknown is never counted as unused.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import orjson

from models.contracts import (
    KINDS,
    Action,
    CatalogueChanged,
    ControlEvent,
    IntentAmended,
    SessionEnded,
    Signable,
    ToolCalled,
)
from models.errors import ContractError
from models.evidence.called import ACTIONS as PLACES
from models.session import CredentialRow, Session
from models.session import load as unpacked
from models.text.fingerprints import data_class
from stream import events
from stream.core.arrival import Arrival, arrive
from stream.core.catalogues import HeldCatalogues
from stream.core.credentials import is_for_task
from stream.core.judge import Judge
from stream.core.partition import Partition
from stream.events import DECISIONS, QUARANTINE, Record, counted, dumps, rfc3339
from stream.policy import Policy

BATCH = 512
DAY_MS, MINUTE_MS = 86_400_000, 60_000
NAMELESS = "(no name)"
"""Agents whose declarations name none, all together."""
REFUSED = frozenset({"deny", "revoke"})
"""Verdicts on calls that should not have run: what such a call needed need not be kept."""

State = Literal["used", "unused", "unknown"]
Ref = tuple[str, str, str]
"""Broker, kind and value of a credential."""
Scope = tuple[str, str, str]
"""Broker, kind and one scope of it."""


class Enough(NamedTuple):
    """From how many sessions, on how many days (UTC), it tells something that a scope went unused (chosen)."""

    sessions: int = 30
    days: int = 7


@dataclass
class Holding:
    """One scope, as one agent held it.

    Attributes
    ----------
    sessions, days
        That declared it; days since 1970, in UTC.
    calls, used_in : int
        That are known to have needed it, and in how many sessions.
    undecided : int
        Calls that may have needed it.
    on : sets of str
        The resources (ARNs) that stood beside it, one set for each way in which they did.
    """

    sessions: int = 0
    days: set[int] = field(default_factory=set)
    calls: int = 0
    used_in: int = 0
    undecided: int = 0
    on: set[frozenset[str]] = field(default_factory=set)

    @property
    def state(self) -> State:
        """Whether it was used, as far as that is known."""
        if self.calls:
            return "used"
        return "unknown" if self.undecided else "unused"

    def may_go(self, enough: Enough) -> bool:
        """Whether it went unused for so long that it may be taken away."""
        return self.state == "unused" and self.sessions >= enough.sessions and len(self.days) >= enough.days

    def at_most(self) -> float:
        """Of an unused one, the share of sessions that need it at most, at 95 % confidence, if sessions are alike.

        If a share p of sessions needs it, n sessions all do without it with probability (1 - p)^n.
        """
        return float(1 - 0.05 ** (1 / self.sessions)) if self.sessions else 1.0


@dataclass
class Kind:
    """An agent's credentials of one broker and kind.

    Attributes
    ----------
    count, unscoped, calls : int
        Declared, by session; of these, without a scope; calls that named one.
    least_ms, most_ms : int or None
        Shortest and longest life from issue (or declaration) to end.
    endless : int
        Declared without an end.
    needed_ms : int
        The longest time from a session's beginning to its last call with one.
    """

    count: int = 0
    unscoped: int = 0
    calls: int = 0
    least_ms: int | None = None
    most_ms: int | None = None
    endless: int = 0
    needed_ms: int = 0


@dataclass
class Agent:
    """What one agent of one tenant was granted, and what it used.

    Attributes
    ----------
    calls, alerted : int
        That count as use; of these, that the judge alerted on.
    not_counted : counts by verdict, or why
        The others.
    offered, tools : counts by tool
        Sessions that were offered it; calls of it.
    allowed : set of Action
        Declared; `unrestricted` sessions declared an intent and no actions, which allows all.
    named : dict of str to bool
        Resources declared, and whether an argument of a call held the name.
    data_classes, data_unlisted : set of str
        Classes of data declared; of these, for which the policy lists no tools.
    handled : counts by class
        Calls of tools that the policy lists for it.
    undeclared : counts
        Calls that named a credential which their session had not declared.
    loose : counts by (broker or None, tool)
        Calls that no declared scope of their session accounts for: they named another credential, or one without a scope, or none
        was declared.
    unlisted : counts by (broker, tool)
        Calls of tools for which no list of scopes says what they need, where that leaves a scope undecided.
    long_lived : dict of Ref to str
        Credentials that live longer than the policy allows, and how long.
    outlives : dict of Ref to (int or None)
        Those not issued for their task that lived on after it: ms that were left; None where no end was declared.
    """

    tenant: str
    name: str | None
    sessions: int = 0
    days: set[int] = field(default_factory=set)
    calls: int = 0
    alerted: int = 0
    not_counted: Counter[str] = field(default_factory=Counter)
    scopes: dict[Scope, Holding] = field(default_factory=dict)
    kinds: dict[tuple[str, str], Kind] = field(default_factory=dict)
    offered: Counter[str] = field(default_factory=Counter)
    tools: Counter[str] = field(default_factory=Counter)
    allowed: set[Action] = field(default_factory=set)
    unrestricted: int = 0
    actions: Counter[Action] = field(default_factory=Counter)
    named: dict[str, bool] = field(default_factory=dict)
    data_classes: set[str] = field(default_factory=set)
    data_unlisted: set[str] = field(default_factory=set)
    handled: Counter[str] = field(default_factory=Counter)
    undeclared: Counter[Ref] = field(default_factory=Counter)
    loose: Counter[tuple[str | None, str]] = field(default_factory=Counter)
    unlisted: Counter[tuple[str, str]] = field(default_factory=Counter)
    long_lived: dict[Ref, str] = field(default_factory=dict)
    outlives: dict[Ref, int | None] = field(default_factory=dict)

    @property
    def granted_actions(self) -> set[Action]:
        """Those that some session allowed."""
        return set(KINDS) if self.unrestricted else self.allowed

    def document(self, enough: Enough) -> dict[str, Any]:
        """What is known of the agent, as JSON."""
        held = sorted(self.scopes.items())
        used_data = set(map(data_class, self.handled))
        return {
            "tenant": self.tenant,
            "agent": self.name,
            "sessions": self.sessions,
            "days": len(self.days),
            "calls": self.calls,
            "calls_alerted_on": self.alerted,
            "calls_not_counted": dict(sorted(self.not_counted.items())),
            "scopes": [_scope_row(scope, holding, enough) for scope, holding in held],
            "credentials": [_kind_row(*names, kind) for names, kind in sorted(self.kinds.items())],
            "tools": {
                "used": dict(self.tools.most_common()),
                "unused": sorted(self.offered.keys() - self.tools.keys()),
                "never_offered": sorted(self.tools.keys() - self.offered.keys()) if self.offered else [],
            },
            "actions": {
                "granted": [action for action in KINDS if action in self.granted_actions],
                "sessions_without_a_limit": self.unrestricted,
                "used": {action: self.actions[action] for action in KINDS if self.actions[action]},
                "unused": [a for a in KINDS if a in self.granted_actions and not self.actions[a]],
            },
            "resources": {
                "named_by_calls": sorted(name for name, used in self.named.items() if used),
                "unknown": sorted(name for name, used in self.named.items() if not used),
            },
            "data_classes": {
                "used": dict(sorted(self.handled.items())),
                "unused": [
                    name
                    for name in sorted(self.data_classes - self.data_unlisted)
                    if data_class(name) not in used_data
                ],
                "unknown": sorted(self.data_unlisted),
            },
            "least": {
                "scopes": [_named(scope) for scope, holding in held if holding.state == "used"],
                "undecided_scopes": [_named(scope) for scope, holding in held if holding.state == "unknown"],
                "actions": [a for a in KINDS if a in self.granted_actions and self.actions[a]],
                "tools": sorted(self.offered.keys() & self.tools.keys()),
            },
            "undeclared_credentials": [_of(ref) | {"calls": n} for ref, n in self.undeclared.most_common()],
            "tools_without_scopes": [
                {"broker": broker, "tool": tool, "calls": n}
                for (broker, tool), n in self.unlisted.most_common()
            ],
            "long_lived": [_of(ref) | {"why": why} for ref, why in sorted(self.long_lived.items())],
            "outlive_their_task": [
                _of(ref) | {"minutes_left": _minutes(left)} for ref, left in sorted(self.outlives.items())
            ],
        }


@dataclass
class Report:
    """Every agent's privileges, and what the figures rest on.

    Attributes
    ----------
    refused : int
        Records that went to quarantine: nothing of them counts.
    """

    policy: str
    enough: Enough
    agents: dict[tuple[str, str], Agent] = field(default_factory=dict)
    first_ms: int | None = None
    last_ms: int | None = None
    refused: int = 0

    def of(self, tenant: str, name: str | None) -> Agent:
        """The agent of that name, noted if it is new."""
        return self.agents.setdefault((tenant, name or ""), Agent(tenant, name))

    def document(self) -> dict[str, Any]:
        """The report as JSON."""
        times = (self.first_ms, self.last_ms)
        return {
            "policy": self.policy,
            "first": rfc3339(times[0]) if times[0] is not None else None,
            "last": rfc3339(times[1]) if times[1] is not None else None,
            "enough": {"sessions": self.enough.sessions, "days": self.enough.days},
            "records_refused": self.refused,
            "agents": [agent.document(self.enough) for _, agent in sorted(self.agents.items())],
        }


def _named(scope: Scope) -> dict[str, Any]:
    return {"broker": scope[0], "kind": scope[1], "scope": scope[2]}


def _of(ref: Ref) -> dict[str, Any]:
    return {"broker": ref[0], "kind": ref[1], "value": ref[2]}


def _minutes(ms: int | None) -> float | None:
    return None if ms is None else round(ms / MINUTE_MS, 1)


def _scope_row(scope: Scope, holding: Holding, enough: Enough) -> dict[str, Any]:
    unused = holding.state == "unused"
    return {
        **_named(scope),
        "state": holding.state,
        "calls": holding.calls,
        "undecided_calls": holding.undecided,
        "sessions": holding.sessions,
        "used_in_sessions": holding.used_in,
        "days": len(holding.days),
        "may_go": holding.may_go(enough),
        "at_most": round(holding.at_most(), 4) if unused else None,
    }


def _kind_row(broker: str, kind: str, held: Kind) -> dict[str, Any]:
    return {
        "broker": broker,
        "kind": kind,
        "declared": held.count,
        "without_a_scope": held.unscoped,
        "calls": held.calls,
        "life_minutes": {"least": _minutes(held.least_ms), "most": _minutes(held.most_ms)},
        "without_an_end": held.endless,
        "needed_minutes": _minutes(held.needed_ms),
    }


@dataclass
class _Open:
    """An open session: its agent, what it declared, and which scopes it is known to have used."""

    agent: Agent
    started_ms: int
    rows: dict[Ref, CredentialRow] = field(default_factory=dict)
    declared: bool = False
    unrestricted: bool = False
    offered: set[str] = field(default_factory=set)
    resources: list[str] = field(default_factory=list)
    used: set[Scope] = field(default_factory=set)


def report(
    records: Iterable[tuple[Record, int | None]], judge: Judge, enough: Enough | None = None
) -> Report:
    """The privileges that the agents of a log were granted and used, by what `judge` makes of it.

    Parameters
    ----------
    records : iterable of (Record, int or None)
        Each with the partition count of the log that it comes from; None where that has none.
    """
    policy = judge.releases[""].policy
    made = Report(judge.policy_name(policy), enough or Enough())
    reading = _Reading(made, judge, policy)
    partitions: dict[tuple[str, int], Partition] = {}
    for batch in _batches(records, judge):
        first, n_partitions = batch[0].record, batch[0].n_partitions
        partition = partitions.setdefault((first.topic, first.partition), Partition.empty())
        partition.n_partitions = n_partitions
        reading.take(batch, partition)
    for agent in made.agents.values():
        _settle(agent, policy)
    return made


def _settle(agent: Agent, policy: Policy) -> None:
    """Hold loose calls against all that the agent was granted: such a call may have used what another session declared.

    And note the classes of data of which the policy does not say which tools handle them.
    """
    listed = set(map(data_class, policy.data_classes))
    agent.data_unlisted = {name for name in agent.data_classes if data_class(name) not in listed}
    for (broker, tool), n in agent.loose.items():
        scopes = [scope for scope in agent.scopes if broker in (None, scope[0])]
        needed = {name: policy.credentials.needed(name, tool) for name, _, _ in scopes}
        if not any(needed.values()):
            # Also where every scope has a list: one that lacks a tool makes its scope look unused.
            for name in needed:
                agent.unlisted[name, tool] = max(n, agent.unlisted[name, tool])
        for scope in scopes:
            here = needed[scope[0]]
            if here is not None:
                agent.scopes[scope].calls += n * (scope[2] in here)
            elif not any(needed.values()) and scope[2] not in policy.credentials.scopes.get(scope[0], {}):
                agent.scopes[scope].undecided += n


class _Taken(NamedTuple):
    """A record, the partition count of its log, and the session's event that it is, if it is one."""

    record: Record
    n_partitions: int | None
    arrival: Arrival | None


def _batches(records: Iterable[tuple[Record, int | None]], judge: Judge) -> Iterator[list[_Taken]]:
    """The records in order, each time of one partition of one log; what declares something ends a batch."""
    waiting: list[_Taken] = []
    place: tuple[str, int, int | None] | None = None
    for record, n_partitions in records:
        last, place = place, (record.topic, record.partition, n_partitions)
        if waiting and (place != last or len(waiting) >= BATCH):
            yield waiting
            waiting = []
        taken = _Taken(record, n_partitions, _arrival(record, n_partitions, judge))
        waiting.append(taken)
        if taken.arrival is not None and isinstance(taken.arrival.event, Signable):
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _arrival(record: Record, n_partitions: int | None, judge: Judge) -> Arrival | None:
    try:
        parsed = events.parse(record.value)
        if isinstance(parsed.event, ControlEvent):
            return None
        limits, tenants = judge.releases[""].policy.limits, judge.deployment.tenants
        return arrive(record, parsed.event, parsed, tenants, n_partitions, limits)
    except ContractError:
        return None  # the judge refuses it too


class _Reading:
    """Notes in a report what a log's sessions declare, and what their calls use.

    Parameters
    ----------
    made : Report
        Where it is noted.
    policy : Policy
        Says which scopes tools need, and how long credentials may live.
    """

    def __init__(self, made: Report, judge: Judge, policy: Policy) -> None:
        self._made = made
        self._judge = judge
        self._policy = policy
        self._open: dict[str, _Open] = {}

    def take(self, batch: list[_Taken], partition: Partition) -> None:
        """Judge a batch of a partition, and note what it tells."""
        step = self._judge.judge(partition, [taken.record for taken in batch])
        partition.apply(step.changes)
        for key, packed in step.changes.items():
            if packed is None:  # forgotten
                self._open.pop(key, None)
        decisions: dict[tuple[str, ...], deque[dict[str, Any]]] = {}
        for output in step.outputs:
            if output.topic == DECISIONS:
                decision = orjson.loads(output.value)
                decisions.setdefault(_call_of(decision), deque()).append(decision)
            self._made.refused += output.topic == QUARANTINE
        for taken in batch:
            arrival = taken.arrival
            if arrival is None:
                continue
            event = arrival.event
            if isinstance(event, ToolCalled):
                called = (arrival.tenant, arrival.root, arrival.session, event.id, event.call_id)
                waiting = decisions.get(called)
                if waiting:  # a duplicate has no decision
                    self._call(arrival, event, waiting.popleft())
            elif isinstance(event, SessionEnded):
                self._end(arrival)
            elif isinstance(event, Signable) and (raw := partition.states.get(arrival.key)) is not None:
                state = unpacked(raw)
                if isinstance(state, Session):
                    self._declared(arrival, event, state, partition)

    def _session(self, arrival: Arrival, name: str | None) -> _Open:
        """The session that an event belongs to; one whose agent is named only now begins anew."""
        opened = self._open.get(arrival.key)
        if opened is None or (name is not None and opened.agent.name != name):
            opened = self._open[arrival.key] = _Open(self._made.of(arrival.tenant, name), arrival.time_ms)
            opened.agent.sessions += 1
        opened.agent.days.add(arrival.time_ms // DAY_MS)
        made = self._made
        made.first_ms = min(arrival.time_ms, arrival.time_ms if made.first_ms is None else made.first_ms)
        made.last_ms = max(arrival.time_ms, made.last_ms or 0)
        return opened

    def _declared(self, arrival: Arrival, event: Signable, state: Session, partition: Partition) -> None:
        """Note what the session holds now that something was declared."""
        opened = self._session(arrival, state.agent or state.spiffe)
        agent = opened.agent
        for row in state.credentials:
            ref = (row.broker, row.kind, row.value)
            if ref not in opened.rows:
                opened.rows[ref] = row
                self._granted(opened, row, arrival.time_ms)
        self._offered(opened, state, partition)
        intent = None if isinstance(event, CatalogueChanged) else event.intent
        if intent is None or not state.declared or not self._counts(arrival, event, state):
            return
        if event.by_agent if isinstance(event, IntentAmended) else opened.declared:
            return  # neither the agent's own word nor a second declaration widens anything
        opened.declared = True
        bits = state.terms.actions
        agent.allowed |= {action for action in KINDS if bits >> PLACES[action] & 1}
        if not bits and not opened.unrestricted:
            opened.unrestricted = True
            agent.unrestricted += 1
        for resource in intent.resources or ():
            opened.resources.append(resource)
            agent.named.setdefault(resource, False)
        agent.data_classes |= set(intent.data_classes or ())

    def _counts(self, arrival: Arrival, event: Signable, state: Session) -> bool:
        """Whether the judge took it: where a signature is demanded, that of the last one that counted."""
        return not self._policy.signatures.demanded(arrival.tenant) or state.signed_seq == event.seq

    def _granted(self, opened: _Open, row: CredentialRow, now_ms: int) -> None:
        agent, ref = opened.agent, (row.broker, row.kind, row.value)
        kind = agent.kinds.setdefault(ref[:2], Kind())
        kind.count += 1
        kind.unscoped += not _scopes(row)
        if row.expires_ms is None:
            kind.endless += 1
        else:
            life = row.expires_ms - (row.issued_ms if row.issued_ms is not None else now_ms)
            kind.least_ms = life if kind.least_ms is None else min(kind.least_ms, life)
            kind.most_ms = life if kind.most_ms is None else max(kind.most_ms, life)
        why = self._too_long(row, now_ms)
        if why:
            agent.long_lived[ref] = why
        resources = frozenset(word for word in row.scopes if word.startswith("arn:"))
        for scope in _scopes(row):
            holding = agent.scopes.setdefault(scope, Holding())
            holding.on.add(resources)
            if not any(scope in _scopes(other) for key, other in opened.rows.items() if key != ref):
                holding.sessions += 1
                holding.days.add(now_ms // DAY_MS)

    def _too_long(self, row: CredentialRow, now_ms: int) -> str:
        """Why a credential is a long-lived secret, and whether the policy excepts it; empty: it is none."""
        rules = self._policy.credentials
        longest_ms = rules.longest_ms(sensitive=False)
        if longest_ms is None:
            longest_ms = round(self._policy.credential_max_hours * 60 * MINUTE_MS)
        if row.expires_ms is None:
            why = "no end was declared"
        else:
            life_ms = row.expires_ms - (row.issued_ms if row.issued_ms is not None else now_ms)
            if life_ms <= longest_ms:
                return ""
            why = f"lives {counted(round(life_ms / MINUTE_MS), 'minute')}"
        excepted = rules.exception(row.broker, row.kind, row.value)
        if excepted is None:
            return why
        counts = now_ms < excepted.until_ms
        said = "excepted until" if counts else "its exception ran out on"
        return f"{why}; {said} {excepted.expires} ({excepted.owner})"

    def _offered(self, opened: _Open, state: Session, partition: Partition) -> None:
        release = self._judge.releases[""]
        catalogue = HeldCatalogues(partition, self._judge.catalogues).of(state, release)
        if catalogue is not None:
            new = catalogue.tools.keys() - opened.offered
            opened.offered |= new
            opened.agent.offered.update(new)

    def _call(self, arrival: Arrival, event: ToolCalled, decision: Mapping[str, Any]) -> None:
        """Note what a call used, if it counts."""
        verdict, over = decision["verdict"], "after_end" in decision["marks"]
        if verdict in REFUSED or over:
            known = self._open.get(arrival.key)
            agent = known.agent if known is not None else self._made.of(arrival.tenant, decision["agent"])
            agent.not_counted["after_end" if over else verdict] += 1
            return
        opened = self._session(arrival, decision["agent"])
        agent = opened.agent
        agent.calls += 1
        agent.alerted += verdict == "alert"
        agent.tools[event.tool] += 1
        agent.handled.update(self._policy.data_classes_of({event.tool}))
        action: Action = decision["action"]
        agent.actions[action] += 1
        if opened.resources:
            said = dumps(event.arguments).decode(errors="replace").casefold()
            agent.named.update((name, True) for name in opened.resources if name.casefold() in said)
        used = event.credential
        if used is None:
            rows = list(opened.rows.values())
            if not rows:
                agent.loose[None, event.tool] += 1
            self._without_a_name(opened, event.tool)
        else:
            ref = (used.broker, used.kind, used.value)
            row = opened.rows.get(ref)
            if row is None:
                agent.undeclared[ref] += 1
                agent.loose[used.broker, event.tool] += 1
                return
            rows = [row]
            agent.kinds[ref[:2]].calls += 1
            for evidence in decision["evidence"]:  # for the data of this call its life may be too long
                if evidence["name"] == "credential_long_lived" and evidence["supports"]:
                    agent.long_lived.setdefault(ref, evidence["text"])
            self._with(opened, row, event.tool)
        for broker in {row.broker for row in rows if not _scopes(row)}:
            agent.loose[broker, event.tool] += 1
        for row in rows:
            kind = agent.kinds[row.broker, row.kind]
            kind.needed_ms = max(kind.needed_ms, arrival.time_ms - opened.started_ms)

    def _with(self, opened: _Open, row: CredentialRow, tool: str) -> None:
        """Note which scopes a call of `tool` needed of the credential that it named."""
        scopes = _scopes(row)
        needed = self._policy.credentials.needed(row.broker, tool)
        if needed is not None:
            self._use(opened, [scope for scope in scopes if scope[2] in needed])
            return
        open_ones = self._not_listed(row)
        if len(scopes) == 1 and open_ones:
            self._use(opened, scopes)
        else:
            self._may_use(opened, open_ones)
            if scopes:
                opened.agent.unlisted[row.broker, tool] += 1

    def _without_a_name(self, opened: _Open, tool: str) -> None:
        """The same of a call that named none: any credential of its session may have been used."""
        known = False
        for row in opened.rows.values():
            needed = self._policy.credentials.needed(row.broker, tool)
            if needed is not None:
                known = True
                self._use(opened, [scope for scope in _scopes(row) if scope[2] in needed])
        if known:
            return
        for row in opened.rows.values():
            self._may_use(opened, self._not_listed(row))
        for broker in {row.broker for row in opened.rows.values() if _scopes(row)}:
            opened.agent.unlisted[broker, tool] += 1

    def _not_listed(self, row: CredentialRow) -> list[Scope]:
        """The scopes of a credential of which no list tells which tools need them."""
        listed = self._policy.credentials.scopes.get(row.broker, {})
        return [scope for scope in _scopes(row) if scope[2] not in listed]

    def _use(self, opened: _Open, scopes: list[Scope]) -> None:
        for scope in scopes:
            holding = opened.agent.scopes[scope]
            holding.calls += 1
            holding.used_in += scope not in opened.used
            opened.used.add(scope)

    def _may_use(self, opened: _Open, scopes: list[Scope]) -> None:
        for scope in scopes:
            opened.agent.scopes[scope].undecided += 1

    def _end(self, arrival: Arrival) -> None:
        """Note what lives on after a session that is over."""
        opened = self._open.pop(arrival.key, None)
        if opened is None:
            return
        for ref, row in opened.rows.items():
            left = None if row.expires_ms is None else row.expires_ms - arrival.time_ms
            if not is_for_task(row, self._policy) and (left is None or left > 0):
                before = opened.agent.outlives.get(ref, 0)
                opened.agent.outlives[ref] = None if left is None or before is None else max(left, before)


def _scopes(row: CredentialRow) -> list[Scope]:
    """The scopes of a credential; ARNs beside them say on what, and are none."""
    return [(row.broker, row.kind, word) for word in row.scopes if not word.startswith("arn:")]


def _call_of(decision: Mapping[str, Any]) -> tuple[str, ...]:
    names = ("tenant", "root_session_id", "session_id", "event_id", "call_id")
    return tuple(decision[name] for name in names)
