"""The topics of the bus on a cluster: made, counted and deleted, as `stream.shell.topic_table` has them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError

from models.errors import BrokerError, ConfigError
from stream.settings import Settings
from stream.shell.connection import listens, refused
from stream.shell.topic_table import topic_table

VISIBLE_S = 20.0
"""How long a new topic may take to show in the cluster's metadata (chosen)."""


def admin_client(settings: Settings) -> Any:
    """An admin client, or BrokerError with what kept it from connecting."""
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
        return {base: len(partitions) for base, partitions in described(admin, settings).items()}
    finally:
        admin.close()


def described(admin: Any, settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """Every topic of ours that exists, by base name: its partitions as the broker describes them."""
    names = {settings.topic(topic.base): topic.base for topic in topic_table(settings)}
    try:
        present = [name for name in admin.list_topics() if name in names]
        described = admin.describe_topics(present) if present else []
    except KafkaError as error:
        raise BrokerError(f"the broker at {settings.bootstrap} refused: {type(error).__name__}") from error
    return {names[entry["name"]]: entry["partitions"] for entry in described if entry["name"] in names}
