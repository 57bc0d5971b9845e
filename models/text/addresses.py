"""Web and mail addresses in text: what one looks like, and which parts of it name nothing.

A scheme, ``www``, the ending of a host (``.com``) and the names of public mail providers stand in the addresses of friend
and foe alike. Read as words they would make an attacker's page half of what the user named, and any two addresses alike in
meaning. And the name of a host is one word: hyphens in it join what looks like a name that the user knows to one that he does
not (``true-example.com``).
"""

from __future__ import annotations

import re

from models.lexicons.loader import any_of, lexicon

_LISTED = lexicon("addresses")
_ENDINGS = any_of(_LISTED.words("endings"))
_ADDRESS = re.compile(rf"@|://|^www\.|\.{_ENDINGS}(?:[/:?#]|$)")
_HEAD = re.compile(r"^(?:[a-z][a-z0-9+.-]*://)?(?:www\.)?")
_PROVIDERS = any_of(_LISTED.words("providers"))
_ENDING = rf"\.{_ENDINGS}(?=[/:?#]|[^\w.@-]|\.?$|\.\s)"
"""The ending of a host, where the host is over."""
_EMPTY = re.compile(
    r"(?<![^\W_])[a-z][a-z0-9+.-]{0,15}://(?:www\.)?"
    r"|(?<![\w@./:-])www\.(?=\w)"
    rf"|(?<=\w)@{_PROVIDERS}(?=\.[a-z]{{2,3}}(?:[^\w-]|$))"
    rf"|(?<=[\w-]){_ENDING}",
    re.IGNORECASE,
)
_HOST = re.compile(
    r"(?<=@)[\w-]+(?:\.[\w-]+)+|(?:(?<=://)|(?<=\bwww\.))[\w-]+(?:\.[\w-]+)*"
    rf"|(?<![\w@./:-])[\w-]+(?:\.[\w-]+)*(?={_ENDING})",
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


def words_apart(text: str) -> str:
    """`text` such that its words are those that name something, by themselves: each piece between white space for itself.

    >>> words_apart("mail bob@example.com or bob@gmail.com, then read www.news-today.com/may-2.")
    'mail bob@example  or bob  , then read  newstoday /may-2.'
    """
    if "." not in text and "://" not in text:
        return text
    return _EMPTY.sub(" ", _HOST.sub(_joined, text) if "-" in text else text)


def _joined(host: re.Match[str]) -> str:
    return host[0].replace("-", "")
