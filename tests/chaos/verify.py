"""Every topic read back, held against an offline replay of the same input, partition by partition.

The law (design, section 2): for each root session the same sequence of decision bytes once byte-identical
repeats are dropped, the same for each case; quarantine equal by topic, partition and offset; alerts and tokens
those that follow from the cases. Two records with one id and other bytes are a failure.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import orjson
from joserfc import jws
from joserfc.jwk import KeySet
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from stream import bootstrap
from stream.core.partition import Partition
from stream.events import (
    ALERTS,
    CASES,
    DECISIONS,
    ENDS,
    EVENTS,
    QUARANTINE,
    REVOCATIONS,
    RISK,
    Output,
    Record,
)
from stream.settings import Settings
from stream.shell.checkpoints import STATE_TOPIC, Recovered, StateRecord, fold
from stream.shell.export import log_line
from stream.shell.outputs import claims_of
from tests.chaos.worker import core, judge_of

TOPICS = (EVENTS, DECISIONS, CASES, ALERTS, REVOCATIONS, RISK, ENDS, QUARANTINE)
READ_S = 120.0
_BATCH = 512

Sequences = dict[tuple[str, str], list[bytes]]
"""(core, id of root session or case) -> values in order, byte-identical repeats dropped."""


class Log:
    """One topic, read to its present end as often as asked; what was read is kept, by partition."""

    def __init__(self, settings: Settings, base: str) -> None:
        self.name = settings.topic(base)
        self.records: dict[int, list[Record]] = {}
        self._consumer = KafkaConsumer(
            **settings.kafka(),
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            max_partition_fetch_bytes=4 * settings.message_max_bytes,
        )

    def catch_up(self) -> int:
        """Read what is new; gives how many records. A broker that is away is waited for."""
        deadline = time.monotonic() + READ_S
        while True:
            try:
                return self._read(deadline)
            except KafkaError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def _read(self, deadline: float) -> int:
        if not self.records:
            numbers = sorted(self._consumer.partitions_for_topic(self.name) or ())
            places = [TopicPartition(self.name, n) for n in numbers]
            self._consumer.assign(places)
            self._consumer.seek_to_beginning(*places)
            self.records = {n: [] for n in numbers}
        ends = self._consumer.end_offsets([TopicPartition(self.name, n) for n in self.records])
        n_read = 0
        while any(self._consumer.position(place) < end for place, end in ends.items()):
            assert time.monotonic() < deadline, f"{self.name} could not be read back within {READ_S:.0f} s"
            for place, items in self._consumer.poll(timeout_ms=500).items():
                n_read += len(items)
                self.records[place.partition].extend(Record.of(item) for item in items)
        return n_read

    def all(self) -> list[Record]:
        """Every record read so far, partition by partition."""
        return [record for number in sorted(self.records) for record in self.records[number]]

    def close(self) -> None:
        """End the consumer."""
        self._consumer.close()


class Deploy(NamedTuple):
    """A core that took over: its name, and of each partition the last offset that the older one's state held."""

    core: str
    after: Mapping[int, int]


class Reference:
    """What the input leads to offline, kept as it grows.

    Parameters
    ----------
    settings, jwks
        As the workers have them.
    first : str or None
        The core that begins; None is this program's own.
    deploys : sequence of Deploy
        The cores that took over, in order, each going on from the older one's checkpoint.
    """

    def __init__(
        self,
        settings: Settings,
        jwks: dict[str, Any] | None,
        first: str | None = None,
        deploys: Sequence[Deploy] = (),
    ) -> None:
        self._judge = judge_of(settings, jwks)
        self._first, self._deploys = first, deploys
        self.partitions = {
            number: Partition.empty(settings.partitions) for number in range(settings.partitions)
        }
        self.outputs: list[Output] = []
        self.n_records = 0

    def extend(self, records: Mapping[int, Sequence[Record]]) -> None:
        """Judge what of `records`, by partition, has not been judged yet."""
        for number, partition in self.partitions.items():
            held = records.get(number, ())
            fresh = [record for record in held if record.offset > partition.offset]
            self.n_records += len(fresh)
            for version, part in self._parts(number, fresh):
                with core(version):
                    for begin in range(0, len(part), _BATCH):
                        step = self._judge.judge(partition, part[begin : begin + _BATCH])
                        partition.apply(step.changes)
                        self.outputs.extend(step.outputs)

    def _parts(self, number: int, records: Sequence[Record]) -> Iterable[tuple[str | None, list[Record]]]:
        bounds = [-1, *(deploy.after[number] for deploy in self._deploys), 1 << 62]
        versions = [self._first, *(deploy.core for deploy in self._deploys)]
        for version, low, high in zip(versions, bounds, bounds[1:], strict=False):
            part = [record for record in records if low < record.offset <= high]
            if part:
                yield version, part

    @property
    def open_sessions(self) -> int:
        """Sessions that are not over yet, of all partitions: each will be ended by a tick."""
        return sum(len(one.declared) + len(one.undeclared) for one in self.partitions.values())


