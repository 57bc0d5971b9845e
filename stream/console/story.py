"""One session as a page tells it: its trail (`stream.offline.trail`), the finding that stands for its case, and what may not be read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from models.contracts import FLAGGED
from models.errors import InputError
from models.text.quotes import Quotes
from stream.console.index import Index, Kept, Row, listed, member, shares
from stream.console.quoting import Given, Letters, Line, given, telling
from stream.console.reach import Lane, Reach, reached
from stream.events import (
    ALERTS,
    CASES,
    DECISIONS,
    OUTCOMES,
    REVOCATIONS,
    clipped,
    counted,
    moment_ms,
    rfc3339,
)
from stream.offline.trail import Trail, build
from stream.offline.trail_entries import Entry
from stream.offline.trail_story import fate
from stream.offline.verdicts import Verdict, verdicts
from stream.signals.registry import FOLLOWS

MAX_CALLS = 500
"""Calls that the page lists; of more the first ones, the last ones and all flagged ones that have room."""
MAX_SAID = 50
"""Verdicts of analysts that the page lists, the latest first."""
LOW = 0.5
"""Score of a call, flagged for what came of an earlier one, below which little speaks against it by itself (chosen)."""
MAX_SINKS, MAX_NODES = 6, 16
"""Acts whose provenance is drawn, the gravest first; calls in the drawing."""

FATES = {
    "done": "dead: its broker confirmed it",
    "requested": "revocation requested; nobody confirmed it yet",
    "failed": "ALIVE: its broker could not revoke it",
    "overdue": "MAY BE ALIVE: its broker is late",
    "shadow": "alive: shadow mode revokes nothing",
    "nothing to revoke": "the session named no credential",
    "not requested": "alive: no revocation was asked for",
    "": "not told",
}
"""``unmapped.exposure.revocation`` in words."""


STANDINGS = {
    "done": "contained; its credential is dead",
    "requested": "revoked, not confirmed yet",
    "failed": "revoked, BUT ITS CREDENTIAL LIVES",
    "overdue": "revoked, BUT ITS BROKER IS SILENT",
    "shadow": "would be contained: in shadow nothing is",
    "nothing to revoke": "contained: it named no credential",
    "not requested": "contained, and nothing was revoked",
}
"""The standing ``contained`` in words, by what became of the credential."""

RAN, FAILED = "it ran all the same", "it was tried all the same, and failed"
"""What became of a call that was to be stopped."""


def standing(row: Row) -> str:
    """Where a session stands, in words that promise no more than was confirmed."""
    return STANDINGS.get(row.fate, row.standing) if row.standing == "contained" else row.standing


class Call(NamedTuple):
    """One call of the story.

    Attributes
    ----------
    number : int
        ``call_seq``; -1 of one that was never judged.
    did : str
        What came back, and whether it ran.
    lines : list of Line
        Of the answers that it rests on, what has most to do with it.
    is_after : bool
        It came after a call that was not let pass, and its own score is low.
    """

    number: int
    time: str
    tool: str
    action: str
    arguments: Sequence[Given]
    verdict: str
    score: float | None
    why: str
    would_pass: str
    did: str
    families: Sequence[str]
    enforced: bool
    lines: Sequence[Line] = ()
    is_after: bool = False

    @property
    def carried(self) -> str:
        """Its arguments on one line."""
        return ", ".join(" ".join(filter(None, each)) for each in self.arguments)


class Node(NamedTuple):
    """A call in the drawing of provenance, or what stands in a call's place; `y` is its middle."""

    label: str
    text: str
    kind: str
    y: int


class Edge(NamedTuple):
    """From a source to a sink: an arc left of the nodes."""

    path: str
    family: str


class Said(NamedTuple):
    """Evidence of where something came from, and the arcs that stand for it."""

    family: str
    text: str
    arcs: list[str]


class Drawing(NamedTuple):
    """Where values came from, and where they went."""

    nodes: Sequence[Node]
    edges: Sequence[Edge]
    said: Sequence[Said]
    height: int
    left_out: int


class Moment(NamedTuple):
    """A step from exposure to containment, and how long after the one before."""

    label: str
    time: str
    text: str
    after: str


