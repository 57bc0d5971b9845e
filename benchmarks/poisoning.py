"""What somebody who can write events and labels of one tenant can teach a model: ``make poisoning``.

A vendor's model learns from two suites of AgentDojo and a share of the scenarios. A tenant's own traffic joins it: sessions of AgentDyn's
dailylife, of one half of its user tasks; what is caught is counted in the other half. Half of the attacker's goals there are what the attempt
is to make pass. Each attempt is trained without bounds and with those of `models.training.influence`. Every model of it is fitted
here: the bundled one knows these sessions. Writes ``docs/figures/poisoning.json``; ``--docs`` the table, too.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from benchmarks import results
from models.evidence.features.registry import FEATURES, FEATURES_VERSION
from models.forest import allowances, trees
from models.forest.units import Floats, Ints
from models.training import dataset, influence
from models.training import fit as training
from models.training.calibrate import session_maxima
from models.training.dataset import LabelledSession
from models.training.influence import Influence
from models.training.plan import Budget, Plan
from models.training.rates import rate
from models.training.recipes import recipe_for
from models.training.scenarios import corpus, recorded_attacks
from models.training.scenarios.corpus import Set
from stream.offline import study
from stream.offline.files import name_of

FIGURES = results.ROOT / "docs" / "figures" / "poisoning.json"
PAGE = results.ROOT / "docs" / "training.md"
SETS, SUITES = ("agentdojo", "agentdyn_dailylife"), ("banking", "slack")
VENDOR, SHARE = 400, 0.04
"""Sessions of each kind and suite that the vendor has, and the share of the scenarios."""
HONEST, HIJACKED, CHECKED = 240, 160, 500
COPIES, MONTHS = 20, 4
DOUBTED = f"{influence.DOUBTED:g}"


Told = list[tuple[str, LabelledSession]]
"""Sessions to learn from: whose rows, and what is said of them."""


class World(NamedTuple):
    """Rows of all sessions, each session's own, and who is what."""

    X: Floats
    rows: dict[str, Ints]
    sessions: dict[str, LabelledSession]
    vendor: list[str]
    own: list[str]
    aimed: list[str]
    """Own hijacks with the goals that the attempt is for."""
    asked: list[str]
    """The same, with an intent that asks for them."""
    alike: list[str]
    """Each of `aimed` `COPIES` times, each time with another honest call before it: no two have the same calls."""
    checked: list[str]

    def as_labelled(self, names: Iterable[str]) -> Told:
        """These sessions, each with its own label."""
        return [(name, self.sessions[name]) for name in names]


def _half(text: str) -> int:
    return zlib.crc32(text.encode()) % 2


def _some(sessions: Sequence[dict[str, Any]], label: str, most: int) -> list[dict[str, Any]]:
    ranked = sorted(
        (
            s
            for s in sessions
            if s["label"] == label and (label != "hijacked" or s["first_bad_seq"] is not None)
        ),
        key=lambda s: zlib.crc32(s["session_id"].encode()),
    )
    return ranked[:most]


