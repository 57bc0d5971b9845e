"""Keyed 32-bit fingerprints under which a text is found again, without the text being kept.

A text has the fingerprints of its tokens, and those of n-grams of its identifiers, of which winnowing selects some
(Schleimer, Wilkerson and Aiken 2003): by these a value that is a piece of a longer identifier is found.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

from models.text.dates import spelled_at, spells
from models.text.encodings import OPENED_AT_ONCE, is_encoded, openings_in
from models.text.memo import MAX_REMEMBERED, Memo
from models.text.privacy import HASHED
from models.text.tokens import Token, canonical, tokens, unhashed

GRAM = 6
"""Characters in an n-gram of an identifier: below 6, chance matches in hex strings become common."""
WINNOW = 4
"""N-grams in a row of which one is selected."""
INDEXED = GRAM + WINNOW - 1
"""Every run of so many characters of an identifier, 9, shares a fingerprint with its index; a shorter one has none."""
MAX_APART = 4096
"""Characters of a text that is taken piece by piece: so few that no bound on tokens cuts it."""

_SPACED = re.compile(r" \d{3}(?<=\d \d{3})")
"""A number grouped by spaces, the one thing in canonical text that a split at white space would cut."""


@lru_cache(maxsize=1 << 15)
def fingerprint(text: str, key: bytes) -> int:
    """Keyed 32-bit fingerprint of a token (BLAKE2b): with the key secret, collisions cannot be sought."""
    raw = text.encode(errors="replace")
    return int.from_bytes(hashlib.blake2b(raw, key=key[:64], digest_size=4).digest(), "little")


def data_class_print(name: str, key: bytes) -> int:
    """Fingerprint of the name of a class of data, however it is cased and spaced."""
    return fingerprint(data_class(name), key)


def data_class(name: str) -> str:
    """The name as it is compared; a policy's have 256 characters at most, so that a longer one is none of them."""
    return " ".join(name[:257].casefold().split())


def content_print(raw: bytes, key: bytes) -> int:
    """Keyed 32-bit fingerprint of whole content, not remembered: contents are large and rarely come again."""
    return int.from_bytes(hashlib.blake2b(raw, key=key[:64], digest_size=4).digest(), "little")


def answer_print(raw: bytes, before: int, key: bytes) -> int:
    """Keyed 64-bit fingerprint of what answered a call, and of what answered it `before`, 0 for nothing.

    Wider than that of a token: by it act tells that many sessions read the same, and may leave all but the first silent.
    """
    told = before.to_bytes(8, "little") + raw
    return int.from_bytes(hashlib.blake2b(told, key=key[:64], digest_size=8).digest(), "little")


def grams(text: str) -> list[str]:
    """All n-grams of an identifier."""
    return [text[i : i + GRAM] for i in range(len(text) - GRAM + 1)]


def winnowed(text: str, key: bytes) -> list[int]:
    """Fingerprints of the n-grams of `text` that winnowing selects: the least of each window."""
    prints = [fingerprint("~" + g, key) for g in grams(text[:256])]
    if len(prints) <= WINNOW:
        return [min(prints)] if prints else []
    return sorted({min(prints[i : i + WINNOW]) for i in range(len(prints) - WINNOW + 1)})


def prints_of(text: str, key: bytes, *, index: bool = True) -> Collection[int]:
    """Fingerprints under which `text` is found again; with `index`, n-grams of its identifiers too."""
    if index and apart(text) and (quick := prints_of_pieces(text.split(), key)) is not None:
        return quick
    words = tokens(text)
    prints = [fingerprint(token.text, key) for token in words]
    return prints + _grams_of(words, key) if index else prints


def _grams_of(words: Sequence[Token], key: bytes) -> list[int]:
    """Fingerprints of the selected n-grams of identifiers."""
    entities = (t.own or t.text for t in words if t.entity and not t.text.startswith(HASHED))
    return [p for text in entities if len(text) >= INDEXED for p in winnowed(text, key)]


def apart(text: str) -> bool:
    """Whether `text` may be taken piece by piece between white space, see `prints_of_pieces`."""
    if len(text) > MAX_APART or is_encoded(text):
        return False
    low = text if text.isascii() else canonical(text)
    return len(low) <= MAX_APART and not _SPACED.search(low)


def prints_of_pieces(pieces: Sequence[str], key: bytes) -> set[int] | None:
    """What `prints_of` finds in a text whose pieces between white space are `pieces` and that is `apart`.

    Most pieces of a text were met before, so that their prints are remembered. None where the whole text
    must be read at once, since a bound on what is opened in it might cut.
    """
    prints: set[int] = set()
    openings = 0
    of_dates: set[str] = set()
    memo = pieces_met(key)
    for piece in set(pieces):
        prints_of_piece, _, opening, of_date = memo[piece]
        prints.update(prints_of_piece)
        if of_date:
            of_dates.add(canonical(piece))
        if opening:
            openings += opening * pieces.count(piece)
            if openings > OPENED_AT_ONCE:
                return None
    if of_dates:
        low = canonical(unhashed(" ".join(pieces))).split()
        for at, piece in enumerate(low):
            if piece in of_dates:
                prints.update(fingerprint(token, key) for token in spelled_at(low, at))
    return prints


class Piece(NamedTuple):
    """A text without white space: its prints, first those of its tokens, how many these are, how much of the
    bounds on opening it may use up, and whether it may be part of a date that goes on in the next piece."""

    prints: tuple[int, ...]
    tokens: int
    opening: int
    of_date: bool

    def among(self, said: set[int]) -> bool:
        """Whether all of its tokens are among those with these prints."""
        return said.issuperset(self.prints[: self.tokens])


@lru_cache(maxsize=4)
def pieces_met(key: bytes) -> Memo[Piece]:
    """Pieces of text that were met, and what they have under `key`."""
    return Memo(partial(_read_piece, key=key))


def _read_piece(piece: str, key: bytes) -> Piece:
    words = tokens(piece)
    prints = [fingerprint(token.text, key) for token in words] + _grams_of(words, key)
    if len(piece) > MAX_REMEMBERED:  # what is cut off a longer word depends on the words around it
        return Piece(tuple(prints), len(words), OPENED_AT_ONCE + 1, False)
    return Piece(tuple(prints), len(words), openings_in(unhashed(piece)), spells(canonical(piece)))
