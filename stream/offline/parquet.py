"""Rows of calls as Parquet: the columns and their types, files that are whole or not there, and the one reader.

Beside it only the store of labels knows pyarrow, which the extra ``data`` brings.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from models.errors import ConfigError, FeaturesMismatch, InputError
from models.evidence.features.registry import FEATURES, FEATURES_VERSION
from stream.events import CORE
from stream.offline.call_rows import Row
from stream.offline.drift import Chunk

GROUP = 8192
"""Rows that are held and written at once, so that memory stays the same however many there are."""
KEY = b"driftline"
"""Under which a file's metadata says what it is."""
PARTIAL = ".partial"
"""Ends the name of what is not whole yet."""

_NAME = pa.dictionary(pa.int32(), pa.string())
"""Texts of which there are few: each is held once."""
_MOMENT = pa.timestamp("ms", tz="UTC")
_LIST = pa.list_(pa.field("item", pa.string(), nullable=False))
TYPES: Mapping[str, pa.DataType] = {
    "tenant": _NAME,
    "root_session_id": pa.string(),
    "session_id": pa.string(),
    "call_id": pa.string(),
    "call_seq": pa.int32(),
    "event_id": pa.string(),
    "decision_id": pa.string(),
    "time": _MOMENT,
    "tool": _NAME,
    "agent": _NAME,
    "topic": _NAME,
    "partition": pa.int32(),
    "offset": pa.int64(),
    "stamp": _MOMENT,
    "whole": pa.bool_(),
    "core": _NAME,
    "release": _NAME,
    "policy": _NAME,
    "score": pa.float64(),
    "alert_at": pa.float64(),
    "forest_score": pa.float64(),
    "reader_log_odds": pa.float64(),
    "verdict": _NAME,
    "standing": _NAME,
    "enforced": pa.bool_(),
    "families": _LIST,
    "signals": _LIST,
    "marks": _LIST,
}
"""The columns before those of the features, which are float64: the fields of `Row`."""
_MAY_LACK = {"agent", "topic", "partition", "offset", "stamp", "reader_log_odds"}


def schema(about: Mapping[str, Any]) -> pa.Schema:
    """The columns of a file of rows, with what it says `about` itself: where its rows are from, and what judged them."""
    told = {"core": CORE, "features_version": FEATURES_VERSION, "features": list(FEATURES), **about}
    columns = [pa.field(name, kind, nullable=name in _MAY_LACK) for name, kind in TYPES.items()]
    columns += [pa.field(name, pa.float64(), nullable=False) for name in FEATURES]
    return pa.schema(columns, metadata={KEY: json.dumps(told, sort_keys=True).encode()})


class RowsFile:
    """A file of rows while it is written, as a context manager; it ends with `PARTIAL` until all is written.

    Parameters
    ----------
    path : Path
        Where it stands once it is whole.
    about : mapping
        See `schema`.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self._path, self._partial = path, path.with_name(path.name + PARTIAL)
        self._schema = schema(about)
        self._held: list[Row] = []

    def __enter__(self) -> Self:
        self._sink = self._partial.open("wb")
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd")
        return self

    def add(self, row: Row) -> None:
        """Write one row more."""
        self._held.append(row)
        if len(self._held) == GROUP:
            self._write()

    def _write(self) -> None:
        held, self._held = self._held, []
        columns = [
            pa.array([getattr(row, name) for row in held], self._schema.field(name).type) for name in TYPES
        ]
        features = np.array([row.features for row in held], np.float64)
        columns += [pa.array(column) for column in features.T]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema), row_group_size=GROUP)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._sink:
                if kind is None and self._held:
                    self._write()
                self._writer.close()
                self._sink.flush()
                os.fsync(self._sink.fileno())
            if kind is None:
                self._partial.rename(self._path)
        finally:
            self._partial.unlink(missing_ok=True)


def check_free(out: Path) -> None:
    """Refuse to write where something stands: rows of a month are not lost to a name typed twice.

    Raises
    ------
    ConfigError
        `out` is there, or its folder is not.
    """
    if out.exists():
        raise ConfigError(f"--out {out} is there already; name another, or remove it")
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"--out {out}: there is no folder {out.absolute().parent}; make it first")


@contextmanager
def folder(out: Path) -> Iterator[Path]:
    """A folder to write files into, which becomes `out` once all are written; one that an earlier run left unfinished goes."""
    partial = out.with_name(out.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial)
        raise
    partial.rename(out)


def read(path: Path) -> pa.Table:
    """The rows of a file, or of all files of a folder.

    Raises
    ------
    InputError
        There are none, or a file is no Parquet file of ours.
    FeaturesMismatch
        Their features are others than this program computes.
    """
    return pa.concat_tables([_read(file) for file in _files(path)])


def _files(path: Path) -> list[Path]:
    """The file, or those of a folder, in order."""
    if not path.exists():
        raise InputError(f"{path} does not exist; mend the path, or write it with `driftline features`")
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path} holds no *.parquet; write some with `driftline features`")
    return files


def _read(file: Path) -> pa.Table:
    _check(file)
    return pq.read_table(file, partitioning=None)


def _check(file: Path) -> None:
    """Refuse what is no file of ours, or has other features."""
    try:
        about = json.loads((pq.read_schema(file).metadata or {})[KEY])
    except (OSError, pa.ArrowInvalid, KeyError, ValueError) as error:
        raise InputError(f"{file} is no file of rows; write it with `driftline features`") from error
    if about["features"] != list(FEATURES) or about["features_version"] != FEATURES_VERSION:
        raise FeaturesMismatch(
            f"{file} has features of version {about['features_version']} by core {about['core']}, this program computes"
            f" version {FEATURES_VERSION}; write it anew from its topic with `driftline features`"
        )


READ = ("tenant", "session_id", "time", "tool", "release", "whole", "score", "alert_at", "verdict", "families", "signals", "marks")  # fmt: skip
"""The columns of a `groups` batch."""
_SINCE = ("alert_at",)
"""Columns that files of older versions lack; they are read as None there."""


def groups(path: Path) -> Iterator[Chunk]:
    """The rows of a file, or of all files of a folder, some thousand at a time; raises as `read` does."""
    for file in _files(path):
        _check(file)
        with pq.ParquetFile(file) as opened:
            known = [name for name in READ if name not in _SINCE or name in opened.schema_arrow.names]
            for batch in opened.iter_batches(GROUP, columns=[*known, *FEATURES]):
                table = pa.Table.from_batches([batch])
                columns = {name: table[name].to_pylist() for name in known}
                lacking = {name: [None] * table.num_rows for name in READ if name not in known}
                yield Chunk(columns | lacking, matrix(table))


def matrix(rows: pa.Table) -> npt.NDArray[np.float64]:
    """The features of rows as a model reads them: one row a call, columns in the registry's order."""
    return np.column_stack([rows[name].to_numpy() for name in FEATURES])
