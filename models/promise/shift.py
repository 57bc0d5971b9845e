"""How far a distribution has moved, from exact counts: the population stability index, less what chance alone makes of it.

PSI is the sum over groups of (p - q) ln(p / q), the symmetric Kullback-Leibler divergence (Jeffreys 1946; in credit scoring Siddiqi, "Credit
Risk Scorecards", 2006). Between two samples of one distribution it is (groups - 1)(1/n + 1/m) on average (Yurdakul, "Statistical
properties of population stability index", 2018): that is taken off. n and m count sessions, since calls of one are alike.

Bins are the same for every time and feature, so counts of two times compare whatever came first: small whole numbers each by
itself, larger ones four to a power of two.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from models.forest.units import Floats, Ints

_EXACT = 8
_LARGEST = _EXACT + 4 * (53 - 3) - 1
BINS = 2 * _LARGEST + 1
"""For whole numbers below 2**53 of either sign; larger ones share the last."""
GROUP = 0.05
"""Share of either sample from which on bins next to one another are a group: no group is nearly empty in both."""


def bins(values: Floats) -> Ints:
    """The bin of each whole number.

    >>> (bins(np.array([0.0, 1, 7, 8, 9, 10, 11, 12, 16, -1])) - _LARGEST).tolist()
    [0, 1, 7, 8, 8, 9, 9, 10, 12, -1]
    """
    sizes = np.minimum(np.abs(values), 2.0**53 - 1)
    fraction, exponent = np.frexp(sizes)
    large = _EXACT + 4 * (exponent.astype(np.int64) - 4) + (np.floor(fraction * 8).astype(np.int64) - 4)
    place = np.where(sizes < _EXACT, sizes.astype(np.int64), large)
    return np.where(values < 0, -place, place) + _LARGEST


class Shift(NamedTuple):
    """The index, its groups, and what is left of it without chance."""

    psi: float
    groups: int
    beyond_chance: float


def shift(before: Ints, now: Ints, n_before: int, n_now: int) -> Shift:
    """How far the counts `now` are from those `before`.

    Parameters
    ----------
    before, now : counts by bin
    n_before, n_now : independent ones among them: sessions, where calls are counted

    >>> shift(np.array([50, 50]), np.array([500, 500]), 100, 1000).beyond_chance < 0
    True
    >>> round(shift(np.array([90, 10]), np.array([10, 90]), 100, 100).psi, 2)
    3.41
    """
    grouped = _grouped(before, now)
    k = grouped.shape[1]
    if k < 2 or not n_before or not n_now:
        return Shift(0.0, k, 0.0)
    # Half a count more in each group, so that an empty one is no infinity.
    p, q = ((counts + 0.5) / (counts.sum() + 0.5 * k) for counts in grouped)
    index = math.fsum(((p - q) * np.log(p / q)).tolist())
    return Shift(index, k, index - (k - 1) * (1 / n_before + 1 / n_now))


def _grouped(before: Ints, now: Ints) -> Ints:
    """Counts of groups of bins next to one another, each of which has `GROUP` of either sample."""
    used = np.flatnonzero(before + now)
    least = [GROUP * max(1, int(counts.sum())) for counts in (before, now)]
    groups: list[list[int]] = []
    held = [0, 0]
    for place in used.tolist():
        held = [held[0] + int(before[place]), held[1] + int(now[place])]
        if held[0] >= least[0] or held[1] >= least[1]:
            groups.append(held)
            held = [0, 0]
    if any(held):
        if groups:
            groups[-1] = [groups[-1][0] + held[0], groups[-1][1] + held[1]]
        else:
            groups.append(held)
    return np.array(groups, np.int64).reshape(-1, 2).T
