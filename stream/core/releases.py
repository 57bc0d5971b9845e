"""What judges a session: a model, the readers that its rows are made by, and a policy, which go live together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from models.contracts import Family
from models.forest.joint import Joint
from models.heads.readers import Readers
from stream.policy import Levels, Policy


class Scorer(Protocol):
    """What judge needs of a model: bundled, challenger and null one alike."""

    def score(self, X: npt.NDArray[np.float64], seen: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Scores in units of 0.0001, 0 to 10000, one for each row of features.

        `seen` are the calls that the row's session has made before.
        """
        ...

    def shares(self, row: Sequence[float]) -> list[tuple[Family, int]]:
        """What each family adds to a row's score, in hundredths of log odds, the greatest first; empty if not known."""
        ...


class Release(NamedTuple):
    """A model, the readers that its rows are made by, and a policy: they go live together."""

    name: str
    scorer: Scorer
    readers: Readers
    policy: Policy
    levels: Levels
    joint: Joint | None = None
    """How a reader's word is joined with the model's; None: no call is read."""


class PolicyNames:
    """What decisions call a policy: name and digest, computed once for each policy object."""

    def __init__(self) -> None:
        self._names: dict[int, tuple[Policy, str]] = {}  # holds the policies, so that no id comes twice

    def __call__(self, policy: Policy) -> str:
        held = self._names.get(id(policy))
        if held is None:
            if len(self._names) >= 64:
                self._names.clear()
            held = self._names[id(policy)] = (policy, f"{policy.name}@{policy.digest}")
        return held[1]
