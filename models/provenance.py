"""Where each argument value came from: the intent, the catalogue, which tool result, or nowhere.

Texts become *tokens* in a canonical form (case, spacing, number and URL formatting gone; base64, hex and
percent encodings opened), tokens become keyed 32-bit fingerprints, and an `Index` keeps for each
fingerprint the first source that carried it. Values themselves are not kept. A value that is a piece of a
longer identifier is found by winnowed 6-grams (Schleimer, Wilkerson and Aiken 2003), one joined from known
pieces by segmentation.

Fingerprints that a producer sends in privacy mode are identifiers like any other and match exactly; what is
lost then is everything below whole values: formats, encodings, substrings and joins.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

MAX_LEAVES = 256
"""Leaves of one document that are looked at; the rest is counted as cut."""
MAX_LEAF_CHARS = 8192
"""Characters of one leaf that are looked at, half from its head, half from its tail (chosen)."""
MAX_CHARS = 32_768
"""Characters of one document that are looked at (chosen: four times the largest recorded result)."""
MAX_DEPTH = 64
"""Levels of nesting that are walked; deeper ones count as cut."""
MAX_TOKENS = 4096
"""Tokens of one document that are fingerprinted."""

GRAM = 6
"""Characters in an n-gram of an identifier: below 6, chance matches in hex strings become common."""
WINNOW = 4
"""Every run of GRAM + WINNOW - 1 = 9 characters of an identifier shares a fingerprint with its index."""

PROSE_WORDS = 7
"""A line of at least this many words is prose: text that talks, not a field that answers (chosen)."""

_WORD = re.compile(r"[^\W_]+")
_RUN = re.compile(r"[^\s\"'<>(){}\[\],;|`]{3,}")
_JOINT = re.compile(r"[^\W_][@.:/\\\-+_%#&?~]")
_NUMBER = re.compile(
    r"(?<![^\W_])[-+]?\d{1,3}(?:[, '\u00a0]\d{3})+(?:\.\d+)?(?![^\W_])|(?<![\w.])[-+]?\d+\.\d+(?![^\W_]|\.\d)"
)
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{16,}={0,2}")
_HEX = re.compile(r"(?<![0-9a-fA-F])(?:[0-9a-fA-F]{2}){8,}(?![0-9a-fA-F])")
_PERCENT = re.compile(r"%[0-9a-fA-F]{2}")


class Leaf(NamedTuple):
    """A scalar of a JSON document: dotted path, its text, and whether it was a string."""

    path: str
    text: str
    is_string: bool


def leaves(document: Any) -> tuple[list[Leaf], int]:
    """The scalars of `document` in order, each cut to the limits, and how many cuts were made."""
    found: list[Leaf] = []
    cuts, room = 0, MAX_CHARS
    stack: list[tuple[str, Any, int]] = [("", document, 0)]
    while stack:
        path, value, depth = stack.pop()
        if isinstance(value, dict | list):
            if depth >= MAX_DEPTH:
                cuts += 1
                continue
            items: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, dict) else enumerate(value)
            children = []
            for n, (name, child) in enumerate(items):
                if n >= MAX_LEAVES:
                    cuts += 1
                    break
                step = str(name)[:64]
                children.append((f"{path}.{step}"[-256:] if path else step, child, depth + 1))
            stack.extend(reversed(children))
            continue
        if value is None or value is True or value is False:
            continue
        text = value if isinstance(value, str) else repr(value)
        if len(found) >= MAX_LEAVES or room <= 0:
            cuts += 1
            continue
        limit = min(MAX_LEAF_CHARS, room)
        if len(text) > limit:
            cuts += 1
            text = text[: limit // 2] + " " + text[-(limit // 2) :]
        room -= len(text)
        found.append(Leaf(path, text, isinstance(value, str)))
    return found, cuts


def canonical(text: str) -> str:
    """`text` without differences of width, case and invisible characters."""
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(c for c in folded if unicodedata.category(c) != "Cf")


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


def opened(text: str) -> list[str]:
    """Texts hidden in `text` by percent, base64 or hex encoding, two levels deep, at most 16."""
    found: list[str] = []
    level = [text]
    for _ in range(2):
        below: list[str] = []
        for t in level:
            if "%" in t and _PERCENT.search(t):
                below.append(unquote(t, errors="ignore"))
            if len(t) >= 16:
                # Hex runs are runs of the base64 alphabet too: one search finds the candidates of both.
                for run in _BASE64.findall(t)[:8]:
                    below.extend(_readable(_unbase64(run)))
                    for digits in _HEX.findall(run):
                        below.extend(_readable(bytes.fromhex(digits)))
        found += below
        level = below[:8]
        if not level:
            break
    return found[:16]


def _unbase64(run: str) -> bytes:
    plain = run.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _readable(raw: bytes) -> list[str]:
    """`raw` as text if it reads like text: UTF-8, and nearly all of it printable."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return []
    printable = sum(c.isprintable() or c in "\n\t" for c in text)
    return [text] if len(text) >= 6 and printable >= 0.95 * len(text) else []


