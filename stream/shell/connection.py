"""What a refused connection to Kafka means, found out step by step."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from models.errors import BrokerError
from stream.settings import Settings

PROBE_S = 3.0
"""Longest that finding out why a connection failed may take, for each step (chosen)."""

START_S = 8.0
"""How long an address may take to answer at the start. aiokafka's 40 s are long to wait for a port that takes connections and says nothing."""

_log = logging.getLogger("driftline.connection")


def listens(settings: Settings) -> bool:
    """Whether any address of `settings` takes connections."""
    reached = _reached(settings)
    if reached is not None:
        reached[0].close()
    return reached is not None


def _reached(settings: Settings) -> tuple[socket.socket, str, int] | None:
    """A connection to the first address that takes one, with its host and port; None if none does."""
    for host, port in _addresses(settings):
        with contextlib.suppress(OSError):
            return socket.create_connection((host, port), PROBE_S), host, port
    return None


def _unknown(settings: Settings) -> list[str]:
    """Hosts of the addresses that have no address on the network."""
    found = []
    for host, port in _addresses(settings):
        try:
            socket.getaddrinfo(host, port)
        except socket.gaierror:
            found.append(host)
    return found


def _addresses(settings: Settings) -> Iterator[tuple[str, int]]:
    for address in settings.bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        yield host.strip("[]"), int(port)


async def answers(settings: Settings) -> None:
    """Return once any address of `settings` has answered as Kafka does.

    Raises
    ------
    BrokerError
        None did within `START_S`.
    """
    from aiokafka.errors import KafkaError

    error: Exception | None = None
    for host, port in _addresses(settings):
        try:
            return await _talks(settings, host, port, START_S)
        except (KafkaError, OSError) as why:
            error = why
    raise await asyncio.to_thread(refused, settings, error or OSError()) from error


def refused(settings: Settings, error: BaseException) -> BrokerError:
    """What the failure `error` to connect means, in one sentence with the mend, and without any secret.

    Notes
    -----
    Kafka's clients try again until time is up and then tell of the time alone: one attempt is made here, step
    by step (TCP, TLS, password), to hear the reason.
    """
    at, name = settings.bootstrap, type(error).__name__
    if hint := rights_hint(error):
        return BrokerError(f"the broker at {at} refuses this principal a right ({name}){hint}")
    why = _attempt(settings)
    if why is None and (unknown := _unknown(settings)):
        return BrokerError(
            f"no Kafka broker answers at {at}: nothing here knows a host called {' or '.join(unknown)}; mend DRIFTLINE_BOOTSTRAP or "
            "--bootstrap, or the name's resolution"
        )
    if why is None:
        return BrokerError(
            f"no Kafka broker answers at {at} ({name}); start one (`driftline broker`) or set DRIFTLINE_BOOTSTRAP or --bootstrap"
        )
    return BrokerError(f"the broker at {at} cannot be used: {why}")


def rights_hint(error: BaseException) -> str:
    """What to add to a failure that is a right refused; nothing for any other."""
    import aiokafka.errors
    import kafka.errors

    names = (
        "TopicAuthorizationFailedError",
        "GroupAuthorizationFailedError",
        "ClusterAuthorizationFailedError",
    )
    kinds = tuple(getattr(where, name) for where in (aiokafka.errors, kafka.errors) for name in names)
    return "; `driftline topics --acls` prints what each role needs" if isinstance(error, kinds) else ""


def _attempt(settings: Settings) -> str | None:
    """Why the first address that takes connections cannot be used; None if none takes any."""
    reached = _reached(settings)
    if reached is None:
        return None
    raw, host, port = reached
    with raw:
        why = _shaken(settings, raw, host) if settings.security_protocol.endswith("SSL") else None
    # In a thread of its own: whoever asks may have an event loop already.
    with ThreadPoolExecutor(1) as pool:
        return why or pool.submit(asyncio.run, _greeted(settings, host, port)).result()


