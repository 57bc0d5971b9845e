"""Which source said what first: the intent, a tool's result, or the descriptions of a catalogue.

A source is a number: `INTENT`, or 1 + the place of the call whose result it is. Bits beside it tell how it said so.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Collection, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

Prints = NDArray[np.uint32]
"""Fingerprints, or sources of them."""
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
UNKNOWN = -1
"""In place of a source: nothing carried the print."""
DESCRIBED = -1
"""In place of a call, as the source of an address that only the catalogue carries, in no field of the called tool."""
_FEW = 12 if sys.byteorder == "little" else 0
"""Prints that are sought one by one rather than with numpy; the packed arrays are little-endian."""

_RANK = np.array([1, 2, 0, 0], np.uint8)
"""By the two highest bits of a source: what stands in a field tells more than prose, an anchored one most."""


def as_prints(values: set[int]) -> Prints:
    """Sorted array of fingerprints."""
    return np.array(sorted(values), np.uint32)


def _merged(old: Prints, new: Prints) -> Prints:
    """Sources of known prints that `new`, all of one source, carries too: the first stays unless the other tells more."""
    if not (new[0] & np.uint32(MAX_SOURCE)):
        return new  # the intent's own
    several = ((old ^ new) & np.uint32(MAX_SOURCE) != 0) & (old != INTENT)
    tells_more = (_RANK[new >> 30] > _RANK[old >> 30]) & (old != INTENT)
    merged = np.where(tells_more, new | old & np.uint32(SEVERAL), old)
    merged[several] |= np.uint32(SEVERAL)
    return merged


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
        marked = min(source, MAX_SOURCE) | (PROSE if prose else 0) | (ANCHORED if anchored else 0)
        fresh = np.fromiter(distinct, np.uint32, len(distinct))
        fresh.sort()
        self._take(fresh, np.full(len(fresh), marked, np.uint32))
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
        sources = np.repeat(np.array([source | ANCHORED, source, source | PROSE], np.uint32), sizes)
        order = fresh.argsort()
        self._take(fresh[order], sources[order])
        return self.trim(limit)

    def _take(self, fresh: Prints, marked: Prints) -> None:
        """Merge sorted, distinct prints, each with its source and bits; all of one source."""
        at = self.prints.searchsorted(fresh)
        if len(self.prints):
            known = self.prints.take(at, mode="clip") == fresh
            places = at[known]
            if len(places):
                merged = _merged(self.sources[places], marked[known])
                self.sources = self.sources.copy()
                self.sources[places] = merged
            unknown = ~known
            fresh, at, marked = fresh[unknown], at[unknown], marked[unknown]
        if len(fresh):
            total = len(self.prints) + len(fresh)
            at += np.arange(len(fresh))
            old = np.empty(total, bool)
            old.fill(True)
            old[at] = False
            prints, sources = np.empty(total, np.uint32), np.empty(total, np.uint32)
            prints[at], sources[at] = fresh, marked
            prints[old], sources[old] = self.prints, self.sources
            self.prints, self.sources = prints, sources

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
        """Source of each print with its bits, or `UNKNOWN`."""
        if self._table is not None:
            return [self._table.get(p, UNKNOWN) for p in prints]
        size = len(self.prints)
        if not size:
            return [UNKNOWN] * len(prints)
        if len(prints) <= _FEW:
            view, sources = self.prints.data, self.sources.data
            sources_found: list[int] = []
            for p in prints:
                place = bisect_left(view, p)
                sources_found.append(sources[place] if place < size and view[place] == p else UNKNOWN)
            return sources_found
        wanted = np.array(prints, np.uint32)
        at = np.minimum(np.searchsorted(self.prints, wanted), size - 1)
        many: list[int] = np.where(
            self.prints[at] == wanted, self.sources[at].astype(np.int64), UNKNOWN
        ).tolist()
        return many
