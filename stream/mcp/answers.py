"""What each tool answers: a case, its story, a verdict with its evidence, two sessions side by side, what analysts said.

Made of the console's model of sessions alone. A member is `Untrusted`, or it holds a number, a time, an id in hexadecimal digits, a word
of a fixed list, or a sentence of this program's: nothing that came from outside stands in any other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field

from models.contracts import FAMILIES, FLAGGED, Action, Family, Standing, Verdict
from stream.console.index import Index, Kept, Row
from stream.console.listing import Filters, is_closed, risk
from stream.console.quoting import Line as Quote
from stream.console.story import FAILED, FATES, RAN, STANDINGS, Call, Story, told, trail_of
from stream.console.story import standing as in_words
from stream.core.items import Mark
from stream.events import ALERTS, DECISIONS, clipped, counted, moment_ms, object_in, rfc3339, short_hash
from stream.mcp.quoting import Untrusted, quoted
from stream.offline.trail import Trail
from stream.offline.trail_entries import Entry
from stream.offline.trail_story import gravest
from stream.offline.verdicts import verdicts
from stream.outbound.feedback import VERDICTS
from stream.outbound.ocsf import CONFIDENCE, SEVERITY
from stream.signals.registry import BY_ID

SHORT, LINE = 120, 400
"""Characters of a name, and of a sentence, of others."""
FIRST_CALLS = 5
"""Flagged calls that a story lists; `list_calls` has all."""
MAX_LISTED = 12
"""Texts of one kind in an answer; how many are left out is told."""

Severity = Literal["low", "medium", "high", "critical"]
Word = Literal["true_positive", "false_positive", "benign", "unsure", "reopen"]


class Refused(Exception):
    """What a tool answers in place of an answer; its text is told, so no value stands in it."""


class Answer(BaseModel):
    """What every answer has; `notes` are sentences on what this server has not read, or may not."""

    model_config = ConfigDict(extra="forbid")
    notes: list[str] = Field(default=[], description="What is not known, or not yet, and why.")


class Said(BaseModel):
    """What an analyst said of a case."""

    verdict: str
    counts: bool = Field(description="Whether it is the last word on its case.")
    time: str = ""
    case: str = ""
    by: Untrusted | None = None
    signing_key: Untrusted | None = None
    comment: Untrusted | None = None


class Line(BaseModel):
    """A session in a list."""

    case: str = Field(description="The case's id: what other tools take.")
    severity: str = "none"
    status: Literal["open", "closed", "no case"] = "no case"
    standing: str = ""
    title: Untrusted | None = None
    agent: Untrusted | None = None
    session: Untrusted | None = None
    tenant: Untrusted | None = None
    calls: str = ""
    credential: str = ""
    verdict: str = Field("", description="What an analyst said last.")
    campaign: str = ""
    last: str = ""


class Cases(Answer):
    """A page of a list, the riskiest first."""

    found: int
    cases: list[Line] = []
    next_cursor: str = ""


class Because(BaseModel):
    """A piece of evidence."""

    family: str
    signal: str = Field("", description="Its name in docs/signals.md, where it has one.")
    says: Untrusted | None = None
    rests_on_calls: list[int] = []


class Moment(BaseModel):
    """A step from exposure to containment."""

    step: str
    time: str = ""
    after: str = ""
    what: Untrusted | None = None


class Judged(BaseModel):
    """A call of a session; a number of -1 was never judged, which is not an allow."""

    call: int
    verdict: str
    tool: Untrusted | None = None
    action: str = ""
    score: float | None = None
    families: list[str] = []
    outcome: str = ""
    why: Untrusted | None = None
    arguments: Untrusted | None = Field(None, description="Masked.")
    time: str = ""


class Used(BaseModel):
    """What access was used for."""

    action: str
    calls: int
    tools: Untrusted | None = None


class CaseStory(Answer):
    """One session as a story."""

    case: str
    in_short: str
    agent: Untrusted | None = None
    user: Untrusted | None = None
    session: Untrusted | None = None
    tenant: Untrusted | None = None
    asked: list[Untrusted] = []
    asked_unknown: str = ""
    did_instead: Untrusted | None = None
    rests_on: Untrusted | None = Field(
        None, description="Lines of answers that the call rests on, values masked."
    )
    against_it: list[Because] = []
    score_from: dict[str, int] = Field({}, description="Per cent of the score by family.")
    would_have_passed: Untrusted | None = None
    credential: str = ""
    what_became_of_it: list[Untrusted] = []
    moments: list[Moment] = []
    access_used: list[Used] = []
    gaps: list[Untrusted] = Field([], description="Records that should be there and are not.")
    chain_of_decisions: str = ""
    said: list[Said] = []
    steps_suggested: list[Untrusted] = []
    calls_listed: str = ""
    calls: list[Judged] = Field(default=[], description="In short; list_calls and explain_verdict tell more.")
    as_of: str = Field(description="Stands for the case as it is here; resolve_case asks for it.")


class Calls(Answer):
    """A page of a session's calls, in order."""

    case: str
    calls_listed: str
    calls: list[Judged] = []
    next_cursor: str = ""


