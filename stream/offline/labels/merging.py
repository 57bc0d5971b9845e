"""Which word on a session counts where several were said, and which words contradict each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from models.contracts import Label, Whence
from stream.events import milliseconds
from stream.offline.labels.store import in_order

RANK: Mapping[Whence, int] = {"analyst": 3, "import": 2, "dataset": 1, "broker": 0}
"""Whose word beats whose: a signed one that of an annotator, this that of a data set; a broker's outcome judges no session."""
DAY_MS = 86_400_000

Key = tuple[str, str]
"""Tenant and session."""


class Merged(NamedTuple):
    """What is left of labels.

    Attributes
    ----------
    labels : one for each session, see `merged`
    conflicts : of sessions without one, since those whose word counts disagree: their last words
    n_beaten : words that another one beat, or that said the same
    n_old, n_undated : words left out for their age; words kept that no age is known of, where an age was asked for
    """

    labels: list[Label]
    conflicts: list[list[Label]]
    n_beaten: int
    n_old: int
    n_undated: int


def merged(labels: Iterable[Label], max_age_days: float | None = None, as_of_ms: int | None = None) -> Merged:
    """One label for each session on which those whose word counts agree.

    Of each person, data set or broker the latest word on a session counts. ``unclear`` contradicts nobody, and gives way to any
    other word. Of the others those of the highest `RANK` count. Where they disagree on the kind, the session has no label,
    whatever came last. Where they agree, the latest of those that name the first bad call is taken, or the latest.

    Parameters
    ----------
    max_age_days : older words are left out first; those without a time stay
    as_of_ms : from when ages count back; None: the latest time of any word, since no clock is read
    """
    listed = in_order(labels)
    times = [milliseconds(each.when) for each in listed if each.when is not None]
    n_old = n_undated = 0
    if max_age_days is not None and times:
        oldest = (as_of_ms if as_of_ms is not None else max(times)) - max_age_days * DAY_MS
        young = [each for each in listed if each.when is None or milliseconds(each.when) >= oldest]
        n_old, n_undated, listed = len(listed) - len(young), sum(each.when is None for each in young), young
    by_session: dict[Key, list[Label]] = {}
    for each in listed:
        by_session.setdefault((each.tenant, each.session_id), []).append(each)
    found: list[Label] = []
    conflicts: list[list[Label]] = []
    for said in by_session.values():
        counting = _counting(said)
        if len({each.label for each in counting}) > 1:
            conflicts.append(counting)
        else:
            found.append(next((each for each in reversed(counting) if each.names_a_call), counting[-1]))
    n_told = len(found) + sum(map(len, conflicts))
    return Merged(found, conflicts, len(listed) - n_told, n_old, n_undated)


def _counting(said: Sequence[Label]) -> list[Label]:
    """The words on one session that count, the oldest first, as `in_order` has them."""
    last = {(each.whence, each.who, each.key): each for each in said}
    # A dict keeps a key where it stood first: the words are put in order again.
    words = in_order(last.values())
    clear = [each for each in words if each.label != "unclear"] or words
    highest = max(RANK[each.whence] for each in clear)
    return [each for each in clear if RANK[each.whence] == highest]
