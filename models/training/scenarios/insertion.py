"""Calls put into a session, with its numbers, amendments and times; results taken out of it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from models.training.scenarios.donors import Act

Session = dict[str, Any]


def insert(session: Session, act: Act, at: int) -> Session:
    """A copy of `session` with the act's calls and results before its call `at`.

    Calls are numbered anew and later amendments moved. Recorded times go on: the act takes as long as it took
    where it comes from, and what follows is later by that. Where one side has no times the act has none.
    """
    made = copy.deepcopy(session)
    calls = made["calls"]
    added = copy.deepcopy(act.calls)
    before, start = _last_time(calls[:at]), _last_time(act.session["calls"][: act.start])
    if start is None and act.start == 0:
        start = _first_time(added)
    end = _last_time(added)
    if before is None or start is None or end is None:
        for call in added:
            call.pop("t_call", None)
            call.pop("t_result", None)
    else:
        _shift(added, before - start)
        _shift(calls[at:], max(0.0, end - start))
    made["calls"] = [*calls[:at], *added, *calls[at:]]
    for n, call in enumerate(made["calls"]):
        call["seq"] = n
    for amendment in made.get("amendments") or ():
        if amendment["before_seq"] > at:
            amendment["before_seq"] += len(added)
    return made


def _times(calls: Sequence[Mapping[str, Any]]) -> list[float]:
    return [call[key] for call in calls for key in ("t_call", "t_result") if call.get(key) is not None]


def _last_time(calls: Sequence[Mapping[str, Any]]) -> float | None:
    return max(_times(calls), default=None)


def _first_time(calls: Sequence[Mapping[str, Any]]) -> float | None:
    return min(_times(calls), default=None)


def _shift(calls: Iterable[dict[str, Any]], seconds: float) -> None:
    for call in calls:
        for key in ("t_call", "t_result"):
            if call.get(key) is not None:
                call[key] = round(call[key] + seconds, 6)


def without_results(session: Session) -> Session:
    """A copy of `session` with every result empty; of an error only the fact is left."""
    made = copy.deepcopy(session)
    for call in made["calls"]:
        call["result"] = ""
        call["error"] = "error" if call.get("error") else None
    made["exposed_seq"] = None
    return made
