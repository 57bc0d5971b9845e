"""Every knob of the running program, with unit, default and why. The environment is read here, once.

Thresholds, budgets and everything else that changes a decision belong to the policy file instead: a
setting may differ between two workers, a decision may not.
"""

from __future__ import annotations

import difflib
import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from models.errors import ConfigError
from stream.outbound.ocsf import OCSF_VERSION, VERSIONS, Version, is_web_address
from stream.tls import check_client, client_context

ENV_PREFIX = "DRIFTLINE_"
NO_SETTINGS = (
    *("DATA", "CORPORA", "SESSIONS", "REQUIRE_ALL", "TEST_ON_BOOTSTRAP"),
    *("ADVISE_ENDPOINT", "ADVISE_MODEL", "ADVISE_TOKEN_FILE", "OPINION_KEY_FILE", "ACTIVATION_KEY_FILE"),
    *("MLFLOW_URL", "MLFLOW_MODEL", "MLFLOW_EXPERIMENT", "MLFLOW_TOKEN_FILE"),
    *("BRIDGE_CONFIG", "BRIDGE_JWKS", "RESPONDER_KEY_FILE", "TRANSMIT_CONFIG"),
    *("CONSOLE_TOKEN_FILE", "CONSOLE_CERTIFICATE_FILE", "CONSOLE_KEY_FILE"),
    *("CONSOLE_OIDC_FILE", "CONSOLE_FEEDBACK_KEY_FILE", "CONSOLE_QUEUE_FILE", "CONSOLE_DRIFT_FILE"),
    *("MCP_TOKEN_FILE", "MCP_CERTIFICATE_FILE", "MCP_KEY_FILE"),
    *("OTEL_TOKEN_FILE", "OTEL_CERTIFICATE_FILE", "OTEL_KEY_FILE"),
    *("GATE_CONFIG", "GATE_CERTIFICATE_FILE", "GATE_KEY_FILE", "GATE_CLIENT_CA_FILE"),
    *("MCP_PROXY_TOKEN_FILE", "MCP_PROXY_CERTIFICATE_FILE", "MCP_PROXY_KEY_FILE"),
    *("MCP_PROXY_SERVER_TOKEN_FILE", "INTENT", "INTENT_FILE"),
)
"""What other variables of that prefix are called: of training, evaluation and the tests, and of ``driftline advise``, ``bridge``, ``transmit``, ``console``, ``gate``, ``mcp``, ``mcp-proxy``, ``otel`` and ``release``."""
Format = Literal["text", "json"]
FORMATS: tuple[Format, ...] = ("text", "json")
"""Of log lines, see `stream.shell.logs`."""
DEVELOPMENT_FINGERPRINT_KEY = b"driftline-development"
PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_SECRET = frozenset({"fingerprint_key", "sasl_password"})
_MASK = "********"


def _input_topics() -> dict[str, str | None]:
    return {"agent.events.v1": None}


