"""Scores and log odds: the sigmoid as a table of whole numbers, computed in decimal arithmetic."""

from __future__ import annotations

from bisect import bisect_left
from decimal import ROUND_CEILING, Context, Decimal
from functools import cache
from math import isqrt, log

import numpy as np

from models.errors import ArtefactError
from models.forest.units import LEAF_BITS, UNITS, Floats, Ints

_FAR = np.iinfo(np.int64).max
_DECIMAL = Context(prec=50)


def sigmoid_cuts(slope: float, intercept: float) -> Ints:
    """Least sum for each score of 1 / (1 + exp(slope * sum + intercept)), k = 1..10000.

    Computed in decimal arithmetic of 50 digits, whose logarithm is correctly rounded: the same table on every
    machine, which the C library's ``exp`` would not promise.
    """
    if not slope < 0:
        raise ArtefactError(
            f"calibration slope {slope} is not negative: the model ranks backwards, retrain it"
        )
    context = _DECIMAL
    a, b = Decimal(slope), Decimal(intercept)
    scale = Decimal(2**LEAF_BITS)
    cuts = np.empty(UNITS, dtype=np.int64)
    for number, logit in enumerate(_logits()):
        margin = context.divide(context.minus(context.add(logit, b)), a)
        least = context.multiply(margin, scale).to_integral_value(rounding=ROUND_CEILING, context=context)
        cuts[number] = max(-_FAR, min(_FAR, int(least)))
    return cuts


@cache
def _logits() -> tuple[Decimal, ...]:
    """Log odds from which on a probability rounds to k units, k = 1..10000: those of (k - 1/2) units."""
    # Of odd numbers alone, and most are products: a quarter of the logarithms are taken, since each takes 0.1 ms.
    logarithms = {1: Decimal(0)}
    for odd in range(3, 2 * UNITS, 2):
        divisor = next((by for by in range(3, isqrt(odd) + 1, 2) if odd % by == 0), None)
        logarithms[odd] = (
            _DECIMAL.add(logarithms[divisor], logarithms[odd // divisor]) if divisor else _DECIMAL.ln(odd)
        )
    return tuple(
        _DECIMAL.subtract(logarithms[2 * k - 1], logarithms[2 * UNITS - 2 * k + 1])
        for k in range(1, UNITS + 1)
    )


def log_odds(units: int) -> float:
    """Log odds from which on a score is at least `units` of 0.0001; 10001, which none is, lies a step beyond the last.

    >>> log_odds(5000) < 0 < log_odds(5001), round(log_odds(10_000), 2), round(log_odds(10_001), 2)
    (True, 9.9, 11.29)
    """
    return _steps()[max(units, 1) - 1]


def least_score(odds: float) -> int:
    """The least score, in units of 0.0001, that stands for log odds of `odds` or more: the inverse of `log_odds`.

    >>> [least_score(log_odds(units)) for units in (1, 3821, 9999, 10_000, 10_001)]
    [1, 3821, 9999, 10000, 10001]
    """
    return bisect_left(_steps(), odds - 1e-9) + 1


def log_odds_of(scores: Ints) -> Floats:
    """`log_odds` of each score.

    >>> log_odds_of(np.array([0, 5000, 5001])).round(4).tolist()
    [-9.9034, -0.0002, 0.0002]
    """
    found: Floats = _table()[np.maximum(scores, 1) - 1]
    return found


def least_scores(odds: Floats) -> Ints:
    """The score that stands for each of these log odds: the greatest whose `log_odds` are no more.

    >>> least_scores(np.array([-20.0, 0.0, 0.0003, 20.0])).tolist()
    [0, 5000, 5001, 10000]
    """
    return np.searchsorted(_table()[:UNITS], odds, side="right").astype(np.int64)


@cache
def _table() -> Floats:
    return np.array(_steps())


@cache
def _steps() -> list[float]:
    """Log odds from which on a score is at least 1, 2 ... 10000 units, and those that stand for more."""
    return [*map(float, _logits()), log((UNITS - 0.125) / 0.125)]
