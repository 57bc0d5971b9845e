"""What a tool can do, as far as its declaration and its name tell.

A policy's tool classes come first; then the verb in the name, or where the name has none the first one of the
description. Where neither has one `models.heads.acting` tells, and where it is sure of the opposite it overrules them.
MCP annotations are hints, believed where they claim more power than that, or where no verb tells and nothing is sure.
What nothing tells is taken for a write. That a tool which acts destroys, or takes something out, any of them may say.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import NamedTuple

from models.contracts import Action, Tool
from models.heads.acting import LEANING, SURE, Acting, marks
from models.lexicons.loader import lexicon
from models.tools.names import name_words
from models.tools.parameters import properties_of, takes_acts
from models.tools.verbs import (
    DESTRUCTIVE_VERBS,
    EXECUTE_VERBS,
    LEADING_VERBS,
    OUTWARD_WORDS,
    SENDING_VERBS,
    VERBS,
)
from models.tools.verbs_in_descriptions import HTTP_REQUEST, described_verb
from models.tools.verbs_in_names import own_words, read_name

_DATA = lexicon("data")
SENSITIVE_WORDS = _DATA.words("sensitive")
OPEN_WORLD_WORDS = _DATA.words("open_world")
_GRAVE = DESTRUCTIVE_VERBS | OUTWARD_WORDS | SENDING_VERBS | lexicon("verbs_in_descriptions").words("grave")
"""Verbs of a description that nothing takes back."""
_IN_NAMES = lexicon("verbs_in_names")
_FETCHING = _IN_NAMES.words("fetching")
_FETCHING_FIRST = _FETCHING | _IN_NAMES.words("fetching_first")
"""Verbs of reading that mean nothing else where a name begins with them."""
MAX_MARKED = 64
"""Parameters of a tool that are looked at for what it does."""


class ToolFacts(NamedTuple):
    """What is known of a tool before it is called."""

    known: bool
    action: Action
    destructive: bool
    sensitive: bool
    open_world: bool
    outward: bool


class PolicySays(NamedTuple):
    """What a policy says of tools by name: it wins over what they say of themselves."""

    classes: Mapping[str, Action]
    sensitive: Mapping[str, bool]

    def over(self, name: str, facts: ToolFacts) -> ToolFacts:
        """`facts` with the policy's word on the tool's class and sensitivity, where it has one."""
        if name in self.classes:
            facts = facts._replace(action=self.classes[name])
        return facts._replace(sensitive=self.sensitive[name]) if name in self.sensitive else facts


SAYS_NOTHING = PolicySays({}, {})


def facts_of(name: str, tool: Tool | None, classes: Mapping[str, Action], acting: Acting) -> ToolFacts:
    """Facts of tool `name`; `classes` are the policy's own, which win, and `acting` tells where no verb does."""
    described = tool.description or "" if tool else ""
    verb = described_verb(described)
    words, powerful, reads_by_name = read_name(name, verb)
    hints = (tool.annotations if tool else None) or {}
    action: Action
    if name in classes:
        action = classes[name]
    elif not EXECUTE_VERBS.isdisjoint(words):
        action = "execute"
    else:
        looks = _only_looks(name, tool, verb, reads_by_name, acting, hinted=hints.get("readOnlyHint") is True)
        action = "read" if looks and hints.get("readOnlyHint") is not False else "write"
    if action != "read" and verb and not HTTP_REQUEST.match(described):
        powerful = powerful | ({verb} & (DESTRUCTIVE_VERBS | OUTWARD_WORDS))
    text = set(words) | set(name_words(described[:400]))
    # What reads by its verbs and is taken for an act still brings strangers' words in.
    reads = action == "read" or (action == "write" and bool(reads_by_name) and name not in classes)
    return ToolFacts(
        known=tool is not None,
        action=action,
        destructive=bool(hints.get("destructiveHint"))
        or not DESTRUCTIVE_VERBS.isdisjoint(powerful | (VERBS & set(words))),
        sensitive=bool(SENSITIVE_WORDS & text),
        open_world=reads and bool(OPEN_WORLD_WORDS & text),
        outward=action != "read"
        and not (OUTWARD_WORDS.isdisjoint(words) and (OUTWARD_WORDS | SENDING_VERBS).isdisjoint(powerful)),
    )


def _only_looks(
    name: str, tool: Tool | None, verb: str | None, by_verbs: bool | None, acting: Acting, *, hinted: bool
) -> bool:
    """Whether a tool only looks: by its verbs, or by what was learnt where none tells or where that is sure of the opposite.

    Whoever writes a description may be the attacker, so none takes back what a name says: not that it acts, in a verb or for
    what was learnt (twice as sure, where the description's first verb reads), nor that it fetches. And a description whose
    first verb destroys, sends or buys is no look, unless the name says that it is one.
    """
    described = tool is not None and bool(tool.description)
    if by_verbs is not None and not described:
        # Of a name alone the order of its verbs tells more than its words do: "find_and_replace".
        return by_verbs
    odds = acting.of(marks_of(name, tool))
    alone, own = read_name(name, None).looks, own_words(name)
    if odds >= SURE:
        first = next((word for word in own if word in VERBS), None)
        return alone is True and (first in _FETCHING or not _FETCHING_FIRST.isdisjoint(own[:1]))
    by_name = 0 if alone is not None else acting.of(marks_of(name, None))
    if alone is False or by_name >= (2 if by_verbs else 1) * SURE:
        return False
    if alone is None and tool is not None and takes_acts(properties_of(tool.parameters)):
        return hinted  # "call_tool" does whatever it is told to, however its description puts it
    if verb in _GRAVE:
        return bool(by_verbs)
    if by_verbs is None:
        leans = odds < -LEANING and (DESTRUCTIVE_VERBS | SENDING_VERBS | LEADING_VERBS).isdisjoint(own[:1])
        return hinted or leans  # "wipe_logs" may be either
    return by_verbs or odds <= (-SURE if alone is not None else -2 * SURE)


def marks_of(name: str, tool: Tool | None) -> set[str]:
    """What `models.heads.acting` goes by: the words of a tool's name, and of what is declared of it."""
    declared = properties_of(tool.parameters) if tool is not None else {}
    described = (tool.description or "") if tool is not None else ""
    parameters = {word for parameter in islice(declared, MAX_MARKED) for word in name_words(parameter)}
    return marks(name_words(name), own_words(name), described, parameters)
