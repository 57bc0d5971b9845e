"""Where a module can be changed, and what it reads like then: the operators of mutmut, and four that it lacks."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators

from benchmarks.mutants.trial import changes

Operator = Callable[[Any], Iterable[cst.CSTNode]]


@dataclass(frozen=True)
class Place:
    """One node of a module and all that it can become."""

    first: int
    last: int
    node: cst.CSTNode
    ways: tuple[tuple[str, cst.CSTNode], ...]


@dataclass(frozen=True)
class Mutant:
    """A module with one change."""

    path: str
    lines: tuple[int, int]
    operator: str
    diff: str
    source: str


def term_removed(node: cst.BooleanOperation) -> Iterator[cst.BaseExpression]:
    """``a and b`` becomes ``a``, and ``b``."""
    yield node.left
    yield node.right


def condition_turned(node: cst.If | cst.While) -> Iterator[cst.CSTNode]:
    """A condition becomes its opposite."""
    test = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    yield node.with_changes(test=cst.UnaryOperation(cst.Not(), test))


def filter_opened(node: cst.CompIf) -> Iterator[cst.CompIf]:
    """A comprehension takes everything."""
    yield node.with_changes(test=cst.Name("True"))


def loop_skipped(node: cst.For) -> Iterator[cst.For]:
    """A loop has nothing to go through."""
    yield node.with_changes(iter=cst.Tuple([]))


def statement_removed(node: cst.Expr | cst.Raise) -> Iterator[cst.Pass]:
    """A call for its effect, or a refusal, is left out."""
    if isinstance(node, cst.Raise) or isinstance(node.value, cst.Call):
        yield cst.Pass()


OURS: list[tuple[type | tuple[type, ...], Operator]] = [
    (cst.BooleanOperation, term_removed),
    ((cst.If, cst.While), condition_turned),
    (cst.CompIf, filter_opened),
    (cst.For, loop_skipped),
    ((cst.Expr, cst.Raise), statement_removed),
]
UNTOUCHED = (cst.Annotation, cst.Import, cst.ImportFrom, cst.Decorator, cst.FormattedString)
OPERATORS: list[tuple[Any, Operator]] = [*mutation_operators, *OURS]


def is_prose(node: cst.CSTNode) -> bool:
    """Is it a docstring or a sentence for people, which tests rightly do not compare letter by letter."""
    text = node.value if isinstance(node, cst.Expr) else node
    return isinstance(text, cst.SimpleString) and (text is not node or " " in text.value.strip("\"' "))


def is_builtin_check(node: cst.CSTNode) -> bool:
    """Is it ``len(x)`` or ``isinstance(x, y)``, which only break without their arguments."""
    return (
        isinstance(node, cst.Call)
        and isinstance(node.func, cst.Name)
        and node.func.value in ("len", "isinstance")
    )


def _ways(node: cst.CSTNode) -> Iterator[tuple[str, cst.CSTNode]]:
    for kind, operator in OPERATORS:
        if isinstance(node, kind):
            for changed in operator(node):
                yield operator.__name__.removeprefix("operator_"), changed


class _Finder(cst.CSTVisitor):
    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.places: list[Place] = []
        self._left: set[cst.CSTNode] = set()

    def on_visit(self, node: cst.CSTNode) -> bool:
        """Note what `node` can become."""
        if isinstance(node, UNTOUCHED) or is_prose(node) or node in self._left:
            return False
        if isinstance(node, cst.ClassDef):
            self._left.update(node.keywords)  # how a class is made, as `frozen=True`
        ways = [] if is_builtin_check(node) else list(_ways(node))
        if ways:
            # Some nodes, as operators, have no position of their own.
            span = self.get_metadata(PositionProvider, node, None)
            if span is not None:
                last = span.start.line if isinstance(node, cst.If | cst.While | cst.For) else span.end.line
                self.places.append(Place(span.start.line, last, node, tuple(ways)))
        return True


class Module:
    """A module's text, and its places in order."""

    def __init__(self, path: str, source: str) -> None:
        self.path = path
        self.source = source
        wrapper = MetadataWrapper(cst.parse_module(source))
        finder = _Finder()
        wrapper.visit(finder)
        self._tree = wrapper.module
        self.places = finder.places

    def drawn(self, place: Place, number: float) -> Mutant | None:
        """The change of a place that `number`, from 0 to 1, picks; none where it changes nothing that runs in a function."""
        operator, changed = place.ways[int(number * len(place.ways))]
        tree = self._tree.deep_replace(place.node, changed)
        if not isinstance(tree, cst.Module):
            return None
        source = tree.code
        try:
            if not changes(self.path, self.source, source):
                return None
        except (SyntaxError, ValueError):
            return None
        lines = difflib.unified_diff(self.source.splitlines(), source.splitlines(), lineterm="", n=0)
        diff = "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))
        return Mutant(self.path, (place.first, place.last), operator, diff, source)
