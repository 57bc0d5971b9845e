"""Sums of money among a call's arguments, where the tool's schema says that a number is one."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from models.lexicons.loader import lexicon
from models.tools.names import name_words
from models.tools.parameters import properties_of

MAX_DEPTH, MAX_ITEMS = 6, 256
"""How deep a schema is followed, and how many members of an object or a list."""
_PARAMETERS = lexicon("parameters")
_SUMS = _PARAMETERS.words("sums_of_money")
_BESIDE = _PARAMETERS.words("beside_sums_of_money")
_CURRENCIES = _PARAMETERS.words("currencies")
_MINOR = _PARAMETERS.words("minor_units")
_COUNTS = re.compile(r"\W*(?:the )?(?:number|quantity|count)\b", re.IGNORECASE)
_WORD = re.compile(r"[a-z]+")
_NUMBER = re.compile(r"-?\d{1,30}(?:\.\d{1,30})?", re.ASCII)


def largest(arguments: Any, schema: Mapping[str, Any] | None) -> float | None:
    """The largest sum of money that a call moves, in whole units of whatever currency it is; None where the schema names none.

    >>> schema = {"properties": {"to": {"type": "string"}, "amount": {"type": "number"}}}
    >>> largest({"to": "CH93", "amount": -9750}, schema), largest({"to": "CH93"}, schema)
    (9750.0, None)
    """
    return max(_sums(arguments, {"properties": properties_of(schema)}, MAX_DEPTH), default=None)


def names_a_sum(name: str) -> bool:
    """Whether a parameter's name has a word for a sum of money, whatever stands beside it.

    >>> names_a_sum("max_price"), names_a_sum("account")
    (True, False)
    """
    return not _SUMS.isdisjoint(name_words(name[:64]))


def unit_of(name: str, spec: Mapping[str, Any]) -> float | None:
    """What one of a parameter's numbers is worth, in whole units; None where its schema does not say that it is a sum of money.

    It says so by the parameter's own name, all words of which speak of sums, or by a currency in the description.

    >>> unit_of("amount", {"type": "number"}), unit_of("amount", {"type": "integer", "description": "in cents"})
    (1.0, 0.01)
    >>> [unit_of(n, {"type": "number"}) for n in ("total_amount", "fuelAmount", "max_price")]
    [1.0, None, None]
    >>> unit_of("amount", {"type": "integer", "description": "Number of shares to trade."})
    """
    described = spec.get("description")
    text = described[:400] if isinstance(described, str) else ""
    if not _is_number(spec) or _COUNTS.match(text):
        return None
    said = set(_WORD.findall(text.lower()))
    words = name_words(name[:64])
    by_name = not _SUMS.isdisjoint(words) and _SUMS.union(_BESIDE, _CURRENCIES, _MINOR).issuperset(words)
    if not by_name and _CURRENCIES.isdisjoint(said):
        return None
    return 1.0 if _MINOR.isdisjoint(said.union(words)) else 0.01


def _is_number(spec: Mapping[str, Any]) -> bool:
    """Whether a schema takes numbers, be it beside null."""
    either = spec.get("anyOf")
    kinds = (
        [each.get("type") for each in either if isinstance(each, dict)]
        if isinstance(either, list)
        else spec.get("type")
    )
    return any(kind in ("number", "integer") for kind in (kinds if isinstance(kinds, list) else [kinds]))


def _sums(value: Any, schema: Any, depth: int) -> Iterator[float]:
    if depth == 0 or not isinstance(schema, dict):
        return
    if isinstance(value, list):
        for each in value[:MAX_ITEMS]:
            yield from _sums(each, schema.get("items"), depth - 1)
    elif isinstance(value, dict):
        specs = properties_of(schema)
        for name, given in list(value.items())[:MAX_ITEMS]:
            spec = specs.get(name)
            if not isinstance(spec, dict):
                continue
            unit = unit_of(name, spec)
            if unit is None:
                yield from _sums(given, spec, depth - 1)
            elif (number := _number(given)) is not None:
                yield abs(number) * unit


def _number(value: Any) -> float | None:
    """A number, be it spelled as text, as models do."""
    if isinstance(value, str):
        value = value.strip() if len(value) <= 64 else ""
        if not _NUMBER.fullmatch(value):
            return None
    elif isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond all that floats hold: more than any threshold
        return math.inf
    return None if math.isnan(number) else number
