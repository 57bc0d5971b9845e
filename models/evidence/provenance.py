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
import sys
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache, partial
from html import unescape
from itertools import chain, groupby, islice
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from models.text.addresses import is_address, without_head, words_apart
from models.text.dates import spelled_at, spelled_in, spells, stamps_in
from models.text.privacy import HASHED, RUN

MAX_LEAVES = 256
"""Leaves of one document that are looked at; the rest is counted as cut."""
MAX_LEAF_CHARS = 16_384
"""Characters of one leaf that are looked at, half from its head, half from its tail (chosen); of what lies between `models.text.excerpts` reads some."""
MAX_CHARS = 32_768
"""Characters of one document that are looked at (chosen: four times the largest recorded result)."""
MAX_DEPTH = 64
"""Levels of nesting that are walked; deeper ones count as cut."""
MAX_TOKENS = 4096
"""Tokens of one document that are fingerprinted."""

HASHED_CHARS = 16
"""Characters of such a value that count, its beginning included: 52 bits and more of the hash."""

GRAM = 6
"""Characters in an n-gram of an identifier: below 6, chance matches in hex strings become common."""
WINNOW = 4
"""N-grams in a row of which one is selected."""
INDEXED = GRAM + WINNOW - 1
"""Every run of so many characters of an identifier, 9, shares a fingerprint with its index; a shorter one has none."""

_WORD = re.compile(r"[^\W_]+")
_JOINT = re.compile(r"[^\W_][@.:/\\\-+_%#&?~]")
_NUMBER = re.compile(
    r"(?<![^\W_])[-+]?\d{1,3}(?:[, '\u00a0]\d{3})+(?:\.\d+)?(?![^\W_])|(?<![\w.])[-+]?\d+\.\d+(?![^\W_]|\.\d)"
)
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{16,}={0,2}")
_HEX = re.compile(r"(?<![0-9a-fA-F])(?:[0-9a-fA-F]{2}){8,}(?![0-9a-fA-F])")
_PERCENT = re.compile(r"%[0-9a-fA-F]{2}")
_REFERENCE = re.compile(r"&#(?:[0-9]{1,7}|[xX][0-9a-fA-F]{1,6});?")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})")
_DIGIT = re.compile(r"\d")
_ROT13 = dict(zip(b"abcdefghijklmnopqrstuvwxyz", b"nopqrstuvwxyzabcdefghijklm", strict=True))
_HASHED = re.compile(rf"(?<![\w/.-]){HASHED}[\w+/=-]{{{HASHED_CHARS - len(HASHED)},128}}(?![\w+/=-])")
_SPACED = re.compile(r" \d{3}(?<=\d \d{3})")
"""A number grouped by spaces, the one thing in canonical text that a split at white space would cut."""


class Leaf(NamedTuple):
    """A scalar of a JSON document: dotted path, its text, and whether it was a string."""

    path: str
    text: str
    is_string: bool


def leaves(document: Any) -> tuple[list[Leaf], int]:
    """The scalars of `document` in order, each cut to the limits, and how many cuts were made."""
    if isinstance(document, str) and len(document) <= MAX_LEAF_CHARS:
        return [Leaf("", document, True)], 0
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
            children: list[tuple[str, Any, int]] = []
            for name, child in items:
                if len(children) >= MAX_LEAVES:
                    cuts += 1
                    break
                step = str(name)[:64]
                children.append((f"{path}.{step}"[-256:] if path else step, child, depth + 1))
            children.reverse()
            stack += children
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


def _unescaped(text: str) -> str:
    plain = _ESCAPE.sub(lambda escape: chr(int(escape[1] or escape[2], 16)), text)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


_CODES: tuple[tuple[str, re.Pattern[str], Callable[[str], str]], ...] = (
    ("%", _PERCENT, lambda text: unquote(text, errors="ignore")),
    ("&#", _REFERENCE, lambda text: _REFERENCE.sub(lambda reference: unescape(reference[0]), text)),
    ("\\", _ESCAPE, _unescaped),
)
"""Ways to write single characters: what a text must hold, how one is found, and the text with all of them read."""


