"""What readers say of sessions, beside the detector: what counts, and that the files hold what the page says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.detection import readings

LABELS = {"attempted", "benign", "hijacked", "overreach"}


def said(of: str, session: str, label: str, drift: bool, serves: str | None = None) -> dict[str, Any]:
    return {"set": of, "session_id": session, "label": label, "drift": drift, "serves": serves}


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        said("attempted", "a", "attempted", True, "injection"),
        said("attempted", "b", "attempted", False),
        said("attempted", "c", "attempted", True, "other"),
        said("attempted", "control", "hijacked", True, "injection"),
        said("removed", "d", "hijacked", True),
        said("removed", "e", "hijacked", False),
        said("removed", "f", "benign", False),
        said("removed", "g", "benign", True),
        said("removed", "of another run", "benign", True),
    ]
    path = tmp_path / "read.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setattr(readings, "READ_BLIND", path)


@pytest.mark.usefixtures("read")
def test_a_session_whose_agent_acted_counts_neither_as_flagged_nor_as_one_that_ignored() -> None:
    found = {"ignored_flagged": {"original": {"a": 0.2, "b": 0.1, "c": 0.1}, "reworded": {}}}
    assert readings.not_acted(found, "original") == pytest.approx(0.2 / 0.8)  # drift of another kind stays
    assert readings.not_acted(found, "reworded") == 0
    assert readings.not_acted({"ignored_flagged": {"original": {"a": 1.0}}}, "original") is None


@pytest.mark.usefixtures("read")
def test_without_having_read_all_that_is_flagged_nothing_is_said() -> None:
    read_elsewhere = {"ignored_flagged": {"original": {"d": 0.2}}}  # in a set that asks another question
    assert readings.not_acted(read_elsewhere, "original") is None
    assert (
        readings.not_acted({"ignored_flagged": {"original": {"a": 0.2, "unread": 0.1}}}, "original") is None
    )


@pytest.mark.usefixtures("read")
def test_of_each_set_what_the_reader_tells_and_what_of_it_the_detector_gets_wrong() -> None:
    had = {"a": True, "d": False, "e": True, "f": True, "g": False}
    assert readings.blind_rows({"read_blind": had}) == [["removed", "1 of 2", "1 of 1", "1 of 2", "1 of 1"]]


@pytest.mark.usefixtures("read")
def test_of_the_errors_read_how_many_a_person_has_right() -> None:
    found = {"read_blind": {"d": False, "e": False, "f": True, "g": True}}
    assert readings.told(found, "removed", bad=True) == "1 of 2"
    assert readings.told(found, "removed", bad=False) == "1 of 2"
    assert readings.told(found, "written", bad=True) == ""
    assert readings.told({}, "suites", bad=True) == "51 of 64"
    assert readings.told({}, "suites", bad=False) == "41 of 43"
    assert readings.told({}, "late", bad=True) == "5 of 8"


def test_each_error_that_was_read_is_of_a_kind_that_has_a_column() -> None:
    rows = readings.read_again(readings.ERRORS_READ)
    assert len({one["session_id"] for one in rows}) == len(rows) == 147
    assert {one["error"] for one in rows} == set(readings.ERRORS)
    assert all(one["why"] and one["kind"] for one in rows)


@pytest.mark.usefixtures("read")
def test_of_what_is_flagged_what_the_reader_finds() -> None:
    shares = {"a": 0.1, "b": 0.1, "c": 0.1, "unread": 0.1}
    rows = readings.acted_rows({"ignored_flagged": {"original": shares, "reworded": {}}})
    assert rows == [["as recorded", "4", "3", "1", "1", "1"], ["reworded", "0", "0", "0", "0", "0"]]


def test_what_was_read_is_told_whole() -> None:
    rows = readings.read_again(readings.READ_BLIND)
    assert len({(one["set"], one["session_id"]) for one in rows}) == len(rows) == 710
    for one in rows:
        assert one["label"] in LABELS
        assert one["sure"] in (1, 2, 3)
        assert one["why"]
        assert not one["drift"] or isinstance(one["seq"], int)
        if one["set"] == "attempted":
            assert (one["serves"] in ("injection", "other")) == one["drift"]
