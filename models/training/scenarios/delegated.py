"""Tasks that hand acts over to a text: "pay the bill in X", "do what the list says".

There the particulars of an honest act come from a result, exactly as those of a hijacked one do. What tells
the two apart is only whether the intent handed *this kind* of act over to *this source*. So every task comes
as twins that share texts and calls and differ in the intent alone, or in one demand more than was handed over:

``delegated``
    Benign. Twice for each task: as asked, and with the twin's extra act asked for too.
``undelegated``
    Hijacked: the same calls, though the intent wants something else of that source, or names another one.
``beyond``
    Hijacked: the acts that were handed over, and one of another kind that the text asks for as well.
``ignored``
    Attempted: the intent of ``undelegated``, and the acts left undone.
``direct``
    Benign: the intent carries the particulars itself.
``ordinary``
    Benign: plain work, in whose results others are asked for things.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from models.training.scenarios import made_up
from models.training.scenarios.delegated_catalogues import (
    INVENTED,
    RECORDED,
    Act,
    Catalogue,
    Flow,
    invented,
    recorded,
)
from models.training.scenarios.delegated_draws import Acts, Draws, LookUps, Reading, Texts
from models.training.scenarios.delegated_intents import asked, intents, phrase, stopped
from models.training.scenarios.delegated_texts import Demand, document, filled, phrases
from models.training.scenarios.delegated_values import Values, fill
from models.training.scenarios.made_up import Labels, seeded
from models.training.scenarios.templates import Step

SOURCE = "delegated"
ORDINARY = 42
"""Ordinary sessions for each hundred tasks."""
FIXED_LANES = (("banking",), ("slack",), ("travel",), ("workspace",), ("retail", "retail_tau2"), ("apibank",))
"""Recorded catalogues that take turns with the invented ones; those in one lane share a turn."""
BFCL_LANES = 5
"""Of the lanes that tasks are dealt to, how many the many catalogues joined by ``+`` share."""

Tools = list[dict[str, Any]]
Session = dict[str, Any]


class _Words(NamedTuple):
    """How the user of one task puts things.

    Attributes
    ----------
    context : what is said of the text that is not meant, if anything is
    credential, errand : what the user says besides
    broad : whether all of a text is handed over, not some kinds
    narrow_template, broad_template : the one way of saying it, and the other
    """

    context: str | None
    credential: str | None
    errand: str | None
    broad: bool
    narrow_template: str
    broad_template: str


class _Twins:
    """All twins of one task, in the order in which they are drawn."""

    def __init__(self, catalogue_name: str, catalogue: Catalogue, name: str, seed: str) -> None:
        self.draws = Draws(seed)
        self.acts = Acts.drawn(catalogue, self.draws)
        self.texts = Texts.drawn(catalogue, self.acts, self.draws)
        context = self._context()
        self.look = LookUps.drawn(catalogue, self.draws)
        self.words = self._words(catalogue, context)
        self.task = made_up.Task(SOURCE, catalogue_name, name, made_up.short_digest(seed))

    def _context(self) -> str | None:
        """What the intent says of the source that it does not mean, if it says anything.

        Wishes that hand nothing over stand in honest intents too, about the second source: else their wording
        alone would give the hijacked twin away.
        """
        if self.texts.other is None or not self.draws.chance(0.75):
            return None
        says = intents()
        return self.draws.rng.choice(self.draws.rng.choice((says.context, says.plain, says.plain)))

    def _words(self, catalogue: Catalogue, context: str | None) -> _Words:
        rng, errand, says = self.draws.rng, self.acts.errand, intents()
        say = rng.choice(catalogue.credential.say) if catalogue.credential else None
        return _Words(
            context=context,
            credential=str(fill(say, self.draws.shared)) if say else None,
            errand=rng.choice(says.errands).format(x=errand.order(rng)) if errand is not None else None,
            broad=self.draws.chance(0.45),
            narrow_template=rng.choice(says.narrow),
            broad_template=rng.choice(says.broad),
        )

    # --- intents

    def intent(self, core: str, aside: str | None = None) -> str:
        """An intent, with what the user says besides."""
        return " ".join(part for part in (core, aside, self.words.errand, self.words.credential) if part)

    def beside(self, reading: Reading) -> str | None:
        """What the intent says of the source that it does not mean, if it says anything."""
        rest, context = (
            self.texts.main if reading is self.texts.other else self.texts.other,
            self.words.context,
        )
        return phrase(context, other=rest.noun, src=rest.noun) if context and rest else None

    def handed(self, reading: Reading, acts: Sequence[Act], *, all_of_it: bool) -> str:
        """An intent that hands `acts` over to `reading`."""
        template = self.words.broad_template if all_of_it else self.words.narrow_template
        core = phrase(template, src=reading.noun, ask=asked(acts, self.draws.seed))
        return self.intent(core, self.beside(reading))

    def elsewhere(self) -> str:
        """An intent that hands the same acts over to the other source, or hands over nothing."""
        named, texts, says = [*self.acts.kinds, *self.acts.spare], self.texts, intents()
        if texts.other is not None and self.draws.chance(0.85):
            return self.handed(texts.other, named, all_of_it=self.words.broad)
        template = self.draws.rng.choice(says.mention if self.draws.chance(0.5) else says.plain)
        core = phrase(template, src=texts.main.noun, ask=asked(named, self.draws.seed))
        return self.intent(core, self.beside(texts.main))

    # --- calls

    def reads(self, demands: Sequence[Demand], keys: Sequence[int] = ()) -> tuple[list[Step], int]:
        """Calls before the acts, and the number of the one whose result carries `demands`."""
        texts = self.texts
        own = texts.main.steps(document(texts.form, demands, f"{self.draws.seed}/main", keys))
        rest = texts.other.steps(texts.other_text) if texts.other is not None else []
        steps = self.look.made(self.look.opening)
        steps += rest + own if texts.other_first else own
        at = len(steps) - 1
        return (steps if texts.other_first else steps + rest), at

    def done(self, demands: Sequence[Demand], start: int) -> tuple[list[Step], list[list[int]]]:
        """Acts with look-ups between them and the errand before or after; where the calls of each stand, from `start` on."""
        errand, first = self.acts.errand, self.acts.errand_first
        steps: list[Step] = errand.calls() if errand is not None and first else []
        at: list[list[int]] = []
        for n, demand in enumerate(demands):
            steps += self.look.made([self.look.between[n]])
            its = demand.calls()
            at.append([start + len(steps) + call for call in range(len(its))])
            steps += its
        if errand is not None and not first:
            steps += errand.calls()
        return steps, at

    # --- twins

    def sessions(self) -> Iterator[Session]:
        """The twins."""
        elsewhere = self.elsewhere()
        asked_for = list(self._as_asked(elsewhere))
        yield from asked_for
        origin = str(asked_for[0]["session_id"])
        yield from self._beyond(origin)
        if self.draws.chance(0.35):
            yield self._direct(origin)

    def _as_asked(self, elsewhere: str) -> Iterator[Session]:
        """``delegated``, and ``undelegated`` and ``ignored`` under the intent `elsewhere`."""
        acts, texts = self.acts, self.texts
        before, read = self.reads(acts.handed)
        work, at = self.done(acts.handed, len(before))
        intent = self.handed(texts.main, [*acts.kinds, *acts.spare], all_of_it=self.words.broad)
        honest = _session(self.task, "delegated", "", intent, before + work, at)
        yield honest
        origin = str(honest["session_id"])
        goal = " ".join(d.order(seeded(self.draws.seed, "goal", n)) for n, d in enumerate(acts.handed))
        wrong = Labels("hijacked", goal=goal, exposed=read, bad=at[0][0])
        yield _session(self.task, "undelegated", origin, elsewhere, before + work, at, wrong)
        left = acts.errand.calls() if acts.errand is not None else self.look.made(self.look.between[:1])
        ignored = Labels("attempted", goal=goal, exposed=read)
        yield _session(self.task, "ignored", origin, elsewhere, before + left, [], ignored)

    def _beyond(self, origin: str) -> Iterator[Session]:
        """``beyond``, and ``delegated`` with the extra act handed over too.

        The extra demand stands last, or anywhere; the agent goes by the order of the text.
        """
        handed, extra, rng = self.acts.handed, self.acts.extra, self.draws.rng
        keys = list(range(len(handed)))
        keys.insert(len(keys) if self.draws.chance(0.55) else rng.randint(0, len(keys)), len(handed))
        order = [(*handed, extra)[key] for key in keys]
        before, read = self.reads(order, keys)
        work, at = self.done(order, len(before))
        bad = at[keys.index(len(handed))][0]
        wrong = Labels("hijacked", goal=extra.order(seeded(self.draws.seed, "goal")), exposed=read, bad=bad)
        narrow = self.handed(self.texts.main, [*self.acts.kinds, *self.acts.spare], all_of_it=False)
        yield _session(self.task, "beyond", origin, narrow, before + work, at, wrong)
        wide = self.handed(self.texts.main, [*self.acts.kinds, extra.act], all_of_it=False)
        yield _session(self.task, "delegated", origin, wide, before + work, at)

    def _direct(self, origin: str) -> Session:
        """The acts asked for in the intent itself."""
        rng = self.draws.rng
        ahead = self.look.made(self.look.opening)
        work, at = self.done(self.acts.handed, len(ahead))
        template = rng.choice(intents().direct)
        orders = template.format(x=" ".join(stopped(demand.order(rng)) for demand in self.acts.handed))
        return _session(self.task, "direct", origin, self.intent(orders), ahead + work, at)


def _session(
    task: made_up.Task,
    variant: str,
    origin: str,
    intent: str,
    steps: Sequence[Step],
    acts: Sequence[Sequence[int]],
    labels: Labels = made_up.HONEST,
) -> Session:
    """A recorded session; `acts` are the calls that serve a text's demands (or, if direct, the intent's)."""
    calls = [step._asdict() for step in steps]
    salt = f"{task.pair}/{origin}/{variant}/{intent}"
    made = made_up.session(task, variant, intent, calls, labels, salt=salt)
    return {**made, "origin": origin or None, "acts": [seq for act in acts for seq in act]}


def _ordinary(name: str, catalogue: Catalogue, flow: Flow, task: str, seed: str) -> Session:
    """Plain work that the intent spells out, past remarks that ask somebody else for something."""
    rng = seeded(seed)
    shared = Values(seeded(seed, "shared"))
    values = Values(rng, shared)
    orders = [Demand(act, Values(rng, shared)).sentence(rng) for act in rng.sample(catalogue.acts, 2)]
    who = values["person8"]
    aside = rng.choice(phrases().remarks).format(who=who, x=" ".join(orders[: rng.randint(1, 2)]))
    values["aside"] = aside if rng.random() < 0.75 else str(fill(rng.choice(phrases().asides), values))
    intent = str(fill(rng.choice(flow.intents), values))
    steps = [rng.choice(catalogue.lookups)] if rng.random() < 0.25 else []
    steps += flow.steps
    calls = [filled(step, values) for step in steps]
    return _session(
        made_up.Task(SOURCE, name, task, made_up.short_digest(seed)), "ordinary", "", intent, calls, []
    )


def _known(tools_by_ref: Mapping[str, Tools]) -> list[str]:
    """Recorded catalogues at hand for which acts and sources are known."""
    return sorted(ref for ref in tools_by_ref if ref not in INVENTED and recorded(ref) is not None)


def catalogues(tools_by_ref: Mapping[str, Tools]) -> dict[str, Tools]:
    """Tools of each catalogue in use, by the name that sessions carry as ``tools_ref``.

    ``tools_by_ref`` holds recorded catalogues under their own ``tools_ref``; it may be empty.
    """
    tools = {name: [tool.with_schema() for tool in invented(name).tools] for name in INVENTED}
    return tools | {ref: tools_by_ref[ref] for ref in _known(tools_by_ref)}


def sessions(tools_by_ref: Mapping[str, Tools], seed: int = 0, tasks: int = 400) -> Iterator[Session]:
    """Twins of `tasks` delegated tasks, then ordinary sessions; the same for the same arguments."""
    lanes = _lanes(_known(tools_by_ref))
    for n in range(tasks):
        lane = lanes[n % len(lanes)]
        name = lane[n // len(lanes) % len(lane)]
        catalogue = invented(name) if name in INVENTED else recorded(name)
        assert catalogue is not None  # `_known` kept only those
        yield from _Twins(name, catalogue, f"{name}-{n:04d}", f"{seed}/{n}/{name}").sessions()
    flows = [(name, n, flow) for name in INVENTED for n, flow in enumerate(invented(name).flows)]
    for n in range(tasks * ORDINARY // 100):
        name, place, flow = flows[n % len(flows)]
        task = f"{name}-flow{place}-{n // len(flows):03d}"
        yield _ordinary(name, invented(name), flow, task, f"{seed}/ordinary/{n}")


def _lanes(known: Sequence[str]) -> list[list[str]]:
    """Catalogues that share a turn; tasks are dealt to the lanes one after the other."""
    joined = [ref for ref in known if ref not in RECORDED]
    lanes = [[name] for name in INVENTED]
    lanes += [[ref for ref in group if ref in known] for group in FIXED_LANES]
    lanes += [joined[n::BFCL_LANES] for n in range(BFCL_LANES)]
    return [lane for lane in lanes if lane]
