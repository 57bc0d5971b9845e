"""A partition's states, and how an event is folded into its session's window.

States are packed bytes under string keys: ``s/<hash>`` a session or its tombstone, ``c/<digest>`` a tool
catalogue (once, whoever uses it), ``ledger`` the partition's clock, releases and counters. `Partition`
adds what can be derived from them: who is oldest, and who belongs to which tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import numpy as np

from models.bait import talks_to_agent
from models.contracts import Intent, SessionDeclared
from models.features import ACTIONS
from models.provenance import INTENT, PROSE_WORDS, Index, fingerprint, leaves, prints_of
from models.session import (
    MAX_GAPS,
    MAX_PRINTS,
    MAX_STEMS,
    WINDOW,
    CallRow,
    CredentialRow,
    Session,
    Tombstone,
    load,
)
from models.tools import Catalogue, ToolFacts, as_prints, stem_prints, wanted_actions
from stream.events import dumps, milliseconds, short_hash

LEDGER = "ledger"


class Ledger(msgspec.Struct, array_like=True):
    """What a partition remembers beside its sessions."""

    version: int = 1
    offset: int = -1  # last applied input offset
    clock_ms: int = 0  # running maximum of the broker's stamps; 0 before the first
    epoch: int = 0
    new_release: str = ""  # for sessions that begin now; "" = bundled
    new_epoch: int = 0
    open_release: str = ""  # for all sessions whose epoch is older than open_epoch
    open_epoch: int = 0
    ends: int = 0  # sessions that are over so far: the order of tombstones
    counters: dict[str, int] = {}


def state_key(tenant: str, root: str, session: str) -> str:
    """Key of a session's state, from tenant, root and session together."""
    return "s/" + short_hash(tenant, root, session, size=12)


class Partition:
    """All states of one input partition, with the order and the trees derived from them."""

    def __init__(self) -> None:
        self.states: dict[str, bytes] = {}
        self.ledger = Ledger()
        # key -> (clock_ms, offset) of the last record, each in the log's order of last records
        self.declared: dict[str, tuple[int, int]] = {}
        self.undeclared: dict[str, tuple[int, int]] = {}
        self.tombs: dict[str, tuple[int, int]] = {}  # key -> (clock_ms, order), in the order of ends
        self.trees: dict[tuple[str, str], dict[str, None]] = {}
        self._tree_of: dict[str, tuple[str, str]] = {}
        self.catalogue_uses: dict[str, int] = {}
        self._catalogue_of: dict[str, str] = {}

    @classmethod
    def empty(cls) -> Partition:
        """A partition before its first record."""
        return cls()

    @classmethod
    def load(cls, states: Mapping[str, bytes]) -> Partition:
        """The partition whose states were stored, whatever the order of the mapping."""
        made = cls()
        decoded = [(load(raw), key, raw) for key, raw in states.items() if key.startswith("s/")]
        decoded.sort(key=lambda item: item[0].offset if isinstance(item[0], Session) else item[0].order)
        made.apply({key: raw for key, raw in states.items() if not key.startswith("s/")})
        made.apply({key: raw for _, key, raw in decoded})
        return made

    @property
    def offset(self) -> int:
        """Offset of the last applied record, -1 before the first."""
        return self.ledger.offset

    def apply(self, changes: Mapping[str, bytes | None]) -> None:
        """Take over what a `Step` changed; sessions come in the order of their last records."""
        for key, raw in changes.items():
            if raw is None:
                self.states.pop(key, None)
            else:
                self.states[key] = raw
            if key == LEDGER and raw is not None:
                self.ledger = msgspec.msgpack.decode(raw, type=Ledger)
            elif key.startswith("s/"):
                self._place(key, load(raw) if raw is not None else None)

    def _place(self, key: str, state: Session | Tombstone | None) -> None:
        used = self._catalogue_of.pop(key, None)
        if used is not None:
            self.catalogue_uses[used] -= 1
            if not self.catalogue_uses[used]:
                del self.catalogue_uses[used]
        if isinstance(state, Session):
            self.tombs.pop(key, None)
            ours, other = (
                (self.declared, self.undeclared) if state.declared else (self.undeclared, self.declared)
            )
            other.pop(key, None)
            place = (state.clock_ms, state.offset)
            if ours.get(key) != place:  # else changed by its parent's fate, not by a record of its own
                ours.pop(key, None)
                ours[key] = place
            tree = (state.tenant, state.root)
            self.trees.setdefault(tree, {})[key] = None
            self._tree_of[key] = tree
            if state.catalogue is not None:
                self.catalogue_uses[state.catalogue] = self.catalogue_uses.get(state.catalogue, 0) + 1
                self._catalogue_of[key] = state.catalogue
            return
        self.declared.pop(key, None)
        self.undeclared.pop(key, None)
        if isinstance(state, Tombstone):
            end = (state.clock_ms, state.order)
            if self.tombs.get(key) != end:  # else a call after the end, which moves nothing
                self.tombs.pop(key, None)
                self.tombs[key] = end
        else:
            self.tombs.pop(key, None)
        if key in self._tree_of:
            tree = self._tree_of.pop(key)
            members = self.trees[tree]
            members.pop(key, None)
            if not members:
                del self.trees[tree]


