"""What every wire has in common: sessions within bounds, calls told to the judge, and what came of them."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from driftline_client import (
    Call,
    Client,
    Decision,
    Denied,
    Lost,
    Posture,
    Session,
    Undecided,
    contract,
)
from driftline_client.contract import MAX_NAME
from driftline_client.outcome import NOT_RUN
from driftline_client.posture import meaning_of

MAX_TOOL, MAX_TOOLS_BYTES = 40_000, 2_000_000
"""Bytes of a tool's definition that are told, and of all of a session's."""
MAX_DESCRIPTION = 4_000
"""Characters that are told of the description of a tool that is too large."""
MAX_OPEN = 1_000
"""Calls of a session whose results may still come; the oldest are forgotten first."""
MAX_ASKING = 1_000
"""Calls that wait for their decisions at once, of wires whose callers may give up waiting."""
ENDED_IDLE = "idle at the gate"
UNHEARD = "whoever asked for it no longer waited for the decision"

K = TypeVar("K")
_log = logging.getLogger("driftline.gate")


class Full(Exception):
    """A tenant has as many sessions as it may; the mend is to end some, or to raise ``limits.sessions``."""


class Kept(Generic[K]):
    """What is kept of each session of a wire, by tenant and id: so many of a tenant, and none that is idle.

    Parameters
    ----------
    most, idle_s
        As of `configuration.Limits`.
    now_s : callable
        A clock that only rises.
    gone : callable
        Hears of what is forgotten because it was idle.
    """

    def __init__(
        self, most: int, idle_s: float, now_s: Callable[[], float], gone: Callable[[K], None]
    ) -> None:
        self._most, self._idle_s, self._now_s, self._gone = most, idle_s, now_s, gone
        self._all: OrderedDict[tuple[str, str], tuple[float, K]] = OrderedDict()  # the longest idle first
        self._counts: dict[str, int] = {}

    def get(self, tenant: str, session_id: str) -> K | None:
        """What is kept of a session, which is used now."""
        self.sweep()
        found = self._all.get((tenant, session_id))
        if found is None:
            return None
        self._all[tenant, session_id] = (self._now_s(), found[1])
        self._all.move_to_end((tenant, session_id))
        return found[1]

    def add(self, tenant: str, session_id: str, made: K) -> K:
        """Keep something of a session that is new; `Full` where there is no room."""
        self.sweep()
        if self._counts.get(tenant, 0) >= self._most:
            raise Full(f"{self._most} sessions are open")
        self._counts[tenant] = self._counts.get(tenant, 0) + 1
        self._all[tenant, session_id] = (self._now_s(), made)
        return made

    def remove(self, tenant: str, session_id: str) -> None:
        """Keep nothing more of a session."""
        if self._all.pop((tenant, session_id), None) is not None:
            self._counts[tenant] -= 1

    def sweep(self) -> None:
        """Forget what was idle for too long."""
        until = self._now_s() - self._idle_s
        while self._all and next(iter(self._all.values()))[0] <= until:
            (tenant, _), (_, made) = self._all.popitem(last=False)
            self._counts[tenant] -= 1
            self._gone(made)

    def __len__(self) -> int:
        return len(self._all)


@dataclass(slots=True, eq=False)
class Task:
    """One task of an agent, as the gate knows it.

    Attributes
    ----------
    session : Session
        Where it is told to the judge.
    agent : dict
        Who works on it.
    intent : str
        What the user asked for at last; empty while nobody said.
    tools : dict
        What was offered, by name.
    tools_bytes : int
        Of all that was ever offered: a server that lists other tools without end is listened to so far.
    open : dict
        Calls that may run, by the name under which the wire tells their results.
    n_deferred : int
        Calls that were put off.
    n_mixed : int
        Calls whose results may still come without saying of which call they are, so that none of them can be told apart.
    """

    session: Session
    agent: Mapping[str, Any]
    intent: str = ""
    tools: dict[str, Any] = field(default_factory=dict)
    tools_bytes: int = 0
    open: OrderedDict[str, Call] = field(default_factory=OrderedDict)
    n_deferred: int = 0
    n_mixed: int = 0

    def says(self, text: str) -> None:
        """The user's own words: the first are the intent, later ones amend it. `ValueError`: too long for a record."""
        if not text.strip():
            return
        if self.intent:
            self.session.amend(text)
        else:
            first, *more = contract.in_parts(list(self.tools.values()))
            self.session.declare(text, agent=self.agent, tools=first or None)
            for part in more:
                self.session.offer(part)
        self.intent = text

    def offers(self, tools: Iterable[Mapping[str, Any]]) -> None:
        """Tools that there are, as MCP lists them."""
        named = {tool["name"]: tool for each in tools if (tool := _tool(each)) is not None}
        new = {}
        for name, each in named.items():
            if self.tools.get(name) == each:
                continue
            size = len(json.dumps(each))
            if self.tools_bytes + size <= MAX_TOOLS_BYTES:
                new[name] = each
                self.tools_bytes += size
        if self.intent and new:
            for part in contract.in_parts(list(new.values())):
                self.session.offer(part)
        self.tools |= new


