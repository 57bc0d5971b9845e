"""Calls as rows: the features that the live core reads of each, who and where it is, and what the live judge makes of it.

There is no second feature code and no second judge: a row is taken from the very step that its decision comes from. Rows hold
numbers, names and ids; no value of an argument, and no text of an intent, a result or an explanation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from models.contracts import FLAGGED
from models.forest.units import UNITS
from stream.core.arrival import LATEST_MS
from stream.core.items import Judged
from stream.core.judge import Judge, Step
from stream.core.partition import Partition, state_key
from stream.events import CORE, DECISIONS, QUARANTINE, Output, Record
from stream.offline.replay import BATCH, batches
from stream.offline.signal_rates import spoken

PASSED_BY = ("duplicate", "after_end", "opinion_unmatched", "stale_activation")
"""What the ledger counts of records that lead to nothing: they were there before, or belong to nothing that is open."""
MAX_TENANTS = 1000
"""Tenants that are counted by name: producers choose names."""
OTHERS = "(others)"
"""Names beyond a bound, together."""


class Row(NamedTuple):
    """One call; its fields are the columns, save `features`, which are one each.

    Attributes
    ----------
    time : int
        The event's own, in ms since 1970.
    topic, partition, offset : str, int and int, or None
        Where its record stands; None where that was read from a plain file.
    stamp : int or None
        The record's time on the topic, in ms since 1970; None where it has none, or one that no calendar has.
    whole : bool
        Nothing is known to be missing before it: its session, and those that it works for, were read from their first records on.
    alert_at : float
        From which score on the call alerts, if families of evidence speak with it.
    forest_score : float
        What the release's model says of `features`: `score` where no reader read the call.
    reader_log_odds : float or None
        What its reader says; None where none read the call.
    signals : list of str
        That speak against the call.
    features : list of int
        In the registry's order.
    """

    tenant: str
    root_session_id: str
    session_id: str
    call_id: str
    call_seq: int
    event_id: str
    decision_id: str
    time: int
    tool: str
    agent: str | None
    topic: str | None
    partition: int | None
    offset: int | None
    stamp: int | None
    whole: bool
    core: str
    release: str
    policy: str
    score: float
    alert_at: float
    forest_score: float
    reader_log_odds: float | None
    verdict: str
    standing: str
    enforced: bool
    families: list[str]
    signals: list[str]
    marks: list[str]
    features: list[int]


@dataclass
class Told:
    """What became of the records of a range.

    Attributes
    ----------
    records : int
        Read in it, those before it apart.
    rows, sessions, flagged, torn : counts by tenant
        Rows; sessions that have a row; rows that an alert, a denial or a revocation stands on; rows that are not whole.
    skipped : counts by reason
        Records that have no row and moved no session: those of quarantine by its reason.
    releases : counts by release
        Of rows.
    """

    records: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    sessions: Counter[str] = field(default_factory=Counter)
    flagged: Counter[str] = field(default_factory=Counter)
    torn: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    releases: Counter[str] = field(default_factory=Counter)

    def document(self) -> dict[str, Any]:
        """The counts as JSON."""
        by_tenant = {
            "rows": self.rows,
            "sessions": self.sessions,
            "flagged": self.flagged,
            "not_whole": self.torn,
        }
        return {
            "records": self.records,
            "rows": self.rows.total(),
            "tenants": {
                tenant: {name: counts[tenant] for name, counts in by_tenant.items()}
                for tenant in sorted(self.rows)
            },
            "skipped": dict(sorted(self.skipped.items())),
            "releases": dict(sorted(self.releases.items())),
        }


class CallRows:
    """Takes a log through the judge, and gives the rows of its calls.

    Parameters
    ----------
    judge : Judge
        As it would judge live.
    since : mapping of (topic, partition) to offset
        Records before it are judged and have no row: they are read for the sessions that go on in the range.
    told : Told
        Where to count on; None: anew.

    Attributes
    ----------
    told : Told
        What became of the records so far.
    """

    def __init__(
        self,
        judge: Judge,
        since: Mapping[tuple[str, int], int] | None = None,
        told: Told | None = None,
    ) -> None:
        self.told = told or Told()
        self._judge, self._since = judge, since or {}
        self._places: dict[tuple[str, int], _Place] = {}

    def of(self, records: Iterable[tuple[Record, int | None]]) -> Iterator[Row]:
        """The rows of a log, in its order; each record comes with the partition count of its log, None where that has none."""
        for batch in batches(records, BATCH):
            first, n_partitions = batch[0]
            name = first.topic, first.partition
            place = self._places.setdefault(name, _Place())
            place.partition.n_partitions = n_partitions
            since = self._since.get(name, 0)
            if before := [record for record, _ in batch if record.offset < since]:
                place.rows(self._judge, before)
            if within := [record for record, _ in batch if record.offset >= since]:
                yield from self._counted(place, within)

    def _counted(self, place: _Place, records: Sequence[Record]) -> Iterator[Row]:
        """The rows of records that lie in the range."""
        told, before = self.told, place.partition.ledger.counters
        step, rows = place.rows(self._judge, records)
        now = place.partition.ledger.counters
        told.records += len(records)
        told.skipped += Counter({name: now.get(name, 0) - before.get(name, 0) for name in PASSED_BY})
        told.skipped += Counter(repeated=step.n_skipped)
        told.skipped.update(_reason(output) for output in step.outputs if output.topic == QUARANTINE)
        for row in rows:
            tenant = bounded(row.tenant, told.rows, MAX_TENANTS)
            told.rows[tenant] += 1
            told.sessions[tenant] += place.is_new(row)
            told.flagged[tenant] += row.verdict in FLAGGED
            told.torn[tenant] += not row.whole
            told.releases[row.release] += 1
            yield row


class _Place:
    """A partition of a log, and of its sessions those whose calls had rows; what the partition forgets is forgotten here."""

    def __init__(self) -> None:
        self.partition = Partition.empty()
        self._whole: set[str] = set()
        self._counted: set[str] = set()

    def rows(self, judge: Judge, records: Sequence[Record]) -> tuple[Step, list[Row]]:
        """What the next records lead to."""
        step = judge.judge(self.partition, records)
        self.partition.apply(step.changes)
        rows = [self._row(*pair) for pair in decided(step)]
        gone = {key for key, raw in step.changes.items() if raw is None}
        self._whole -= gone
        self._counted -= gone
        return step, rows

    def is_new(self, row: Row) -> bool:
        """Whether no row of its session was counted before; it is from here on."""
        key = state_key(row.tenant, row.root_session_id, row.session_id)
        is_new = key not in self._counted
        self._counted.add(key)
        return is_new

    def _row(self, judged: Judged, decision: Mapping[str, Any]) -> Row:
        call, reading = judged.call, judged.reading
        record, key = call.record, state_key(call.session.tenant, call.session.root, call.session.session)
        # What a tombstone does not tell of its session, the call before told; one of which none was seen may have been cut.
        whole = (call.seq > 0 and key in self._whole) if call.over else call.whole
        (self._whole.add if whole else self._whole.discard)(key)
        stands = record.timestamp_type != "none" or self.partition.n_partitions is not None
        return Row(
            tenant=call.session.tenant,
            root_session_id=call.session.root,
            session_id=call.session.session,
            call_id=call.event.call_id,
            call_seq=call.seq,
            event_id=call.event.id,
            decision_id=decision["decision_id"],
            time=call.time_ms,
            tool=call.event.tool,
            agent=call.session.agent,
            topic=record.topic if stands else None,
            partition=record.partition if stands else None,
            offset=record.offset if stands else None,
            stamp=record.timestamp_ms if stands and 0 <= record.timestamp_ms <= LATEST_MS else None,
            whole=whole,
            core=CORE,
            release=decision["release"],
            policy=decision["policy"],
            score=decision["score"],
            alert_at=decision["thresholds"]["alert"],
            forest_score=(judged.score if reading is None else reading.forest) / UNITS,
            reader_log_odds=None if reading is None else reading.log_odds,
            verdict=decision["verdict"],
            standing=decision["standing"],
            enforced=decision["enforced"],
            families=decision["families"],
            signals=sorted(spoken(decision)),
            marks=decision["marks"],
            features=call.row,
        )


def bounded(name: str, known: Collection[str], most: int) -> str:
    """The name, if it is known or fewer than `most` are; else `OTHERS`."""
    return name if name in known or len(known) < most else OTHERS


def decided(step: Step) -> Iterator[tuple[Judged, dict[str, Any]]]:
    """The calls of a step, each with its decision, in order; one that nobody decided on has no row."""
    judged = iter(step.judged)
    for output in step.outputs:
        if output.topic != DECISIONS:
            continue
        decision = orjson.loads(output.value)
        if "refused" not in decision["marks"]:
            yield next(each for each in judged if is_of(decision, each)), decision


def is_of(decision: Mapping[str, Any], judged: Judged) -> bool:
    """Whether a decision is the one on a call."""
    session, call = judged.call.session, judged.call
    named = (session.tenant, session.root, session.session, call.seq, call.event.id)
    keys = ("tenant", "root_session_id", "session_id", "call_seq", "event_id")
    return named == tuple(decision[key] for key in keys)


def _reason(output: Output) -> str:
    """Why a record is in quarantine."""
    return f"quarantined: {dict(output.headers)['reason'].decode()}"