def compounds_in(text: str) -> list[str]:
    """Runs of `text` that join words by punctuation, as addresses and paths do; after an ``=``, its value.

    Two plain scans instead of one regular expression: that one took seconds for a hostile argument.

    >>> compounds_in("mail bob@example.com (or to=/srv/x.txt)")
    ['bob@example.com', '/srv/x.txt']
    """
    found = []
    for run in _RUN.findall(text):
        joint = _JOINT.search(run)
        if joint is None:
            continue
        last = len(run) - 1
        while not run[last].isalnum():
            last -= 1
        if last > joint.start() + 1:
            start = run.rfind("=", 0, joint.start()) + 1
            found.append(run[start : last + 1] + ("/" if run[last + 1 : last + 2] == "/" else ""))
    return found


class Token(NamedTuple):
    """A canonical piece of text; ``entity`` marks identifiers, numbers and compounds."""

    text: str
    entity: bool


def tokens(text: str) -> list[Token]:
    """Canonical tokens of `text`, without repeats, in order: words, numbers, compounds, encodings opened.

    >>> [t.text for t in tokens("Pay $1,200.00 to Bob@Example.com")]
    ['pay', 'bob', 'example', 'com', 'to', '1200', 'bobexamplecom']
    """
    found: dict[str, bool] = {}
    for part in [text, *opened(text)]:
        low = canonical(part)
        grouped = low
        numbers = []
        if any(c.isdigit() for c in low):
            numbers = [number(n) for n in _NUMBER.findall(low)]
            grouped = _NUMBER.sub(" ", low)
        compounds = []
        for run in compounds_in(grouped):
            bare = re.sub(r"^[a-z][a-z0-9+.-]*://(?:www\.)?", "", run)
            if (joined := squash(bare)) and len(joined) >= 4:
                compounds.append(joined)
        words = _WORD.findall(grouped)
        for word in words:
            if len(word) > 2:
                found.setdefault(number(word) if word.isdecimal() else word[:128], word[-1:].isdigit())
        for word in words:
            if len(word) <= 2:
                found.setdefault(word, False)
        for n in numbers:
            found[n] = True
        for joined in compounds:
            found[joined[:256]] = True
        if len(found) > MAX_TOKENS:
            break
    return [Token(t, e) for t, e in found.items()][:MAX_TOKENS]


@lru_cache(maxsize=1 << 17)
def fingerprint(text: str, key: bytes) -> int:
    """Keyed 32-bit fingerprint of a token (BLAKE2b): with the key secret, collisions cannot be sought."""
    raw = text.encode(errors="replace")
    return int.from_bytes(hashlib.blake2b(raw, key=key[:64], digest_size=4).digest(), "little")


def content_print(raw: bytes, key: bytes) -> int:
    """Keyed 32-bit fingerprint of whole content, not remembered: contents are large and rarely come again."""
    return int.from_bytes(hashlib.blake2b(raw, key=key[:64], digest_size=4).digest(), "little")


def grams(text: str) -> list[str]:
    """All n-grams of an identifier."""
    return [text[i : i + GRAM] for i in range(len(text) - GRAM + 1)]


