"""What an event may say, checked before it is sent: consumers ignore a name that the contract lacks, so a misspelt one would never be read."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

Action = Literal["read", "write", "execute"]
_CREDENTIAL = ("broker", "kind", "value", "scope", "issued", "expires", "issued_for_task", "issued_to")
FIELDS: Mapping[str, tuple[str, ...]] = {
    "session.declared": ("agent", "intent", "tools", "credentials", "parent_session_id", "attestation"),
    "intent.amended": ("intent", "attestation"),
    "catalogue.changed": ("tools", "left", "attestation"),
    "tool.called": ("call_id", "tool", "arguments", "arguments_seen", "credential"),
    "call.held": ("call_id", "how", "answer", "by"),
    "tool.returned": ("call_id", "status", "result"),
    "session.ended": ("reason",),
    "intent": ("text", "known_by", "plan", "resources", "actions", "data_classes", "budget"),
    "budget": ("calls", "writes", "seconds"),
    "agent": ("id", "spiffe_id", "user", "user_issuer", "framework", "model"),
    "tools": ("name", "server", "description", "parameters", "annotations"),
    "credentials": _CREDENTIAL,
    "credential": _CREDENTIAL,
}
"""The fields of each event, and of each part of one."""
_LISTS = ("tools", "credentials", "plan", "resources", "actions", "data_classes", "left")
_OBJECTS = ("intent", "budget", "agent", "credential", "arguments")
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "tools": ("name",),
    "credentials": ("broker", "kind", "value"),
    "credential": ("broker", "kind", "value"),
}
_ONE_OF: Mapping[str, tuple[str, ...]] = {
    "known_by": ("user", "host", "agent", "observer"),
    "how": ("asked", "deferred"),
    "answer": ("approved", "rejected"),
}
_OF_MCP = {"inputSchema": "parameters", "input_schema": "parameters"}
MAX_NAME, MAX_SESSION = 256, 230
"""Characters of an identifier; of a session's, since numbers are added to it."""


MAX_RECORD = 1_000_000
"""Bytes of an event: topics take 1 MiB."""
MAX_TOOL, MAX_DESCRIPTION = 262_144, 32_768
"""Bytes of a server's tool, beyond which it is told by its name and the beginning of its description, and characters of that; bytes of tools in
one record."""
MAX_RESULT, MAX_JSON = 32_768, 200_000
"""Characters of an answer that Driftline looks at; of JSON that is sent whole, so that a record stays far below 1 MiB."""


def tool(declared: Mapping[str, Any]) -> dict[str, Any]:
    """A tool as the contract has it, from the contract's names, from MCP's or from those of OpenAI's function calling.

    >>> tool({"name": "pay", "inputSchema": {"type": "object"}, "title": "Pay"})
    {'name': 'pay', 'parameters': {'type': 'object'}}
    >>> tool({"type": "function", "function": {"name": "pay", "parameters": {}}})
    {'name': 'pay', 'parameters': {}}
    """
    if not isinstance(declared, Mapping):
        raise TypeError(
            f"tools: each is an object with {', '.join(FIELDS['tools'])}, not {type(declared).__name__}"
        )
    inner = declared.get("function")
    told = inner if declared.get("type") == "function" and isinstance(inner, Mapping) else declared
    known = {_OF_MCP.get(name, name): value for name, value in told.items() if name not in _BESIDE}
    return {name: value for name, value in known.items() if value is not None}


_BESIDE = frozenset(
    "title outputSchema output_schema icons _meta meta execution strict type cache_control defer_loading".split()
)
"""What MCP, OpenAI and Anthropic say of a tool beside what is judged."""


_LISTED: Mapping[str, type] = {"name": str, "description": str, "inputSchema": dict, "annotations": dict}


def listed(
    declared: Any, server: str | None = None, *, most: int = MAX_TOOL, most_described: int = MAX_DESCRIPTION
) -> tuple[dict[str, Any], bool] | None:
    """A tool as an MCP server lists it, as far as the contract takes it, and whether it was cut; None where it has no name.

    >>> listed({"name": "pay", "inputSchema": {}, "annotations": [], "version": 2}, "bank")
    ({'name': 'pay', 'parameters': {}, 'server': 'bank'}, False)
    """
    if not isinstance(declared, Mapping) or not isinstance(declared.get("name"), str):
        return None
    if not 0 < len(declared["name"]) <= MAX_NAME:
        return None
    found = tool(
        {name: declared[name] for name, shape in _LISTED.items() if isinstance(declared.get(name), shape)}
    )
    if server is not None:
        found["server"] = server
    if len(json.dumps(found)) <= most:
        return found, False
    short: dict[str, Any] = {name: each for name, each in found.items() if name in ("name", "server")}
    return {**short, "description": found.get("description", "")[:most_described]}, True


