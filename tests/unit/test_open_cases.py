"""The listing of open cases: what is open, whatever came twice or late, and ids that are whole at any width."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stream import bootstrap
from stream.cli.main import app
from stream.events import ALERTS
from stream.offline.files import read_records
from stream.offline.open_cases import cases
from stream.offline.replay import replay
from stream.outbound.act import Actor
from stream.outbound.feedback import finding
from stream.outbound.keys import SigningKeys
from stream.settings import Settings
from stream.shell.demo import SAMPLES
from tests.unit.test_feedback import NINE_MS, said


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The alerts of two samples, as the bus has them."""
    keys = SigningKeys(state_dir=tmp_path_factory.mktemp("keys"))
    found = []
    for sample in sorted(SAMPLES.glob("*.jsonl"))[18:22]:
        outputs = replay(list(read_records(sample)), bootstrap.judge(Settings(), mode="enforce"), Actor(keys))
        found += [json.loads(each.value) for each in outputs if each.topic == ALERTS]
    return found


def verdict_on(case: Any, word: str, after_ms: int) -> dict[str, Any]:
    about = {
        "tenant": case.tenant,
        "root_session_id": case.root_session_id,
        "session_id": case.session_id,
        "severity_id": case.severity_id,
    }
    return finding(said(word, after_ms, **about), "ada-key")


def test_cases_are_open_until_a_verdict_and_again_once_it_is_taken_back(told: list[dict[str, Any]]) -> None:
    listed = cases(told)
    assert len(listed) >= 2
    assert all(each.is_open and each.status == "New" for each in listed)
    assert [each.severity_id for each in listed] == sorted(
        (each.severity_id for each in listed), reverse=True
    )
    first = listed[0]
    assert first.case_id in {each["finding_info"]["uid"] for each in told}
    # Far behind the findings' own times: an analyst's clock is that of the day of the verdict.
    later = max(each.last_ms for each in listed) - NINE_MS + 1000
    closing, again = (verdict_on(first, word, later + n) for n, word in enumerate(("benign", "reopen")))

    def now(*more: dict[str, Any]) -> tuple[bool, str, str]:
        (one,) = [each for each in cases([*told, *more]) if each.case_id == first.case_id]
        return one.is_open, one.status, one.verdict

    assert now(closing) == (False, "Suppressed", "benign")
    assert now(closing, again) == now(again, closing) == (True, "New", "reopen")
    # A worker that crashed says its alerts again: that opens nothing. A session that gets graver does.
    assert now(closing, *told) == (False, "Suppressed", "benign")
    (graver,) = [each for each in told if each["finding_info"]["uid"] == first.case_id and each["is_alert"]][
        -1:
    ]
    graver = {**graver, "metadata": {**graver["metadata"], "uid": "another"}}
    assert now(closing, graver) == (True, "New", "benign")
    assert cases([None, 7, {}, {"metadata": {}}]) == []


def run(file: Path, *options: str, width: int | None = None) -> Any:
    env = {"COLUMNS": str(width)} if width else {"COLUMNS": ""}
    return CliRunner(env=env).invoke(app, ["cases", "--file", str(file), *options])


@pytest.fixture(scope="module")
def dump(told: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cases") / "alerts.jsonl"
    closing = verdict_on(cases(told)[-1], "benign", max(each["time"] for each in told) - NINE_MS + 1)
    rows = [{"topic": ALERTS, "key": "t", "headers": [], "value": each} for each in [*told, closing]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_listing_ends_and_names_open_cases_alone_unless_all_are_asked_for(
    dump: Path, told: list[dict[str, Any]]
) -> None:
    known = cases(told)
    documents = [json.loads(line) for line in run(dump, "--json").stdout.splitlines()]
    assert [each["case_id"] for each in documents] == [each.case_id for each in known[:-1]]
    everything = [json.loads(line) for line in run(dump, "--json", "--all").stdout.splitlines()]
    (closed,) = [each for each in everything if not each["is_open"]]
    assert (closed["case_id"], closed["verdict"]) == (known[-1].case_id, "benign")
    assert len(everything) == len(known)
    assert run(dump, "--json", "--tenant", "nobody").stdout == ""
    highest = [json.loads(line) for line in run(dump, "--json", "--severity", "critical").stdout.splitlines()]
    assert {each["severity_id"] for each in highest} <= {5}


@pytest.mark.parametrize("width", [60, 80, 200])
def test_ids_are_whole_at_any_width(dump: Path, width: int, told: list[dict[str, Any]]) -> None:
    shown = run(dump, "--all", width=width)
    assert shown.exit_code == 0, shown.output
    assert max(map(len, shown.stdout.splitlines())) <= width
    for each in cases(told):
        assert each.case_id in shown.stdout
        assert each.session_id in shown.stdout
    assert f"{len(cases(told))} cases of {len(cases(told))} that somebody was told of" in shown.stdout
