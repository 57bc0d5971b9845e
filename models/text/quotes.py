"""What an alert may quote of an intent or an argument: nothing, a masked form, or the text; a secret or a card's number never.

Masked, words stay and values go: of an address the host is left, of other values their ends.
"""

from __future__ import annotations

import re
from typing import Literal

from models.text.secrets import DIGEST, digested

Quotes = Literal["none", "masked", "full"]

MAX_ASKED = 140
"""Characters of an intent that are quoted, from its beginning on."""
MAX_ASKED_BYTES = 160
"""... and bytes, since a session keeps it."""
MAX_VALUE = 60
"""Characters of a value that are quoted."""
HIDDEN = "********"
"""What stands in the place of a value, whatever its length."""

_CARD = re.compile(r"(?<!\w)\d(?:[ .-]?\d){12,}")
"""As many digits as a payment card's number has, or more: whether the last one checks is not asked, for others may stand beside it."""
_VALUE = re.compile(r"\S*(?:[@\\]|://|\d{3}|[A-Za-z0-9+/_-]{24})\S*")
"""A word that holds what addresses, numbers and drawn identifiers have."""
_MAIL = re.compile(r"[^\s@]+@([^\s@]+)")
_WEB = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)(?:[^/\s@]*@)?([^/?#\s]+)")
_ENDS = re.compile(r"(\W*)(.*?)(\W*)", re.DOTALL)
_LEAST_SHOWN = 12
"""Characters of a value of which the first two and the last two are shown: of a shorter one they would tell too much."""


def asked(text: str, quotes: Quotes) -> str:
    """What an intent begins with, as far as it may be quoted; empty where nothing may be.

    >>> asked("Pay bill 40-118 to ann@example.org by Friday.\\n Then rest. ", "masked")
    'Pay bill ******** to ********@example.org by Friday. Then rest'
    """
    if quotes == "none":
        return ""
    told = without_secrets(" ".join(text[: 8 * MAX_ASKED].split()))
    if quotes == "masked":
        told = _VALUE.sub(lambda found: masked(found[0]), told)
    return _within(told.rstrip(".;"), MAX_ASKED).encode()[:MAX_ASKED_BYTES].decode(errors="ignore")


def value(text: str, quotes: Quotes) -> str:
    """A value as far as it may be quoted; empty where nothing may be.

    >>> value("GB33BUKB20201555555555", "masked"), value("4111 1111 1111 1111", "full"), value("a b\\nc", "full")
    ('GB…55', '********', 'a b c')
    """
    if quotes == "none":
        return ""
    plain = " ".join(text[: 4 * MAX_VALUE].split())
    safe = without_secrets(plain)
    return _within(masked(safe) if quotes == "masked" else safe, MAX_VALUE)


def masked(word: str) -> str:
    """A value without what it says: an address's host, or the two ends of what is long enough.

    >>> [masked(word) for word in ("ann@example.org", "(https://u:p@bank.example/a?b=1),", "9750.00", "GB33BUKB20201555555555")]
    ['********@example.org', '(https://bank.example/…),', '********', 'GB…55']
    """
    found = _ENDS.fullmatch(word)
    before, inner, after = found.groups() if found else ("", word, "")
    if HIDDEN in word or not inner:
        return word if HIDDEN in word else HIDDEN
    if web := _WEB.match(inner):
        rest = "/…" if len(inner) > web.end() else ""
        return f"{before}{web[1]}{web[2]}{rest}{after}"
    if mail := _MAIL.fullmatch(inner):
        return f"{before}{HIDDEN}@{mail[1]}{after}"
    if len(inner) < _LEAST_SHOWN:
        return f"{before}{HIDDEN}{after}"
    return f"{before}{inner[:2]}…{inner[-2:]}{after}"


def without_secrets(text: str) -> str:
    """`text` with nothing left of secrets and numbers of cards."""
    hidden = re.sub(rf"{DIGEST}[0-9a-f]{{64}}", HIDDEN, digested(text))
    return _CARD.sub(HIDDEN, hidden)


def _within(text: str, most: int) -> str:
    """Printable, and cut at a word where it is too long."""
    shown = text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
    if len(shown) <= most:
        return shown
    cut = shown[: most - 1]
    return (cut.rsplit(" ", 1)[0] if " " in cut[most // 2 :] else cut) + "…"
