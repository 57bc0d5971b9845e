"""What a threshold costs: alerts a day against hijacks caught, and the cost of both kinds of error."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from models.errors import ConfigError
from models.forest.units import UNITS, Ints
from models.training.calibrate import task_weights
from models.training.populations import Population
from models.training.rates import Flags
from models.training.ways import Compared

POINTS = 60
"""Points of a curve at most."""


class Budget(NamedTuple):
    """A deployment: sessions a day, the share of them that is hijacked, and how many false alerts a missed hijack is worth."""

    sessions_a_day: float = 1000.0
    hijacked_share: float = 0.001
    cost_ratio: float = 100.0

    def checked(self) -> Budget:
        """Itself, if it is one; `ConfigError` otherwise."""
        if not (self.sessions_a_day > 0 and 0 <= self.hijacked_share <= 1 and self.cost_ratio >= 0):
            raise ConfigError(
                "--sessions-a-day is above 0, --hijacked-share from 0 to 1, --cost-ratio 0 or more; "
                f"given were {self.sessions_a_day:g}, {self.hijacked_share:g} and {self.cost_ratio:g}"
            )
        return self

    def alerts(self, honest: float, caught: float) -> float:
        """Alerts a day, false and true, where these shares of honest and of hijacked sessions are alerted.

        >>> round(Budget(1000, 0.01, 100).alerts(0.02, 0.5), 6)
        24.8
        """
        return self.sessions_a_day * ((1 - self.hijacked_share) * honest + self.hijacked_share * caught)

    def cost(self, honest: float, caught: float) -> float:
        """Cost a day in false alerts: each is 1, a hijack that nobody alerts is `cost_ratio`, one that is alerted is 0.

        >>> round(Budget(1000, 0.01, 100).cost(0.02, 0.5), 6)
        519.8
        """
        false = self.sessions_a_day * (1 - self.hijacked_share) * honest
        return false + self.sessions_a_day * self.hijacked_share * (1 - caught) * self.cost_ratio


def costs(
    population: Population, highest: Ints, alerted: Flags, compared: Compared, budget: Budget
) -> dict[str, Any] | None:
    """The curve over all thresholds of the score, its cheapest point, and the point as shipped; None without both kinds of session.

    Parameters
    ----------
    highest : the highest score of each session
    alerted : sessions that verdicts as shipped alert on
    """
    honest, bad, _ = compared
    if not honest.any() or not bad.any():
        return None
    curve = [
        _point(population, highest >= at, compared, budget) | {"threshold": at / UNITS}
        for at in _thresholds(highest, compared)
    ]
    never, all_of_them = budget.cost(0.0, 0.0), budget.cost(1.0, 1.0)
    return {
        **budget._asdict(),
        "curve": curve,
        "cheapest": min(curve, key=lambda one: one["cost"]),
        "as_shipped": _point(population, alerted, compared, budget),
        "cost_without_alerts": round(never, 6),
        "cost_alerting_all": round(all_of_them, 6),
    }


def _thresholds(highest: Ints, compared: Compared) -> list[int]:
    """From where no session reaches it down, those at which a share changes; of many, some that lie evenly among the sessions."""
    scores = np.unique(highest[compared.honest | compared.hijacked])[::-1]
    chosen = (
        np.unique(np.linspace(0, len(scores) - 1, POINTS).round().astype(np.int64))
        if len(scores) > POINTS
        else np.arange(len(scores))
    )
    return [int(scores[0]) + 1, *scores[chosen].tolist()]


def _point(population: Population, flagged: Flags, compared: Compared, budget: Budget) -> dict[str, Any]:
    weights = task_weights(population.task[compared.honest].tolist())
    honest = float((flagged[compared.honest] * weights).sum() / weights.sum())
    caught = population.caught(compared.hijacked, flagged)
    return {
        "honest_alerted": round(honest, 6),
        "caught": caught,
        "alerts_a_day": round(budget.alerts(honest, caught["rate"]), 6),
        "cost": round(budget.cost(honest, caught["rate"]), 6),
    }
