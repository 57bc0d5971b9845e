"""Recorded sessions as labels: what each call and session counts as, and who may learn from whom.

Features come from the core (``stream.offline.rows.feature_rows``); nothing read here is ever an input of a model.
The two are joined by session id and call number.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from models.contracts import TENANT_SOURCE, LabelKind
from models.errors import DatasetError
from models.training.scenarios import delegated, written_tasks

Kind = LabelKind
KINDS: tuple[Kind, ...] = get_args(LabelKind)

LEFT_OUT = -1
ATTEMPTED_WEIGHT = 0.7
"""An attempted session's label rests on a success check that errs now and then: it teaches less."""
UNCHANGED_WEIGHT = 0.5
"""Splices under an unchanged intent are always drift: half as much, so that length of intent tells little."""
WRITTEN_WEIGHT = 0.35
"""Tasks that were written out whole: each catalogue is a group of its own, and at full weight they are more than half of all."""
UNCHANGED = frozenset({"spliced_demanded", "spliced_silent"})
HANDED_WEIGHT = 2.0
"""Tasks that hand acts over and their twins with an act, or that only read: nothing else shows what handing over covers."""
HANDED = frozenset({"delegated", "delegated_both", "undelegated", "beyond", "read"})
WHOLE = (written_tasks.SOURCE, delegated.SOURCE)
"""Sources whose tasks were made whole, not spliced into recordings."""

TRAINING_SETS = (
    "agentdojo",
    "agentdyn_dailylife",
    "apibank",
    "bfcl_multiturn",
    "intercode",
    "sweagent_a",
    "tau_retail",
)
"""Sets that the bundled model learns from; any other set at hand stays unseen, to check transfer on."""

SHARING = (frozenset({"travel", "workspace"}),)
"""Groups of domains whose catalogues share tools: five of workspace's are travel's too."""


def unseen_with(domain: str) -> frozenset[str]:
    """The domains that a model must not have seen for this one to be new to it: itself, and those that share its tools.

    >>> sorted(unseen_with("travel")), sorted(unseen_with("slack"))
    (['travel', 'workspace'], ['slack'])
    """
    return next((group for group in SHARING if domain in group), frozenset({domain}))


@dataclass(frozen=True, slots=True)
class LabelledSession:
    """The labels of one recorded session.

    Attributes
    ----------
    kind : `hijacked` has a call that serves the injection; `unseen` was hijacked in its last answer, where no
        tool call shows it; `acted` is an attempted session with a telling call
    first_bad_seq : first call that serves the injection (`hijacked`), or the telling call (`acted`)
    domain : what a fold holds out: the suite for AgentDojo, the whole source for any other set
    task : domain and user task, the unit of grouping and of resampling
    variant : `recorded`, or the kind of scenario made from a recording or by itself (`models.training.scenarios`)
    wording : family of the demanding text of a scenario
    goal, intent : digests of the attacker's goal and of the intent, to know them again
    labeller, words : whose word the label is, None where it comes with the recording, and how many people say the same
    shape : a digest of the tools that it calls, in order
    """

    session_id: str
    kind: Kind
    source: str
    suite: str
    domain: str
    task: str
    attack: str | None
    first_bad_seq: int | None
    exposed_seq: int | None
    n_calls: int
    variant: str = "recorded"
    wording: str | None = None
    goal: str | None = None
    intent: str = ""
    labeller: str | None = None
    words: int = 1
    shape: str = ""

    @property
    def is_own(self) -> bool:
        """Whether it is own traffic, or made of it."""
        return self.source.startswith(TENANT_SOURCE)

    @property
    def sets_limits(self) -> bool:
        """Whether thresholds are taken on it: honest, and as it was recorded or written, not made from another."""
        told = self.domain == written_tasks.SOURCE and self.variant in written_tasks.ORDINARY
        return self.kind == "benign" and (told or self.variant == "recorded")


