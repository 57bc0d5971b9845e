"""Whose agents a caller of the gate speaks for, whatever wire it comes over."""

from __future__ import annotations

import hmac
from collections.abc import Collection

from models.errors import ConfigError
from stream.console.guard import token_in
from stream.gate.configuration import Configuration


class Stranger(Exception):
    """Nobody that is known."""


class Callers:
    """Whose agents a caller speaks for.

    Parameters
    ----------
    configuration : Configuration
        Its tokens are read at each request, so that they can be changed.
    vouched : bool
        Whether whoever comes is known by a certificate.
    """

    def __init__(self, configuration: Configuration, *, vouched: bool = False) -> None:
        self._files = {
            name: each.token_file
            for name, each in configuration.tenants.items()
            if each.token_file is not None
        }
        held = [token_in(path) for path in self._files.values()]
        if len(set(held)) < len(held):
            raise ConfigError("two tenants have one token; give each its own")
        self.are_several = len(configuration.tenants) > 1
        self._only = None
        if len(configuration.tenants) == 1 and (vouched or not self._files):
            self._only = next(iter(configuration.tenants))

    def missing(self, tenants: Collection[str]) -> list[str]:
        """Tenants for which nobody needs a token."""
        return [name for name in tenants if name not in self._files]

    def tenant(self, authorization: str) -> str:
        """The tenant of the token in a header; where that is empty the only tenant, if it has none or a certificate vouches. Raises `Stranger`."""
        scheme, _, given = authorization.partition(" ")
        if not scheme and self._only is not None:
            return self._only
        found = None
        for name, path in self._files.items():
            try:
                token = token_in(path)
            except ConfigError:
                continue  # no token lets nobody in
            # All are compared: how long it takes tells nothing of which one it was.
            if hmac.compare_digest(given.strip().encode(errors="replace"), token.encode()):
                found = name
        if scheme.lower() != "bearer" or found is None:
            raise Stranger
        return found
