"""Evidence as numbers: one row for each call, from what was known before its effect.

Nothing here looks ahead, reads a score, or counts how a text is worded: bait is evidence of its own
(family content) and no feature of the model, since a detector that learns bait fails as soon as it is
reworded.

What results merely carry is no feature by itself: honest look-ups and drift alike are made of that, and models that could
use it transferred worse (measured, ADR 14). What the catalogue or nothing carries is one: since tasks over many catalogues
are learnt from, it helps on others (ADR 17).

How far a session has come, how often it wrote or failed, is no feature either: in recordings that tells which
set a session is from, not what a call is (measured: models learnt from such counts transfer worse). Budgets
and loops have signals of their own (`stream.signals.tempo`).

All features are integers. Shares are in thousandths (0 to 1000), affinities 0 to 255 within the session's
own catalogue; counts are cut at 255. A feature about something absent is 0, except where said.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import NamedTuple

import numpy as np

from models.evidence.commands import SQL_WORDS, is_statement, only_looks
from models.evidence.dispatch import dispatched
from models.evidence.provenance import Origin, Spelled, origin, spell, without
from models.heads import expectation, handover
from models.heads.expectation import FURTHEST
from models.session import LISTED, CallRow, Session
from models.text.documents import Leaf, leaves
from models.text.embedding import DIMS
from models.text.index import DESCRIBED, NO_OWN, Index
from models.text.meaning import NEUTRAL, Explained, Vector, cosine_to, explain, vector_of
from models.text.tokens import HASHED_CHARS, is_hashed
from models.tools.catalogue import Catalogue
from models.tools.facts import SAYS_NOTHING, PolicySays, ToolFacts, facts_of
from models.tools.names import SPOKEN, speaks, spoken_call
from models.tools.parameters import beside_command, is_command, is_query, is_sink

FEATURES_VERSION = 19

FEATURES: tuple[str, ...] = (
    "intent_declared",  # 0/1
    "tool_affinity",  # of this tool to the intent, 0..255
    "tool_affinity_rank",  # share of the catalogue that the intent speaks of more, 0..1000
    "tool_lure",  # of this tool to the prose of results, 0..255
    "tool_lure_gain",  # lure less affinity, -255..255
    "tool_likeness",  # z-score of its meaning against the nearest clause, 128 = mean, 32 a deviation
    "tool_likeness_rank",  # share of the catalogue that the clauses are nearer to, 0..1000
    "tool_expected_rank",  # share of the catalogue that the intent leads to sooner, 0..1000, see `models.heads.expectation`
    "call_nearness",  # cosine of tool and arguments to the nearest clause, thousandths
    "call_nearness_drop",  # mean of the session's calls so far less this one's
    "call_expected",  # how much sooner this intent leads to it than another would, hundredths
    "call_rest",  # length of what the clauses leave of it, thousandths
    "line_gain",  # how much of that rest one line of a result explains, thousandths, 0 below the gate
    "line_expected",  # how much sooner that line leads to the call than the intent does, hundredths, -999 without one
    "line_tool",  # cosine of that line and the tool, thousandths, 0 without one
    "clause_served",  # writes before this one that were nearest to the same clause
    "call_kin",  # cosine of the call to the mean of the session's earlier ones, thousandths, 0 for the first
    "action_asked",  # 0/1: a verb of the intent asks for this kind of action
    "args_intent",  # share of argument characters that the intent carries
    "args_prose",  # ... that results carry in prose only
    "args_anchored",  # ... that results carry beside what the intent names
    "args_sole",  # ... that one result alone carries
    "args_catalogue",  # ... that the catalogue alone carries
    "args_nowhere",  # ... that nothing carries
    "sink_leaves",  # argument leaves that name a destination
    "sink_intent_min",  # least intent share among them, 1000 without any
    "sink_prose_max",  # most prose share among them
    "sink_anchored_min",  # least share among them that the intent or an anchored field carries, 1000 without
    "sink_sole_max",  # most share among them that one result alone carries
    "best_intent",  # most intent share of any leaf
    "source_age",  # calls since the main source, 255 without one
    "source_open",  # 0/1: the main source is a tool that reads what strangers write
    "source_share",  # share of argument characters that the main source explains
    "source_named",  # how far the main source's own arguments lead back to the intent, 0 without one
    "source_acts",  # how far the clause that it was read for hands acts over, 128 neutral; without it, the call's own
    "source_any",  # ... or at least particulars of the act that it names
    "source_likeness",  # z-score of the tool against that clause
    "clause_any",  # how far the clause that the call was made for hands anything over, likewise
    "intent_acts",  # how far that clause of the intent that does most hands acts over, likewise
    "intent_left",  # how far the intent as a whole, or an amendment, hands acts over, 128 neutral
    "intent_any",  # ... or anything
    "intent_effect",  # ... or wants anything done
    "handed",  # the most of source_any, clause_any and intent_any: whether anything is handed over at all
    "aimed",  # characters of addresses in the arguments, cut at 255
    "aimed_intent",  # share of them that the intent carries, 1000 without any
    "aimed_prose",  # ... that results carry in prose only
    "aimed_other",  # ... that results carry elsewhere than beside what the intent names
    "aimed_nowhere",  # ... that nothing carries
    "answers_silent",  # 0/1: answers came before, and none told anything
    "hashed",  # share of argument leaves that are fingerprints of a producer in privacy mode, thousandths
    "argument_chars",  # length of the arguments, in tens, cut at 255
    "action",  # 0 read, 1 write, 2 execute
    "command_looks",  # 0/1: executes commands that only look, see `models.evidence.commands`
    "destructive",  # 0/1: of the tool, but for commands that only look
    "sensitive",
    "outward",  # 0/1: takes something out of the session
    "known",  # 0/1: in the catalogue
    "catalogue_size",
    "trifecta",  # 0/1: private data and foreign content were read and this leads out
)


class LeafOrigin(NamedTuple):
    """One argument leaf, where it came from, whether it is a sink, and its tokens."""

    leaf: Leaf
    origin: Origin
    sink: bool
    spelled: Spelled


class Extract(NamedTuple):
    """What a call shows: the model's row, and the facts that evidence is told from."""

    names: set[
        str
    ]  # of the tool and of what is called through it, see `models.evidence.dispatch`; proper ones too
    echo: list[Spelled]  # texts of arguments that say more than `leaves`, since these were taken apart
    row: list[int]
    leaves: list[LeafOrigin]
    facts: ToolFacts  # of the tool, and of what is called through it; the class is the tool's own
    cuts: int
    named: int  # how far the arguments lead back to the intent, in thousandths
    clause: int  # the clause that the call was made for, -1 without any
    same: int  # times this very call stands in the window
    explained: Explained
    meaning: Vector  # of the call
    # The tool of which the catalogue says a destination's address that nothing else carries.
    planted: str | None


