"""A partition's states, and how an event is folded into its session's window.

States are packed bytes under string keys: ``s/<hash>`` a session or its tombstone, ``c/<digest>`` a tool
catalogue (once, whoever uses it), ``ledger`` the partition's clock, releases and counters. `Partition`
adds what can be derived from them: who is oldest, and who belongs to which tree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec.structs import replace

from models.contracts import Credential, Intent, SessionDeclared
from models.evidence.call import CallEvidence
from models.evidence.called import ACTIONS
from models.evidence.content import talks_to_agent
from models.evidence.echo import leave_out
from models.evidence.results import hear, read_on
from models.heads import handover, vagueness
from models.session import (
    LISTED,
    MAX_CREDENTIAL_BYTES,
    MAX_CREDENTIALS,
    MAX_GAPS,
    MAX_NAMES,
    MAX_SAID,
    MAX_SAID_PRINTS,
    MAX_SAID_TOTAL,
    MAX_STEMS,
    SURE_PRINTS,
    WINDOW,
    CallRow,
    CredentialRow,
    Head,
    SaidRow,
    Session,
    Stone,
    Tombstone,
    credential_size,
    measure_names,
    place,
    print_limit,
    unpacked,
)
from models.text.embedding import DIMS
from models.text.fingerprints import apart, fingerprint, prints_of
from models.text.index import INTENT, Index, as_prints
from models.text.meaning import (
    MAX_CLAUSES,
    NO_VECTORS,
    Matrix,
    clauses_of,
    mean_with,
    pack,
    vectors_of,
    with_lines,
)
from models.text.stems import STOP, stem, stem_prints, stems_of_pieces
from models.text.tokens import tokens, unhashed
from models.tools.catalogue import Catalogue
from models.tools.names import name_print
from models.tools.verbs import wanted_actions
from stream.events import dumps, milliseconds, short_hash

_NAMED = re.compile(r"\w{3}")
"""What a listed resource has to hold to tell anything."""

LEDGER = "ledger"
LEDGER_VERSION = 1


class Ledger(msgspec.Struct, array_like=True, gc=False):
    """What a partition remembers beside its sessions."""

    version: int = LEDGER_VERSION
    offset: int = -1  # last applied input offset
    clock_ms: int = 0  # running maximum of the broker's stamps; 0 before the first
    epoch: int = 0
    new_release: str = ""  # for sessions that begin now; "" = bundled
    new_epoch: int = 0
    open_release: str = ""  # for all sessions whose epoch is older than open_epoch
    open_epoch: int = 0
    ends: int = 0  # sessions that are over so far: the order of tombstones
    counters: dict[str, int] = {}


_LEDGERS = msgspec.msgpack.Decoder(Ledger)


@lru_cache(maxsize=1 << 14)
def state_key(tenant: str, root: str, session: str) -> str:
    """Key of a session's state, from tenant, root and session together."""
    return "s/" + short_hash(tenant, root, session, size=12)


class Place(NamedTuple):
    """Where an open session stands in its partition's order, and what it shares and takes."""

    clock_ms: int
    offset: int
    weight: int
    catalogue: str | None