def _tool(listed: Any) -> dict[str, Any] | None:
    server = listed.get("server") if isinstance(listed, Mapping) else None
    named = isinstance(server, str) and 0 < len(server) <= MAX_NAME
    found = contract.listed(
        listed, str(server) if named else None, most=MAX_TOOL, most_described=MAX_DESCRIPTION
    )
    return None if found is None else found[0]


class Ruling(NamedTuple):
    """What came of a call.

    Attributes
    ----------
    word : whether it may run; ``undecided``: nobody said, and the posture leaves it to whoever asks
    code : which case it is, for machines
    why : for the agent too; empty where there is nothing to say
    decision : None where none came
    """

    word: Literal["allow", "deny", "undecided"]
    code: str
    why: str = ""
    decision: Decision | None = None

    def facts(self) -> dict[str, Any]:
        """What a wire may say of the decision beside its own words: no values of the call."""
        if self.decision is None:
            return {"verdict": None, "code": self.code}
        document = self.decision.document
        named = ("decision_id", "score", "marks", "release", "policy", "case_id")
        return {"verdict": self.decision.verdict, "enforced": self.decision.enforced, "code": self.code} | {
            name: document[name] for name in named if document.get(name) is not None
        }


class Gate:
    """The one client behind every wire."""

    def __init__(self, client: Client, posture: Posture, wait_s: float) -> None:
        self.client, self._posture, self.wait_s = client, posture, wait_s
        self._asking: set[asyncio.Task[Ruling]] = set()

    def ended(self, task: Task, reason: str = ENDED_IDLE) -> None:
        """The task is over."""
        task.session.end(reason)

    def begin(
        self,
        tenant: str,
        session_id: str,
        agent: Mapping[str, Any],
        intent: str = "",
        parent: Task | None = None,
    ) -> Task:
        """A session that the judge hears of. Its id begins with `session_id`: a task that begins anew has another one.

        Raises
        ------
        TypeError, ValueError
            A name or a text that the contract does not take.
        """
        told = {name: value for name, value in agent.items() if value is not None}
        task = Task(
            self.client.session(
                None,
                session_id=f"{session_id}.{secrets.token_hex(4)}",
                tenant=tenant,
                parent=None if parent is None else parent.session,
            ),
            told,
        )
        try:
            task.says(intent)
        except Exception:
            self.client.forget(task.session)
            raise
        return task

    def returned(self, task: Task, name: str, result: Any, *, ok: bool) -> bool:
        """What a call answered; False where no call of that name waits for an answer, which is told all the same."""
        call = task.open.pop(name, None)
        if call is not None:
            task.session.tell(call, result, ok=ok)
            return True
        # Its text is in the agent's context all the same, and nobody may take it for the user's.
        shown, status = contract.cut(self.client.shown.result(result)), "ok" if ok else "error"
        task.session.send("tool.returned", call_id=name[:MAX_NAME], status=status, result=shown)
        return False

    def returned_unnamed(self, task: Task, result: Any, *, ok: bool) -> bool:
        """What a call answered where the wire does not say which: it is told as that of the one that waits, or as that of none."""
        name = next(iter(task.open)) if len(task.open) == 1 and not task.n_mixed else secrets.token_hex(8)
        if name not in task.open:
            task.n_mixed = max(task.n_mixed + len(task.open) - 1, 0)
            task.open.clear()
        return self.returned(task, name, result, ok=ok)

    def unheard(self, task: Task, name: str) -> None:
        """Nobody waited for what was decided on a call: it does not run, or it does and its result may come."""
        call = task.open.pop(name, None)
        if call is not None:
            task.session.not_run(call, UNHEARD)
            task.n_mixed += 1

    async def heard(
        self, task: Task, tool: str, arguments: Mapping[str, Any], name: str, *, whatever: bool = False
    ) -> Ruling:
        """As `ask`, for whoever may give up waiting: what is decided then reaches nobody."""
        if len(self._asking) >= MAX_ASKING:
            return Ruling("deny", "too_many", f"{MAX_ASKING:,} calls wait for decisions already")
        asking = asyncio.create_task(self.ask(task, tool, arguments, name, whatever=whatever))
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(partial(self._gave_up, task, name))
            raise

    def _gave_up(self, task: Task, name: str, asking: asyncio.Task[Ruling]) -> None:
        if not asking.cancelled() and asking.exception() is None:
            self.unheard(task, name)

    async def ask(
        self, task: Task, tool: str, arguments: Mapping[str, Any], name: str, *, whatever: bool = False
    ) -> Ruling:
        """Tell of a call before it runs, and wait for what is decided.

        Parameters
        ----------
        name : str
            Under which its result will come.
        whatever : bool
            It runs whatever is decided.
        """
        try:
            call = task.session.call(tool, arguments)
        except (TypeError, ValueError) as error:
            return Ruling("deny", "not_taken", f"{tool[:MAX_NAME]} was not run: {error}")
        except RuntimeError:
            return Ruling("deny", "session_over", f"{tool} was not run: its session is over; begin a new one")
        ruling = await self._ruled(task.session, call)
        if ruling.word == "allow" or whatever:
            task.open[name] = call
            if len(task.open) > MAX_OPEN:
                task.open.popitem(last=False)
                task.n_mixed += 1
        else:  # a deferral too: nothing but its timeout ends it, and that is a denial
            decided = ruling.decision is not None and ruling.code != "abstain"
            task.session.not_run(call, NOT_RUN if decided else "nobody decided on it")
        if ruling.word != "allow" or ruling.decision is None:
            _log.info("%s: %s (%s)", call.id, ruling.word, ruling.code)
        return ruling

    async def _ruled(self, session: Session, call: Call) -> Ruling:
        try:
            decision = await session.acheck(call)
        except Denied as stopped:
            if stopped.decision is None:
                return Ruling("deny", "silence", str(stopped))
            if stopped.decision.refused:
                return Ruling("deny", "refused", str(stopped), stopped.decision)
            return Ruling("deny", stopped.decision.verdict, str(stopped), stopped.decision)
        except (Undecided, Lost) as error:
            return Ruling("undecided", "silence", f"{call.tool} waits: {error}")
        if decision is None:
            return Ruling("allow", "silence", "no decision came in time, and silence allows this call here")
        if decision.would_stop:
            said = f"only watched: it would have been stopped ({decision.verdict}): {decision.explanation}"
            return Ruling("allow", f"shadow_{decision.verdict}", said, decision)
        if decision.verdict == "abstain":
            return self._abstained(call, decision)
        said = f"allowed, and told to people: {decision.explanation}" if decision.verdict == "alert" else ""
        return Ruling("allow", decision.verdict, said, decision)

    def _abstained(self, call: Call, decision: Decision) -> Ruling:
        """Nobody says yes or no of this call: that is silence, though it has reasons."""
        means = meaning_of(self._posture, call.tool, hinted=False)
        word: Literal["allow", "deny", "undecided"] = "undecided" if means == "raise" else means
        reason = decision.explanation or "nothing to judge it against"
        begins = "allowed unjudged" if word == "allow" else f"{call.tool} was not run"
        return Ruling(word, "abstain", f"{begins}: {reason}", decision)


