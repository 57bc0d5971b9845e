"""What the circuit breaker holds, as it stands on the bus, and a person's ruling on it."""

from __future__ import annotations

from typing import NamedTuple

import orjson

from stream.events import FEEDBACK, HELD, dumps
from stream.outbound.breaker import Resolution, standing
from stream.settings import Settings
from stream.shell import export
from stream.shell.send import Message, play


class Waiting(NamedTuple):
    """A case whose revocations are held."""

    breaker: str
    tenant: str
    session_id: str
    agent: str
    time: str
    credentials: int
    reason: str


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
                len(case["credentials"]),
                case["reason"],
            )
        )
    return sorted(found, key=lambda each: each.time)


def rule(settings: Settings, resolution: Resolution, token: str) -> None:
    """Send a signed ruling on its way; the workers carry it out when they read it.

    Raises
    ------
    BrokerError
        No broker answers, or it does not take the record.
    """
    value = dumps({"type": "held.resolved", "tenant": resolution.tenant, "token": token})
    play(settings, [Message(FEEDBACK, resolution.tenant.encode(), (), value)], None)
