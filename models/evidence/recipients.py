"""Whom an effect goes to: mail addresses and bank accounts in arguments that take nothing else, and whether anybody named them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from models.evidence.call import CallEvidence
from models.evidence.context import CallContext
from models.evidence.origins import LeafOrigin
from models.evidence.provenance import leaf_tokens, origin
from models.lexicons.loader import lexicon
from models.session import MAX_ADDRESSED, Session, may_forget
from models.text.fingerprints import fingerprint
from models.text.index import Index
from models.text.recipients import accounts_of, mails_in, mails_of
from models.tools.names import name_words

_LISTED = lexicon("parameters")
_SENDING = _LISTED.words("not_recipients")


class Kind(NamedTuple):
    """A kind of recipients.

    Attributes
    ----------
    what : one is called
    parameters : words of names of arguments that take them
    by_name : whether such an argument may hold a name in place of one, which may be whom the user named
    of : those that a value consists of
    named : prints of those that a session's intent names
    """

    what: str
    parameters: frozenset[str]
    by_name: bool
    of: Callable[[str], set[str]]
    named: Callable[[Session], bytes]


KINDS = (
    Kind("mail address", _LISTED.words("recipients_of_mail"), True, mails_of, lambda session: session.mails),
    Kind(
        "account", _LISTED.words("recipients_of_money"), False, accounts_of, lambda session: session.accounts
    ),
)


class Unnamed(NamedTuple):
    """A recipient that nobody named: of which kind, and the argument that has it."""

    what: str
    leaf: LeafOrigin


def unnamed_recipient(evidence: CallEvidence) -> Unnamed | None:
    """The first recipient of a call that nobody named, where all of its kind are such, though the user named one; None for none.

    What the user named stands in the root's intent: those below it are written by agents.
    """
    context = evidence.context
    root = context.ancestors[-1] if context.ancestors else context.session
    if not (root.mails or root.accounts) or any(map(may_forget, (context.session, *context.ancestors))):
        return None  # nothing to hold it against, or an answer that said it may be gone
    for kind in KINDS:
        named = set(np.frombuffer(kind.named(root), "<u4").tolist())
        if not named or len(named) >= MAX_ADDRESSED:
            continue
        named |= {fingerprint(own, context.key) for own in mails_in(root.user or "")}
        taking = [
            (leaf, sorted(kind.of(leaf.leaf.text)))
            for leaf in evidence.arguments.leaves
            if leaf.leaf.is_string and _takes(kind, leaf.leaf.path)
        ]
        here = [(leaf, address) for leaf, addresses in taking for address in addresses]
        others = not all(addresses for _, addresses in taking)
        if not here or (others and kind.by_name):
            continue
        if not any(fingerprint(one, context.key) in named or _stands(context, one) for _, one in here):
            return Unnamed(kind.what, here[0][0])
    return None


def _takes(kind: Kind, path: str) -> bool:
    """Whether an argument takes recipients of this kind, and is not named as whoever sends."""
    name = next((step for step in reversed(path.split(".")) if not step.isdigit()), "")
    words = set(name_words(name))
    return not words.isdisjoint(kind.parameters) and words.isdisjoint(_SENDING)


def _stands(context: CallContext, address: str) -> bool:
    """Whether answers, those of sessions above too, or the catalogue say all that an address consists of, not intents alone."""
    offered = context.catalogue.index if context.catalogue is not None else Index()
    tokens = leaf_tokens(address, context.key)
    for index in (context.provenance, *context.ancestor_provenance):
        found = origin(tokens, index, (), offered, context.key)
        if not found.nowhere and found.intent < found.total:
            return True
    return False
