"""Who is left out of a fit: ecosystems, attacks, goals, agent models or what came later, and never sessions drawn at random."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.errors import DatasetError
from models.forest.units import Ints
from models.training.calibrate import own_thresholds, transferable
from models.training.dataset import Calls, task_parts, unseen_with
from models.training.rates import Flags

PARTS = 5
"""Into as many parts values are shared out, each of them whole: a model is fitted for each part."""
FOLDS = 3
"""Parts of the user tasks before a cut in time, whose scores give the thresholds for what came after."""
SEED = 20260101


class Split(NamedTuple):
    """Sessions to learn from and sessions to score, one flag each; those that are not `reported` only give thresholds."""

    name: str
    learn: Flags
    score: Flags
    reported: bool = True


def by_domain(calls: Calls) -> list[Split]:
    """Each domain left out, together with those that share its tools."""
    domains = calls.domains()
    groups = sorted({tuple(sorted(unseen_with(domain) & set(domains))) for domain in domains})
    if len(groups) < 2:
        raise DatasetError(
            f"leaving one suite out needs two or more, found {', '.join(domains) or 'none'}; give more sets, or --leave-out "
            "attack, goal, agent-model or time"
        )
    of = np.array([session.domain for session in calls.sessions], dtype=np.str_)
    return [Split(" and ".join(group), ~(here := np.isin(of, group)), here) for group in groups]


def by_value(calls: Calls, values: Sequence[str | None], what: str) -> list[Split]:
    """Each part of the values of attacks, goals or agent models left out.

    Sessions without a value, honest ones where it is an attack, are dealt to the parts by user task. A model that scores them saw no
    session of their task, attacked or not.
    """
    part = parted([value for value in values if value is not None])
    if len(part) < 2:
        raise DatasetError(f"leaving one {what} out needs two or more, found {', '.join(part) or 'none'}")
    n_parts = max(part.values()) + 1
    named = np.array([-1 if value is None else part[value] for value in values], dtype=np.int64)
    nameless = named < 0
    tasks = task_parts(calls, n_parts, SEED)
    whose = np.array([session.task for session in calls.sessions], dtype=np.str_)
    splits = []
    for number in range(n_parts):
        unnamed = nameless & (tasks == number)
        held = (named == number) | unnamed
        learn = ~held & ~np.isin(whose, whose[unnamed])
        splits.append(Split(f"{what} part {number + 1}", learn, held))
    return splits


def parted(values: Sequence[str]) -> dict[str, int]:
    """Values to at most `PARTS` parts, the commonest first, each to the part that has fewest sessions.

    >>> parted(["a", "a", "a", "b", "c"])
    {'a': 0, 'b': 1, 'c': 2}
    """
    times = Counter(values)
    filled = [0] * min(PARTS, len(times))
    found: dict[str, int] = {}
    for value in sorted(times, key=lambda one: (-times[one], one)):
        found[value] = filled.index(min(filled))
        filled[found[value]] += times[value]
    return found


def by_time(calls: Calls, began: Sequence[str | None], ended: Sequence[str | None], cut: str) -> list[Split]:
    """What began at `cut` or later, scored by a model of what had ended before. Times in one spelling, None where unknown."""
    before = np.array([at is not None and at < cut for at in ended], dtype=np.bool_)
    after = np.array([at is not None and at >= cut for at in began], dtype=np.bool_)
    if not before.any() or not after.any():
        raise DatasetError(
            f"{int(before.sum())} sessions ended before {cut} and {int(after.sum())} began then or later; "
            "choose a cut that has sessions on both sides (recorded sets carry no dates)"
        )
    tasks = task_parts(calls, FOLDS, SEED)
    folds = [before & (tasks == number) for number in range(FOLDS)]
    inner = [
        Split(f"tasks {n + 1} of {FOLDS} before the cut", before & ~one, one, reported=False)
        for n, one in enumerate(folds)
    ]
    return [*(split for split in inner if split.score.any()), Split("what came after the cut", before, after)]


def limits(highest: Ints, calls: Calls, splits: Sequence[Split], budget: float) -> npt.NDArray[np.int64]:
    """For each session the threshold that honest sessions of the *other* splits give for a budget."""
    found = np.zeros(len(calls.sessions), dtype=np.int64)
    scored = np.logical_or.reduce([split.score for split in splits])
    for split in splits:
        found[split.score] = transferable(own_thresholds(highest, calls, budget, scored & ~split.score))
    return found
