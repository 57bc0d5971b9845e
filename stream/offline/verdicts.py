"""What analysts said of cases, read off the findings that tell of it, and as labels to learn from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from models.contracts import FLAGGED
from stream.events import case_id_of, member
from stream.outbound.ocsf import agent_of, comment_of

LABELS: Mapping[str, str] = {
    "true_positive": "hijacked",
    "false_positive": "benign",
    "benign": "benign",
    "unsure": "unclear",
    "reopen": "unclear",
}
"""The label of a recorded session (`models.training.dataset`) that a verdict stands for; ``unclear`` teaches nothing."""


class Subject(NamedTuple):
    """A case as its alerts tell of it, as far as a verdict on it needs that."""

    tenant: str
    case_id: str
    root_session_id: str
    session_id: str
    agent: str
    severity_id: int
    enforced: bool


class Verdict(NamedTuple):
    """What an analyst said of a case; `key` is the id of the key that signed it, `stands` whether it is the last word on the case."""

    time: str
    tenant: str
    session_id: str
    agent: str
    case_id: str
    verdict: str
    by: str
    key: str
    comment: str
    uid: str
    root_session_id: str
    stands: bool = False


def subject(findings: Iterable[Any], case: str) -> Subject | None:
    """The case of that id among findings; None where none tells of it. Its severity is the highest that was told."""
    return next((each for each in subjects(findings, case) if each.case_id == case), None)


def subjects(findings: Iterable[Any], named: str) -> list[Subject]:
    """The cases among findings whose id, or whose session's, is `named`, each with the highest severity that was told."""
    found: dict[tuple[str, str], Subject] = {}
    for each in findings:
        told = _subject(each)
        if told is not None and named in (told.case_id, told.session_id):
            key = told.tenant, told.case_id
            highest = max(told.severity_id, found[key].severity_id if key in found else 0)
            found[key] = told._replace(severity_id=highest)
    return list(found.values())


def uncased(decisions: Iterable[Any], session: str) -> list[Subject]:
    """Sessions of that id, as their decisions tell of them, under the id that a case of theirs would have; nobody rated them."""
    found: dict[tuple[str, str], Subject] = {}
    for each in decisions:
        if not isinstance(each, dict) or each.get("session_id") != session:
            continue
        tenant, root, agent = (str(each.get(name) or "") for name in ("tenant", "root_session_id", "agent"))
        case = case_id_of(tenant, root, session)
        found[tenant, root] = Subject(tenant, case, root, session, agent, 0, each.get("enforced") is True)
    return list(found.values())


def verdicts(findings: Iterable[Any]) -> list[Verdict]:
    """What was said, each once, newest first; of each case the one with the latest time stands, whatever came last."""
    said: dict[str, Verdict] = {}
    for each in findings:
        told, about = member(member(each, "unmapped"), "feedback"), _subject(each)
        if about is None or told.get("verdict") not in LABELS:
            continue
        uid = str(member(each, "metadata").get("uid"))
        said[uid] = Verdict(
            str(told.get("time")),
            about.tenant,
            about.session_id,
            about.agent,
            about.case_id,
            str(told["verdict"]),
            str(told.get("by")),
            str(told.get("key")),
            str(comment_of(each) or ""),
            uid,
            about.root_session_id,
        )
    ranked = sorted(said.values(), key=lambda each: (each.time, each.uid), reverse=True)
    last: dict[tuple[str, str], str] = {}
    for each in ranked:
        last.setdefault((each.tenant, each.case_id), each.uid)
    return [each._replace(stands=last[each.tenant, each.case_id] == each.uid) for each in ranked]


def first_alarms(decisions: Iterable[Any], of: Iterable[Verdict]) -> dict[str, int]:
    """The first call, from 0, that each case's session was alerted on, by case; `decisions` are read once."""
    cases = {(each.tenant, each.root_session_id, each.session_id): each.case_id for each in of}
    first: dict[str, int] = {}
    for each in decisions:
        if not isinstance(each, dict) or each.get("verdict") not in FLAGGED:
            continue
        place = str(each.get("tenant")), str(each.get("root_session_id")), str(each.get("session_id"))
        case, seq = cases.get(place), each.get("call_seq")
        if case is not None and isinstance(seq, int):
            first[case] = min(seq, first.get(case, seq))
    return first


