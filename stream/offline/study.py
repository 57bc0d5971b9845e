"""Sets of recorded sessions and scenarios as feature rows and labels, through the live judge.

What training and evaluation share: files are read, scenarios made of them (`models.training.scenarios.corpus`), and
every session replayed, on as many processes as there are cores.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from itertools import chain, repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from models.contracts import FLAGGED, Label, Verdict
from models.errors import DatasetError
from models.forest.units import UNITS
from models.release.readers import load
from models.training import corpora, dataset
from models.training.quality import Judged
from models.training.scenarios import corpus, written_tasks
from models.training.scenarios.corpus import Set
from stream import bootstrap
from stream.core.judge import Judge
from stream.offline import traffic
from stream.offline.files import load_tools, name_of, read_sessions, tools_path
from stream.offline.lines import documents_in, is_input, is_recorded
from stream.offline.rows import WAYS, Rows, Way, decided, feature_rows, verdicts_of, wanted
from stream.settings import Settings

T = TypeVar("T")
BUS = "bus events"
"""The set that all files of events are together: trees of sessions may lie across them."""
CHUNK = 400
"""Sessions that a process replays at a time."""

Progress = Callable[[str], None]
Meter = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Makes, of what is done and how much of it there is, what takes the number done."""


@contextmanager
def unmetered(_what: str, _total: int) -> Iterator[Callable[[int], None]]:
    """For callers that show nobody how far it is."""
    yield lambda _done: None


class Labelled(NamedTuple):
    """Feature rows with their labels.

    Attributes
    ----------
    X : float64 array of shape (n_calls, n_features)
    calls : their labels
    home : for each session of the labels the set that it comes from
    families, by_signals : int64 arrays of shape (n_calls,), see `stream.offline.rows.Rows`
    """

    X: npt.NDArray[np.float64]
    calls: dataset.Calls
    home: list[str]
    families: npt.NDArray[np.int64]
    by_signals: npt.NDArray[np.int64]


class OnBus(NamedTuple):
    """What was read of a topic: the trees of sessions, how many records are none of theirs, and SHA-256 of its dump, by a name."""

    topic: str
    trees: list[traffic.Tree]
    unread: int
    digest: dict[str, str]


def read(
    paths: Sequence[Path], tools: Path | None = None
) -> tuple[corpus.Recordings, dict[str, corpus.Tools]]:
    """Recorded files and their catalogues, see `models.training.scenarios.corpus.recordings`.

    Raises
    ------
    DatasetError
        They hold no session at all.
    """
    found = {name_of(path): (list(read_sessions(path)), load_tools(path, tools) or {}) for path in paths}
    if not any(sessions for sessions, _ in found.values()):
        raise DatasetError(f"{', '.join(map(str, paths))}: there is no recorded session to learn from")
    return corpus.recordings(found)


def given(
    paths: Sequence[Path],
    tools: Path | None,
    labels: Sequence[Label] | None,
    tenants: Mapping[str, str | None],
    say: Progress,
    *,
    need_tools: bool = False,
    bus: OnBus | None = None,
) -> tuple[corpus.Recordings, dict[str, corpus.Tools]]:
    """As `read`, of files of recorded sessions or of bus events, with labels from elsewhere (None: recorded sessions bring theirs).

    Parameters
    ----------
    tenants : to which tenant a topic is bound, see `stream.offline.traffic.trees_in`
    need_tools : leave out sessions of events that declare no tools
    bus : what was read of a topic, beside the files

    Raises
    ------
    DatasetError
        They hold no labelled session; or events, and no labels were given.
    """
    on_bus = [path for path in paths if _holds_events(path)]
    if labels is None:
        if on_bus:
            raise traffic.without_labels(on_bus)
        return read(paths, tools)
    others = [path for path in paths if path not in on_bus]
    found = {name_of(path): (list(read_sessions(path)), load_tools(path, tools) or {}) for path in others}
    trees, unread = traffic.read(on_bus, tenants)
    names = list(map(str, paths))
    if bus is not None:
        trees, unread, names = [*trees, *bus.trees], unread + bus.unread, [*names, bus.topic]
    whole = [tree for tree in trees if not tree.is_cut]
    own = traffic.Traffic(unread=unread, cut=len(trees) - len(whole))
    relabelled = {
        name: (traffic.relabelled(own, sessions, labels), listed)
        for name, (sessions, listed) in found.items()
    }
    traffic.take(own, whole, labels, need_tools=need_tools)
    for sentence in traffic.left_out(own, labels):
        say(sentence)
    if own.sessions:
        relabelled[BUS] = own.sessions, own.catalogues
    if not any(sessions for sessions, _ in relabelled.values()):
        raise DatasetError(
            f"no label is about a session of {', '.join(names)}: a label names its session by tenant and session_id"
        )
    return corpus.recordings(relabelled)


