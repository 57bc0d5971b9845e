"""What a call does that goes through a general tool: a request to a path, an operation by its name, code.

Many agents have one tool for all of their acts. It runs code in which functions are called, sends a request, or takes
the name of an operation with what it is given. Here the calls inside are found, so that they are seen like any other:
by what they are called and by their arguments one by one. Nothing is run, and what cannot be read stays as it is.

An agent may be under somebody's control, so nothing that it makes up renames an act: only a tool whose own name says
nothing of what it does is general, only parameters that its schema declares tell what it is used for, and only plain
code is read. The tool's own class still decides what a policy allows.
"""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from models.lexicons.loader import lexicon
from models.tools.parameters import (
    CODE_PARAMETERS,
    MODE_PARAMETERS,
    NAME_LABELS,
    OPERAND_PARAMETERS,
    OPERATION_PARAMETERS,
    REQUEST_PARAMETERS,
)

MAX_CODE, MAX_MARKS = 8000, 300
"""Characters of code, and operators, brackets and points in it, beyond which it stays a text. The second bounds how deep an
expression can be, so that whether it is read depends neither on the Python that reads it nor on who calls."""
MAX_CALLS = 32
"""Calls inside one piece of code; code with more stays a text."""
MAX_NODES = 20_000
"""Parts of expressions that are looked at for what calls are given."""
MAX_NESTED = 4
"""Documents inside the strings of documents that are opened."""
MAX_DEPTH, MAX_WIDTH, MAX_VALUES = 16, 256, 200
"""Levels, items of one object or list, and values of a string of JSON, beyond which it stays a text."""
MAX_NAME = 64

_BEGINS = frozenset('{["')
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
_COMPOUND = re.compile(r"[_-]|[a-z][A-Z]")
_STEP = re.compile(r"[\w-]+", re.ASCII)
_WORD = re.compile(r"[A-Za-z][A-Za-z_-]*")
_VERSION = re.compile(r"v\d{1,2}|api|rest")
_MARKS = re.compile(r"[(\[{+*/%&|^~@.<>=!-]|\b(?:if|else|elif|not|lambda|await)\b")
_QUOTED_IN_FORMAT = re.compile(r"""\b[fF][rR]?(["'])(?:(?!\1)[^\n])*\{[^}\n]*\1""")
"""A quotation mark inside an f-string between the same, which only newer Pythons read."""
_PYTHON = lexicon("python")
_BUILTINS = _PYTHON.words("functions")
_METHODS = _PYTHON.words("methods")
"""Functions and methods that code is full of and that say nothing of what it is for."""
_PLAIN = (
    ast.Module, ast.Expr, ast.Assign, ast.If, ast.For, ast.Pass, ast.Import, ast.ImportFrom, ast.alias, ast.Call, ast.keyword,
    ast.Name, ast.Attribute, ast.Subscript, ast.Slice, ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.JoinedStr,
    ast.FormattedValue, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.expr_context, ast.operator, ast.unaryop,
    ast.boolop, ast.cmpop,
)  # fmt: skip
"""What plain code consists of: statements one after the other, with conditions and loops, that define nothing."""


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
    opened = _opened(arguments)
    if parameters:
        told = {name.lower(): name for name in opened if name in parameters}
        found = (
            _request(opened, told)
            or _operation(tool, opened, told)
            or _code(opened, told, acts)
            or _mode(tool, opened, told, parameters)
        )
        if found is not None:
            return found
    return Dispatched((), opened)


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

    def once(pairs: list[tuple[str, Any]]) -> None:
        if not all(map(name.fullmatch, named_once(pairs))):
            raise ValueError("a name says more than a name")

    found: Any = text
    for _ in range(MAX_NESTED):
        if not isinstance(found, str) or found.lstrip()[:1] not in _BEGINS:
            break
        try:
            inner = orjson.loads(found)
            if isinstance(inner, dict | list):
                if _size(inner, 0, most) > most:
                    break
                json.loads(found, object_pairs_hook=once, parse_int=_short, parse_float=_short)
        except ValueError:
            break
        found = inner
    return None if found is text else found


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
    if len(number) > 15 or "e" in number.lower():
        raise ValueError("a number that is kept otherwise than it is written")


def _opened(node: Any, depth: int = 0, nested: int = 0) -> Any:
    """`node` with documents for the strings that spell them, and an object for a list of names with values."""
    if depth > MAX_DEPTH:
        return node
    if isinstance(node, str):
        inner = document(node) if nested < MAX_NESTED else None
        return node if inner is None else _opened(inner, depth + 1, nested + 1)
    if isinstance(node, dict):
        named = {name: _opened(child, depth + 1, nested) for name, child in node.items()}
        return named if any(named[name] is not child for name, child in node.items()) else node
    if isinstance(node, list):
        if (paired := _paired(node)) is not None:
            return _opened(paired, depth, nested)
        items = [_opened(child, depth + 1, nested) for child in node]
        return items if any(new is not child for new, child in zip(items, node, strict=True)) else node
    return node


