"""The detection report: what its figures mean, and that the page holds them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks import results
from benchmarks.detection import __main__ as detection
from benchmarks.detection import page
from benchmarks.detection.figures import _early, ecosystem, shipped
from benchmarks.detection.fits import FULL, Bench, Variant, variants
from benchmarks.detection.rates import BUDGETS, Scored
from benchmarks.detection.rows import ROWLESS, Part, shaping
from benchmarks.detection.tables import TABLES, tables, word_rows
from benchmarks.detection.targets import ROWS, Row, gap_rows, held_back, reached, target_rows
from models.evidence.features.registry import FEATURES, SPECS
from models.evidence.features.spec import ABLATIONS
from models.training import boosting, dataset
from models.training.rates import clustered

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TELLS = FEATURES.index("aimed_prose")


def labels(name: str, domain: str, kind: dataset.Kind, task: str, **more: Any) -> dataset.LabelledSession:
    bad = 1 if kind == "hijacked" else None
    known: dict[str, Any] = {"attack": None, "exposed_seq": 0, "first_bad_seq": bad, "n_calls": 3}
    return dataset.LabelledSession(
        name, kind, domain, domain, domain, f"{domain}/{domain}/{task}", **{**known, **more}
    )


def part_of(sessions: list[dataset.LabelledSession], seed: int = 0) -> Part:
    """Three calls a session; the bad one stands out in one feature, a little less in some domains."""
    ids = [session.session_id for session in sessions for _ in range(3)]
    calls = dataset.join(sessions, ids, [0, 1, 2] * len(sessions))
    X = np.zeros((len(ids), len(FEATURES)))
    X[:, TELLS] = np.random.default_rng(seed).uniform(0, 200, len(ids))
    X[calls.target == 1, TELLS] += 700
    told = tuple({"effect": s.first_bad_seq, "origin": None, "asked_by": None} for s in calls.sessions)
    ones = np.ones(len(ids), np.int64)
    return Part(X, calls, np.array([s.source for s in calls.sessions]), told, ones, 0 * ones)


@pytest.fixture(scope="module")
def bench() -> Bench:
    return bench_of("banking", "slack", "elsewhere")


def bench_of(*domains: str) -> Bench:
    sessions = [
        labels(
            f"{domain}-{kind}-{n}",
            domain,
            kind,
            f"task{n % 10}",
            goal=f"goal{n % 3}" if kind == "hijacked" else None,
        )
        for domain in domains
        for kind in ("benign", "hijacked")
        for n in range(160)
    ]
    return Bench(part_of(sessions), part_of([labels("x", "unknown", "benign", "t")]), trees=40)


class Spy(Bench):
    """Notes which models were asked for."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench.learn, bench.held, bench.trees)
        self.asked: list[set[str]] = []

    def rows(self, X: Any, seen: Any, without: Any, seed: int, variant: Variant = FULL) -> Any:
        self.asked.append(set(without))
        return super().rows(X, seen, without, seed, variant)


def test_no_threshold_comes_from_a_model_that_saw_the_domain_judged_or_the_one_it_is_set_on(
    bench: Bench,
) -> None:
    spy = Spy(bench)
    limits, whence = spy.limits(0)
    assert set(limits) == {"banking", "slack", "elsewhere", ""}
    for domain in spy.domains:
        assert domain not in whence[domain]["0.01"]
    pairs = {frozenset(out) for out in spy.asked}
    assert pairs == {frozenset(p) for p in (
        {"banking", "slack"}, {"banking", "elsewhere"}, {"slack", "elsewhere"}, {"banking"}, {"slack"}, {"elsewhere"}
    )}  # fmt: skip


def test_what_the_models_of_a_seed_said_is_kept_so_that_other_figures_need_no_fit(
    bench: Bench, tmp_path: Path
) -> None:
    kept = tmp_path / "scores.npz"
    made = detection.scores_of(bench, 0, 1, kept)
    assert made.fits > 0
    again = Bench(bench.learn, bench.held, bench.trees)
    read = detection.scores_of(again, 0, 1, kept)
    assert again.fits == 0
    for one, other in zip(made, read, strict=True):
        assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other


