"""Who reads which partition: each topic is shared out evenly, and what a worker has stays with it.

The assignors of Kafka's clients even out the sum over all topics. A worker that has both topics of a stage then gives one of them
away whole, and one of two workers does all the acting, or all of a busy tenant's judging.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata


def shares(
    partitions: Mapping[str, int], readers: Mapping[str, set[str]], had: Mapping[TopicPartition, str]
) -> dict[str, list[TopicPartition]]:
    """What each member gets of each topic: the same number of partitions, or one more.

    Parameters
    ----------
    partitions : how many each topic has
    readers : the topics that each member reads
    had : the member that had a partition before; it keeps it, while that is no more than its share
    """
    given: dict[str, list[TopicPartition]] = {member: [] for member in readers}
    for topic in sorted(partitions):
        places = [TopicPartition(topic, n) for n in range(partitions[topic])]
        before = Counter(had[place] for place in places if place in had)
        # One more goes to those that have least of the topics before this one, so that the sums come out even too.
        members = sorted(
            (member for member in readers if topic in readers[member]),
            key=lambda member: (len(given[member]), -before[member], member),
        )
        if not members:
            continue
        share, more = divmod(len(places), len(members))
        room = {member: share + (n < more) for n, member in enumerate(members)}
        left = []
        for place in places:
            if room.get(owner := had.get(place, ""), 0):
                room[owner] -= 1
                given[owner].append(place)
            else:
                left.append(place)
        free = (member for member in members for _ in range(room[member]))
        for place, member in zip(left, free, strict=True):
            given[member].append(place)
    return given


class Assignor(StickyPartitionAssignor):  # type: ignore[misc]
    """Tells the group, as the sticky assignor does, what its member had; shares out by `shares`."""

    @classmethod
    def assign(
        cls, cluster: Any, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Called by the group's leader; see `aiokafka.coordinator.assignors.abstract`."""
        told = {member: cls.parse_member_metadata(metadata) for member, metadata in members.items()}
        readers = {member: set(metadata.subscription) for member, metadata in told.items()}
        topics = {topic for subscribed in readers.values() for topic in subscribed}
        partitions = {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in topics}
        had: dict[TopicPartition, str] = {}
        # A member that slept through a rebalance claims what others were given since: the later generation is right.
        for member in sorted(told, key=lambda member: (told[member].generation, member)):
            had.update(dict.fromkeys(told[member].partitions, member))
        return {
            member: ConsumerProtocolMemberAssignment(cls.version, _by_topic(places), b"")
            for member, places in shares(partitions, readers, had).items()
        }


def _by_topic(places: list[TopicPartition]) -> list[tuple[str, list[int]]]:
    by_topic: dict[str, list[int]] = {}
    for place in places:
        by_topic.setdefault(place.topic, []).append(place.partition)
    return [(topic, sorted(numbers)) for topic, numbers in by_topic.items()]
