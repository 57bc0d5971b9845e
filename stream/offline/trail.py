"""A session's story, rebuilt from the records of the bus that tell of it: how access was asked for, used, judged and taken away.

Every record has its place in the story and on the bus. What is not there is told as well, as a gap: a missing verdict is not an
allow. The same records give the same story, from the bus, a dump or `replay`.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

from models.contracts import (
    ControlEvent,
)
from models.errors import ContractError, InputError
from stream import events
from stream.core.references import hidden
from stream.events import (
    ALERTS,
    CASES,
    DECISIONS,
    ENDS,
    FEEDBACK,
    HELD,
    OUTCOMES,
    QUARANTINE,
    REVOCATIONS,
    RISK,
    Record,
    case_id_of,
    dumps,
    milliseconds,
    moment_ms,
    object_in,
    printable,
    rfc3339,
)
from stream.offline.chain import Name, Report, Verifier, name_of_alert, named
from stream.offline.files import bus_records
from stream.offline.trail_entries import (
    MAX_TOLD,
    Entry,
    claims_in,
    entry_of,
    feedback_entry,
    id_of,
    number_of,
    ours,
    outcome_entry,
    place_of,
    said_by,
    stamp_ms,
    text_of,
    time_of,
    token_entry,
)
from stream.offline.trail_gaps import with_gaps

MAX_LONGER = 1000
"""Sessions whose ids begin as asked that are counted."""
TOKENS = (REVOCATIONS, RISK, ENDS)
_CONTROL = frozenset(("release.activated", "clock.tick"))
"""Events that are of no session, whatever stands in them."""
_PLAIN_RUN = re.compile(r'[^"\\/\x00-\x1f]+')
"""What JSON can write in one other way alone, as ``\\u`` and four digits."""


class Source(Protocol):
    """Where records come from: the bus, or files."""

    @property
    def unread(self) -> Mapping[str, str]:
        """By the base name of a topic that could not be read: why."""
        ...

    def read(self, bases: Collection[str], root: str | None = None) -> Iterator[Record]:
        """Records of these topics with their full names; with `root`, of topics keyed by it that session's partition alone."""
        ...

    def base(self, topic: str) -> str:
        """The base name of a topic."""
        ...


_MISSING = "no record of it is in the files"
_JUDGED = "; `driftline replay FILE --all > judged.jsonl` judges a file of events, and --file judged.jsonl reads what came of it"


class Files:
    """Records out of files: dumps of topics, outputs of ``replay``, events. They are read twice, so none is standard input.

    Raises
    ------
    InputError
        A file is standard input, cannot be read, or a line of it has another shape.
    """

    def __init__(self, paths: Sequence[Path], base: Callable[[str], str]) -> None:
        if any(str(path) == "-" for path in paths):
            raise InputError(
                "a story is read in two passes, which standard input does not allow: name a file"
            )
        self.unread: dict[str, str] = {}
        self.base = base
        self._paths = paths

    def read(self, bases: Collection[str], root: str | None = None) -> Iterator[Record]:
        """As `Source` has it; a topic of which nothing is there counts as not read, for nothing tells that it is empty."""
        missing = set(bases)
        for path in self._paths:
            for record in bus_records(path):
                if (base := self.base(record.topic)) in bases:
                    missing.discard(base)
                    yield record
        self.unread |= {base: _MISSING + (_JUDGED if base in (DECISIONS, ALERTS) else "") for base in missing}


@dataclass
class Trail:
    """A session's story.

    Attributes
    ----------
    entries : list of Entry
        In order.
    records : counts by topic
        Read in all, of whatever session.
    unread : dict of str to str
        Topics that could not be read, and why.
    chain : Report
        Of the session's decisions.
    """

    name: Name
    entries: list[Entry]
    records: Counter[str]
    unread: dict[str, str]
    chain: Report
    values: bool = False

    @property
    def case_id(self) -> str:
        """The id that the session's case has, if it has one."""
        return case_id_of(*self.name)

    def of(self, *kinds: str) -> list[Entry]:
        """The entries of these kinds."""
        return [each for each in self.entries if each.kind in kinds]

    def said(self, member: str) -> Any:
        """The last that any entry says of the session: its ``agent``, ``user`` or ``standing``; None where none does."""
        found = (each.data.get(member) for each in reversed(self.entries))
        return next((each for each in found if each is not None), None)

    def document(self) -> dict[str, Any]:
        """The story as JSON."""
        return {
            "session": {
                **named(self.name),
                "case_id": self.case_id if self.of("case", "alert") else None,
                **{member: self.said(member) for member in ("agent", "user", "standing")},
            },
            "values": self.values,
            "read": dict(sorted(self.records.items())),
            "not_read": self.unread,
            "chain": self.chain.document(),
            "trail": [each.document() for each in self.entries],
        }


