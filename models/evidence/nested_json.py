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
"""Characters of a number that floats keep as it is written."""

_BEGINS = frozenset('{["')
_IDENTIFIER = re.compile(r"[A-Za-z_][\w-]{0,63}", re.ASCII)
_BRACKETS = re.compile(r"[\[\]{}]")
_ANY = re.compile(r".*", re.DOTALL)


def named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; `ValueError` where a name is given twice: one of its values would be lost."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a name is given twice")
    return made


def nested_beyond(text: str, most: int) -> bool:
    """Whether more than `most` brackets of a text stand in one another, those in its strings counted too.

    >>> nested_beyond("[[1], [2]]", 2), nested_beyond("[[[1]]]", 2)
    (False, True)
    """
    if text.count("[") + text.count("{") <= most:
        return False
    depth = 0
    for bracket in _BRACKETS.findall(text):
        depth = depth + 1 if bracket in "[{" else max(0, depth - 1)
        if depth > most:
            return True
    return False


def document(text: str, most: int = MAX_VALUES, name: re.Pattern[str] = _ANY) -> Any:
    """What a text spells as JSON: an object, a list or, of a text in quotation marks, what they hold; None for any other.

    Nothing that it says is lost: a name given twice has a list of its values, a number that floats would not keep as it is written
    stays a text. So does a document that is too deep, too wide, has more than `most` values, or a name that does not match `name`.

    >>> document('{"a": 1}'), document('"[1]"'), document('"a"'), document("[draft]"), document('{"a": 1, "b": 2e3, "a": 2}')
    ({'a': 1}, [1], 'a', None, {'a': [1, 2], 'b': '2e3'})
    """

    def every_value(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values: dict[str, list[Any]] = {}
        for key, value in pairs:
            if not name.fullmatch(key):
                raise ValueError("a name says more than a name")
            values.setdefault(key, []).append(value)
        return {key: found[0] if len(found) == 1 else found for key, found in values.items()}

    spelled: Any = text
    for _ in range(MAX_NESTED):
        if not isinstance(spelled, str) or spelled.lstrip()[:1] not in _BEGINS:
            break
        try:
            if _size(orjson.loads(spelled), 0, most) > most:
                break
            inner = json.loads(
                spelled, object_pairs_hook=every_value, parse_int=_whole, parse_float=_fraction
            )
        except (
            ValueError,
            RecursionError,
        ):  # too deep in a value that the first parser dropped: too deep for the second too
            break
        if _size(inner, 0, most) > most:  # of a name given twice the other parser keeps one value
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


def _whole(number: str) -> int | str:
    return int(number) if len(number) <= MAX_DIGITS else number


def _fraction(number: str) -> float | str:
    return float(number) if len(number) <= MAX_DIGITS and "e" not in number.lower() else number


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
