"""Web and mail addresses in text: what one looks like, and which parts of it name nothing.

A scheme, ``www``, the ending of a host (``.com``, ``.co.uk``, ``.github.io``) and the names of public mail providers stand in the
addresses of friend and foe alike. Read as words they would make an attacker's page half of what the user named, and any two
addresses alike in meaning. What is left of a host tells whose it is. And the name of a host is one word: hyphens in it join
what looks like a name that the user knows to one that he does not (``true-example.com``).

Which endings there are, the public suffix list tells (`models.lexicons.suffixes`). Behind a scheme, ``www.`` or an ``@`` any of
them counts. In plain text a name with dots may as well be a file or code, see ADR 45.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from models.lexicons.loader import any_of, lexicon
from models.lexicons.suffixes import public_suffixes

MAX_HOST = 253
"""Characters of a host, and `MAX_LABEL` of a part of one (RFC 1035)."""
MAX_LABEL = 63

_LISTED = lexicon("addresses")
_EVERYWHERE = _LISTED.words("endings")
_FILES = _LISTED.words("endings_of_files")
_WORDS = _LISTED.words("endings_that_are_words")
_IN_CODE = _LISTED.words("names_in_code")
_PLAIN = re.compile(rf"@|://|^www\.|\.{any_of(_EVERYWHERE)}(?:[/:?#]|$)")
_PROVIDERS = _LISTED.words("providers")
_SUFFIXES = public_suffixes()

_HEAD = re.compile(r"^(?:[a-z][a-z0-9+.-]*://)?(?:www\.)?")
_EMPTY = re.compile(
    r"(?<![^\W_])[a-z][a-z0-9+.-]{0,15}://(?:www\.)?"
    r"|(?<![\w@./:-])www\.(?=\w)",
    re.IGNORECASE,
)
_DOTTED = re.compile(r"(?<=://)[\w-]++(?:\.[\w-]++)*|(?<![\w-])[\w-]++(?:\.[\w-]++)+")
"""What may be a host: words joined by dots, behind a scheme one word alone."""
_LABEL = re.compile(r"[^\W_]+(?:-+[^\W_]+)*")
_OVER = re.compile(r"[/:?#]|[^\w.@-]|\.?\Z|\.\s")
"""What follows a host."""
_PATH = re.compile(r"/[^\W\d_]")
_PUNYCODE = re.compile(r"(?<![\w-])xn--([a-z0-9-]{1,59})(?![\w-])")


def is_address(run: str) -> bool:
    """Whether a run of words joined by punctuation, in lower case, is a web or mail address.

    >>> [is_address(run) for run in ("evil.xyz", "pay.shop/x", "a.co.uk", "report.py", "self.name", "t.id", "bit.ly/x", "t.id/x")]
    [True, True, True, False, False, False, True, True]
    """
    if _PLAIN.search(run):
        return True
    return "." in run and any(_ending(dotted) for dotted in _DOTTED.finditer(run))


def without_head(run: str) -> str:
    """A run in lower case without scheme and ``www``: with or without them it is the same place.

    >>> [without_head(run) for run in ("https://www.a-b.com/x", "www.a-b.com/x", "bob@a-b.com")]
    ['a-b.com/x', 'a-b.com/x', 'bob@a-b.com']
    """
    return _HEAD.sub("", run)


def spelled_out(text: str) -> str:
    """`text` in lower case with the parts of hosts that are spelled for machines as people read them.

    >>> spelled_out("xn--bcher-kva.example, xn--a-ecp.ru and xn--999999999b")
    'bücher.example, xn--a-ecp.ru and xn--999999999b'
    """
    return _PUNYCODE.sub(_read, text) if "xn--" in text else text


def _read(label: re.Match[str]) -> str:
    try:
        read = unicodedata.normalize("NFKC", label[1].encode("ascii").decode("punycode")).casefold()
    except (ValueError, OverflowError):
        return label[0]
    return read if not read.isascii() and _LABEL.fullmatch(read) else label[0]


def words_apart(text: str) -> str:
    """`text` such that its words are those that name something, by themselves: each piece between white space for itself.

    >>> words_apart("mail bob@example.com or bob@gmail.com, then read www.news-today.co.uk/may-2 at a-b.xyz.")
    'mail bob@example  or bob@ , then read  newstoday /may-2 at ab .'
    """
    if "." not in text and "://" not in text:
        return text
    return _EMPTY.sub(" ", _DOTTED.sub(_told, text))


def of_its_own(run: str) -> str:
    """A run in lower case without endings of several parts: platforms under which anybody has a place.

    >>> [of_its_own(run) for run in ("ann.github.io/x", "bob@shop.co.uk", "a.com")]
    ['ann/x', 'bob@shop', 'a.com']
    """
    return _DOTTED.sub(_without_platform, run)


def _without_platform(dotted: re.Match[str]) -> str:
    host, ending = dotted[0], _ending(dotted)
    return host[:-ending] if host.count(".", len(host) - ending) > 1 else host


def _told(dotted: re.Match[str]) -> str:
    """What names something of what may be a host."""
    host, ending, named = dotted[0], _ending(dotted), _is_named(dotted)
    if not ending and not named:
        return host
    body = host[:-ending] if ending else host
    if ending and body.lower() in _PROVIDERS and _is_behind(dotted, "@"):
        return " "
    if named or not _is_inside(dotted):
        body = body.replace("-", "")
    return f"{body} " if ending else body


def _ending(dotted: re.Match[str]) -> int:
    """Characters of the ending of what may be a host, with its dot; 0 where it is none."""
    text, host, end = dotted.string, dotted[0].lower(), dotted.end()
    last = host.rpartition(".")[2]
    if len(last) == len(host) or not _is_ending(last) or not _OVER.match(text, end):
        return 0
    size = _suffix(host)
    if last in _EVERYWHERE:
        return size or len(last) + 1
    if _is_named(dotted):
        return size
    if _is_inside(dotted) or host.partition(".")[0] in _IN_CODE:
        return 0
    if size == len(last) + 1 and (last in _FILES or (last in _WORDS and not _PATH.match(text, end))):
        return 0
    return size


def _is_named(dotted: re.Match[str]) -> bool:
    """Whether what stands before it says that it is a host."""
    return _is_behind(dotted, "@") or _is_behind(dotted, "://") or dotted[0][:4].lower() == "www."


def _is_inside(dotted: re.Match[str]) -> bool:
    """Whether it is a part of a path or of a longer name."""
    return any(_is_behind(dotted, sign) for sign in "/.") and not _is_behind(dotted, "//")


def _is_behind(dotted: re.Match[str], sign: str) -> bool:
    return dotted.string.endswith(sign, 0, dotted.start())


def _is_ending(label: str) -> bool:
    return len(label) <= MAX_LABEL and _is_public(label)


def _suffix(host: str) -> int:
    return _suffix_of(host) if len(host) <= MAX_HOST else 0


# Behind the bounds: what is longer than any host must not fill a memo.
@lru_cache(maxsize=4096)
def _is_public(label: str) -> bool:
    return bool(_SUFFIXES.is_public(label))


@lru_cache(maxsize=4096)
def _suffix_of(host: str) -> int:
    """Characters of a host's public suffix, with its dot; of one that is itself a suffix, of its last part; 0 of no host."""
    labels = host.split(".")
    if not all(len(part) <= MAX_LABEL and _LABEL.fullmatch(part) for part in labels):
        return 0
    suffix = str(_SUFFIXES.publicsuffix(host))
    return 1 + len(labels[-1] if suffix == host else suffix)
