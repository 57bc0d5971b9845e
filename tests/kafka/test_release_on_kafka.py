"""A release goes live and comes back where brokers stamp the log, compact the registry and keep what was acknowledged."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.settings import Settings
from tests.broker.test_release import assert_live_and_back, at_work

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_release_is_promoted_and_rolled_back_amid_calls_as_a_replay_of_the_log_has_it(
    on_kafka: Settings, tmp_path: Path
) -> None:
    with at_work(on_kafka, tmp_path) as world:
        assert_live_and_back(world)
