"""Log lines on stderr: text for people, JSON for collectors. A line holds no payload, whoever wrote it.

An exception's text may quote a record (a validation error shows its input), and so may the lines that asyncio
and the stream runtime print below the first. So an exception that is not one of ours is told by its type and
place, and of a foreign message the first line stays.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Any, TextIO

from models.errors import DriftlineError
from stream.settings import Format


def described(error: BaseException) -> str:
    """`error` as a log may show it: our own errors in full, of others type and place.

    >>> described(ValueError("4111 1111 1111 1111"))
    'ValueError'
    """
    if isinstance(error, DriftlineError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in reversed(frames)]
    return f"{type(error).__name__} at {' < '.join(places[:4])}" if places else type(error).__name__


def _message(record: logging.LogRecord) -> str:
    arguments: Any = record.args
    if isinstance(arguments, Mapping):
        arguments = {name: _safe(value) for name, value in arguments.items()}
    elif isinstance(arguments, tuple):
        arguments = tuple(map(_safe, arguments))
    text = str(record.msg) if not isinstance(record.msg, BaseException) else described(record.msg)
    if arguments:
        with contextlib.suppress(TypeError, ValueError, KeyError):  # a broken log call: the template alone
            text %= arguments
    return text if record.name.startswith("driftline") else text.split("\n", 1)[0]


def _safe(value: Any) -> Any:
    return described(value) if isinstance(value, BaseException) else value


class TextLines(logging.Formatter):
    """``time level logger: message``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line = f"{self.formatTime(record)} {record.levelname} {record.name}: {_message(record)}"
        if record.exc_info and record.exc_info[1] is not None:
            line += f" ({described(record.exc_info[1])})"
        return line


class JsonLines(logging.Formatter):
    """One JSON object a line: ``time`` (RFC 3339, UTC), ``level``, ``logger``, ``message``, ``error``, and `fixed`.

    Parameters
    ----------
    fixed : mapping of str to str
        Put into every line: the program's versions.
    """

    def __init__(self, fixed: Mapping[str, str]) -> None:
        super().__init__()
        self.fixed = dict(fixed)

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            **self.fixed,
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = described(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False)


def tells_something(record: logging.LogRecord) -> bool:
    """Whether a line of the stream runtime's timers says more than that the loop was busy.

    Its timer ``livelock`` asks each partition, every 2.5 s, for one turn of the event loop, to see whether anything is committed by it. While the
    worker catches up a turn takes as long as a step of judging, so that the round takes longer than 2.5 s: then it warns, of nothing that is amiss.
    That a partition stands still is told by ``driftline_lag_records`` and its alert.
    """
    return not (isinstance(record.args, tuple) and record.args[:1] == ("livelock",))


def configure(form: Format, *, verbose: bool, fixed: Mapping[str, str], stream: TextIO | None = None) -> None:
    """Send every logger's lines to `stream` (default: stderr) in the format `form`; `verbose` adds other libraries'."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(fixed) if form == "json" else TextLines())
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("driftline").setLevel(logging.INFO)
    logging.getLogger("mode.timers").addFilter(tells_something)
    if not verbose:
        # The clients log every reconnect as an error; what matters of it reaches the operator as exit code 4.
        logging.getLogger("kafka").setLevel(logging.CRITICAL)
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
