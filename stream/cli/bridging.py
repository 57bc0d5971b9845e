"""``driftline bridge``: revocations carried out at the providers, and what became of each."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from models.errors import ConfigError
from stream.cli.exits import DONE, FINDINGS
from stream.cli.options import Bootstrap, Prefix, settings
from stream.cli.terminal import say

if TYPE_CHECKING:
    from stream.bridge.configuration import Configuration
    from stream.bridge.order import Trust
    from stream.settings import Settings
    from stream.shell.bridge import Bridge


def bridge(
    config: Annotated[
        Path,
        typer.Option(
            envvar="DRIFTLINE_BRIDGE_CONFIG", help="Which provider each broker name means (docs/bridge.md)."
        ),
    ],
    jwks: Annotated[
        Path | None,
        typer.Option(
            envvar="DRIFTLINE_BRIDGE_JWKS",
            help="The issuer's public keys, as `driftline verify --jwks-out` writes them; read again when the file changes.",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Ask each provider whether the bridge is let in, and end.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say what would be done for all that is on the bus now, and do nothing."
        ),
    ] = False,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed",
            help="Carry out again what failed and was not done since, and what was skipped or refused and holds now; and end.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --check: as JSON, for machines.")] = False,
    dev: Annotated[
        bool, typer.Option("--dev", help="Take development keys and old tokens too. Never in production.")
    ] = False,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    metrics_port: Annotated[int | None, typer.Option(help="Metrics on 127.0.0.1; 0 turns them off.")] = None,
) -> None:
    """Carry out revocations at the providers that issued the credentials, and tell what became of each, until Ctrl-C."""
    from stream.bridge import configuration

    if sum((check, dry_run, retry_failed)) > 1:
        raise ConfigError("--check, --dry-run and --retry-failed exclude each other")
    if as_json and not check:
        raise ConfigError("--json goes with --check")
    configured = settings(bootstrap=bootstrap, prefix=prefix, metrics_port=metrics_port)
    loaded = configuration.load(config)
    if check:
        raise typer.Exit(asyncio.run(_check(loaded, as_json=as_json)))
    if jwks is None:
        raise ConfigError(
            "--jwks is missing: name the issuer's public keys (`driftline verify --jwks-out FILE` there)"
        )
    from stream.shell.bridge import Bridge
    from stream.shell.bridge_metrics import BridgeMeasures

    trust, measures = _trust(configured, loaded, jwks, dev=dev), BridgeMeasures(loaded.brokers)
    made = Bridge(configured, loaded, trust, measures, say=say)
    if dry_run:
        raise typer.Exit(asyncio.run(_would_do(made, loaded)))
    if retry_failed:
        from stream.shell import logs

        logs.configure(configured.log_format, verbose=False, fixed={})
        counts = asyncio.run(made.retry())
        typer.echo(
            _rendered(counts) or "nothing had failed, and nothing that was skipped or refused holds now"
        )
        raise typer.Exit(FINDINGS if any(status == "failed" for _, status in counts) else DONE)
    _serve(configured, loaded, made, measures)


def _serve(configured: Settings, loaded: Configuration, made: Bridge, measures: Any) -> None:
    from stream.shell import logs
    from stream.shell.health import HealthServer

    logs.configure(configured.log_format, verbose=False, fixed={})
    server = None
    if configured.metrics_port:
        server = HealthServer(
            measures, configured.metrics_host, configured.metrics_port, configured.metrics_token_file
        )
    say(
        f"carries out revocations for {', '.join(loaded.audiences)} at {', '.join(loaded.brokers)}; Ctrl-C ends it"
    )
    try:
        asyncio.run(_until_stopped(made))
    finally:
        if server is not None:
            server.close()
    say(
        f"{made.counts['orders']} revocations, {made.counts['skipped']} for others, {made.counts['refused']} refused"
    )


async def _until_stopped(made: Bridge) -> None:
    from stream.shell.clients import told_to_stop

    await made.run(told_to_stop())


async def _check(loaded: Configuration, *, as_json: bool) -> int:
    """Ask each provider; gives the exit code."""
    from stream.bridge.configuration import provider_of
    from stream.bridge.provider import Rejected, Unavailable
    from stream.events import dumps

    found = []
    for name, each in loaded.brokers.items():
        provider = provider_of(each)
        try:
            ok, says = True, await provider.check()
        except (Rejected, Unavailable, ConfigError) as error:
            ok, says = False, str(error)
        finally:
            await provider.close()
        found.append({"broker": name, "provider": each.provider, "ok": ok, "says": says})
        if not as_json:
            typer.echo(f"{name}: {each.provider}: {'ok' if ok else 'FAILS'}, {says}")
    if as_json:
        typer.echo(dumps(found).decode())
    return DONE if all(each["ok"] for each in found) else FINDINGS


async def _would_do(made: Bridge, loaded: Configuration) -> int:
    """Say what would be done; gives the exit code: 1 where a broker has no provider."""
    from stream.events import printable

    unknown = 0
    async for order in made.would_do():
        for ref in order.credentials:
            provider = loaded.brokers.get(ref.broker)
            unknown += provider is None
            where = (
                "FAILS: no such broker in the configuration"
                if provider is None
                else f"revoke at {provider.provider}"
            )
            who = f"session {order.session_id} ({order.cause}, case {order.case_id})"
            typer.echo(printable(f"{ref.broker} {ref.kind} of {who}: {where}"))
    counts = made.counts
    say(
        f"{counts['orders']} revocations, {counts['skipped']} for others, {counts['refused']} refused; nothing was done"
    )
    return FINDINGS if unknown or counts["refused"] else DONE


def _rendered(counts: Counter[tuple[str, str]]) -> str:
    from stream.events import printable

    return "\n".join(
        printable(f"{broker} {status} {count}") for (broker, status), count in sorted(counts.items())
    )


def _trust(configured: Settings, loaded: Configuration, jwks: Path, *, dev: bool) -> Trust:
    """Whose tokens count; the key set is read again when its file changes."""
    from stream.bridge.keys import KeyFile
    from stream.bridge.order import Trust

    keys = KeyFile(jwks)
    if dev:
        say("WARNING: --dev takes development keys and old tokens: never in production")
    return Trust(keys, configured.issuer, loaded.audiences, dev)
