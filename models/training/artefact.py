"""Writing a model: the fitted pipeline as a skops file, with its papers beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sklearn
import skops.io

from models.errors import ArtefactError
from models.forest import trees
from models.release import estimator
from models.release.registry import MANIFEST_VERSION, MODEL_FILE, digest_of, write_manifest

TRUSTED = (
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
)
"""Types beyond skops's own list that a model file holds: what ``skops.io.load`` is told to trust. Workers build none of them."""


def save(directory: Path, pipeline: Any, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``model.skops`` and ``manifest.json``; returns the manifest as written.

    Parameters
    ----------
    pipeline : the calibrated estimator that `models.training.fit` fits
    manifest : at least `features`, `features_version` and `thresholds`; format, digest and the library's
        version are added here
    """
    missing = {"features", "features_version", "thresholds"} - set(manifest)
    if missing:
        raise ArtefactError(f"the manifest lacks {', '.join(sorted(missing))}")
    data = skops.io.dumps(pipeline, compression=8, compresslevel=9)  # 8: deflate
    trees.from_sklearn(estimator.read(data))  # what cannot be scored is not written
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / MODEL_FILE
    target.write_bytes(data)
    full = {
        **manifest,
        "manifest_version": MANIFEST_VERSION,
        "model_file": MODEL_FILE,
        "sha256": digest_of(target),
        "sklearn": sklearn.__version__,
    }
    write_manifest(directory, full)
    return full
