"""Joins a forest with a reader: the weights of both, and all thresholds, from what each says of domains that it did not learn from.

The forest's word on these is what ``driftline train`` leaves beside its model; the readers' is that of two, each of which learnt
from one half of the domains and reads the other.
"""

from __future__ import annotations

import io
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from benchmarks import results
from benchmarks.reader import fit, pairs
from benchmarks.reader.whole import Weights, quantised
from models.errors import DatasetError
from models.forest.joint import Joint
from models.heads.readers import Readers
from models.reading.pieces import Pieces
from models.reading.reader import Reader
from models.release import readers as readers_on_disk
from models.release import registry
from models.training import calibrate, dataset, evaluate
from models.training.joining import SAMPLES, calibrated, fit_joint, joined, least_read, left_out
from models.training.scenarios import corpus
from stream.offline import study
from stream.offline.files import name_of

OF_SCENARIOS = 4
"""One in so many of the scenarios that set no limits is read: enough for three weights."""

SAID = "said.npz"
"""Beside a model: what readers say of calls of domains that they did not learn from."""
COLUMNS = ("area", "at 1 %", "at 5 %", "honest alerted", "hijacked alerted")
FIGURES = results.ROOT / "docs" / "figures" / "joined.json"
PAGE = results.ROOT / "docs" / "detection.md"

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
    return study.sets_to_learn_from(*study.read(paths)), study.acted(paths)


def _is_read(labels: dataset.LabelledSession) -> bool:
    if labels.variant == "recorded" or labels.sets_limits:
        return True
    return zlib.crc32(labels.session_id.encode()) % OF_SCENARIOS == 0


class Told(NamedTuple):
    """Labels of all rows, and the readers' log odds, NaN where none read the call."""

    calls: dataset.Calls
    said: npt.NDArray[np.float64]

    def save(self, path: Path) -> None:
        """Write them to a file; its rows are those of the scores out of fold."""
        labels = orjson.dumps([asdict(session) for session in self.calls.sessions])
        np.savez_compressed(path, said=self.said, labels=np.frombuffer(labels, np.uint8))


def load_told(path: Path, scored: OutOfFold) -> Told:
    """What `Told.save` wrote of calls with these scores; raises `DatasetError` where it is of others."""
    with np.load(path) as kept:
        said, labels = kept["said"], orjson.loads(kept["labels"].tobytes())
    if len(said) != len(scored.calls):
        raise DatasetError(f"{path} is of another training: have the readers read again")
    sessions = [dataset.LabelledSession(**one) for one in labels]
    return Told(dataset.join(sessions, scored.sessions, scored.calls), said)


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


def table_of(found: Mapping[str, Any]) -> str:
    """What is found in domains left out, as a table of docs/detection.md."""
    rows = []
    for domain, one in found.items():
        for name in ("forest", "forest and reader"):
            shares = [f"{100 * one[name][column]:.1f}" for column in COLUMNS[1:]]
            rows.append(
                [
                    f"{domain}, {name}",
                    str(one["honest"]),
                    str(one["hijacked"]),
                    f"{one[name]['area']:.3f}",
                    *shares,
                ]
            )
    return results.markdown(("left out, and what scores", "honest", "hijacked", *COLUMNS), rows)


def calibrated_table(found: Mapping[str, Any]) -> str:
    """What alerts once a domain's own sessions have fitted the threshold, as a table of docs/detection.md."""

    def shown(one: Mapping[str, Any], fitted: str) -> str:
        honest, hijacked = one["honest"][fitted], one["hijacked"][fitted]
        return f"{100 * honest:.1f} / {'-' if hijacked is None else f'{100 * hijacked:.0f}'}"

    head = ("left out", "as it comes", *(f"fitted by {size} sessions" for size in SAMPLES))
    return results.markdown(
        head, [[domain, *(shown(one, name) for name in one["honest"])] for domain, one in found.items()]
    )


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
        readers_on_disk.bring(model)
    readers_on_disk.write(model, "reader", packed.getvalue(), "reader.npz")


def read(model: Path, halves: Sequence[Path], words: Sequence[str], share: float, say: Say) -> None:
    """Have the readers of both halves read the calls that a forest would ask them about; leave what they say beside it."""
    readers = readers_on_disk.load()._replace(reader=Reader(Pieces(words)))
    told(read_scores(model), [fit.load(path) for path in halves], readers, share, say).save(model / SAID)


def join(
    model: Path, reader: Path, words: Sequence[str], share: float, say: Say, *, docs: bool = False
) -> Joint:
    """Make of a trained forest, what readers said of its calls, and a fitted reader one release, in the forest's directory."""
    scored = read_scores(model)
    forest = scored.scores
    calls, said = load_told(model / SAID, scored)
    joint = fit_joint(forest, said, calls, share)
    both = joined(joint, forest, said)
    sessions = np.array([_is_read(session) for session in calls.sessions])
    found = left_out(calls, {"forest": forest, "forest and reader": both}, sessions)
    say(table_of(found))
    if docs:
        fitted = calibrated(calls, both)
        results.keep(FIGURES, {"joint": joint._asdict(), "left out": found, "calibrated": fitted})
        results.write_between(PAGE, "joined", table_of(found))
        results.write_between(PAGE, "calibrated", calibrated_table(fitted))
    registry.write_manifest(model, manifest_with(registry.read_manifest(model), joint, both, calls))
    write_reader(fit.load(reader), words, model)
    return joint
