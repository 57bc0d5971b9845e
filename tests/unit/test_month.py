"""The made-up month is written as files that other commands take: events that are judged, and a label for each session."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stream.offline import month
from stream.offline.labels import store


def test_the_month_is_written_as_events_and_labels(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    assert month.main([str(folder), "--sessions-a-day", "2", "--seed", "5"]) == 0
    events = [json.loads(line) for line in (folder / "month.jsonl").read_text().splitlines()]
    labels = store.read([folder / "month-labels.jsonl"])
    assert [event["time"] for event in events] == sorted(event["time"] for event in events)
    assert {(event["tenant"], event["session_id"]) for event in events} == {
        (label.tenant, label.session_id) for label in labels
    }
    assert len(labels) == 2 * month.DAYS


def test_a_month_needs_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        month.main([])
    assert ended.value.code == 2
    assert "folder" in capsys.readouterr().err
