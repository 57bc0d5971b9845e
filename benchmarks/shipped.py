"""Detection as shipped: what score and signals together alert on and revoke, and how often each signal speaks.

``DRIFTLINE_DATA=... make shipped`` judges every recorded session by the bundled release under the shipped policy, in
enforce, and writes ``docs/figures/shipped.json``; ``DOCS=1`` also the tables of docs/detection.md. Verdicts are told of sets
alone that the model did not learn from. Signals learn nothing, so they are counted on every set.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np
import orjson

from benchmarks import results
from models.contracts import FLAGGED
from models.training.dataset import TRAINING_SETS
from models.training.scenarios import written_tasks
from models.training.ways import COLUMNS
from stream import bootstrap
from stream.core.judge import Judge
from stream.core.partition import Partition
from stream.events import CASES, DECISIONS, EVENTS, REVOCATIONS, Output, Record, dumps
from stream.offline import files
from stream.offline.files import load_tools, name_of
from stream.offline.recorded import events_of
from stream.offline.rows import AFTERWARDS, WAYS, verdicts_of
from stream.offline.signal_rates import spoken
from stream.settings import Settings
from stream.signals.registry import BY_ID

Catalogues = dict[str, list[dict[str, Any]]]
FIGURES = results.ROOT / "docs" / "figures" / "shipped.json"
PAGE = results.ROOT / "docs" / "detection.md"
WRITTEN = {"written_chains": written_tasks.LONG, "written_errands": written_tasks.OPENED}
"""Long written work that nothing learnt from, by its name among the recorded sets, with its authors."""
CHUNK = 200
"""Sessions that a process judges at a time."""


def outputs_of(judge: Judge, events: Sequence[dict[str, Any]]) -> list[Output]:
    """Everything that a session's events lead to."""
    records = [
        Record(EVENTS, 0, n, 0, "none", event["session_id"].encode(), (), dumps(event))
        for n, event in enumerate(events)
    ]
    return judge.judge(Partition.empty(), records).outputs


