"""Texts as word pieces of the encoder's vocabulary."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from models.errors import ArtefactError
from models.text.embedding import pieces_of
from models.training.distill_encoder import PACKAGE

MAX_WORD = 60
"""Characters of a word that is taken apart; a longer one is unknown."""
PIECES_OF_WORD = 6
"""Pieces of one word that are shown."""
_WORD = re.compile(r"[^\W_]+|[^\w\s]|_")
_HUMPS = re.compile(r"(?<=[a-z])(?=[A-Z])|[_.\-/:]+")


def folder() -> Path:
    """Where the encoder's package keeps its files; `ArtefactError` where it is not installed."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ArtefactError(f"{PACKAGE} is not installed: pip install -e '.[reader]'")
    return Path(found.origin).parent / "model"


@lru_cache(maxsize=1)
def vocabulary() -> dict[str, int]:
    """Place of each word piece."""
    lines = (folder() / "vocab.txt").read_text(encoding="utf-8").split("\n")
    return {word: n for n, word in enumerate(line for line in lines if line)}


def folded(text: str) -> str:
    """`text` in lower case, without accents."""
    apart = unicodedata.normalize("NFD", text.lower())
    return "".join(c for c in apart if unicodedata.category(c) != "Mn")


def spoken(name: str) -> str:
    """The words of a name: ``sendMoney``, ``send_money`` and ``send.money`` alike."""
    return _HUMPS.sub(" ", name).lower()


@lru_cache(maxsize=200_000)
def _of_word(word: str) -> tuple[int, ...]:
    known = vocabulary()
    found = pieces_of(word, known) if len(word) <= MAX_WORD else None
    return tuple(found[:PIECES_OF_WORD]) if found else (known["[UNK]"],)


def pieces(text: str, most: int) -> list[int]:
    """The first `most` word pieces of `text`."""
    found: list[int] = []
    for word in _WORD.findall(folded(text[: most * 12])):
        found += _of_word(word)
        if len(found) >= most:
            break
    return found[:most]
