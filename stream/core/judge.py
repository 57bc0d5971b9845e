"""judge: the only place that knows the order of the steps. Pure: no clock, no randomness, no I/O.

A batch goes through three passes. *Take*: each record in order is parsed, folded into its session's window,
and leaves an item; no score is read here, so that features cannot depend on batches. *Score*: all rows at
once. *Rule*: the items in order become decisions, cases and quarantine. States are read from the partition
and returned as changes; nothing is written.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np

from models.contracts import (
    ControlEvent,
    IntentAmended,
    ReleaseActivated,
    SessionDeclared,
    SessionEvent,
    Tool,
    ToolCalled,
    ToolReturned,
)
from models.errors import ArtefactError, ContractError, SchemaError, StateError
from models.evidence.call import extract
from models.evidence.context import CallContext
from models.evidence.features.registry import row_of
from models.session import (
    MAX_SEEN,
    MAX_SEEN_TOMBSTONE,
    VERSION,
    Session,
    Tombstone,
    dump,
    load,
    measure_names,
)
from models.text.fingerprints import content_print, fingerprint
from models.text.index import Index
from models.tools.catalogue import Catalogue
from stream import events
from stream.core import intents, numbering
from stream.core.items import Call, Close, Offered, Unjudged
from stream.core.observe import observe_call, observe_result
from stream.core.partition import LEDGER, Ledger, Partition, state_key
from stream.core.releases import PolicyNames, Release
from stream.core.rulings import Rulings, shell_of
from stream.events import (
    Output,
    Record,
    dumps,
    milliseconds,
    refusal,
    short_hash,
)
from stream.outbound.change import Receivers
from stream.signals import registry
from stream.signals.call import circumstances, circumstances_after_end, observe

MAX_ANCESTORS = 8
EARLIEST_MS, LATEST_MS = 0, 253_370_764_800_000
"""Times that records may carry: 1970 to 9998. Beyond, deadlines and RFC 3339 texts do not exist."""


class Activation(NamedTuple):
    """The payload of a verified ``release.activated`` record."""

    topic: str
    partition: int
    epoch: int
    digest: str
    scope: str


class Activations(Protocol):
    """Checks the signature of an activation."""

    def read(self, token: str) -> Activation:
        """The payload of `token`; raises `ContractError` if the signature or the shape is wrong."""
        ...


class Declarations(Protocol):
    """Checks the signature of a declaration or an amendment, by its tenant's keys."""

    def holds(self, tenant: str, event: SessionDeclared | IntentAmended, document: Mapping[str, Any]) -> bool:
        """Whether `tenant` signed `event`, read from `document`; never raises."""
        ...


class Step(NamedTuple):
    """What a batch led to: outputs in order, and the states that changed (None: deleted)."""

    outputs: list[Output]
    changes: dict[str, bytes | None]
    n_records: int
    n_skipped: int