def decisions(judge: Judge, events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is decided of a session's calls."""
    return [orjson.loads(o.value) for o in outputs_of(judge, events) if o.topic == DECISIONS]


class Judged(NamedTuple):
    """What became of one session.

    ``raised`` and ``revoked``: for each of `WAYS` the first call that was alerted on, denied or revoked, and the first
    that was revoked. ``signals``: those that spoke. ``alerts``, ``revocations``: how many were published of drift.
    """

    label: str
    task: str
    first_bad: int | None
    raised: dict[str, int | None]
    revoked: dict[str, int | None]
    signals: frozenset[str]
    alerts: int
    revocations: int


@lru_cache(maxsize=1)
def _judge() -> Judge:
    return bootstrap.judge(Settings(), mode="enforce")


def judged(session: Mapping[str, Any], catalogue: Sequence[dict[str, Any]] | None) -> Judged:
    """What becomes of a recorded session under the bundled release."""
    judge = _judge()
    outputs = outputs_of(judge, events_of(dict(session), list(catalogue) if catalogue else None))
    raised: dict[str, int | None] = dict.fromkeys(WAYS)
    revoked: dict[str, int | None] = dict.fromkeys(WAYS)
    signals: set[str] = set()
    alerts = revocations = 0
    for output in outputs:
        document = orjson.loads(output.value)
        if output.topic == CASES:
            alerts += document["finding"] is not None and document["kind"] == "standing"
            revocations += document["cause"] == "drift" and any(
                one["topic"] == REVOCATIONS for one in document["sets"]
            )
        if output.topic != DECISIONS:
            continue
        signals |= spoken(document)
        for way, verdict in verdicts_of(document, judge.releases[""]).items():
            if verdict in FLAGGED and raised[way] is None:
                raised[way] = document["call_seq"]
            if verdict == "revoke" and revoked[way] is None:
                revoked[way] = document["call_seq"]
    task = f"{session['suite']}/{session['user_task_id']}"
    first_bad = session.get("first_bad_seq")
    label = str(session["label"])
    if label == "hijacked" and first_bad is None:
        label = "unseen"  # it shows in no call
    return Judged(
        label, task, first_bad, raised, revoked, frozenset(signals) - {AFTERWARDS}, alerts, revocations
    )


def _part(job: tuple[list[dict[str, Any]], Catalogues]) -> list[Judged]:
    sessions, tools = job
    return [judged(session, tools.get(session.get("tools_ref", ""))) for session in sessions]


def all_sets() -> Iterator[tuple[str, list[dict[str, Any]], Catalogues]]:
    """Each recorded set with its sessions and catalogues, then the long work that no model has learnt from, as it is met."""
    for path in results.recorded_files():
        yield name_of(path), list(files.read_sessions(path)), load_tools(path) or {}
    for name, authors in WRITTEN.items():
        written = written_tasks.sessions(authors=authors)
        met = [one for one in written if one["variant"] in written_tasks.MET]
        yield name, met, written_tasks.catalogues()


def all_judged(sessions: list[dict[str, Any]], tools: Catalogues, jobs: int) -> list[Judged]:
    """All of these sessions, judged."""
    parts = [(sessions[at : at + CHUNK], tools) for at in range(0, len(sessions), CHUNK)]
    with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
        return [one for part in pool.map(_part, parts) for one in part]


def rate(sessions: Sequence[Judged], hit: Callable[[Judged], bool], resamples: int = 400) -> dict[str, Any]:
    """Per cent of `sessions` that are hit, with a 95 % interval from resampled tasks, and their number."""
    if not sessions:
        return {"per_cent": None, "interval": None, "n": 0}
    tasks = sorted({one.task for one in sessions})
    place = {task: n for n, task in enumerate(tasks)}
    hits, sizes = np.zeros(len(tasks)), np.zeros(len(tasks))
    for one in sessions:
        hits[place[one.task]] += hit(one)
        sizes[place[one.task]] += 1
    drawn = np.random.default_rng(1).integers(0, len(tasks), (resamples, len(tasks)))
    rates = hits[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(rates, (0.025, 0.975))
    return {
        "per_cent": round(100 * hits.sum() / sizes.sum(), 1),
        "interval": [round(100 * float(low), 1), round(100 * float(high), 1)],
        "n": len(sessions),
    }


def figures_of(sessions: Sequence[Judged]) -> dict[str, Any]:
    """What is told of a set that the model did not learn from."""
    honest = [one for one in sessions if one.label == "benign"]
    hijacked = [one for one in sessions if one.label == "hijacked"]
    ignored = [one for one in sessions if one.label == "attempted"]

    def timely(one: Judged, way: str) -> bool:
        first = one.raised[way]
        return first is not None and one.first_bad is not None and first <= one.first_bad

    return {
        "ways": {
            way: {
                "honest alerted": rate(honest, lambda one, way=way: one.raised[way] is not None),
                "honest revoked": rate(honest, lambda one, way=way: one.revoked[way] is not None),
                "hijacked alerted": rate(hijacked, lambda one, way=way: one.raised[way] is not None),
                "hijacked alerted in time": rate(hijacked, lambda one, way=way: timely(one, way)),
                "hijacked revoked": rate(hijacked, lambda one, way=way: one.revoked[way] is not None),
                "ignored alerted": rate(ignored, lambda one, way=way: one.raised[way] is not None),
            }
            for way in WAYS
        },
        "alerts in 100 honest sessions": _in_a_hundred(honest, lambda one: one.alerts),
        "revocations in 100 honest sessions": _in_a_hundred(honest, lambda one: one.revocations),
    }


def _in_a_hundred(sessions: Sequence[Judged], count: Callable[[Judged], int]) -> float | None:
    return round(100 * sum(map(count, sessions)) / len(sessions), 1) if sessions else None


def signals_of(sessions: Sequence[Judged]) -> dict[str, dict[str, float]]:
    """Per cent of honest and of hijacked sessions in which each signal speaks."""
    told: dict[str, dict[str, float]] = {}
    for label in ("benign", "hijacked"):
        those = [one for one in sessions if one.label == label]
        if those:
            spoke = Counter(name for one in those for name in one.signals)
            told[label] = {name: round(100 * spoke[name] / len(those), 2) for name in BY_ID}
    return told


def _shown(figure: Mapping[str, Any]) -> str:
    if figure["per_cent"] is None:
        return "-"
    low, high = figure["interval"]
    return f"{figure['per_cent']:.1f} ({low:.1f}..{high:.1f})"


def tables(report: Mapping[str, Any]) -> dict[str, str]:
    """The tables of docs/detection.md, by the mark that they stand under."""
    rows = [
        [f"{name}, {way}", *(_shown(one["ways"][way][column]) for column in COLUMNS)]
        for name, one in report["unseen"].items()
        for way in WAYS
    ]
    voices = [[name, *_voices(name, report["signals"])] for name in BY_ID if name != AFTERWARDS]
    sets = [f"{name}, {label}" for name, told in report["signals"].items() for label in told]
    return {
        "shipped": results.markdown(("set, and what speaks", *COLUMNS), rows),
        "voices": results.markdown(("signal", *sets), voices),
    }


def _voices(signal: str, sets: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Iterable[str]:
    return (f"{shares[signal]:.1f}" for told in sets.values() for shares in told.values())


def main() -> None:
    """The command line of ``make shipped``."""
    parser = argparse.ArgumentParser(description="Detection as shipped, and how often each signal speaks.")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--docs", action="store_true", help="write the tables into docs/detection.md")
    asked = parser.parse_args()
    release = bootstrap.release(Settings(), mode="enforce")
    report: dict[str, Any] = {
        "release": release.name,
        "policy": f"{release.policy.name}@{release.policy.digest}",
        "command": "make shipped DOCS=1",
        "unseen": {},
        "signals": {},
    }
    for name, found, tools in all_sets():
        sessions = all_judged(found, tools, asked.jobs)
        report["signals"][name] = signals_of(sessions)
        if name not in TRAINING_SETS:
            report["unseen"][name] = figures_of(sessions)
        print(f"{name}: {len(sessions)} sessions", file=sys.stderr)
    results.publish(FIGURES, report, PAGE, tables(report), docs=asked.docs)


if __name__ == "__main__":
    main()
