"""What a score gives up: for the calls that came before in its session, and for what a producer hides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.evidence.features.registry import SPECS
from models.forest.units import Floats, Ints, whole

Shifts = tuple[tuple[int, int], ...]
"""Columns, and what scores give up for each unit in them, in units of 2**-32."""

ALLOWANCE = 0.28
"""Log odds that a score gives up for each doubling of the calls that its session has made.

A session is flagged by its highest score, so that one of a hundred calls would spend a hundred chances. Where the upper
tail of single scores is exponential, the highest of n lies the mean excess times ln n above one alone (Embrechts,
Klueppelberg and Mikosch, Modelling Extremal Events, 1997, 3.3). The mean excess of honest calls over their 98th
percentile is 0.4 in the median domain, 0.3 to 0.6 in all: 0.4 times ln 2.
"""
MAX_DOUBLINGS = 6
"""Calls beyond 63 earn a session no further allowance: nobody hides an act behind a thousand harmless calls."""
BY_FEATURE = {feature.name: feature.allowance for feature in SPECS if feature.allowance}
"""Log odds that a score gives up for each unit of a feature, see the features themselves."""
ALLOWED = {"log_odds": ALLOWANCE, "doublings": MAX_DOUBLINGS, "features": BY_FEATURE}
"""All of it, as a manifest names it: its thresholds hold for scores with this allowance alone."""
_FRACTION = 16


def _by_calls(seen: int) -> int:
    doublings = (seen + 1).bit_length() - 1
    beyond = (seen + 1 - (1 << doublings) << _FRACTION) >> doublings
    return ((doublings << _FRACTION) + beyond) * whole(ALLOWANCE) >> _FRACTION


_BY_CALLS = np.array([_by_calls(seen) for seen in range(1 << MAX_DOUBLINGS)], dtype=np.int64)


def allowance(seen: Ints, X: Floats, shifts: Shifts) -> Ints:
    """What the scores of calls give up, in units of 2**-32, for what came before them in their session, and for what is hidden.

    The binary logarithm of one more than the calls `seen`, linear between powers of two: whole numbers, the same on every
    machine; and what `shifts` say of the rows `X` of these calls.

    >>> seen = np.array([0, 1, 2, 3, 63, 10**6])
    >>> [round(int(a) / 2**32, 3) for a in allowance(seen, np.zeros((6, 0)), ())]
    [0.0, 0.28, 0.42, 0.56, 1.68, 1.68]
    >>> [round(int(a) / 2**32, 3) for a in allowance(seen[1:3], np.array([[0.0], [1.0]]), ((0, 2**31),))]
    [0.28, 0.92]
    """
    spent: Ints = _BY_CALLS[np.minimum(seen, len(_BY_CALLS) - 1)]
    for column, units in shifts:
        spent += units * X[:, column].astype(np.int64)
    return spent


def shifts_of(features: Sequence[str]) -> Shifts:
    """`BY_FEATURE`, by the places of these features."""
    return tuple(
        (features.index(name), whole(given)) for name, given in BY_FEATURE.items() if name in features
    )
