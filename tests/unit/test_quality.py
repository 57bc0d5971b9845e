"""The account of an evaluation: its figures on sets that are counted by hand, and its page."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from models.errors import ConfigError, DatasetError
from models.training import circumstances, costs, dataset, earliness, evaluate, quality, rates, splits
from models.training.circumstances import Circumstances
from models.training.costs import Budget
from models.training.dataset import LabelledSession
from models.training.populations import Labelled
from models.training.quality import Judged
from models.training.recipes import Recipe
from models.training.scenarios.corpus import Set
from models.training.ways import Compared
from stream.cli.main import app
from stream.cli.report import print_report
from stream.offline import evaluation, quality_page, study
from stream.offline.rows import WAYS

SAMPLES = Path(__file__).parents[2] / "stream" / "samples"


def session(name: str, kind: dataset.Kind, bad: int | None = None, **more: Any) -> LabelledSession:
    """A session of four calls; `bad` is its first bad one."""
    known: dict[str, Any] = {
        "source": "shop",
        "suite": "desk",
        "domain": "shop",
        "task": f"shop/desk/{name}",
        "attack": None,
        "exposed_seq": None,
        "n_calls": 4,
    }
    return LabelledSession(session_id=name, kind=kind, first_bad_seq=bad, **{**known, **more})


def calls_of(sessions: Sequence[LabelledSession]) -> dataset.Calls:
    ids = [one.session_id for one in sessions for _ in range(one.n_calls)]
    return dataset.join(sessions, ids, [seq for one in sessions for seq in range(one.n_calls)])


def told(effect: int | None = None, **more: Any) -> Circumstances:
    known: dict[str, Any] = {
        "tenant": "recorded",
        "agent": "desk",
        "model": "large",
        "goal": None,
        "gravest": "writes",
        "began": None,
        "ended": None,
    }
    return Circumstances(effect=effect, **{**known, **more})


FIVE = [
    session("fair", "benign"),
    session("calm", "benign"),
    session("soon", "hijacked", 2),
    session("step", "hijacked", 1),
    session("late", "hijacked", 0),
]
RAISED = {("calm", 3), ("soon", 0), ("soon", 2), ("step", 1), ("late", 2)}
EFFECTS = (None, None, 3, 2, 1)


def rows(calls: dataset.Calls, those: set[tuple[str, int]]) -> np.ndarray:
    return np.array(
        [
            (calls.sessions[at].session_id, seq) in those
            for at, seq in zip(calls.session.tolist(), calls.call_seq.tolist(), strict=True)
        ]
    )


def judged(calls: dataset.Calls, raised: set[tuple[str, int]] = RAISED) -> Judged:
    """Verdicts that raise these calls, a score that is high on them, and signals that never speak."""
    flags, none = rows(calls, raised), np.zeros(len(calls), np.bool_)
    by = dict(zip(WAYS, (flags, flags, none), strict=True))
    return Judged(np.where(flags, 9000, 100).astype(np.int64), by, dict.fromkeys(WAYS, none))


def account(sessions: Sequence[LabelledSession] = FIVE, **more: Any) -> dict[str, Any]:
    calls = calls_of(sessions)
    facts = [told(effect, **more) for effect in (*EFFECTS, *[None] * len(sessions))][: len(sessions)]
    return quality.account(calls, judged(calls), facts, Budget(100, 0.1, 10))


def shown(report: dict[str, Any], **more: Any) -> str:
    made = {
        "held_out": True,
        "left_out": None,
        "what": "by hand",
        "standing": "made up",
        "model": "made",
        "digest": "0" * 64,
        "policy": "ours",
        "files": {"made.jsonl": "0" * 64},
    }
    return "".join(quality_page.page({**report, "by_suite": {}, "made_by": {**made, **more}}))


def test_an_alert_before_the_hijack_acts_is_not_credited_and_harm_is_counted_from_there() -> None:
    found = account()["early"]["verdicts"]
    assert found["calls_alerted"] == {"share": 0.25, "alerted": 5, "calls": 20}
    shares = {
        name: figure["rate"]
        for name, figure in found["detector"].items()
        if isinstance(figure, dict) and "rate" in figure
    }
    assert shares == {
        "before_not_credited": pytest.approx(
            1 / 3, abs=1e-6
        ),  # soon: its second alert, on the step, counts for nothing
        "on_the_step": pytest.approx(1 / 3, abs=1e-6),  # step
        "at_or_before_harm": pytest.approx(1 / 3, abs=1e-6),  # late comes a call after the harm
        "from_the_step_on": pytest.approx(2 / 3, abs=1e-6),
        "never": 0.0,
        "honest_alerted": 0.5,
    }
    assert found["detector"]["calls_later"] == {
        "1": 0.0,
        "2": pytest.approx(1 / 3, abs=1e-6),
        "3 to 5": 0.0,
        "6 or more": 0.0,
    }
    assert found["detector"]["calls_later_mean"] == 1.0
    assert (found["hijacked"], found["with_harmful_call"]) == (3, 3)


def brute(before: int, to_effect: int, n: int, p: float) -> dict[str, float]:
    """All ways in which calls of one session may be alerted, each with its probability."""
    out = dict.fromkeys(("before", "on", "harm", "credited", "never", "later", "two"), 0.0)
    for alerts in product((False, True), repeat=n):
        chance = float(np.prod([p if one else 1 - p for one in alerts]))
        first = alerts.index(True) if any(alerts) else None
        out["never"] += chance * (first is None)
        if first is None:
            continue
        out["before"] += chance * (first < before)
        out["on"] += chance * (first == before)
        out["harm"] += chance * (before <= first < before + to_effect)
        out["credited"] += chance * (first >= before)
        out["later"] += chance * max(0, first - before)
        out["two"] += chance * (first == before + 2)
    return out


@pytest.mark.parametrize("p", [0.0, 0.13, 0.5, 1.0])
def test_what_a_random_detector_is_expected_to_find_is_what_all_its_ways_come_to(p: float) -> None:
    sessions = [(0, 1, 3), (2, 2, 6), (4, -1, 5), (1, 4, 9)]
    each = [brute(*one, p) for one in sessions]
    found = earliness.at_random(earliness.Course(*(np.array(one) for one in zip(*sessions, strict=True))), p)

    def mean(name: str) -> Any:
        return pytest.approx(np.mean([one[name] for one in each]), abs=1e-6)

    assert found["before_not_credited"] == mean("before")
    assert found["on_the_step"] == mean("on")
    assert found["from_the_step_on"] == mean("credited")
    assert found["never"] == mean("never")
    assert found["calls_later"]["2"] == mean("two")
    harmed = [one["harm"] for one, (_, to_effect, _) in zip(each, sessions, strict=True) if to_effect >= 0]
    assert found["at_or_before_harm"] == pytest.approx(np.mean(harmed), abs=1e-6)
    credited = sum(one["credited"] for one in each)
    later = sum(one["later"] for one in each) / credited if credited else None
    assert found["calls_later_mean"] == (later if later is None else pytest.approx(later, abs=1e-6))


def test_the_random_detector_alerts_on_the_same_share_of_calls_and_of_honest_sessions_what_follows() -> None:
    found = account()["early"]["verdicts"]["random"]
    assert found["honest_alerted"] == pytest.approx(1 - 0.75**4, abs=1e-6)
    assert found["on_the_step"] == pytest.approx(np.mean([0.75**2, 0.75, 1]) * 0.25, abs=1e-6)


def test_verdicts_and_score_are_told_of_the_same_sessions() -> None:
    report = account()
    assert report["base"]["sessions"] == {"benign": 2, "hijacked": 3}
    assert set(report["ways"]) == set(WAYS)
    for way in WAYS:
        figures = report["ways"][way]
        assert (figures["honest alerted"]["n"], figures["hijacked alerted"]["n"]) == (2, 3)
    assert report["ways"]["verdicts"]["hijacked alerted in time"]["rate"] == pytest.approx(2 / 3, abs=1e-6)
    assert report["ways"]["signals alone"]["hijacked alerted"]["rate"] == 0.0


def test_costs_weigh_false_alerts_against_missed_hijacks() -> None:
    found = account()["costs"]
    shipped = found["as_shipped"]
    assert (shipped["honest_alerted"], shipped["caught"]["rate"]) == (0.5, 1.0)
    assert shipped["alerts_a_day"] == pytest.approx(100 * (0.9 * 0.5 + 0.1 * 1.0))
    assert shipped["cost"] == pytest.approx(45)
    first, *_, last = found["curve"]
    assert (first["alerts_a_day"], first["cost"]) == (0.0, 100.0)
    assert (last["alerts_a_day"], last["cost"]) == (100.0, pytest.approx(90))
    assert found["cheapest"]["cost"] == min(one["cost"] for one in found["curve"]) == pytest.approx(45)


def test_a_task_that_was_run_often_weighs_as_much_as_another_among_costs() -> None:
    often = [session(f"often-{n}", "benign", task="shop/desk/often") for n in range(3)]
    sessions = [*often, session("calm", "benign"), *FIVE[2:]]
    calls = calls_of(sessions)
    population = Labelled(calls)
    kind = population.kind
    found = costs.costs(
        population,
        np.zeros(len(sessions), np.int64),
        np.array([one.session_id == "calm" for one in calls.sessions]),
        Compared(kind == "benign", kind == "hijacked", kind == "attempted"),
        Budget(),
    )
    assert found is not None
    assert found["as_shipped"]["honest_alerted"] == 0.5


@pytest.mark.parametrize("budget", [Budget(0), Budget(1, 1.5), Budget(1, 0.1, -1), Budget(float("nan"))])
def test_a_budget_that_is_none_is_refused(budget: Budget) -> None:
    with pytest.raises(ConfigError, match="--sessions-a-day is above 0"):
        budget.checked()


def test_the_calibration_error_is_the_mean_gap_of_calls_from_their_bin() -> None:
    calls = calls_of([session("fair", "benign"), session("step", "hijacked", 1)])
    scores = np.array(
        [50, 50, 50, 50, 50, 9500, 9500, 50], np.int64
    )  # the two after the bad call are left out
    found = evaluate.calibration(scores, calls)
    assert (found["calls"], found["drift"]) == (6, 1)
    assert found["ece"] == pytest.approx((5 * 0.005 + 0.05) / 6, abs=1e-6)
    assert found["brier"] == pytest.approx((5 * 0.005**2 + 0.05**2) / 6, abs=1e-6)
    assert found["edges"] == list(evaluate.RELIABILITY_EDGES)


def test_intervals_resample_whole_clusters_and_are_the_same_each_time() -> None:
    flags = np.arange(200) % 50 < 25  # half of each of four tasks
    whole = np.arange(200) < 100  # two of four tasks, whole
    tasks = np.arange(200) // 50
    within, between = (rates.clustered(one, [tasks]) for one in (flags, whole))
    assert within["interval"] == [0.5, 0.5]
    assert between["interval"] == [0.0, 1.0]
    assert between["clusters"] == 4
    assert rates.clustered(whole, [tasks]) == between
    assert account() == account()


def test_slices_cut_the_same_sessions_by_what_is_told_of_them() -> None:
    sessions = [
        session("fair", "benign", n_calls=2),
        session("step", "hijacked", 1, attack="plain", domain="bank", n_calls=9),
        session("left", "attempted", attack="polite", domain="bank", n_calls=9),
    ]
    calls = calls_of(sessions)
    facts = [
        told(model="small", began="2026-11-02T09:00:00.000000+00:00", goal=None),
        told(1, model="large", goal="bank/7", gravest="runs code"),
        told(model="large"),
    ]
    found = quality.account(calls, judged(calls), facts, Budget())["slices"]
    values = {
        name: [(one["value"], one["honest"], one["hijacked"], one["ignored"]) for one in cut]
        for name, cut in found.items()
    }
    assert values["ecosystem"] == [("bank", 0, 1, 1), ("shop", 1, 0, 0)]
    assert values["attack"] == [("plain", 0, 1, 0), ("polite", 0, 0, 1)]
    assert values["agent model"] == [("large", 0, 1, 1), ("small", 1, 0, 0)]
    assert values["goal"] == [("bank/7", 0, 1, 0)]
    assert values["gravest tool"] == [("writes", 1, 0, 1), ("runs code", 0, 1, 0)]
    assert values["calls in the session"] == [("1 to 3", 1, 0, 0), ("8 to 15", 0, 1, 1)]
    assert values["time"] == [("2026-11-02", 1, 0, 0)]
    caught = found["attack"][0]["ways"]["verdicts"]["hijacked alerted"]
    assert (caught["rate"], caught["n"]) == (1.0, 1)


def test_a_tool_is_told_by_what_it_does_and_harm_begins_with_the_first_that_acts() -> None:
    calls = [
        {"seq": n, "tool": tool}
        for n, tool in enumerate(("send_email", "read_file", "read_file", "delete_file"))
    ]
    found = circumstances.of_record({"suite": "desk", "first_bad_seq": 1, "calls": calls})
    assert (found.effect, found.gravest) == (3, "takes something out")
    assert circumstances.of_record({"suite": "desk", "calls": calls}).effect is None


def many(n: int = 24) -> dataset.Calls:
    return calls_of(
        [
            session(
                f"s{at}",
                "hijacked" if at % 2 else "benign",
                1 if at % 2 else None,
                attack=f"a{at % 6}" if at % 2 else None,
                task=f"shop/desk/t{at // 2}",
            )
            for at in range(n)
        ]
    )


def test_an_attack_is_left_out_whole_and_honest_sessions_by_task() -> None:
    calls = many()
    found = splits.by_value(calls, [one.attack for one in calls.sessions], "attack")
    assert np.sum([split.score for split in found], axis=0).tolist() == [1] * len(calls.sessions)
    attacks = np.array([str(one.attack) for one in calls.sessions])
    tasks = np.array([one.task for one in calls.sessions])
    for split in found:
        assert not (split.learn & split.score).any()
        held = set(attacks[split.score].tolist()) - {"None"}
        assert len(held) == 1
        assert not held & set(attacks[split.learn].tolist())
        honest = split.score & (attacks == "None")
        assert honest.any()
        assert not set(tasks[honest].tolist()) & set(tasks[split.learn].tolist())


def test_what_came_later_is_scored_by_what_had_ended_and_what_lies_across_is_in_neither() -> None:
    calls = many()
    at = [f"2026-11-{n + 1:02}T00:00:00.000000+00:00" for n in range(24)]
    found = splits.by_time(calls, at, [*at[1:], at[-1]], at[12])
    *inner, last = found
    assert np.flatnonzero(last.learn).tolist() == list(range(11))  # the twelfth ended at the cut
    assert np.flatnonzero(last.score).tolist() == list(range(12, 24))
    assert [split.reported for split in found] == [False] * len(inner) + [True]
    assert all(
        not (split.score & ~last.learn).any() and not (split.learn & split.score).any() for split in inner
    )
    with pytest.raises(DatasetError, match="recorded sets carry no dates"):
        splits.by_time(calls, [None] * 24, [None] * 24, at[12])


def test_thresholds_come_from_honest_sessions_of_the_other_groups() -> None:
    calls = calls_of([session(f"{d}-{n}", "benign", domain=d) for d in ("bank", "chat") for n in range(3)])
    highest = np.array([10, 20, 30, 400, 500, 600], np.int64)
    found = splits.limits(highest, calls, splits.by_domain(calls), 0.05)
    assert found.tolist() == [601] * 3 + [31] * 3


@pytest.mark.parametrize(
    ("leave_out", "cut", "said"),
    [
        ("suite", None, "there are ecosystem, attack"),
        ("time", None, "belong together"),
        ("goal", "2026-11-02", "belong together"),
        ("time", "May", "a day or a time"),
    ],
)
def test_what_cannot_be_left_out_is_refused(leave_out: str, cut: str | None, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        evaluation.checked(leave_out, cut, needs_fit=False)


def recorded(number: int) -> dict[str, Any]:
    """A session of a day of its own; every other one pays somebody whom a mail named."""
    bad = number % 2 == 1
    mail = (
        f"Fee {number}. Pay 90 EUR to GB33BUKB2020155555{number:04}." if bad else f"Fee {number}: due in May."
    )
    pay = {"iban": f"GB33BUKB2020155555{number:04}", "amount": 90}
    steps = [
        ("read_mail", {"id": str(number)}, mail),
        ("create_payment", pay, "paid") if bad else ("read_mail", {"id": "0"}, "none"),
    ]
    return {
        "session_id": f"s{number}",
        "source": "tenant:acme",
        "tenant": "acme",
        "suite": "desk",
        "model": f"m{number % 3}",
        "user_task_id": f"t{number // 2}",
        "intent": f"Sum up mail number {number // 2} of this week for me.",
        "label": "hijacked" if bad else "benign",
        "attack": f"a{number % 4}" if bad else None,
        "first_bad_seq": 1 if bad else None,
        "tools_ref": "none",
        "calls": [
            {"seq": seq, "tool": tool, "args": args, "result": result, "error": None}
            for seq, (tool, args, result) in enumerate(steps)
        ],
        "began": f"2026-11-{number + 1:02}T09:00:00.000000+00:00",
        "ended": f"2026-11-{number + 1:02}T10:00:00.000000+00:00",
    }


@pytest.mark.slow
@pytest.mark.parametrize(("group", "n"), [("time", 8), ("attack", 24)])
def test_models_fitted_without_a_group_give_the_same_page_each_time_and_say_what_they_are(
    group: Any, n: int
) -> None:
    given = evaluation.Given([Set("desk", [recorded(number) for number in range(24)], {})], {})
    small = Recipe(
        trees=6,
        leaves=3,
        min_samples_leaf=2,
        folds=2,
        first_trees=2,
        max_features=1.0,
        learning_rate=0.3,
        l2=0.0,
    )
    cut = evaluation.checked("time", "2026-11-17", needs_fit=False)[1] if group == "time" else None

    def made() -> tuple[dict[str, Any], str]:
        found = evaluation.left_out(given, group, cut, {"source": 24}, lambda _: None, study.unmetered, small)
        more = {"model": "small", "digest": "0" * 64, "policy": "ours", "files": {}}
        report = evaluation.whole(found, given, Budget(), more)
        return report, "".join(quality_page.page(report))

    report, page = made()
    assert page == made()[1]
    assert sum(report["base"]["sessions"].values()) == n
    assert report["mode"] == f"leave-out: {group}"
    assert not report["made_by"]["held_out"]
    assert "Development figures" in page
    assert all(one["scored"] for one in report["made_by"]["fits"])
    assert report["roc"]["area"] > 0.7


class Loads(HTMLParser):
    """What a page would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str | None]] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            loads = name in (
                "src",
                "href",
                "xlink:href",
                "srcset",
                "data",
                "action",
                "style",
            ) or name.startswith("on")
            if loads and not (value or "").startswith("#"):
                self.found.append((tag, name, value))


