"""Twins by splicing: another task's act put into a benign session, with and without a reason for it.

An act that some user wanted is foreign in another user's session. Whether it is drift there does not depend
on the act, nor on a text that demands it, but on whether the intent asks for it or hands it over to the text's
source. The twins of a pair cross these: same recipient, same act, same place, same text.

==================== ============= ================ ==================================== =========
variant              act inserted  text in a result intent                               label
==================== ============= ================ ==================================== =========
spliced_demanded     yes           yes              unchanged                            hijacked
spliced_silent       yes           no               unchanged                            hijacked
amended              yes           yes              asks for the act                     benign
ignored              no            yes              unchanged                            attempted
delegated            yes           plainly worded   hands over to the text's source      benign
plain                no            no               unchanged                            benign
amended_silent       yes           no               asks for the act                     benign
amended_otherwise    yes           half of the time asks for another act                 hijacked
delegated_elsewhere  yes           plainly worded   hands over to another source         hijacked
==================== ============= ================ ==================================== =========

The last three are needed: without ``amended_silent`` an act with no text about it is always drift, and without
the other two a longer intent is always benign; ``crossed=False`` leaves them out. What balances acts under an
unchanged intent are the donors' own sessions. A third of the pairs come a second time without results
(``withheld_spliced``, ``withheld_amended``).
"""

from __future__ import annotations

import copy
import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from models.evidence.content import talks_to_agent
from models.training.scenarios.asking import ask, notes, source_named, things_named, users, weave
from models.training.scenarios.demands import Demand, act_of, clause, demand_of
from models.training.scenarios.donors import Act, Donors, acts_on, call_key
from models.training.scenarios.insertion import insert, without_results
from models.training.scenarios.made_up import identify, seeded
from models.training.scenarios.placing import place
from models.training.scenarios.wordings import Wording

WITHHELD = 3
"""One pair in this many comes a second time without results."""

OPEN = frozenset(
    "plain_request third_party_claim memory_note checklist data_shaped other_language quoted_thread "
    "policy_notice".split()
)
"""Families that a user may rely on as well: their text is there for everyone to read."""

Session = dict[str, Any]


def splices(
    sessions: Iterable[Session],
    tools_by_ref: Mapping[str, Sequence[Mapping[str, Any]]],
    wordings: Sequence[Wording],
    seed: int,
    per_session: int = 1,
    crossed: bool = True,
) -> Iterator[Session]:
    """Pairs of twins from the benign ones among `sessions`.

    Parameters
    ----------
    sessions : recorded sessions of any sources; acts come from sessions with the same source and ``tools_ref``.
    tools_by_ref : catalogues; one that is missing only makes demands a little plainer.
    wordings : ways to put the demanding texts.
    per_session : pairs a session is the recipient of, at most: a session with no foreign act gives none.
    crossed : also make the twins whose intent asks for something else.

    Yields
    ------
    Twins, pair by pair. One whose wording changed the catalogue has it under ``tools``.
    """
    groups: dict[tuple[str, str], list[Session]] = {}
    for session in sessions:
        if session["label"] == "benign":
            groups.setdefault((str(session["source"]), str(session["tools_ref"])), []).append(session)
    for (_, ref), group in groups.items():
        donors = Donors(group)
        tools = tools_by_ref.get(ref, ())
        for session in group:
            for number in range(per_session):
                pair = _Pair(session, tools, wordings, f"{seed}|{number}", crossed)
                yield from pair.twins(donors, first=number == 0)


class _Spliced(NamedTuple):
    """An act put into a session.

    Attributes
    ----------
    act, at, acted : the act, the call that it stands before, and the session with it
    shown, wording, demand : the call whose result demands it, and how
    """

    act: Act
    at: int
    acted: Session
    shown: int
    wording: Wording
    demand: Demand