class Explained(Answer):
    """Why a call was judged as it was."""

    case: str
    in_short: str
    tool: Untrusted | None = None
    arguments: Untrusted | None = Field(None, description="Masked.")
    rests_on: Untrusted | None = Field(
        None, description="Lines of answers that the call rests on, values masked."
    )
    against_it: list[Because] = []
    other_evidence: list[Because] = []
    calls_it_rests_on: list[Judged] = []
    would_have_passed: Untrusted | None = None
    in_full: Untrusted | None = None
    marks: list[str] = Field([], description="See docs/glossary.md.")
    policy: Untrusted | None = None
    release: Untrusted | None = None
    core: int | None = None
    time: str = ""


class Side(BaseModel):
    """One of two sessions."""

    case: str
    in_short: str
    asked: Untrusted | None = None
    did_instead: Untrusted | None = None
    verdicts: dict[str, int] = {}
    actions: dict[str, int] = {}
    flagged_tools: Untrusted | None = None
    only_families: list[str] = []
    only_tools: Untrusted | None = None


class Compared(Answer):
    """Two sessions side by side."""

    in_short: str
    same: list[str] = []
    different: list[str] = []
    common_families: list[str] = []
    common_tools: Untrusted | None = None
    first: Side
    second: Side


class Feedback(Answer):
    """What analysts said, newest first."""

    cases_judged: int
    said: list[Said] = []
    next_cursor: str = ""


class Resolved(Answer):
    """What became of a verdict that was given."""

    case: str
    verdict: str
    state: str
    confirmed: bool


# ------------------------------------------------------------------------ words that may be told as they are


def known(value: Any, words: Collection[str], other: str = "unknown") -> str:
    """A word of a fixed list; `other` for anything else that was said, and "" for nothing."""
    return value if isinstance(value, str) and value in words else (other if value else "")


def when(time: int | str) -> str:
    """A time in UTC, to the second; "" for what is none, whatever it says."""
    at = moment_ms(time) if isinstance(time, str) else time
    return f"{rfc3339(at)[:19]}Z" if 0 < at < 253_370_764_800_000 else ""


def _severity(row: Row) -> str:
    return SEVERITY.get(row.severity, "none").lower()


def _status(row: Row) -> Literal["open", "closed", "no case"]:
    return "closed" if is_closed(row) else "open" if row.finding else "no case"


def _fate(row: Row) -> str:
    return FATES.get(row.fate, "told in a word that is not known here")


def _verdict(row: Row) -> str:
    return known(row.feedback.partition(" ")[0], VERDICTS)


def _families(values: Iterable[Any]) -> list[str]:
    return [family for family in FAMILIES if family in set(values)]


def as_of(row: Row) -> str:
    """What stands for a case as it is now: other as soon as it is graver, or somebody spoke on it."""
    state = (row.finding, row.standing, row.status, row.feedback, f"{row.severity} {row.flagged}")
    return short_hash("as of", *(each.encode(errors="replace") for each in state), size=6)


# ------------------------------------------------------------------------ lists


