"""Where recorded sessions are, and what happens without them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REQUIRED = os.environ.get("DRIFTLINE_REQUIRE_ALL") == "1"


@pytest.fixture(scope="session")
def recorded() -> Path:
    """The folder of recorded sessions; skips with one loud line, or fails where CI requires it."""
    folder = os.environ.get("DRIFTLINE_DATA")
    if not folder:
        message = "NOT RUN: recorded sessions are needed; set DRIFTLINE_DATA to their folder"
        if REQUIRED:
            pytest.fail(message)
        pytest.skip(message)
    return Path(folder)
