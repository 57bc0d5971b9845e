"""Each half of the authors of written tasks is seen through what learnt from the other, which lies in a file."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from models.errors import DatasetError
from models.heads.acting import Acting
from models.heads.expectation import Expectation
from models.heads.handover import Head, marks_and_pairs
from models.release.readers import load
from models.text.embedding import DIMS
from models.training import corpora
from models.training.heads import acting, expectation, halves, handover
from models.training.scenarios import corpus, written_tasks

MEND = "python -m models.training.heads halves"


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of corpora whose file of halves may be written over."""
    here = corpora.folder()
    for path in here.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / halves.FILE).unlink()
    (tmp_path / halves.FILE).write_bytes((here / halves.FILE).read_bytes())
    monkeypatch.setenv(corpora.SETTING, str(tmp_path))
    return tmp_path


@pytest.mark.slow
def test_no_author_is_seen_through_what_learnt_from_him(texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learnt: list[set[str]] = []

    def remembered(told: list[expectation.Pairs]) -> Expectation:
        learnt.append({one.author for one in told})
        return Expectation(np.zeros((DIMS, DIMS)), np.zeros((DIMS, DIMS)), len(learnt))

    def tools(told: list[acting.LabelledTool]) -> Acting:
        learnt.append({one.author for one in told})
        return Acting({}, len(learnt))

    def sentences(told: list[handover.Sentence]) -> Head:
        learnt.append({one.author for one in told if one.author in everybody})
        return Head({}, (len(learnt), 0, 0))

    everybody = {file["author"] for file in written_tasks.to_learn_from().values()}

    def pairs(words: object, without: Collection[str]) -> list[Any]:
        return [
            SimpleNamespace(author=file["author"]) for file in written_tasks.to_learn_from(without).values()
        ]

    monkeypatch.setattr(expectation, "tasks", pairs)
    monkeypatch.setattr(expectation, "fit", remembered)
    monkeypatch.setattr(acting, "fit", tools)
    monkeypatch.setattr(handover, "fit", sentences)
    halves.write()
    seen = set()
    for unread, sessions in corpus._written(1):
        theirs = {written_tasks.files()[session["suite"]]["author"] for session in sessions}
        assert theirs
        for n in (unread.expectation.bias, unread.acting.bias, unread.handover.whole.bias[0]):
            assert learnt[n - 1]
            assert not theirs & learnt[n - 1]
        seen |= theirs
    assert seen == everybody


@pytest.mark.slow
def test_the_file_holds_what_a_fit_gives() -> None:
    ours = load().expectation.clause.ravel()
    for held, (half, fitted) in zip(halves.load(), acting.by_halves(), strict=True):
        assert held.authors == half
        names = held.acting.weights.keys() | fitted.weights.keys()
        apart = [abs(held.acting.weights.get(n, 0) - fitted.weights.get(n, 0)) for n in names]
        assert max(apart) <= 2  # on another processor the last digit moves
        sentences = [*handover.to_learn_from()[1], *handover.intents(half)]
        spread = Counter(name for sentence in sentences for name in marks_and_pairs(sentence.text))
        assert held.handover.weights.keys() <= {name for name, count in spread.items() if count >= 2}
        assert np.corrcoef(held.expectation.clause.ravel(), ours)[0, 1] > 0.9  # half of the same texts


def _altered(texts: Path, **changes: object) -> None:
    path = texts / halves.FILE
    content = json.loads(gzip.decompress(path.read_bytes())) | changes
    path.write_bytes(gzip.compress(json.dumps(content).encode()))


def test_what_was_learnt_from_other_texts_is_refused_with_the_mend(texts: Path) -> None:
    name = handover.REQUESTS
    theirs = (texts / name).read_bytes()
    (texts / name).unlink()
    (texts / name).write_bytes(theirs + theirs.splitlines(keepends=True)[0])
    with pytest.raises(DatasetError, match=f"learnt from other texts.*{MEND}"):
        halves.load()


@pytest.mark.parametrize("damage", ["missing", "cut", "no gzip", "another shape", "other authors"])
def test_a_file_that_is_not_sound_is_refused_with_the_mend(texts: Path, damage: str) -> None:
    path = texts / halves.FILE
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "no gzip":
        path.write_bytes(b"{}")
    elif damage == "another shape":
        _altered(texts, halves=[{"authors": []}])
    else:
        _altered(texts, halves=json.loads(gzip.decompress(path.read_bytes()))["halves"][::-1])
    with pytest.raises(DatasetError, match=MEND):
        halves.load()
