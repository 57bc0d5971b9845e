"""What stands on Apache Kafka becomes the same release as a dump of it does, byte for byte, and a range is read by its times."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from models.release import registry
from stream.cli import ranging, standing
from stream.events import EVENTS, rfc3339
from stream.offline.traffic import Tree
from stream.settings import Settings
from tests.broker.test_breaker import ROOT, World, astray
from tests.broker.test_feedback import run
from tests.broker.test_train import ids, labelled, sent
from tests.worker import read

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]

PLAN = """\
estimator: {name: sklearn.ensemble.RandomForestClassifier, parameters: {n_estimators: 20, min_samples_leaf: 10}}
budget: {share: 0.02}
"""


def training(world: World, out: Path, seed: str, *arguments: str) -> subprocess.Popen[str]:
    told = ("--plan", str(world.directory / "plan.yaml"), "--out", str(out), "--accept", "a test")
    return subprocess.Popen(
        [sys.executable, "-m", "stream.cli.main", "train", *arguments, *told],
        env=world.environment | {"PYTHONHASHSEED": seed},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_bus_and_a_dump_of_it_become_the_same_release(on_kafka: Settings, tmp_path: Path) -> None:
    dump, labels = tmp_path / "agent.events.v1.jsonl", tmp_path / "labels.jsonl"
    (tmp_path / "plan.yaml").write_text(PLAN)
    world = World(on_kafka, tmp_path)
    world.environment["DRIFTLINE_PREFIX"] = on_kafka.prefix
    labelled(world)
    dump.write_text(run(world, "topics", "dump", "agent.events.v1").stdout)
    collected = run(world, "labels", "collect", "--out", str(labels))
    assert collected.returncode == 0, collected.stderr
    one, two = tmp_path / "of-the-bus" / "model", tmp_path / "of-files" / "model"
    runs = [
        training(world, one, "1", "--from", "topics"),
        training(world, two, "7", str(dump), "--labels", str(labels)),
    ]
    for each in runs:
        _, said_ = each.communicate(timeout=500)
        assert each.returncode == 0, said_
    assert files(one) == files(two)
    sources = registry.read_manifest(one)["seen"]["sources"]
    assert "tenant:acme" in sources


def test_a_range_by_its_times_has_the_sessions_that_go_on_in_it_from_their_start(on_kafka: Settings) -> None:
    """Brokers stamp what they append: what stands before a time and goes on after it is read back for, as far as is asked."""
    over, goes_on, late = astray("over"), astray("goes-on"), astray("late")
    sent(on_kafka, over, goes_on[:2])
    time.sleep(0.05)
    begin = rfc3339(1 + max(record.timestamp_ms for record in read(on_kafka, EVENTS)))
    time.sleep(0.05)
    sent(on_kafka, goes_on[2:], late)

    def found(hours: float | None) -> list[Tree]:
        return standing.sessions(on_kafka, ranging.Asked(begin, None, None, None, hours), 24.0).trees

    back, blind = found(None), found(0.0)
    assert ids(back) == {"goes-on": [e["id"] for e in goes_on], "late": [e["id"] for e in late]}
    assert [tree.events[0]["session_id"] for tree in back if tree.is_cut] == []
    assert ids(blind) == {"goes-on": [e["id"] for e in goes_on[2:]], "late": [e["id"] for e in late]}
    assert [tree.events[0]["session_id"] for tree in blind if tree.is_cut] == ["goes-on"]