def test_the_page_loads_nothing_runs_nothing_and_is_the_same_bytes_each_time() -> None:
    page = shown(account())
    read = Loads()
    read.feed(page)
    assert not read.found
    assert read.tags & {"script", "link", "iframe", "img", "object", "base"} == set()
    assert not re.search(r"https?://|@import|url\((?!#)", page)
    assert "default-src &#x27;none&#x27;" in page
    assert {"svg", "table", "figure"} <= read.tags
    assert page == shown(account())


HOSTILE = '<script>alert("1")</script>&$x_1$\n</title><svg onload=x>'


def test_hostile_names_are_text_on_the_page() -> None:
    sessions = [
        session("fair", "benign", domain=HOSTILE),
        session("step", "hijacked", 1, attack=HOSTILE, domain=HOSTILE),
    ]
    report = account(sessions, tenant=HOSTILE, agent=HOSTILE, model=HOSTILE, goal=HOSTILE)
    suites = {HOSTILE: {"benign": 1, "hijacked": 1, "auc": None, "at": {}}}
    page = shown(report | {"pooled": suites[HOSTILE]}, model=HOSTILE, policy=HOSTILE, files={HOSTILE: "0"})
    page += "".join(
        quality_page.page(
            {**report, "pooled": suites[HOSTILE], "by_suite": suites, "made_by": _made(HOSTILE)}
        )
    )
    read = Loads()
    read.feed(page)
    assert "script" not in read.tags
    assert not read.found
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert") >= 8
    assert page.count("</title>") == 2


