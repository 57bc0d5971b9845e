"""What the bridge tells about itself, as Prometheus metrics."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from models.contracts import Outcome
from stream.bridge.lane import Lane
from stream.shell.metrics import LATENCY_BUCKETS, STALLED_S


class BridgeMeasures:
    """The bridge's metrics, in a registry of their own.

    Parameters
    ----------
    brokers : collection of str
        Those that the configuration names. Hosts may declare any: what is told of others stands under one name.
    """

    def __init__(self, brokers: Collection[str]) -> None:
        self._brokers = frozenset(brokers)
        self.registry = registry = CollectorRegistry()
        self._outcomes = Counter(
            "driftline_bridge_outcomes",
            "Outcomes confirmed by the bus.",
            ["broker", "status"],
            registry=registry,
        )
        self._refused = Counter(
            "driftline_bridge_refused",
            "Tokens that were not acted on, by reason.",
            ["reason"],
            registry=registry,
        )
        self._waiting = Gauge(
            "driftline_bridge_waiting",
            "Credentials that wait for their provider.",
            ["broker"],
            registry=registry,
        )
        self._down = Gauge(
            "driftline_bridge_provider_down",
            "1 while the provider is left alone.",
            ["broker"],
            registry=registry,
        )
        self._seconds = Histogram(
            "driftline_bridge_seconds",
            "From a revocation's stamp to its credential dead at the provider.",
            ["broker"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.broker_answers = True  # at the last time it was asked
        self._ready, self._turned_s = False, time.monotonic()

    def told(self, outcome: Outcome) -> None:
        """Count an outcome."""
        known = outcome.broker if outcome.broker in self._brokers else "(not configured)"
        self._outcomes.labels(known, outcome.status).inc()
        if outcome.status in ("done", "wider") and outcome.latency_ms is not None:
            self._seconds.labels(known).observe(outcome.latency_ms / 1000)

    def refused(self, reason: str) -> None:
        """Count a token that was refused."""
        self._refused.labels(reason).inc()

    def turn(self, lanes: Mapping[str, Lane], *, ready: bool) -> None:
        """Note that the bridge reads, and how its providers are."""
        self.alive()
        self._ready = ready
        for broker, lane in lanes.items():
            self._waiting.labels(broker).set(lane.waiting)
            self._down.labels(broker).set(bool(lane.down_why))

    def note_broker(self, answers: bool) -> None:
        """Note whether the broker answers."""
        self.broker_answers = answers

    def alive(self) -> None:
        """Note that the bridge is at work, be it only reading what others did."""
        self._turned_s = time.monotonic()

    def healthy(self) -> bool:
        """Whether the bridge read in the last seconds."""
        return time.monotonic() - self._turned_s < STALLED_S

    def is_ready(self) -> bool:
        """Whether it is healthy, reads partitions, and the broker answers."""
        return self.healthy() and self._ready and self.broker_answers
