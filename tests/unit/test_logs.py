"""Log lines are structured, name the version, and hold nothing of a payload."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from mode.timers import Timer
from pydantic import TypeAdapter

from models.errors import ConfigError, SchemaError
from stream.settings import Settings
from stream.shell.logs import Format, configure, described

SECRET = "DE02120300000000202051"


@pytest.fixture
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def written(form: Format, act: Any) -> str:
    stream = io.StringIO()
    configure(form, verbose=True, fixed={"version": "1.2.3", "core": "7"}, stream=stream)
    act()
    return stream.getvalue()


def refused() -> Exception:
    try:
        TypeAdapter(int).validate_python(SECRET)
    except ValueError as error:
        return error
    raise AssertionError


def runtime_complains() -> None:
    log = logging.getLogger("mode.supervisors")
    error = refused()
    log.error("Crashed: %r", error, exc_info=error)
    log.error("Crashed: %(reason)s", {"reason": error})
    log.error(error)


def task_is_forgotten() -> None:
    async def failing() -> None:
        raise refused()

    async def forget() -> None:
        task = asyncio.ensure_future(failing())
        await asyncio.sleep(0)
        del task

    asyncio.run(forget())


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("act", [runtime_complains, task_is_forgotten])
def test_what_a_record_holds_does_not_reach_the_log_by_an_exception(form: Format, act: Any) -> None:
    lines = written(form, act)
    assert SECRET in str(refused())
    assert "ValidationError at type_adapter.py:" in lines
    assert " < test_logs.py:" in lines
    assert SECRET not in lines


@pytest.mark.usefixtures("restored")
def test_a_json_line_names_time_level_logger_message_and_versions() -> None:
    lines = written("json", lambda: logging.getLogger("driftline.worker").warning("%d states", 3))
    row = json.loads(lines)
    assert row.pop("time").endswith("Z")
    assert row == {
        "level": "warning",
        "logger": "driftline.worker",
        "message": "3 states",
        "version": "1.2.3",
        "core": "7",
    }


@pytest.mark.usefixtures("restored")
def test_a_line_stays_one_line_and_a_broken_log_call_keeps_its_template() -> None:
    def act() -> None:
        logging.getLogger("faust").warning("first\nsecond %s", SECRET)
        logging.getLogger("faust").warning("%d of", SECRET)

    assert [json.loads(line)["message"] for line in written("json", act).splitlines()] == ["first", "%d of"]


def test_our_own_errors_are_told_in_full() -> None:
    assert (
        described(SchemaError("key", "a case is keyed by its tenant")) == "key: a case is keyed by its tenant"
    )


def test_a_format_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigError, match="DRIFTLINE_LOG_FORMAT is 'xml'; expected text or json"):
        Settings.from_environment({"DRIFTLINE_LOG_FORMAT": "xml"})


@pytest.mark.usefixtures("restored")
def test_of_the_runtime_s_timers_only_the_one_that_a_busy_loop_makes_late_is_silent() -> None:
    async def late(name: str) -> None:
        timer = Timer(2.5, name=name, clock=lambda: 9.0)
        timer.epoch, timer.last_wakeup_at, timer.last_yield_at = -1.0, 0.0, 0.1
        timer.tick()

    said = written("text", lambda: [asyncio.run(late(name)) for name in ("livelock", "commit")])
    assert "Timer commit is overlapping" in said
    assert "livelock" not in said