class _Head:
    """The first key of one of a partition's orders that still stands there; looks at each key once."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        self._keys = iter(order)
        self._head = next(self._keys, None)

    def first(self, gone: Callable[[str], bool]) -> str | None:
        while self._head is not None and gone(self._head):
            self._head = next(self._keys, None)
        return self._head


class Judge:
    """The core's entry point.

    Parameters
    ----------
    releases : mapping of str to Release
        By digest; ``""`` is the bundled one, with which sessions begin until another is activated.
    activations : Activations
        Verifies ``release.activated`` records.
    fingerprint_key : bytes
        Key of all fingerprints.
    tenants : mapping of str to (str or None)
        Base name of an input topic -> the tenant bound to it.
    receivers : Receivers
        Whom the findings and tokens that cases carry are addressed to.
    declarations : Declarations or None
        Verifies declarations and amendments where the policy demands signatures; None believes no signature.
    """

    def __init__(
        self,
        releases: Mapping[str, Release],
        activations: Activations,
        *,
        fingerprint_key: bytes,
        tenants: Mapping[str, str | None],
        receivers: Receivers,
        declarations: Declarations | None = None,
    ) -> None:
        self.releases = releases
        self.activations = activations
        self.key = fingerprint_key
        self.tenants = tenants
        self.receivers = receivers
        self.declarations = declarations
        # Memos of pure functions, bounded; no state.
        self._catalogues: dict[tuple[str, str, int], Catalogue] = {}
        self._packed: dict[bytes, tuple[bytes, str, bool]] = {}
        self.policy_name = PolicyNames()

    def judge(self, partition: Partition, records: Sequence[Record]) -> Step:
        """Outputs and changed states of an ordered batch of one partition's records."""
        return _Batch(self, partition).run(records)

    def next_deadline(self, partition: Partition) -> int | None:
        """Partition clock, in ms since 1970, at which `partition` next owes an end; None if it never does.

        A record stamped at or after it ends a session that is idle or forgets a tombstone that is old; one
        stamped before it does neither. Only the heads of the partition's orders are looked at, as when ends
        are brought about, so that the cost does not grow with the sessions held.
        """
        limits = self.releases[""].policy.limits
        idle = int(limits.idle_minutes * 60_000)
        lifetime = int(limits.tombstone_hours * 3_600_000)
        orders: tuple[tuple[Mapping[str, tuple[Any, ...]], int], ...] = (
            (partition.declared, idle),
            (partition.undeclared, idle),
            (partition.tombs, lifetime),
        )
        due: list[int] = [order[next(iter(order))][0] + wait for order, wait in orders if order]
        if not due or min(due) > LATEST_MS:
            return None
        # A clock that stands ends nothing: what is overdue already falls due with its next move.
        return max(min(due), partition.ledger.clock_ms + 1)

    def catalogue(self, digest: str, raw: bytes, release: Release) -> Catalogue:
        """The catalogue packed in `raw`, read by a release's readers, its tools classed and graded by its policy."""
        policy, readers = release.policy, release.readers
        memo = (digest, self.policy_name(policy), id(readers))  # each catalogue holds its readers
        if memo not in self._catalogues:
            if len(self._catalogues) >= 256:
                self._catalogues.clear()
            tools = [Tool.model_validate(t) for t in msgspec.msgpack.decode(raw)]
            self._catalogues[memo] = Catalogue(
                tools, self.key, policy.tools, policy.sensitive, readers=readers
            )
        return self._catalogues[memo]

    def packed(self, tools: Sequence[Tool], offered: bytes) -> tuple[bytes, str, bool]:
        """What is kept of the catalogue `tools`, its digest, and whether some of it was cut.

        ``offered`` identifies the catalogue, see `stream.events.Parsed`: most were packed before.
        """
        if not offered:
            return _pack(tools)
        if offered not in self._packed:
            if len(self._packed) >= 128:
                self._packed.clear()
            self._packed[offered] = _pack(tools)
        return self._packed[offered]


