"""What each family adds to a score: it adds up, goes by what the trees say, and every decision that tells something has it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from models.contracts import FAMILIES, Family
from models.evidence.features.registry import FEATURES, SPECS
from models.forest import attribution
from models.forest.units import LEAF_BITS
from models.release import registry
from stream import bootstrap
from stream.events import DECISIONS
from stream.offline import files, replay
from stream.policy import load_policy
from stream.settings import Settings
from tests.builders import shipped_model

SAMPLES = sorted((Path(__file__).parents[2] / "stream" / "samples").glob("*.jsonl"))


def typical() -> list[int]:
    found: list[int] = shipped_model().manifest["typical"]
    return found


class Listening:
    """The bundled model, which keeps the rows whose shares it is asked for."""

    def __init__(self) -> None:
        self.model = shipped_model()
        self.rows: list[Sequence[float]] = []

    def score(self, X: Any, seen: Any) -> Any:
        return self.model.score(X, seen)

    def shares(self, row: Sequence[float]) -> list[tuple[Family, int]]:
        self.rows.append(row)
        return self.model.shares(row)


Told = tuple[list[Sequence[float]], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def told() -> Told:
    """The rows of calls in the samples of which something is told, and all decisions."""
    scorer = Listening()
    release = bootstrap.make_release(scorer.model, load_policy(mode="enforce"))._replace(scorer=scorer)
    judge = bootstrap.judge_with(Settings(), release)
    outputs = [out for path in SAMPLES for out in replay.replay(files.read_records(path), judge)]
    return scorer.rows, [orjson.loads(out.value) for out in outputs if out.topic == DECISIONS]


def log_odds(row: Sequence[float]) -> float:
    (total,) = shipped_model().forest.sums(np.array([row], np.float64)).tolist()
    return float(total) / 2**LEAF_BITS


def test_every_feature_is_evidence_of_one_family_that_decisions_name() -> None:
    families = {feature.family for feature in SPECS}
    assert families == set(attribution.LEARNT) < set(FAMILIES)


def test_shares_add_up_to_what_sets_the_call_apart_from_a_typical_honest_one(told: Told) -> None:
    rows, _ = told
    assert len(rows) > 10
    base = log_odds(typical())
    for row in rows:
        added = sum(part for _, part in shipped_model().shares(row)) / 100
        assert added == pytest.approx(log_odds(row) - base, abs=0.02)


def test_rows_mixed_of_two_score_as_rows_do(told: Told) -> None:
    rows, _ = told
    groups = [range(0, 20), range(20, 21), range(21, len(FEATURES))]
    whole = np.array([typical(), *rows[:6]], np.float64)
    for row in whole[1:]:
        mixed = np.tile(whole[0], (8, 1))
        for subset, one in enumerate(mixed):
            for n, group in enumerate(groups):
                if subset >> n & 1:
                    one[list(group)] = row[list(group)]
        assert (
            shipped_model().forest.mixed(row.tolist(), typical(), groups).tolist()
            == shipped_model().forest.sums(mixed).tolist()
        )


def test_a_family_as_in_a_typical_call_has_no_share_and_the_greatest_one_raises_the_score(
    told: Told,
) -> None:
    rows, _ = told
    for row in rows:
        (most, part), *_ = shipped_model().shares(row)
        without = [typical()[n] if feature.family == most else row[n] for n, feature in enumerate(SPECS)]
        assert dict(shipped_model().shares(without))[most] == 0
        if part > 50:
            assert log_odds(without) < log_odds(row)


def test_a_decision_that_tells_something_says_what_each_family_adds(told: Told) -> None:
    _, decisions = told
    for decision in decisions:
        shares = decision["shares"]
        if decision["verdict"] != "abstain" and decision["score"] >= decision["thresholds"]["watch"]:
            assert {one["family"] for one in shares} == set(attribution.LEARNT)
            assert [one["log_odds"] for one in shares] == sorted(
                (one["log_odds"] for one in shares), reverse=True
            )
        if decision["score"] < decision["thresholds"]["watch"]:
            assert not shares, "the score says nothing"
    by_score = [d for d in decisions if "reaches" in d["explanation"] and d["verdict"] != "allow"]
    assert by_score
    for decision in by_score:
        most = decision["shares"][0]
        assert f"above a typical honest call: {most['family']} +" in decision["explanation"]


def test_a_model_whose_papers_name_no_typical_call_says_nothing_of_shares(told: Told) -> None:
    rows, _ = told
    manifest = {name: what for name, what in shipped_model().manifest.items() if name != "typical"}
    bare = registry.Model(shipped_model().name, shipped_model().digest, manifest, shipped_model().forest)
    assert bare.shares(rows[0]) == registry.NullModel().shares(rows[0]) == []