class Key(NamedTuple):
    """Where a session stands in a list: its risk, in whole numbers, and its id."""

    is_open: int
    severity: int
    at_risk: int
    confidence: int
    score: int
    last_ms: int
    case: str

    @classmethod
    def of(cls, row: Row) -> Key:
        is_open, severity, at_risk, confidence, score, last_ms = risk(row)
        whole = round(min(max(score, 0.0), 1.0) * 10_000)
        return cls(int(is_open), severity, int(at_risk), confidence, whole, last_ms, row.case_id)


CURSOR = r"[01]\.\d\.[01]\.\d\.\d{1,5}\.\d{1,15}\.[0-9a-f]{32}"


def cases(
    index: Index, filters: Filters, *, severity: int, session: str, status: str, after: str, limit: int
) -> Cases:
    """What is asked for, the riskiest first; a page of it.

    A page goes on behind the last session of the one before, wherever that stood: what was closed since, or came, is skipped by no page.
    """
    rows = index.sessions() if filters.show == "all" else index.cases()
    found = [
        row
        for row in rows
        if filters.takes(row)
        and row.severity >= severity
        and (not session or (row.name is not None and row.name.session == session))
        and status in ("any", _status(row))
    ]
    keyed = sorted(((Key.of(row), row) for row in found), key=lambda each: each[0], reverse=True)
    if after:
        *numbers, case = after.split(".")
        behind = (*map(int, numbers), case)
        keyed = [each for each in keyed if each[0] < behind]
    shown, more = keyed[:limit], len(keyed) > limit
    return Cases(
        found=len(found),
        cases=[_line(row) for _, row in shown],
        next_cursor=".".join(map(str, shown[-1][0])) if more else "",
        notes=notes(index),
    )


def _standing(row: Row) -> str:
    """Where a session stands, in the console's words: `contained` alone would promise what shadow does not do."""
    return known(in_words(row), (*get_args(Standing), *STANDINGS.values()))


def _line(row: Row) -> Line:
    of = row.name
    return Line(
        case=row.case_id,
        severity=_severity(row),
        status=_status(row),
        standing=_standing(row),
        title=quoted(row.title, 300),
        agent=quoted(row.agent, SHORT),
        session=quoted(of.session, SHORT) if of else None,
        tenant=quoted(of.tenant, SHORT) if of and of.tenant != "default" else None,
        calls=f"{row.calls}, {row.flagged} flagged",
        credential=_fate(row) if row.fate else "",
        verdict=_verdict(row),
        campaign=_campaign(row),
        last=when(row.last_ms),
    )


def _campaign(row: Row) -> str:
    if row.campaign < 2:
        return ""
    first = row.campaign_case if re.fullmatch("[0-9a-f]{32}", row.campaign_case) else ""
    return f"session {row.campaign} with one {row.campaign_of or 'target'}" + (
        f"; the first is case {first}" if first else ""
    )


def notes(index: Index) -> list[str]:
    """What this server has not read, or may not: so that nothing that is missing is taken for nothing."""
    said = [
        f"{base} is not read here: it is missing, or this server may not read it. What it would tell is unknown, not absent."
        for base in sorted(index.unread)
    ]
    if behind := sum(index.behind.values()):
        said.append(f"{counted(behind, 'record')} on the bus were not read yet: ask again.")
    elif not is_read(index):
        said.append("The bus was not read yet: ask again.")
    if index.away:
        said.append("The broker does not answer: this is the state of before.")
    if gone := index.gone["cases"]:
        said.append(f"{counted(gone, 'case')} went from memory to make room; `driftline show` reads them.")
    return said


def is_read(index: Index) -> bool:
    """Whether all that was on the bus was read; a bus of which nothing may be read has no more to tell."""
    return (bool(index.behind) and not any(index.behind.values())) or (
        bool(index.unread) and len(index.unread) >= len(index.inputs) and ALERTS in index.unread
    )


# ------------------------------------------------------------------------ one session


