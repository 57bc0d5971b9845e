"""JSON documents as their scalars: what of a document is looked at, and how much of it."""

from __future__ import annotations

import heapq
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

MAX_LEAVES = 256
"""Leaves of one document that are looked at; the rest is counted as cut. Which of a call's they are `arguments_in` chooses."""
MAX_LEAF_CHARS = 16_384
"""Characters of one leaf that are looked at, half from its head, half from its tail (chosen); of what lies between `models.text.excerpts` reads some."""
MAX_CHARS = 32_768
"""Characters of one document that are looked at (chosen: four times the largest recorded result)."""
MAX_DEPTH = 64
"""Levels of nesting that are walked; deeper ones count as cut."""
MAX_SHAPES = 4096
"""Shapes of a call's arguments that are told apart (chosen); what has another is not looked at."""
MAX_WALKED = 65_536
"""Nodes of a call's arguments that are walked to choose what is looked at (chosen); the rest counts as one value left out."""


_PLAIN_NAME = re.compile(r"[^\W\d][\w-]{0,63}|[0-9]{1,4}")
"""A name that names; any other may be what the call is about: ``{"to": {"eve@evil.example": true}}``."""


class Leaf(NamedTuple):
    """A scalar of a JSON document: dotted path, its text, and whether it was a string."""

    path: str
    text: str
    is_string: bool