@dataclass(frozen=True)
class Story:
    """What the page of a session shows."""

    row: Row
    asked: Sequence[str]
    asked_why: str
    did: str
    ran: str
    lines: Sequence[Line]
    lines_why: str
    would_pass: str
    shares: Sequence[tuple[str, str]]
    evidence: Sequence[tuple[str, str]]
    calls: Sequence[Call]
    calls_left_out: int
    drawing: Drawing | None
    moments: Sequence[Moment]
    reach: Reach | None
    fate: str
    fates: Sequence[str]
    steps: Sequence[str]
    said: Sequence[Verdict]
    missing: Sequence[str]
    chain: str
    chain_holds: bool
    unread: Mapping[str, str]

    @property
    def used(self) -> Sequence[Lane]:
        """The kinds of access that it used, each with its tools."""
        return [lane for lane in self.reach.lanes if lane.n_calls] if self.reach is not None else []


def told(index: Index, row: Row) -> Story:
    """The story of a session, of what is kept of it; arguments and answers as far as the index lets them be quoted.

    Raises
    ------
    InputError
        Nothing that is kept names the session.
    """
    source = Kept(index, row)
    trail = trail_of(index, row, source, values=index.quotes != "none")
    finding = _finding(source, row.finding)
    reads_events = not set(index.inputs) & set(source.unread)
    calls = _calls(trail, index.quotes)
    shown = _most_telling(calls)
    exposing = _exposing_call(trail, calls)
    return Story(
        row=row,
        asked=[each.text for each in trail.of("declared", "amended")],
        asked_why=_why_not_asked(trail, reads_events),
        did=_told_of(member(finding, "finding_info").get("desc")),
        ran=_ran(calls),
        lines=next((call.lines for call in calls if call.lines), ()),
        lines_why=_why_no_line(calls, reads_events, index.quotes),
        would_pass=_told_of(member(finding, "unmapped").get("would_pass")),
        shares=shares(member(finding, "unmapped")),
        evidence=[
            (str(data.get("family")), _told_of(data.get("text")))
            for data in (member(each, "data") for each in listed(finding.get("evidences")))
            if data.get("supports")
        ],
        calls=shown,
        calls_left_out=len(calls) - len(shown),
        drawing=_drawing(trail, finding, calls),
        moments=_moments(trail, row, exposing),
        reach=reached(trail.of("decided"), trail.of("declared"), exposing),
        fate=FATES.get(row.fate, row.fate),
        fates=_fates(trail, source.unread),
        steps=_steps(finding),
        said=verdicts(source.documents(ALERTS))[:MAX_SAID],
        missing=_missing(trail, row, source.unread, reads_events),
        chain=_chain(trail, row),
        chain_holds=trail.chain.holds or row.left_out > 0 or row.begins > 0,
        unread=dict(sorted(source.unread.items())),
    )


def trail_of(index: Index, row: Row, source: Kept, *, values: bool = False) -> Trail:
    """The trail of a session, of what is kept of it, with the `values` of arguments and answers or without; raises as `told`."""
    if row.name is None:
        raise InputError("only tokens tell of this session: no record names it yet")
    tenant, root, session = row.name
    return build(source, session, index.inputs, tenant=tenant, root=root, values=values)


def _finding(source: Kept, uid: str) -> dict[str, Any]:
    for document in source.documents(ALERTS) if uid else ():
        if isinstance(document, dict) and member(document, "metadata").get("uid") == uid:
            return document
    return {}


def _told_of(text: Any) -> str:
    return clipped(text, 1_500) if isinstance(text, str) else ""


def _why_not_asked(trail: Trail, reads_events: bool) -> str:
    if trail.of("declared", "amended"):
        return ""
    if not reads_events:
        return "The declaration is not shown: this reader may not read the topic of events. The alert quotes of it what the policy allows."
    return "No declaration is here: nobody declared an intent, or it has aged out."


