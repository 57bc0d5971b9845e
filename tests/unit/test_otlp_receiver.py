"""The OTLP/HTTP receiver answers as OTLP asks, whatever is sent to it, and takes nothing while the bus is away."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import socket
import threading
from base64 import b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from typer.testing import CliRunner

from models.errors import ConfigError
from stream.cli.main import app
from stream.offline.imports import otlp
from stream.offline.imports.assembly import Made
from stream.offline.imports.joining import Joiner
from stream.offline.imports.steps import Notes
from stream.settings import Settings
from stream.shell import otlp_http
from stream.shell.otlp_http import JSON, MAX_BODY, PATH, PROTOBUF, Receiver
from stream.shell.span_feed import Feed
from stream.transmit.configuration import Listen
from tests.spans import Traced, as_json, hijacked, proto

TOKEN = "t" * 32


class Kept:
    """In the place of the bus: keeps what is told, or is away."""

    def __init__(self) -> None:
        self.notes = Notes()
        self.joiner = Joiner(self.notes)
        self.is_behind = False
        self.made: list[Made] = []

    async def push(self, made: list[Made]) -> bool:
        self.made += made
        return True


def exported() -> bytes:
    traced = Traced()
    hijacked(traced)
    return proto(traced.finished())


def asked(
    ask: Callable[[TestClient[Any, Any]], Awaitable[Any]], kept: Kept, token_file: Path | None = None
) -> Any:
    async def run() -> Any:
        receiver = Receiver(kept, token_file)  # type: ignore[arg-type]
        async with TestClient(TestServer(receiver.application())) as client:
            return await ask(client)

    return asyncio.run(run())


def posted(
    body: bytes, kept: Kept, *, token_file: Path | None = None, **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}

    async def ask(client: TestClient[Any, Any]) -> tuple[int, bytes, dict[str, str]]:
        answer: ClientResponse = await client.post(PATH, data=io.BytesIO(body), headers=sent)
        return answer.status, await answer.read(), dict(answer.headers)

    told: tuple[int, bytes, dict[str, str]] = asked(ask, kept, token_file)
    return told


@pytest.mark.parametrize("kind", [PROTOBUF, JSON])
@pytest.mark.parametrize("packed", [False, True])
def test_what_an_exporter_sends_is_taken_and_answered_in_its_own_encoding(kind: str, packed: bool) -> None:
    kept, body = Kept(), exported() if kind == PROTOBUF else as_json(exported())
    headers = {"Content_Type": kind} | ({"Content_Encoding": "gzip"} if packed else {})
    status, answer, told = posted(gzip.compress(body) if packed else body, kept, **headers)
    assert (status, told["Content-Type"]) == (200, kind)
    assert answer == (b"" if kind == PROTOBUF else b"{}")
    assert kept.joiner.held == 4
    assert len(kept.joiner.drain()) == 5


def test_while_a_long_body_is_read_others_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    long, kept, reads, answered = exported(), Kept(), threading.Event(), threading.Event()
    spans_in = otlp.spans_in

    def slowly(raw: bytes, *rest: Any) -> list[otlp.Span]:
        if raw == long:
            reads.set()
            assert answered.wait(10), "nobody else is answered"
        return spans_in(raw, *rest)

    monkeypatch.setattr(otlp, "spans_in", slowly)

    async def ask(client: TestClient[Any, Any]) -> tuple[int, int]:
        sent = asyncio.create_task(client.post(PATH, data=long, headers={"Content-Type": PROTOBUF}))
        while not reads.is_set():
            await asyncio.sleep(0.01)
        quick = await client.post(PATH, data=b"{}", headers={"Content-Type": JSON})
        answered.set()
        return quick.status, (await sent).status

    assert asked(ask, kept) == (200, 200)
    assert kept.joiner.held == 4


@pytest.mark.parametrize("kind", [PROTOBUF, JSON])
def test_spans_that_are_refused_are_a_partial_success_that_says_why(kind: str) -> None:
    request = json.loads(as_json(exported()))
    spans = request["resourceSpans"][0]["scopeSpans"][0]["spans"]
    spans[0]["startTimeUnixNano"] = "0"
    kept = Kept()
    kept.notes.refuse("before", "another request's")
    if kind == JSON:
        spans[1]["traceId"] = "7"
        status, answer, _ = posted(json.dumps(request).encode(), kept, Content_Type=kind)
        told = json.loads(answer)["partialSuccess"]
        assert (status, told["rejectedSpans"]) == (200, "2")
        assert "32 hexadecimal digits" in told["errorMessage"]
    else:
        from google.protobuf.json_format import Parse
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        for span in spans:
            for name in ("traceId", "spanId", "parentSpanId"):
                span[name] = b64encode(bytes.fromhex(span.get(name, ""))).decode()
        raw = Parse(json.dumps(request), ExportTraceServiceRequest()).SerializeToString()
        status, answer, _ = posted(raw, kept, Content_Type=kind)
        partial = ExportTraceServiceResponse.FromString(answer).partial_success
        assert (status, partial.rejected_spans) == (200, 1)
        assert "no start" in partial.error_message
    assert kept.notes.first == "before: another request's"


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {"Content_Type": JSON}, 400),
        (b"", {"Content_Type": JSON}, 400),
        (b"[1]", {"Content_Type": JSON}, 400),
        (b'{"a":' * 5000, {"Content_Type": JSON}, 400),
        (b"\xff\xfe\x00garbage", {"Content_Type": PROTOBUF}, 400),
        (b"x", {"Content_Type": "text/plain"}, 415),
        (b"not gzip", {"Content_Type": JSON, "Content_Encoding": "gzip"}, 400),
        (b"x" * (MAX_BODY + 1), {"Content_Type": JSON}, 413),
        (gzip.compress(b" " * (64 * MAX_BODY)), {"Content_Type": JSON, "Content_Encoding": "gzip"}, 413),
    ],
    ids=["cut", "empty", "list", "deep", "garbage", "text", "gzip", "large", "bomb"],
)
def test_what_is_no_request_is_refused_for_good(body: bytes, headers: dict[str, str], status: int) -> None:
    kept = Kept()
    told, answer, _ = posted(body, kept, **headers)
    assert told == status
    if headers["Content_Type"] == PROTOBUF:
        assert Status.FromString(answer).message
    else:
        assert json.loads(answer)["message"]
    assert kept.made == []
    assert kept.joiner.held == 0


def test_other_methods_and_paths_are_refused() -> None:
    async def ask(client: TestClient[Any, Any]) -> list[int]:
        return [
            (await client.get(PATH)).status,
            (await client.options(PATH)).status,
            (await client.post("/v1/logs")).status,
        ]

    assert asked(ask, Kept()) == [405, 405, 404]


def test_while_the_bus_is_away_exporters_are_told_when_to_come_again() -> None:
    kept = Kept()
    kept.is_behind = True
    status, answer, headers = posted(exported(), kept, Content_Type=PROTOBUF)
    assert (status, headers["Retry-After"]) == (503, "5")
    assert "away" in Status.FromString(answer).message
    assert kept.joiner.held == 0


def test_more_bodies_at_once_than_there_is_room_for_are_told_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(otlp_http, "MOST_BODIES", 1)

    async def ask(client: TestClient[Any, Any]) -> tuple[int, str]:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slowly() -> Any:
            yield b"{"
            begun.set()
            await go_on.wait()
            yield b"}"

        first = asyncio.create_task(client.post(PATH, data=slowly(), headers={"Content-Type": JSON}))
        await begun.wait()
        await asyncio.sleep(0.2)
        second = await client.post(PATH, data=b"{}", headers={"Content-Type": JSON})
        go_on.set()
        assert (await first).status == 200
        return second.status, second.headers["Retry-After"]

    assert asked(ask, Kept()) == (429, "1")


@pytest.mark.parametrize(
    ("shown", "status"),
    [(None, 401), ("Bearer wrong", 401), (TOKEN, 401), (f"Bearer {TOKEN}", 200), (f"bearer {TOKEN}", 200)],
)
def test_a_token_is_asked_for_where_there_is_one(shown: str | None, status: int, tmp_path: Path) -> None:
    held = tmp_path / "token"
    held.write_text(TOKEN + "\n")
    headers = {"Content_Type": JSON} | ({"Authorization": shown} if shown else {})
    told, _, answered = posted(b"{}", Kept(), token_file=held, **headers)
    assert told == status
    assert ("WWW-Authenticate" in answered) == (status == 401)


def test_a_token_that_is_no_text_is_a_wrong_one_and_no_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)

    async def ask(client: TestClient[Any, Any]) -> bytes:
        reads, writes = await asyncio.open_connection(client.host, client.port)
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nContent-Length: 2\r\n"
        writes.write(head.encode() + b"Authorization: Bearer \xff\xfe\r\n\r\n{}")
        answer = await reads.readline()
        writes.close()
        return answer

    assert b" 401 " in asked(ask, Kept(), token_file)
    assert not caplog.records


def test_beyond_loopback_a_receiver_takes_tls_and_a_token(tmp_path: Path) -> None:
    short = tmp_path / "token"
    short.write_text("short")
    otlp_http.checked(Listen(), None)
    with pytest.raises(ValueError, match="only TLS is served"):
        Listen(host="0.0.0.0")
    with pytest.raises(ConfigError, match="--token-file"):
        otlp_http.checked(Listen(host="0.0.0.0", certificate_file=short, key_file=short), None)
    with pytest.raises(ConfigError, match="holds no token"):
        otlp_http.checked(Listen(), short)


def test_an_address_that_is_taken_is_told_before_the_bus_is_asked_and_nothing_is_summed_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        # At this address no broker answers: it is not got that far.
        done = CliRunner().invoke(app, ["otel", "--port", port, "--bootstrap", "127.0.0.1:9"])
    assert isinstance(done.exception, ConfigError)
    assert f"127.0.0.1:{port} cannot be used" in str(done.exception)
    assert done.output == ""


def test_until_the_bus_is_reached_exporters_are_told_to_come_again() -> None:
    notes = Notes()
    feed = Feed(Settings(), Joiner(notes), notes)
    status, _, headers = posted(exported(), feed, content_type=PROTOBUF)  # type: ignore[arg-type]
    assert (status, headers["Retry-After"]) == (503, "5")
