"""A comparison of two times as Prometheus metrics, for the textfile collector of a node exporter: the report is a job, and jobs are not scraped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from stream.offline.drift import Moved, Report, Tenant, advice


class Sample(NamedTuple):
    """A number, with the values of its metric's labels."""

    metric: str
    labels: tuple[str, ...]
    value: float


METRICS = {
    "feature_psi": ("How far a feature has moved: its population stability index.", ("tenant", "feature")),
    "feature_beyond_chance": ("The same, less what chance makes of it.", ("tenant", "feature")),
    "score_beyond_chance": ("How far scores have moved, less what chance makes of it.", ("tenant",)),
    "tool_calls_ratio": ("Of the calls, those to a tool.", ("tenant", "tool", "time")),
    "new_tools_ratio": ("Of the calls now, those to tools that were not called before.", ("tenant",)),
    "undeclared_ratio": ("Of the calls, those to tools that no catalogue lists.", ("tenant", "time")),
    "abstained_ratio": ("Of the calls, those that were not judged.", ("tenant", "time")),
    "alerts_with_verdict": ("Sessions alerted now on which there is a label.", ("tenant",)),
    "alerts_confirmed": ("Of these, those that were hijacked.", ("tenant",)),
    "suggests": ("1 where a line of the rule suggests something, else 0.", ("tenant", "rule")),
}
"""Metrics, without ``driftline_drift_`` before them: what they tell, and their labels."""


def write(report: Report, path: Path) -> None:
    """Write all metrics of a comparison to `path`, whole or not at all."""
    registry = CollectorRegistry()
    gauges = {
        name: Gauge(f"driftline_drift_{name}", text, labels, registry=registry)
        for name, (text, labels) in METRICS.items()
    }
    for sample in samples(report):
        gauges[sample.metric].labels(*sample.labels).set(sample.value)
    write_to_textfile(str(path), registry)


def samples(report: Report) -> Iterator[Sample]:
    """What is told of all tenants."""
    for one in report.tenants:
        yield from _of_tenant(one)
    for line in advice(report):
        yield Sample("suggests", (line.tenant, line.rule), line.holds)


def _of_tenant(one: Moved) -> Iterator[Sample]:
    for feature, shift in one.features:
        yield Sample("feature_psi", (one.tenant, feature), shift.psi)
        yield Sample("feature_beyond_chance", (one.tenant, feature), shift.beyond_chance)
    yield Sample("score_beyond_chance", (one.tenant,), one.scores.beyond_chance)
    for tool, before, now, _ in one.tools:
        yield Sample("tool_calls_ratio", (one.tenant, tool, "before"), before)
        yield Sample("tool_calls_ratio", (one.tenant, tool, "now"), now)
    yield Sample("new_tools_ratio", (one.tenant,), one.new_tools)
    for time, of in (("before", one.before), ("now", one.now)):
        yield from _of_time(one.tenant, time, of)
    yield Sample("alerts_with_verdict", (one.tenant,), one.judged)
    yield Sample("alerts_confirmed", (one.tenant,), one.confirmed)


def _of_time(tenant: str, time: str, of: Tenant) -> Iterator[Sample]:
    if of.calls:
        yield Sample("undeclared_ratio", (tenant, time), of.unknown / of.calls)
        yield Sample("abstained_ratio", (tenant, time), of.share("abstain"))
