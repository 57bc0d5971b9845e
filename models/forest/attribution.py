"""What each family of evidence adds to a score, in log odds: Shapley values against a typical honest call.

A family's value is what the score loses when its figures are those of a typical honest call, averaged over all
orders in which the families may be so replaced: Lundberg and Lee, A Unified Approach to Interpreting Model
Predictions, NeurIPS 2017, with one reference row (Sundararajan and Najmi, The Many Shapley Values, ICML 2020, 3.2).
There are four families that a model reads: all sixteen rows are asked, and the values are exact.
"""

from __future__ import annotations

from collections.abc import Sequence

from models.contracts import Family
from models.evidence.features.registry import SPECS
from models.forest.trees import Forest
from models.forest.units import LEAF_BITS

LEARNT: tuple[Family, ...] = ("intent", "provenance", "scope", "sequence")
"""Families whose figures a model reads; the others speak through signals alone."""
_HUNDREDTHS = 100


_COLUMNS = [[n for n, feature in enumerate(SPECS) if feature.family == family] for family in LEARNT]
_SUBSETS = range(1 << len(LEARNT))
_WEIGHTS = (3, 1, 1, 3)
"""Twelfths: of the orders of four families, those in which so many others are replaced before one."""


def shares(forest: Forest, row: Sequence[float], typical: Sequence[float]) -> list[tuple[Family, int]]:
    """What each family of `LEARNT` adds to the score of `row`, in hundredths of log odds, the greatest first.

    Parameters
    ----------
    row, typical : features of the call, and of a typical honest one

    The values add up, but for rounding, to what the trees say of `row` less what they say of `typical`. Negative ones
    speak for the call.
    """
    sums = forest.mixed(row, typical, _COLUMNS).tolist()
    by_family: list[tuple[Family, int]] = []
    for n, family in enumerate(LEARNT):
        added = sum(
            _WEIGHTS[subset.bit_count()] * (sums[subset | 1 << n] - sums[subset])
            for subset in _SUBSETS
            if not subset >> n & 1
        )
        unit = 12 << LEAF_BITS
        by_family.append((family, (2 * _HUNDREDTHS * added + unit) // (2 * unit)))
    return sorted(by_family, key=lambda share: -share[1])