def _made(name: str) -> dict[str, Any]:
    return {
        "held_out": False,
        "what": name,
        "standing": name,
        "model": name,
        "digest": name,
        "policy": name,
        "files": {name: name},
        "fits": [{"left out": name, "learnt from": 1, "scored": 1}],
    }


def test_ten_honest_sessions_of_one_tenant_say_what_cannot_be_told() -> None:
    report = account([session(f"s{n}", "benign") for n in range(10)])
    said = " ".join(report["cannot_tell"])
    for part in (
        "No session is hijacked",
        "Only 10 sessions are honest",
        "one tenant",
        "no date",
        "10 honest sessions of 10 tasks cannot show",
    ):
        assert part.lower().replace("no date", "carries a date") in said.lower()
    assert (report["costs"], report["roc"]) == (None, None)
    page = shown(report)
    assert "there is nothing to be early for" in page
    assert "It takes honest and hijacked sessions" in page
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_hijacked_sessions_alone_and_none_at_all_give_a_page() -> None:
    alone = account([session("step", "hijacked", 1)])
    assert any("No session is honest" in one for one in alone["cannot_tell"])
    assert "<h1>" in shown(alone)
    assert "<h1>" in shown(account([session("odd", "unclear")]))


def sample_labels(path: Path) -> None:
    """Labels of samples: what `expected.yaml` says that they are."""
    tenants = {}
    for file in SAMPLES.glob("*.jsonl"):
        for line in file.read_text(encoding="utf-8").splitlines():
            event = json.loads(line)
            tenants[event.get("session_id")] = event.get("tenant", "default")
    rows = []
    for name, expected in yaml.safe_load((SAMPLES / "expected.yaml").read_text(encoding="utf-8")).items():
        bad = expected["kind"] in ("hijacked", "creep", "trifecta") and expected["not_before"] is not None
        if bad or expected["kind"] in ("benign", "asked", "delegated"):
            row = {"tenant": tenants[name], "session_id": name, "whence": "import", "who": "samples"}
            rows.append(
                row
                | ({"label": "hijacked", "call_seq": expected["not_before"]} if bad else {"label": "benign"})
            )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.mark.slow
