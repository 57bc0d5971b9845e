"""What judges a session: a model, the readers that its rows are made by, and a policy, which go live together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
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
    tenants: Mapping[str, Levels] = MappingProxyType({})
    """Levels of tenants that have some of their own."""

    def levels_of(self, tenant: str) -> Levels:
        """The levels that calls of a tenant are held against."""
        return self.tenants.get(tenant, self.levels)


class InUse(NamedTuple):
    """Under what a partition's sessions begin: a digest, empty for what workers begin with, and what decisions call it and its policy."""

    digest: str
    release: str
    policy: str


class Releases(dict[str, Release]):
    """Releases by digest: those at hand from the start, and those that `find` brings when the log first names them.

    A digest binds all that a release's decisions depend on, so when and where it is found changes none of them.

    Parameters
    ----------
    known : mapping of str to Release
        Those at hand.
    find : callable, optional
        From a digest to the release that it names, None where there is none.
    """

    def __init__(
        self, known: Mapping[str, Release], find: Callable[[str], Release | None] | None = None
    ) -> None:
        super().__init__(known)
        self._find = find

    def __missing__(self, digest: str) -> Release:
        """The release of a digest that is not at hand; `KeyError` where there is none."""
        found = self._find(digest) if self._find is not None else None
        if found is None:
            raise KeyError(digest)
        self[digest] = found
        return found


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