ACTIONS = {"read": 0, "write": 1, "execute": 2}


def share(part: int, whole: int) -> int:
    """`part` of `whole` in thousandths, rounded down; 0 of nothing is 0."""
    return 1000 * part // whole if whole else 0


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
    policy_says: PolicySays = SAYS_NOTHING,
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
    policy_says : PolicySays
        Of tools, where there is no catalogue, which has it.
    """
    listed = catalogue.tools.get(tool) if catalogue is not None else None
    facts = (
        catalogue.facts[tool] if catalogue is not None and listed is not None else facts_of(tool, None, {})
    )
    says = catalogue.policy_says if catalogue is not None else policy_says
    if catalogue is None or listed is None:
        facts = says.over(tool, facts)
    raw, cuts = leaves(arguments)
    parameters = catalogue.general.get(tool) if catalogue is not None else None

    def inside(name: str) -> ToolFacts:
        return _facts(name, facts, catalogue, says)

    called, given = dispatched(tool, arguments, parameters, lambda name: inside(name).action != "read")
    found, more = (raw, 0) if given is arguments else leaves(given)
    inner, shown = _strongest([(name, inside(name)) for name in called]) if called else (tool, facts)
    if tool in says.classes:
        shown = shown._replace(action=facts.action)
    hashed = [is_hashed(leaf.text) for leaf in found]
    nothing = catalogue.index if catalogue is not None else Index()
    offered = inner if catalogue is not None and inner in catalogue.tools else tool
    listed_of_it = catalogue.own.get(offered, NO_OWN) if catalogue is not None else NO_OWN
    origins: list[LeafOrigin] = []
    total = intent = prose = anchored = sole = listed_there = nowhere = 0  # characters
    best_intent = 0
    sinks, sink_intent, sink_prose = 0, 1000, 0
    sink_anchored, sink_sole = 1000, 0
    aimed = aimed_intent = aimed_anchored = aimed_prose = aimed_nowhere = 0
    by_source: dict[int, int] = {}
    for leaf, stands_in in zip(found, hashed, strict=True):
        spelled = spell(leaf.text, key)
        sink = is_sink(leaf.path)
        if stands_in:
            # What kind of value it stands for, only the argument's name tells.
            spelled = spelled._replace(addresses=(sink,) * len(spelled.texts))
        elif is_query(leaf.path) and is_statement(leaf.text):
            spelled = without(spelled, SQL_WORDS)
        o = origin(spelled, index, ancestor_indexes, nothing, key, listed_of_it)
        origins.append(LeafOrigin(leaf, o, sink, spelled))
        whole = o.total
        if not whole:
            continue
        total += whole
        intent += o.intent
        prose += o.prose
        anchored += o.anchored
        sole += o.sole
        listed_there += o.catalogue
        nowhere += o.nowhere
        aimed += o.aimed.total
        aimed_intent += o.aimed.intent
        aimed_anchored += o.aimed.anchored
        aimed_prose += o.aimed.prose
        aimed_nowhere += o.aimed.nowhere
        best_intent = max(best_intent, share(o.intent, whole))
        if sink:
            sinks += 1
            sink_intent = min(sink_intent, share(o.intent, whole))
            sink_prose = max(sink_prose, share(o.prose, whole))
            sink_anchored = min(sink_anchored, share(o.intent + o.anchored, whole))
            sink_sole = max(sink_sole, share(o.sole, whole))
        for call, weight in o.by_source.items():
            by_source[call] = by_source.get(call, 0) + weight
    main = max(by_source, key=lambda call: (by_source[call], -call)) if by_source else None

    place = catalogue.order.get(offered) if catalogue is not None else None
    affinity = session.affinity[place] if place is not None and place < len(session.affinity) else 0
    for ancestor in ancestors:
        if place is not None and ancestor.catalogue == session.catalogue and place < len(ancestor.affinity):
            affinity = min(affinity, ancestor.affinity[place])
    lure = session.lure[place] if place is not None and place < len(session.lure) else 0
    above = sum(map(affinity.__lt__, session.affinity))
    like = session.likeness[place] if place is not None and place < len(session.likeness) else NEUTRAL
    plainly = catalogue is not None and place is not None and offered == inner
    vector = catalogue.vectors[place] if catalogue is not None and plainly else vector_of(inner)
    plain = (leaf.text for leaf, stands_in in zip(found[:SPOKEN], hashed, strict=False) if not stands_in)
    said = vector_of(spoken_call(catalogue.spoken if catalogue is not None else {}, inner, plain))
    lines, planted = session.lines, None
    if catalogue is not None and DESCRIBED in by_source:
        # Only then: examples of addresses stand in many a description, and lead to nothing.
        lines += catalogue.aimed_beside(offered)
        described = (one.spelled for one in origins if DESCRIBED in one.origin.by_source)
        planted = catalogue.says([p for leaf in described for p in compress(leaf.prints, leaf.addresses)])
    explained = explain(said, vector, session.clauses, lines)
    leads = expectation.current()
    # What a sub-agent was told narrows its parent's intent: a call must follow from both.
    intents = [one.clauses for one in (session, *ancestors) if expectation.says_anything(one.clauses)]
    expected = min((leads.of(said, clauses) for clauses in intents), default=0)
    heard = explained.line_vector
    by_line = leads.of_line(said, heard) - expected if heard is not None else -FURTHEST
    read = next((c for c in session.window if c.seq == main), None) if main is not None else None
    own = _clause_named(session, origins)
    named, clause = share(intent, total), own if own >= 0 else explained.clause
    source_likeness, handed = like, _handed(session, clause)
    if read is not None:
        # Led here by a result that was itself looked up for the intent, a call serves that look-up's clause.
        named = max(named, read.named * share(by_source[read.seq], total) // 1000)
        if own < 0 and read.clause >= 0:
            clause = read.clause
        handed = _handed(session, read.clause)
        if place is not None and catalogue is not None and 0 <= read.clause < len(session.served):
            one = session.clauses[read.clause * DIMS : (read.clause + 1) * DIMS]
            source_likeness = catalogue.likeness(one)[place]
    by_clause, wants = _handed(session, clause)[1], session.wants or bytes(handover.NOTHING)
    length = sum(
        HASHED_CHARS if stands_in else len(leaf.text) for leaf, stands_in in zip(found, hashed, strict=True)
    )
    action = ACTIONS[shown.action]
    looks = facts.action == "execute" and _looks(raw, cuts)
    asked = session.intent_actions
    for ancestor in ancestors:
        asked &= ancestor.intent_actions
    row = [
        int(session.declared),
        affinity,
        share(above, len(session.affinity)),
        lure,
        lure - affinity,
        like,
        share(sum(map(like.__lt__, session.likeness)), len(session.likeness)),
        leads.rank(place, session.clauses, catalogue.meanings) if catalogue and place is not None else 0,
        explained.nearness,
        session.nearness // session.calls - explained.nearness if session.calls else 0,
        expected,
        explained.rest,
        explained.gain,
        max(-FURTHEST, min(FURTHEST, by_line)),
        explained.line_tool,
        session.served[clause] if 0 <= clause < len(session.served) else 0,
        cosine_to(session.work, said),
        int(bool(asked >> action & 1)),
        share(intent, total),
        share(prose, total),
        share(anchored, total),
        share(sole, total),
        share(listed_there, total),
        share(nowhere, total),
        min(255, sinks),
        sink_intent,
        sink_prose,
        sink_anchored,
        sink_sole,
        best_intent,
        255 if main is None else min(254, session.calls - main),
        int(main is not None and _is_open(session.window, main)),
        share(by_source[main], total) if main is not None else 0,
        read.named if read is not None else 0,
        handed[0],
        handed[1],
        source_likeness,
        by_clause,
        max(session.handing[:: handover.ANSWERS], default=0),
        *wants,
        max(handed[1], by_clause, wants[1]),
        min(255, aimed),
        share(aimed_intent, aimed) if aimed else 1000,
        share(aimed_prose, aimed),
        share(aimed - aimed_intent - aimed_anchored - aimed_nowhere, aimed),
        share(aimed_nowhere, aimed),
        int(session.results > 0 and not any(one.told for one in (session, *ancestors))),
        share(sum(hashed), len(found)),
        min(255, length // 10),
        action,
        int(looks),
        int(shown.destructive and not looks),
        int(shown.sensitive),
        int(shown.outward),
        int(facts.known),
        min(255, len(catalogue.tools) if catalogue is not None else 0),
        int(shown.outward and session.last_private >= 0 and session.last_open >= 0),
    ]
    same = sum(call.digest == digest for call in session.window)
    power = facts._replace(
        destructive=facts.destructive or shown.destructive,
        sensitive=facts.sensitive or shown.sensitive,
        open_world=facts.open_world or shown.open_world,
        outward=facts.outward or shown.outward,
    )
    echo = [] if given is arguments else [spell(leaf.text, key) for leaf in raw]
    names = {tool, *called}
    if catalogue is not None:
        names |= {catalogue.proper[name] for name in names if name in catalogue.proper}
    return Extract(
        names, echo, row, origins, power, cuts + more, named, clause, same, explained, said, planted
    )


def _facts(name: str, own: ToolFacts, catalogue: Catalogue | None, says: PolicySays) -> ToolFacts:
    """Facts of what is called through a tool, the tool's own where its name says nothing."""
    if catalogue is not None and name in catalogue.facts:
        return catalogue.facts[name]
    return says.over(name, facts_of(name, None, says.classes)) if speaks(name) else own


