"""The gaps of a session's story: what should stand there and does not. A missing verdict is not an allow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from stream.events import (
    counted,
)
from stream.offline.chain import Report, at_place
from stream.offline.trail_entries import Entry, text_of

LATE_MS = 60_000
"""A verdict that comes later than this after its call was waited for by nobody (chosen)."""


def with_gaps(entries: list[Entry], chain: Report, can: Mapping[str, bool]) -> list[Entry]:
    """The entries, and between them what is missing, as far as what `can` be read tells."""
    told: list[Entry] = []
    for entry in entries:
        told.append(entry)
        told += (Entry("gap", entry.time, text, None, {"gap": gap}) for gap, text in _of_entry(entry, can))
    end = entries[-1].time if entries else ""
    told += (Entry("gap", end, text, None, {"gap": gap}) for gap, text in _of_all(entries, can))
    told += (
        Entry(
            "gap",
            end,
            f"the chain of decisions does not hold: {found.text}",
            None,
            {"gap": "chain", "fault": found.fault},
        )
        for found in chain.findings
    )
    return told


def _of_entry(entry: Entry, can: Mapping[str, bool]) -> Iterator[tuple[str, str]]:
    data = entry.data
    if entry.kind == "called" and can["decisions"] and not data.get("decided"):
        yield (
            "undecided",
            f"no decision on call {text_of(data['call_id'])}: a missing verdict is not an allow",
        )
    if entry.kind == "decided":
        if entry.late_ms > LATE_MS:
            took = counted(entry.late_ms // 1000, "second")
            yield (
                "late",
                f"call {data['call_seq']} was on the bus {took} before its verdict: an outage, or a backlog",
            )
        if "refused" in data["marks"]:
            yield "refused", f"call {text_of(data['call_id'])} was not judged: its record was refused"
        elif data["verdict"] == "abstain":
            yield (
                "abstained",
                f"call {data['call_seq']} was judged by no intent: an abstention is not an allow",
            )
    if entry.kind == "case" and data["case_kind"] == "unjudged":
        yield "unjudged", "a record of the session could not be judged"


def _of_all(entries: list[Entry], can: Mapping[str, bool]) -> Iterator[tuple[str, str]]:
    by_kind = Counter(each.kind for each in entries)
    if can["events"]:
        yield from _of_events(entries, by_kind)
    if can["decisions"]:
        yield from _of_numbers(entries)
    ended = by_kind["ended"] or any(
        each.kind == "case" and each.data["case_kind"] == "ended" for each in entries
    )
    if not ended:
        yield "not_ended", "nothing tells that the session ended: it may be open, or was left without a word"
    if by_kind["held"] and not by_kind["ruling"]:
        yield "held", "its revocations are held, and no person has ruled on them"
    asked = {each.data["jti"]: each for each in entries if each.kind == "revocation"}
    answered = {each.data["jti"] for each in entries if each.kind == "outcome"}
    for jti, each in asked.items():
        if can["outcomes"] and jti not in answered:
            yield "no_outcome", f"nobody told what became of the revocation for {each.data['audience']}"
    for each in entries:
        if each.kind in _SIGNED and each.data["signature"] not in ("verified", "unverified"):
            whose = f" for {each.data['audience']}" if each.kind == "revocation" else ""
            yield "signature", f"{_SIGNED[each.kind]}{whose} does not hold: {each.data['signature']}"


_SIGNED = {
    "revocation": "the revocation",
    "risk": "a change of risk",
    "released": "word of what an end released",
}
"""Kinds of entries that are tokens of the issuer, each as a sentence calls it."""


def _of_events(entries: list[Entry], by_kind: Counter[str]) -> Iterator[tuple[str, str]]:
    if not sum(
        by_kind[kind] for kind in ("declared", "called", "returned", "refused", "amended", "catalogue")
    ):
        yield "no_events", "no event of the session is there: aged out, or never sent"
        return
    if not by_kind["declared"]:
        yield "undeclared", "no declaration is there: nobody said who acts and what for, or it has aged out"
    numbers = {
        each.data["event_seq"]
        for each in entries
        if type(each.data.get("event_seq")) is int and each.kind != "decided"
    }
    if numbers:
        for first, last in _missing(numbers, max(numbers)):
            which = f"event {first} is" if first == last else f"events {first} to {last} are"
            yield "events", f"{which} not there: never sent, lost, or aged out"
    returned = {each.data["call_id"]: each for each in entries if each.kind == "returned"}
    verdicts = {each.data["call_id"]: each for each in entries if each.kind == "decided"}
    for each in entries:
        if each.kind != "called":
            continue
        answer, judged = returned.get(each.data["call_id"]), verdicts.get(each.data["call_id"])
        stopped = judged is not None and judged.data["verdict"] in ("deny", "revoke")
        if answer is None and not stopped:
            call = text_of(each.data["call_id"])
            yield "no_return", f"nothing tells what call {call} of {each.data['tool']} did: no result came"
        elif judged is not None and stopped and answer is not None and answer.data["status"] == "ok":
            how = judged.data["verdict"] + ("" if judged.data["enforced"] else " in shadow")
            yield "ran", f"call {judged.data['call_seq']} of {each.data['tool']} ran, though judged {how}"
    unseen = [
        each
        for each in entries
        if each.kind == "decided" and not each.data.get("call_seen") and "refused" not in each.data["marks"]
    ]
    if unseen:
        yield (
            "no_call",
            f"of {counted(len(unseen), 'decision')} the call is not there: aged out, or never on this topic",
        )


def _of_numbers(entries: list[Entry]) -> Iterator[tuple[str, str]]:
    numbers = {
        each.data["call_seq"]
        for each in entries
        if each.kind == "decided" and type(each.data["call_seq"]) is int and each.data["call_seq"] >= 0
    }
    for first, last in _missing(numbers, max(numbers)) if numbers else ():
        which = f"on call {first}" if first == last else f"on calls {first} to {last}"
        yield "decisions", f"no decision {which} is there: refused, lost, or aged out"


def _missing(numbers: Collection[int], last: int) -> Iterator[tuple[int, int]]:
    """Runs of whole numbers from 0 to `last` that are not among `numbers`."""
    expected = 0
    for number in sorted({each for each in numbers if 0 <= each <= last}):
        if number > expected:
            yield expected, number - 1
        expected = number + 1


def where(entry: Entry) -> str:
    """Where an entry's record stands, for people."""
    again = f", {counted(entry.repeats, 'repeat')}" if entry.repeats else ""
    return f"{at_place(entry.place)}{again}" if entry.place is not None else ""
