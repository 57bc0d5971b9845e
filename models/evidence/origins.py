"""Where the values of a call's arguments come from: leaf by leaf, and summed up."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import NamedTuple

import msgspec

from models.evidence.called import CalledTool
from models.evidence.commands import SQL_WORDS, is_statement
from models.evidence.context import CallContext
from models.evidence.provenance import (
    NOT_AIMED,
    Aimed,
    LeafTokens,
    Origin,
    leaf_tokens,
    origin,
    without_words,
)
from models.text.documents import Leaf
from models.text.index import DESCRIBED, Index
from models.text.tokens import HASHED_CHARS, is_hashed
from models.tools.catalogue import NO_OWN_WORDS
from models.tools.parameters import is_query, is_sink


def share(part: int, whole: int) -> int:
    """`part` of `whole` in thousandths, rounded down; 0 of nothing is 0."""
    return 1000 * part // whole if whole else 0


class LeafOrigin(NamedTuple):
    """One argument leaf, where it came from, whether it is a sink, its tokens, and whether it is a fingerprint."""

    leaf: Leaf
    origin: Origin
    sink: bool
    tokens: LeafTokens
    hashed: bool


class Carried(msgspec.Struct, frozen=True):
    """Characters of all arguments, by what carries them, see `models.evidence.provenance.Origin`."""

    total: int
    intent: int
    prose: int
    anchored: int
    sole: int
    catalogue: int
    nowhere: int


class Destinations(msgspec.Struct, frozen=True):
    """Argument leaves that name a destination: how many, and the extremes of their shares in thousandths."""

    leaves: int
    intent_min: int
    prose_max: int
    anchored_min: int  # of what the intent or an anchored field carries
    sole_max: int


NO_DESTINATION = Destinations(0, 1000, 0, 1000, 0)


class ArgumentOrigins(msgspec.Struct, frozen=True):
    """Where a call's arguments come from.

    Attributes
    ----------
    leaves : of what is called, in order
    echo : texts of arguments that say more than `leaves`, since these were taken out of them
    carried : characters by what carries them
    best_intent : most intent share of any leaf, in thousandths
    destinations : of leaves that name one
    aimed : characters of addresses, by what carries them
    by_source : characters by the call whose result carries them, `DESCRIBED` among them
    main_source : the call, or `DESCRIBED`, that carries most; None if none does
    length : characters of all leaves
    planted : the tool of which the catalogue says a destination's address that nothing else carries
    """

    leaves: list[LeafOrigin]
    echo: Sequence[LeafTokens]
    carried: Carried
    best_intent: int
    destinations: Destinations
    aimed: Aimed
    by_source: dict[int, int]
    main_source: int | None
    length: int
    planted: str | None

    @property
    def intent_share(self) -> int:
        """Share of argument characters that the intent carries, in thousandths."""
        return share(self.carried.intent, self.carried.total)

    @property
    def source_share(self) -> int:
        """Share of argument characters that the main source carries, in thousandths; 0 without one."""
        if self.main_source is None:
            return 0
        return share(self.by_source[self.main_source], self.carried.total)


def argument_origins(context: CallContext, tool: CalledTool) -> ArgumentOrigins:
    """Where each argument of a call comes from, and all of them together."""
    traced = _traced(context, tool)
    total = intent = prose = anchored = sole = catalogue = nowhere = 0  # characters
    best_intent = length = 0
    by_source: dict[int, int] = {}
    for one in traced:
        length += HASHED_CHARS if one.hashed else len(one.leaf.text)
        here = one.origin
        if not here.total:
            continue
        total += here.total
        intent += here.intent
        prose += here.prose
        anchored += here.anchored
        sole += here.sole
        catalogue += here.catalogue
        nowhere += here.nowhere
        best_intent = max(best_intent, share(here.intent, here.total))
        for call, weight in here.by_source.items():
            by_source[call] = by_source.get(call, 0) + weight
    main = max(by_source, key=lambda call: (by_source[call], -call)) if by_source else None
    return ArgumentOrigins(
        leaves=traced,
        echo=[leaf_tokens(leaf.text, context.key) for leaf in tool.envelope],
        carried=Carried(total, intent, prose, anchored, sole, catalogue, nowhere),
        best_intent=best_intent,
        destinations=_destinations(traced),
        aimed=_aimed(traced),
        by_source=by_source,
        main_source=main,
        length=length,
        planted=_planted(context, traced) if DESCRIBED in by_source else None,
    )


def _traced(context: CallContext, tool: CalledTool) -> list[LeafOrigin]:
    """Each argument leaf with its origin."""
    catalogue, key = context.catalogue, context.key
    offered = catalogue.index if catalogue is not None else Index()
    own = catalogue.own.get(tool.offered, NO_OWN_WORDS) if catalogue is not None else NO_OWN_WORDS
    traced = []
    for leaf in tool.arguments:
        tokens = leaf_tokens(leaf.text, key)
        sink = is_sink(leaf.path)
        hashed = is_hashed(leaf.text)
        if hashed:
            # What kind of value it stands for, only the argument's name tells.
            tokens = tokens._replace(addresses=(sink,) * len(tokens.texts))
        elif is_query(leaf.path) and is_statement(leaf.text):
            tokens = without_words(tokens, SQL_WORDS)
        whence = origin(tokens, context.provenance, context.ancestor_provenance, offered, key, own)
        traced.append(LeafOrigin(leaf, whence, sink, tokens, hashed))
    return traced


def _destinations(traced: Sequence[LeafOrigin]) -> Destinations:
    sinks = [one.origin for one in traced if one.sink and one.origin.total]
    if not sinks:
        return NO_DESTINATION
    return Destinations(
        leaves=len(sinks),
        intent_min=min(share(sink.intent, sink.total) for sink in sinks),
        prose_max=max(share(sink.prose, sink.total) for sink in sinks),
        anchored_min=min(share(sink.intent + sink.anchored, sink.total) for sink in sinks),
        sole_max=max(share(sink.sole, sink.total) for sink in sinks),
    )


def _aimed(traced: Sequence[LeafOrigin]) -> Aimed:
    """Sums over all leaves that hold an address."""
    aimed = [one.origin.aimed for one in traced if one.origin.aimed.total]
    return Aimed(*map(sum, zip(*aimed, strict=True))) if aimed else NOT_AIMED


def _planted(context: CallContext, traced: Sequence[LeafOrigin]) -> str | None:
    if context.catalogue is None:
        return None
    described = (one.tokens for one in traced if DESCRIBED in one.origin.by_source)
    return context.catalogue.says(
        [print_ for leaf in described for print_ in compress(leaf.prints, leaf.addresses)]
    )
