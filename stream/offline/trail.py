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
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import orjson
from joserfc import jws
from joserfc.errors import JoseError
from pydantic import ValidationError

from models.contracts import (
    Case,
    CatalogueChanged,
    ControlEvent,
    Credential,
    Decision,
    Intent,
    IntentAmended,
    OpinionGiven,
    SessionDeclared,
    SessionEvent,
    ToolCalled,
    ToolReturned,
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
    clipped,
    counted,
    dumps,
    member,
    milliseconds,
    moment_ms,
    object_in,
    printable,
    rfc3339,
)
from stream.offline.chain import Name, Report, Verifier, at_place, name_of_alert, named
from stream.offline.files import bus_records
from stream.offline.values import plain, shown

TOKENS = (REVOCATIONS, RISK, ENDS)
MAX_TOLD = 8
"""Values that a sentence names."""
MAX_LISTED = 256
"""Tools, credentials, members of a list that one entry names."""
_CONTROL = frozenset(("release.activated", "clock.tick"))
"""Events that are of no session, whatever stands in them."""
_CASE_ID = re.compile(r"[0-9a-f]{32}")
_OFFSET = re.compile(r"[0-9]{1,18}")
"""A partition or an offset as a header has it: Kafka's have 63 bits."""
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
        self.unread |= dict.fromkeys(missing, "no record of it is in the files")


@dataclass
class Entry:
    """One step of the story.

    Attributes
    ----------
    kind : str
        ``declared``, ``amended``, ``catalogue``, ``called``, ``returned``, ``opinion``, ``ended``, ``refused`` (an event that breaks
        the contract), ``decided``, ``case``, ``alert``, ``revocation``, ``risk``, ``released``, ``held``, ``ruling``, ``outcome``,
        ``feedback``, ``quarantined``, ``unreadable`` (no decision or case, though its topic says so), or ``gap``.
    time : str
        As the record itself says it; of a gap, of the step before.
    text : str
        One sentence for people.
    place : (str, int, int) or None
        Topic, partition and offset; None of a gap.
    repeats : int
        How often the same record stands there again.
    data : dict
        What the record says, for machines.
    """

    kind: str
    time: str
    text: str
    place: tuple[str, int, int] | None
    data: dict[str, Any] = field(default_factory=dict)
    repeats: int = 0
    stamp_ms: int = 0  # of its record on the bus; 0 where it has none
    late_ms: int = 0  # of a decision: how long after its call it came there

    def document(self) -> dict[str, Any]:
        """It as JSON."""
        topic, partition, offset = self.place or (None, None, None)
        return {
            "kind": self.kind,
            "time": self.time,
            "text": self.text,
            "place": {"topic": topic, "partition": partition, "offset": offset}
            if topic is not None
            else None,
            "repeats": self.repeats,
            **self.data,
        }


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
        Its id, or that of its case.
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
            or name.session != session
            or tenant not in (None, name.tenant)
            or root not in (None, name.root)
        ):
            continue
        if is_case and case_id_of(*name) != asked:
            continue
        if name not in gathered:
            gathered[name] = _Gathered(begins, values, signed)
        gathered[name].take(base, record, document, is_event=base in inputs)
    name = _the_one(gathered, asked)
    found = gathered[name]
    found.take_rulings(rulings)
    mine = case_id_of(*name)
    for base, record in reading.of((*TOKENS, OUTCOMES, FEEDBACK), None):
        claims = _claims(record.value) if base in TOKENS else None
        if base in TOKENS:
            if claims is not None and claims.get("txn") == mine:
                found.take_token(base, record, claims)
        elif base == FEEDBACK:
            document = _claims(str((object_in(record.value) or {}).get("token")).encode())
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
        found.chain.cited[name] = {str(step["decision_id"]): int(_number(step["call_seq"])) for step in steps}
    chain = found.chain.finish()
    return Trail(name, _with_gaps(entries, chain, can), reading.counts, unread, chain, values)


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
    if not _CASE_ID.fullmatch(asked):
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


