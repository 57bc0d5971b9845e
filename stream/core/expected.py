"""Calls that a policy expects: whose, with which arguments, and what of them passes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from models.text.documents import leaves
from stream.policy import ExpectedCalls, Policy


class Expected(NamedTuple):
    """What a policy says of a call that it expects: the rows that hold, and what of the call passes by them."""

    rows: Sequence[ExpectedCalls]
    passing: frozenset[str]


NOT = Expected((), frozenset())


def expected(
    policy: Policy, tenant: str, agent: str | None, tool: str, arguments: dict[str, Any], now_ms: int
) -> Expected:
    """The rows of `policy` that hold for a call at a moment of its session's clock."""
    listed = policy.expected(tenant, agent, tool, now_ms)
    if not listed:
        return NOT
    # What was cut may hold anything.
    cuts = leaves(arguments)[1] if any(each.arguments for each in listed) else 0
    rows = [each for each in listed if not each.arguments or (not cuts and _carries(arguments, each))]
    return Expected(rows, frozenset(name for each in rows for name in each.lets_pass))


def path_of(path: str) -> str:
    """A path into arguments without its places in lists.

    >>> path_of("recipients.0.address")
    'recipients.address'
    """
    return ".".join(step for step in path.split(".") if not (step.isascii() and step.isdecimal()))


def _carries(arguments: dict[str, Any], row: ExpectedCalls) -> bool:
    def only(path: str, values: Collection[str]) -> bool:
        given = list(_at(arguments, path))
        return bool(given) and all(value in values for value in given)

    return all(only(path, values) for path, values in row.arguments.items())


def _at(node: Any, path: str) -> Iterator[str | None]:
    """What stands at a path of members' names, lists passed through: texts and numbers as texts, None for whatever else.

    A name may have dots itself: then all that the path may mean is looked at.
    """
    if isinstance(node, list):
        for each in node:
            yield from _at(each, path)
    elif not path:
        plain = isinstance(node, str | int | float) and not isinstance(node, bool)
        yield (node if isinstance(node, str) else repr(node)) if plain else None
    elif isinstance(node, dict):
        for name, value in node.items():
            if path == name:
                yield from _at(value, "")
            elif path.startswith(f"{name}."):
                yield from _at(value, path[len(name) + 1 :])
