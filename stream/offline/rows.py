"""Feature rows of recorded sessions, as the live judge sees them: what training and evaluation learn from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from models.contracts import Family, Verdict
from models.evidence.features.registry import FEATURES
from models.forest.units import UNITS
from models.heads.readers import Readers
from models.release.registry import NEVER, NullModel
from stream import bootstrap
from stream.core.judge import Judge
from stream.core.partition import Partition
from stream.core.releases import Release
from stream.core.verdict import corroborating, decide
from stream.events import DECISIONS, Record
from stream.offline.files import plain_record
from stream.offline.recorded import values_of
from stream.offline.signal_rates import spoken
from stream.policy import Levels, Policy, load_policy
from stream.settings import Settings

BATCH = 512
PASSED, RAISED, REVOKED = 0, 1, 2
Way = Literal["verdicts", "score alone", "signals alone"]
WAYS: tuple[Way, ...] = ("verdicts", "score alone", "signals alone")
"""What may speak: all that a deployment has, and either part of it without the other."""
SILENT = Levels(NEVER, NEVER, NEVER)
"""Thresholds that no score reaches."""
AFTERWARDS = "identity.after_revocation"
"""The one signal that says again what was decided before: it says nothing of a session by itself."""


class Rows(NamedTuple):
    """Feature rows as the live judge saw them.

    Attributes
    ----------
    X : float64 array of shape (n_calls, n_features)
    session_ids : list of str
    call_seqs : int64 array of shape (n_calls,)
    families : int64 array of shape (n_calls,)
        How many families of evidence spoke, as `stream.core.verdict.decide` counts them for a revocation.
    by_signals : int64 array of shape (n_calls,)
        What the shipped policy makes of the signals alone: `PASSED`, `RAISED` (an alert or a denial) or `REVOKED`.
    """

    X: npt.NDArray[np.float64]
    session_ids: list[str]
    call_seqs: npt.NDArray[np.int64]
    families: npt.NDArray[np.int64]
    by_signals: npt.NDArray[np.int64]


class Recorder:
    """A scorer that keeps the rows it is asked about: training sees what live scoring sees."""

    def __init__(self) -> None:
        self.rows: list[npt.NDArray[np.float64]] = []

    def score(self, X: npt.NDArray[np.float64], seen: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        self.rows.append(X)
        return np.zeros(len(X), np.int64)

    def shares(self, row: Sequence[float]) -> list[tuple[Family, int]]:
        return []


def feature_rows(
    sessions: Iterable[dict[str, Any]],
    tools: dict[str, list[dict[str, Any]]] | None,
    settings: Settings | None = None,
    readers: Readers | None = None,
) -> Rows:
    """Feature rows of recorded sessions, one for each call, through the live judge.

    Parameters
    ----------
    readers : those that come with the package, if None
    """
    recorder = Recorder()
    policy = load_policy()
    release = bootstrap.make_release(NullModel(), policy, readers)._replace(scorer=recorder)
    judge = bootstrap.judge_with(settings or Settings(), release)
    given = list(sessions)
    known = wanted(given)
    kept: list[bool] = []
    ids: list[str] = []
    seqs: list[int] = []
    families: list[int] = []
    by_signals: list[int] = []
    for decision in decided(judge, given, tools or {}):
        if "refused" in decision["marks"]:
            continue  # its call has no row
        kept.append(decision["session_id"] in known)
        if not kept[-1]:
            continue
        ids.append(decision["session_id"])
        seqs.append(decision["call_seq"])
        families.append(len(corroborating(decision["families"])))
        verdict = verdict_by_signals(decision, policy)
        by_signals.append(REVOKED if verdict == "revoke" else int(verdict in ("alert", "deny")))
    X = np.concatenate(recorder.rows) if recorder.rows else np.zeros((0, len(FEATURES)))
    if not all(kept):
        X = X[np.array(kept, np.bool_)]
    counts = (np.array(one, np.int64) for one in (seqs, families, by_signals))
    return Rows(X, ids, *counts)


def decided(
    judge: Judge, sessions: Iterable[dict[str, Any]], tools: Mapping[str, list[dict[str, Any]]]
) -> Iterator[dict[str, Any]]:
    """The decisions on calls of recorded sessions, in order."""
    partition = Partition.empty()
    for batch in batches(sessions, tools):
        step = judge.judge(partition, batch)
        partition.apply(step.changes)
        yield from (orjson.loads(output.value) for output in step.outputs if output.topic == DECISIONS)


def tells(decision: Mapping[str, Any]) -> bool:
    """Whether the call had an intent that says something to judge against."""
    return not {"vague", "undeclared", "refused"} & set(decision["marks"])


def verdict_by_signals(decision: Mapping[str, Any], policy: Policy) -> Verdict:
    """What a policy makes of a decision's signals without its score."""
    signals = sorted(spoken(decision) - {AFTERWARDS})
    return decide(policy, SILENT, 0, decision["families"], signals, tells(decision)).verdict


def verdicts_of(decision: Mapping[str, Any], release: Release) -> dict[Way, Verdict]:
    """A decision's verdict, and what its score and its signals would each have led to without the other."""
    score = round(decision["score"] * UNITS)
    # Without signals: no name of one is handed in.
    by_score = decide(release.policy, release.levels, score, decision["families"], (), tells(decision))
    by_signals = verdict_by_signals(decision, release.policy)
    return dict(zip(WAYS, (decision["verdict"], by_score.verdict, by_signals), strict=True))


def spoken_by(
    way: Way, by_score: npt.NDArray[np.bool_], by_signals: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Of calls that the score and that the signals would raise, those that are raised where this much may speak."""
    return {"verdicts": by_score | by_signals, "score alone": by_score, "signals alone": by_signals}[way]


def wanted(sessions: Iterable[Mapping[str, Any]]) -> set[str]:
    """The ids of sessions of which rows are wanted.

    Own traffic brings sessions that nobody labelled beside those that they work with: they are judged, and have no row.
    """
    return {name for session in sessions for name in (session["session_id"], *session.get("tree", ()))}


def batches(
    sessions: Iterable[dict[str, Any]], tools: Mapping[str, list[dict[str, Any]]]
) -> Iterator[list[Record]]:
    """The sessions' records, whole sessions together, some `BATCH` at a time."""
    batch: list[Record] = []
    offset = 0
    for session in sessions:
        for root, value in values_of(session, tools.get(session.get("tools_ref", ""))):
            batch.append(plain_record(value, root, offset))
            offset += 1
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
