"""A plan says what is trained; an estimator passes its checks or is refused with the reason; a search keeps the best."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier
from typer.testing import CliRunner

from models.errors import ConfigError, DatasetError
from models.evidence.features import registry as registry_of_features
from models.forest import trees
from models.release import estimator, registry
from models.training import artefact, boosting, checks, families, plan, search
from models.training import fit as training
from models.training.calibrate import BUDGETS
from models.training.dataset import LEFT_OUT
from models.training.recipes import Recipe
from stream import bootstrap
from stream.bootstrap import release_digest
from stream.cli import exits
from stream.cli import training as cli
from stream.cli.main import app
from stream.offline import study
from stream.policy import load_policy, read_policy
from stream.settings import Settings
from tests.unit.test_evaluate import FEATURES, SMALL, made
from tests.unit.test_traffic import labelled_files

FOREST = "sklearn.ensemble.RandomForestClassifier"
TREE = "sklearn.tree.DecisionTreeClassifier"
SEEING = replace(SMALL, max_features=1.0)


def failed(recipe: Recipe) -> list[str]:
    return [check.name for check in checks.check_estimator(recipe) if not check.holds]


def written(folder: Path, text: str) -> Path:
    path = folder / "plan.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "name", [TREE, *(pytest.param(one, marks=pytest.mark.slow) for one in families.named() if one != TREE)]
)
def test_every_family_passes_the_checks(name: str) -> None:
    found = checks.check_estimator(Recipe(estimator=name))
    assert [one.name for one in found if not one.holds] == []
    assert len(found) == 8


@pytest.mark.parametrize("name", list(families.named()))
def test_what_a_family_became_scores_as_scikit_learn_does_and_tells_drift(name: str) -> None:
    X, calls = made(4.0)
    recipe = replace(SMALL, estimator=name, without=((), (2,)), apart=((1, 1), None))
    fitted = boosting.fit(X, calls, recipe)
    forest = trees.from_sklearn(fitted)
    scores = np.searchsorted(forest.cuts, forest.sums(X), side="right")
    assert np.abs(scores - fitted.predict_proba(X)[:, 1] * 10_000).max() <= 1
    known = calls.target != LEFT_OUT
    drift, work = (np.median(scores[known & (calls.target == kind)]) for kind in (1, 0))
    assert drift > 2 * work


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("sklearn.svm.SVC", "is no sum of trees"),
        ("sklearn.linear_model.LogisticRegression", "is no sum of trees"),
        ("sklearn.ensemble.NoSuchClassifier", "scikit-learn has none of this name"),
        ("os.system", "classes of scikit-learn alone"),
        ("HistGradientBoostingClassifier", "classes of scikit-learn alone"),
    ],
)
def test_what_cannot_be_scored_exactly_is_refused_before_it_is_fitted(name: str, found: str) -> None:
    with pytest.raises(ConfigError, match=found):
        families.build(name, {}, {})
    assert failed(Recipe(estimator=name)) == ["fits and converts"]


class Unseeded(RandomForestClassifier):  # type: ignore[misc]
    """Draws from wherever it likes."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        self.random_state = None
        return super().fit(X, y, sample_weight)


class Deaf(HistGradientBoostingClassifier):  # type: ignore[misc]
    """Takes directions and keeps none."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        self.monotonic_cst = None
        return super().fit(X, y, sample_weight)


class Blind(DecisionTreeClassifier):  # type: ignore[misc]
    """Learns next to nothing."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        return super().fit(X * [0, 0, 1, 0, 0, 0], y, sample_weight)


