"""Models on disk: what is written is what is read, and nothing else is read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import FunctionTransformer
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from models.errors import ArtefactError, ConfigError, DigestMismatch, FeaturesMismatch
from models.forest import allowances, trees
from models.release import estimator, registry
from models.training import artefact
from tests.builders import first

FEATURES = ("a.one", "a.two", "b.three")
PAPERS: dict[str, Any] = {
    "features": list(FEATURES),
    "features_version": 4,
    "thresholds": {"0.001": 9000, "0.01": 5000, "0.05": 700},
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny fits on many threads wait for each other far longer than they compute."""
    with threadpool_limits(1):
        yield


def pipeline() -> Any:
    draws = np.random.default_rng(5)
    X = draws.normal(size=(800, 3))
    y = (X[:, 0] + draws.normal(size=800) > 1).astype(int)
    boosted = HistGradientBoostingClassifier(max_iter=8, early_stopping=False, random_state=0).fit(X, y)
    return CalibratedClassifierCV(FrozenEstimator(boosted), method="sigmoid").fit(X, y)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    artefact.save(tmp_path / "candidate", pipeline(), PAPERS)
    return tmp_path / "candidate"


def rewrite(directory: Path, **changes: Any) -> None:
    path = directory / registry.MANIFEST_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_saved_model_scores_as_the_pipeline_it_came_from(saved: Path) -> None:
    model = registry.load(saved, FEATURES, 4)
    X = np.random.default_rng(6).normal(size=(300, 3))
    assert np.abs(model.score(X, first(X)) - pipeline().predict_proba(X)[:, 1] * 10_000).max() <= 1
    assert model.name == "candidate"
    assert model.digest == model.manifest["sha256"] == registry.digest_of(saved / "model.skops")


def test_a_saved_twin_has_the_same_bytes_and_scores(saved: Path, tmp_path: Path) -> None:
    artefact.save(tmp_path / "twin", pipeline(), PAPERS)
    X = np.random.default_rng(7).normal(size=(300, 3))
    twin = registry.load(tmp_path / "twin", FEATURES, 4)
    assert twin.digest == registry.load(saved, FEATURES, 4).digest
    assert np.array_equal(twin.score(X, first(X)), registry.load(saved, FEATURES, 4).score(X, first(X)))


def test_a_model_s_name_is_the_manifest_s_wherever_it_lies(saved: Path, tmp_path: Path) -> None:
    """It stands in decisions: what a fetched release is called must be what a replay calls it."""
    moved = tmp_path / "elsewhere"
    shutil.copytree(saved, moved)
    assert registry.load(moved, FEATURES, 4).name == registry.load(saved, FEATURES, 4).name == saved.name
    copied = tmp_path / "copied"
    shutil.copytree(registry.BUNDLED, copied)
    assert registry.load(copied).name == registry.load().name == "bundled"
    rewrite(moved, name="two words")
    with pytest.raises(ArtefactError, match="name"):
        registry.load(moved, FEATURES, 4)


def test_thresholds_for_scores_with_another_allowance_are_refused(saved: Path) -> None:
    rewrite(saved, allowance=allowances.ALLOWED)
    registry.load(saved, FEATURES, 4)
    rewrite(saved, allowance={**allowances.ALLOWED, "log_odds": 0.1})
    with pytest.raises(FeaturesMismatch, match=r"allowance.*retrain"):
        registry.load(saved, FEATURES, 4)


@pytest.mark.parametrize(("budget", "units"), [(0.001, 9000), (0.002, 9000), (0.01, 5000), (0.5, 700)])
def test_threshold_between_budgets_is_the_stricter(saved: Path, budget: float, units: int) -> None:
    assert registry.load(saved, FEATURES, 4).threshold(budget) == units


def test_threshold_below_every_measured_budget_is_refused(saved: Path) -> None:
    with pytest.raises(ConfigError, match=r"0\.0001"):
        registry.load(saved, FEATURES, 4).threshold(0.0001)


def test_a_changed_byte_is_a_digest_mismatch(saved: Path) -> None:
    path = saved / registry.MODEL_FILE
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(DigestMismatch, match=r"fetch it again, and suspect tampering"):
        registry.load(saved, FEATURES, 4)


@pytest.mark.parametrize(
    ("features", "version", "told"),
    [
        (("a.one", "b.three", "a.two"), 4, "they stand in another order; retrain"),
        (("a.one", "a.two"), 4, "gone are b.three; retrain"),
        (("a.one", "a.two", "b.three", "c.new"), 4, "new are c.new; retrain"),
        (("a.one", "a.two", "c.new"), 4, "new are c.new and gone are b.three; retrain"),
        (FEATURES, 5, "version 4, this program computes version 5; retrain"),
    ],
)
def test_another_feature_list_or_version_is_refused(
    saved: Path, features: tuple[str, ...], version: int, told: str
) -> None:
    with pytest.raises(FeaturesMismatch, match=told):
        registry.load(saved, features, version)


