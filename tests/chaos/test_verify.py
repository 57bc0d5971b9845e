"""What chaos is verified with finds what it is there to find."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from stream import bootstrap
from stream.core import cases
from stream.events import (
    ALERTS,
    CASES,
    DECISIONS,
    EVENTS,
    QUARANTINE,
    REVOCATIONS,
    Record,
    dumps,
    murmur2_partition,
)
from stream.offline.generate import Profile, sessions
from stream.settings import Settings
from tests.chaos.verify import TOPICS, Bus, Deploy, Reference, compare

pytestmark = pytest.mark.slow

PARTITIONS = 2
Records = dict[int, list[Record]]


class Held:
    """A topic that is read already."""

    def __init__(self, records: Records) -> None:
        self.records = records

    def all(self) -> list[Record]:
        return [record for number in sorted(self.records) for record in self.records[number]]


def record(topic: str, partition: int, records: Records, key: bytes, value: bytes, headers: Any = ()) -> None:
    held = records.setdefault(partition, [])
    held.append(
        Record(topic, partition, len(held), 1_790_000_000_000 + len(held), "append", key, headers, value)
    )


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings.from_environment({}, partitions=PARTITIONS, state_dir=tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="module")
def events(settings: Settings) -> Records:
    made: Records = {}
    for event in sessions(5, 12, Profile(hijacked=0.5), at_once=4):
        key = event["session_id"].encode()
        record(settings.topic(EVENTS), murmur2_partition(key, PARTITIONS), made, key, dumps(event))
    record(settings.topic(EVENTS), 0, made, b"x", b"no event")
    return made


def bus_of(settings: Settings, events: Records, reference: Reference) -> Bus:
    topics: dict[str, Records] = defaultdict(dict)
    topics[EVENTS] = events
    for output in reference.outputs:
        record(output.topic, 0, topics[output.topic], output.key, output.value, output.headers)
    actor = bootstrap.actor(settings)
    for case in [one for held in topics[CASES].values() for one in held]:
        for output in actor.act([case]):
            record(output.topic, 0, topics[output.topic], output.key, output.value, output.headers)
    return Bus(settings, {base: Held(topics[base]) for base in TOPICS})  # type: ignore[misc]


@pytest.fixture
def reference(settings: Settings, events: Records) -> Reference:
    made = Reference(settings, None)
    made.extend(events)
    return made


@pytest.fixture
def bus(settings: Settings, events: Records, reference: Reference) -> Bus:
    return bus_of(settings, events, reference)


def test_compare_what_replay_says_is_equal_repeats_included(bus: Bus, reference: Reference) -> None:
    decisions = bus.logs[DECISIONS].records[0]
    decisions += decisions[10:20]
    bus.logs[ALERTS].records[0] += bus.logs[ALERTS].records[0][:3]
    found = compare(bus, reference)
    assert found.equal, found.differences
    assert found.counts[f"{DECISIONS} repeated"] == 10
    assert min(found.counts[base] for base in (DECISIONS, CASES, ALERTS, REVOCATIONS, QUARANTINE)) > 0


def swapped(records: list[Record]) -> None:
    """Two decisions of one session change places."""
    root = records[0].key
    first, second = [n for n, one in enumerate(records) if one.key == root][:2]
    records[first], records[second] = records[second], records[first]


def altered(records: list[Record]) -> None:
    """The same id once more, with other content."""
    document = orjson.loads(records[0].value or b"")
    records.append(records[0]._replace(value=dumps({**document, "message": "another", "score": 1.0})))


@pytest.mark.parametrize(
    ("base", "damage", "says"),
    [
        (DECISIONS, lambda records: records.pop(3), "records, replay"),
        (DECISIONS, swapped, "first differs at 0"),
        (DECISIONS, altered, "two records with the id"),
        (CASES, lambda records: records.pop(), "records, replay"),
        (CASES, altered, "two records with the id"),
        (ALERTS, lambda records: records.pop(), "missing, follows from"),
        (ALERTS, altered, "follows from nothing"),
        (REVOCATIONS, lambda records: records.clear(), "missing, follows from"),
        (QUARANTINE, lambda records: records.clear(), "missing"),
        (
            QUARANTINE,
            lambda records: records.append(records[0]._replace(value=b"other")),
            "follows from nothing",
        ),
    ],
)
def test_compare_damage_is_found(
    bus: Bus, reference: Reference, base: str, damage: Callable[[list[Record]], Any], says: str
) -> None:
    damage(bus.logs[base].records[0])
    assert any(base in line and says in line for line in compare(bus, reference).differences)


def test_compare_after_a_deploy_each_core_has_its_own_part(settings: Settings, events: Records) -> None:
    before = cases.CORE
    ends = {number: held[-1].offset for number, held in events.items()}
    deployed = Reference(settings, None, deploys=[Deploy("next", {n: end // 2 for n, end in ends.items()})])
    older = Reference(settings, None)
    for one in (deployed, older):
        one.extend(events)
    live = bus_of(settings, events, deployed)
    assert compare(live, deployed).equal
    assert {orjson.loads(value)["core"] for value in live.values(DECISIONS)} == {before, "next"}
    assert not compare(live, older).equal
    # A worker that was killed had gone on beyond its checkpoint: that is fine only as far as it said the truth.
    values = [output for output in older.outputs if output.topic == DECISIONS]
    beyond = [output for output in values if output.value not in set(live.values(DECISIONS))]
    record(DECISIONS, 0, live.logs[DECISIONS].records, beyond[0].key, beyond[0].value)
    assert not compare(live, deployed).equal
    assert compare(live, deployed, older).equal


def test_reference_is_the_same_however_the_log_is_read(settings: Settings, events: Records) -> None:
    at_once, in_parts = Reference(settings, None), Reference(settings, None)
    at_once.extend(events)
    for end in (7, 8, 60, 1 << 20):
        in_parts.extend({number: held[:end] for number, held in events.items()})
    assert sorted(at_once.outputs) == sorted(in_parts.outputs)


def test_bus_dumped_reads_back_as_a_log(bus: Bus, tmp_path: Path) -> None:
    bus.dump(tmp_path)
    lines = (tmp_path / f"{EVENTS}.jsonl").read_bytes().splitlines()
    assert len(lines) == len(bus.logs[EVENTS].all())
    assert orjson.loads(lines[0])["partitions"] == PARTITIONS