def winnowed(text: str, key: bytes) -> list[int]:
    """Fingerprints of the n-grams of `text` that winnowing selects: the least of each window."""
    prints = [fingerprint("~" + g, key) for g in grams(text[:256])]
    if len(prints) <= WINNOW:
        return [min(prints)] if prints else []
    return sorted({min(prints[i : i + WINNOW]) for i in range(len(prints) - WINNOW + 1)})


INTENT = 0
"""Source number of the declared intent in an `Index`; tool results are 1 + call_seq."""
PROSE = np.uint32(1 << 31)
"""Bit of a source number: the token stood in prose only, not in a field of its own."""

Prints = NDArray[np.uint32]


def prints_of(text: str, key: bytes, *, index: bool = True) -> list[int]:
    """Fingerprints under which `text` is found again; with `index`, n-grams of its identifiers too."""
    found = []
    for token in tokens(text):
        found.append(fingerprint(token.text, key))
        if index and token.entity and len(token.text) >= GRAM + WINNOW - 1:
            found += winnowed(token.text, key)
    return found


class Index:
    """For each fingerprint, the first source that carried it.

    Parameters
    ----------
    raw : bytes
        Packed state: fingerprints, sorted, then their sources, both little-endian uint32.
    """

    __slots__ = ("prints", "sources")

    prints: Prints
    sources: Prints

    def __init__(self, raw: bytes = b"") -> None:
        half = len(raw) // 2
        self.prints = np.frombuffer(raw, "<u4", half // 4)
        self.sources = np.frombuffer(raw, "<u4", half // 4, half)

    def dump(self) -> bytes:
        """Packed state, 8 bytes a fingerprint."""
        return self.prints.tobytes() + self.sources.tobytes()

    def add(self, prints: Iterable[int], source: int, *, prose: bool, limit: int) -> int:
        """Remember that `source` carried `prints`; return how many old entries were dropped.

        A print already known keeps its first source, except that one known from prose only is taken over by
        a field. Above `limit`, entries of the oldest result are dropped first, never those of the intent.
        """
        fresh = np.unique(np.fromiter(prints, np.uint32))
        if not len(fresh):
            return 0
        mark = np.uint32(source) | (PROSE if prose else np.uint32(0))
        at = np.searchsorted(self.prints, fresh)
        known = np.zeros(len(fresh), bool)
        if len(self.prints):
            clipped = np.minimum(at, len(self.prints) - 1)
            known = self.prints[clipped] == fresh
            if not prose:
                over = clipped[known]
                over = over[(self.sources[over] & PROSE) != 0]
                if len(over):
                    self.sources = self.sources.copy()
                    self.sources[over] = mark
        new = fresh[~known]
        self.prints = np.insert(self.prints, at[~known], new)
        self.sources = np.insert(self.sources, at[~known], mark)
        excess = len(self.prints) - limit
        if excess <= 0:
            return 0
        age = (self.sources & ~PROSE).astype(np.int64)
        age[age == INTENT] = 1 << 40
        drop = np.argsort(age, kind="stable")[:excess]
        keep = np.ones(len(age), bool)
        keep[drop] = False
        self.prints, self.sources = self.prints[keep], self.sources[keep]
        return int(excess)

    def find(self, prints: Sequence[int]) -> list[int]:
        """Source of each print with its prose bit, -1 where unknown."""
        if not prints:
            return []
        if not len(self.prints):
            return [-1] * len(prints)
        wanted = np.array(prints, np.uint32)
        at = np.minimum(np.searchsorted(self.prints, wanted), len(self.prints) - 1)
        out = np.where(self.prints[at] == wanted, self.sources[at].astype(np.int64), -1)
        found: list[int] = out.tolist()
        return found


class Origin(NamedTuple):
    """Where one argument leaf came from, in characters of its tokens.

    ``source`` is the call whose result explains most of what the intent does not, None if none does.
    """

    total: int
    intent: int
    catalogue: int
    results: int
    prose: int
    nowhere: int
    source: int | None
    by_source: dict[int, int]


_PROSE = int(PROSE)
MAX_HARD_TOKENS = 8
"""Tokens of one leaf that are searched by pieces: bounds what a hostile argument can cost."""


def origin(text: str, index: Index, trusted: Sequence[Index], catalogue: Index, key: bytes) -> Origin:
    """Where the leaf `text` came from.

    Parameters
    ----------
    text : str
        The leaf, already cut to the limits.
    index : Index
        Intent and results of the session.
    trusted : sequence of Index
        Indexes whose intent must carry a token too, for it to count as intended (a sub-agent's ancestors).
    catalogue : Index
        Words of the tool catalogue.
    key : bytes
        Key of the fingerprints.
    """
    found = tokens(text)
    if len(found) > 1:  # short words decide only where nothing else is there
        longer = [t for t in found if len(t.text) > 2]
        found = longer or found
    prints = [fingerprint(t.text, key) for t in found]
    sources = index.find(prints)
    for ancestor in trusted:
        narrowed = ancestor.find(prints)
        sources = [
            # What only the parent agent said is handed over, not asked for by the user.
            (-2 if s == INTENT and n != INTENT else s)
            for s, n in zip(sources, narrowed, strict=True)
        ]
    in_catalogue = catalogue.find(prints)
    totals = {"intent": 0, "catalogue": 0, "results": 0, "prose": 0, "nowhere": 0}
    by_source: dict[int, int] = {}
    hard = 0
    for token, source, listed in zip(found, sources, in_catalogue, strict=True):
        weight = len(token.text)
        if source == -1 and listed == -1 and weight >= GRAM and hard < MAX_HARD_TOKENS:
            hard += 1
            source = _by_pieces(token.text, index, key)
        if source == INTENT:
            totals["intent"] += weight
        elif source >= 0:
            if source & _PROSE:
                totals["prose"] += weight
            totals["results"] += weight
            call = (source & ~_PROSE) - 1
            by_source[call] = by_source.get(call, 0) + weight
        elif listed != -1:
            totals["catalogue"] += weight
        else:
            totals["nowhere"] += weight
    best = max(by_source, key=lambda call: (by_source[call], -call), default=None)
    total = sum(len(t.text) for t in found)
    return Origin(total=total, source=best, by_source=by_source, **totals)


def _by_pieces(text: str, index: Index, key: bytes) -> int:
    """Source of an unknown token: a piece of a known identifier, or known tokens joined; -1 if neither."""
    if len(text) >= GRAM + WINNOW - 1:
        piece = text[:64]
        sources = index.find([fingerprint("~" + g, key) for g in grams(piece)])
        hits = [(i, s) for i, s in enumerate(sources) if s >= 0]
        # Selected grams of a shared run lie at most WINNOW apart, and up to WINNOW - 1 beyond its ends.
        covered = 0
        for n, (i, _) in enumerate(hits):
            following = hits[n + 1][0] if n + 1 < len(hits) else i + GRAM
            covered += following - i if following - i <= WINNOW else min(GRAM, following - i)
        if hits and covered + 2 * (WINNOW - 1) >= len(piece) and covered * 2 >= len(piece):
            seen = [s for _, s in hits]
            return max(set(seen), key=lambda s: (seen.count(s), -s))
    cut = text[:48]
    pieces = [
        (start, end) for start in range(len(cut)) for end in range(start + 3, min(len(cut), start + 24) + 1)
    ]
    known = dict(
        zip(pieces, index.find([fingerprint(_piece(cut[a:b]), key) for a, b in pieces]), strict=True)
    )
    # best[i]: (uncovered characters, source) of the prefix of length i
    best: list[tuple[int, int]] = [(0, -1)]
    for end in range(1, len(cut) + 1):
        choice = (best[end - 1][0] + 1, best[end - 1][1])
        for start in range(max(0, end - 24), end - 2):
            source = known[start, end]
            if source >= 0 and (start, end) != (0, len(cut)) and best[start][0] < choice[0]:
                earlier = best[start][1]
                choice = (best[start][0], source if earlier in (-1, INTENT) else earlier)
        best.append(choice)
    uncovered, source = best[-1]
    return source if uncovered * 5 <= len(cut) else -1


def _piece(text: str) -> str:
    return number(text) if text.isdecimal() else text
