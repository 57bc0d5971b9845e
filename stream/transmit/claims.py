"""Events of a stream itself, for the transmitter to sign: its verification, and that the operator changed its status."""

from __future__ import annotations

from typing import Any

from stream.transmit.configuration import Receiver
from stream.transmit.stream import StreamRecord, Terms

VERIFICATION = "https://schemas.openid.net/secevent/ssf/event-type/verification"
STREAM_UPDATED = "https://schemas.openid.net/secevent/ssf/event-type/stream-updated"


def verification(
    record: StreamRecord, receiver: Receiver, terms: Terms, jti: str, now_s: int, state: str | None
) -> dict[str, Any]:
    """Claims of a verification event (SSF 1.0, 8.1.4.1); `state` is the receiver's, or absent where nobody asked."""
    event = {} if state is None else {"state": state}
    return _claims(record, receiver, terms, jti, now_s, {VERIFICATION: event})


def stream_updated(
    record: StreamRecord, receiver: Receiver, terms: Terms, jti: str, now_s: int
) -> dict[str, Any]:
    """Claims of the event that tells `record`'s status (SSF 1.0, 8.1.5)."""
    event: dict[str, str] = {"status": record.status}
    if record.reason is not None:
        event["reason"] = record.reason
    return _claims(record, receiver, terms, jti, now_s, {STREAM_UPDATED: event})


def _claims(
    record: StreamRecord, receiver: Receiver, terms: Terms, jti: str, now_s: int, events: dict[str, Any]
) -> dict[str, Any]:
    audiences = receiver.audiences
    return {
        "iss": terms.issuer,
        "jti": jti,
        "iat": now_s,
        "aud": audiences[0] if len(audiences) == 1 else list(audiences),
        "sub_id": {"format": "opaque", "id": record.stream_id},
        "events": events,
    }
