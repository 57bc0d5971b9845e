"""A label store: JSON lines, or Parquet where pyarrow is installed. The format is `models.contracts.Label`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from models.contracts import Label
from models.errors import ConfigError, InputError, brings
from stream.events import dumps, milliseconds, rfc3339
from stream.offline.lines import documents_in, is_log, is_recorded
from stream.offline.verdicts import words

PARQUET = ".parquet"
COLUMNS = (
    "tenant", "session_id", "label", "call_seq", "call_id", "whence", "who", "key", "when", "confidence", "notes",
    "schema_version",
)  # fmt: skip
"""Of a line, in the order in which people read it."""
NOBODY = "YOUR NAME"
"""Who says it in a line that is to be filled in, as the console offers it."""


def read(paths: Iterable[Path]) -> list[Label]:
    """The labels of some files, in order; of lines of ``driftline feedback --labels`` each person's word.

    Raises
    ------
    InputError
        A file cannot be read, or a line of it is no label.
    ConfigError
        A file is Parquet, and pyarrow is not installed.
    """
    return [label_of(row, where) for path in paths for where, row in _rows(path)]


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    if path.suffix == PARQUET:
        yield from _parquet_rows(path)
        return
    for number, _, document in documents_in(path):
        where = f"{path}, line {number}"
        if isinstance(document, dict) and "case_id" in document and "said" in document:
            yield from ((where, row) for row in _words(document, where))
        else:
            yield where, document


def _words(row: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """What stands in a row that ``driftline feedback --labels`` wrote: a line for each case, with all that was said of it."""
    try:
        return list(words(row))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{where}: no whole line of `driftline feedback --labels` ({error!r}); docs/feedback.md has what it writes"
        ) from error


def label_of(row: Any, where: str) -> Label:
    """A row as a label; `where` it stands, for the error.

    Raises
    ------
    InputError
        It is none; the message says what is wrong with it.
    """
    if not isinstance(row, dict):
        raise InputError(f"{where}: a label is a JSON object; docs/labels.md has the format")
    if is_recorded(row) or is_log(row) or ("label" not in row and "type" in row):
        raise InputError(
            f"{where}: an event, a recorded session or a record of a log, where labels are asked for; files to judge stand before --labels, and "
            "`driftline labels collect` makes labels of recorded sessions and of dumps with feedback; docs/labels.md has the format"
        )
    if row.get("who") == NOBODY:
        raise InputError(f"{where}: who is still {NOBODY!r}: put in who says so, and look at the label, too")
    try:
        return Label.model_validate(row)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = ".".join(str(step) for step in first["loc"])
        given = f" is {str(first['input'])[:64]!r}" if name == "label" else ""
        why = first["msg"].removeprefix("Value error, ")
        parts = [where, f"{name}{given}", why] if name else [where, why]
        raise InputError(f"{': '.join(parts)}; docs/labels.md has the format") from error


def row_of(label: Label) -> dict[str, Any]:
    """A label as plain values, its time in UTC."""
    row: dict[str, Any] = {name: getattr(label, name) for name in COLUMNS}
    row["when"] = rfc3339(milliseconds(label.when)) if label.when is not None else None
    return row


def in_order(labels: Iterable[Label]) -> list[Label]:
    """Labels in an order of their own, each once: the same labels give the same file."""
    lines = {dumps(row_of(label)): label for label in labels}
    return [lines[line] for line in sorted(lines, key=lambda line: (_place(lines[line]), line))]


def _place(label: Label) -> tuple[str, str, int]:
    return label.tenant, label.session_id, milliseconds(label.when) if label.when is not None else 0


def lines_of(labels: Iterable[Label]) -> bytes:
    """Labels as the JSON lines of a label file, in the order given."""
    return b"".join(dumps(row_of(label)) + b"\n" for label in labels)


def write(labels: Sequence[Label], path: Path) -> None:
    """Write labels, in order, readable by nobody else; Parquet where the name ends so, JSON lines otherwise.

    Raises
    ------
    ConfigError
        `path` is Parquet, and pyarrow is not installed.
    """
    content = _parquet([row_of(label) for label in labels]) if path.suffix == PARQUET else lines_of(labels)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(content)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError(
            f"labels in Parquet need pyarrow: {brings('data')}; or name a file that ends in .jsonl"
        ) from error
    return pyarrow, pyarrow.parquet


def _parquet(rows: Sequence[dict[str, Any]]) -> bytes:
    arrow, parquet = _pyarrow()
    whole, real = {"call_seq", "schema_version"}, {"confidence"}
    types = [
        arrow.int64() if name in whole else arrow.float64() if name in real else arrow.string()
        for name in COLUMNS
    ]
    table = arrow.Table.from_pylist(list(rows), schema=arrow.schema(list(zip(COLUMNS, types, strict=True))))
    sink = arrow.BufferOutputStream()
    parquet.write_table(table, sink)
    return bytes(sink.getvalue())


def _parquet_rows(path: Path) -> Iterator[tuple[str, Any]]:
    arrow, parquet = _pyarrow()
    try:
        rows = parquet.read_table(path).to_pylist()
    except FileNotFoundError as error:
        raise InputError(f"cannot read {path}: no such file") from error
    except arrow.ArrowException as error:
        raise InputError(f"{path} is no Parquet file that can be read: {error}") from error
    for number, row in enumerate(rows, 1):
        yield f"{path}, row {number}", row
