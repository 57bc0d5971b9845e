"""Where labels come from: recorded data sets, analysts' signed feedback, brokers' outcomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from models.contracts import FLAGGED, Label, Outcome
from models.errors import SchemaError
from stream.events import (
    ALERTS,
    CASES,
    DECISIONS,
    FEEDBACK,
    OUTCOMES,
    Record,
    case_id_of,
    member,
    milliseconds,
    object_in,
)
from stream.feedback import Heard
from stream.offline.labels.store import label_of
from stream.offline.recorded import TENANT
from stream.offline.verdicts import LABELS
from stream.outbound.act import MAX_AHEAD_MS
from stream.outbound.feedback import cleaned, uid_of

TOPICS = (CASES, FEEDBACK, DECISIONS, OUTCOMES)
"""What is read of a bus: feedback and what it is about, the first call that was alerted on, what became of revocations."""


def of_recording(session: Mapping[str, Any], acted: Mapping[str, int], where: str) -> Label:
    """The label that a recorded session brings; raises `InputError` as `label_of` where it brings none.

    Parameters
    ----------
    acted : session ids to the call that shows an attempted session acted, see `models.training.dataset.acted_beside`
    """
    session_id, label, call = (
        str(session.get("session_id")),
        session.get("label"),
        session.get("first_bad_seq"),
    )
    if label == "attempted" and session_id in acted:
        label, call = "acted", acted[session_id]
    if label == "hijacked" and call is None:
        label = "unseen"
    who = session.get("source")
    row = {"tenant": TENANT, "session_id": session_id, "label": label, "whence": "dataset", "who": who}
    return label_of(row | {"call_seq": call if label in ("hijacked", "acted") else None}, where)


class Bus:
    """Labels of what stands on a bus: records in any order, of any topics.

    Parameters
    ----------
    read : callable
        Verifies a token of feedback, see `stream.feedback.SignedFeedback`.

    Attributes
    ----------
    refused : counts by reason
        Words that do not count: no trusted key signed them, or not for this case.
    unsigned : int
        Findings that tell of feedback. They carry no signature, so they count for nothing here.
    """

    def __init__(self, read: Callable[[str], Heard]) -> None:
        self.refused: Counter[str] = Counter()
        self.unsigned = 0
        self._read = read
        self._said: dict[str, Heard] = {}
        self._outcomes: list[Outcome] = []
        self._sessions: dict[str, tuple[str, str]] = {}
        self._first: dict[str, int] = {}

    def take(self, base: str, record: Record) -> None:
        """Take one record of the topic with that base name."""
        document = object_in(record.value)
        if document is None:
            return
        kind = document.get("type")
        if base in (FEEDBACK, CASES) and kind == "feedback.given":
            self._hear(record, document)
        elif base == OUTCOMES or (base == CASES and kind == "outcome.told"):
            self._note(document if base == OUTCOMES else member(document, "outcome"))
        elif base in (CASES, DECISIONS) and kind is None:
            self._place(document)
        elif base == ALERTS and member(member(document, "unmapped"), "feedback"):
            self.unsigned += 1

    def _hear(self, record: Record, document: Mapping[str, Any]) -> None:
        """As act does (`stream.outbound.act`): a token counts where a trusted key signed it for this tenant and case."""
        try:
            heard = self._read(str(document.get("token")))
        except SchemaError as error:
            self.refused[error.detail] += 1
            return
        said = heard.said
        if said.tenant != document.get("tenant"):
            self.refused["the feedback is for another tenant"] += 1
        elif said.case_id != case_id_of(said.tenant, said.root_session_id, said.session_id):
            self.refused["the feedback's case is not that of its session"] += 1
        elif (
            record.timestamp_type == "append" and milliseconds(said.time) > record.timestamp_ms + MAX_AHEAD_MS
        ):
            self.refused["the feedback lies ahead of the broker's time"] += 1
        else:
            self._said[uid_of(said, heard.key)] = heard

    def _note(self, document: Mapping[str, Any]) -> None:
        try:
            self._outcomes.append(Outcome.model_validate(document))
        except ValidationError:
            self.refused["no outcome by the contract"] += 1

    def _place(self, document: Mapping[str, Any]) -> None:
        """Of a decision or a case: whose case it is, and the first call that was alerted on."""
        case, tenant, session = (document.get(name) for name in ("case_id", "tenant", "session_id"))
        if not (isinstance(case, str) and isinstance(tenant, str) and isinstance(session, str)):
            return
        self._sessions[case] = tenant, session
        seq = document.get("call_seq")
        if document.get("verdict") in FLAGGED and isinstance(seq, int):
            self._first[case] = min(seq, self._first.get(case, seq))

    def labels(self) -> Iterator[Label]:
        """A label for each person's last word on each case, and one for each broker that told what became of a revocation."""
        by_case: dict[str, list[Heard]] = {}
        for heard in sorted(self._said.values(), key=lambda each: (each.said.time, uid_of(*each))):
            by_case.setdefault(heard.said.case_id, []).append(heard)
        for case, words in by_case.items():
            yield from (self._word(case, heard) for heard in _standing(words))
        yield from self._of_brokers()

    def _word(self, case: str, heard: Heard) -> Label:
        said = heard.said
        label = LABELS[said.verdict]
        row = {
            "tenant": said.tenant,
            "session_id": said.session_id,
            "label": label,
            "call_seq": self._first.get(case) if label == "hijacked" else None,
            "whence": "analyst",
            "who": said.by,
            "key": heard.key,
            "when": said.time,
            "notes": cleaned(said.comment) or None,
        }
        return Label.model_validate(row)

    def _of_brokers(self) -> Iterator[Label]:
        """What became of a revocation says what we did, not what the agent was: ``unclear``, so that nothing learns from its own verdicts."""
        told: dict[tuple[str, str], list[Outcome]] = {}
        for outcome in self._outcomes:
            if outcome.case_id in self._sessions:
                told.setdefault((outcome.case_id, outcome.broker), []).append(outcome)
        for (case, broker), outcomes in told.items():
            tenant, session = self._sessions[case]
            last = max(outcomes, key=lambda each: (each.time, each.status))
            row = {
                "tenant": tenant,
                "session_id": session,
                "label": "unclear",
                "whence": "broker",
                "who": broker,
            }
            yield Label.model_validate(row | {"when": last.time, "notes": f"revocation {last.status}"})


def _standing(words: Iterable[Heard]) -> list[Heard]:
    """Of the words on a case, the oldest first, the last one of each person since it was last opened again."""
    last: dict[tuple[str, str], Heard] = {}
    for heard in words:
        if heard.said.verdict == "reopen":
            last.clear()
        else:
            last[heard.said.by, heard.key] = heard
    return list(last.values())
