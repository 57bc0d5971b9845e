"""The chain of decisions, verified: what of a session's decisions is missing, altered, out of order or told twice otherwise.

Each decision holds the SHA-256 of all its other members, and that of the decision before it in its session. A record that is
repeated byte for byte is no fault: delivery is at least once. What stands outside the chain, the answer to a refused call, is
checked by its own digest alone. Pure: it reads records and keeps 102 bytes of each.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from models.errors import InputError
from stream.events import Record, dumps, murmur2_partition, object_in
from stream.offline.lines import documents_in

MAX_TOLD = 1000
"""Findings, and notes, that are kept; all are counted."""
_CALL = re.compile(r"[0-9]{1,9}")
_LINK = struct.Struct("<32s32s8s8siqqH")
_START = bytes(32)
_FORKED = "another decision stands in the same place of the chain"


class Name(NamedTuple):
    """A session: its id is one only under its tenant and its root session."""

    tenant: str
    root: str
    session: str


Fault = Literal["missing", "altered", "reordered", "forked", "cut", "unreadable"]


class Finding(NamedTuple):
    """What is wrong: of which session (None: the record does not say), at which of its calls, and where in its log."""

    fault: Fault
    name: Name | None
    call_seq: int | None
    place: tuple[str, int, int] | None
    text: str

    def document(self) -> dict[str, Any]:
        """It as JSON."""
        return {
            "fault": self.fault,
            **named(self.name),
            "call_seq": self.call_seq,
            "place": list(self.place) if self.place is not None else None,
            "text": self.text,
        }


class _Link(NamedTuple):
    """A decision, as far as the chain goes: its digest and the one before, prints of its id and its event, its core as a number."""

    digest: bytes
    previous: bytes
    decision: bytes
    event: bytes
    partition: int
    offset: int
    call_seq: int
    core: int


@dataclass
class Report:
    """What was verified, and found.

    Attributes
    ----------
    repeats : int
        Records that stand there again, byte for byte.
    outside : int
        Answers to refused calls, which are of no chain.
    faults : counts by fault
    notes : list of str
        What is no fault and yet no proof: a chain that begins anew, one whose beginning has aged out, two cores.
    heads : dict of Name to (str, int)
        The digest at the end of each chain, and how many decisions it holds; only where asked for.
    """

    sessions: int = 0
    decisions: int = 0
    repeats: int = 0
    outside: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    heads: dict[Name, tuple[str, int]] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    def document(self) -> dict[str, Any]:
        """The report as JSON."""
        return {
            "holds": self.holds,
            "sessions": self.sessions,
            "decisions": self.decisions,
            "repeats": self.repeats,
            "outside_the_chain": self.outside,
            "faults": dict(sorted(self.faults.items())),
            "findings": [each.document() for each in self.findings],
            "notes": self.notes,
        }


class Verifier:
    """Takes decisions in the order of their log, and tells what is wrong with their chains.

    Parameters
    ----------
    cited : mapping of Name to a mapping of decision id to call
        Decisions that cases and alerts name: each must be there (`cited`).
    heads : mapping of Name to digest
        Ends of chains that were noted before: each must still be in its chain.
    keep_heads : bool
        Whether the report has the ends of all chains.
    begins : dict of partition to offset
        Where the log begins: above offset 0 nothing tells what was there before, for it may have aged out.

    Attributes
    ----------
    partitions : int
        How many the topic has, which tells where a session would be of which nothing is there; 0: not known.
    """

    def __init__(
        self,
        cited: Mapping[Name, Mapping[str, int]] | None = None,
        heads: Mapping[Name, str] | None = None,
        *,
        keep_heads: bool = False,
        begins: dict[int, int] | None = None,
    ) -> None:
        self.report = Report()
        self.cited = dict(cited or {})
        self._heads, self._keep_heads = dict(heads or {}), keep_heads
        self._links: defaultdict[Name, bytearray] = defaultdict(bytearray)
        self._cores: dict[str, int] = {}
        self._topic = ""
        self._begins = begins if begins is not None else {}
        self.partitions = 0

    def pass_over(self, record: Record) -> None:
        """Note where the log begins, by a record of whatever session."""
        self._begins.setdefault(record.partition, record.offset)

    def _is_aged(self, partition: int) -> bool:
        return partition >= 0 and self._begins[partition] > 0

    def _may_have_aged(self, root: str) -> bool:
        """Whether the partition of a root session, or any if it is not known, has lost its beginning."""
        its = murmur2_partition(root.encode(errors="replace"), self.partitions) if self.partitions else -1
        return self._is_aged(its) if its in self._begins else any(map(self._is_aged, self._begins))

    def add(self, record: Record) -> None:
        """Take one record of the topic of decisions."""
        self._topic = record.topic
        self.pass_over(record)
        place = (record.topic, record.partition, record.offset)
        document = _read(record.value)
        if document is None:
            self._found("unreadable", None, None, place, "no decision: not JSON, or without its ids")
            return
        name = Name(document["tenant"], document["root_session_id"], document["session_id"])
        seq: int = document["call_seq"]
        if (why := _altered(record.value or b"", document)) is not None:
            self._found("altered", name, seq, place, why)
        self.report.decisions += 1
        if "refused" in document["marks"] and document["previous"] == "" and seq == -1:
            self.report.outside += 1
            return
        # Versions are few; of more than a number holds, which only a forger writes, the last share theirs.
        core = self._cores.setdefault(document["core"], min(len(self._cores), 0xFFFF))
        self._links[name] += _LINK.pack(
            _digest(document["digest"]),
            _digest(document["previous"]),
            _print(document["decision_id"]),
            _print(document["event_id"]),
            record.partition,
            record.offset,
            min(max(seq, -1), 2**62),
            core,
        )

    def close(self) -> None:
        """Judge the sessions taken so far; no more of their decisions will come: a log's partition is read to its end."""
        for name, packed in self._links.items():
            self.report.sessions += 1
            self._examine(name, [_Link(*each) for each in _LINK.iter_unpack(packed)])
        self._links.clear()

    def finish(self) -> Report:
        """Judge what is left, and sessions of which nothing came at all."""
        self.close()
        for name, ids in self.cited.items():
            self._absent(name, len(ids), "cases and alerts cite")
        for name in self._heads:
            self._absent(name, 1, "a head was noted of")
        return self.report

    def _absent(self, name: Name, count: int, by: str) -> None:
        if not count:
            return
        text = f"{by} its decisions, and none of it is there"
        if self._may_have_aged(name.root):
            self._note(name, f"{text}: they may have aged out")
        else:
            self._found("cut", name, None, None, text)

    def _examine(self, name: Name, links: list[_Link]) -> None:
        first: dict[bytes, int] = {}
        for at, link in enumerate(links):
            if first.setdefault(link.digest, at) != at:
                self.report.repeats += 1
        chained = [links[at] for at in first.values()]
        order = {link.digest: at for at, link in enumerate(chained)}
        begins_early = self._is_aged(chained[0].partition) and chained[0].previous != _START
        # What the first one follows has aged out for all that follow it.
        aged = chained[0].previous if begins_early else None
        followers: defaultdict[bytes, list[_Link]] = defaultdict(list)
        for at, link in enumerate(chained):
            followers[link.previous].append(link)
            if link.previous == _START:
                continue
            before = order.get(link.previous)
            if before is None and link.previous != aged:
                text = "the decision before it is missing, or was altered together with its digest"
                self._fault("missing", name, link, text)
            elif before is not None and before > at:
                self._fault("reordered", name, link, "it stands before the decision that it follows")
        if begins_early:
            self._note(
                name, f"its decisions before call {chained[0].call_seq} are gone: aged out, or removed"
            )
        self._beginnings(name, chained)
        followers.pop(_START, None)
        for some in followers.values():
            self._forks(name, some)
        self._ends(name, chained, is_aged=begins_early)

    def _forks(self, name: Name, some: list[_Link]) -> None:
        """Several decisions that follow the same one: an honest log has them only where two versions judged one record."""
        for link in some[1:]:
            if not self._is_judged_twice(name, link, some):
                self._fault("forked", name, link, _FORKED)

    def _is_judged_twice(self, name: Name, link: _Link, some: list[_Link]) -> bool:
        same = [each for each in some if each.event == link.event and each is not link]
        if not same or any(each.core == link.core for each in same):
            return False
        self._note(name, f"two versions judged call {link.call_seq}; the first counts")
        return True

    def _beginnings(self, name: Name, chained: list[_Link]) -> None:
        """Several beginnings: each ends the chain before it, or it is a fork."""
        begun: dict[bytes, int] = {}  # by digest, where its chain begins
        last: dict[int, int] = {}
        for at, link in enumerate(chained):
            begun[link.digest] = at if link.previous == _START else begun.get(link.previous, -1)
            last[begun[link.digest]] = at
        starts = [at for at, link in enumerate(chained) if link.previous == _START]
        for at in starts[1:]:
            link = chained[at]
            if any(last[earlier] > at for earlier in starts if earlier < at):
                self._fault("forked", name, link, _FORKED)
            elif not self._is_judged_twice(name, link, [chained[each] for each in starts]):
                place = at_place((self._topic, link.partition, link.offset))
                why = "its id was used again, or state was lost"
                self._note(name, f"its chain begins anew at call {link.call_seq}, {place}: {why}")

    def _ends(self, name: Name, chained: list[_Link], *, is_aged: bool) -> None:
        """Hold a chain against what others noted of it."""
        cited = self.cited.pop(name, {})
        if cited:
            there = {link.decision for link in chained}
            gone = sorted({seq for one, seq in cited.items() if _print(one) not in there})
            calls = ", ".join(map(str, gone[:5]))
            if gone and is_aged:
                self._note(name, f"decisions that cases or alerts cite are gone: of call {calls}")
            elif gone:
                self._found(
                    "cut",
                    name,
                    gone[0],
                    None,
                    f"cases or alerts cite decisions that are not there: of call {calls}",
                )
        head = self._heads.pop(name, None)
        if head is not None and _digest(head) not in {link.digest for link in chained}:
            self._found(
                "cut",
                name,
                None,
                None,
                "the head noted before is not in its chain: it was cut, or written anew",
            )
        if self._keep_heads:
            self.report.heads[name] = chained[-1].digest.hex(), len(chained)

    def _fault(self, fault: Fault, name: Name, link: _Link, text: str) -> None:
        self._found(fault, name, link.call_seq, (self._topic, link.partition, link.offset), text)

    def _found(
        self, fault: Fault, name: Name | None, seq: int | None, place: tuple[str, int, int] | None, text: str
    ) -> None:
        self.report.faults[fault] += 1
        if len(self.report.findings) < MAX_TOLD:
            self.report.findings.append(Finding(fault, name, seq, place, text))

    def _note(self, name: Name, text: str) -> None:
        if len(self.report.notes) < MAX_TOLD:
            self.report.notes.append(f"session {name.session!r} of {name.tenant!r}: {text}")


