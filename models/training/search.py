"""Which of several recipes finds most in domains that it learnt nothing of."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from models.errors import ArtefactError, DatasetError
from models.forest.units import Floats, Ints
from models.training import evaluate
from models.training.boosting import Progress, out_of_fold, silent
from models.training.calibrate import session_maxima
from models.training.dataset import Calls
from models.training.families import NoBetter
from models.training.plan import Value, told
from models.training.recipes import Recipe

AT = "0.01"
"""The false-positive rate, of each domain's own honest sessions, at which trials are compared."""


class Trial(NamedTuple):
    """What one recipe finds, as recorded: means over the domains that have honest and hijacked sessions.

    One whose model cannot be scored finds nothing, and `failed` says why.
    """

    parameters: dict[str, Value]
    detected: float = 0.0
    area: float = 0.0
    failed: str = ""


def trials_of(grid: Mapping[str, Sequence[Value]], most: int, seed: int) -> list[dict[str, Value]]:
    """Combinations of a grid, all of them or `most` drawn without repetition; the plan's own recipe, which changes nothing, is the first.

    >>> trials_of({"a": [1, 2], "b": [3]}, 9, 0)
    [{}, {'a': 1, 'b': 3}, {'a': 2, 'b': 3}]
    >>> trials_of({}, 9, 0)
    [{}]
    """
    every = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    drawn = every if len(every) < most else random.Random(seed).sample(every, most - 1)
    return [{}, *(one for one in drawn if one)]


def search(
    X: Floats,
    calls: Calls,
    recipe: Recipe,
    trials: Sequence[Mapping[str, Value]],
    progress: Progress = silent,
) -> tuple[Recipe, Ints, list[Trial]]:
    """The best of the recipes that these changes make of one, its scores out of fold, and what each trial found.

    The earlier of two that find as much is kept. That the best was chosen on these very domains makes its figures development figures.

    Raises
    ------
    DatasetError
        No domain has honest and hijacked recordings to compare on, or no trial gave a model.
    """
    best: tuple[tuple[float, float], Recipe, Ints] | None = None
    found: list[Trial] = []
    for number, changes in enumerate(trials, start=1):
        beginning = f"trial {number} of {len(trials)}: "
        progress(f"{beginning}{in_words(changes)}")
        one = told(recipe, changes)
        try:
            scores = out_of_fold(X, calls, one)
        except (ArtefactError, NoBetter) as error:
            found.append(Trial(dict(changes), failed=str(error)))
            progress(f"{beginning}{error}")
            continue
        worth = _worth(scores, calls)
        found.append(Trial(dict(changes), *worth))
        progress(f"{beginning}{worth[0]:.3f} detected at 1 %, area {worth[1]:.4f}")
        if best is None or worth > best[0]:
            best = worth, one, scores
    if best is None:
        raise DatasetError(f"none of {len(found)} trials gave a model that can be scored: {found[-1].failed}")
    return best[1], best[2], found


def in_words(changes: Mapping[str, Any]) -> str:
    """What a trial changes."""
    return ", ".join(f"{name} {value}" for name, value in changes.items()) or "the plan as it is"


def _worth(scores: Ints, calls: Calls) -> tuple[float, float]:
    rows = calls.rows_where(session.variant == "recorded" for session in calls.sessions)
    recorded = calls.take(rows)
    highest = session_maxima(scores[rows], recorded)
    domain = np.array([session.domain for session in recorded.sessions])
    kind = np.array([session.kind for session in recorded.sessions])
    points = [
        evaluate.detection(highest, recorded, domain == name)
        for name in recorded.domains()
        if {"benign", "hijacked"} <= set(kind[domain == name].tolist())
    ]
    if not points:
        raise DatasetError(
            "no domain has honest and hijacked recordings, so there is nothing to compare trials on"
        )
    detected = float(np.mean([one["at"][AT]["detected"]["rate"] for one in points]))
    return round(detected, 6), round(float(np.mean([one["auc"] for one in points])), 6)
