"""Calls that a policy expects: whose, with which arguments, and what of them passes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
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
    found, cuts = leaves(arguments)
    carried: dict[str, list[str]] = {}
    for leaf in found:
        carried.setdefault(path_of(leaf.path), []).append(leaf.text)
    # What was cut may hold anything.
    rows = [each for each in listed if not each.arguments or (not cuts and _carries(carried, each))]
    return Expected(rows, frozenset(name for each in rows for name in each.lets_pass))


def path_of(path: str) -> str:
    """A path into arguments without its places in lists.

    >>> path_of("recipients.0.address")
    'recipients.address'
    """
    return ".".join(step for step in path.split(".") if not step.isdigit())


def _carries(carried: dict[str, list[str]], row: ExpectedCalls) -> bool:
    def only(path: str, values: Collection[str]) -> bool:
        given = carried.get(path, [])
        return bool(given) and all(value in values for value in given)

    return all(only(path, values) for path, values in row.arguments.items())
