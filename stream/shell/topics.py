"""The topics of the bus: made, checked against the table below, and exported as a log."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from models.errors import BrokerError, ConfigError
from stream.events import (
    ALERTS,
    CASES,
    DECISIONS,
    FEEDBACK,
    OUTCOMES,
    QUARANTINE,
    RELEASES,
    REVOCATIONS,
    RISK,
    TIMESTAMP_TYPES,
    Record,
    dumps,
)
from stream.settings import Settings
from stream.shell.checkpoints import state_topic
from stream.shell.connection import listens, refused

DAY_MS = 86_400_000
VISIBLE_S = 20.0
"""How long a new topic may take to show in the cluster's metadata (chosen)."""
HEADROOM_BYTES = 65_536
"""What an output may take above the input's largest record (design, chosen)."""

Use = Literal["input", "output", "between", "state", "releases"]
Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Topic:
    """One topic: what its key is, how long it keeps what, and why it exists."""

    base: str
    key: str
    use: Use
    partitions: int
    retention_ms: int
    content: str
    compacted: bool = False

    def configuration(self, settings: Settings) -> dict[str, str]:
        """The topic's settings on the broker."""
        largest = settings.message_max_bytes + (0 if self.use == "input" else HEADROOM_BYTES)
        entries = {
            "cleanup.policy": "compact" if self.compacted else "delete",
            "max.message.bytes": str(largest),
        }
        if not self.compacted:
            entries["retention.ms"] = str(self.retention_ms)
        if self.use == "input" or self.base == CASES:
            # The partition's clock: only the broker's own stamp cannot be forged by a producer.
            entries["message.timestamp.type"] = "LogAppendTime"
        if self.use == "input":
            # The broker limits a batch as it comes, compressed: a megabyte may expand to a gigabyte in the worker.
            # Stored uncompressed, it is limited again as it is, and no reader needs the producer's codec.
            entries["compression.type"] = "uncompressed"
        if settings.replication >= 3:
            entries["min.insync.replicas"] = "2"
        if self.use == "state":
            # Small segments: compaction never touches the active one, and recovery reads what is left.
            entries["segment.bytes"] = str(64 * 1024 * 1024)
            entries["min.cleanable.dirty.ratio"] = "0.2"
            # A deletion must be seen by whoever reads from the beginning; recovery takes seconds to minutes.
            entries["delete.retention.ms"] = str(10 * 60_000)
        return entries


def topic_table(settings: Settings) -> tuple[Topic, ...]:
    """Every topic Driftline reads or writes, inputs first.

    Notes
    -----
    Retention is chosen: decisions and alerts are the audit trail (a year), cases and inputs a working week or
    two, quarantine a month to mend it. Compacted topics keep the last record of each key for good.
    """
    n = settings.partitions
    inputs = tuple(
        Topic(base, "root session", "input", n, 7 * DAY_MS, "what agents do: declarations, calls, results")
        for base in settings.input_topics
    )
    return (
        *inputs,
        Topic(OUTCOMES, "tenant", "input", n, 30 * DAY_MS, "what became of a revocation"),
        Topic(FEEDBACK, "tenant", "input", n, 365 * DAY_MS, "an analyst's verdict on an alert"),
        Topic(DECISIONS, "root session", "output", n, 365 * DAY_MS, "one decision for each call"),
        Topic(CASES, "tenant", "between", n, 14 * DAY_MS, "a session's changes of state, from judge to act"),
        Topic(ALERTS, "tenant", "output", n, 365 * DAY_MS, "OCSF detection findings for the SOC"),
        Topic(REVOCATIONS, "tenant", "output", n, 30 * DAY_MS, "signed CAEP session-revoked tokens"),
        Topic(RISK, "tenant", "output", n, 30 * DAY_MS, "signed CAEP risk-level-change tokens"),
        Topic(
            QUARANTINE, "the input's", "output", n, 30 * DAY_MS, "input that could not be read, byte for byte"
        ),
        Topic(RELEASES, "digest", "releases", 1, -1, "signed releases of model and policy", compacted=True),
        *(
            Topic(
                state_topic(base),
                "owner/slot/state",
                "state",
                n,
                -1,
                f"open sessions of {base}, for recovery",
                compacted=True,
            )
            for base in settings.input_topics
        ),
    )


def admin_client(settings: Settings) -> Any:
    """An admin client, or BrokerError with what kept it from connecting."""
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError

    if not listens(settings):
        # The client's own attempt would leave a thread behind that tries for ever.
        raise refused(settings, ConnectionRefusedError())
    try:
        return KafkaAdminClient(**settings.kafka(), client_id="driftline-topics", request_timeout_ms=10_000)
    except (KafkaError, OSError) as error:
        raise refused(settings, error) from error


