"""What of a payload a person is shown: by default how long each value is, as evidence tells it; secrets never."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from models.lexicons.loader import lexicon
from models.text.documents import leaves
from models.text.quotes import without_secrets
from models.tools.names import name_words

MASK = "********"
MAX_TEXT = 2_000
"""Characters of one value, or of an intent, that are shown."""
_SECRET = lexicon("secrets").words("named")


def shown(document: Any, *, values: bool) -> list[dict[str, Any]]:
    """The scalars of `document`, each as path, length and text: masked, unless `values`; how many were not looked at, last.

    >>> shown({"to": "bob@example.com"}, values=False)
    [{'path': 'to', 'length': 15, 'text': '********'}]
    >>> shown({"to": "bob", "api_key": "k"}, values=True)
    [{'path': 'to', 'length': 3, 'text': 'bob'}, {'path': 'api_key', 'length': 1, 'text': '*'}]
    """
    found, cuts = leaves(document)
    rows: list[dict[str, Any]] = [
        {
            "path": plain(leaf.path),
            "length": len(leaf.text),
            "text": plain(leaf.text)
            if values and not _names_a_secret(leaf.path)
            else MASK[: min(len(MASK), len(leaf.text))],
        }
        for leaf in found
    ]
    return [*rows, {"path": "", "length": cuts, "text": "not looked at"}] if cuts else rows


def plain(text: str) -> str:
    """`text` without what looks like a secret or a payment card's number, and no longer than `MAX_TEXT`."""
    told = without_secrets(text)
    return told if len(told) <= MAX_TEXT else f"{told[: MAX_TEXT - 1]}…"


def _names_a_secret(path: str) -> bool:
    words = name_words(path.replace(".", " "))
    return bool(_SECRET & {*words, *("".join(pair) for pair in pairwise(words))})
