"""The bundled model: scikit-learn's own answer, within 0.0001, on rows that the live judge extracted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest
import skops.io

from models.evidence.features.registry import FEATURES, FEATURES_VERSION, GATES, SPECS
from models.evidence.features.spec import FALLING, RISING, Direction
from models.forest import trees
from models.forest.units import UNITS as UNIT
from models.release import registry
from models.training import artefact, corpora, dataset
from models.training.recipes import recipe_for
from models.training.scenarios import written_tasks
from stream import bootstrap
from stream.offline import files, replay
from stream.offline.rows import Recorder
from stream.policy import load_policy
from stream.settings import Settings
from tests.builders import first, shipped_model

SAMPLES = Path(__file__).parents[2] / "stream" / "samples"


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """Rows of the samples' calls, as the judge hands them to its scorer; and these with all values as fingerprints."""
    recorder = Recorder()
    judge = bootstrap.judge_with(
        Settings(),
        bootstrap.make_release(registry.NullModel(), load_policy())._replace(scorer=recorder),
    )
    for path in sorted(SAMPLES.glob("*.jsonl")):
        list(replay.replay(files.read_records(path), judge))
    clear = np.concatenate(recorder.rows)
    hashed = clear.copy()
    hashed[:, FEATURES.index("hashed")] = 1000
    return np.concatenate([clear, hashed])


def test_live_scores_are_scikit_learns_within_one_unit(rows: np.ndarray) -> None:
    model = shipped_model()
    path = registry.BUNDLED / registry.MODEL_FILE
    pipeline = skops.io.load(path, trusted=list(artefact.TRUSTED))
    theirs = pipeline.predict_proba(rows)[:, 1]
    hidden = rows[:, FEATURES.index("hashed")] > 0  # their scores get something back
    assert 150 < hidden.sum() == (~hidden).sum()
    assert np.abs(model.score(rows, first(rows)) / UNIT - theirs)[~hidden].max() <= 1 / UNIT
    bare = trees.from_sklearn(pipeline).score(rows, first(rows))
    assert np.abs(bare / UNIT - theirs).max() <= 1 / UNIT


def test_one_row_at_a_time_scores_as_a_batch(rows: np.ndarray) -> None:
    model = shipped_model()
    alone = [int(model.score(row[None, :], first(row[None, :]))[0]) for row in rows]
    assert alone == model.score(rows, first(rows)).tolist()


@pytest.mark.parametrize("sign", [RISING, FALLING], ids=["rising", "falling"])
def test_evidence_with_a_direction_never_turns_a_score_round(rows: np.ndarray, sign: Direction) -> None:
    names = [feature.name for feature in SPECS if feature.direction == sign]
    assert len(names) > 10
    model = shipped_model()
    before = model.score(rows, first(rows))
    for name, gate in GATES.items():
        assert len(np.unique(rows[:, FEATURES.index(name)] >= gate.least)) == 2, "other trees are asked, too"
    handed, least = FEATURES.index("handed"), GATES["handed"].least
    over = [FEATURES.index(name) for name in ("source_any", "clause_any", "intent_any")]
    for name in names:
        column = FEATURES.index(name)
        for step in (1, 10, 100, 1000):
            more = rows.copy()
            more[:, column] += step
            more[:, handed] = np.maximum(rows[:, handed], more[:, over].max(axis=1))
            stays = (more[:, handed] >= least) == (rows[:, handed] >= least)  # across it other trees speak
            assert stays.any()
            assert (sign * (model.score(more, first(more)) - before)[stays] >= 0).all(), name


def test_the_manifest_names_the_features_and_the_data_it_was_trained_on() -> None:
    manifest = orjson.loads((registry.BUNDLED / registry.MANIFEST_FILE).read_bytes())
    assert manifest["features"] == list(FEATURES)
    assert manifest["features_version"] == FEATURES_VERSION
    assert manifest["recipe"] == orjson.loads(orjson.dumps(recipe_for(FEATURES).as_manifest())), (
        "directions, the halves of the trees, gates and shifts are those that the model was fitted with"
    )
    assert "agentdojo.jsonl.gz" in manifest["data"]
    assert "openagentsafety_a.jsonl.gz" not in manifest["data"], "kept unseen, to check transfer on"


def test_the_manifest_names_the_corpora_that_it_learnt_from_as_they_stand() -> None:
    data = orjson.loads((registry.BUNDLED / registry.MANIFEST_FILE).read_bytes())["data"]
    named = {name: digest for name, digest in data.items() if name.startswith("corpora/")}
    learnt = {f"corpora/written/{name}.json" for name in written_tasks.to_learn_from()}
    assert {name for name in named if name.startswith("corpora/written/")} == learnt
    folder = corpora.folder()
    assert named == {name: dataset.file_digest(folder / name.removeprefix("corpora/")) for name in named}
    assert {"agentdojo_tools.json", "agentdojo_attempted_acted.json"} <= data.keys()
