"""What a tool's name tells of it: whether it only looks, and which of its words act.

The verb in a name tells most, and where it stands: "find_and_remove" acts, "purge_status" looks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from models.lexicons.loader import lexicon
from models.tools.names import has_verb, name_words
from models.tools.verbs import (
    ACTING_VERBS,
    DESTRUCTIVE_VERBS,
    LEADING_VERBS,
    POWER_VERBS,
    READ_VERBS,
    VERBS,
    WRITE_VERBS,
)

_LISTED = lexicon("verbs_in_names")

_VIEWED = _LISTED.words("viewed")
_VIEWS = READ_VERBS | _VIEWED
"""What a name ends in that looks at something: "purge_status", "withdraw_history"."""
_LOOKED_AT = _VIEWED | _LISTED.words("looked_at")
"""What a name ends in that looks, whatever it begins with: "import_status", but "restore_snapshot"."""
_WEAK = lexicon("verbs_in_descriptions").words("weak")
_NOUNS = _LISTED.words("nouns")
_ENDING = DESTRUCTIVE_VERBS | _LISTED.words("ending")
"""What ends a name that does not begin with a reading verb, if it acts: no nouns ("snapshot_create", but "view_order")."""
_GROUPING = _ENDING | _LISTED.words("grouping")
"""Verbs that stand alone before a tool's own name: "create/snapshot"."""
_OPENED = _LISTED.words("opened")
_THINGS = _NOUNS - {"search", "query"}
"""Nouns that a group of tools is called after: they say nothing of what the tools do."""
_ASKING = _LISTED.words("asking")
_ONLY_LOOK = READ_VERBS - _NOUNS
"""Verbs of reading that name nothing."""
_LOOKS = _ONLY_LOOK - {"read", "scroll"}
"""Verbs that look behind another word, too: "archive_get_item", but "mark_read"."""
_JOINED = ACTING_VERBS | POWER_VERBS | LEADING_VERBS
"""What a look is joined to where a name acts too: "find_and_remove"."""
_JOINED_LAST = _ENDING | {"replace"}
"""... and behind more than one word: "findOneAndUpdate", but "get_price_and_order"."""
_METHODS = frozenset("POST PUT PATCH DELETE".split())
_GROUPS = re.compile(r"__|[.:/ ]+")
"""What parts a name into groups."""
_NAMESPACE = re.compile(r".*(?:__|[.:/])(?=.)")
"""What a server or a group of tools puts before a tool's own name."""


class NameReading(NamedTuple):
    """What a tool's name tells, helped by the verb of its description where it has none of its own.

    ``words``: the name's, with that verb; ``power``: those of `POWER_VERBS` that act in it; ``looks``: whether it only looks,
    None where no verb says.
    """

    words: list[str]
    power: frozenset[str]
    looks: bool | None


def read_name(name: str, described: str | None) -> NameReading:
    """What `name` tells; `described` is the verb of the tool's description, see `models.tools.verbs_in_descriptions`."""
    words, own = name_words(name), own_words(name)
    ends = own[-1:] if len(words) > 1 else []
    views = not _VIEWS.isdisjoint(ends)
    known: frozenset[str] = frozenset() if views else POWER_VERBS
    power = known.intersection(own[:1] + ends if has_verb(words) else words)
    group, said = words[: max(0, len(words) - len(own))], own
    contradicts = described in READ_VERBS and not ACTING_VERBS.isdisjoint(group)
    if described and not (has_verb(own) or contradicts or (power and described in _WEAK)):
        words, said = [*words, described], [*own, described]
        power = frozenset() if described in READ_VERBS else power | (known & {described})
    if not views:
        group = [word for word in group if word not in _THINGS]
    if _acts(own):
        return NameReading(words, power, False)
    # "mcp__brave-search__send_feedback" sends: what a server is called tells only of tools that say nothing themselves.
    verbs = [w for w in (*said, *group) if w in READ_VERBS or w in WRITE_VERBS or w in power]
    return NameReading(words, power, verbs[0] in READ_VERBS if verbs else None)


def own_words(name: str) -> list[str]:
    """The words of a tool's own name, without its server's or its group's; a verb that stands alone before it, or a method of HTTP, belongs to it."""
    own = name_words(_NAMESPACE.sub("", name))
    groups = [group.strip("_") for group in _GROUPS.split(name)[:-1]]
    if groups[:1] in (["get"], ["GET"]):
        return ["get", *own]
    if len(own) == 1 and own[0] in ("search", "query", "count"):
        return own
    return [*next((name_words(g) for g in groups if g in _METHODS or g in _GROUPING), []), *own]


def _acts(own: Sequence[str]) -> bool:
    """Whether a name acts, whatever its first verb is: by how it ends, or by an act that is joined to a look.

    >>> [_acts(name_words(n)) for n in ("snapshot_create", "findOneAndUpdate", "get_or_create_user", "check_out_book")]
    [True, True, True, True]
    >>> [_acts(name_words(n)) for n in ("view_order", "get_buy_and_sell_orders", "check_update", "open_file")]
    [False, False, False, False]
    """
    first, second = [*own[:2], "", ""][:2]
    if len(own) > 1 and first not in _ONLY_LOOK and _ends_acting(own):
        return True
    if _LOOKED_AT.isdisjoint(own[-1:]):
        if (first == "check" and second in ("in", "out")) or (first == "open" and second in _OPENED):
            return True
        if first in LEADING_VERBS and second not in _LOOKS:
            return True
    joins = (at for at in {1, len(own) - 2} if first in VERBS and 0 < at < len(own) - 1)
    return any(
        own[at] in ("and", "or") and own[at + 1] in (_JOINED if at == 1 else _JOINED_LAST) for at in joins
    )


def _ends_acting(own: Sequence[str]) -> bool:
    """Whether a name ends in a verb that is no noun there, or has it behind a thing: "snapshot_create_v2"."""
    if own[-1] == "update" and not _LOOKS.isdisjoint(own[1:-1]):
        return False
    return own[-1] in _ENDING or (own[0] in _THINGS and own[0] not in _ASKING and own[1] in _ENDING)
