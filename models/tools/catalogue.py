"""What a tool can do, as far as its declaration and its name tell; and how well it serves an intent.

A policy's tool classes come first; then the verb in the name, or where the name has none the first one of the
description. Where neither has one `models.heads.acting` tells, and where it is sure of the opposite it overrules them.
MCP annotations are hints, believed where they claim more power than that, or where no verb tells and nothing is sure.
What nothing tells is taken for a write. That a tool which acts destroys, or takes something out, any of them may say.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from models.contracts import Action, Tool
from models.evidence.dispatch import takes_acts
from models.heads import acting
from models.lexicons.loader import lexicon
from models.text.fingerprints import fingerprint, prints_of
from models.text.index import DESCRIBED, Index, Own, Prints
from models.text.meaning import NO_VECTORS, likeness, pack, vector_of, with_lines
from models.text.memo import Memo
from models.text.prose import SENTENCE
from models.text.tokens import canonical, squash, tokens

_LISTED = lexicon("verbs")
_DATA = lexicon("data")
_PARAMETERS = lexicon("parameters")

READ_VERBS = _LISTED.words("read")
EXECUTE_VERBS = _LISTED.words("execute")
WRITE_VERBS = _LISTED.words("write")
DESTRUCTIVE = _LISTED.words("destructive")
SENDING = _LISTED.words("sending")
OUTWARD = _LISTED.words("outward")
SENSITIVE = _DATA.words("sensitive")
OPEN_WORLD = _DATA.words("open_world")
SINK_PARAMETERS = _PARAMETERS.words("sinks")
QUERY_PARAMETERS = _PARAMETERS.words("queries")
COMMAND_PARAMETERS = QUERY_PARAMETERS | _PARAMETERS.words("commands")
SAID_BESIDE = _PARAMETERS.words("beside_commands")
PLACES = _PARAMETERS.words("places")
_PLACE = re.compile(r"[\w./~][\w./~:@-]*", re.ASCII)
"""A name alone: a tool may well paste it before the command (``ssh HOST ...``), where an option or a second command would act."""
_SPLIT = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def name_words(name: str) -> list[str]:
    """Lower-case words of an identifier.

    >>> name_words("getUserInfo"), name_words("file-path_2")
    (['get', 'user', 'info'], ['file', 'path', '2'])
    """
    return [w.lower() for w in _SPLIT.findall(name)]


@lru_cache(maxsize=1 << 14)
def stem(word: str) -> str:
    """`word` without common English endings: crude, order fixed, meant for matching only.

    >>> [stem(w) for w in ("payments", "paying", "emails", "boss", "scheduled", "companies")]
    ['pay', 'pay', 'email', 'boss', 'schedul', 'company']
    """
    if word.endswith("ies") and len(word) > 5:
        return word[:-3] + "y"
    for ending in ("ments", "ment", "ations", "ation", "ings", "ing", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            return word[: -len(ending)]
    return word


STOP = frozenset(map(stem, lexicon("english").words("stop_words")))
"""Stems that say nothing of what a text is about."""

_STEM_WORD = re.compile(r"[^\W\d_]{2,}")


def stems(text: str, limit: int = 2000) -> set[str]:
    """Content stems of `text`."""
    words = set(_STEM_WORD.findall(text[:20_000].lower())[:limit])
    return {s for w in words if len(w) <= 64 and (s := _content_stem(w)) is not None}


@lru_cache(maxsize=1 << 14)
def _content_stem(word: str) -> str | None:
    found = stem(word)
    return None if found in STOP else found


def stem_prints(text: str, key: bytes) -> set[int]:
    """Fingerprints of the content stems of `text`."""
    return {fingerprint("=" + s, key) for s in stems(text)}


def stems_of_pieces(pieces: Sequence[str], key: bytes) -> set[int]:
    """What `stem_prints` finds in a text that is `apart`, and whose pieces between white space are `pieces`."""
    return set().union(*map(_pieces(key).__getitem__, set(pieces)))


@lru_cache(maxsize=4)
def _pieces(key: bytes) -> Memo[tuple[int, ...]]:
    return Memo(lambda piece: tuple(stem_prints(piece, key)))


VERBS = READ_VERBS | EXECUTE_VERBS | WRITE_VERBS
_ACTS = EXECUTE_VERBS | WRITE_VERBS
_POWER = (DESTRUCTIVE | SENDING) - VERBS
"""Verbs that are nouns as often ("kill switch", "withdraw history"): beside another verb they act at the ends of a name alone."""
_VIEWED = _LISTED.words("viewed")
_VIEWS = READ_VERBS | _VIEWED
"""What a name ends in that looks at something: "purge_status", "withdraw_history"."""
_LOOKED_AT = _VIEWED | _LISTED.words("looked_at")
"""What a name ends in that looks, whatever it begins with: "import_status", but "restore_snapshot"."""
_WEAK = _LISTED.words("weak")
_NOUNS = _LISTED.words("nouns")
_ENDING = DESTRUCTIVE | _LISTED.words("ending")
"""What ends a name that does not begin with a reading verb, if it acts: no nouns ("snapshot_create", but "view_order")."""
_GROUPING = _ENDING | _LISTED.words("grouping")
"""Verbs that stand alone before a tool's own name: "create/snapshot"."""
_FIRST = _LISTED.words("first")
_OPENED = _LISTED.words("opened")
_THINGS = _NOUNS - {"search", "query"}
"""Nouns that a group of tools is called after: they say nothing of what the tools do."""
_ASKING = _LISTED.words("asking")
_ONLY_LOOK = READ_VERBS - _NOUNS
"""Verbs of reading that name nothing."""
_LOOKS = _ONLY_LOOK - {"read", "scroll"}
"""Verbs that look behind another word, too: "archive_get_item", but "mark_read"."""
_JOINED = _ACTS | _POWER | _FIRST
"""What a look is joined to where a name acts too: "find_and_remove"."""
_JOINED_LAST = _ENDING | {"replace"}
"""... and behind more than one word: "findOneAndUpdate", but "get_price_and_order"."""
_METHODS = frozenset("POST PUT PATCH DELETE".split())
_GROUPS = re.compile(r"__|[.:/ ]+")
"""What parts a name into groups."""
_NAMESPACE = re.compile(r".*(?:__|[.:/])(?=.)")
"""What a server or a group of tools puts before a tool's own name."""
_RETURNING = _LISTED.words("returning")
_BEGINS_AS = _LISTED.stands_for("begins_as")
_GRAVE = DESTRUCTIVE | OUTWARD | SENDING | _LISTED.words("grave")
"""Verbs of a description that nothing takes back."""
_FETCHING = _LISTED.words("fetching")
_FETCHING_FIRST = _FETCHING | _LISTED.words("fetching_first")
"""Verbs of reading that mean nothing else where a name begins with them."""
MAX_UNTIL_VERB = 8
"""Words of a description among which its first verb is sought; without one there, words that begin a sentence tell,
those that act before those that read."""
MAX_TELLING = 400
"""Characters of a description in which a sentence may begin with its verb."""
_REQUEST = re.compile(r"\W*(?:HTTP )?(?:GET|POST|PUT|PATCH|DELETE)\b|\s*Drop-in\b")
"""What a description made of an HTTP interface begins with: its "POST" says of no tool that it posts; and "Drop-in", which drops nothing."""