class _Owned(NamedTuple):
    task: Task
    owner: Hashable


class Tasks:
    """Sessions to which callers give names of their own, each of one owner.

    Parameters
    ----------
    most, idle_s, rising_s
        As of `Kept`.
    """

    def __init__(self, gate: Gate, most: int, idle_s: float, rising_s: Callable[[], float]) -> None:
        self._gate = gate
        self._known: Kept[_Owned] = Kept(most, idle_s, rising_s, lambda known: gate.ended(known.task))

    @property
    def n_sessions(self) -> int:
        """How many are known."""
        return len(self._known)

    def sweep(self) -> None:
        """End what is idle."""
        self._known.sweep()

    def of(
        self, tenant: str, name: str, owner: Hashable, agent: Mapping[str, Any], intent: str, told: str = ""
    ) -> Task | Ruling:
        """The session of a name, which begins here or goes on; a denial where it may not. `told`: what its id begins with, if not with the name.

        Raises
        ------
        TypeError, ValueError
            A name or a text that the contract does not take.
        """
        known = self._known.get(tenant, name)
        if known is None:
            task = self._gate.begin(tenant, told or name, agent, intent)
            try:
                self._known.add(tenant, name, _Owned(task, owner))
            except Full as error:
                self._gate.ended(task, "no room at the gate")
                return Ruling("deny", "sessions_full", f"no session is taken: {error}")
            return task
        if known.owner != owner:
            return Ruling(
                "deny", "subject_mismatch", "the session is another subject's; each has sessions of its own"
            )
        if intent and intent != known.task.intent:
            known.task.says(intent)
        return known.task
