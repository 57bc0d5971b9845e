"""An analyst's verdict on its way to the bus, and what was said, as the alerts have it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import orjson

from models.contracts import Feedback
from stream import feedback
from stream.events import ALERTS, rfc3339
from stream.offline.verdicts import Subject
from stream.outbound.feedback import uid_of
from stream.settings import Settings
from stream.shell import export
from stream.shell.send import send_signed


def documents(settings: Settings, base: str) -> Iterator[Any]:
    """The JSON documents of a topic up to its present end; what is none is passed by.

    Raises
    ------
    BrokerError
        No broker answers, or the topic is missing.
    """
    for record, _ in export.records(settings, base):
        with suppress(orjson.JSONDecodeError):
            yield orjson.loads(record.value or b"")


def verdict_on(subject: Subject, verdict: str, by: str, comment: str) -> Feedback:
    """What an analyst says of a case now."""
    said = {"verdict": verdict, "by": by, "comment": comment, "time": rfc3339(round(time.time() * 1000))}
    return Feedback.model_validate(subject._asdict() | said)


def give(settings: Settings, said: Feedback, signing: Any) -> None:
    """Put a verdict on the bus, signed by a private key.

    Raises
    ------
    BrokerError
        No broker confirmed it.
    """
    token = feedback.sign(said, settings.issuer, signing)
    send_signed(settings, "feedback.given", said.tenant, token)


def is_finding_of(finding: Any, said: Feedback, key: str) -> bool:
    """Whether a finding tells of a verdict that the key of that id signed."""
    return bool(_uid(finding) == uid_of(said, key))


def told(settings: Settings, said: Feedback, key: str, within_s: float) -> bool:
    """Whether the finding of a verdict, signed by the key of that id, is among the alerts within that time; raises as `documents`."""
    deadline = time.monotonic() + within_s
    while not any(is_finding_of(each, said, key) for each in documents(settings, ALERTS)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def _uid(finding: Any) -> Any:
    metadata = finding.get("metadata") if isinstance(finding, dict) else None
    return metadata.get("uid") if isinstance(metadata, dict) else None