def in_short(row: Row) -> str:
    """A session in a sentence of our own words."""
    told_of: list[str] = [_status(row)]
    if row.finding:
        confidence = CONFIDENCE.get(row.confidence, "unknown").lower()
        told_of = [f"{_severity(row)} severity", f"{confidence} confidence", *told_of]
    if standing := _standing(row):
        told_of.append(f"standing {standing}")
    told_of.append(f"{counted(row.calls, 'call')} judged, {row.flagged} flagged")
    if families := _families(row.families):
        told_of.append(f"evidence of {', '.join(families)}")
    if said := _verdict(row):
        told_of.append(f"an analyst said {said}")
    if campaign := _campaign(row):
        told_of.append(campaign)
    return "; ".join(told_of)


def story(index: Index, row: Row) -> CaseStory:
    """A session's story, as the console tells it; raises `InputError` where no record names it."""
    found = told(index, row)
    page = _calls(found, "flagged", 0, FIRST_CALLS)
    of = row.name
    return CaseStory(
        case=row.case_id,
        in_short=in_short(row),
        asked=_quotes(found.asked),
        asked_unknown=found.asked_why,
        did_instead=quoted(found.did, 900),
        rests_on=_rests_on(found.lines),
        against_it=[_because(family, text) for family, text in found.evidence[:MAX_LISTED]],
        score_from={
            family: round(float(percent))
            for family, percent in found.shares
            if family in FAMILIES and re.fullmatch(r"\d{1,3}(\.\d{1,8})?", percent)
        },
        would_have_passed=quoted(found.would_pass, LINE),
        credential=_fate(row),
        what_became_of_it=_quotes(found.fates),
        moments=[
            Moment(step=each.label, time=when(each.time), after=each.after, what=quoted(each.text, LINE))
            for each in found.moments
        ],
        access_used=[
            Used(action=lane.action, calls=lane.n_calls, tools=quoted(lane.text, LINE)) for lane in found.used
        ],
        gaps=_quotes(found.missing),
        chain_of_decisions=_chain(found, row),
        said=said_of(index, row),
        # What follows are commands of the terminal, where this reader has tools.
        steps_suggested=_quotes([each for each in found.steps if not each.startswith("driftline ")]),
        agent=quoted(row.agent, SHORT),
        user=quoted(row.user, SHORT),
        session=quoted(of.session, 256) if of else None,
        tenant=quoted(of.tenant, SHORT) if of else None,
        calls_listed=page.calls_listed,
        calls=[each.model_copy(update={"why": None, "arguments": None}) for each in page.calls],
        as_of=as_of(row),
        notes=notes(index),
    )


def calls(index: Index, row: Row, which: str, begin: int, limit: int) -> Calls:
    """A page of a session's calls; raises as `story`."""
    return _calls(told(index, row), which, begin, limit).model_copy(update={"notes": notes(index)})


def _calls(found: Story, which: str, begin: int, limit: int) -> Calls:
    listed = [each for each in found.calls if which == "all" or each.verdict in (*FLAGGED, "none")]
    shown = listed[begin : begin + limit]
    told_of = f"{begin + 1} to {begin + len(shown)} of " if 0 < len(shown) < len(listed) else ""
    left_out = f"; {found.calls_left_out} of its calls are not held here" if found.calls_left_out else ""
    what = "calls" if which == "all" else f"flagged or unjudged calls ({len(found.calls)} in all)"
    return Calls(
        notes=[],
        case=found.row.case_id,
        calls_listed=f"{told_of}{len(listed)} {what}{left_out}",
        calls=[_call(each) for each in shown],
        next_cursor=str(begin + limit) if begin + limit < len(listed) else "",
    )


OUTCOMES = ("returned ok", "returned error", RAN, FAILED)


def _call(call: Call) -> Judged:
    verdict = known(call.verdict, get_args(Verdict), "none")
    shadow = verdict in FLAGGED and not call.enforced
    return Judged(
        call=call.number,
        verdict=f"{verdict} (shadow: not enforced)" if shadow else verdict,
        tool=quoted(call.tool, SHORT),
        action=known(call.action, get_args(Action)),
        score=round(call.score, 4) if call.score is not None else None,
        families=_families(call.families),
        outcome=known(call.did, OUTCOMES),
        why=quoted(call.why, LINE) if call.verdict != "allow" else None,
        arguments=quoted(call.carried, 200),
        time=when(call.time),
    )