def _state_dir() -> Path:
    return Path(".driftline")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The program's settings, each read from ``DRIFTLINE_<NAME>`` in the environment.

    Parameters
    ----------
    bootstrap : str
        Kafka addresses, ``host:port`` separated by commas. ``KAFKA_BOOTSTRAP`` beats ``DRIFTLINE_BOOTSTRAP``.
    prefix : str
        Put before every topic name, so that several installations share one cluster. Names no tenant.
    group : str
        Consumer group; the stage is appended (``driftline-judge``).
    partitions : int
        Partitions of topics that ``driftline topics create`` makes. Chosen once: a change moves sessions.
    replication : int
        Copies of each topic that ``driftline topics create`` makes; 3 on a production cluster.
    input_topics : dict of str to (str or None)
        Base name of each input topic and the tenant bound to it (None: the record says).
    state_dir : Path
        Scratch directory of the stream runtime, and of the development signing key. No session's state lives
        there; with a `signing_key_file` it may be empty at each start.
    policy_path, model_dir : Path or None
        A policy file and a model directory in place of the bundled ones. They change decisions: the same for
        every worker, changed after a drain (docs/operations.md).
    fingerprint_key : bytes
        Key of the hashes that name argument values. The default is public: fit for development only.
    issuer, audiences, risk_audience
        ``iss`` and ``aud`` of the signed tokens; `audiences` by credential broker. A broker not named gets an
        audience that reaches nobody.
    runbook_url : str or None
        Web address below which your runbooks lie: an alert links to ``<runbook_url>/<family>``, of the family that
        drives it, or ``/drift``. None gives no link. It stands in cases: the same for every worker and replay.
    ocsf_version : str
        The version of OCSF in which alerts go out: 1.8.0, or 1.9.0 where your SIEM reads it (docs/alerts.md). The same for every worker
        and replay. Whatever reads alerts here reads both.
    signing_key_file : Path or None
        RSA private keys, 2048 bits or more, as PEM, JWK or JWK set; the first signs, all are published. Read
        again when the file changes. None makes a development key in `state_dir` once and keeps it there.
    activation_jwks : Path or None
        Public JWK set of those who may activate releases, for the `issuer` as their audience; None trusts nobody.
    releases_dir : Path or None
        Folder of releases that may be activated, each a folder with a model, its manifest and a policy.
    opinion_jwks : Path or None
        Public JWK set of those who may give second opinions (``driftline advise``, a person's tool); without it there are none. The
        same for every worker and replay, as the keys shape cases; read at the start.
    responder_jwks : Path or None
        Public JWK set of those who may send or drop revocations that the circuit breaker holds (``driftline held``), and say what a case
        was (``driftline feedback``); None trusts nobody. The same for every worker; read at the start.
    declaration_jwks : Path or None
        Public JWK set of each tenant (a JSON object), where the policy demands signed declarations. The same
        for every worker and replay, as the keys shape decisions; read at the start.
    attestation_issuers : Path or None
        Issuers of workload identity of each tenant, with their public keys (a JSON object, docs/identity.md); None looks at no attestation.
        The same for every worker and replay; read at the start.
    metrics_host, metrics_port
        Where health and metrics listen; port 0 turns them off. Beyond loopback a token is needed.
    metrics_token_file : Path or None
        A bearer token for health and metrics, read at each request.
    log_format : str
        ``text`` for people, ``json`` for a collector: one object a line, with the program's versions.
    batch_max : int
        Records judged at once, at most. A batch never waits to be full; after a fetch of a few records the next
        one is left 1 ms to fill.
    checkpoint_s : float
        Seconds between checkpoints: what is judged again after a crash.
    checkpoint_records : int
        Records after which a checkpoint is taken early, so that memory stays bounded under load.
    fetch_wait_ms : int
        How long the broker may hold a fetch that finds nothing, in ms: latency against idle requests.
    fetch_max_bytes : int
        Bytes of one partition read before the others have their turn; a larger record comes alone.
    session_timeout_s : float
        Seconds without a heartbeat after which a worker's partitions go to others. On the embedded broker a
        group's first join takes half of it.
    message_max_bytes : int
        Largest input record; outputs may take 64 KiB more.
    security_protocol, sasl_mechanism, sasl_username, sasl_password
        Security of the connection to Kafka (docs/security.md).
    ssl_cafile, ssl_certfile, ssl_keyfile : Path or None
        PEM files, read again when they change: certificates rotate without a restart.
    """

    bootstrap: str = "127.0.0.1:9092"
    prefix: str = ""
    group: str = "driftline"
    partitions: int = 12
    replication: int = 1
    input_topics: dict[str, str | None] = field(default_factory=_input_topics)
    state_dir: Path = field(default_factory=_state_dir)
    policy_path: Path | None = None
    model_dir: Path | None = None
    fingerprint_key: bytes = DEVELOPMENT_FINGERPRINT_KEY
    issuer: str = "https://driftline.example.com/ssf"
    audiences: dict[str, str] = field(default_factory=dict)
    risk_audience: str = "https://receiver.example.com/ssf"
    runbook_url: str | None = None
    ocsf_version: Version = OCSF_VERSION
    signing_key_file: Path | None = None
    activation_jwks: Path | None = None
    releases_dir: Path | None = None
    declaration_jwks: Path | None = None
    attestation_issuers: Path | None = None
    responder_jwks: Path | None = None
    opinion_jwks: Path | None = None
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 0
    metrics_token_file: Path | None = None
    log_format: Format = "text"
    batch_max: int = 500
    checkpoint_s: float = 2.0
    checkpoint_records: int = 5000
    fetch_wait_ms: int = 20
    fetch_max_bytes: int = 131_072
    session_timeout_s: float = 10.0
    message_max_bytes: int = 1_048_576
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = None
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None

    def __post_init__(self) -> None:
        """Refuse contradictions now, not at the first record."""
        if self.security_protocol not in PROTOCOLS:
            raise ConfigError(
                _wrong("security_protocol", self.security_protocol, "one of " + ", ".join(PROTOCOLS))
            )
        if self.security_protocol.startswith("SASL"):
            if self.sasl_mechanism not in MECHANISMS:
                raise ConfigError(
                    _wrong("sasl_mechanism", self.sasl_mechanism, "one of " + ", ".join(MECHANISMS))
                )
            if self.sasl_username is None or self.sasl_password is None:
                raise ConfigError(
                    f"{self.security_protocol} needs DRIFTLINE_SASL_USERNAME and DRIFTLINE_SASL_PASSWORD"
                )
        elif self.sasl_username is not None or self.sasl_password is not None:
            raise ConfigError(
                f"a SASL user is set, but DRIFTLINE_SECURITY_PROTOCOL is {self.security_protocol}: "
                "the password would not be used; set SASL_SSL"
            )
        if self.log_format not in FORMATS:
            raise ConfigError(_wrong("log_format", self.log_format, " or ".join(FORMATS)))
        if self.runbook_url is not None and not is_web_address(self.runbook_url):
            raise ConfigError(_wrong("runbook_url", self.runbook_url, "an http or https address"))
        if self.ocsf_version not in VERSIONS:
            raise ConfigError(_wrong("ocsf_version", self.ocsf_version, " or ".join(VERSIONS)))
        if not self.input_topics:
            raise ConfigError('DRIFTLINE_INPUT_TOPICS names no topic; expected {"agent.events.v1": null}')
        for name, least in (
            ("partitions", 1),
            ("replication", 1),
            ("batch_max", 1),
            ("checkpoint_records", 1),
            ("fetch_wait_ms", 1),
            ("fetch_max_bytes", 1024),
            ("message_max_bytes", 1024),
            ("metrics_port", 0),
        ):
            if getattr(self, name) < least:
                raise ConfigError(_wrong(name, getattr(self, name), f"at least {least}"))
        if not 1 <= self.session_timeout_s <= 60:
            raise ConfigError(_wrong("session_timeout_s", self.session_timeout_s, "1 to 60 seconds"))
        if not self.checkpoint_s > 0:
            raise ConfigError(_wrong("checkpoint_s", self.checkpoint_s, "more than 0 seconds"))
        for address in self.bootstrap.split(","):
            try:
                parts = urlsplit("//" + address.strip())
                if not parts.hostname or parts.port is None:
                    raise ValueError(address)
            except ValueError as error:
                raise ConfigError(_wrong("bootstrap", address, "host:port, separated by commas")) from error

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        """Settings from `environment` (default: the process's own); `overrides` that are not None win.

        Raises
        ------
        ConfigError
            A value cannot be read, or two contradict each other.
        """
        source = os.environ if environment is None else environment
        values: dict[str, Any] = {}
        for knob in fields(cls):
            text = source.get(ENV_PREFIX + knob.name.upper())
            if text is not None and text != "":
                values[knob.name] = _read(knob.name, str(knob.type), text)
        if source.get("KAFKA_BOOTSTRAP"):
            values["bootstrap"] = source["KAFKA_BOOTSTRAP"]
        values.update({name: value for name, value in overrides.items() if value is not None})
        return cls(**values)

    @classmethod
    def misspelt(cls, environment: Mapping[str, str] | None = None) -> dict[str, str]:
        """Variables of `environment` that look like settings and are none, each with the nearest that is one, or ``""``.

        >>> Settings.misspelt({"DRIFTLINE_PARTITION": "3", "DRIFTLINE_PREFIX": "a."})
        {'DRIFTLINE_PARTITION': 'DRIFTLINE_PARTITIONS'}
        """
        source = os.environ if environment is None else environment
        known = [ENV_PREFIX + name for name in (*(knob.name.upper() for knob in fields(cls)), *NO_SETTINGS)]
        strangers = sorted(name for name in source if name.startswith(ENV_PREFIX) and name not in known)
        return {name: next(iter(difflib.get_close_matches(name, known, 1)), "") for name in strangers}

    def topic(self, base: str) -> str:
        """The full name on the bus of the topic with base name `base`."""
        return self.prefix + base

    def base(self, topic: str) -> str:
        """The base name of `topic`, a full name on the bus."""
        return topic.removeprefix(self.prefix)

    def tenants(self) -> dict[str, str | None]:
        """To which tenant each input topic is bound, by its full name on the bus; None: events name theirs."""
        return {self.topic(base): tenant for base, tenant in self.input_topics.items()}

    def rendered(self) -> str:
        """Every setting as JSON text, secrets masked, for ``driftline worker --print-config``."""
        shown: dict[str, Any] = {}
        for knob in fields(self):
            value = getattr(self, knob.name)
            if knob.name in _SECRET and value is not None:
                value = "(development default)" if value == DEVELOPMENT_FINGERPRINT_KEY else _MASK
            elif isinstance(value, Path):
                value = str(value)
            shown[knob.name] = value
        return json.dumps(shown, indent=2, sort_keys=True)

    def kafka(self) -> dict[str, Any]:
        """Connection arguments for kafka-python's clients.

        Raises
        ------
        ConfigError
            The installed kafka-python is too old, or a TLS file cannot be read.
        """
        check_client()
        shared: dict[str, Any] = {
            "bootstrap_servers": [address.strip() for address in self.bootstrap.split(",")],
            "security_protocol": self.security_protocol,
            "bootstrap_timeout_ms": 10_000,  # the client's own 30 s is long to wait for a wrong address
            # Asked for offsets, kafka-python 3.0 does not look for a leader that moved; it gives up after 30 s.
            "metadata_max_age_ms": 10_000,
            # A broker that comes back is found within a second: left alone, it tries every 30 s after a while.
            "reconnect_backoff_max_ms": 1_000,
        }
        if self.security_protocol.startswith("SASL"):
            shared |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password,
            }
        if self.security_protocol.endswith("SSL"):
            shared["ssl_context"] = self.ssl_context()
        return shared

    def aiokafka(self) -> dict[str, Any]:
        """Connection arguments for aiokafka's clients; raises as `kafka` does."""
        shared = self.kafka()
        shared["bootstrap_servers"] = ",".join(shared["bootstrap_servers"])
        for of_kafka_python_alone in (
            "bootstrap_timeout_ms",
            "metadata_max_age_ms",
            "reconnect_backoff_max_ms",
        ):
            del shared[of_kafka_python_alone]
        return shared

    def ssl_context(self) -> ssl.SSLContext:
        """A TLS context for Kafka that reads its files again when they change; host names are checked.

        Raises
        ------
        ConfigError
            A file cannot be read.
        """
        return client_context(self.ssl_cafile, self.ssl_certfile, self.ssl_keyfile)


def _wrong(name: str, value: object, expected: str) -> str:
    return f"{ENV_PREFIX}{name.upper()} is {value!r}; expected {expected}"


def _read(name: str, annotation: str, text: str) -> Any:
    """The value of setting `name` in `text`; a secret is never repeated in the error."""
    try:
        if annotation.startswith("dict"):
            value = json.loads(text)
            if not isinstance(value, dict) or not all(isinstance(v, str | None) for v in value.values()):
                raise ValueError(text)
            return value
        if annotation == "int":
            return int(text)
        if annotation == "float":
            return float(text)
        if annotation == "bytes":
            return text.encode()
        if annotation.startswith("Path"):
            return Path(text)
    except ValueError as error:
        kind = "a JSON object of strings" if annotation.startswith("dict") else f"a number ({annotation})"
        raise ConfigError(_wrong(name, text[:80], kind)) from error
    return text
