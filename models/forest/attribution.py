"""What each family of evidence adds to a score, in log odds: Shapley values against a typical honest call.

A family's value is what the score loses when its figures are those of a typical honest call, averaged over all
orders in which the families may be so replaced: Lundberg and Lee, A Unified Approach to Interpreting Model
Predictions, NeurIPS 2017, with one reference row (Sundararajan and Najmi, The Many Shapley Values, ICML 2020, 3.2).
There are four families that a model reads: all sixteen rows are asked, and the values are exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from models.contracts import Family
from models.evidence.features.registry import FEATURES
from models.forest.trees import LEAF_BITS, Forest

T = TypeVar("T", bound=str)

LEARNT: tuple[Family, ...] = ("intent", "provenance", "scope", "sequence")
"""Families whose figures a model reads; the others speak through signals alone."""
_BEGINNINGS: dict[Family, tuple[str, ...]] = {
    "intent": (
        "intent_",
        "tool_",
        "call_",
        "clause_",
        "action_asked",
        "handed",
        "source_named",
        "source_acts",
        "source_any",
        "source_likeness",
    ),
    "provenance": ("args_", "sink_", "best_intent", "source_", "aimed"),
    "sequence": ("tool_lure", "line_", "trifecta"),
}
"""Beginnings of the names of features; what none fits is scope."""
_HUNDREDTHS = 100


def by_beginning(name: str, families: Mapping[T, Sequence[str]], other: T) -> T:
    """The family that a name begins like: of several beginnings that fit the longest decides."""
    fits = [
        (len(start), family)
        for family, starts in families.items()
        for start in starts
        if name.startswith(start)
    ]
    return max(fits, default=(0, other))[1]


def family_of(feature: str) -> Family:
    """The family that a feature is evidence of.

    >>> family_of("tool_lure_gain"), family_of("tool_affinity"), family_of("source_age"), family_of("outward")
    ('sequence', 'intent', 'provenance', 'scope')
    """
    return by_beginning(feature, _BEGINNINGS, "scope")


_COLUMNS = [[n for n, name in enumerate(FEATURES) if family_of(name) == family] for family in LEARNT]
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
    found = []
    for n, family in enumerate(LEARNT):
        added = sum(
            _WEIGHTS[subset.bit_count()] * (sums[subset | 1 << n] - sums[subset])
            for subset in _SUBSETS
            if not subset >> n & 1
        )
        unit = 12 << LEAF_BITS
        found.append((family, (2 * _HUNDREDTHS * added + unit) // (2 * unit)))
    return sorted(found, key=lambda one: -one[1])
