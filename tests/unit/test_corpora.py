"""Corpora: where they are, and that what has another shape than its reader expects is refused by a sentence."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models.errors import ConfigError, DatasetError
from models.training import corpora
from models.training.scenarios import (
    corpus,
    delegated,
    report_tasks,
    report_wordings,
    wordings,
    written_tasks,
)
from models.training.scenarios.delegated_catalogues import CLASSES, RECORDED, Catalogue, recorded
from models.training.scenarios.forms import Frame
from models.training.scenarios.written_files import WrittenFile

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "written").mkdir()
    monkeypatch.setenv(corpora.SETTING, str(tmp_path))
    corpora.read.cache_clear()
    corpora.lines.cache_clear()
    yield tmp_path
    corpora.read.cache_clear()
    corpora.lines.cache_clear()


def test_every_corpus_has_the_shape_that_its_reader_expects() -> None:
    assert len(delegated.catalogues({})) == 8
    assert recorded("+".join(CLASSES)) is not None
    assert all(recorded(name) is not None for name in RECORDED)
    assert len(report_tasks.catalogues()) == 9
    assert len(written_tasks.files()) > 100
    told = [*wordings.training(), *wordings.selection(), *report_wordings.report()]
    assert len({wording.name for wording in told}) == len(told)


def test_no_corpus_is_left_unread() -> None:
    listed = {path.relative_to(corpora.folder()).as_posix() for path in corpora.folder().rglob("*.json*")}
    here = Path(corpora.__file__).parent
    code = "".join(path.read_text("utf-8") for path in here.rglob("*.py"))
    for name in listed:
        part, _, file = name.rpartition("/")
        whole = part in ("written", "delegated/invented", "delegated/recorded", "report/catalogues")
        assert f'"{name}"' in code or (whole and (part == "written" or f'"{Path(file).stem}"' in code)), name


def test_a_folder_that_is_none_is_a_setting_to_mend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(corpora.SETTING, str(tmp_path))
    with pytest.raises(ConfigError, match=f"{tmp_path} is not that folder: set DRIFTLINE_CORPORA"):
        corpora.folder()


@pytest.mark.parametrize(
    ("content", "shape", "told"),
    [
        ("{", Catalogue, "is not JSON"),
        ("[]", Catalogue, "another shape"),
        ({"acts": [], "sources": [], "lookups": [], "more": 1}, Catalogue, "more"),
        ({"acts": [], "sources": [{"nouns": "one", "steps": []}], "lookups": []}, Catalogue, "nouns"),
        ({"author": "a", "catalogue": "c", "tools": [], "work": []}, WrittenFile, "handed"),
    ],
)
def test_a_corpus_of_another_shape_is_refused_with_its_place(
    folder: Path, content: Any, shape: Any, told: str
) -> None:
    (folder / "one.json").write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DatasetError, match=told) as refused:
        corpora.read("one.json", shape)
    assert str(folder / "one.json") in str(refused.value)


def test_a_line_of_another_shape_and_an_absent_file_are_refused(folder: Path) -> None:
    (folder / "frames.jsonl").write_text('{"author": "a", "kind": "k"}\n')
    with pytest.raises(DatasetError, match="0/text"):
        corpora.lines("frames.jsonl", Frame)
    with pytest.raises(DatasetError, match="cannot be read: No such file"):
        corpora.read("absent.json", Catalogue)


def test_recordings_without_catalogues_are_refused_before_anything_is_made_of_them() -> None:
    sessions = [{"tools_ref": "mine/shop"}, {"tools_ref": "mine/bank"}]
    corpus.need_catalogues({"mine": sessions}, {"mine/shop": [], "mine/bank": []})
    with pytest.raises(
        DatasetError, match=r"1 of 2 sessions of mine have no tool catalogue.*mine_tools\.json"
    ):
        corpus.need_catalogues({"mine": sessions}, {"mine/shop": []})


READS = """
import json, sys
opened = set()
sys.addaudithook(lambda event, args: opened.add(str(args[0])) if event == "open" else None)
from models.training import corpora
from models.training.heads import handover
from models.training.scenarios import asking, delegated, forms, renaming, written_tasks, wordings
from pathlib import Path
from stream.offline import study

wordings.training(), asking.users(), forms.frames(), renaming._names(), handover.to_learn_from()
list(delegated.sessions({}, 1, 40)), list(written_tasks.sessions(1))
recording = Path(sys.argv[1])
named = study.learnt_from([recording])
print(json.dumps([named, sorted(opened), sorted(written_tasks.not_learnt_from())]))
"""
"""All that training makes scenarios of, in a process of its own: what it opens, and what the manifest names."""


def test_a_manifest_names_each_file_that_was_learnt_from_by_its_hash(tmp_path: Path) -> None:
    recording = tmp_path / "shop.jsonl"
    beside = [tmp_path / "shop_tools.json", tmp_path / "shop_attempted_acted.json"]
    for path in (recording, *beside):
        path.write_text("{}", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", READS, recording], capture_output=True, text=True, check=True, cwd=ROOT
    )
    named, opened, reported = json.loads(done.stdout)
    folder = corpora.folder()
    inside = {Path(name).relative_to(folder).as_posix() for name in opened if name.startswith(f"{folder}/")}
    assert "written/wg_payshare.json" in inside
    assert "handing.jsonl" in inside
    assert len(reported) > 15
    learnt = {f"corpora/{name}": folder / name for name in inside.difference(reported)}
    expected = learnt | {path.name: path for path in (recording, *beside)}
    assert named == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in expected.items()}


AIRLINE = {
    "book_reservation",
    "calculate",
    "cancel_reservation",
    "get_reservation_details",
    "get_user_details",
    "list_all_airports",
    "search_direct_flight",
    "search_onestop_flight",
    "send_certificate",
    "think",
    "transfer_to_human_agents",
    "update_reservation_baggages",
    "update_reservation_flights",
    "update_reservation_passengers",
}
"""Tools of tau-bench's airline, which is called unseen."""


def test_no_catalogue_to_learn_from_has_the_tools_of_an_unseen_benchmark() -> None:
    shared = {
        name: len(AIRLINE.intersection(tool["name"] for tool in file["tools"]))
        for name, file in written_tasks.to_learn_from().items()
    }
    assert max(shared.values()) <= 3, max(shared, key=lambda name: shared[name])