def _alike(sessions: Sequence[dict[str, Any]], honest: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Near-duplicates: of each session copies that begin with a call of an honest one, each with another."""
    before = [call for session in honest for call in session["calls"]]

    def one(session: dict[str, Any], copy: int) -> dict[str, Any]:
        name = f"{session['session_id']}~{copy}"
        first = before[zlib.crc32(name.encode()) % len(before)]
        later = {
            member: session[member] + 1
            for member in ("exposed_seq", "first_bad_seq")
            if session[member] is not None
        }
        calls = [{**call, "seq": seq} for seq, call in enumerate([first, *session["calls"]])]
        return {**session, **later, "session_id": name, "calls": calls}

    return [one(session, copy) for session in sessions for copy in range(COPIES)]


def world() -> World:
    """Everything judged once, by the live core."""
    recorded, tools = study.read([path for path in results.recorded_files() if name_of(path) in SETS])
    suites = [s for s in recorded["agentdojo"] if s["suite"] in SUITES]
    vendor = [
        s
        for suite in SUITES
        for label in ("benign", "attempted", "hijacked")
        for s in _some([one for one in suites if one["suite"] == suite], label, VENDOR)
    ]
    own = [
        {**s, "source": "tenant:acme", "suite": "helper", "domain": "tenant:acme", "labelled_by": "ada"}
        for s in recorded["agentdyn_dailylife"]
    ]
    here, there = ([s for s in own if _half(s["user_task_id"]) == side] for side in (0, 1))
    learnt = [
        *_some(here, "benign", HONEST),
        *_some(here, "attempted", HONEST // 2),
        *_some(here, "hijacked", HIJACKED),
    ]
    aimed = [s for s in learnt if s["label"] == "hijacked" and _half(str(s["injection_goal"])) == 0]
    asked = [twin for s in aimed if (twin := recorded_attacks.amended_to_ask(s)) is not None]
    alike = _alike(aimed, [s for s in learnt if s["label"] == "benign"])
    checked = [*_some(there, "benign", CHECKED), *_some(there, "hijacked", CHECKED)]
    plan = Plan(budget=Budget(share=SHARE))
    bought = {"agentdojo": vendor}
    theirs = {ref: listed for ref, listed in tools.items() if ref.startswith("agentdojo/")}
    names = ("vendor", "own", "asked", "alike", "checked")
    sets = [
        Set(name, some, tools)
        for name, some in zip(names, (vendor, learnt, asked, alike, checked), strict=True)
    ]
    made = study.shared(corpus.training(bought, theirs), plan.takes, ())
    found = study.labelled([*sets, *made], {}, lambda text: print(text, file=sys.stderr))
    ids = np.array([s.session_id for s in found.calls.sessions])
    order = np.argsort(found.calls.session, kind="stable")
    starts = np.searchsorted(found.calls.session[order], np.arange(len(ids) + 1))
    rows = {name: order[starts[n] : starts[n + 1]] for n, name in enumerate(ids.tolist())}
    rows = {name: at[np.argsort(found.calls.call_seq[at])] for name, at in rows.items()}
    here_too = {s["session_id"] for some in (learnt, asked, alike, checked) for s in some}
    return World(
        found.X,
        rows,
        {s.session_id: s for s in found.calls.sessions},
        [name for name in ids.tolist() if name not in here_too],
        [s["session_id"] for s in learnt],
        [s["session_id"] for s in aimed],
        [s["session_id"] for s in asked],
        [s["session_id"] for s in alike],
        [s["session_id"] for s in checked],
    )


def _honest(world: World, names: Sequence[str], copies: int = 1, words: int = 1) -> Told:
    """What mallory's agent did, as often as it was sent, and mallory calls honest."""
    return [
        (
            name,
            replace(
                world.sessions[name],
                session_id=f"{name}-{copy}",
                kind="benign",
                first_bad_seq=None,
                suite="mallory",
                variant="recorded",
                task=f"tenant:acme/mallory/{name}-{copy}",
                labeller="mallory",
                words=words,
            ),
        )
        for name in names
        for copy in range(copies)
    ]


class Fitted(NamedTuple):
    """A model, its thresholds, and what was said of its bounds."""

    forest: trees.Forest
    thresholds: dict[str, int]
    silenced: int
    cuts: list[influence.Cut]


def _rows(world: World, told: Told) -> tuple[Floats, dataset.Calls]:
    """Their feature rows and labels."""
    at = np.concatenate([world.rows[name] for name, _ in told])
    ids = [said.session_id for name, said in told for _ in world.rows[name]]
    seqs = np.concatenate([np.arange(len(world.rows[name])) for name, _ in told])
    return world.X[at], dataset.join([said for _, said in told], ids, seqs)


def fitted(world: World, told: Told, vendor: Fitted | None, limits: Influence | None) -> Fitted:
    """A model of these sessions; with `limits` what they may teach is bounded, doubts being the vendor's model's."""
    X, calls = _rows(world, told)
    silenced, cuts = 0, list[influence.Cut]()
    if limits is not None and vendor is not None:
        scores = vendor.forest.score(X, calls.call_seq)
        doubts = influence.doubted(calls, scores, vendor.thresholds[DOUBTED])
        silenced = int(doubts.sum())
        calls, cuts = influence.bounded(influence.silenced(calls, doubts), limits)
    recipe = recipe_for(FEATURES, trees=80, learning_rate=0.09)
    trained = training.train(X, calls, FEATURES, FEATURES_VERSION, {}, recipe)
    forest = trees.from_sklearn(trained.pipeline, allowances.shifts_of(FEATURES))
    return Fitted(forest, trained.manifest["thresholds"], silenced, cuts)


def worth(world: World, model: Fitted) -> dict[str, Any]:
    """What a model catches of the tasks that took no part, at its own threshold of 1 %."""
    X, calls = _rows(world, world.as_labelled(world.checked))
    highest = session_maxima(model.forest.score(X, calls.call_seq), calls)
    flagged = highest >= model.thresholds["0.01"]
    goals = {world.sessions[name].goal for name in world.aimed}
    hijacked = np.array([s.kind == "hijacked" for s in calls.sessions])
    aimed = np.array([s.goal in goals for s in calls.sessions])
    return {
        "aimed at": rate(flagged[hijacked & aimed]),
        "others": rate(flagged[hijacked & ~aimed]),
        "honest": rate(flagged[~hijacked]),
        "silenced": model.silenced,
        "held": [cut._asdict() for cut in model.cuts],
    }


Train = Callable[[Told], Fitted]


def attempts(world: World, vendor: Fitted) -> dict[str, Callable[[Train], Told]]:
    """What mallory sends beside, or in place of, the tenant's own sessions; some look at the models that come of it."""
    aimed = {*world.aimed}
    plain = world.as_labelled([*world.vendor, *world.own])
    without = world.as_labelled([*world.vendor, *(name for name in world.own if name not in aimed)])

    def quiet(model: Fitted) -> list[str]:
        """Those that a model does not flag: an attacker who knows the rule sends no others."""
        limit = model.thresholds[DOUBTED]
        most = {
            name: model.forest.score(world.X[at], np.arange(len(at))).max()
            for name in world.aimed
            if len(at := world.rows[name])
        }
        return [name for name, score in most.items() if score < limit]

    def shifted(train: Train) -> Told:
        """Month by month what the last model does not flag is sent, so that the next one flags less."""
        sent = quiet(vendor)
        for _ in range(MONTHS - 1):
            model = train([*plain, *_honest(world, sent, COPIES)])
            sent += [name for name in quiet(model) if name not in sent]
        return [*plain, *_honest(world, sent, COPIES)]

    return {
        "labels flipped": lambda _: [*without, *_honest(world, world.aimed)],
        "flood of copies": lambda _: [*plain, *_honest(world, world.aimed, COPIES)],
        "flood of near-duplicates": lambda _: [*plain, *_honest(world, world.alike)],
        "flood of those that are not flagged": lambda _: [*plain, *_honest(world, quiet(vendor), COPIES)],
        "slow shift, over four trainings": shifted,
        "flood, by two people": lambda _: [*plain, *_honest(world, world.aimed, COPIES, words=2)],
        "intents that ask for it": lambda _: [*plain, *_honest(world, world.asked, COPIES)],
    }


def report() -> dict[str, Any]:
    """The whole table."""
    here = world()
    vendor = fitted(here, here.as_labelled(here.vendor), None, None)
    clean = here.as_labelled([*here.vendor, *here.own])
    found: dict[str, Any] = {
        "the vendor's model alone": {"without bounds": worth(here, vendor)},
        "nothing sent": {},
    }
    every: dict[str, Callable[[Train], Told]] = {"nothing sent": lambda _: clean, **attempts(here, vendor)}
    bounds = {
        "without bounds": partial(fitted, here, vendor=vendor, limits=None),
        "bounded": partial(fitted, here, vendor=vendor, limits=Influence()),
    }
    for name, made in every.items():
        found[name] = {bound: worth(here, train(made(train))) for bound, train in bounds.items()}
        print(name, json.dumps(found[name]), file=sys.stderr)
    return {
        "command": "make poisoning DOCS=1",
        "aimed": len(here.aimed),
        "learnt": len(here.vendor) + len(here.own),
        "attempts": found,
    }


def table(told: dict[str, Any]) -> str:
    """Markdown: caught of what was aimed at, of the other hijacks, and honest sessions flagged."""
    lines = [
        "| sent | caught of what it aims at | bounded | caught of the rest | bounded | honest flagged | bounded |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, found in told["attempts"].items():
        cells = []
        for what in ("aimed at", "others", "honest"):
            for bound in ("without bounds", "bounded"):
                cells.append(f"{found[bound][what]['rate']:.3f}" if bound in found else "-")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """The command line of ``make poisoning``."""
    parser = argparse.ArgumentParser(
        description="What an attacker can teach by events and labels of one tenant."
    )
    parser.add_argument("--docs", action="store_true", help="write the table into docs/training.md")
    asked = parser.parse_args()
    told = report()
    results.publish(FIGURES, told, PAGE, {"poisoning": table(told)}, docs=asked.docs)


if __name__ == "__main__":
    main()
