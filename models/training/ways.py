"""Verdicts as shares of sessions, by what speaks: score and signals together, and either without the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from models.forest.units import Ints
from models.training.populations import Population
from models.training.rates import Flags

COLUMNS = (
    "honest alerted",
    "honest revoked",
    "hijacked alerted",
    "hijacked alerted in time",
    "hijacked revoked",
    "ignored alerted",
)
"""What is told of verdicts. *In time*: no later than the first call that serves the attack."""


class Compared(NamedTuple):
    """The sessions that figures are of: honest, hijacked with a first bad call, and those that ignored an attack."""

    honest: Flags
    hijacked: Flags
    ignored: Flags


def onsets(population: Population) -> Ints:
    """The call with which each session begins to drift; -1 where none does."""
    sessions = population.calls.sessions
    return np.array([-1 if s.first_bad_seq is None else s.first_bad_seq for s in sessions], dtype=np.int64)


def by_way(
    population: Population, raised: Mapping[Any, Flags], revoked: Mapping[Any, Flags], compared: Compared
) -> dict[str, Any]:
    """For each way of `raised` and `revoked`, calls that were alerted on and that were revoked, the shares of `COLUMNS`."""
    honest, bad, ignored = compared
    start = onsets(population)[population.calls.session]
    out: dict[str, Any] = {}
    for way, calls in raised.items():
        alerted, taken = population.with_any(calls), population.with_any(revoked[way])
        in_time = population.with_any(calls & (population.calls.call_seq <= start))
        shares = (
            population.alarms(honest, alerted),
            population.alarms(honest, taken),
            population.caught(bad, alerted),
            population.caught(bad, in_time),
            population.caught(bad, taken),
            population.alarms(ignored, alerted),
        )
        out[way] = dict(zip(COLUMNS, shares, strict=True))
    return out
