"""What the console knows: sessions and their cases, made live of the bus's own records, within a bounded memory.

`Index` knows no broker and no clock, so that a test can feed it. It keeps of each session one row, and its records, packed, from
which its story is rebuilt. The order in which topics are read does not matter, nor do repeats. What is over the limits goes: the
session longest unheard of without a case first, then the case longest unheard of.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import orjson

from models.contracts import FLAGGED
from models.text.quotes import Quotes
from stream.events import (
    ALERTS,
    CASES,
    DECISIONS,
    ENDS,
    FEEDBACK,
    HELD,
    OUTCOMES,
    REVOCATIONS,
    Record,
    case_id_of,
    clipped,
    moment_ms,
)
from stream.offline.chain import Name, name_of_alert
from stream.offline.coverage import Coverage
from stream.outbound import campaigns, volume
from stream.outbound.ocsf import agent_of
from stream.shell.outputs import claims_of

TOPICS = (ALERTS, DECISIONS, CASES, HELD, REVOCATIONS, ENDS, OUTCOMES, FEEDBACK)
"""What is read beside the topics of events."""
MAX_SESSIONS = 20_000
"""Sessions in memory (chosen): twice the fleet for which a page takes under a second."""
MAX_BYTES = 192 * 1024 * 1024
"""Of records kept, packed (chosen)."""
MAX_UNPACKED = 16 * 1024 * 1024
"""Of records that are not packed yet: of the sessions heard of last."""
BLOCK = 64 * 1024
"""Bytes of one session's records that are packed together."""
MAX_RECORDS = 3_000
"""Events and decisions kept of one session, some 1,000 calls, and as many records of its case; what is beyond is counted."""
MAX_NAME, MAX_TITLE, MAX_SET = 256, 300, 64
MAX_MINUTES, MAX_ALARMS, MAX_RELEASES, MAX_DELAYS = 24 * 60, 50, 16, 2_000

MAX_IDENTIFIER = 256
"""Characters of an identifier, by the contract."""
_CASE_ID = re.compile(r"[0-9a-f]{32}")
UNLISTED = ("tool_unknown", "unknown_tool_reads")
"""What evidence says of a call of a tool that no catalogue lists, both of the family ``scope``."""
OF_VOLUME = campaigns.ANALYTIC[0], volume.ANALYTIC[0]
"""Whose findings say how many there are, and go on."""


@dataclass(slots=True)
class Row:
    """What is known of a session at a glance.

    Attributes
    ----------
    case_id : str
        The id that its case has, whether or not there is one; what the console calls a session by.
    name : Name or None
        None as long as only tokens told of it.
    finding : str
        ``metadata.uid`` of the finding that stands for the case: the gravest that calls somebody, of those the first; "": no case.
    severity, confidence : int
        As OCSF numbers them; 0: no case.
    fate : str
        What became of the credential, in the words of ``unmapped.exposure.revocation``.
    asked_ms, dead_ms : int
        When the revocation was asked for, and when all that it named was dead; 0: not told.
    calls, flagged, after : int
        Calls judged; those with a verdict that calls somebody; of these, those after a call that revoked.
    abstained, undeclared : int
        Of the calls, those that were not judged, and those of a tool that no catalogue lists.
    feedback_ms : int
        When an analyst last spoke; -1: nobody did.
    is_revoked : bool
        A call that was read revoked.
    begins : int
        Number of the first call of which the decision was read.
    campaign, campaign_case, campaign_of : int, str, str
        How many sessions there were of its campaign when the last one joined that was read, the case of the first, none where it is this
        one, and what they have in common, ``source`` or ``target``; 0: it is alone.
    left_out : int
        Records beyond what is kept of one session.
    """

    case_id: str
    name: Name | None = None
    agent: str = ""
    user: str = ""
    finding: str = ""
    title: str = ""
    severity: int = 0
    confidence: int = 0
    score: float = 0.0
    standing: str = ""
    status: str = ""
    feedback: str = ""
    campaign: int = 0
    campaign_case: str = ""
    campaign_of: str = ""
    fate: str = ""
    asked_ms: int = 0
    dead_ms: int = 0
    until_ms: int = 0
    first_ms: int = 0
    last_ms: int = 0
    calls: int = 0
    flagged: int = 0
    after: int = 0
    abstained: int = 0
    undeclared: int = 0
    is_revoked: bool = False
    begins: int = -1
    records: int = 0
    left_out: int = 0
    size: int = 0
    tools: set[str] = field(default_factory=set)
    families: set[str] = field(default_factory=set)
    verdicts: set[str] = field(default_factory=set)
    feedback_ms: int = -1
    _sequence: int = -1
    _fate_ms: int = -1
    _blocks: list[bytes] = field(default_factory=list)
    _tail: list[Record] = field(default_factory=list)
    _tail_size: int = 0

    def kept(self) -> Iterator[Record]:
        """The session's records, in the order in which they were read."""
        for block in tuple(self._blocks):
            yield from _unpacked(block)
        yield from tuple(self._tail)


