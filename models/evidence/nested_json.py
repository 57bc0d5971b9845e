"""JSON that texts spell: documents inside the strings of documents."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from models.tools.parameters import NAME_LABELS

MAX_NESTED = 4
"""Documents inside the strings of documents that are opened."""
MAX_DEPTH, MAX_WIDTH, MAX_VALUES = 16, 256, 200
"""Levels, items of one object or list, and values of a string of JSON, beyond which it stays a text."""
MAX_DIGITS = 15
"""Characters of a number that is kept as it is written."""

_BEGINS = frozenset('{["')
_IDENTIFIER = re.compile(r"[A-Za-z_][\w-]{0,63}", re.ASCII)


def named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; `ValueError` where a name is given twice: one of its values would be lost."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a name is given twice")
    return made


def document(text: str, most: int = MAX_VALUES, name: re.Pattern[str] = _IDENTIFIER) -> Any:
    """What a text spells as JSON: an object, a list or, of a text in quotation marks, what they hold; None for any other.

    One in which something would be lost stays a text: a name given twice, or one that says more than a name, a number that is
    kept otherwise than it is written, too deep, too wide, more than `most` values.

    >>> document('{"a": 1}'), document('"[1]"'), document('"a"'), document("[draft]"), document('{"a": 1, "a": 2}')
    ({'a': 1}, [1], 'a', None, None)
    """

    def plainly_named(pairs: list[tuple[str, Any]]) -> None:
        if not all(map(name.fullmatch, named_once(pairs))):
            raise ValueError("a name says more than a name")

    spelled: Any = text
    for _ in range(MAX_NESTED):
        if not isinstance(spelled, str) or spelled.lstrip()[:1] not in _BEGINS:
            break
        try:
            inner = orjson.loads(spelled)
            if isinstance(inner, dict | list):
                if _size(inner, 0, most) > most:
                    break
                json.loads(spelled, object_pairs_hook=plainly_named, parse_int=_short, parse_float=_short)
        except ValueError:
            break
        spelled = inner
    return None if spelled is text else spelled


def _size(node: Any, depth: int, most: int) -> int:
    """Values in a document; more than any number of them where it is too deep or too wide."""
    if not isinstance(node, dict | list):
        return 1
    if depth >= MAX_DEPTH or len(node) > MAX_WIDTH:
        return most + 1
    return 1 + sum(
        _size(child, depth + 1, most) for child in (node.values() if isinstance(node, dict) else node)
    )


def _short(number: str) -> None:
    if len(number) > MAX_DIGITS or "e" in number.lower():
        raise ValueError("a number that is kept otherwise than it is written")


def with_documents(node: Any, depth: int = 0, nested: int = 0) -> Any:
    """`node` with documents for the strings that spell them, and an object for a list of names with values.

    >>> with_documents({"body": '{"to": 93}', "more": [{"name": "amount", "value": 5}]})
    {'body': {'to': 93}, 'more': {'amount': 5}}
    """
    if depth > MAX_DEPTH:
        return node
    if isinstance(node, str):
        inner = document(node) if nested < MAX_NESTED else None
        return node if inner is None else with_documents(inner, depth + 1, nested + 1)
    if isinstance(node, dict):
        named = {name: with_documents(child, depth + 1, nested) for name, child in node.items()}
        return named if any(named[name] is not child for name, child in node.items()) else node
    if isinstance(node, list):
        if (paired := _paired(node)) is not None:
            return with_documents(paired, depth, nested)
        items = [with_documents(child, depth + 1, nested) for child in node]
        return items if any(new is not child for new, child in zip(items, node, strict=True)) else node
    return node


def _paired(items: list[Any]) -> dict[str, Any] | None:
    """The object that a list of names with values stands for; None for any other list."""
    values: dict[str, Any] = {}
    for item in items:
        if not isinstance(item, dict) or len(item) != 2 or item.get("value") is None:
            return None
        name = next((item[n] for n in NAME_LABELS if n in item), None)
        if not isinstance(name, str) or not _IDENTIFIER.fullmatch(name) or name in values:
            return None
        values[name] = item["value"]
    return values or None
