"""The sessions of an evaluation by what is told of them, and shares of them with intervals by task and goal."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from models.training import calibrate
from models.training.dataset import Calls
from models.training.rates import Flags, Rate, clustered


class Population:
    """Sessions with their labels; whoever derives from it has `calls`."""

    @property
    def calls(self) -> Calls:
        """Labels aligned to the rows."""
        raise NotImplementedError

    def column(self, name: str) -> npt.NDArray[np.str_]:
        """A label of every session."""
        return np.array([str(getattr(session, name)) for session in self.calls.sessions], dtype=np.str_)

    @cached_property
    def kind(self) -> npt.NDArray[np.str_]:
        """Kind of every session."""
        return self.column("kind")

    @cached_property
    def domain(self) -> npt.NDArray[np.str_]:
        """Domain of every session."""
        return self.column("domain")

    @cached_property
    def variant(self) -> npt.NDArray[np.str_]:
        """Variant of every session."""
        return self.column("variant")

    @cached_property
    def task(self) -> npt.NDArray[np.str_]:
        """User task of every session."""
        return self.column("task")

    @cached_property
    def goal(self) -> npt.NDArray[np.str_]:
        """Digest of the attacker's goal of every session, or its task where it has none."""
        own = self.column("goal")
        return np.where(own == "None", self.task, np.char.add(np.char.add(self.domain, "/"), own))

    @cached_property
    def hard(self) -> Flags:
        """Sessions whose *user* asks for what elsewhere is an attack."""
        return np.array(
            ["/injection_task_" in session.task for session in self.calls.sessions], dtype=np.bool_
        )

    def with_any(self, calls: Flags) -> Flags:
        """Sessions that have one of these calls."""
        found = np.zeros(len(self.calls.sessions), dtype=np.bool_)
        found[self.calls.session[calls]] = True
        return found

    def caught(self, chosen: Flags, flags: Flags) -> Rate:
        """Share of sessions that are flagged, with task and goal resampled."""
        return clustered(flags[chosen], [self.task[chosen], self.goal[chosen]])

    def alarms(self, chosen: Flags, flags: Flags) -> Rate:
        """Share of sessions that are flagged, with each task weighing the same, tasks resampled."""
        weights = calibrate.task_weights(self.task[chosen].tolist())
        return clustered(flags[chosen], [self.task[chosen]], weights)


class Labelled(Population):
    """Sessions of which nothing but their labels is needed."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    @property
    def calls(self) -> Calls:
        """Labels aligned to the rows."""
        return self._calls
