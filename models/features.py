"""Evidence as numbers: one row for each call, from what was known before its effect.

Nothing here looks ahead, reads a score, or counts how a text is worded: bait is evidence of its own
(family content) and no feature of the model, since a detector that learns bait fails as soon as it is
reworded.

All features are integers. Shares are in thousandths (0 to 1000), affinities 0 to 255 within the session's
own catalogue; counts are cut at 255. A feature about something absent is 0, except where said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from models.provenance import Index, Leaf, Origin, fingerprint, leaves, origin
from models.session import CallRow, Session
from models.tools import Catalogue, ToolFacts, facts_of, is_sink

FEATURES_VERSION = 1

FEATURES: tuple[str, ...] = (
    "intent_declared",  # 0/1
    "tool_affinity",  # of this tool to the intent, 0..255
    "tool_affinity_rank",  # share of the catalogue that the intent speaks of more, 0..1000
    "tool_lure",  # of this tool to the prose of results, 0..255
    "tool_lure_gain",  # lure less affinity, -255..255
    "action_asked",  # 0/1: a verb of the intent asks for this kind of action
    "args_intent",  # share of argument characters that the intent carries
    "args_results",  # ... that only results carry
    "args_prose",  # ... that results carry in prose only
    "args_catalogue",  # ... that only the catalogue carries
    "args_nowhere",  # ... that nothing carries
    "sink_leaves",  # argument leaves that name a destination
    "sink_intent_min",  # least intent share among them, 1000 without any
    "sink_results_max",  # most result share among them
    "sink_prose_max",  # most prose share among them
    "sink_nowhere_max",  # most unexplained share among them
    "best_intent",  # most intent share of any leaf
    "worst_results",  # most result share of any leaf
    "source_age",  # calls since the main source, 255 without one
    "source_open",  # 0/1: the main source is a tool that reads what strangers write
    "source_share",  # share of argument characters that the main source explains
    "argument_chars",  # length of the arguments, in tens, cut at 255
    "action",  # 0 read, 1 write, 2 execute
    "destructive",
    "sensitive",
    "outward",  # 0/1: takes something out of the session
    "known",  # 0/1: in the catalogue
    "catalogue_size",
    "calls",  # before this one
    "writes",
    "first_write",  # 0/1: this is the session's first write
    "new_tool",  # 0/1: tool not called before
    "same_call",  # times this very call stands in the window
    "since_result",  # calls since the last result from an open-world tool, 255 = none
    "open_reads",
    "private_reads",
    "last_error",  # 0/1: the call before failed
    "trifecta",  # 0/1: private data and foreign content were read and this leads out
    "amendments",
)


class LeafOrigin(NamedTuple):
    """One argument leaf, where it came from, and whether it is a sink."""

    leaf: Leaf
    origin: Origin
    sink: bool


class Extract(NamedTuple):
    """What a call shows: the model's row, and the facts that evidence is told from."""

    row: list[int]
    leaves: list[LeafOrigin]
    facts: ToolFacts
    cuts: int


ACTIONS = {"read": 0, "write": 1, "execute": 2}


def share(part: int, whole: int) -> int:
    """`part` of `whole` in thousandths, rounded down; 0 of nothing is 0."""
    return 1000 * part // whole if whole else 0


def holds(packed: bytes, wanted: int) -> bool:
    """Whether a number stands among those in `packed`, little-endian uint32."""
    sought = wanted.to_bytes(4, "little")
    at = packed.find(sought)
    while at >= 0 and at % 4:
        at = packed.find(sought, at + 1)
    return at >= 0


