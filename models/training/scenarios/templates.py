"""What the invented catalogues and their tasks are written in: tools and calls, as ``corpora/README.md`` explains them."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any, NamedTuple


class ToolText(NamedTuple):
    """A tool as it is written; each parameter is ``type: description`` or ``type``, optional with a leading ``?``."""

    name: str
    description: str
    parameters: dict[str, str]

    def with_schema(self) -> dict[str, Any]:
        """The tool as a catalogue has it.

        >>> ToolText("ping", "Ping a host.", {"host": "string: Name.", "times": "?integer"}).with_schema()["parameters"]["required"]
        ['host']
        """
        properties = {name: _property(text.lstrip("?")) for name, text in self.parameters.items()}
        required = [name for name, text in self.parameters.items() if not text.startswith("?")]
        schema = {"type": "object", "properties": properties, "required": required}
        return {"name": self.name, "description": self.description, "parameters": schema}


def _property(text: str) -> dict[str, Any]:
    kind, described, about = text.partition(": ")
    schema: dict[str, Any] = {"type": kind}
    if described:
        schema["description"] = about
    if kind == "array":
        schema["items"] = {"type": "string"}
    return schema


class Step(NamedTuple):
    """A call and its result in templates.

    Attributes
    ----------
    reads : its result may carry foreign text (only the report's tasks say so)
    each : the call is made once for each turn of a loop
    """

    tool: str
    args: dict[str, Any]
    result: Any
    reads: bool = False
    each: bool = False


_PLACE = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)-(\d+)(?::0(\d))?")


def drawn(template: str, rng: random.Random, named: Callable[[str], Any]) -> str:
    """`template` with its places filled, from left to right.

    Parameters
    ----------
    template : ``{2-99}`` is a whole number of that range, ``{8-18:02}`` one of two digits, ``{a|b|}`` one of these texts,
        and ``{word}`` whatever `named` makes of that name

    >>> drawn("{Hotel|Hostel} {name}, room {1-1:02}", random.Random(0), str.upper)
    'Hostel NAME, room 01'
    """
    return _PLACE.sub(lambda place: str(_drawn(place[1], rng, named)), template)


def drawn_value(template: Any, rng: random.Random, named: Callable[[str], Any]) -> Any:
    """JSON made of templates, keys too; a text that is one place becomes the value itself, of its own type."""
    if isinstance(template, dict):
        return {drawn(key, rng, named): drawn_value(value, rng, named) for key, value in template.items()}
    if isinstance(template, list):
        return [drawn_value(value, rng, named) for value in template]
    if not isinstance(template, str):
        return template
    whole = _PLACE.fullmatch(template)
    return _drawn(whole[1], rng, named) if whole else drawn(template, rng, named)


def _drawn(place: str, rng: random.Random, named: Callable[[str], Any]) -> Any:
    if "|" in place:
        return rng.choice(place.split("|"))
    limits = _RANGE.fullmatch(place)
    if limits is None:
        return named(place)
    number = rng.randint(int(limits[1]), int(limits[2]))
    return f"{number:0{limits[3]}d}" if limits[3] else number