class Found(NamedTuple):
    """What a comparison looked at, and what it did not like."""

    differences: list[str]
    counts: dict[str, int]

    @property
    def equal(self) -> bool:
        """Whether live and replay agree."""
        return not self.differences


class Bus:
    """All topics of a run, read back; and what must follow from the cases that stand there."""

    def __init__(self, settings: Settings, logs: Mapping[str, Log] | None = None) -> None:
        self.logs = logs or {base: Log(settings, base) for base in TOPICS}
        self._actor = bootstrap.actor(settings)
        self._acted: dict[bytes, list[tuple[Output, str]]] = {}

    def catch_up(self) -> int:
        """Read what is new in every topic, the input first; gives how many records."""
        return sum(log.catch_up() for log in self.logs.values())

    def values(self, base: str) -> list[bytes]:
        """The values of a topic, partition by partition."""
        return [record.value or b"" for record in self.logs[base].all()]

    def following(self) -> list[tuple[Output, str]]:
        """What act makes of the cases on the bus, each with the place of its case where that stands first."""
        for record in self.logs[CASES].all():
            value = record.value or b""
            if value not in self._acted:
                where = f"follows from {record.topic}[{record.partition}]@{record.offset}"
                self._acted[value] = [(output, where) for output in self._actor.act([record])]
        return [one for made in self._acted.values() for one in made]

    def dump(self, directory: Path) -> None:
        """Write every topic as a log that ``driftline replay`` reads, for whoever looks into a failure."""
        for base, log in self.logs.items():
            lines = (log_line(record, len(log.records)) + b"\n" for record in log.all())
            (directory / f"{base}.jsonl").write_bytes(b"".join(lines))

    def close(self) -> None:
        """End every consumer."""
        for log in self.logs.values():
            log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def compare(bus: Bus, reference: Reference, older: Reference | None = None) -> Found:
    """Hold the topics against the replay.

    Parameters
    ----------
    bus : Bus
        Read to its end.
    reference : Reference
        The replay of the same input, through every deploy.
    older : Reference or None
        After a deploy that did not drain: the replay under the first core alone. Its records may reach beyond
        the checkpoint, never differ from it.
    """
    expected: dict[str, list[Output]] = defaultdict(list)
    for output in reference.outputs:
        expected[output.topic].append(output)
    differences: list[str] = []
    counts = {EVENTS: sum(map(len, bus.logs[EVENTS].records.values())), "replayed": reference.n_records}

    for base in (DECISIONS, CASES):
        values = bus.values(base)
        live = sequences(base, values)
        offline = sequences(base, (output.value for output in expected[base]))
        wide = None
        if older is not None:
            wide = sequences(base, (output.value for output in older.outputs if output.topic == base))
        differences += _sequences_differ(base, live, offline, wide)
        differences += conflicts(base, values)
        counts[base] = sum(map(len, live.values()))
        counts[f"{base} repeated"] = len(values) - counts[base]

    following = bus.following()
    for base in (ALERTS, REVOCATIONS, RISK, ENDS):
        told = [_content(base, value) for value in bus.values(base)]
        want = {_content(base, output.value): where for output, where in following if output.topic == base}
        differences += _sets_differ(base, set(told), want)
        differences += conflicts(base, told)
        counts[base] = len(set(told))
        counts[f"{base} repeated"] = len(told) - len(set(told))

    refused = [*expected[QUARANTINE], *(output for output, _ in following if output.topic == QUARANTINE)]
    live_refused = bus.logs[QUARANTINE].all()
    beyond = (
        {_refusal(one) for one in older.outputs if one.topic == QUARANTINE} if older is not None else set()
    )
    want = {_refusal(one): "" for one in refused}
    differences += _sets_differ(
        QUARANTINE, {_refusal(one) for one in live_refused} - (beyond - want.keys()), want
    )
    counts[QUARANTINE] = len({_place(record.headers) for record in live_refused})
    counts[f"{QUARANTINE} repeated"] = len(live_refused) - counts[QUARANTINE]
    return Found(differences, counts)


