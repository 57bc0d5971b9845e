"""What the adapters of frameworks share: a call told of and decided on before it runs, whatever its arguments are."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from driftline_client.outcome import DriftlineError
from driftline_client.session import Call, Session

POSTURE = ("on_silence", "wait_s")
"""What of a session's arguments its sub-agents' sessions take over: silence means no less for them."""


class Untold(DriftlineError):
    """A call that nothing can be told of, too large a one or one after the session's end: it may not run.

    Like that of `Denied` its text is for the agent too.
    """


def judged(session: Session, tool: str, arguments: Any) -> Call:
    """Tell of a call, and wait until it may run.

    Raises
    ------
    Denied, Untold
        It may not run; the text is for the agent.
    Undecided, Lost
        No decision came, and silence raises.
    """
    call = _told(session, tool, arguments)
    with session.deciding(call):
        if call.decided is not None:
            session.check(call, arguments=_named(arguments))
    return call


async def ajudged(session: Session, tool: str, arguments: Any) -> Call:
    """As `judged`, for an event loop."""
    call = _told(session, tool, arguments)
    with session.deciding(call):
        if call.decided is not None:
            await session.acheck(call, arguments=_named(arguments))
    return call


def failed(session: Session, call: Call, error: BaseException) -> None:
    """Tell that a tool raised."""
    session.tell(call, f"failed: {type(error).__name__}: {_said(error)}", ok=False)


def ended_by(error: BaseException | None) -> str:
    """The reason with which a run's session ends."""
    if error is None:
        return "done"
    stopped = isinstance(error, asyncio.CancelledError | GeneratorExit | KeyboardInterrupt)
    return "cancelled" if stopped else f"failed: {type(error).__name__}"


def _told(session: Session, tool: str, arguments: Any) -> Call:
    try:
        return session.call(tool, _named(arguments))
    except Exception as error:  # whatever it is: a call that is not told of would run unjudged
        why = (
            _said(error) if isinstance(error, TypeError | ValueError | RuntimeError) else type(error).__name__
        )
        raise Untold(f"{tool:.256} was not run: {why}.") from error


def _named(arguments: Any) -> Mapping[str, Any]:
    return arguments if isinstance(arguments, Mapping) else {"input": arguments}


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # what an exception says of itself hides no exception
        return ""
