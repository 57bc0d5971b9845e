"""TLS files that change while a program runs, without a broker: a server that tells whose certificate it saw."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter, sleep

import pytest
from driftline_client import Client
from typer.testing import CliRunner

from models.errors import BrokerError, ConfigError
from stream.cli.main import app
from stream.outbound.keys import SigningKeys
from stream.settings import Settings
from stream.shell import connection
from stream.shell.connection import refused
from stream.tls import client_context
from tests.secured import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def server(authority: Authority) -> Iterator[tuple[int, list[int]]]:
    """Port of a TLS server that asks for certificates, and the serial numbers of those it saw."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.file))
    context.load_cert_chain(*authority.issue("node"))
    context.verify_mode = ssl.CERT_REQUIRED
    seen: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    raw, _ = listening.accept()
                except OSError:
                    return
                try:
                    with context.wrap_socket(raw, server_side=True) as tls:
                        seen.append(int(str((tls.getpeercert() or {})["serialNumber"]), 16))
                        tls.sendall(b"x")
                except OSError:
                    raw.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1], seen
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@pytest.fixture
def silent() -> Iterator[str]:
    """An address that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


BRIDGE = """
audiences: [https://bridge.example.com/set]
brokers: {vault: {provider: vault, url: "https://vault.example.com", token_file: token}}
"""
TRANSMIT = """
url: http://127.0.0.1:8443
listen: {port: 0}
receivers: {idp: {audiences: [https://receiver.example.com/ssf], token_file: token}}
"""


@pytest.mark.parametrize(
    "command",
    [
        "console --port 0",
        "otel --port 0",
        "otel --topic spans",
        "bridge --config bridge.yaml --jwks jwks.json --dev --metrics-port 0",
        "transmit --config transmit.yaml --dev --metrics-port 0",
    ],
)
def test_an_address_that_takes_connections_and_says_nothing_is_told_soon(
    silent: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(connection, "START_S", 0.5)
    Path("token").write_text("t" * 40)
    Path("bridge.yaml").write_text(BRIDGE)
    Path("transmit.yaml").write_text(TRANSMIT)
    Path("jwks.json").write_text(json.dumps(SigningKeys(state_dir=tmp_path).jwks()))
    began = perf_counter()
    done = CliRunner().invoke(app, [*command.split(), "--bootstrap", silent])
    assert isinstance(done.exception, BrokerError), done.output
    assert "it takes connections, but does not answer PLAINTEXT" in str(done.exception)
    assert perf_counter() - began < 20


@pytest.mark.slow
def test_a_client_that_reads_no_decisions_says_why_within_fifteen_seconds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Client("127.0.0.1:1", on_silence="allow"):
        until = perf_counter() + 15
        while "decisions cannot be read" not in caplog.text and perf_counter() < until:
            sleep(0.2)
    assert "decisions cannot be read (KafkaTimeoutError" in caplog.text


def connect(context: ssl.SSLContext, port: int) -> None:
    with (
        socket.create_connection(("127.0.0.1", port), 5) as raw,
        context.wrap_socket(raw, server_hostname="127.0.0.1") as tls,
    ):
        assert tls.recv(1) == b"x"


async def connect_async(context: ssl.SSLContext, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    assert await reader.read(1) == b"x"
    writer.close()


def test_each_new_connection_has_the_newest_certificate_and_a_broken_one_is_passed_over(
    authority: Authority, server: tuple[int, list[int]], tmp_path: Path
) -> None:
    port, seen = server
    cert, key = authority.issue("worker", into=tmp_path)
    context = client_context(authority.file, cert, key)
    connect(context, port)
    asyncio.run(connect_async(context, port))
    assert len(set(seen)) == 1
    fresh_cert, fresh_key = authority.issue("worker", into=tmp_path / "new")
    shutil.copy(fresh_cert, cert)  # between the two files the pair does not fit
    connect(context, port)
    assert len(set(seen)) == 1
    shutil.copy(fresh_key, key)
    asyncio.run(connect_async(context, port))
    connect(context, port)
    assert len(set(seen)) == 2
    assert seen[-1] == seen[-2] != seen[0]
    cert.unlink()
    connect(context, port)
    assert seen[-1] == seen[-2]


def test_an_authority_that_was_replaced_is_believed_no_longer(
    authority: Authority, server: tuple[int, list[int]], tmp_path: Path
) -> None:
    port, _ = server
    trusted = tmp_path / "ca.pem"
    shutil.copy(authority.file, trusted)
    cert, key = authority.issue("worker", into=tmp_path)
    context = client_context(trusted, cert, key)
    connect(context, port)
    shutil.copy(Authority(tmp_path / "other", "other").file, trusted)
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(context, port)


@pytest.mark.parametrize("what", ["missing", "garbage", "another key"])
def test_files_that_cannot_be_used_are_refused_at_the_start_and_never_quoted(
    authority: Authority, what: str, tmp_path: Path
) -> None:
    cert, key = authority.issue("worker", into=tmp_path)
    if what == "missing":
        key.unlink()
    elif what == "garbage":
        key.write_text("-----BEGIN PRIVATE KEY-----\nsecret-bytes\n-----END PRIVATE KEY-----\n")
    else:
        shutil.copy(authority.issue("other", into=tmp_path / "other")[1], key)
    with pytest.raises(ConfigError, match="TLS files for Kafka cannot be used") as told:
        Settings(
            security_protocol="SSL", ssl_cafile=authority.file, ssl_certfile=cert, ssl_keyfile=key
        ).ssl_context()
    assert "secret-bytes" not in str(told.value)


def test_an_address_where_nothing_listens_is_told_with_its_mend() -> None:
    told = refused(Settings(bootstrap="127.0.0.1:1"), TimeoutError())
    assert isinstance(told, BrokerError)
    assert "no Kafka broker answers at 127.0.0.1:1" in str(told)


def test_a_listener_of_another_protocol_is_told(server: tuple[int, list[int]]) -> None:
    port, _ = server
    told = refused(Settings(bootstrap=f"127.0.0.1:{port}"), TimeoutError())
    assert "does not answer PLAINTEXT; mend DRIFTLINE_SECURITY_PROTOCOL" in str(told)


def test_a_host_that_nobody_knows_is_named_with_the_mend() -> None:
    told = str(refused(Settings(bootstrap="nohost.invalid:9092"), OSError()))
    assert "nothing here knows a host called nohost.invalid; mend DRIFTLINE_BOOTSTRAP" in told
