"""Bus events become labelled recorded sessions: the inverse of `stream.offline.recorded.events_of`.

A session of own traffic has a recorded session's fields, of which scenarios are made, and beside them ``events``: what stood on the
bus, as it came. `events_of` gives these back, so that training and evaluation judge what was judged live: sub-agents, calls at once,
tools that change, a declaration that came late. Of a tree of sessions the first labelled one brings the events of all, and ``tree``
names those of them that have a label: the others are judged with them, and teach nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from models.contracts import EVENT_TYPES, TENANT_SOURCE, Label
from models.errors import DatasetError
from models.training.dataset import text_digest
from stream.events import Record, dumps, member, object_in, printable, short_hash
from stream.offline.files import read_records
from stream.offline.labels.merging import Key, merged
from stream.offline.recorded import NAMELESS, TENANT

NO_TENANT = "default"

Event = dict[str, Any]
Tools = list[dict[str, Any]]


@dataclass
class Traffic:
    """Labelled sessions of own traffic, and what was left out.

    Attributes
    ----------
    sessions, catalogues
        Of the events, as recorded files have them, see `stream.offline.study.read`.
    met : set of keys
        All sessions that were looked at, labelled or not.
    unlabelled : int
        Those that no label is about.
    lost : list of keys
        Those whose label names a first bad call that they do not have.
    doubled : list of keys
        Labelled ones whose id another session has too, of another tenant or tree.
    toolless : int
        Labelled ones that declare no tools, where tools are needed.
    unread : int
        Records that are no event of a session.
    cut : int
        Trees of which a session began before its first event here.
    """

    sessions: list[dict[str, Any]] = field(default_factory=list)
    catalogues: dict[str, Tools] = field(default_factory=dict)
    met: set[Key] = field(default_factory=set)
    unlabelled: int = 0
    lost: list[Key] = field(default_factory=list)
    doubled: list[Key] = field(default_factory=list)
    toolless: int = 0
    unread: int = 0
    cut: int = 0


class Tree(NamedTuple):
    """A root session and all that work for it, with the events of all of them in the order of the log."""

    tenant: str
    events: list[Event]

    def sessions(self) -> dict[str, list[Event]]:
        """The events of each session, in order."""
        found: dict[str, list[Event]] = {}
        for event in self.events:
            found.setdefault(event["session_id"], []).append(event)
        return found

    @property
    def is_cut(self) -> bool:
        """Whether one of its sessions began before its first event here, so that its calls are not those that a label counts."""
        numbers = (
            [e["seq"] for e in told if isinstance(e.get("seq"), int)] for told in self.sessions().values()
        )
        return any(min(seqs, default=0) > 0 for seqs in numbers)


def trees_in(
    records: Iterable[Record],
    tenants: Mapping[str, str | None],
    begins: Mapping[tuple[str, int], int] | None = None,
) -> tuple[list[Tree], int]:
    """The trees of sessions in records, as they first appear, and how many records are no event of a session.

    Parameters
    ----------
    tenants : to which tenant a topic is bound, see `stream.core.deployment.Deployment`
    begins : by topic and partition the offset where a range begins. Of trees that go on in it all events are taken, those before
        it, too; trees that were over by then are none of it. None: everything counts
    """
    found: dict[tuple[str, str], Tree] = {}
    met: set[tuple[str, str]] = set()
    unread = 0
    for record in records:
        event = object_in(record.value)
        session = event.get("session_id") if event is not None else None
        counts = begins is None or record.offset >= begins.get((record.topic, record.partition), 0)
        if event is None or event.get("type") not in EVENT_TYPES or not isinstance(session, str):
            unread += counts
            continue
        root = event.get("root_session_id") or session
        tenant = str(tenants.get(record.topic) or event.get("tenant") or NO_TENANT)
        found.setdefault((tenant, str(root)), Tree(tenant, [])).events.append(event)
        if counts:
            met.add((tenant, str(root)))
    return [tree for key, tree in found.items() if key in met], unread


class Settled(NamedTuple):
    """The label of each session on which people agree, how many of them say so, and the sessions on which they do not."""

    labels: Mapping[Key, Label]
    torn: frozenset[Key]
    words: Mapping[Key, int]

    def of(self, key: Key) -> dict[str, Any]:
        """What a recorded session says of its label."""
        label = self.labels[key]
        return {"label": label.label, "labelled_by": label.who, "words": self.words[key]}


def settled(labels: Sequence[Label]) -> Settled:
    """Of several words on a session the one that counts, see `stream.offline.labels.merging.merged`."""
    found = merged(labels)
    torn = frozenset((each[0].tenant, each[0].session_id) for each in found.conflicts)
    kept = {(each.tenant, each.session_id): each for each in found.labels}
    agreeing: dict[Key, set[str]] = {key: set() for key in kept}
    for each in labels:
        key = each.tenant, each.session_id
        if key in kept and each.label == kept[key].label:
            agreeing[key].add(each.who)
    return Settled(kept, torn, {key: len(people) for key, people in agreeing.items()})


def take(
    traffic: Traffic, trees: Sequence[Tree], labels: Sequence[Label], *, need_tools: bool = False
) -> None:
    """Add the sessions of trees that a label is about, as recorded sessions; with `need_tools` those that declare tools."""
    words = settled(labels)
    times = Counter(session for tree in trees for session in tree.sessions())
    for tree in trees:
        made = list(_labelled_in(traffic, tree, words, times))
        if need_tools:
            traffic.toolless += sum(not each["tools_ref"] for each in made)
            made = [each for each in made if each["tools_ref"]]
        if made:
            made[0] |= {"events": tree.events, "tree": [each["session_id"] for each in made]}
        traffic.sessions += made


def _labelled_in(
    traffic: Traffic, tree: Tree, words: Settled, times: Mapping[str, int]
) -> Iterator[dict[str, Any]]:
    """The labelled sessions of a tree, without its events."""
    for session, events in tree.sessions().items():
        key = tree.tenant, session
        traffic.met.add(key)
        label = words.labels.get(key)
        if label is None:
            traffic.unlabelled += key not in words.torn
        elif times[session] > 1:
            traffic.doubled.append(key)
        else:
            made, tools = recorded_of(tree.tenant, session, events)
            call = _first_bad(label, made["calls"])
            if label.names_a_call and call is None:
                traffic.lost.append(key)
                continue
            if tools is not None:
                traffic.catalogues[made["tools_ref"]] = tools
            yield {**made, **words.of(key), "first_bad_seq": call, "events": []}


def nothing_said(trees: Sequence[Tree]) -> list[Label]:
    """For each session of trees the label that says nothing: `take` then takes all of them."""
    row = {"label": "unclear", "whence": "import", "who": "nobody"}
    keys = ((tree.tenant, session) for tree in trees for session in tree.sessions())
    return [Label.model_validate(row | {"tenant": tenant, "session_id": session}) for tenant, session in keys]


def relabelled(
    traffic: Traffic, sessions: Sequence[dict[str, Any]], labels: Sequence[Label]
) -> list[dict[str, Any]]:
    """Recorded sessions with the labels that are about them (tenant ``recorded``); without one they keep their own."""
    words = settled(labels)
    found = []
    for session in sessions:
        key = TENANT, str(session.get("session_id"))
        traffic.met.add(key)
        label = words.labels.get(key)
        told = {
            "source": f"{TENANT_SOURCE}{TENANT}",
            "suite": NAMELESS,
            "user_task_id": text_digest(str(session.get("intent"))),
        }
        if label is None:
            if "label" in session and key not in words.torn:
                found.append(session)
            else:
                traffic.unlabelled += key not in words.torn
            continue
        named = [{**call, "call_id": f"{key[1]}:{call['seq']}"} for call in session["calls"]]
        call = _first_bad(label, named)
        if label.names_a_call and call is None:
            traffic.lost.append(key)
            continue
        known = {"exposed_seq": None, **told, **session}
        found.append({**known, **words.of(key), "first_bad_seq": call})
    return found


SHOWN = 5
"""Sessions that a sentence names."""


def left_out(traffic: Traffic, labels: Sequence[Label]) -> Iterator[str]:
    """What labels and events do not say of each other, in sentences."""
    words = settled(labels)
    if traffic.unread:
        yield f"{traffic.unread} records are no event of a session: passed over"
    if traffic.cut:
        yield (
            f"{traffic.cut} trees of sessions began before what was read, and labels count calls from the first on: left out (--read-back, or "
            "an older dump, has their beginning)"
        )
    if traffic.unlabelled:
        yield f"{traffic.unlabelled} of {len(traffic.met)} sessions have no label: left out"
    if traffic.toolless:
        yield f"{traffic.toolless} labelled sessions declare no tools, of which training makes scenarios: left out"
    told = (
        (
            words.torn & traffic.met,
            "people disagree on the label of {}: left out; `driftline labels merge` shows who says what",
        ),
        (
            (words.labels.keys() | words.torn) - traffic.met,
            "labels are about {} that are not among these events and recordings",
        ),
        (traffic.lost, "the label of {} names a first bad call that the session does not have: left out"),
        (traffic.doubled, "the id of {} stands for another session too, of another tenant or tree: left out"),
    )
    for keys, sentence in told:
        if keys:
            yield sentence.format(_named(sorted(keys)))


def _named(keys: Sequence[Key]) -> str:
    names = ", ".join(printable(f"{tenant}/{session}") for tenant, session in keys[:SHOWN])
    return f"{len(keys)} sessions ({names}{', ...' if len(keys) > SHOWN else ''})"


def _first_bad(label: Label, calls: Sequence[Mapping[str, Any]]) -> int | None:
    """The place of the call that a label names; None where it names none, or none of these."""
    if label.call_seq is not None:
        return label.call_seq if label.call_seq < len(calls) else None
    return next((call["seq"] for call in calls if call["call_id"] == label.call_id), None)


def recorded_of(tenant: str, session: str, events: Sequence[Event]) -> tuple[dict[str, Any], Tools | None]:
    """A recorded session of a session's own events, unlabelled, and the tools that it was offered (None: it declared none).

    Splits go by ``source`` (the tenant), ``suite`` (the agent) and ``user_task_id`` (a digest of the intent's text): sessions that
    were asked the same stay on one side. Results that are no text become JSON text here.
    """
    told = list(_once(events))
    declared = [event for event in told if event["type"] == "session.declared"]
    intent = next((member(event, "intent") for event in declared if member(event, "intent")), {})
    agent = next((member(event, "agent") for event in declared if member(event, "agent")), {})
    tools = next((event["tools"] for event in declared if isinstance(event.get("tools"), list)), None)
    text = str(intent.get("text") or "")
    calls, amendments = _calls_of(told)
    made: dict[str, Any] = {
        "session_id": session,
        "source": f"{TENANT_SOURCE}{tenant}",
        "tenant": tenant,
        "suite": str(agent.get("id") or NAMELESS),
        "user_task_id": text_digest(text),
        "model": agent.get("model"),
        "intent": text,
        "tools_ref": short_hash(dumps(tools)) if tools is not None else "",
        "calls": calls,
        "amendments": amendments,
        "attack": None,
        "injection_goal": None,
        "exposed_seq": None,
    }
    times = [moment.astimezone(UTC) for event in told if (moment := _moment(event.get("time"))) is not None]
    if times:  # spelled alike: their order is that of their texts
        made |= {
            name: at.isoformat(timespec="microseconds")
            for name, at in (("began", min(times)), ("ended", max(times)))
        }
    return made | ({"resources": intent["resources"]} if intent.get("resources") else {}), tools


def _once(events: Iterable[Event]) -> Iterator[Event]:
    """Events less those sent twice: the same number, or without one the same id, and the same content."""
    known: dict[Any, list[Event]] = {}
    for event in events:
        said = {name: value for name, value in event.items() if name != "id"}
        number = event.get("seq")
        at = known.setdefault(number if number is not None else str(event.get("id")), [])
        if said not in at:
            at.append(said)
            yield event


def _calls_of(events: Sequence[Event]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The calls of a session with what they returned, and what the user said on the way."""
    start = _moment(events[0].get("time"))
    calls: list[dict[str, Any]] = []
    amendments: list[dict[str, Any]] = []
    waiting: dict[str, dict[str, Any]] = {}
    for event in events:
        at = _seconds(start, _moment(event.get("time")))
        if event["type"] == "tool.called":
            call: dict[str, Any] = {
                "seq": len(calls),
                "call_id": str(event.get("call_id")),
                "tool": str(event.get("tool")),
                "args": event.get("arguments") or {},
                "result": None,
                "error": None,
                "t_call": at,
            }
            calls.append(call)
            waiting.setdefault(call["call_id"], call)
        elif event["type"] == "tool.returned":
            answered = waiting.pop(str(event.get("call_id")), None)
            if answered is not None:
                answered |= _answer(event) | {"t_result": at}
        elif event["type"] == "intent.amended":
            intent = member(event, "intent")
            if intent.get("known_by") != "agent":  # the user alone changes their mind
                amendments.append({"before_seq": len(calls), "text": str(intent.get("text") or "")})
    return calls, amendments


def _moment(text: Any) -> datetime | None:
    """A time as RFC 3339 writes it; None where a text is none."""
    try:
        found = datetime.fromisoformat(text)
    except (ValueError, TypeError):
        return None
    return found if found.tzinfo is not None else None


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    """Seconds between two moments, to the microsecond; never backwards."""
    if start is None or end is None:
        return None
    return max(0, (end - start) // timedelta(microseconds=1)) / 1_000_000


def _answer(event: Event) -> dict[str, Any]:
    result = event.get("result")
    text = result if isinstance(result, str) or result is None else dumps(result).decode()
    failed = event.get("status", "ok") != "ok"
    return {"result": text, "error": (text or str(event["status"])) if failed else None}


def read(paths: Iterable[Path], tenants: Mapping[str, str | None]) -> tuple[list[Tree], int]:
    """The trees of sessions in files of events or of logs, and how many records are none of theirs.

    Raises
    ------
    InputError
        A file cannot be read.
    """
    return trees_in((record for path in paths for record, _ in read_records(path)), tenants)


def without_labels(files: Iterable[Path]) -> DatasetError:
    """What to say where events were given and no labels."""
    names = ", ".join(map(str, files))
    return DatasetError(
        f"{names}: bus events say nothing of what their sessions were; give --labels FILE, which `driftline labels collect` makes "
        "(docs/labels.md)"
    )