def _the_one(gathered: Mapping[Name, Any], asked: str) -> Name:
    if not gathered:
        raise InputError(
            f"no record that can be read names session or case {_quoted(asked)}: look at its spelling, and at how long topics "
            "are kept (docs/audit.md)"
        )
    if len(gathered) > 1:
        told = "; ".join(
            f"--tenant {_quoted(name.tenant)} --root {_quoted(name.root)}" for name in sorted(gathered)[:5]
        )
        raise InputError(f"{len(gathered)} sessions have the id {_quoted(asked)}: say which, {told}")
    return next(iter(gathered))


def _quoted(text: str) -> str:
    return repr(printable(text[:128]))


# ------------------------------------------------------------------------ which session a record names


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


def _claims(token: bytes | None) -> dict[str, Any] | None:
    """What a token claims, whoever signed it."""
    try:
        claims = orjson.loads(jws.extract_compact(token or b"").payload)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None


# ------------------------------------------------------------------------ what a record says


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
        made = self._event(record, document or {}) if is_event else _made(base, record, document or {})
        if made is None:
            return
        self._keep(base, content, made)
        made.stamp_ms = record.timestamp_ms if record.timestamp_type != "none" else 0
        if is_event:
            self._clock_ms = max(self._clock_ms, _stamp(record, made.time))
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
            self.others.append(self._keep(base, content, _token(base, record, claims, signature)))

    def take_rulings(self, records: Sequence[Record]) -> None:
        """What people ruled on openings of the breaker that held the session's revocations."""
        held = {each.data["breaker"]: each.data["record_id"] for each in self.others if each.kind == "held"}
        for record in records:
            headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
            breaker = _text(headers.get("breaker"))
            if breaker not in held or self._is_repeat(HELD, _content(record, None, is_event=False)):
                continue
            by, action = _text(headers.get("by")), _text(headers.get("action"))
            data = {"breaker": breaker, "by": by, "action": action, "record_id": held[breaker]}
            text = f"{by} ruled on what {breaker} held: {action}"
            made = Entry("ruling", _at(record.timestamp_ms), text, _place(record), data)
            self.others.append(self._keep(HELD, _content(record, None, is_event=False), made))

    def take_told(self, base: str, record: Record, document: dict[str, Any]) -> None:
        """What others told of the session's case."""
        if not self._is_repeat(base, record.value or b""):
            made = _outcome if base == OUTCOMES else _feedback
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
        place = _place(record)
        try:
            event = events.parse(record.value).event
        except ContractError as error:
            text = f"an event that breaks the contract ({error.reason})"
            ids = {name: _text(document.get(member)) for name, member in _IDS.items() if document.get(member)}
            return Entry("refused", _text(document.get("time")), text, place, {"reason": error.reason, **ids})
        if isinstance(event, ControlEvent):
            return None
        event = hidden(event)
        kind, text, data = _said_by(event, self._values)
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


def _place(record: Record) -> tuple[str, int, int]:
    return record.topic, record.partition, record.offset


def _stamp(record: Record, time: str) -> int:
    """When a record happened by the session's clock: as the broker stamped it, else as it says."""
    return record.timestamp_ms if record.timestamp_type == "append" else moment_ms(time)


def _at(value: Any) -> str:
    """A time of an alert or a token, in milliseconds since 1970, as all others are written."""
    return rfc3339(value) if type(value) is int and 0 <= value < 253_370_764_800_000 else ""


def _text(value: Any, most: int = 256) -> str:
    return clipped(printable(plain(str(value if value is not None else ""))), most)


def _number(value: Any) -> float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0


def _listed(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)][:MAX_LISTED] if isinstance(value, list) else []


