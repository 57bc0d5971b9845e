"""A backtest on several cores: each part of the log in one process at a time, what they found added up in the parts' order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from multiprocessing import get_context
from typing import Any, NamedTuple

from threadpoolctl import threadpool_limits

from stream.core.judge import Judge
from stream.offline.backtest import Backtest, Peaks
from stream.offline.backtest_told import Told
from stream.offline.lines import Heard
from stream.offline.shares import Part

POLL_S = 0.5


class Work(NamedTuple):
    """What each process is given: the combinations, the log in parts, and what counts of it.

    Attributes
    ----------
    judges : one for each combination, the base first
    labels : kinds by tenant and session
    most_flips : changed sessions that are told one by one
    """

    judges: Sequence[Judge]
    parts: Sequence[Part]
    labels: Mapping[tuple[str, str], str]
    most_flips: int


class Found(NamedTuple):
    """What a part came to."""

    told: Told
    peaks: list[Peaks]


def run(work: Work, jobs: int, heard: Heard) -> tuple[Told, list[list[Peaks]]]:
    """Judge all parts; what they came to together, and what each held at most.

    Parameters
    ----------
    jobs : processes at most; with 1 all happens in this one
    heard : hears how far the reading is, in whatever the parts tell
    """
    if jobs == 1 or len(work.parts) == 1:
        found = [_judged(work, part, heard) for part in work.parts]
    else:
        found = _in_processes(work, min(jobs, len(work.parts)), heard)
    told = Told(len(work.judges), work.most_flips)
    for each in found:
        told.merge(each.told)
    return told, [each.peaks for each in found]


def _judged(work: Work, part: Part, heard: Heard) -> Found:
    backtest = Backtest(work.judges, work.labels, part.since, work.most_flips)
    backtest.take(part.records(heard))
    return Found(backtest.close(), backtest.peaks())


_GIVEN: dict[str, Any] = {}
"""Of a process that judges: its work, and the counter that tells how far all of them are."""


def _begin(work: Work, counter: Any) -> None:
    threadpool_limits(1)  # each process has a core, and sums are exact for any number of threads
    _GIVEN.update(work=work, counter=counter)


def _judge(turn: int) -> Found:
    counter = _GIVEN["counter"]

    def heard(count: int) -> None:
        with counter.get_lock():
            counter.value += count

    work: Work = _GIVEN["work"]
    return _judged(work, work.parts[turn], heard)


def _in_processes(work: Work, jobs: int, heard: Heard) -> list[Found]:
    # Forked, so that models are loaded once, and parts may be closures.
    context = get_context("fork")
    counter = context.Value("q", 0)
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(work, counter)) as pool:
        futures = [pool.submit(_judge, turn) for turn in range(len(work.parts))]
        left, so_far = set(futures), 0
        while left:
            done, left = wait(left, POLL_S, FIRST_EXCEPTION)
            now = counter.value
            heard(now - so_far)
            so_far = now
            if any(future.exception() is not None for future in done):
                pool.shutdown(wait=False, cancel_futures=True)
            for future in done:
                future.result()
        return [future.result() for future in futures]
