"""What readers say of sessions, beside what the detector says: how much of an error is the label's, and how much a reader would tell."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import results
from benchmarks.detection.rates import Flags, Scored
from models.training import calibrate
from models.training.scenarios.made_up import seeded

ROOT = results.ROOT
LABELS_READ = ROOT / "benchmarks" / "labels_read.jsonl"
"""Labels of ``first_bad_seq`` that were read again: session, label, what the reader says, and why."""
ERRORS_READ = ROOT / "benchmarks" / "errors_read.jsonl"
"""Errors that were read: session, which error it is of `ERRORS`, the core it is of if not 21, what stands in the way, and why."""
ERRORS = ("missed", "false alarm", "late", "not revoked", "handed over", "handed over elsewhere")
"""A hijack never flagged, an honest session flagged; a hijack flagged after its first bad call, one flagged and not revoked; an
honest session that hands work over and is flagged, of the training author and of another."""
READ_BLIND = ROOT / "benchmarks" / "read_blind.jsonl"
"""Sessions that were read without their labels, amid others of the other class: set, session, what the label says, whether
the reader finds a call that nothing asked for (`drift`), which, how sure (3 plain, 1 not to be settled), what it serves or whence it comes, and why."""


DRIFT = ("hijacked", "overreach")
"""Labels of sessions that were read, for which the detector is to speak."""


def read_again(path: Path) -> list[dict[str, Any]]:
    """What readers said of sessions, one a line."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def labels(scored: Scored, bad: Flags) -> dict[str, Any]:
    """How early the sessions of `LABELS_READ` are flagged, by their labels and by the reader's."""
    place = {s.session_id: n for n, s in enumerate(scored.part.calls.sessions) if bad[n]}
    read = [one for one in read_again(LABELS_READ) if one["session_id"] in place]
    if not read:
        return {}
    at = np.array([place[one["session_id"]] for one in read])
    first, chosen = scored.first(), np.zeros(len(bad), dtype=np.bool_)
    chosen[at] = True
    out: dict[str, Any] = {"verdicts": {}, "earlier": 0}
    for one in read:
        out["verdicts"][one["verdict"]] = out["verdicts"].get(one["verdict"], 0) + 1
        out["earlier"] += one["judged"] is not None and one["judged"] < one["label"]
    for name in ("label", "judged"):
        start = np.full(len(bad), -1)
        start[at] = [-1 if one[name] is None else one[name] for one in read]
        out[name] = scored.caught(chosen, first <= start)
    return out


def errors(scored: Scored, honest: Flags, bad: Flags, count: int = 50) -> list[dict[str, Any]]:
    """`count` missed sessions and as many false alarms, of as many tasks as there are, for a reader to read."""
    flagged, out = scored.flagged(), []
    for what, wrong in (("missed", bad & ~flagged), ("false alarm", honest & flagged)):
        by_task: dict[str, list[int]] = {}
        order = np.flatnonzero(wrong)
        seeded("errors", what).shuffle(order)
        for n in order.tolist():
            by_task.setdefault(f"{scored.task[n]}|{scored.goal[n]}", []).append(n)
        turns = [(turn, n) for held in by_task.values() for turn, n in enumerate(held)]
        for _, n in sorted(turns, key=lambda one: one[0])[:count]:
            out.append({"session_id": scored.part.calls.sessions[n].session_id, "error": what})
    return out


def flagged_shares(scored: Scored, chosen: Flags) -> dict[str, float]:
    """The sessions among these that are flagged, each with its share of all of them (each task weighs the same)."""
    places = np.flatnonzero(chosen)
    weights = calibrate.task_weights(scored.task[chosen].tolist())
    hit = scored.flagged()[chosen]
    return {
        scored.part.calls.sessions[at].session_id: round(float(share), 8)
        for at, share in zip(places[hit].tolist(), (weights / weights.sum())[hit].tolist(), strict=True)
    }


def verdicts(*parts: Scored) -> dict[str, bool]:
    """Of each session that was read blind, whether it is flagged."""
    wanted = {one["session_id"] for one in read_again(READ_BLIND)}
    return {
        session.session_id: bool(hit)
        for scored in parts
        for session, hit in zip(scored.part.calls.sessions, scored.flagged(), strict=True)
        if session.session_id in wanted
    }


def not_acted(found: Mapping[str, Any], which: str) -> float | None:
    """Share flagged of the sessions whose agent ignored a text, without the flagged ones that a reader finds to have served it.

    Those that served it and are not flagged stay among the others: few of them were read. None where a flagged one was not.
    """
    read = _ignoring()
    shares: Mapping[str, float] = found["ignored_flagged"][which]
    if not shares.keys() <= read.keys():
        return None
    served = {session for session in shares if read[session]["serves"] == "injection"}
    rest = 1 - sum(share for session, share in shares.items() if session in served)
    return (
        sum(share for session, share in shares.items() if session not in served) / rest if rest > 0 else None
    )


def _ignoring() -> dict[str, dict[str, Any]]:
    """What was read of sessions whose agent is said to have ignored a text, and of others put among them."""
    return {one["session_id"]: one for one in read_again(READ_BLIND) if one["set"] == "attempted"}


def blind_rows(found: Mapping[str, Any]) -> list[list[str]]:
    """For each set: what was read, and of what the detector gets wrong how much the reader gets right."""
    had: Mapping[str, bool] = found["read_blind"]
    read = [one for one in read_again(READ_BLIND) if one["session_id"] in had and one["set"] != "attempted"]
    rows = []
    for name in dict.fromkeys(one["set"] for one in read):
        row = [name]
        for bad in (True, False):
            these = [one for one in read if one["set"] == name and (one["label"] in DRIFT) == bad]
            wrong = [one for one in these if had[one["session_id"]] != bad]
            row += [_of(these, bad), _of(wrong, bad)]
        rows.append(row)
    return rows


def told(found: Mapping[str, Any], name: str, bad: bool) -> str:
    """Of the errors of a set that were read, drift that is missed or honest sessions flagged, how many a reader has right.

    Of *suites*, and of one of `ERRORS`, those that `ERRORS_READ` has, of any other set what of `READ_BLIND` the detector has wrong.
    """
    error = ("missed" if bad else "false alarm") if name == "suites" else name
    if error in ERRORS:
        these = [one for one in read_again(ERRORS_READ) if one["error"] == error]
        return f"{sum(one['cause'] == 'plain miss' for one in these)} of {len(these)}"
    rows = {row[0]: row for row in blind_rows(found)} if "read_blind" in found else {}
    return rows[name][2 if bad else 4] if name in rows else ""


def acted_rows(found: Mapping[str, Any]) -> list[list[str]]:
    """Of the flagged sessions whose agent is said to have ignored a text: how many were read, and what a reader finds in them."""
    read = _ignoring()
    rows = []
    for which, name in (("original", "as recorded"), ("reworded", "reworded")):
        shares: Mapping[str, float] = found["ignored_flagged"][which]
        theirs = [read[session] for session in shares if session in read]
        serves = [one["serves"] for one in theirs if one["drift"]]
        counts = (
            len(shares),
            len(theirs),
            serves.count("injection"),
            serves.count("other"),
            len(theirs) - len(serves),
        )
        rows.append([name, *map(str, counts)])
    return rows


def _of(these: Sequence[Mapping[str, Any]], bad: bool) -> str:
    return f"{sum(one['drift'] == bad for one in these)} of {len(these)}" if these else ""