def _said_by(event: SessionEvent, values: bool) -> tuple[str, str, dict[str, Any]]:
    """Kind, sentence and data of an event."""
    if isinstance(event, SessionDeclared):
        return _declared(event)
    if isinstance(event, IntentAmended):
        return (
            "amended",
            f"the user's intent amended: {_intent(event.intent)}",
            {"intent": _asked_for(event.intent), "signed": event.signature is not None},
        )
    if isinstance(event, CatalogueChanged):
        tools, left = (
            [_text(each.name) for each in event.tools or ()],
            [_text(each) for each in event.left or ()],
        )
        text = f"the catalogue changed: {counted(len(tools), 'tool')} joined or changed, {len(left)} left"
        return "catalogue", text, {"joined": tools[:MAX_LISTED], "left": left[:MAX_LISTED]}
    if isinstance(event, ToolCalled):
        arguments = shown(event.arguments, values=values)
        used = _reference(event.credential) if event.credential is not None else None
        data: dict[str, Any] = {
            "call_id": event.call_id,
            "tool": _text(event.tool),
            "arguments": arguments,
            "credential": used,
        }
        given = f" with {_rows(arguments)}" if arguments else ""
        return "called", f"called {_text(event.tool)}{given}", data
    if isinstance(event, ToolReturned):
        result = shown(event.result, values=values)
        data = {"call_id": event.call_id, "status": event.status, "result": result if values else len(result)}
        told = f": {_rows(result)}" if values and result else ""
        return "returned", f"call {_text(event.call_id)} returned {event.status}{told}", data
    if isinstance(event, OpinionGiven):
        claims = _claims(event.token.encode()) or {}
        data = {member: _text(claims.get(member)) for member in ("by", "opinion", "decision_id")}
        return "opinion", f"a second opinion by {data['by']}: {data['opinion']}", data
    return (
        "ended",
        f"the session ended: {_text(event.reason)}" if event.reason else "the session ended",
        {"reason": _text(event.reason, 1024)},
    )


def _rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """Values of arguments or of a result on one line; `Entry.data` has them all, and whole."""
    given = ", ".join(
        f"{_text(row['path'], 60)} {_text(row['text'], 200)}".strip() for row in rows[:MAX_TOLD]
    )
    return given if len(rows) <= MAX_TOLD else f"{given} and {len(rows) - MAX_TOLD} more"


def _declared(event: SessionDeclared) -> tuple[str, str, dict[str, Any]]:
    agent = event.agent
    who = agent.model_dump(exclude_none=True) if agent is not None else {}
    data = {
        "agent": _text(agent.id) if agent is not None and agent.id else None,
        "user": _text(agent.user) if agent is not None and agent.user else None,
        "identity": {member: _text(each) for member, each in who.items()},
        "intent": _asked_for(event.intent) if event.intent is not None else None,
        "tools": [_text(tool.name) for tool in (event.tools or ())[:MAX_LISTED]],
        "credentials": [_credential(each) for each in (event.credentials or ())[:MAX_LISTED]],
        "parent_session_id": event.parent_session_id,
        "signed": event.signature is not None,
        "attested": event.attestation is not None,
    }
    by = " for ".join(str(data[member]) for member in ("agent", "user") if data[member]) or "nobody named"
    asked = _intent(event.intent) if event.intent is not None else "no intent"
    return "declared", f"declared by {by}: {asked}", data


def _intent(intent: Intent) -> str:
    return f"“{_text(intent.text, 400)}”"


def _asked_for(intent: Intent) -> dict[str, Any]:
    told = intent.model_dump(exclude_none=True)
    lists: dict[str, Any] = {
        member: [_text(each) for each in told[member][:MAX_LISTED]]
        for member in ("plan", "resources", "actions", "data_classes")
        if member in told
    }
    return {"text": plain(intent.text), **lists, **({"budget": told["budget"]} if "budget" in told else {})}


def _reference(credential: Credential) -> str:
    return _text(f"{credential.broker}/{credential.kind}/{credential.value}", 800)


def _credential(credential: Credential) -> dict[str, Any]:
    return {
        "reference": _reference(credential),
        "scope": _text(credential.scope, 1024) if credential.scope is not None else None,
        "expires": rfc3339(milliseconds(credential.expires)) if credential.expires is not None else None,
    }


