"""Agents traced with OpenTelemetry's own SDK, by its exporter and by the real Collector, judged on a broker; and spans that a crash meets."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from stream.events import DECISIONS, EVENTS
from stream.settings import Settings
from stream.shell import topics
from stream.shell.broker import EmbeddedBroker, free_port
from tests.broker.test_worker import broker, settings
from tests.spans import Traced, as_json, hijacked, proto
from tests.worker import ROOT, Worker, live, wait_until

pytestmark = [
    pytest.mark.broker,
    # kafka-python reads its schemas with a function that Python 3.11 calls deprecated.
    pytest.mark.filterwarnings("ignore:read_text is deprecated:DeprecationWarning"),
]
__all__ = ["broker", "settings"]
OTEL = (sys.executable, "-m", "stream.cli.main", "otel")
COLLECTOR = ROOT / "build" / "otelcol"
STEPS = ["session.declared", "tool.called", "tool.returned", "tool.called", "tool.returned"]


def events(settings: Settings) -> list[dict[str, Any]]:
    return [json.loads(value or b"{}") for _, value in live(settings, EVENTS)]


def exporting(port: int, **more: Any) -> Traced:
    exporter = OTLPSpanExporter(f"http://127.0.0.1:{port}/v1/traces", timeout=5, **more)
    return Traced(processor=BatchSpanProcessor(exporter))


def receiver(settings: Settings, log: Path, *options: str) -> tuple[Worker, int]:
    otel = Worker(settings, log, (*OTEL, "--port", "0", *options))
    found = re.compile(rb"receives at http://127\.0\.0\.1:(\d+)")
    wait_until(lambda: found.search(log.read_bytes()) is not None, otel)
    match = found.search(log.read_bytes())
    assert match is not None
    return otel, int(match[1])


def test_a_port_that_is_taken_is_the_one_thing_said(settings: Settings, tmp_path: Path) -> None:
    log = tmp_path / "otel.log"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        otel = Worker(settings, log, (*OTEL, "--port", str(taken.getsockname()[1])))
        assert otel.process.wait(90) == 2
    assert b"in use" in log.read_bytes()
    assert b"coverage" not in log.read_bytes()


def test_a_traced_agent_that_pays_what_a_mail_asks_for_is_revoked(settings: Settings, tmp_path: Path) -> None:
    log = tmp_path / "otel.log"
    otel, port = receiver(settings, log)
    with otel, Worker(settings, tmp_path / "worker.log") as worker:
        traced = exporting(port)
        hijacked(traced)
        traced.provider.shutdown()
        wait_until(lambda: len(live(settings, DECISIONS)) >= 2, worker, 90)
        code, _ = otel.stop()
    assert code == 0
    found = {
        each["tool"]: each for _, value in live(settings, DECISIONS) if (each := json.loads(value or b"{}"))
    }
    assert found["search_inbox"]["verdict"] == "allow"
    assert (found["create_payment"]["verdict"], found["create_payment"]["enforced"]) == ("revoke", True)
    assert found["create_payment"]["agent"] == "mail-agents/Inbox"
    assert [event["type"] for event in events(settings)] == STEPS
    told = log.read_text()
    assert "otel: sessions 1, calls 2, results 2" in told
    assert "of 2 calls 2 have arguments and 2 an answer" in told
    assert "GB33" not in told


def test_the_agent_of_the_page_is_told(settings: Settings, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "opentelemetry.md").read_text()
    found = re.search(r"^```python\n(.*?)^```", page, re.M | re.S)
    assert found is not None
    otel, port = receiver(settings, tmp_path / "otel.log")
    with otel:
        environment = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
        subprocess.run([sys.executable, "-c", found[1]], env=environment, check=True, timeout=60)
        assert otel.stop()[0] == 0
    assert [event["type"] for event in events(settings)] == STEPS
    log = (tmp_path / "otel.log").read_text()
    told = re.search(r"^driftline: otel: sessions 1.*?^```", page, re.M | re.S)
    assert told is not None
    assert told[0].removesuffix("```") in log


def test_what_the_receiver_holds_is_told_when_it_stops(settings: Settings, tmp_path: Path) -> None:
    otel, port = receiver(settings, tmp_path / "otel.log", "--quiet", "300", "--longest", "300")
    with otel:
        traced = exporting(port)
        agent = traced.agent()
        agent.__enter__()  # never ends, so its span is never exported
        traced.call("look", {"n": 1}, "found")
        traced.provider.force_flush()
        assert events(settings) == []
        assert otel.stop()[0] == 0
    assert [event["type"] for event in events(settings)] == STEPS[:3]


def post(port: int, raw: bytes) -> tuple[int, str | None]:
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/traces", raw, {"Content-Type": "application/x-protobuf"}
    )
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status, None
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.headers["Retry-After"]


@pytest.mark.slow
def test_while_the_broker_is_away_spans_are_refused_and_what_was_taken_comes_later(tmp_path: Path) -> None:
    first, second = Traced(), Traced(seed=2)
    hijacked(first)
    hijacked(second, **{"gen_ai.conversation.id": "conv-2"})
    with EmbeddedBroker() as running:
        settings = Settings(bootstrap=running.bootstrap, partitions=2)
        topics.create(settings)
        log = tmp_path / "otel.log"
        otel, port = receiver(settings, log)
    with otel:
        assert post(port, proto(first.finished())) == (200, None)
        wait_until(lambda: b"events wait for the broker" in log.read_bytes(), otel)
        assert post(port, proto(second.finished())) == (503, "5")
        with EmbeddedBroker(running.port):
            topics.create(settings)
            wait_until(lambda: len(events(settings)) >= 5, otel)
            wait_until(lambda: post(port, proto(second.finished()))[0] == 200, otel)
            wait_until(lambda: len({event["id"] for event in events(settings)}) >= 10, otel)
            assert otel.stop()[0] == 0


def made_topic(settings: Settings) -> str:
    name = f"spans-{uuid.uuid4().hex[:8]}"
    admin = KafkaAdminClient(**settings.kafka())
    admin.create_topics([NewTopic(name, 2, 1)])
    admin.close()
    return name


@contextmanager
def producing(settings: Settings) -> Iterator[KafkaProducer]:
    producer = KafkaProducer(**settings.kafka(), acks="all")
    try:
        yield producer
        producer.flush(30)
    finally:
        producer.close(timeout=5)


def reader(settings: Settings, log: Path, topic: str, *options: str) -> Worker:
    log.write_bytes(b"")
    otel = Worker(settings, log, (*OTEL, "--topic", topic, *options))
    wait_until(lambda: b"ready: reads" in log.read_bytes(), otel, 90)
    return otel


@pytest.mark.slow
def test_spans_on_topics_are_told_once_though_their_reader_is_killed(
    settings: Settings, tmp_path: Path
) -> None:
    """Children first, in JSON and protobuf and with garbage between; the reader dies while it holds them, and the root comes after."""
    topic, traced = made_topic(settings), Traced()
    hijacked(traced)
    *children, root = traced.finished()
    log = tmp_path / "otel.log"
    with producing(settings) as producer:
        for number, span in enumerate(children):
            raw = proto([span])
            producer.send(topic, as_json(raw) if number % 2 else raw, partition=number % 2)
        producer.send(topic, b"\xff garbage", partition=0)
    with reader(settings, log, topic, "--quiet", "300", "--longest", "300") as otel:
        time.sleep(3)  # it commits each second, but nothing of what it holds
        otel.kill()
    assert events(settings) == []
    with producing(settings) as producer:
        producer.send(topic, proto([root]), partition=1)
    with reader(settings, log, topic, "--quiet", "300", "--longest", "300") as otel:
        wait_until(lambda: len(events(settings)) >= 5, otel)
        time.sleep(1)
        assert otel.stop()[0] == 0
    found = events(settings)
    assert [event["type"] for event in found] == STEPS
    assert {event["session_id"] for event in found} == {"conv-1"}
    assert "1 line refused; the first is " in log.read_text()


@contextmanager
def collecting(folder: Path, exporter: dict[str, Any]) -> Iterator[int]:
    """The real Collector, which takes OTLP at the port given and hands it to `exporter`."""
    port, log = free_port(), folder / "collector.log"
    config = {
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{port}"}}}},
        "exporters": exporter,
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {"traces": {"receivers": ["otlp"], "exporters": list(exporter)}},
        },
    }
    written = folder / "collector.yaml"
    written.write_text(json.dumps(config))
    with log.open("wb") as sink:
        collector = subprocess.Popen([COLLECTOR, "--config", written], stdout=sink, stderr=sink)
    try:
        until = time.monotonic() + 30
        while b"Everything is ready" not in log.read_bytes():
            assert collector.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        yield port
    finally:
        collector.terminate()
        collector.wait(30)


with_collector = pytest.mark.skipif(
    not COLLECTOR.exists(), reason="no Collector: `make otelcol` builds it, with Go"
)


@with_collector
@pytest.mark.kafka  # the embedded broker closes the connections of the Collector's client
@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["otlp_json", "otlp_proto"])
def test_what_the_collectors_kafka_exporter_writes_is_told(
    on_kafka: Settings, encoding: str, tmp_path: Path
) -> None:
    settings, topic = on_kafka, made_topic(on_kafka)
    exporter = {
        "kafka": {
            "brokers": [settings.bootstrap],
            "traces": {"topic": topic, "encoding": encoding},
            "partition_traces_by_id": True,
        }
    }
    with reader(settings, tmp_path / "otel.log", topic) as otel, collecting(tmp_path, exporter) as port:
        traced = exporting(port)
        hijacked(traced)
        traced.provider.shutdown()
        wait_until(lambda: len(events(settings)) >= 5, otel)
        assert otel.stop()[0] == 0
    assert [event["type"] for event in events(settings)] == STEPS


@with_collector
@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["json", "proto"])
def test_what_the_collector_sends_is_received(settings: Settings, encoding: str, tmp_path: Path) -> None:
    otel, receives = receiver(settings, tmp_path / "otel.log")
    exporter = {"otlp_http": {"endpoint": f"http://127.0.0.1:{receives}", "encoding": encoding}}
    with otel, collecting(tmp_path, exporter) as port:
        traced = exporting(port)
        hijacked(traced)
        traced.provider.shutdown()
        wait_until(lambda: len(events(settings)) >= 5, otel)
        assert otel.stop()[0] == 0
    assert [event["type"] for event in events(settings)] == STEPS
