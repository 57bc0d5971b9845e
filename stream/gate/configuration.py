"""What ``driftline gate serve`` is told in its file: whose agents it serves, over which wires, and what silence means."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from driftline_client import ByClass, OnSilence, Posture
from driftline_client.contract import Action
from pydantic import Field, model_validator

from models.errors import ConfigError
from stream.bridge.providers.settings import Part

WireName = Literal["acs", "authzen", "extmcp", "interceptors"]
SHORTEST_SECRET = 32
"""Bytes of a secret that signs, at least."""


class Tenant(Part):
    """One tenant, and how its callers are known.

    Attributes
    ----------
    token_file : Path or None
        One line that callers send as ``Authorization: Bearer``.
    acs_secret_file : Path or None
        What both sides of the Agent Control Standard derive their keys from; without it that wire is not served to the tenant.
    """

    token_file: Path | None = None
    acs_secret_file: Path | None = None


class Classes(Part):
    """Silence by class, as `driftline_client.ByClass` has it."""

    tools: dict[str, Action] = Field(default_factory=dict)
    sensitive: dict[str, bool] = Field(default_factory=dict)
    read: OnSilence = "allow"
    act: OnSilence = "allow"
    sensitive_read: OnSilence = "allow"
    sensitive_act: OnSilence = "deny"


class Acs(Part):
    """Of the Agent Control Standard.

    Attributes
    ----------
    handshake : "required" or "optional"
        Optional: a session begins at its first signed step, too, as adapters need that keep a handshake over our restarts.
    skew_ms : int
        How far a request's time may be from ours, either way.
    """

    handshake: Literal["required", "optional"] = "required"
    skew_ms: Annotated[int, Field(ge=1_000, le=3_600_000)] = 300_000


class Limits(Part):
    """What the gate holds at most.

    Attributes
    ----------
    sessions : int
        Of a tenant on one wire.
    idle_s : float
        After which a session is ended.
    body_bytes : int
        Of a request.
    message_bytes : int
        Of a message of ExtMCP, with the answer that it shows.
    """

    sessions: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    idle_s: Annotated[float, Field(ge=1)] = 3_600.0
    body_bytes: Annotated[int, Field(ge=1_024, le=16_777_216)] = 1_048_576
    message_bytes: Annotated[int, Field(ge=1_024, le=67_108_864)] = 4_194_304


class Configuration(Part):
    """The whole file.

    Attributes
    ----------
    on_silence : "allow", "deny", "raise" or classes
        What it means when no verdict comes in time, or one that says nothing either way. There is no default.
    wait_ms : int
        How long a call waits for its verdict.
    wires : list
        Those that are served.
    """

    on_silence: OnSilence | Classes
    tenants: Annotated[dict[Annotated[str, Field(min_length=1, max_length=256)], Tenant], Field(min_length=1)]
    wait_ms: Annotated[int, Field(ge=1, le=60_000)] = 500
    wires: Annotated[tuple[WireName, ...], Field(min_length=1)] = ("acs", "authzen")
    acs: Acs = Acs()
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _has_secrets(self) -> Configuration:
        if "acs" in self.wires and not any(each.acs_secret_file for each in self.tenants.values()):
            raise ValueError(
                "the wire acs needs acs_secret_file of a tenant; make one: openssl rand -hex 32, or leave acs out of wires"
            )
        if "acs" in self.wires and self.limits.idle_s < 2 * self.acs.skew_ms / 1000:
            raise ValueError(
                "limits.idle_s is at least twice acs.skew_ms: a session that is forgotten earlier takes its old requests for new ones"
            )
        return self

    def posture(self) -> Posture:
        """What silence means, for the client."""
        if isinstance(self.on_silence, Classes):
            return ByClass(**self.on_silence.model_dump())
        return self.on_silence

    def secrets(self) -> dict[str, bytes]:
        """What each tenant's keys of the Agent Control Standard are derived from.

        Raises
        ------
        ConfigError
            A file cannot be read, holds too little, or what another tenant has.
        """
        found: dict[str, bytes] = {}
        for name, tenant in self.tenants.items():
            if tenant.acs_secret_file is None:
                continue
            place = f"tenants.{name}.acs_secret_file {tenant.acs_secret_file}"
            try:
                secret = tenant.acs_secret_file.read_bytes().rstrip(b"\r\n\t ")
            except OSError as error:
                raise ConfigError(f"{place} cannot be read: {error.strerror}") from error
            if len(secret) < SHORTEST_SECRET:
                raise ConfigError(
                    f"{place} holds less than {SHORTEST_SECRET} bytes; make one: openssl rand -hex 32"
                )
            if secret in found.values():
                raise ConfigError(f"{place} holds another tenant's secret; each tenant has one of its own")
            found[name] = secret
        return found