def every(
    paths: Sequence[Path], tools: Path | None, tenants: Mapping[str, str | None]
) -> tuple[list[dict[str, Any]], dict[str, corpus.Tools]]:
    """All sessions of files, labelled or not, as recorded ones, with their catalogues."""
    on_bus = [path for path in paths if _holds_events(path)]
    trees, _ = traffic.read(on_bus, tenants)
    own = traffic.Traffic()
    traffic.take(own, trees, traffic.nothing_said(trees))
    sessions, catalogues = own.sessions, dict(own.catalogues)
    for path in paths:
        if path not in on_bus:
            name = name_of(path)
            catalogues |= {f"{name}/{ref}": listed for ref, listed in (load_tools(path, tools) or {}).items()}
            theirs = (
                {**one, "tools_ref": f"{name}/{one.get('tools_ref', '')}"} for one in read_sessions(path)
            )
            sessions = [*sessions, *theirs]
    return sessions, catalogues


def _holds_events(path: Path) -> bool:
    """Whether the first line of a file that says what it is, is an event or a record of a log."""
    return next(
        (not is_recorded(document) for _, line, document in documents_in(path) if is_input(line, document)),
        False,
    )


def recorded_sets(recorded: corpus.Recordings, tools: dict[str, corpus.Tools]) -> Iterator[Set]:
    """Each recorded file as a set of its own."""
    for name, sessions in recorded.items():
        yield Set(name, list(sessions), {ref: t for ref, t in tools.items() if ref.startswith(f"{name}/")})


def sets_to_learn_from(recorded: corpus.Recordings, tools: dict[str, corpus.Tools]) -> Iterator[Set]:
    """Each recording, and the scenarios made of them and of written tasks."""
    yield from recorded_sets(recorded, tools)
    yield from corpus.training(recorded, tools)


def shared(sets: Iterable[Set], takes: Callable[[str], bool], own: Container[str]) -> Iterator[Set]:
    """Sets with the sessions that are taken, by their ids; of one's `own` sets, by their names, all."""
    for one in sets:
        taken = (session for session in one.sessions if takes(session["session_id"]))
        yield one if one.name in own else one._replace(sessions=list(taken))


def by_agent(recorded: corpus.Recordings, own: Container[str]) -> corpus.Recordings:
    """The same, with each agent of one's `own` sets as a domain, which a fold holds out, in place of each tenant."""
    return {
        name: [{**s, "domain": f"{s['domain']}/{s['suite']}"} for s in sessions] if name in own else sessions
        for name, sessions in recorded.items()
    }


def acted(paths: Iterable[Path]) -> dict[str, int]:
    """Telling calls of attempted sessions, from the files beside the recorded ones."""
    return {name: seq for path in paths for name, seq in dataset.acted_beside(path).items()}


