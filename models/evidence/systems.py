"""Which system a call reaches, and whether it reaches anybody else: data that goes back to where it was read does not leave.

A system is the host of the web address that a call names, else the server that serves its tool, by its declaration or by a name
such as ``mcp__ehr__read``. Whoever is named beside it is outside, on the same server too: a mail goes to its recipient.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from models.evidence.called import CalledTool
from models.evidence.context import CallContext
from models.evidence.origins import LeafOrigin
from models.lexicons.loader import lexicon
from models.text.addresses import is_address
from models.text.documents import Leaf
from models.text.fingerprints import fingerprint
from models.tools.names import name_words
from models.tools.parameters import is_sink

REACHING = lexicon("data").words("reaching_others")
_SERVED = re.compile(r"mcp__(.+?)__.")
_HOSTS = re.compile(r"//(?:[^/\\?#\s@]*@)*([^/\\?#\s\"'<>()]+)")
_WHOLE = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_CODES = re.compile(r"[a-z]+://[\w./:-]+")
"""A web address that carries no question: systems of codes are named so."""
_PATH = re.compile(r"/(?!/)[\w./-]*")
_JOINS = re.compile(r"[/\\]{2}|\w:[/\\]|\b(?:https?|ftp|wss?|mailto|data):", re.IGNORECASE)
"""What stands before a host, by the book or as lenient readers take it."""
_AROUND = "()<>[]{}'\"`!,;*_"


def system_of(context: CallContext, tool: CalledTool) -> int:
    """Print of the system that a call of `tool` reaches; 0 where nothing tells, or commands may reach any."""
    hosts = _named_hosts(tool)
    if hosts:
        return fingerprint(f"//{hosts.pop()}", context.key) if len(hosts) == 1 else 0
    if tool.inner == tool.name and tool.own_facts.action == "execute":
        return 0
    server = _server_of(context, tool.inner)
    return fingerprint(server, context.key) if server else 0


def goes_back(context: CallContext, tool: CalledTool, system: int, leaves: list[LeafOrigin]) -> bool:
    """Whether a call reaches nothing but the `system` that the latest private answer came from."""
    session = context.session
    if not system or session.last_private < 0 or system != session.private_system:
        return False
    if not REACHING.isdisjoint(_words_of(context, tool)):
        return False
    hosts = _named_hosts(tool)
    within = (
        _stays(one.leaf, hosts, one.origin.by_source.get(session.last_private, 0), one) for one in leaves
    )
    return all(within) and all(_stays(leaf, hosts) for leaf in tool.envelope)


def _stays(leaf: Leaf, hosts: set[str], private: int = 1, traced: LeafOrigin | None = None) -> bool:
    """Whether an argument names nobody outside, by its name or by what it says.

    A web address elsewhere names a system of codes as often as a place to send to. It does no harm with nothing private beside
    it, or where all of it came out of the system itself.
    """
    text = leaf.text
    if "@" in text or "@" in leaf.path:
        return False
    whole = _WHOLE.fullmatch(text) is not None
    if is_sink(leaf.path):
        return _PATH.fullmatch(text) is not None or (whole and set(_hosts_in(text)) == hosts)
    if not _names_others(text, hosts):
        return True
    out_of_it = traced is not None and private == traced.origin.total
    return whole and _CODES.fullmatch(text) is not None and (not private or out_of_it)


def _names_others(text: str, hosts: set[str]) -> bool:
    """Whether a text holds what may be an address outside `hosts`, however it is spelled."""
    if _JOINS.search(text):
        found = set(_hosts_in(text))
        if not found or not found <= hosts or "\\" in text:
            return True
    runs = text.lower().replace("\\", "/").split() if "." in text else []
    return any(is_address(run.strip(_AROUND)) and not hosts & set(_hosts_in(run)) for run in runs)


def _named_hosts(tool: CalledTool) -> set[str]:
    """Hosts of the web addresses by which a call says where it goes."""
    leaves: Iterator[Leaf] = (leaf for part in (tool.envelope, tool.arguments) for leaf in part)
    return {
        host
        for leaf in leaves
        if "//" in leaf.text and is_sink(leaf.path) and _WHOLE.fullmatch(leaf.text)
        for host in _hosts_in(leaf.text)
    }


def _hosts_in(text: str) -> list[str]:
    return [host.lower().rstrip(".") for host in _HOSTS.findall(text)]


def _server_of(context: CallContext, name: str) -> str | None:
    declared = context.catalogue.tools.get(name) if context.catalogue is not None else None
    if declared is not None and declared.server:
        return declared.server
    served = _SERVED.match(name)
    return served[1] if served else None


def _words_of(context: CallContext, tool: CalledTool) -> set[str]:
    """Words of a tool's name and description, and of what is called through it."""
    words: set[str] = set()
    for name in (tool.name, tool.inner):
        words.update(name_words(name))
        declared = context.catalogue.tools.get(name) if context.catalogue is not None else None
        if declared is not None:
            words.update(name_words((declared.description or "")[:400]))
    return words
