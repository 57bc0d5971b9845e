"""A partition's states, and the orders and trees derived from them.

States are packed bytes under string keys: ``s/<hash>`` a session or its tombstone, ``c/<digest>`` a tool
catalogue (once, whoever uses it), ``ledger`` the partition's clock, releases and counters. `Partition`
adds what can be derived from them: who is oldest, and who belongs to which tree.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import msgspec

from models.session import Head, Stone, place, unpacked
from stream.core.credentials import count_prints
from stream.events import short_hash

LEDGER = "ledger"
LEDGER_VERSION = 1


class Ledger(msgspec.Struct, array_like=True, gc=False):
    """What a partition remembers beside its sessions."""

    version: int = LEDGER_VERSION
    offset: int = -1  # last applied input offset
    clock_ms: int = 0  # running maximum of the broker's stamps; 0 before the first
    epoch: int = 0
    new_release: str = ""  # for sessions that begin now; "" = bundled
    new_epoch: int = 0
    open_release: str = ""  # for all sessions whose epoch is older than open_epoch
    open_epoch: int = 0
    ends: int = 0  # sessions that are over so far: the order of tombstones
    counters: dict[str, int] = {}


_LEDGERS = msgspec.msgpack.Decoder(Ledger)


@lru_cache(maxsize=1 << 14)
def state_key(tenant: str, root: str, session: str) -> str:
    """Key of a session's state, from tenant, root and session together."""
    return "s/" + short_hash(tenant, root, session, size=12)


class Place(NamedTuple):
    """Where an open session stands in its partition's order, and what it shares and takes."""

    clock_ms: int
    offset: int
    weight: int
    catalogue: str | None
    holds: bytes


class Partition:
    """All states of one input partition, with the order and the trees derived from them.

    Parameters
    ----------
    n_partitions : int or None
        How many partitions its topic has, by which keys are checked; None where the log has none (plain files).
        It belongs to the log that is read, not to the states: a log exported anew may have another number.
    """

    def __init__(self, n_partitions: int | None = None) -> None:
        self.n_partitions = n_partitions
        self.states: dict[str, bytes] = {}
        self.ledger = Ledger()
        # Of open sessions, each in the log's order of last records.
        self.declared: dict[str, Place] = {}
        self.undeclared: dict[str, Place] = {}
        # Clock and offset at the last record, and key, of those whose clock lies before another's whose last record came
        # earlier, longest idle first. Only a record without the broker's stamp makes one. All others are in clock order.
        self.strays: list[tuple[int, int, str]] = []
        self._latest_ms = 0  # of the clocks in order
        # Key -> (clock_ms, order, spent), in the order of ends.
        self.tombs: dict[str, tuple[int, int, bytes]] = {}
        # Open sessions below a root, under the key that the root's own state has or would have.
        self.trees: dict[str, dict[str, None]] = {}
        self._tree_of: dict[str, str] = {}
        self.catalogue_uses: dict[str, int] = {}
        self._digests: dict[str, str] = {}  # one text for each catalogue, whoever uses it
        # By a credential's print: open sessions that hold it, and tombstones of those for whose task alone it was issued.
        self.holders: dict[bytes, int] = {}
        self.spent: dict[bytes, int] = {}
        self.weight = 0  # of all open sessions, in bytes

    @classmethod
    def empty(cls, n_partitions: int | None = None) -> Partition:
        """A partition before its first record."""
        return cls(n_partitions)

    @classmethod
    def load(cls, states: Mapping[str, bytes], n_partitions: int | None = None) -> Partition:
        """The partition whose states were stored, whatever the order of the mapping."""
        partition = cls(n_partitions)
        partition.apply({key: raw for key, raw in states.items() if not key.startswith("s/")})
        placed = [(place(raw), key) for key, raw in states.items() if key.startswith("s/")]
        placed.sort(key=lambda item: item[0].offset if isinstance(item[0], Head) else item[0].order)
        for state, key in placed:
            partition.states[key] = states[key]
            partition._place(key, state)
        return partition

    @property
    def offset(self) -> int:
        """Offset of the last applied record, -1 before the first."""
        return self.ledger.offset

    def apply(self, changes: Mapping[str, bytes | None]) -> None:
        """Take over what a `Step` changed; sessions come in the order of their last records."""
        for key, raw in changes.items():
            if raw is None:
                self.states.pop(key, None)
            else:
                self.states[key] = raw
            if key == LEDGER and raw is not None:
                self.ledger = unpacked(_LEDGERS, raw, "a partition's ledger", LEDGER_VERSION)
            elif key.startswith("s/"):
                self._place(key, place(raw) if raw is not None else None)

    def _place(self, key: str, state: Head | Stone | None) -> None:
        """Put a session where its packed form says that it stands now; None: it is forgotten."""
        held = self.declared.get(key) or self.undeclared.get(key)
        if held is not None:
            self._release(held)
        if isinstance(state, Head):
            self._place_open(key, state, held)
            return
        self.declared.pop(key, None)
        self.undeclared.pop(key, None)
        self._leave(key, held)
        end = (state.clock_ms, state.order, state.spent) if state is not None else None
        if end is None or self.tombs.get(key) != end:  # else a call after the end, which moves nothing
            self._forget(key)
            if end is not None:
                self.tombs[key] = end
                count_prints(self.spent, end[2], 1)
        if key in self._tree_of:
            tree = self._tree_of.pop(key)
            members = self.trees[tree]
            members.pop(key, None)
            if not members:
                del self.trees[tree]

    def _release(self, held: Place) -> None:
        """Take back what an open session weighed and shared."""
        self.weight -= held.weight
        if held.catalogue is not None:
            self.catalogue_uses[held.catalogue] -= 1
            if not self.catalogue_uses[held.catalogue]:
                del self.catalogue_uses[held.catalogue], self._digests[held.catalogue]
        count_prints(self.holders, held.holds, -1)

    def _leave(self, key: str, held: Place | None) -> None:
        """Take an open session from the strays, if it is one."""
        if held is not None and self.strays:
            stray = (held.clock_ms, held.offset, key)
            n = bisect_left(self.strays, stray)
            if self.strays[n : n + 1] == [stray]:
                del self.strays[n]

    def _forget(self, key: str) -> None:
        """Take a finished session from those that are remembered, if it is one."""
        tomb = self.tombs.pop(key, None)
        if tomb is not None:
            count_prints(self.spent, tomb[2], -1)

    def _place_open(self, key: str, state: Head, held: Place | None) -> None:
        self._forget(key)
        catalogue = state.catalogue
        if catalogue is not None:
            catalogue = self._digests.setdefault(catalogue, catalogue)
            self.catalogue_uses[catalogue] = self.catalogue_uses.get(catalogue, 0) + 1
        count_prints(self.holders, state.holds, 1)
        self.weight += state.weight
        ours, other = (self.declared, self.undeclared) if state.declared else (self.undeclared, self.declared)
        other.pop(key, None)
        if held is None or held.offset != state.offset or key not in ours:
            ours.pop(key, None)  # else changed by its parent's fate, not by a record of its own
            self._leave(key, held)
            if state.clock_ms < self._latest_ms:
                insort(self.strays, (state.clock_ms, state.offset, key))
            else:
                self._latest_ms = state.clock_ms
        ours[key] = Place(state.clock_ms, state.offset, state.weight, catalogue, state.holds)
        if state.session != state.root:
            tree = state_key(state.tenant, state.root, state.root)
            self.trees.setdefault(tree, {})[key] = None
            self._tree_of[key] = tree
