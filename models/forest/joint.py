"""One score of two: what the forest and the reader say of a call that was read, joined in log odds.

The weights are fitted on scores by forests and readers that had not learnt from the call's domain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from models.errors import ArtefactError
from models.forest.odds import least_scores, log_odds_of
from models.forest.units import UNITS, Floats, Ints


class Joint(NamedTuple):
    """How two scores are joined.

    Attributes
    ----------
    least : of the forest's score, in units of 0.0001, from which on a call is read
    forest, reader, bias : weights of both log odds, and what is added
    """

    least: int
    forest: float
    reader: float
    bias: float

    @classmethod
    def parse(cls, told: Mapping[str, Any]) -> Joint:
        """As a manifest tells it; raises `ArtefactError` where it does not, or a higher score would lower the joined one."""
        try:
            joint = cls(int(told["least"]), *(float(told[name]) for name in ("forest", "reader", "bias")))
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError(
                f"the manifest does not say how scores are joined ({error!r}); retrain"
            ) from error
        if not (0 <= joint.least <= UNITS and joint.forest >= 0 and joint.reader >= 0):
            raise ArtefactError(
                f"scores are joined by {joint}: a higher one must not lower the whole; retrain"
            )
        return joint

    def scores(self, forest: Ints, reader: Floats) -> Ints:
        """Joined scores, in units: of the forest's scores and the reader's log odds, one for each call.

        Sums and products of floats, in one order, and look-ups: the same everywhere (IEEE 754).
        """
        return least_scores(self.forest * log_odds_of(forest) + self.reader * reader + self.bias)
