"""What requests of MCP come to for the judge, over whatever wire they are shown: a tool and its arguments, and an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CALLS = ("tools/call", "resources/read", "prompts/get")
"""Methods that are judged; of the latter two the method is the tool."""
MAX_LISTED = 1_000
"""Tools of one list."""


def called(method: str, params: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The tool and the arguments of a request; `ValueError` where it calls nothing."""
    if method != "tools/call":
        return method, without_meta(params)
    tool, arguments = params.get("name"), params.get("arguments")
    if not isinstance(tool, str) or not tool:
        raise ValueError("tools/call names no tool")
    if not isinstance(arguments, dict | None):
        raise ValueError("the arguments of tools/call are no object")
    return tool, arguments or {}


def without_meta(message: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters or a result without what both ends of MCP say beside them."""
    return {name: value for name, value in message.items() if name != "_meta"}