def _rests_on(lines: Sequence[Quote]) -> Untrusted | None:
    # One text, there or not: how many lines there are, and of which calls, is up to whoever wrote them.
    told_of = "; ".join(f"call {each.call}, {each.tool}, returned: {each.text}" for each in lines)
    return quoted(told_of or "no line stands out", 2 * LINE)


def _because(family: Any, text: Any, name: Any = "", calls: Any = ()) -> Because:
    numbers = [each for each in calls if type(each) is int] if isinstance(calls, list | tuple) else []
    return Because(
        family=known(family, FAMILIES),
        signal=name if isinstance(name, str) and name in BY_ID else "",
        says=quoted(str(text), LINE),
        rests_on_calls=numbers[:MAX_LISTED],
    )


def _quotes(texts: Sequence[str]) -> list[Untrusted]:
    found = [each for each in (quoted(text, LINE) for text in texts[:MAX_LISTED]) if each is not None]
    if len(texts) > MAX_LISTED:
        found.append(Untrusted(untrusted=f"and {len(texts) - MAX_LISTED} more"))
    return found


def _chain(found: Story, row: Row) -> str:
    if DECISIONS in found.unread or row.left_out or row.begins > 0:
        return "not checked: not all of its decisions are held here"
    return "holds" if found.chain_holds else "DOES NOT HOLD: records are missing or altered"


