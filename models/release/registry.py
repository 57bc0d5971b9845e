"""Models on disk: a skops file and a manifest that says what it is.

Never pickle: the file is read as data (`models.release.estimator`), and the manifest's digest ties the bytes to what was
trained and measured.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from models.contracts import Family
from models.errors import ArtefactError, ConfigError, DigestMismatch, FeaturesMismatch
from models.evidence.features.registry import FEATURES, FEATURES_VERSION
from models.forest import allowances, attribution, trees, units
from models.forest.trees import Forest
from models.forest.units import Floats, Ints
from models.release import estimator

BUNDLED = Path(__file__).resolve().parent / "bundled"
MODEL_FILE = "model.skops"
MANIFEST_FILE = "manifest.json"
OUT_OF_FOLD_FILE = "out_of_fold.npz"
"""What training leaves beside a model: scores by models that did not learn from a call's domain. No part of a release."""
MANIFEST_VERSION = 1

UNNAMED = "model"
"""Name of a model whose manifest has none."""
NEVER = units.UNITS + 1
"""A threshold that no score reaches: the budget cannot be kept otherwise."""


@dataclass(frozen=True)
class Model:
    """A scorer with its papers.

    Attributes
    ----------
    name : for people; it stands in decisions, so it comes from the manifest: where a release lies is no matter of the log's
    digest : SHA-256 of the model file, hexadecimal
    manifest : what `save` wrote
    """

    name: str
    digest: str
    manifest: Mapping[str, Any] = field(repr=False)
    forest: Forest = field(repr=False)

    @cached_property
    def _thresholds(self) -> list[tuple[float, int]]:
        return sorted((float(budget), int(units)) for budget, units in self.manifest["thresholds"].items())

    def score(self, X: Floats, seen: Ints) -> Ints:
        """Scores 0..10000 for rows of features of calls, whose sessions have made `seen` calls before each."""
        return self.forest.score(X, seen)

    def shares(self, row: Sequence[float]) -> list[tuple[Family, int]]:
        """What each family adds to the score of a row, see `models.forest.attribution.shares`; nothing without a ``typical`` row."""
        typical = self.manifest.get("typical")
        return attribution.shares(self.forest, row, typical) if typical is not None else []

    def threshold(self, budget: float) -> int:
        """Least score (units) that keeps a session-level false-positive budget; flagged means score >= it.

        A budget between two measured ones gets the stricter of them.
        """
        return _threshold(self._thresholds, budget)


@dataclass(frozen=True)
class NullModel:
    """The floor: answers the base rate to everything."""

    base_rate: float = 0.0
    name: str = "null"
    digest: str = "0" * 64
    manifest: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def score(self, X: Floats, seen: Ints) -> Ints:
        """The base rate, in units, for each row."""
        return np.full(len(X), round(self.base_rate * units.UNITS), dtype=np.int64)

    def shares(self, row: Sequence[float]) -> list[tuple[Family, int]]:
        """No family adds anything."""
        return []

    def threshold(self, budget: float) -> int:
        """No threshold of a constant score keeps a budget below 1, save flagging nothing."""
        return NEVER


def _threshold(measured: Sequence[tuple[float, int]], budget: float) -> int:
    kept = [units for have, units in measured if have <= budget]
    if not kept:
        listed = ", ".join(f"{have:g}" for have, _ in measured)
        raise ConfigError(f"no threshold was measured for a budget of {budget:g}; the model has {listed}")
    return min(kept)


def digest_of(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_manifest(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Write a manifest that is whole."""
    text = json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    (directory / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a model's directory, its shape checked."""
    path = directory / MANIFEST_FILE
    try:
        manifest = json.loads(path.read_bytes())
    except OSError as error:
        if not directory.exists():
            raise ArtefactError(f"the model directory {directory} does not exist; mend the path") from error
        raise ArtefactError(f"no model in {directory}: {error.strerror}; run `driftline train`") from error
    except ValueError as error:
        raise ArtefactError(f"{path} is not JSON: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("manifest_version") != MANIFEST_VERSION:
        raise ArtefactError(f"{path} is not a manifest of version {MANIFEST_VERSION}; retrain the model")
    thresholds = manifest.get("thresholds")
    sound = isinstance(thresholds, dict) and all(
        isinstance(units, int) and 0 <= units <= NEVER for units in thresholds.values()
    )
    features, typical = manifest.get("features"), manifest.get("typical")
    if not sound or not isinstance(features, list):
        raise ArtefactError(f"{path} lacks its thresholds or features; retrain the model")
    if not re.fullmatch(r"[\w.-]{1,64}", str(manifest.get("name", UNNAMED))):
        raise ArtefactError(f"{path} has a name that is none; use up to 64 letters, digits, dots and dashes")
    if typical is not None:
        of_numbers = isinstance(typical, list) and all(isinstance(figure, int | float) for figure in typical)
        if not of_numbers or len(typical) != len(features):
            raise ArtefactError(
                f"{path} has a typical call that is not one number a feature; retrain the model"
            )
    return manifest


def _difference(trained: Sequence[str], computed: Sequence[str]) -> str:
    """What tells two lists of features apart, in words."""
    new, gone = ([name for name in a if name not in b] for a, b in ((computed, trained), (trained, computed)))
    parts = [f"{what} {', '.join(names)}" for what, names in (("new are", new), ("gone are", gone)) if names]
    return " and ".join(parts) or "they stand in another order"


def load(
    directory: Path | None = None,
    features: Sequence[str] = FEATURES,
    features_version: int = FEATURES_VERSION,
) -> Model:
    """Read and check a model.

    Parameters
    ----------
    directory : None = the model that comes with the package
    features, features_version : what the caller computes
    """
    directory = BUNDLED if directory is None else directory
    manifest = read_manifest(directory)
    path = directory / MODEL_FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtefactError(f"{path} cannot be read: {error.strerror}; reinstall the model") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != manifest.get("sha256"):
        raise DigestMismatch(
            f"{path} has SHA-256 {digest}, its manifest says {manifest.get('sha256')}; fetch it again, and suspect"
            " tampering if that changes nothing"
        )
    if manifest["features"] != list(features):
        raise FeaturesMismatch(
            f"{directory} was trained on other features than this program computes: {_difference(manifest['features'], features)};"
            " retrain with `driftline train`"
        )
    if manifest.get("features_version") != features_version:
        raise FeaturesMismatch(
            f"{directory} was trained on features of version {manifest.get('features_version')}, this program"
            f" computes version {features_version}; retrain with `driftline train`"
        )
    if manifest.get("allowance", allowances.ALLOWED) != allowances.ALLOWED:
        raise FeaturesMismatch(
            f"{directory} has thresholds for scores with another allowance than this program's;"
            " retrain with `driftline train`"
        )
    try:
        forest = trees.from_sklearn(estimator.read(data), allowances.shifts_of(features))
    except ArtefactError as error:
        raise ArtefactError(f"{path} cannot be read as a model: {error}") from error
    except Exception as error:  # whatever zip, JSON or numpy raise on damaged bytes
        raise ArtefactError(
            f"{path} cannot be read as a model ({error}); it was written by scikit-learn {manifest.get('sklearn')}"
        ) from error
    if forest.n_features != len(features):
        raise FeaturesMismatch(
            f"{path} reads {forest.n_features} features, its manifest lists {len(features)}"
        )
    return Model(name=manifest.get("name", UNNAMED), digest=digest, manifest=manifest, forest=forest)