def leaves(document: Any, *, names: bool = False) -> tuple[list[Leaf], int]:
    """The scalars of `document` in order, each cut to the limits, and how many cuts were made.

    Parameters
    ----------
    names : bool
        Whether a name that says more than a name counts as a scalar of the object that has it.
    """
    if isinstance(document, str) and len(document) <= MAX_LEAF_CHARS:
        return [Leaf("", document, True)], 0
    scalars: list[Leaf] = []
    cuts, room = 0, MAX_CHARS
    stack: list[tuple[str, Any, int]] = [("", document, 0)]
    while stack:
        path, value, depth = stack.pop()
        if isinstance(value, dict | list):
            if depth >= MAX_DEPTH:
                cuts += 1
                continue
            items: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, dict) else enumerate(value)
            children: list[tuple[str, Any, int]] = []
            for name, child in items:
                if len(children) >= MAX_LEAVES:
                    cuts += 1
                    break
                if names and _says_more(name):
                    children.append((path, name, depth + 1))
                children.append((_below(path, name), child, depth + 1))
            children.reverse()
            stack += children
            continue
        if value is None or value is True or value is False:
            continue
        text = value if isinstance(value, str) else repr(value)
        if len(scalars) >= MAX_LEAVES or room <= 0:
            cuts += 1
            continue
        limit = min(MAX_LEAF_CHARS, room)
        if len(text) > limit:
            cuts += 1
            text = text[: limit // 2] + " " + text[-(limit // 2) :]
        room -= len(text)
        scalars.append(Leaf(path, text, isinstance(value, str)))
    return scalars, cuts


class Unread(NamedTuple):
    """What of a call's arguments was not looked at.

    Parameters
    ----------
    left_out : int
        Values that were not looked at; what is nested too deep, and what comes after `MAX_WALKED` nodes, as one.
    unheard : bool
        Of some argument no value at all was looked at.
    shortened : int
        Texts of which the two ends alone were looked at.
    """

    left_out: int = 0
    unheard: bool = False
    shortened: int = 0

    @property
    def anything(self) -> bool:
        """Whether something was not looked at."""
        return self.left_out > 0 or self.shortened > 0


NOTHING_UNREAD = Unread()


def arguments_in(document: Any, declared: Collection[str] = ()) -> tuple[list[Leaf], Unread]:
    """The scalars of a call's arguments in order, and what of them there was no room to look at.

    Whoever writes a call must not choose what is looked at by writing more before it. Where there is more than the limits allow,
    arguments that the tool declares come before others; then the first value of each shape (a path without places in lists), of
    each argument one in turn; then second ones. Texts share the room, so that the short ones stay whole.

    A name that says more than a name is a scalar too.

    Parameters
    ----------
    declared : collection of str
        Names of the arguments that the tool takes.
    """
    found, cuts = leaves(document, names=True)
    if not cuts:
        return found, NOTHING_UNREAD
    chosen, left_out, unheard = _chosen(document, declared)
    texts, shortened = _shortened([leaf.text for leaf in chosen])
    read = [leaf._replace(text=text) for leaf, text in zip(chosen, texts, strict=True)]
    return read, Unread(left_out, unheard, shortened)


def texts_at(document: Any, paths: Collection[str]) -> dict[str, list[str]]:
    """The scalars of a call's arguments that stand at `paths`, as texts: more than one may at one path, for names may have dots."""
    found: dict[str, list[str]] = {}
    if paths:
        for one in _scalars(document):
            if one.path is not None and one.path in paths:
                found.setdefault(one.path, []).append(str(one.value))
    return found


class _Scalar(NamedTuple):
    """A value at its path, which is None where the walk does not go on."""

    argument: str
    shape: int
    path: str | None
    value: Any


def _chosen(document: Any, declared: Collection[str]) -> tuple[list[Leaf], int, bool]:
    """The leaves that are looked at, in order; how many are not; whether of some shape none is."""
    best: list[tuple[tuple[bool, int, int, int], int, Leaf]] = []  # the worst first
    of_shape: dict[int, int] = {}
    of_argument: dict[str, int] = {}
    beyond, total = False, 0
    for total, (argument, shape, path, value) in enumerate(_scalars(document), 1):
        known = argument in declared
        is_first = argument not in of_argument
        room = (
            len(of_argument) < MAX_SHAPES or known
            if is_first
            else shape in of_shape or len(of_shape) < MAX_SHAPES
        )
        if path is None or not room:
            beyond = True
            continue
        nth = of_shape[shape] = of_shape.get(shape, -1) + 1
        turn = of_argument[argument] = of_argument.get(argument, -1) + 1
        rank = (known, -nth, -turn, -total)
        if len(best) >= MAX_LEAVES and rank < best[0][0]:
            continue
        text = value if isinstance(value, str) else repr(value)
        entry = (rank, shape, Leaf(path, text, isinstance(value, str)))
        (heapq.heappush if len(best) < MAX_LEAVES else heapq.heapreplace)(best, entry)
    best.sort(key=lambda entry: -entry[0][3])
    unheard = beyond or len({shape for _, shape, _ in best}) < len(of_shape)
    return [leaf for _, _, leaf in best], total - len(best), unheard


def _scalars(document: Any) -> Iterator[_Scalar]:
    """The values of a call's arguments in order, as far as they are walked."""
    walked = 0
    # Shapes are numbers, for a path as a text may be that of two: names have dots, and long ones are cut.
    shapes: dict[tuple[int, Any], int] = {}
    stack: list[tuple[str, int, str, Iterator[tuple[Any, Any]]]] = [("", 0, "", iter([(None, document)]))]
    while stack:
        argument, shape, path, children = stack[-1]
        for name, child in children:
            walked += 1
            if walked > MAX_WALKED:
                yield _Scalar(argument, shape, None, None)
                return
            top = name if len(stack) == 2 and isinstance(name, str) else argument
            here = path if name is None else _below(path, name)
            if _says_more(name):
                yield _Scalar(top, shapes.setdefault((shape, None), len(shapes) + 1), path, name)
            form = shape if isinstance(name, int) else shapes.setdefault((shape, name), len(shapes) + 1)
            if isinstance(child, dict | list):
                if len(stack) > MAX_DEPTH:
                    yield _Scalar(top, form, None, None)
                    continue
                within = child.items() if isinstance(child, dict) else enumerate(child)
                stack.append((top, form, here, iter(within)))
                break
            if child is not None and child is not True and child is not False:
                yield _Scalar(top, form, here, child)
        else:
            stack.pop()


def _says_more(name: Any) -> bool:
    return isinstance(name, str) and name != "" and not _PLAIN_NAME.fullmatch(name)


def _below(path: str, name: Any) -> str:
    """The path of a part: by its name, or its place in a list."""
    step = str(name)[:64]
    return f"{path}.{step}"[-256:] if path else step


def _shortened(texts: Sequence[str]) -> tuple[list[str], int]:
    """Texts within the room for all of them, the long ones cut to equal lengths, half from each end; and how many were cut."""
    room = share = MAX_CHARS
    for n, length in enumerate(sorted(map(len, texts))):
        share = room // (len(texts) - n)
        if length > share:
            break
        room -= length
    else:
        return list(texts), 0
    half = share // 2
    cut = [f"{text[:half]} {text[-half:]}" if len(text) > share else text for text in texts]
    return cut, sum(len(text) > share for text in texts)