def _calls(trail: Trail, quotes: Quotes) -> list[Call]:
    """Every call: as it was sent, judged and answered."""
    sent = {each.data["call_id"]: each for each in trail.of("called")}
    answers = {each.data["call_id"]: each for each in trail.of("returned")}
    answered_with = (each.data["result"] for each in answers.values()) if quotes != "none" else ()
    letters = Letters((each.data["arguments"] for each in sent.values()), answered_with)
    answered = {
        each.data["call_seq"]: (each.data["tool"], answers[each.data["call_id"]].data["result"])
        for each in trail.of("decided")
        if each.data["call_id"] in answers and quotes != "none"
    }
    calls: list[Call] = []
    told: set[Line] = set()
    revoked = False
    for entry in trail.entries:
        call = sent.get(entry.data["call_id"]) if entry.kind in ("decided", "called") else None
        rows = call.data["arguments"] if call is not None else ()
        shown = given(rows, letters, quotes)
        if entry.kind == "decided":
            # What a revoked session goes on with is no news of where the first step came from.
            rests = [] if revoked else _lines(entry.data, rows, answered, letters, quotes)
            lines = [line for line in rests if line not in told]
            told.update(lines)
            revoked |= entry.data["verdict"] == "revoke"
            calls.append(_judged(entry, shown, answers.get(entry.data["call_id"]), lines))
        elif entry.kind == "called" and not entry.data.get("decided"):
            why = "no decision on it: a missing verdict is not an allow"
            calls.append(
                Call(-1, entry.time, entry.data["tool"], "", shown, "none", None, why, "", "", (), True)
            )
    return calls


def _judged(entry: Entry, shown: Sequence[Given], answer: Entry | None, lines: Sequence[Line]) -> Call:
    data = entry.data
    stopped = data["verdict"] in ("deny", "revoke")
    did = "" if answer is None else f"returned {answer.data['status']}"
    if stopped and answer is not None:
        did = RAN if answer.data["status"] == "ok" else FAILED
    score, speaking = data["score"], [each for each in data["evidence"] if each["supports"]]
    flagged = data["verdict"] in FLAGGED
    return Call(
        data["call_seq"] if type(data["call_seq"]) is int else -1,
        entry.time,
        data["tool"],
        str(data["action"] or ""),
        shown,
        str(data["verdict"]),
        float(score) if isinstance(score, int | float) else None,
        _against(data),
        data["would_pass"] if flagged else "",
        did,
        [str(each) for each in data["families"] or ()] if flagged else (),
        bool(data["enforced"]),
        lines,
        flagged and any(map(_follows, speaking)) and (score or 0) < LOW,
    )


def _ran(calls: Sequence[Call]) -> str:
    """What became of the acts that were flagged."""
    acts = [call for call in calls if call.verdict in FLAGGED and call.action != "read"]
    ok = sum(call.did in (RAN, "returned ok") for call in acts)
    unheard = sum(not call.did for call in acts)
    failed = len(acts) - ok - unheard
    return ", ".join(
        f"{n} {what}" for n, what in ((ok, "ran"), (failed, "failed"), (unheard, "with no answer seen")) if n
    )


MAX_LINES = 2
"""Lines that are quoted for a call; the second where it has half as much to do with the call as the first, or more."""


def _lines(
    data: Mapping[str, Any],
    arguments: Sequence[Mapping[str, Any]],
    answered: Mapping[int, tuple[str, Sequence[Mapping[str, Any]]]],
    letters: Letters,
    quotes: Quotes,
) -> list[Line]:
    """Of each answer that a flagged call rests on the line that has most to do with it, the most telling ones first."""
    if data["verdict"] not in FLAGGED:
        return []
    sources = {
        call for each in data["evidence"] if each["supports"] for call in _sources(each, data["call_seq"])
    }
    found = []
    for source in sorted(sources & answered.keys()):
        tool, answer = answered[source]
        much, text = telling(answer, data["tool"], arguments)
        if much:
            found.append((-much, Line(source, tool, letters.marked(text, quotes))))
    ranked = sorted(found)[:MAX_LINES]
    return [line for much, line in ranked if 2 * much <= ranked[0][0]]  # how much is told below 0


def _why_no_line(calls: Sequence[Call], reads_events: bool, quotes: Quotes) -> str:
    """Why nothing is quoted of what a flagged session rests on; empty where something is, or could not be."""
    flagged = any(call.verdict in FLAGGED for call in calls)
    if not flagged or not reads_events or quotes == "none" or any(call.lines for call in calls):
        return ""
    return (
        "No line of an earlier answer has to do with what was flagged up to the revocation, as far as words tell: no value of it, no word"
        " of the tool and no words to the agent stand in the answers that its evidence cites. Evidence may still rest on what a line"
        " means. Other answers were not searched."
    )


