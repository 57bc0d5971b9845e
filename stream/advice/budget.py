"""What may be spent on second opinions: so many questions an hour, so much money a day. Time comes from outside."""

from __future__ import annotations

from collections import deque

HOUR_S, DAY_S = 3600.0, 86_400.0
TOKEN_CHARS = 3
"""Characters that a token stands for, at least: what a question costs is bounded before it is asked."""
ANSWER_TOKENS = 64
"""Tokens that an answer may take."""


class Budget:
    """Questions of the last hour, and money of the last day.

    Parameters
    ----------
    per_hour : questions
    per_day : money, in the currency of `per_million`
    per_million : what a million tokens cost
    """

    def __init__(self, per_hour: int, per_day: float, per_million: float) -> None:
        self._per_hour, self._per_day, self._per_million = per_hour, per_day, per_million
        self._asked: deque[float] = deque()
        self._paid: deque[tuple[float, float]] = deque()

    def take(self, characters: int, now_s: float) -> bool:
        """Whether a question of so many characters may be asked now; if so its cost is set aside."""
        while self._asked and self._asked[0] <= now_s - HOUR_S:
            self._asked.popleft()
        while self._paid and self._paid[0][0] <= now_s - DAY_S:
            self._paid.popleft()
        cost = (characters / TOKEN_CHARS + ANSWER_TOKENS) * self._per_million / 1e6
        if len(self._asked) >= self._per_hour or sum(paid for _, paid in self._paid) + cost > self._per_day:
            return False
        self._asked.append(now_s)
        self._paid.append((now_s, cost))
        return True
