"""The calls in a piece of plain Python: straight on, with conditions and loops, defining nothing.

Nothing is run. A name stands for what was assigned to it, once; a call inside a call is told by itself.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from models.lexicons.loader import lexicon

MAX_CODE, MAX_OPERATORS = 8000, 300
"""Characters of code, and operators, brackets and points in it, beyond which it stays a text. The second bounds how deep an
expression can be, so that whether it is read depends neither on the Python that reads it nor on who calls."""
MAX_CALLS = 32
"""Calls inside one piece of code; code with more stays a text."""
MAX_NODES = 20_000
"""Parts of expressions that are looked at for what calls are given."""
MAX_NAME = 64
"""Characters of the name of an argument; of what is called, twice as many."""

COMPOUND = re.compile(r"[_-]|[a-z][A-Z]")
"""What a name has that joins words: it says what is done and to what."""
_OPERATORS = re.compile(r"[(\[{+*/%&|^~@.<>=!-]|\b(?:if|else|elif|not|lambda|await)\b")
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
"""What plain code consists of."""


def read_code(text: str) -> PlainCode | None:
    """What plain code calls; None for any other text, and where more is said than can be told apart.

    >>> code = read_code("to = 'CH93'\\nsend_money(to, amount=5)  # now")
    >>> code.calls, code.rest
    ([('send_money', {'target': 'CH93', 'amount': 5})], ['# now'])
    """
    if "(" not in text or len(text) > MAX_CODE:
        return None
    if len(_OPERATORS.findall(text)) > MAX_OPERATORS or _QUOTED_IN_FORMAT.search(text) is not None:
        return None
    try:
        with warnings.catch_warnings():  # they would quote what an agent wrote
            warnings.simplefilter("ignore")
            tree = ast.parse(text, feature_version=(3, 11))
        return PlainCode(tree, text)
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
        return None


def _comments(code: str) -> list[str]:
    parts = tokenize.generate_tokens(io.StringIO(code).readline)
    return [_clean(part.string) for part in parts if part.type == tokenize.COMMENT]


class PlainCode:
    """Calls of named functions in plain code, in order, with what each is given: ``calls``.

    ``rest`` has the texts and numbers that no call is given, then comments.

    Raises `ValueError` for code that is not plain: it defines or renames something, assigns a name twice, calls what was
    assigned or has no name, passes a function or anything else that it did not assign, makes more than `MAX_CALLS` calls, or
    spells a number too long to be written out.
    """

    def __init__(self, tree: ast.Module, text: str) -> None:
        nodes = list(ast.walk(tree))
        self._constants = [node for node in nodes if isinstance(node, ast.Constant)]
        self._assigned = _assigned_in(nodes)
        every = [node for node in nodes if isinstance(node, ast.Call)]
        self._names = {id(node): name for node in every if (name := self._name_of(node))}
        if len(self._names) > MAX_CALLS:
            raise ValueError("more calls than are told apart")
        callees = {id(part) for node in every for part in _chain(node.func)}
        loaded = [node for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
        if any(node.id not in self._assigned and id(node) not in callees for node in loaded):
            raise ValueError("what a name stands for is not said")
        self._given: set[int] = set()
        self._room = MAX_NODES
        calls = sorted((n for n in every if id(n) in self._names), key=lambda n: (n.lineno, n.col_offset))
        self.calls = [(self._names[id(node)], self._arguments(node)) for node in calls]
        rest = (node for node in self._constants if id(node) not in self._given)
        self.rest = [
            *(value for node in rest for value in _scalar(node.value)),
            *(_comments(text) if "#" in text else []),
        ]

    def _name_of(self, node: ast.Call) -> str:
        """The name of what is called; none for what says nothing."""
        if isinstance(node.func, ast.Attribute):
            root = _chain(node.func)[-1]
            name = node.func.attr
            if name in _METHODS:
                return "" if not node.keywords else name
            if not COMPOUND.search(name) and isinstance(root, ast.Name):
                name = f"{root.id}_{name}"
            return name[: 2 * MAX_NAME]
        if not isinstance(node.func, ast.Name) or node.func.id in self._assigned:
            raise ValueError("what is called has no name of its own")
        name = node.func.id
        return "" if name in _BUILTINS and not node.keywords else name[: 2 * MAX_NAME]

    def _arguments(self, node: ast.Call) -> dict[str, Any]:
        # What is named nowhere goes to whom, or is done to what, as a first argument does.
        named = [(f"_{at}" if at else "target", value) for at, value in enumerate(node.args)]
        named += [(keyword.arg or "_", keyword.value) for keyword in node.keywords]
        spelled = ((label, self._scalars(value)) for label, value in named)
        return with_more({}, ((label, v[0] if len(v) == 1 else v) for label, v in spelled if v))

    def _scalars(self, value: ast.expr) -> list[Any]:
        """Texts and numbers in an expression, but for calls that are told by themselves."""
        scalars: list[Any] = []
        met: set[str] = set()
        stack: list[ast.AST] = [value]
        while stack:
            node = stack.pop()
            self._room -= 1
            if self._room < 0:
                raise ValueError("one name stands for too much in too many places")
            if id(node) in self._names:
                continue
            if isinstance(node, ast.Constant):
                self._given.add(id(node))
                scalars += _scalar(node.value)
            elif isinstance(node, ast.Name) and node.id in self._assigned and node.id not in met:
                met.add(node.id)
                stack.append(self._assigned[node.id])
            stack += reversed(list(ast.iter_child_nodes(node)))
        return scalars


def _assigned_in(nodes: Iterable[ast.AST]) -> dict[str, ast.expr]:
    """What each name stands for. Raises `ValueError` where code is not plain, or assigns otherwise than one name, once."""
    assigned: dict[str, ast.expr] = {}
    for node in nodes:
        if not isinstance(node, _PLAIN) or (isinstance(node, ast.alias) and node.asname):
            raise ValueError("no plain code")
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.For):
            targets, value = [node.target], node.iter
        else:
            continue
        target = targets[0]
        if len(targets) > 1 or not isinstance(target, ast.Name) or target.id in assigned:
            raise ValueError("a name is assigned otherwise than once")
        assigned[target.id] = value
    return assigned


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


def with_more(arguments: dict[str, Any], more: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """`arguments` and more of them, under names that are free."""
    for name, value in more:
        label = name[:MAX_NAME]
        while label in arguments:
            label = f"{label}_{len(arguments)}"
        arguments[label] = value
    return arguments
