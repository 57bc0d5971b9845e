"""The whole numbers that scores are made of: units of a score, and of the sums of leaves that it comes from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

UNITS = 10_000
"""Scores count units of 0.0001."""

LEAF_BITS = 32
"""Leaves are kept in units of 2**-32: far below what could move a score by one unit."""


def whole(value: float) -> int:
    """A leaf value in units of 2**-32, rounded half to even; exact, since scaling by 2**32 is."""
    return round(float(value) * 2.0**LEAF_BITS)