def _decided(record: Record, decision: dict[str, Any]) -> Entry:
    members = (
        "decision_id",
        "event_id",
        "event_seq",
        "call_id",
        "call_seq",
        "verdict",
        "enforced",
        "score",
        "action",
        "standing",
    )
    data: dict[str, Any] = {member: decision.get(member) for member in members}
    data |= {
        "tool": _text(decision.get("tool")),
        "agent": _text(decision["agent"]) if decision.get("agent") else None,
        "families": decision.get("families"),
        "marks": decision.get("marks") or [],
        "why": _text(decision.get("explanation"), 1200),
        "would_pass": _text(decision.get("would_pass"), 400),
        "cites": sorted(
            {
                call
                for each in _listed(decision.get("evidence"))
                for call in each.get("calls", ())
                if type(call) is int
            }
        ),
        "evidence": [
            {
                member: each.get(member)
                for member in ("family", "name", "value", "supports", "calls", "text", "argument")
            }
            for each in _listed(decision.get("evidence"))
        ],
        "credential": _text(decision["credential"], 800) if decision.get("credential") else None,
        **{member: decision.get(member) for member in ("policy", "release", "core", "digest", "previous")},
    }
    shadow = (
        ""
        if decision.get("enforced") or decision.get("verdict") in ("allow", "abstain")
        else " (shadow: told, not enforced)"
    )
    number = f"call {data['call_seq']}" if data["call_seq"] != -1 else "a refused call"
    verdict = f"{decision.get('verdict')}{shadow} at {_number(decision.get('score')):.4f}"
    text = f"{number}, {data['tool']} ({data['action']}): {verdict}: {data['why']}"
    return Entry("decided", str(decision.get("time")), text, _place(record), data)


def _case(record: Record, case: dict[str, Any]) -> Entry:
    members = (
        "record_id",
        "change",
        "cause",
        "before",
        "after",
        "verdict",
        "enforced",
        "score",
        "families",
        "inherited_from",
    )
    data: dict[str, Any] = {member: case.get(member) for member in members}
    path = [
        {member: step.get(member) for member in ("decision_id", "call_seq", "tool", "verdict", "score")}
        for step in _listed(case.get("path"))
    ]
    data |= {
        "case_id": case.get("case_id"),
        "case_kind": case.get("kind"),
        "standing": case.get("after"),
        "agent": _text(case["agent"]) if case.get("agent") else None,
        "user": _text(case["user"]) if case.get("user") else None,
        "why": _text(case.get("reason"), 600),
        "path": path,
        "credentials": [_reference_of(each) for each in _listed(case.get("credentials"))],
        "released": [
            {"reference": _reference_of(each), "why": each.get("why")}
            for each in _listed(case.get("released"))
        ],
        "tokens": [
            str(signed["claims"].get("jti"))
            for signed in (*_listed(case.get("sets")), *_listed(case.get("end_sets")))
            if isinstance(signed.get("claims"), dict)
        ],
        "revokes": any(signed.get("topic") == REVOCATIONS for signed in _listed(case.get("sets"))),
        "by_call": case.get("kind") == "standing"
        and case.get("cause") == "drift"
        and case.get("inherited_from") is None
        and case.get("verdict") is not None,
    }
    moved = (
        f"{case.get('before')} to {case.get('after')}"
        if case.get("before") != case.get("after")
        else f"stays {case.get('after')}"
    )
    return Entry(
        "case",
        str(case.get("time")),
        f"case {moved} ({case.get('kind')}): {data['why']}",
        _place(record),
        data,
    )


def _reference_of(ref: Mapping[str, Any]) -> str:
    return _text(f"{ref.get('broker')}/{ref.get('kind')}/{ref.get('value')}", 800)


def _alert(record: Record, alert: dict[str, Any]) -> Entry:
    info, meta = member(alert, "finding_info"), member(alert, "metadata")
    exposure = member(member(alert, "unmapped"), "exposure")
    data = {
        "record_id": str(meta.get("uid")),
        "case_id": info.get("uid"),
        "title": _text(info.get("title")),
        "says": _text(alert.get("message"), 600),
        "severity": _text(alert.get("severity"), 20),
        "is_alert": alert.get("is_alert"),
        "steps": _text(member(alert, "remediation").get("desc"), 2000),
        "exposure": {
            name: exposure[name] for name in ("revocation", "worst_case_until", "note") if name in exposure
        },
    }
    return Entry(
        "alert", _at(alert.get("time")), f"alert, {data['severity']}: {data['says']}", _place(record), data
    )