def verify(
    logs: Iterable[Iterable[Record]], verifier: Verifier, only: Callable[[Name], bool] | None = None
) -> Report:
    """What is wrong with the chains in `logs`, of which each holds all decisions of its sessions: all partitions, or one log alone."""
    count = 0
    for log in logs:
        count += 1
        for record in log:
            verifier.pass_over(record)
            if only is None or (name := name_of(record.value)) is None or only(name):
                verifier.add(record)
        verifier.close()
    if count > 1:
        verifier.partitions = count
    return verifier.finish()


def note_cited(
    records: Iterable[Record], into: dict[Name, dict[str, int]], only: Callable[[Name], bool] = lambda _: True
) -> None:
    """Note in `into` which decisions the cases and alerts in `records` name, each with its call."""
    for record in records:
        document = object_in(record.value)
        if document is None:
            continue
        name, path = _of_case(document) if "record_id" in document else _of_alert(document)
        if name is not None and path and only(name):
            into.setdefault(name, {}).update(path)


def write_heads(heads: Mapping[Name, tuple[str, int]]) -> bytes:
    """The ends of chains as JSON lines, to be noted where nobody else writes."""
    rows = ({**named(name), "digest": digest, "decisions": n} for name, (digest, n) in sorted(heads.items()))
    return b"".join(dumps(row) + b"\n" for row in rows)