def opened(text: str) -> list[str]:
    """Texts hidden in `text` by percent, base64 or hex encoding, references or escapes of characters, two levels deep, at most 16."""
    found: list[str] = []
    level = [text]
    for _ in range(2):
        below: list[str] = []
        for t in level:
            below += [decoded(t) for mark, pattern, decoded in _CODES if mark in t and pattern.search(t)]
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
    for run in RUN.findall(text):
        if run.isalnum() or (joint := _JOINT.search(run)) is None:
            continue
        last = len(run) - 1
        while not run[last].isalnum():
            last -= 1
        if last > joint.start() + 1:
            start = run.rfind("=", 0, joint.start()) + 1
            found.append(run[start : last + 1] + ("/" if run[last + 1 : last + 2] == "/" else ""))
    return found


ACCOUNT = 10
"""Letters and digits of an identifier from which on it counts as an address: accounts, telephones (chosen)."""


class Token(NamedTuple):
    """A canonical piece of text.

    ``entity`` marks identifiers, numbers and compounds; of these ``address`` marks what an effect can be aimed
    at by itself: e-mail and web addresses, account and telephone numbers.
    """

    text: str
    entity: bool
    address: bool = False


def tokens(text: str) -> list[Token]:
    """Canonical tokens of `text`, without repeats, in order: words, numbers, compounds, encodings opened.

    What names nothing in an address is no word of its own, nor is a part of a date: see `models.text.addresses`, `models.text.dates`.

    >>> [t.text for t in tokens("Pay $1,200.00 to Bob@Example.com")]
    ['pay', 'bob', 'example', 'to', '1200', 'bobexamplecom']
    """
    found: dict[str, tuple[bool, bool]] = {}
    if HASHED in text:
        found = {run[:HASHED_CHARS].lower(): (True, False) for run in _HASHED.findall(text)}
        text = unhashed(text)
    for part in [text, *opened(text)]:
        low = canonical(part)
        grouped = low
        numbers: list[str] = []
        times: list[str] = []
        if _DIGIT.search(low):
            grouped, times = stamps_in(low)
            times += spelled_in(low.split())
            numbers = [number(n) for n in _NUMBER.findall(grouped)]
            grouped = _NUMBER.sub(" ", grouped)
        words = _WORD.findall(words_apart(grouped))
        short = []
        for word in words:
            if len(word) <= 2:
                short.append(word)
            elif word.isdecimal():
                found.setdefault(word.lstrip("0") or "0", (True, len(word) >= ACCOUNT))
            else:
                entity = word[-1].isdigit()
                found.setdefault(word[:128], (entity, entity and len(word) >= ACCOUNT))
        for word in short:
            found.setdefault(word, (False, False))
        for n in chain(times, numbers):
            found[n] = (True, False)
        for run in compounds_in(grouped):
            if len(joined := squash(without_head(run))) >= 4:
                found[joined[:256]] = (True, is_address(run))
        if len(found) > MAX_TOKENS:
            break
    return [Token(t, *kind) for t, kind in found.items()][:MAX_TOKENS]


@lru_cache(maxsize=1 << 15)
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
PROSE = 1 << 31
"""Bit of a source number: the token stood in prose only, not in a field of its own."""
ANCHORED = 1 << 30
"""Bit of a source number: the token stood in a field of a record that holds something the intent names."""
SEVERAL = 1 << 29
"""Bit of a source number: more than one call's result carried the token."""
MAX_SOURCE = SEVERAL - 1
"""Highest source number, and the mask of one without its bits."""

_FEW = 12 if sys.byteorder == "little" else 0
"""Prints that are sought one by one rather than with numpy; the packed arrays are little-endian."""

Prints = NDArray[np.uint32]
V = TypeVar("V")


def prints_of(text: str, key: bytes, *, index: bool = True) -> Collection[int]:
    """Fingerprints under which `text` is found again; with `index`, n-grams of its identifiers too."""
    if index and apart(text) and (quick := prints_of_pieces(text.split(), key)) is not None:
        return quick
    found = tokens(text)
    prints = [fingerprint(token.text, key) for token in found]
    return prints + _grams_of(found, key) if index else prints


def _grams_of(found: Sequence[Token], key: bytes) -> list[int]:
    """Fingerprints of the selected n-grams of identifiers."""
    long = (t.text for t in found if t.entity and len(t.text) >= INDEXED and not t.text.startswith(HASHED))
    return [p for text in long for p in winnowed(text, key)]


