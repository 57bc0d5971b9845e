"""Challengers beside the champion: what each would have decided of the calls that both judged."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from models.contracts import GRAVITY, Label
from stream.events import moment_ms, object_in

DAY_MS = 86_400_000
TOLD = ("alert", "contained")
"""Standings of a session that the SOC hears of."""
KNOWN = {"hijacked": "confirmed", "benign": "false_positive"}
"""What analysts' labels make of a session; others compare nothing."""
MAX_FLIPS = 1000
"""Flips that are kept of each challenger, those with the greatest difference in gravity; all are counted."""

Session = tuple[str, str, str]
"""Tenant, root session and session."""
Judged = dict[Session, dict[str, "Said"]]
"""By session, what was said of each of its calls."""


class Said(NamedTuple):
    """One judgement of a call, of champion or challenger.

    Attributes
    ----------
    rank : int
        Of its verdict in `GRAVITY`.
    told : bool
        Whether the session stands where the SOC hears of it.
    """

    rank: int
    told: bool
    score: float
    seq: int
    tool: str
    time: str
    explanation: str


class Flip(NamedTuple):
    """A session that ends up elsewhere under a challenger, with the first call on which the two differ."""

    tenant: str
    session_id: str
    champion: str
    challenger: str
    known: str | None
    call_seq: int
    tool: str
    time: str
    champion_call: str
    challenger_call: str
    champion_score: float
    challenger_score: float
    why: str


@dataclass
class Course:
    """How one judge saw a session: its gravest verdict, and the days on which it was first told of and first revoked."""

    worst: int = 0
    told: int | None = None
    revoked: int | None = None

    def take(self, said: Said, day: int) -> None:
        """Go on by a call."""
        self.worst = max(self.worst, said.rank)
        if said.told and self.told is None:
            self.told = day
        if GRAVITY[said.rank] == "revoke" and self.revoked is None:
            self.revoked = day


@dataclass
class Versus:
    """One challenger beside the champion.

    Attributes
    ----------
    calls, same : int
        Judged by both, and alike.
    alone : int
        Calls that the challenger judged and the champion has not, or under another id.
    latest : str
        Time of the last call that it judged.
    grid : counts by (champion, challenger)
        Sessions by their gravest verdicts.
    alerts, revocations : counts by (tenant, who)
        Sessions that were first told of, or revoked; who is ``champion`` or ``challenger``.
    labelled : counts by (kind, who)
        Of sessions with a label, kind one of `KNOWN`: all of them (``sessions``), and those that the one and the other told of.
    """

    calls: int = 0
    same: int = 0
    alone: int = 0
    latest: str = ""
    releases: Counter[str] = field(default_factory=Counter)
    grid: Counter[tuple[str, str]] = field(default_factory=Counter)
    alerts: Counter[tuple[str, str]] = field(default_factory=Counter)
    revocations: Counter[tuple[str, str]] = field(default_factory=Counter)
    labelled: Counter[tuple[str, str]] = field(default_factory=Counter)
    n_flips: int = 0
    flips: list[Flip] = field(default_factory=list)
    tenants: Counter[str] = field(default_factory=Counter)

    @property
    def sessions(self) -> int:
        """Of which both judged a call."""
        return self.grid.total()

    @property
    def agreed(self) -> int:
        """Sessions with the same gravest verdict."""
        return sum(n for (mine, other), n in self.grid.items() if mine == other)


