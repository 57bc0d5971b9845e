"""The answer itself, out of what frameworks put around answers: ``{"result": "...", "status": 200}``."""

from __future__ import annotations

import re
from typing import Any

from models.evidence.nested_json import document
from models.lexicons.loader import lexicon

MAX_ENVELOPES = 4
"""Envelopes in one another that are opened."""
MAX_VALUES = 4096
"""Values of JSON in a string, beyond which it stays a string."""
_LARGEST = 5
"""Entries of an object that may be an envelope."""
_MOST = 16
"""Envelopes beside one another."""

_ENVELOPES = lexicon("answers").words("envelopes")
_TITLE = re.compile(r"(?=.{0,64}$)\S*(?: \S+){0,5}")
"""A name in an answer may be a title, and no sentence."""
_STAMP = re.compile(r"[\w-]{0,24}", re.ASCII)


def unwrapped(answer: Any) -> Any:
    """An answer out of its envelopes, whose text is a string of JSON or in quotation marks; itself where it has none.

    An envelope holds nothing else but words and numbers that stamp it: what stands beside a mail's sender is the mail's.

    >>> unwrapped({"result": "[1, 2]", "status": "ok"}), unwrapped({"text": "[1]", "from": "bob@example.com"})
    ({'result': [1, 2], 'status': 'ok'}, {'text': '[1]', 'from': 'bob@example.com'})
    """
    return _unwrapped(answer, 0)


def _unwrapped(node: Any, depth: int) -> Any:
    if isinstance(node, str):
        if not depth and not node.startswith('"'):
            return node  # as it is read anyway
        inner = document(node, MAX_VALUES, _TITLE)
        return node if inner is None else inner
    if depth == MAX_ENVELOPES:
        return node
    if isinstance(node, list) and 0 < len(node) <= _MOST and all(map(_is_envelope, node)):
        return [_unwrapped(item, depth + 1) for item in node]
    if _is_envelope(node):
        return {
            name: _unwrapped(child, depth + 1) if name in _ENVELOPES else child
            for name, child in node.items()
        }
    return node


def _is_envelope(node: Any) -> bool:
    if not isinstance(node, dict) or not 1 <= len(node) <= _LARGEST:
        return False
    inside = [name for name in node if name in _ENVELOPES]
    beside = (child for name, child in node.items() if name not in _ENVELOPES)
    return len(inside) == 1 and all(
        child is None
        or isinstance(child, bool | int | float)
        or (isinstance(child, str) and _STAMP.fullmatch(child) is not None)
        for child in beside
    )
