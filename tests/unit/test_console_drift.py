"""The console's page Drift: what `driftline drift-report` found, by tenant, feature and tool, and what its rule suggests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from stream.console import drifted, serving
from stream.console.drifted import Drifted
from stream.console.guard import Access
from stream.console.index import Index
from stream.console.site import application
from stream.events import EVENTS, dumps
from stream.offline import drift
from stream.offline.call_rows import Row
from stream.offline.generate import sessions
from tests.unit.test_console import HOST, PAYLOADS, TOKEN, Tags
from tests.unit.test_drift_report import USUAL, N, compared, more, other_tools, rows_of, usual
from tests.unit.test_labelling import run

__all__ = ["more", "usual"]


def shift(beyond: float = 0.0) -> dict[str, Any]:
    return {"psi": beyond + 0.1, "groups": 5, "beyond_chance": beyond}


def tenant(**more: Any) -> dict[str, Any]:
    return {
        "sessions": [80, 90], "calls": [400, 500], "features": {"new_words": shift()}, "score": shift(),
        "tools": {"pay": {"before": 0.5, "now": 0.5, "score": shift()}}, "calls_of_new_tools": 0.0,
        "calls_of_undeclared_tools": [0.0, None], "abstained": [0.0, 0.125], "sessions_alerted": [1, 2],
        "alerts_with_a_verdict": 0, "of_these_confirmed": 0, "alarm": None, **more,
    }  # fmt: skip


def line(of: str, holds: bool = True, suggests: str = "train a challenger") -> dict[str, Any]:
    return {
        "tenant": of,
        "holds": holds,
        "rule": "the score has moved",
        "found": "0.40",
        "suggests": suggests,
    }


def written(folder: Path, tenants: dict[str, Any], *rule: dict[str, Any]) -> Drifted:
    path = folder / "drift.json"
    path.write_bytes(dumps({"tenants": tenants, "alarm": None, "rule": rule}))
    return Drifted(path)


def client(drift: Drifted | None, access: Access | None = None) -> TestClient:
    app = application(Index({EVENTS: None}), access or Access({"127.0.0.1:8800"}), drift=drift)
    return TestClient(app, base_url=HOST, follow_redirects=False)


def test_what_drift_report_writes_is_shown_with_what_it_suggests(
    usual: list[Row], more: list[Row], tmp_path: Path
) -> None:
    report = compared(usual, more)
    path = tmp_path / "drift.json"
    path.write_bytes(dumps(drift.document(report)))
    (seen,) = Drifted(path).tenants()
    (moved,) = report.tenants
    assert seen.told.sessions == (len(moved.before.sessions), len(moved.now.sessions))
    assert {each.name for each in seen.features} <= {"score", *(name for name, _ in moved.features)}
    # The farthest first, as the report has them; behind the score.
    far = sorted((of.beyond_chance for _, of in moved.features), reverse=True)[: drifted.MAX_SHOWN]
    assert [each.shift.beyond_chance for each in seen.features[1:] if each.shift] == pytest.approx(
        far, abs=1e-4
    )
    assert [(each.rule, each.holds) for each in seen.lines] == [
        (each.rule, each.holds) for each in drift.of_tenant(moved)
    ]
    text = client(Drifted(path)).get("/drift").text
    assert f"{seen.n_moved} of {len(moved.features)}" in text
    assert all(each.meaning and Tags(text).text.count(each.name) for each in seen.features[1:])


def test_the_tenant_for_which_something_is_suggested_comes_first_and_one_can_be_asked_for(
    tmp_path: Path,
) -> None:
    tenants = {
        "calm": tenant(),
        "loud": tenant(score=shift(0.4)),
        "quiet": tenant(features={"new_words": shift(0.9)}),
    }
    pages = client(written(tmp_path, tenants, line("loud"), line("calm", holds=False)))
    text = pages.get("/drift").text
    places = [text.index(f'href="/drift?tenant={name}"') for name in ("loud", "quiet", "calm")]
    assert places == sorted(places)
    assert "The rule, for <bdi>loud</bdi>" in text
    assert "yes: <bdi>train a challenger</bdi>" in text
    other = pages.get("/drift?tenant=quiet").text
    assert "The rule, for <bdi>quiet</bdi>" in other
    assert '<span class="verdict">moved</span>' in other
    assert "no such tenant" in pages.get("/drift?tenant=nobody").text


def test_tools_and_tenants_without_a_time_to_compare_with_say_so(tmp_path: Path) -> None:
    tools = {
        "came": {"before": 0.0, "now": 0.25, "score": None},
        "went": {"before": 0.5, "now": 0.0, "score": None},
        "stays": {"before": 0.5, "now": 0.5, "score": shift(0.3)},
    }
    new = tenant(calls=[0, 20], sessions=[0, 4], tools=tools, alerts_with_a_verdict=4, of_these_confirmed=1)
    drift = written(tmp_path, {"new": new})
    (seen,) = drift.tenants()
    assert [each.name for each, _ in seen.tools] == ["went", "stays", "came"]
    text = client(drift).get("/drift").text
    assert ("no calls before" in text, "no calls now" in text) == (True, True)
    assert "It had no calls before, so there is nothing to compare with." in text
    assert "fewer than 50 sessions at one of the times" in text
    assert "Of 4 alerts with a verdict 1 was confirmed." in text


def test_a_bar_is_never_longer_than_its_place_nor_shorter_than_nothing(tmp_path: Path) -> None:
    moved = {"far": shift(7.0), "half": shift(0.5), "back": shift(-0.2)}
    (seen,) = written(tmp_path, {"t": tenant(features=moved)}).tenants()
    assert [(each.name, each.bar, each.has_moved) for each in seen.features] == [
        ("score", 0.0, False),
        ("far", 100.0, True),
        ("half", 50.0, True),
        ("back", 0.0, False),
    ]


def test_the_alarm_over_all_tenants_stands_above_them(tmp_path: Path) -> None:
    pages = client(written(tmp_path, {"t": tenant()}, line("", suggests="calibrate again")))
    assert "All tenants together" in pages.get("/drift").text


def test_what_is_no_such_file_is_told_and_another_one_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drift = written(tmp_path, {"first": tenant()})
    pages = client(drift)
    assert "<bdi>first</bdi>" in pages.get("/drift").text
    written(tmp_path, {"second": tenant()})
    assert "<bdi>second</bdi>" in pages.get("/drift").text
    path = tmp_path / "drift.json"
    for content in ("{", "[]", '{"tenants": {"t": {}}, "rule": []}', json.dumps({"tenants": {}})):
        path.write_text(content, encoding="utf-8")
        text = pages.get("/drift").text
        assert "is no comparison as `drift-report --json` has it: write it anew with" in text, content
        assert "$" not in text
    monkeypatch.setattr(drifted, "MAX_BYTES", 64)
    written(tmp_path, {"t": tenant()})
    assert "compare the rows of fewer tenants" in client(Drifted(path)).get("/drift").text
    path.unlink()
    assert "cannot be read (No such file" in pages.get("/drift").text
    assert "This console has no comparison" in client(None).get("/drift").text


def test_a_comparison_that_cannot_be_read_is_told_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def serve(*_: Any, drift: Drifted | None, **__: Any) -> None:
        assert drift is not None

    monkeypatch.setattr(serving, "serve", serve)
    missing = run("console", "--drift", tmp_path / "none.json")
    assert (missing.exit_code, "the page Drift is empty until then" in missing.stderr) == (0, True), (
        missing.output
    )
    assert run("console", "--drift", written(tmp_path, {}).file.path).stderr == ""


def test_nobody_sees_it_before_signing_in(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN, encoding="utf-8")
    access = Access({"127.0.0.1:8800"}, tmp_path / "token")
    answer = client(written(tmp_path, {"hidden": tenant()}), access).get("/drift")
    assert (answer.status_code, "hidden" in answer.text) == (401, False)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_in_the_file_becomes_markup(payload: str, tmp_path: Path) -> None:
    told = tenant(features={payload: shift(0.3)}, tools={payload: {"before": 0.0, "now": 1.0, "score": None}})
    page = Tags(
        client(written(tmp_path, {payload: told}, line(payload, suggests=payload))).get("/drift").text
    )
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert "img" not in {tag for tag, _ in page.tags}
    assert all(not name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_tools_that_were_not_called_before_lead_the_list_and_the_tenant_is_told_to_train(
    usual: list[Row], tmp_path: Path
) -> None:
    path = tmp_path / "drift.json"
    now = rows_of(other_tools(sessions(3, N, USUAL)))
    path.write_bytes(dumps(drift.document(compared(usual, now))))
    (seen,) = Drifted(path).tenants()
    assert "train a challenger" in seen.suggests
    assert [tool.now > 0 for _, tool in seen.tools if not tool.before] != []
    assert all(not tool.before or not tool.now for _, tool in seen.tools)  # each goes by another name now
    text = client(Drifted(path)).get("/drift").text
    assert "no calls before" in text
    assert "<b>yes: <bdi>train a challenger</bdi></b>" in text
