"""A fitted reader's weights as whole numbers, as `models.reading.encoder` reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from models.reading.encoder import CURVE_END, CURVE_STEPS, HEED_END, HEED_STEPS, MATRICES, NORMS

HEADS = 12
Weights = dict[str, Any]


def quantised(w: Weights) -> dict[str, npt.NDArray[Any]]:
    """The weights as `models.reading.encoder` reads them: whole numbers, what one of them is worth, and the curves."""
    plain = ("places", "parts", "marks", "norm", "norm_bias")
    steps = np.arange(-CURVE_END * CURVE_STEPS, CURVE_END * CURVE_STEPS + 1) / CURVE_STEPS
    unit = (np.abs(w["words"]).max(1, keepdims=True) / 127 + 1e-12).astype(np.float32)
    found = {
        "heads": np.array(HEADS),
        "words": np.rint(w["words"] / unit).astype(np.int8),
        "words.unit": unit,
        "curve": np.array([x * 0.5 * (1 + math.erf(x / 2**0.5)) for x in steps], np.float32),
        "heed": np.rint([127 * math.exp(-n / HEED_STEPS) for n in range(HEED_STEPS * HEED_END + 1)]).astype(
            np.float32
        ),
        **{name: np.asarray(w[name], np.float32) for name in plain},
        **_whole("answer", w),
    }
    for n, layer in enumerate(w["layers"]):
        for name in MATRICES:
            found |= {f"{n}.{key}": value for key, value in _whole(name, layer).items()}
        for name in NORMS:
            found |= {f"{n}.{key}": np.asarray(layer[key], np.float32) for key in (name, f"{name}_bias")}
    return found


def _whole(name: str, of: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
    weights = np.asarray(of[name], np.float32)
    unit = (np.maximum(np.abs(weights).max(0), 1e-9) / 127).astype(np.float32)
    whole = np.rint(weights / unit).astype(np.int8)
    return {name: whole, f"{name}.unit": unit, f"{name}_bias": np.asarray(of[f"{name}_bias"], np.float32)}
