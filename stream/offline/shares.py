"""A log shared out among processes, so that each part is judged as the whole would be.

Of a topic, or a dump of one, the unit is the partition: its clock, its limits and the credentials that its sessions hold are its own.
A plain file is one partition without a clock. There a tree of sessions knows others by what they hold in common alone: trees that name
one credential or one attestation stay together. Catalogues are counted beforehand, and afterwards whether other limits were near (`overflow`).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from models.errors import InputError
from stream.events import Record, dumps, object_in, short_hash
from stream.offline.backtest import Peaks
from stream.offline.files import one_log
from stream.offline.lines import Heard, documents_in, is_log, unheard
from stream.policy import Limits

Placed = Iterator[tuple[Record, int | None]]


class Part(NamedTuple):
    """A part of a log that touches no other.

    Attributes
    ----------
    records : reads it, telling how far
    since : from which offset on records count, by topic and partition
    """

    records: Callable[[Heard], Placed]
    since: Mapping[tuple[str, int], int]


def of_files(
    paths: Sequence[Path],
    tools: Path | None,
    n: int,
    limits: Sequence[Limits],
    warn: Callable[[str], None],
    heard: Heard = unheard,
) -> list[Part]:
    """Files that are one log in `n` parts at most, each of which reads them all.

    A dump has a part for each n-th partition. Plain files have one for some of the trees: they are read here for what trees share,
    of which `heard` hears. What they came to holds if no limit was near (`overflow`).
    """

    def whole(heard: Heard) -> Placed:
        return ((record, partitions) for _, record, partitions in one_log(paths, tools, warn, heard))

    if n == 1:
        return [Part(whole, {})]
    if any(_begins_as_log(path) for path in paths):
        return [Part(_of_partitions(paths, n, turn), {}) for turn in range(n)]
    shared = _shared(((record, n) for _, record, n in one_log(paths, tools, None, heard)))
    if shared.catalogues > min(most.catalogues for most in limits):
        return [Part(whole, {})]
    roots = shared.roots

    def some(turn: int) -> Callable[[Heard], Placed]:
        def records(heard: Heard) -> Placed:
            # The first part alone warns: all read the same files.
            for _, record, partitions in one_log(paths, tools, warn if turn == 0 else None, heard):
                root = record.key or b""
                if zlib.crc32(roots.get(root, root)) % n == turn:
                    yield record, partitions

        return records

    return [Part(some(turn), {}) for turn in range(n)]


def _begins_as_log(path: Path) -> bool:
    return any(is_log(document) for _, (_, _, document) in zip(range(1), documents_in(path), strict=False))


def _of_partitions(paths: Sequence[Path], n: int, turn: int) -> Callable[[Heard], Placed]:
    def records(heard: Heard) -> Placed:
        for where, record, partitions in one_log(paths, None, None, heard):
            if record.timestamp_type == "none" and partitions is None:
                raise InputError(
                    f"{where} is of no dump, and others are: such files are judged as one; give --jobs 1"
                )
            if record.partition % n == turn:
                yield record, partitions

    return records


def overflow(peaks: Sequence[Sequence[Peaks]], limits: Sequence[Limits]) -> bool:
    """Whether parts of a plain file may together have held more than a limit allows: then they must be judged as one.

    Parameters
    ----------
    peaks : of each part, by combination
    limits : by combination
    """
    for side, most in enumerate(limits):
        held = [sum(each) for each in zip(*(part[side] for part in peaks), strict=True)]
        bounds = Peaks(most.open_sessions, most.tombstones, most.open_mib << 20)
        if len(peaks) > 1 and any(has >= bound for has, bound in zip(held, bounds, strict=True)):
            return True
    return False


class _Shared(NamedTuple):
    """What trees of a plain file share.

    Attributes
    ----------
    roots : of a tree that shares something with another the one that stands for all of them
    catalogues : that may be held at once, at most
    """

    roots: dict[bytes, bytes]
    catalogues: int


def _shared(records: Placed) -> _Shared:
    above: dict[bytes, bytes] = {}
    first: dict[str, bytes] = {}
    offered: set[str] = set()
    changed = 0

    def top(root: bytes) -> bytes:
        while (over := above.get(root, root)) != root:
            above[root] = above.get(over, over)  # halves the way for whoever comes next
            root = over
        return root

    for record, _ in records:
        value, root = record.value or b"", record.key or b""
        # A name may be spelled with escapes.
        if not any(sign in value for sign in (*_SHARING, b"\\u00")):
            continue
        document = object_in(value)
        if document is None:
            continue
        if document.get("tools"):
            with suppress(TypeError):  # nested deeper than any record may be
                offered.add(short_hash(dumps(document["tools"]), size=8))
        # Its own, and that of a declaration that comes after it.
        changed += 2 * (document.get("type") == "catalogue.changed")
        for thing in _held(document):
            one, other = top(first.setdefault(thing, root)), top(root)
            if one != other:
                above[max(one, other)] = min(one, other)
    return _Shared({root: top(root) for root in list(above)}, len(offered) + changed)


_SHARING = (b'"credential', b'"attestation"', b'"tools"', b'"catalogue.changed"')


def _held(document: dict[str, Any]) -> Iterator[str]:
    """What an event names that sessions of other trees may name, too; more rather than less of it."""
    listed = document.get("credentials")
    for each in [document.get("credential"), *(listed if isinstance(listed, list) else [])]:
        names = [each.get(name) for name in ("broker", "kind", "value")] if isinstance(each, dict) else [None]
        # Anything but texts the contract refuses.
        if told := [name for name in names if isinstance(name, str)]:
            yield short_hash(*told, size=8)
    token = document.get("attestation")
    if isinstance(token, str):
        signed = token.rpartition(".")[0]  # one token, whatever its signature is spelled like
        yield short_hash("attestation", signed, size=8)
