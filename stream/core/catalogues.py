"""Tool catalogues: packed once for all sessions that were offered the same, and kept while one holds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from models.contracts import Tool
from models.session import Session
from models.tools.catalogue import Catalogue
from stream.core.partition import Partition
from stream.core.releases import PolicyNames, Release
from stream.events import dumps, short_hash

MAX_TOOLS = 512
MAX_BYTES = 131_072
"""Bytes of a catalogue's tools as JSON; what comes after is cut."""
MAX_PARAMETERS = 64


class Packed(NamedTuple):
    """What is kept of an offered catalogue."""

    raw: bytes
    digest: str
    cut: bool


class CatalogueMemo:
    """Catalogues packed and built before. Memos of pure functions, bounded; no state.

    Parameters
    ----------
    key : bytes
        Key of all fingerprints.
    policy_name : PolicyNames
        Tells policies apart.
    """

    def __init__(self, key: bytes, policy_name: PolicyNames) -> None:
        self._key = key
        self._policy_name = policy_name
        self._built: dict[tuple[str, str, int], Catalogue] = {}
        self._packed: dict[bytes, Packed] = {}

    def __len__(self) -> int:
        return len(self._built)

    def built(self, digest: str, raw: bytes, release: Release) -> Catalogue:
        """The catalogue packed in `raw`, read by a release's readers, its tools classed and graded by its policy."""
        policy, readers = release.policy, release.readers
        name = (digest, self._policy_name(policy), id(readers))  # each catalogue holds its readers
        if name not in self._built:
            if len(self._built) >= 256:
                self._built.clear()
            tools = [Tool.model_validate(row) for row in msgspec.msgpack.decode(raw)]
            self._built[name] = Catalogue(tools, self._key, policy.tools, policy.sensitive, readers=readers)
        return self._built[name]

    def packed(self, tools: Sequence[Tool], offered: bytes) -> Packed:
        """What is kept of the catalogue `tools`.

        ``offered`` identifies the catalogue, see `stream.events.Parsed`: most were packed before.
        """
        if not offered:
            return _pack(tools)
        if offered not in self._packed:
            if len(self._packed) >= 128:
                self._packed.clear()
            self._packed[offered] = _pack(tools)
        return self._packed[offered]


