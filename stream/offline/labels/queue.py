"""Which sessions to label next: those that the model is least sure of, and that are least like what is labelled already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.preprocessing import StandardScaler

from models.forest.odds import log_odds
from models.forest.units import UNITS
from stream.events import case_id_of
from stream.offline.call_rows import Row
from stream.offline.labels.merging import Key

POOL = 5
"""Of so many times the sessions asked for, those nearest to the alert's threshold, the most different ones are chosen."""


class Judged(NamedTuple):
    """A session as the judge saw it.

    Attributes
    ----------
    key : tenant and session
    case_id : the id that its case has, whether or not there is one
    call_seq, tool : of the call with the highest score
    score, threshold : the highest score of its calls, and from which on that call would have alerted
    first : its first call that alerts; None: none
    row : the features of the call with the highest score
    labelled : whether somebody said already what it was
    """

    key: Key
    case_id: str
    agent: str
    calls: int
    call_seq: int
    tool: str
    score: float
    threshold: float
    first: int | None
    row: npt.NDArray[np.float64]
    labelled: bool


class Next(NamedTuple):
    """A session to label: how far its score is from the threshold, in log odds, and how far it is from all that is labelled or chosen before it."""

    session: Judged
    from_threshold: float
    from_others: float | None

    def document(self) -> dict[str, Any]:
        """As JSON."""
        one = self.session
        return {
            "tenant": one.key[0],
            "session_id": one.key[1],
            "case_id": one.case_id,
            "agent": one.agent,
            "calls": one.calls,
            "call_seq": one.call_seq,
            "tool": one.tool,
            "score": one.score,
            "threshold": one.threshold,
            "from_threshold": self.from_threshold,
            "from_others": self.from_others,
        }


def queue(sessions: Sequence[Judged], count: int) -> list[Next]:
    """The sessions to label next, in this order; the same sessions give the same order, however they are given.

    Of the `POOL` times `count` unlabelled sessions nearest to their threshold, each is the farthest from all that are labelled or
    chosen before (farthest first: Gonzalez, 1985), in features of which each has the same spread. Where none is labelled, the nearest comes first.
    """
    listed = sorted(sessions, key=lambda each: each.key)
    if not listed:
        return []
    X = StandardScaler().fit_transform(np.array([each.row for each in listed]))
    distance = [_from_threshold(each) for each in listed]
    open_ = [place for place, each in enumerate(listed) if not each.labelled]
    pool = sorted(open_, key=lambda place: (distance[place], place))[: POOL * count]
    nearest = np.full(len(pool), np.inf)
    for place, each in enumerate(listed):
        if each.labelled:
            nearest = np.minimum(nearest, _apart(X[pool], X[place]))
    chosen: list[Next] = []
    left = np.ones(len(pool), np.bool_)
    while left.any() and len(chosen) < count:
        # The pool is in order of uncertainty: of equals, and where nothing is labelled yet, the least certain comes first.
        at = int(np.argmax(np.where(left, nearest, -1.0)))
        apart = None if np.isinf(nearest[at]) else round(float(nearest[at]), 4)
        chosen.append(Next(listed[pool[at]], round(distance[pool[at]], 4), apart))
        left[at] = False
        nearest = np.minimum(nearest, _apart(X[pool], X[pool[at]]))
    return chosen


def _apart(rows: npt.NDArray[np.float64], row: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = np.sqrt(np.square(rows - row).sum(axis=1)).round(9)
    return found


def _from_threshold(session: Judged) -> float:
    """How far a score is from its threshold, in log odds: near 0 and 1 as much as in the middle."""
    one, other = (log_odds(max(1, round(each * UNITS))) for each in (session.score, session.threshold))
    return abs(one - other)


def judged(key: Key, calls: Sequence[Row], threshold: float, *, labelled: bool) -> Judged:
    """A session with what was decided on its calls, of which there is one at least."""
    top = max(calls, key=lambda each: (each.score, -each.call_seq))
    alert = [each.call_seq for each in calls if each.score >= threshold]
    row = np.array(top.features, np.float64)
    return Judged(
        key,
        case_id_of(key[0], top.root_session_id, key[1]),
        top.agent or "",
        len(calls),
        top.call_seq,
        top.tool,
        top.score,
        threshold,
        min(alert, default=None),
        row,
        labelled,
    )