def in_parts(tools: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Tools in as many lists as fit a record each; at least one."""
    parts: list[list[dict[str, Any]]] = [[]]
    size = 0
    for each in tools:
        size += len(json.dumps(each))
        if parts[-1] and size > MAX_TOOL:
            parts.append([])
            size = len(json.dumps(each))
        parts[-1].append(each)
    return parts


def check(where: str, fields: Mapping[str, Any]) -> None:
    """Refuse what the contract would ignore or refuse.

    Raises
    ------
    TypeError
        A name that `where` lacks, or a value of another shape. The value is not shown: it may be a secret.
    ValueError
        An action that is none, a part that is missing, or a name that is too long.
    """
    for name, value in fields.items():
        if name not in FIELDS[where]:
            close = difflib.get_close_matches(name, FIELDS[where], 1)
            mend = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(FIELDS[where])}"
            raise TypeError(f"{where} has no field {name!r}; {mend}")
        if value is not None or name == "arguments":
            _check_value(name, value)


def _check_value(name: str, value: Any) -> None:
    shaped = f"an object with {', '.join(FIELDS[name])}" if name in FIELDS else "an object"
    if name in _LISTS and not isinstance(value, list | tuple):
        raise TypeError(f"{name}: a list, not {type(value).__name__}")
    if name in _OBJECTS and not isinstance(value, dict):
        raise TypeError(f"{name}: {shaped}, not {type(value).__name__}")
    if name == "attestation" and not isinstance(value, str):
        raise TypeError(f"attestation: the token as text, not {type(value).__name__}")
    if name in ("tool", "name", "id", "server", "broker", "kind", "by", "parent_session_id"):
        identifier(name, value)
    if name in ("parameters", "annotations") and not isinstance(value, dict):
        raise TypeError(f"{name}: an object, not {type(value).__name__}")
    if name in _ONE_OF and value not in _ONE_OF[name]:
        raise ValueError(f"{name} is one of {', '.join(_ONE_OF[name])}, not {value!r:.40}")
    if name == "arguments_seen" and not isinstance(value, bool):
        raise TypeError(f"arguments_seen: True or False, not {type(value).__name__}")
    if name == "left":
        for each in value:
            identifier("left", each)
    if name == "actions" and not set(value) <= set(get_args(Action)):
        raise ValueError(f"actions are read, write and execute, not {value!r}")
    if name in FIELDS:
        for part in value if name in _LISTS else (value,):
            if not isinstance(part, dict):
                raise TypeError(f"{name}: each is {shaped}, not {type(part).__name__}")
            check(name, part)
            if missing := [each for each in _NEEDED.get(name, ()) if not part.get(each)]:
                raise ValueError(
                    f"{name}: {missing[0]} is missing; the declaration would be refused, and all its calls"
                )


def identifier(name: str, value: Any, longest: int = MAX_NAME) -> str:
    """`value`, if it may name something; else `ValueError`."""
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise ValueError(f"{name}: a text of 1 to {longest} characters, not {value!r:.40}")
    return value


def cut(result: Any) -> Any:
    """A tool's answer as far as Driftline looks at it; of JSON that is too long for a record, the beginning as text."""
    if isinstance(result, str):
        return result[:MAX_RESULT]
    text = json.dumps(result, default=str, ensure_ascii=False)
    return result if len(text) <= MAX_JSON else text[:MAX_RESULT]


def digest(arguments: Mapping[str, Any]) -> bytes:
    """SHA-256 of a call's arguments, to tell whether what runs is what was decided on; of what JSON lacks by its text."""
    return hashlib.sha256(json.dumps(dict(arguments), default=str, skipkeys=True).encode()).digest()


def encoded(event: Mapping[str, Any]) -> bytes:
    """JSON that every reader takes; NaN, infinities and numbers past a double go as text, half a character as `?`.

    A record that no reader takes would be a call that nobody answers, and that runs unjudged where silence allows it.
    """
    said = json.loads(
        json.dumps(event, default=str),
        parse_constant=str,
        parse_int=lambda digits: int(digits) if len(digits) < 309 else digits,
    )
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
