"""A worker that has said why it stops ends, whatever its clients still wait for."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import pytest

from stream.settings import Settings
from stream.shell import app


def ended(monkeypatch: pytest.MonkeyPatch, work: Any) -> tuple[int, float]:
    async def run(*_: Any) -> int:
        asyncio.create_task(work())  # noqa: RUF006  (nobody waits for it: that is the case)
        await asyncio.sleep(0)
        return app.EXIT_BROKER

    monkeypatch.setattr(app, "_checked_counts", lambda *_: {})
    monkeypatch.setattr(app._Worker, "run", run)
    monkeypatch.setattr(app, "LEAVE_S", 0.2)
    began = time.monotonic()
    code = app.run(Settings(), judge=None, actor=None)
    return code, time.monotonic() - began


async def deaf() -> None:
    deadline = time.monotonic() + 20  # so that a worker that waits for it fails here instead of hanging
    while time.monotonic() < deadline:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(20)


async def waits() -> None:
    await asyncio.sleep(20)


@pytest.mark.parametrize("work", [deaf, waits])
def test_a_task_that_does_not_end_keeps_no_worker_alive(monkeypatch: pytest.MonkeyPatch, work: Any) -> None:
    code, took_s = ended(monkeypatch, work)
    assert code == app.EXIT_BROKER
    assert took_s < 5
