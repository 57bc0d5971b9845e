"""The keys that sign Security Event Tokens: the only place where a private key is used."""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from models.errors import ConfigError
from stream.events import dumps
from stream.outbound.tokens import ALGORITHMS, MAX_PAYLOAD, MIN_KEY_BITS, TOKEN_TYPE, TokenError, check_claims

_log = logging.getLogger(__name__)

_PEM_BLOCK = re.compile(r"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----", re.DOTALL)
DEVELOPMENT = "dev-"
"""Beginning of the ``kid`` of a key that was made where none was given."""
_DEVELOPMENT_FILE = "signing-key.dev.json"


class SigningKeys:
    """The keys that sign our tokens: the first private one signs, all are published.

    Parameters
    ----------
    path : Path, optional
        PEM blocks, a JWK or a JWK set. Read again whenever the file changes, so keys rotate without a
        restart: add the new key behind the old one, wait for receivers' caches, then swap their order, and
        keep the old public key until the last token signed with it has left retention.
    text : str, optional
        The same, from the environment; it cannot change. Used when there is no `path`.
    state_dir : Path, optional
        Where a development key is made when neither is given. Its ``kid`` begins with ``dev-``.
    make : bool
        Without it a development key is read where there is one, and none is made: for who only verifies.

    Raises
    ------
    ConfigError
        No key can be read, it is not RSA, or it is shorter than 2048 bits.
    """

    def __init__(
        self,
        *,
        path: Path | None = None,
        text: str | None = None,
        state_dir: Path | None = None,
        make: bool = True,
    ) -> None:
        self.is_development = path is None and not text
        self._lock = threading.Lock()
        if self.is_development:
            if state_dir is None:
                raise ConfigError("signing key: give a file, or a state directory for a development key")
            path = _development_key(state_dir) if make else state_dir / _DEVELOPMENT_FILE
        self._path = path
        self._stamp = _stamp(path) if path is not None else None
        self._keys = _load(_read(path) if path is not None else text or "", str(path or "environment"))

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Compact JWS of `claims`, RS256, ``typ`` ``secevent+jwt``.

        Raises
        ------
        TokenError
            The claims break `check_claims`, or are larger than `MAX_PAYLOAD`.
        """
        check_claims(claims)
        payload = dumps(dict(claims))
        if len(payload) > MAX_PAYLOAD:
            raise TokenError("size", f"claims of {len(payload)} bytes; at most {MAX_PAYLOAD} are signed")
        key = next(key for key in self._current() if key.is_private)
        header = {"alg": ALGORITHMS[0], "typ": TOKEN_TYPE, "kid": key.kid}
        return jws.serialize_compact(header, payload, key, algorithms=list(ALGORITHMS))

    def jwks(self) -> dict[str, Any]:
        """The public key set, as a ``jwks_uri`` serves it."""
        return {
            "keys": [
                {**key.as_dict(private=False), "use": "sig", "alg": ALGORITHMS[0], "kid": key.kid}
                for key in self._current()
            ]
        }

    def _current(self) -> Sequence[RSAKey]:
        """The keys of the file as it is now; the last good ones while it is being written."""
        with self._lock:
            path = self._path
            if path is None:
                return self._keys
            stamp = _stamp(path)
            if stamp != self._stamp:
                # Noted before the attempt: a broken file is complained of once, not at each signature.
                self._stamp = stamp
                try:
                    self._keys = _load(_read(path), str(path))
                except ConfigError as error:
                    # Revocations must go on during a botched rotation. The message holds no key material.
                    _log.warning("signing keys kept as they were: %s", error)
            return self._keys


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Changes with the file's content; the inode because a mounted secret is swapped by a symbolic link."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"signing key {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"signing key {path}: cannot be read as text") from error


def _load(text: str, where: str) -> list[RSAKey]:
    """The keys in `text`, in its order. No message quotes any of it."""
    keys: list[RSAKey] = []
    try:
        if text.lstrip().startswith("{"):
            document = json.loads(text)
            keys.extend(RSAKey.import_key(entry) for entry in document.get("keys", [document]))
        else:
            keys.extend(RSAKey.import_key(block.group(0)) for block in _PEM_BLOCK.finditer(text))
    except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"signing key {where}: not an unencrypted RSA key in PEM or JWK") from error
    named = []
    for key in keys:
        if key.public_key.key_size < MIN_KEY_BITS:
            raise ConfigError(f"signing key {where}: {key.public_key.key_size} bits; at least {MIN_KEY_BITS}")
        # The RFC 7638 thumbprint, so that one key has one name wherever it is loaded.
        entry = {**key.as_dict(private=key.is_private), "kid": key.kid or key.thumbprint()}
        named.append(RSAKey.import_key(entry))
    if not any(key.is_private for key in named):
        raise ConfigError(f"signing key {where}: holds no RSA private key in PEM or JWK")
    return named


def _development_key(state_dir: Path) -> Path:
    """The development key's file; made if it is missing, by exactly one of the workers that race for it."""
    path = state_dir / _DEVELOPMENT_FILE
    if path.exists():
        return path
    key = RSAKey.generate_key(MIN_KEY_BITS)
    entry = {**key.as_dict(private=True), "kid": f"{DEVELOPMENT}{key.thumbprint()}"}
    draft = state_dir / f".{_DEVELOPMENT_FILE}.{secrets.token_hex(8)}"
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(dumps(entry))
                stream.flush()
                os.fsync(stream.fileno())
            # A link, not a rename: it fails when another worker was first, and nobody reads half a key.
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"development signing key in {state_dir}: {error.strerror or error}") from error
    return path
