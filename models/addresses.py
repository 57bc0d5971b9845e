"""Web and mail addresses in text: what one looks like, and which parts of it name nothing.

A scheme, ``www`` and the ending of a host (``.com``) stand in the addresses of friend and foe alike. Read as words they
would make an attacker's page half of what the user named, and any two addresses alike in meaning.
"""

from __future__ import annotations

import re

_ENDINGS = "com|org|net|io|co|edu|gov|info|biz|dev|ai|app|de|fr|uk|eu|ch|it|es|nl|us|me"
_ADDRESS = re.compile(rf"@|://|^www\.|\.(?:{_ENDINGS})(?:[/:?#]|$)")
_HEAD = re.compile(r"^(?:[a-z][a-z0-9+.-]*://)?(?:www\.)?")
_EMPTY = re.compile(
    r"(?<![^\W_])[a-z][a-z0-9+.-]{0,15}://(?:www\.)?"
    r"|(?<![\w@./:-])www\.(?=\w)"
    rf"|(?<=[\w-])\.(?:{_ENDINGS})(?=[/:?#]|[^\w.@-]|\.?$|\.\s)",
    re.IGNORECASE,
)


def is_address(run: str) -> bool:
    """Whether a run of words joined by punctuation, in lower case, is a web or mail address."""
    return _ADDRESS.search(run) is not None


def without_head(run: str) -> str:
    """A run in lower case without scheme and ``www``: with or without them it is the same place.

    >>> [without_head(run) for run in ("https://www.a-b.com/x", "www.a-b.com/x", "bob@a-b.com")]
    ['a-b.com/x', 'a-b.com/x', 'bob@a-b.com']
    """
    return _HEAD.sub("", run)


def without_empty(text: str) -> str:
    """`text` with a space in place of what names nothing in its addresses. Each piece between white space by itself.

    >>> without_empty("mail bob@example.com, then read www.news-today.com/may.")
    'mail bob@example , then read  news-today /may.'
    """
    return _EMPTY.sub(" ", text) if "." in text or "://" in text else text