def test_an_untrusted_type_is_refused_even_with_a_right_digest(saved: Path) -> None:
    skops.io.dump(FunctionTransformer(func=registry.digest_of), saved / registry.MODEL_FILE)
    rewrite(saved, sha256=registry.digest_of(saved / registry.MODEL_FILE))
    with pytest.raises(ArtefactError, match="not trusted"):
        registry.load(saved, FEATURES, 4)


@pytest.mark.parametrize(
    ("held", "told"),
    [
        ({"a": [1, 2]}, "not trusted"),
        ([1, 2], "boosting"),
        (pipeline().calibrated_classifiers_[0].estimator, "boosting"),  # not calibrated
    ],
    ids=["dict", "list", "bare"],
)
def test_trusted_bytes_that_are_no_calibrated_boosting_model_are_refused(
    saved: Path, held: Any, told: str
) -> None:
    skops.io.dump(held, saved / registry.MODEL_FILE)
    rewrite(saved, sha256=registry.digest_of(saved / registry.MODEL_FILE))
    with pytest.raises(ArtefactError, match=told):
        registry.load(saved, FEATURES, 4)


def test_a_file_laid_out_by_another_version_is_refused(saved: Path) -> None:
    path = saved / registry.MODEL_FILE
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    layout = json.loads(parts["schema.json"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**parts, "schema.json": json.dumps({**layout, "protocol": 3}).encode()}.items():
            archive.writestr(name, data)
    rewrite(saved, sha256=registry.digest_of(path))
    with pytest.raises(ArtefactError, match="protocol 3, 2 is read"):
        registry.load(saved, FEATURES, 4)


def test_a_worker_s_model_loads_without_scikit_learn() -> None:
    """It takes seconds and some 100 MB to import, for each worker that starts."""
    program = (
        "import sys; from stream import bootstrap; from stream.settings import Settings;"
        "bootstrap.judge(Settings(), mode='enforce');"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'sklearn', 'skops', 'scipy', 'pandas'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_bytes_that_are_no_archive_are_refused(saved: Path) -> None:
    (saved / registry.MODEL_FILE).write_bytes(b"nonsense")
    rewrite(saved, sha256=registry.digest_of(saved / registry.MODEL_FILE))
    with pytest.raises(ArtefactError, match="cannot be read"):
        registry.load(saved, FEATURES, 4)


def test_the_model_file_holds_no_pickle(saved: Path) -> None:
    with zipfile.ZipFile(saved / registry.MODEL_FILE) as archive:
        assert {Path(name).suffix for name in archive.namelist()} <= {".json", ".npy"}
    assert skops.io.get_untrusted_types(file=saved / registry.MODEL_FILE) == sorted(artefact.TRUSTED)


@pytest.mark.parametrize(
    "change",
    [
        {"manifest_version": 99},
        {"thresholds": {"0.01": "high"}},
        {"thresholds": None},
        {"features": None},
        {"typical": [0, 0]},
        {"typical": [0, 0, "much"]},
        {"typical": {"a.one": 0}},
    ],
)
def test_a_manifest_of_another_shape_is_refused(saved: Path, change: dict[str, Any]) -> None:
    rewrite(saved, **change)
    with pytest.raises(ArtefactError, match="retrain"):
        registry.load(saved, FEATURES, 4)


def test_a_missing_model_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="driftline train"):
        registry.load(tmp_path, FEATURES, 4)


def test_a_model_directory_that_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="nowhere does not exist"):
        registry.load(tmp_path / "nowhere", FEATURES, 4)


def test_saving_without_thresholds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="thresholds"):
        artefact.save(tmp_path, pipeline(), {"features": [], "features_version": 1})
    assert list(tmp_path.iterdir()) == []


def test_the_null_model_answers_the_base_rate_and_flags_nothing() -> None:
    null = registry.NullModel(0.0312)
    assert null.score(np.zeros((3, 9)), first(np.zeros((3, 9)))).tolist() == [312, 312, 312]
    assert null.threshold(0.05) > 10_000


def test_a_tree_whose_nodes_lead_to_one_another_twice_is_refused_before_it_is_walked() -> None:
    depth = 40
    nodes = np.zeros(depth + 1, dtype=[("is_leaf", "?"), ("left", "i4"), ("right", "i4")])
    nodes["left"] = nodes["right"] = np.arange(1, depth + 2)
    nodes["is_leaf"][depth] = True
    with pytest.raises(ArtefactError, match="more than 32 leaves"):
        trees._spans(nodes)


def test_a_file_that_unpacks_to_too_much_is_refused(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimator, "MAX_BYTES", 1000)
    with pytest.raises(ArtefactError, match="unpacks to more"):
        registry.load(saved, FEATURES, 4)
