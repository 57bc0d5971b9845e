"""`driftline coverage` on a bus: it says of topics what it says of the same records in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from typer.testing import CliRunner

from stream.cli.main import app
from stream.events import EVENTS
from stream.settings import Settings
from stream.shell import topics
from stream.shell.broker import EmbeddedBroker
from tests.unit.test_coverage import MESS, records, written

pytestmark = [
    pytest.mark.broker,
    # kafka-python reads its own resources by a way that Python 3.11 deprecates and later versions keep.
    pytest.mark.filterwarnings("ignore:(read|open)_text is deprecated:DeprecationWarning"),
]


def said(*arguments: str) -> tuple[dict[str, Any], str]:
    done = CliRunner().invoke(app, ["coverage", "--json", *arguments])
    assert done.exit_code == 0, done.exception
    return json.loads(done.stdout), done.stderr


def test_the_bus_is_covered_as_files_are_and_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with EmbeddedBroker() as broker:
        settings = Settings(bootstrap=broker.bootstrap, prefix="p.", partitions=2)
        topics.create(settings)
        producer = KafkaProducer(**settings.kafka(), acks="all")
        for record in records(MESS):
            producer.send(settings.topic(record.topic), record.value, record.key)
        producer.flush(30)
        producer.close()
        bus = "--bootstrap", broker.bootstrap, "--prefix", "p."
        of_bus, _ = said(*bus)
        without_events, _ = said(*bus, "--no-events")
        elsewhere = CliRunner().invoke(
            app, ["coverage", "--json", *bus], env={"DRIFTLINE_INPUT_TOPICS": '{"other.events.v1": null}'}
        )
    outputs, inputs = written(tmp_path, MESS)
    assert of_bus == said("--file", str(outputs), "--file", str(inputs))[0]
    assert without_events == said("--file", str(outputs))[0]
    assert "events" not in without_events["read"]
    assert f"p.{EVENTS}" not in elsewhere.stderr
    assert "other.events.v1 is left out: topic p.other.events.v1 does not exist" in elsewhere.stderr
    assert json.loads(elsewhere.stdout)["agents"] == without_events["agents"]