def of_record(record: Mapping[str, Any], acted: Mapping[str, int]) -> LabelledSession:
    """The labels in one line of a recorded file; `acted` maps ids of recordings to their telling call."""
    try:
        source, suite = str(record["source"]), str(record["suite"])
        session_id, label = str(record["session_id"]), str(record["label"])
        task = str(record["user_task_id"])
        n_calls = len(record["calls"])
        tools = "\n".join(str(call.get("tool")) for call in record["calls"])
    except (KeyError, TypeError) as error:
        raise DatasetError(f"not a labelled recorded session: {error} is missing (docs/labels.md)") from error
    first_bad = record.get("first_bad_seq")
    kind: Kind
    # A twin makes the calls of the recording that it was made of.
    telling = acted.get(session_id, acted.get(str(record.get("origin"))))
    if label == "hijacked":
        kind = "unseen" if first_bad is None else "hijacked"
    elif label == "attempted" and telling is not None:
        kind, first_bad = "acted", telling
    else:
        kinds = [name for name in KINDS if name == label]
        if not kinds:
            raise DatasetError(
                f"session {session_id} has the unknown label {label!r}; known are {', '.join(KINDS)}"
            )
        (kind,) = kinds
    domain = str(record.get("domain") or (suite if source == "agentdojo" else source))
    goal = record.get("injection_goal")
    return LabelledSession(
        session_id=session_id,
        kind=kind,
        source=source,
        suite=suite,
        domain=domain,
        task=f"{domain}/{suite}/{task}",
        attack=record.get("attack"),
        first_bad_seq=None if first_bad is None else int(first_bad),
        exposed_seq=record.get("exposed_seq"),
        n_calls=n_calls,
        variant=str(record.get("variant") or "recorded"),
        wording=record.get("wording"),
        goal=text_digest(str(goal)) if goal else None,
        intent=text_digest(str(record.get("intent") or "")),
        labeller=record.get("labelled_by"),
        words=int(record.get("words") or 1),
        shape=text_digest(tools),
    )


def text_digest(text: str) -> str:
    """Eight hexadecimal digits of SHA-256 of a text, spacing and case apart."""
    return hashlib.sha256(" ".join(text.lower().split()).encode("utf-8", "surrogatepass")).hexdigest()[:8]


def overlap(sessions: Iterable[LabelledSession], seen: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """How many sessions a model cannot be called blind to, by what its manifest says that it saw.

    A session that it learnt from has its intent there, whatever else of it was changed since: so no list of sessions is kept.
    """
    intents, goals, sources = (frozenset(seen.get(k, ())) for k in ("intents", "goals", "sources"))
    found = Counter[str]()
    for session in sessions:
        found["intent"] += session.intent in intents
        found["goal"] += session.goal in goals
        found["source"] += session.source in sources
    return {what: n for what, n in found.items() if n}


def acted_path(path: Path) -> Path:
    """Where the telling calls of a recorded file's attempted sessions stand, if they were noted."""
    name = path.name.removesuffix(".gz").removesuffix(".jsonl")
    return path.with_name(f"{name}_attempted_acted.json")


def acted_beside(path: Path) -> dict[str, int]:
    """Telling calls of attempted sessions, from ``<name>_attempted_acted.json`` beside a recorded file."""
    beside = acted_path(path)
    if not beside.exists():
        return {}
    return {str(key): int(value) for key, value in json.loads(beside.read_bytes()).items()}


def read_records(path: Path) -> list[dict[str, Any]]:
    """The recorded sessions of one file, whole: calls for the core to replay, labels for `of_record`."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            return [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read: {error}; set DRIFTLINE_DATA") from error


def read_sessions(path: Path) -> list[LabelledSession]:
    """The labels of one recorded file (JSON lines, optionally gzipped)."""
    acted = acted_beside(path)
    return [of_record(record, acted) for record in read_records(path)]


def file_digest(path: Path) -> str:
    """SHA-256 of a data file, for the manifest."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Calls:
    """Labels aligned to feature rows.

    Attributes
    ----------
    sessions : the sessions that occur
    session : for each row, its session's place in `sessions`
    call_seq : for each row, the call's place among its session's calls
    target : 1 drift, 0 not, `LEFT_OUT` neither
    weight : how much the row teaches
    """

    sessions: tuple[LabelledSession, ...]
    session: npt.NDArray[np.int64]
    call_seq: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.session)

    def domains(self) -> list[str]:
        """Domains, sorted."""
        return sorted({session.domain for session in self.sessions})

    def rows_where(self, chosen: Iterable[bool]) -> npt.NDArray[np.bool_]:
        """Rows whose session is chosen, given one flag a session."""
        return np.fromiter(chosen, dtype=np.bool_, count=len(self.sessions))[self.session]

    def rows_of(self, domain: str) -> npt.NDArray[np.bool_]:
        """Rows of one domain."""
        return self.rows_where(session.domain == domain for session in self.sessions)

    def take(self, rows: npt.NDArray[np.bool_]) -> Calls:
        """The chosen rows, with the sessions that they leave."""
        kept, session = np.unique(self.session[rows], return_inverse=True)
        return Calls(
            sessions=tuple(self.sessions[place] for place in kept),
            session=session.astype(np.int64),
            call_seq=self.call_seq[rows],
            target=self.target[rows],
            weight=self.weight[rows],
        )


