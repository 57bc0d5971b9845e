"""The fitted estimator in a skops file, read as plain data: no class is imported, none is built.

A skops file is a zip: ``schema.json`` holds a tree of nodes, each with the type it stands for and how it is read
(``__loader__``), and every array is an ``.npy`` beside it (https://skops.readthedocs.io/en/stable/persistence.html). The
live path needs a few numbers of it, and scikit-learn with skops would take seconds and some 100 MB to load for them.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np

from models.errors import ArtefactError

TYPES = frozenset(
    {
        "sklearn.calibration.CalibratedClassifierCV",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.frozen._frozen.FrozenEstimator",
    }
)
"""Types whose attributes are read. Widening it is a change of code, on purpose."""
MAX_BYTES = 256 << 20
"""Bytes of all that the file holds, unpacked: the bundled model's has 5 MiB."""
PROTOCOL = 2
"""Version of skops's tree that is understood."""


class Stored:
    """An object of the file; an attribute is read when it is asked for. One that it lacks is an `AttributeError`."""

    def __init__(self, attributes: Mapping[str, Any], archive: zipfile.ZipFile) -> None:
        self._attributes = attributes
        self._archive = archive

    def __getattr__(self, name: str) -> Any:
        node = self._attributes.get(name)
        if node is None:
            raise AttributeError(f"it has no {name}")
        return _value(node, self._archive)


def read(data: bytes) -> Any:
    """What a skops file holds: a number, a text, a list, an array, or a `Stored` object of one of `TYPES`.

    Raises
    ------
    ArtefactError
        Where it holds another type, or is laid out as another version of skops lays it out.
    zipfile.BadZipFile, KeyError, TypeError, ValueError
        Where its bytes are damaged.
    """
    archive = zipfile.ZipFile(BytesIO(data))
    if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
        raise ArtefactError(f"it unpacks to more than {MAX_BYTES >> 20} MiB")
    root = json.loads(archive.read("schema.json"))
    if root["protocol"] != PROTOCOL:
        raise ArtefactError(f"it is laid out by skops's protocol {root['protocol']}, {PROTOCOL} is read")
    return _value(root, archive)


def _value(node: Mapping[str, Any], archive: zipfile.ZipFile) -> Any:
    loader = node["__loader__"]
    if loader == "JsonNode":
        return json.loads(node["content"])
    if loader == "NdArrayNode" and node["type"] == "numpy":
        return np.load(BytesIO(archive.read(node["file"])), allow_pickle=False)
    if loader == "ListNode":
        return [_value(item, archive) for item in node["content"]]
    name = f"{node['__module__']}.{node['__class__']}"
    if loader != "ObjectNode" or name not in TYPES:
        raise ArtefactError(f"it holds a {name}, which is not trusted")
    return Stored(node["content"]["content"], archive)