MAX_APART = 4096
"""Characters of a text that is taken piece by piece: so few that no bound on tokens cuts it."""
MAX_MEMO = 1 << 15
"""Pieces of text that are remembered, of some 300 bytes each, a few kB at most."""
MAX_REMEMBERED = 128
"""Characters of a piece that is remembered."""
_OPENED_AT_ONCE = 8
"""Encoded runs, and texts found in them, that `opened` surely looks at all in one text."""


def is_encoded(text: str) -> bool:
    """Whether characters of `text` stand in it by percent encoding, numeric references or escapes."""
    return any(mark in text and pattern.search(text) for mark, pattern, _ in _CODES)


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
    found: set[int] = set()
    runs = 0
    spelling: set[str] = set()
    memo = _bare(key)
    for piece in set(pieces):
        prints, _, opening, spells = memo[piece]
        found.update(prints)
        if spells:
            spelling.add(canonical(piece))
        if opening:
            runs += opening * pieces.count(piece)
            if runs > _OPENED_AT_ONCE:
                return None
    if spelling:
        low = canonical(unhashed(" ".join(pieces))).split()
        for at, piece in enumerate(low):
            if piece in spelling:
                found.update(fingerprint(token, key) for token in spelled_at(low, at))
    return found


def unsaid(text: str, said: set[int], run: int, key: bytes) -> str:
    """`text` without runs of at least `run` pieces between white space all of whose tokens are among `said`."""
    kept: list[str] = []
    memo = _bare(key)
    for repeats, group in groupby(text.split(), lambda piece: memo[piece].among(said)):
        pieces = list(group)
        if not repeats or len(pieces) < run:
            kept += pieces
    return " ".join(kept)


def echoes(texts: Iterable[str], said: set[int], key: bytes) -> set[int]:
    """n-grams of the pieces of `texts` between white space all of whose tokens are among `said`."""
    memo = _bare(key)
    long = {piece for text in texts for piece in text.split() if len(piece) >= INDEXED}
    met = map(memo.__getitem__, long)
    return {p for piece in met if piece.among(said) for p in piece.prints[piece.tokens :]}


