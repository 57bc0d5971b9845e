"""An alarm that may be looked at any time: a conformal test martingale on what sessions score.

Of each session the conformal p-value among all before it (Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005, theorem
2.2): with ties broken at random the p-values are independent and uniform if the sessions are exchangeable, those calibrated on
among them. A gambler bets on each that they are not, with the Simple Jumper (Vovk, Petej, Nouretdinov, Ahlberg, Carlsson and Gammerman, "Retrain or
not retrain: conformal test martingales for change-point detection", COPA 2021): stakes 1 + e (p - 1/2), e of -1, 0, 1, and before each
bet a hundredth of the wealth shared out anew among them. The wealth begins at 1 and is a martingale, so that the chance that
it ever reaches 1/alpha is at most alpha (Ville 1939): no number of looks spoils it.

What breaks ties is drawn from a hash of the session's name: the same sessions give the same wealth.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import numpy as np

from models.promise.conformal import ALWAYS

JUMP = 0.01
"""Share of the wealth that is shared out anew before each bet, as the paper has it."""
STAKES = (-1.0, 0.0, 1.0)
"""What is bet on: p-values below a half (scores rise), none, above (scores fall)."""
FALSE_ALARM = 0.01
"""How likely traffic that is as it was ever raises the alarm."""


def tie(*name: str) -> float:
    """What breaks a session's ties: a number between 0 and 1, drawn from a hash of its name.

    >>> 0 < tie("acme", "s-1") < 1, tie("acme", "s-1") == tie("acme", "s-1"), tie("a", "bc") == tie("ab", "c")
    (True, True, False)
    """
    drawn = hashlib.sha256(b"".join(len(part.encode()).to_bytes(8) + part.encode() for part in name)).digest()
    return (int.from_bytes(drawn[:6]) + 0.5) / (1 << 48)


class Alarm:
    """The wealth of one gambler, within a bounded state: how often each score was seen, and three stakes.

    Parameters
    ----------
    seen : mapping of score to count
        Sessions calibrated on, by their highest score, 0 to `ALWAYS`.

    Attributes
    ----------
    sessions : int
        Bet on.
    wealth : float
        Its logarithm to base 10; 0 at the start.
    highest : float
        The most that it ever was.
    highest_at : int
        After how many sessions that was.
    """

    def __init__(self, seen: Mapping[int, int]) -> None:
        self._seen = np.zeros(ALWAYS + 1, np.int64)
        for score, count in seen.items():
            self._seen[score] += count
        self._n = int(self._seen.sum())
        self._shares = [1 / len(STAKES)] * len(STAKES)
        self.sessions = self.highest_at = 0
        self.wealth = self.highest = 0.0

    def p_value(self, score: int, tie: float) -> float:
        """The share of all sessions so far, this one among them, that score higher, and of those that score the same as much as `tie` says."""
        higher, same = int(self._seen[score + 1 :].sum()), int(self._seen[score]) + 1
        return (higher + tie * same) / (self._n + 1)

    def take(self, score: int, tie: float) -> None:
        """Bet on one session more, and remember what it scored."""
        p = self.p_value(score, tie)
        self._seen[score] += 1
        self._n += 1
        spread = [(1 - JUMP) * share + JUMP / len(STAKES) for share in self._shares]
        won = [share * (1 + stake * (p - 0.5)) for share, stake in zip(spread, STAKES, strict=True)]
        total = math.fsum(won)
        self._shares = [share / total for share in won]
        self.wealth += math.log10(total)
        self.sessions += 1
        if self.wealth > self.highest:
            self.highest, self.highest_at = self.wealth, self.sessions

    def rings(self, false_alarm: float = FALSE_ALARM) -> bool:
        """Whether the wealth ever reached 1 / `false_alarm`."""
        return self.highest >= -math.log10(false_alarm)
