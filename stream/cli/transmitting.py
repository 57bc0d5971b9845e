"""``driftline transmit``: revocations and risk changes for receivers that are not on Kafka, by OpenID's Shared Signals Framework."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.errors import ConfigError
from stream.cli.exits import DONE, FINDINGS
from stream.cli.options import Bootstrap, Prefix, settings
from stream.cli.terminal import say

if TYPE_CHECKING:
    from stream.outbound.keys import SigningKeys
    from stream.settings import Settings
    from stream.shell.transmitter import Transmitter
    from stream.transmit.access import Access
    from stream.transmit.configuration import Configuration


def transmit(
    config: Annotated[
        Path,
        typer.Option(
            envvar="DRIFTLINE_TRANSMIT_CONFIG",
            help="Who the receivers are, and how each is reached (docs/ssf.md).",
        ),
    ],
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Read the configuration and all its files, ask whether each push endpoint is reached, and end. Say --dev too "
            "where you serve with it.",
        ),
    ] = False,
    refused: Annotated[
        bool,
        typer.Option(
            "--refused", help="Print the tokens that receivers refused, one JSON object a line, and end."
        ),
    ] = False,
    send_refused: Annotated[
        bool,
        typer.Option(
            "--send-refused",
            help="Serve, and at the start hand out once more what receivers refused and the bus still has.",
        ),
    ] = False,
    dev: Annotated[
        bool,
        typer.Option(
            "--dev", help="Take HTTP without TLS on loopback, and a development key. Never in production."
        ),
    ] = False,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    metrics_port: Annotated[int | None, typer.Option(help="Metrics on 127.0.0.1; 0 turns them off.")] = None,
) -> None:
    """Hand signed revocations and risk changes to receivers by push and poll (SSF 1.0), until Ctrl-C.

    Exit 0: ended as told; --check: every push endpoint answers; --refused: nothing was refused.

    Exit 1: --check: an endpoint does not answer; --refused: what is printed was refused.

    Exit 2: options, the configuration or a file of it; 4: the broker; 5: a stream on the bus cannot be read.
    """
    from stream.bridge.configuration import read_as
    from stream.transmit.configuration import Configuration

    if sum((check, refused, send_refused)) > 1:
        raise ConfigError("--check, --refused and --send-refused exclude each other")
    configured = settings(bootstrap=bootstrap, prefix=prefix, metrics_port=metrics_port)
    if refused:
        raise typer.Exit(asyncio.run(_refused(configured)))
    loaded = read_as(Configuration, config, "a mapping with url and receivers, as docs/ssf.md shows")
    keys, access = _trusted(configured, loaded, dev=dev)
    if check:
        raise typer.Exit(asyncio.run(_check(configured, loaded)))
    _serve(configured, loaded, keys, access, send_refused=send_refused)


def _trusted(configured: Settings, loaded: Configuration, *, dev: bool) -> tuple[SigningKeys, Access]:
    """The keys that sign, and who may call; nothing in the clear and no development key without ``--dev``."""
    from stream.outbound.keys import SigningKeys
    from stream.shell.transmitter import now_ms
    from stream.transmit.access import Access

    if not dev and (found := loaded.plain()):
        raise ConfigError(
            f"{', '.join(found)}: without TLS; give https addresses and listen.certificate_file, or try it on loopback with --dev"
        )
    if not dev and configured.signing_key_file is None:
        raise ConfigError(
            "DRIFTLINE_SIGNING_KEY_FILE is not set: the transmitter signs with the worker's own key; --dev takes a development key"
        )
    if dev:
        say("WARNING: --dev serves without TLS on loopback and takes a development key: never in production")
    keys = SigningKeys(path=configured.signing_key_file, state_dir=configured.state_dir)
    return keys, Access(loaded, lambda: now_ms() / 1000)


def _serve(
    configured: Settings, loaded: Configuration, keys: SigningKeys, access: Access, *, send_refused: bool
) -> None:
    from stream.shell import logs
    from stream.shell.health import HealthServer
    from stream.shell.transmit_metrics import TransmitMeasures
    from stream.shell.transmitter import Transmitter

    logs.configure(configured.log_format, verbose=False, fixed={})
    measures, health = TransmitMeasures(loaded.receivers), None
    made = Transmitter(configured, loaded, keys, measures, say=say, send_refused=send_refused)
    if configured.metrics_port:
        health = HealthServer(
            measures, configured.metrics_host, configured.metrics_port, configured.metrics_token_file
        )
    try:
        asyncio.run(_until_stopped(configured, loaded, made, access))
    finally:
        if health is not None:
            health.close()


async def _until_stopped(
    configured: Settings, loaded: Configuration, made: Transmitter, access: Access
) -> None:
    from stream.shell.clients import told_to_stop
    from stream.shell.transmit_http import Server, application, well_known

    stop = told_to_stop()
    server = Server(application(made.streams, loaded, access), loaded.listen)
    await server.start()
    say(
        f"listens on {loaded.listen.host}:{server.port}, as {loaded.url}; metadata at {well_known(configured.issuer)}; Ctrl-C ends it"
    )
    renewing = asyncio.create_task(server.renew())
    try:
        await made.run(stop)
    finally:
        renewing.cancel()
        await server.stop()


async def _check(configured: Settings, loaded: Configuration) -> int:
    """Say of each receiver whether it could be served; gives the exit code."""
    from stream.transmit.configuration import Push
    from stream.transmit.push import Held, Pusher
    from stream.transmit.sealing import Seal

    if loaded.seal_key_file is not None:
        Seal(loaded.seal_key_file)
    if loaded.listen.certificate_file is not None:
        from stream.shell.transmit_http import server_context

        server_context(loaded.listen)
    failed = False
    for name, each in loaded.receivers.items():
        pusher = Pusher(each.ca_file, loaded.limits.timeout_s)
        delivery = None if each.stream is None else each.stream.delivery
        said = "makes its own stream" if each.stream is None else "polls"
        if isinstance(delivery, Push):
            # No token: a receiver that is there refuses an empty body, or whoever sends it.
            answer = await pusher.send(delivery.endpoint_url, None, b"")
            gone = isinstance(answer, Held) and answer.why.startswith(("no answer", "its certificate"))
            failed |= gone
            said = f"FAILS, {answer.why}" if isinstance(answer, Held) and gone else "ok, its endpoint answers"
        typer.echo(f"{name}: {', '.join(each.audiences)}: {said}")
        await pusher.close()
    return FINDINGS if failed else DONE


async def _refused(configured: Settings) -> int:
    """Print what was refused; gives the exit code: 1 where anything was."""
    from stream.events import dumps
    from stream.shell.transmitter import kept_streams

    found = 0
    kept = await kept_streams(configured)
    for record in kept.values():
        for each in record.refused:
            found += 1
            told = {"receiver": record.receiver, **each.model_dump(exclude_none=True)}
            typer.echo(dumps(told).decode())
        if (more := record.n_refused - len(record.refused)) > 0:
            say(f"{record.receiver}: {more} more were refused before these")
    if not found:
        say(
            f"nothing is refused: {', '.join(sorted(kept))}"
            if kept
            else f"nothing is refused: no stream was made yet under the prefix {configured.prefix!r}"
        )
    return FINDINGS if found else DONE
