"""A partition's leader moves while nobody's connection breaks, as after every rolling restart of a cluster."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import NewTopic

from stream.settings import Settings
from tests.cluster import Cluster

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(180)]

PLACE = TopicPartition("moves", 0)


def test_offsets_asked_of_a_leader_that_moved_are_answered_by_both_clients(
    jars: None, tmp_path: Path
) -> None:
    async def scene(cluster: Cluster) -> None:
        settings = Settings(bootstrap=cluster.bootstrap)
        admin = KafkaAdminClient(**settings.kafka())
        blocking = KafkaConsumer(**settings.kafka(), group_id=None)
        waiting = AIOKafkaConsumer(**settings.aiokafka(), group_id=None)
        try:
            admin.create_topics([NewTopic("moves", replica_assignments={0: [1]})])
            await waiting.start()
            blocking.assign([PLACE])
            assert blocking.end_offsets([PLACE]) == await waiting.end_offsets([PLACE]) == {PLACE: 0}

            admin.alter_partition_reassignments({PLACE: [2]})
            deadline = time.monotonic() + 60
            while cluster.leader("moves").number != 2:
                assert time.monotonic() < deadline, "the leader did not move"
                await asyncio.sleep(0.2)

            assert blocking.end_offsets([PLACE]) == await waiting.end_offsets([PLACE]) == {PLACE: 0}
        finally:
            await waiting.stop()
            blocking.close()
            admin.close()

    with Cluster(2, tmp_path / "cluster") as cluster:
        asyncio.run(scene(cluster))
