"""A Kafka that trusts nobody: TLS on every listener, SCRAM or client certificates, and an authorizer.

Certificates are made here, by an authority that lives as long as the test; a principal has the same name
whether it comes with a password or with a certificate, so that one list of ACLs serves both.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from stream.settings import Settings
from stream.shell.acl_check import granted
from stream.shell.acls import Acl
from tests.cluster import Cluster, free_ports

ADMIN, NODE = "admin", "node"
"""Super users: who grants the ACLs, and the broker itself."""
PASSWORD = "not-for-{name}-to-tell"


class Poison(str):
    """A header name whose bytes are no text; Python's clients would not send it, others do."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"\xff\xfe" + super().encode()


class Authority:
    """A certificate authority with its files in `directory`; ``ca.pem`` is what others trust."""

    def __init__(self, directory: Path, name: str = "test authority") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .add_extension(_usage(sign=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = directory / "ca.pem"
        self.file.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *, days: float = 1, into: Path | None = None) -> tuple[Path, Path]:
        """Certificate and key file of `name`, valid for `days` from now on; ended already if negative."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
                critical=False,
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .add_extension(_usage(sign=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        folder = into or self.directory
        folder.mkdir(parents=True, exist_ok=True)
        cert, secret = folder / f"{name}.pem", folder / f"{name}.key"
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        return cert, secret

    def stores(self, name: str) -> dict[str, str]:
        """Properties of a broker that shows a certificate of `name` and trusts this authority."""
        cert, key = self.issue(name)
        store = self.directory / f"{name}.store.pem"
        store.write_bytes(key.read_bytes() + cert.read_bytes())
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(store),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.file),
        }


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )


def password(name: str) -> str:
    """The SCRAM password of the user `name`."""
    return PASSWORD.format(name=name)


class Secured:
    """One node of Kafka with a SASL_SSL listener, an mTLS listener and the standard authorizer.

    Parameters
    ----------
    directory : Path
        Where certificates, data and logs go.
    users : iterable of str
        Names of principals. Each has a password; certificates are made when asked for.
    """

    def __init__(self, directory: Path, users: Iterable[str]) -> None:
        self.authority = Authority(directory / "tls")
        self.mtls_port = free_ports(1)[0]
        login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        properties = {
            **self.authority.stores(NODE),
            "ssl.client.auth": "required",
            "listener.name.sasl.ssl.client.auth": "none",
            "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/,DEFAULT",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl.scram-sha-512.sasl.jaas.config": login,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": f"User:{ADMIN};User:{NODE}",
        }
        scram = [f"SCRAM-SHA-512=[name={name},password={password(name)}]" for name in (*users, ADMIN)]
        self.cluster = Cluster(
            1,
            directory / "cluster",
            properties=properties,
            listeners=self._listeners,
            format_arguments=tuple(part for one in scram for part in ("--add-scram", one)),
        )
        self.node = self.cluster.nodes[0]
        # The authorizer's own record of what was asked and which rule answered: the proof of a least list.
        (self.node.directory / "log4j2.yaml").write_text(
            "Configuration:\n  Appenders:\n    Console:\n      name: out\n      PatternLayout:\n"
            '        pattern: "%d %p %c{1} %m%n"\n'
            f"    File:\n      name: audit\n      fileName: {self.audit}\n      PatternLayout:\n"
            '        pattern: "%m%n"\n'
            "  Loggers:\n    Root:\n      level: WARN\n      AppenderRef:\n        ref: out\n"
            "    Logger:\n      name: kafka.authorizer.logger\n      level: DEBUG\n      additivity: false\n"
            "      AppenderRef:\n        ref: audit\n",
            encoding="utf-8",
        )

    @property
    def audit(self) -> Path:
        """The authorizer's log, every answer in it."""
        return self.node.directory / "authorizer.log"

    def _listeners(self, client: int, controller: int) -> Mapping[str, str]:
        return {
            "listeners": f"SASL://127.0.0.1:{client},MTLS://127.0.0.1:{self.mtls_port},"
            f"CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"SASL://127.0.0.1:{client},MTLS://127.0.0.1:{self.mtls_port}",
            "listener.security.protocol.map": "SASL:SASL_SSL,MTLS:SSL,CONTROLLER:SSL",
            "inter.broker.listener.name": "MTLS",
        }

    def settings(self, name: str, protocol: str = "SASL_SSL", **more: Any) -> Settings:
        """Settings of the user `name`, with a password (SASL_SSL) or a certificate (SSL)."""
        proof: dict[str, Any]
        if protocol == "SASL_SSL":
            port = self.node.port
            proof = {
                "sasl_mechanism": "SCRAM-SHA-512",
                "sasl_username": name,
                "sasl_password": password(name),
            }
        else:
            port = self.mtls_port
            cert, key = (self.authority.directory / f"{name}.{kind}" for kind in ("pem", "key"))
            if not cert.exists():
                self.authority.issue(name)
            proof = {"ssl_certfile": cert, "ssl_keyfile": key}
        told = {
            "bootstrap": f"127.0.0.1:{port}",
            "security_protocol": protocol,
            "ssl_cafile": self.authority.file,
            "partitions": 1,
            "session_timeout_s": 6.0,
            "checkpoint_s": 0.5,
        }
        return Settings(**{**told, **proof, **more})

    def grant(self, rights: Iterable[Acl]) -> None:
        """Grant exactly these rights, as the super user."""
        from kafka import KafkaAdminClient

        admin = KafkaAdminClient(**self.settings(ADMIN).kafka())
        try:
            done = admin.create_acls(granted(rights))
        finally:
            admin.close()
        assert not done["failed"], done

    def withdraw(self, one: Acl) -> None:
        """Take one right away."""
        from kafka import KafkaAdminClient
        from kafka.admin import ACLFilter

        wanted = granted([one])[0]
        admin = KafkaAdminClient(**self.settings(ADMIN).kafka())
        try:
            done = admin.delete_acls(
                [
                    ACLFilter(
                        wanted.principal,
                        wanted.host,
                        wanted.operation,
                        wanted.permission_type,
                        wanted.resource_pattern,
                    )
                ]
            )
        finally:
            admin.close()
        assert len(done[0][1]) == 1, done
