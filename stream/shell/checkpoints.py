"""State made durable: how a partition's states lie in our compacted topic, and how they are read back.

Each input topic has a state topic of its own with as many partitions; input partition p is kept in state partition p
(`state_topic`), so that input topics come and go without touching one another's state. Challengers share another one
(`Shelf`). A record's key is
``<owner>/<slot>/<state key>``, its headers name the owner, the slot, and the input offset that the value belongs to.

- An **owner** is one assignment of the partition to one worker, named by a rising epoch and a random part.
  Its first checkpoint writes *every* state, so that no owner ever depends on another's records: a paused
  worker that wakes after a rebalance writes under its own, older owner, and readers pass it by.
- Each state key alternates between two **slots**, so that a half-written checkpoint never overwrites the last
  complete one, even once the topic has been compacted.
- The **ledger** is written last. A checkpoint without its ledger does not exist.
- A deletion is an empty value. It is cleaned away with Kafka's own tombstones once a ledger covers it.

Everything here is pure: `stream.shell.judge_stage` writes to the broker, `stream.shell.recovery` reads from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from models.errors import StateError
from stream.events import EVENTS

STATE_TOPIC = "driftline.state.v1"
"""The state topic of the plain input topic; see `state_topic` for others."""
CHALLENGER_STATE_TOPIC = "driftline.challengers.v1"
"""The same of challengers."""
LEDGER = "ledger"
FORMAT = b"1"
_EPOCH_DIGITS = 10

Headers = tuple[tuple[str, bytes], ...]


def state_topic(base: str, plain: str = STATE_TOPIC) -> str:
    """Base name of the topic that holds the state of the input topic `base`; `plain` is that of the plain input topic.

    >>> state_topic("agent.events.v1"), state_topic("acme.events.v1")
    ('driftline.state.v1', 'driftline.state.v1.acme.events.v1')
    """
    return plain if base == EVENTS else f"{plain}.{base}"


class Shelf(NamedTuple):
    """Where the states of one judge lie: in which topic, and what its keys begin with there.

    >>> Shelf(CHALLENGER_STATE_TOPIC, b"blue@1f2e:").topic("acme.events.v1")
    'driftline.challengers.v1.acme.events.v1'
    """

    plain: str = STATE_TOPIC
    mark: bytes = b""

    def topic(self, base: str) -> str:
        """Base name of the topic that holds the states of the input topic `base`."""
        return state_topic(base, self.plain)

    def put(self, record: StateRecord) -> StateRecord:
        """`record` as it lies there."""
        return record._replace(key=self.mark + record.key)

    def take(self, record: StateRecord) -> StateRecord | None:
        """A record from there as this judge wrote it; None for another's."""
        if not record.key.startswith(self.mark):
            return None
        return record._replace(key=record.key[len(self.mark) :])


class StateRecord(NamedTuple):
    """One record of the state topic; ``value`` None is Kafka's tombstone, b"" our mark of a deletion."""

    key: bytes
    headers: Headers
    value: bytes | None


class Recovered(NamedTuple):
    """What a state partition says.

    ``offset`` is the last input offset applied (-1: none); ``epoch`` the greatest seen, of anyone; ``stale``
    the keys of records that no recovery needs once the next owner's first ledger is written.
    """

    states: dict[str, bytes]
    offset: int
    epoch: int
    stale: tuple[bytes, ...]


class Owner(NamedTuple):
    """One assignment of a partition to one worker."""

    epoch: int
    token: str

    @property
    def name(self) -> str:
        """Text that sorts as epochs do.

        >>> Owner(7, "a1").name
        '0000000007-a1'
        """
        return f"{self.epoch:0{_EPOCH_DIGITS}d}-{self.token}"


class _Entry(NamedTuple):
    owner: str
    slot: str
    state_key: str
    offset: int
    value: bytes


def _encode(owner: str, slot: int | str, state_key: str, offset: int, value: bytes) -> StateRecord:
    return StateRecord(
        f"{owner}/{slot}/{state_key}".encode(),
        (("format", FORMAT), ("offset", str(offset).encode())),
        value,
    )


def _decode(record: StateRecord) -> _Entry:
    headers = dict(record.headers)
    if headers.get("format") != FORMAT:
        raise StateError(
            f"a state record has format {headers.get('format')!r}, expected {FORMAT!r}: another version "
            "wrote it; drain first, or remove the state topic to rebuild from the input"
        )
    try:
        owner, slot, state_key = record.key.decode().split("/", 2)
        return _Entry(owner, slot, state_key, int(headers["offset"]), record.value or b"")
    except (ValueError, KeyError) as error:
        raise StateError("a record of the state topic has a key or headers that we did not write") from error


def keep_newest(live: dict[bytes, StateRecord], records: Iterable[StateRecord]) -> None:
    """Bring `live`, the newest record of each key, up to date with the `records` that follow in the log."""
    for record in records:
        if record.value is None:
            live.pop(record.key, None)
        else:
            live[record.key] = record