class HeldCatalogues:
    """The catalogues that open sessions hold, as a batch would leave them.

    Parameters
    ----------
    partition : Partition
        As the batch found it.
    memo : CatalogueMemo
        Catalogues built before.
    """

    def __init__(self, partition: Partition, memo: CatalogueMemo) -> None:
        self._base = partition
        self._memo = memo
        self._new: dict[str, bytes] = {}
        self._more: dict[str, int] = {}  # sessions more or less that hold one than in the partition
        self._n = len(partition.catalogue_uses)
        self._at_hand: dict[tuple[str, int], Catalogue] = {}

    def of(self, session: Session, release: Release) -> Catalogue | None:
        """The catalogue that `session` holds, as `release` reads it."""
        digest = session.catalogue
        if digest is None:
            return None
        name = (digest, id(release))
        if name not in self._at_hand:
            raw = self._raw(digest)
            if raw is None:
                return None
            self._at_hand[name] = self._memo.built(digest, raw, release)
        return self._at_hand[name]

    def packed(self, tools: Sequence[Tool], offered: bytes) -> Packed:
        """What would be kept of an offered catalogue, see `CatalogueMemo.packed`."""
        return self._memo.packed(tools, offered)

    def changed(self, session: Session, tools: Sequence[Tool], left: Sequence[str]) -> Packed:
        """What would be kept once `left` are gone from what `session` holds, and `tools` joined or changed in their places."""
        gone = frozenset(left)
        rows = {row["name"]: row for row in self._rows(session) if row["name"] not in gone}
        rows |= {row["name"]: row for row in map(_row, tools)}
        return _packed(rows.values())

    def preceded(self, session: Session, tools: Sequence[Tool]) -> Packed:
        """What would be kept if `tools` had been offered before what `session` holds."""
        rows = {row["name"]: row for row in map(_row, tools)}
        return _packed((rows | {row["name"]: row for row in self._rows(session)}).values())

    def _rows(self, session: Session) -> list[dict[str, Any]]:
        """The packed tools of the catalogue that `session` holds."""
        raw = self._raw(session.catalogue)
        rows: list[dict[str, Any]] = msgspec.msgpack.decode(raw) if raw is not None else []
        return rows

    def _raw(self, digest: str | None) -> bytes | None:
        return None if digest is None else self._new.get(digest) or self._base.states.get("c/" + digest)

    def hold(self, session: Session, packed: Packed, most: int) -> bool:
        """Let `session` hold a catalogue; False if it would be one more than the `most` that are kept."""
        frees = session.catalogue is not None and self._uses(session.catalogue) == 1
        if not self._uses(packed.digest) and self._n - frees >= most:
            return False
        self.release(session)
        self._use(packed.digest, 1)
        self._new[packed.digest] = packed.raw
        session.catalogue = packed.digest
        return True

    def release(self, session: Session) -> None:
        """Note that `session` holds its catalogue no longer."""
        if session.catalogue is not None:
            self._use(session.catalogue, -1)

    def _use(self, digest: str, n: int) -> None:
        before = self._uses(digest)
        self._more[digest] = self._more.get(digest, 0) + n
        self._n += bool(before + n) - bool(before)

    def _uses(self, digest: str) -> int:
        """Open sessions that hold the catalogue."""
        return self._base.catalogue_uses.get(digest, 0) + self._more.get(digest, 0)

    def changes(self) -> dict[str, bytes | None]:
        """The catalogues that are to be stored, and those that nobody holds any more."""
        changes: dict[str, bytes | None] = {}
        for digest, raw in self._new.items():
            if self._uses(digest) and "c/" + digest not in self._base.states:
                changes["c/" + digest] = raw
        for digest in self._more:
            if digest in self._base.catalogue_uses and not self._uses(digest):
                changes["c/" + digest] = None
        return changes


def _pack(tools: Sequence[Tool]) -> Packed:
    return _packed(map(_row, tools[: MAX_TOOLS + 1]))


def _row(tool: Tool) -> dict[str, Any]:
    """What is kept of a tool."""
    return {
        "name": tool.name,
        "server": tool.server,
        "description": (tool.description or "")[:1200],
        "parameters": _first_level(tool.parameters),
        "annotations": {k: v for k, v in (tool.annotations or {}).items() if isinstance(v, bool)},
    }


def _packed(offered: Iterable[dict[str, Any]]) -> Packed:
    """The first of the rows `offered`, as many as there is room for."""
    rows: list[dict[str, Any]] = []
    room = MAX_BYTES
    cut = False
    for row in offered:
        room -= len(dumps(row))
        if room < 0 or len(rows) == MAX_TOOLS:
            cut = True
            break
        rows.append(row)
    raw = msgspec.msgpack.encode(rows)
    return Packed(raw, short_hash(raw, size=12), cut)


def _first_level(schema: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Names, types, enumerations, short descriptions of a parameter schema: all that is ever read of it."""
    properties = (schema or {}).get("properties")
    if not isinstance(properties, dict):
        return None
    kept: dict[str, Any] = {}
    for name, spec in list(properties.items())[:MAX_PARAMETERS]:
        row: dict[str, Any] = {}
        if isinstance(spec, dict):
            if isinstance(spec.get("enum"), list):
                row["enum"] = [str(v)[:100] for v in spec["enum"][:32]]
            for part in ("default", "description", "type"):
                if isinstance(spec.get(part), str):
                    row[part] = spec[part][:300]
        kept[str(name)[:128]] = row
    return {"properties": kept}
