"""Forest and reader are joined by what each says of domains that it did not learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import DatasetError
from models.forest.joint import Joint
from models.forest.odds import least_scores, log_odds_of
from models.forest.units import Floats, Ints
from models.release.registry import BUNDLED, load
from models.training import calibrate
from models.training.dataset import Calls, LabelledSession, join, of_record
from models.training.influence import is_one_persons_word
from models.training.joining import KeptReader, calibrated, fit_joint, joined, least_read, left_out
from models.training.scenarios.corpus import Set
from stream import bootstrap
from stream.offline import traffic
from stream.offline.pages import bundled_scores, kept_reader, remembering
from stream.offline.rows import decided, feature_rows, wanted
from stream.settings import Settings


def labelled(n: int, seed: int) -> tuple[Calls, Ints, Floats]:
    """Sessions of one call each, a third of them hijacked: both scores are drawn around what the label says."""
    rng = np.random.default_rng(seed)
    bad = np.arange(n) % 3 == 0
    sessions = [
        LabelledSession(
            session_id=f"s{at}",
            kind="hijacked" if drifts else "benign",
            source="shop",
            suite="shop",
            domain=f"domain{at % 2}",
            task=f"t{at}",
            attack=None,
            first_bad_seq=0 if drifts else None,
            exposed_seq=None,
            n_calls=1,
        )
        for at, drifts in enumerate(bad)
    ]
    calls = join(sessions, [session.session_id for session in sessions], np.zeros(n))
    at = np.array([int(calls.sessions[place].session_id[1:]) for place in calls.session])
    odds = np.where(bad, 1.0, -1.0)[:, None] + rng.normal(0, 1.5, (n, 2))
    return calls, least_scores(odds[at, 0]), odds[at, 1]


def test_of_honest_calls_at_most_the_share_is_read_and_of_each_domain_as_much_counts() -> None:
    calls, scores, _ = labelled(600, 1)
    honest = calls.target == 0
    least = least_read(scores, calls, 0.2)
    assert 0.18 < (scores[honest] >= least).mean() <= 0.2
    few = calls.rows_where(
        session.domain == "domain0" or session.session_id < "s3" for session in calls.sessions
    )
    lifted = np.where(few & calls.rows_of("domain1"), 9000, scores)
    half = least_read(lifted[few], calls.take(few), 0.5)
    assert (lifted[few & honest] >= half).mean() < 0.5
    assert least_read(scores, calls, 1.0) == 0


def test_two_that_know_different_things_find_more_together() -> None:
    calls, scores, said = labelled(3000, 2)
    joint = fit_joint(scores, said, calls, share=1.0)
    assert 0.5 < joint.forest / joint.reader < 2
    both = joined(joint, scores, said)
    bad = calls.target == 1

    def found(one: Ints) -> float:
        return float((one[bad] > np.quantile(one[~bad], 0.95)).mean())

    assert found(both) > found(scores) + 0.1
    # Weights of log odds that were drawn with variance 2.25 around 1 and -1: 2 / 2.25 each.
    assert abs(joint.forest - 2 / 2.25) < 0.1


def test_a_reader_that_knows_nothing_counts_for_little_and_one_that_errs_for_nothing() -> None:
    calls, scores, said = labelled(3000, 3)
    noise = np.random.default_rng(4).normal(0, 1, len(scores))
    assert fit_joint(scores, noise, calls, share=1.0).reader < 0.1
    assert fit_joint(scores, -said, calls, share=1.0).reader == 0


def test_what_is_not_read_keeps_its_score() -> None:
    calls, scores, said = labelled(900, 5)
    unknown = np.where(np.arange(len(said)) % 5 == 0, np.nan, said)
    joint = fit_joint(scores, unknown, calls, share=0.3)
    both = joined(joint, scores, unknown)
    kept = (scores < joint.least) | np.isnan(unknown)
    assert 0 < (~kept).sum() < len(scores)
    assert (both[kept] == scores[kept]).all()
    odds = joint.forest * log_odds_of(scores[~kept]) + joint.reader * said[~kept] + joint.bias
    assert (both[~kept] == least_scores(odds)).all()


def test_one_kind_of_calls_joins_nothing() -> None:
    calls, scores, said = labelled(60, 6)
    honest = calls.take(calls.target == 0)
    with pytest.raises(DatasetError, match="both kinds"):
        fit_joint(scores[calls.target == 0], said[calls.target == 0], honest, share=1.0)
    bad = calls.target == 1
    with pytest.raises(DatasetError, match="worth reading"):
        least_read(scores[bad], calls.take(bad))


def test_each_domain_is_told_by_the_threshold_that_the_others_give() -> None:
    calls, scores, said = labelled(3000, 7)
    both = joined(fit_joint(scores, said, calls, share=1.0), scores, said)
    read = np.ones(len(calls.sessions), dtype=np.bool_)
    found = left_out(calls, {"one": scores, "both": both}, read)
    assert list(found) == ["domain0", "domain1", "shop"]
    assert found.pop("shop")["honest"] == 2000
    for domain in found.values():
        assert domain["honest"] == 2 * domain["hijacked"] == 1000
        assert domain["both"]["area"] > domain["one"]["area"] > 0.7
        assert domain["both"]["at 5 %"] > domain["one"]["at 5 %"] > domain["one"]["at 1 %"]
        assert domain["both"]["honest alerted"] < 0.03
    moved = np.where(calls.rows_of("domain0"), 10_000, both)
    after = left_out(calls, {"both": moved}, read)
    assert after["domain0"]["both"]["honest alerted"] == 1, "its own threshold would let none through"
    assert after["domain1"]["both"]["hijacked alerted"] == 0, "the other's threshold is above all"
    assert "domain0" not in left_out(calls, {"one": scores}, ~read)


def test_a_domain_s_own_sessions_fit_its_threshold_and_other_tasks_tell_what_that_finds() -> None:
    calls, scores, _ = labelled(4000, 5)
    easy = least_scores(log_odds_of(scores) - 0.5 * calls.rows_of("domain0"))
    found = calibrated(calls, easy)
    honest, hijacked = found["domain0"]["honest"], found["domain0"]["hijacked"]
    assert list(honest) == ["before", "300", "1000"]
    assert hijacked["before"] < hijacked["300"] < hijacked["1000"]
    assert honest["before"] <= honest["300"] <= honest["1000"] < 0.02
    flagged = easy >= calibrate.own_thresholds(easy, calls, 0.01)["domain1"]
    bad = calls.rows_of("domain0") & (calls.target == 1)
    assert abs(hijacked["before"] - flagged[bad].mean()) < 0.01  # of either half of its tasks the mean


def test_a_kept_reader_lowers_no_limit_of_a_domain_that_it_learnt_from() -> None:
    kept = KeptReader(
        Joint(0, 1.0, 1.0, 0.0),
        lambda scores: np.full(len(scores), np.nan),
        {"0.01": {"domain0": 9500}, "0.05": {"domain0": 9000}},
    )
    assert kept.limits_at(0.05) == {"domain0": 9000}
    assert kept.limits_at(0.02) == kept.limits_at(0.01) == kept.limits_at(0.001) == {"domain0": 9500}
    calls, scores, _ = labelled(600, 4)
    scores = np.minimum(scores, 8000)
    _, alone = calibrate.thresholds(scores, calls, (0.02, 0.05))
    _, held = calibrate.thresholds(scores, calls, (0.02, 0.05), kept.limits_at)
    assert {budget: limits["domain0"] for budget, limits in held.items()} == {"0.02": 9500, "0.05": 9000}
    assert all(alone[budget]["domain1"] == limits["domain1"] for budget, limits in held.items())


def of_samples(label: str) -> tuple[Set, list[dict[str, Any]]]:
    """The samples' sessions under a label, and what is decided of their calls live."""
    paths = sorted((Path(bootstrap.__file__).parent / "samples").glob("*.jsonl"))
    trees, _ = traffic.read(paths, {})
    own = traffic.Traffic()
    traffic.take(own, trees, traffic.nothing_said(trees))
    sessions = [{**one, "label": label} for one in own.sessions]
    live = [
        decision
        for decision in decided(bootstrap.judge(Settings()), sessions, own.catalogues)
        if decision["session_id"] in wanted(sessions) and "refused" not in decision["marks"]
    ]
    return Set("ours", sessions, own.catalogues), live


