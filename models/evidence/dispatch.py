"""What a call does that goes through a general tool: a request to a path, an operation by its name, code.

Many agents have one tool for all of their acts. It runs code in which functions are called, sends a request, or takes
the name of an operation with what it is given. Here the calls inside are found, so that they are seen like any other:
by what they are called and by their arguments one by one. Nothing is run, and what cannot be read stays as it is.

An agent may be under somebody's control, so nothing that it makes up renames an act: only a tool whose own name says
nothing of what it does is general, only parameters that its schema declares tell what it is used for, and only plain
code is read. The tool's own class still decides what a policy allows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from models.evidence.nested_json import with_documents
from models.evidence.plain_code import COMPOUND, MAX_NAME, read_code, with_more
from models.tools.parameters import (
    CODE_PARAMETERS,
    MODE_PARAMETERS,
    OPERAND_PARAMETERS,
    OPERATION_PARAMETERS,
    REQUEST_PARAMETERS,
)

_VERBS = {
    "get": "get",
    "head": "get",
    "options": "get",
    "put": "update",
    "patch": "update",
    "delete": "delete",
    "post": "",
}
"""By the method of a request the verb of what it does; where one posts, the path tells."""
_IDENTIFIER = re.compile(r"[A-Za-z_][\w-]{0,63}", re.ASCII)
_STEP = re.compile(r"[\w-]+", re.ASCII)
_WORD = re.compile(r"[A-Za-z][A-Za-z_-]*")
_VERSION = re.compile(r"v\d{1,2}|api|rest")


class Dispatched(NamedTuple):
    """What is called, none where only the tool itself is, and what all of it is given."""

    names: tuple[str, ...]
    arguments: Any


def dispatched(
    tool: str, arguments: Any, parameters: Mapping[str, Any] | None, acts: Callable[[str], bool]
) -> Dispatched:
    """What a call of `tool` does.

    Parameters
    ----------
    arguments : JSON value
        What it is given.
    parameters : mapping or None
        Properties of a general tool's schema by name; None for a tool whose name says what it does.
    acts : callable
        Whether something of this name does more than look: code in which two such are called stays a text.

    >>> write = lambda name: True
    >>> dispatched("http", {"method": "POST", "path": "/v1/send-money", "body": '{"to": 93}'}, {"method": {}, "path": {}}, write)
    Dispatched(names=('send_money',), arguments={'body': {'to': 93}})
    >>> dispatched("run", {"code": "send_money('CH93', amount=5)"}, {"code": {}}, write)
    Dispatched(names=('send_money',), arguments={'target': 'CH93', 'amount': 5})
    """
    if not isinstance(arguments, dict) or not arguments:
        return Dispatched((), arguments)
    opened = with_documents(arguments)
    if parameters:
        declared = {name.lower(): name for name in opened if name in parameters}
        inside = (
            _request(opened, declared)
            or _operation(tool, opened, declared)
            or _code(opened, declared, acts)
            or _mode(tool, opened, declared, parameters)
        )
        if inside is not None:
            return inside
    return Dispatched((), opened)


def _first(declared: Mapping[str, str], words: Iterable[str]) -> str | None:
    """The parameter that has the first of these words as its name, of those that a call gives and a schema declares."""
    return next((declared[word] for word in words if word in declared), None)


def _request(given: Mapping[str, Any], declared: Mapping[str, str]) -> Dispatched | None:
    """A request: its method and the words of its path name it. Whoever serves another host names its paths as he likes."""
    where = _first(declared, REQUEST_PARAMETERS)
    if where is None or "method" not in declared:
        return None
    method, path = given[declared["method"]], given[where]
    verb = _VERBS.get(method.lower()) if isinstance(method, str) else None
    if verb is None or not isinstance(path, str):
        return None
    rest = {name: value for name, value in given.items() if name not in (declared["method"], where)}
    place, _, query = path.partition("?")
    steps = [step for step in place.split("/") if step]
    if not place.startswith("/") or place.startswith("//") or not all(map(_STEP.fullmatch, steps)):
        return Dispatched((f"{verb or 'post'}_request",), with_more(rest, [(where, path)]))
    names = [step for step in steps if not _VERSION.fullmatch(step)]
    words = [step.replace("-", "_") for step in names if _WORD.fullmatch(step)]
    values = [step for step in names if not _WORD.fullmatch(step)]
    # The last step says what is done to those before it.
    name = "_".join(filter(None, [verb, *reversed(words)]))
    if not name or len(name) > 2 * MAX_NAME:
        return None
    more = [(where, "/".join(values))] if values else []
    return Dispatched((name,), with_more(rest, [*more, *([("asked", query)] if query else [])]))


def _operation(tool: str, given: Mapping[str, Any], declared: Mapping[str, str]) -> Dispatched | None:
    """An operation by its name, beside an object of what it is given."""
    operation = _first(declared, OPERATION_PARAMETERS)
    name = given[operation] if operation is not None else None
    if not isinstance(name, str) or not _IDENTIFIER.fullmatch(name):
        return None
    operands = next(
        (
            declared[word]
            for word in OPERAND_PARAMETERS
            if word in declared and isinstance(given[declared[word]], dict)
        ),
        None,
    )
    if operands is None:
        return None
    rest = {label: value for label, value in given.items() if label not in (operation, operands)}
    arguments = [(str(label), value) for label, value in given[operands].items()]
    return Dispatched((name if COMPOUND.search(name) else f"{name}_{tool}",), with_more(rest, arguments))


def _mode(
    tool: str, given: Mapping[str, Any], declared: Mapping[str, str], parameters: Mapping[str, Any]
) -> Dispatched | None:
    """One of the things that the schema says a tool can do."""
    for name in (declared[word] for word in MODE_PARAMETERS if word in declared):
        spec, mode = parameters[name], given[name]
        modes = spec.get("enum") if isinstance(spec, dict) else None
        if (
            isinstance(modes, list)
            and isinstance(mode, str)
            and mode in modes
            and _IDENTIFIER.fullmatch(mode)
        ):
            return Dispatched((f"{mode}_{tool}",), given)
    return None


def _code(
    given: Mapping[str, Any], declared: Mapping[str, str], acts: Callable[[str], bool]
) -> Dispatched | None:
    """Plain code in Python: the calls in it, and whatever else it spells out."""
    name = _first(declared, CODE_PARAMETERS)
    text = given[name] if name is not None else None
    code = read_code(text) if isinstance(text, str) else None
    if code is None or not code.calls:
        return None
    names = tuple(called for called, _ in code.calls)
    if len({called for called in names if acts(called)}) > 1:
        return None
    others = {label: value for label, value in given.items() if label != name}
    taken = [arguments for _, arguments in code.calls]
    given_here = list(taken[0].items()) if len(taken) == 1 else [(f"_{n}", a) for n, a in enumerate(taken)]
    rest = [("_rest", code.rest)] if code.rest else []
    return Dispatched(names, with_more(others, [*given_here, *rest]))