def create(settings: Settings) -> list[str]:
    """Make the topics that are missing; gives their full names.

    Raises
    ------
    BrokerError
        No broker answers, or it refuses a topic.
    """
    from kafka.admin import NewTopic
    from kafka.errors import KafkaError, TopicAlreadyExistsError

    admin = admin_client(settings)
    try:
        present = set(admin.list_topics())
        made: list[str] = []
        for topic in topic_table(settings):
            name = settings.topic(topic.base)
            if name in present:
                continue
            wanted = NewTopic(
                name,
                num_partitions=topic.partitions,
                replication_factor=settings.replication,
                topic_configs=topic.configuration(settings),
            )
            try:
                admin.create_topics([wanted])
            except TopicAlreadyExistsError:
                continue  # somebody else was quicker; `check` tells whether it is as it should be
            made.append(name)
        _await_all(admin, [settings.topic(topic.base) for topic in topic_table(settings)])
        return made
    except KafkaError as error:
        raise BrokerError(f"the broker at {settings.bootstrap} refused: {type(error).__name__}") from error
    finally:
        admin.close()


def delete(settings: Settings) -> None:
    """Delete every topic of ours under the settings' prefix, for tests that made them.

    Raises
    ------
    ConfigError
        The settings have no prefix: those topics are an installation's own.
    """
    if not settings.prefix:
        raise ConfigError(
            "topics without a prefix belong to an installation; delete them with Kafka's own tools"
        )
    admin = admin_client(settings)
    try:
        present = set(admin.list_topics())
        admin.delete_topics([n for t in topic_table(settings) if (n := settings.topic(t.base)) in present])
    finally:
        admin.close()


def _await_all(admin: Any, names: Sequence[str]) -> None:
    # A broker answers "created" before each broker's metadata shows it: whoever starts next must find it.
    deadline = time.monotonic() + VISIBLE_S
    while missing := set(names) - set(admin.list_topics()):
        if time.monotonic() > deadline:
            raise BrokerError(
                f"made, but not visible after {VISIBLE_S:.0f} s: {', '.join(sorted(missing))}; "
                "run `driftline topics create` again once the cluster is healthy"
            )
        time.sleep(0.05)


def partition_counts(settings: Settings) -> dict[str, int]:
    """Partitions of every topic of ours that exists, by base name."""
    admin = admin_client(settings)
    try:
        return {base: len(partitions) for base, partitions in _described(admin, settings).items()}
    finally:
        admin.close()