class _Batch:
    """One run of `Judge.judge`: a draft of the partition, and the items on the way to outputs."""

    def __init__(self, judge: Judge, partition: Partition) -> None:
        self.judge = judge
        self.base = partition
        self.ledger: Ledger = copy.copy(partition.ledger)
        self.ledger.counters = dict(self.ledger.counters)
        self.states: dict[str, Session | Tombstone] = {}
        self.changed: dict[str, None] = {}
        # Sessions that a record of their own touched in this batch, and sessions that ended in it, in order.
        self.recent: dict[str, None] = {}
        self.ended: dict[str, None] = {}
        self.forgotten: set[str] = set()
        self.catalogue_bytes: dict[str, bytes] = {}
        self.uses: dict[str, int] = {}  # sessions more or less that hold a catalogue than in the partition
        self.n_catalogues = len(partition.catalogue_uses)
        self.born: dict[str, dict[str, None]] = {}
        self.indexes: dict[str, tuple[bytes, Index]] = {}
        self.catalogues: dict[tuple[str, int], Catalogue] = {}
        # Items hold copies of sessions, their dossiers shared: later records must not show through.
        self.items: list[Call | Close | Unjudged | Offered | Output] = []
        self.below: dict[str, list[str]] = {}
        # Event numbers of the session at hand before its record: one that fails must not use up its own.
        self.numbers: tuple[bytes, int, list[list[int]]] = (b"", 0, [])
        self.rulings = Rulings(judge.key, judge.receivers, judge.policy_name)
        self._declared = _Head(partition.declared)
        self._undeclared = _Head(partition.undeclared)
        self._tombs = _Head(partition.tombs)
        self.n_open = len(partition.declared) + len(partition.undeclared)
        self.n_tombs = len(partition.tombs)
        self.weight = partition.weight

    # ------------------------------------------------------------------ the three passes

    def run(self, records: Sequence[Record]) -> Step:
        skipped = 0
        for record in records:
            if record.offset <= self.ledger.offset:
                skipped += 1
                continue
            self._take(record)
            self.ledger.offset = record.offset
        calls = [item for item in self.items if isinstance(item, Call)]
        scores = self._score(calls)
        n = 0
        for item in self.items:
            if isinstance(item, Output):
                self.rulings.outputs.append(item)
            elif isinstance(item, Call):
                try:
                    self.rulings.rule(item, scores[n])
                except Exception as error:  # what was decided of it already stands
                    self.rulings.outputs.append(self._refused(item.record, "internal", type(error).__name__))
                    self._count("internal")
                    self.rulings.cases.unjudged(Unjudged(item.session, item.release, item.now_ms))
                n += 1
            elif isinstance(item, Close):
                self.rulings.cases.close(item)
            elif isinstance(item, Offered):
                self.rulings.cases.offered(item)
            else:
                self.rulings.cases.unjudged(item)
        return Step(self.rulings.outputs, self._changes(), len(records), skipped)

    def _score(self, calls: Sequence[Call]) -> list[int]:
        scores = [0] * len(calls)
        by_scorer: dict[int, list[int]] = {}  # not by name: two releases may share one
        for n, call in enumerate(calls):
            by_scorer.setdefault(id(call.release.scorer), []).append(n)
        for places in by_scorer.values():
            scorer = calls[places[0]].release.scorer
            rows = np.array([calls[n].row for n in places], np.float64)
            seen = np.array([calls[n].seq for n in places], np.int64)
            for n, score in zip(places, scorer.score(rows, seen).tolist(), strict=True):
                scores[n] = score
        return scores

    def _changes(self) -> dict[str, bytes | None]:
        # One that was forgotten and born again is no deletion, and stands in the order of its last record.
        changes: dict[str, bytes | None] = dict.fromkeys(sorted(self.forgotten - self.states.keys()), None)
        for key in [*self.ended, *self.recent, *self.changed, *self.rulings.cases.changed]:
            if key not in changes and key in self.states:
                changes[key] = dump(self.states[key])
        for digest, raw in self.catalogue_bytes.items():
            if self._used(digest) and "c/" + digest not in self.base.states:
                changes["c/" + digest] = raw
        for digest in self.uses:
            if digest in self.base.catalogue_uses and not self._used(digest):
                changes["c/" + digest] = None
        changes[LEDGER] = msgspec.msgpack.encode(self.ledger)
        return changes

    # ------------------------------------------------------------------ take: one record

    def _take(self, record: Record) -> None:
        stamped = record.timestamp_type == "append"
        if stamped and record.timestamp_ms > self.ledger.clock_ms:
            self.ledger.clock_ms = min(record.timestamp_ms, LATEST_MS)
            self._expire()
        key: str | None = None
        names = ("", "", "")
        try:
            parsed = events.parse(record.value)
            event = parsed.event
            if isinstance(event, ControlEvent):
                self._control(record, event)
                return
            time_ms = milliseconds(event.time)
            self._check_place(record, event, time_ms, stamped)
            names = self._names(record, event)
            key = state_key(*names)
            self._session_event(key, record, event, parsed, time_ms, stamped)
            self._weigh(key)
        except ContractError as error:
            self._quarantine(record, error.reason, error.detail)
        except (ArtefactError, StateError):
            raise
        except Exception as error:
            # Unforeseen: the record goes to quarantine, its session starts afresh, marked, alike live and
            # in replay. The type alone is told: messages may carry payload.
            self._quarantine(record, "internal", type(error).__name__)
            self._count("internal")
            if key is not None:
                self._start_afresh(key, record, names)

    def _check_place(self, record: Record, event: SessionEvent, time_ms: int, stamped: bool) -> None:
        root = (event.root_session_id or event.session_id).encode()
        n = self.base.n_partitions
        if record.key != root and (record.key is not None or n is not None):
            raise SchemaError("key", "the record's key must be the root session's id")
        if n is not None and events.murmur2_partition(root, n) != record.partition:
            raise SchemaError(
                "partition",
                f"this key belongs to partition {events.murmur2_partition(root, n)} of {n} by murmur2; "
                "a producer on librdkafka must set partitioner=murmur2_random",
            )
        if not EARLIEST_MS <= time_ms < LATEST_MS:
            raise SchemaError("time", "the event's time is not between the years 1970 and 9998")
        skew = self._bundled.policy.limits.clock_skew_seconds * 1000
        if stamped and time_ms > record.timestamp_ms + skew:
            raise SchemaError("time", f"the event's time is more than {skew / 1000:g} s ahead of the broker")

    @property
    def _bundled(self) -> Release:
        return self.judge.releases[""]

    def _names(self, record: Record, event: SessionEvent) -> tuple[str, str, str]:
        """Tenant, root and session that `event` names."""
        return self._tenant(record, event), event.root_session_id or event.session_id, event.session_id

    def _tenant(self, record: Record, event: SessionEvent) -> str:
        return self.judge.tenants.get(record.topic) or event.tenant or "default"

    def _control(self, record: Record, event: ControlEvent) -> None:
        if not isinstance(event, ReleaseActivated):
            return  # a tick only lets the clock be read, which has happened; a forged one moves nothing
        activation = self.judge.activations.read(event.token)
        if activation.topic != record.topic or activation.partition != record.partition:
            raise SchemaError("control", "the activation names another topic or partition")
        if activation.epoch <= self.ledger.epoch:
            self._count("stale_activation")
            return
        if activation.digest not in self.judge.releases:
            raise ArtefactError(
                f"release {activation.digest} was activated, but this worker does not have it; "
                "fetch it from agent.releases.v1 and restart"
            )
        self.ledger.epoch = activation.epoch
        self.ledger.new_release, self.ledger.new_epoch = activation.digest, activation.epoch
        if activation.scope == "open":
            self.ledger.open_release, self.ledger.open_epoch = activation.digest, activation.epoch

    def _session_event(
        self,
        key: str,
        record: Record,
        event: SessionEvent,
        parsed: events.Parsed,
        time_ms: int,
        stamped: bool,
    ) -> None:
        number = fingerprint(f"#{event.seq}" if event.seq is not None else f"@{event.id}", self.judge.key)
        told = parsed.document
        told.pop("id")
        try:
            content = content_print(dumps(told), self.judge.key)
        except TypeError as error:  # before any state is touched: a session keeps its own
            raise SchemaError("schema", "nested deeper than 250 levels") from error
        state = self._state(key)
        if isinstance(state, Session):
            clock = self.ledger.clock_ms if stamped else max(state.clock_ms, time_ms)
            idle = self._release(state).policy.limits.idle_minutes * 60_000
            if not stamped and time_ms >= state.clock_ms + idle:
                state = self._end(key, state, "idle", state.clock_ms + int(idle))
        else:
            clock = self.ledger.clock_ms if stamped else time_ms
        if isinstance(state, Tombstone):
            self._after_end(key, record, event, state, number, content, clock)
            return
        if state is None:
            state = self._begin(key, record, event, time_ms, clock)
        self.numbers = (state.seen, state.next_seq, state.gaps)
        verdict = numbering.number_event(state, number, content, event.seq, MAX_SEEN)
        if verdict == "duplicate":
            self._count("duplicate")
            return
        state.offset, state.clock_ms = record.offset, max(state.clock_ms, clock)
        self._touch(key, state)
        if isinstance(event, SessionDeclared):
            if not self._vouched(state, event, told, time_ms):
                return
            told_before = state.agent is not None or bool(state.credentials) or state.catalogue is not None
            if state.declared or (told_before and event.intent is None):
                self._count("second_declaration")  # only the user widens an intent, by an amendment
                return
            if state.session != state.root and event.parent_session_id is not None:
                state.parent = event.parent_session_id
                self.below.clear()
            held = len(state.credentials)
            if event.tools and state.catalogue is None:
                self._offer(state, event.tools, parsed.offered)
            readers = self._release(state).readers
            intents.declare(state, event, self._catalogue(state), readers, self.judge.key)
            self._affine(state)
            if len(state.credentials) > held:
                if len(event.credentials or ()) > len(state.credentials):
                    self._count("credentials_cut")
                above = [copy.copy(a) for _, a in self._ancestors(state)]
                self.items.append(Offered(key, copy.copy(state), above, self._release(state), state.clock_ms))
            intents.fit(state)
        elif isinstance(event, IntentAmended):
            if not self._vouched(state, event, told, time_ms):
                return
            if state.declared:
                state.amendments += 1
                readers = self._release(state).readers
                intents.widen(state, event.intent, self._catalogue(state), readers, self.judge.key)
                self._affine(state)
                intents.fit(state)
            else:
                self._count("amendment_without_intent")
        elif isinstance(event, ToolCalled):
            marks = [] if verdict == "new" else [f"number_{verdict}"]
            self._call(key, record, event, state, marks, time_ms)
        elif isinstance(event, ToolReturned):
            observe_result(
                state,
                event.call_id,
                event.status,
                event.result,
                self._catalogue(state),
                self._release(state).readers,
                self.judge.key,
            )
        else:
            self._end_tree(key, state, state.clock_ms)

    def _vouched(
        self,
        session: Session,
        event: SessionDeclared | IntentAmended,
        document: Mapping[str, Any],
        time_ms: int,
    ) -> bool:
        """Whether a declaration or an amendment counts; one that lacks a signature demanded widens nothing.

        A signed one counts once and in its order: each has a higher number than the last, and none is older
        than a tombstone gets, so that an id that was forgotten is not declared again by a repeat.
        """
        policy = self._release(session).policy
        if not policy.signatures.demanded(session.tenant):
            return True
        oldest = self.ledger.clock_ms - int(policy.limits.tombstone_hours * 3_600_000)
        signed = self.judge.declarations
        if (
            signed is not None
            and event.seq is not None
            and event.seq > session.signed_seq
            and time_ms >= oldest
            and signed.holds(session.tenant, event, document)
        ):
            session.signed_seq = event.seq
            return True
        session.unsigned = True
        self._count("unsigned_declaration")
        return False

    def _begin(self, key: str, record: Record, event: SessionEvent, time_ms: int, clock: int) -> Session:
        tenant, root = self._tenant(record, event), event.root_session_id or event.session_id
        limits = self._bundled.policy.limits
        if self.n_open >= limits.open_sessions and (oldest := self._oldest_open()) is not None:
            self._end(oldest, self._session(oldest), "evicted", clock)
        if event.session_id != root:  # the root itself is none, and never pushed out by its own
            tree = state_key(tenant, root, root)
            at_most = len(self.base.trees.get(tree, ())) + len(self.born.get(tree, ()))
            members = self._below_root(tree) if at_most >= limits.sub_agents else []
            if len(members) >= limits.sub_agents:
                lowest = min(members, key=lambda k: (self._session(k).declared, self._session(k).offset))
                self._end(lowest, self._session(lowest), "evicted", clock)
            self.born.setdefault(tree, {})[key] = None
        partial = event.seq > 0 if event.seq is not None else not isinstance(event, SessionDeclared)
        session = Session(
            version=VERSION,
            tenant=tenant,
            root=root,
            session=event.session_id,
            born=record.offset,
            offset=record.offset,
            clock_ms=clock,
            started_ms=time_ms,
            release=self.ledger.new_release,
            epoch=self.ledger.new_epoch,
            partial=partial,
            parent=None if event.session_id == root else root,
        )
        measure_names(session)
        self.n_open += 1
        self.below.clear()
        self._touch(key, session)
        return session

    def _offer(self, session: Session, tools: Sequence[Tool], offered: bytes) -> None:
        raw, digest, cut = self.judge.packed(tools, offered)
        if cut:
            self._count("catalogue_cut")
        if not self._used(digest) and self.n_catalogues >= self._bundled.policy.limits.catalogues:
            self._count("catalogue_not_kept")
            return
        self._use(session.catalogue, -1)
        self._use(digest, 1)
        self.catalogue_bytes[digest] = raw
        session.catalogue = digest

    def _use(self, digest: str | None, n: int) -> None:
        if digest is None:
            return
        before = self._used(digest)
        self.uses[digest] = self.uses.get(digest, 0) + n
        self.n_catalogues += bool(before + n) - bool(before)

    def _used(self, digest: str) -> int:
        """Open sessions that hold the catalogue `digest`."""
        return self.base.catalogue_uses.get(digest, 0) + self.uses.get(digest, 0)

    def _affine(self, session: Session) -> None:
        catalogue = self._catalogue(session)
        if catalogue is not None:
            words = np.frombuffer(session.intent_words, "<u4").tolist()
            session.affinity = bytes(catalogue.affinity(words))
            session.likeness = catalogue.likeness(session.clauses)
            names = np.frombuffer(session.names, "<u4").tolist()
            telling = [at == -1 for at in catalogue.index.find(names)]
            session.names = np.array(list(compress(names, telling)), "<u4").tobytes()
            session.name_clauses = bytes(compress(session.name_clauses, telling))
            if len(session.lure) != len(session.affinity):
                session.lure = bytes(len(session.affinity))

    def _call(
        self, key: str, record: Record, event: ToolCalled, session: Session, marks: list[str], told_ms: int
    ) -> None:
        judge = self.judge
        time_ms = max(told_ms, session.started_ms)
        ancestors = self._ancestors(session)
        # What was declared and tells nothing narrows nothing.
        narrowing = [(k, above) for k, above in ancestors if above.usable or not above.declared]
        release = self._release(session)
        arguments = dumps([event.tool, event.arguments])
        digest = content_print(arguments, judge.key)
        context = CallContext(
            session,
            self._catalogue(session),
            [above for _, above in narrowing],
            self._index(key, session),
            [self._index(k, above) for k, above in narrowing],
            judge.key,
            release.readers,
            release.policy.says,
        )
        evidence = extract(context, event.tool, event.arguments, digest)
        at = circumstances(session, event.credential, time_ms)
        told = registry.check(observe(evidence, at, release.policy))
        marks = [
            *marks,
            *(["undeclared"] if not session.declared else [] if session.usable else ["vague"]),
            *(["unsigned"] if session.unsigned else []),
            *(["partial"] if session.partial else []),
            *(["unjudged_before"] if session.unjudged else []),
            *(["orphan"] if session.parent is not None and not ancestors else []),
            *(["cut"] if evidence.tool.cuts else []),
        ]
        below = [(k, copy.copy(self._session(k))) for k in self._descendants(key, session)]
        item = Call(
            record,
            event,
            arguments,
            told_ms,
            False,
            copy.copy(session),
            row_of(evidence),
            evidence.tool.facts.action,
            told,
            session.calls,
            marks,
            release,
            session.clock_ms,
            below,
        )
        session.cuts += evidence.tool.cuts
        observe_call(session, event.call_id, evidence, digest, time_ms, judge.key)
        self.items.append(item)

    def _after_end(
        self,
        key: str,
        record: Record,
        event: SessionEvent,
        tomb: Tombstone,
        number: int,
        content: int,
        clock: int,
    ) -> None:
        verdict = numbering.number_event(tomb, number, content, event.seq, MAX_SEEN_TOMBSTONE)
        if verdict == "duplicate":
            self._count("duplicate")
            return
        self.changed[key] = None
        if not isinstance(event, ToolCalled):
            self._count("after_end")
            return
        session = shell_of(tomb, *self._names(record, event))
        release = self._release(session)
        context = CallContext(
            session, None, [], Index(), [], self.judge.key, release.readers, release.policy.says
        )
        evidence = extract(context, event.tool, event.arguments, 0)
        at = circumstances_after_end(milliseconds(event.time))
        told = registry.check(observe(evidence, at, release.policy))
        marks = ["after_end", *([f"number_{verdict}"] if verdict != "new" else [])]
        arguments = dumps([event.tool, event.arguments])
        item = Call(
            record,
            event,
            arguments,
            milliseconds(event.time),
            True,
            session,
            row_of(evidence),
            evidence.tool.facts.action,
            told,
            tomb.calls,
            marks,
            release,
            max(clock, tomb.clock_ms),
            [],
        )
        self.items.append(item)
        tomb.calls += 1

    # ------------------------------------------------------------------ ends and limits

    def _expire(self) -> None:
        """End each session whose last record lies the idle limit back, oldest first; forget old tombstones."""
        limits = self._bundled.policy.limits
        idle = int(limits.idle_minutes * 60_000)
        while True:
            heads = [
                (*order[key][:2], key)
                for order, key in (
                    (self.base.declared, self._declared.first(self._gone)),
                    (self.base.undeclared, self._undeclared.first(self._gone)),
                )
                if key is not None
            ]
            if (key := next(iter(self.recent), None)) is not None:
                session = self._session(key)
                heads.append((session.clock_ms, session.offset, key))
            clock_ms, _, key = min(heads, default=(LATEST_MS, 0, ""))
            if clock_ms + idle > self.ledger.clock_ms:
                break
            self._end(key, self._session(key), "idle", clock_ms + idle)
        lifetime = int(limits.tombstone_hours * 3_600_000)
        while (oldest := self._oldest_tomb()) is not None:
            if self.states_clock(oldest) + lifetime > self.ledger.clock_ms:
                break
            self._forget(oldest)

    def _weigh(self, key: str) -> None:
        """Note what the session at hand weighs now; while all together weigh too much, close the oldest."""
        state = self.states.get(key)
        if not isinstance(state, Session):
            return
        weight = state.weighs()
        self.weight += weight - state.weight
        state.weight = weight
        most = self._bundled.policy.limits.open_mib << 20
        while self.weight > most and (oldest := self._oldest_open()) is not None:
            self._end(oldest, self._session(oldest), "evicted", state.clock_ms)

    def _end_tree(self, key: str, session: Session, now_ms: int) -> None:
        """End a session as it said, and the sub-agents that work for it."""
        below = list(self._descendants(key, session))
        self._end(key, session, "ended", now_ms)
        for child in below:
            state = self._state(child)
            if isinstance(state, Session):
                self._end(child, state, "parent_ended", now_ms)

    def _end(self, key: str, session: Session, how: str, now_ms: int) -> Tombstone:
        tomb = Tombstone(
            version=VERSION,
            order=self.ledger.ends,
            clock_ms=max(session.clock_ms, now_ms),
            ended=how,
            calls=session.calls,
            next_seq=session.next_seq,
            seen=session.seen[-8 * MAX_SEEN_TOMBSTONE :],
            release=session.release,
            epoch=session.epoch,
            agent=session.agent,
            record=session.record,
        )
        self.ledger.ends += 1
        self._use(session.catalogue, -1)
        self.states[key] = tomb
        self.recent.pop(key, None)
        self.ended[key] = None
        self.n_open -= 1
        self.n_tombs += 1
        self.weight -= session.weight
        self.below.clear()
        self.items.append(Close(tomb, session, how, self._release(session), now_ms))
        if (
            self.n_tombs > self._bundled.policy.limits.tombstones
            and (oldest := self._oldest_tomb()) is not None
        ):
            self._forget(oldest)
        return tomb

    def _forget(self, key: str) -> None:
        self.states.pop(key, None)
        self.changed.pop(key, None)
        self.ended.pop(key, None)
        self.forgotten.add(key)
        self.n_tombs -= 1

    def _start_afresh(self, key: str, record: Record, names: tuple[str, str, str]) -> None:
        state = self.states.get(key)
        if isinstance(state, Tombstone):
            shell = shell_of(state, *names)
            self.items.append(Unjudged(shell, self._release(state), state.clock_ms))
            return
        if state is None:
            return
        stamp = self.ledger.clock_ms if record.timestamp_type == "append" else 0
        seen, next_seq, gaps = self.numbers
        fresh = Session(
            version=VERSION,
            tenant=state.tenant,
            root=state.root,
            session=state.session,
            born=state.born,
            offset=record.offset,
            clock_ms=max(state.clock_ms, stamp),
            started_ms=state.started_ms,
            release=state.release,
            epoch=state.epoch,
            partial=True,
            unjudged=True,
            parent=state.parent,
            agent=state.agent,
            spiffe=state.spiffe,
            user=state.user,
            calls=state.calls,
            next_seq=next_seq,
            gaps=gaps,
            seen=seen,
            record=state.record,
        )
        fresh.credentials = state.credentials
        measure_names(fresh)
        self.weight -= state.weight
        self._use(state.catalogue, -1)
        self._touch(key, fresh)
        self.items.append(Unjudged(copy.copy(fresh), self._release(fresh), fresh.clock_ms))

    # ------------------------------------------------------------------ the draft over the partition

    def _state(self, key: str) -> Session | Tombstone | None:
        if key in self.states:
            return self.states[key]
        if key in self.forgotten:
            return None
        raw = self.base.states.get(key)
        if raw is None:
            return None
        state = load(raw)
        self.states[key] = state
        return state

    def _session(self, key: str) -> Session:
        state = self._state(key)
        assert isinstance(state, Session)
        return state

    def _touch(self, key: str, session: Session) -> None:
        self.states[key] = session
        self.recent.pop(key, None)
        self.recent[key] = None

    def _gone(self, key: str) -> bool:
        """Whether a session stands no longer where the partition's order has it."""
        return key in self.recent or key in self.ended or key in self.forgotten

    def _oldest_open(self) -> str | None:
        """The open session whose last offset is lowest, undeclared ones first."""
        return (
            self._undeclared.first(self._gone)
            or next((k for k in self.recent if not self._session(k).declared), None)
            or self._declared.first(self._gone)
            or next(iter(self.recent), None)
        )

    def _oldest_tomb(self) -> str | None:
        return self._tombs.first(self.forgotten.__contains__) or next(iter(self.ended), None)

    def states_clock(self, key: str) -> int:
        """Clock at the end of the finished session under `key`."""
        state = self.states.get(key)
        return state.clock_ms if state is not None else self.base.tombs[key][0]

    def _below_root(self, tree: str) -> list[str]:
        """Keys of the tree's open sessions save its root, in the partition or born in this batch, sorted."""
        held = {*self.base.trees.get(tree, ()), *self.born.get(tree, ())}
        return sorted(key for key in held if isinstance(self._state(key), Session))

    def _descendants(self, key: str, session: Session) -> list[str]:
        """Keys of the open sessions that work for `session`, nearest first; kept until a tree changes."""
        tree = (
            key if session.session == session.root else state_key(session.tenant, session.root, session.root)
        )
        if tree not in self.base.trees and tree not in self.born:
            return []
        if key not in self.below:
            self.below[key] = self._find_below(tree, session)
        return self.below[key]

    def _find_below(self, tree: str, session: Session) -> list[str]:
        # A root works for nobody, whatever it says.
        members = {k: self._session(k) for k in self._below_root(tree)}
        below: list[str] = []
        frontier = {session.session}
        while frontier:
            found = {
                k: s
                for k, s in members.items()
                if s.parent in frontier and k not in below and s.session != session.session
            }
            below += sorted(found, key=lambda k: members[k].born)
            frontier = {s.session for s in found.values()}
        return below

    def _ancestors(self, session: Session) -> list[tuple[str, Session]]:
        found: list[tuple[str, Session]] = []
        parent, seen = session.parent, {session.session}
        while parent is not None and parent not in seen and len(found) < MAX_ANCESTORS:
            seen.add(parent)
            key = state_key(session.tenant, session.root, parent)
            state = self._state(key)
            if not isinstance(state, Session):
                break
            found.append((key, state))
            parent = state.parent
        return found

    def _index(self, key: str, session: Session) -> Index:
        held = self.indexes.get(key)
        if held is None or held[0] is not session.index:
            held = (session.index, Index(session.index))
            self.indexes[key] = held
        return held[1]

    def _catalogue(self, session: Session) -> Catalogue | None:
        digest = session.catalogue
        if digest is None:
            return None
        release = self._release(session)
        memo = (digest, id(release))
        if memo not in self.catalogues:
            raw = self.catalogue_bytes.get(digest) or self.base.states.get("c/" + digest)
            if raw is None:
                return None
            self.catalogues[memo] = self.judge.catalogue(digest, raw, release)
        return self.catalogues[memo]

    def _release(self, state: Session | Tombstone) -> Release:
        digest = self.ledger.open_release if self.ledger.open_epoch > state.epoch else state.release
        release = self.judge.releases.get(digest)
        if release is None:
            raise ArtefactError(f"release {digest} judges open sessions, but this worker does not have it")
        return release

    def _count(self, name: str) -> None:
        self.ledger.counters[name] = self.ledger.counters.get(name, 0) + 1

    def _quarantine(self, record: Record, reason: str, detail: str) -> None:
        self.items.append(self._refused(record, reason, detail))

    def _refused(self, record: Record, reason: str, detail: str) -> Output:
        self._count("quarantined")
        return refusal(record, reason, detail)


