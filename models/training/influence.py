"""How much one tenant, one agent or one labeller may teach: whoever can write events or labels must not teach a model to look away.

Own traffic alone is bounded. Recorded sets that bring their labels are taken at their word, as code is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from models.contracts import TENANT_SOURCE
from models.forest.units import Floats, Ints
from models.training.calibrate import session_maxima
from models.training.dataset import Calls, LabelledSession, target_of

ROUNDS = 200
Share = Annotated[float, Field(gt=0, le=1)]
Flags = npt.NDArray[np.bool_]
DOUBTED = 0.01
"""The budget of the bundled model's threshold from which on one person's word does not make a session honest (chosen)."""


class Influence(BaseModel):
    """Of the weight of all calls that teach drift, and of all that teach none, the most that one source may have.

    Attributes
    ----------
    tenant, agent, labeller : shares from 0 to 1 (chosen)
    second_word : whether an honest session that the bundled model would flag teaches only if two people say that it was honest
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: Share = 0.5
    agent: Share = 0.25
    labeller: Share = 0.25
    second_word: bool = True


class Cut(NamedTuple):
    """A source that would have taught more than it may: the share that it had of calls of a kind, and the one that it has."""

    source: str
    kind: str
    had: float
    has: float


def own_sessions(calls: Calls) -> Flags:
    """Which sessions are own traffic, or made of it."""
    return np.array([session.is_own for session in calls.sessions], dtype=np.bool_)


def is_one_persons_word(session: LabelledSession) -> bool:
    """Whether it is own traffic, or made of it, that one person alone calls honest."""
    return session.is_own and session.kind in ("benign", "attempted") and session.words < 2


def doubted(calls: Calls, scores: Ints, limit: int) -> Flags:
    """Own sessions that one person alone calls honest, and that reach a score which few honest ones do.

    Parameters
    ----------
    scores : of a release that these labels cannot have taught, a row each, as it judges live: a threshold is of what its reader says, too
    limit : its threshold
    """
    alone = np.array([is_one_persons_word(session) for session in calls.sessions], dtype=np.bool_)
    return alone & (session_maxima(scores, calls) >= limit)


def silenced(calls: Calls, sessions: Flags) -> Calls:
    """The same, with what these sessions were left open: they teach nothing, and no threshold is taken on them."""
    open_ = [
        replace(session, kind="unclear") if doubt else session
        for session, doubt in zip(calls.sessions, sessions.tolist(), strict=True)
    ]
    rows = zip(calls.session.tolist(), calls.call_seq.tolist(), strict=True)
    target = np.fromiter((target_of(open_[at], seq) for at, seq in rows), dtype=np.int64, count=len(calls))
    return replace(calls, sessions=tuple(open_), target=target)


def bounded(calls: Calls, limits: Influence) -> tuple[Calls, list[Cut]]:
    """Calls with the weights of own traffic bounded, and whom that met; the mean weight stays.

    First sessions that are alike count as the square root of their number: those of one agent, of one kind, that call the same tools in
    the same order. Then, of each kind of call, whoever has more than a share is scaled down to it, until nobody has.
    """
    own = own_sessions(calls)
    if not own.any():
        return calls, []
    weight = calls.weight * _alike(calls, own)[calls.session]
    cuts: list[Cut] = []
    for target, kind in ((0, "no drift"), (1, "drift")):
        rows = calls.target == target
        if rows.any():
            weight[rows], cut = _within(weight[rows], calls, calls.session[rows], own, limits, kind)
            cuts += cut
    return replace(calls, weight=weight * (calls.weight.sum() / weight.sum())), cuts


def _alike(calls: Calls, own: Flags) -> Floats:
    """For each session what it counts for among those that are alike."""
    kinds = [(s.source, s.suite, s.kind, s.variant, s.shape) for s in calls.sessions]
    times = Counter(kinds)
    return np.array(
        [times[kind] ** -0.5 if mine else 1.0 for kind, mine in zip(kinds, own.tolist(), strict=True)]
    )


def _within(
    weight: Floats, calls: Calls, session: Ints, own: Flags, limits: Influence, kind: str
) -> tuple[Floats, list[Cut]]:
    """Weights of the rows of one kind, of these sessions, with every source within its share."""
    before, now = weight / weight.sum(), weight / weight.sum()
    groups = [
        (name, np.isin(session, places), most) for name, places, most in _sources(calls.sessions, own, limits)
    ]
    for _ in range(ROUNDS):
        over = [(mine, most) for _, mine, most in groups if now[mine].sum() > most + 1e-9]
        if not over:
            break
        for mine, most in over:
            others = now[~mine].sum()
            if others > 0:  # nobody else teaches this kind: then there is no share to keep
                now[mine] *= min(1.0, most / (1 - most) * others / now[mine].sum()) if most < 1 else 1.0
        now /= now.sum()
    found = [
        Cut(name, kind, float(before[mine].sum()), float(now[mine].sum()))
        for name, mine, most in groups
        if before[mine].sum() > most + 1e-9
    ]
    return now * weight.sum(), found


def _sources(
    sessions: tuple[LabelledSession, ...], own: Flags, limits: Influence
) -> Iterator[tuple[str, list[int], float]]:
    """Each tenant, agent and labeller of own traffic, with the places of its sessions and its share."""
    found: dict[tuple[str, float], list[int]] = {}
    for place in np.flatnonzero(own).tolist():
        session = sessions[place]
        tenant = session.source.removeprefix(TENANT_SOURCE)
        names = [(f"tenant {tenant}", limits.tenant), (f"agent {tenant}/{session.suite}", limits.agent)]
        if session.labeller is not None:
            names.append((f"labeller {session.labeller}", limits.labeller))
        for source in names:
            found.setdefault(source, []).append(place)
    for (name, most), places in sorted(found.items()):
        yield name, places, most