def read_heads(path: Path) -> dict[Name, str]:
    """What `write_heads` wrote.

    Raises
    ------
    InputError
        The file cannot be read, or a line has another shape.
    """
    heads: dict[Name, str] = {}
    for number, _, row in documents_in(path):
        name = _name(row) if isinstance(row, dict) else None
        if name is None or not isinstance(row.get("digest"), str):
            raise InputError(f"{path}, line {number}: no head of a chain; write them with --heads-out")
        heads[name] = row["digest"]
    return heads


def _of_case(case: Mapping[str, Any]) -> tuple[Name | None, dict[str, int]]:
    name = _name(case)
    steps = case.get("path")
    path = {
        step["decision_id"]: step["call_seq"]
        for step in (steps if isinstance(steps, list) else ())
        if isinstance(step, dict)
        and isinstance(step.get("decision_id"), str)
        and isinstance(step.get("call_seq"), int)
    }
    return name, path


def _of_alert(alert: Mapping[str, Any]) -> tuple[Name | None, dict[str, int]]:
    name = name_of_alert(alert)
    info = alert.get("finding_info")
    events = info.get("related_events") if isinstance(info, dict) else None
    path: dict[str, int] = {}
    for each in events if isinstance(events, list) else ():
        if isinstance(each, dict) and each.get("type") == "decision" and isinstance(each.get("uid"), str):
            number = str(each.get("title", "")).removeprefix("call ").partition(":")[0]
            path[each["uid"]] = int(number) if _CALL.fullmatch(number) else -1
    return name, path


