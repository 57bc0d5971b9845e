"""``driftline mcp``: cases for agents that work for a SOC."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from models.errors import ConfigError, brings
from stream.cli.consoling import since
from stream.cli.options import (
    Bootstrap,
    HttpHost,
    HttpNames,
    HttpPort,
    OverHttp,
    Prefix,
    checked_name,
    settings,
    signing_key,
)
from stream.cli.terminal import say

HOST, PORT = "127.0.0.1", 8801


def mcp(
    http: OverHttp = False,
    host: HttpHost = HOST,
    port: HttpPort = PORT,
    name: HttpNames = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="DRIFTLINE_MCP_TOKEN_FILE",
            help="With --http. One line of 32 characters or more, which clients send as Authorization: Bearer.",
        ),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(
            envvar="DRIFTLINE_MCP_CERTIFICATE_FILE",
            help="With --http: certificate and chain for TLS, PEM.",
        ),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(envvar="DRIFTLINE_MCP_KEY_FILE", help="With --http: its key, PEM, unencrypted."),
    ] = None,
    feedback_key: Annotated[
        Path | None,
        typer.Option(
            help="Private JWK that signs verdicts: with it the tool resolve_case is offered. No variable sets it, so that no agent "
            "gets a person's key by chance."
        ),
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="With --feedback-key: who says what a case was, for the record.")
    ] = None,
    days: Annotated[
        float, typer.Option(min=0, help="How many days back to read; 0: all that the bus keeps.")
    ] = 7.0,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """Cases, their stories and what analysts said, for an agent that triages, as a server of the Model Context Protocol (MCP).

    It reads the bus alone, as far as its principal may. It writes nothing, unless --feedback-key lets the agent resolve cases.
    Set up and limits: docs/mcp.md.
    """
    try:
        from stream.console.serving import Listen
        from stream.mcp.serving import FeedbackSigner, serve
    except ImportError as error:
        raise ConfigError(
            f"driftline mcp needs {error.name}, which the extra mcp brings: {brings('mcp')}"
        ) from error
    from stream.shell import logs

    configured = settings(bootstrap=bootstrap, prefix=prefix)
    if (feedback_key is None) != (by is None):
        raise ConfigError("--feedback-key and --by go together: a verdict says by whom it is")
    if not http and (host, port, name) != (HOST, PORT, None):
        raise ConfigError("--host, --port and --name go with --http")
    if not http and token_file is not None:
        raise ConfigError(
            "--token-file goes with --http: over standard input and output nobody shows a token; leave it out (DRIFTLINE_MCP_TOKEN_FILE too)"
        )
    if not http and (certificate is not None or key is not None):
        raise ConfigError(
            "--certificate and --key go with --http: nothing is encrypted over standard input and output; leave them out "
            "(DRIFTLINE_MCP_CERTIFICATE_FILE and DRIFTLINE_MCP_KEY_FILE too)"
        )
    if http and feedback_key is not None and token_file is None:
        raise ConfigError(
            "--feedback-key with --http takes a token (--token-file), on loopback too: else whoever has an account here speaks as --by"
        )
    signer = None
    if feedback_key is not None and by is not None:
        signer = FeedbackSigner(configured, checked_name(by), signing_key(feedback_key, "--feedback-key"))
    listen = None
    if http:
        listen = Listen(host, port, tuple(name or ()), token_file, certificate, key, "mcp").checked()
    logs.configure(configured.log_format, verbose=False, fixed={})
    asyncio.run(serve(configured, listen, signer, since_ms=since(days), say=say))
