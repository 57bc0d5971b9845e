"""The readers of a release: one list names their files, they are handed in, and two releases may differ in them."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from models.contracts import Tool
from models.errors import ArtefactError, DigestMismatch
from models.heads.acting import Acting
from models.heads.expectation import Expectation
from models.heads.handover import ANSWERS, Head, Heads
from models.heads.readers import Readers
from models.heads.vagueness import RARE, Vagueness
from models.release import readers
from models.release.registry import BUNDLED
from models.text.embedding import DIMS, Embedding
from models.text.vectors import Vectoriser
from stream import bootstrap
from stream.core.catalogues import CatalogueMemo
from stream.core.partition import Partition
from stream.core.releases import PolicyNames, Release
from stream.events import Record
from stream.offline.files import read_records
from stream.policy import load_policy
from stream.settings import Settings
from tests import builders as b

SHIPPED = readers.load()
SAMPLES = Path(bootstrap.__file__).parent / "samples"


def other_readers() -> Readers:
    """Readers that tell nothing, over a table in which each word means what another does in the shipped one."""
    table = SHIPPED.words.table
    words = Vectoriser(Embedding(list(table._place), table._rows[::-1].copy(), table._scales[::-1].copy()))
    silent = Head({}, [0] * ANSWERS)
    zeros = np.zeros((DIMS, DIMS))
    return Readers(
        words=words,
        acting=Acting({}, 0),
        handover=Heads(silent, silent),
        expectation=Expectation(zeros, zeros, 5),
        vagueness=Vagueness({}, [0] * RARE, [0] * DIMS, 0, words),
    )


def release(name: str, of: Readers) -> Release:
    """Sums of rows as scores, so that every feature shows in what is decided."""
    return b.release(name)._replace(readers=of)


def records() -> list[Record]:
    """Whole sessions of several kinds, on one partition."""
    paths = sorted(SAMPLES.glob("*.jsonl"))[13:23]
    read = [record for path in paths for record, _ in read_records(path)]
    return [record._replace(offset=n) for n, record in enumerate(read)]


def outcome(run: b.Run) -> tuple[list[object], dict[str, bytes]]:
    return list(run.outputs), dict(run.partition.states)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A release's directory with readers of its own."""
    listed = readers.read_list(BUNDLED).model_dump(exclude_none=True)
    for name in (readers.LIST_FILE, *(entry["file"] for entry in listed.values())):
        shutil.copy(BUNDLED / name, tmp_path)
    return tmp_path


# ------------------------------------------------------------------ on disk


