"""What enforcement would have done: read off the cases of a time in shadow, by the very code that enforces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.contracts import Case
from models.errors import ContractError
from stream.events import CASES, REVOCATIONS, Record, dumps
from stream.offline.files import log_record
from stream.offline.lines import documents_in, is_log
from stream.outbound.act import read_case
from stream.outbound.breaker import Breaker
from stream.outbound.claims import taken

EXAMPLES = 5


@dataclass
class Report:
    """What the cases say.

    Attributes
    ----------
    first, last : str
        Times between which they lie.
    told, alerted, revoked, held : sets of case ids
        That have a case; that the SOC was told of; whose credentials drift would have revoked; of these, that the circuit breaker
        would have held.
    credentials : counts by (broker, kind)
        That drift would have revoked.
    ended : counts by (broker, kind)
        That an honest end would have revoked: they were issued for the task.
    agents : counts by agent
        Sessions that drift would have revoked.
    examples : cases
        Of those with the highest scores.
    enforced : int
        Sessions of these that were judged in enforce: what was held of them, and ruled on, their cases do not tell.
    """

    first: str = ""
    last: str = ""
    told: set[str] = field(default_factory=set)
    alerted: set[str] = field(default_factory=set)
    revoked: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    credentials: Counter[tuple[str, str]] = field(default_factory=Counter)
    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    agents: Counter[str] = field(default_factory=Counter)
    examples: list[Case] = field(default_factory=list)
    enforced: int = 0
    unread: int = 0

    def document(self) -> dict[str, Any]:
        """The report as JSON."""
        return {
            "first": self.first,
            "last": self.last,
            "sessions_with_a_case": len(self.told),
            "sessions_alerted": len(self.alerted),
            "sessions_that_drift_would_revoke": len(self.revoked),
            "of_these_held_by_the_breaker": len(self.held),
            "credentials_that_drift_would_revoke": _rows(self.credentials),
            "credentials_that_ends_would_revoke": _rows(self.ended),
            "agents": dict(self.agents.most_common()),
            "examples": [
                {
                    "case_id": case.case_id,
                    "session_id": case.session_id,
                    "agent": case.agent,
                    "time": case.time,
                    "score": case.score,
                    "reason": case.reason,
                    "path": [step.tool for step in case.path],
                }
                for case in self.examples
            ],
            "sessions_judged_in_enforce": self.enforced,
            "records_that_are_no_case": self.unread,
        }


def report(records: Iterable[Record]) -> Report:
    """What the cases in `records` would have led to, in the order of their log."""
    made, breaker = Report(), Breaker()
    for record in records:
        try:
            case = read_case(record)
        except ContractError:
            made.unread += 1
            continue
        if isinstance(case, Case):
            _take(made, breaker, case, record.partition)
    made.examples.sort(key=lambda case: -case.score)
    del made.examples[EXAMPLES:]
    return made


def _take(made: Report, breaker: Breaker, case: Case, partition: int) -> None:
    made.first = min(made.first or case.time, case.time)
    made.last = max(made.last, case.time)
    made.told.add(case.case_id)
    if case.finding is not None:
        made.alerted.add(case.case_id)
    if not any(signed.topic == REVOCATIONS for signed in case.sets):
        return
    refs = taken(case)
    if case.cause == "ended":
        if case.case_id not in made.revoked:
            made.ended.update((ref.broker, ref.kind) for ref in refs)
        return
    if case.case_id in made.revoked:
        return
    made.revoked.add(case.case_id)
    made.enforced += case.enforced
    made.credentials.update((ref.broker, ref.kind) for ref in refs)
    made.agents[case.agent or "(no name)"] += 1
    made.examples.append(case)
    if breaker.rule(case.model_copy(update={"enforced": True}), partition).held_by is not None:
        made.held.add(case.case_id)


def _rows(counts: Counter[tuple[str, str]]) -> list[dict[str, Any]]:
    return [
        {"broker": broker, "kind": kind, "count": count} for (broker, kind), count in sorted(counts.items())
    ]


def cases_in(path: Path) -> Iterator[Record]:
    """Cases out of a file: a dumped log of `CASES`, or the output of ``replay --all``.

    Raises
    ------
    InputError
        The file cannot be read, or a line of a log has another shape.
    """
    for number, _, document in documents_in(path):
        if is_log(document):
            yield log_record(document, f"{path}, line {number}")[0]
        elif isinstance(document, dict) and document.get("topic") == CASES:
            key = str(document.get("key")).encode()
            yield Record(CASES, 0, number, 0, "none", key, (), dumps(document.get("value")))
