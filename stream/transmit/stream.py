"""One receiver's stream: what is kept of it on the bus, and what its receiver may read and change (SSF 1.0, section 8.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeGuard
from urllib.parse import urlsplit

import orjson
from pydantic import Field, ValidationError

from models.errors import StateError
from stream.bridge.providers.settings import Part
from stream.events import dumps
from stream.transmit.configuration import EVENTS, METHODS, POLL, PUSH, Push, Receiver, Status
from stream.transmit.window import Place

MOST_OWN = 16
"""Verifications and updates of its status that wait in one stream, the latest ones."""
MOST_REFUSED = 100
"""Refused tokens that a stream's record names, the latest ones; metrics count them all."""
MOST_EVENTS, MOST_TEXT, MOST_URL = 100, 1024, 2048
"""Bounds of what a receiver says: events, characters of a text, and of an address."""
SUPPORTED = tuple(EVENTS.values())


class Delivery(Part):
    """How tokens get to the receiver; `authorization` is sealed (a JWE), and is never told."""

    method: str
    endpoint_url: str | None = None
    authorization: str | None = None


class Own(Part):
    """An event of the stream itself, signed by the transmitter; `through`: sent even while the stream is paused or disabled."""

    jti: str
    event: str
    token: str
    made_ms: int
    through: bool = False


class Refusal(Part):
    """A token that the receiver refused for good, and where it stands on the bus; a stream's own events stand nowhere."""

    jti: str
    event: str
    err: str
    description: str
    at_ms: int
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None


class StreamRecord(Part):
    """All that is kept of a stream, under its id in ``agent.streams.v1``.

    Attributes
    ----------
    by_operator : str
        The status that the configuration file gave it last.
    positions : dict
        By topic and partition, the first offset that is not dealt with: the stream's queue is the bus.
    n_refused : int
        Tokens that were refused since the stream was made; the latest are in `refused`.
    verified_ms : int
        When its receiver asked for a verification last.
    """

    version: int = 1
    stream_id: str
    receiver: str
    delivery: Delivery
    events_requested: tuple[str, ...] | None = None
    description: str | None = None
    status: Status = "enabled"
    reason: str | None = None
    by_operator: Status = "enabled"
    positions: dict[str, dict[str, int]] = Field(default_factory=dict)
    own: tuple[Own, ...] = ()
    refused: tuple[Refusal, ...] = ()
    n_refused: int = 0
    verified_ms: int = 0

    def dumped(self) -> bytes:
        """As it lies on the bus."""
        return dumps(self.model_dump(mode="json", exclude_none=True))

    def delivered(self) -> tuple[str, ...]:
        """Which events the receiver gets: those that it asked for and that there are; all, where it did not say."""
        asked = self.events_requested
        return SUPPORTED if asked is None else tuple(each for each in SUPPORTED if each in asked)

    def places(self) -> dict[Place, int]:
        """Positions by place."""
        return {
            (topic, int(partition)): offset
            for topic, partitions in self.positions.items()
            for partition, offset in partitions.items()
        }

    def at(self, places: Mapping[Place, int]) -> StreamRecord:
        """The same with other positions."""
        positions: dict[str, dict[str, int]] = {}
        for (topic, partition), offset in sorted(places.items()):
            positions.setdefault(topic, {})[str(partition)] = offset
        return self.model_copy(update={"positions": positions})


def read(value: bytes) -> StreamRecord:
    """A stream as it lies on the bus.

    Raises
    ------
    StateError
        It cannot be read: to go on would lose its place in the queue.
    """
    try:
        return StreamRecord.model_validate(orjson.loads(value))
    except (orjson.JSONDecodeError, ValidationError, ValueError) as error:
        raise StateError(
            "a stream on agent.streams.v1 cannot be read by this version; run the version that wrote it, or delete the stream there "
            "by a record without a value under its key"
        ) from error


class Problem(Exception):
    """A request that is not carried out.

    Parameters
    ----------
    status : int
        Of HTTP.
    why : str
        For people at the receiver; quotes nothing of the request.
    retry_after_s : int or None
        When to come again.
    """

    def __init__(self, status: int, why: str, retry_after_s: int | None = None) -> None:
        super().__init__(why)
        self.status, self.why, self.retry_after_s = status, why, retry_after_s


class Terms(NamedTuple):
    """What holds for all streams.

    Attributes
    ----------
    issuer, url : str
        ``iss`` of tokens; where receivers reach the transmitter.
    min_verification_s : int
        Between two verifications.
    seal : callable or None
        Encrypts what a receiver wants kept secret; None where nothing is kept.
    """

    issuer: str
    url: str
    min_verification_s: int
    seal: Callable[[str], str] | None = None


