"""Options that several commands share, and the settings that they lead to."""

from __future__ import annotations

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
Mode = Annotated[str | None, typer.Option(help="shadow or enforce, in place of the policy file's own mode.")]


def settings(**overrides: Any) -> Settings:
    """The settings of the environment; an option that was given (not None) beats it."""
    from stream.settings import Settings

    return Settings.from_environment(**overrides)


def signing_key(path: Path, option: str = "--key") -> Any:
    """The private JWK that an option names; `ConfigError` where there is none that may sign."""
    from stream import jose

    try:
        return jose.private_key(path.read_bytes(), f"{option} {path}")
    except OSError as error:
        raise ConfigError(f"{option} {path} cannot be read: {error.strerror}") from error


def checked_mode(mode: str | None) -> str | None:
    """`mode`, if it is one; `ConfigError` otherwise."""
    if mode not in {None, "shadow", "enforce"}:
        raise ConfigError(f"--mode is {mode!r}; expected shadow or enforce")
    return mode