class Partition:
    """All states of one input partition, with the order and the trees derived from them."""

    def __init__(self) -> None:
        self.states: dict[str, bytes] = {}
        self.ledger = Ledger()
        # Of open sessions, key -> (clock_ms and offset of the last record, weight, catalogue), each in the
        # log's order of last records.
        self.declared: dict[str, Place] = {}
        self.undeclared: dict[str, Place] = {}
        self.tombs: dict[str, tuple[int, int]] = {}  # key -> (clock_ms, order), in the order of ends
        # Open sessions below a root, under the key that the root's own state has or would have.
        self.trees: dict[str, dict[str, None]] = {}
        self._tree_of: dict[str, str] = {}
        self.catalogue_uses: dict[str, int] = {}
        self._digests: dict[str, str] = {}  # one text for each catalogue, whoever uses it
        self.weight = 0  # of all open sessions, in bytes

    @classmethod
    def empty(cls) -> Partition:
        """A partition before its first record."""
        return cls()

    @classmethod
    def load(cls, states: Mapping[str, bytes]) -> Partition:
        """The partition whose states were stored, whatever the order of the mapping."""
        made = cls()
        made.apply({key: raw for key, raw in states.items() if not key.startswith("s/")})
        placed = [(place(raw), key) for key, raw in states.items() if key.startswith("s/")]
        placed.sort(key=lambda item: item[0].offset if isinstance(item[0], Head) else item[0].order)
        for state, key in placed:
            made.states[key] = states[key]
            made._place(key, state)
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
                self.ledger = unpacked(_LEDGERS, raw, "a partition's ledger", LEDGER_VERSION)
            elif key.startswith("s/"):
                self._place(key, place(raw) if raw is not None else None)

    def _place(self, key: str, state: Head | Stone | None) -> None:
        held = self.declared.get(key) or self.undeclared.get(key)
        if held is not None:
            self.weight -= held.weight
            if held.catalogue is not None:
                self.catalogue_uses[held.catalogue] -= 1
                if not self.catalogue_uses[held.catalogue]:
                    del self.catalogue_uses[held.catalogue], self._digests[held.catalogue]
        if isinstance(state, Head):
            self.tombs.pop(key, None)
            catalogue = state.catalogue
            if catalogue is not None:
                catalogue = self._digests.setdefault(catalogue, catalogue)
                self.catalogue_uses[catalogue] = self.catalogue_uses.get(catalogue, 0) + 1
            self.weight += state.weight
            ours, other = (
                (self.declared, self.undeclared) if state.declared else (self.undeclared, self.declared)
            )
            other.pop(key, None)
            if held is None or held.offset != state.offset or key not in ours:
                ours.pop(key, None)  # else changed by its parent's fate, not by a record of its own
            ours[key] = Place(state.clock_ms, state.offset, state.weight, catalogue)
            if state.session != state.root:
                tree = state_key(state.tenant, state.root, state.root)
                self.trees.setdefault(tree, {})[key] = None
                self._tree_of[key] = tree
            return
        self.declared.pop(key, None)
        self.undeclared.pop(key, None)
        if state is not None:
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


def declare(session: Session, event: SessionDeclared, catalogue: Catalogue | None, key: bytes) -> None:
    """Fold a declaration into a session that has none yet."""
    session.declared = event.intent is not None
    if event.agent is not None:
        session.agent = event.agent.id
        session.spiffe = event.agent.spiffe_id
        session.user = event.agent.user
    if event.credentials and not session.credentials:
        session.credentials = _held(event.credentials)
    measure_names(session)
    if event.intent is not None:
        widen(session, event.intent, catalogue, key)


def _held(credentials: Sequence[Credential]) -> list[CredentialRow]:
    """The credentials that are kept: in order, as far as number and bytes allow."""
    rows: list[CredentialRow] = []
    room = MAX_CREDENTIAL_BYTES
    for c in credentials:
        row = CredentialRow(
            c.broker,
            c.kind,
            c.value,
            c.scope,
            milliseconds(c.issued) if c.issued else None,
            milliseconds(c.expires) if c.expires else None,
        )
        size = credential_size(row)
        if size <= room:
            room -= size
            rows.append(row)
        if len(rows) == MAX_CREDENTIALS:
            break
    return rows


def fit(session: Session) -> None:
    """Bring the index back within what the rest of the session leaves, after that has grown."""
    if len(session.index) > 8 * SURE_PRINTS:
        index = Index(session.index)
        session.folded += index.trim(print_limit(session))
        session.index = index.dump()


