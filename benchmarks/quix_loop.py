"""The second peer: a quixstreams application around the same core.

A `StreamingDataFrame` hands each record to a sink, which quixstreams flushes before it commits offsets: its
own seam for "outputs first, then the acknowledgement". The sink judges in batches of up to 500, or whenever
the consumer has nothing more, and sends at once; at the commit, every two seconds, it waits for the confirmations and
writes the states to the same state topic. At least once, as the other two. quixstreams' own state store is not
used: one write for each event to RocksDB and its changelog would be slower than the core's packed states.
Rebalances are quixstreams' own: a revoked partition is flushed and committed; this program does not drop what
it held, so it measures one process, not a group.
"""

from __future__ import annotations

import logging
import tempfile
from typing import Any

from confluent_kafka import Producer
from quixstreams import Application
from quixstreams.sinks.base import BaseSink

from benchmarks.peer import Peer, arguments, producer_options
from stream.events import EVENTS, Record
from stream.settings import Settings

POLL_S = 0.005
"""How long a poll waits for a record; a poll that finds none ends the batch."""


class JudgeSink(BaseSink):
    """Judges what it is given, in batches; its flush makes everything durable."""

    def __init__(self, peer: Peer) -> None:
        super().__init__()
        self._peer = peer
        self._open: list[Record] = []
        self._at_tick = 0

    def add(
        self, value: Any, key: Any, timestamp: int, headers: Any, topic: str, partition: int, offset: int
    ) -> None:
        """Take one record; judge when the batch is full."""
        self._open.append(
            Record(topic, partition, offset, timestamp, "append", key, tuple(headers or ()), value)
        )
        if len(self._open) >= self._peer.settings.batch_max:
            self._judge()

    def tick(self) -> None:
        """After each poll: nothing added since the last one means that nothing waits."""
        if self._open and len(self._open) == self._at_tick:
            self._judge()
        self._at_tick = len(self._open)

    def flush(self) -> None:
        """Outputs confirmed, states durable; quixstreams commits the offsets after it."""
        self._judge()
        self._peer.confirm()
        self._peer.checkpoint()

    def _judge(self) -> None:
        if self._open:
            records, self._open = self._open, []
            self._peer.work(records)
        self._peer.producer.poll(0)


def main() -> None:
    """Run until SIGTERM."""
    options = arguments(__doc__ or "")
    settings = Settings.from_environment()
    logging.getLogger("quixstreams").setLevel(logging.WARNING)
    app = Application(
        broker_address=settings.bootstrap,
        consumer_group=f"{settings.prefix}{settings.group}-judge",
        auto_offset_reset="earliest",
        commit_interval=settings.checkpoint_s,
        consumer_poll_timeout=POLL_S,
        consumer_extra_config={"session.timeout.ms": int(settings.session_timeout_s * 1000)},
        producer_extra_config={"acks": "all"},
        auto_create_topics=False,
        state_dir=tempfile.mkdtemp(prefix="quix"),
        loglevel="WARNING",
    )
    # quixstreams' own producer would do as well; one client for outputs and states keeps their order simple.
    sink = JudgeSink(Peer(settings, options.mode, Producer({**producer_options(settings), "linger.ms": 5})))
    frame = app.dataframe(
        app.topic(settings.topic(EVENTS), key_deserializer="bytes", value_deserializer="bytes")
    )
    frame.sink(sink)
    app._dataframe_registry.register_periodic_task(sink.tick)  # what windows with timeouts use themselves
    app.run()


if __name__ == "__main__":
    main()
