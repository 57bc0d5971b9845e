"""``driftline otel``: the spans of agents that are traced with OpenTelemetry, as events on the bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

from models.errors import ConfigError, brings
from stream.cli.importing import told_of
from stream.cli.options import Bootstrap, Prefix, settings
from stream.cli.terminal import say

if TYPE_CHECKING:
    from stream.settings import Settings
    from stream.shell.span_feed import Feed
    from stream.transmit.configuration import Listen

HOST, PORT = "127.0.0.1", 4318


def otel(
    topic: Annotated[
        list[str] | None,
        typer.Option(
            help="Read spans from this Kafka topic, in otlp_proto or otlp_json (repeatable), in place of receiving them. No prefix is put before it."
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Where to receive OTLP over HTTP. Beyond loopback it takes TLS and a token.")
    ] = HOST,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = PORT,
    token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="DRIFTLINE_OTEL_TOKEN_FILE",
            help="One line of 16 characters or more, which exporters send as Authorization: Bearer.",
        ),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(envvar="DRIFTLINE_OTEL_CERTIFICATE_FILE", help="Certificate and chain for TLS, PEM."),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(envvar="DRIFTLINE_OTEL_KEY_FILE", help="Its key, PEM, unencrypted.")
    ] = None,
    quiet: Annotated[
        float,
        typer.Option(
            min=0.1, help="Seconds without a span after which a trace whose root did not come is told."
        ),
    ] = 10.0,
    longest: Annotated[
        float, typer.Option(min=0.1, help="Seconds that a span is held at most, though its trace goes on.")
    ] = 60.0,
    instructions: Annotated[
        bool,
        typer.Option(
            "--system-instructions",
            help="Take the system instructions for the intent of agents that no user is heard to ask.",
        ),
    ] = False,
    tenant: Annotated[str | None, typer.Option(help="Of every event (default: none is named).")] = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """Spans of OpenTelemetry (GenAI and MCP conventions) as events on the bus, until Ctrl-C: received over HTTP, or read from Kafka.

    A span tells of a call after its effect: this is for detection, and stops no call. Set up and limits: docs/opentelemetry.md.
    """
    try:
        from stream.shell import otlp_http
    except ImportError as error:
        raise ConfigError(
            f"driftline otel needs {error.name}, which the extra otel brings: {brings('otel')}"
        ) from error
    from stream.offline.imports.joining import Joiner, Limits
    from stream.offline.imports.steps import Notes
    from stream.shell import logs
    from stream.shell.span_feed import Feed
    from stream.transmit.configuration import Listen

    if topic and ((host, port) != (HOST, PORT) or token_file or certificate or key):
        raise ConfigError(
            "--topic reads from Kafka: --host, --port, --token-file, --certificate and --key go without it"
        )
    try:
        listen = Listen(host=host, port=port, certificate_file=certificate, key_file=key)
    except ValidationError as error:
        why = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise ConfigError(f"{host}: {why} (--certificate and --key)") from error
    otlp_http.checked(listen, token_file)
    configured = settings(bootstrap=bootstrap, prefix=prefix)
    logs.configure(configured.log_format, verbose=False, fixed={})
    notes = Notes()
    joiner = Joiner(notes, Limits(quiet_s=quiet, longest_s=longest), tenant=tenant, instructions=instructions)
    feed = Feed(configured, joiner, notes)
    if topic:
        asyncio.run(_read(configured, feed, topic))
    else:
        asyncio.run(_received(feed, listen, token_file))


async def _read(configured: Settings, feed: Feed, topics: list[str]) -> None:
    from stream.shell.clients import told_to_stop
    from stream.shell.span_feed import Topics

    stop = told_to_stop()
    async with feed, _summed(feed):
        await Topics(configured, feed, topics, say).run(stop)


async def _received(feed: Feed, listen: Listen, token_file: Path | None) -> None:
    from stream.shell.clients import told_to_stop
    from stream.shell.otlp_http import PATH, Receiver, receive
    from stream.shell.transmit_http import Server

    stop = told_to_stop()
    server = Server(Receiver(feed, token_file).application(), listen)
    await server.start()  # before anything else, so that an address that is taken is told at once
    try:
        async with feed, _summed(feed):
            scheme = "http" if listen.certificate_file is None else "https"
            say(f"ready: receives at {scheme}://{listen.host}:{server.port}{PATH}; Ctrl-C ends it")
            await receive(feed, server, stop)
    finally:
        await server.stop()


@asynccontextmanager
async def _summed(feed: Feed) -> AsyncIterator[None]:
    """What became of all spans is told at the end, however it comes."""
    try:
        yield
    finally:
        for line in (*told_of("otel", feed.notes), *feed.joiner.seen.lines()):
            say(line)