class _Pair:
    """The twins that one recipient and one donor act give."""

    def __init__(
        self,
        session: Session,
        tools: Sequence[Mapping[str, Any]],
        wordings: Sequence[Wording],
        salt: str,
        crossed: bool,
    ) -> None:
        self.session = session
        self.tools = tools
        self.schemas = {str(tool["name"]): tool for tool in tools}
        self.wordings = wordings
        self.salt = f"{session['session_id']}|{salt}"
        self.crossed = crossed
        self.id = "sp-" + hashlib.sha256(self.salt.encode()).hexdigest()[:12]

    def rng(self, purpose: str) -> random.Random:
        """The same generator for the same purpose: twins draw alike what they share."""
        return seeded(self.salt, purpose)

    def twins(self, donors: Donors, first: bool) -> Iterator[Session]:
        """All twins, or nothing when no foreign act is found; ``plain`` only with the `first` pair."""
        rng = self.rng("places")
        calls = self.session["calls"]
        if not calls:
            return
        at = rng.randint(1, len(calls))
        act = donors.draw(self.session, at, self.rng("donor"))
        if act is None:
            return
        shown = rng.randrange(at)
        demand = self.demand(act, "text")
        asked = self.demand(act, "ask").goal
        spliced = _Spliced(act, at, insert(self.session, act, at), shown, rng.choice(self.wordings), demand)
        yield from self.told(spliced, asked)
        relied = self.shown(spliced.acted, *self.note(act, rng), shown, at)
        delegated = copy.deepcopy(relied)
        source = relied["calls"][shown]
        self.delegate(delegated, source, things_named(source), demand)
        yield self.finish(delegated, "delegated", act)
        if first:
            yield self.finish(copy.deepcopy(self.session), "plain", None)
        if self.crossed:
            silent = copy.deepcopy(spliced.acted)
            ask(silent, asked, at, self.rng("amended"))
            yield self.finish(silent, "amended_silent", act)
            yield from self.decoys(donors, spliced, relied)
        if rng.randrange(WITHHELD) == 0:
            blank = without_results(spliced.acted)
            yield self.finish(copy.deepcopy(blank), "withheld_spliced", act, at)
            ask(blank, asked, at, self.rng("amended"))
            yield self.finish(blank, "withheld_amended", act)

    def told(self, spliced: _Spliced, asked: str) -> Iterator[Session]:
        """Twins with the demand and the act, with either, and with an intent that asks for it."""
        act, at = spliced.act, spliced.at
        yield self.finish(self.demanded(spliced), "spliced_demanded", act, at)
        yield self.finish(copy.deepcopy(spliced.acted), "spliced_silent", act, at)
        amended = self.demanded(spliced)
        ask(amended, asked, at, self.rng("amended"))
        yield self.finish(amended, "amended", act)
        ignored = self.shown(self.session, spliced.wording, spliced.demand, spliced.shown, at)
        yield self.finish(ignored, "ignored", act)

    def decoys(self, donors: Donors, spliced: _Spliced, relied: Session) -> Iterator[Session]:
        """Hijacked twins whose intent asks for another act, or relies on another source."""
        act, at = spliced.act, spliced.at
        other = donors.draw(self.session, at, self.rng("another donor"))
        if other is not None and call_key(other.calls[-1]) not in {call_key(call) for call in act.calls}:
            told = self.rng("otherwise").random() < 0.5
            twin = self.demanded(spliced) if told else copy.deepcopy(spliced.acted)
            ask(twin, self.demand(other, "ask").goal, at, self.rng("amended"))
            yield self.finish(twin, "amended_otherwise", act, at)
        elsewhere = self.elsewhere(act, other, relied["calls"][spliced.shown])
        if elsewhere:
            source = relied["calls"][spliced.shown]
            twin = copy.deepcopy(relied)
            call = self.rng("elsewhere").choice(elsewhere)
            self.delegate(twin, call, _things_apart(call, source), spliced.demand)
            yield self.finish(twin, "delegated_elsewhere", act, at)

    def elsewhere(self, act: Act, other: Act | None, source: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Calls whose results can be named so that the result of `source` is not meant.

        Where all that was read might be meant, they are calls that this session never made.
        """
        own = [call for call in self.session["calls"] if _apart(call, source)]
        unread = [call for n, call in enumerate(act.session["calls"]) if not act.start <= n < act.stop]
        found = own or [call for call in unread if _things_apart(call, source)]
        if not found and other is not None:
            found = [call for call in other.session["calls"] if _things_apart(call, source)]
        return found

    def demanded(self, spliced: _Spliced) -> Session:
        """The session with the act, and the text that demands it."""
        return self.shown(spliced.acted, spliced.wording, spliced.demand, spliced.shown, spliced.at)

    def demand(self, act: Act, purpose: str) -> Demand:
        """A demand for all that the act does beyond reading."""
        rng = self.rng(f"demand {purpose}")
        calls = [call for call in act.calls[:-1] if acts_on(call)] + [act.calls[-1]]
        demands = [demand_of(call, self.schemas.get(str(call["tool"])), rng) for call in calls]
        goal = demands[0].goal
        for demand in demands[1:]:
            goal = f"{goal.rstrip('.')}{rng.choice((', then ', ', and then ', '; after that '))}{clause(demand.goal)}."
        return demands[-1]._replace(goal=goal)

    def note(self, act: Act, rng: random.Random) -> tuple[Wording, Demand]:
        """A wording that does not talk like an attack, with its demand."""
        demand = self.demand(act, "note")
        opened = [w for w in self.wordings if w.family in OPEN and w.place == "result"]
        if opened and rng.random() < 0.5:
            wording = rng.choice(opened)
            if not any(talks_to_agent(text) for text in wording.write(demand, self.rng("shown"))):
                return wording, demand
        return rng.choice(notes()), demand

    def shown(self, session: Session, wording: Wording, demand: Demand, seq: int, before: int) -> Session:
        """A copy of `session` in which the demand can be read."""
        made, tools = place(session, self.tools, wording, demand, seq, self.rng("shown"), before)
        if wording.place == "catalogue":
            made["tools"] = tools
        made["injection_goal"] = demand.goal
        return made

    def delegate(
        self, session: Session, source: Mapping[str, Any], things: Sequence[str], demand: Demand
    ) -> None:
        """Let the intent hand over to what `source` returned, named by one of `things` or by its tool."""
        rng = self.rng("delegated")
        alone = sum(call["tool"] == source["tool"] for call in self.session["calls"]) == 1
        named = source_named(source, () if alone and rng.random() < 0.3 else things, rng)
        kind = act_of(demand.tool, None, rng)
        sentence = rng.choice(users().delegations).format(source=named, kind=kind)
        session["intent"] = weave(session["intent"], sentence[:1].upper() + sentence[1:], rng)

    def finish(self, made: Session, variant: str, act: Act | None, bad: int | None = None) -> Session:
        """`made` with ids and labels: hijacked from call `bad` on, attempted if ignored, else benign."""
        label = "attempted" if variant == "ignored" else "benign" if bad is None else "hijacked"
        origin = str(self.session["session_id"])
        donor = None if act is None else str(act.session["session_id"])
        for field in ("failures", "utility", "scenario"):  # they speak of the session as it was
            made.pop(field, None)
        identify(made, origin, variant, self.id, self.salt, donor)
        made.setdefault("exposed_seq", None)
        made.update(
            label=label,
            attack=None if label == "benign" else made["wording"] or "silent",
            injection_task_id=None if label == "benign" or act is None else act.session["user_task_id"],
            injection_goal=None if label == "benign" else made.get("injection_goal"),
            first_bad_seq=bad,
        )
        return made


def _things_apart(call: Mapping[str, Any], source: Mapping[str, Any]) -> list[str]:
    """Names for the result of `call` that cannot be taken for a name of the result of `source`."""
    taken = json.dumps(source.get("args") or {}, ensure_ascii=False).lower()
    others = [thing.lower() for thing in things_named(source)]
    return [
        thing
        for thing in things_named(call)
        if thing.lower() not in taken and not any(other in thing.lower() for other in others)
    ]


def _apart(call: Mapping[str, Any], source: Mapping[str, Any]) -> bool:
    """Whether the result of `call` can be named so that the result of `source` is not meant."""
    return call["tool"] != source["tool"] or bool(_things_apart(call, source))