def _strongest(each: Sequence[tuple[str, ToolFacts]]) -> tuple[str, ToolFacts]:
    """Of what is called through a tool the first that does most, and the facts of all of it."""

    def power(one: tuple[str, ToolFacts]) -> tuple[int, bool]:
        return ACTIONS[one[1].action], one[1].destructive or one[1].outward

    name, most = max(each, key=power)
    return name, most._replace(
        destructive=any(facts.destructive for _, facts in each),
        sensitive=any(facts.sensitive for _, facts in each),
        open_world=any(facts.open_world for _, facts in each),
        outward=any(facts.outward for _, facts in each),
    )


def _looks(found: Sequence[Leaf], cuts: int) -> bool:
    """Whether what is executed only looks: one argument named as a command, nothing but why and where beside it, none cut."""
    runs = [leaf for leaf in found if is_command(leaf.path)]
    if cuts or len(runs) != 1 or not runs[0].is_string:
        return False
    beside = (leaf for leaf in found if leaf.is_string and leaf is not runs[0])
    return all(beside_command(leaf.path, leaf.text) for leaf in beside) and only_looks(
        runs[0].text, sql=is_query(runs[0].path)
    )


def _handed(session: Session, clause: int) -> bytes:
    """What a clause hands over and wants, see `Handed`; neutral for one that is not there, or no longer kept."""
    if not 0 <= clause < len(session.served):
        return bytes(handover.NOTHING)
    return session.handing[handover.ANSWERS * clause : handover.ANSWERS * (clause + 1)]


def _clause_named(session: Session, found: Sequence[LeafOrigin]) -> int:
    """The clause of the intent that names most of the arguments, by tokens; -1 if none names any."""
    if not session.names:
        return -1
    clauses = dict(zip(np.frombuffer(session.names, "<u4").tolist(), session.name_clauses, strict=True))
    votes: dict[int, int] = {}
    for leaf in found[:16]:
        for name in leaf.spelled.prints:
            at = clauses.get(name, LISTED)
            if at != LISTED:
                votes[at] = votes.get(at, 0) + 1
    return max(votes, key=lambda at: (votes[at], -at)) if votes else -1


def _is_open(window: Sequence[CallRow], seq: int) -> bool:
    """Whether call `seq` still stands in the window and read what strangers may write."""
    return any(c.seq == seq and c.open_world for c in window)