class Wide(DecisionTreeClassifier):  # type: ignore[misc]
    """Grows more leaves than are scored."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        self.max_leaf_nodes = 64
        self.min_samples_leaf = 1
        return super().fit(X, y, sample_weight)


@pytest.mark.parametrize(
    ("made_of", "found"),
    [
        (
            Unseeded,
            ["the same seed gives the same model", "rows in another order give the same model"],
        ),
        (Deaf, ["evidence moves a score in its direction"]),
        (Blind, ["tells the two kinds apart"]),
        (Wide, ["fits and converts"]),
    ],
)
def test_an_estimator_that_breaks_a_promise_fails_that_check(
    made_of: type, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(_name: str, _told: dict[str, Any], offered: dict[str, Any]) -> Any:
        one = made_of()
        known = one.get_params(deep=False)
        return one.set_params(**{name: value for name, value in offered.items() if name in known})

    monkeypatch.setattr(families, "build", build)
    for family in made_of.__mro__:
        if family in families.CONVERSIONS:
            monkeypatch.setitem(families.CONVERSIONS, made_of, families.CONVERSIONS[family])
    assert failed(Recipe()) == found


def test_trees_that_say_something_else_than_the_estimator_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole: Callable[[Any], families.Told] = families.CONVERSIONS[DecisionTreeClassifier]

    def half(fitted: Any) -> families.Told:
        told = whole(fitted)
        told.trees[0]["value"] /= 2
        return told

    monkeypatch.setitem(families.CONVERSIONS, DecisionTreeClassifier, half)
    X, calls = made(4.0)
    with pytest.raises(ConfigError, match="cannot be scored exactly"):
        boosting.fit(X, calls, replace(SMALL, estimator=TREE))


def test_an_estimator_that_tells_nothing_apart_is_refused() -> None:
    X = np.zeros((200, 3))
    target = np.arange(200) % 2
    fitted = DecisionTreeClassifier().fit(X, target)
    with pytest.raises(DatasetError, match="no better than chance"):
        families.additive(fitted, X, target, np.ones(200))


def test_an_empty_plan_is_the_bundled_model_s_recipe(tmp_path: Path) -> None:
    made_of = plan.read(written(tmp_path, "")).recipe(["one", "two"])
    assert made_of == training.recipe_for(["one", "two"])
    assert "estimator" not in made_of.as_manifest()


def test_trees_and_leaves_are_counted_by_the_recipe_and_the_rest_is_told_to_the_estimator(
    tmp_path: Path,
) -> None:
    text = f"estimator: {{name: {FOREST}, parameters: {{n_estimators: 50, max_leaf_nodes: 16, bootstrap: false}}}}"
    made_of = plan.read(written(tmp_path, text)).recipe(["one", "two"])
    assert (made_of.trees, made_of.leaves) == (50, 16)
    assert made_of.parameters == (("bootstrap", False),)
    assert boosting.booster(made_of).get_params()["bootstrap"] is False
    assert made_of.as_manifest()["estimator"] == FOREST


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ("budget: {shares: 0.5}", "budget.shares: no such part; remove it or correct its name"),
        ("budget: {share: 0}", "budget.share: it should be greater than 0, and is '0'"),
        (
            "splits: {leave_out: random}",
            "splits.leave_out: it should be 'domain' or 'agent', and is 'random'",
        ),
        (
            "{seed: many, reader: perhaps}",
            "and is 'many'; reader: it should be a valid boolean",
        ),
        ("[1]", "the file: it should be a valid dictionary"),
        ("estimator: {parameters: {no_such: 1}}", "has no parameter no_such"),
        ("estimator: {parameters: {random_state: 1}}", "the plan's own seed"),
        ("estimator: {parameters: {max_iter: many}}", "a whole number from 2 on"),
        ("estimator: {parameters: {max_leaf_nodes: 64}}", "32 are read at most"),
        ("search: {no_such: [1]}", "has no parameter no_such"),
        ("[", "is not YAML"),
        ("a: " + "x" * 70_000, "is larger than 64 KiB"),
    ],
)
def test_a_plan_that_says_something_else_is_refused_with_the_mend(
    text: str, mend: str, tmp_path: Path
) -> None:
    done = CliRunner().invoke(app, ["train", "--plan", str(written(tmp_path, text)), "--check"])
    assert isinstance(done.exception, ConfigError | DatasetError)
    assert mend in str(done.exception)


def test_check_shows_every_check_and_ends_with_one_where_one_fails(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app,
        ["train", "--check", "--plan", str(written(tmp_path, f"estimator: {{name: {TREE}}}"))],
        env={"COLUMNS": "100"},
    )
    assert done.exit_code == 0, done.output
    assert done.output.count("passes") == 8
    wrong = written(tmp_path, f"estimator: {{name: {TREE}, parameters: {{min_samples_split: -1}}}}")
    done = CliRunner().invoke(app, ["train", "--check", "--plan", str(wrong)], env={"COLUMNS": "100"})
    assert done.exit_code == exits.FINDINGS
    assert "FAILS" in done.output


def test_a_larger_share_holds_a_smaller_one_and_is_about_that_much() -> None:
    names = [f"session-{number}" for number in range(4000)]
    taken = {
        share: {name for name in names if plan.Plan(budget=plan.Budget(share=share)).takes(name)}
        for share in (0.05, 0.2, 1.0)
    }
    assert taken[0.05] < taken[0.2] < taken[1.0] == set(names)
    assert abs(len(taken[0.2]) - 800) < 100


def test_budgets_of_the_shipped_policy_stay_beside_those_of_a_plan() -> None:
    assert plan.Calibration(budgets=(0.02,)).budgets == (0.001, 0.005, 0.01, 0.02, 0.05)


def test_a_search_keeps_what_finds_most_and_says_that_it_was_chosen() -> None:
    X, calls = made(4.0)
    trials = [{}, {"max_iter": 2, "max_features": 0.1}, {"learning_rate": 0.2}]
    best, scores, found = search.search(X, calls, SEEING, trials)
    assert [one.parameters for one in found] == trials
    worth = [(one.detected, one.area) for one in found]
    assert best == [plan.told(SEEING, changes) for changes in trials][worth.index(max(worth))]
    assert worth[1] < max(worth)
    assert (scores == boosting.out_of_fold(X, calls, best)).all()
    trained = training.train(X, calls, FEATURES, 1, {}, best, scores=scores)
    training.note_trials(trained.manifest, found)
    assert "development figures: the best of 3" in trained.manifest["split"]["metrics"]


def test_a_search_without_hijacks_has_nothing_to_compare_on() -> None:
    X, calls = made(4.0)
    calls = replace(calls, sessions=tuple(replace(one, kind="benign") for one in calls.sessions))
    with pytest.raises(DatasetError, match="nothing to compare trials on"):
        search.search(X, calls, SEEING, [{}])


def test_a_trial_that_gives_no_model_finds_nothing_and_the_search_goes_on() -> None:
    X, calls = made(4.0)
    trials = [{"min_samples_leaf": len(X)}, {}]  # not one split: each row is told the same
    recipe = replace(SEEING, estimator=TREE)
    best, _, found = search.search(X, calls, recipe, trials)
    assert "no better than chance" in found[0].failed
    assert (found[0].detected, found[0].area) == (0.0, 0.0)
    assert best == recipe
    with pytest.raises(DatasetError, match="none of 1 trials gave a model"):
        search.search(X, calls, recipe, trials[:1])


@pytest.mark.parametrize("name", [families.BOOSTING, FOREST])
def test_a_rerun_predicts_the_same(name: str) -> None:
    X, calls = made(4.0)
    recipe = replace(SEEING, estimator=name)
    one, other = (training.train(X, calls, FEATURES, 1, {}, recipe) for _ in range(2))
    assert one.manifest == other.manifest
    assert (trees.from_sklearn(one.pipeline).sums(X) == trees.from_sklearn(other.pipeline).sums(X)).all()
    as_skops_writes = [skops.io.dumps(trained.pipeline) for trained in (one, other)]
    assert as_skops_writes[0] != as_skops_writes[1]  # addresses and dates
    assert artefact.numbered(as_skops_writes[0]) == artefact.numbered(as_skops_writes[1])


def test_numbering_a_model_file_leaves_what_is_in_it() -> None:
    X, calls = made(4.0)
    pipeline = training.train(X, calls, FEATURES, 1, {}, SMALL).pipeline
    data = artefact.numbered(skops.io.dumps(pipeline))
    again = skops.io.loads(data, trusted=list(artefact.TRUSTED))
    assert (again.predict_proba(X) == pipeline.predict_proba(X)).all()
    assert (trees.from_sklearn(estimator.read(data)).sums(X) == trees.from_sklearn(pipeline).sums(X)).all()
    assert artefact.numbered(skops.io.dumps(again)) == data


def test_a_model_is_not_written_over_unless_one_says_so(tmp_path: Path) -> None:
    log, labels = labelled_files(tmp_path)
    out = tmp_path / "there"
    out.mkdir()
    (out / "manifest.json").write_text("{}")
    arguments = ["train", str(log), "--labels", str(labels), "--out", str(out)]
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, ConfigError)
    assert "holds a model already, which workers may be fetching" in str(done.exception)
    text = "estimator: {name: sklearn.linear_model.LogisticRegression}"
    done = CliRunner().invoke(app, [*arguments, "--replace", "--plan", str(written(tmp_path, text))])
    assert "LogisticRegression" in str(done.exception)  # it went on to the plan


def test_the_policy_of_a_release_is_looked_at_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped, _ = read_policy()
    text, policy = cli._policy_for(None, BUDGETS)
    assert (text, policy.digest, capsys.readouterr().err) == (shipped, load_policy().digest, "")
    own = tmp_path / "own.yaml"
    own.write_text(shipped.replace("budget: 0.01", "budget: 0.0004"))
    with pytest.raises(
        ConfigError, match=r"own\.yaml names a budget of 0\.0004, the plan's strictest is 0\.001"
    ):
        cli._policy_for(own, BUDGETS)
    cli._policy_for(own, (0.0004, *BUDGETS))
    own.write_text(re.sub(r"watch: .*", "watch: 0.2", shipped, count=1))
    cli._policy_for(own, BUDGETS)
    assert "has thresholds that are scores, of the model that they were taken on" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_train_ends_with_six_where_the_samples_fare_worse_unless_that_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fitted on made-up rows, which stand in for scenarios judged for minutes: such a model knows no attack of the samples."""
    X, calls = made(4.0)
    wide = np.zeros((len(X), len(registry_of_features.FEATURES)))
    wide[:, : X.shape[1]] = X
    none = np.zeros(len(X), np.int64)
    monkeypatch.setattr(study, "labelled", lambda *_, **__: study.Labelled(wide, calls, [], none, none))
    log, labels = labelled_files(tmp_path)
    text = f"estimator: {{name: {FOREST}, parameters: {{n_estimators: 5}}}}\nreader: false"
    out = tmp_path / "model"
    told = [str(log), "--labels", str(labels), "--plan", str(written(tmp_path, text)), "--out", str(out)]
    done = CliRunner().invoke(app, ["train", *told])
    assert done.exit_code == exits.WORSE == 6, (done.output, done.exception)
    assert "do not use it as it is" in done.stderr
    assert json.loads(done.stdout)["directory"] == str(out)  # it lies there all the same
    assert "accepted" not in registry.read_manifest(out)
    done = CliRunner().invoke(app, ["train", *told, "--replace", "--accept", "a trial"])
    assert done.exit_code == 0, (done.output, done.exception)
    assert registry.read_manifest(out)["accepted"] == "a trial"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_events_and_labels_become_a_model_that_workers_load(tmp_path: Path) -> None:
    """The whole way: a log, labels and a plan; scenarios, folds, thresholds, the samples beside the bundled model."""
    log, labels = labelled_files(tmp_path)
    text = f"estimator: {{name: {FOREST}, parameters: {{n_estimators: 20, min_samples_leaf: 10}}}}\nbudget: {{share: 0.02}}"
    out = tmp_path / "model"
    told = in_a_process(log, labels, written(tmp_path, text), out, seed="1")
    assert told["directory"] == str(out)
    assert release_digest(out, load_policy(out / "policy.yaml")) == told["release"]
    model = registry.load(out)
    assert model.manifest["plan"]["estimator"]["name"] == FOREST
    assert {"tenant:acme", "tenant:globex"} <= set(model.manifest["seen"]["sources"])
    worse = not all(gate["holds"] for gate in model.manifest["samples"])
    assert model.manifest.get("accepted") == ("a test" if worse else None)
    bundled = registry.read_manifest(registry.BUNDLED)
    assert model.manifest["joint"] == bundled["joint"]
    known = bundled["thresholds_from"]["domains"]["0.01"]
    assert model.manifest["thresholds_from"]["domains"]["0.01"]["written"] >= known["written"]
    assert bootstrap.release(Settings(model_dir=out)).readers.reader is not None
    done = CliRunner().invoke(app, ["replay", str(log)], env={"DRIFTLINE_MODEL_DIR": str(out)})
    assert done.exit_code == 0
    assert {json.loads(line)["release"].split("@")[0] for line in done.stdout.splitlines()} == {"model"}


def in_a_process(log: Path, labels: Path, plan: Path, out: Path, *more: str, seed: str) -> dict[str, Any]:
    """What ``train`` prints, in a process of its own: what another test of this one has read would be told as learnt from."""
    arguments = ["--labels", labels, "--plan", plan, "--out", out, "--accept", "a test", *more]
    done = subprocess.run(
        [sys.executable, "-m", "stream.cli.main", "train", log, *arguments],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told
