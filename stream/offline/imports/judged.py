"""What the judge says of imported sessions, in short: how many were flagged, and the worst of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from models.contracts import FLAGGED
from models.text.quotes import without_secrets
from stream.core.judge import Judge
from stream.events import DECISIONS, QUARANTINE, Record, member, printable
from stream.offline.files import plain_record
from stream.offline.imports.assembly import Made
from stream.offline.replay import replay

WORST = 10
MAX_TITLE = 200


@dataclass
class Judged:
    """A session as it was judged: its title is what was asked first.

    Attributes
    ----------
    worst : decision or None
        The one with the gravest verdict, of these with the highest score.
    """

    title: str = ""
    calls: int = 0
    flagged: int = 0
    worst: dict[str, Any] | None = None


@dataclass
class Summary:
    """All sessions, by their ids."""

    sessions: dict[str, Judged] = field(default_factory=dict)
    verdicts: Counter[str] = field(default_factory=Counter)
    refused: int = 0

    def worst(self, most: int = WORST) -> list[tuple[str, Judged]]:
        """Flagged sessions, the gravest first."""
        flagged = [(name, each) for name, each in self.sessions.items() if each.flagged]
        return sorted(flagged, key=lambda row: (_gravity(row[1].worst), row[0]), reverse=True)[:most]

    def document(self) -> dict[str, Any]:
        """The summary as JSON."""
        told = ("call_seq", "tool", "verdict", "score", "explanation", "would_pass", "decision_id")
        return {
            "sessions": len(self.sessions),
            "calls": sum(each.calls for each in self.sessions.values()),
            "flagged": sum(1 for each in self.sessions.values() if each.flagged),
            "verdicts": dict(sorted(self.verdicts.items())),
            "refused": self.refused,
            "worst": [
                {
                    "session_id": name,
                    "asked": each.title,
                    "calls": each.calls,
                    "calls_flagged": each.flagged,
                    **{key: (each.worst or {})[key] for key in told},
                }
                for name, each in self.worst()
            ],
        }


def summary(made: Iterable[Made], judge: Judge) -> Summary:
    """What `judge` says of these events."""
    found = Summary()
    for output in replay(_records(made, found), judge):
        if output.topic == QUARANTINE:
            found.refused += 1
        if output.topic != DECISIONS:
            continue
        decision = orjson.loads(output.value)
        session = found.sessions.setdefault(decision["session_id"], Judged())
        session.calls += 1
        session.flagged += decision["verdict"] in FLAGGED
        found.verdicts[decision["verdict"]] += 1
        if _gravity(decision) > _gravity(session.worst):
            session.worst = decision
    return found


def _records(made: Iterable[Made], found: Summary) -> Iterator[tuple[Record, None]]:
    for offset, (root, value) in enumerate(made):
        event = orjson.loads(value)
        session = found.sessions.setdefault(event["session_id"], Judged())
        if event["type"] == "session.declared" and not session.title:
            asked = str(member(event, "intent").get("text") or "")
            session.title = " ".join(printable(without_secrets(asked[: 4 * MAX_TITLE])).split())[:MAX_TITLE]
        yield plain_record(value, root, offset), None


def _gravity(decision: dict[str, Any] | None) -> tuple[int, float]:
    if decision is None:
        return -1, 0.0
    verdict = decision["verdict"]
    return (FLAGGED.index(verdict) + 1 if verdict in FLAGGED else 0), decision["score"]
