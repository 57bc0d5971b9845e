"""How the command ends: each failure as one sentence on stderr, and the exit code that the docs promise for it.

0 done, 1 findings or failed checks, 2 usage, 3 input refused, 4 broker, 5 artefact, 6 a model that is worse than the bundled one.
"""

from __future__ import annotations

import errno
import gzip
import os
import sys
import zlib
from typing import Any

import typer
from typer.core import TyperGroup

from models.errors import (
    ArtefactError,
    BrokerError,
    ConfigError,
    ContractError,
    DatasetError,
    DriftlineError,
    InputError,
    StateError,
)

DONE, FINDINGS, USAGE, REFUSED, BROKER, ARTEFACT, WORSE = range(7)
INTERRUPTED = 130
"""What shells give a command that Ctrl-C ended."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def exit_code(error: DriftlineError) -> int:
    """The documented exit code of a failure."""
    if isinstance(error, BrokerError):
        return BROKER
    if isinstance(error, ArtefactError | StateError):
        return ARTEFACT
    if isinstance(error, ConfigError):
        return USAGE
    if isinstance(error, InputError | DatasetError | ContractError):
        return REFUSED
    return FINDINGS


class Commands(TyperGroup):
    """The commands, with failures of files told before typer reads them its own way.

    To typer the end of a cut file is the user's Ctrl-D, and a reader of the output that has gone is a failure. What a command does is listed
    by its whole first sentence, which typer cuts.
    """

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        listed = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, (each.help or "").partition("\n\n")[0]) for name, each in listed if each is not None]
            )

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(
                f"a compressed input is cut short or damaged ({error}); fetch it again"
            ) from error
        except BrokenPipeError:
            _swallow_stdout()
            raise typer.Exit(DONE) from None
        except OSError as error:
            if error.filename is not None:
                raise ConfigError(f"{error.filename}: {error.strerror}") from error
            if error.errno not in _FULL:
                raise
            _swallow_stdout()
            raise ConfigError(f"the output cannot be written: {error.strerror}") from error


def _swallow_stdout() -> None:
    """Python flushes stdout at exit: what cannot be written there must not fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
