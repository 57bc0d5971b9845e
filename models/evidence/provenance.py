"""Where each argument value came from: the intent, the catalogue, which tool result, or nowhere.

Tokens of an argument are sought in the index of what was said. A value that is a piece of a longer identifier is found by
its n-grams, one joined from known pieces by segmentation. Values themselves are not kept.

Whoever serves a tool writes its description, and may write there what other tools should do. So an address that the
catalogue carries anywhere but in fields of the called tool is a stranger's prose, and a word that only descriptions of
other tools say comes from nowhere.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import NamedTuple

from models.text.fingerprints import GRAM, INDEXED, WINNOW, fingerprint, grams
from models.text.index import ANCHORED, DESCRIBED, INTENT, MAX_SOURCE, PROSE, SEVERAL, UNKNOWN, Index, Prints
from models.text.tokens import number, tokens
from models.tools.catalogue import NO_OWN_WORDS, OwnWords

MAX_HARD_TOKENS = 8
"""Tokens of one leaf that are searched by pieces: bounds what a hostile argument can cost."""
_HANDED_OVER = -2
"""In place of a source: the intent of a sub-agent carries it, that of an ancestor does not."""
_DESCRIPTION = -3
"""In place of a source: an address that only descriptions of other tools carry."""

_ROT13 = dict(zip(b"abcdefghijklmnopqrstuvwxyz", b"nopqrstuvwxyzabcdefghijklm", strict=True))


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


class LeafTokens(NamedTuple):
    """Tokens by which an argument is looked up, their prints, which are addresses, their characters, and all prints.

    Short words decide only where nothing else is there; ``said`` has their prints too.
    """

    texts: tuple[str, ...]
    prints: tuple[int, ...]
    addresses: tuple[bool, ...]
    total: int
    said: tuple[int, ...]


def leaf_tokens(text: str, key: bytes) -> LeafTokens:
    """The tokens of an argument; short arguments come again and are remembered."""
    return _remembered(text, key) if len(text) <= 256 else _leaf_tokens(text, key)


def _leaf_tokens(text: str, key: bytes) -> LeafTokens:
    every = tokens(text)
    said = tuple(fingerprint(token.text, key) for token in every)
    long = [n for n, token in enumerate(every) if len(token.text) > 2] or range(len(every))
    texts = tuple(every[n].text for n in long)
    prints = said if len(texts) == len(said) else tuple(said[n] for n in long)
    return LeafTokens(texts, prints, tuple(every[n].address for n in long), sum(map(len, texts)), said)


_remembered = lru_cache(maxsize=1 << 14)(_leaf_tokens)


def without_words(leaf: LeafTokens, words: Collection[str]) -> LeafTokens:
    """What an argument is looked up by, less `words`: maybe nothing."""
    kept = [n for n, text in enumerate(leaf.texts) if text not in words]
    texts = tuple(leaf.texts[n] for n in kept)
    return leaf._replace(
        texts=texts,
        prints=tuple(leaf.prints[n] for n in kept),
        addresses=tuple(leaf.addresses[n] for n in kept),
        total=sum(map(len, texts)),
    )


def origin(
    leaf: LeafTokens,
    index: Index,
    trusted: Sequence[Index],
    catalogue: Index,
    key: bytes,
    own: OwnWords = NO_OWN_WORDS,
) -> Origin:
    """Where a leaf came from.

    Parameters
    ----------
    leaf : LeafTokens
        Its text, already cut to the limits.
    index : Index
        Intent and results of the session.
    trusted : sequence of Index
        Indexes whose intent must carry a token too, for it to count as intended (a sub-agent's ancestors).
    catalogue : Index
        What the catalogue says; of descriptions as prose.
    key : bytes
        Key of the fingerprints.
    own : OwnWords
        What the catalogue says of the called tool.
    """
    listed = catalogue.find(leaf.prints)
    foreign = _foreign(leaf, listed, own)
    sources = _sources(leaf, listed, foreign, _narrowed(leaf.prints, index, trusted), index, key)
    intent = in_catalogue = results = anchored = prose = sole = nowhere = 0
    by_source: dict[int, int] = {}
    for token, source, mark, by_stranger in zip(leaf.texts, sources, listed, foreign, strict=True):
        weight = len(token)
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
        elif source == _DESCRIPTION:
            prose += weight
            sole += weight
            results += weight
            by_source[DESCRIBED] = by_source.get(DESCRIBED, 0) + weight
        elif mark != UNKNOWN and not by_stranger:
            in_catalogue += weight
        else:
            nowhere += weight
    main = max(by_source, key=lambda call: (by_source[call], -call)) if by_source else None
    aimed = _aimed(leaf, sources, listed) if True in leaf.addresses else NOT_AIMED
    return Origin(
        leaf.total, intent, in_catalogue, results, anchored, prose, sole, nowhere, main, by_source, aimed
    )


def _narrowed(prints: Sequence[int], index: Index, trusted: Sequence[Index]) -> list[int]:
    """Sources of these prints in the index; what only the parent agent said is handed over, not asked for by the user."""
    sources = index.find(prints)
    for ancestor in trusted:
        sources = [
            _HANDED_OVER if source == INTENT and above != INTENT else source
            for source, above in zip(sources, ancestor.find(prints), strict=True)
        ]
    return sources


def _foreign(leaf: LeafTokens, listed: Sequence[int], own: OwnWords) -> list[bool]:
    """For each token, whether the catalogue carries it where only a stranger to the called tool says it."""
    return [
        mark != UNKNOWN
        and (address or mark & PROSE != 0)
        and not _holds(own.fields if address else own.words, printed)
        for mark, address, printed in zip(listed, leaf.addresses, leaf.prints, strict=True)
    ]


def _holds(prints: Prints, wanted: int) -> bool:
    view = prints.data
    place = bisect_left(view, wanted)
    return place < len(view) and view[place] == wanted


def _sources(
    leaf: LeafTokens, listed: list[int], foreign: list[bool], sources: list[int], index: Index, key: bytes
) -> list[int]:
    """`sources` of the tokens, with those of unknown ones found otherwise than as they stand."""
    searches = 0
    for at, (token, source, mark) in enumerate(zip(leaf.texts, sources, listed, strict=True)):
        if source != UNKNOWN:
            continue
        if mark != UNKNOWN:
            if foreign[at] and leaf.addresses[at]:
                sources[at] = _DESCRIPTION
        elif len(token) >= GRAM and searches < MAX_HARD_TOKENS:
            searches += 1
            turned = _turned(token, index, key)
            sources[at] = turned if turned != UNKNOWN else _by_pieces(token, index, key)
    return sources


def _aimed(leaf: LeafTokens, sources: list[int], listed: list[int]) -> Aimed:
    """Where the addresses among the tokens of a leaf came from."""
    total = intent = anchored = prose = nowhere = 0
    for token, source, mark, address in zip(leaf.texts, sources, listed, leaf.addresses, strict=True):
        if not address:
            continue
        weight = len(token)
        total += weight
        if source == INTENT:
            intent += weight
        elif source >= 0:
            anchored += weight if source & ANCHORED else 0
            prose += weight if source & PROSE else 0
        elif source == _DESCRIPTION:
            prose += weight
        elif source == UNKNOWN and mark == UNKNOWN:
            nowhere += weight
    return Aimed(total, intent, anchored, prose, nowhere)


def _turned(text: str, index: Index, key: bytes) -> int:
    """Result that carried an unknown token from its end, or in ROT13; `UNKNOWN` for none. Nobody tells an agent so what he wants."""
    turned = (text[::-1], text.translate(_ROT13))
    source = max(index.find([fingerprint(t, key) for t in turned]))
    return source if source > INTENT else UNKNOWN


def _by_pieces(text: str, index: Index, key: bytes) -> int:
    """Source of an unknown token: a piece of a known identifier, or known tokens joined; `UNKNOWN` if neither."""
    source = _by_grams(text[:64], index, key) if len(text) >= INDEXED else UNKNOWN
    return source if source != UNKNOWN else _by_joints(text[:48], index, key)


def _by_grams(piece: str, index: Index, key: bytes) -> int:
    """Source of most n-grams of a piece of a known identifier, if nearly all of it is covered by them."""
    sources = index.find([fingerprint("~" + gram, key) for gram in grams(piece)])
    hits = [(place, source) for place, source in enumerate(sources) if source >= 0]
    # Selected grams of a shared run lie at most WINNOW apart, and up to WINNOW - 1 beyond its ends.
    covered = 0
    for n, (place, _) in enumerate(hits):
        following = hits[n + 1][0] if n + 1 < len(hits) else place + GRAM
        covered += following - place if following - place <= WINNOW else min(GRAM, following - place)
    if hits and covered + 2 * (WINNOW - 1) >= len(piece) and covered * 2 >= len(piece):
        known = [source for _, source in hits]
        return max(set(known), key=lambda source: (known.count(source), -source))
    return UNKNOWN


def _by_joints(text: str, index: Index, key: bytes) -> int:
    """Source of a token that known tokens make up when joined, but for a fifth of its characters."""
    figures = any(map(str.isdecimal, text))
    most = len(text) // 5  # uncovered characters that are allowed; what exceeds them needs no search
    # best[i]: (uncovered characters, source) of the prefix of length i
    best: list[tuple[int, int]] = [(0, UNKNOWN)] + [(len(text) + 1, UNKNOWN)] * len(text)
    for start, (uncovered, earlier) in enumerate(best):
        if start and best[start - 1][0] + 1 <= uncovered:
            uncovered, earlier = best[start] = (best[start - 1][0] + 1, best[start - 1][1])
        if uncovered > most:
            continue
        ends = range(start + 3, min(len(text), start + 24) + 1)
        if figures:
            pieces = (text[start:end] for end in ends)
            prints = [fingerprint(number(p) if p.isdecimal() else p, key) for p in pieces]
        else:
            prints = [fingerprint(text[start:end], key) for end in ends]
        for end, source in zip(ends, index.find(prints), strict=True):
            if source >= 0 and uncovered < best[end][0] and (start, end) != (0, len(text)):
                best[end] = (uncovered, source if earlier in (UNKNOWN, INTENT) else earlier)
    uncovered, source = best[-1]
    return source if uncovered * 5 <= len(text) else UNKNOWN