def told_verb(description: str | None) -> str | None:
    """The verb with which a description says what its tool does: READ, WRITE or EXECUTE, DESTRUCTIVE or SENDING, in its base form.

    >>> [told_verb(t) for t in ("Sends an e-mail.", "This tool fetches a page", "Returns the balance.", "Mail")]
    ['send', 'fetch', 'get', None]
    >>> [told_verb(t) for t in ("Withdraws money.", "Wipes a device and returns its number", "Analyzes the network")]
    ['withdraw', 'wipe', 'inspect']
    >>> [told_verb(t) for t in ("Fetches and removes the next message", "Disrupts what runs", "Exports the contacts")]
    ['remove', 'destroy', 'send']
    >>> told_verb("This tool belongs to the family of mathematical ones. Description: Computes a mean.")
    'compute'
    """
    text = (description or "")[:MAX_TELLING]
    first, joint, second = [*name_words(text[:60])[:3], "", "", ""][:3]
    begins = _begins_with(first)
    if joint in ("and", "or") and (begins or _base(first, READ_VERBS)) in READ_VERBS:
        also = _begins_with(second) or _base(second, _ACTS)
        if also not in READ_VERBS:
            begins = also or begins
    if begins is not None:
        return begins
    if (verb := next(_verbs(name_words(text[:200])[:MAX_UNTIL_VERB]), None)) is not None:
        return verb
    begun = list(
        _verbs(words[0] for part in acting.BEGINS.split(text)[1:] if (words := name_words(part[:40])))
    )
    return next((verb for verb in begun if verb not in READ_VERBS), begun[0] if begun else None)