def _pack(tools: Sequence[Tool]) -> tuple[bytes, str, bool]:
    rows: list[dict[str, Any]] = []
    room = 131_072
    cut = False
    for tool in tools[:512]:
        row = {
            "name": tool.name,
            "server": tool.server,
            "description": (tool.description or "")[:1200],
            "parameters": _first_level(tool.parameters),
            "annotations": {k: v for k, v in (tool.annotations or {}).items() if isinstance(v, bool)},
        }
        size = len(dumps(row))
        if size > room:
            cut = True
            break
        room -= size
        rows.append(row)
    raw = msgspec.msgpack.encode(rows)
    return raw, short_hash(raw, size=12), cut


def _first_level(schema: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Names, types, enumerations, short descriptions of a parameter schema: all that is ever read of it."""
    properties = (schema or {}).get("properties")
    if not isinstance(properties, dict):
        return None
    kept: dict[str, Any] = {}
    for name, spec in list(properties.items())[:64]:
        row: dict[str, Any] = {}
        if isinstance(spec, dict):
            if isinstance(spec.get("enum"), list):
                row["enum"] = [str(v)[:100] for v in spec["enum"][:32]]
            for part in ("default", "description", "type"):
                if isinstance(spec.get(part), str):
                    row[part] = spec[part][:300]
        kept[str(name)[:128]] = row
    return {"properties": kept}
