"""Shadow calibration: a sample may raise thresholds, within bounds, and becomes a release like any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from models.errors import ConfigError, InputError
from models.release import registry
from stream import bootstrap
from stream.cli import main as cli
from stream.offline import calibration, signal_rates
from stream.policy import FalsePositiveBudget, Policy, levels, load_policy, parse_policy, read_policy
from tests.builders import shipped_model

FIXED = settings(max_examples=60, derandomize=True, deadline=None, database=None)
MODEL = shipped_model()
POLICY = load_policy()
NOW = levels(POLICY, MODEL.threshold)


def decision(session: str, score: float, verdict: str = "allow", release: str = "r") -> dict[str, Any]:
    return {"tenant": "t", "session_id": session, "score": score, "verdict": verdict, "release": release}


def placed(rows: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    return [(f"line {n}", row) for n, row in enumerate(rows, 1)]


def test_a_sessions_score_is_its_highest_that_is_acted_on() -> None:
    told = [
        decision("a", 0.2),
        decision("a", 0.7),
        decision("a", 0.9, "abstain"),
        decision("b", 0.8, release="another"),
        decision("c", 0.1),
    ]
    sample = calibration.maxima(placed(told), "r")
    assert sample[:3] == ({("t", "a"): 7000, ("t", "c"): 1000}, 1, {"another": 1})
    assert sample.heard == {("t", "a"): set(), ("t", "c"): set()}
    assert ("t", "b") in calibration.maxima(placed(told)).highest


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({}, "no 'session_id'"),
        ({"session_id": "a"}, "no 'score'"),
        (decision("a", 7.0), "between 0 and 1"),
        ({**decision("a", 0.1), "score": "x"}, "between 0 and 1"),
        ({**decision("a", 0.1), "evidence": [{"family": "scope"}]}, "a list of family, name and supports"),
    ],
)
def test_what_is_no_decision_is_refused_with_its_place(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=f"^line 2: .*{says}"):
        calibration.maxima(placed([decision("a", 0.1), wrong]))


def test_a_small_quiet_sample_changes_nothing() -> None:
    found = calibration.fit_levels(POLICY, MODEL, [1] * 200)
    assert [one.level for one in found] == ["watch", "alert", "revoke"]
    assert all(one.after == one.before for one in found)


def test_a_large_quiet_one_lowers_alert_alone_to_the_threshold_of_five_times_its_budget() -> None:
    found = {one.level: one for one in calibration.fit_levels(POLICY, MODEL, [1] * 230)}
    assert NOW.watch <= found["alert"].after == MODEL.threshold(0.05) < NOW.alert
    assert (found["watch"].after, found["revoke"].after) == (NOW.watch, NOW.revoke)
    between = (NOW.alert + MODEL.threshold(0.05)) // 2
    higher = {one.level: one for one in calibration.fit_levels(POLICY, MODEL, [1] * 229 + [between])}
    assert higher["alert"].after == between + 1


def test_what_a_calibration_wrote_can_be_calibrated_again_and_never_stands_above_a_later_level() -> None:
    thresholds = POLICY.thresholds.model_copy(update={"alert": (NOW.watch + 10) / 10_000})
    lowered = POLICY.model_copy(update={"thresholds": thresholds})
    found = {one.level: one for one in calibration.fit_levels(lowered, MODEL, [9999] * 200)}
    assert found["watch"].after == NOW.watch + 10
    assert calibration.fixed(lowered, MODEL) == {"alert": NOW.watch + 10}
    capped = POLICY.model_copy(
        update={"thresholds": POLICY.thresholds.model_copy(update={"revoke": (NOW.alert + 5) / 10_000})}
    )
    raised = {one.level: one for one in calibration.fit_levels(capped, MODEL, [9999] * 200)}
    assert raised["alert"].after == NOW.alert + 5


def test_hijacks_in_the_sample_hold_the_alert_up() -> None:
    found = {one.level: one for one in calibration.fit_levels(POLICY, MODEL, [1] * 297 + [9999] * 3)}
    assert found["alert"].after == found["alert"].before


def test_one_that_scores_high_raises_up_to_the_threshold_of_a_tenth_and_no_further() -> None:
    found = {one.level: one for one in calibration.fit_levels(POLICY, MODEL, [9999] * 200)}
    assert found["alert"].before < found["alert"].after == MODEL.threshold(0.001)
    assert found["revoke"].after == found["revoke"].before == MODEL.threshold(0.001)
    assert found["alert"].reached_before == 200


def test_so_few_hijacks_as_are_supposed_do_not_raise_it() -> None:
    found = {one.level: one for one in calibration.fit_levels(POLICY, MODEL, [1] * 190 + [9999] * 10)}
    assert found["alert"].after == found["alert"].before


def test_a_level_given_as_a_number_stays() -> None:
    policy = POLICY.model_copy(
        update={"thresholds": POLICY.thresholds.model_copy(update={"alert": NOW.alert / 10_000})}
    )
    found = calibration.fit_levels(policy, MODEL, [9999] * 200)
    assert "alert" not in [one.level for one in found]


def test_too_small_a_sample_is_refused_with_what_was_found_and_what_passed_over() -> None:
    rows = [
        *[decision(f"s{n}", 0.1) for n in range(49)],
        *[decision("x", 0.1, "abstain")] * 2,
        *[decision("x", 0.1, release="older")] * 3,
    ]
    sample = calibration.maxima(placed(rows), "r")
    with pytest.raises(InputError) as refused:
        calibration.enough(sample, "r")
    assert str(refused.value) == (
        "sessions decided by r: 49; at least 50 are needed; decisions passed over: 2 that abstain, 3 of older"
    )
    calibration.enough(calibration.maxima(placed([*rows, decision("more", 0.1)]), "r"), "r")


@FIXED
@given(st.lists(st.integers(0, 10_000), min_size=50, max_size=120))
def test_a_small_sample_lowers_nothing_and_the_levels_rise(sample: list[int]) -> None:
    found = calibration.fit_levels(POLICY, MODEL, sample)
    assert all(one.before <= one.after for one in found)
    after = [one.after for one in found]
    assert after == sorted(after)
    assert [one.before for one in found] == list(NOW)


def test_only_the_numbers_change_in_the_policy() -> None:
    text = "version: 1\n# ours\nthresholds:\n  watch: {budget: 0.05}\n  alert:\n    budget: 0.01\n  revoke: 0.99 # b\n"
    made = calibration.with_values(text, "thresholds", {"watch": "0.5000", "alert": "0.6000"})
    wanted = "version: 1\n# ours\nthresholds:\n  watch: 0.5000\n  alert:\n    0.6000\n  revoke: 0.99 # b\n"
    assert made == wanted
    assert parse_policy(made.replace("# ours", "name: p\nmode: shadow"), "made").thresholds.alert == 0.6


def test_an_alert_that_was_pushed_up_to_revoke_is_told() -> None:
    def found(sample: list[int]) -> calibration.Fitted | None:
        return calibration.spent(calibration.fit_levels(POLICY, MODEL, sample), POLICY, MODEL)

    full = found([9999] * 200)
    assert full is not None
    assert (full.level, full.reached_after) == ("alert", 200)
    assert found([1] * 200) is None
    lifted = NOW.alert + 1
    assert lifted < NOW.revoke
    some = calibration.fit_levels(POLICY, MODEL, [1] * 150 + [NOW.alert] * 50)
    assert {one.level: one.after for one in some}["alert"] == lifted
    assert calibration.spent(some, POLICY, MODEL) is None


ROOMY = POLICY.model_copy(
    update={"signals": {**POLICY.signals, "scope.tool_unknown": "alert", "sequence.trifecta": "alert"}}
)
NAMES = ("scope.tool_unknown", "sequence.trifecta", "identity.credential_expired", "tempo.loop")
UNKNOWN, TRIFECTA, EXPIRED, LOOP = NAMES


def rated(
    heard: dict[int, set[str]], highest: dict[int, int] | None = None, policy: Policy = ROOMY
) -> dict[str, Any]:
    """By signal what is found of 100 sessions, of which these say something."""
    sessions = {("t", str(n)): heard.get(n, set()) for n in range(100)}
    scores = {("t", str(n)): score for n, score in (highest or {}).items()}
    found = signal_rates.rates(sessions, scores, NOW.alert, policy)
    return {rate.signal: rate[1:] for rate in found}


def test_a_signal_that_alone_alerts_more_than_the_budget_is_to_watch() -> None:
    assert rated({n: {UNKNOWN} for n in range(2)}) == {UNKNOWN: ("alert", 2, 2, "watch")}
    assert rated({0: {UNKNOWN}}) == {UNKNOWN: ("alert", 1, 1, "alert")}
    wide = ROOMY.thresholds.model_copy(update={"alert": FalsePositiveBudget(budget=0.05)})
    assert rated({n: {UNKNOWN} for n in range(5)}, policy=ROOMY.model_copy(update={"thresholds": wide})) == {
        UNKNOWN: ("alert", 5, 5, "alert")
    }


def test_a_session_that_is_alerted_anyway_is_not_laid_to_one_signal() -> None:
    both = {n: {UNKNOWN, TRIFECTA} for n in range(9)}
    assert {name: row[2] for name, row in rated(both).items()} == {UNKNOWN: 0, TRIFECTA: 0}
    assert rated({n: {UNKNOWN} for n in range(9)}, dict.fromkeys(range(8), NOW.alert))[UNKNOWN][2] == 1
    assert rated({n: {UNKNOWN, LOOP} for n in range(9)})[UNKNOWN][2] == 9


def test_what_denies_is_told_and_stays() -> None:
    assert rated({n: {EXPIRED} for n in range(50)}) == {EXPIRED: ("deny", 50, 50, "deny")}


def test_what_watches_is_told_and_no_signal_gets_louder() -> None:
    assert rated({n: {LOOP} for n in range(50)}) == {LOOP: ("watch", 50, 0, "watch")}


def test_only_what_speaks_against_a_call_counts_also_where_the_score_does_not() -> None:
    told = [
        {"family": "scope", "name": "tool_unknown", "supports": True},
        {"family": "tempo", "name": "loop", "supports": False},
    ]
    rows = [{**decision("a", 0.1, "abstain"), "evidence": told}, decision("a", 0.1, "abstain")]
    sample = calibration.maxima(placed(rows), "r")
    assert sample.heard == {("t", "a"): {UNKNOWN}}
    assert sample.highest == {}


def test_the_command_reports_signals_and_writes_what_it_proposes(tmp_path: Path) -> None:
    told, mine = tmp_path / "decisions.jsonl", tmp_path / "mine.yaml"
    text, _ = read_policy()
    mine.write_text(text.replace("scope.tool_unknown: watch", "scope.tool_unknown: alert  # ours"))
    speaks = [{"family": "scope", "name": "tool_unknown", "supports": True}]
    by = f"{MODEL.name}@{MODEL.digest[:12]}"
    rows = [{**decision(f"s{n}", 0.0001, release=by), "evidence": speaks if n < 5 else []} for n in range(60)]
    told.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "ours"
    done = CliRunner().invoke(cli.app, ["calibrate", str(told), "--policy", str(mine), "--out", str(out)])
    assert done.exit_code == 0, done.output
    (row,) = (line.split() for line in done.output.splitlines() if line.startswith("scope.tool_unknown"))
    assert row[1:] == ["alert", "5", "8.3", "5", "8.3", "watch"]
    assert (out / "policy.yaml").read_text() == mine.read_text().replace("unknown: alert", "unknown: watch")


def test_the_command_makes_a_release_that_a_worker_takes(tmp_path: Path) -> None:
    told = tmp_path / "decisions.jsonl"
    mine = f"{MODEL.name}@{MODEL.digest[:12]}"
    rows = [decision(f"s{n}", 0.2 if n % 2 else 0.9999, release=mine) for n in range(100)]
    told.write_text("".join(json.dumps(row) + "\n" for row in rows))
    place = tmp_path / "releases" / "ours"
    place.parent.mkdir()
    done = CliRunner().invoke(cli.app, ["calibrate", str(told), "--out", str(place)])
    assert done.exit_code == 0, done.output
    (digest, release), *others = bootstrap.releases_in(place.parent).items()
    assert not others
    assert f"release {digest}" in done.output
    assert "50 of 100 sessions still reach its threshold" in done.output
    assert release.levels.alert == MODEL.threshold(0.001) > NOW.alert
    assert release.levels.watch <= release.levels.alert <= release.levels.revoke
    with pytest.raises(ConfigError, match="already"):
        calibration.write("version: 1", "p", MODEL, registry.BUNDLED, place)