def _begins_with(word: str) -> str | None:
    """The verb that the first word of a description is, where it is none that names have."""
    said = _base(word, _BEGINS_AS)
    return _BEGINS_AS[said] if said is not None else _base(word, _POWER)


def _verbs(words: Iterable[str]) -> Iterator[str]:
    """Those of `words` that are verbs, in their base form."""
    for word in words:
        if _base(word, _RETURNING) is not None:
            yield "get"
        elif (verb := _base(word, VERBS)) is not None:
            yield verb


def _base(word: str, verbs: Collection[str]) -> str | None:
    """Which of these verbs `word` is, in its base form or the third person."""
    bases = (word, word.removesuffix("s"), word.removesuffix("es"))
    return next((base for base in bases if base in verbs), None)


def _speaks(words: Sequence[str]) -> bool:
    """Whether a name says what its tool does."""
    return not VERBS.isdisjoint(words)


def speaks(name: str) -> bool:
    """Whether a name says what its tool does, by a verb."""
    return _speaks(name_words(name))


def is_general(name: str) -> bool:
    """Whether a tool's name says nothing of what it does: it runs, calls or requests whatever it is given.

    >>> [is_general(name) for name in ("http_request", "run_python", "send_money", "search")]
    [True, True, False, False]
    """
    return (READ_VERBS | WRITE_VERBS | _POWER).isdisjoint(name_words(name))


MIN_RANKED = 4
"""Tools of a catalogue that are told apart by the words of their names and descriptions: with one or two any word makes one the first."""


def proper_names(names: Collection[str]) -> dict[str, str]:
    """Each name of a catalogue without what all of them begin with: a server's name tells nothing of one of its tools.

    That ends before a verb, and leaves each name a word. Names that begin with ``mcp__`` have that from the client that
    the servers are connected to, so they are looked at by themselves.

    >>> list(proper_names(["BankPay", "BankBalance", "BankGetUser", "BankHold"]).values())
    ['Pay', 'Balance', 'GetUser', 'Hold']
    >>> list(proper_names(["get_user", "get_item", "get_page", "get_it"]).values())
    ['get_user', 'get_item', 'get_page', 'get_it']
    """
    found: dict[str, str] = {}
    for served in (True, False):
        group = [name for name in names if name.startswith("mcp__") is served]
        words = [list(_SPLIT.finditer(name)) for name in group]
        shared = 0
        if len(group) >= MIN_RANKED:
            for column in zip(*(one[:-1] for one in words), strict=False):
                alike = {word.group().lower() for word in column}
                if len(alike) > 1 or not alike.isdisjoint(VERBS):
                    break
                shared += 1
        for name, one in zip(group, words, strict=True):
            found[name] = name[one[shared].start() :] if shared else name
    return found


def spoken_name(tool: Tool, proper: str) -> str:
    """What a tool is called; with the beginning of its description where that does not say what it does."""
    if speaks(proper):
        return proper
    return f"{proper} {(tool.description or '')[:80]}"


def spoken_names(tools: Sequence[Tool]) -> dict[str, str]:
    """What each tool of a catalogue is called in a call's meaning, by its name."""
    proper = proper_names({tool.name for tool in tools})
    return {tool.name: spoken_name(tool, proper[tool.name]) for tool in tools}


class ToolFacts(NamedTuple):
    """What is known of a tool before it is called."""

    known: bool
    action: Action
    destructive: bool
    sensitive: bool
    open_world: bool
    outward: bool


def facts_of(
    name: str, tool: Tool | None, classes: Mapping[str, Action], annotations: Mapping[str, Any] | None = None
) -> ToolFacts:
    """Facts of tool `name`; `classes` are the policy's own, which win."""
    described = tool.description or "" if tool else ""
    told = told_verb(described)
    words, verbs, read = _name_tells(name, told)
    marks = annotations if annotations is not None else (tool.annotations if tool else None) or {}
    action: Action
    if name in classes:
        action = classes[name]
    elif not EXECUTE_VERBS.isdisjoint(words):
        action = "execute"
    else:
        looks = _only_looks(name, tool, told, read, hinted=marks.get("readOnlyHint") is True)
        action = "read" if looks and marks.get("readOnlyHint") is not False else "write"
    if action != "read" and told and not _REQUEST.match(described):
        verbs = verbs | ({told} & (DESTRUCTIVE | OUTWARD))
    text = set(words) | set(name_words(described[:400]))
    # What reads by its verbs and is taken for an act still brings strangers' words in.
    reads = action == "read" or (action == "write" and bool(read) and name not in classes)
    return ToolFacts(
        known=tool is not None,
        action=action,
        destructive=bool(marks.get("destructiveHint"))
        or not DESTRUCTIVE.isdisjoint(verbs | (VERBS & set(words))),
        sensitive=bool(SENSITIVE & text),
        open_world=reads and bool(OPEN_WORLD & text),
        outward=action != "read"
        and not (OUTWARD.isdisjoint(words) and (OUTWARD | SENDING).isdisjoint(verbs)),
    )


