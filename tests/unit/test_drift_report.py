"""Traffic of now beside that of before: what moved is named, what did not is quiet, and tenants are kept apart."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

import tests.builders as b
from models.contracts import Label
from models.evidence.features.registry import FEATURES
from models.promise import shift
from models.release import registry
from stream import bootstrap
from stream.cli import main as cli
from stream.cli.drifting import _show
from stream.offline import drift, drift_metrics, parquet, promise
from stream.offline.call_rows import OTHERS, CallRows, Row
from stream.offline.drift import Chunk, Tenant
from stream.offline.generate import Profile, sessions
from stream.policy import load_policy

USUAL = Profile(hijacked=0.0, calls=(2, 5))
N = 90


def chunk(rows: Iterable[Row]) -> Chunk:
    """Rows as a file of them gives them back."""
    listed = list(rows)
    return Chunk(
        {name: [getattr(row, name) for row in listed] for name in parquet.READ},
        np.array([row.features for row in listed], np.float64),
    )


def rows_of(events: Iterable[dict[str, Any]]) -> list[Row]:
    judge = b.judge(bootstrap.make_release(b.shipped_model(), load_policy(mode="enforce")))
    return list(CallRows(judge).of((record, None) for record in b.log(events)))


@pytest.fixture(scope="module")
def usual() -> list[Row]:
    return rows_of(sessions(1, N, USUAL))


@pytest.fixture(scope="module")
def more() -> list[Row]:
    return rows_of(sessions(2, N, USUAL))


def compared(before: list[Row], now: list[Row], **how: Any) -> drift.Report:
    return drift.compare(drift.period([chunk(before)]), drift.period([chunk(now)]), **how)


def suggested(report: drift.Report) -> set[tuple[str, str]]:
    return {(line.tenant, line.suggests) for line in drift.advice(report) if line.holds}


def test_more_of_the_same_traffic_suggests_nothing(usual: list[Row], more: list[Row]) -> None:
    (one,) = compared(usual, more).tenants
    assert suggested(drift.Report([one], None)) == set()
    assert len(drift.of_tenant(one)) == 4
    assert [name for name, of in one.features if of.beyond_chance >= drift.MOVED] == []
    assert one.new_tools == 0


def test_a_feature_that_moved_is_named_and_no_other(usual: list[Row], more: list[Row]) -> None:
    place = FEATURES.index("tool_affinity")
    moved = [row._replace(features=[*row.features]) for row in more]
    for row in moved:
        row.features[place] = 3 * row.features[place] + 40
    (one,) = compared(usual, moved).tenants
    assert [name for name, of in one.features if of.beyond_chance >= drift.MOVED] == ["tool_affinity"]
    assert suggested(drift.Report([one], None)) == set()


def test_sessions_that_grow_longer_move_the_score_and_what_counts_calls(usual: list[Row]) -> None:
    (one,) = compared(usual, rows_of(sessions(2, N, Profile(hijacked=0.0, calls=(30, 40))))).tenants
    assert suggested(drift.Report([one], None)) == {("acme", "look for attacks, then calibrate again")}
    moved = [name for name, of in one.features if of.beyond_chance >= drift.MOVED]
    assert moved[0] == "call_kin"  # how like a call is to those before it
    assert "known" not in moved


def test_hijacked_sessions_move_the_features_that_they_are_found_by(usual: list[Row]) -> None:
    (one,) = compared(usual, rows_of(sessions(2, N, Profile(hijacked=0.5, calls=(2, 5))))).tenants
    moved = {name for name, of in one.features if of.beyond_chance >= drift.MOVED}
    assert {"tool_lure", "trifecta"} <= moved
    assert "call_kin" not in moved


def other_tools(events: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for event in events:
        yield {**event, "tool": f"x_{event['tool']}"} if event["type"] == "tool.called" else event


def test_tools_not_called_before_are_counted_and_named(usual: list[Row]) -> None:
    (one,) = compared(usual, rows_of(other_tools(sessions(2, N, USUAL)))).tenants
    assert one.new_tools == 1
    assert one.now.unknown == one.now.calls > 0 == one.before.unknown
    assert {tool for tool, before, now, _ in one.tools if not before} == set(one.now.tools)
    assert ("acme", "train a challenger") in suggested(drift.Report([one], None))


def test_the_page_has_every_metric_with_its_labels() -> None:
    page = (Path(drift.__file__).parents[2] / "docs" / "drift-report.md").read_text()
    table = page.split("<!-- metrics -->")[1].split("<!-- /metrics -->")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.strip().splitlines()[2:]]
    assert rows == [
        [f"`driftline_drift_{name}`", ", ".join(f"`{label}`" for label in labels), text]
        for name, (text, labels) in drift_metrics.METRICS.items()
    ]


def test_one_tenants_drift_is_not_anothers(usual: list[Row], more: list[Row]) -> None:
    def of(tenant: str, rows: list[Row]) -> list[Row]:
        return [row._replace(tenant=tenant) for row in rows]

    drifted = rows_of(other_tools(sessions(3, N, USUAL)))
    moved = compared(of("acme", usual) + of("globex", usual), of("acme", more) + of("globex", drifted))
    assert {tenant for tenant, _ in suggested(moved)} == {"globex"}
    alone = compared(of("acme", usual), of("acme", more))
    assert drift.document(moved)["tenants"]["acme"] == drift.document(alone)["tenants"]["acme"]


def test_calls_that_are_not_judged_are_told(usual: list[Row], more: list[Row]) -> None:
    silent = [row._replace(verdict="abstain") if n % 4 == 0 else row for n, row in enumerate(more)]
    (one,) = compared(usual, silent).tenants
    assert suggested(drift.Report([one], None)) == {
        ("acme", "look which agents declare no intent (driftline coverage)")
    }


def word(session: str, label: str, tenant: str = "acme") -> Label:
    return Label.model_validate(
        {"tenant": tenant, "session_id": session, "label": label, "whence": "dataset", "who": "d"}
    )


def test_alerts_that_people_do_not_confirm_suggest_training(usual: list[Row], more: list[Row]) -> None:
    alerted = [row._replace(verdict="alert") for row in more]
    ids = sorted({row.session_id for row in alerted})[: drift.FEWEST_VERDICTS]

    def told(confirmed: int, listed: list[str] = ids, tenant: str = "acme") -> drift.Report:
        words = [word(one, "hijacked" if n < confirmed else "benign", tenant) for n, one in enumerate(listed)]
        return compared(usual, alerted, labels=words)

    assert (told(3).tenants[0].judged, told(3).tenants[0].confirmed) == (20, 3)
    wanted = ("acme", "train a challenger with these labels")
    assert wanted in suggested(told(4))
    assert wanted not in suggested(told(5))
    assert wanted not in suggested(told(0, ids[1:]))
    assert told(3, tenant="globex").tenants[0].judged == 0


def test_names_that_producers_choose_are_bounded(usual: list[Row]) -> None:
    row = usual[0]
    many = [row._replace(tenant=f"t{n}", session_id=f"s{n}") for n in range(3 * drift.MAX_TENANTS)]
    found = drift.period([chunk(many), chunk(many)])
    assert len(found) == drift.MAX_TENANTS + 1
    assert sum(tenant.calls for tenant in found.values()) == 2 * len(many)
    assert found[OTHERS].calls == 2 * (len(many) - drift.MAX_TENANTS)
    tools = [row._replace(tool=f"tool{n}") for n in range(2 * drift.MAX_TOOLS)]
    (one,) = drift.period([chunk(tools)]).values()
    assert len(one.tools) == drift.MAX_TOOLS + 1


def test_counts_do_not_depend_on_how_rows_are_cut(usual: list[Row]) -> None:
    def plain(tenants: dict[str, Tenant]) -> Any:
        (one,) = tenants.values()
        arrays = {tool: counts.tolist() for tool, counts in one.tools.items()}
        return replace(one, features=one.features.tolist(), scores=one.scores.tolist(), tools=arrays)  # type: ignore[arg-type]

    whole, cut = drift.period([chunk(usual)]), drift.period(chunk([row]) for row in usual)
    assert plain(whole) == plain(cut)


def test_chance_alone_leaves_nothing_beyond_it_and_a_shift_does() -> None:
    draws, found, moved = np.random.default_rng(4), [], []
    for _ in range(300):
        first, second, third = (
            np.bincount(draws.binomial(40, share, n), minlength=shift.BINS)
            for share, n in ((0.5, 100), (0.5, 150), (0.58, 150))
        )
        found.append(shift.shift(first, second, 100, 150).beyond_chance)
        moved.append(shift.shift(first, third, 100, 150).beyond_chance)
    assert abs(np.mean(found)) < 0.03
    assert np.mean(np.array(found) > drift.MOVED) < 0.01
    assert np.mean(np.array(moved) > drift.MOVED) > 0.95


# ------------------------------------------------------------------------------------------------ the command


def written(path: Path, rows: Iterable[Row]) -> Path:
    with parquet.RowsFile(path, {"release": "r", "release_digest": "d", "policy": "p", "source": []}) as out:
        for row in rows:
            out.add(row)
    return path


def run(*args: Any) -> Any:
    return CliRunner().invoke(cli.app, ["drift-report", *(str(arg) for arg in args)])


def test_the_command_reads_what_features_writes_and_its_exit_code_says_whether_to_act(
    usual: list[Row], more: list[Row], tmp_path: Path
) -> None:
    before, now = written(tmp_path / "before.parquet", usual), written(tmp_path / "now.parquet", more)
    other = written(tmp_path / "other.parquet", rows_of(other_tools(sessions(2, N, USUAL))))
    quiet = run(now, "--against", before)
    assert quiet.exit_code == 0, quiet.output
    assert "10 % of the calls go to tools not called before: 0.0 %: no" in " ".join(quiet.output.split())
    loud = run(other, "--against", before)
    assert loud.exit_code == 1, loud.output
    assert "100.0 %: yes: train a challenger" in " ".join(loud.output.split())
    as_json = run(other, "--against", before, "--json")
    assert as_json.exit_code == 1
    told = json.loads(as_json.stdout)
    assert told == drift.document(compared(usual, rows_of(other_tools(sessions(2, N, USUAL)))))
    assert told["tenants"]["acme"]["calls_of_undeclared_tools"] == [0.0, 1.0]
    prom = tmp_path / "drift.prom"
    assert run(other, "--against", before, "--metrics", prom).exit_code == 1
    values = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(prom.read_text())
        for sample in family.samples
    }
    tenant = ("tenant", "acme")
    acme = told["tenants"]["acme"]
    for feature, of in acme["features"].items():
        value = values["driftline_drift_feature_psi", ("feature", feature), tenant]
        assert value == pytest.approx(of["psi"], abs=1e-4)
    assert values["driftline_drift_new_tools_ratio", tenant] == 1
    assert values["driftline_drift_undeclared_ratio", tenant, ("time", "now")] == 1
    held = {line["rule"]: line["holds"] for line in told["rule"]}
    assert held == {
        dict(labels)["rule"]: value == 1
        for (name, *labels), value in values.items()
        if name == "driftline_drift_suggests"
    }
    assert any(held.values())
    empty = written(tmp_path / "empty.parquet", [])
    assert "no call in the rows of now" in str(run(empty, "--against", before).exception)


def decisions_of(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """As much of the decisions as a promise reads."""
    for row in rows:
        yield {
            **{name: getattr(row, name) for name in ("tenant", "session_id", "root_session_id", "call_seq", "score", "verdict")},
            **{name: getattr(row, name) for name in ("release", "marks", "agent", "families")},
            "intent_digest": row.session_id,
            "time": "2026-03-02T09:00:00.000Z",
            "evidence": [{"family": name.split(".")[0], "name": name.split(".")[1], "supports": True} for name in row.signals],
            "thresholds": {"watch": 0.3, "alert": 0.5, "revoke": 0.7},
        }  # fmt: skip


def test_the_alarm_of_a_promise_is_quiet_over_more_of_the_same_and_rings_over_other_traffic(
    usual: list[Row], more: list[Row], tmp_path: Path
) -> None:
    told = tmp_path / "d.jsonl"
    told.write_text("".join(json.dumps(one) + "\n" for one in decisions_of(usual)))
    made = CliRunner().invoke(
        cli.app, ["calibrate", str(told), "--promise", "0.05", "--out", str(tmp_path / "ours")]
    )
    assert made.exit_code == 0, made.output
    before = written(tmp_path / "before.parquet", usual)

    def alarm(name: str, rows: list[Row]) -> dict[str, Any]:
        now = written(tmp_path / f"{name}.parquet", rows)
        found = json.loads(run(now, "--against", before, "--model", tmp_path / "ours", "--json").stdout)
        held: dict[str, Any] = found["alarm"]
        return held

    quiet = alarm("more", more)
    assert (quiet["sessions"], quiet["rings"]) == (N, False)
    rung = alarm("other", rows_of(other_tools(sessions(2, N, USUAL))))
    assert rung["rings"]
    assert rung["highest"] >= 2
    assert rung == alarm("again", rows_of(other_tools(sessions(2, N, USUAL))))
    assert registry.read_manifest(tmp_path / "ours")["promise"]["pooled"]["sessions"] == N
    strangers = [row._replace(release="another@000000000000") for row in more]
    assert alarm("strangers", strangers) is None


@pytest.mark.parametrize("marks", [[], ["expected"]])
@pytest.mark.parametrize("verdict", ["allow", "abstain", "alert"])
@pytest.mark.parametrize("score", [0.2, 0.6])
@pytest.mark.parametrize("families", [["intent"], ["content"]])
def test_the_alarm_counts_a_call_as_a_promise_does(
    marks: list[str], verdict: str, score: float, families: list[str], usual: list[Row]
) -> None:
    said = {"marks": marks, "verdict": verdict, "score": score, "families": families}
    row = usual[0]._replace(**said, alert_at=0.5, signals=["intent.grave_act"])
    ids = {
        "tenant": row.tenant,
        "session_id": row.session_id,
        "root_session_id": row.session_id,
        "agent": "a",
    }
    evidence = [{"family": "intent", "name": "grave_act", "supports": True}]
    made = said | ids | {"call_seq": 0, "intent_digest": "i", "time": "2026-03-02", "evidence": evidence}
    found: dict[tuple[str, str], promise.Seen] = {}
    promise.fold(found, made | {"thresholds": {"alert": 0.5}})
    (seen,) = found.values()
    (now,) = drift.period([chunk([row])])[row.tenant].sessions.values()
    assert (now.score, now.loud) == (seen.scored, seen.loud)


def test_tools_that_were_never_called_at_one_of_the_times_have_no_figure(
    usual: list[Row], more: list[Row], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tool = max({row.tool for row in more}, key=[row.tool for row in more].count)
    renamed = [row._replace(tool="x_new") if row.tool == tool else row for row in more]
    report = compared(usual, renamed)
    _show(report)
    lines = capsys.readouterr().out.splitlines()
    assert any("x_new" in line and "no calls before" in line for line in lines)
    assert any(f" {tool} " in line and "no calls now" in line for line in lines)
    (told,) = drift.document(report)["tenants"].values()
    assert (told["tools"]["x_new"]["score"], told["tools"][tool]["score"]) == (None, None)
    _show(compared([], renamed))
    assert "no calls before" in capsys.readouterr().out


def test_rows_of_before_the_threshold_was_among_them_are_read(usual: list[Row], tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    with parquet.RowsFile(path, {}) as file:
        file.add(usual[0])
    pq.write_table(pq.read_table(path).drop_columns(["alert_at"]), path)
    (read,) = parquet.groups(path)
    assert list(read.columns["alert_at"]) == [None]
    assert drift.period([read])[usual[0].tenant].calls == 1
