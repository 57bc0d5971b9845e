"""The peer to beat: a loop over confluent-kafka, written by hand around the same core.

Reads up to 500 records, judges them, sends what they led to and *flushes*; every two seconds the states are
written to the state topic and confirmed, and only then are the offsets committed. What it guarantees: every
decision at least once, and none lost by a crash of this one process or of its broker's leader. What it does not
do, and the worker does: hand partitions over in a rebalance without a pause, fence an owner that was paused,
advance a quiet partition's clock, go back when a commit ran ahead, count anything.
"""

from __future__ import annotations

import signal
import sys

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from benchmarks.peer import APPEND, Peer, arguments, consumer_options, producer_options
from stream.events import EVENTS, Record
from stream.settings import Settings

WAIT_S = 0.01
"""How long a batch may wait to be full: as in the loop that the targets were set against."""


def record(message: Message) -> Record:
    """A confluent message as the core reads it."""
    kind, stamp = message.timestamp()
    return Record(
        message.topic(),
        message.partition(),
        message.offset(),
        stamp,
        "append" if kind == APPEND else "create",
        message.key(),
        tuple(message.headers() or ()),
        message.value(),
    )


def main() -> None:
    """Run until SIGTERM."""
    options = arguments(__doc__ or "")
    settings = Settings.from_environment()
    topic = settings.topic(EVENTS)
    peer = Peer(settings, options.mode, Producer(producer_options(settings)))
    consumer = Consumer(consumer_options(settings))
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))

    def acknowledge() -> None:
        offsets = [TopicPartition(topic, number, done + 1) for number, done in peer.checkpoint().items()]
        if offsets:
            consumer.commit(offsets=offsets, asynchronous=False)

    def revoked(_consumer: Consumer, places: list[TopicPartition]) -> None:
        acknowledge()
        for place in places:
            peer.held.pop(place.partition, None)

    consumer.subscribe([topic], on_revoke=revoked)
    while not stopping:
        messages = consumer.consume(settings.batch_max, WAIT_S)
        for message in messages:
            if message.error():
                sys.exit(f"the consumer failed: {message.error()}")
        if messages:
            peer.work([record(message) for message in messages])
            peer.confirm()
        if peer.checkpoint_due():
            acknowledge()
    acknowledge()
    consumer.close()


if __name__ == "__main__":
    main()