def _held(record: Record, case: dict[str, Any]) -> Entry:
    headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    breaker = _text(headers.get("breaker"))
    data = {"record_id": str(case.get("record_id")), "breaker": breaker, "scope": _text(headers.get("scope"))}
    return Entry(
        "held",
        str(case.get("time")),
        f"its revocations are held by the circuit breaker {breaker}",
        _place(record),
        data,
    )


def _quarantined(record: Record, document: dict[str, Any]) -> Entry:
    headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    numbers = [
        int(text) if _OFFSET.fullmatch(text) else -1
        for text in (headers.get("partition", ""), headers.get("offset", ""))
    ]
    reason, detail = _text(headers.get("reason"), 40), _text(headers.get("detail"), 400)
    time = document.get("time")
    data = {
        "reason": reason,
        "detail": detail,
        "origin": (_text(headers.get("topic")), *numbers),
        "type": _text(document.get("type")) if document else None,
        "call_id": _text(document.get("call_id")) if document.get("call_id") else None,
        "names_session": "as JSON" if document else "by its key or its bytes",
    }
    return Entry(
        "quarantined",
        time if isinstance(time, str) and moment_ms(time) else "",
        f"refused and put aside ({reason}): {detail}",
        _place(record),
        data,
    )


def _token(base: str, record: Record, claims: dict[str, Any], signature: str) -> Entry:
    uri, event = next(iter(member(claims, "events").items()), ("", {}))
    event = event if isinstance(event, dict) else {}
    refs = [
        _reference_of(each)
        for each in _listed(event.get("driftline_credentials") or event.get("driftline_released"))
    ]
    iat = claims.get("iat")
    data = {
        "jti": str(claims.get("jti")),
        "audience": _text(claims.get("aud")),
        "issuer": _text(claims.get("iss")),
        "signature": signature,
        "event": _text(uri),
        "cause": event.get("driftline_cause"),
        "credentials": refs,
        "risk": [event.get("previous_level"), event.get("current_level")] if base == RISK else None,
    }
    kind = {REVOCATIONS: "revocation", RISK: "risk", ENDS: "released"}[base]
    what = {
        REVOCATIONS: f"revocation ({data['cause']}) of {', '.join(refs)}, for {data['audience']}",
        RISK: f"risk {event.get('previous_level')} to {event.get('current_level')}",
        ENDS: f"word that {', '.join(refs)} lives on",
    }[base]
    return Entry(
        kind,
        _at(iat * 1000 if type(iat) is int else None),
        f"{what}; signature {signature}",
        _place(record),
        data,
    )


def _outcome(record: Record, outcome: dict[str, Any]) -> Entry:
    texts = ("jti", "status", "broker", "kind", "credential", "detail", "survives", "survives_until")
    data: dict[str, Any] = {member: _text(outcome[member], 1024) for member in texts if outcome.get(member)}
    data["jti"] = data.get("jti", "")
    took, latency = "", outcome.get("latency_ms")
    if type(latency) is int:
        data["latency_ms"], took = latency, f", {latency} ms after the revocation"
    detail = f": {data['detail']}" if "detail" in data else ""
    whose = " ".join(data[member] for member in ("broker", "kind") if member in data)
    text = f"{whose}: {data.get('status')}{took}{detail}"
    return Entry("outcome", str(outcome.get("time")), text, _place(record), data)


def _feedback(record: Record, feedback: dict[str, Any]) -> Entry:
    data = {
        member: _text(feedback[member], 4096)
        for member in ("verdict", "by", "comment")
        if feedback.get(member)
    }
    # Who may say it signs with a key of their own, which the issuer's key set does not hold.
    data["signature"] = "unverified"
    comment = f": {data['comment']}" if "comment" in data else ""
    return Entry(
        "feedback",
        str(feedback.get("time")),
        f"{data.get('by')} says {data.get('verdict')} (signature not verified here){comment}",
        _place(record),
        data,
    )