def build(
    source: Source,
    asked: str,
    inputs: Mapping[str, str | None],
    *,
    tenant: str | None = None,
    root: str | None = None,
    values: bool = False,
    signed: Callable[[bytes], str] = lambda _: "unverified",
    progress: Callable[[int], None] = lambda _: None,
) -> Trail:
    """The story of one session.

    Parameters
    ----------
    asked : str
        Its id, or that of its case; or how the id of one session alone begins.
    inputs : mapping
        Base names of the topics of events, each with the tenant that it is bound to.
    tenant, root : str, optional
        Tell sessions of one id apart.
    values : bool
        Whether values of arguments and results are shown, without secrets.
    signed : callable
        What a token's signature is worth: ``verified``, ``unverified``, or why it is refused.
    progress : callable
        Hears how many records were read.

    Raises
    ------
    InputError
        No record names the session, or records name several that it may be.
    """
    reading = _Reading(source, progress)
    session = _session_of_case(reading, asked) or asked
    is_case = session != asked
    gathered: dict[Name, _Gathered] = {}
    longer: set[Name] = set()  # sessions whose ids begin so
    begins: dict[int, int] = {}
    rulings: list[Record] = []  # people's, of whatever session: they are few
    needle = _needle(session)
    for base, record in reading.of((*inputs, DECISIONS, CASES, HELD, ALERTS, QUARANTINE), root):
        if base == DECISIONS:
            begins.setdefault(record.partition, record.offset)
        elif base == HELD and not record.value:
            rulings.append(record)
            continue
        if not _may_name(record, needle):
            continue
        document = object_in(record.value)
        name = _named_by(base, record, document, session, inputs)
        if (
            name is None
            or not name.session.startswith(session)
            or tenant not in (None, name.tenant)
            or root not in (None, name.root)
        ):
            continue
        if is_case and case_id_of(*name) != asked:
            continue
        if name.session != session:
            if len(longer) < MAX_LONGER:
                longer.add(name)
            continue
        if name not in gathered:
            gathered[name] = _Gathered(begins, values, signed)
        gathered[name].take(base, record, document, is_event=base in inputs)
    name = _the_one(gathered or longer, asked)
    if name not in gathered:
        return build(
            source,
            name.session,
            inputs,
            tenant=name.tenant,
            root=name.root,
            values=values,
            signed=signed,
            progress=progress,
        )
    found = gathered[name]
    found.take_rulings(rulings)
    mine = case_id_of(*name)
    for base, record in reading.of((*TOKENS, OUTCOMES, FEEDBACK), None):
        claims = claims_in(record.value) if base in TOKENS else None
        if base in TOKENS:
            if claims is not None and claims.get("txn") == mine:
                found.take_token(base, record, claims)
        elif base == FEEDBACK:
            document = claims_in(str((object_in(record.value) or {}).get("token")).encode())
            if document is not None and document.get("case_id") == mine and "verdict" in document:
                found.take_told(base, record, document)
        elif mine.encode() in (record.value or b"") or b"\\u" in (record.value or b""):
            document = object_in(record.value)
            if document is not None and document.get("case_id") == mine:
                found.take_told(base, record, document)
    unread = dict(source.unread)
    can = {
        "events": not set(inputs) & set(unread),
        "decisions": DECISIONS not in unread,
        "outcomes": OUTCOMES not in unread,
    }
    entries = found.in_order()
    if can["decisions"]:
        steps = (step for entry in entries if entry.kind == "case" for step in entry.data["path"])
        found.chain.cited[name] = {
            str(step["decision_id"]): int(number_of(step["call_seq"])) for step in steps
        }
    chain = found.chain.finish()
    return Trail(name, with_gaps(entries, chain, can), reading.counts, unread, chain, values)