def explained(index: Index, row: Row, number: int | None) -> Explained:
    """Why a call was judged so; the gravest, where none is named.

    Raises
    ------
    Refused
        There is no such call, decisions are not read here, or nothing was flagged.
    """
    if DECISIONS in index.unread:
        raise Refused(
            f"{DECISIONS} is not read here: it is missing, or this server may not read it. get_case tells what the alert says."
        )
    trail = trail_of(index, row, Kept(index, row))
    entry = gravest(trail) if number is None else _decision(trail, number)
    if entry is None:
        raise Refused(
            "nothing was flagged in this session: name a call"
            if number is None
            else "no decision on a call of that number is held here; list_calls with which=all lists them"
        )
    data = entry.data
    evidence = [each for each in data["evidence"] if isinstance(each, Mapping)]
    against = [each for each in evidence if each["supports"]]
    others = [each for each in evidence if not each["supports"]]
    by_number = {each.number: each for each in told(index, row).calls}
    mine = by_number.get(data["call_seq"])
    verdict = known(data["verdict"], get_args(Verdict))
    shadow = " (shadow: not enforced)" if verdict in FLAGGED and not data["enforced"] else ""
    score = data["score"]
    figure = f" at a score of {score:.4f}" if isinstance(score, int | float) else ""
    action = known(data["action"], get_args(Action))
    families = ", ".join(_families(data["families"] or ())) or "no family"
    cited = [by_number[each] for each in data["cites"] if each in by_number and by_number[each] is not mine]
    return Explained(
        case=row.case_id,
        in_short=f"call {data['call_seq'] if type(data['call_seq']) is int else -1}, a {action or 'call'}: "
        f"{verdict}{figure}, by {families}{shadow}",
        tool=quoted(data["tool"], SHORT),
        arguments=quoted(mine.carried, LINE) if mine is not None else None,
        rests_on=_rests_on(mine.lines if mine is not None else ()),
        against_it=[_evidence(each) for each in against[:MAX_LISTED]],
        other_evidence=[_evidence(each) for each in others[: MAX_LISTED // 2]],
        calls_it_rests_on=[_call(each) for each in cited[:MAX_LISTED]],
        would_have_passed=quoted(data["would_pass"], LINE),
        in_full=quoted(data["why"], 1_200) if not against else None,
        marks=[each for each in data["marks"] if isinstance(each, str) and each in get_args(Mark)],
        policy=quoted(str(data["policy"] or ""), SHORT),
        release=quoted(str(data["release"] or ""), SHORT),
        core=int(core) if re.fullmatch(r"[0-9]{1,6}", core := str(data["core"])) else None,
        time=when(entry.time),
        notes=notes(index),
    )


def _decision(trail: Trail, number: int) -> Entry | None:
    return next((each for each in trail.of("decided") if each.data["call_seq"] == number), None)


def _evidence(each: Mapping[str, Any]) -> Because:
    return _because(each["family"], each["text"], each["name"], each["calls"])


# ------------------------------------------------------------------------ two sessions


def compared(index: Index, first: Row, second: Row) -> Compared:
    """Two sessions side by side; raises as `story`."""
    rows, stories = (first, second), (told(index, first), told(index, second))
    families: list[set[Family]] = [{each for each in FAMILIES if each in row.families} for row in rows]
    facts: dict[str, list[Any]] = {
        "agent": [row.agent for row in rows],
        "user": [row.user for row in rows],
        "tenant": [row.name.tenant if row.name else "" for row in rows],
        "what was asked": [_intents(trail_of(index, row, Kept(index, row))) for row in rows],
        "campaign": [row.campaign_case or (row.case_id if row.campaign else "") for row in rows],
    }
    same = [name for name, (one, other) in facts.items() if one and one == other]
    different = [name for name, (one, other) in facts.items() if one and other and one != other]
    common = first.tools & second.tools
    said = f"the same {', '.join(same)}" if same else "nothing declared in common"
    shared = [family for family in FAMILIES if family in families[0] & families[1]]
    return Compared(
        in_short=f"{said}; {counted(len(common), 'tool')} in common; "
        f"{'both with evidence of ' + ', '.join(shared) if shared else 'no family of evidence in common'}",
        same=same,
        different=different,
        common_families=list(shared),
        common_tools=_names(common),
        first=_side(first, stories[0], families[0] - families[1], first.tools - common),
        second=_side(second, stories[1], families[1] - families[0], second.tools - common),
        notes=notes(index),
    )


def _intents(trail: Trail) -> list[str]:
    """What a session was asked, in full, with the user's changes of mind."""
    asked = (each.data.get("intent") for each in trail.of("declared", "amended"))
    return [str(each.get("text")) for each in asked if isinstance(each, dict)]


def _side(row: Row, found: Story, families: Collection[str], tools: Collection[str]) -> Side:
    verdicts_told = Counter(known(each.verdict, get_args(Verdict), "none") for each in found.calls)
    return Side(
        case=row.case_id,
        in_short=in_short(row),
        asked=quoted(" / ".join(found.asked), LINE),
        did_instead=quoted(found.did, LINE),
        verdicts=dict(verdicts_told.most_common()),
        actions={lane.action: lane.n_calls for lane in found.used},
        flagged_tools=_names({each.tool for each in found.calls if each.verdict in FLAGGED}),
        only_families=_families(families),
        only_tools=_names(tools),
    )


def _names(names: Collection[str]) -> Untrusted | None:
    listed = [clipped(each, SHORT) for each in sorted(names)]
    more = f" and {len(listed) - MAX_LISTED} more" if len(listed) > MAX_LISTED else ""
    return quoted(", ".join(listed[:MAX_LISTED]) + more)


# ------------------------------------------------------------------------ what analysts said


def said_of(index: Index, row: Row) -> list[Said]:
    """What was said of a case, newest first."""
    if row.feedback_ms < 0:
        return []
    return [
        Said(
            verdict=known(each.verdict, VERDICTS),
            counts=each.stands,
            time=when(each.time),
            by=quoted(each.by, SHORT),
            signing_key=quoted(each.key, SHORT),
            comment=quoted(each.comment, LINE),
        )
        for each in verdicts(findings(index, row))[:MAX_LISTED]
    ]


def findings(index: Index, row: Row) -> list[Any]:
    """The alerts of a case, as they are held."""
    return [object_in(record.value) or {} for record in Kept(index, row).read((ALERTS,))]


def feedback(index: Index, rows: Sequence[Row], begin: int, limit: int) -> Feedback:
    """What was said of so many cases, those that were spoken of last first."""
    spoken = sorted(
        (row for row in rows if row.feedback_ms >= 0), key=lambda row: (-row.feedback_ms, row.case_id)
    )
    shown = spoken[begin : begin + limit]
    return Feedback(
        cases_judged=len(spoken),
        said=[each.model_copy(update={"case": row.case_id}) for row in shown for each in said_of(index, row)],
        next_cursor=str(begin + limit) if begin + limit < len(spoken) else "",
        notes=notes(index),
    )
