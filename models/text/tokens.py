"""Texts as tokens: words, numbers, dates and addresses in a canonical form, encodings opened.

Differences of case, width, spacing and of how numbers and web addresses are written are gone. A fingerprint that a producer
sends in privacy mode is a token like any other; what is lost then is everything below whole values: formats, encodings,
substrings and joins.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import chain
from typing import NamedTuple

from models.text.addresses import is_address, of_its_own, spelled_out, without_head, words_apart
from models.text.dates import spelled_in, stamps_in
from models.text.encodings import opened
from models.text.privacy import HASHED, RUN

MAX_TOKENS = 4096
"""Tokens of one document that are fingerprinted."""
HASHED_CHARS = 16
"""Characters of a value that its producer hashed that count, its beginning included: 52 bits and more of the hash."""
ACCOUNT = 10
"""Letters and digits of an identifier from which on it counts as an address: accounts, telephones (chosen)."""

_WORD = re.compile(r"[^\W_]+")
_JOINT = re.compile(r"[^\W_][@.:/\\\-+_%#&?~]")
_NUMBER = re.compile(
    r"(?<![^\W_])[-+]?\d{1,3}(?:[, '\u00a0]\d{3})+(?:\.\d+)?(?![^\W_])|(?<![\w.])[-+]?\d+\.\d+(?![^\W_]|\.\d)"
)
_DIGIT = re.compile(r"\d")
_HASHED = re.compile(rf"(?<![\w/.-]){HASHED}[\w+/=-]{{{HASHED_CHARS - len(HASHED)},128}}(?![\w+/=-])")


def canonical(text: str) -> str:
    """`text` without differences of width, case and invisible characters."""
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKC", text).casefold()
    for c in set(folded):
        if c > "\x7f" and unicodedata.category(c) == "Cf":
            folded = folded.replace(c, "")
    return folded


def is_hashed(text: str) -> bool:
    """Whether a value is the fingerprint that its producer sent in its place.

    >>> [is_hashed(text) for text in ("fp:" + 64 * "a", "fp:short", "mail fp:" + 64 * "a")]
    [True, False, False]
    """
    return text.startswith(HASHED) and _HASHED.fullmatch(text) is not None


def unhashed(text: str) -> str:
    """`text` without values that its producer hashed."""
    return _HASHED.sub(" ", text) if HASHED in text else text


def number(text: str) -> str:
    """Canonical spelling of a number: no grouping, no plus sign, no trailing zeros.

    >>> [number(t) for t in ("1,234.50", "100.0", "+7", "0.10", "-0.0")]
    ['1234.5', '100', '7', '0.1', '0']
    """
    plain = re.sub(r"[, '\u00a0]", "", text).lstrip("+")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    sign, digits = ("-", plain[1:]) if plain.startswith("-") else ("", plain)
    digits = digits.lstrip("0") or "0"
    if digits.startswith("."):
        digits = "0" + digits
    return digits if digits == "0" else sign + digits


def squash(text: str) -> str:
    """Letters and digits of `text` alone.

    >>> squash("ch93-0076.2011")
    'ch9300762011'
    """
    return "".join(_WORD.findall(text))


def compounds_in(text: str) -> list[str]:
    """Runs of `text` that join words by punctuation, as addresses and paths do; after an ``=``, its value.

    Two plain scans instead of one regular expression: that one took seconds for a hostile argument.

    >>> compounds_in("mail bob@example.com (or to=/srv/x.txt)")
    ['bob@example.com', '/srv/x.txt']
    """
    compounds = []
    for run in RUN.findall(text):
        if run.isalnum() or (joint := _JOINT.search(run)) is None:
            continue
        last = len(run) - 1
        while not run[last].isalnum():
            last -= 1
        if last > joint.start() + 1:
            start = run.rfind("=", 0, joint.start()) + 1
            compounds.append(run[start : last + 1] + ("/" if run[last + 1 : last + 2] == "/" else ""))
    return compounds


class Token(NamedTuple):
    """A canonical piece of text.

    ``entity`` marks identifiers, numbers and compounds; of these ``address`` marks what an effect can be aimed
    at by itself: e-mail and web addresses, account and telephone numbers. ``own`` is what of an address is not its platform's,
    by which pieces of it are found again; empty where it is all.
    """

    text: str
    entity: bool
    address: bool = False
    own: str = ""


def tokens(text: str) -> list[Token]:
    """Canonical tokens of `text`, without repeats, in order: words, numbers, compounds, encodings opened.

    What names nothing in an address is no word of its own, nor is a part of a date: see `models.text.addresses`, `models.text.dates`.

    >>> [t.text for t in tokens("Pay $1,200.00 to Bob@Example.com")]
    ['pay', 'bob', 'example', 'to', '1200', 'bobexamplecom']
    """
    kinds: dict[str, tuple[bool, bool]] = {}  # of each token: whether it is an entity, and an address
    own: dict[str, str] = {}
    if HASHED in text:
        kinds = {run[:HASHED_CHARS].lower(): (True, False) for run in _HASHED.findall(text)}
        text = unhashed(text)
    for part in [text, *opened(text)]:
        rest = spelled_out(canonical(part))
        numbers: list[str] = []
        times: list[str] = []
        if _DIGIT.search(rest):
            pieces = rest.split()
            rest, times = stamps_in(rest)
            times += spelled_in(pieces)
            if grouped := _NUMBER.findall(rest):
                numbers = [number(each) for each in grouped]
                rest = _NUMBER.sub(" ", rest)
        _take_words(_WORD.findall(words_apart(rest)), kinds)
        for figure in chain(times, numbers):
            kinds[figure] = (True, False)
        for run in compounds_in(rest):
            if len(joined := squash(headless := without_head(run))) >= 4:
                kinds[joined[:256]] = (True, address := is_address(run))
                if address and (rest_of_it := of_its_own(headless)) != headless:
                    own[joined[:256]] = squash(rest_of_it)
        if len(kinds) > MAX_TOKENS:
            break
    return [Token(token, *kind, own.get(token, "")) for token, kind in kinds.items()][:MAX_TOKENS]


def _take_words(words: list[str], kinds: dict[str, tuple[bool, bool]]) -> None:
    """Add words that are not among the tokens yet, the short ones last."""
    short = []
    for word in words:
        if len(word) <= 2:
            short.append(word)
        elif word.isdecimal():
            kinds.setdefault(word.lstrip("0") or "0", (True, len(word) >= ACCOUNT))
        else:
            entity = word[-1].isdigit()
            kinds.setdefault(word[:128], (entity, entity and len(word) >= ACCOUNT))
    for word in short:
        kinds.setdefault(word, (False, False))