def declare(session: Session, event: SessionDeclared, key: bytes) -> None:
    """Fold a declaration into a session that has none yet."""
    session.declared = event.intent is not None
    if event.agent is not None:
        session.agent = event.agent.id
        session.spiffe = event.agent.spiffe_id
        session.user = event.agent.user
    if event.credentials and not session.credentials:
        session.credentials = [
            CredentialRow(
                c.broker,
                c.kind,
                c.value,
                c.scope,
                milliseconds(c.issued) if c.issued else None,
                milliseconds(c.expires) if c.expires else None,
            )
            for c in event.credentials[:16]
        ]
    if event.intent is not None:
        widen(session, event.intent, key)


def widen(session: Session, intent: Intent, key: bytes) -> None:
    """Take an intent, or the user's amendment of it, into the session."""
    text = intent.text[:32_768]
    more = " ".join([*(intent.plan or [])[:64], *(intent.resources or [])[:256]])[:32_768]
    words = set(np.frombuffer(session.intent_words, "<u4").tolist())
    words |= stem_prints(f"{text} {more}", key)
    session.intent_words = as_prints(set(sorted(words)[:MAX_STEMS])).astype("<u4").tobytes()
    for action in wanted_actions(text):
        session.intent_actions |= 1 << ACTIONS[action]
    if intent.actions is not None:
        # The first list restricts; a later one, which only a user can send, adds to it.
        for action in intent.actions:
            session.allowed_actions |= 1 << ACTIONS[action]
            session.intent_actions |= 1 << ACTIONS[action]
    index = Index(session.index)
    session.folded += index.add(prints_of(f"{text}\n{more}", key), INTENT, prose=False, limit=MAX_PRINTS)
    session.index = index.dump()
    if intent.budget is not None:
        session.budget_calls = intent.budget.calls
        session.budget_writes = intent.budget.writes
        session.budget_ms = intent.budget.seconds * 1000 if intent.budget.seconds is not None else None
    session.intent_digest = short_hash(session.intent_digest or "", dumps(intent.model_dump(mode="json")))


def number_event(state: Session | Tombstone, number: int, content: int, seq: int | None, limit: int) -> str:
    """Note an event's number and content: ``new``, ``duplicate`` (drop it) or ``reused`` (judge and mark).

    Contents of the last `limit` events are known. A number below the highest that is neither remembered nor
    a known gap was used by an event too old to compare: it is judged and marked.
    """
    seen = np.frombuffer(state.seen, "<u4").reshape(-1, 2)
    same = seen[seen[:, 0] == number]
    if len(same):
        if (same[:, 1] == content).any():
            return "duplicate"
        verdict = "reused"
    else:
        verdict = "new"
    state.seen = np.append(seen, np.array([[number, content]], "<u4"), axis=0)[-limit:].tobytes()
    if seq is not None and isinstance(state, Session):
        if seq >= state.next_seq:
            if seq > state.next_seq:
                state.gaps = [*state.gaps, [state.next_seq, seq - 1]][-MAX_GAPS:]
            state.next_seq = seq + 1
        elif verdict == "new":
            verdict = "late" if _fill(state, seq) else "reused"
    return verdict