def _only_looks(name: str, tool: Tool | None, told: str | None, verbs: bool | None, *, hinted: bool) -> bool:
    """Whether a tool only looks: by its `verbs`, or by what was learnt where none tells or where that is sure of the opposite.

    Whoever writes a description may be the attacker, so none takes back what a name says: not that it acts, in a verb or for
    what was learnt (twice as sure, where the description's first verb reads), nor that it fetches. And a description whose
    first verb destroys, sends or buys is no look, unless the name says that it is one.
    """
    described = tool is not None and bool(tool.description)
    if verbs is not None and not described:
        # Of a name alone the order of its verbs tells more than its words do: "find_and_replace".
        return verbs
    learnt = acting.current()
    odds = learnt.of(marks_of(name, tool))
    alone, own = _name_tells(name, None).looks, _own_words(name)
    if odds >= acting.SURE:
        first = next((word for word in own if word in VERBS), None)
        return alone is True and (first in _FETCHING or not _FETCHING_FIRST.isdisjoint(own[:1]))
    by_name = 0 if alone is not None else learnt.of(marks_of(name, None))
    if alone is False or by_name >= (2 if verbs else 1) * acting.SURE:
        return False
    if alone is None and tool is not None and takes_acts(properties_of(tool.parameters)):
        return hinted  # "call_tool" does whatever it is told to, however its description puts it
    if told in _GRAVE:
        return bool(verbs)
    if verbs is None:
        leans = odds < -acting.LEANING and (DESTRUCTIVE | SENDING | _FIRST).isdisjoint(own[:1])
        return hinted or leans  # "wipe_logs" may be either
    return verbs or odds <= (-acting.SURE if alone is not None else -2 * acting.SURE)


MAX_MARKED = 64
"""Parameters of a tool that are looked at for what it does."""


def marks_of(name: str, tool: Tool | None) -> set[str]:
    """What `models.heads.acting` goes by: the words of a tool's name, and of what is declared of it."""
    declared = properties_of(tool.parameters) if tool is not None else {}
    described = (tool.description or "") if tool is not None else ""
    parameters = {word for parameter in islice(declared, MAX_MARKED) for word in name_words(parameter)}
    return acting.marks(name_words(name), _own_words(name), described, parameters)


class _Told(NamedTuple):
    """What a tool's name tells, helped by the verb of its description where it has none of its own.

    ``words``: the name's, with that verb; ``power``: those of `_POWER` that act in it; ``looks``: whether it only looks,
    None where no verb says.
    """

    words: list[str]
    power: frozenset[str]
    looks: bool | None


def _name_tells(name: str, told: str | None) -> _Told:
    words, own = name_words(name), _own_words(name)
    ends = own[-1:] if len(words) > 1 else []
    views = not _VIEWS.isdisjoint(ends)
    known: frozenset[str] = frozenset() if views else _POWER
    power = known.intersection(own[:1] + ends if _speaks(words) else words)
    group, said = words[: max(0, len(words) - len(own))], own
    contradicts = told in READ_VERBS and not _ACTS.isdisjoint(group)
    if told and not (_speaks(own) or contradicts or (power and told in _WEAK)):
        words, said = [*words, told], [*own, told]
        power = frozenset() if told in READ_VERBS else power | (known & {told})
    if not views:
        group = [word for word in group if word not in _THINGS]
    if _acts(own):
        return _Told(words, power, False)
    # "mcp__brave-search__send_feedback" sends: what a server is called tells only of tools that say nothing themselves.
    verbs = [w for w in (*said, *group) if w in READ_VERBS or w in WRITE_VERBS or w in power]
    return _Told(words, power, verbs[0] in READ_VERBS if verbs else None)


def _own_words(name: str) -> list[str]:
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
        if first in _FIRST and second not in _LOOKS:
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


MAX_SETTLED = 4096
"""Words of a catalogue that are kept in a dictionary too: some 70 bytes each, for every catalogue in memory."""