class _Reading:
    """Reads a source, and counts."""

    def __init__(self, source: Source, progress: Callable[[int], None]) -> None:
        self.counts: Counter[str] = Counter()
        self._source, self._progress = source, progress

    def of(self, bases: Collection[str], root: str | None) -> Iterator[tuple[str, Record]]:
        """Records of these topics, each with its topic's base name."""
        for record in self._source.read(bases, root):
            base = self._source.base(record.topic)
            self.counts[base] += 1
            if self.counts.total() % 1000 == 0:
                self._progress(self.counts.total())
            yield base, record


def _session_of_case(reading: _Reading, asked: str) -> str | None:
    """The id of the session that a case id stands for; None where no record tells."""
    if not ours(asked):
        return None
    needle = asked.encode()
    for base, record in reading.of((CASES, ALERTS, DECISIONS), None):
        if needle not in (record.value or b""):
            continue
        document = object_in(record.value) or {}
        name = name_of_alert(document) if base == ALERTS else _full_name(document)
        if name is not None and case_id_of(*name) == asked:
            reading.counts.clear()
            return name.session
    reading.counts.clear()
    return None


def _the_one(found: Collection[Name], asked: str) -> Name:
    if not found:
        raise InputError(
            f"no record that can be read names session or case {_quoted(asked)}: look at its spelling, and at how long topics "
            "are kept (docs/audit.md)"
        )
    if len(found) > 1:
        same = all(name.session == asked for name in found)
        told = [
            f"{'' if same else _quoted(name.session) + ' '}--tenant {_quoted(name.tenant)} --root {_quoted(name.root)}"
            for name in sorted(found)[:MAX_TOLD]
        ]
        many = f"{'at least ' if len(found) == MAX_LONGER else ''}{len(found)} sessions"
        rest = f"; and {len(found) - MAX_TOLD} more" if len(found) > MAX_TOLD else ""
        raise InputError(
            f"{many} have {'the id' if same else 'an id that begins with'} {_quoted(asked)}: say which, {'; '.join(told)}{rest}"
        )
    return next(iter(found))


def _quoted(text: str) -> str:
    return repr(printable(text[:128]))


def _needle(session: str) -> bytes:
    """What must stand in any JSON that names the session, unless it is written with ``\\u``."""
    return max(_PLAIN_RUN.findall(session), key=len, default="").encode(errors="replace")


def _may_name(record: Record, needle: bytes) -> bool:
    """Whether a record may name the session, told without reading its JSON."""
    value = record.value or b""
    return needle in value or b"\\u" in value or needle in (record.key or b"")


def _full_name(document: Mapping[str, Any]) -> Name | None:
    found = [document.get(member) for member in ("tenant", "root_session_id", "session_id")]
    return Name(*map(str, found)) if all(isinstance(each, str) for each in found) else None


def _named_by(
    base: str, record: Record, document: dict[str, Any] | None, session: str, inputs: Mapping[str, str | None]
) -> Name | None:
    """The session that a record of a topic keyed otherwise than by case names; None where it names none."""
    if base == ALERTS:
        return name_of_alert(document) if document is not None else None
    if base in (DECISIONS, CASES, HELD):
        return _full_name(document) if document is not None else None
    origin = base
    if base == QUARANTINE:
        topic = dict(record.headers).get("topic", b"").decode(errors="replace")
        # Its name on the bus may have a prefix in front.
        origin = next((each for each in inputs if topic.endswith(each)), topic)
        if origin not in inputs:
            return _full_name(document) if document is not None else None
    if document is None:
        # No JSON names anything; its key does, and its bytes may.
        key = (record.key or b"").decode(errors="replace")
        names = key == session or f'"{session}"'.encode() in (record.value or b"")
        return Name(inputs.get(origin) or "default", key or session, session) if names else None
    told = document.get("session_id")
    if not isinstance(told, str) or (base in inputs and str(document.get("type")) in _CONTROL):
        return None
    above, tenant = document.get("root_session_id"), document.get("tenant")
    return Name(
        inputs.get(origin) or (tenant if isinstance(tenant, str) and tenant else "default"),
        above if isinstance(above, str) and above else told,
        told,
    )


