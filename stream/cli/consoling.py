"""``driftline console``: cases, sessions and the fleet, live in a browser."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from models.errors import ConfigError, brings
from stream.cli.options import Bootstrap, Prefix, settings, signing_key
from stream.cli.terminal import say

if TYPE_CHECKING:
    from models.text.quotes import Quotes


def console(
    host: Annotated[
        str,
        typer.Option(help="Where to listen. Beyond loopback it takes TLS, and OpenID Connect or a token."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8800,
    name: Annotated[
        list[str] | None,
        typer.Option(
            help="A name by which browsers reach it, with :port where that is another (repeatable); other names are refused."
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="DRIFTLINE_CONSOLE_TOKEN_FILE",
            help="One line: what to sign in with, 32 characters or more.",
        ),
    ] = None,
    oidc: Annotated[
        Path | None,
        typer.Option(
            envvar="DRIFTLINE_CONSOLE_OIDC_FILE",
            help="YAML: which OpenID provider people sign in at, and their roles (docs/console.md).",
        ),
    ] = None,
    feedback_key: Annotated[
        Path | None,
        typer.Option(
            envvar="DRIFTLINE_CONSOLE_FEEDBACK_KEY_FILE",
            help="Private JWK with which the console signs what analysts say of cases; workers trust its public half.",
        ),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(envvar="DRIFTLINE_CONSOLE_CERTIFICATE_FILE", help="Certificate and chain for TLS, PEM."),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(envvar="DRIFTLINE_CONSOLE_KEY_FILE", help="Its key, PEM, unencrypted.")
    ] = None,
    days: Annotated[
        float, typer.Option(min=0, help="How many days back to read; 0: all that the bus keeps.")
    ] = 7.0,
    quotes: Annotated[
        str,
        typer.Option(
            help="What pages quote of arguments and answers: none, masked (words without values) or full. Secrets never."
        ),
    ] = "masked",
    queue: Annotated[
        Path | None,
        typer.Option(
            envvar="DRIFTLINE_CONSOLE_QUEUE_FILE",
            help="What `driftline labels next --json` wrote: the page To label shows it, and reads it anew once it is another.",
        ),
    ] = None,
    drift: Annotated[
        Path | None,
        typer.Option(
            envvar="DRIFTLINE_CONSOLE_DRIFT_FILE",
            help="What `driftline drift-report --json` wrote: the page Drift shows it, and reads it anew once it is another.",
        ),
    ] = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """Cases by risk, each session as a story, the fleet and its health, live in a browser, until Ctrl-C.

    It reads the bus alone, as far as its principal may. With --feedback-key analysts say there what a case was; otherwise it
    writes nothing. On loopback nobody has to sign in.
    """
    try:
        from stream.console.drifted import Drifted
        from stream.console.provider import OpenId, Provider
        from stream.console.queue import Queue
        from stream.console.saying import Saying
        from stream.console.serving import Listen, serve
    except ImportError as error:
        raise ConfigError(
            f"driftline console needs {error.name}, which the extra console brings: {brings('console')}"
        ) from error
    from stream.bridge.configuration import read_as
    from stream.shell import logs
    from stream.shell.send import send_signed

    configured = settings(bootstrap=bootstrap, prefix=prefix)
    provider = saying = None
    if oidc is not None:
        expected = "a mapping with issuer and client_id, as docs/console.md shows"
        provider = Provider(read_as(OpenId, oidc, expected, "--oidc"), time.time)
    listen = Listen(host, port, tuple(name or ()), token_file, certificate, key, provider=provider).checked()
    if feedback_key is not None:
        signing = signing_key(feedback_key, "--feedback-key")
        saying = Saying(signing, configured.issuer, partial(send_signed, configured, "feedback.given"))
    asked = Queue(queue) if queue is not None else None
    changed = Drifted(drift) if drift is not None else None
    for page, given in (("To label", asked), ("Drift", changed)):
        if given is not None and (problem := given.file.look()):
            say(f"WARNING: {problem}; the page {page} is empty until then")
    logs.configure(configured.log_format, verbose=False, fixed={})
    asyncio.run(
        serve(
            configured,
            listen,
            since_ms=since(days),
            say=say,
            saying=saying,
            quotes=checked_quotes(quotes),
            queue=asked,
            drift=changed,
        )
    )


def checked_quotes(quotes: str) -> Quotes:
    """``--quotes``; `ConfigError` where it is no way of quoting."""
    from models.text.quotes import Quotes

    for known in get_args(Quotes):
        if quotes == known:
            return cast("Quotes", known)
    raise ConfigError(f"--quotes is {quotes!r}; expected one of {', '.join(get_args(Quotes))}")


def since(days: float) -> int | None:
    """The moment so many days ago, in milliseconds since 1970; None for 0: all."""
    return round((time.time() - days * 86_400) * 1000) if days else None
