"""The lowest threshold that keeps a promise on false alerts, whatever the scores are distributed like.

Conformal risk control: Angelopoulos, Bates, Fisch, Lei and Schuster, "Conformal Risk Control", arXiv:2208.02814 (2022), theorem 1. Losses
between 0 and 1 that never grow with the threshold, of n groups exchangeable with the next one: the least threshold t with

    (sum of the n losses at t + 1) / (n + 1) <= alpha

has an expected loss of at most alpha on the next group, over the draw of all n + 1. A group's loss here is the share of its sessions
that reach t. It holds on average over calibrations; `at_most` says what holds of one.

*Groups.* Sessions of one task are alike, so n counts tasks, not sessions: the loss of a task is that of a session of it drawn at
random. A promise counts sessions as groups of their own besides, and takes the higher threshold: it holds for the next session of a
task not seen, each task counting the same, and for the next session of work like that which was seen.

*Hijacked sessions among them.* Nobody labelled them. Let a share of at most h be hijacked. Of all sessions at least 1 - h are honest, so
P(alert | honest) <= P(alert) / (1 - h), and a threshold made for alpha * (1 - h) keeps alpha on the honest ones, however the
hijacked ones score. Those that are known are left out first.

All counts are whole numbers: a session's share of its task is rounded up to a unit, and exact for tasks of up to 20 sessions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from models.forest.units import UNITS, Ints

WHOLE = math.lcm(*range(1, 21)) << 12
"""A whole group, in the units in which shares of it are summed; 2**22 groups stay below 2**63."""
MOST_GROUPS = 1 << 22
ALWAYS = UNITS + 1
"""The score of a session that alerts at every threshold: a signal alone alerted it."""
SURE = 0.9
"""How sure `at_most` is."""


class Kept(NamedTuple):
    """A threshold that keeps a promise, in units of 0.0001, and the sessions and tasks that it rests on and that reach it."""

    threshold: int
    sessions: int
    tasks: int
    sessions_reached: int
    tasks_reached: int


def needed(alpha: Fraction, hijacked: Fraction) -> int:
    """Groups from which on `alpha` can be promised where a share of `hijacked` at most is no honest work: 1 / (alpha (1 - h)) - 1.

    >>> needed(Fraction(1, 100), Fraction(0)), needed(Fraction(1, 100), Fraction(1, 20))
    (99, 105)
    """
    return math.ceil(1 / (alpha * (1 - hijacked))) - 1


def least_threshold(highest: Ints, groups: Ints, alpha: Fraction) -> int | None:
    """The least threshold (reached: score >= it) at which (sum of losses + 1) <= alpha (n + 1); None where not even the highest does.

    Parameters
    ----------
    highest : each session's highest score, 0 to `ALWAYS`
    groups : each session's group, counted from 0

    >>> scores = np.array([10, 20, 30, 40])
    >>> least_threshold(scores, np.arange(4), Fraction(2, 5)), least_threshold(scores, np.array([0, 1, 1, 1]), Fraction(2, 3))
    (31, 11)
    """
    sizes = np.bincount(groups)
    if len(sizes) > MOST_GROUPS:
        raise ValueError(f"at most {MOST_GROUPS} groups can be summed exactly")
    share = -(-WHOLE // np.maximum(sizes, 1))
    order = np.argsort(-highest, kind="stable")
    lost = np.cumsum(share[groups[order]])
    allowed = math.floor(alpha * (len(sizes) + 1) * WHOLE) - WHOLE
    kept = int(np.searchsorted(lost, allowed, side="right")) if allowed >= 0 else -1
    if kept < 0:
        return None
    # The first that may not reach it stands just below.
    found = int(highest[order[kept]]) + 1 if kept < len(order) else 0
    return found if found <= UNITS else None


def fit(highest: Ints, tasks: Ints, alpha: Fraction, hijacked: Fraction) -> Kept | None:
    """The least threshold that keeps `alpha` by sessions and by tasks; None where none does.

    Parameters
    ----------
    highest, tasks : each session's highest score, and its task, counted from 0
    alpha : false alerts of an honest session, expected at most
    hijacked : share of the sessions, and of the tasks' sessions, that is hijacked at most
    """
    asked = alpha * (1 - hijacked)
    found = [least_threshold(highest, groups, asked) for groups in (np.arange(len(highest)), tasks)]
    thresholds = [one for one in found if one is not None]
    return reached(highest, tasks, max(thresholds)) if len(thresholds) == len(found) else None


def reached(highest: Ints, tasks: Ints, threshold: int) -> Kept:
    """A threshold with the sessions and tasks that reach it."""
    above = highest >= threshold
    return Kept(
        threshold, len(highest), len(np.unique(tasks)), int(above.sum()), len(np.unique(tasks[above]))
    )


def at_most(hits: int, n: int, sure: float = SURE) -> float:
    """What the rate is at most, so `sure`, where `hits` of `n` were seen (Clopper and Pearson 1934, one side), rounded up to 0.0001.

    Of a threshold just above all but `hits` of n groups drawn alike, it is this calibration's own rate, which has the distribution
    Beta(hits + 1, n - hits): exact where each group is one session, since the threshold then lies at a place known before. Otherwise near.

    >>> at_most(0, 99), at_most(0, 229), at_most(3, 3)
    (0.023, 0.0101, 1.0)
    """
    if hits >= n:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _below(hits, n, middle) > 1 - sure else (low, middle)
    return math.ceil(high * UNITS) / UNITS


def _below(hits: int, n: int, rate: float) -> float:
    """How likely at most `hits` of `n` are at a rate within 0 and 1."""
    logs = (
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        + k * math.log(rate) + (n - k) * math.log1p(-rate)
        for k in range(hits + 1)
    )  # fmt: skip
    return math.fsum(map(math.exp, logs))


class Days(NamedTuple):
    """Sessions a day: the fewest and the most that a further day has, as likely as `chance` says, if days are exchangeable."""

    days: int
    fewest: int
    mean: float
    most: int
    chance: float


def a_day(counts: Sequence[int]) -> Days:
    """What the days seen say of the next: the order statistics that bound it nine times out of ten on either side, or all there are.

    A further day lies above the k-th smallest of D with a chance of at most 1 - k / (D + 1).

    >>> a_day([5, 7, 6])
    Days(days=3, fewest=5, mean=6.0, most=7, chance=0.75)
    >>> a_day(range(1, 20)).most, a_day(range(1, 20)).chance
    (18, 0.9)
    """
    ranked, days = sorted(counts), len(counts)
    place = min(days, math.ceil(Fraction(9, 10) * (days + 1)))
    return Days(days, ranked[days - place], sum(ranked) / days, ranked[place - 1], place / (days + 1))