def _follows(evidence: Mapping[str, Any]) -> bool:
    """Whether evidence only says what came of an earlier call."""
    return f"{evidence.get('family')}.{evidence.get('name')}" in FOLLOWS


def _against(data: Mapping[str, Any]) -> str:
    """What speaks against a call; where nothing does, how its decision explains itself."""
    speaking = [each for each in data["evidence"] if each["supports"]]
    # What came of an earlier call is said of every later one: it is told where nothing else is.
    own = [each for each in speaking if not _follows(each)] or speaking
    said = [str(each["text"]) for each in own]
    if said and data["verdict"] in FLAGGED:
        return clipped("; ".join(said), 1_000)
    return "nothing speaks against it" if data["verdict"] == "allow" else str(data["why"])


def _most_telling(calls: list[Call]) -> list[Call]:
    if len(calls) <= MAX_CALLS:
        return calls
    flagged = [at for at, each in enumerate(calls) if each.verdict in FLAGGED][: MAX_CALLS // 2]
    others = [*range(MAX_CALLS // 4), *range(len(calls) - MAX_CALLS // 4, len(calls))]
    return [calls[at] for at in sorted({*flagged, *others})]


NO_CALL = {
    "foreign_destination": (-2, "the catalogue", "what is declared of tools"),
    "unexplained_destination": (-1, "nobody", "in no result, and not in the intent"),
}
"""Where a value came from that no earlier call brought, by the name of the evidence."""
_PLACES = {number: label for number, label, _ in NO_CALL.values()}
_GRAVE = {"revoke": 3, "deny": 2, "alert": 1}


def _drawing(trail: Trail, finding: Mapping[str, Any], calls: Sequence[Call]) -> Drawing | None:
    """Which earlier call each flagged one rests on, drawn; None where no evidence names any."""
    judged = {each.data["call_seq"]: each for each in trail.of("decided") if each.data["call_seq"] != -1}
    flagged = [each for each in judged.values() if each.data["verdict"] in FLAGGED]
    flagged.sort(
        key=lambda each: (-_GRAVE[each.data["verdict"]], -(each.data["score"] or 0), each.data["call_seq"])
    )
    quoted = {call.number: {line.call for line in call.lines} for call in calls}
    resting = [(each.data["call_seq"], list(each.data["evidence"])) for each in flagged]
    if not judged:
        evidence = [member(each, "data") for each in listed(finding.get("evidences"))]
        sinks = [max(_whole(each.get("calls")), default=-1) for each in evidence]
        resting = [(max(sinks, default=-1), evidence)]
    said: dict[tuple[str, str], Said] = {}
    pairs: dict[tuple[int, int], list[Said]] = {}
    for sink, evidence in sorted(resting[:MAX_SINKS], key=lambda each: each[0]):
        resting_on = [
            (each, sources)
            for each in evidence
            if each.get("supports") and not _follows(each) and (sources := _sources(each, sink))
        ]
        # That an answer talks to the agent is said of every later call: it is drawn where that is quoted, or nothing else is known.
        drawn = [
            (each, sources)
            for each, sources in resting_on
            if each.get("family") != "content" or quoted.get(sink, set()).intersection(sources)
        ]
        for each, sources in drawn or resting_on:
            words = str(each.get("family")), clipped(str(each.get("text")), 300)
            one = said.setdefault(words, Said(*words, []))
            for source in sources:
                pairs.setdefault((source, sink), []).append(one)
                one.arcs.append(f"{source if source >= 0 else _PLACES[source]} → {sink}")
    numbers = sorted({call for pair in pairs for call in pair})
    if not numbers:
        return None
    numbers, cut = numbers[:MAX_NODES], numbers[MAX_NODES:]
    names = _tools_of(finding)
    sinks_drawn = {sink for _, sink in pairs}
    nodes: list[Node] = []
    at: dict[int, int] = {}
    for place, number in enumerate(numbers):
        at[number] = y = 34 + place * 68
        entry = judged.get(number)
        tool = entry.data["tool"] if entry is not None else names.get(number, "")
        kind = "sink" if number in sinks_drawn else "source"
        label, text = f"call {number}: {tool}".removesuffix(": "), _in_short(entry, kind)
        label, text = next((each[1:] for each in NO_CALL.values() if each[0] == number), (label, text))
        nodes.append(Node(clipped(label, 38), text, kind, y))
    edges = [
        _edge(at[source], at[sink], at[sink] - at[source], those)
        for (source, sink), those in pairs.items()
        if source in at and sink in at
    ]
    return Drawing(nodes, edges, list(said.values()), 68 * len(numbers), len(cut) + len(resting[MAX_SINKS:]))


def _sources(evidence: Mapping[str, Any], sink: int) -> list[int]:
    """The calls before `sink` that an evidence rests on; for one of provenance that rests on none, what stands in their place."""
    calls = [call for call in _whole(evidence.get("calls")) if 0 <= call < sink]
    other = NO_CALL.get(str(evidence.get("name"))) if evidence.get("family") == "provenance" else None
    return calls or ([other[0]] if other is not None and sink >= 0 else [])


def _edge(y0: int, y1: int, span: int, said: Sequence[Said]) -> Edge:
    """An arc from the left side of one node to that of another; `x` 130 is where nodes begin."""
    depth = min(100, 24 + span // 5)
    x = 130
    path = (
        f"M {x} {y0 + 8} C {x - depth * 1.3:.0f} {y0 + 8}, {x - depth * 1.3:.0f} {y1 - 8}, {x - 7} {y1 - 8}"
    )
    return Edge(path, "provenance" if any(each.family == "provenance" for each in said) else said[0].family)


def _in_short(entry: Entry | None, kind: str) -> str:
    if entry is None:
        return "source" if kind == "source" else "the call of the alert"
    score = entry.data["score"]
    figure = f" {score:.2f}" if isinstance(score, float | int) else ""
    return f"{entry.data['action']} · {entry.data['verdict']}{figure}"


_CALL = re.compile(r"call (\d{1,9}): (.+)", re.S)


def _tools_of(finding: Mapping[str, Any]) -> dict[int, str]:
    """The tools of the calls that a finding lists."""
    related = listed(member(finding, "finding_info").get("related_events"))
    found = (_CALL.match(str(each.get("title"))) for each in related)
    return {int(each[1]): each[2] for each in found if each is not None}


def _moments(trail: Trail, row: Row, exposing: int | None) -> list[Moment]:
    """From the answer of `exposing`, which exposed the session, to its credential's end."""
    decided = trail.of("decided")
    flagged = [each for each in decided if each.data["verdict"] in FLAGGED]
    moments: list[tuple[str, str, str]] = []
    if flagged:
        first = flagged[0]
        if exposing == NO_CALL["foreign_destination"][0]:
            for declared in trail.of("declared")[:1]:
                moments.append(("exposed", declared.time, "by what is declared of a tool"))
        elif exposing is not None:
            judged = next(each for each in decided if each.data["call_seq"] == exposing)
            answers = {each.data["call_id"]: each for each in trail.of("returned")}
            answer = answers.get(judged.data["call_id"])
            moments.append(
                (
                    "exposed",
                    (answer or judged).time,
                    f"by what call {exposing} of {judged.data['tool']} returned",
                )
            )
        act = f"call {first.data['call_seq']} of {first.data['tool']}: {first.data['verdict']}"
        moments.append(("acted, and judged", first.time, act))
    for each in trail.of("revocation")[:1]:
        # Of a session that merely ended, its credential ends as it does of any: that contains nothing.
        label = "over; revocation sent" if each.data["cause"] == "ended" else "revocation sent"
        moments.append((label, each.time, f"for {each.data['audience']}"))
    if not trail.of("revocation") and row.asked_ms:
        moments.append(("revocation requested", _rfc3339(row.asked_ms), "as the alert says"))
    dead = [
        each for each in trail.of("outcome") if each.data.get("status") in ("done", "already_gone", "wider")
    ]
    if dead:
        moments.append(("credential dead", dead[-1].time, clipped(dead[-1].text, 160)))
    elif row.dead_ms:
        moments.append(("credential dead", _rfc3339(row.dead_ms), "as its broker told"))
    made, before = [], 0
    for label, time, text in moments:
        now = moment_ms(time)
        made.append(Moment(label, time, text, _took(now - before) if before and now else ""))
        before = now or before
    return made


def _exposing_call(trail: Trail, calls: Sequence[Call]) -> int | None:
    """The judged call whose answer exposed the session to what it was flagged for, or what stands in its place in `NO_CALL`."""
    decided = trail.of("decided")
    first = next((each.data for each in decided if each.data["verdict"] in FLAGGED), None)
    if first is None:
        return None
    quoted = next((call.lines for call in calls if call.number == first["call_seq"]), ())
    sources = {quoted[0].call} if quoted else _exposing(first)
    source = min((call for call in sources if call >= 0), default=None)
    if source in {each.data["call_seq"] for each in decided}:
        return source
    declared = NO_CALL["foreign_destination"][0]
    return declared if declared in sources else None


def _exposing(data: Mapping[str, Any]) -> set[int]:
    """The calls that the most telling evidence of where a flagged call came from rests on."""
    speaking = [each for each in data["evidence"] if each["supports"]]
    ranked = (
        lambda each: each["family"] == "provenance",
        lambda each: each["name"] == "lured",
        lambda each: each["family"] == "content",
        lambda each: True,
    )
    for kind in ranked:
        found = {call for each in speaking if kind(each) for call in _sources(each, data["call_seq"])}
        if found:
            return found
    return set()


def _fates(trail: Trail, unread: Mapping[str, str]) -> list[str]:
    """What became of the credentials, in detail, as far as it may be read."""
    lines = [] if REVOCATIONS in unread else fate(trail)
    hidden = [base for base in (REVOCATIONS, OUTCOMES) if base in unread]
    if hidden:
        lines.append(f"Not read here: {', '.join(hidden)}. What stands above is what the alerts tell.")
    return lines


def _steps(finding: Mapping[str, Any]) -> list[str]:
    """What to do, a step a line."""
    text = member(finding, "remediation").get("desc")
    parts = re.split(r"(?<=[.!?]) (?=\d{1,2}\. )", text) if isinstance(text, str) else []
    return [re.sub(r"^\d{1,2}\. |`", "", part) for part in parts]


def _missing(trail: Trail, row: Row, unread: Mapping[str, str], reads_events: bool) -> list[str]:
    """What is not there, as far as this reader could see it if it were."""
    said = []
    if row.left_out or row.begins > 0:
        session = trail.name.session
        said.append(
            f"The console does not hold all of this session (it begins at call {max(row.begins, 0)}, {row.left_out} records are left "
            f"out): `driftline show {clipped(session, 60)}` reads it from the bus."
        )
    gaps = trail.of("gap")
    if ran := sum(each.data["gap"] == "ran" for each in gaps):
        said.append(f"{counted(ran, 'call')} ran, though judged deny or revoke: the list above says which")
    for each in gaps:
        if each.data["gap"] == "not_ended" and (not reads_events or CASES in unread):
            continue  # whose end would be told on topics that are not read
        if each.data["gap"] != "ran":
            said.append(each.text)
    return said


def _chain(trail: Trail, row: Row) -> str:
    if DECISIONS in trail.unread:
        return "Decisions are not read here, so their chain is not checked"
    if row.left_out or row.begins > 0:
        return "The console does not hold all decisions; driftline verify chain checks them on the bus"
    if trail.chain.holds:
        return f"The chain of its {trail.chain.decisions} decisions holds"
    return "THE CHAIN OF ITS DECISIONS DOES NOT HOLD: " + "; ".join(
        each.text for each in trail.chain.findings[:3]
    )


def _whole(values: Any) -> list[int]:
    return [each for each in values if type(each) is int] if isinstance(values, list | tuple) else []


def _rfc3339(time_ms: int) -> str:
    return rfc3339(time_ms) if 0 <= time_ms < 253_370_764_800_000 else ""


def _took(ms: int) -> str:
    if ms < 0:
        return "before that"
    return (
        f"{ms} ms later"
        if ms < 1000
        else f"{ms / 1000:.1f} s later"
        if ms < 120_000
        else f"{ms / 60_000:.0f} min later"
    )