def test_the_list_names_every_reader_its_file_and_its_digest() -> None:
    listed = readers.read_list(BUNDLED).model_dump(exclude_none=True)
    assert set(Readers._fields) - set(listed) <= {"reader"}
    for entry in listed.values():
        assert hashlib.sha256((BUNDLED / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
    assert listed["words"]["sha256"] == json.loads((BUNDLED / "words.json").read_bytes())["sha256"]


@pytest.mark.parametrize("name", readers.read_list(BUNDLED).model_dump(exclude_none=True))
def test_bytes_that_the_list_does_not_name_are_refused(copied: Path, name: str) -> None:
    path = copied / readers.read_list(copied).model_dump()[name]["file"]
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(DigestMismatch, match=path.name):
        readers.load(copied)
    path.unlink()
    with pytest.raises(ArtefactError, match=path.name):
        readers.load(copied)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"words": {"file": "../words.npz", "sha256": "0"}}'])
def test_a_list_of_another_kind_is_refused(copied: Path, text: str) -> None:
    (copied / readers.LIST_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(ArtefactError, match="no list of readers"):
        readers.load(copied)


def test_a_directory_without_a_list_is_told_with_its_name(tmp_path: Path) -> None:
    assert not readers.has_readers(tmp_path)
    with pytest.raises(ArtefactError, match=str(tmp_path)):
        readers.load(tmp_path)


def test_the_same_files_elsewhere_are_the_same_readers(copied: Path) -> None:
    assert readers.load(copied) is SHIPPED


def test_a_reader_that_was_fitted_anew_joins_the_list(copied: Path) -> None:
    head = b'{"weights": {"name x": 4096}, "bias": 0}'
    (copied / "acting.json").write_bytes(head)
    with pytest.raises(DigestMismatch):
        readers.load(copied)
    readers.write(copied, "acting", head)
    fitted = readers.load(copied)
    assert fitted.acting.of({"name x"}) == 100
    assert fitted.handover.whole.weights == SHIPPED.handover.whole.weights


def test_a_head_that_no_list_knows_yet_is_fitted_with_the_words_and_enters_it(copied: Path) -> None:
    listed = json.loads((copied / readers.LIST_FILE).read_bytes())
    entry = listed.pop("acting")
    (copied / readers.LIST_FILE).write_text(json.dumps(listed), encoding="utf-8")
    with pytest.raises(ArtefactError, match="acting"):
        readers.load(copied)
    pay = SHIPPED.words.vector_of("pay the bill")
    assert np.array_equal(readers.load_words(copied).vector_of("pay the bill"), pay)
    assert pay.any()
    readers.write(copied, "acting", (copied / entry["file"]).read_bytes())
    assert json.loads((copied / readers.LIST_FILE).read_bytes())["acting"] == entry
    assert readers.load(copied) is SHIPPED


def test_a_packed_file_holds_the_same_reader_and_is_the_same_bytes_each_time(copied: Path) -> None:
    head = (copied / "acting.json").read_bytes()
    listed = json.loads((copied / readers.LIST_FILE).read_bytes())
    del listed["acting"]
    (copied / readers.LIST_FILE).write_text(json.dumps(listed), encoding="utf-8")
    for _ in range(2):
        readers.write(copied, "acting", head, "acting.json.gz")
        packed = (copied / "acting.json.gz").read_bytes()
        assert len(packed) < len(head) / 2
        assert json.loads((copied / readers.LIST_FILE).read_bytes())["acting"] == {
            "file": "acting.json.gz",
            "sha256": hashlib.sha256(packed).hexdigest(),
        }
    assert readers.load(copied).acting.weights == SHIPPED.acting.weights
    (copied / "acting.json.gz").write_bytes(packed + b"x")
    with pytest.raises(DigestMismatch):
        readers.load(copied)


# ------------------------------------------------------------------ in a release


def test_a_release_brings_its_own_readers_and_one_without_gets_the_shipped_ones(tmp_path: Path) -> None:
    for name in ("own", "plain"):
        shutil.copytree(BUNDLED, tmp_path / name)
        shutil.copy(Path(bootstrap.__file__).parent / "policy.yaml", tmp_path / name)
    policy = tmp_path / "plain" / "policy.yaml"
    policy.write_text(policy.read_text().replace("idle_minutes: 60", "idle_minutes: 30"))
    (tmp_path / "plain" / readers.LIST_FILE).unlink()
    readers.write(tmp_path / "own", "acting", b'{"weights": {}, "bias": 7}')
    biases = {each.readers.acting.bias for each in bootstrap.releases_in(tmp_path).values()}
    assert biases == {7, SHIPPED.acting.bias}


def test_two_judges_in_one_process_give_what_each_gives_alone() -> None:
    all_records, others = records(), other_readers()

    def judges() -> list[b.Run]:
        return [b.Run(b.judge(release("r", of))) for of in (SHIPPED, others)]

    alone = judges()
    for run in alone:
        run.feed(all_records)
    together = judges()
    for start in range(0, len(all_records), 7):
        for run in together:
            run.feed(all_records[start : start + 7])
    assert [outcome(run) for run in together] == [outcome(run) for run in alone]
    one, other = (run.decisions for run in alone)
    assert [decision["score"] for decision in one] != [decision["score"] for decision in other]
    assert alone[0].partition.states != alone[1].partition.states


def test_sessions_of_two_releases_in_one_judge_are_read_by_their_own_readers() -> None:
    """A catalogue that both use is read twice, though the policy is the same."""
    tools = [Tool(name="embargoLift", description="Ends the embargo."), Tool(name="percent_change")]
    raw = msgspec.msgpack.encode([tool.model_dump(exclude_none=True) for tool in tools])
    one, other = release("one", SHIPPED), release("other", other_readers())
    memo = CatalogueMemo(b"key", PolicyNames())
    first, second = memo.built("d", raw, one), memo.built("d", raw, other)
    assert first is memo.built("d", raw, one)
    assert second is memo.built("d", raw, other)
    assert first.readers is one.readers
    assert second.readers is other.readers
    assert not np.array_equal(first.vectors, second.vectors)


def test_a_judge_finds_no_readers_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it was handed is all that it reads by: nothing is loaded, or looked up, on the way to a decision."""
    judge = bootstrap.judge_with(
        Settings(), bootstrap.make_release(b.shipped_model(), load_policy(), other_readers())
    )
    told = records()[:40]
    judged = judge.judge(Partition.empty(), told).outputs

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("readers were looked for")

    for module, name in (
        (readers, "load"),
        (readers, "load_words"),
        (Embedding, "load"),
        (Embedding, "parse"),
    ):
        monkeypatch.setattr(module, name, refuse)
    for reader in SHIPPED:
        for name in ("of", "of_text", "of_line", "rank", "is_vague", "vector_of", "vectors_of"):
            if hasattr(reader, name):
                monkeypatch.setattr(reader, name, refuse)
    again = bootstrap.judge_with(
        Settings(), bootstrap.make_release(b.shipped_model(), load_policy(), other_readers())
    )
    assert again.judge(Partition.empty(), told).outputs == judged
