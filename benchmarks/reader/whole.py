"""A fitted reader's weights as whole numbers, as `models.reading.encoder` reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from models.reading.encoder import CURVE_END, CURVE_STEPS, HEED_END, HEED_STEPS, MATRICES

HEADS = 12
Weights = dict[str, npt.NDArray[np.float32]]
"""By the names of `models.reading.encoder`."""


def layers_of(w: Mapping[str, Any]) -> int:
    """How many layers the weights are of."""
    return sum(name.endswith(".ask") for name in w)


def quantised(w: Weights) -> dict[str, npt.NDArray[Any]]:
    """The weights as `models.reading.encoder` reads them: whole numbers, what one of them is worth, and the curves."""
    steps = np.arange(-CURVE_END * CURVE_STEPS, CURVE_END * CURVE_STEPS + 1) / CURVE_STEPS
    unit = (np.abs(w["words"]).max(1, keepdims=True) / 127 + 1e-12).astype(np.float32)
    matrices = {name for name in w if name.split(".")[-1] in (*MATRICES, "answer", "widen")}
    found = {
        "heads": np.array(HEADS),
        "curve": np.array([x * 0.5 * (1 + math.erf(x / 2**0.5)) for x in steps], np.float32),
        "heed": np.rint([127 * math.exp(-n / HEED_STEPS) for n in range(HEED_STEPS * HEED_END + 1)]).astype(
            np.float32
        ),
        **w,
        "words": np.rint(w["words"] / unit).astype(np.int8),
        "words.unit": unit,
    }
    for name in matrices:
        each = (np.maximum(np.abs(w[name]).max(0), 1e-9) / 127).astype(np.float32)
        found |= {name: np.rint(w[name] / each).astype(np.int8), f"{name}.unit": each}
    return found
