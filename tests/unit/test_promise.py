"""Promises on false alerts: the guarantee by simulation, how a release carries it, and the alarm when traffic is another."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import tests.builders as b
from models.errors import ArtefactError, ConfigError, InputError
from models.promise import conformal
from models.promise.alarm import Alarm, tie
from models.promise.conformal import ALWAYS
from models.release import registry
from stream import bootstrap
from stream.cli import main as cli
from stream.offline import calibration, promise
from stream.offline.generate import Profile, sessions
from stream.policy import Levels, levels, load_policy, parse_policy, read_policy

MODEL = b.shipped_model()
NOW = levels(load_policy(), MODEL.threshold)
MINE = f"{MODEL.name}@{MODEL.digest[:12]}"
NONE = Fraction(0)
TOP = 10_000
"""Scores are drawn below it, alike: a threshold t then has a known rate, (TOP - t) / TOP."""


def rate(threshold: int | None) -> float:
    assert threshold is not None
    return (TOP - threshold) / TOP


def mean(draw: Callable[[np.random.Generator], float], times: int = 3000) -> tuple[float, float]:
    """The mean of `draw` and four times its standard error, at a fixed seed."""
    draws = np.random.default_rng(39)
    found = np.array([draw(draws) for _ in range(times)])
    return float(found.mean()), float(4 * found.std() / np.sqrt(times))


@pytest.mark.parametrize(("n", "alpha"), [(60, "0.05"), (19, "0.05"), (500, "0.01"), (40, "0.2")])
def test_a_promise_is_kept_on_average_and_not_by_alerting_on_nothing(n: int, alpha: str) -> None:
    wanted = Fraction(alpha)

    def one(draws: np.random.Generator) -> float:
        scores = draws.integers(0, TOP, n)
        return rate(conformal.least_threshold(scores, np.arange(n), wanted))

    found, error = mean(one)
    expected = int(wanted * (n + 1)) / (n + 1)
    assert abs(found - expected) < error + 2 / TOP
    assert found <= float(wanted) + error
    # The share of the sample without the one to come, (sum) / n <= alpha, would break it.
    allowed = int(wanted * n)
    naive, _ = mean(lambda draws: rate(int(np.sort(draws.integers(0, TOP, n))[::-1][allowed]) + 1))
    assert naive > float(wanted) + error or n == 500 or int(wanted * n) < int(wanted * (n + 1))


def test_scores_that_many_sessions_share_break_no_promise() -> None:
    def one(draws: np.random.Generator) -> float:
        scores = draws.choice([0, 500, 9000], 80, p=[0.8, 0.17, 0.03])
        threshold = conformal.least_threshold(scores, np.arange(80), Fraction(1, 10))
        assert threshold is not None
        return 0.03 * (threshold <= 9000) + 0.17 * (threshold <= 500) + 0.8 * (threshold <= 0)

    found, error = mean(one)
    assert 0 < found <= 0.1 + error


def clustered(draws: np.random.Generator, tasks: int) -> tuple[Any, Any]:
    """Sessions of tasks: a task has its own level, and from 1 to 40 sessions about it."""
    sizes = draws.integers(1, 41, tasks)
    levels_of = draws.normal(0, 1, tasks)
    groups = np.repeat(np.arange(tasks), sizes)
    raw = levels_of[groups] + draws.normal(0, 0.3, len(groups))
    return np.clip(np.round(5000 + 1000 * raw), 0, TOP).astype(np.int64), groups


def test_sessions_of_one_task_count_once_and_a_promise_by_session_alone_is_broken_on_a_new_task() -> None:
    """Each draw: promise on 9 tasks, then the alerts in one new one, whose sessions all count the same."""
    alpha = Fraction(1, 10)

    def on_a_new_task(by_task: bool) -> Callable[[np.random.Generator], float]:
        def one(draws: np.random.Generator) -> float:
            scores, groups = clustered(draws, 9)
            made = conformal.least_threshold(scores, groups if by_task else np.arange(len(scores)), alpha)
            new, _ = clustered(draws, 1)
            return float((new >= made).mean()) if made is not None else 0.0

        return one

    naive, error = mean(on_a_new_task(False))
    kept, wide = mean(on_a_new_task(True))
    assert naive > float(alpha) + error
    assert 0 < kept <= float(alpha) + wide


def test_a_promise_holds_for_honest_sessions_however_the_hijacked_ones_among_them_score() -> None:
    """A tenth is hijacked and scores lowest: whoever hides among honest work takes part of its false alerts."""

    def with_share(supposed: Fraction) -> tuple[float, float]:
        def one(draws: np.random.Generator) -> float:
            scores = draws.integers(0, TOP, 200)
            scores[draws.random(200) < 0.1] = 0
            return rate(conformal.fit(scores, np.arange(200), Fraction(1, 10), supposed).threshold)  # type: ignore[union-attr]

        return mean(one)

    blind, error = with_share(NONE)
    held, _ = with_share(Fraction(1, 10))
    assert blind > 0.1 + error
    assert 0.09 < held <= 0.1 + error


def test_this_calibrations_own_rate_is_what_was_told_nine_times_in_ten() -> None:
    n, alpha = 120, Fraction(1, 20)
    draws, held = np.random.default_rng(5), 0
    for _ in range(1000):
        scores = draws.integers(0, TOP, n)
        made = conformal.fit(scores, np.arange(n), alpha, NONE)
        assert made is not None
        held += rate(made.threshold) <= conformal.at_most(made.tasks_reached, n)
    assert 870 <= held <= 930


def test_fewer_tasks_than_a_budget_needs_promise_nothing() -> None:
    needed = conformal.needed(Fraction(1, 20), NONE)
    assert needed == 19
    enough, few = (
        conformal.least_threshold(np.zeros(n, np.int64), np.arange(n), Fraction(1, 20))
        for n in (needed, needed - 1)
    )
    assert (enough, few) == (1, None)
    always = np.full(100, ALWAYS)
    assert conformal.least_threshold(always, np.arange(100), Fraction(1, 10)) is None


# ------------------------------------------------------------------------------------------------ the alarm


def runs(bag: Any, stream: Any, draws: np.random.Generator) -> Alarm:
    alarm = Alarm({int(at): int(n) for at, n in zip(*np.unique(bag, return_counts=True), strict=True)})
    for score in stream:
        alarm.take(int(score), float(draws.random()))
    return alarm


@pytest.mark.parametrize("top", [TOP, 3])
def test_the_alarm_rings_no_oftener_than_it_says_where_nothing_changed(top: int) -> None:
    """Looked at after each of 300 sessions, with scores that hardly repeat and with three that all share."""
    draws = np.random.default_rng(8)
    found = [
        runs(draws.integers(0, top, 100), draws.integers(0, top, 300), draws).rings(0.05) for _ in range(600)
    ]
    assert np.mean(found) <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 600)
    # A gambler that never wins would pass as well.
    assert any(
        runs(draws.integers(0, top, 100), draws.integers(0, top, 300), draws).highest > 0.3 for _ in range(50)
    )


def test_p_values_are_spread_alike_though_scores_repeat() -> None:
    draws, found = np.random.default_rng(3), []
    for _ in range(60):
        alarm = Alarm({0: 60, 1: 30, 2: 10})
        for score in draws.choice(3, 50, p=[0.6, 0.3, 0.1]).tolist():
            found.append(alarm.p_value(score, tie("t", str(draws.random()))))
            alarm.take(score, 0.5)
    counts = np.histogram(found, bins=10, range=(0, 1))[0]
    assert counts.min() > 230
    assert counts.max() < 370


@pytest.mark.parametrize(("drift", "within"), [(1500, 400), (-1500, 400), (4000, 60)])
def test_the_alarm_rings_where_scores_rise_or_fall(drift: int, within: int) -> None:
    draws, after = np.random.default_rng(2), []
    for _ in range(40):
        usual = np.clip(draws.normal(5000, 1000, 300), 0, TOP)
        shifted = np.clip(draws.normal(5000 + drift, 1000, within), 0, TOP)
        alarm = runs(usual, shifted, draws)
        after.append(alarm.rings(0.01))
    assert np.mean(after) > 0.95


def test_an_alarm_of_the_same_sessions_has_the_same_wealth_and_no_bound_is_outgrown() -> None:
    def wealth() -> float:
        alarm = Alarm({5000: 10})
        for n in range(3000):
            alarm.take(9000 if n % 7 else ALWAYS, tie("acme", f"s-{n}"))
        assert alarm.highest >= alarm.wealth
        return alarm.wealth

    assert wealth() == wealth()
    assert wealth() > -10_000


def judged(profile: Profile, n: int, seed: int) -> dict[tuple[str, str], promise.Seen]:
    """Generated sessions as the bundled release judges them."""
    run = b.play(sessions(seed, n, profile), bundled=RELEASE)
    return promise.sessions((("here", one) for one in run.decisions), MINE)


RELEASE = bootstrap.make_release(MODEL, load_policy(mode="enforce"))
USUAL = Profile(hijacked=0.0, calls=(2, 5))


def alarm_over(usual: dict[Any, promise.Seen], now: dict[Any, promise.Seen]) -> Alarm:
    scores = [promise.score(one, set()) for one in usual.values()]
    alarm = Alarm({score: scores.count(score) for score in scores})
    for name, one in now.items():
        alarm.take(promise.score(one, set()), tie(*name))
    return alarm


@pytest.fixture(scope="module")
def usual() -> dict[tuple[str, str], promise.Seen]:
    return judged(USUAL, 150, seed=1)


def test_the_alarm_is_quiet_over_more_of_the_same_sessions(usual: dict[Any, promise.Seen]) -> None:
    assert not alarm_over(usual, judged(USUAL, 150, seed=2)).rings()


def other_tools(event: dict[str, Any]) -> dict[str, Any]:
    """The same work through tools that nobody listed."""
    return {**event, "tool": f"x_{event['tool']}"} if event["type"] == "tool.called" else event


def test_the_alarm_rings_where_sessions_come_to_use_other_tools(usual: dict[Any, promise.Seen]) -> None:
    run = b.play((other_tools(event) for event in sessions(2, 150, USUAL)), bundled=RELEASE)
    now = promise.sessions((("here", one) for one in run.decisions), MINE)
    alarm = alarm_over(usual, now)
    assert alarm.rings()


def test_the_alarm_rings_where_sessions_grow_longer(usual: dict[Any, promise.Seen]) -> None:
    assert alarm_over(usual, judged(Profile(hijacked=0.0, calls=(30, 40)), 150, seed=2)).rings()


def test_the_alarm_rings_where_sessions_are_hijacked(usual: dict[Any, promise.Seen]) -> None:
    assert alarm_over(usual, judged(Profile(hijacked=0.5, calls=(2, 5)), 150, seed=2)).rings()


# ------------------------------------------------------------------------------------------------ a release that promises


def decision(session: str, score: float, **more: Any) -> dict[str, Any]:
    made = {
        "tenant": "t", "session_id": session, "root_session_id": session, "call_seq": 0, "score": score, "verdict": "allow",
        "release": MINE, "marks": [], "agent": "a", "intent_digest": f"i-{session}", "time": "2026-03-02T09:00:00.000Z",
        "families": ["intent"], "evidence": [], "thresholds": {"watch": 0.3, "alert": 0.5, "revoke": 0.7},
    }  # fmt: skip
    return {**made, **more}


def seen(rows: list[dict[str, Any]]) -> dict[tuple[str, str], promise.Seen]:
    return promise.sessions(((f"line {n}", row) for n, row in enumerate(rows, 1)), MINE)


SPEAKS = [{"family": "intent", "name": "grave_act", "supports": True}]


def test_a_session_counts_by_what_would_alert() -> None:
    told = [
        decision("a", 0.2),
        decision("a", 0.4, call_seq=1),
        decision("b", 0.9, families=["content"]),
        decision("c", 0.9, verdict="abstain"),
        decision("d", 0.9, marks=["expected"], evidence=SPEAKS),
        decision("e", 0.1, evidence=SPEAKS),
        decision("f", 0.9, release="another"),
        decision("g", 0.9, marks=["refused"], call_seq=-1),
    ]
    found = {key[1]: promise.score(one, {"intent.grave_act"}) for key, one in seen(told).items()}
    assert found == {"a": 4000, "b": 0, "c": 0, "d": 0, "e": ALWAYS}
    with pytest.raises(InputError, match=r"^line 2: not a whole decision"):
        seen([decision("a", 0.1), {"release": MINE}])


def asked(budget: str = "0.1", **more: Any) -> promise.Asked:
    return promise.Asked("session", Fraction(budget), NONE, "intent")._replace(**more)


def free(_: Fraction) -> tuple[int, int]:
    return 0, TOP


def test_a_tree_of_sessions_is_one_task_and_so_are_sessions_with_one_intent() -> None:
    rows = [decision(f"s{n}", 0.1, root_session_id="s0") for n in range(30)]
    rows += [decision(f"x{n}", 0.1, intent_digest="same") for n in range(30)]
    with pytest.raises(InputError, match=r"60 sessions of 2 tasks: .* takes 9 tasks; .*--tasks session"):
        promise.make(seen(rows), asked(), set(), free)
    by_agent = [decision(f"y{n}", 0.1, agent=f"a{n % 10}") for n in range(30)]
    made = promise.make(seen(by_agent), asked(tasks="agent"), set(), free)
    assert made.pooled.kept[1:3] == (30, 10)


def test_a_tenant_with_few_tasks_shares_the_threshold_of_all() -> None:
    rows = [decision(f"s{n}", n / 100, tenant="large") for n in range(50)]
    rows += [decision(f"s{n}", 0.8, tenant="small") for n in range(5)]
    made = promise.make(seen(rows), asked(), set(), free)
    assert [(one.tenant, one.kept.sessions) for one in made.own] == [("large", 50)]
    assert made.sharing == ["small"]
    # 0.1 (50 + 1) = 5.1: four may reach it; 0.1 (55 + 1) = 5.6: as many, and they are the small one's.
    assert (made.own[0].kept.threshold, made.pooled.kept.threshold) == (4501, 8001)


def test_a_budget_a_day_is_shared_out_over_the_sessions_of_a_full_day() -> None:
    rows = [
        decision(f"{day}-{n}", n / 1000, time=f"2026-03-{day:02d}T09:00:00.000Z")
        for day in range(1, 21)
        for n in range(10 if day == 3 else 5)
        if day != 7
    ]
    made = promise.make(seen(rows), asked("1", per="day"), set(), free)
    days = made.pooled.days
    assert (days.days, days.fewest, days.most, days.chance) == (20, 5, 5, 19 / 21)
    assert made.pooled.alpha == Fraction(1, 5)


def test_where_signals_alone_alert_too_many_nothing_is_promised_and_they_are_named() -> None:
    rows = [decision(f"s{n}", 0.1, evidence=SPEAKS if n < 20 else []) for n in range(50)]
    with pytest.raises(InputError, match=r"20 of 50 sessions .* intent.grave_act in 20"):
        promise.make(seen(rows), asked(), {"intent.grave_act"}, free)
    made = promise.make(seen(rows), asked(), set(), free)
    assert made.pooled.kept.threshold == 1001


def test_a_sample_moves_the_alert_within_bounds_and_a_flood_of_attacks_is_refused() -> None:
    quiet = promise.make(
        seen([decision(f"s{n}", 0.0) for n in range(50)]), asked(), set(), lambda _: (4000, 6000)
    )
    assert quiet.pooled.kept.threshold == 4000
    flooded = seen([decision(f"s{n}", 0.95) for n in range(50)])
    with pytest.raises(InputError, match=r"50 of 50 sessions reach 0.6000, .* takes 0.9501.* label them"):
        promise.make(flooded, asked(), set(), lambda _: (4000, 6000))
    least, most = calibration.bounds(MODEL, Fraction(1, 100))
    assert (least, most) == (MODEL.threshold(0.05), MODEL.threshold(0.001))
    assert calibration.bounds(MODEL, Fraction(1, 50_000)) == (MODEL.threshold(0.001),) * 2


def test_one_tenant_that_cannot_be_promised_takes_nothing_from_the_others() -> None:
    honest = [decision(f"s{n}", n / 100, tenant="honest") for n in range(50)]
    few = [decision(f"s{n}", 0.2, tenant="few") for n in range(5)]
    loud = [decision(f"s{n}", 0.1, tenant="loud", evidence=SPEAKS) for n in range(50)]
    small = [decision(f"s{n}", 0.1, tenant="loud", evidence=SPEAKS) for n in range(6)]
    for stands, why in ((loud, "tenant loud: 50 of 50"), (small, "tenant loud, among all together: 6 of 61")):
        made = promise.make(seen(honest + few + stands), asked(), {"intent.grave_act"}, free)
        assert list(made.refused) == ["loud"]
        assert made.refused["loud"].startswith(f"{why} sessions alert at every threshold")
        assert made._replace(refused={}) == promise.make(
            seen(honest + few), asked(), {"intent.grave_act"}, free
        )
    with pytest.raises(InputError, match=r"^tenant loud: .*; 5 sessions of 5 tasks: .* takes 9"):
        promise.make(seen(loud + few), asked(), {"intent.grave_act"}, free)
    other = [{**one, "tenant": "other"} for one in loud]
    with pytest.raises(InputError, match=r"^tenant loud: .*; tenant other: "):
        promise.make(seen(loud + other), asked(), {"intent.grave_act"}, free)


def test_a_busy_tenant_whose_days_budget_is_too_small_leaves_the_others_theirs() -> None:
    def on_days(tenant: str, tasks: int, a_day: int) -> list[dict[str, Any]]:
        return [
            decision(f"{day}-{n}", 0.1, tenant=tenant, intent_digest=f"i{n % tasks}", time=f"2026-03-{day:02d}T09:00:00.000Z")
            for day in range(1, 11)
            for n in range(a_day)
        ]  # fmt: skip

    calm = on_days("calm", 12, 12) + on_days("shares", 3, 5)
    by_day = asked("2", per="day")
    made = promise.make(seen(calm + on_days("busy", 3, 200)), by_day, set(), free)
    assert list(made.refused) == ["busy"]
    assert made._replace(refused={}) == promise.make(seen(calm), by_day, set(), free)


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(*args: Any) -> Any:
    return CliRunner().invoke(cli.app, [str(arg) for arg in args])


def two_tenants() -> list[dict[str, Any]]:
    """Honest sessions of two tenants, of which one scores higher; a third has but few."""
    rows = [decision(f"s{n}", n / 1000, tenant="low") for n in range(200)]
    rows += [decision(f"s{n}", 0.3 + n / 1000, tenant="high: er") for n in range(200)]
    return rows + [decision(f"s{n}", 0.2, tenant="few") for n in range(4)]


@pytest.fixture(scope="module")
def promised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("promise")
    done = run(
        "calibrate", lines(folder / "d.jsonl", two_tenants()), "--promise", "0.02", "--out", folder / "ours"
    )
    assert done.exit_code == 0, done.output
    assert "at most 0.02 false alerts a session" in done.output
    assert "1 tenant with too few tasks" in done.output
    return folder / "ours"


def test_the_release_says_what_it_promises_and_holds_its_tenants_to_thresholds_of_their_own(
    promised: Path,
) -> None:
    policy = load_policy(promised / "policy.yaml")
    assert set(policy.tenant_thresholds) == {"low", "high: er"}
    release = bootstrap.make_release(registry.load(promised), policy)
    of = {tenant: release.levels_of(tenant) for tenant in ("low", "high: er", "few")}
    # 0.02 * 0.95 * 201 = 3.8: two may reach it. It would lie at 0.1980, and falls no further than the bound.
    assert of["low"].alert == calibration.bounds(MODEL, Fraction(1, 50))[0]
    assert of["high: er"].alert == 4971
    assert of["few"] == release.levels
    assert all(one.watch <= one.alert <= one.revoke == NOW.revoke for one in of.values())
    found = run("verify", "release", promised)
    assert found.exit_code == 0
    for told in (
        "high: er: alert 0.4971 for 0.02 a session; 200 sessions of 200 tasks",
        "assumes: sessions to come",
        "if at most 5 %",
    ):
        assert told in found.output
    (digest,) = [line.split()[1] for line in found.output.splitlines() if line.startswith("release ")]
    assert digest == bootstrap.release_digest(promised, policy)


def test_a_release_whose_policy_alerts_more_than_promised_is_a_finding(
    promised: Path, tmp_path: Path
) -> None:
    def altered(old: str, new: str) -> Any:
        text = (promised / "policy.yaml").read_text()
        assert old in text
        (promised / "policy.yaml").write_text(text.replace(old, new))
        found = run("verify", "release", promised)
        (promised / "policy.yaml").write_text(text)
        return found

    lower = altered("alert: 0.4971", "alert: 0.4970")
    assert lower.exit_code == 1
    assert "alerts tenant high: er from 0.4970 on, and the promise holds from 0.4971 on" in lower.output
    louder = altered("sequence.trifecta: watch", "sequence.trifecta: alert")
    assert louder.exit_code == 1
    assert "sequence.trifecta" in louder.output
    assert altered("alert: 0.4971", "alert: 0.5200").exit_code == 0


def test_the_tenant_to_which_nothing_is_promised_is_named_keeps_its_thresholds_and_ends_with_1(
    tmp_path: Path,
) -> None:
    flooded = [decision(f"s{n}", 0.99, tenant="flooded") for n in range(200)]
    told = lines(tmp_path / "d.jsonl", two_tenants() + flooded)
    ours, alike = tmp_path / "ours", tmp_path / "alike"
    done = run("calibrate", told, "--promise", "0.02", "--out", ours)
    assert done.exit_code == 1
    assert "nothing is promised to tenant flooded: 200 of 200 sessions reach" in done.output
    assert f"release {bootstrap.release_digest(ours, load_policy(ours / 'policy.yaml'))}" in done.output
    assert (
        run("calibrate", lines(tmp_path / "e.jsonl", two_tenants()), "--promise", "0.02", "--out", alike).exit_code == 0
    )  # fmt: skip
    release, without = (
        bootstrap.make_release(registry.load(one), load_policy(one / "policy.yaml")) for one in (ours, alike)
    )
    assert release.levels_of("flooded") == NOW
    assert {tenant: release.levels_of(tenant) for tenant in ("low", "high: er", "few")} == {
        tenant: without.levels_of(tenant) for tenant in ("low", "high: er", "few")
    }
    manifest, other = (promise.read(registry.read_manifest(one)) for one in (ours, alike))
    assert manifest is not None
    assert other is not None
    assert manifest["pooled"] == other["pooled"]
    verified = run("verify", "release", ours)
    assert verified.exit_code == 0, verified.output
    assert "nothing is promised to tenant flooded" in verified.output


def test_the_manifests_scores_make_the_alarm_again(promised: Path) -> None:
    told = promise.read(registry.read_manifest(promised))
    assert told is not None
    assert sum(promise.scores_of(told["pooled"]).values()) == 404
    assert promise.scores_of(told["tenants"]["low"])[1990] == 1
    for wrong in (
        {**told, "version": 2},
        {**told, "pooled": {**told["pooled"], "scores": "99999:1"}},
        {"version": 1},
    ):
        with pytest.raises(ArtefactError, match="calibrate again"):
            promise.read({"promise": wrong})


def test_calibrated_again_without_a_promise_a_release_promises_nothing(
    promised: Path, tmp_path: Path
) -> None:
    told = lines(
        tmp_path / "d.jsonl",
        [decision(f"s{n}", 0.01, release=f"{MODEL.name}@{MODEL.digest[:12]}") for n in range(60)],
    )
    again = tmp_path / "again"
    done = run("calibrate", told, "--model", promised, "--policy", promised / "policy.yaml", "--out", again)
    assert done.exit_code == 0, done.output
    assert promise.read(registry.read_manifest(again)) is None
    assert registry.read_manifest(again)["thresholds"] == MODEL.manifest["thresholds"]


def test_sessions_known_to_be_hijacked_are_left_out(tmp_path: Path) -> None:
    rows = [decision(f"s{n}", 0.99 if n < 10 else 0.1) for n in range(200)]
    told = lines(tmp_path / "d.jsonl", rows)
    refused = run("calibrate", told, "--promise", "0.02", "--out", tmp_path / "no")
    assert isinstance(refused.exception, InputError)
    words = [
        {
            "schema_version": 1,
            "tenant": "t",
            "session_id": f"s{n}",
            "label": "hijacked",
            "whence": "dataset",
            "who": "d",
        }
        for n in range(10)
    ]
    labels = lines(tmp_path / "labels.jsonl", words)
    done = run("calibrate", told, "--promise", "0.02", "--labels", labels, "--out", tmp_path / "yes")
    assert done.exit_code == 0, done.output
    assert "10 sessions are labelled hijacked" in done.output
    assert "190 sessions of 190 tasks" in done.output


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--promise", "0.01", "--alerts-a-day", "3"], "two ways"),
        (["--promise", "7"], "--promise is 7; expected 1e-05 to 0.5"),
        (["--promise", "few"], "expected a number"),
        (["--tasks", "agent"], "are of a promise"),
        (["--promise", "0.01", "--tasks", "user"], "expected intent, agent, session"),
        (
            ["--promise", "0.001"],
            "204 sessions of 204 tasks: to promise 0.001 false alerts a session takes 1052 tasks",
        ),
    ],
)
def test_what_cannot_be_promised_is_refused_with_the_mend(
    options: list[str], says: str, tmp_path: Path
) -> None:
    rows = [row for row in two_tenants() if row["tenant"] != "low"]
    refused = run("calibrate", lines(tmp_path / "d.jsonl", rows), "--out", tmp_path / "new", *options)
    assert says in str(refused.exception)
    assert not (tmp_path / "new").exists()


def test_a_policys_own_thresholds_of_a_tenant_judge_its_calls_and_no_others() -> None:
    values = [
        event
        for tenant in ("acme", "globex")
        for event in (b.declared(tenant, tenant=tenant), b.called(tenant, 1, tenant=tenant))
    ]
    own = Levels(0, 1, 2)
    plain = b.play(values, bundled=b.release(levels=Levels(1, 9998, 9999)))
    ours = b.play(values, bundled=b.release(levels=Levels(1, 9998, 9999))._replace(tenants={"acme": own}))
    (acme, globex), (_, before) = ours.decisions, plain.decisions
    assert acme["thresholds"] == own.as_scores()
    assert globex == before
    text = read_policy()[0].replace(
        "families:\n", "tenant_thresholds:\n  acme: {watch: 0.9, alert: 0.5, revoke: 0.9}\nfamilies:\n", 1
    )
    with pytest.raises(ConfigError, match=r"mend the section `tenant_thresholds.acme`"):
        bootstrap.make_release(MODEL, parse_policy(text, "p"))