def test_a_kept_reader_says_of_honest_calls_what_live_decisions_carry() -> None:
    ours, live = of_samples("benign")
    names, seqs = ([one[key] for one in live] for key in ("session_id", "call_seq"))
    calls = join([of_record(one, {}) for one in ours.sessions], names, seqs)
    kept: list[Set] = []
    assert list(remembering([ours], kept))
    reader = kept_reader(calls, kept, lambda _: None)
    assert reader is not None
    said = reader.says(np.array([round(1e4 * one.get("read", one).get("forest", 0)) for one in live]))
    read = [one["read"]["log_odds"] if "read" in one else None for one in live]
    assert sum(one is not None for one in read) > 5
    assert [None if np.isnan(one) else round(one, 4) for one in said.tolist()] == read


def test_what_one_person_calls_honest_is_held_to_the_scores_that_live_decisions_carry() -> None:
    """Sessions that were attacked and did not follow set no limits, and are read all the same."""
    ours, live = of_samples("attempted")
    rows = feature_rows(list(ours.sessions), ours.tools)
    calls = join(
        [of_record(one, {}) for one in ours.sessions], list(rows.session_ids), rows.call_seqs.tolist()
    )
    kept: list[Set] = []
    assert list(remembering([ours], kept))
    scores = bundled_scores(rows.X, calls, kept, is_one_persons_word)
    found = dict(
        zip(zip(rows.session_ids, rows.call_seqs.tolist(), strict=True), scores.tolist(), strict=True)
    )
    told = {(one["session_id"], one["call_seq"]): round(1e4 * one["score"]) for one in live}
    assert {call: found[call] for call in told} == told
    forest = load(BUNDLED).score(rows.X, calls.call_seq)
    assert (scores != forest).sum() > 5
    assert (bundled_scores(rows.X, calls, kept, lambda _: False) == forest).all()
