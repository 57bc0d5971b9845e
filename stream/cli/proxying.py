"""``driftline mcp-proxy``: an MCP server's calls decided on before they reach it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from models.errors import ConfigError, brings
from stream.cli.exits import DONE
from stream.cli.options import Bootstrap, HttpHost, HttpNames, HttpPort, OverHttp, Prefix, settings
from stream.cli.terminal import say

if TYPE_CHECKING:
    from driftline_client import Client

    from stream.settings import Settings

HOST, PORT = "127.0.0.1", 8802
CLOSE_S = 5.0
"""How long the last events may take to arrive once a connection is over."""
WITH_KAFKA = ("security_protocol", "sasl_", "ssl_")


def mcp_proxy(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="-- SERVER [ARGS]...", help="The server's command; it is started for each connection."
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            help="A server over streamable HTTP, in place of a command: https, or http on loopback."
        ),
    ] = None,
    server_token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="DRIFTLINE_MCP_PROXY_SERVER_TOKEN_FILE",
            help="With --url: one line, which the server is sent as Authorization: Bearer.",
        ),
    ] = None,
    intent: Annotated[
        str | None, typer.Option(envvar="DRIFTLINE_INTENT", help="What the user asked for, in their words.")
    ] = None,
    intent_file: Annotated[
        Path | None,
        typer.Option(
            envvar="DRIFTLINE_INTENT_FILE",
            help="A file with the user's words. What it says later amends the intent; it may be empty at first. No tool may write to it.",
        ),
    ] = None,
    intent_meta: Annotated[
        str | None,
        typer.Option(
            help="The name in _meta of requests under which the client's host gives the user's words."
        ),
    ] = None,
    intent_header: Annotated[
        str | None,
        typer.Option(
            help="With --http: the header of a connection's first request in which it does, percent-encoded."
        ),
    ] = None,
    on_silence: Annotated[
        str,
        typer.Option(
            help="What a call does that no decision comes on in time: deny; allow (while the policy is in shadow); or by-class: what --reads names runs, the rest does not."
        ),
    ] = "deny",
    reads: Annotated[
        list[str] | None,
        typer.Option(metavar="TOOL", help="With --on-silence by-class: a tool that only reads (repeatable)."),
    ] = None,
    wait_s: Annotated[
        float, typer.Option("--wait", min=0.0, max=60.0, help="Seconds that a call waits for its decision.")
    ] = 0.5,
    no_decisions: Annotated[
        bool, typer.Option("--no-decisions", help="Only tell: no call waits, and none is stopped.")
    ] = False,
    agent: Annotated[str | None, typer.Option(help="Whose sessions these are: the agent's id.")] = None,
    user: Annotated[str | None, typer.Option(help="The user that it acts for.")] = None,
    user_issuer: Annotated[
        str | None, typer.Option(help="The identity provider whose sub --user is, an https address.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose agent it is.")] = None,
    server_name: Annotated[
        str | None, typer.Option(help="What the server is called where its tools are told.")
    ] = None,
    credential: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BROKER:KIND:VALUE",
            help="A reference, no secret, to what the server acts with, so that it can be revoked (repeatable).",
        ),
    ] = None,
    topic: Annotated[str, typer.Option(help="The topic of events.")] = "agent.events.v1",
    http: OverHttp = False,
    host: HttpHost = HOST,
    port: HttpPort = PORT,
    name: HttpNames = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="DRIFTLINE_MCP_PROXY_TOKEN_FILE",
            help="With --http. One line of 32 characters or more, which clients send as Authorization: Bearer.",
        ),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(
            envvar="DRIFTLINE_MCP_PROXY_CERTIFICATE_FILE",
            help="With --http: certificate and chain for TLS, PEM.",
        ),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(envvar="DRIFTLINE_MCP_PROXY_KEY_FILE", help="With --http: its key, PEM, unencrypted."),
    ] = None,
    most: Annotated[
        int,
        typer.Option(
            "--most-connections",
            min=1,
            max=1024,
            help="With --http: connections at once, each with a server of its own.",
        ),
    ] = 32,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """Stand between an MCP client and an MCP server: each call is decided on before it reaches the server, and its answer is told.

    driftline mcp-proxy --intent "Tidy my notes." -- npx -y @modelcontextprotocol/server-filesystem ~/notes

    Messages pass as they are; a call that may not run comes back as a result that the agent reads. On stdout is MCP alone. The exit code
    is the server's where it ended by itself. Set up, what is forwarded, limits: docs/mcp-proxy.md.
    """
    try:
        from driftline_client import ByClass, Client

        from stream.proxy.gate import Who
        from stream.proxy.serving import Asked, Proxy, Server, over_stdio

        if http:  # who has one client at standard input and output need not load the rest
            from stream.console.serving import Listen
            from stream.proxy.front import serve_http
    except ImportError as error:
        raise ConfigError(
            f"driftline mcp-proxy needs {error.name}, which Driftline's client and the extra mcp bring: {brings('mcp', client=True)}"
        ) from error
    from stream.shell import logs

    configured = settings(bootstrap=bootstrap, prefix=prefix)
    if bool(command) == bool(url):
        raise ConfigError("name one server: its command behind --, or its address with --url")
    if not http and (host, port, name, intent_header) != (HOST, PORT, None, None):
        raise ConfigError("--host, --port, --name and --intent-header go with --http")
    if on_silence not in ("allow", "deny", "by-class"):
        raise ConfigError(f"--on-silence is {on_silence!r}; expected allow, deny or by-class")
    if reads and on_silence != "by-class":
        raise ConfigError("--reads goes with --on-silence by-class")
    posture = ByClass(tools=dict.fromkeys(reads or (), "read")) if on_silence == "by-class" else on_silence
    if intent and intent_file is not None:
        raise ConfigError(
            "--intent and --intent-file exclude each other: one of them says what the user asked for"
        )
    server = Server(tuple(command or ()), _checked(url or ""), _token(server_token_file, url))
    who = Who(_agent(agent, user, user_issuer), server_name, tuple(map(_reference, credential or ())))
    if http:
        listen = Listen(host, port, tuple(name or ()), token_file, certificate, key, "mcp_proxy").checked()
    logs.configure(configured.log_format, verbose=False, fixed={})
    client = _client(
        Client,
        configured,
        tenant=tenant,
        topic=topic,
        on_silence=posture,
        wait_s=wait_s,
        decisions=not no_decisions,
    )
    code = DONE
    try:
        proxy = Proxy(client, who, server, Asked(intent, intent_file, intent_header, intent_meta), say)
        if http:
            asyncio.run(serve_http(proxy, listen, most))
        else:
            code = asyncio.run(over_stdio(proxy))
    finally:
        client.close(CLOSE_S)
        if client.lost:
            say(f"{client.lost} events did not reach the bus")
    if code != DONE:
        raise typer.Exit(code)


def _client(make: type[Client], configured: Settings, **how: Any) -> Client:
    """Driftline's client with the settings of the bus."""
    bus = {each: value for each, value in configured.kafka().items() if each.startswith(WITH_KAFKA)}
    try:
        return make(configured.bootstrap, prefix=configured.prefix, **how, **bus)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the client cannot be made: {error}") from error