def test_a_model_learns_from_no_session_of_the_domains_that_it_leaves_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    class Booster:
        _predictors: tuple[Any, ...] = ()

        def fit(self, X: Any, y: Any, sample_weight: Any) -> Booster:
            seen.append(len(X))
            return self

        def decision_function(self, X: Any) -> Any:
            return np.zeros(len(X))

    monkeypatch.setattr(boosting, "booster", lambda *_: Booster())
    monkeypatch.setattr(boosting.families, "additive", lambda fitted, *_: fitted)
    Bench(bench.learn, bench.held).model({"banking", "slack"}, 0)
    calls = bench.learn.calls
    elsewhere = calls.rows_of("elsewhere") & (calls.target != dataset.LEFT_OUT)
    assert set(seen) == {elsewhere.sum()}
    assert len(seen) == 3, "the fit that finds hard sessions, and the two halves of the one that counts"


def test_an_ecosystem_left_out_is_judged_by_what_saw_none_of_it(bench: Bench) -> None:
    assert not bench.ecosystem, "nothing would be left to learn from"
    assert not bench.beyond()
    suites = {"banking", "slack"}
    spy = Spy(bench_of(*suites, "elsewhere", "beyond"))
    assert spy.ecosystem == suites
    given, whence = spy.limits_without(suites, 0)
    assert spy.asked == [suites | {"beyond"}, suites | {"elsewhere"}]
    assert set(whence["0.01"]) == {"beyond", "elsewhere"}
    spy.asked.clear()
    scores = spy.apart(spy.learn, suites, 0)
    assert spy.asked == [suites]
    ours = spy.learn.calls.rows_of("banking") | spy.learn.calls.rows_of("slack")
    assert (scores[~ours] == -1).all()
    found = ecosystem(*[Scored(spy.learn, scores, {"": given})] * 2)
    assert set(found) == {*suites, "pooled"}
    assert found["pooled"]["detected"]["rate"] > 0.95
    assert found["pooled"]["false_alarms"]["rate"] < 0.05
    assert found["pooled"]["detected"]["n"] == 320
    wanted = {frozenset(out) for out, _ in spy.beyond()}
    assert wanted == {frozenset(suites | more) for more in ({"beyond"}, {"elsewhere"}, set())}
    assert max(len(out) for out, _ in spy.nested()) == 2, (
        "what only this row needs is fitted for nothing else"
    )


def test_a_domain_unknown_to_all_models_is_scored_by_the_one_of_all_domains(bench: Bench) -> None:
    spy = Spy(bench)
    spy.held_out(bench.held, 0)
    assert spy.asked == [set()]


def test_drift_that_shows_is_found_in_domains_held_out(bench: Bench) -> None:
    limits, _ = bench.limits(0)
    scored = Scored(bench.learn, bench.held_out(bench.learn, 0), limits)
    assert scored.caught(scored.kind == "hijacked")["rate"] > 0.95
    assert scored.alarms(scored.kind == "benign")["rate"] < 0.05


def test_false_alarms_weigh_tasks_and_detections_weigh_sessions() -> None:
    kinds: list[dataset.Kind] = ["benign", "benign", "benign", "benign"]
    sessions = [labels(f"s{n}", "banking", kind, "many" if n else "one") for n, kind in enumerate(kinds)]
    scored = Scored(part_of(sessions), np.zeros(12, dtype=np.int64))
    first = np.array([session.session_id == "s0" for session in scored.part.calls.sessions])
    everything = np.ones(4, dtype=np.bool_)
    assert scored.alarms(everything, first)["rate"] == 0.5
    assert scored.caught(everything, first)["rate"] == 0.25


