"""As `tests.chaos.test_chaos`, on three brokers: a file of its own, so that both are played at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.played import played, sound

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(1560)]


def test_leader_killed_loses_no_decision(jars: None, tmp_path: Path) -> None:
    run = played(3, ["kill-leader"], tmp_path)["kill-leader"]
    assert len(sound(run)["faults"]) == 1
