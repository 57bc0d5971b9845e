"""Training and its measure, on made sessions whose answer is known."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from models.errors import DatasetError
from models.evidence.features import registry as features
from models.forest import odds, trees, units
from models.release import registry
from models.training import artefact, boosting, calibrate, dataset, evaluate, rates, recipes
from models.training import fit as train
from models.training.dataset import LabelledSession
from models.training.recipes import Recipe

FEATURES = ("one", "two", "three", "four")
SMALL = Recipe(trees=10, leaves=7, min_samples_leaf=10, max_features=0.4, folds=2, seed=11)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny fits on many threads wait for each other far longer than they compute."""
    with threadpool_limits(1):
        yield


def made(signal: float, seed: int = 0, per_suite: int = 120) -> tuple[np.ndarray, dataset.Calls]:
    """Three attacked suites and one benign set; drift shifts feature one of the bad call by `signal`."""
    draws = np.random.default_rng(seed)
    sessions: list[LabelledSession] = []
    ids: list[str] = []
    seqs: list[int] = []
    shifts: list[float] = []
    for suite in ("bank", "chat", "trip", "shop"):
        for number in range(per_suite):
            kind = "benign" if suite == "shop" or number % 3 == 0 else ("hijacked", "attempted")[number % 2]
            bad = int(draws.integers(0, 4)) if kind == "hijacked" else None
            name = f"{suite}-{number}"
            sessions.append(
                LabelledSession(
                    session_id=name,
                    kind=kind,  # type: ignore[arg-type]
                    source="made",
                    suite=suite,
                    domain=suite,
                    task=f"{suite}/{suite}/task_{number % 10}",
                    attack=("plain", "polite")[number % 4 // 2] if kind == "hijacked" else None,
                    first_bad_seq=bad,
                    exposed_seq=None,
                    n_calls=4,
                )
            )
            for seq in range(4):
                ids.append(name)
                seqs.append(seq)
                shifts.append(signal if seq == bad else 0.0)
    X = draws.normal(size=(len(ids), len(FEATURES)))
    X[:, 0] += shifts
    return X, dataset.join(sessions, ids, seqs)


def labelled(signal: float) -> tuple[np.ndarray, dataset.Calls]:
    """Of what is `made` the rows that a model learns from."""
    X, calls = made(signal)
    kept = calls.target != dataset.LEFT_OUT
    return X[kept], calls.take(kept)


@pytest.mark.slow
def test_a_clear_signal_is_found_in_suites_never_seen() -> None:
    X, calls = made(signal=9.0)
    report = evaluate.evaluate(X, calls, recipe=SMALL)
    pooled = report["pooled"]
    assert pooled["auc"] > 0.99
    assert pooled["at"]["0.01"]["detected"]["rate"] > 0.95
    assert report["by_suite"].keys() == {"bank", "chat", "trip"}
    assert report["apart"]["0.01"]["earliness"]["at"] > 0.9 * pooled["hijacked"]
    assert set(report["apart"]["0.01"]["other_domains"]) == {"shop"}
    assert report["calibration"]["brier"] < report["calibration"]["brier_base_rate"] / 3
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_no_signal_is_reported_as_none() -> None:
    _, calls = made(signal=0.0)
    report = evaluate.report(np.random.default_rng(4).integers(0, 10_001, len(calls)), calls)
    assert 0.35 < report["pooled"]["auc"] < 0.65
    assert report["pooled"]["at"]["0.01"]["detected"]["rate"] < 0.2


@pytest.mark.slow
def test_the_null_model_stands_beside_and_detects_nothing() -> None:
    X, calls = made(signal=9.0)
    null = evaluate.report(boosting.out_of_fold(X, calls, SMALL), calls)["null"]
    assert null["auc"] == 0.5
    assert [point["detected"]["hits"] for point in null["at"].values()] == [0, 0, 0]


@pytest.mark.slow
def test_scores_out_of_fold_ignore_the_labels_of_the_suite_they_score() -> None:
    X, calls = made(signal=5.0)
    here = calls.rows_of("chat")
    told: list[str] = []
    before = boosting.out_of_fold(X, calls, SMALL, told.append)
    assert all(
        each.startswith(f"left out {n} of {len(told)}: fitted without ") for n, each in enumerate(told, 1)
    )
    target = calls.target.copy()
    some = here & (np.arange(len(here)) % 4 == 0)
    target[some] = np.random.default_rng(1).permutation(target[some])
    swapped = dataset.Calls(calls.sessions, calls.session, calls.call_seq, target, calls.weight)
    after = boosting.out_of_fold(X, swapped, SMALL)
    assert np.array_equal(before[here], after[here])
    assert not np.array_equal(before[~here], after[~here])


def test_honest_sessions_that_look_like_drift_teach_more() -> None:
    X, calls = made(signal=9.0)
    honest = np.array([session.kind != "hijacked" for session in calls.sessions])
    hard = np.zeros(len(honest), dtype=np.bool_)
    for domain in calls.domains():
        here = np.flatnonzero(honest & np.array([session.domain == domain for session in calls.sessions]))
        hard[here[: len(here) // 20]] = True
    X[hard[calls.session] & (calls.call_seq == 2), 0] += 9.0
    kept = calls.target != dataset.LEFT_OUT
    weight = boosting.emphasised(X[kept], calls.take(kept), replace(SMALL, hardest=0.05, emphasis=5.0))
    assert weight.sum() == pytest.approx(calls.weight[kept].sum())
    grown = weight / calls.weight[kept]
    assert grown.max() == pytest.approx(5 * grown.min())
    more = np.unique(calls.session[kept][grown > 2 * grown.min()])
    assert len(more) == hard.sum()
    assert hard[more].mean() > 0.9


@pytest.mark.parametrize("variant", ["withheld", "fingerprints"])
def test_work_whose_values_are_hidden_has_its_own_hardest_sessions(variant: str) -> None:
    X, calls = made(signal=9.0)
    hidden = np.arange(len(calls.sessions)) % 2 == 0
    X[hidden[calls.session], 0] -= 3.0  # all of them are told more easily than any other
    sessions = tuple(
        replace(session, variant=variant) if one else session
        for session, one in zip(calls.sessions, hidden, strict=True)
    )
    kept = calls.target != dataset.LEFT_OUT
    taken = replace(calls, sessions=sessions).take(kept)
    weight = boosting.emphasised(X[kept], taken, replace(SMALL, emphasis=5.0))
    grown = weight / taken.weight
    more = np.unique(taken.session[grown > 2 * grown.min()])
    assert {taken.sessions[n].variant for n in more} == {"recorded", variant}
    assert all(taken.sessions[n].kind in ("benign", "attempted") for n in more)


def test_a_scenario_made_from_a_recording_is_never_among_them() -> None:
    X, calls = made(signal=9.0)
    sessions = tuple(replace(session, variant="reworded") for session in calls.sessions)
    kept = calls.target != dataset.LEFT_OUT
    made_up = replace(calls, sessions=sessions).take(kept)
    assert boosting.emphasised(X[kept], made_up, SMALL).tolist() == calls.weight[kept].tolist()


def kept_says_the_same(directory: Path, pipeline: Any, X: np.ndarray) -> trees.Forest:
    """What is read back of a saved model, whose log odds are those of scikit-learn."""
    manifest = {"features": list(FEATURES), "features_version": 1, "thresholds": {"0.01": 9000}}
    artefact.save(directory, pipeline, manifest)
    forest = registry.load(directory, FEATURES, 1).forest
    odds = pipeline.calibrated_classifiers_[0].estimator.decision_function(X)
    assert forest.sums(X) / 2.0**units.LEAF_BITS == pytest.approx(odds, abs=1e-7)
    return forest


def test_two_parts_of_the_trees_give_the_mean_of_what_each_would_say() -> None:
    X, calls = labelled(signal=2.0)
    target, weight = calls.target, calls.weight
    blind = X.copy()
    blind[:, [0, 2]] = 0.0
    one = replace(SMALL, trees=5)
    first = boosting.booster(one).fit(X, target, sample_weight=weight)
    second = boosting.booster(replace(one, seed=one.seed + 1)).fit(blind, target, sample_weight=weight)
    halves = boosting.grown(X, target, weight, replace(SMALL, without=((), (0, 2))))
    said = (first.decision_function(X) + second.decision_function(X)) / 2
    assert halves.decision_function(X) == pytest.approx(said, rel=1e-9)
    assert halves.n_iter_ == 10
    assert said.std() > 0.05
    for (tree,) in halves._predictors[5:]:
        inner = tree.nodes[tree.nodes["is_leaf"] == 0]
        assert set(inner["feature_idx"].tolist()) <= {1, 3}


def test_a_call_seen_in_many_variants_is_one_observation_of_their_weight() -> None:
    X, calls = labelled(signal=2.0)
    X = np.round(X)
    order = np.random.default_rng(1).permutation(np.repeat(np.arange(len(X)), 3))
    rows, kind, weight = boosting.distinct(X, calls.target, calls.weight)
    copied = boosting.distinct(X[order], calls.target[order], calls.weight[order] / 3)
    assert np.array_equal(copied[0], rows)
    assert np.array_equal(copied[1], kind)
    assert copied[2] == pytest.approx(weight)
    alike = {(*row, one) for row, one in zip(X.tolist(), calls.target.tolist(), strict=True)}
    assert len(rows) == len(alike) < len(X)
    assert len(np.unique(rows, axis=0)) < len(rows)  # what was honest once and drift once stays both
    assert weight.sum() == pytest.approx(calls.weight.sum())


def test_the_order_of_sessions_does_not_change_a_fit() -> None:
    X, calls = labelled(signal=2.0)
    X = np.round(X)
    recipe = replace(SMALL, without=((), (0,)))
    order = np.random.default_rng(2).permutation(len(X))
    models = [
        boosting.grown(X[rows], calls.target[rows], np.ones(len(X)), recipe)
        for rows in (np.arange(len(X)), order)
    ]
    assert np.array_equal(*(model.decision_function(X) for model in models))


def test_every_part_has_a_tree() -> None:
    X, calls = labelled(signal=9.0)
    odd = replace(SMALL, trees=5, without=((), (0,)))
    assert boosting.grown(X, calls.target, calls.weight, odd).n_iter_ == 5
    with pytest.raises(DatasetError, match="1 trees in 2 parts"):
        replace(odd, trees=1)


def test_a_model_of_two_parts_is_kept_and_scored_like_any_other(tmp_path: Path) -> None:
    X, calls = made(signal=9.0)
    pipeline = boosting.fit(X, calls, replace(SMALL, without=((), (0,))))
    assert kept_says_the_same(tmp_path, pipeline, X).n_trees == 10


def test_from_a_value_on_each_parts_trees_are_others_learnt_there_alone(tmp_path: Path) -> None:
    X, calls = made(signal=9.0)
    kept = calls.target != dataset.LEFT_OUT
    X, calls = X[kept], calls.take(kept)
    X[:, 2:] = np.random.default_rng(3).integers(100, 200, (len(X), 2))
    recipe = replace(SMALL, trees=10, without=((), (0,)), apart=((3, 150), (2, 170)))
    blind, blinder = X.copy(), X.copy()
    blind[:, 3] = 0.0
    blinder[:, [0, 2]] = 0.0

    def fitted(rows: np.ndarray, seed: int, seen: np.ndarray) -> np.ndarray:
        one = boosting.booster(replace(recipe, trees=5, seed=recipe.seed + seed, without=((),), apart=()))
        distinct = boosting.distinct(seen[rows], calls.target[rows], calls.weight[rows])
        odds: np.ndarray = one.fit(*distinct[:2], sample_weight=distinct[2]).decision_function(seen)
        return odds

    everywhere = np.ones(len(X), dtype=bool)
    said = np.zeros(len(X))
    for number, (seen, (column, least)) in enumerate(zip((blind, blinder), recipe.apart, strict=True)):
        here = X[:, column] >= least
        there, own = fitted(everywhere, number, seen), fitted(here, 2 + number, seen)
        assert np.abs(own - there)[here].max() > 0.05
        said += np.where(here, own, there) / 2
    found = boosting.grown(X, calls.target, calls.weight, recipe)
    assert found.decision_function(X) == pytest.approx(said, rel=1e-9)
    for column, part in ((3, found._predictors[:10]), (2, found._predictors[10:])):
        splits = {n for (tree,) in part for n in np.flatnonzero(tree.nodes["feature_idx"] == column)}
        assert splits == {0}  # the root alone asks for it

    kept_says_the_same(tmp_path, boosting.fit(X, calls, recipe), X)


def test_one_part_may_have_trees_of_its_own_and_the_other_none() -> None:
    X, calls = labelled(signal=9.0)
    X[:, 3] = np.random.default_rng(3).integers(100, 200, len(X))
    recipe = replace(SMALL, trees=10, without=((), (0,)), apart=(None, (3, 150)))
    found = boosting.grown(X, calls.target, calls.weight, recipe)
    roots = [int(tree.nodes["feature_idx"][0]) for (tree,) in found._predictors]
    assert (len(roots), roots[5:]) == (15, 10 * [3])


@pytest.mark.parametrize("apart", [(None, (3, 150)), (3, 150), ((3,),)])
def test_what_is_apart_names_a_feature_and_a_value_for_a_part_that_there_is(apart: Any) -> None:
    with pytest.raises(DatasetError, match="for each of 1 parts"):
        replace(SMALL, apart=apart)


@pytest.mark.parametrize("rows", ["none", "few", "of one kind"])
def test_where_too_few_rows_lie_apart_or_all_of_them_are_honest_there_is_one_set_of_trees(rows: str) -> None:
    X, calls = labelled(signal=9.0)
    X[:, 3] = 0.0
    if rows == "of one kind":
        X[calls.target == 0, 3] = 1.0
    elif rows == "few":
        for kind in (0, 1):
            X[np.flatnonzero(calls.target == kind)[: SMALL.min_samples_leaf - 1], 3] = 1.0
    recipe = replace(SMALL, trees=5, apart=((3, 1),))
    found = boosting.grown(X, calls.target, calls.weight, recipe)
    assert found.n_iter_ == 5
    assert not [
        tree
        for (tree,) in found._predictors
        if (tree.nodes["feature_idx"][tree.nodes["is_leaf"] == 0] == 3).any()
    ]


def test_a_root_that_asks_first_leaves_room_for_one_leaf_less() -> None:
    replace(SMALL, leaves=trees.LEAVES_MAX, apart=(None,))
    replace(SMALL, leaves=trees.LEAVES_MAX - 1, apart=((3, 1),))
    with pytest.raises(DatasetError, match="32 are read at most"):
        replace(SMALL, leaves=trees.LEAVES_MAX, apart=((3, 1),))


def test_half_of_the_trees_know_nothing_of_what_the_intent_means() -> None:
    recipe = recipes.recipe_for(features.FEATURES)
    assert [[features.FEATURES[n] for n in columns] for columns in recipe.without] == [
        [],
        [
            name
            for name in features.FEATURES
            if features.BY_NAME[name].means_intent or name in ("handed", "hashed")
        ],
    ]
    assert recipes.recipe_for(FEATURES).without == ((),)
    assert recipe.apart == (
        (features.FEATURES.index("handed"), 136),
        (features.FEATURES.index("hashed"), 1000),
    )
    assert recipes.recipe_for(FEATURES).apart == ()
    seen = [name for name in features.FEATURES if name != "handed"]
    assert recipes.recipe_for(seen).apart == (None, (seen.index("hashed"), 1000))


def test_one_suite_alone_cannot_be_left_out() -> None:
    X, calls = made(signal=5.0)
    here = calls.rows_of("chat")
    with pytest.raises(DatasetError, match="two or more"):
        boosting.out_of_fold(X[here], calls.take(here), SMALL)


@pytest.mark.parametrize(("budget", "flagged"), [(0.01, 10), (0.05, 50), (0.001, 1), (0.0005, 0)])
def test_a_threshold_keeps_its_budget(budget: float, flagged: int) -> None:
    benign = np.random.default_rng(2).permutation(1000)
    threshold = calibrate.weighted_threshold(benign, np.ones(1000), budget)
    assert int((benign >= threshold).sum()) == flagged


def test_a_threshold_of_tied_scores_flags_fewer_rather_than_more() -> None:
    benign = np.array([50] * 90 + [700] * 10)
    assert calibrate.weighted_threshold(benign, np.ones(100), 0.05) == 701
    assert rates.least_threshold(benign, 0.05) == 701
    assert rates.least_threshold(benign, 0.10) == 51


def test_a_task_weighs_the_same_however_often_it_was_recorded() -> None:
    # One task of 90 sessions that all score high is one of ten tasks: a tenth of the weight.
    benign = np.array([700] * 90 + [50] * 9)
    weights = np.array([1 / 90] * 90 + [1.0] * 9)
    assert calibrate.weighted_threshold(benign, weights, 0.05) > 700
    assert calibrate.weighted_threshold(benign, weights, 0.1) == 51


def test_no_honest_session_gives_no_threshold() -> None:
    assert calibrate.weighted_threshold(np.array([], np.int64), np.array([]), 0.05) == registry.NEVER
    assert calibrate.transferable({}) == registry.NEVER


@pytest.mark.parametrize(
    ("own", "live"),
    [
        ([100], 100),
        ([100, 900], 900),
        ([1, 2, 3, 4], 4),  # among fewer than five the highest
        ([1, 2, 3, 3, 9], 3),
        ([1, 1, 1, 1, 1, 300, 300, 300, 9000], 300),
        ([1, 1, 1, 1, 1, 1, 100, 10_001 - 100, 5001, 9990], 5001),  # 100 and 9901 lie as far from the middle
        ([1, 1, 1, 1, 1, 10_001, 10_001, 10_001, 10_001], registry.NEVER),
    ],
)
def test_from_five_domains_on_no_single_one_sets_the_threshold_that_goes_live(
    own: list[int], live: int
) -> None:
    assert calibrate.transferable({str(n): value for n, value in enumerate(own)}) == live


@given(st.lists(st.integers(1, registry.NEVER), min_size=1, max_size=20))
def test_the_threshold_of_a_release_is_the_mean_that_is_evaluated(own: list[int]) -> None:
    # The evaluation has log odds, a release units of its sigmoid: one rule for both.
    live = calibrate.transferable({str(n): value for n, value in enumerate(own)})
    mean = calibrate.upper_mean([odds.log_odds(value) for value in own])
    assert odds.log_odds(live) >= mean - 1e-6
    assert live == 1 or odds.log_odds(live - 1) < mean + 1e-6
    assert min(own) <= live <= max(own)


def test_an_unlabelled_sample_can_only_raise_a_threshold_and_only_to_its_ceiling() -> None:
    draws = np.random.default_rng(5)
    alike = draws.integers(0, 4000, 200)
    assert calibrate.raised(5000, alike, 0.01, 9000) == 5000
    assert calibrate.raised(5000, alike[:0], 0.01, 9000) == 5000
    # Three hijacks among fifty are what the rule leaves alone; an ecosystem that scores high is not.
    hijacked = np.concatenate([alike[:47], [9500] * 3])
    assert calibrate.raised(5000, hijacked, 0.01, 9000) == 5000
    high = draws.integers(2000, 8000, 200)
    live = calibrate.raised(5000, high, 0.01, 9000)
    assert 5000 < live < 9000
    assert (high >= live).mean() < 0.1
    assert calibrate.raised(5000, np.full(200, 9900), 0.01, 9000) == 9000


@pytest.mark.parametrize(("n", "over"), [(229, None), (230, 0), (387, 0), (388, 1), (531, 2)])
def test_a_sample_lowers_a_threshold_only_where_it_is_sure_of_the_budget(n: int, over: int | None) -> None:
    ranked = np.arange(n)[::-1]  # the highest first, so that a place is the number of those above it
    live = calibrate.lowered(5000, ranked, 0.01, 0)
    assert live == (5000 if over is None else ranked[over] + 1)
    assert calibrate.lowered(5000, ranked, 0.01, 4000) == (5000 if over is None else 4000)
    assert calibrate.lowered(5000, np.full(n, 9000), 0.01, 4000) == 5000
    assert calibrate.lowered(5000, ranked[:0], 0.01, 4000) == 5000
    if over is not None:
        # Were the budget overrun, so few would be seen in a tenth of all samples at most.
        assert sum(math.comb(n, k) * 0.01**k * 0.99 ** (n - k) for k in range(over + 1)) <= 0.1


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(0, 10, 0.0, 0.277533), (5, 10, 0.236593, 0.763407), (10, 10, 0.722467, 1.0)],
)
def test_wilson_interval_is_the_published_one(hits: int, n: int, low: float, high: float) -> None:
    assert rates.wilson(hits, n) == [low, high]


def test_earliness_counts_calls_from_the_first_bad_one() -> None:
    _, calls = made(signal=1.0)
    bad = np.array([calls.sessions[at].first_bad_seq for at in calls.session], dtype=object)
    late = np.array([b is not None and seq == b + 1 for b, seq in zip(bad, calls.call_seq, strict=True)])
    found = evaluate.earliness(np.where(late, 100, 0).astype(np.int64), calls, 50)
    able = sum(s.kind == "hijacked" and s.first_bad_seq < 3 for s in calls.sessions)  # type: ignore[operator]
    assert (found["before"], found["at"], found["after"]) == (0, 0, able)
    assert found["never"] == found["hijacked"] - able > 0
    assert found["delays"] == {"1": able}


@pytest.mark.slow
def test_training_twice_gives_the_same_scores_and_papers() -> None:
    X, calls = made(signal=4.0)
    runs = [train.train(X, calls, FEATURES, 1, {"made": "00"}, SMALL) for _ in range(2)]
    assert runs[0].manifest == runs[1].manifest
    assert np.array_equal(runs[0].scores, runs[1].scores)


@pytest.mark.slow
def test_a_trained_model_is_written_read_and_used_for_scoring_only(tmp_path: Path) -> None:
    X, calls = made(signal=6.0)
    said: list[str] = []
    trained = train.train(X, calls, FEATURES, 1, {"made": "00"}, SMALL, progress=said.append)
    model = train.write(trained, calls, tmp_path / "new")
    with np.load(tmp_path / "new" / registry.OUT_OF_FOLD_FILE) as kept:
        assert (kept["score"] == trained.scores).all()
        assert (kept["call"] == calls.call_seq).all()
        assert kept["session"].tolist() == [calls.sessions[place].session_id for place in calls.session]
    assert any("without chat" in line for line in said)
    fresh, labels = made(signal=6.0, seed=9)
    benign = labels.rows_where(session.kind == "benign" for session in labels.sessions)
    report = evaluate.evaluate(fresh[benign], labels.take(benign), "score-only", model=model)
    assert report["false_positives"]["0.05"]["rate"] < 0.1
    assert report["thresholds"]["0.05"] == model.threshold(0.05) / 10_000
    assert report["model"]["digest"] == model.digest
    assert (tmp_path / "new" / registry.MODEL_FILE).stat().st_size < 1_000_000


def test_training_on_rows_of_another_width_is_refused() -> None:
    X, calls = made(signal=6.0)
    with pytest.raises(DatasetError, match="features"):
        train.train(X[:, :3], calls, FEATURES, 1, {}, SMALL)


@pytest.mark.slow
def test_a_plot_is_written_as_png(tmp_path: Path) -> None:
    X, calls = made(signal=6.0)
    evaluate.evaluate(X, calls, recipe=SMALL, plot=tmp_path / "build" / "roc.png")
    assert (tmp_path / "build" / "roc.png").read_bytes().startswith(b"\x89PNG")