def widen(session: Session, intent: Intent, catalogue: Catalogue | None, key: bytes) -> None:
    """Take an intent, or the user's amendment of it, into the session."""
    text = intent.text[:32_768]
    plan = " ".join((intent.plan or [])[:64])[:32_768]
    listed = " ".join((intent.resources or [])[:256])[:32_768]
    whole = unhashed(f"{text} {plan} {listed}")
    words = set(np.frombuffer(session.intent_words, "<u4").tolist())
    words |= stems_of_pieces(whole.split(), key) if apart(whole) else stem_prints(whole, key)
    session.intent_words = as_prints(words)[:MAX_STEMS].astype("<u4").tobytes()
    session.vague = (
        session.vague
        and not _NAMED.search(unhashed(listed))
        and vagueness.current().is_vague(f"{text}\n{plan}")
    )
    for action in wanted_actions(text):
        session.intent_actions |= 1 << ACTIONS[action]
    if intent.actions is not None:
        # The declaration's list restricts; an amendment's, which only a user can send, adds to one and begins none.
        for action in intent.actions:
            if session.allowed_actions or session.intent_digest is None:
                session.allowed_actions |= 1 << ACTIONS[action]
            session.intent_actions |= 1 << ACTIONS[action]
    tools = catalogue.vectors if catalogue is not None else NO_VECTORS
    _take_clauses(session, f"{text}\n{plan}" if plan else text, listed, tools, key)
    index = Index(session.index)
    found = prints_of(f"{text}\n{plan}\n{listed}", key)
    session.folded += index.add(found, INTENT, prose=False, limit=print_limit(session))
    session.index = index.dump()
    if intent.budget is not None:
        session.budget_calls = intent.budget.calls
        session.budget_writes = intent.budget.writes
        seconds = intent.budget.seconds  # cut to what can be packed: nothing lasts longer
        session.budget_ms = min(seconds, 1 << 40) * 1000 if seconds is not None else None
    session.intent_digest = short_hash(session.intent_digest or "", dumps(intent.model_dump(mode="json")))


def _take_clauses(session: Session, text: str, listed: str, tools: Matrix, key: bytes) -> None:
    """Add an intent's clauses: what they mean, what each names, and whether it hands acts over; and the resources it lists."""
    found = clauses_of(text, tools)
    held = len(session.served)
    gone = max(0, held + len(found) - MAX_CLAUSES)
    session.clauses = (session.clauses + pack(vectors_of([clause for clause, _ in found])))[gone * DIMS :]
    heads = handover.current()
    told = {sentence: bytes(heads.sentence.of(sentence)) for sentence in dict.fromkeys(s for _, s in found)}
    session.handing = (session.handing + b"".join(told[s] for _, s in found))[handover.ANSWERS * gone :]
    session.served = (session.served + bytes(len(found)))[gone:]
    whole = bytes(heads.whole.of_text(text))
    session.wants = bytes(map(max, session.wants, whole)) if session.wants else whole
    held_names = zip(np.frombuffer(session.names, "<u4").tolist(), session.name_clauses, strict=True)
    named = {
        name: clause if clause == LISTED else clause - gone for name, clause in held_names if clause >= gone
    }
    if gone:
        session.window = [replace(row, clause=max(-1, row.clause - gone)) for row in session.window]
    for at, clause in (*enumerate((clause for clause, _ in found), held - gone), (LISTED, listed)):
        for token in tokens(clause):
            if len(token.text) >= 3 and (token.entity or stem(token.text) not in STOP):
                named.setdefault(fingerprint(token.text, key), at)
    kept = sorted(named)[:MAX_NAMES]
    session.names = np.array(kept, "<u4").tobytes()
    session.name_clauses = bytes(named[name] for name in kept)


def number_event(state: Session | Tombstone, number: int, content: int, seq: int | None, limit: int) -> str:
    """Note an event's number and content: ``new``, ``duplicate`` (drop it) or ``reused`` (judge and mark).

    Contents of the last `limit` events are known. A number below the highest that is neither remembered nor
    a known gap was used by an event too old to compare: it is judged and marked.
    """
    seen, sought, found = state.seen, number.to_bytes(4, "little"), content.to_bytes(4, "little")
    verdict = "new"
    at = seen.find(sought)
    while at >= 0:
        if at % 8 == 0:
            if seen[at + 4 : at + 8] == found:
                return "duplicate"
            verdict = "reused"
        at = seen.find(sought, at + 1)
    state.seen = (seen + sought + found)[-8 * limit :]
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
    session: Session, call_id: str, evidence: CallEvidence, digest: int, time_ms: int, key: bytes
) -> None:
    """Fold a call into the window, after its evidence was extracted."""
    seq, facts, delegation = session.calls, evidence.tool.facts, evidence.delegation
    session.repeats += evidence.repeats > 0
    row = CallRow(
        seq,
        fingerprint(call_id, key),
        ACTIONS[facts.action],
        digest,
        time_ms,
        facts.outward,
        False,
        False,
        facts.open_world,
        delegation.named,
        delegation.clause,
    )
    session.window = [*session.window, row][-WINDOW:]
    session.said = _with_said(session.said, SaidRow(row.call, _prints_said(evidence, key)))
    session.calls = seq + 1
    session.work = mean_with(session.work, evidence.meaning.vector, seq)
    session.nearness += evidence.meaning.explained.nearness
    session.reads += facts.action == "read"
    session.writes += facts.action == "write"
    session.executes += facts.action == "execute"
    session.outward += facts.outward
    at = delegation.clause
    if facts.action != "read" and at >= 0:
        served = bytearray(session.served)
        served[at] = min(255, served[at] + 1)
        session.served = bytes(served)
    if facts.action == "read" and facts.sensitive:
        session.private_reads += 1
        session.last_private = seq
    if facts.open_world:
        session.open_reads += 1
        session.last_open = seq


