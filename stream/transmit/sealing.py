"""What a receiver wants kept secret, encrypted before it goes onto the bus (JWE, ``dir`` with A256GCM)."""

from __future__ import annotations

import hashlib
from pathlib import Path

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from models.errors import ConfigError
from stream.bridge.provider import Unavailable

SHORTEST_KEY = 32
_ALGORITHMS = ["dir", "A256GCM"]


class Seal:
    """Encrypts with the key in a file.

    Parameters
    ----------
    path : Path
        At least 32 random bytes; their SHA-256 is the key.

    Raises
    ------
    ConfigError
        It cannot be read, or is short.
    """

    def __init__(self, path: Path) -> None:
        try:
            raw = path.read_bytes().strip()
        except OSError as error:
            raise ConfigError(f"seal_key_file: {path} cannot be read: {error.strerror}") from error
        if len(raw) < SHORTEST_KEY:
            raise ConfigError(f"seal_key_file: {path} holds {len(raw)} bytes; at least {SHORTEST_KEY}")
        self._key = OctKey.import_key(hashlib.sha256(raw).digest())

    def close(self, text: str) -> str:
        """`text` as a compact JWE."""
        header = {"alg": "dir", "enc": "A256GCM"}
        return jwe.encrypt_compact(header, text.encode(), self._key, algorithms=_ALGORITHMS)

    def open(self, sealed: str) -> str:
        """What `close` was given.

        Raises
        ------
        Unavailable
            It was sealed with another key: the receiver is to say it again, or the file is to be mended.
        """
        try:
            return (jwe.decrypt_compact(sealed, self._key, algorithms=_ALGORITHMS).plaintext or b"").decode()
        except (JoseError, ValueError) as error:
            raise Unavailable(
                "its Authorization was sealed with another key; mend seal_key_file, or have the receiver set it again"
            ) from error