MAX_LIKENESS = 512
"""Clauses whose likeness to a catalogue's tools is remembered, of some 250 bytes each."""


_MAY_AIM = re.compile(r"[\d@./]")
"""What any address has: see `models.text.addresses`."""


def name_print(name: str, key: bytes) -> int:
    """Print under which a tool's name of several words is met again."""
    return fingerprint(squash(canonical(name)), key)


def _names_an_act(words: Sequence[str]) -> bool:
    """Whether a name of these words says that something is done, and is no common word once its words are joined."""
    return len(words) > 1 and max(map(len, words[1:])) > 2 and not _ACTS.isdisjoint(words)


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


class Catalogue:
    """The tools that a session was offered, with what is derived from them once.

    Attributes
    ----------
    tools : dict of str to Tool
    proper : dict of str to str
        See `proper_names`.
    spoken : dict of str to str
        See `spoken_names`.
    vectors : array of shape (n, DIMS)
        What each tool's name and description mean.
    meanings : bytes
        The same, packed: one object, so that what is remembered of it is found at once.
    general : dict of str to mapping
        Properties of the schema of each general tool that does not say that it reads.
    acts : frozenset of int
        Prints of names of several words that say an act, whole and proper: a record that holds one asks for it.
    index : Index
        Words of names, descriptions and parameters: where a value may come from without any other source.
    own : dict of str to Own
        What of that is said of each tool.
    policy_says : PolicySays
    """

    def __init__(
        self,
        tools: Sequence[Tool],
        key: bytes,
        classes: Mapping[str, Action],
        sensitive: Mapping[str, bool] | None = None,
    ) -> None:
        self.policy_says = PolicySays(classes, sensitive or {})
        self.tools = {t.name: t for t in tools}
        self.order = {t.name: n for n, t in enumerate(tools)}
        self._size = len(tools)
        self._likeness: dict[bytes, bytes] = {}
        self.proper = proper_names(self.tools)
        self.spoken = {t.name: spoken_name(t, self.proper[t.name]) for t in tools}
        self.facts = {t.name: self.policy_says.over(t.name, facts_of(t.name, t, classes)) for t in tools}
        self.index = Index()
        self.general = {
            t.name: properties_of(t.parameters)
            for t in tools
            if self.facts[t.name].action != "read" and is_general(self.proper[t.name])
        }
        either = {*self.tools, *self.proper.values()}
        self.acts = frozenset(name_print(name, key) for name in either if _names_an_act(name_words(name)))
        self.own: dict[str, Own] = {}
        self._aimed: dict[str, bytes] = {}  # by tool: lines of descriptions that hold an address
        all_fields: set[int] = set()
        all_words: set[int] = set()
        for t in tools:
            values, described = _parameter_text(t.parameters)
            fields = set(prints_of(f"{t.name} {values}"[:4000], key, index=False))
            text = f"{t.description or ''} {described}"[:4000]
            words = fields.union(prints_of(text, key, index=False))
            self.own[t.name] = Own(as_prints(fields), as_prints(words))
            all_fields |= fields
            all_words |= words
            sentences = (one for one in SENTENCE.split(text) if _MAY_AIM.search(one))
            if aimed := [one for one in sentences if any(token.address for token in tokens(one))]:
                self._aimed[t.name] = with_lines(b"", aimed, DESCRIBED, b"", NO_VECTORS)
        self.index.add(all_fields, 1, prose=False, limit=20_000)
        self.index.add(all_words, 1, prose=True, limit=20_000)
        if len(self.index.prints) <= MAX_SETTLED:
            self.index.settle()
        called = [(self.proper[t.name], t.description or "") for t in tools]
        self.vectors = (
            np.stack([vector_of(f"{name} {name} {described[:300]}") for name, described in called])
            if tools
            else NO_VECTORS
        )
        self.meanings = pack(self.vectors)
        owned = [
            stem_prints(f"{' '.join(name_words(name))} {described[:600]}", key) for name, described in called
        ]
        named = [{fingerprint("=" + stem(w), key) for w in name_words(name)} for name, _ in called]
        spread: dict[int, int] = {}
        for prints_of_tool in owned:
            for p in prints_of_tool:
                spread[p] = spread.get(p, 0) + 1
        # Integer weights: a stem in every description says nothing about any; one in a name counts double.
        self._weights: dict[int, list[tuple[int, int]]] = {}
        for n, (prints_of_tool, names) in enumerate(zip(owned, named, strict=True)):
            for p in prints_of_tool:
                weight = (2 if p in names else 1) * max(1, 64 // spread[p])
                self._weights.setdefault(p, []).append((n, weight))

    def likeness(self, clauses: bytes) -> bytes:
        """`models.text.meaning.likeness` of the tools to packed clauses, remembered: each call asks for some again."""
        known = self._likeness.get(clauses)
        if known is None:
            if len(self._likeness) >= MAX_LIKENESS:
                self._likeness.clear()
            known = self._likeness[clauses] = likeness(clauses, self.vectors)
        return known

    def says(self, prints: Collection[int]) -> str | None:
        """The first tool of which the catalogue says any of these tokens."""
        told = as_prints(set(prints))
        return next((name for name, own in self.own.items() if np.isin(told, own.words).any()), None)

    def aimed_beside(self, tool: str) -> bytes:
        """Sentences of other tools' descriptions that hold an address, as lines that might lead to a call of `tool`."""
        return b"".join(lines for name, lines in self._aimed.items() if name != tool)

    def affinity(self, words: Collection[int]) -> list[int]:
        """How much each tool's name and description speak of `words` (stem prints), 0 to 255 a tool.

        The tool spoken of most gets 255, the others in proportion: ranks within this catalogue, since raw
        overlaps do not compare across catalogues. Among so few tools that there is nothing to choose, all get 0.
        """
        raw = [0] * self._size
        if self._size < MIN_RANKED:
            return raw
        for word in words:
            for n, weight in self._weights.get(word, ()):
                raw[n] += weight
        top = max(raw, default=0)
        return [255 * r // top if top else 0 for r in raw]


SPOKEN = 16
"""Arguments that a call's meaning is taken from."""


def spoken_call(names: Mapping[str, str], tool: str, texts: Iterable[str]) -> str:
    """A call as words, for its meaning: what `names` call its tool, and the first of its arguments' texts."""
    return f"{names.get(tool, tool)} {' '.join(text[:400] for text in texts)}"


def properties_of(schema: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The parameters that a schema describes, by name, in its order."""
    properties = (schema or {}).get("properties")
    return properties if isinstance(properties, dict) else {}


def _parameter_text(schema: Mapping[str, Any] | None) -> tuple[str, str]:
    """Names, enumerations and defaults of a parameter schema's first level, and its descriptions."""
    fields: list[str] = []
    prose: list[str] = []
    for name, spec in list(properties_of(schema).items())[:64]:
        fields.append(str(name))
        if isinstance(spec, dict):
            listed, default, described = (spec.get(name) for name in ("enum", "default", "description"))
            fields += [str(v)[:200] for v in listed] if isinstance(listed, list) else []
            fields += [default[:400]] if isinstance(default, str) else []
            prose += [described[:400]] if isinstance(described, str) else []
    return " ".join(fields), " ".join(prose)


@lru_cache(maxsize=1 << 12)
def is_sink(path: str) -> bool:
    """Whether an argument at `path` names where an effect goes: a recipient, URL, account, path, command."""
    return any(w in SINK_PARAMETERS for w in name_words(path)[-6:])


def is_query(path: str) -> bool:
    """Whether an argument at `path` is named as SQL is."""
    return path.rpartition(".")[2].lower() in QUERY_PARAMETERS


def is_command(path: str) -> bool:
    """Whether the argument at `path` is named as what a tool runs."""
    return path.lower() in COMMAND_PARAMETERS


def beside_command(path: str, text: str) -> bool:
    """Whether an argument only stands beside what a tool runs: why, how long, and where, as a plain name."""
    name = path.lower()
    return name in SAID_BESIDE or (name in PLACES and _PLACE.fullmatch(text) is not None)


def wanted_actions(text: str) -> set[Action]:
    """Actions that the verbs of an intent ask for; reading is always among them."""
    found: set[Action] = {"read"}
    heard = {stem(w) for w in _STEM_WORD.findall(text[:20_000].lower())}
    if heard & _WRITE_STEMS:
        found.add("write")
    if heard & _EXECUTE_STEMS:
        found |= {"execute", "write"}
    return found


_WRITE_STEMS = frozenset(map(stem, WRITE_VERBS)) | _LISTED.words("wanted_stems")
_EXECUTE_STEMS = frozenset(map(stem, EXECUTE_VERBS))


def as_prints(values: set[int]) -> Prints:
    """Sorted array of fingerprints."""
    return np.array(sorted(values), np.uint32)