def sequences(base: str, values: Iterable[bytes]) -> Sequences:
    """Values of each (core, root session or case) in order, byte-identical repeats dropped."""
    found: dict[tuple[str, str], dict[bytes, None]] = defaultdict(dict)
    for value in values:
        document = orjson.loads(value)
        # A session of one id under two tenants is two sessions, with a chain each; the root covers both.
        name = document["root_session_id"] if base == DECISIONS else document["case_id"]
        found[str(document["core"]), name].setdefault(value)
    return {place: list(held) for place, held in found.items()}


def conflicts(base: str, values: Iterable[bytes]) -> list[str]:
    """Ids that name records with different bytes. Where a crash let two cores judge, each may say its own."""
    first: dict[str, bytes] = {}
    found: list[str] = []
    for value in values:
        name = _identity(base, orjson.loads(value))
        if first.setdefault(name, value) != value:
            found.append(f"{base}: two records with the id {name} differ")
    return found


def _identity(base: str, document: Mapping[str, Any]) -> str:
    if base == DECISIONS:
        return f"{document['decision_id']} of core {document['core']}"
    if base == CASES:
        return f"{document['record_id']} of core {document['core']}"
    if base == ALERTS:
        return f"{document['metadata']['uid']} of core {document['metadata']['product']['version']}"
    return str(document["jti"])


def _sequences_differ(base: str, live: Sequences, offline: Sequences, wide: Sequences | None) -> list[str]:
    found: list[str] = []
    for place in sorted(live.keys() | offline.keys()):
        have, want = live.get(place, []), offline.get(place, [])
        if have == want:
            continue
        if (
            wide is not None
            and place in wide
            and have[: len(want)] == want
            and have == wide[place][: len(have)]
        ):
            continue  # judged by the older core beyond its checkpoint, and the same as it would ever say
        at = next(
            (n for n, (a, b) in enumerate(zip(have, want, strict=False)) if a != b), min(len(have), len(want))
        )
        found.append(
            f"{base}: {place[1]} (core {place[0]}) has {len(have)} records, replay {len(want)}; first differs at {at}"
        )
    return found


def _content(base: str, value: bytes) -> bytes:
    """What must be identical in repeats: of a token its claims, since a signature's bytes may differ."""
    return value if base == ALERTS else orjson.dumps(claims_of(value), option=orjson.OPT_SORT_KEYS)


def _sets_differ(base: str, live: set[Any], offline: Mapping[Any, str]) -> list[str]:
    missing = sorted(offline.keys() - live, key=lambda one: (offline[one], str(one)))
    return [f"{base}: missing, {offline[one]}: {_short(one)}" for one in missing] + [
        f"{base}: follows from nothing: {_short(one)}" for one in sorted(live - offline.keys(), key=str)
    ]


def _short(one: object) -> str:
    if isinstance(one, bytes):
        document = orjson.loads(one)
        return str(document.get("jti") or document["metadata"]["uid"])
    return str(one)[:160]


def _refusal(one: Record | Output) -> tuple[Any, ...]:
    return _place(one.headers), one.key or b"", one.headers, one.value or b""


def _place(headers: Iterable[tuple[str, bytes]]) -> tuple[bytes, ...]:
    told = dict(headers)
    return told["topic"], told["partition"], told["offset"]


def unsigned(bus: Bus, jwks: Mapping[str, Any]) -> list[str]:
    """Tokens on the bus whose signature is not of `jwks`."""
    keys = KeySet.import_key_set(jwks)  # type: ignore[arg-type]
    found: list[str] = []
    for base in (REVOCATIONS, RISK, ENDS):
        for value in set(bus.values(base)):
            try:
                jws.deserialize_compact(value, keys, algorithms=["RS256"])
            except Exception as error:  # whatever it is, the token is not good
                found.append(f"{base}: a token does not verify ({type(error).__name__})")
    return found


def stored(settings: Settings) -> dict[int, Recovered]:
    """What the state topic holds for each partition."""
    log = Log(settings, STATE_TOPIC)
    try:
        log.catch_up()
        return {
            number: fold(StateRecord(record.key or b"", record.headers, record.value) for record in records)
            for number, records in log.records.items()
        }
    finally:
        log.close()


def states_differ(settings: Settings, reference: Reference) -> tuple[int, list[str]]:
    """Stored states against the replay's: how many are equal, and what is not. Only once all workers are drained."""
    n_equal = 0
    found: list[str] = []
    for number, recovered in stored(settings).items():
        partition = reference.partitions[number]
        if recovered.offset < partition.offset:
            found.append(
                f"state[{number}]: at offset {recovered.offset}, the input ends at {partition.offset}"
            )
            continue
        for key in sorted(recovered.states.keys() | partition.states.keys()):
            if recovered.states.get(key) == partition.states.get(key):
                n_equal += 1
            else:
                found.append(f"state[{number}]: {key} differs from the replay's")
    return n_equal, found
