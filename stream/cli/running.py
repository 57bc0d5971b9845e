"""Commands that run the system: the demo, the development broker, the worker."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, NoReturn

import typer

from models.errors import BrokerError, ConfigError
from stream.cli.options import (
    EVENTS_WANTED,
    Bootstrap,
    Mode,
    Prefix,
    Tools,
    checked_mode,
    settings,
    signing_key,
    warn_of_misspelt,
)
from stream.cli.terminal import say

if TYPE_CHECKING:
    from stream.core.judge import Judge
    from stream.outbound.act import Actor
    from stream.settings import Settings

Speak = Callable[[str], None]


def demo(
    data: Annotated[Path | None, typer.Option(help="Play this file in place of the samples.")] = None,
    rate: Annotated[float, typer.Option(min=0.1, help="Events a second.")] = 40.0,
    tools: Tools = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Play at most so many events.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Keep what is shown at the end in this SVG.")] = None,
) -> None:
    """The whole system on this machine: embedded broker, worker, sessions, a live view."""
    from stream.offline import lines

    if data is not None:
        lines.check([data], lines.is_input, EVENTS_WANTED, tools)
    from stream.shell.demo import run

    raise typer.Exit(run(data, rate=rate, tools=tools, limit=limit, picture=picture))


def broker(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 9092,
) -> None:
    """The embedded development broker alone, until Ctrl-C. In memory: it forgets everything."""
    import signal
    import time

    from stream.shell.broker import EmbeddedBroker

    def terminated(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, terminated)
    with EmbeddedBroker(port) as running:
        typer.echo(running.bootstrap)
        say("development broker, in memory, loopback only; Ctrl-C ends it")
        try:
            while running.running():
                time.sleep(0.3)
        except KeyboardInterrupt:
            return
    raise BrokerError("the embedded broker ended by itself")


def worker(
    stage: Annotated[str, typer.Option(help="judge, act or both.")] = "both",
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    mode: Mode = None,
    metrics_port: Annotated[int | None, typer.Option(help="Metrics on 127.0.0.1; 0 turns them off.")] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Show the settings and end.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="The stream runtime's own messages too.")
    ] = False,
) -> None:
    """The streaming worker: judges events, acts on cases."""
    if stage not in {"judge", "act", "both"}:
        raise ConfigError(f"--stage is {stage!r}; expected judge, act or both")
    configured = settings(bootstrap=bootstrap, prefix=prefix, metrics_port=metrics_port)
    if print_config:
        warn_of_misspelt(lambda text: say(f"WARNING: {text}"))
        typer.echo(configured.rendered())
        return
    _work(configured, stage, checked_mode(mode), verbose=verbose)


def _work(configured: Settings, stage: str, mode: str | None, *, verbose: bool) -> NoReturn:
    """Run the stages until they stop; ends the process."""
    from stream import bootstrap as composition
    from stream.shell import releases
    from stream.shell.app import run

    voice = voice_of(configured, verbose=verbose)
    fetch = partial(releases.fetch, configured) if configured.activation_jwks is not None else None
    judge = composition.judge(configured, mode=mode, fetch=fetch) if stage in {"judge", "both"} else None
    actor = composition.actor(configured) if stage in {"act", "both"} else None
    announce(configured, judge, actor, voice)
    composition.spare_the_collector()
    code = run(configured, judge=judge, actor=actor, announce=voice.say)
    # Threads of the Kafka client may wait for a broker that is gone; everything durable is done by now.
    sys.stderr.flush()
    sys.stdout.flush()
    os._exit(code)


def advise(
    endpoint: Annotated[
        str,
        typer.Option(
            envvar="DRIFTLINE_ADVISE_ENDPOINT",
            help="OpenAI-compatible, such as https://models.example.com/v1.",
        ),
    ],
    model: Annotated[str, typer.Option(envvar="DRIFTLINE_ADVISE_MODEL", help="The model's name there.")],
    key: Annotated[
        Path,
        typer.Option(
            envvar="DRIFTLINE_OPINION_KEY_FILE",
            help="Private JWK that signs opinions; workers trust its public half.",
        ),
    ],
    token_file: Annotated[
        Path | None, typer.Option(envvar="DRIFTLINE_ADVISE_TOKEN_FILE", help="Bearer token for the endpoint.")
    ] = None,
    ask: Annotated[str, typer.Option(help="watch, alert or both: decisions to ask about.")] = "both",
    per_hour: Annotated[int, typer.Option(min=1, help="Questions an hour, at most.")] = 120,
    per_day: Annotated[float, typer.Option(min=0, help="Money a day, at most, at --per-million.")] = 5.0,
    per_million: Annotated[float, typer.Option(min=0, help="What a million tokens cost.")] = 1.0,
    timeout: Annotated[float, typer.Option(min=0.1, max=120, help="Seconds that an answer may take.")] = 20.0,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """Ask a language model of yours for second opinions on decisions in the grey band, until Ctrl-C.

    What a session was asked, did and read goes to the endpoint, and nothing of the model's words comes back but one of three: see
    docs/advise.md.
    """
    import signal
    import threading

    from stream.advice.budget import Budget
    from stream.advice.endpoint import Endpoint
    from stream.advice.heard import Heard
    from stream.declarations import load_keys
    from stream.opinions import MAX_BY
    from stream.shell.advise import Adviser, run

    bands = {"both": ("watch", "alert"), "watch": ("watch",), "alert": ("alert",)}.get(ask)
    if bands is None:
        raise ConfigError(f"--ask is {ask!r}; expected watch, alert or both")
    if not 0 < len(model) <= MAX_BY or not model.isprintable():
        raise ConfigError(f"--model is no name of at most {MAX_BY} printable characters")
    configured = settings(bootstrap=bootstrap, prefix=prefix)
    voice = voice_of(configured, verbose=False)
    signing = signing_key(key)
    tenants = configured.tenants()
    keys = configured.declaration_jwks
    adviser = Adviser(
        Heard(tenants, load_keys(keys) if keys is not None else None),
        Endpoint(endpoint, model, token_file, timeout),
        Budget(per_hour, per_day, per_million),
        signing,
        model,
        configured.issuer,
        bands,
    )
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    voice.say(f"asking {model} about decisions in {' and '.join(bands)}; Ctrl-C ends it")
    run(configured, adviser, stopped.is_set)
    voice.say(f"second opinions: {dict(adviser.counts)}")


class Voice(NamedTuple):
    """How the worker speaks to its operator: as log lines in JSON, or as sentences on stderr."""

    say: Speak
    warn: Speak


def voice_of(configured: Settings, *, verbose: bool) -> Voice:
    """Set up logging as the settings say; gives what speaks through it, and has said which settings are none."""
    import logging
    from importlib.metadata import version

    from stream.events import CORE
    from stream.shell import logs

    logs.configure(
        configured.log_format, verbose=verbose, fixed={"version": version("driftline"), "core": CORE}
    )
    if configured.log_format == "json":
        log = logging.getLogger("driftline")
        voice = Voice(log.info, log.warning)
    else:
        voice = Voice(say, lambda text: say(f"WARNING: {text}"))
    warn_of_misspelt(voice.warn)
    return voice


def announce(configured: Settings, judge: Judge | None, actor: Actor | None, voice: Voice) -> None:
    """Say what will be decided by what, and which settings are fit for development only."""
    from stream.settings import DEVELOPMENT_FINGERPRINT_KEY

    if judge is not None:
        release = judge.releases[""]
        policy = release.policy
        voice.say(f"policy {policy.name}@{policy.digest}, mode {policy.mode_told}; model {release.name}")
    if configured.fingerprint_key == DEVELOPMENT_FINGERPRINT_KEY:
        voice.warn("the fingerprint key is the public default; set DRIFTLINE_FINGERPRINT_KEY")
    if actor is not None and configured.signing_key_file is None:
        voice.warn("signing with a development key; set DRIFTLINE_SIGNING_KEY_FILE")
    if actor is not None and configured.responder_jwks is None:
        voice.warn(
            "nobody may rule on what the circuit breaker holds, or say what a case was; set DRIFTLINE_RESPONDER_JWKS"
        )
    if "example.com" in configured.issuer:
        voice.warn("the issuer is an example; set DRIFTLINE_ISSUER")
