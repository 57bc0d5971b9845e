"""The sessions of an evaluation, cut by what is told of them: where it finds less, and where it errs more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from models.training.circumstances import Circumstances
from models.training.dataset import LabelledSession
from models.training.named_tools import GRAVITY
from models.training.populations import Population
from models.training.rates import Flags
from models.training.ways import Compared

LENGTHS = ((1, 3), (4, 7), (8, 15), (16, 31), (32, None))
"""Numbers of calls that are counted together."""
DAYS = 14
"""Days at most that are shown one by one; more are shown by month."""

Told = Callable[[LabelledSession, Circumstances], str | None]


class Dimension(NamedTuple):
    """A way to cut sessions: its name, and what of a session it goes by (None: the session is in no slice of it)."""

    name: str
    of: Told


def dimensions(circumstances: Sequence[Circumstances]) -> list[Dimension]:
    """All ways to cut these sessions."""
    days = {one.began[:10] for one in circumstances if one.began}
    upto = 10 if len(days) <= DAYS else 7
    return [
        Dimension("ecosystem", lambda session, _: session.domain),
        Dimension("tenant", lambda _, told: told.tenant),
        Dimension("agent", lambda _, told: told.agent),
        Dimension("agent model", lambda _, told: told.model),
        Dimension("attack", lambda session, _: session.attack),
        Dimension("goal", lambda session, told: told.goal or session.goal),
        Dimension("gravest tool", lambda _, told: told.gravest),
        Dimension("calls in the session", lambda session, _: length(session.n_calls)),
        Dimension("time", lambda _, told: told.began[:upto] if told.began else None),
    ]


def length(n_calls: int) -> str | None:
    """The range of `LENGTHS` that a number of calls lies in.

    >>> [length(n) for n in (0, 3, 4, 40)]
    [None, '1 to 3', '4 to 7', '32 or more']
    """
    for least, most in LENGTHS:
        if n_calls >= least and (most is None or n_calls <= most):
            return f"{least} or more" if most is None else f"{least} to {most}"
    return None


_ORDER = {name: place for place, name in enumerate((*GRAVITY, *(length(least) for least, _ in LENGTHS)))}


def slices(
    population: Population,
    circumstances: Sequence[Circumstances],
    compared: Compared,
    alerted: Mapping[str, Flags],
) -> dict[str, list[dict[str, Any]]]:
    """For each dimension and value, what of its sessions is alerted, in each of several ways; by time and size in order, else by number.

    Parameters
    ----------
    alerted : sessions that are alerted on, by what speaks
    """
    out: dict[str, list[dict[str, Any]]] = {}
    for dimension in dimensions(circumstances):
        values = np.array(
            [
                "" if (value := dimension.of(session, told)) is None else f"={value}"
                for session, told in zip(population.calls.sessions, circumstances, strict=True)
            ],
            dtype=np.str_,
        )
        found = []
        for value in np.unique(values[values != ""]).tolist():
            here = values == value
            within = Compared(*(flags & here for flags in compared))
            if any(flags.any() for flags in within):
                found.append({"value": value[1:], **_slice(population, within, alerted)})
        out[dimension.name] = sorted(found, key=lambda one: _rank(dimension.name, one))
    return out


def _rank(dimension: str, one: Mapping[str, Any]) -> tuple[Any, ...]:
    value = one["value"]
    if dimension == "time":
        return (value,)
    return (_ORDER.get(value, len(_ORDER)), -(one["honest"] + one["hijacked"] + one["ignored"]), value)


def _slice(population: Population, within: Compared, alerted: Mapping[str, Flags]) -> dict[str, Any]:
    counts = {name: int(flags.sum()) for name, flags in within._asdict().items()}
    return counts | {
        "ways": {
            way: {
                "honest alerted": population.alarms(within.honest, flags),
                "hijacked alerted": population.caught(within.hijacked, flags),
                "ignored alerted": population.alarms(within.ignored, flags),
            }
            for way, flags in alerted.items()
        }
    }
