"""Where each argument value came from: the intent, the catalogue, which tool result, or nowhere.

Tokens of an argument are sought in the index of what was said. A value that is a piece of a longer identifier is found by
its n-grams, one joined from known pieces by segmentation. Values themselves are not kept.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import NamedTuple

from models.text.fingerprints import GRAM, INDEXED, WINNOW, fingerprint, grams
from models.text.index import ANCHORED, DESCRIBED, INTENT, MAX_SOURCE, NO_OWN, PROSE, SEVERAL, Index, Own
from models.text.tokens import number, tokens

MAX_HARD_TOKENS = 8
"""Tokens of one leaf that are searched by pieces: bounds what a hostile argument can cost."""

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