class Memo(dict[str, V]):
    """A bounded memo of a pure function of a text: the older half goes when it is full, long texts never come in."""

    def __init__(self, compute: Callable[[str], V]) -> None:
        super().__init__()
        self._compute = compute

    def __missing__(self, text: str) -> V:
        value = self._compute(text)
        if len(text) <= MAX_REMEMBERED:
            self[text] = value
        return value

    def __setitem__(self, text: str, value: V) -> None:
        if len(self) >= MAX_MEMO:
            for old in list(islice(self, MAX_MEMO // 2)):
                del self[old]
        super().__setitem__(text, value)


class _Bare(NamedTuple):
    """A text without white space: its prints, first those of its tokens, how many these are, how much of the
    bounds on opening it may use up, and whether it may be part of a date that goes on in the next piece."""

    prints: tuple[int, ...]
    tokens: int
    opening: int
    spells: bool

    def among(self, said: set[int]) -> bool:
        return said.issuperset(self.prints[: self.tokens])


@lru_cache(maxsize=4)
def _bare(key: bytes) -> Memo[_Bare]:
    return Memo(partial(_bare_of, key=key))


def _bare_of(piece: str, key: bytes) -> _Bare:
    found = tokens(piece)
    prints = [fingerprint(token.text, key) for token in found] + _grams_of(found, key)
    if len(piece) > MAX_REMEMBERED:  # what is cut off a longer word depends on the words around it
        return _Bare(tuple(prints), len(found), _OPENED_AT_ONCE + 1, False)
    plain = unhashed(piece)
    opening = max(len(_BASE64.findall(plain)), len(opened(plain)))
    return _Bare(tuple(prints), len(found), opening, spells(canonical(piece)))


_RANK = np.array([1, 2, 0, 0], np.uint8)
"""By the two highest bits of a mark: what stands in a field tells more than prose, an anchored one most."""


def _marked(told: Prints, had: Prints) -> Prints:
    """Marks of known prints that a source carries too: the first source stays unless another tells more."""
    if not (told[0] & np.uint32(MAX_SOURCE)):
        return told  # the intent's own
    others = ((had ^ told) & np.uint32(MAX_SOURCE) != 0) & (had != INTENT)
    over = (_RANK[told >> 30] > _RANK[had >> 30]) & (had != INTENT)
    marks = np.where(over, told | had & np.uint32(SEVERAL), had)
    marks[others] |= np.uint32(SEVERAL)
    return marks


class Index:
    """For each fingerprint, the first source that carried it.

    Parameters
    ----------
    raw : bytes
        Packed state: fingerprints, sorted, then their sources, both little-endian uint32.
    """

    __slots__ = ("_table", "prints", "sources")

    prints: Prints
    sources: Prints

    def __init__(self, raw: bytes = b"") -> None:
        half = len(raw) // 2
        self.prints = np.frombuffer(raw, "<u4", half // 4)
        self.sources = np.frombuffer(raw, "<u4", half // 4, half)
        self._table: dict[int, int] | None = None

    def dump(self) -> bytes:
        """Packed state, 8 bytes a fingerprint."""
        return self.prints.tobytes() + self.sources.tobytes()

    def settle(self) -> None:
        """Keep a dictionary beside the arrays: for an index that is read often and no longer changes."""
        self._table = dict(zip(self.prints.tolist(), self.sources.tolist(), strict=True))

    def add(
        self, prints: Collection[int], source: int, *, prose: bool, limit: int, anchored: bool = False
    ) -> int:
        """Remember that `source` carried `prints`; return how many old entries were dropped.

        A print already known keeps its first source, except that one known from prose only is taken over by
        a field, and a field by an anchored one. Above `limit`, entries of the oldest results are dropped,
        those of the intent last.
        """
        if not prints:
            return 0
        distinct = prints if isinstance(prints, set) else set(prints)
        mark = min(source, MAX_SOURCE) | (PROSE if prose else 0) | (ANCHORED if anchored else 0)
        fresh = np.fromiter(distinct, np.uint32, len(distinct))
        fresh.sort()
        self._take(fresh, np.full(len(fresh), mark, np.uint32))
        return self.trim(limit)

    def add_result(
        self, anchored: set[int], fields: set[int], prose: set[int], source: int, *, limit: int
    ) -> int:
        """What `add` does for the three parts of a result at once; a print counts where it tells most."""
        source = min(source, MAX_SOURCE)
        plain = fields - anchored if anchored else fields
        talk = prose - fields if fields else prose
        if anchored:
            talk = talk - anchored
        sizes = len(anchored), len(plain), len(talk)
        fresh = np.fromiter(chain(anchored, plain, talk), np.uint32, sum(sizes))
        marks = np.repeat(np.array([source | ANCHORED, source, source | PROSE], np.uint32), sizes)
        order = fresh.argsort()
        self._take(fresh[order], marks[order])
        return self.trim(limit)

    def _take(self, fresh: Prints, marks: Prints) -> None:
        """Merge sorted, distinct prints, each with its mark; all of one source."""
        at = self.prints.searchsorted(fresh)
        if len(self.prints):
            known = self.prints.take(at, mode="clip") == fresh
            here = at[known]
            if len(here):
                told, had = marks[known], self.sources[here]
                self.sources = self.sources.copy()
                self.sources[here] = _marked(told, had)
            unknown = ~known
            fresh, at, marks = fresh[unknown], at[unknown], marks[unknown]
        if len(fresh):
            total = len(self.prints) + len(fresh)
            at += np.arange(len(fresh))
            held = np.empty(total, bool)
            held.fill(True)
            held[at] = False
            merged, sources = np.empty(total, np.uint32), np.empty(total, np.uint32)
            merged[at], sources[at] = fresh, marks
            merged[held], sources[held] = self.prints, self.sources
            self.prints, self.sources = merged, sources

    def trim(self, limit: int) -> int:
        """Drop entries of the oldest results where there are more than `limit`; return how many.

        An eighth of the room is made at once, so that a full index costs little more than one that grows.
        """
        if len(self.prints) <= limit:
            return 0
        excess = len(self.prints) - (limit - limit // 8)
        age = (self.sources & MAX_SOURCE).astype(np.int64)
        age[age == INTENT] = 1 << 40
        drop = np.argsort(age, kind="stable")[:excess]
        keep = np.ones(len(age), bool)
        keep[drop] = False
        self.prints, self.sources = self.prints[keep], self.sources[keep]
        return excess

    def find(self, prints: Sequence[int]) -> list[int]:
        """Source of each print with its bits, -1 where unknown."""
        if self._table is not None:
            return [self._table.get(p, -1) for p in prints]
        size = len(self.prints)
        if not size:
            return [-1] * len(prints)
        if len(prints) <= _FEW:
            view, sources = self.prints.data, self.sources.data
            found: list[int] = []
            for p in prints:
                place = bisect_left(view, p)
                found.append(sources[place] if place < size and view[place] == p else -1)
            return found
        wanted = np.array(prints, np.uint32)
        at = np.minimum(np.searchsorted(self.prints, wanted), size - 1)
        found = np.where(self.prints[at] == wanted, self.sources[at].astype(np.int64), -1).tolist()
        return found


class Aimed(NamedTuple):
    """Where a leaf's addresses came from, in characters; ``anchored`` and ``prose`` are parts of what results carry."""

    total: int = 0
    intent: int = 0
    anchored: int = 0
    prose: int = 0
    nowhere: int = 0


NOT_AIMED = Aimed()


class Origin(NamedTuple):
    """Where one argument leaf came from, in characters of its tokens.

    ``results`` is what only results carry, and addresses that only the catalogue does, see `DESCRIBED`; of it ``anchored`` stands in
    fields of records that hold something the intent names, ``prose`` in prose only, and ``sole`` in one place alone. ``source``
    is the call whose result explains most of what the intent does not, or `DESCRIBED`; None if none does.
    """

    total: int
    intent: int
    catalogue: int
    results: int
    anchored: int
    prose: int
    sole: int
    nowhere: int
    source: int | None
    by_source: dict[int, int]
    aimed: Aimed


class Spelled(NamedTuple):
    """Tokens by which an argument is looked up, their prints, which are addresses, their characters, and all prints.

    Short words decide only where nothing else is there; ``said`` has their prints too.
    """

    texts: tuple[str, ...]
    prints: tuple[int, ...]
    addresses: tuple[bool, ...]
    total: int
    said: tuple[int, ...]


def spell(text: str, key: bytes) -> Spelled:
    """The tokens of an argument; short arguments come again and are remembered."""
    return _spelled(text, key) if len(text) <= 256 else _spell(text, key)


def _spell(text: str, key: bytes) -> Spelled:
    found = tokens(text)
    said = tuple(fingerprint(t.text, key) for t in found)
    told = [n for n, t in enumerate(found) if len(t.text) > 2] or range(len(found))
    texts = tuple(found[n].text for n in told)
    prints = said if len(texts) == len(said) else tuple(said[n] for n in told)
    return Spelled(texts, prints, tuple(found[n].address for n in told), sum(map(len, texts)), said)


_spelled = lru_cache(maxsize=1 << 14)(_spell)


def without(leaf: Spelled, words: Collection[str]) -> Spelled:
    """What an argument is looked up by, less `words`: maybe nothing."""
    kept = [n for n, text in enumerate(leaf.texts) if text not in words]
    texts = tuple(leaf.texts[n] for n in kept)
    return leaf._replace(
        texts=texts,
        prints=tuple(leaf.prints[n] for n in kept),
        addresses=tuple(leaf.addresses[n] for n in kept),
        total=sum(map(len, texts)),
    )


MAX_HARD_TOKENS = 8
"""Tokens of one leaf that are searched by pieces: bounds what a hostile argument can cost."""
DESCRIBED = -1
"""In place of a call, as the source of an address that only the catalogue carries, in no field of the called tool."""


class Own(NamedTuple):
    """Sorted prints of what a catalogue says of one tool: in names, enumerations and defaults, and in these or a description."""

    fields: Prints
    words: Prints


NO_OWN = Own(np.zeros(0, np.uint32), np.zeros(0, np.uint32))


def origin(
    leaf: Spelled,
    index: Index,
    trusted: Sequence[Index],
    catalogue: Index,
    key: bytes,
    own: Own = NO_OWN,
) -> Origin:
    """Where a leaf came from.

    Parameters
    ----------
    leaf : Spelled
        Its text, already cut to the limits.
    index : Index
        Intent and results of the session.
    trusted : sequence of Index
        Indexes whose intent must carry a token too, for it to count as intended (a sub-agent's ancestors).
    catalogue : Index
        What the catalogue says; of descriptions as prose.
    key : bytes
        Key of the fingerprints.
    own : Own
        What the catalogue says of the called tool.

    Notes
    -----
    Whoever serves a tool writes its description, and may write there what other tools should do. So an address that
    the catalogue carries anywhere but in fields of the called tool is a stranger's prose, and a word that only
    descriptions of other tools say comes from nowhere.
    """
    texts, prints, addresses, total, _ = leaf
    sources = index.find(prints)
    for ancestor in trusted:
        narrowed = ancestor.find(prints)
        sources = [
            # What only the parent agent said is handed over, not asked for by the user.
            (-2 if s == INTENT and n != INTENT else s)
            for s, n in zip(sources, narrowed, strict=True)
        ]
    in_catalogue = catalogue.find(prints)
    intent = listed_there = results = anchored = prose = sole = nowhere = 0
    by_source: dict[int, int] = {}
    aimed = [0, 0, 0, 0, 0]
    hard = 0
    for token, printed, source, listed, address in zip(
        texts, prints, sources, in_catalogue, addresses, strict=True
    ):
        weight = len(token)
        foreign = False
        if listed != -1 and (address or listed & PROSE):
            said = (own.fields if address else own.words).data
            place = bisect_left(said, printed)
            foreign = place == len(said) or said[place] != printed
        described = foreign and address and source == -1
        if source == -1 and listed == -1 and weight >= GRAM and hard < MAX_HARD_TOKENS:
            hard += 1
            source = _turned(token, index, key)
            if source == -1:
                source = _by_pieces(token, index, key)
        if source == INTENT:
            intent += weight
        elif source >= 0:
            if source & PROSE:
                prose += weight
            if source & ANCHORED:
                anchored += weight
            if not source & SEVERAL:
                sole += weight
            results += weight
            call = (source & MAX_SOURCE) - 1
            by_source[call] = by_source.get(call, 0) + weight
        elif described:
            prose += weight
            sole += weight
            results += weight
            by_source[DESCRIBED] = by_source.get(DESCRIBED, 0) + weight
        elif listed != -1 and not foreign:
            listed_there += weight
        else:
            nowhere += weight
        if address:
            aimed[0] += weight
            aimed[1] += weight if source == INTENT else 0
            aimed[2] += weight if source >= 0 and source & ANCHORED else 0
            aimed[3] += weight if described or (source >= 0 and source & PROSE) else 0
            aimed[4] += weight if source == -1 and listed == -1 else 0
    best = max(by_source, key=lambda call: (by_source[call], -call)) if by_source else None
    where = Aimed(*aimed) if aimed[0] else NOT_AIMED
    return Origin(
        total, intent, listed_there, results, anchored, prose, sole, nowhere, best, by_source, where
    )


def _turned(text: str, index: Index, key: bytes) -> int:
    """Result that carried an unknown token from its end, or in ROT13; -1 for none. Nobody tells an agent so what he wants."""
    turned = (text[::-1], text.translate(_ROT13))
    found = max(index.find([fingerprint(t, key) for t in turned]))
    return found if found > INTENT else -1


def _by_pieces(text: str, index: Index, key: bytes) -> int:
    """Source of an unknown token: a piece of a known identifier, or known tokens joined; -1 if neither."""
    if len(text) >= INDEXED:
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
    most = len(cut) // 5  # uncovered characters that are allowed; what exceeds them needs no search
    # best[i]: (uncovered characters, source) of the prefix of length i
    best: list[tuple[int, int]] = [(0, -1)] + [(len(cut) + 1, -1)] * len(cut)
    for start, (uncovered, earlier) in enumerate(best):
        if start and best[start - 1][0] + 1 <= uncovered:
            uncovered, earlier = best[start] = (best[start - 1][0] + 1, best[start - 1][1])
        if uncovered > most:
            continue
        ends = range(start + 3, min(len(cut), start + 24) + 1)
        for end, source in zip(
            ends, index.find([fingerprint(_piece(cut[start:end]), key) for end in ends]), strict=True
        ):
            if source >= 0 and uncovered < best[end][0] and (start, end) != (0, len(cut)):
                best[end] = (uncovered, source if earlier in (-1, INTENT) else earlier)
    uncovered, source = best[-1]
    return source if uncovered * 5 <= len(cut) else -1


def _piece(text: str) -> str:
    return number(text) if text.isdecimal() else text