def fold(records: Iterable[StateRecord]) -> Recovered:
    """The last complete checkpoint in `records`, a state partition in the log's order, compacted or not.

    Raises
    ------
    StateError
        A record is not ours or of another format, and no complete checkpoint of a later owner replaces it.
    """
    live: dict[bytes, StateRecord] = {}
    keep_newest(live, records)
    entries: list[_Entry] = []
    unread: tuple[bytes, StateError] | None = None  # of the latest owner who wrote what we cannot read
    for record in live.values():
        try:
            entries.append(_decode(record))
        except StateError as error:
            if unread is None or record.key > unread[0]:
                unread = (record.key, error)
    ledgers = [entry for entry in entries if entry.state_key == LEDGER]
    # Two owners of one epoch, which a group's new name may bring about, replayed one log: who came further knows more.
    ledger = max(ledgers, key=lambda entry: (entry.owner[:_EPOCH_DIGITS], entry.offset), default=None)
    if unread is not None and (
        ledger is None or unread[0][:_EPOCH_DIGITS] >= ledger.owner[:_EPOCH_DIGITS].encode()
    ):
        raise unread[1]
    epoch = max((int(entry.owner.split("-", 1)[0]) for entry in entries), default=0)
    if ledger is None:
        return Recovered({}, -1, epoch, tuple(live))
    newest: dict[str, _Entry] = {}
    for entry in entries:
        if entry.owner != ledger.owner or entry.offset > ledger.offset:
            continue  # another owner's, or the beginning of a checkpoint that never got its ledger
        best = newest.get(entry.state_key)
        if best is None or entry.offset > best.offset:
            newest[entry.state_key] = entry
    states = {key: entry.value for key, entry in newest.items() if entry.value != b""}
    return Recovered(states, ledger.offset, epoch, tuple(live))


def forgotten(records: Iterable[StateRecord]) -> Recovered:
    """What a state partition that cannot be read still tells: the epoch to surpass, and what to clean away.

    An owner below an older epoch would be passed by for ever, whatever it writes.
    """
    live: dict[bytes, StateRecord] = {}
    keep_newest(live, records)
    epochs = [key[:_EPOCH_DIGITS] for key in live if key[_EPOCH_DIGITS : _EPOCH_DIGITS + 1] == b"-"]
    return Recovered({}, -1, max((int(text) for text in epochs if text.isdigit()), default=0), tuple(live))


class Checkpointer:
    """Writes one owner's checkpoints of one partition.

    Use: collect changes with `note`; then `begin` gives the records to publish and confirm, `seal` the ledger
    to publish and confirm after them, and `done` is called once that is confirmed. Whoever stops between the
    steps leaves the last complete checkpoint as it was.

    Parameters
    ----------
    owner : Owner
        This assignment.
    recovered : Recovered
        What was read when the partition was taken over.
    """

    def __init__(self, owner: Owner, recovered: Recovered) -> None:
        self.owner = owner
        self.offset = recovered.offset
        self._first = True
        self._dirty: set[str] = set(recovered.states)
        self._slot: dict[str, int] = {}
        self._stale: list[bytes] = list(recovered.stale)
        self._pending: tuple[int, dict[str, bytes | None]] | None = None
        self._clean: list[bytes] = []
        self._ledger_slot = 0

    def note(self, changes: Iterable[str]) -> None:
        """Remember that the states named in `changes` differ from the last checkpoint."""
        self._dirty.update(changes)

    def begin(self, states: Mapping[str, bytes], offset: int) -> list[StateRecord]:
        """The records of a checkpoint at input offset `offset`, without its ledger.

        Notes
        -----
        One key may come twice: first the tombstones of what the *previous* ledger made needless, then values.
        """
        dirty = sorted(self._dirty - {LEDGER})
        snapshot: dict[str, bytes | None] = {key: states.get(key) for key in dirty}
        snapshot[LEDGER] = states.get(LEDGER, b"")
        self._pending = (offset, snapshot)
        self._dirty.clear()
        cleaning, self._clean = self._clean, []
        records = [StateRecord(key, (), None) for key in cleaning]
        for key in dirty:
            value = snapshot[key]
            if value is None and self._first:
                continue  # nothing of this owner's to delete yet
            if value is None and key not in self._slot:
                continue  # born and gone between two checkpoints
            slot = 1 - self._slot.get(key, 1)
            self._slot[key] = slot
            records.append(_encode(self.owner.name, slot, key, offset, value or b""))
        return records

    def seal(self) -> StateRecord:
        """The ledger that completes the checkpoint begun."""
        if self._pending is None:
            raise StateError("a ledger without its checkpoint")
        offset, snapshot = self._pending
        self._ledger_slot = 1 - self._ledger_slot
        return _encode(self.owner.name, self._ledger_slot, LEDGER, offset, snapshot[LEDGER] or b"")

    def done(self) -> int:
        """The checkpoint is durable; gives the input offset up to which records may be acknowledged."""
        if self._pending is None:
            raise StateError("a checkpoint that was not begun cannot be done")
        offset, snapshot = self._pending
        self._pending = None
        self._first = False
        self.offset = offset
        self._clean.extend(self._stale)
        self._stale = []
        for key, value in snapshot.items():
            if value is None and key in self._slot:
                # The mark goes last, so that no reader meets the older value without it.
                mark = self._slot.pop(key)
                self._clean += [f"{self.owner.name}/{slot}/{key}".encode() for slot in (1 - mark, mark)]
        return offset