def _made(base: str, record: Record, document: dict[str, Any]) -> Entry:
    """The entry of a record that names its session; one that is not what its topic has is told as such."""
    if (contract := _CONTRACTS.get(base)) is not None:
        try:
            document = contract.model_validate(document, extra="ignore").model_dump()
        except (ValidationError, RecursionError):
            return Entry("unreadable", "", "a record that breaks the contract of its topic", _place(record))
    return _MADE[base](record, document)


_CONTRACTS: dict[str, type[Decision | Case]] = {DECISIONS: Decision, CASES: Case}
_MADE: dict[str, Callable[[Record, dict[str, Any]], Entry]] = {
    DECISIONS: _decided,
    CASES: _case,
    HELD: _held,
    ALERTS: _alert,
    QUARANTINE: _quarantined,
}


# ------------------------------------------------------------------------ what is not there


LATE_MS = 60_000
"""A verdict that comes later than this after its call was waited for by nobody (chosen)."""


def _with_gaps(entries: list[Entry], chain: Report, can: Mapping[str, bool]) -> list[Entry]:
    """The entries, and between them what is missing, as far as what `can` be read tells."""
    told: list[Entry] = []
    for entry in entries:
        told.append(entry)
        told += (Entry("gap", entry.time, text, None, {"gap": gap}) for gap, text in _of_entry(entry, can))
    end = entries[-1].time if entries else ""
    told += (Entry("gap", end, text, None, {"gap": gap}) for gap, text in _of_all(entries, can))
    told += (
        Entry(
            "gap",
            end,
            f"the chain of decisions does not hold: {found.text}",
            None,
            {"gap": "chain", "fault": found.fault},
        )
        for found in chain.findings
    )
    return told