def extract(
    session: Session,
    tool: str,
    arguments: object,
    digest: int,
    catalogue: Catalogue | None,
    ancestors: Sequence[Session],
    index: Index,
    ancestor_indexes: Sequence[Index],
    key: bytes,
) -> Extract:
    """What the call of `tool` with `arguments` shows, given the `session` before it.

    Parameters
    ----------
    session : Session
        State before the call is folded in.
    digest : int
        Fingerprint of tool and arguments.
    catalogue : Catalogue or None
        Tools offered; None if the session declared none.
    ancestors : sequence of Session
        Parent first; their intents narrow this one's.
    index, ancestor_indexes : Index
        Unpacked provenance of the session and of its ancestors.
    key : bytes
        Key of the fingerprints.
    """
    listed = catalogue.tools.get(tool) if catalogue is not None else None
    facts = (
        catalogue.facts[tool] if catalogue is not None and listed is not None else facts_of(tool, None, {})
    )
    if catalogue is not None and listed is None and tool in catalogue.classes:
        facts = facts._replace(action=catalogue.classes[tool])
    found, cuts = leaves(arguments)
    nothing = catalogue.index if catalogue is not None else Index()
    origins: list[LeafOrigin] = []
    total = intent = listed_there = results = prose = nowhere = 0  # characters
    best_intent = worst_results = 0
    sinks, sink_intent, sink_results, sink_prose, sink_nowhere = 0, 1000, 0, 0, 0
    by_source: dict[int, int] = {}
    for leaf in found:
        o = origin(leaf.text, index, ancestor_indexes, nothing, key)
        sink = is_sink(leaf.path)
        origins.append(LeafOrigin(leaf, o, sink))
        whole = o.total
        if not whole:
            continue
        total += whole
        intent += o.intent
        listed_there += o.catalogue
        results += o.results
        prose += o.prose
        nowhere += o.nowhere
        best_intent = max(best_intent, share(o.intent, whole))
        worst_results = max(worst_results, share(o.results, whole))
        if sink:
            sinks += 1
            sink_intent = min(sink_intent, share(o.intent, whole))
            sink_results = max(sink_results, share(o.results, whole))
            sink_prose = max(sink_prose, share(o.prose, whole))
            sink_nowhere = max(sink_nowhere, share(o.nowhere, whole))
        for call, weight in o.by_source.items():
            by_source[call] = by_source.get(call, 0) + weight
    main = max(by_source, key=lambda call: (by_source[call], -call)) if by_source else None

    place = catalogue.order.get(tool) if catalogue is not None else None
    affinity = session.affinity[place] if place is not None and place < len(session.affinity) else 0
    for ancestor in ancestors:
        if place is not None and ancestor.catalogue == session.catalogue and place < len(ancestor.affinity):
            affinity = min(affinity, ancestor.affinity[place])
    lure = session.lure[place] if place is not None and place < len(session.lure) else 0
    above = sum(map(affinity.__lt__, session.affinity))
    action = ACTIONS[facts.action]
    asked = session.intent_actions
    for ancestor in ancestors:
        asked &= ancestor.intent_actions
    last = session.window[-1] if session.window else None
    row = [
        int(session.declared),
        affinity,
        share(above, len(session.affinity)),
        lure,
        lure - affinity,
        int(bool(asked >> action & 1)),
        share(intent, total),
        share(results, total),
        share(prose, total),
        share(listed_there, total),
        share(nowhere, total),
        min(255, sinks),
        sink_intent,
        sink_results,
        sink_prose,
        sink_nowhere,
        best_intent,
        worst_results,
        255 if main is None else min(254, session.calls - main),
        int(main is not None and _is_open(session.window, main)),
        share(by_source[main], total) if main is not None else 0,
        min(255, sum(len(leaf.text) for leaf in found) // 10),
        action,
        int(facts.destructive),
        int(facts.sensitive),
        int(facts.outward),
        int(facts.known),
        min(255, len(catalogue.tools) if catalogue is not None else 0),
        min(255, session.calls),
        min(255, session.writes + session.executes),
        int(action > 0 and session.writes + session.executes == 0),
        int(not holds(session.tools_seen, fingerprint(tool, key))),
        [c.digest for c in session.window].count(digest),
        255 if session.last_open < 0 else min(254, session.calls - session.last_open),
        min(255, session.open_reads),
        min(255, session.private_reads),
        int(last is not None and last.error),
        int(facts.outward and session.last_private >= 0 and session.last_open >= 0),
        min(255, session.amendments),
    ]
    return Extract(row, origins, facts, cuts)


def _is_open(window: Sequence[CallRow], seq: int) -> bool:
    """Whether call `seq` still stands in the window and read what strangers may write."""
    return any(c.seq == seq and c.open_world for c in window)