class _Gathered:
    """Entries of one session, as their records come."""

    def __init__(self, begins: dict[int, int], values: bool, signed: Callable[[bytes], str]) -> None:
        self.chain = Verifier(begins=begins)
        self._values, self._signed = values, signed
        self._known: dict[tuple[str, bytes], Entry] = {}
        self._clock_ms = 0
        self.events: list[tuple[int, Entry]] = []  # with the session's clock at each
        self.decisions: list[Entry] = []
        self.others: list[Entry] = []

    def take(self, base: str, record: Record, document: dict[str, Any] | None, *, is_event: bool) -> None:
        """A record of a topic whose records name their session."""
        if base == DECISIONS:
            self.chain.add(record)
        content = _content(record, document, is_event=is_event)
        if self._is_repeat(base, content):
            return
        made = self._event(record, document or {}) if is_event else entry_of(base, record, document or {})
        if made is None:
            return
        self._keep(base, content, made)
        made.stamp_ms = record.timestamp_ms if record.timestamp_type != "none" else 0
        if is_event:
            self._clock_ms = max(self._clock_ms, stamp_ms(record, made.time))
            self.events.append((self._clock_ms, made))
        else:
            (self.decisions if made.kind == "decided" else self.others).append(made)

    def take_token(self, base: str, record: Record, claims: dict[str, Any]) -> None:
        """A signed token of the session's case: one however often it is signed, as long as it says the same and holds alike."""
        signature = self._signed(record.value or b"")
        try:
            content = dumps([signature, claims])
        except TypeError:
            content = record.value or b""
        if not self._is_repeat(base, content):
            self.others.append(self._keep(base, content, token_entry(base, record, claims, signature)))

    def take_rulings(self, records: Sequence[Record]) -> None:
        """What people ruled on openings of the breaker that held the session's revocations."""
        held = {each.data["breaker"]: each.data["record_id"] for each in self.others if each.kind == "held"}
        for record in records:
            headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
            breaker = id_of(headers.get("breaker"))
            if breaker not in held or self._is_repeat(HELD, _content(record, None, is_event=False)):
                continue
            by, action = text_of(headers.get("by")), text_of(headers.get("action"))
            data = {"breaker": breaker, "by": by, "action": action, "record_id": held[breaker]}
            text = f"{by} ruled on what {breaker} held: {action}"
            made = Entry("ruling", time_of(record.timestamp_ms), text, place_of(record), data)
            self.others.append(self._keep(HELD, _content(record, None, is_event=False), made))

    def take_told(self, base: str, record: Record, document: dict[str, Any]) -> None:
        """What others told of the session's case."""
        if not self._is_repeat(base, record.value or b""):
            made = outcome_entry if base == OUTCOMES else feedback_entry
            self.others.append(self._keep(base, record.value or b"", made(record, document)))

    def _is_repeat(self, base: str, content: bytes) -> bool:
        known = self._known.get((base, _digest(content)))
        if known is not None:
            known.repeats += 1
        return known is not None

    def _keep(self, base: str, content: bytes, entry: Entry) -> Entry:
        self._known[base, _digest(content)] = entry
        return entry

    def _event(self, record: Record, document: Mapping[str, Any]) -> Entry | None:
        """The entry of an event; None of one that steers the worker, and is of no session."""
        place = place_of(record)
        try:
            event = events.parse(record.value).event
        except ContractError as error:
            text = f"an event that breaks the contract ({error.reason})"
            ids = {
                name: text_of(document.get(member)) for name, member in _IDS.items() if document.get(member)
            }
            return Entry(
                "refused", text_of(document.get("time")), text, place, {"reason": error.reason, **ids}
            )
        if isinstance(event, ControlEvent):
            return None
        event = hidden(event)
        kind, text, data = said_by(event, self._values)
        data = {"event_id": event.id, "event_seq": event.seq, **data}
        return Entry(kind, rfc3339(milliseconds(event.time)), text, place, data)

    def in_order(self) -> list[Entry]:
        """All entries, each where it belongs: events in the order of their log, each decision behind its call, the rest behind both."""
        spine, at_call = _spine(self.events, self.decisions)
        clocks = [clock for clock, _ in spine]
        index = {id(entry): at for at, (_, entry) in enumerate(spine)}
        placed: list[tuple[tuple[Any, ...], Entry]] = [
            ((at, 0), entry) for at, (_, entry) in enumerate(spine)
        ]
        cases: dict[str, tuple[int, int]] = {}  # place in the spine, and number, by record id
        by_jti: dict[str, tuple[int, int]] = {}
        latest = -1
        for entry in sorted(
            (each for each in self.others if each.kind == "case"), key=lambda each: each.data["change"]
        ):
            at = bisect_right(clocks, moment_ms(entry.time)) - 1
            last = entry.data["path"][-1]["decision_id"] if entry.data["path"] else ""
            if entry.data["by_call"] and last in at_call:
                at = index[id(at_call.pop(last))]
            latest = max(latest, at)
            where = latest, entry.data["change"]
            cases[entry.data["record_id"]] = where
            by_jti |= dict.fromkeys(entry.data["tokens"], where)
            placed.append(((*where[:1], 1, where[1], 0, "", ""), entry))
        logs = self._logs(index)
        for entry in self.others:
            if entry.kind == "case":
                continue
            data, by_time = entry.data, bisect_right(clocks, moment_ms(entry.time)) - 1
            rank = _RANK[entry.kind]
            if entry.kind == "quarantined":
                at = _before(logs.get(data["origin"][:2], []), data["origin"][2], by_time)
                placed.append(((at, 0.5, rank, entry.time), entry))
                continue
            of_case = cases.get(data.get("record_id", "")) or by_jti.get(data.get("jti", ""))
            if entry.kind in ("ruling", "outcome", "feedback") and of_case is not None:
                of_case = max(of_case, (by_time, -1))
            at, number = of_case if of_case is not None else (by_time, 1 << 30)
            placed.append(((at, 1, number, rank, entry.time, entry.text), entry))
        return [entry for _, entry in sorted(placed, key=lambda each: each[0])]

    def _logs(self, index: Mapping[int, int]) -> dict[tuple[str, int], list[tuple[int, int]]]:
        """By topic and partition, in order: offsets of the session's events, each with the furthest place that any up to it has."""
        logs: defaultdict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
        for _, entry in self.events:
            if entry.place is not None:
                logs[entry.place[:2]].append((entry.place[2], index[id(entry)]))
        for log in logs.values():
            log.sort()
            furthest = accumulate((at for _, at in log), max)
            log[:] = [(offset, at) for (offset, _), at in zip(log, furthest, strict=True)]
        return dict(logs)


