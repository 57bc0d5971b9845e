"""The issuer's public keys in a file that may change under the bridge: what is broken for a moment refuses no token."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.errors import ConfigError
from stream.outbound.tokens import TokenError, key_set

_log = logging.getLogger("driftline.bridge")


class KeyFile:
    """A JWK set, read again when its file changes; while the file is gone or broken the last good one serves.

    Parameters
    ----------
    path : Path
        Where it is.

    Raises
    ------
    ConfigError
        It cannot be read at the start, or is no JWK set of RSA keys.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._complained = path, False
        self._stamp: tuple[int, int, int] | None = None
        try:
            self._set = self._read()
        except OSError as error:
            raise ConfigError(f"--jwks {path} cannot be read: {error.strerror}") from error
        except (ValueError, TokenError) as error:
            raise ConfigError(
                f"--jwks {path} is no JWK set of RSA keys; `driftline verify --jwks-out` writes one"
            ) from error

    def __call__(self) -> Mapping[str, Any]:
        """The set as it is now."""
        try:
            self._set = self._read()
            self._complained = False
        except (OSError, ValueError, TokenError) as error:
            if not self._complained:
                _log.error(
                    "--jwks %s is gone or broken; the keys read before serve on: %s", self._path, error
                )
            self._complained = True
        return self._set

    def _read(self) -> Mapping[str, Any]:
        stat = self._path.stat()
        stamp = stat.st_mtime_ns, stat.st_size, stat.st_ino
        if stamp != self._stamp:
            read = json.loads(self._path.read_text(encoding="utf-8"))
            key_set(read)
            self._stamp, self._set = stamp, read
        return self._set