def _paired(items: list[Any]) -> dict[str, Any] | None:
    found: dict[str, Any] = {}
    for item in items:
        if not isinstance(item, dict) or len(item) != 2 or item.get("value") is None:
            return None
        name = next((item[n] for n in NAME_LABELS if n in item), None)
        if not isinstance(name, str) or not _IDENTIFIER.fullmatch(name) or name in found:
            return None
        found[name] = item["value"]
    return found or None


def _with(found: dict[str, Any], more: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """`found` and more of it, under names that are free."""
    for name, value in more:
        label = name[:MAX_NAME]
        while label in found:
            label = f"{label}_{len(found)}"
        found[label] = value
    return found


def _request(given: Mapping[str, Any], told: Mapping[str, str]) -> Dispatched | None:
    """A request: its method and the words of its path name it. Whoever serves another host names its paths as he likes."""
    where = next((told[one] for one in REQUEST_PARAMETERS if one in told), None)
    if where is None or "method" not in told:
        return None
    method, path = given[told["method"]], given[where]
    verb = _VERBS.get(method.lower()) if isinstance(method, str) else None
    if verb is None or not isinstance(path, str):
        return None
    rest = {name: value for name, value in given.items() if name not in (told["method"], where)}
    place, _, query = path.partition("?")
    steps = [step for step in place.split("/") if step]
    if not place.startswith("/") or place.startswith("//") or not all(map(_STEP.fullmatch, steps)):
        return Dispatched((f"{verb or 'post'}_request",), _with(rest, [(where, path)]))
    names = [step for step in steps if not _VERSION.fullmatch(step)]
    words = [step.replace("-", "_") for step in names if _WORD.fullmatch(step)]
    values = [step for step in names if not _WORD.fullmatch(step)]
    # The last step says what is done to those before it.
    named = "_".join(filter(None, [verb, *reversed(words)]))
    if not named or len(named) > 2 * MAX_NAME:
        return None
    more = [(where, "/".join(values))] if values else []
    return Dispatched((named,), _with(rest, [*more, *([("asked", query)] if query else [])]))


def _operation(tool: str, given: Mapping[str, Any], told: Mapping[str, str]) -> Dispatched | None:
    """An operation by its name, beside an object of what it is given."""
    inside = next(
        (told[one] for one in OPERAND_PARAMETERS if one in told and isinstance(given[told[one]], dict)), None
    )
    named = next((told[one] for one in OPERATION_PARAMETERS if one in told), None)
    name = given[named] if named is not None else None
    if inside is None or not isinstance(name, str) or not _IDENTIFIER.fullmatch(name):
        return None
    rest = {label: value for label, value in given.items() if label not in (named, inside)}
    arguments = [(str(label), value) for label, value in given[inside].items()]
    return Dispatched((name if _COMPOUND.search(name) else f"{name}_{tool}",), _with(rest, arguments))


def _mode(
    tool: str, given: Mapping[str, Any], told: Mapping[str, str], parameters: Mapping[str, Any]
) -> Dispatched | None:
    """One of the things that the schema says a tool can do."""
    for one in MODE_PARAMETERS:
        spec = parameters[told[one]] if one in told else None
        modes = spec.get("enum") if isinstance(spec, dict) else None
        mode = given[told[one]] if one in told else None
        if (
            isinstance(modes, list)
            and isinstance(mode, str)
            and mode in modes
            and _IDENTIFIER.fullmatch(mode)
        ):
            return Dispatched((f"{mode}_{tool}",), given)
    return None


def _code(
    given: Mapping[str, Any], told: Mapping[str, str], acts: Callable[[str], bool]
) -> Dispatched | None:
    """Plain code in Python: the calls in it, and whatever else it spells out."""
    name = next((told[one] for one in CODE_PARAMETERS if one in told), None)
    text = given[name] if name is not None else None
    if not isinstance(text, str) or "(" not in text or len(text) > MAX_CODE:
        return None
    if len(_MARKS.findall(text)) > MAX_MARKS or _QUOTED_IN_FORMAT.search(text) is not None:
        return None
    try:
        with warnings.catch_warnings():  # they would quote what an agent wrote
            warnings.simplefilter("ignore")
            tree = ast.parse(text, feature_version=(3, 11))
        read = _Code(tree)
        comments = _comments(text) if "#" in text else []
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
        return None
    names = tuple(called for called, _ in read.calls)
    if not names or len({called for called in names if acts(called)}) > 1:
        return None
    rest = {label: value for label, value in given.items() if label != name}
    told_by = [given for _, given in read.calls]
    arguments = (
        list(told_by[0].items()) if len(told_by) == 1 else [(f"_{n}", one) for n, one in enumerate(told_by)]
    )
    left = [*read.left(), *comments]
    return Dispatched(names, _with(rest, [*arguments, *([("_rest", left)] if left else [])]))


def _comments(text: str) -> list[str]:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return [_clean(token.string) for token in tokens if token.type == tokenize.COMMENT]


class _Code:
    """Calls of named functions in plain code, in order, with what each is given.

    A name stands for what was assigned to it, once; a call inside a call is told by itself. Raises `ValueError` for code
    that is not plain: it defines or renames something, assigns a name twice, calls what was assigned or has no name,
    passes a function or anything else that it did not assign, or makes more than `MAX_CALLS` calls.
    """

    def __init__(self, tree: ast.Module) -> None:
        nodes = list(ast.walk(tree))
        self._constants = [node for node in nodes if isinstance(node, ast.Constant)]
        self._held: dict[str, ast.expr] = {}
        for node in nodes:
            if not isinstance(node, _PLAIN) or (isinstance(node, ast.alias) and node.asname):
                raise ValueError("no plain code")
            if isinstance(node, ast.Assign):
                self._hold(node.targets, node.value)
            elif isinstance(node, ast.For):
                self._hold([node.target], node.iter)
        every = [node for node in nodes if isinstance(node, ast.Call)]
        self._called = {id(node): name for node in every if (name := self._named(node))}
        if len(self._called) > MAX_CALLS:
            raise ValueError("more calls than are told apart")
        callees = {id(part) for node in every for part in _chain(node.func)}
        loaded = [node for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
        if any(node.id not in self._held and id(node) not in callees for node in loaded):
            raise ValueError("what a name stands for is not said")
        self._taken: set[int] = set()
        self._room = MAX_NODES
        calls = sorted((n for n in every if id(n) in self._called), key=lambda n: (n.lineno, n.col_offset))
        self.calls = [(self._called[id(node)], self._given(node)) for node in calls]

    def _hold(self, targets: list[ast.expr], value: ast.expr) -> None:
        target = targets[0]
        if len(targets) > 1 or not isinstance(target, ast.Name) or target.id in self._held:
            raise ValueError("a name is assigned otherwise than once")
        self._held[target.id] = value

    def _named(self, node: ast.Call) -> str:
        """The name of what is called; none for what says nothing."""
        if isinstance(node.func, ast.Attribute):
            root = _chain(node.func)[-1]
            name = node.func.attr
            if name in _METHODS:
                return "" if not node.keywords else name
            if not _COMPOUND.search(name) and isinstance(root, ast.Name):
                name = f"{root.id}_{name}"
            return name[: 2 * MAX_NAME]
        if not isinstance(node.func, ast.Name) or node.func.id in self._held:
            raise ValueError("what is called has no name of its own")
        name = node.func.id
        return "" if name in _BUILTINS and not node.keywords else name[: 2 * MAX_NAME]

    def _given(self, node: ast.Call) -> dict[str, Any]:
        # What is named nowhere goes to whom, or is done to what, as a first argument does.
        named = [(f"_{at}" if at else "target", value) for at, value in enumerate(node.args)]
        named += [(keyword.arg or "_", keyword.value) for keyword in node.keywords]
        spelled = ((label, self._spelled(value)) for label, value in named)
        return _with({}, ((label, v[0] if len(v) == 1 else v) for label, v in spelled if v))

    def _spelled(self, value: ast.expr) -> list[Any]:
        """Texts and numbers in an expression, but for calls that are told by themselves."""
        found: list[Any] = []
        met: set[str] = set()
        stack: list[ast.AST] = [value]
        while stack:
            node = stack.pop()
            self._room -= 1
            if self._room < 0:
                raise ValueError("one name stands for too much in too many places")
            if id(node) in self._called:
                continue
            if isinstance(node, ast.Constant):
                self._taken.add(id(node))
                found += _scalar(node.value)
            elif isinstance(node, ast.Name) and node.id in self._held and node.id not in met:
                met.add(node.id)
                stack.append(self._held[node.id])
            stack += reversed(list(ast.iter_child_nodes(node)))
        return found

    def left(self) -> list[Any]:
        """Texts and numbers that no call is given."""
        left = (node for node in self._constants if id(node) not in self._taken)
        return [value for node in left for value in _scalar(node.value)]


def _chain(function: ast.expr) -> list[ast.expr]:
    """A callee and what it is an attribute of, outermost first."""
    parts = [function]
    while isinstance(parts[-1], ast.Attribute):
        parts.append(parts[-1].value)
    return parts


def _scalar(value: object) -> Iterator[Any]:
    """A constant as a scalar of JSON, if it is a text or a number. Raises `ValueError` for one too long to be written."""
    if isinstance(value, bytes):
        yield value.decode("utf-8", "replace")
    elif isinstance(value, str):
        yield _clean(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield value if abs(value) < 1 << 53 else str(value)
    elif isinstance(value, float):
        yield value


def _clean(text: str) -> str:
    """`text` without half characters, which no event can hold."""
    return text.encode("utf-8", "replace").decode()
