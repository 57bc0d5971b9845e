"""``driftline gate``: the decision before the effect, over the wires that gateways and agents' hosts already speak."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from models.errors import ConfigError, brings
from stream.cli.options import Bootstrap, Prefix, settings
from stream.cli.terminal import say

if TYPE_CHECKING:
    from stream.console.serving import Listen
    from stream.gate.callers import Callers
    from stream.gate.configuration import Configuration

HOST, PORT, RPC_PORT = "127.0.0.1", 8802, 8804
READY_S = 10.0
"""How long the start waits until decisions are read."""
FLUSH_S = 10.0
"""How long the end waits for what is on its way."""
app = typer.Typer(
    help="Decide on calls before they run, over wires that gateways and hosts of agents speak.",
    no_args_is_help=True,
)


@app.callback()
def gate() -> None:
    """Decide on calls before they run, over wires that gateways and hosts of agents speak."""


@app.command()
def serve(
    config: Annotated[
        Path,
        typer.Option(
            envvar="DRIFTLINE_GATE_CONFIG",
            help="YAML: whose agents are served, over which wires, and what silence means (docs/gate.md).",
        ),
    ],
    host: Annotated[
        str, typer.Option(help="Where to listen. Beyond loopback it takes TLS, and tokens or --client-ca.")
    ] = HOST,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = PORT,
    rpc_port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, help="Of the wire extmcp, which is gRPC; under the same rules as --port."
        ),
    ] = RPC_PORT,
    name: Annotated[
        list[str] | None,
        typer.Option(
            help="A name by which callers reach it, with :port where that is another (repeatable); other names are refused."
        ),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(envvar="DRIFTLINE_GATE_CERTIFICATE_FILE", help="Certificate and chain for TLS, PEM."),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(envvar="DRIFTLINE_GATE_KEY_FILE", help="Its key, PEM, unencrypted.")
    ] = None,
    client_ca: Annotated[
        Path | None,
        typer.Option(
            envvar="DRIFTLINE_GATE_CLIENT_CA_FILE",
            help="Authorities, PEM: callers show a certificate of theirs (mTLS). Of several tenants each needs its token all the same.",
        ),
    ] = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """Answer agents' hosts and gateways until Ctrl-C: may this call run? OWASP Agent Control Standard, AuthZEN, agentgateway's ExtMCP, MCP interceptors.

    Each call is told to the worker over Kafka, and its decision is the answer. While Kafka is away each call meets silence, and /readyz
    says so. The end of the gate ends no agent's session.

    Exit 0: ended as told; 2: options, the file or one that it names.
    """
    try:
        import stream.gate.front
        import stream.gate.rpc  # noqa: F401
        from stream.bridge.configuration import read_as
        from stream.console.serving import Listen
        from stream.gate.callers import Callers
        from stream.gate.configuration import Configuration
    except ImportError as error:
        mend = "pip install ./client" if error.name == "driftline_client" else brings("gate")
        raise ConfigError(f"driftline gate needs {error.name}: {mend}") from error
    from stream.shell import logs
    from stream.tls import is_loopback

    configured = settings(bootstrap=bootstrap, prefix=prefix)
    loaded = read_as(Configuration, config, "a mapping with on_silence and tenants, as docs/gate.md shows")
    loaded.secrets()
    callers = Callers(loaded, vouched=client_ca is not None)
    if client_ca is not None and certificate is None:
        raise ConfigError("--client-ca goes with --certificate and --key: callers show theirs over TLS alone")
    without = callers.missing(loaded.tenants)
    if without and (len(loaded.tenants) > 1 or (client_ca is None and not is_loopback(host))):
        raise ConfigError(
            f"tenants.{without[0]} has no token_file: anybody who reaches {host} could speak for it; "
            "make one: openssl rand -hex 32"
        )
    names = tuple(name or ())
    listen = Listen(
        host, port, names, None, certificate, key, "gate", client_ca_file=client_ca, knows_callers=True
    ).checked()
    logs.configure(configured.log_format, verbose=False, fixed={})
    asyncio.run(_serve(configured.kafka(), configured.prefix, loaded, listen, rpc_port, callers))


async def _serve(
    kafka: dict[str, Any], prefix: str, loaded: Configuration, listen: Listen, rpc_port: int, callers: Callers
) -> None:
    from driftline_client import Client

    from stream.console.serving import bound_to, served
    from stream.gate.front import Front, Parts
    from stream.gate.rpc import listening
    from stream.gate.sessions import Gate
    from stream.shell.clients import told_to_stop

    stop = told_to_stop()
    bound = bound_to(listen)
    port = bound.getsockname()[1]
    # Those two are the client's own.
    security = {name: value for name, value in kafka.items() if not name.startswith("bootstrap_")}
    client = Client(
        ",".join(kafka["bootstrap_servers"]),
        on_silence=loaded.posture(),
        wait_s=loaded.wait_ms / 1000,
        prefix=prefix,
        **security,
    )
    try:
        gate = Gate(client, loaded.posture(), loaded.wait_ms / 1000)
        address = listen.address(port)
        front = Front(
            Parts(gate, loaded, callers, address, time.time, time.monotonic), listen.access(port).hosts
        )
        if not await asyncio.to_thread(client.ready, READY_S):
            say(
                f"WARNING: decisions are not read yet; until they are each call meets silence ({address}/readyz says when)"
            )
        async with AsyncExitStack() as rpc:
            places = {}
            for name, wire in front.wires.items():
                if wire.processor is not None:
                    most = loaded.limits.message_bytes
                    there = replace(listen, port=rpc_port)
                    taken = await rpc.enter_async_context(listening(there, callers, wire.processor, most))
                    places[name] = f" at {taken}"
            wires = "; ".join(
                f"{name}: {wire.standard}{places.get(name, '')}" for name, wire in front.wires.items()
            )
            say(f"ready: the gate is at {address}, {wires}; Ctrl-C ends it")
            await served(front.app, listen, bound, front.swept(), stop)
    finally:
        await asyncio.to_thread(client.close, FLUSH_S)