class Comparison:
    """Champion and challengers over the same calls, partition by partition.

    Parameters
    ----------
    labels : iterable of Label
        One for each session of which it is known what it was.
    """

    def __init__(self, labels: Iterable[Label] = ()) -> None:
        self.versus: dict[str, Versus] = {}
        self.champions: Counter[str] = Counter()
        self.unread = 0
        self._days: set[int] = set()
        self._labels = {(each.tenant, each.session_id): each.label for each in labels}

    def partition(self, decisions: Iterable[bytes | None], challenges: Iterable[bytes | None]) -> None:
        """Take what stands in one partition of the champion's topic and of the challengers'; the same sessions lie in both."""
        champion: Judged = {}
        challengers: dict[str, Judged] = {}
        for document in self._documents(decisions):
            if self._put(champion, document):
                self.champions[f"{document['release']}, {document['policy']}"] += 1
        for document in self._documents(challenges):
            name = str(document.get("challenger"))
            if self._put(challengers.setdefault(name, {}), document):
                versus = self.versus.setdefault(name, Versus())
                versus.releases[
                    f"{document['release_digest'][:12]}: {document['release']}, {document['policy']}"
                ] += 1
                versus.latest = max(versus.latest, document["time"])
        for name, judged in challengers.items():
            self._compare(self.versus[name], champion, judged)

    def _documents(self, values: Iterable[bytes | None]) -> Iterator[dict[str, Any]]:
        for value in values:
            document = object_in(value)
            if document is None:
                self.unread += 1
            elif "refused" not in document.get("marks", ()):  # what the contract refuses nobody judges
                yield document

    def _put(self, judged: Judged, document: Mapping[str, Any]) -> bool:
        """Note what was said of a call; whether it is news: what a crash repeats is said once."""
        try:
            session = document["tenant"], document["root_session_id"], document["session_id"]
            call = f"{document['event_id']} {document['arguments_digest']}"
            rank = GRAVITY.index(document["verdict"])
            said = Said(
                rank,
                document["standing"] in TOLD,
                float(document["score"]),
                int(document["call_seq"]),
                sys.intern(str(document["tool"])),
                str(document["time"]),
                str(document["explanation"]) if rank else "",
            )
        except (KeyError, TypeError, ValueError):
            self.unread += 1
            return False
        calls = judged.setdefault(session, {})
        return calls.setdefault(call, said) is said

    def _compare(self, versus: Versus, champion: Judged, challenger: Judged) -> None:
        for session, said in challenger.items():
            calls = champion.get(session, {})
            pairs = [(calls[call], other) for call, other in said.items() if call in calls]
            versus.alone += len(said) - len(pairs)
            if pairs:
                self._session(versus, session, pairs)

    def _session(self, versus: Versus, session: Session, pairs: list[tuple[Said, Said]]) -> None:
        mine, other = Course(), Course()
        for before, after in pairs:
            day = moment_ms(before.time) // DAY_MS
            self._days.add(day)
            mine.take(before, day)
            other.take(after, day)
            versus.same += before.rank == after.rank
        tenant, _, name = session
        versus.calls += len(pairs)
        versus.tenants[tenant] += 1
        versus.grid[GRAVITY[mine.worst], GRAVITY[other.worst]] += 1
        kind = KNOWN.get(self._labels.get((tenant, name), ""))
        if kind is not None:
            versus.labelled[kind, "sessions"] += 1
        for who, course in (("champion", mine), ("challenger", other)):
            versus.alerts[tenant, who] += course.told is not None
            versus.revocations[tenant, who] += course.revoked is not None
            if kind is not None:
                versus.labelled[kind, who] += course.told is not None
        if mine.worst != other.worst:
            versus.n_flips += 1
            versus.flips.append(_flip(tenant, name, pairs, kind))
            if len(versus.flips) > 2 * MAX_FLIPS:
                versus.flips = gravest(versus.flips)

    def waiting(self, versus: Versus) -> int:
        """Calls that the champion judged and this challenger has not."""
        return self.champions.total() - versus.calls

    @property
    def days(self) -> int:
        """Days on which calls were compared, by their own times."""
        return max(self._days) - min(self._days) + 1 if self._days else 0

    def document(self) -> dict[str, Any]:
        """The comparison as JSON."""
        return {
            "days": self.days,
            "champion": dict(self.champions.most_common()),
            "records_not_read": self.unread,
            "challengers": {name: self._told(self.versus[name]) for name in sorted(self.versus)},
        }

    def _told(self, versus: Versus) -> dict[str, Any]:
        return {
            "releases": dict(versus.releases.most_common()),
            "calls": versus.calls,
            "calls_judged_alike": versus.same,
            "calls_not_judged_yet": self.waiting(versus),
            "calls_of_its_own": versus.alone,
            "latest": versus.latest,
            "sessions": versus.sessions,
            "sessions_judged_alike": versus.agreed,
            "verdicts": [
                {"champion": mine, "challenger": other, "sessions": n}
                for (mine, other), n in sorted(
                    versus.grid.items(), key=lambda item: [GRAVITY.index(one) for one in item[0]]
                )
            ],
            "tenants": {
                tenant: {
                    "sessions": n,
                    **{
                        f"{what}_{who}": counts[tenant, who]
                        for what, counts in (("alerts", versus.alerts), ("revocations", versus.revocations))
                        for who in ("champion", "challenger")
                    },
                }
                for tenant, n in versus.tenants.most_common()
            },
            "labelled": {
                kind: {
                    "sessions": versus.labelled[kind, "sessions"],
                    "told_champion": versus.labelled[kind, "champion"],
                    "told_challenger": versus.labelled[kind, "challenger"],
                }
                for kind in KNOWN.values()
            },
            "flips": versus.n_flips,
            "flipped": [flip._asdict() for flip in gravest(versus.flips)],
        }


def _flip(tenant: str, session: str, pairs: list[tuple[Said, Said]], known: str | None) -> Flip:
    before, after = next((mine, other) for mine, other in pairs if mine.rank != other.rank)
    return Flip(
        tenant,
        session,
        GRAVITY[max(mine.rank for mine, _ in pairs)],
        GRAVITY[max(other.rank for _, other in pairs)],
        known,
        before.seq,
        before.tool,
        before.time,
        GRAVITY[before.rank],
        GRAVITY[after.rank],
        before.score,
        after.score,
        (before if before.rank > after.rank else after).explanation,
    )


def gravest(flips: list[Flip]) -> list[Flip]:
    """The flips, those first that lie furthest apart, at most so many as are kept."""

    def weight(flip: Flip) -> tuple[Any, ...]:
        apart = abs(GRAVITY.index(flip.champion) - GRAVITY.index(flip.challenger))
        return -apart, flip.tenant, flip.session_id

    return sorted(flips, key=weight)[:MAX_FLIPS]