def _fill(session: Session, seq: int) -> bool:
    """Take `seq` out of the known gaps; False if it is in none."""
    for n, (low, high) in enumerate(session.gaps):
        if low <= seq <= high:
            rest = [[a, b] for a, b in ((low, seq - 1), (seq + 1, high)) if a <= b]
            session.gaps = [*session.gaps[:n], *rest, *session.gaps[n + 1 :]][-MAX_GAPS:]
            return True
    return False


def observe_call(
    session: Session, call_id: str, tool: str, facts: ToolFacts, digest: int, time_ms: int, key: bytes
) -> None:
    """Fold a call into the window, after its evidence was extracted."""
    seq = session.calls
    repeated = any(c.digest == digest for c in session.window)
    session.repeats += repeated
    row = CallRow(
        seq,
        fingerprint(call_id, key),
        tool[:64],
        ACTIONS[facts.action],
        digest,
        time_ms,
        facts.outward,
        False,
        False,
        facts.open_world,
    )
    session.window = [*session.window, row][-WINDOW:]
    session.calls = seq + 1
    session.reads += facts.action == "read"
    session.writes += facts.action == "write"
    session.executes += facts.action == "execute"
    session.outward += facts.outward
    if facts.action == "read" and facts.sensitive:
        session.private_reads += 1
        session.last_private = seq
    if facts.open_world:
        session.open_reads += 1
        session.last_open = seq
    if tool not in session.tools_seen:
        session.tools_seen = [*session.tools_seen, tool[:64]][-WINDOW:]


def observe_result(
    session: Session, call_id: str, status: str, result: Any, catalogue: Catalogue | None, key: bytes
) -> None:
    """Fold what a tool answered into the session's provenance."""
    call = fingerprint(call_id, key)
    row = next((c for c in reversed(session.window) if c.call == call), None)
    if row is None:
        session.orphan_returns += 1
        seq = max(0, session.calls - 1)
    else:
        seq = row.seq
        done = CallRow(
            row.seq,
            row.call,
            row.tool,
            row.action,
            row.digest,
            row.time_ms,
            row.outward,
            True,
            status == "error",
            row.open_world,
        )
        session.window = [done if c is row else c for c in session.window]
    session.results += 1
    session.errors += status == "error"
    found, cuts = leaves(result)
    session.cuts += cuts
    index = Index(session.index)
    fields: list[int] = []
    prose: list[int] = []
    talk: set[int] = set()
    for leaf in found:
        for line, is_prose in _lines(leaf.text):
            (prose if is_prose else fields).extend(prints_of(line, key))
            if is_prose:
                talk |= stem_prints(line, key)
        bait = talks_to_agent(leaf.text)
        if bait > session.bait:
            session.bait, session.bait_call = bait, seq
    session.folded += index.add(fields, seq + 1, prose=False, limit=MAX_PRINTS)
    session.folded += index.add(prose, seq + 1, prose=True, limit=MAX_PRINTS)
    session.index = index.dump()
    if catalogue is not None and talk:
        heard = catalogue.affinity(as_prints(talk))
        held = list(session.lure) or [0] * len(heard)
        if len(held) == len(heard):
            session.lure = bytes(max(a, b) for a, b in zip(held, heard, strict=True))


def _lines(text: str) -> Iterable[tuple[str, bool]]:
    """Lines of `text`, joined again where they are of one kind, each with whether it is prose."""
    fields: list[str] = []
    prose: list[str] = []
    for line in text.split("\n"):
        (prose if len(line.split()) >= PROSE_WORDS else fields).append(line)
    if fields:
        yield "\n".join(fields), False
    if prose:
        yield "\n".join(prose), True
