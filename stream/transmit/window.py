"""What waits for one receiver: read from the bus, in order, and not taken yet. Bounded; the queue itself is the bus."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

MOST, MOST_BYTES = 200, 4 * 1024 * 1024
"""Tokens, and their bytes, that are held for one receiver; what comes after stays on the bus until there is room (chosen)."""

Place = tuple[str, int]
"""A topic's base name and a partition."""


class Pending(NamedTuple):
    """A token that its receiver has not taken.

    Attributes
    ----------
    jti, event : str
        Its id, and its event's type.
    token : bytes
        The compact JWS as it came from the bus, never signed anew.
    stamped_ms : int
        When its record was written, in ms since 1970.
    place, offset
        Where it stands.
    """

    jti: str
    event: str
    token: bytes
    stamped_ms: int
    place: Place
    offset: int


class Window:
    """The tokens between what a receiver has taken and what was read.

    Parameters
    ----------
    positions : mapping of Place to int
        The first offset of each partition that is not dealt with.
    most, most_bytes : int
        Bounds; the last token that is taken in may go beyond the bytes.

    Notes
    -----
    Tokens may be taken in any order. A position moves to the first offset that waits, so that a restart from `positions` meets
    everything that was not taken, and some that was.
    """

    def __init__(
        self, positions: Mapping[Place, int], most: int = MOST, most_bytes: int = MOST_BYTES
    ) -> None:
        self._next = dict(positions)
        self._most, self._most_bytes, self._bytes = most, most_bytes, 0
        self._waiting: OrderedDict[str, Pending] = OrderedDict()
        self._open: dict[Place, OrderedDict[int, str]] = {}
        self._repeats: dict[str, list[tuple[Place, int]]] = {}
        self._lent_until_s: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def room(self) -> int:
        """How many more tokens may be read."""
        return 0 if self._bytes >= self._most_bytes else self._most - len(self._waiting)

    def read(self, place: Place, offset: int, pending: Pending | None) -> int:
        """Note a record that was read: a token that waits from now on, or None for one that this receiver does not get.

        Gives how many records before it were gone from the bus. One that was read before changes nothing.
        """
        expected = self._next.get(place, 0)
        if offset < expected:
            return 0
        self._next[place] = offset + 1
        if pending is not None:
            self._open.setdefault(place, OrderedDict())[offset] = pending.jti
            self._repeats.setdefault(pending.jti, []).append((place, offset))
            if pending.jti not in self._waiting:
                self._waiting[pending.jti] = pending
                self._bytes += len(pending.token)
        return offset - expected

    def again(self, pending: Pending) -> None:
        """Have a token wait that was dealt with before: it keeps no place, so a restart does not meet it again."""
        if pending.jti not in self._waiting:
            self._waiting[pending.jti] = pending
            self._bytes += len(pending.token)

    def due(self, now_s: float) -> list[Pending]:
        """What may be handed out, oldest first: all that waits and is not lent to somebody who may still answer."""
        return [each for jti, each in self._waiting.items() if self._lent_until_s.get(jti, now_s) <= now_s]

    def lend(self, jti: str, until_s: float) -> None:
        """Do not hand out a token again before `until_s`, of the clock that `due` is asked with."""
        if jti in self._waiting:
            self._lent_until_s[jti] = until_s

    def next_due_s(self) -> float | None:
        """When the first of those that are lent comes back; None where none is."""
        return min(self._lent_until_s.values(), default=None)

    def oldest(self) -> Pending | None:
        """What has waited longest."""
        return next(iter(self._waiting.values()), None)

    def done(self, jti: str) -> Pending | None:
        """Deal with a token: taken, or refused for good. None where none of that id waits."""
        pending = self._waiting.pop(jti, None)
        if pending is None:
            return None
        self._bytes -= len(pending.token)
        self._lent_until_s.pop(jti, None)
        for place, offset in self._repeats.pop(jti, ()):
            del self._open[place][offset]
        return pending

    def waiting(self) -> list[Pending]:
        """All that waits, lent or not, oldest first."""
        return list(self._waiting.values())

    def positions(self) -> dict[Place, int]:
        """The first offset of each partition that is not dealt with."""
        return {place: next(iter(self._open.get(place, ())), at) for place, at in self._next.items()}

    def read_to(self) -> dict[Place, int]:
        """The first offset of each partition that was not read."""
        return dict(self._next)