def told(record: StreamRecord, receiver: Receiver, terms: Terms) -> dict[str, Any]:
    """A stream's configuration as its receiver reads it; what it said of ``authorization_header`` is not repeated."""
    method, at = record.delivery.method, record.delivery.endpoint_url
    shown: dict[str, Any] = {
        "stream_id": record.stream_id,
        "iss": terms.issuer,
        "aud": receiver.audiences[0] if len(receiver.audiences) == 1 else list(receiver.audiences),
        "events_supported": list(SUPPORTED),
        "events_delivered": list(record.delivered()),
        "delivery": {"method": method, "endpoint_url": at if method == PUSH else poll_url(record, terms)},
        "min_verification_interval": terms.min_verification_s,
    }
    if record.events_requested is not None:
        shown["events_requested"] = list(record.events_requested)
    if record.description is not None:
        shown["description"] = record.description
    return shown


def poll_url(record: StreamRecord, terms: Terms) -> str:
    """Where a stream is polled: an address of its own."""
    return f"{terms.url}/ssf/poll/{record.stream_id}"


def status_told(record: StreamRecord) -> dict[str, str]:
    """A stream's status as its receiver reads it."""
    shown = {"stream_id": record.stream_id, "status": record.status}
    return shown if record.reason is None else {**shown, "reason": record.reason}


def fixed(receiver_name: str, receiver: Receiver, stream_id: str) -> StreamRecord:
    """The stream that the configuration file describes."""
    assert receiver.stream is not None
    delivery = receiver.stream.delivery
    return StreamRecord(
        stream_id=stream_id,
        receiver=receiver_name,
        delivery=Delivery(
            method=METHODS[delivery.method],
            endpoint_url=delivery.endpoint_url if isinstance(delivery, Push) else None,
        ),
        events_requested=tuple(EVENTS[each] for each in receiver.stream.events_requested),
    )


def created(
    name: str, receiver: Receiver, stream_id: str, body: Mapping[str, Any], terms: Terms
) -> StreamRecord:
    """The stream that a receiver asks for (8.1.1.1); what the transmitter supplies is ignored in the request."""
    if receiver.stream is not None:
        raise Problem(403, "this receiver's stream is made by the operator")
    made = StreamRecord(stream_id=stream_id, receiver=name, delivery=Delivery(method=POLL))
    return made.model_copy(update=_asked(body, receiver, terms))


def updated(record: StreamRecord, receiver: Receiver, body: Mapping[str, Any], terms: Terms) -> StreamRecord:
    """The stream after a PATCH (8.1.1.3): what is not in the request stays."""
    _may_change(record, receiver, body, terms)
    return record.model_copy(update=_asked(body, receiver, terms))


def replaced(record: StreamRecord, receiver: Receiver, body: Mapping[str, Any], terms: Terms) -> StreamRecord:
    """The stream after a PUT (8.1.1.4): what is not in the request goes."""
    _may_change(record, receiver, body, terms)
    if "delivery" not in body:
        raise Problem(400, "delivery is missing; a replacement names all that the receiver supplies")
    cleared = {"events_requested": None, "description": None}
    return record.model_copy(update={**cleared, **_asked(body, receiver, terms)})


def _may_change(record: StreamRecord, receiver: Receiver, body: Mapping[str, Any], terms: Terms) -> None:
    """What the transmitter supplied must stand in the request as it is, or not at all."""
    if receiver.stream is not None:
        raise Problem(403, "this receiver's stream is made by the operator; its status can be changed")
    shown = told(record, receiver, terms)
    for name in ("iss", "aud", "events_supported", "events_delivered", "min_verification_interval"):
        if name in body and _loose(body[name]) != _loose(shown[name]):
            raise Problem(400, f"{name} is the transmitter's to say, and is another")


def _loose(value: Any) -> Any:
    """Lists in any order, and one value like a list of it."""
    if isinstance(value, str):
        return [value]
    return sorted(value) if isinstance(value, list) and all(isinstance(x, str) for x in value) else value


