"""Tools that look up tools, and the tools that their answers name.

An agent with hundreds of tools is offered a few and a way to search the rest. What such a search answers makes a tool's name
known, and nothing else: the text beside the name may be anybody's, and classes no tool.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson

from models.contracts import Tool
from models.lexicons.loader import lexicon
from models.text.prose import SENTENCE
from models.tools.names import name_words

MAX_LISTED = 128
"""Tools of one answer that are taken note of."""
MAX_NODES = 4096
"""Values of one answer that are looked at."""
MAX_SPELLED = 65_536
"""Characters of a text in which JSON is sought."""
MAX_NAME = 256
_ANSWERS = lexicon("answers")
_LOOKED_UP = _ANSWERS.words("tool_nouns")
_LOOKED_UP_TOGETHER = _ANSWERS.words("tool_nouns_plural")
_DETAILS = _ANSWERS.words("tool_details")
_TAGS = re.compile(r"</?[a-z_]{1,32}>")


def discovers(name: str, tool: Tool) -> bool:
    """Whether a tool that reads looks up tools, by its name or by the first sentence of its description.

    >>> discovers("search_tools", Tool(name="search_tools")), discovers("read_mail", Tool(name="read_mail"))
    (True, False)
    """
    if not _LOOKED_UP.isdisjoint(name_words(name)):
        return True
    first = SENTENCE.split((tool.description or "")[:400], maxsplit=1)[0]
    return not _LOOKED_UP_TOGETHER.isdisjoint(name_words(first))


def tools_listed(answer: Any) -> list[str]:
    """Names of the tools that an answer lists: records with a name and what is declared of a tool beside it.

    >>> tools_listed({"tools": [{"name": "pay", "inputSchema": {"type": "object"}}, {"name": "Bob"}]})
    ['pay']
    """
    names: dict[str, None] = {}
    for node in _records(answer):
        called = node.get("tool_name")
        if called is None and any(isinstance(node.get(detail), str | dict) for detail in _DETAILS):
            called = node.get("name")
        if isinstance(called, str) and 0 < len(called) <= MAX_NAME:
            names[called] = None
            if len(names) == MAX_LISTED:
                break
    return list(names)


def _records(answer: Any) -> Iterator[dict[str, Any]]:
    """The objects of an answer, those that its texts spell among them, in no order that a text can choose."""
    room = [answer]
    looked_at, spelled = 0, 0
    while room and looked_at < MAX_NODES:
        node = room.pop()
        looked_at += 1
        if isinstance(node, dict):
            yield node
            room += list(node.values())[:MAX_NODES]
        elif isinstance(node, list):
            room += node[:MAX_NODES]
        elif isinstance(node, str) and spelled < MAX_SPELLED:
            text = node[: MAX_SPELLED - spelled]
            spelled += len(text)
            room += _spelled(text)


def _spelled(text: str) -> list[Any]:
    """The documents of JSON that a text spells: as a whole, or line by line, within tags or without."""
    whole = _document(text)
    if whole is not None:
        return [whole]
    lines = (_document(_TAGS.sub("", line)) for line in text.splitlines()[:MAX_LISTED])
    return [line for line in lines if line is not None]


def _document(text: str) -> Any:
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict | list) else None
