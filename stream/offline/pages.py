"""What a reader is shown of the calls of recorded sessions, as the live judge would show it: what readers learn from, and what they say."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np

from models.forest.joint import Joint
from models.forest.units import Floats, Ints
from models.heads.readers import Readers
from models.reading.reader import Shown
from models.release import readers as readers_on_disk
from models.release.registry import BUNDLED, NullModel, load, read_manifest
from models.training.dataset import Calls, LabelledSession, of_record
from models.training.influence import is_one_persons_word
from models.training.joining import KeptReader, joined
from models.training.scenarios.corpus import Set, Tools
from stream import bootstrap
from stream.core.items import Call
from stream.core.judge import MAX_READS
from stream.core.partition import Partition
from stream.offline.rows import batches, wanted
from stream.offline.study import needed_by, parts_of
from stream.policy import load_policy
from stream.settings import Settings


class ShownCall(NamedTuple):
    """A call of a session, and what a reader is shown of it."""

    session_id: str
    seq: int
    shown: Shown


def shown_calls(
    sessions: Iterable[dict[str, Any]], tools: dict[str, list[dict[str, Any]]], readers: Readers
) -> Iterator[ShownCall]:
    """The calls that the reader of `readers` may read, in order."""
    release = bootstrap.make_release(NullModel(), load_policy(), readers)._replace(readers=readers)
    judge = bootstrap.judge_with(Settings(), release)
    partition = Partition.empty()
    for batch in batches(sessions, tools):
        draft, items, _ = judge.taken(partition, batch)
        partition.apply(draft.changes({}))
        for item in items:
            if isinstance(item, Call) and item.shown is not None:
                yield ShownCall(item.session.session, item.seq, item.shown)


def read_calls(
    sessions: Sequence[dict[str, Any]],
    tools: Mapping[str, Tools],
    chosen: Mapping[str, Collection[int]],
) -> dict[tuple[str, int], float]:
    """What the bundled reader says of the chosen calls of sessions, in log odds, by session and call; a call that it is not shown is missing.

    Parameters
    ----------
    sessions : with those of the same tree, where they have any
    chosen : calls by their numbers, by session
    """
    readers_on_disk.load()  # processes are forks, which find it parsed
    parts = list(parts_of(sessions))
    needed = [needed_by(part, tools) for part in parts]
    with ProcessPoolExecutor(os.cpu_count() or 1, mp_context=get_context("fork")) as pool:
        found = pool.map(_read_part, parts, needed, repeat(chosen))
        return {call: said for one in found for call, said in one.items()}


def _read_part(
    sessions: list[dict[str, Any]],
    tools: dict[str, list[dict[str, Any]]],
    chosen: Mapping[str, Collection[int]],
) -> dict[tuple[str, int], float]:
    readers = readers_on_disk.load()
    assert readers.reader is not None
    calls = [
        call for call in shown_calls(sessions, tools, readers) if call.seq in chosen.get(call.session_id, ())
    ]
    said = readers.reader.read([readers.reader.page_of(call.shown) for call in calls])
    return {(call.session_id, call.seq): one for call, one in zip(calls, said, strict=True)}


def remembering(sets: Iterable[Set], kept: list[Set]) -> Iterator[Set]:
    """The same sets; of their sessions those that may be read are kept: they set limits or are one person's word; and trees with such."""
    for one in sets:
        kept.append(one._replace(sessions=[s for s in one.sessions if "tree" in s or _may_be_read(s)]))
        yield one


def _may_be_read(session: Mapping[str, Any]) -> bool:
    labelled = of_record(session, {})
    return labelled.sets_limits or is_one_persons_word(labelled)


def _said(
    calls: Calls, sets: Sequence[Set], scores: Ints, joint: Joint, of: Callable[[LabelledSession], bool]
) -> Floats:
    """What the bundled reader says of the calls that it reads live of these sessions, a row each, in log odds; NaN of all others."""
    chosen_sessions = np.array([of(session) for session in calls.sessions], np.bool_)[calls.session]
    rows = np.flatnonzero(chosen_sessions & (scores >= joint.least) & (calls.call_seq < MAX_READS))
    names = [calls.sessions[at].session_id for at in calls.session[rows].tolist()]
    keys = list(zip(names, calls.call_seq[rows].tolist(), strict=True))
    chosen: dict[str, set[int]] = defaultdict(set)
    for name, seq in keys:
        chosen[name].add(seq)
    found: dict[tuple[str, int], float] = {}
    for one in sets:
        theirs = [session for session in one.sessions if not chosen.keys().isdisjoint(wanted([session]))]
        found |= read_calls(theirs, one.tools, chosen)
    said = np.full(len(calls), np.nan)
    said[rows] = [found.get(key, np.nan) for key in keys]
    return said


def bundled_scores(
    X: Floats, calls: Calls, sets: Sequence[Set], of: Callable[[LabelledSession], bool]
) -> Ints:
    """Scores of the bundled release, a row of `X` each: for the sessions that `of` names as it judges live, for others the forest's alone.

    Parameters
    ----------
    sets : the sessions that may be read, see `remembering`
    """
    ours = load(BUNDLED)
    scores = ours.score(X, calls.call_seq)
    if "joint" not in ours.manifest or readers_on_disk.load().reader is None:
        return scores
    joint = Joint.parse(ours.manifest["joint"])
    return joined(joint, scores, _said(calls, sets, scores, joint, of))


def kept_reader(calls: Calls, sets: Sequence[Set], say: Callable[[str], None]) -> KeptReader | None:
    """The bundled reader, to be kept beside a forest that is fitted on `calls`; None where no reader comes with the package.

    Parameters
    ----------
    sets : the sessions that may be read, see `remembering`
    """
    manifest = read_manifest(BUNDLED)
    if "joint" not in manifest or readers_on_disk.load().reader is None:
        return None
    joint = Joint.parse(manifest["joint"])

    def says(scores: Ints) -> Floats:
        said = _said(calls, sets, scores, joint, lambda session: session.sets_limits)
        say(f"the reader read {np.isfinite(said).sum()} calls of honest sessions, for thresholds")
        return said

    return KeptReader(joint, says, manifest["thresholds_from"]["domains"])
