"""Which sessions a page lists, in which order; and the figures over all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import median
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import urlencode

from models.contracts import FAMILIES, FLAGGED
from stream.console.index import Index, Row
from stream.outbound.ocsf import SEVERITY

T = TypeVar("T")
PAGE = 50
MAX_FILTER = 128
"""Characters of a filter; what is longer is cut."""
MAX_CHOICES = 200
"""Values that a filter offers."""
VERDICTS = (*FLAGGED, "abstain", "allow")
_PLAIN: Mapping[str, str] = {
    "intent": "not what was asked",
    "provenance": "a value from elsewhere",
    "scope": "beyond what it may do",
    "sequence": "steps that add up",
    "tempo": "too often or too much",
    "identity": "who acts, with which credential",
    "content": "orders in what it read",
}
"""What a family of evidence says, for whoever has not read the glossary."""
CLOSED = ("Suppressed", "Resolved", "Archived")
RIGHT, WRONG = ("true_positive",), ("false_positive", "benign")
"""Verdicts that say an alert was right, and that it was not."""
MAX_TENANTS = 50
"""Tenants that the page on health has a row for."""
DEAD, AT_RISK = ("done",), ("failed", "overdue")


def plain(name: str) -> str:
    """The name of a family of evidence with what it says; any other name is its own.

    >>> plain("provenance"), plain("revoke")
    ('a value from elsewhere (provenance)', 'revoke')
    """
    return f"{_PLAIN[name]} ({name})" if name in _PLAIN else name


@dataclass(frozen=True)
class Filters:
    """What of all sessions is asked for, as the address of a page says it: a word of it, or all of it, by member.

    Attributes
    ----------
    tenant, family, verdict, severity
        The value itself.
    agent, tool, q
        A part of it, in small letters or not; `q` of the title, the session, the agent or the user.
    show
        ``cases`` or ``all`` sessions.
    """

    tenant: str = ""
    agent: str = ""
    tool: str = ""
    family: str = ""
    verdict: str = ""
    severity: str = ""
    q: str = ""
    show: str = "cases"

    @classmethod
    def read(cls, query: Mapping[str, str]) -> Filters:
        """The filters of an address; what it does not know is nothing to it."""
        told = {each.name: query.get(each.name, "").strip()[:MAX_FILTER] for each in fields(cls)}
        return cls(**{**told, "show": "all" if told["show"] == "all" else "cases"})

    def address(self, **changed: str | int) -> str:
        """The query that leads to a page with these filters, and what is changed of them."""
        mine = {each.name: getattr(self, each.name) for each in fields(self)} | changed
        return urlencode({name: value for name, value in mine.items() if value and value != "cases"})

    @property
    def narrows(self) -> bool:
        """Whether anything is left out."""
        return any(getattr(self, each.name) for each in fields(self) if each.name != "show")

    def takes(self, row: Row) -> bool:
        """Whether a session is among what is asked for."""
        return (
            (not self.tenant or (row.name is not None and row.name.tenant == self.tenant))
            and (not self.family or self.family in row.families)
            and (not self.verdict or self.verdict in row.verdicts)
            and (not self.severity or SEVERITY.get(row.severity, "").lower() == self.severity.lower())
            and _among(self.agent, (row.agent,))
            and _among(self.tool, row.tools)
            and _among(self.q, (row.title, row.name.session if row.name else "", row.agent, row.user))
        )


def _among(part: str, texts: Iterable[str]) -> bool:
    part = part.casefold()
    return not part or any(part in text.casefold() for text in texts)


class Listed(NamedTuple, Generic[T]):
    """A page of a list."""

    rows: Sequence[T]
    found: int
    number: int
    pages: int


def risk(row: Row) -> tuple[bool, int, bool, int, float, int]:
    """What puts one case before another: open, severe, its credential alive against orders, sure, by score, of late."""
    return (
        not is_closed(row),
        row.severity,
        row.fate in AT_RISK,
        row.confidence,
        row.score,
        row.last_ms,
    )


def is_closed(row: Row) -> bool:
    """Whether somebody closed the case."""
    return row.status in CLOSED


def listed(index: Index, filters: Filters, number: int) -> Listed[Row]:
    """What is asked for, the riskiest first; a page of it."""
    rows = index.sessions() if filters.show == "all" else index.cases()
    return paged(sorted((row for row in rows if filters.takes(row)), key=risk, reverse=True), number)


def paged(found: Sequence[T], number: int) -> Listed[T]:
    """The page of that number, or the nearest that there is."""
    pages = max(1, -(-len(found) // PAGE))
    number = max(1, min(number, pages))
    return Listed(found[(number - 1) * PAGE : number * PAGE], len(found), number, pages)


def choices(index: Index) -> dict[str, list[str]]:
    """What the filters offer: what stands in cases, the most frequent values of each."""
    counted = {name: Counter[str]() for name in ("tenant", "agent", "tool")}
    for row in index.cases():
        if row.name is not None:
            counted["tenant"][row.name.tenant] += 1
        counted["agent"][row.agent] += bool(row.agent)
        counted["tool"].update(row.tools)
    offered = {
        name: sorted(value for value, n in values.most_common(MAX_CHOICES) if n)
        for name, values in counted.items()
    }
    return offered | {
        "family": list(FAMILIES),
        "verdict": list(VERDICTS),
        "severity": list(reversed(SEVERITY.values())),
    }


class Overview(NamedTuple):
    """The figures over all sessions in memory.

    Attributes
    ----------
    by_severity : open cases by severity, the gravest first
    fates : cases by what became of their credential
    took_ms : median from the revocation to the broker's word that all is dead; None: nothing is dead yet
    agents, families : of cases, the most frequent first
    """

    sessions: int
    calls: int
    flagged: int
    cases: int
    closed: int
    by_severity: dict[str, int]
    fates: dict[str, int]
    took_ms: float | None
    agents: list[tuple[str, int]]
    families: list[tuple[str, int]]
    first_ms: int
    last_ms: int


def overview(index: Index) -> Overview:
    """Them as they stand."""
    n_sessions = n_calls = n_flagged = n_cases = n_closed = last_ms = 0
    first_ms = 1 << 62
    severities, fates, agents, families = (Counter[str]() for _ in range(4))
    took: list[int] = []
    for row in index.sessions():
        n_sessions += 1
        n_calls += row.calls
        n_flagged += row.flagged
        first_ms, last_ms = min(first_ms, row.first_ms or first_ms), max(last_ms, row.last_ms)
        if not row.finding:
            continue
        n_cases += 1
        fates[row.fate or "not told"] += 1
        if row.dead_ms and row.asked_ms:
            took.append(max(0, row.dead_ms - row.asked_ms))
        agents[row.agent or "unnamed"] += 1
        families.update(row.families)
        if is_closed(row):
            n_closed += 1
        else:
            severities[SEVERITY.get(row.severity, "Other")] += 1
    return Overview(
        n_sessions,
        n_calls,
        n_flagged,
        n_cases,
        n_closed,
        {name: severities[name] for name in reversed(SEVERITY.values())},
        dict(fates.most_common()),
        median(took) if took else None,
        agents.most_common(8),
        families.most_common(8),
        first_ms if n_sessions else 0,
        last_ms,
    )


class Watched(NamedTuple):
    """A tenant's calls and verdicts, as far as they tell of the model: what it is not asked, does not know, and gets wrong.

    Attributes
    ----------
    abstained, undeclared : calls that were not judged; calls of a tool that no catalogue lists
    said, confirmed : cases that an analyst called right or wrong; right
    """

    tenant: str
    sessions: int
    calls: int
    abstained: int
    undeclared: int
    cases: int
    said: int
    confirmed: int


def watched(index: Index) -> list[Watched]:
    """Each tenant, the one with most sessions first; beyond `MAX_TENANTS` all others are one."""
    sums: dict[str, Counter[str]] = {}
    for row in index.sessions():
        assert row.name is not None
        of = sums.setdefault(row.name.tenant, Counter())
        said = row.feedback.partition(" ")[0]
        of.update(
            sessions=1,
            calls=row.calls - max(0, row.begins),
            abstained=row.abstained,
            undeclared=row.undeclared,
            cases=bool(row.finding),
            said=said in RIGHT + WRONG,
            confirmed=said in RIGHT,
        )
    ranked = sorted(sums.items(), key=lambda one: (-one[1]["sessions"], one[0]))
    rest = sum((of for _, of in ranked[MAX_TENANTS:]), Counter[str]())
    shown = [*ranked[:MAX_TENANTS], *([("(others)", rest)] if rest else [])]
    return [Watched(tenant, *(of[name] for name in Watched._fields[1:])) for tenant, of in shown]


class Bar(NamedTuple):
    """Calls judged in a span of time that begins at `begin_ms`, and of them those that were flagged; heights are of 100."""

    begin_ms: int
    calls: int
    flagged: int
    height: float
    flagged_height: float


def bars(index: Index, spans: int, minutes: int) -> list[Bar]:
    """The last `spans` spans of so many minutes, as the broker stamped the decisions."""
    if not index.minutes:
        return []
    last = max(index.minutes) // minutes
    sums = [[0, 0] for _ in range(spans)]
    for minute, (calls, flagged) in index.minutes.items():
        at = spans - 1 - (last - minute // minutes)
        if 0 <= at < spans:
            sums[at][0] += calls
            sums[at][1] += flagged
    most = max(calls for calls, _ in sums) or 1
    return [
        Bar(
            (last - spans + 1 + at) * minutes * 60_000,
            calls,
            flagged,
            round(100 * calls / most, 1),
            round(100 * flagged / most, 1),
        )
        for at, (calls, flagged) in enumerate(sums)
    ]
