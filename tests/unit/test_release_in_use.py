"""A worker's metrics and log follow what the log activated, not what it began with."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from stream.core.partition import Partition
from stream.core.releases import InUse
from stream.shell.judge_stage import JudgeStage
from stream.shell.metrics import Measures
from tests import builders as b

PLACES = [("agent.events.v1", 0), ("agent.events.v1", 1)]


def stage(judge: Any) -> Any:
    """As much of a stage as it takes to say what is in use."""
    held = {place: SimpleNamespace(partition=Partition.empty()) for place in PLACES}
    return SimpleNamespace(held=held, judge=judge, measures=Measures(), _told={})


def shown(stage: Any) -> set[tuple[str, str]]:
    JudgeStage._identify(stage)
    [family] = [one for one in stage.measures.registry.collect() if one.name == "driftline_build_info"]
    return {(sample.labels["release"], sample.labels["policy"]) for sample in family.samples}


def test_the_metric_shows_each_release_that_a_partition_begins_sessions_under_and_none_that_none_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "driftline.worker")
    judge = SimpleNamespace(
        in_use=lambda partition: InUse(
            partition.ledger.new_release, partition.ledger.new_release or "begun", "p"
        )
    )
    worker = stage(judge)
    assert shown(worker) == {("begun", "p")}
    assert not caplog.messages
    worker.held[PLACES[0]].partition.ledger.new_release = "d1"
    assert shown(worker) == {("begun", "p"), ("d1", "p")}  # promoted in one partition so far
    worker.held[PLACES[1]].partition.ledger.new_release = "d1"
    assert shown(worker) == {("d1", "p")}
    assert shown(worker) == {("d1", "p")}
    for held in worker.held.values():
        held.partition.ledger.new_release = ""
    assert shown(worker) == {("begun", "p")}
    begun = "sessions begin under release that workers begin with: model begun, policy p"
    new = "sessions begin under release d1: model d1, policy p"
    places = [f"{topic}[{number}]" for topic, number in PLACES]
    assert caplog.messages == [f"{place}: {what}" for what in (new, begun) for place in places]
    worker.held.clear()
    assert shown(worker) == {("", "")}  # a worker that holds no partition judges under none


def test_the_judge_names_what_the_ledger_does_and_a_release_that_is_not_at_hand_by_its_digest() -> None:
    judge, partition = b.judge(), Partition.empty()
    bundled = judge.releases[""]
    assert judge.in_use(partition) == InUse("", bundled.name, judge.policy_name(bundled.policy))
    partition.ledger.new_release = "ab" * 32
    assert judge.in_use(partition) == InUse("ab" * 32, "abababababab", "")
