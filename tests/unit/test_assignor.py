"""Each topic shared out evenly, and no partition moved that could stay."""

from __future__ import annotations

from collections import Counter

from aiokafka import TopicPartition
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from hypothesis import given
from hypothesis import strategies as st

from stream.shell.assignor import Assignor, shares

TOPICS = ["agent.cases.v1", "agent.feedback.v1", "tenant.events.v1"]
Members = st.sets(st.sampled_from("abcdef"), min_size=1)
Partitions = st.dictionaries(st.sampled_from(TOPICS), st.integers(0, 9))


class Cluster:
    """What the assignor asks of the cluster's metadata."""

    def __init__(self, partitions: dict[str, int]) -> None:
        self._partitions = partitions

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(self._partitions[topic])) if topic in self._partitions else None


def _owners(given_: dict[str, list[TopicPartition]]) -> dict[TopicPartition, str]:
    return {place: member for member, places in given_.items() for place in places}


@given(partitions=Partitions, generations=st.lists(Members, min_size=1, max_size=4))
def test_each_partition_has_one_reader_each_topic_is_even_and_so_are_the_sums(
    partitions: dict[str, int], generations: list[set[str]]
) -> None:
    had: dict[TopicPartition, str] = {}
    for members in generations:
        given_ = shares(partitions, {member: set(partitions) for member in members}, had)
        had = _owners(given_)
        assert sum(map(len, given_.values())) == len(had) == sum(partitions.values())
        for topic in partitions:
            of_topic = Counter(dict.fromkeys(members, 0))
            of_topic.update(member for place, member in had.items() if place.topic == topic)
            assert max(of_topic.values()) - min(of_topic.values()) <= 1
        sizes = [len(places) for places in given_.values()]
        assert max(sizes) - min(sizes) <= 1


@given(partitions=Partitions, before=Members, after=Members)
def test_what_a_member_has_stays_with_it_up_to_its_share(
    partitions: dict[str, int], before: set[str], after: set[str]
) -> None:
    topics = set(partitions)
    had = _owners(shares(partitions, dict.fromkeys(before, topics), {}))
    now = _owners(shares(partitions, dict.fromkeys(after, topics), had))
    if before == after:
        assert now == had
    for topic, n in partitions.items():
        kept = Counter(
            member for place, member in now.items() if place.topic == topic and had[place] == member
        )
        for member in before & after:
            owned = sum(1 for place, owner in had.items() if place.topic == topic and owner == member)
            assert kept[member] >= min(owned, n // len(after))


def test_a_worker_that_has_all_of_two_topics_gives_half_of_each_to_the_next() -> None:
    partitions = {"cases": 4, "feedback": 4}
    every = [TopicPartition(topic, n) for topic in partitions for n in range(4)]
    first = Assignor._metadata(list(partitions), every, 1)
    second = ConsumerProtocolMemberMetadata(Assignor.version, list(partitions), b"")
    told = Assignor.assign(Cluster(partitions), {"first": first, "second": second})
    assert told["first"].assignment == [("cases", [0, 1]), ("feedback", [0, 1])]
    assert told["second"].assignment == [("cases", [2, 3]), ("feedback", [2, 3])]


def test_of_two_that_claim_a_partition_the_one_of_the_later_generation_had_it() -> None:
    place = TopicPartition("cases", 0)
    told = Assignor.assign(
        Cluster({"cases": 1}),
        {
            "woken": Assignor._metadata(["cases"], [place], 3),
            "awake": Assignor._metadata(["cases"], [place], 4),
        },
    )
    assert told["awake"].partitions() == [place]
    assert told["woken"].partitions() == []


def test_a_topic_goes_to_those_that_read_it_and_one_that_does_not_exist_to_nobody() -> None:
    told = Assignor.assign(
        Cluster({"old": 2, "new": 2}),
        {
            "old": ConsumerProtocolMemberMetadata(Assignor.version, ["old"], b""),
            "new": ConsumerProtocolMemberMetadata(Assignor.version, ["old", "new", "absent"], b"garbage"),
        },
    )
    assert len(told["old"].partitions()) == 1
    assert ("new", [0, 1]) in told["new"].assignment
