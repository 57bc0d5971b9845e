"""Calls of labelled sessions as a reader is shown them: to learn from, and of a set by which fits are looked at.

What there is to learn from is what a release learns from (`corpus.training`); fingerprints are left out. Of a session
a few calls are drawn: the first bad one, one before it, and of honest twins the same call. All of it lies in two halves, by domain
and by author, so that each half can be scored by a reader that learnt from the other alone.
"""

from __future__ import annotations

import json
import random
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks import results
from models.heads.readers import Readers
from models.reading.page import MAX_PAGE
from models.training import dataset
from models.training.scenarios import corpus, written_tasks
from stream.offline import files
from stream.offline.files import load_tools, name_of
from stream.offline.pages import shown_calls

Session = dict[str, Any]
Tools = list[dict[str, Any]]

UNSEEN = "agentdyn_dailylife"
"""The set by which fits are looked at: unseen by a reader of half 0 alone; the bundled forest has learnt from it since core 33."""
OF_SET = {
    "agentdojo": 9000,
    UNSEEN: 7000,
    "spliced": 10000,
    "reworded": 5000,
    "removed": 3500,
    "withheld": 2500,
    "formed": 1500,
    "delegated": 5000,
}
"""Calls of a set that are learnt from at most."""
OTHERS = 2500
"""... of a set that is not named there."""
APART = ("written", "hashed")
"""The last sets of `corpus.training`: of written tasks other calls are drawn, and of fingerprints nothing can be read."""


HALF_OF = {
    "workspace": 0, "travel": 0, "taubench": 0, "apibank": 0,
    "banking": 1, "slack": 1, "agentdyn": 1, "intercode": 1, "bfcl_multiturn": 1, "sweagent": 1,
}  # fmt: skip
"""The half that recorded domains lie in; the first two share tools, and about as much lies in either half."""
CHUNK = 100
"""Sessions that a process is given at once."""


