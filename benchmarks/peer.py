"""What the hand-written peers share with the worker: the core, and state in the same topic by the same rules.

A peer holds each partition as the worker does: `Partition` for the states, `Checkpointer` for what is written
to the state topic. It differs in the client alone: who reads, who sends, who waits.
"""

from __future__ import annotations

import argparse
import secrets
import time
from collections.abc import Sequence
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from stream import bootstrap
from stream.core.judge import Judge
from stream.core.partition import Partition
from stream.events import Output, Record
from stream.settings import Settings
from stream.shell.checkpoints import STATE_TOPIC, Checkpointer, Owner, StateRecord, fold

APPEND = 2
"""librdkafka's number for a stamp by the broker (LogAppendTime)."""


def arguments(description: str) -> argparse.Namespace:
    """The command line of the worker, as far as peers have it: settings come through DRIFTLINE_*."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--mode", default="enforce", choices=("shadow", "enforce"))
    parser.add_argument("--stage", default="judge", choices=("judge",))
    return parser.parse_args()


def consumer_options(settings: Settings) -> dict[str, Any]:
    """Options of a consumer that acknowledges by hand and is not told of the end of a partition."""
    return {
        "bootstrap.servers": settings.bootstrap,
        "group.id": f"{settings.prefix}{settings.group}-judge",
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "session.timeout.ms": int(settings.session_timeout_s * 1000),
    }


def producer_options(settings: Settings) -> dict[str, Any]:
    """Options of a producer: Kafka's partitioner, every record confirmed by all replicas in sync."""
    return {
        "bootstrap.servers": settings.bootstrap,
        "partitioner": "murmur2_random",
        "acks": "all",
        "enable.idempotence": True,
        "queue.buffering.max.messages": 500_000,
        "message.max.bytes": settings.message_max_bytes + 65_536,
    }


class Held:
    """One input partition: its states, and what of them is durable."""

    def __init__(self, settings: Settings, number: int) -> None:
        recovered = fold(stored(settings, number))
        self.number = number
        self.partition = (
            Partition.load(recovered.states, settings.partitions)
            if recovered.offset >= 0
            else Partition.empty(settings.partitions)
        )
        self.checkpointer = Checkpointer(Owner(recovered.epoch + 1, secrets.token_hex(4)), recovered)
        self.dirty = False


class Peer:
    """The core behind a client: judge a batch, send what it led to, make the states durable.

    Parameters
    ----------
    settings : Settings
        The worker's own.
    mode : str
        ``shadow`` or ``enforce``.
    producer : confluent_kafka.Producer
        Sends outputs and states; `flush` confirms.
    """

    def __init__(self, settings: Settings, mode: str, producer: Producer) -> None:
        self.settings = settings
        self.producer = producer
        self.judge: Judge = bootstrap.judge(settings, mode=mode)
        bootstrap.spare_the_collector()
        self.held: dict[int, Held] = {}
        self._state_topic = settings.topic(STATE_TOPIC)
        self._failed: list[object] = []
        self._due = time.monotonic() + settings.checkpoint_s

    def work(self, records: Sequence[Record]) -> None:
        """Judge `records`, of any partitions, and hand their outputs to the producer; `confirm` comes after."""
        by_partition: dict[int, list[Record]] = {}
        for record in records:
            by_partition.setdefault(record.partition, []).append(record)
        for number, batch in by_partition.items():
            held = self.held.get(number)
            if held is None:
                held = self.held[number] = Held(self.settings, number)
            step = self.judge.judge(held.partition, batch)
            for output in step.outputs:
                self._send(output)
            held.partition.apply(step.changes)
            held.checkpointer.note(step.changes)
            held.dirty = True

    def confirm(self) -> None:
        """Return once the broker has confirmed everything sent.

        Raises
        ------
        RuntimeError
            A record was refused, or not confirmed within a minute.
        """
        if self.producer.flush(60) or self._failed:
            raise RuntimeError(f"the broker did not confirm: {self._failed[:1]}")

    def checkpoint_due(self) -> bool:
        """Whether the last checkpoint is `Settings.checkpoint_s` ago."""
        return time.monotonic() >= self._due

    def checkpoint(self) -> dict[int, int]:
        """Make all states durable; gives, by partition, the offset up to which input may be acknowledged.

        What `work` sent must be confirmed before. Ledgers go after the states that they complete.
        """
        open_ = [held for held in self.held.values() if held.dirty]
        for held in open_:
            for item in held.checkpointer.begin(held.partition.states, held.partition.offset):
                self._state(held.number, item)
        self.confirm()
        for held in open_:
            self._state(held.number, held.checkpointer.seal())
        self.confirm()
        done = {held.number: held.checkpointer.done() for held in open_}
        for held in open_:
            held.dirty = False
        self._due = time.monotonic() + self.settings.checkpoint_s
        return done

    def _send(self, output: Output) -> None:
        self._produce(
            self.settings.topic(output.topic),
            key=output.key,
            value=output.value,
            headers=list(output.headers) or None,
        )

    def _state(self, number: int, item: StateRecord) -> None:
        self._produce(
            self._state_topic, key=item.key, value=item.value, headers=list(item.headers), partition=number
        )

    def _produce(self, topic: str, **record: Any) -> None:
        while True:
            try:
                self.producer.produce(topic, on_delivery=self._delivered, **record)
                return
            except BufferError:
                self.producer.poll(0.05)

    def _delivered(self, error: object, _message: object) -> None:
        if error is not None:
            self._failed.append(error)


def stored(settings: Settings, number: int) -> list[StateRecord]:
    """Every record of one partition of the state topic, to its present end."""
    consumer = Consumer({**consumer_options(settings), "group.id": f"{settings.prefix}unused"})
    place = TopicPartition(settings.topic(STATE_TOPIC), number, 0)
    _, end = consumer.get_watermark_offsets(place, 10)
    found: list[StateRecord] = []
    if end:
        consumer.assign([place])
        while True:
            for message in consumer.consume(1000, 0.5):
                found.append(
                    StateRecord(message.key() or b"", tuple(message.headers() or ()), message.value())
                )
            (at,) = consumer.position([place])
            if at.offset >= end:
                break
    consumer.close()
    return found