def target_of(session: LabelledSession, call_seq: int) -> int:
    """What a call teaches.

    The first call that serves an injection is drift. Calls after it may again serve the user and are left
    out, as are all calls of sessions whose labels say nothing about single calls.
    """
    if session.kind in ("benign", "attempted"):
        return 0
    if session.kind == "hijacked" and session.first_bad_seq is not None and call_seq <= session.first_bad_seq:
        return int(call_seq == session.first_bad_seq)
    return LEFT_OUT


def join(sessions: Iterable[LabelledSession], session_ids: Sequence[str], call_seqs: npt.ArrayLike) -> Calls:
    """Labels for feature rows, by session id and call number.

    Raises `DatasetError` for a row without a label, a call named twice, or two sessions of one id.
    """
    listed = list(sessions)
    place = {session.session_id: number for number, session in enumerate(listed)}
    if len(place) != len(listed):
        raise DatasetError("two recorded sessions have one id; give each file once")
    call_seq = np.asarray(call_seqs, dtype=np.int64)
    try:
        at = np.fromiter((place[name] for name in session_ids), dtype=np.int64, count=len(session_ids))
    except KeyError as error:
        raise DatasetError(f"feature rows name session {error}, which has no label") from error
    if len(at) != len(call_seq):
        raise DatasetError(f"{len(at)} session ids for {len(call_seq)} calls")
    pairs = np.stack([at, call_seq], axis=1)
    if len(np.unique(pairs, axis=0)) != len(pairs):
        raise DatasetError("two feature rows name the same call")
    target = np.fromiter(
        (target_of(listed[number], int(seq)) for number, seq in zip(at, call_seq, strict=True)),
        dtype=np.int64,
        count=len(at),
    )
    teaches = _teaching(listed)
    weight = teaches[at] if len(at) else np.empty(0)
    whole = Calls(tuple(listed), at, call_seq, target, weight)
    return whole.take(np.ones(len(at), dtype=np.bool_))


def _teaching(sessions: Sequence[LabelledSession]) -> npt.NDArray[np.float64]:
    """How much each session teaches: a group of n (one ecosystem, variant and kind) as much as sqrt(n).

    So that neither the largest set nor the scenario that is cheapest to make outweighs all others. An ecosystem is a
    domain; of the tasks that were written out whole, each catalogue is one.
    """

    def group(s: LabelledSession) -> tuple[str, str, str]:
        return s.suite if s.source == written_tasks.SOURCE else s.domain, s.variant, s.kind

    groups = Counter(map(group, sessions))
    teaches = np.array(
        [
            (ATTEMPTED_WEIGHT if s.kind == "attempted" else 1.0)
            * (UNCHANGED_WEIGHT if s.variant in UNCHANGED else 1.0)
            * (WRITTEN_WEIGHT if s.source == written_tasks.SOURCE else 1.0)
            * (HANDED_WEIGHT if s.source in WHOLE and s.variant in HANDED else 1.0)
            / groups[group(s)] ** 0.5
            for s in sessions
        ]
    )
    # On average 1: the recipe's regularisation counts in whole sessions.
    return teaches * len(teaches) / teaches.sum() if len(teaches) else teaches


def task_parts(calls: Calls, parts: int, seed: int) -> npt.NDArray[np.int64]:
    """For each session one of `parts`, such that a user task lies in one part whole.

    The order in which a hash puts a domain's tasks deals them out, so that each part has its share of every
    domain, and adding a set leaves the others' parts as they were.
    """
    part: dict[str, int] = {}
    for domain in calls.domains():
        tasks = {session.task for session in calls.sessions if session.domain == domain}
        ranked = sorted(tasks, key=lambda task: hashlib.sha256(f"{seed}|{task}".encode()).digest())
        part.update({task: place % parts for place, task in enumerate(ranked)})
    return np.array([part[session.task] for session in calls.sessions], dtype=np.int64)


def task_folds(calls: Calls, folds: int, seed: int) -> npt.NDArray[np.int64]:
    """For each row its session's part, see `task_parts`."""
    return task_parts(calls, folds, seed)[calls.session]
