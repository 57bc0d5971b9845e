"""`driftline topics check`: what of a cluster differs from the table of topics, told without a broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from stream.events import ALERTS, EVENTS
from stream.settings import Settings
from stream.shell.topic_check import Finding, differences
from stream.shell.topic_table import topic_table

WANTED = Settings(partitions=2, replication=3)


class Cluster:
    """An admin client of topics as `WANTED` has them, but for `changed` settings, `copies` or a topic `without`."""

    def __init__(
        self, changed: Mapping[tuple[str, str], str] | None = None, *, copies: int = 3, without: str = ""
    ) -> None:
        self.topics = {topic.base: topic for topic in topic_table(WANTED) if topic.base != without}
        self.changed, self.copies = changed or {}, copies

    def list_topics(self) -> list[str]:
        return list(self.topics)

    def describe_topics(self, names: Sequence[str]) -> list[dict[str, Any]]:
        partition = {"replica_nodes": [*range(self.copies)]}
        return [{"name": name, "partitions": [partition] * self.topics[name].partitions} for name in names]

    def describe_configs(self, resources: Sequence[Any]) -> dict[str, dict[str, str]]:
        [name] = [resource.name for resource in resources]
        told = self.topics[name].configuration(WANTED)
        return {name: told | {entry: v for (topic, entry), v in self.changed.items() if topic == name}}


def test_a_cluster_as_the_table_has_it_gives_no_finding() -> None:
    assert differences(Cluster(), WANTED) == []
    assert differences(Cluster(copies=5), WANTED) == []


@pytest.mark.parametrize(
    ("topic", "entry", "value", "expected", "level"),
    [
        (ALERTS, "retention.ms", "86400000", "31536000000", "warning"),
        (ALERTS, "min.insync.replicas", "1", "2", "warning"),
        (ALERTS, "cleanup.policy", "compact", "delete", "warning"),
        (ALERTS, "max.message.bytes", "1000", "1114112", "warning"),
        (EVENTS, "compression.type", "producer", "uncompressed", "error"),
    ],
)
def test_a_setting_that_differs_is_told_with_both_values(
    topic: str, entry: str, value: str, expected: str, level: str
) -> None:
    [found] = differences(Cluster({(topic, entry): value}), WANTED)
    assert found.level == level
    assert found.text.startswith(f"{topic}: {entry} is {value}, expected {expected}")


def test_a_record_s_stamp_that_producers_choose_is_an_error() -> None:
    found = differences(Cluster({(EVENTS, "message.timestamp.type"): "CreateTime"}), WANTED)
    assert [one.level for one in found] == ["error", "warning"]


def test_fewer_copies_than_asked_for_are_told_of_every_topic() -> None:
    found = differences(Cluster(copies=1), WANTED)
    assert len(found) == len(topic_table(WANTED))
    assert all(one.level == "warning" and "replication factor is 1, expected 3" in one.text for one in found)


def test_a_topic_that_is_missing_is_an_error() -> None:
    assert differences(Cluster(without=ALERTS), WANTED) == [
        Finding("error", f"{ALERTS} is missing; run `driftline topics create`")
    ]
