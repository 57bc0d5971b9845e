"""Words without their endings, and the fingerprints under which what a text is about is found again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from models.lexicons.loader import lexicon
from models.text.fingerprints import fingerprint
from models.text.memo import Memo

MAX_CHARS = 20_000
"""Characters of a text that are looked at."""
_WORD = re.compile(r"[^\W\d_]{2,}")


@lru_cache(maxsize=1 << 14)
def stem(word: str) -> str:
    """`word` without common English endings: crude, order fixed, meant for matching only.

    >>> [stem(w) for w in ("payments", "paying", "emails", "boss", "scheduled", "companies")]
    ['pay', 'pay', 'email', 'boss', 'schedul', 'company']
    """
    if word.endswith("ies") and len(word) > 5:
        return word[:-3] + "y"
    for ending in ("ments", "ment", "ations", "ation", "ings", "ing", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            return word[: -len(ending)]
    return word


STOP = frozenset(map(stem, lexicon("language").words("stop_words")))
"""Stems that say nothing of what a text is about."""


def words_in(text: str) -> list[str]:
    """The words of `text` in order, in small letters."""
    return _WORD.findall(text[:MAX_CHARS].lower())


def stems(text: str, limit: int = 2000) -> set[str]:
    """Content stems of `text`."""
    words = set(words_in(text)[:limit])
    return {s for w in words if len(w) <= 64 and (s := _content_stem(w)) is not None}


@lru_cache(maxsize=1 << 14)
def _content_stem(word: str) -> str | None:
    found = stem(word)
    return None if found in STOP else found


def stem_prints(text: str, key: bytes) -> set[int]:
    """Fingerprints of the content stems of `text`."""
    return {fingerprint("=" + s, key) for s in stems(text)}


def stems_of_pieces(pieces: Sequence[str], key: bytes) -> set[int]:
    """What `stem_prints` finds in a text that is `apart`, and whose pieces between white space are `pieces`."""
    return set().union(*map(_pieces(key).__getitem__, set(pieces)))


@lru_cache(maxsize=4)
def _pieces(key: bytes) -> Memo[tuple[int, ...]]:
    return Memo(lambda piece: tuple(stem_prints(piece, key)))