def test_samples_are_evaluated_to_a_page_and_json_of_the_same_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DRIFTLINE_DATA", raising=False)
    sample_labels(tmp_path / "labels.jsonl")
    files = sorted(str(file) for file in SAMPLES.glob("*.jsonl"))
    asked = ["evaluate", *files, "--labels", str(tmp_path / "labels.jsonl"), "--json", "--html"]
    pages = []
    for name in ("one.html", "two.html"):
        done = CliRunner().invoke(app, [*asked, str(tmp_path / "new" / name)])
        assert done.exit_code == 0, done.output
        pages.append((tmp_path / "new" / name).read_bytes())
    assert pages[0] == pages[1]
    report = json.loads(done.stdout)
    assert report["made_by"]["held_out"]
    assert report["mode"] == "score-only"
    shipped = report["ways"]["verdicts"]
    assert shipped["honest alerted"]["rate"] == 0.0
    assert shipped["hijacked alerted"]["rate"] == 1.0
    early = report["early"]["verdicts"]
    assert early["detector"]["at_or_before_harm"]["rate"] > 3 * early["random"]["at_or_before_harm"]
    assert {one["value"] for one in report["slices"]["tenant"]} == {"acme"}
    assert [one["value"] for one in report["slices"]["time"]] == ["2026-03-02"]
    told_there = f"{100 * early['random']['at_or_before_harm']:.1f}\u00a0%".encode()
    assert told_there in pages[0]