def digests(paths: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of these files, by name."""
    return {path.name: dataset.file_digest(path) for path in paths}


def learnt_from(paths: Iterable[Path], tools: Path | None = None) -> dict[str, str]:
    """SHA-256 of every file that a model learns from, for its manifest; asked when all scenarios are made.

    Recordings and what lies beside them go by their names, corpora by their paths from ``corpora/`` on. Which corpora
    there were, their loader knows: it has read them.
    """
    found = {
        file.name: dataset.file_digest(file)
        for path in paths
        for file in (path, tools or tools_path(path), dataset.acted_path(path))
        if file.exists()
    }
    reported = written_tasks.not_learnt_from()
    written = {
        f"corpora/{name}": digest for name, digest in corpora.digests().items() if name not in reported
    }
    return dict(sorted((found | written).items()))


def labelled(
    sets: Iterable[Set],
    telling: dict[str, int],
    say: Progress,
    processes: int | None = None,
    meter: Meter = unmetered,
) -> Labelled:
    """Feature rows and labels of all sessions of these sets.

    Parameters
    ----------
    telling : session ids to the call that shows an attempted session acted, see `acted`
    processes : default: one for each core
    meter : of each set's sessions
    """
    rows: list[Rows] = []
    sessions: list[dataset.LabelledSession] = []
    home: dict[str, str] = {}
    workers = processes or os.cpu_count() or 1
    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
        for one in sets:
            parts = list(parts_of(one.sessions))
            needed = [needed_by(part, one.tools) for part in parts]
            with meter(f"judging {one.name}", len(one.sessions)) as done:
                through = pool.map(rows_through, parts, needed, repeat(one.unread))
                found = list(_counted(through, parts, done))
            rows += found
            made = [dataset.of_record(session, telling) for session in one.sessions]
            sessions += made
            home |= {session.session_id: one.name for session in made}
            say(f"{one.name}: {len(made)} sessions, {sum(len(part.X) for part in found)} calls")
    ids = [session_id for part in rows for session_id in part.session_ids]
    calls = dataset.join(sessions, ids, np.concatenate([part.call_seqs for part in rows]))
    X = np.concatenate([part.X for part in rows])
    families = np.concatenate([part.families for part in rows])
    by_signals = np.concatenate([part.by_signals for part in rows])
    return Labelled(X, calls, [home[session.session_id] for session in calls.sessions], families, by_signals)


def verdicts(
    sets: Sequence[Set],
    telling: dict[str, int],
    model: Path | None,
    policy: Path | None,
    meter: Meter = unmetered,
) -> tuple[dataset.Calls, Judged]:
    """Labels of all calls of these sets, and what the live judge makes of them with the release in `model` and a policy.

    Scores have the reader's word, if the release has one.
    """
    rows: list[Ruled] = []
    with ProcessPoolExecutor(os.cpu_count() or 1, mp_context=get_context("fork")) as pool:
        for one in sets:
            parts = list(parts_of(one.sessions))
            needed = [needed_by(part, one.tools) for part in parts]
            with meter(f"judging {one.name}", len(one.sessions)) as done:
                through = pool.map(_ruled, parts, needed, repeat(model), repeat(policy))
                rows += chain.from_iterable(_counted(through, parts, done))
    sessions = [dataset.of_record(session, telling) for one in sets for session in one.sessions]
    calls = dataset.join(sessions, [row.session_id for row in rows], [row.seq for row in rows])

    def ruled(those: Collection[Verdict]) -> dict[str, npt.NDArray[np.bool_]]:
        return {way: np.array([row.by[way] in those for row in rows], np.bool_) for way in WAYS}

    score = np.array([row.score for row in rows], np.int64)
    revoke: tuple[Verdict, ...] = ("revoke",)
    return calls, Judged(score, ruled(FLAGGED), ruled(revoke))


class Ruled(NamedTuple):
    """A call's score, and its verdict by what may speak."""

    session_id: str
    seq: int
    score: int
    by: dict[Way, Verdict]


def _counted(
    results: Iterable[T], parts: Iterable[Sequence[object]], done: Callable[[int], None]
) -> Iterator[T]:
    """The results of these parts as they come, the sessions in them told."""
    count = 0
    for result, part in zip(results, parts, strict=True):
        count += len(part)
        done(count)
        yield result


def _ruled(
    sessions: list[dict[str, Any]], tools: dict[str, corpus.Tools], model: Path | None, policy: Path | None
) -> list[Ruled]:
    judge = _judge(model, policy)
    known = wanted(sessions)
    return [
        Ruled(
            decision["session_id"],
            decision["call_seq"],
            round(decision["score"] * UNITS),
            verdicts_of(decision, judge.releases[""]),
        )
        for decision in decided(judge, sessions, tools)
        if "refused" not in decision["marks"] and decision["session_id"] in known
    ]


@lru_cache(maxsize=1)
def _judge(model: Path | None, policy: Path | None) -> Judge:
    return bootstrap.judge(Settings(model_dir=model, policy_path=policy), mode="enforce")


def parts_of(sessions: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """What processes are given at a time."""
    for start in range(0, len(sessions), CHUNK):
        yield list(sessions[start : start + CHUNK])


def needed_by(part: Sequence[dict[str, Any]], offered: Mapping[str, corpus.Tools]) -> dict[str, corpus.Tools]:
    """The catalogues that a part's sessions declare."""
    refs = {session["tools_ref"] for session in part}
    return {ref: tools for ref, tools in offered.items() if ref in refs}


def rows_through(
    sessions: list[dict[str, Any]], tools: dict[str, corpus.Tools], unread: corpus.Unread | None
) -> Rows:
    """Feature rows of sessions, seen through what did not learn from them."""
    readers = load()
    if unread is not None:
        readers = readers._replace(**unread._asdict())
    return feature_rows(sessions, tools, readers=readers)
