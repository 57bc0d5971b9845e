"""What the circuit breaker holds, as it stands on the bus, and a person's ruling on it."""

from __future__ import annotations

import time
from typing import NamedTuple

import orjson

from stream.events import HELD
from stream.outbound.breaker import standing
from stream.settings import Settings
from stream.shell import export


class Waiting(NamedTuple):
    """A case whose revocations are held; `tool` is what its last call of note called, `credentials` are of which broker and kind."""

    breaker: str
    tenant: str
    session_id: str
    agent: str
    time: str
    tool: str
    credentials: list[str]
    reason: str
    case_id: str
    score: float
    release: str
    policy: str


def waiting(settings: Settings) -> list[Waiting]:
    """What is held at this moment, oldest first.

    Raises
    ------
    BrokerError
        No broker answers, or the topic is missing.
    """
    found = []
    for each in standing(record for record, _ in export.records(settings, HELD)):
        case = orjson.loads(each.record.value or b"")
        found.append(
            Waiting(
                each.held.breaker,
                each.tenant,
                case["session_id"],
                case["agent"] or "",
                case["time"],
                case["path"][-1]["tool"] if case["path"] else "",
                [f"{ref['broker']} {ref['kind']}" for ref in case["credentials"]],
                case["reason"],
                case["case_id"],
                case["score"],
                case["release"],
                case["policy"],
            )
        )
    return sorted(found, key=lambda each: each.time)


def carried_out(settings: Settings, breaker: str, within_s: float) -> tuple[str, str] | None:
    """What was ruled last on an opening, and by whom, once nothing is held by it; None if that is not so within that time.

    Raises as `waiting`.
    """
    deadline = time.monotonic() + within_s
    while True:
        records = [record for record, _ in export.records(settings, HELD)]
        if not any(each.held.breaker == breaker for each in standing(records)):
            heads = [dict(record.headers) for record in records]
            ruled = [head for head in heads if "action" in head and head.get("breaker") == breaker.encode()]
            return (ruled[-1]["action"].decode(), ruled[-1]["by"].decode()) if ruled else None
        if time.monotonic() > deadline:
            return None
        time.sleep(0.5)