def name_of_alert(alert: Mapping[str, Any]) -> Name | None:
    """The session that an alert is about, if it is about one."""
    metadata, actor = alert.get("metadata"), alert.get("actor")
    session = actor.get("session") if isinstance(actor, dict) else None
    if not isinstance(metadata, dict) or not isinstance(session, dict):
        return None
    found = metadata.get("tenant_uid"), metadata.get("correlation_uid"), session.get("uid")
    return Name(*map(str, found)) if all(isinstance(each, str) for each in found) else None


def name_of(value: bytes | None) -> Name | None:
    """The session that a decision, or a case, is of."""
    document = object_in(value)
    return _name(document) if document is not None else None


def _name(document: Mapping[str, Any]) -> Name | None:
    found = [document.get(member) for member in ("tenant", "root_session_id", "session_id")]
    return Name(*map(str, found)) if all(isinstance(each, str) for each in found) else None


def named(name: Name | None) -> dict[str, str | None]:
    """A session's name as JSON has it everywhere."""
    tenant, root, session = name if name is not None else (None, None, None)
    return {"tenant": tenant, "root_session_id": root, "session_id": session}


def at_place(place: tuple[str, int, int]) -> str:
    """Where a record stands, for people."""
    topic, partition, offset = place
    return f"{topic}, partition {partition}, offset {offset}" if partition >= 0 else f"{topic}, line {offset}"


_TEXTS = ("tenant", "root_session_id", "session_id", "digest", "previous", "decision_id", "event_id", "core")


def _read(value: bytes | None) -> dict[str, Any] | None:
    """A decision with all that its chain is made of; None where anything of that is missing."""
    document = object_in(value)
    if (
        document is None
        or not all(isinstance(document.get(member), str) for member in _TEXTS)
        or type(document.get("call_seq")) is not int
        or not isinstance(document.get("marks"), list)
    ):
        return None
    return document


def _altered(value: bytes, document: Mapping[str, Any]) -> str | None:
    """Why a decision is not the record that its digest was made of; None where it is."""
    # As it was published: its bytes without that member.
    rest = value.replace(b'"digest":"%b",' % document["digest"].encode(errors="replace"), b"", 1)
    if hashlib.sha256(rest).hexdigest() == document["digest"]:
        return None
    body = {member: each for member, each in document.items() if member != "digest"}
    try:
        digest = hashlib.sha256(dumps(body)).hexdigest()
    except TypeError:
        return "its content cannot be written down again"
    if digest != document["digest"]:
        return "its content is not that of its digest"
    # Of a member that stands there twice readers may take either.
    if value != dumps(document) and _repeats_a_member(value):
        return "a member stands there twice"
    return None


def _repeats_a_member(value: bytes) -> bool:
    twice = False

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal twice
        made = dict(found)
        twice |= len(made) != len(found)
        return made

    json.loads(value, object_pairs_hook=pairs)
    return twice


def _digest(text: str) -> bytes:
    """A digest's 32 bytes, zeros for none; something else that somebody wrote there stands for itself alone."""
    if not text:
        return _START
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    return raw if len(raw) == 32 else hashlib.sha256(text.encode(errors="replace")).digest()


def _print(text: str) -> bytes:
    """Eight bytes that stand for an id."""
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=8).digest()
