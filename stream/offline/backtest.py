"""One log judged under several combinations of model and policy at once, by the one core: which sessions fare otherwise, and why.

All combinations take each batch in turn, so that a session's ends can be compared as soon as all of them have forgotten it: memory
is that of the partitions, however long the log. What comes out are sums (`stream.offline.backtest_told`), to which parts of a log
that do not touch each other add up in any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from models.contracts import GRAVITY, Standing, Verdict
from models.session import MAX_STATE
from stream.core.arrival import LATEST_MS
from stream.core.items import Call
from stream.core.judge import Judge, Step
from stream.core.partition import Partition, state_key
from stream.events import CASES, DECISIONS, QUARANTINE, REVOCATIONS, Record, rfc3339
from stream.offline.backtest_told import Told
from stream.offline.call_rows import is_of
from stream.offline.replay import BATCH, batches
from stream.offline.signal_rates import spoken
from stream.outbound.change import RANK
from stream.policy import Policy


class Peaks(NamedTuple):
    """What a partition held at most, of what a policy's limits bound; an estimate that is never too low."""

    open_sessions: int = 0
    tombstones: int = 0
    weight: int = 0

    def with_(self, other: Peaks) -> Peaks:
        """The greater of each."""
        return Peaks(*map(max, self, other))


@dataclass(slots=True)
class _Session:
    """What became of one session under each combination, as far as calls of it lie in the range."""

    tenant: str
    root: str
    session: str
    agent: str | None
    first_ms: int
    born: int | None
    """Where the base saw it begin; -1: it was over when its first call of the range came, None: the base saw no call."""
    gravest: list[int]
    standing: list[Standing]
    calls: int = 0
    torn: bool = False
    inherited: dict[int, str] = field(default_factory=dict)
    """By combination: the session with which it fell last."""
    parted: dict[int, dict[str, Any]] = field(default_factory=dict)
    """By candidate: the first call on which its verdict is not the base's."""
    moved: dict[int, dict[str, Any]] = field(default_factory=dict)
    """... and on which the verdict or the state of the case is another."""


class _Place:
    """A partition of a log under each combination, and the sessions whose ends are awaited."""

    def __init__(self, n: int) -> None:
        self.sides = [Partition.empty() for _ in range(n)]
        self.peaks = [Peaks() for _ in range(n)]
        self.sessions: dict[str, _Session] = {}

    def take(self, judges: Sequence[Judge], records: Sequence[Record], partitions: int | None) -> list[Step]:
        """What the next records lead to under each combination."""
        steps = []
        for n, (judge, side) in enumerate(zip(judges, self.sides, strict=True)):
            side.n_partitions = partitions
            step = judge.judge(side, records)
            # Within a batch each session that it touched may have been open, over, and as large as may be.
            touched = sum(key.startswith("s/") for key in step.changes)
            most = Peaks(
                len(side.declared) + len(side.undeclared) + touched,
                len(side.tombs) + touched,
                side.weight + touched * MAX_STATE,
            )
            self.peaks[n] = self.peaks[n].with_(most)
            side.apply(step.changes)
            steps.append(step)
        return steps

    def forgotten(self, steps: Sequence[Step]) -> Iterable[_Session]:
        """Sessions that no combination remembers any more."""
        gone = {key for step in steps for key, raw in step.changes.items() if raw is None}
        for key in sorted(gone & self.sessions.keys()):
            if all(key not in side.states for side in self.sides):
                yield self.sessions.pop(key)


