"""The transmitter's configuration: where it listens, who its receivers are, and how each may be reached."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from stream.bridge.providers.settings import Minutes, Part, Seconds, WebAddress
from stream.outbound.claims import RISK_LEVEL_CHANGE, SESSION_REVOKED
from stream.tls import is_loopback

PUSH, POLL = "urn:ietf:rfc:8935", "urn:ietf:rfc:8936"
METHODS: Mapping[str, str] = {"push": PUSH, "poll": POLL}
EVENTS: Mapping[str, str] = {"session-revoked": SESSION_REVOKED, "risk-level-change": RISK_LEVEL_CHANGE}
"""What is transmitted, by the names of the configuration."""
MOST_RECEIVERS = 64
"""Each has a window and a reader of its own (chosen)."""
Status = Literal["enabled", "paused", "disabled"]
Event = Literal["session-revoked", "risk-level-change"]

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("a receiver's name has lower-case letters, digits and . _ - alone, at most 63")
    return name


class Listen(Part):
    """Where receivers are served.

    Attributes
    ----------
    host, port
        The address. Without a certificate only loopback is served, and only with ``--dev``.
    certificate_file, key_file : Path or None
        PEM, read again when they change.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=8443, ge=0, le=65535)
    certificate_file: Path | None = None
    key_file: Path | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        if self.certificate_file is None and not is_loopback(self.host):
            raise ValueError("beyond loopback only TLS is served: set certificate_file and key_file")
        return self


class OAuth(Part):
    """Whose access tokens are taken: JWTs (RFC 9068), verified with keys in a file.

    Attributes
    ----------
    issuer, audience : str
        Their ``iss``, and what their ``aud`` must hold.
    jwks_file : Path
        The issuer's public keys, read again when the file changes.
    """

    issuer: str
    audience: str
    jwks_file: Path


class Push(Part):
    """Tokens are sent to the receiver (RFC 8935).

    Attributes
    ----------
    endpoint_url : str
        Where to.
    token_file : Path or None
        The bearer token that the receiver asks for, read at each use.
    """

    method: Literal["push"]
    endpoint_url: WebAddress
    token_file: Path | None = None


class Poll(Part):
    """The receiver fetches tokens (RFC 8936)."""

    method: Literal["poll"]


class FixedStream(Part):
    """A stream that the operator makes. Its receiver reads it, verifies it, and may pause it, and changes nothing else.

    Attributes
    ----------
    delivery : Push or Poll
        How tokens get there.
    events_requested : list
        Which events.
    status : str
        Other than ``enabled``, the operator has paused or disabled it, and the receiver cannot enable it.
    reason : str or None
        Told to the receiver.
    """

    delivery: Annotated[Push | Poll, Field(discriminator="method")]
    events_requested: Annotated[tuple[Event, ...], Field(min_length=1)] = (
        "session-revoked",
        "risk-level-change",
    )
    status: Status = "enabled"
    reason: Annotated[str, Field(max_length=200)] | None = None


class Receiver(Part):
    """Somebody who receives tokens, in one stream.

    Attributes
    ----------
    audiences : list of str
        Who the receiver is, as tokens call it in ``aud``: of ``DRIFTLINE_AUDIENCES``, and ``DRIFTLINE_RISK_AUDIENCE``.
    token_file : Path or None
        The bearer token that it shows here, read at each request.
    oauth_client : str or None
        Its ``client_id`` (or ``azp``, or ``sub``) in access tokens of `Configuration.oauth`.
    push_to : list of str
        Beginnings of the addresses to which it may have tokens pushed; without any it may only poll.
    ca_file : Path or None
        PEM of the authority of its endpoint's certificate, where the system does not know it.
    stream : FixedStream or None
        A stream made by the operator; without one the receiver makes its own.
    """

    audiences: Annotated[list[str], Field(min_length=1, max_length=16)]
    token_file: Path | None = None
    oauth_client: str | None = None
    push_to: tuple[WebAddress, ...] = ()
    ca_file: Path | None = None
    stream: FixedStream | None = None

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        if self.token_file is None and self.oauth_client is None and not isinstance(self._delivery(), Push):
            raise ValueError("set token_file or oauth_client: nobody else could prove to be this receiver")
        return self

    def _delivery(self) -> Push | Poll | None:
        return None if self.stream is None else self.stream.delivery


class Limits(Part):
    """How long things may take.

    Attributes
    ----------
    timeout_s : float
        An answer of a receiver.
    long_poll_s : float
        A poll that finds nothing.
    redeliver_after_s : float
        How long a polled token that is not acknowledged is kept back before it is handed out again.
    give_up_minutes : float
        How long one token may fail at a receiver that answers, before it is told as refused and passed by. A receiver that does
        not answer is waited for as long as the bus keeps the tokens.
    min_verification_interval_s : int
        Between two verifications that a receiver asks for.
    """

    timeout_s: Seconds = 10.0
    long_poll_s: Seconds = 30.0
    redeliver_after_s: Seconds = 10.0
    give_up_minutes: Minutes = 30.0
    min_verification_interval_s: int = Field(default=5, ge=0, le=3600)


class Configuration(Part):
    """All of the transmitter that is no connection to Kafka.

    Attributes
    ----------
    url : str
        The address by which receivers reach it, as its metadata tell it.
    seal_key_file : Path or None
        At least 32 bytes. With it a receiver may say which ``Authorization`` pushes shall carry, and that is kept encrypted.
    """

    version: Literal[1] = 1
    url: WebAddress
    listen: Listen = Listen()
    oauth: OAuth | None = None
    seal_key_file: Path | None = None
    receivers: Annotated[
        dict[Annotated[str, AfterValidator(_name)], Receiver],
        Field(min_length=1, max_length=MOST_RECEIVERS),
    ]
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        seen: dict[str, str] = {}
        for name, each in self.receivers.items():
            for audience in each.audiences:
                if (other := seen.setdefault(audience, name)) != name:
                    raise ValueError(
                        f"{name} and {other} have one audience; a token for it is for one receiver alone"
                    )
            if each.oauth_client is not None and self.oauth is None:
                raise ValueError(f"{name} has an oauth_client; oauth must say whose access tokens are taken")
        clients = [each.oauth_client for each in self.receivers.values() if each.oauth_client is not None]
        if len(clients) != len(set(clients)):
            raise ValueError("two receivers have one oauth_client")
        return self

    def plain(self) -> list[str]:
        """What of it goes without TLS, and so needs ``--dev``."""
        found = [] if self.listen.certificate_file is not None else ["listen"]
        found += ["url"] if self.url.startswith("http:") else []
        for name, each in self.receivers.items():
            delivery = each.stream.delivery if each.stream is not None else None
            addresses = [*each.push_to, *([delivery.endpoint_url] if isinstance(delivery, Push) else [])]
            found += [f"receivers.{name}"] if any(one.startswith("http:") for one in addresses) else []
        return found
