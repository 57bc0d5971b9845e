"""Names of tools: the words of an identifier, and what a tool is called where others, or nobody, say what it does."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from models.contracts import Tool
from models.text.fingerprints import fingerprint
from models.text.tokens import canonical, squash
from models.tools.verbs import ACTING_VERBS, POWER_VERBS, READ_VERBS, VERBS, WRITE_VERBS

MIN_RANKED = 4
"""Tools of a catalogue that are told apart by the words of their names and descriptions: with one or two any word makes one the first."""
SPOKEN = 16
"""Arguments that a call's meaning is taken from."""
_TELLING = READ_VERBS | WRITE_VERBS | POWER_VERBS
"""Verbs that say what a tool does; those that execute leave it open."""
_SPLIT = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def name_words(name: str) -> list[str]:
    """Lower-case words of an identifier.

    >>> name_words("getUserInfo"), name_words("file-path_2")
    (['get', 'user', 'info'], ['file', 'path', '2'])
    """
    return [w.lower() for w in _SPLIT.findall(name)]


def has_verb(words: Sequence[str]) -> bool:
    """Whether one of a name's words is a verb that says what its tool does."""
    return not VERBS.isdisjoint(words)


def speaks(name: str) -> bool:
    """Whether a name says what its tool does, by a verb."""
    return has_verb(name_words(name))


def is_general(name: str) -> bool:
    """Whether a tool's name says nothing of what it does: it runs, calls or requests whatever it is given.

    >>> [is_general(name) for name in ("http_request", "run_python", "send_money", "search")]
    [True, True, False, False]
    """
    return _TELLING.isdisjoint(name_words(name))


def proper_names(names: Collection[str]) -> dict[str, str]:
    """Each name of a catalogue without what all of them begin with: a server's name tells nothing of one of its tools.

    That ends before a verb, and leaves each name a word. Names that begin with ``mcp__`` have that from the client that
    the servers are connected to, so they are looked at by themselves.

    >>> list(proper_names(["BankPay", "BankBalance", "BankGetUser", "BankHold"]).values())
    ['Pay', 'Balance', 'GetUser', 'Hold']
    >>> list(proper_names(["get_user", "get_item", "get_page", "get_it"]).values())
    ['get_user', 'get_item', 'get_page', 'get_it']
    """
    proper: dict[str, str] = {}
    for served in (True, False):
        group = [name for name in names if name.startswith("mcp__") is served]
        words_by_name = [list(_SPLIT.finditer(name)) for name in group]
        shared = 0
        if len(group) >= MIN_RANKED:
            for column in zip(*(words[:-1] for words in words_by_name), strict=False):
                alike = {word.group().lower() for word in column}
                if len(alike) > 1 or not alike.isdisjoint(VERBS):
                    break
                shared += 1
        for name, words in zip(group, words_by_name, strict=True):
            proper[name] = name[words[shared].start() :] if shared else name
    return proper


def spoken_name(tool: Tool, proper: str) -> str:
    """What a tool is called; with the beginning of its description where that does not say what it does."""
    if speaks(proper):
        return proper
    return f"{proper} {(tool.description or '')[:80]}"


def spoken_names(tools: Sequence[Tool]) -> dict[str, str]:
    """What each tool of a catalogue is called in a call's meaning, by its name."""
    proper = proper_names({tool.name for tool in tools})
    return {tool.name: spoken_name(tool, proper[tool.name]) for tool in tools}


def spoken_call(names: Mapping[str, str], tool: str, texts: Iterable[str]) -> str:
    """A call as words, for its meaning: what `names` call its tool, and the first of its arguments' texts."""
    return f"{names.get(tool, tool)} {' '.join(text[:400] for text in texts)}"


def name_print(name: str, key: bytes) -> int:
    """Print under which a tool's name of several words is met again."""
    return fingerprint(squash(canonical(name)), key)


def names_an_act(words: Sequence[str]) -> bool:
    """Whether a name of these words says that something is done, and is no common word once its words are joined."""
    return len(words) > 1 and max(map(len, words[1:])) > 2 and not ACTING_VERBS.isdisjoint(words)