def labels(said: Iterable[Verdict], first: Mapping[str, int]) -> list[dict[str, Any]]:
    """One row for each case, oldest last word first.

    Parameters
    ----------
    said : iterable of Verdict
        Newest first, as `verdicts` gives them.
    first : mapping of case to int
        The first call that was alerted on: in a confirmed case the first bad one.

    Notes
    -----
    The last word counts, and all words are kept. A case is in conflict where the last words of two people, or of two keys, call for different labels;
    who only asked to look again, or is unsure, contradicts nobody.
    """
    cases: dict[tuple[str, str], list[Verdict]] = {}
    for each in said:
        cases.setdefault((each.tenant, each.case_id), []).append(each)
    rows = []
    for (_, case), words in cases.items():
        last, label = words[0], LABELS[words[0].verdict]
        of_each = {(each.by, each.key): LABELS[each.verdict] for each in reversed(words)}
        rows.append(
            {
                "session_id": last.session_id,
                "root_session_id": last.root_session_id,
                "tenant": last.tenant,
                "case_id": case,
                "verdict": last.verdict,
                "label": label,
                "first_bad_seq": first.get(case) if label == "hijacked" else None,
                "by": last.by,
                "time": last.time,
                "conflict": len(set(of_each.values()) - {"unclear"}) > 1,
                "said": [
                    {"verdict": w.verdict, "by": w.by, "key": w.key, "time": w.time, "comment": w.comment}
                    for w in words
                ],
            }
        )
    return rows[::-1]


def words(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The words of such a row as rows of a label store: of each person the last one since the case was last opened again."""
    last: dict[tuple[Any, Any], Mapping[str, Any]] = {}
    for said in reversed(row["said"]):
        if said["verdict"] == "reopen":
            last.clear()
        else:
            last[said["by"], said["key"]] = said
    for said in last.values():
        label = LABELS.get(said["verdict"], said["verdict"])
        yield {
            "tenant": row["tenant"],
            "session_id": row["session_id"],
            "label": label,
            "call_seq": row["first_bad_seq"] if label == "hijacked" else None,
            "whence": "analyst",
            "who": said["by"],
            "key": said["key"],
            "when": said["time"],
            "notes": said["comment"] or None,
        }


def labelled(
    recorded: Iterable[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Recorded sessions that were judged by people, with the label in place of their own, for `models.training.dataset`.

    A session whose id two tenants have is ``unclear``: it teaches nothing.
    """
    by_session: dict[str, Mapping[str, Any]] = {}
    twice = set()
    for row in rows:
        twice |= {row["session_id"]} & by_session.keys()
        by_session[row["session_id"]] = row
    for session in recorded:
        found = by_session.get(str(session.get("session_id")))
        if found is None:
            continue
        certain = session["session_id"] not in twice
        yield {
            "source": "feedback",
            "suite": found["tenant"],
            "user_task_id": session["session_id"],
            **session,
            "label": found["label"] if certain else "unclear",
            "first_bad_seq": found["first_bad_seq"] if certain else None,
            "labelled_by": found["by"],
        }


def _subject(finding: Any) -> Subject | None:
    metadata, actor = member(finding, "metadata"), member(finding, "actor")
    session = member(actor, "session").get("uid")
    if not isinstance(session, str):
        return None
    severity = finding.get("severity_id")
    return Subject(
        str(metadata.get("tenant_uid")),
        str(member(finding, "finding_info").get("uid")),
        str(metadata.get("correlation_uid")),
        session,
        str(agent_of(finding) or ""),
        severity if isinstance(severity, int) and 0 <= severity <= 6 else 0,
        member(finding, "unmapped").get("enforced") is True,
    )
