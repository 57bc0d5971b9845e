"""Acts that nothing takes back: what is destroyed, who is let in, which secrets lie open; and whether an intent speaks of them."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

import numpy as np

from models.evidence.call import CallEvidence
from models.evidence.origins import LeafOrigin
from models.lexicons.loader import lexicon
from models.text.stems import stem_prints
from models.tools.names import name_words
from models.tools.verbs import DESTRUCTIVE_VERBS

Grave = Literal["destroys something", "decides who gets in", "touches a store of secrets"]

_LISTED = lexicon("gravity")
_LETTING_IN = _LISTED.words("letting_in")
_KEYS = _LISTED.words("keys")
_ADMITTED = _LISTED.words("admitted")
_ASKING: dict[Grave, str] = {
    "destroys something": " ".join(sorted(_LISTED.words("asked_to_destroy"))),
    "decides who gets in": " ".join(sorted(_LISTED.words("asked_to_let_in"))),
    "touches a store of secrets": " ".join(sorted(_LISTED.words("asked_for_secrets"))),
}
_SECRETS = re.compile(
    rf"(?<![\w-])(?:{'|'.join(map(re.escape, _LISTED.ordered('secret_stores')))})(?!\.?[\w-])", re.IGNORECASE
)
MAX_SECRET_CHARS = 200
"""Longest argument in which a path is looked for: a page that mentions one is no use of it (chosen)."""


def gravity(evidence: CallEvidence) -> tuple[Grave, LeafOrigin | None] | None:
    """What of a call nothing takes back, and the argument that shows it, if it is not the tool's name; None for nothing.

    A command is not taken apart for what it deletes: work on code does that all day.
    """
    tool = evidence.tool
    for one in evidence.arguments.leaves:
        text = one.leaf.text
        if one.leaf.is_string and len(text) <= MAX_SECRET_CHARS and _SECRETS.search(text):
            return "touches a store of secrets", one
    if not evidence.action:
        return None
    # By its name: a server may say of all that its tools write that it destroys.
    if tool.facts.destructive and not DESTRUCTIVE_VERBS.isdisjoint(name_words(tool.inner)):
        return "destroys something", None
    return ("decides who gets in", None) if _letting(evidence.tool_in_words) else None


def spoken_of(evidence: CallEvidence, grave: Grave) -> bool:
    """Whether the session's intent, and that of everyone whom it works for, has a word for such an act."""
    words = _ASKING[grave]
    if grave == "decides who gets in":
        words += " " + _letting(evidence.tool_in_words)
    context = evidence.context
    asking = _prints(words, context.key)
    return all(
        not asking.isdisjoint(np.frombuffer(session.intent_words, "<u4").tolist())
        for session in (context.session, *context.ancestors)
    )


@lru_cache(maxsize=1 << 12)
def _letting(name: str) -> str:
    """Words of a tool's name that say that it decides who gets in."""
    words = name.split()
    found = [word for word in words if word in _LETTING_IN]
    if not _ADMITTED.isdisjoint(words):
        found += [word for word in words if word in ("invite", "grant")]
    if not _KEYS.isdisjoint(words):
        found += [word for word in words if word in ("key", "keys", "token", "tokens")]
    return " ".join(found)


@lru_cache(maxsize=1 << 10)
def _prints(words: str, key: bytes) -> frozenset[int]:
    return frozenset(stem_prints(words, key))
