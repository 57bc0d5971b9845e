"""What may be spent on second opinions: so many questions an hour, so much money a day. Time comes from outside."""

from __future__ import annotations

from collections import deque

HOUR_S, DAY_S = 3600.0, 86_400.0


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
        self._asked: deque[tuple[float, float]] = deque()

    def take(self, tokens: int, now_s: float) -> bool:
        """Whether a question of at most so many tokens may be asked now; if so its cost is set aside."""
        while self._asked and self._asked[0][0] <= now_s - DAY_S:
            self._asked.popleft()
        in_hour = sum(at > now_s - HOUR_S for at, _ in self._asked)
        cost = tokens * self._per_million / 1e6
        if in_hour >= self._per_hour or sum(paid for _, paid in self._asked) + cost > self._per_day:
            return False
        self._asked.append((now_s, cost))
        return True
