"""What the worker tells about itself, as Prometheus metrics.

Health says that the event loop turns; readiness that every stage has joined its group, holds the state of
each partition assigned to it, and that the broker answers.
"""

from __future__ import annotations

import collections
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from itertools import accumulate
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import HistogramMetricFamily

from stream.events import DECISIONS, QUARANTINE, REVOCATIONS, Output

BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
CORE_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)
RECOVERY_BUCKETS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0)
LATENCY_BUCKETS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
STALLED_S = 5.0
"""A loop that has not turned for so long is not healthy (chosen: a batch takes well under a second)."""


class Latency:
    """A histogram that takes many observations at once; a Prometheus collector.

    Parameters
    ----------
    name, text : str
        Name with its unit, and the help line.
    registry : CollectorRegistry
        Where it is shown.
    """

    def __init__(self, name: str, text: str, registry: CollectorRegistry) -> None:
        self.name, self.text = name, text
        self._counts = [0] * (len(LATENCY_BUCKETS) + 1)
        self._sum = 0.0
        registry.register(self)

    def observe(self, seconds: Iterable[float]) -> None:
        """Count each of `seconds`; a negative one (clocks differ) counts as nought."""
        counts = self._counts
        for value in seconds:
            counts[bisect_left(LATENCY_BUCKETS, value)] += 1
            self._sum += max(0.0, value)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The one family, for the registry."""
        totals = list(accumulate(self._counts))
        bounds = [*(f"{bound:g}" for bound in LATENCY_BUCKETS), "+Inf"]
        family = HistogramMetricFamily(self.name, self.text)
        family.add_metric([], list(zip(bounds, totals, strict=True)), self._sum)
        yield family


class Identity(NamedTuple):
    """What runs: core, and the release and policy under which sessions begin, by their names; empty where nothing is judged."""

    core: str
    release: str = ""
    policy: str = ""


class Measures:
    """The worker's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        place = ["topic", "partition"]

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"driftline_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"driftline_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: Sequence[float]) -> Histogram:
            return Histogram(f"driftline_{name}", text, buckets=buckets, registry=registry)

        def latency(name: str, text: str) -> Latency:
            return Latency(f"driftline_{name}", text, registry)

        names = ("version", "core", "release", "policy")
        self.build = gauge("build_info", "1; what runs, in its labels.", *names)
        self._running: frozenset[Identity] = frozenset()
        self.ready = gauge("ready", "1 while every stage is joined and recovered and the broker answers.")
        self.records = counter("records", "Input records read, by stage.", "stage")
        text = "Decisions confirmed, repeats after a crash included."
        self.decisions = counter("decisions", text, "verdict")
        text = "Decisions with a mark, by mark: what was unusual about the record or the session."
        self.marked = counter("marked_decisions", text, "mark")
        self.outputs = counter("outputs", "Records confirmed by the broker, by topic.", "topic")
        text = "Log10 of what a bet against the calibration has won, by tenant with a promise; at 2 traffic is another."
        self.calibration = gauge("calibration_wealth_log10", text, "tenant", "of")
        text = "Sessions whose revocations for drift are held, dropped, awaited of a broker, failed there or overdue."
        self.revocations = gauge("revocations", text, "standing")
        self.quarantine = counter("quarantine", "Records quarantined, by reason.", "reason")
        self.ticks = counter("ticks", "Clock ticks appended to quiet partitions.")
        self.checkpoints = counter("checkpoints", "Checkpoints completed.")
        self.rebalances = counter("rebalances", "Assignments of partitions received, by stage.", "stage")
        self.skipped = counter("skipped", "Records that retention removed before they were judged.", *place)
        self.oldest = gauge("checkpoint_age_seconds", "Age of the oldest change that is not yet durable.")
        self.states = gauge("states", "States held in memory.", *place)
        self.state_bytes = gauge("state_bytes", "Packed bytes of those states.", *place)
        text = "Records between the last one judged and the partition's end."
        self.lag = gauge("lag_records", text, *place)
        text = "How long records of the partition have been waiting; 0 if none do."
        self.undecided = gauge("oldest_undecided_seconds", text, *place)
        self.batch = histogram("batch_records", "Records judged at once.", BATCH_BUCKETS)
        self.judge_seconds = histogram("judge_seconds", "Seconds in the core for one batch.", CORE_BUCKETS)
        text = "Seconds from an assignment to the states of its partitions."
        self.recovery = histogram("recovery_seconds", text, RECOVERY_BUCKETS)
        text = "From a record's stamp to its outputs confirmed."
        self.decision_seconds = latency("decision_seconds", text)
        text = "From a case's stamp to its batch confirmed, for every case of a batch with a revocation."
        self.revocation_seconds = latency("revocation_seconds", text)
        self.turned = time.monotonic()  # when the event loop last turned
        self.broker_answers = True  # at the last time it was asked

    def confirmed(
        self, stage: str, stamps_ms: Sequence[int], outputs: Sequence[Output], now_s: float
    ) -> None:
        """Count a batch whose outputs the broker has confirmed; `stamps_ms` are its records' timestamps."""
        for topic, n in collections.Counter(output.topic for output in outputs).items():
            self.outputs.labels(topic).inc(n)
        decided = [output for output in outputs if output.topic == DECISIONS]
        for verdict, n in collections.Counter(_verdict(output) for output in decided).items():
            self.decisions.labels(verdict).inc(n)
        for mark, n in collections.Counter(mark for output in decided for mark in _marks(output)).items():
            self.marked.labels(mark).inc(n)
        refused = (dict(o.headers).get("reason", b"?") for o in outputs if o.topic == QUARANTINE)
        for reason, n in collections.Counter(refused).items():
            self.quarantine.labels(reason.decode()).inc(n)
        ages = [now_s - stamp / 1000 for stamp in stamps_ms]
        if stage == "judge":
            self.decision_seconds.observe(ages)
        elif any(output.topic == REVOCATIONS for output in outputs):
            self.revocation_seconds.observe(ages)

    def healthy(self) -> bool:
        """Whether the event loop turned in the last seconds."""
        return time.monotonic() - self.turned < STALLED_S

    def is_ready(self) -> bool:
        """Whether the worker is healthy and ready."""
        return self.healthy() and bool(self.registry.get_sample_value("driftline_ready"))

    def identify(self, running: frozenset[Identity]) -> None:
        """Say what runs from now on: several where partitions were given different releases."""
        if running == self._running:
            return
        self._running = running
        self.build.clear()
        for identity in running:
            self.build.labels(version("driftline"), *identity).set(1)


def _verdict(output: Output) -> str:
    # Keys are sorted, and no other key of a decision is called so: cheaper than parsing the record.
    start = output.value.rfind(b'"verdict":"')
    return output.value[start + 11 : output.value.find(b'"', start + 11)].decode() if start >= 0 else "?"


def _marks(output: Output) -> list[str]:
    # The same; a mark is a word of ours, so that the list holds no bracket.
    start = output.value.rfind(b'"marks":[') + 9
    listed = output.value[start : output.value.find(b"]", start)] if start >= 9 else b""
    return [mark.strip(b'"').decode() for mark in listed.split(b",") if mark]
