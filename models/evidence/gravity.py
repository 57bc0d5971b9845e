"""Acts that nothing takes back: what is destroyed, who is let in, which secrets lie open; and whether an intent speaks of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

import numpy as np

from models.evidence.call import CallEvidence
from models.evidence.delegation import handed_by
from models.evidence.origins import LeafOrigin
from models.lexicons.loader import any_of, lexicon
from models.session import Session
from models.text.stems import stem_prints, words_in
from models.tools.names import name_words
from models.tools.parameters import is_command, is_query
from models.tools.verbs import DESTRUCTIVE_VERBS

_LISTED = lexicon("gravity")
_SLIGHT = _LISTED.words("slight")
_DESTROYING = _LISTED.words("destroying_statements")
_OPENING, _KEYS = _LISTED.words("opening"), _LISTED.words("keys")
_ADMITTING, _NOT_ADMITTING = _LISTED.words("admitting"), _LISTED.words("not_admitting")
_ADMITTED, _SHOWN = _LISTED.words("admitted"), _LISTED.words("shown")
_RIGHTS, _ACCOUNTS = _LISTED.words("rights_in_arguments"), _LISTED.words("accounts")
_SEARCHED = _LISTED.words("searched_for")
_TO_DESTROY = " ".join(sorted(_LISTED.words("asked_to_destroy")))
_TO_OPEN = " ".join(sorted(_LISTED.words("asked_to_open")))
_TO_ADMIT = " ".join(sorted(_LISTED.words("asked_to_admit")))
_FOR_SECRETS = " ".join(sorted(_LISTED.words("asked_for_secrets")))
_STORES = _LISTED.stands_for("secret_stores")
_WORKING = _LISTED.words("working_stores")

HANDED_OVER = 150
"""How much is handed over to a source, 128 neutral, from which on that source may have asked for the act (chosen)."""
MAX_CHARS = 4096
"""Characters of an argument in which a path is looked for (chosen)."""
_STORE = re.compile(rf"(?<![\w-])({any_of(_STORES)})(?!\.?[\w]|-\w)", re.IGNORECASE)
_SEPARATORS = re.compile(r"[/\\]+(?:\.?[/\\]+)*")
"""What stands between two steps of a path, however often it is said."""
_QUOTES = re.compile(r"(?<=\S)[\"'](?=\S)|[\"'](?=[\w./~])")
"""What a shell takes out of a word, and before one."""
_LEFT_OUT = re.compile(r"--?(?:exclude|ignore)\S*")
"""Options that name what a command does not touch."""


class Grave(NamedTuple):
    """What of a call nothing takes back.

    Attributes
    ----------
    does : in words, behind "the call"
    asking : words of an intent that ask for such an act
    leaf : the argument that shows it; None where the tool's name does
    secret : whether it is a store of secrets, which no text hands over
    """

    does: str
    asking: str
    leaf: LeafOrigin | None = None
    secret: bool = False


def gravity(evidence: CallEvidence) -> Grave | None:
    """What of a call nothing takes back; None for nothing.

    A shell command is not taken apart for what it deletes: work on code does that all day.
    """
    for one in evidence.arguments.leaves:
        if one.leaf.is_string and (store := _store(one.leaf.path, one.leaf.text)) is not None:
            return Grave("touches a store of secrets", f"{_FOR_SECRETS} {store}", one, secret=True)
    if not evidence.action:
        return None
    tool, words = evidence.tool, [name_words(name) for name in sorted(evidence.tool.names)]
    # By its name: a server may say of all that its tools write that it destroys.
    if tool.facts.destructive and any(_destroys(name) for name in words):
        return Grave("destroys something", _TO_DESTROY)
    for one in evidence.arguments.leaves:
        if is_query(one.leaf.path) and _DESTROYING & set(words_in(one.leaf.text[:16])[:1]):
            return Grave("destroys something", _TO_DESTROY, one)
    if opened := [word for name in words for word in _opens(name)]:
        return Grave("changes what opens an account", " ".join([_TO_OPEN, *opened]))
    if admitted := [word for name in words for word in _admits(name)]:
        return Grave("decides who gets in", " ".join([_TO_ADMIT, *admitted]))
    if any(not _ACCOUNTS.isdisjoint(name) for name in words):
        for one in evidence.arguments.leaves:
            if one.leaf.text and one.leaf.path.rpartition(".")[2].lower() in _RIGHTS:
                return Grave("decides who gets in", f"{_TO_OPEN} {_TO_ADMIT}", one)
    return None


def asked_for(evidence: CallEvidence, grave: Grave) -> bool:
    """Whether every intent that tells anything, the session's and of whomever it works for, has a word for such an act, or leaves acts to a source.

    A user who hands over "what the mail says" leaves acts to the mail, and a store of secrets to nobody.
    """
    context = evidence.context
    asking = _prints(grave.asking, context.key)

    def asks(session: Session) -> bool:
        if not asking.isdisjoint(np.frombuffer(session.intent_words, "<u4").tolist()):
            return True
        own = session is context.session
        handed = evidence.delegation.handed if own else handed_by(session).any
        return not grave.secret and handed >= HANDED_OVER

    return all(asks(session) for session in (context.session, *context.ancestors) if session.usable)


def _store(path: str, text: str) -> str | None:
    """Words with which one asks for the store of secrets that an argument names; None where it names none.

    It counts in a path and in a command. A text only speaks of one, and a pattern looks for it.
    """
    command = is_command(path)
    if not command and (len(text.split(None, 1)) != 1 or path.rpartition(".")[2].lower() in _SEARCHED):
        return None
    plain = _SEPARATORS.sub("/", unquote(text[:MAX_CHARS]))
    if command:
        plain = _LEFT_OUT.sub("", _QUOTES.sub("", plain))
    for found in _STORE.finditer(plain):
        store = found[1].lower()
        if not command or store not in _WORKING:
            own = words_in(store.split("/")[0]) if store.startswith(".") else []
            return " ".join([_STORES[store], *own])
    return None


def _destroys(name: Iterable[str]) -> bool:
    return not DESTRUCTIVE_VERBS.isdisjoint(name) and _SLIGHT.isdisjoint(name)


def _opens(name: list[str]) -> Iterator[str]:
    """Words of a tool's name that say that it makes, changes or hands out what opens an account."""
    if not _NOT_ADMITTING.isdisjoint(name):
        return
    yield from (word for word in name if word in _OPENING)
    if not {"key", "keys", "token", "tokens"}.isdisjoint(name):
        yield from (word for word in name if word in _KEYS)
    if ("two" in name and "factor" in name) or ("2" in name and "fa" in name):
        yield "factor"


def _admits(name: list[str]) -> Iterator[str]:
    """Words of a tool's name that say that it decides who gets in."""
    if not _NOT_ADMITTING.isdisjoint(name):
        return
    yield from (word for word in name if word in _ADMITTING)
    if not _ADMITTED.isdisjoint(name):
        yield from (word for word in name if word in ("invite", "invitation", "grant"))
    if "add" in name and ("member" in name or "members" in name):
        yield "member"
    if "visibility" in name and not _SHOWN.isdisjoint(name):
        yield "visibility"


@lru_cache(maxsize=1 << 10)
def _prints(words: str, key: bytes) -> frozenset[int]:
    return frozenset(stem_prints(words, key))
