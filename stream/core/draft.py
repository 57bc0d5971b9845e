"""A partition as a batch would leave it: states read from it once, and what changed of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from heapq import heappop, heappush

import msgspec

from models.errors import ArtefactError
from models.session import Session, Tombstone, dump, load
from stream.core.catalogues import HeldCatalogues
from stream.core.credentials import count_prints
from stream.core.deployment import Activation
from stream.core.partition import LEDGER, Ledger, Partition
from stream.core.references import SecretReference
from stream.core.releases import Release

MAX_WARNINGS = 64
"""Brokers and kinds of which a batch warns."""


class _Front:
    """The first key of one of a partition's orders that still stands there; looks at each key once."""

    def __init__(self, order: Iterable[str]) -> None:
        self._keys = iter(order)
        self._first = next(self._keys, None)

    def first(self, gone: Callable[[str], bool]) -> str | None:
        while self._first is not None and gone(self._first):
            self._first = next(self._keys, None)
        return self._first


class Draft:
    """The states of one batch; the partition itself is only read.

    Parameters
    ----------
    partition : Partition
        As the batch finds it.
    releases : mapping of str to Release
        By digest; ``""`` is the bundled one, whose policy's limits hold for the partition.
    catalogues : HeldCatalogues
        Of the same partition.

    Attributes
    ----------
    ledger : Ledger
        The partition's own, as it stands now.
    changed : dict of str to None
        Keys of states that changed and have no place in an order because of it.
    n_open, n_tombs, weight : int
        Open sessions, tombstones, and the bytes of all open sessions together.
    secrets : dict of (str, str, str) to SecretReference
        Where secrets stood in place of references, one by tenant, broker and kind.
    """

    def __init__(
        self, partition: Partition, releases: Mapping[str, Release], catalogues: HeldCatalogues
    ) -> None:
        self.base = partition
        self.releases = releases
        self.limits = releases[""].policy.limits
        self.catalogues = catalogues
        self.ledger: Ledger = copy.copy(partition.ledger)
        self.ledger.counters = dict(self.ledger.counters)
        self.changed: dict[str, None] = {}
        self.n_open = len(partition.declared) + len(partition.undeclared)
        self.n_tombs = len(partition.tombs)
        self.weight = partition.weight
        self.secrets: dict[tuple[str, str, str], SecretReference] = {}
        self._states: dict[str, Session | Tombstone] = {}
        # Sessions that a record of their own touched in this batch, and sessions that ended in it, in order.
        self._recent: dict[str, None] = {}
        # Clock and offset of each such record, and key, as a heap: what was since touched or ended is out of date.
        self._touched: list[tuple[int, int, str]] = []
        self._ended: dict[str, None] = {}
        self._forgotten: set[str] = set()
        # More or fewer of them than in the partition.
        self._holders: dict[bytes, int] = {}
        self._spent: dict[bytes, int] = {}
        self._declared = _Front(partition.declared)
        self._undeclared = _Front(partition.undeclared)
        self._strays = _Front(key for _, _, key in partition.strays)
        self._tombs = _Front(partition.tombs)

    # ------------------------------------------------------------------ states

    def state(self, key: str) -> Session | Tombstone | None:
        """The state under `key`, unpacked once."""
        if key in self._states:
            return self._states[key]
        if key in self._forgotten:
            return None
        raw = self.base.states.get(key)
        if raw is None:
            return None
        state = load(raw)
        self._states[key] = state
        return state

    def at_hand(self, key: str) -> Session | Tombstone | None:
        """The state under `key`, if this batch read or made it."""
        return self._states.get(key)

    def session(self, key: str) -> Session:
        """The open session under `key`; it must stand there."""
        state = self.state(key)
        assert isinstance(state, Session)
        return state

    def touch(self, key: str, session: Session) -> None:
        """Put an open session last in the order of last records."""
        self._states[key] = session
        self._recent.pop(key, None)
        self._recent[key] = None
        heappush(self._touched, (session.clock_ms, session.offset, key))

    def hold(self, session: Session, more: bytes) -> None:
        """Let an open session hold `more` prints of credentials, each new to it."""
        session.holds += more
        count_prints(self._holders, more, 1)

    def let_go(self, session: Session) -> None:
        """Note that a session that ends holds its credentials no longer."""
        count_prints(self._holders, session.holds, -1)

    def holders(self, credential: bytes) -> int:
        """Open sessions that hold the credential of this print."""
        return self.base.holders.get(credential, 0) + self._holders.get(credential, 0)

    def is_held(self, credential: bytes) -> bool:
        """Whether an open session holds it."""
        return self.holders(credential) > 0

    def is_spent(self, credential: bytes) -> bool:
        """Whether it was issued for the task of a session alone that is over, and that is remembered."""
        return self.base.spent.get(credential, 0) + self._spent.get(credential, 0) > 0

    def bury(self, key: str, session: Session, tomb: Tombstone) -> None:
        """Put a session's tombstone in its place, last in the order of ends."""
        self.ledger.ends += 1
        self.catalogues.release(session)
        self._states[key] = tomb
        count_prints(self._spent, tomb.spent, 1)
        self._recent.pop(key, None)
        self._ended[key] = None
        self.n_open -= 1
        self.n_tombs += 1
        self.weight -= session.weight

    def replace(self, key: str, session: Session, fresh: Session) -> None:
        """Put `fresh`, which weighs and holds nothing yet, in place of an open session."""
        self.weight -= session.weight
        self.catalogues.release(session)
        self.touch(key, fresh)

    def forget(self, key: str) -> None:
        """Drop a tombstone: its id may be born again."""
        tomb = self._states.pop(key, None)
        spent = tomb.spent if isinstance(tomb, Tombstone) else self.base.tombs[key][2]
        count_prints(self._spent, spent, -1)
        self.changed.pop(key, None)
        self._ended.pop(key, None)
        self._forgotten.add(key)
        self.n_tombs -= 1

    def weigh(self, session: Session) -> None:
        """Note what an open session weighs now."""
        weight = session.weighs()
        self.weight += weight - session.weight
        session.weight = weight

    def changes(self, moved: Mapping[str, None]) -> dict[str, bytes | None]:
        """What is to be stored, and None for what is to be deleted; `moved` are keys that later passes changed."""
        # One that was forgotten and born again is no deletion, and stands in the order of its last record.
        changes: dict[str, bytes | None] = dict.fromkeys(sorted(self._forgotten - self._states.keys()), None)
        for key in [*self._ended, *self._recent, *self.changed, *moved]:
            if key not in changes and key in self._states:
                changes[key] = dump(self._states[key])
        changes.update(self.catalogues.changes())
        # Passes count in turn, so that the order of names would tell where batches were cut.
        self.ledger.counters = dict(sorted(self.ledger.counters.items()))
        changes[LEDGER] = msgspec.msgpack.encode(self.ledger)
        return changes

    # ------------------------------------------------------------------ orders

    def _gone(self, key: str) -> bool:
        """Whether a session stands no longer where the partition's order has it."""
        return key in self._recent or key in self._ended or key in self._forgotten

    def oldest_open(self) -> str | None:
        """The open session whose last offset is lowest, undeclared ones first."""
        return (
            self._undeclared.first(self._gone)
            or next((key for key in self._recent if not self.session(key).declared), None)
            or self._declared.first(self._gone)
            or next(iter(self._recent), None)
        )

    def oldest_tomb(self) -> str | None:
        """The tombstone whose session ended first."""
        return self._tombs.first(self._forgotten.__contains__) or next(iter(self._ended), None)

    def longest_idle(self) -> tuple[int, str] | None:
        """Clock at its last record, and key, of the open session that has been idle for longest."""
        while self._touched and not self._stands(*self._touched[0]):
            heappop(self._touched)
        firsts = self._touched[:1]
        for front in (self._declared, self._undeclared, self._strays):
            if (key := front.first(self._gone)) is not None:
                place = self.base.declared.get(key) or self.base.undeclared[key]
                firsts.append((place.clock_ms, place.offset, key))
        if not firsts:
            return None
        clock_ms, _, key = min(firsts)
        return clock_ms, key

    def _stands(self, clock_ms: int, offset: int, key: str) -> bool:
        """Whether this was the last record of a session that is open."""
        if key not in self._recent:
            return False
        session = self.session(key)
        return (session.clock_ms, session.offset) == (clock_ms, offset)

    def end_clock(self, key: str) -> int:
        """Clock at the end of the finished session under `key`."""
        state = self._states.get(key)
        return state.clock_ms if state is not None else self.base.tombs[key][0]

    # ------------------------------------------------------------------ releases and counters

    def release(self, state: Session | Tombstone | None) -> Release:
        """The release that judges a session, or what comes after its end; None: one that begins now.

        Raises
        ------
        ArtefactError
            This worker does not have it.
        """
        ledger = self.ledger
        begun = (ledger.new_release, ledger.new_epoch) if state is None else (state.release, state.epoch)
        digest = ledger.open_release if ledger.open_epoch > begun[1] else begun[0]
        return self._at_hand(digest)

    def activate(self, activation: Activation) -> None:
        """From here on the release judges the sessions that begin, or all of them.

        Raises
        ------
        ArtefactError
            This worker does not have it, and nothing that it may fetch it from does.
        """
        self._at_hand(activation.digest)
        ledger = self.ledger
        ledger.epoch = activation.epoch
        ledger.new_release, ledger.new_epoch = activation.digest, activation.epoch
        if activation.scope == "open":
            ledger.open_release, ledger.open_epoch = activation.digest, activation.epoch

    def _at_hand(self, digest: str) -> Release:
        try:
            return self.releases[digest]
        except KeyError:
            raise ArtefactError(
                f"release {digest} was activated, but this worker has it neither in DRIFTLINE_RELEASES_DIR nor by a word of it on "
                "agent.releases.v1 that a trusted key signed; publish it (`driftline release publish`), and the worker goes on"
            ) from None

    def note_secret(self, found: SecretReference) -> None:
        """Note that a secret stood in place of a reference, for a warning."""
        if len(self.secrets) < MAX_WARNINGS:
            self.secrets.setdefault((found.tenant, found.broker, found.kind), found)

    def count(self, name: str) -> None:
        """Add one to a counter of the ledger."""
        self.ledger.counters[name] = self.ledger.counters.get(name, 0) + 1