class Alarm(NamedTuple):
    """A finding that is about no session: the circuit breaker's, a campaign's, or that of a day's budget of alerts."""

    title: str
    text: str
    steps: str
    time_ms: int
    is_open: bool
    is_volume: bool


class InForce(NamedTuple):
    """A policy and a release that decided, and when."""

    policy: str
    release: str
    core: str
    first_ms: int
    last_ms: int
    calls: int


def _packed(records: list[Record]) -> bytes:
    return zlib.compress(msgspec.msgpack.encode(records), 1)


def _unpacked(block: bytes) -> list[Record]:
    return msgspec.msgpack.decode(zlib.decompress(block), type=list[Record])


class Index:
    """Rows and records of sessions, and the figures over all of them.

    Parameters
    ----------
    inputs : mapping
        Base names of the topics of events, each with the tenant that it is bound to.
    base : callable
        The base name of a topic.
    coverage : Coverage or None
        Is told of what is kept, and forgets what goes.

    Attributes
    ----------
    version : int
        Higher after every record.
    gone : Counter
        How many ``sessions`` and ``cases`` went to make room.
    unread : dict of str to str
        Topics that the reader may not read, or that are missing, by base name: why. Set by whoever reads.
    behind : dict of str to int
        Records not read yet, by base name. Set by whoever reads.
    away : str
        What is wrong with the connection; "" where nothing is. Set by whoever reads.
    """

    def __init__(
        self,
        inputs: Mapping[str, str | None],
        base: Callable[[str], str] = lambda topic: topic,
        *,
        max_sessions: int = MAX_SESSIONS,
        max_bytes: int = MAX_BYTES,
        quotes: Quotes = "masked",
        coverage: Coverage | None = None,
    ) -> None:
        self.inputs, self.base, self.quotes, self.coverage = inputs, base, quotes, coverage
        self.rows: dict[str, Row] = {}
        self.version = 0
        self.size = 0
        self.gone: Counter[str] = Counter()
        self.read: Counter[str] = Counter()
        self.minutes: OrderedDict[int, list[int]] = OrderedDict()
        self.alarms: OrderedDict[str, Alarm] = OrderedDict()
        self.in_force: dict[tuple[str, str, str], InForce] = {}
        self.delays_ms: deque[int] = deque(maxlen=MAX_DELAYS)
        self.unread: dict[str, str] = {}
        self.behind: dict[str, int] = {}
        self.away = ""
        self._max_sessions, self._max_bytes = max_sessions, max_bytes
        self._quiet: OrderedDict[str, None] = OrderedDict()
        self._told: OrderedDict[str, None] = OrderedDict()
        self._tails: OrderedDict[str, None] = OrderedDict()
        self._unpacked = 0
        self._sent: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._take = {
            DECISIONS: self._decision,
            ALERTS: self._alert,
            CASES: self._named,
            HELD: self._named,
            FEEDBACK: self._feedback,
        }

    def take(self, record: Record) -> None:
        """Take a record in; what cannot be read is counted, and tells nothing."""
        base = self.base(record.topic)
        self.read[base] += 1
        self.version += 1
        if base in (REVOCATIONS, ENDS):
            document: Any = claims_of(record.value or b"")
        else:
            try:
                document = orjson.loads(record.value or b"")
            except orjson.JSONDecodeError:
                return
        if not isinstance(document, dict):
            return
        if base in self.inputs:
            row = self._event(base, record, document)
        elif base in (REVOCATIONS, ENDS, OUTCOMES):
            row = self._row(document.get("case_id" if base == OUTCOMES else "txn"))
        elif base in self._take:
            row = self._take[base](record, document)
        else:
            return
        if row is not None:
            self._keep(row, record, is_call=base in self.inputs or base == DECISIONS)

    def cases(self) -> Iterator[Row]:
        """The sessions that have a case."""
        return (self.rows[case_id] for case_id in self._told)

    def sessions(self) -> Iterator[Row]:
        """The sessions whose name is known."""
        return (row for row in self.rows.values() if row.name is not None)

    # ------------------------------------------------------------------ one kind of record each

    def _event(self, base: str, record: Record, document: Mapping[str, Any]) -> Row | None:
        session, root, tenant = (document.get(each) for each in ("session_id", "root_session_id", "tenant"))
        if not isinstance(session, str):
            return None
        of = self.inputs.get(base) or (tenant if isinstance(tenant, str) and tenant else "default")
        row = self._of(Name(of, root if isinstance(root, str) else session, session))
        if row is None:
            return None
        _passes(row, moment_ms(document.get("time")))
        kind, event_id = document.get("type"), document.get("id")
        if kind == "session.declared":
            agent = document.get("agent")
            if isinstance(agent, dict):
                row.agent = row.agent or _name(agent.get("id"))
                row.user = row.user or _name(agent.get("user"))
        elif kind == "tool.called" and isinstance(event_id, str):
            _add(row.tools, document.get("tool"))
            self._delay((row.case_id, event_id), -record.timestamp_ms)
        return row

    def _decision(self, record: Record, document: Mapping[str, Any]) -> Row | None:
        row = self._named(record, document)
        if row is None:
            return None
        number, verdict, time_ms = (
            document.get("call_seq"),
            document.get("verdict"),
            moment_ms(document.get("time")),
        )
        _passes(row, time_ms)
        row.agent = row.agent or _name(document.get("agent"))
        _add(row.tools, document.get("tool"))
        if type(number) is not int or number < row.calls:
            return row  # a repeat, or the answer to a refused record
        row.calls = number + 1
        row.begins = number if row.begins < 0 else row.begins
        if not row.finding:
            row.standing = _name(document.get("standing"))
        row.abstained += verdict == "abstain"
        row.undeclared += any(
            each.get("family") == "scope" and each.get("name") in UNLISTED and each.get("supports") is True
            for each in listed(document.get("evidence"))
        )
        flagged = verdict in FLAGGED
        if flagged:
            row.flagged += 1
            row.after += row.is_revoked
            row.is_revoked |= verdict == "revoke"
            families = document.get("families")
            for family in families[:MAX_SET] if isinstance(families, list) else ():
                _add(row.families, family)
        _add(row.verdicts, verdict)
        minute = self.minutes.setdefault((record.timestamp_ms or time_ms) // 60_000, [0, 0])
        minute[0] += 1
        minute[1] += flagged
        if len(self.minutes) > MAX_MINUTES:
            del self.minutes[min(self.minutes)]
        self._rule(document, time_ms)
        if isinstance(event_id := document.get("event_id"), str):
            self._delay((row.case_id, event_id), record.timestamp_ms)
        return row

    def _rule(self, document: Mapping[str, Any], time_ms: int) -> None:
        """Note by which policy and release a call was decided."""
        policy, release, core = (_name(document.get(each)) for each in ("policy", "release", "core"))
        found = self.in_force.get((policy, release, core))
        first, last, calls = (found.first_ms, found.last_ms, found.calls) if found else (time_ms, 0, 0)
        made = InForce(policy, release, core, min(first, time_ms), max(last, time_ms), calls + 1)
        self.in_force[policy, release, core] = made
        if len(self.in_force) > MAX_RELEASES:
            del self.in_force[min(self.in_force, key=lambda each: self.in_force[each].last_ms)]

    def _delay(self, call: tuple[str, str], stamp_ms: int) -> None:
        """Note when a call (negative), or the decision on it, came onto the bus: whichever is read first."""
        other = self._sent.pop(call, None)
        if other is not None and (other < 0) != (stamp_ms < 0):
            self.delays_ms.append(max(0, other + stamp_ms))
        elif other is None and stamp_ms:
            self._sent[call] = stamp_ms
            if len(self._sent) > 4 * MAX_DELAYS:
                self._sent.popitem(last=False)

    def _alert(self, record: Record, alert: Mapping[str, Any]) -> Row | None:
        info, meta, unmapped = (member(alert, each) for each in ("finding_info", "metadata", "unmapped"))
        time_ms, name = alert.get("time"), name_of_alert(alert)
        time_ms = time_ms if type(time_ms) is int else 0
        if name is None:
            self._alarm(alert, info, time_ms)
            return None
        row, actor = self._of(name), member(alert, "actor")
        if row is None:
            return None
        _passes(row, time_ms)
        row.agent = row.agent or _name(agent_of(alert))
        row.user = row.user or _name(member(actor, "user").get("uid"))
        standing, sequence = member(unmapped, "standing"), meta.get("sequence")
        if "feedback" in unmapped:
            _say(row, alert, member(unmapped, "feedback"), time_ms)
            return row
        is_change = bool(standing)
        if is_change and isinstance(sequence, int) and sequence >= row._sequence:
            row._sequence = sequence
            row.standing = _name(standing.get("after"))
            if row.feedback_ms < 0:
                row.status = _name(alert.get("status")) or row.status
        # A session that joins a campaign, or comes beyond the day's budget, calls nobody by itself, and is a case all the same.
        campaign = member(unmapped, "campaign")
        if is_change and (alert.get("is_alert") is True or campaign or "beyond_budget" in unmapped):
            self._grave(row, alert, info, str(meta.get("uid")))
            for family, _ in shares(unmapped):
                _add(row.families, family)
        if isinstance(campaign.get("sessions"), int):
            row.campaign, row.campaign_case = campaign["sessions"], _name(campaign.get("first_case"))
            row.campaign_of = "source" if campaign.get("of") == "source" else "target"
            first = self.rows.get(row.campaign_case)
            # It was alone when it alerted, and counts for all of the larger campaign that it began.
            if first is not None and first.campaign < row.campaign:
                first.campaign, first.campaign_of = row.campaign, row.campaign_of
        _expose(row, member(unmapped, "exposure"), time_ms, is_told_by_brokers=not is_change)
        for tool in listed(alert.get("resources")):
            _add(row.tools, tool.get("name"))
        _add(row.verdicts, unmapped.get("verdict"))
        return row

    def campaign(self, row: Row) -> int:
        """Sessions of the campaign that a session belongs to, as the last one to join told it; 0: it is alone."""
        first = self.rows.get(row.campaign_case)
        # It may have begun two: of those that follow its source, and of those that drift to its target.
        if first is None or first.campaign_of != row.campaign_of:
            return row.campaign
        return max(row.campaign, first.campaign)

    def _grave(self, row: Row, alert: Mapping[str, Any], info: Mapping[str, Any], uid: str) -> None:
        """Let a finding stand for its case, if it is the gravest yet."""
        severity = alert.get("severity_id")
        severity = severity if type(severity) is int and 0 <= severity <= 6 else 0
        if row.finding and severity <= row.severity:
            return
        confidence, score = alert.get("confidence_id"), member(alert, "unmapped").get("score")
        row.finding, row.severity = uid, severity
        row.confidence = confidence if type(confidence) is int else 0
        row.score = float(score) if isinstance(score, int | float) else 0.0
        row.title = clipped(str(info.get("title") or ""), MAX_TITLE)
        self._quiet.pop(row.case_id, None)
        self._told[row.case_id] = None

    def _alarm(self, alert: Mapping[str, Any], info: Mapping[str, Any], time_ms: int) -> None:
        text, steps = _long(info.get("desc")), _long(member(alert, "remediation").get("desc"))
        is_volume = member(info, "analytic").get("uid") in OF_VOLUME
        key, is_open = _name(info.get("uid")), is_volume or alert.get("is_alert") is True
        known = self.alarms.get(key)
        if known is not None and (known.time_ms > time_ms if is_volume else is_open and not known.is_open):
            return  # told again, after it went on or was resolved
        self.alarms[key] = Alarm(_name(info.get("title")), text, steps, time_ms, is_open, is_volume)
        while len(self.alarms) > MAX_ALARMS:
            self.alarms.popitem(last=False)

    def _named(self, record: Record, document: Mapping[str, Any]) -> Row | None:
        found = [document.get(each) for each in ("tenant", "root_session_id", "session_id")]
        if not all(isinstance(each, str) for each in found):
            return None
        row = self._of(Name(*map(str, found)))
        if row is not None:
            row.user = row.user or _name(document.get("user"))
        return row

    def _feedback(self, record: Record, document: Mapping[str, Any]) -> Row | None:
        # What was said counts by the finding that act makes of it; the record is kept for the story.
        token = document.get("token")
        claims = claims_of(token.encode()) if isinstance(token, str) else document
        return self._row(claims.get("case_id"))

    # ------------------------------------------------------------------ memory

    def _of(self, name: Name) -> Row | None:
        """The session of a name; None of one that the contract refuses: it never had a session."""
        if not all(0 < len(part) <= MAX_IDENTIFIER for part in name):
            return None
        row = self._row(case_id_of(*name))
        if row is not None:
            row.name = name
        return row

    def _row(self, case_id: Any) -> Row | None:
        if not isinstance(case_id, str) or not _CASE_ID.fullmatch(case_id):
            return None
        row = self.rows.get(case_id)
        if row is None:
            row = self.rows[case_id] = Row(case_id)
            self._quiet[case_id] = None
        return row

    def _keep(self, row: Row, record: Record, *, is_call: bool) -> None:
        """Keep a record of a session, and make room for it."""
        if row.records >= (MAX_RECORDS if is_call else 2 * MAX_RECORDS):
            row.left_out += 1
        else:
            row.records += 1
            if self.coverage is not None:
                self.coverage.take((record._replace(topic=self.base(record.topic)),))
            size = len(record.value or b"") + 200  # and what Python takes for a record
            row._tail.append(record)
            row._tail_size += size
            self._unpacked += size
            self._resize(row, size)
            self._tails[row.case_id] = None
            self._tails.move_to_end(row.case_id)
            if row._tail_size > BLOCK:
                self._pack(row)
        mine = self._told if row.finding else self._quiet
        mine[row.case_id] = None
        mine.move_to_end(row.case_id)
        while self._unpacked > MAX_UNPACKED:
            self._pack(self.rows[next(iter(self._tails))])
        while len(self.rows) > self._max_sessions or self.size > self._max_bytes:
            self._drop()

    def _pack(self, row: Row) -> None:
        block = _packed(row._tail)
        row._blocks.append(block)
        self._tails.pop(row.case_id, None)
        self._unpacked -= row._tail_size
        self._resize(row, len(block) - row._tail_size)
        row._tail, row._tail_size = [], 0

    def _resize(self, row: Row, by: int) -> None:
        row.size += by
        self.size += by

    def _drop(self) -> None:
        """Forget the session longest unheard of: one without a case, if there is one."""
        of, what = (self._quiet, "sessions") if self._quiet else (self._told, "cases")
        case_id, _ = of.popitem(last=False)
        row = self.rows.pop(case_id)
        if self._tails.pop(case_id, 0) is None:
            self._unpacked -= row._tail_size
        self.size -= row.size
        self.gone[what] += 1
        if self.coverage is not None and row.name is not None:
            self.coverage.forget(*row.name)


def _expose(row: Row, exposure: Mapping[str, Any], time_ms: int, *, is_told_by_brokers: bool) -> None:
    """Note what became of the credential: what its broker told beats what was asked for."""
    fate, until, asked = (exposure.get(each) for each in ("revocation", "worst_case_until", "requested_time"))
    if not isinstance(fate, str):
        return
    if isinstance(asked, int):
        row.asked_ms = min(row.asked_ms or asked, asked)
    rank = time_ms if is_told_by_brokers else -1
    if rank < row._fate_ms or (rank < 0 and fate == "not requested" and row.fate):
        return
    row._fate_ms, row.fate = rank, clipped(fate, 40)
    row.until_ms = until if isinstance(until, int) else 0
    if fate == "done":
        row.dead_ms = time_ms


def _say(row: Row, alert: Mapping[str, Any], said: Mapping[str, Any], time_ms: int) -> None:
    """Note what an analyst said of a case; what was said last counts."""
    if time_ms >= row.feedback_ms:
        row.feedback_ms, row.status = time_ms, _name(alert.get("status"))
        row.feedback = f"{_name(said.get('verdict'))} by {_name(said.get('by'))}"


def shares(unmapped: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What of a score comes from which family, in per cent: as a list, or as alerts before core 40 have it."""
    told = unmapped.get("shares")
    pairs = (
        told.items()
        if isinstance(told, dict)
        else ((each.get("family"), each.get("percent")) for each in listed(told))
    )
    return [(str(family), str(percent)) for family, percent in pairs][:MAX_SET]


def _passes(row: Row, time_ms: int) -> None:
    if time_ms > 0:
        row.first_ms = min(row.first_ms or time_ms, time_ms)
        row.last_ms = max(row.last_ms, time_ms)


def _name(value: Any) -> str:
    return clipped(value, MAX_NAME) if isinstance(value, str) else ""


def _long(value: Any) -> str:
    return clipped(value, 1_200) if isinstance(value, str) else ""


def _add(names: set[str], value: Any) -> None:
    if isinstance(value, str) and value and len(names) < MAX_SET:
        names.add(clipped(value, MAX_NAME))


def member(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The object under a name; empty where there is none."""
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def listed(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; none where it is no list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


class Kept:
    """One session's records as the source of its story (`stream.offline.trail.Source`)."""

    def __init__(self, index: Index, row: Row) -> None:
        self.unread: dict[str, str] = dict(index.unread)
        self.base = index.base
        self._records = tuple(row.kept())

    def read(self, bases: Collection[str], root: str | None = None) -> Iterator[Record]:
        """The session's records of these topics."""
        return (each for each in self._records if self.base(each.topic) in bases)

    def documents(self, base: str) -> Iterator[Any]:
        """The JSON documents of a topic among them; what is none is passed by."""
        for record in self.read((base,)):
            with suppress(orjson.JSONDecodeError):
                yield orjson.loads(record.value or b"")