def _with_said(held: Sequence[SaidRow], row: SaidRow) -> list[SaidRow]:
    """The latest of what calls said, within the limits on their number and on all prints; one row for each call."""
    kept = [one for one in held if one.call != row.call]
    if row.prints:
        kept = [*kept, row][-MAX_SAID:]
    room = 4 * MAX_SAID_TOTAL
    for at in range(len(kept) - 1, -1, -1):
        room -= len(kept[at].prints)
        if room < 0:
            return kept[at + 1 :]
    return kept


def _prints_said(evidence: CallEvidence, key: bytes) -> bytes:
    prints = {name_print(name, key) for name in evidence.tool.names}
    arguments = evidence.arguments
    for spelled in (*(one.spelled for one in arguments.leaves), *arguments.echo):
        if len(prints) >= MAX_SAID_PRINTS:
            break
        prints.update(spelled.said)
    return as_prints(prints)[:MAX_SAID_PRINTS].astype("<u4").tobytes()


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
        done = replace(row, returned=True, error=status == "error")
        session.window = [done if c is row else c for c in session.window]
    session.results += 1
    session.errors += status == "error"
    row_said = next((s for s in session.said if s.call == call), None)
    said = set(np.frombuffer(row_said.prints, "<u4").tolist()) if row_said is not None else set()
    acts = catalogue.acts - said if catalogue is not None else ()
    heard = hear(result, set(np.frombuffer(session.names, "<u4").tolist()), key, acts)
    session.cuts += heard.cuts
    # Of a call that said more than is kept of it, nothing tells what the answer only repeats.
    if len(said) < MAX_SAID_PRINTS:
        read_on(heard, key)
    if said:
        leave_out(heard, said, key)
    for text in heard.texts:
        bait = talks_to_agent(text)
        if bait > session.bait:
            session.bait, session.bait_call = bait, seq
    if heard.fields or heard.anchored or heard.prose or heard.between:
        session.told = True
        index = Index(session.index)
        most = len(index.prints) + len(heard.fields) + len(heard.anchored) + len(heard.prose)
        limit = SURE_PRINTS if most <= SURE_PRINTS else print_limit(session)
        session.folded += index.add_result(heard.anchored, heard.fields, heard.prose, seq + 1, limit=limit)
        if heard.between:
            # It displaces nothing, and leaves room for what is still to come.
            room = print_limit(session)
            kept = sorted(heard.between)[: max(0, (room - len(index.prints)) // 4)]
            index.add(kept, seq + 1, prose=True, limit=room)
        session.index = index.dump()
    if heard.talk:
        _listen(session, heard.talk, seq, catalogue, key)


def _listen(session: Session, talk: list[str], seq: int, catalogue: Catalogue | None, key: bytes) -> None:
    """Keep what prose said that speaks of the catalogue's tools."""
    tools = catalogue.vectors if catalogue is not None else NO_VECTORS
    session.lines = with_lines(session.lines, talk, seq, session.likeness, tools)
    if catalogue is None:
        return
    text = "\n".join(talk)
    words = stems_of_pieces(text.split(), key) if apart(text) else stem_prints(text, key)
    spoken = catalogue.affinity(words)
    held = list(session.lure) or [0] * len(spoken)
    if len(held) == len(spoken):
        session.lure = bytes(max(a, b) for a, b in zip(held, spoken, strict=True))
