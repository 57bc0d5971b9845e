"""Challengers where brokers stamp the log and keep what was acknowledged."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.settings import Settings
from tests.broker.test_challengers import assert_sound_under_kill

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_challenger_that_is_killed_goes_on_where_it_was_and_the_champion_s_bytes_stay(
    on_kafka: Settings, tmp_path: Path
) -> None:
    assert_sound_under_kill(on_kafka, tmp_path)