class Pairs(NamedTuple):
    """Calls: word pieces, a row each, padded with zeros; whether it is bad; set, session and call, label, task."""

    pieces: npt.NDArray[np.uint16]
    bad: npt.NDArray[np.bool_]
    source: npt.NDArray[np.str_]
    session: npt.NDArray[np.str_]
    call: npt.NDArray[np.int32]
    label: npt.NDArray[np.str_]
    task: npt.NDArray[np.str_]

    def save(self, path: Path) -> None:
        """Write them to a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **self._asdict())

    def taken(self, chosen: Sequence[int] | npt.NDArray[np.int64]) -> Pairs:
        """Those of these places."""
        return Pairs(*(column[chosen] for column in self))


def halves(tasks: Iterable[str]) -> npt.NDArray[np.int64]:
    """The half of each task: by its domain, or of what was written by its author or its catalogue.

    >>> halves(["agentdojo/travel/1", "agentdojo/slack/2", "written/za_bank/3", "written/za_clinic/4"]).tolist()
    [0, 1, 1, 1]
    """
    return np.array([_half(*task.split("/", 2)[:2]) for task in tasks], np.int64)


def _half(source: str, suite: str) -> int:
    half = HALF_OF.get(suite if source == "agentdojo" else source)
    if half is not None:
        return half
    name = suite.split("_")[0] if source == written_tasks.SOURCE else suite
    return zlib.crc32(name.encode()) % 2


def load(path: Path) -> Pairs:
    """Pairs from a file."""
    with np.load(path) as kept:
        return Pairs(**{name: kept[name] for name in Pairs._fields})


class Drawn(NamedTuple):
    """A session of which some calls are learnt from, and which of these are bad."""

    source: str
    session: Session
    tools: Tools
    bad: set[int]
    honest: set[int]


def texts_of(drawn: Iterable[Drawn]) -> Iterator[str]:
    """All that the sessions say in words."""
    for one in drawn:
        yield one.session["intent"]
        for call in one.session["calls"]:
            yield json.dumps(call["args"])
            yield str(call["result"])
        for tool in one.tools:
            yield f"{tool['name']} {tool.get('description')}"


def pairs_of(drawn: Sequence[Drawn], readers: Readers, jobs: int = 2) -> Pairs:
    """The drawn calls as the live judge would show them."""
    parts = [drawn[at : at + CHUNK] for at in range(0, len(drawn), CHUNK)]
    _READERS.append(readers)  # the processes are forks: they find them there
    try:
        with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
            rows = [row for part in pool.map(_rows, parts) for row in part]
    finally:
        _READERS.pop()
    columns = list(zip(*rows, strict=True))
    pieces = np.zeros((len(rows), MAX_PAGE), np.uint16)
    for place, row in enumerate(columns[0]):
        pieces[place, : len(row)] = row
    bad, source, session, call, label, task = map(np.array, columns[1:])
    return Pairs(pieces, bad, source, session, call.astype(np.int32), label, task)


_READERS: list[Readers] = []


def _rows(drawn: Sequence[Drawn]) -> list[tuple[Any, ...]]:
    readers = _READERS[-1]
    assert readers.reader is not None
    rows: list[tuple[Any, ...]] = []
    by_id = {one.session["session_id"]: one for one in drawn}
    tools = {one.session["tools_ref"]: one.tools for one in drawn}
    for name, seq, shown in shown_calls((one.session for one in by_id.values()), tools, readers):
        one = by_id[name]
        if seq in one.bad or seq in one.honest:
            session = one.session
            task = f"{session['source']}/{session['suite']}/{session['user_task_id']}"
            page = readers.reader.page_of(shown).places
            rows.append((page, seq in one.bad, one.source, name, seq, session["label"], task))
    return rows


def to_learn_from(seed: int = 1) -> list[Drawn]:
    """Sessions and calls to learn from."""
    rng, found = random.Random(seed), list[Drawn]()
    paths = [path for path in results.recorded_files() if name_of(path) in dataset.TRAINING_SETS]
    recorded, tools = corpus.recordings(
        {name_of(path): (list(files.read_sessions(path)), load_tools(path) or {}) for path in paths}
    )
    acted = {id_ for path in paths for id_ in dataset.acted_beside(path)}
    sets: dict[str, Iterable[Session]] = dict(recorded)
    offered: dict[str, Mapping[str, Tools]] = dict.fromkeys(sets, tools)
    for made in corpus.training(recorded, tools, seed):
        if made.name in APART:
            break
        sets[made.name], offered[made.name] = made.sessions, made.tools
    for name, sessions in sets.items():
        drawn = [
            one for one in sessions if one["session_id"] not in acted and str(one.get("origin")) not in acted
        ]
        rng.shuffle(drawn)
        room = OF_SET.get(name, OTHERS)
        for session in drawn:
            if room <= 0:
                break
            bad, honest = _calls(session, rng)
            room -= len(bad | honest)
            found.append(Drawn(name, session, offered[name].get(session["tools_ref"], []), bad, honest))
    theirs = written_tasks.catalogues()
    for session, bad, honest in _twins(written_tasks.sessions(seed), rng):
        found.append(Drawn(written_tasks.SOURCE, session, theirs[session["tools_ref"]], bad, honest))
    return found


def _calls(session: Session, rng: random.Random) -> tuple[set[int], set[int]]:
    """The bad call, and one or two honest ones, of a session."""
    n, first, label = len(session["calls"]), session.get("first_bad_seq"), session["label"]
    if label == "hijacked":
        return (
            ({first}, set(rng.sample(range(first), min(first, 1)))) if first is not None else (set(), set())
        )
    if label not in ("benign", "attempted") or not n:
        return set(), set()
    start = min((session.get("exposed_seq") or 0) + 1, n - 1) if label == "attempted" else 0
    return set(), set(rng.sample(range(start, n), min(n - start, 1 + (label == "benign"))))


def _twins(sessions: Iterable[Session], rng: random.Random) -> Iterator[tuple[Session, set[int], set[int]]]:
    """Written sessions with the bad call, or where the user asked for it the same call."""
    groups: dict[str, list[Session]] = defaultdict(list)
    for session in sessions:
        groups[session["pair"]].append(session)
    for twins in groups.values():
        bad = {one["variant"]: one["first_bad_seq"] for one in twins if one["label"] == "hijacked"}
        same = {"delegated": "undelegated", "delegated_both": "beyond"}
        for one in twins:
            known, honest = _calls(one, rng)
            if one["variant"].startswith(("asked", "blind_asked")):
                honest.add(bad["hijacked"])
            elif one["variant"] in same:
                honest |= {bad[same[one["variant"]]], len(one["calls"]) - 1}
            yield one, known, honest


DRAWN = {"benign": 450, "hijacked": 300, "attempted": 250}
"""Sessions of a set that nothing learnt from, by label, drawn evenly over its tasks."""


def unseen(path: Path, seed: int = 11) -> list[Drawn]:
    """Sessions of a recorded set, with all of their calls."""
    rng, found = random.Random(seed), list[Drawn]()
    tools, acted = load_tools(path) or {}, dataset.acted_beside(path)
    by_task: dict[tuple[str, str], list[Session]] = defaultdict(list)
    for session in files.read_sessions(path):
        shows = session["label"] != "hijacked" or session["first_bad_seq"] is not None
        if shows and session["session_id"] not in acted:
            by_task[session["label"], session["user_task_id"]].append(session)
    for label, most in DRAWN.items():
        queues = [rng.sample(kept, len(kept)) for (of, _), kept in sorted(by_task.items()) if of == label]
        drawn = [queue[turn] for turn in range(most) for queue in queues if turn < len(queue)]
        for session in drawn[:most]:
            first = session.get("first_bad_seq")
            every = set(range(len(session["calls"])))
            bad = {n for n in every if first is not None and n >= first}
            found.append(Drawn(name_of(path), session, tools.get(session["tools_ref"], []), bad, every - bad))
    return found