def test_an_interval_is_no_narrower_than_its_clusters_allow() -> None:
    flags = np.arange(200) < 100
    alone = clustered(flags, [np.arange(200)])["interval"]
    tasks = clustered(flags, [np.arange(200) // 50])["interval"]
    assert tasks[1] - tasks[0] > 3 * (alone[1] - alone[0])
    none = clustered(np.zeros(50), [np.arange(50) // 10])
    assert (none["rate"], none["clusters"]) == (0.0, 5)
    assert none["interval"][1] > 0.4
    assert clustered([], [np.array([])])["rate"] is None


def test_a_flag_before_the_exposure_is_not_early() -> None:
    part = part_of([labels("h", "banking", "hijacked", "t", exposed_seq=1, first_bad_seq=2)])
    limits = {"": dict.fromkeys(BUDGETS, 10)}
    never = np.iinfo(np.int64).max
    assert Scored(part, np.array([50, 0, 0]), limits).first().tolist() == [never]
    assert Scored(part, np.array([50, 0, 50]), limits).first().tolist() == [2]


def test_a_revocation_needs_two_families_at_the_call_that_reaches_the_threshold() -> None:
    part = part_of([labels("h", "banking", "hijacked", "t", exposed_seq=0, first_bad_seq=2)])
    limits = {"": dict.fromkeys(BUDGETS, 10)}
    for families, revoked in (([2, 2, 1], False), ([0, 0, 2], True), ([0, 0, 1], False)):
        part = replace(part, families=np.array(families))
        assert Scored(part, np.array([0, 0, 50]), limits).acted_on(0.001, 2).tolist() == [revoked]


def test_verdicts_are_told_with_signals_and_without() -> None:
    sessions = [
        labels("h", "banking", "hijacked", "t", exposed_seq=0, first_bad_seq=1),
        labels("b", "banking", "benign", "u"),
    ]
    part = part_of(sessions)
    limits = {"": {0.001: 80, 0.01: 50, 0.05: 10}}
    honest, bad = (np.array([s.kind == kind for s in part.calls.sessions]) for kind in ("benign", "hijacked"))

    def told(scores: list[int], by_signals: list[int], families: int = 2) -> dict[str, Any]:
        rows = part.calls.rows_where(bad)
        spread = np.zeros(6, np.int64)
        spread[rows] = scores
        ruled = np.zeros(6, np.int64)
        ruled[rows] = by_signals
        one = replace(part, families=np.full(6, families), by_signals=ruled)
        found = shipped(Scored(one, spread, limits), honest, bad, honest)
        return {
            way: [
                found[way][f"hijacked {what}"]["rate"] for what in ("alerted", "alerted in time", "revoked")
            ]
            for way in found
        }

    quiet = [0.0, 0.0, 0.0]
    assert told([0, 60, 0], [0, 0, 0]) == {
        "verdicts": [1.0, 1.0, 0.0], "score alone": [1.0, 1.0, 0.0], "signals alone": quiet,
    }  # fmt: skip
    assert told([0, 0, 90], [0, 0, 0])["verdicts"] == [1.0, 0.0, 1.0], "after the first bad call"
    assert told([0, 90, 0], [0, 0, 0], families=1)["verdicts"] == [1.0, 1.0, 0.0], (
        "a revocation wants two families"
    )
    assert told([0, 90, 0], [0, 0, 0], families=0)["verdicts"] == quiet
    assert told([0, 0, 0], [0, 1, 0]) == {
        "verdicts": [1.0, 1.0, 0.0], "score alone": quiet, "signals alone": [1.0, 1.0, 0.0],
    }  # fmt: skip
    assert told([0, 0, 0], [2, 0, 0])["signals alone"] == [1.0, 1.0, 1.0]


def test_domains_that_share_tools_are_left_out_together() -> None:
    spy = Spy(bench_of("travel", "workspace", "slack", "elsewhere"))
    _, whence = spy.limits(0)
    assert set(whence["travel"]["0.01"]) == {"slack", "elsewhere"}
    assert set(whence["slack"]["0.01"]) == {"travel", "workspace", "elsewhere"}
    assert all({"travel", "workspace"} <= out or not {"travel", "workspace"} & out for out in spy.asked)
    assert {frozenset(out) for out, _ in spy.nested()} >= {frozenset(out) for out in spy.asked}


def test_every_group_of_features_is_left_out_once() -> None:
    left_out = [v.name.removeprefix("without ") for v in variants() if v.name.startswith("without ")]
    assert left_out == list(ABLATIONS)
    for variant in variants():
        if variant.name.startswith("without "):
            group = variant.name.removeprefix("without ")
            assert {SPECS[n].ablation for n in variant.columns} == set(ABLATIONS) - {group}


def test_bars_are_read_the_right_way_round() -> None:
    most, least = Row("a", lambda found: None, 0.01, 0.005, most=True), Row("b", lambda found: None, 0.6, 0.8)
    assert [reached(v, most) for v in (0.0, 0.01, 0.011)] == ["beyond", "yes", "no"]
    assert [reached(v, least) for v in (0.8, 0.6, 0.59, None)] == ["beyond", "yes", "no", ""]
    assert reached(0.5, Row("c", lambda found: None, None, None)) == ""


def test_a_detection_at_too_many_false_alarms_is_not_reached() -> None:
    row = next(row for row in ROWS if row.name.startswith("results withheld"))
    at = {"withheld": {"false_alarms": {"rate": 0.02}}}
    assert held_back(row, row.name, [at])
    at["withheld"]["false_alarms"]["rate"] = 0.01
    assert not held_back(row, row.name, [at])


def test_what_is_short_of_a_bar_is_told_with_what_it_comes_from() -> None:
    def of(value: float) -> dict[str, Any]:
        return {"rate": value, "interval": [0.0, 1.0]}

    suites = {"detected": of(0.80), "own_detected": of(0.86), "false_alarms": of(0.01), "auroc": 0.5}
    found = {
        "suites": {"pooled": suites, "one": suites},
        "removed": {"detected": of(0.60), "own_detected": of(0.99)},
        "withheld": {"detected": of(0.70), "own_detected": of(0.71), "false_alarms": of(0.0)},
        "overreach": {"detected": of(0.1), "own_detected": of(0.05), "false_alarms": of(0.03)},
    }
    rows = {name: " ".join(cells) for name, *cells in gap_rows([found, found], {})}
    assert rows["leave-one-suite-out as recorded, TPR"] == "90 80.0 10.0 6.0  4.0 51 of 64"
    assert rows["wording removed, act left, TPR"] == "65 60.0 5.0 5.0  0.0 "  # no more than is wanting
    assert rows["overreach without injection (npc, agent), TPR"] == "50 10.0 40.0 0.0  40.0 "
    (alarms,) = [cells for name, cells in rows.items() if "honest sessions of that set" in name]
    assert alarms == "≤ 1 3.00 2.00   2.00 "
    assert not [name for name in rows if "withheld" in name or "pooled, FPR" in name], "reached"


@pytest.mark.parametrize(
    ("only", "changes"),
    [
        ((), (("tables", True), ("plots", True), ("rates", False))),
        (detection.FITTED, (("figures", True), ("readings", True), ("fits", False))),
    ],
    ids=["measured and shown", "fitted and asked"],
)
def test_what_comes_first_and_what_is_only_made_of_it_are_told_apart(
    only: tuple[str, ...],
    changes: tuple[tuple[str, bool], ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = detection.code(only)
    shutil.copytree(ROOT / "benchmarks" / "detection", tmp_path / "detection")
    monkeypatch.setattr(detection, "__file__", str(tmp_path / "detection" / "__main__.py"))
    assert detection.code(only) == before
    for name, same in changes:
        with (tmp_path / "detection" / f"{name}.py").open("a") as file:
            file.write("# changed")
        assert (detection.code(only) == before) == same


def test_what_a_call_costs_comes_from_the_last_benchmark() -> None:
    cost = {"us_per_call_p50": 700.4, "us_per_call_p99": 2000.0}
    long = {"us_per_call_p50": 1.0, "us_per_call_p99": 9000.0}
    core = {"agentdojo": cost, "with results of 2,000 lines": long}
    shown = {row[0]: row for row in target_rows([{}], core)}
    assert shown["core cost for a call, µs, p50 (docs/performance.md)"][3:] == ["700", "", "", "no"]
    assert shown["… p99, with results of 2,000 lines"][3:] == ["9,000", "", "", ""]
    assert gap_rows([{}], core)[-1][2:4] == ["700", "550"]
    cost["us_per_call_p50"] = 100.0
    assert not gap_rows([{}], core)


def test_a_table_of_words_is_told_by_domain_and_on_average() -> None:
    def of(mrr: float) -> dict[str, float]:
        return {"mrr": mrr, "top3": 0.5, "spearman": 0.25}

    one = {"sessions": 3, "d128": of(0.5), "tf-idf": of(0.25), "encoder": of(0.75)}
    other = {**one, "d128": of(0.25)}
    rows = word_rows({"measures": {"a": one, "b": other}})
    assert [row[:4] for row in rows] == [
        ["a", "3", "0.500", "0.500"],
        ["b", "3", "0.250", "0.500"],
        ["mean", "", "0.375", "0.500"],
    ]


def test_a_session_flagged_after_its_first_bad_call_is_late() -> None:
    part = part_of([labels(name, "banking", "hijacked", "t", first_bad_seq=1) for name in ("a", "b", "c")])
    told = tuple({**one, "effect": 2} for one in part.told)
    scored = Scored(
        replace(part, told=told), np.array([0, 0, 50, 0, 50, 0, 0, 0, 0]), {"": dict.fromkeys(BUDGETS, 10)}
    )
    found = _early(scored, np.ones(3, bool))
    assert [round(found[name]["rate"], 3) for name in ("detected", "at_or_before", "late", "late_looks")] == [
        0.667,
        0.333,
        0.333,
        0.333,
    ]


def test_without_data_it_says_so_and_fails() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DRIFTLINE_DATA"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.detection"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "NOT RUN: DRIFTLINE_DATA is not set" in done.stderr


@pytest.mark.parametrize("differs", ["rows", "code", "opened", "docs"])
def test_seeds_are_added_only_to_a_run_on_the_same_rows_by_the_same_code(
    differs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Rows:
        digest = "these"

        def __init__(self, *_: object) -> None:
            pass

        def part(self, _: str) -> None:
            raise NotImplementedError

    kept = {"rows": "these", "code": detection.code(), "opened": False, "docs": False}
    monkeypatch.setattr(detection, "Source", Rows)
    monkeypatch.setattr(detection.results, "recorded_files", list)
    monkeypatch.setattr(detection, "kept_run", lambda: kept)
    monkeypatch.setattr(sys, "argv", ["detection", "--more"])
    with pytest.raises(NotImplementedError):
        detection.main()
    kept[differs] = "other"
    with pytest.raises(SystemExit, match="other rows, or by other code"):
        detection.main()
    monkeypatch.setattr(sys, "argv", ["detection", "--more", "--trees", "5"])
    with pytest.raises(SystemExit, match="2"):
        detection.main()


@pytest.mark.parametrize("opened", [True, False])
def test_a_run_that_opens_what_is_locked_is_a_line_of_the_ledger_and_no_other_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, opened: bool
) -> None:
    ledger = tmp_path / "ledger.md"
    ledger.write_text("| when | what |\n")
    nothing = SimpleNamespace(calls=[])
    rows = SimpleNamespace(digest="these", part=lambda _: nothing)
    kept = {"rows": "these", "code": detection.code(), "opened": opened, "docs": False, "ablations": {}}
    monkeypatch.setattr(detection, "Source", lambda *_: rows)
    monkeypatch.setattr(detection, "Bench", lambda *_: SimpleNamespace(learn=nothing, fits=0))
    monkeypatch.setattr(detection.results, "recorded_files", list)
    monkeypatch.setattr(detection.results, "keep", lambda *_, **__: None)
    monkeypatch.setattr(detection, "kept_run", lambda: kept)
    monkeypatch.setattr(detection, "split", lambda _: {})
    monkeypatch.setattr(detection, "draw_bars", lambda *_: None)
    monkeypatch.setattr(detection, "show", lambda *_: None)
    monkeypatch.setattr(page, "LEDGER", ledger)
    argv = ["detection", "--more", "--seeds", "0", "--why", "a look", *(["--open"] if opened else [])]
    monkeypatch.setattr(sys, "argv", argv)
    detection.main()
    lines = ledger.read_text().splitlines()[1:]
    assert len(lines) == opened
    assert all("| a look | `python -m benchmarks.detection --more" in line for line in lines)


def test_the_pages_have_one_place_for_each_table_and_every_place_is_filled() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in page.PAGES)
    places = re.findall(r"<!-- (\w+) -->\n(.*?)<!-- /\1 -->", text, re.S)
    named = {table.__name__ for table in TABLES}
    others = {"run", "places", "forms", "explanations", "joined", "calibrated", "shipped", "voices"}
    assert sorted(name for name, _ in places) == sorted(named | others)
    assert {results.page_with(page.PAGES, name) for name in named | others} == set(page.PAGES)
    assert not [name for name, table in places if not re.search(r"\d", table)]


def test_kept_rows_hang_on_all_that_shapes_them() -> None:
    covered = {path.relative_to(ROOT).as_posix() for path in shaping()}
    assert {
        "stream/core/judge.py",
        "stream/policy.py",
        "stream/policy.yaml",
        "stream/events.py",
        "models/evidence/provenance.py",
        "models/lexicons/verbs.toml",
        "models/release/bundled/words.npz",
        "models/release/bundled/handover.json.gz",
        "models/training/heads/handover.py",
        "models/training/scenarios/corpus.py",
        "corpora/handing.jsonl",
        "corpora/report/texts.json",
    } <= covered
    assert {f"corpora/written/{path.name}" for path in (ROOT / "corpora" / "written").iterdir()} <= covered
    assert not {f"models/{name}" for name in ROWLESS} & covered
    assert all((ROOT / "models" / name).exists() for name in ROWLESS)


KEPT = {
    mark: results.markdown(columns, rows)
    for mark, (_, columns, rows) in tables(json.loads(page.FIGURES.read_bytes())).items()
}
"""The tables of the run that the pages show."""


@pytest.mark.parametrize("mark", sorted(KEPT))
def test_the_pages_have_the_tables_of_the_run_that_is_kept(mark: str) -> None:
    text = results.page_with(page.PAGES, mark).read_text(encoding="utf-8")
    assert f"<!-- {mark} -->\n{KEPT[mark]}\n<!-- /{mark} -->" in text