def _asked(body: Mapping[str, Any], receiver: Receiver, terms: Terms) -> dict[str, Any]:
    """What a request says of a stream, checked."""
    said: dict[str, Any] = {}
    if "events_requested" in body:
        events = body["events_requested"]
        if not isinstance(events, list) or not all(_text(each, MOST_URL) for each in events):
            raise Problem(400, "events_requested is a list of event types")
        if not 0 < len(events) <= MOST_EVENTS:
            raise Problem(400, f"events_requested holds 1 to {MOST_EVENTS} event types")
        said["events_requested"] = tuple(dict.fromkeys(events))
    if "description" in body:
        if not _text(body["description"], MOST_TEXT):
            raise Problem(400, f"description is a text of at most {MOST_TEXT} characters")
        said["description"] = body["description"]
    if "delivery" in body:
        said["delivery"] = _delivery(body["delivery"], receiver, terms)
    return said


def _delivery(asked: Any, receiver: Receiver, terms: Terms) -> Delivery:
    if not isinstance(asked, dict) or asked.get("method") not in (PUSH, POLL):
        raise Problem(400, f"delivery.method is {PUSH} or {POLL}")
    if asked["method"] == POLL:
        return Delivery(method=POLL)
    url, authorization = asked.get("endpoint_url"), asked.get("authorization_header")
    if not _text(url, MOST_URL):
        raise Problem(400, "delivery.endpoint_url is missing: where shall tokens be pushed to?")
    if not any(is_below(url, allowed) for allowed in receiver.push_to):
        raise Problem(
            403, "delivery.endpoint_url is no address to which this receiver may have tokens pushed"
        )
    if authorization is None:
        return Delivery(method=PUSH, endpoint_url=url)
    if not (_text(authorization, 4 * MOST_TEXT) and authorization.isascii() and authorization.isprintable()):
        raise Problem(400, "delivery.authorization_header is a header's value")
    if terms.seal is None:
        raise Problem(
            400, "this transmitter keeps no authorization_header; its operator can set seal_key_file"
        )
    return Delivery(method=PUSH, endpoint_url=url, authorization=terms.seal(authorization))


def is_below(url: str, allowed: str) -> bool:
    """Whether an address is one of those that begin with `allowed`: same scheme, host and port, and a path below its path.

    >>> is_below("https://r.example/ssf/events", "https://r.example/ssf")
    True
    >>> [is_below(url, "https://r.example/ssf") for url in (
    ...     "https://r.example/ssfx", "https://r.example/ssf/../admin", "https://r.example@evil.example/ssf",
    ...     "http://r.example/ssf", "https://r.example:444/ssf", "https://r.example/ssf/%2e%2e/admin")]
    [False, False, False, False, False, False]
    """
    try:
        one, other = urlsplit(url), urlsplit(allowed)
        ports = one.port, other.port
    except ValueError:
        return False
    if "@" in one.netloc or one.fragment or "\\" in url or "%" in one.path or not url.isprintable():
        return False
    if (one.scheme, one.hostname, ports[0]) != (other.scheme, other.hostname, ports[1]):
        return False
    steps, below = one.path.split("/"), other.path.rstrip("/").split("/")
    return ".." not in steps and steps[: len(below)] == below


def changed_status(record: StreamRecord, body: Mapping[str, Any]) -> StreamRecord:
    """The stream after its receiver asked for another status (8.1.2.2)."""
    status, reason = body.get("status"), body.get("reason")
    if status not in ("enabled", "paused", "disabled"):
        raise Problem(400, "status is enabled, paused or disabled")
    if reason is not None and not _text(reason, MOST_TEXT):
        raise Problem(400, f"reason is a text of at most {MOST_TEXT} characters")
    if record.by_operator != "enabled" and status != record.status:
        raise Problem(403, f"the operator has {record.by_operator} this stream")
    return with_status(record, status, reason)


def with_status(record: StreamRecord, status: Status, reason: str | None) -> StreamRecord:
    """The stream with another status; a disabled one holds nothing back for later."""
    own = record.own if status != "disabled" else tuple(each for each in record.own if each.through)
    return record.model_copy(update={"status": status, "reason": reason, "own": own})


def asked_state(record: StreamRecord, body: Mapping[str, Any], terms: Terms, now_ms: int) -> str | None:
    """The ``state`` of a request to verify the stream (8.1.4.2)."""
    state = body.get("state")
    if state is not None and not _text(state, MOST_TEXT):
        raise Problem(400, f"state is a text of at most {MOST_TEXT} characters")
    wait_ms = record.verified_ms + terms.min_verification_s * 1000 - now_ms
    if wait_ms > 0:
        raise Problem(429, f"at most one verification in {terms.min_verification_s} s", -(-wait_ms // 1000))
    return state


def _text(value: object, most: int) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= most
