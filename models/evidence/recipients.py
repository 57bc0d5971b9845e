"""Whom an effect goes to: mail addresses and bank accounts in arguments that take nothing else, and whether anybody named them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
_INVITING = _LISTED.words("guests")


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
    """The first recipient of a call that nobody named, though the user named one of its kind; None for none.

    What the user named stands in the root's intent: those below it are written by agents. Whoever invites is among the guests
    himself: of those that arguments for guests take, all must be unnamed.
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
        told = next(_unnamed(kind, named, taking, context), None)
        if told is not None:
            return Unnamed(kind.what, told)
    return None


def _unnamed(
    kind: Kind, named: set[int], taking: Sequence[tuple[LeafOrigin, Sequence[str]]], context: CallContext
) -> Iterator[LeafOrigin]:
    """The arguments of those `taking` recipients that have one whom nobody named."""

    def known(address: str) -> bool:
        return fingerprint(address, context.key) in named or _stands(context, address)

    guests = [one for one in taking if not _INVITING.isdisjoint(_words(one[0].leaf.path))]
    for leaf, addresses in taking:
        if (leaf, addresses) not in guests and not all(map(known, addresses)):
            yield leaf
    by_name = kind.by_name and not all(addresses for _, addresses in guests)
    if guests and not by_name and not any(known(one) for _, addresses in guests for one in addresses):
        yield guests[0][0]


def _takes(kind: Kind, path: str) -> bool:
    """Whether an argument takes recipients of this kind, and is not named as whoever sends."""
    words = _words(path)
    return not words.isdisjoint(kind.parameters) and words.isdisjoint(_SENDING)


def _words(path: str) -> set[str]:
    """Words of the name that an argument has, places in lists aside."""
    return set(name_words(next((step for step in reversed(path.split(".")) if not step.isdigit()), "")))


def _stands(context: CallContext, address: str) -> bool:
    """Whether answers, those of sessions above too, or the catalogue say all that an address consists of, not intents alone."""
    offered = context.catalogue.index if context.catalogue is not None else Index()
    tokens = leaf_tokens(address, context.key)
    for index in (context.provenance, *context.ancestor_provenance):
        found = origin(tokens, index, (), offered, context.key)
        if not found.nowhere and found.intent < found.total:
            return True
    return False
