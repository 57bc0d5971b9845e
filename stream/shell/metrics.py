"""What the worker tells about itself: Prometheus metrics, health and readiness over HTTP.

Health says that the event loop turns; readiness that every stage has joined its group, holds the state of
each partition assigned to it, and that the broker answers. Loopback needs no password; any other address
needs a bearer token.
"""

from __future__ import annotations

import collections
import hmac
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from ipaddress import ip_address
from itertools import accumulate
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import HistogramMetricFamily

from models.errors import ConfigError
from stream.events import DECISIONS, QUARANTINE, REVOCATIONS, Output

LATENCY_BUCKETS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
STALLED_S = 5.0
"""A loop that has not turned for so long is not healthy (chosen: a batch takes well under a second)."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


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


class Measures:
    """The worker's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        place = ["topic", "partition"]

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"driftline_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"driftline_{name}", text, labels, registry=registry)

        self.build = gauge(
            "build_info", "1; what runs, in its labels.", "version", "core", "release", "policy"
        )
        self.ready = gauge("ready", "1 while every stage is joined and recovered and the broker answers.")
        self.records = counter("records", "Input records read, by stage.", "stage")
        self.decisions = counter(
            "decisions", "Decisions confirmed, repeats after a crash included.", "verdict"
        )
        self.outputs = counter("outputs", "Records confirmed by the broker, by topic.", "topic")
        self.quarantine = counter("quarantine", "Records quarantined, by reason.", "reason")
        self.ticks = counter("ticks", "Clock ticks appended to quiet partitions.")
        self.checkpoints = counter("checkpoints", "Checkpoints completed.")
        self.rebalances = counter("rebalances", "Assignments of partitions received, by stage.", "stage")
        self.skipped = counter("skipped", "Records that retention removed before they were judged.", *place)
        self.oldest = gauge("checkpoint_age_seconds", "Age of the oldest change that is not yet durable.")
        self.states = gauge("states", "States held in memory.", *place)
        self.state_bytes = gauge("state_bytes", "Packed bytes of those states.", *place)
        self.lag = gauge(
            "lag_records", "Records between the last one judged and the partition's end.", *place
        )
        self.undecided = gauge(
            "oldest_undecided_seconds",
            "How long records of the partition have been waiting; 0 if none do.",
            *place,
        )
        self.batch = Histogram(
            "driftline_batch_records",
            "Records judged at once.",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
            registry=registry,
        )
        self.judge_seconds = Histogram(
            "driftline_judge_seconds",
            "Seconds in the core for one batch.",
            buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0),
            registry=registry,
        )
        self.recovery = Histogram(
            "driftline_recovery_seconds",
            "Seconds from an assignment to the states of its partitions.",
            buckets=(0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0),
            registry=registry,
        )
        self.decision_seconds = Latency(
            "driftline_decision_seconds", "From a record's stamp to its outputs confirmed.", registry
        )
        self.revocation_seconds = Latency(
            "driftline_revocation_seconds",
            "From a case's stamp to its batch confirmed, for every case of a batch with a revocation.",
            registry,
        )
        self.turned = time.monotonic()  # when the event loop last turned
        self.broker_answers = True  # at the last time it was asked

    def confirmed(
        self, stage: str, stamps_ms: Sequence[int], outputs: Sequence[Output], now_s: float
    ) -> None:
        """Count a batch whose outputs the broker has confirmed; `stamps_ms` are its records' timestamps."""
        for topic, n in collections.Counter(output.topic for output in outputs).items():
            self.outputs.labels(topic).inc(n)
        for verdict, n in collections.Counter(_verdict(o) for o in outputs if o.topic == DECISIONS).items():
            self.decisions.labels(verdict).inc(n)
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

    def identify(self, core: str, release: str, policy: str) -> None:
        """Say what runs."""
        self.build.labels(version("driftline"), core, release, policy).set(1)


def _verdict(output: Output) -> str:
    # Keys are sorted, and no other key of a decision is called so: cheaper than parsing the record.
    start = output.value.rfind(b'"verdict":"')
    return output.value[start + 11 : output.value.find(b'"', start + 11)].decode() if start >= 0 else "?"


class HealthServer:
    """``/metrics``, ``/healthz`` and ``/readyz`` over HTTP, on a thread of its own.

    Parameters
    ----------
    measures : Measures
        What is told.
    host, port
        Where to listen.
    token_file : Path or None
        Holds the bearer token, read at each request so that it can be rotated; needed beyond loopback.

    Raises
    ------
    ConfigError
        The address is not loopback and there is no token, or the port is taken.
    """

    def __init__(self, measures: Measures, host: str, port: int, token_file: Path | None) -> None:
        if token_file is None and not _loopback(host):
            raise ConfigError(
                f"metrics on {host} would be open to the network: set DRIFTLINE_METRICS_TOKEN_FILE to a file "
                "with a bearer token, or listen on 127.0.0.1"
            )
        if token_file is not None and not _token(token_file):
            raise ConfigError(f"{token_file} holds no bearer token; write one line of at least 16 characters")
        routes: dict[str, Callable[[], tuple[bool, bytes]]] = {
            "/metrics": lambda: (True, generate_latest(measures.registry)),
            "/healthz": lambda: _answer(measures.healthy(), "the event loop stands still"),
            "/readyz": lambda: _answer(measures.is_ready(), "not ready: joining, recovering, or no broker"),
        }

        class Handler(BaseHTTPRequestHandler):
            timeout = 10  # of a connection that says nothing

            def do_GET(self) -> None:
                if token_file is not None and not self._allowed(_token(token_file)):
                    return self._send(401, b"bearer token required\n")
                route = routes.get(self.path.split("?")[0])
                if route is None:
                    return self._send(404, b"try /metrics, /healthz or /readyz\n")
                good, body = route()
                return self._send(200 if good else 503, body)

            def _allowed(self, token: str) -> bool:
                given = self.headers.get("Authorization", "").removeprefix("Bearer ")
                return bool(token) and hmac.compare_digest(given.encode(), token.encode())

            def _send(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", CONTENT_TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"metrics cannot listen on {host}:{port} ({error}); choose another port with --metrics-port, "
                "or 0 for none"
            ) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port in use."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def _answer(good: bool, otherwise: str) -> tuple[bool, bytes]:
    return good, b"ok\n" if good else f"{otherwise}\n".encode()


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _token(path: Path) -> str:
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""  # no token lets nobody in
    return token if len(token) >= 16 else ""
