"""The slice of the chaos suite that every build plays; ``make chaos`` plays all of it.

The seed is fixed, so that the same sessions meet the same faults; what the operating system and Kafka make of it
is never the same twice.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream import app
from stream.events import CASES, DECISIONS, QUARANTINE, REVOCATIONS
from tests.chaos.faults import SCENARIOS
from tests.chaos.run import play, told
from tests.cluster import Cluster

SEED = 7
RATE = 150.0

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    # kafka-python reads its own resources by a way that Python 3.11 deprecates and later versions keep.
    pytest.mark.filterwarnings("ignore:(read|open)_text is deprecated:DeprecationWarning"),
    # Its clients leave sockets behind on which a broker did not answer.
    pytest.mark.filterwarnings("ignore:Exception ignored in.*socket:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module", params=[1, 3], ids=["one-broker", "three-brokers"])
def cluster(
    request: pytest.FixtureRequest, jars: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    with Cluster(request.param, tmp_path_factory.mktemp("kafka") / "cluster") as running:
        yield running


@pytest.fixture
def played(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str], request: Any
) -> dict[str, Any]:
    """What came of the scenario that the test names, in its short form; everything was compared already."""
    scenario = next(one for one in SCENARIOS if one.name == request.param[0])
    if len(cluster.nodes) != request.param[1]:
        pytest.skip("played on the other cluster")
    result = play(scenario, cluster, SEED, tmp_path / "scene", lambda _: None, rounds=0, rate=RATE)
    gc.collect()  # what this test left behind is told here, not in another
    with capsys.disabled():
        sys.stdout.write(f"\nseed {SEED}: {told(result)}\n")
    assert result["ok"], f"seed {SEED}: {result['failures']}"
    assert min(result["counts"][base] for base in (DECISIONS, CASES, REVOCATIONS, QUARANTINE)) > 0
    assert result["states"] > 0
    return result


@pytest.mark.parametrize("played", [("kill-at-points", 1)], indirect=True, ids=str)
def test_worker_killed_at_every_named_point_leaves_what_replay_says(played: dict[str, Any]) -> None:
    killed = Counter(fault["point"] for fault in played["faults"])
    assert killed.keys() >= set(app.POINTS)
    assert played["exits"]["-9"] >= len(app.POINTS)
    assert played["facts"]["releases"] == 1


@pytest.mark.parametrize("played", [("zombie", 1)], indirect=True, ids=str)
def test_worker_paused_beyond_its_session_overwrites_nothing(played: dict[str, Any]) -> None:
    assert Counter(fault["action"] for fault in played["faults"]) == {"stop": 3, "resume": 3}


@pytest.mark.parametrize("played", [("scale", 1)], indirect=True, ids=str)
def test_workers_added_and_removed_change_no_decision(played: dict[str, Any]) -> None:
    assert played["points"]["judge.revoked"] > 0
    assert played["exits"] == {"0": 3}


@pytest.mark.parametrize("played", [("kill-leader", 3)], indirect=True, ids=str)
def test_leader_killed_loses_no_decision(played: dict[str, Any]) -> None:
    assert len(played["faults"]) == 1
