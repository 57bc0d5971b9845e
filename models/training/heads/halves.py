"""What learnt from one half of the authors of written tasks, for the tasks of the other: fitted once, and read wherever a model is trained.

A fit ends in other last digits on another processor. So these are a file, as the heads of a release are, and training gives the same
on any machine. ``python -m models.training.heads halves`` fits them anew (a minute), which a change of the texts or of the table of words asks for.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from typing import Any, NamedTuple

import numpy as np

from models.errors import DatasetError
from models.heads.acting import Acting, ActingFile
from models.heads.expectation import Expectation, ExpectationFile
from models.heads.handover import Head, HeadForm
from models.heads.weights import WeightsFile
from models.release.readers import load_words, read_list
from models.release.registry import BUNDLED
from models.training import corpora
from models.training.heads import acting, expectation, handover
from models.training.scenarios import written_tasks

FILE = "halves.json.gz"
"""Its name in the folder of corpora."""
_MEND = "run `python -m models.training.heads halves`"


class HalfForm(WeightsFile):
    """What learnt from all authors but `authors`; see `Half`."""

    authors: list[str]
    acting: ActingFile
    expectation: ExpectationFile
    handover: HeadForm


class HalvesFile(WeightsFile):
    """The file: both halves, and the digest of what they were learnt from (`learnt_from`)."""

    learnt_from: str
    halves: list[HalfForm]


class Half(NamedTuple):
    """Half of the authors, with what learnt from the others: whether a tool acts, what an intent leads to and leaves to its sources."""

    authors: list[str]
    acting: Acting
    expectation: Expectation
    handover: Head


def learnt_from() -> str:
    """SHA-256 of the texts that the halves are fitted on, and of the table of words."""
    written = (f"written/{name}.json" for name in written_tasks.to_learn_from())
    found = hashlib.sha256(read_list(BUNDLED).words.sha256.encode())
    for name in sorted([handover.SENTENCES, handover.REQUESTS, *written]):
        found.update(f"\n{name} {corpora.digest(name)}".encode())
    return found.hexdigest()


def load() -> list[Half]:
    """Both halves.

    Raises
    ------
    DatasetError
        The file is missing or not sound, or was fitted on other texts or another table of words.
    """
    path = corpora.folder() / FILE
    try:
        held = HalvesFile.model_validate_json(gzip.decompress(corpora.raw(FILE)))
    except (OSError, EOFError, ValueError) as error:
        raise DatasetError(f"{path} does not hold what learnt from half of the authors: {_MEND}") from error
    if held.learnt_from != learnt_from() or [each.authors for each in held.halves] != [
        *written_tasks.halves()
    ]:
        raise DatasetError(f"{path} was learnt from other texts, or with another table of words: {_MEND}")
    return [
        Half(
            each.authors,
            Acting(each.acting.weights, each.acting.bias),
            Expectation(
                np.array(each.expectation.clause, np.float64),
                np.array(each.expectation.whole, np.float64),
                each.expectation.bias,
            ),
            Head(each.handover.weights, each.handover.bias),
        )
        for each in held.halves
    ]


def write() -> None:
    """Fit both halves and write the file."""
    words = load_words()
    halves = []
    for (half, head), (_, acts) in zip(handover.by_halves(), acting.by_halves(), strict=True):
        leads = expectation.fit(expectation.tasks(words, without=half))
        halves.append(
            {
                "authors": half,
                "acting": {"bias": acts.bias, "weights": acts.weights},
                "expectation": {
                    "bias": leads.bias,
                    "clause": leads.clause.astype(int).tolist(),
                    "whole": leads.whole.astype(int).tolist(),
                },
                "handover": {"bias": list(head.bias), "weights": head.weights},
            }
        )
    content: dict[str, Any] = {"learnt_from": learnt_from(), "halves": halves}
    text = json.dumps(content, separators=(",", ":"), sort_keys=True)
    (corpora.folder() / FILE).write_bytes(gzip.compress(text.encode(), 9, mtime=0))
