"""What ``driftline release`` tells an MLflow server, and that nothing on the bus waits for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from models.errors import ConfigError, DriftlineError, InputError
from stream.cli.terminal import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.settings import Settings
    from stream.shell.mlflow_http import Names, Server
    from stream.shell.mlflow_log import Logging, Promotion
    from stream.shell.releases import Registry

Url = Annotated[
    str | None,
    typer.Option(
        "--mlflow", metavar="URL", envvar="DRIFTLINE_MLFLOW_URL",
        help="An MLflow server, which is told once all else is done; but for `log`, what fails there is a warning.",
    ),
]  # fmt: skip
Model = Annotated[
    str,
    typer.Option("--mlflow-model", envvar="DRIFTLINE_MLFLOW_MODEL", help="The registered model there."),
]
Experiment = Annotated[
    str,
    typer.Option(
        "--mlflow-experiment", envvar="DRIFTLINE_MLFLOW_EXPERIMENT", help="The experiment of its run there."
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--mlflow-token-file",
        envvar="DRIFTLINE_MLFLOW_TOKEN_FILE",
        help="Holds a bearer token, or name:password.",
    ),
]
NAME = "driftline"
"""Of the model and of the experiment, unless somebody says otherwise."""
MAX_REPORTS = 16


class Tracking(NamedTuple):
    """The options that say which server is told, and under which names."""

    url: str | None
    model: str = NAME
    experiment: str = NAME
    token_file: Path | None = None

    def open(self) -> tuple[Server, Names]:
        """The server and the names there; `ConfigError` where an option cannot be right. Nothing is asked yet."""
        from stream.shell import mlflow_http

        names = mlflow_http.checked_names(self.model, self.experiment)
        address = mlflow_http.checked_address(self.url or "")
        return mlflow_http.Server(address, mlflow_http.authorization(self.token_file)), names

    def afterwards(self, tell: Callable[[Server, Names], str], again: str) -> None:
        """Tell the server what was done on the bus, if one is named. Whatever fails here is a warning: the bus does not wait for a record of it."""
        if not self.url:
            return
        try:
            say(tell(*self.open()))
        except Exception as error:
            why = str(error) if isinstance(error, DriftlineError) else type(error).__name__
            # An option that is wrong now is wrong later.
            when = "Mend that; then" if isinstance(error, ConfigError) else "Later,"
            say(
                f"WARNING: all is done on the bus, and MLflow does not have it: {why}. "
                f"{when} `driftline release log {again}` with the same --mlflow tells it"
            )

    def champion(
        self, configured: Settings, known: Registry, digest: str, by: str, promotion: Promotion | None = None
    ) -> None:
        """Tell the server, `afterwards`, which release is @champion now."""
        from stream.registrations import CHAMPION

        self.afterwards(
            lambda server, names: log(
                server, names, on_bus(configured, known, digest, by), [CHAMPION], promotion
            ),
            f"@{CHAMPION}",
        )


def on_bus(
    configured: Settings, known: Registry, digest: str, by: str, reports: Sequence[Path] = ()
) -> Logging:
    """A release that is registered, to be logged; its bytes are fetched where no version has them yet."""
    from stream.shell import releases
    from stream.shell.mlflow_log import Logging

    def folder() -> Path:
        found = releases.fetch(configured, digest)
        if found is None:
            raise InputError(f"nobody registered the release {digest}; `driftline release list` shows them")
        return found

    place = known.places.get(digest)
    location, signer = place.location if place is not None else "", known.signers.get(digest, "")
    return Logging(digest, folder, _tags(by, location, signer), reports)


def in_folder(
    folder: Path,
    digest: str,
    by: str,
    location: str = "",
    signed_by: str = "",
    reports: Sequence[Path] = (),
) -> Logging:
    """A release to be logged whose bytes lie here."""
    from stream.shell.mlflow_log import Logging

    return Logging(digest, lambda: folder, _tags(by, location, signed_by), reports)


def _tags(by: str, location: str, signed_by: str) -> dict[str, str]:
    # What stands behind a ? may be what lets a worker in there.
    return {"logged_by": by, "location": location.partition("?")[0], "signed_by": signed_by}


def log(
    server: Server,
    names: Names,
    release: Logging,
    aliases: Sequence[str],
    promotion: Promotion | None = None,
) -> str:
    """Log a release, let these aliases stand for its version, and say so; of what workers begin with no version has them."""
    from stream.registrations import BUNDLED
    from stream.shell import mlflow_log

    wanted, told = checked_aliases(aliases), " ".join(f"@{alias}" for alias in aliases)
    if release.digest == BUNDLED:
        for alias in wanted:
            mlflow_log.unpoint(server, names, alias)
        return f"MLflow: {told} is what workers begin with, so no version of {names.model} has it"
    logged = mlflow_log.log(server, names, release)
    for alias in wanted:
        mlflow_log.point(server, names, alias, logged.version)
    if promotion is not None:
        mlflow_log.note(server, names, logged, promotion)
    there = "" if logged.made else ", which was there"
    return f"MLflow: version {logged.version} of {names.model}{there}{f', {told}' if told else ''}"


def checked_aliases(aliases: Sequence[str]) -> list[str]:
    """Aliases that MLflow takes, without their ``@``; `ConfigError` otherwise."""
    from stream.shell.mlflow_http import checked_alias

    return [checked_alias(alias) for alias in aliases]


def checked_reports(paths: Sequence[Path]) -> Sequence[Path]:
    """Reports that can be kept; `InputError` where one is missing, too large, or has another's name."""
    from stream.shell.mlflow_http import MAX_FILE

    for path in paths:
        if not path.is_file() or path.stat().st_size > MAX_FILE:
            raise InputError(f"--report {path} is no file of at most {MAX_FILE >> 20} MiB")
    if len(paths) > MAX_REPORTS or len({path.name for path in paths}) < len(paths):
        raise InputError(f"--report takes at most {MAX_REPORTS} files, each of another name")
    return paths
