"""What a text hides in itself: percent, base64 and hex encodings, numeric references and escapes of characters."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from html import unescape
from urllib.parse import unquote

OPENED_AT_ONCE = 8
"""Encoded runs, and texts found in them, that `opened` surely looks at all in one text."""
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{16,}={0,2}")
_HEX = re.compile(r"(?<![0-9a-fA-F])(?:[0-9a-fA-F]{2}){8,}(?![0-9a-fA-F])")
_PERCENT = re.compile(r"%[0-9a-fA-F]{2}")
_REFERENCE = re.compile(r"&#(?:[0-9]{1,7}|[xX][0-9a-fA-F]{1,6});?")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})")


def _unescaped(text: str) -> str:
    plain = _ESCAPE.sub(lambda escape: chr(int(escape[1] or escape[2], 16)), text)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


_CODES: tuple[tuple[str, re.Pattern[str], Callable[[str], str]], ...] = (
    ("%", _PERCENT, lambda text: unquote(text, errors="ignore")),
    ("&#", _REFERENCE, lambda text: _REFERENCE.sub(lambda reference: unescape(reference[0]), text)),
    ("\\", _ESCAPE, _unescaped),
)
"""Ways to write single characters: what a text must hold, how one is found, and the text with all of them read."""


def is_encoded(text: str) -> bool:
    """Whether characters of `text` stand in it by percent encoding, numeric references or escapes."""
    return any(mark in text and pattern.search(text) for mark, pattern, _ in _CODES)


def opened(text: str) -> list[str]:
    """Texts hidden in `text` by percent, base64 or hex encoding, references or escapes of characters, two levels deep, at most 16."""
    texts: list[str] = []
    level = [text]
    for _ in range(2):
        below: list[str] = []
        for outer in level:
            below += [
                read(outer) for mark, pattern, read in _CODES if mark in outer and pattern.search(outer)
            ]
            if len(outer) >= 16:
                # Hex runs are runs of the base64 alphabet too: one search finds the candidates of both.
                for run in _BASE64.findall(outer)[:8]:
                    below.extend(_readable(_unbase64(run)))
                    for digits in _HEX.findall(run):
                        below.extend(_readable(bytes.fromhex(digits)))
        texts += below
        level = below[:8]
        if not level:
            break
    return texts[:16]


def _unbase64(run: str) -> bytes:
    plain = run.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _readable(raw: bytes) -> list[str]:
    """`raw` as text if it reads like text: UTF-8, and nearly all of it printable."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return []
    printable = sum(c.isprintable() or c in "\n\t" for c in text)
    return [text] if len(text) >= 6 and printable >= 0.95 * len(text) else []


def openings_in(text: str) -> int:
    """How much of the bound `OPENED_AT_ONCE` a text uses up."""
    return max(len(_BASE64.findall(text)), len(opened(text)))
