"""Options that several commands share, and the settings that they lead to."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from models.errors import ConfigError

if TYPE_CHECKING:
    from stream.settings import Settings

Bootstrap = Annotated[
    str | None,
    typer.Option(help="Kafka address host:port (default: KAFKA_BOOTSTRAP, else DRIFTLINE_BOOTSTRAP)."),
]
Prefix = Annotated[str | None, typer.Option(help="Put before every topic name (default: DRIFTLINE_PREFIX).")]
Tools = Annotated[
    Path | None, typer.Option(help="Tool catalogues of recorded sessions (default: beside FILE).")
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for machines.")]
OverHttp = Annotated[
    bool, typer.Option("--http", help="Streamable HTTP, at /mcp, in place of standard input and output.")
]
HttpHost = Annotated[
    str, typer.Option(help="With --http: where to listen. Beyond loopback it takes a token and TLS.")
]
HttpPort = Annotated[int, typer.Option(min=0, max=65535, help="With --http; 0 takes a free one.")]
HttpNames = Annotated[
    list[str] | None,
    typer.Option(
        help="With --http: a name by which clients reach it, with :port where that is another (repeatable)."
    ),
]
Mode = Annotated[str | None, typer.Option(help="shadow or enforce, in place of the policy file's own mode.")]

EVENTS_WANTED = "event, recorded session or record of a log"
"""What files to be judged hold, as an error says that one does not."""


def settings(**overrides: Any) -> Settings:
    """The settings of the environment; an option that was given (not None) beats it."""
    from stream.settings import Settings

    return Settings.from_environment(**overrides)


def warn_of_misspelt(warn: Callable[[str], None]) -> None:
    """Say which variables look like settings and are none: each would be without effect, silently."""
    if not any(name.startswith("DRIFTLINE_") for name in os.environ):
        return  # what has nothing to tell shall not wait for the settings' imports
    from stream.settings import Settings

    for name, near in Settings.misspelt().items():
        warn(f"{name} is no setting" + (f"; did you mean {near}?" if near else ""))


def signing_key(path: Path, option: str = "--key") -> Any:
    """The private JWK that an option names; `ConfigError` where there is none that may sign."""
    from stream import jose

    try:
        return jose.private_key(path.read_bytes(), f"{option} {path}")
    except OSError as error:
        raise ConfigError(f"{option} {path} cannot be read: {error.strerror}") from error


def checked_name(by: str) -> str:
    """``--by``, if it is a name that feedback may bear; `ConfigError` otherwise."""
    from stream.feedback import MAX_BY

    if not 0 < len(by) <= MAX_BY or not by.isprintable():
        raise ConfigError(f"--by is no name of at most {MAX_BY} printable characters")
    return by


def checked_mode(mode: str | None) -> str | None:
    """`mode`, if it is one; `ConfigError` otherwise."""
    if mode not in {None, "shadow", "enforce"}:
        raise ConfigError(f"--mode is {mode!r}; expected shadow or enforce")
    return mode
