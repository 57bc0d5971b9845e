"""Who calls: a receiver by its bearer token, or by an access token of the OAuth server that the configuration names."""

from __future__ import annotations

import binascii
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from models.errors import ConfigError
from stream import jose
from stream.bearer import is_token, shown, token_of
from stream.transmit.configuration import Configuration, OAuth

SHORTEST_TOKEN = 32
"""Characters of a bearer token, at least (chosen): it lives long, and nothing but its length keeps it from being guessed."""
MAX_BEARER = 8192
READ, MANAGE = "ssf.read", "ssf.manage"
"""OAuth scopes (CAEP Interoperability Profile, 2.7.2); those that begin so, such as ``ssf.manage.poll``, count as them."""
_KINDS = ("at+jwt", "application/at+jwt", "jwt")

_log = logging.getLogger("driftline.transmit")


class Caller(NamedTuple):
    """The receiver that calls, and whether it may change anything."""

    receiver: str
    may_manage: bool


class Denied(Exception):
    """Nobody that is known, or not allowed; `challenge` is the value of ``WWW-Authenticate`` (RFC 6750, 3)."""

    def __init__(self, status: int, challenge: str) -> None:
        super().__init__(challenge)
        self.status, self.challenge = status, challenge


class Access:
    """Tells who calls.

    Parameters
    ----------
    configuration : Configuration
        Receivers, and whose access tokens are taken.
    now_s : callable
        Seconds since 1970.

    Raises
    ------
    ConfigError
        A file of the configuration cannot be read, or a bearer token is short.
    """

    def __init__(self, configuration: Configuration, now_s: Callable[[], float]) -> None:
        self._files = {
            name: each.token_file
            for name, each in configuration.receivers.items()
            if each.token_file is not None
        }
        self._clients = {
            each.oauth_client: name
            for name, each in configuration.receivers.items()
            if each.oauth_client is not None
        }
        self._oauth, self._now_s = configuration.oauth, now_s
        self._keys: Mapping[str, Any] = {}
        self._stamp: tuple[int, int, int] | None = None
        held: dict[str, str] = {}
        for name, path in self._files.items():
            token = token_of(path, SHORTEST_TOKEN)
            if not token:
                raise ConfigError(
                    f"receivers.{name}.token_file: {path} holds no bearer token; write one line of at least {SHORTEST_TOKEN} characters"
                )
            if (other := held.setdefault(token, name)) != name:
                raise ConfigError(f"receivers.{name} and {other} have one bearer token; give each its own")
        if self._oauth is not None:
            self._stamp, self._keys = _keys(self._oauth)

    def caller(self, authorization: str | None, *, manages: bool) -> Caller:
        """Who shows this ``Authorization`` header, to read or to manage.

        Raises
        ------
        Denied
            Nobody that is known, or one whose token does not cover that.
        """
        given = shown(authorization or "")
        if not given:
            raise Denied(401, 'Bearer realm="ssf"')
        found = self._by_file(given)
        if found is None and self._oauth is not None:
            try:
                found = self._by_jwt(given, self._oauth)
            except ValueError as error:
                _log.info("an access token is refused: %s", error)
        if found is None:
            raise Denied(401, 'Bearer realm="ssf", error="invalid_token"')
        if manages and not found.may_manage:
            raise Denied(403, f'Bearer realm="ssf", error="insufficient_scope", scope="{MANAGE}"')
        return found

    def _by_file(self, given: str) -> Caller | None:
        found = None
        for name, path in self._files.items():
            # All are compared: how long it takes tells nothing of which one it was.
            if is_token(given, token_of(path, SHORTEST_TOKEN)):
                found = Caller(name, True)
        return found

    def _by_jwt(self, given: str, oauth: OAuth) -> Caller:
        if len(given) > MAX_BEARER or given.count(".") != 2:
            raise ValueError("it is no JWT")
        head, middle, seal = given.split(".")
        try:
            content = jose.decoded(middle)
            header = jose.verify(head, content, seal, self._current(oauth))
            claims = orjson.loads(content)
        except (binascii.Error, orjson.JSONDecodeError) as error:
            raise ValueError("it is no JWT") from error
        if str(header.get("typ", "")).lower() not in _KINDS:
            raise ValueError("its typ is not that of an access token")
        if not isinstance(claims, dict) or claims.get("iss") != oauth.issuer:
            raise ValueError("its iss is another")
        stated = claims.get("aud")
        if oauth.audience not in (stated if isinstance(stated, list) else [stated]):
            raise ValueError("its aud does not name this transmitter")
        now_s, expires_s, begins_s = self._now_s(), claims.get("exp"), claims.get("nbf", 0)
        if not isinstance(expires_s, int | float) or not isinstance(begins_s, int | float):
            raise ValueError("its exp or nbf is no time")
        if not begins_s <= now_s < expires_s:
            raise ValueError("it has expired, or is not valid yet")
        client = claims.get("client_id") or claims.get("azp") or claims.get("sub")
        name = self._clients.get(client) if isinstance(client, str) else None
        if name is None:
            raise ValueError("its client is no receiver here")
        scopes = str(claims.get("scope", "")).split()
        if not any(_is(scope, READ) or _is(scope, MANAGE) for scope in scopes):
            raise Denied(403, f'Bearer realm="ssf", error="insufficient_scope", scope="{READ}"')
        return Caller(name, any(_is(scope, MANAGE) for scope in scopes))

    def _current(self, oauth: OAuth) -> Mapping[str, Any]:
        """The keys of the file as it is now; the last good ones while it is broken."""
        try:
            stat = oauth.jwks_file.stat()
            if (stat.st_mtime_ns, stat.st_size, stat.st_ino) != self._stamp:
                self._stamp, self._keys = _keys(oauth)
        except (ConfigError, OSError) as error:
            _log.error("oauth.jwks_file is gone or broken; the keys read before serve on: %s", error)
        return self._keys


def _is(scope: str, wanted: str) -> bool:
    return scope == wanted or scope.startswith(f"{wanted}.")


def _keys(oauth: OAuth) -> tuple[tuple[int, int, int], Mapping[str, Any]]:
    path, whose = oauth.jwks_file, f"oauth.jwks_file {oauth.jwks_file}"
    try:
        stat = path.stat()
    except OSError as error:
        raise ConfigError(f"{whose}: cannot be read: {error.strerror}") from error
    jwks = jose.read_json(path, whose)
    if not isinstance(jwks, dict):
        raise ConfigError(f"{whose}: no JWK set")
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino), jose.public_keys(jwks, whose)