class Backtest:
    """Takes a log, or a part of one that touches no other, through all combinations.

    Parameters
    ----------
    judges : sequence of Judge
        One for each combination, the base first.
    labels : mapping of (tenant, session id) to kind
        Of those sessions that somebody labelled.
    since : mapping of (topic, partition) to offset
        Records before it are judged and do not count: they are read for the sessions that go on in the range.
    most_flips : int
        Changed sessions that are told one by one.

    Attributes
    ----------
    told : Told
        What became of the records so far; complete after `close`.
    """

    def __init__(
        self,
        judges: Sequence[Judge],
        labels: Mapping[tuple[str, str], str],
        since: Mapping[tuple[str, int], int] | None = None,
        most_flips: int = 100,
    ) -> None:
        self.told = Told(len(judges), most_flips)
        self._judges, self._labels, self._since = judges, labels, since or {}
        self._policies = [judge.releases[""].policy for judge in judges]
        self._places: dict[tuple[str, int], _Place] = {}

    def take(self, records: Iterable[tuple[Record, int | None]]) -> None:
        """Judge a log; each record comes with the partition count of its log, None where that has none."""
        for batch in batches(records, BATCH):
            first, partitions = batch[0]
            name = first.topic, first.partition
            place = self._places.setdefault(name, _Place(len(self._judges)))
            since = self._since.get(name, 0)
            if before := [record for record, _ in batch if record.offset < since]:
                self._forget(place, place.take(self._judges, before, partitions))
            if within := [record for record, _ in batch if record.offset >= since]:
                steps = place.take(self._judges, within, partitions)
                self._count(place, steps, len(within))
                self._forget(place, steps)

    def close(self) -> Told:
        """Count the sessions that are still remembered, too: the log ends here."""
        for place in self._places.values():
            for session in place.sessions.values():
                self._fold(session)
            place.sessions.clear()
        return self.told

    def peaks(self) -> list[Peaks]:
        """What a plain file's only partition held at most under each combination; of several the most of any."""
        found = [Peaks() for _ in self._judges]
        for place in self._places.values():
            found = [one.with_(other) for one, other in zip(found, place.peaks, strict=True)]
        return found

    def _forget(self, place: _Place, steps: Sequence[Step]) -> None:
        for session in place.forgotten(steps):
            self._fold(session)

    # ------------------------------------------------------------------ what records led to

    def _count(self, place: _Place, steps: Sequence[Step], n_records: int) -> None:
        told = self.told
        told.records += n_records
        told.refused.update(
            dict(output.headers)["reason"].decode()
            for output in steps[0].outputs
            if output.topic == QUARANTINE
        )
        calls: dict[int, dict[int, tuple[Call, dict[str, Any]]]] = {_FIRST: {}}
        cases: dict[int, list[tuple[int, dict[str, Any]]]] = {}
        for side, step in enumerate(steps):
            for offset, call, document in _in_order(step):
                if call is None:
                    cases.setdefault(offset, []).append((side, document))
                else:
                    calls.setdefault(offset, {})[side] = call, document
        for offset, sides in sorted(calls.items()):
            if sides:
                self._call(place, sides)
            for side, case in cases.get(offset, ()):
                self._case(place, side, case)

    def _session(self, place: _Place, call: Call, *, by_base: bool) -> _Session:
        """The session of a call, as it lives now; a life that was forgotten before it is counted first."""
        who, n = call.session, len(self._judges)
        key = state_key(who.tenant, who.root, who.session)
        session = place.sessions.get(key)
        # Lives are told by where the base saw them begin: a batch may hold the end of one and the next.
        if session is not None and by_base and not call.over and who.born != session.born:
            if session.born is not None:
                self._fold(session)
                session = None
            else:
                session.born = who.born
        if session is None:
            first_ms = _within(call.now_ms)
            born = who.born if by_base else None
            session = _Session(
                who.tenant, who.root, who.session, who.agent, first_ms, born, [0] * n, ["quiet"] * n
            )
            session.torn = call.over
            place.sessions[key] = session
        return session

    def _call(self, place: _Place, sides: Mapping[int, tuple[Call, dict[str, Any]]]) -> None:
        call, decision = sides[min(sides)]
        session = self._session(place, call, by_base=0 in sides)
        session.calls += 1
        session.torn |= not (call.whole or call.over)
        self.told.call(session.tenant, call.event.tool, _day(call.now_ms))
        for side, (_, its) in sides.items():
            session.gravest[side] = max(session.gravest[side], GRAVITY.index(its["verdict"]))
            session.standing[side] = _graver(session.standing[side], its["standing"])
        base = sides.get(0)
        for side in range(1, len(self._judges)):
            other = sides.get(side)
            _part(session, side, decision, base and base[1], other and other[1], self._policies)

    def _case(self, place: _Place, side: int, case: dict[str, Any]) -> None:
        tool = case["path"][-1]["tool"] if case["path"] else "(no call of its own)"
        alerts = (
            case["kind"] == "standing"
            and case["after"] in ("alert", "contained")
            and case["finding"] is not None
        )
        revokes = case["cause"] != "ended" and any(each["topic"] == REVOCATIONS for each in case["sets"])
        if alerts or revokes:
            self.told.case(side, case["tenant"], tool, case["time"][:10], alerts=alerts, revokes=revokes)
        session = place.sessions.get(state_key(case["tenant"], case["root_session_id"], case["session_id"]))
        if session is not None:
            session.standing[side] = _graver(session.standing[side], case["after"])
            if case["inherited_from"] is not None:
                session.inherited[side] = case["inherited_from"]

    # ------------------------------------------------------------------ what became of a session

    def _fold(self, session: _Session) -> None:
        label = self._labels.get((session.tenant, session.session))
        verdicts = [GRAVITY[each] for each in session.gravest]
        self.told.session(session.tenant, verdicts, session.standing, torn=session.torn)
        for side in range(1, len(self._judges)):
            change = self.told.changes[side - 1]
            if label is not None:
                change.labelled(label, verdicts[0], verdicts[side])
            if verdicts[0] == verdicts[side] and session.standing[0] == session.standing[side]:
                continue
            parted = session.parted.get(side) if verdicts[0] != verdicts[side] else session.moved.get(side)
            change.flip(
                session.gravest[side] - session.gravest[0],
                {
                    "tenant": session.tenant,
                    "root_session_id": session.root,
                    "session_id": session.session,
                    "agent": session.agent,
                    "label": label,
                    "first_call": rfc3339(session.first_ms),
                    "calls": session.calls,
                    "whole": not session.torn,
                    "before": _end(session, 0, verdicts),
                    "after": _end(session, side, verdicts),
                    "parted": parted,
                },
            )
            self.told.changed(side, session.tenant, parted["tool"] if parted is not None else None)