def _before(log: list[tuple[int, int]], offset: int, otherwise: int) -> int:
    """The last event that stands before a place of a log; `otherwise` where none of that log is there."""
    if not log:
        return otherwise
    at = bisect_right(log, offset, key=lambda each: each[0])
    return log[at - 1][1] if at else -1


def _spine(
    seen: list[tuple[int, Entry]], decisions: list[Entry]
) -> tuple[list[tuple[int, Entry]], dict[str, Entry]]:
    """Events with the decisions on them, in order, with the session's clock; and each decision by its id.

    A decision whose event is not there follows the decision before it.
    """
    waiting: defaultdict[tuple[str, str], deque[int]] = defaultdict(deque)
    for at, (_, entry) in enumerate(seen):
        if entry.kind in ("called", "refused"):
            waiting[entry.data.get("event_id", ""), entry.data.get("call_id", "")].append(at)
    steps: list[tuple[tuple[int, int], int, Entry]] = [
        ((at, -1), clock, entry) for at, (clock, entry) in enumerate(seen)
    ]
    at_call, before = {}, -1
    for n, entry in enumerate(decisions):
        calls = waiting.get((entry.data["event_id"], entry.data["call_id"]))
        clock = moment_ms(entry.time)
        if calls:
            before = calls.popleft() if len(calls) > 1 else calls[0]
            clock, call = seen[before][0], seen[before][1]
            call.data["decided"] = entry.data["call_seen"] = True
            if call.stamp_ms and entry.stamp_ms:
                entry.late_ms = entry.stamp_ms - call.stamp_ms
        steps.append(((before, n), clock, entry))
        at_call[entry.data["decision_id"]] = entry
    steps.sort(key=lambda step: step[0])
    spine, clock_ms = [], 0
    for _, clock, entry in steps:
        clock_ms = max(clock_ms, clock)
        spine.append((clock_ms, entry))
    return spine, at_call


_RANKED = "case alert held ruling revocation risk released outcome feedback quarantined unreadable"
_RANK = {kind: at for at, kind in enumerate(_RANKED.split())}
_IDS = {"event_id": "id", "call_id": "call_id", "tool": "tool"}


def _content(record: Record, document: Mapping[str, Any] | None, *, is_event: bool) -> bytes:
    """What tells a record from a repeat: of an event with a number all but its id, of a refused one its place too."""
    if is_event and document is not None and document.get("seq") is not None:
        try:
            return dumps({member: each for member, each in document.items() if member != "id"})
        except TypeError:
            return record.value or b""
    return b"".join([*(value or b"" for _, value in record.headers), record.value or b""])


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
