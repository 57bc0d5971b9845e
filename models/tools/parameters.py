"""What a tool's parameters are named, and so what an argument does: name a target, hold a command, say where it runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from models.lexicons.loader import lexicon
from models.tools.names import name_words

_PARAMETERS = lexicon("parameters")
SINK_PARAMETERS = _PARAMETERS.words("sinks")
QUERY_PARAMETERS = _PARAMETERS.words("queries")
COMMAND_PARAMETERS = QUERY_PARAMETERS | _PARAMETERS.words("commands")
SAID_BESIDE = _PARAMETERS.words("beside_commands")
PLACES = _PARAMETERS.words("places")
REQUEST_PARAMETERS = _PARAMETERS.ordered("request_paths")
OPERATION_PARAMETERS = _PARAMETERS.ordered("operations")
OPERAND_PARAMETERS = _PARAMETERS.ordered("operands")
CODE_PARAMETERS = _PARAMETERS.ordered("code")
MODE_PARAMETERS = _PARAMETERS.ordered("modes")
NAME_LABELS = _PARAMETERS.ordered("labels")
_PLACE = re.compile(r"[\w./~][\w./~:@-]*", re.ASCII)
"""A name alone: a tool may well paste it before the command (``ssh HOST ...``), where an option or a second command would act."""


def properties_of(schema: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The parameters that a schema describes, by name, in its order."""
    properties = (schema or {}).get("properties")
    return properties if isinstance(properties, dict) else {}


def parameter_text(schema: Mapping[str, Any] | None) -> tuple[str, str]:
    """Names, enumerations and defaults of a parameter schema's first level, and its descriptions."""
    fields: list[str] = []
    prose: list[str] = []
    for name, spec in list(properties_of(schema).items())[:64]:
        fields.append(str(name))
        if isinstance(spec, dict):
            listed, default, described = (spec.get(name) for name in ("enum", "default", "description"))
            fields += [str(v)[:200] for v in listed] if isinstance(listed, list) else []
            fields += [default[:400]] if isinstance(default, str) else []
            prose += [described[:400]] if isinstance(described, str) else []
    return " ".join(fields), " ".join(prose)


@lru_cache(maxsize=1 << 12)
def is_sink(path: str) -> bool:
    """Whether an argument at `path` names where an effect goes: a recipient, URL, account, path, command."""
    return any(w in SINK_PARAMETERS for w in name_words(path)[-6:])


def is_query(path: str) -> bool:
    """Whether an argument at `path` is named as SQL is."""
    return path.rpartition(".")[2].lower() in QUERY_PARAMETERS


def is_command(path: str) -> bool:
    """Whether the argument at `path` is named as what a tool runs."""
    return path.lower() in COMMAND_PARAMETERS


def beside_command(path: str, text: str) -> bool:
    """Whether an argument only stands beside what a tool runs: why, how long, and where, as a plain name."""
    name = path.lower()
    return name in SAID_BESIDE or (name in PLACES and _PLACE.fullmatch(text) is not None)


def takes_acts(parameters: Iterable[str]) -> bool:
    """Whether parameters ask what is to be done and with what: an operation beside what it is given, or a method beside a place.

    >>> takes_acts(["tool_name", "arguments"]), takes_acts(["method", "url"]), takes_acts(["action", "name"])
    (True, True, False)
    """
    names = {name.lower() for name in parameters}
    given = not names.isdisjoint(OPERAND_PARAMETERS) and not names.isdisjoint(OPERATION_PARAMETERS)
    return given or ("method" in names and not names.isdisjoint(REQUEST_PARAMETERS))
