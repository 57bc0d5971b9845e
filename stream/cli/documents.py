"""What commands read that check or learn from outputs: documents and tokens, bare or as outputs of `replay` and dumps."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.errors import InputError
from stream.offline.lines import open_text

_TOKEN_TOPICS = ("agent.revocations.v1", "agent.risk.v1")


def documents(file: Path, topic: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """JSON documents of a file with their lines: one a line or one in all, bare or as outputs of `topic`."""
    with open_text(file) as lines:
        text = lines.read()
    try:
        rows = [(1, json.loads(text))]
    except ValueError:
        try:
            rows = [(n, json.loads(line)) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
        except ValueError as error:
            raise InputError(f"{file} is neither JSON nor JSON lines") from error
    for number, row in rows:
        if not isinstance(row, dict):
            raise InputError(f"{file}, line {number}: expected a JSON object")
        if "topic" not in row:
            yield number, row
        elif str(row["topic"]).endswith(topic):
            yield number, row["value"] if "value" in row else json.loads(base64.b64decode(row["value_b64"]))


def tokens(file: Path) -> Iterator[tuple[int, str]]:
    """Compact tokens of a file with their lines: alone on one, or as the value of a revocation or risk output."""
    with open_text(file) as lines:
        for number, line in enumerate(lines, 1):
            text = line.strip()
            if not text:
                continue
            if not text.startswith("{"):
                yield number, text
                continue
            try:
                row = json.loads(text)
            except ValueError as error:
                raise InputError(f"{file}, line {number}: neither a token nor JSON") from error
            if str(row.get("topic", "")).endswith(_TOKEN_TOPICS) and row.get("value_b64"):
                yield number, base64.b64decode(row["value_b64"]).decode("ascii", "replace")
