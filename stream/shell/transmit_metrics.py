"""What the transmitter tells about itself, as Prometheus metrics."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from stream.shell.metrics import LATENCY_BUCKETS, STALLED_S
from stream.transmit.lane import Lane
from stream.transmit.push import KNOWN_ERRORS


class TransmitMeasures:
    """The transmitter's metrics, in a registry of their own.

    Parameters
    ----------
    receivers : collection of str
        Those that the configuration names.
    """

    def __init__(self, receivers: Collection[str]) -> None:
        self.registry = registry = CollectorRegistry()
        self._delivered = Counter(
            "driftline_transmit_delivered",
            "Tokens that their receiver took.",
            ["receiver", "event"],
            registry=registry,
        )
        self._refused = Counter(
            "driftline_transmit_refused",
            "Tokens that their receiver refused for good, by its error.",
            ["receiver", "err"],
            registry=registry,
        )
        self._lost = Counter(
            "driftline_transmit_lost",
            "Records gone from the bus before the receiver was served.",
            ["receiver"],
            registry=registry,
        )
        self._foreign = Counter(
            "driftline_transmit_foreign",
            "Records on the bus that are no tokens of ours, and were not passed on, by reason.",
            ["receiver", "reason"],
            registry=registry,
        )
        self._waiting = Gauge(
            "driftline_transmit_waiting",
            "Tokens that were read for the receiver and not taken; more may wait on the bus.",
            ["receiver"],
            registry=registry,
        )
        self._oldest = Gauge(
            "driftline_transmit_oldest_seconds",
            "How long the oldest token waits for its receiver.",
            ["receiver"],
            registry=registry,
        )
        self._down = Gauge(
            "driftline_transmit_receiver_down",
            "1 while the receiver's endpoint is left alone.",
            ["receiver"],
            registry=registry,
        )
        self._enabled = Gauge(
            "driftline_transmit_enabled",
            "1 while the receiver's stream is enabled; 0 also where it has none.",
            ["receiver"],
            registry=registry,
        )
        self._seconds = Histogram(
            "driftline_transmit_seconds",
            "From a token's record on the bus to the receiver having it.",
            ["receiver"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._receivers = tuple(receivers)
        for name in self._receivers:  # from nought on, or a first increase would be none to Prometheus
            self._lost.labels(name)
        self._broker_answers, self._ready, self._turned_s = True, False, time.monotonic()

    def delivered(self, receiver: str, event: str, seconds: float) -> None:
        """Count a token that was taken."""
        self._delivered.labels(receiver, event.rpartition("/")[2]).inc()
        self._seconds.labels(receiver).observe(seconds)

    def refused(self, receiver: str, err: str) -> None:
        """Count a token that was refused for good; errors that nobody registered stand under one name."""
        self._refused.labels(receiver, err if err in (*KNOWN_ERRORS, "gave_up") else "other").inc()

    def lost(self, receiver: str, count: int) -> None:
        """Count records that were gone."""
        self._lost.labels(receiver).inc(count)

    def foreign(self, receiver: str, reason: str) -> None:
        """Count a record that is not passed on."""
        self._foreign.labels(receiver, reason).inc()

    def note_broker(self, answers: bool) -> None:
        """Note whether the broker answers."""
        self._broker_answers = answers

    def turn(self, lanes: Mapping[str, Lane], now_ms: int, *, serves: bool) -> None:
        """Note that the transmitter turns, whether it is the one that serves, and how its receivers are."""
        self._turned_s, self._ready = time.monotonic(), serves
        for name in self._receivers:
            lane = lanes.get(name)
            oldest = None if lane is None else lane.window.oldest()
            self._waiting.labels(name).set(0 if lane is None else len(lane.window))
            self._oldest.labels(name).set(0 if oldest is None else max(0, now_ms - oldest.stamped_ms) / 1000)
            self._down.labels(name).set(lane is not None and bool(lane.down_why))
            self._enabled.labels(name).set(lane is not None and lane.record.status == "enabled")

    def healthy(self) -> bool:
        """Whether the transmitter turned in the last seconds."""
        return time.monotonic() - self._turned_s < STALLED_S

    def is_ready(self) -> bool:
        """Whether it is healthy, is the one that serves, and the broker answers."""
        return self.healthy() and self._ready and self._broker_answers
