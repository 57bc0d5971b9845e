"""Invented lines of work for generated load, read from ``domains.toml``: catalogues, wishes, and attacks."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, NamedTuple


class CallTemplate(NamedTuple):
    """A call as a template: ``{slots}`` in arguments and result are filled for each session."""

    tool: str
    arguments: Mapping[str, str]
    result: str


@dataclass(frozen=True)
class Domain:
    """One line of work: its catalogue, what users ask for, and what an attacker would want there.

    Attributes
    ----------
    tools : each tool's ``action`` (read or write) and ``description``
    slots : what a slot may be filled with
    attack : the calls that obey the `injection`
    """

    name: str
    tools: Mapping[str, Mapping[str, str]]
    slots: Mapping[str, tuple[str, ...]]
    intent: str
    reads: tuple[CallTemplate, ...]
    writes: tuple[CallTemplate, ...]
    attack: tuple[CallTemplate, ...]
    injection: str

    def catalogue(self) -> list[dict[str, Any]]:
        """The tools offered, with parameters as the templates use them."""
        used: dict[str, set[str]] = {tool: set() for tool in self.tools}
        for template in (*self.reads, *self.writes, *self.attack):
            used[template.tool].update(template.arguments)
        return [
            {
                "name": name,
                "server": self.name,
                "description": tool["description"],
                "parameters": {
                    "type": "object",
                    "properties": {argument: {"type": "string"} for argument in sorted(used[name])},
                    "required": sorted(used[name]),
                },
                "annotations": {"readOnlyHint": tool["action"] == "read"},
            }
            for name, tool in self.tools.items()
        ]


class World(NamedTuple):
    """What sessions are drawn from: lines of work, people, and the wordings of an order hidden in a result."""

    domains: tuple[Domain, ...]
    people: tuple[str, ...]
    bait: tuple[str, ...]


@cache
def world() -> World:
    """The world of ``domains.toml``, in the file's order."""
    text = (resources.files("stream.offline") / "domains.toml").read_text(encoding="utf-8")
    document = tomllib.loads(text)
    domains = tuple(_domain(table) for table in document["domains"])
    return World(domains, tuple(document["people"]), tuple(document["bait"]))


def _domain(table: Mapping[str, Any]) -> Domain:
    reads, writes, attack = (
        tuple(CallTemplate(**call) for call in table[part]) for part in ("reads", "writes", "attack")
    )
    slots = {name: tuple(values) for name, values in table["slots"].items()}
    return Domain(
        table["name"], table["tools"], slots, table["intent"], reads, writes, attack, table["injection"]
    )