def _of_entry(entry: Entry, can: Mapping[str, bool]) -> Iterator[tuple[str, str]]:
    data = entry.data
    if entry.kind == "called" and can["decisions"] and not data.get("decided"):
        yield "undecided", f"no decision on call {_text(data['call_id'])}: a missing verdict is not an allow"
    if entry.kind == "decided":
        if entry.late_ms > LATE_MS:
            took = counted(entry.late_ms // 1000, "second")
            yield (
                "late",
                f"call {data['call_seq']} was on the bus {took} before its verdict: an outage, or a backlog",
            )
        if "refused" in data["marks"]:
            yield "refused", f"call {_text(data['call_id'])} was not judged: its record was refused"
        elif data["verdict"] == "abstain":
            yield (
                "abstained",
                f"call {data['call_seq']} was judged by no intent: an abstention is not an allow",
            )
    if entry.kind == "case" and data["case_kind"] == "unjudged":
        yield "unjudged", "a record of the session could not be judged"


def _of_all(entries: list[Entry], can: Mapping[str, bool]) -> Iterator[tuple[str, str]]:
    by_kind = Counter(each.kind for each in entries)
    if can["events"]:
        yield from _of_events(entries, by_kind)
    if can["decisions"]:
        yield from _of_numbers(entries)
    ended = by_kind["ended"] or any(
        each.kind == "case" and each.data["case_kind"] == "ended" for each in entries
    )
    if not ended:
        yield "not_ended", "nothing tells that the session ended: it may be open, or was left without a word"
    if by_kind["held"] and not by_kind["ruling"]:
        yield "held", "its revocations are held, and no person has ruled on them"
    asked = {each.data["jti"]: each for each in entries if each.kind == "revocation"}
    answered = {each.data["jti"] for each in entries if each.kind == "outcome"}
    for jti, each in asked.items():
        if can["outcomes"] and jti not in answered:
            yield "no_outcome", f"nobody told what became of the revocation for {each.data['audience']}"
    for each in entries:
        if each.kind in _SIGNED and each.data["signature"] not in ("verified", "unverified"):
            whose = f" for {each.data['audience']}" if each.kind == "revocation" else ""
            yield "signature", f"{_SIGNED[each.kind]}{whose} does not hold: {each.data['signature']}"


_SIGNED = {
    "revocation": "the revocation",
    "risk": "a change of risk",
    "released": "word of what an end released",
}
"""Kinds of entries that are tokens of the issuer, each as a sentence calls it."""


def _of_events(entries: list[Entry], by_kind: Counter[str]) -> Iterator[tuple[str, str]]:
    if not sum(
        by_kind[kind] for kind in ("declared", "called", "returned", "refused", "amended", "catalogue")
    ):
        yield "no_events", "no event of the session is there: aged out, or never sent"
        return
    if not by_kind["declared"]:
        yield "undeclared", "no declaration is there: nobody said who acts and what for, or it has aged out"
    numbers = {
        each.data["event_seq"]
        for each in entries
        if type(each.data.get("event_seq")) is int and each.kind != "decided"
    }
    if numbers:
        for first, last in _missing(numbers, max(numbers)):
            which = f"event {first} is" if first == last else f"events {first} to {last} are"
            yield "events", f"{which} not there: never sent, lost, or aged out"
    returned = {each.data["call_id"]: each for each in entries if each.kind == "returned"}
    verdicts = {each.data["call_id"]: each for each in entries if each.kind == "decided"}
    for each in entries:
        if each.kind != "called":
            continue
        answer, judged = returned.get(each.data["call_id"]), verdicts.get(each.data["call_id"])
        stopped = judged is not None and judged.data["verdict"] in ("deny", "revoke")
        if answer is None and not stopped:
            call = _text(each.data["call_id"])
            yield "no_return", f"nothing tells what call {call} of {each.data['tool']} did: no result came"
        elif judged is not None and stopped and answer is not None and answer.data["status"] == "ok":
            how = judged.data["verdict"] + ("" if judged.data["enforced"] else " in shadow")
            yield "ran", f"call {judged.data['call_seq']} of {each.data['tool']} ran, though judged {how}"
    unseen = [
        each
        for each in entries
        if each.kind == "decided" and not each.data.get("call_seen") and "refused" not in each.data["marks"]
    ]
    if unseen:
        yield (
            "no_call",
            f"of {counted(len(unseen), 'decision')} the call is not there: aged out, or never on this topic",
        )


def _of_numbers(entries: list[Entry]) -> Iterator[tuple[str, str]]:
    numbers = {
        each.data["call_seq"]
        for each in entries
        if each.kind == "decided" and type(each.data["call_seq"]) is int and each.data["call_seq"] >= 0
    }
    for first, last in _missing(numbers, max(numbers)) if numbers else ():
        which = f"on call {first}" if first == last else f"on calls {first} to {last}"
        yield "decisions", f"no decision {which} is there: refused, lost, or aged out"


def _missing(numbers: Collection[int], last: int) -> Iterator[tuple[int, int]]:
    """Runs of whole numbers from 0 to `last` that are not among `numbers`."""
    expected = 0
    for number in sorted({each for each in numbers if 0 <= each <= last}):
        if number > expected:
            yield expected, number - 1
        expected = number + 1


def where(entry: Entry) -> str:
    """Where an entry's record stands, for people."""
    again = f", {counted(entry.repeats, 'repeat')}" if entry.repeats else ""
    return f"{at_place(entry.place)}{again}" if entry.place is not None else ""


# ------------------------------------------------------------------------ what matters of a story


def notable(trail: Trail) -> list[Entry]:
    """The entries that an analyst reads first: the declaration, calls that were flagged and those that their evidence cites,
    what became of the case, the end, and what is missing."""
    flagged = [each for each in trail.of("decided") if _is_flagged(each)]
    calls = {call for each in flagged for call in (each.data["call_seq"], *each.data["cites"])}
    return [
        each
        for each in trail.entries
        if each.kind not in ("called", "returned", "risk", "alert")
        and (each.kind != "decided" or _is_flagged(each) or each.data["call_seq"] in calls)
    ]


def _is_flagged(decided: Entry) -> bool:
    return decided.data["verdict"] not in ("allow", "abstain") or "refused" in decided.data["marks"]


def asked_for(trail: Trail) -> list[str]:
    """What was asked, as it was declared and amended; or why nothing tells."""
    told = [each.text for each in trail.of("declared", "amended")]
    if told:
        return told
    unread = [base for base in trail.unread if base not in _OURS]
    if unread:
        return [f"not known here: {', '.join(unread)} may not be read, or is missing"]
    return ["nobody declared it, or the declaration has aged out"]


_OURS = frozenset((DECISIONS, CASES, HELD, ALERTS, QUARANTINE, *TOKENS, OUTCOMES, FEEDBACK))


def brief(entry: Entry) -> str:
    """An entry as an analyst reads it: of a decision what speaks against the call, without the figures behind it."""
    if entry.kind != "decided":
        return clipped(entry.text, MAX_BRIEF)
    head = entry.text.removesuffix(entry.data["why"])
    against = "; ".join(_text(each["text"]) for each in entry.data["evidence"] if each["supports"])
    return head + (against or "nothing speaks against it" if _judged(entry) else entry.data["why"])


MAX_BRIEF = 240
"""Characters of an entry that is no decision, where it is told in brief."""


def _judged(decided: Entry) -> bool:
    return "refused" not in decided.data["marks"] and decided.data["verdict"] != "abstain"


def did_instead(trail: Trail) -> list[str]:
    """The gravest call, why, and what would have passed."""
    grave = {"revoke": 3, "deny": 2, "alert": 1}
    flagged = [each for each in trail.of("decided") if _is_flagged(each)]
    if not flagged:
        return ["nothing was flagged"]
    worst = max(
        flagged, key=lambda each: (grave.get(str(each.data["verdict"]), 0), _number(each.data["score"]))
    )
    lines = [brief(worst)]
    if worst.data["would_pass"]:
        lines.append(f"would have passed: {worst.data['would_pass']}")
    ran = [each.text for each in trail.of("gap") if each.data["gap"] == "ran"]
    others = [f"{counted(len(flagged) - 1, 'other call')} flagged"] if len(flagged) > 1 else []
    return [*lines, *others, *ran[:MAX_SAID]]


def fate(trail: Trail) -> list[str]:
    """What became of the session's credentials."""
    outcomes: defaultdict[str, list[Entry]] = defaultdict(list)
    for each in trail.of("outcome"):
        outcomes[each.data["jti"]].append(each)
    lines = [f"{each.text}" for each in trail.of("held", "ruling")]
    for each in trail.of("revocation"):
        said = "; ".join(one.text for one in outcomes[each.data["jti"]][-MAX_SAID:])
        refs = ", ".join(each.data["credentials"]) or "no credential"
        lines.append(
            f"{refs}: revocation sent {each.time} ({each.data['cause']}); {said or 'no outcome was told'}"
        )
    cases = trail.of("case")
    lines += [
        f"{one['reference']}: left alone by the session's end ({one['why']})"
        for each in cases[-1:]
        for one in each.data["released"]
    ]
    if not trail.of("revocation") and any(
        each.data["revokes"] and not each.data["enforced"] for each in cases
    ):
        lines.append(
            "shadow: a revocation was decided, and none was sent; the credentials live until they expire"
        )
    if not lines and REVOCATIONS in trail.unread:
        return ["revocations were not read: what was asked for is not known"]
    return lines or ["no revocation was asked for"]


MAX_SAID = 5
"""Outcomes of one revocation, or calls that ran all the same, that are told in brief."""


def steps(trail: Trail) -> list[str]:
    """What to do: as the latest alert that called somebody says it."""
    alerts = [each for each in trail.of("alert") if each.data["steps"]]
    # That a session is over is news, and what to do about its case stands in what called somebody.
    told = [each.data["steps"] for each in ([one for one in alerts if one.data["is_alert"]] or alerts)]
    if told:
        # Numbered, or sentence by sentence.
        between = r"\s+(?=\d+\. )" if told[-1].startswith("1. ") else r"(?<=[.!?])\s+(?=[A-Z])"
        return re.split(between, told[-1])
    return ["nothing: no alert was raised" if not trail.chain.faults else "see why the chain does not hold"]
