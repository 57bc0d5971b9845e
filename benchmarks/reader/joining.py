"""Joins a forest with a reader: the weights of both, and all thresholds, from what each says of domains that it did not learn from.

The forest's word on these is what ``driftline train`` leaves beside its model; the readers' is that of two, each of which learnt
from one half of the domains and reads the other.
"""

from __future__ import annotations

import io
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks import results
from benchmarks.reader import fit, pairs
from benchmarks.reader.whole import Weights, quantised
from models.forest.joint import Joint
from models.heads.readers import Readers
from models.reading.pieces import Pieces
from models.reading.reader import Reader
from models.release import readers as readers_on_disk
from models.release import registry
from models.training import calibrate, dataset, evaluate
from models.training.joining import fit_joint, joined, least_read
from models.training.scenarios import corpus
from stream.offline import study
from stream.offline.files import name_of

OF_SCENARIOS = 4
"""One in so many of the scenarios that set no limits is read: enough for three weights."""

Say = Callable[[str], None]


class OutOfFold(NamedTuple):
    """Scores by forests that saw nothing of a call's domain, a row for each call."""

    sessions: list[str]
    calls: npt.NDArray[np.int64]
    scores: npt.NDArray[np.int64]


def read_scores(model: Path) -> OutOfFold:
    """What training left beside a model."""
    with np.load(model / registry.OUT_OF_FOLD_FILE) as kept:
        return OutOfFold(kept["session"].tolist(), kept["call"], kept["score"])


def learnt_sets() -> tuple[Iterator[corpus.Set], dict[str, int]]:
    """The sets that a release learns from, and the telling calls of attempted sessions."""
    paths = [path for path in results.recorded_files() if name_of(path) in dataset.TRAINING_SETS]
    recorded, tools = study.read(paths)
    return chain(study.recorded_sets(recorded, tools), corpus.training(recorded, tools)), study.acted(paths)


def _is_read(labels: dataset.LabelledSession) -> bool:
    if labels.variant == "recorded" or labels.sets_limits:
        return True
    return zlib.crc32(labels.session_id.encode()) % OF_SCENARIOS == 0


class Told(NamedTuple):
    """Labels of all rows, and the readers' log odds, NaN where none read the call."""

    calls: dataset.Calls
    said: npt.NDArray[np.float64]


def told(scored: OutOfFold, halves: Sequence[Weights], readers: Readers, share: float, say: Say) -> Told:
    """What readers say of the calls that they would be asked about."""
    sets, telling = learnt_sets()
    kept = [(one.name, one.sessions, one.tools) for one in sets]
    labels = [dataset.of_record(session, telling) for _, sessions, _ in kept for session in sessions]
    calls = dataset.join(labels, scored.sessions, scored.calls)
    least = least_read(scored.scores, calls, share)
    say(f"{(scored.scores >= least).sum()} of {len(calls)} calls reach {least}")
    row = {call: n for n, call in enumerate(zip(scored.sessions, scored.calls.tolist(), strict=True))}
    wanted: dict[str, set[int]] = defaultdict(set)
    read = calls.rows_where(map(_is_read, calls.sessions))
    for n in np.flatnonzero((scored.scores >= least) & read):
        wanted[scored.sessions[n]].add(int(scored.calls[n]))
    said = np.full(len(calls), np.nan)
    for name, sessions, tools in kept:
        drawn = [
            pairs.Drawn(name, session, tools.get(session["tools_ref"], []), set(), calls_of)
            for session in sessions
            if (calls_of := wanted.get(session["session_id"]))
        ]
        if not drawn:
            continue
        pages = pairs.pairs_of(drawn, readers)
        half = pairs.halves(pages.task.tolist())
        odds = np.zeros(len(half))
        for n, w in enumerate(halves):
            odds[half != n] = fit.scores(w, pages.pieces[half != n])
        for session, call, value in zip(
            pages.session.tolist(), pages.call.tolist(), odds.tolist(), strict=True
        ):
            said[row[session, call]] = value
        say(f"{name}: {len(half)} calls read")
    return Told(calls, said)


def manifest_with(
    manifest: Mapping[str, Any], joint: Joint, scores: npt.NDArray[np.int64], calls: dataset.Calls
) -> dict[str, Any]:
    """A manifest with the joint score, its thresholds and its quality."""
    kept, by_domain = calibrate.thresholds(scores, calls)
    recorded = calls.rows_where(session.variant == "recorded" for session in calls.sessions)
    report = evaluate.report(scores[recorded], calls.take(recorded))
    return {
        **manifest,
        "joint": joint._asdict(),
        "thresholds": kept,
        "thresholds_from": {**manifest["thresholds_from"], "domains": by_domain},
        "metrics": evaluate.short(report),
    }


def write_reader(w: Weights, words: Sequence[str], model: Path) -> None:
    """Put a reader beside a model, with the heads that come with the package, as a release of its own."""
    spelled = np.frombuffer("\n".join(words).encode(), np.uint8)
    packed = io.BytesIO()
    np.savez_compressed(packed, pieces=spelled, **quantised(w))
    if model != registry.BUNDLED:
        for file in (*readers_on_disk.read_list(registry.BUNDLED).files(), readers_on_disk.LIST_FILE):
            (model / file).write_bytes((registry.BUNDLED / file).read_bytes())
    readers_on_disk.write(model, "reader", packed.getvalue(), "reader.npz")


def join(
    model: Path, halves: Sequence[Path], reader: Path, words: Sequence[str], share: float, say: Say
) -> Joint:
    """Make of a trained forest and a fitted reader one release, in the forest's directory."""
    scored = read_scores(model)
    readers = readers_on_disk.load()._replace(reader=Reader(Pieces(words)))
    calls, said = told(scored, [fit.load(path) for path in halves], readers, share, say)
    np.savez_compressed(model / "said.npz", said=said)
    joint = fit_joint(scored.scores, said, calls, share)
    scores = joined(joint, scored.scores, said)
    manifest = manifest_with(registry.read_manifest(model), joint, scores, calls)
    registry.write_manifest(model, manifest)
    write_reader(fit.load(reader), words, model)
    return joint
