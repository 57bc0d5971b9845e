"""Writing a model: the fitted pipeline as a skops file, with its papers beside it."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import sklearn
import skops.io

from models.errors import ArtefactError
from models.forest import trees
from models.release import estimator
from models.release.registry import MANIFEST_VERSION, MODEL_FILE, UNNAMED, digest_of, write_manifest

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
    data = numbered(skops.io.dumps(pipeline))
    trees.from_sklearn(estimator.read(data))  # what cannot be scored is not written
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / MODEL_FILE
    target.write_bytes(data)
    full = {
        **manifest,
        "name": re.sub(r"[^\w.-]", "-", directory.name)[:64] or UNNAMED,
        "manifest_version": MANIFEST_VERSION,
        "model_file": MODEL_FILE,
        "sha256": digest_of(target),
        "sklearn": sklearn.__version__,
    }
    write_manifest(directory, full)
    return full


def numbered(data: bytes) -> bytes:
    """The same skops file, deflated, such that what is equal has equal bytes.

    skops calls objects and their arrays by their addresses in memory, and dates each entry. Here they are numbered in the order in
    which the tree has them, and every entry bears the first date that a zip can.
    """
    archive = zipfile.ZipFile(BytesIO(data))
    numbers: dict[int, int] = {}
    files: dict[str, str] = {}

    def renamed(node: dict[str, Any]) -> dict[str, Any]:
        if "__id__" in node:
            node["__id__"] = numbers.setdefault(node["__id__"], len(numbers) + 1)
        if isinstance(node.get("file"), str):
            node["file"] = files.setdefault(node["file"], f"{len(files) + 1}.npy")
        return node

    # Objects come innermost first, each once: the order of the file, which is that of the estimator's own attributes.
    schema = json.loads(archive.read("schema.json"), object_hook=renamed)
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for old, new in [*files.items(), ("schema.json", "schema.json")]:
            raw = archive.read(old) if new != "schema.json" else json.dumps(schema, indent=2).encode()
            packed.writestr(zipfile.ZipInfo(new), raw, zipfile.ZIP_DEFLATED, 9)
    return out.getvalue()
