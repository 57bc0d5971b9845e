"""Throughput as a production cluster is set up: three brokers with three copies, and TLS between worker and brokers.

The worker alone, over the same log as in the throughput runs: against one broker with one copy, as there; against
three brokers that confirm a record once two of three copies have it; and against the same three by TLS, with the
brokers' certificate checked. Runs alternate, a ratio is that of neighbouring runs, and the decisions of all must be
the same bytes. All four brokers run throughout and share one core with load and readers, so that what the second row
costs by wall is for the most part what three brokers cost each other; the CPU is the worker's own.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from benchmarks import results, worker
from benchmarks.load import event_count
from benchmarks.rig import PARTITIONS, PROPERTIES, Rig
from tests.cluster import Cluster, free_ports
from tests.secured import NODE, Authority

BROKERS = 3
REPEATS = 2
"""Turns: A B C C B A."""
PATIENT = {
    "broker.session.timeout.ms": "30000",
    "controller.quorum.fetch.timeout.ms": "15000",
    "controller.quorum.election.timeout.ms": "5000",
    "replica.lag.time.max.ms": "30000",
}
"""Of brokers that share one core, beside Kafka in the tests: one that waits for its turn must not be taken for dead."""
ONE = "one broker, one copy, plaintext"
THREE = "three brokers, three copies, plaintext"
TLS = "three brokers, three copies, TLS"


class Replicated(Rig):
    """Three brokers, each with a listener for TLS beside the plain one, which the rig's own tools use."""

    def brokers(self) -> Cluster:
        """Three nodes; the settings' topics get a copy on each, and two must confirm."""
        self._authority = Authority(self.directory / "tls")
        self._ports = free_ports(BROKERS)
        free = iter(self._ports)

        def listeners(client: int, controller: int) -> dict[str, str]:
            at = f"CLIENT://127.0.0.1:{client},TLS://127.0.0.1:{next(free)}"
            return {
                "listeners": f"{at},CONTROLLER://127.0.0.1:{controller}",
                "advertised.listeners": at,
                "listener.security.protocol.map": "CLIENT:PLAINTEXT,TLS:SSL,CONTROLLER:PLAINTEXT",
            }

        properties = {**PROPERTIES, **PATIENT, **self._authority.stores(NODE)}
        return Cluster(BROKERS, self.directory / "kafka", properties=properties, listeners=listeners)

    def tls(self) -> dict[str, str]:
        """The environment of a worker that reaches the brokers by TLS alone."""
        return {
            "DRIFTLINE_BOOTSTRAP": ",".join(f"127.0.0.1:{port}" for port in self._ports),
            "DRIFTLINE_SECURITY_PROTOCOL": "SSL",
            "DRIFTLINE_SSL_CAFILE": str(self._authority.file),
        }


def compare(
    events: int = worker.EVENTS_EACH, partitions: int = PARTITIONS, repeats: int = REPEATS
) -> dict[str, Any]:
    """Alternating runs of the three; medians, and ratios to the neighbouring run on one broker."""
    items = event_count(events)
    # Both rigs before either has moved this process to the brokers' core.
    one, three = Rig(), Replicated()
    with one, three:
        alone, replicated = (partial(worker.run, rig, "driftline", items, partitions) for rig in (one, three))
        runs = worker.alternate(
            {ONE: alone, THREE: replicated, TLS: partial(replicated, environment=three.tls())}, repeats
        )
    return {
        "events": events,
        "partitions": partitions,
        "programs": worker.spreads(runs),
        "ratios": {name: worker.ratios(runs[name], runs[ONE]) for name in (THREE, TLS)},
    }


COLUMNS = (
    "worker on",
    *worker.COLUMNS[1:-3],
    "× the first row (wall)",
    "× (CPU)",
    "× (CPU for the same core)",
)


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=worker.EVENTS_EACH)
    parser.add_argument("--partitions", type=int, default=PARTITIONS)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    options = parser.parse_args()
    found = compare(options.events, options.partitions, options.repeats)
    results.merge("secured", found)
    results.show("Throughput with three copies and TLS", COLUMNS, worker.rows(found))


if __name__ == "__main__":
    main()
