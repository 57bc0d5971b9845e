"""The shadow report: what a time in shadow would have led to, as enforcement itself would have it."""

from __future__ import annotations

import base64
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from stream.cli.main import app
from stream.events import REVOCATIONS
from stream.offline.replay import run_replay
from stream.offline.shadow import cases_in, report
from stream.settings import Settings
from stream.shell.demo import SAMPLES
from stream.shell.outputs import claims_of

FILES = sorted(SAMPLES.glob("*.jsonl"))


def replayed(folder: Path, mode: str) -> Path:
    """All samples through replay in a mode, every output kept."""
    played, kept = folder / "samples.jsonl", folder / f"{mode}.jsonl"
    played.write_bytes(b"".join(path.read_bytes() for path in FILES))
    with kept.open("w", encoding="utf-8") as out:
        run_replay([played], True, None, Settings(state_dir=folder), out, mode=mode)
    return kept


@pytest.fixture(scope="module")
def shadow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return replayed(tmp_path_factory.mktemp("shadow"), "shadow")


def test_what_shadow_would_have_revoked_is_what_enforcement_revokes(shadow: Path, tmp_path: Path) -> None:
    enforced = replayed(tmp_path, "enforce")
    drift, ended = set(), 0
    for line in enforced.read_bytes().splitlines():
        row = orjson.loads(line)
        if row["topic"] != REVOCATIONS:
            continue
        token = base64.b64decode(row["value_b64"])
        claims = claims_of(token)
        event = next(iter(claims["events"].values()))
        if event["driftline_cause"] == "drift":
            drift.add(claims["txn"])
        else:
            ended += len(event["driftline_credentials"])
    made = report(cases_in(shadow))
    assert made.revoked == drift != set()
    assert made.ended.total() == ended > 0
    assert made.held == set()
    assert made.enforced == 0
    assert report(cases_in(enforced)).enforced == len(drift)


def test_the_command_shows_counts_and_examples_and_json_has_the_same(shadow: Path) -> None:
    shown = CliRunner().invoke(app, ["shadow-report", str(shadow)], env={"COLUMNS": "160"})
    assert shown.exit_code == 0
    assert "revoked for drift" in shown.stdout
    told = CliRunner().invoke(app, ["shadow-report", str(shadow), "--json"])
    document = orjson.loads(told.stdout)
    assert document["sessions_that_drift_would_revoke"] == len(report(cases_in(shadow)).revoked)
    assert 0 < len(document["examples"]) <= 5
    assert document["examples"][0]["score"] == max(each["score"] for each in document["examples"])


def test_a_wave_is_reported_as_held(shadow: Path) -> None:
    """The same cases with a budget of one for a tenant."""
    records = []
    for record in cases_in(shadow):
        case = orjson.loads(record.value or b"")
        if case["budget"] is not None:
            case["budget"] = {"window_minutes": 1440.0, "agent": None, "tenant": 1}
        records.append(record._replace(value=orjson.dumps(case)))
    made = report(records)
    assert len(made.held) == len(made.revoked) - len(
        {orjson.loads(r.value or b"")["tenant"] for r in records if r.value}
    )


def test_a_file_without_cases_says_so(tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text('{"topic": "agent.decisions.v1"}\n', encoding="utf-8")
    result = CliRunner().invoke(app, ["shadow-report", str(tmp_path / "none.jsonl")])
    assert "there is no case" in str(result.exception)
    assert report([]).told == set()
