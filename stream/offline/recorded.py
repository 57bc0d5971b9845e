"""Recorded sessions become bus events: the one function that ``send``, ``import`` and ``replay`` share.

A recorded session (one JSON object a line) holds an intent, a key into a file of tool catalogues, and calls
with their results. What a recording lacks, a tenant, credentials, often times, is made here from the
session's id alone, so that the same file gives the same bytes everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from models.contracts import TENANT_SOURCE
from models.errors import InputError
from stream.events import dumps

START = datetime(2026, 1, 1, 9, 0, tzinfo=UTC)
"""When every recorded session begins. Each session has its own clock, so they need not be spread."""

TENANT = "recorded"
NAMELESS = "unnamed"
"""The ``suite`` of own traffic whose agent has no name."""
GAP_S = 20
"""Gaps between events that carry no recorded time are 1 to this many whole seconds."""

CREDENTIAL_S = 3600
_TOOL_FIELDS = ("name", "server", "description", "parameters", "annotations")


def events_of(
    session: dict[str, Any], tools: list[dict[str, Any]] | None, run: str = ""
) -> list[dict[str, Any]]:
    """Bus events of one recorded session, in order.

    Parameters
    ----------
    session : a recorded session; labels and other ground truth in it are never carried over. One of own traffic
        (`stream.offline.traffic`) brings its ``events``: they are given back as they came.
    tools : the catalogue that its ``tools_ref`` names, or None when it is not at hand.
    run : prefixes every id (``<run>-<session_id>``), to play one recording more than once. Times stay
        those of the recording, whatever the run.
    """
    if not run and "events" in session:
        return _as_they_came(session["events"])
    try:
        recorded_id: str = session["session_id"]
        steps = _steps(session, tools)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"not a recorded session: {type(error).__name__} {error}; it needs session_id, intent and calls"
        ) from error
    session_id = f"{run}-{recorded_id}" if run else recorded_id
    offsets = _offsets(recorded_id, [at for _, at in steps])
    events: list[dict[str, Any]] = []
    for seq, ((body, _), offset) in enumerate(zip(steps, offsets, strict=True)):
        event = {
            "id": f"{session_id}/{seq}",
            "type": body["type"],
            "session_id": session_id,
            "seq": seq,
            "tenant": TENANT,
            "time": _rfc3339(offset),
            **body,
        }
        if "call_seq" in event:
            event["call_id"] = f"{session_id}:{event.pop('call_seq')}"
        events.append(event)
    # A recording does not say when its credential ran out. It must not do so within the session, or long
    # recordings would all look like misuse of an expired one.
    expires = max(CREDENTIAL_S * 1_000_000, offsets[-1] + 60_000_000)
    events[0]["credentials"] = [
        {
            "broker": "demo",
            "kind": "jti",
            "value": session_id,
            "issued": _rfc3339(0),
            "expires": _rfc3339(expires),
        }
    ]
    return events


def key_of(session: Mapping[str, Any]) -> tuple[str, str]:
    """Tenant and id of a recorded session, or of one of own traffic."""
    source = str(session.get("source"))
    tenant = source.removeprefix(TENANT_SOURCE) if source.startswith(TENANT_SOURCE) else TENANT
    return tenant, str(session["session_id"])


def values_of(session: dict[str, Any], tools: list[dict[str, Any]] | None) -> Iterator[tuple[str, bytes]]:
    """The records of one recorded session: key and value of each, in order.

    What came on the bus keeps the order of its members: a reader of words reads arguments in that order.
    """
    encoded = orjson.dumps if "events" in session else dumps
    for event in events_of(session, tools):
        yield str(event.get("root_session_id") or event["session_id"]), encoded(event)


def _as_they_came(events: Any) -> list[dict[str, Any]]:
    named = isinstance(events, list) and all(
        isinstance(each, dict) and isinstance(each.get("session_id"), str) for each in events
    )
    if not named:
        raise InputError(
            "not a recorded session: its events must be a list of bus events, each with a session_id"
        )
    found: list[dict[str, Any]] = events
    return found


def _steps(
    session: dict[str, Any], tools: list[dict[str, Any]] | None
) -> list[tuple[dict[str, Any], float | None]]:
    """Event bodies in order, each with its recorded second since the start, or None."""
    agent = {"id": "recorded"}
    if session.get("model"):
        agent["model"] = session["model"]
    declared: dict[str, Any] = {
        "type": "session.declared",
        "agent": agent,
        "intent": {"text": session["intent"]},
    }
    if session.get("resources"):
        declared["intent"]["resources"] = session["resources"]
    if tools is not None:
        declared["tools"] = [{k: tool[k] for k in _TOOL_FIELDS if tool.get(k) is not None} for tool in tools]
    steps: list[tuple[dict[str, Any], float | None]] = [(declared, 0.0)]
    amendments = list(session.get("amendments") or ())
    for call in session["calls"]:
        while amendments and amendments[0]["before_seq"] <= call["seq"]:
            steps.append((_amended(amendments.pop(0)), None))
        called = {
            "type": "tool.called",
            "call_seq": call["seq"],
            "tool": call["tool"],
            "arguments": call.get("args") or {},
        }
        error = call.get("error")
        returned = {
            "type": "tool.returned",
            "call_seq": call["seq"],
            "status": "error" if error else "ok",
            # The agent saw the error where there was no result.
            "result": call.get("result") or error or call.get("result"),
        }
        steps.append((called, call.get("t_call")))
        steps.append((returned, call.get("t_result")))
    steps.extend((_amended(amendment), None) for amendment in amendments)
    steps.append(({"type": "session.ended", "reason": "completed"}, None))
    return steps


def _amended(amendment: dict[str, Any]) -> dict[str, Any]:
    return {"type": "intent.amended", "intent": {"text": amendment["text"]}}


def _offsets(recorded_id: str, recorded: list[float | None]) -> list[int]:
    """Microseconds since the start for each event: recorded where known, drawn where not, never backwards."""
    micros = [None if at is None else round(at * 1_000_000) for at in recorded]
    # The next known time after each event bounds what may be drawn for it.
    bounds: list[int | None] = [None] * len(micros)
    bound: int | None = None
    for index in range(len(micros) - 1, -1, -1):
        bounds[index] = bound
        if micros[index] is not None:
            bound = micros[index]
    clock = 0
    offsets: list[int] = []
    for index, at in enumerate(micros):
        if at is None:
            at = clock + drawn_gap_s(recorded_id, index) * 1_000_000
            following = bounds[index]
            if following is not None:
                at = min(at, following)
        # Calls issued in parallel are listed in order of execution: their times may step back.
        clock = max(clock, at)
        offsets.append(clock)
    return offsets


def drawn_gap_s(recorded_id: str, seq: int) -> int:
    """Whole seconds before an event that has no recorded time, see `GAP_S`."""
    digest = hashlib.sha256(f"{recorded_id}/{seq}".encode("utf-8", "surrogatepass")).digest()
    return 1 + int.from_bytes(digest[:8], "big") % GAP_S


def _rfc3339(offset_us: int) -> str:
    moment = START + timedelta(microseconds=offset_us)
    return moment.isoformat(timespec="microseconds" if moment.microsecond else "seconds").replace(
        "+00:00", "Z"
    )