def _checked(url: str) -> str:
    from stream.tls import is_loopback

    if not url:
        return ""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise ConfigError("--url is no address; expected one such as https://mcp.example.com/mcp") from None
    if not host or parts.scheme not in ("http", "https") or parts.username is not None:
        raise ConfigError("--url is no address of a server; expected one such as https://mcp.example.com/mcp")
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigError(
            f"--url reaches {host} in clear: whoever is between reads and writes calls; use https"
        )
    return url


def _token(path: Path | None, url: str | None) -> str:
    if path is None:
        return ""
    if not url:
        raise ConfigError("--server-token-file goes with --url")
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"--server-token-file {path} cannot be read: {getattr(error, 'strerror', 'it is no text')}"
        ) from error
    if not token or not (token.isascii() and token.isprintable()):
        raise ConfigError(f"--server-token-file {path} holds no token: one line of ASCII")
    return token


def _agent(agent: str | None, user: str | None, user_issuer: str | None) -> dict[str, str]:
    said = {"id": agent, "user": user, "user_issuer": user_issuer}
    return {name: value for name, value in said.items() if value}


def _reference(text: str) -> dict[str, str]:
    """A credential of ``BROKER:KIND:VALUE``."""
    broker, _, rest = text.partition(":")
    kind, _, value = rest.partition(":")
    if not (broker and kind and value):
        raise ConfigError("--credential is BROKER:KIND:VALUE, such as vault:lease:lease/17")
    return {"broker": broker, "kind": kind, "value": value}
