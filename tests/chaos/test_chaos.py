"""The slice of the chaos suite that every build plays; ``make chaos`` plays all of it.

The seed is fixed, so that the same sessions meet the same faults; what the operating system and Kafka make of it
is never the same twice. The command runs as a process of its own: its clients and threads are none of pytest's.
"""

from __future__ import annotations

from collections import Counter

import pytest

from stream.shell import stage
from tests.chaos.played import Runs, played, sound

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(1560)]


@pytest.fixture(scope="module")
def on_one(jars: None, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return played(1, ["kill-at-points", "zombie", "scale"], tmp_path_factory.mktemp("one"))


def test_worker_killed_at_every_named_point_leaves_what_replay_says(on_one: Runs) -> None:
    run = sound(on_one["kill-at-points"])
    assert {fault["point"] for fault in run["faults"]} == set(stage.POINTS)
    assert run["exits"]["-9"] >= len(stage.POINTS)
    assert run["facts"]["releases"] == 1


def test_worker_paused_beyond_its_session_overwrites_nothing(on_one: Runs) -> None:
    run = sound(on_one["zombie"])
    assert Counter(fault["action"] for fault in run["faults"]) == {"stop": 3, "resume": 3}


def test_workers_added_and_removed_change_no_decision(on_one: Runs) -> None:
    run = sound(on_one["scale"])
    assert run["points"]["judge.revoked"] > 0
    assert run["exits"] == {"0": 3}