def _described(admin: Any, settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """Every topic of ours that exists, by base name: its partitions as the broker describes them."""
    from kafka.errors import KafkaError

    names = {settings.topic(topic.base): topic.base for topic in topic_table(settings)}
    try:
        present = [name for name in admin.list_topics() if name in names]
        described = admin.describe_topics(present) if present else []
    except KafkaError as error:
        raise BrokerError(f"the broker at {settings.bootstrap} refused: {type(error).__name__}") from error
    return {names[entry["name"]]: entry["partitions"] for entry in described if entry["name"] in names}


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
    described = _described(admin, settings)
    stamped = True
    for topic in topic_table(settings):
        name = settings.topic(topic.base)
        if topic.base not in described:
            findings.append(Finding("error", f"{name} is missing; run `driftline topics create`"))
            continue
        partitions, wanted = described[topic.base], topic.partitions
        if (topic.base in settings.input_topics or topic.use == "state") and len(partitions) != wanted:
            findings.append(
                Finding(
                    "error",
                    f"{name} has {len(partitions)} partitions, expected {wanted}; set "
                    "DRIFTLINE_PARTITIONS to the input's number (state has one partition for each)",
                )
            )
        copies = min((_copies(partition) for partition in partitions), default=0)
        if copies < settings.replication:  # more of them harm nobody
            findings.append(
                Finding(
                    "warning",
                    f"{name}: replication factor is {copies}, expected {settings.replication} "
                    "(DRIFTLINE_REPLICATION)",
                )
            )
        actual = _configuration(admin, name)
        for entry, value in topic.configuration(settings).items():
            found = actual.get(entry)
            if entry == "message.timestamp.type" and found != value:
                stamped = False
            if entry not in _COMPARED or found in {None, value}:
                continue  # a broker that tells no settings (the embedded one) has none to compare
            level = _COMPARED[entry]
            see = ": see docs/security.md" if entry == "compression.type" else ""
            findings.append(Finding(level, f"{name}: {entry} is {found}, expected {value}{see}"))
    if not stamped:
        findings.append(
            Finding(
                "warning",
                "this broker does not stamp records (LogAppendTime): each session's clock is its own "
                "events' time, and a silent session is never found idle",
            )
        )
    return findings


_COMPARED: Mapping[str, Level] = {
    "message.timestamp.type": "error",
    "compression.type": "error",
    "cleanup.policy": "warning",
    "max.message.bytes": "warning",
    "retention.ms": "warning",
    "min.insync.replicas": "warning",
}
"""Settings that `check` compares. What an attacker could use is an error; an operator may have reasons for the rest."""


def _copies(partition: Mapping[str, Any]) -> int:
    # kafka-python before 3.0 called it otherwise.
    return len(partition["replica_nodes"] if "replica_nodes" in partition else partition["replicas"])


def _configuration(admin: Any, name: str) -> dict[str, str]:
    """The topic's settings as the broker tells them; empty when it tells none."""
    from kafka.admin import ConfigResource, ConfigResourceType
    from kafka.errors import KafkaError

    try:
        answer = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    except (KafkaError, NotImplementedError):
        return {}
    return _config_entries(answer)


def _config_entries(answer: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    stack = [answer]
    while stack:  # the client's answer differs in shape between versions: look for name/value pairs
        item = stack.pop()
        if isinstance(item, dict):
            if "name" in item and "value" in item:
                found[str(item["name"])] = str(item["value"])
            else:
                for key, value in item.items():
                    if isinstance(value, dict) and "value" in value:
                        found[str(key)] = str(value["value"])
                    elif isinstance(key, str) and isinstance(value, str):
                        found[key] = value
                    else:
                        stack.append(value)
        elif isinstance(item, list | tuple):
            stack.extend(item)
    return found


def log_line(record: Record, partitions: int) -> bytes:
    """One line of a log, as ``replay`` reads it.

    >>> log_line(Record("t", 0, 7, 1000, "create", b"k", (), b"{}"), 4).decode()[:60]
    '{"headers":[],"key":"k","offset":7,"partition":0,"partitions'
    """
    key: Any = None if record.key is None else record.key.decode(errors="surrogateescape")
    line: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "partitions": partitions,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "timestamp_type": record.timestamp_type,
        # A header may have no value at all, whatever a client's types say.
        "headers": [[name, (value or b"").decode(errors="replace")] for name, value in record.headers],
        "value_b64": None if record.value is None else base64.b64encode(record.value).decode(),
    }
    try:
        line["key"] = key
        return dumps(line)
    except (TypeError, ValueError):  # a key that is not UTF-8 has no place in JSON text
        line["key"] = None
        line["key_b64"] = base64.b64encode(record.key or b"").decode()
        return dumps(line)


def records(
    settings: Settings, base: str, partitions: Sequence[int] | None = None
) -> Iterator[tuple[Record, int]]:
    """Every record of a topic up to its present end, partition by partition, with the partition count.

    Raises
    ------
    BrokerError
        No broker answers, or the topic is missing.
    """
    from kafka import KafkaConsumer, TopicPartition
    from kafka.errors import KafkaError

    from stream.shell import wire

    wire.install()
    name = settings.topic(base)
    try:
        consumer = KafkaConsumer(
            **settings.kafka(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=4 * settings.message_max_bytes,
        )
    except (KafkaError, OSError) as error:
        raise refused(settings, error) from error
    try:
        known = consumer.partitions_for_topic(name)
        if not known:
            raise BrokerError(
                f"topic {name} does not exist at {settings.bootstrap}, or this principal may not read it; run "
                "`driftline topics create`, see `driftline topics --acls`"
            )
        for number in sorted(known if partitions is None else partitions):
            place = TopicPartition(name, number)
            consumer.assign([place])
            consumer.seek_to_beginning(place)
            end = consumer.end_offsets([place])[place]
            fetched = False
            while consumer.position(place) < end:
                items = consumer.poll(timeout_ms=1000).get(place, [])
                if items and not fetched:
                    # The embedded broker tells the start of the last batch as the end; a fetch is right.
                    fetched, end = True, max(end, consumer.highwater(place) or 0)
                for item in items:
                    if item.offset >= end:
                        break
                    yield (
                        Record(
                            name,
                            number,
                            item.offset,
                            item.timestamp,
                            TIMESTAMP_TYPES.get(item.timestamp_type, "none"),
                            item.key,
                            tuple((header, value) for header, value in item.headers or ()),
                            item.value,
                        ),
                        len(known),
                    )
    except KafkaError as error:
        raise BrokerError(f"reading {name} failed: {type(error).__name__}") from error
    finally:
        consumer.close()
