"""A cluster's topics compared with the table: partitions, copies and settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError

from stream.settings import Settings
from stream.shell.topic_table import Topic, topic_table
from stream.shell.topics import admin_client, described

Level = Literal["error", "warning"]


_COMPARED: Mapping[str, Level] = {
    "message.timestamp.type": "error",
    "compression.type": "error",
    "cleanup.policy": "warning",
    "max.message.bytes": "warning",
    "retention.ms": "warning",
    "min.insync.replicas": "warning",
}
"""Settings that `check` compares. What an attacker could use is an error; an operator may have reasons for the rest."""


@dataclass(frozen=True)
class Finding:
    """One difference between the cluster and the table; a ``warning`` does not fail the check."""

    level: Level
    text: str


def check(settings: Settings) -> list[Finding]:
    """Differences between the cluster and the table: partitions, copies, and the settings of `_COMPARED`.

    Notes
    -----
    A broker that reports no ``message.timestamp.type`` (the embedded one) cannot stamp: sessions then run on
    their own events' time, and only a session's own next event can find it idle.
    """
    admin = admin_client(settings)
    try:
        return differences(admin, settings)
    finally:
        admin.close()


def differences(admin: Any, settings: Settings) -> list[Finding]:
    """What `check` finds, asked of an admin client that is open."""
    findings: list[Finding] = []
    present = described(admin, settings)
    stamps = True
    for topic in topic_table(settings):
        if topic.base not in present:
            name = settings.topic(topic.base)
            findings.append(Finding("error", f"{name} is missing; run `driftline topics create`"))
            continue
        findings += _of_partitions(topic, present[topic.base], settings)
        actual = _configuration(admin, settings.topic(topic.base))
        stamps = stamps and _stamps(topic, actual, settings)
        findings += _of_settings(topic, actual, settings)
    if not stamps:
        findings.append(
            Finding(
                "warning",
                "this broker does not stamp records (LogAppendTime): each session's clock is its own "
                "events' time, and a silent session is never found idle",
            )
        )
    return findings


def _of_partitions(topic: Topic, partitions: list[dict[str, Any]], settings: Settings) -> Iterator[Finding]:
    """What is wrong with a topic's partitions and their copies."""
    name, wanted = settings.topic(topic.base), topic.partitions
    if (topic.base in settings.input_topics or topic.use == "state") and len(partitions) != wanted:
        yield Finding(
            "error",
            f"{name} has {len(partitions)} partitions, expected {wanted}; set "
            "DRIFTLINE_PARTITIONS to the input's number (state has one partition for each)",
        )
    copies = min((len(partition["replica_nodes"]) for partition in partitions), default=0)
    if copies < settings.replication:  # more of them harm nobody
        yield Finding(
            "warning",
            f"{name}: replication factor is {copies}, expected {settings.replication} (DRIFTLINE_REPLICATION)",
        )


def _stamps(topic: Topic, actual: Mapping[str, str], settings: Settings) -> bool:
    """Whether the broker stamps the topic's records, where it must."""
    entry = "message.timestamp.type"
    wanted = topic.configuration(settings).get(entry)
    return wanted is None or actual.get(entry) == wanted


def _of_settings(topic: Topic, actual: Mapping[str, str], settings: Settings) -> Iterator[Finding]:
    """What is wrong with a topic's settings; a broker that tells none (the embedded one) has none to compare."""
    name = settings.topic(topic.base)
    for entry, wanted in topic.configuration(settings).items():
        value = actual.get(entry)
        if entry in _COMPARED and value not in {None, wanted}:
            see = ": see docs/security.md" if entry == "compression.type" else ""
            yield Finding(_COMPARED[entry], f"{name}: {entry} is {value}, expected {wanted}{see}")


def _configuration(admin: Any, name: str) -> dict[str, str]:
    """The topic's settings as the broker tells them; empty when it tells none."""
    try:
        answer = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    except (KafkaError, NotImplementedError):
        return {}
    return _config_entries(answer)


def _config_entries(answer: Any) -> dict[str, str]:
    entries: dict[str, str] = {}
    stack = [answer]
    while stack:  # the client's answer differs in shape between versions: look for name/value pairs
        item = stack.pop()
        if isinstance(item, dict):
            if "name" in item and "value" in item:
                entries[str(item["name"])] = str(item["value"])
            else:
                for key, value in item.items():
                    if isinstance(value, dict) and "value" in value:
                        entries[str(key)] = str(value["value"])
                    elif isinstance(key, str) and isinstance(value, str):
                        entries[key] = value
                    else:
                        stack.append(value)
        elif isinstance(item, list | tuple):
            stack.extend(item)
    return entries