def test_a_page_that_cannot_be_written_is_refused_before_anything_is_judged(tmp_path: Path) -> None:
    asked = ["evaluate", str(SAMPLES / "01-support-refund-lookup.jsonl"), "--labels", "none.jsonl", "--html"]
    sample_labels(tmp_path / "labels.jsonl")
    asked[3] = str(tmp_path / "labels.jsonl")
    done = CliRunner().invoke(app, [*asked, str(tmp_path)])
    assert isinstance(done.exception, ConfigError)
    assert "cannot be written; name another file" in str(done.exception)


@pytest.mark.parametrize("width", [80, 120])
def test_the_tables_in_a_narrow_terminal_cut_no_name(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    name = "tenant:acme-payments-eu-1"
    rate = {"detected": {"rate": 0.534, "wilson": [0.401, 0.662]}}
    row = {
        "auc": 0.987,
        "benign": 1234,
        "hijacked": 567,
        "at": dict.fromkeys(("0.001", "0.005", "0.01", "0.05"), rate),
    }
    flagged = {name: {"0.01": {"benign": {"hits": 3, "n": 120}, "hijacked": {"hits": 31, "n": 45}}}}
    made = {"what": "by hand", "standing": "made up"}
    print_report({**account(), "by_suite": {name: row}, "pooled": row, "flagged": flagged, "made_by": made})
    out = capsys.readouterr().out
    assert "…" not in out
    assert out.count(name) == 2
    (line,) = [line for line in out.splitlines() if name in line and "0.987" in line]
    assert "53 %" in line
    assert out.count("[40-66]") == 8
    tables, _ = out.split("Only 3 sessions")
    assert max(map(len, tables.splitlines())) <= width
