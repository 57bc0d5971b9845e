"""Bearer tokens: what a header shows, the one that a file holds, and whether they are the same."""

from __future__ import annotations

import hmac
from pathlib import Path


def shown(authorization: str) -> str:
    """The token in an ``Authorization`` header; empty where it shows none, or something else.

    >>> shown("Bearer abc"), shown("bearer  abc "), shown("Basic abc"), shown("abc")
    ('abc', 'abc', '', '')
    """
    scheme, _, given = authorization.partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""


def token_of(path: Path, least: int) -> str:
    """The token in a file; empty, which lets nobody in, where there is none or one of fewer than `least` characters."""
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""
    return token if len(token) >= least else ""


def is_token(given: str, token: str) -> bool:
    """Whether what was shown is the token, in a time that tells nothing of where it differs; where there is none nothing is.

    >>> is_token("abc", "abc"), is_token("", ""), is_token("\\udcff", "abc")
    (True, False, False)
    """
    # What a header holds may be no text at all.
    return bool(token) and hmac.compare_digest(given.encode(errors="replace"), token.encode())
