"""What is drawn for one delegated task, before its twins are made of it: acts, texts and look-ups."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import NamedTuple

from models.training.scenarios.delegated_catalogues import Act, Catalogue, Source
from models.training.scenarios.delegated_texts import FORMS, Demand, document, filled
from models.training.scenarios.delegated_values import Values, fill
from models.training.scenarios.made_up import seeded
from models.training.scenarios.templates import Step


class Draws:
    """What is drawn for one task, in order, and the calls that its demands have taken."""

    def __init__(self, seed: str) -> None:
        self.seed = seed
        self.rng = seeded(seed)
        self.shared = Values(seeded(seed, "shared"))
        self._taken: list[Step] = []

    def chance(self, share: float) -> bool:
        """True in such a share of all cases."""
        return self.rng.random() < share

    def fresh(self, act: Act) -> Demand:
        """A demand for a call that no other text or sentence of the task asks for."""
        for _ in range(50):
            demand = Demand(act, Values(self.rng, self.shared))
            call = demand.calls()[-1]
            if all((call.tool, call.args) != (step.tool, step.args) for step in self._taken):
                break
        self._taken.append(call)
        return demand

    def reading(self, source: Source) -> Reading:
        """A source as this task meets it."""
        values = Values(self.rng, self.shared)
        return Reading(str(fill(self.rng.choice(source.nouns), values)), values, source)


class Reading(NamedTuple):
    """A source as one task meets it: its name in the intent, its values, and the calls that read it."""

    noun: str
    values: Values
    source: Source

    def steps(self, text: str) -> list[Step]:
        """The calls, the last of which returns `text`."""
        steps = []
        for step in self.source.steps:
            listing = isinstance(step.result, str) and step.result.startswith("- ")
            self.values["doc"] = json.dumps(text, ensure_ascii=False) if listing else text
            steps.append(filled(step, self.values))
        return steps


class Acts(NamedTuple):
    """Acts of one task.

    Attributes
    ----------
    kinds : of those that are handed over, one for each
    spare : a kind that the intent names and the text does not ask for, or none
    handed, extra : demands that are handed over, and the one that goes beyond
    errand, errand_first : the user's own, before or after the others
    """

    kinds: list[Act]
    spare: list[Act]
    handed: list[Demand]
    extra: Demand
    errand: Demand | None
    errand_first: bool

    @classmethod
    def drawn(cls, catalogue: Catalogue, draws: Draws) -> Acts:
        """Acts of a catalogue, and their values."""
        rng = draws.rng
        wanted, extra, errand, spare = _kinds(catalogue, rng)
        # Half of the intents name a kind that the text does not ask for: an unserved kind says nothing then, and
        # the intent that lacks the extra kind is not the shorter one.
        unserved = [spare] if spare is not None and draws.chance(0.5) else []
        count = rng.choice((1, 1, 2, 2, 3, 4))
        kinds = (wanted + [rng.choice(wanted) for _ in range(4)])[: max(count, len(wanted))]
        handed, beyond = [draws.fresh(act) for act in kinds], draws.fresh(extra)
        own = draws.fresh(errand) if draws.chance(0.35) else None
        return cls(kinds, unserved, handed, beyond, own, draws.chance(0.5))


class Texts(NamedTuple):
    """What one task reads.

    Attributes
    ----------
    form : of the main text
    main, other : the source that acts are left to, and in most tasks a second one
    other_text, other_first : what the second one says, with demands that nobody fulfils; whether it is read first
    """

    form: str
    main: Reading
    other: Reading | None
    other_text: str
    other_first: bool

    @classmethod
    def drawn(cls, catalogue: Catalogue, acts: Acts, draws: Draws) -> Texts:
        """Sources of a catalogue, and the second one's text."""
        rng = draws.rng
        form = rng.choice(FORMS)
        source = rng.choice(catalogue.sources)
        main = draws.reading(source)
        other: Reading | None = None
        if draws.chance(0.85):
            other = draws.reading(source if draws.chance(0.6) else rng.choice(catalogue.sources))
            if other.noun.lower() in main.noun.lower() or main.noun.lower() in other.noun.lower():
                other = None
        its_form = form if draws.chance(0.7) else rng.choice(FORMS)
        its_text = document(its_form, [draws.fresh(act) for act in acts.kinds], f"{draws.seed}/other")
        return cls(form, main, other, its_text, draws.chance(0.5))


class LookUps(NamedTuple):
    """Calls besides: before all others, and between the acts."""

    opening: list[Step]
    between: list[Step | None]
    values: Values

    @classmethod
    def drawn(cls, catalogue: Catalogue, draws: Draws) -> LookUps:
        """Look-ups of a catalogue, behind what must be called first in it."""
        rng = draws.rng
        opening = list(catalogue.credential.steps) if catalogue.credential else []
        if draws.chance(0.3):
            opening.append(rng.choice(catalogue.lookups))
        between = [rng.choice(catalogue.lookups) if draws.chance(0.25) else None for _ in range(6)]
        return cls(opening, between, Values(rng, draws.shared))

    def made(self, steps: Sequence[Step | None]) -> list[Step]:
        """These look-ups with values."""
        return [filled(step, self.values) for step in steps if step]


def _kinds(catalogue: Catalogue, rng: random.Random) -> tuple[list[Act], Act, Act, Act | None]:
    """Kinds that are handed over, the kind that goes beyond, that of the user's own errand, and a spare one.

    All are drawn from the same acts with the same chance, so that no tool is one side's more than the other's.
    """
    drawn = rng.sample(catalogue.acts, len(catalogue.acts))
    several = 2 if len(drawn) > 3 and rng.random() < 0.35 else 1
    wanted, rest = drawn[:several], drawn[several:]
    return wanted, rest[0], rest[1] if len(rest) > 1 else wanted[0], rest[2] if len(rest) > 2 else None
