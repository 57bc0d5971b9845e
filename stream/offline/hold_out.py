"""Two releases on labelled sessions of one's own: what either makes of them, as a deployment would, for the gates of a promotion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from models.training import dataset
from models.training.populations import Labelled
from models.training.scenarios.corpus import Set
from stream.offline import gates, study
from stream.offline.gates import Candidate, Gate
from stream.offline.rows import WAYS

MOST_LOUDER = 0.01
"""Share of one's own honest sessions by which alerts may grow (chosen)."""
FEWEST = 20
"""Honest, and hijacked, sessions of one's own that a hold-out needs (chosen): of fewer a share says nothing."""


class HoldOut(NamedTuple):
    """Labelled sessions of one's own.

    Attributes
    ----------
    telling : calls that show of an attempted session that the agent acted
    """

    sets: Sequence[Set]
    telling: dict[str, int]
    meter: study.Meter = study.unmetered


def compared(champion: Candidate, challenger: Candidate, own: HoldOut) -> list[Gate]:
    """What either release makes of sessions that neither learnt from, as a deployment would: reader, signals and policy included.

    A session whose intent one of them has learnt from takes no part.
    """
    known = {
        intent for one in (champion, challenger) for intent in one.manifest.get("seen", {}).get("intents", ())
    }
    sets = [
        one._replace(
            sessions=[s for s in one.sessions if dataset.of_record(s, own.telling).intent not in known]
        )
        for one in own.sets
    ]
    given, left = (sum(len(one.sessions) for one in some) for some in (own.sets, sets))
    told = f"{given - left} of {given} take no part: their intents were learnt from" if left < given else ""
    before, after = (_alerted(one, sets, own) if left else {} for one in (champion, challenger))
    return list(_on_own(before, after, told))


def _alerted(one: Candidate, sets: Sequence[Set], own: HoldOut) -> dict[str, tuple[int, int]]:
    """Of each kind of session how many are alerted on, or worse, and how many there are."""
    calls, judged = study.verdicts(sets, own.telling, one.folder, one.policy, own.meter)
    population = Labelled(calls)
    flagged = population.with_any(judged.raised[WAYS[0]])
    return {
        kind: (int((flagged & (population.kind == kind)).sum()), int((population.kind == kind).sum()))
        for kind in ("benign", "hijacked")
    }


def _on_own(
    before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]], told: str
) -> Iterator[Gate]:
    for kind, name, most_lost, most_grown in (
        ("hijacked", "own hijacked sessions told or stopped", gates.MOST_LOST, 1.0),
        ("benign", "own honest sessions alerted on", 1.0, MOST_LOUDER),
    ):
        (had, n), (has, _) = before.get(kind, (0, 0)), after.get(kind, (0, 0))
        few = f"{n} are too few, {FEWEST} are needed" if n < FEWEST else ""
        grown = (has - had) / n if n else 0.0
        yield Gate(
            name,
            f"{had} of {n}",
            f"{has} of {n}",
            not few and -most_lost <= grown <= most_grown,
            "; ".join(filter(None, (few, told))),
        )