async def _greeted(settings: Settings, host: str, port: int) -> str:
    """Why the broker does not talk to us, once TLS stands."""
    from aiokafka.errors import (
        AuthenticationFailedError,
        IllegalSaslStateError,
        KafkaError,
        SaslAuthenticationFailed,
        UnsupportedSaslMechanismError,
    )

    try:
        await _talks(settings, host, port, PROBE_S)
    except (AuthenticationFailedError, SaslAuthenticationFailed):
        return (
            f"it refuses the user {settings.sasl_username!r} with {settings.sasl_mechanism} (wrong user, password "
            "or mechanism); mend DRIFTLINE_SASL_USERNAME or DRIFTLINE_SASL_PASSWORD"
        )
    except (UnsupportedSaslMechanismError, IllegalSaslStateError):
        return f"it does not offer {settings.sasl_mechanism} here; mend DRIFTLINE_SASL_MECHANISM or the port"
    except (KafkaError, OSError, TimeoutError):
        return (
            f"it takes connections, but does not answer {settings.security_protocol}; mend "
            "DRIFTLINE_SECURITY_PROTOCOL or the port"
        )
    return (
        f"it takes connections, but serves no requests by {settings.security_protocol} in time; does "
        "DRIFTLINE_SECURITY_PROTOCOL fit the port? If it does, try again"
    )


async def _talks(settings: Settings, host: str, port: int, longest_s: float) -> None:
    """Connect as a client does, and let go."""
    from aiokafka.conn import create_conn

    how: dict[str, Any] = {"security_protocol": settings.security_protocol}
    if settings.security_protocol.endswith("SSL"):
        how["ssl_context"] = settings.ssl_context()
    if settings.security_protocol.startswith("SASL"):
        how |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": settings.sasl_password,
        }
    level = logging.getLogger("aiokafka").level
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # its own words for what is told in ours
    try:
        (await create_conn(host, port, request_timeout_ms=int(longest_s * 1000), **how)).close()
    finally:
        logging.getLogger("aiokafka").setLevel(level)


def _shaken(settings: Settings, raw: socket.socket, host: str) -> str | None:
    try:
        with settings.ssl_context().wrap_socket(raw, server_hostname=host) as tls:
            # In TLS 1.3 a client is done before the server has seen its certificate: the refusal comes as
            # the first thing to read, where an accepted client hears nothing.
            tls.settimeout(PROBE_S)
            if tls.recv(1) == b"":
                return _ours(settings, "closed")
            return None
    except ssl.SSLCertVerificationError as error:
        return (
            f"its certificate does not hold ({error.verify_message}); set DRIFTLINE_SSL_CAFILE to the authority "
            "that signed it, and use an address that it names"
        )
    except TimeoutError:
        return None
    except ssl.SSLError as error:
        reason = (error.reason or "").replace("_", " ").lower()
        if "alert" in reason and "handshake" not in reason:
            return _ours(settings, reason)
        return (
            f"{reason or 'the handshake failed'}; is this a TLS listener, and does "
            "DRIFTLINE_SECURITY_PROTOCOL name its protocol?"
        )
    except OSError:
        return _ours(settings, "closed")


def _ours(settings: Settings, reason: str) -> str:
    """What the broker's refusal says of our own certificate."""
    if settings.ssl_certfile is None:
        return f"it asks for a client certificate ({reason}); set DRIFTLINE_SSL_CERTFILE and DRIFTLINE_SSL_KEYFILE"
    return (
        f"it refuses our certificate {settings.ssl_certfile}{_validity(settings.ssl_certfile)} ({reason}); "
        "renew it, signed by an authority that the broker trusts"
    )


def _validity(path: Path) -> str:
    """Until when a certificate holds, as told by itself; nothing where it cannot be read."""
    from cryptography import x509

    try:
        until = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return ""
    return f", valid until {until:%Y-%m-%d %H:%M} UTC"
