"""The tools of a server as it listed them: whole, page by page, and what is otherwise than before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from driftline_client import contract

MAX_BYTES = 8 * 1024 * 1024
"""Bytes of all that a server may declare; what comes after is not kept, and its tools are unknown ones."""


class Change(NamedTuple):
    """What a page of a listing changes.

    Attributes
    ----------
    tools : those that joined or are declared otherwise, in the order of the page; one that stands there twice with another
        declaration is here twice
    left : the names of those that are gone, known once a listing is whole
    whole : whether this page ended a listing
    next : the cursor of the next page
    """

    tools: list[dict[str, Any]]
    left: list[str]
    whole: bool
    next: Any


class Catalogue:
    """What a server has said of its tools.

    Attributes
    ----------
    tools : dict
        By name, as the contract has them, as declared last.
    is_whole : bool
        Whether a listing came to its end since the tools changed.
    cut : int
        Tools that could not be told, or not in full.
    """

    def __init__(self, server: str | None = None) -> None:
        self.tools: dict[str, dict[str, Any]] = {}
        self.is_whole, self.cut = False, 0
        self._server = server
        self._sizes: dict[str, int] = {}
        self._bytes = 0
        self._listing: set[str] = set()
        self._next: Any = None

    def page(self, cursor: Any, result: Mapping[str, Any]) -> Change:
        """Take a page of a listing, the answer to ``tools/list`` with `cursor` (None for the first)."""
        listed, following = result.get("tools"), result.get("nextCursor")
        in_order = cursor is None or cursor == self._next
        if cursor is None:
            self._listing = set()
        changed = []
        for each in listed if isinstance(listed, list) else ():
            tool = self._tool(each)
            if tool is None:
                self.cut += 1
                continue
            self._listing.add(tool["name"])
            if self.tools.get(tool["name"]) != tool:
                self.tools[tool["name"]] = tool
                changed.append(tool)
        self._next = following
        whole = in_order and following is None
        left = []
        if whole:
            self.is_whole = True
            left = [name for name in self.tools if name not in self._listing]
            for name in left:
                del self.tools[name]
                self._bytes -= self._sizes.pop(name)
        return Change(changed, left, whole, following)

    def _tool(self, listed: Any) -> dict[str, Any] | None:
        """A tool as the contract has it; None where it has no name, or there is no room for it."""
        found = contract.listed(listed, self._server)
        if found is None:
            return None
        tool, is_cut = found
        self.cut += is_cut
        name, size = tool["name"], len(json.dumps(tool))
        more = size - self._sizes.get(name, 0)
        if self._bytes + more > MAX_BYTES:
            return None
        self._bytes, self._sizes[name] = self._bytes + more, size
        return tool