_FIRST = -1
"""Before the first call of a batch."""


def _in_order(step: Step) -> Iterator[tuple[int, Call | None, dict[str, Any]]]:
    """Decisions with their calls, and cases, in order; each with the offset of the call that it is on, or comes after."""
    judged, offset = iter(step.judged), _FIRST
    for output in step.outputs:
        if output.topic == CASES:
            yield offset, None, orjson.loads(output.value)
        elif output.topic == DECISIONS:
            decision = orjson.loads(output.value)
            if "refused" not in decision["marks"]:
                call = next(each.call for each in judged if is_of(decision, each))
                offset = call.record.offset
                yield offset, call, decision


def _end(session: _Session, side: int, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """How a session ended up under one combination."""
    return {
        "verdict": verdicts[side],
        "case": session.standing[side],
        "fell_with": session.inherited.get(side),
    }


def _graver(before: Standing, after: Standing) -> Standing:
    return after if RANK[after] > RANK[before] else before


def _within(time_ms: int) -> int:
    """A time that has a calendar."""
    return min(max(time_ms, 0), LATEST_MS)


def _day(time_ms: int) -> str:
    return rfc3339(_within(time_ms))[:10]


def _part(
    session: _Session,
    side: int,
    known: Mapping[str, Any],
    base: Mapping[str, Any] | None,
    other: Mapping[str, Any] | None,
    policies: Sequence[Policy],
) -> None:
    """Note a call on which a candidate says something else than the base, if it is the first."""
    said, says = (
        (each["verdict"], each["standing"]) if each is not None else (None, None) for each in (base, other)
    )
    if said == says:
        return
    notes = [session.moved] if side not in session.moved else []
    if said[0] != says[0] and side not in session.parted:
        notes.append(session.parted)
    if not notes:
        return
    before, after = _told(base, policies[0]), _told(other, policies[side])
    note = {
        "call_seq": known["call_seq"],
        "call_id": known["call_id"],
        "tool": known["tool"],
        "time": known["time"],
        "before": before,
        "after": after,
        "because": because(before, after),
    }
    for each in notes:
        each[side] = note


def _told(decision: Mapping[str, Any] | None, policy: Policy) -> dict[str, Any] | None:
    """What matters of a decision for a comparison: numbers and names, nothing of what the call was given."""
    if decision is None:
        return None
    return {
        "verdict": decision["verdict"],
        "standing": decision["standing"],
        "score": decision["score"],
        "thresholds": decision["thresholds"],
        "families": decision["families"],
        "families_needed": {"alert": policy.families.alert, "revoke": policy.families.revoke},
        "signals": {signal: policy.signals.get(signal, "none") for signal in sorted(spoken(decision))},
        "marks": decision["marks"],
    }


def because(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[str]:
    """What differs between two decisions on one call, as far as it bears on the verdict, in words."""
    if before is None or after is None:
        return [
            f"judged {'after' if before is None else 'before'} alone: a limit, or what counts as a repeat, differs"
        ]
    found = []
    if before["score"] != after["score"]:
        found.append(f"score {before['score']:.4f} to {after['score']:.4f}")
    for level, was in before["thresholds"].items():
        now = after["thresholds"][level]
        if was != now and (before["score"] >= was) != (after["score"] >= now):
            found.append(f"threshold {level} {was:.4f} to {now:.4f}")
    for level, was in before["families_needed"].items():
        if was != (now := after["families_needed"][level]):
            found.append(f"families needed to {level} {was} to {now}")
    for what in ("families", "marks"):
        gone, new = (
            [each for each in one[what] if each not in other[what]]
            for one, other in ((before, after), (after, before))
        )
        found += [f"{what} without {', '.join(gone)}"] if gone else []
        found += [f"{what} with {', '.join(new)}"] if new else []
    for signal in sorted(before["signals"].keys() | after["signals"].keys()):
        said, says = (one["signals"].get(signal, "silent") for one in (before, after))
        if said != says:
            found.append(f"signal {signal}: {said} to {says}")
    return found or [f"earlier calls: the case was {before['standing']}, and is {after['standing']}"]
