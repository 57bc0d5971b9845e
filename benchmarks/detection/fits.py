"""Models that each did not see some domains, and the recipes that leave one thing out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np

from benchmarks.detection.rates import BUDGETS, SUITES, Flags, Ints
from benchmarks.detection.rows import Floats, Part, say
from models.evidence.features.registry import FEATURES, SPECS
from models.evidence.features.spec import ABLATIONS
from models.forest.allowances import allowance, shifts_of
from models.forest.units import LEAF_BITS
from models.training import boosting, calibrate, dataset, recipes
from models.training.dataset import LEFT_OUT

UNIT, OFFSET = 1_000_000, 32.0
"""A score is the log odds plus 32, in millionths: whole numbers from 0 on, as thresholds want them."""


class Variant(NamedTuple):
    """What a model learns from.

    Attributes
    ----------
    columns : of the features
    homes : predicate on a session's (set, variant, kind)
    changes : of the recipe
    """

    name: str
    columns: tuple[int, ...]
    homes: Callable[[str, dataset.LabelledSession], bool] = lambda home, session: True
    changes: Mapping[str, Any] = {}


FULL = Variant("full", tuple(range(len(FEATURES))))
Key = tuple[tuple[str, ...], int, str]
"""Domains that a model did not see, its seed, and its variant's name."""


class Bench:
    """Models by what they did not see, fitted when first asked for."""

    def __init__(self, learn: Part, held: Part, trees: int | None = None) -> None:
        self.learn, self.held, self.trees = learn, held, trees
        self.domains = tuple(learn.calls.domains())
        self.voting = tuple(sorted({s.domain for s in learn.calls.sessions if s.sets_limits}))
        self.fits = 0
        self._models: dict[Key, Any] = {}

    def model(self, without: Iterable[str], seed: int, variant: Variant = FULL) -> Any:
        """The model of the recipe, fitted on all domains but some."""
        key = (tuple(sorted(set(without))), seed, variant.name)
        if key not in self._models:
            self._keep(key, *self.fitted(key, variant))
        return self._models[key]

    def fitted(self, key: Key, variant: Variant) -> tuple[Any, float]:
        """A model fitted as `key` says, and the seconds that it took."""
        began = time.monotonic()
        out, seed, _ = key
        calls = self.learn.calls
        kept = calls.rows_where(
            session.domain not in out and variant.homes(str(home), session)
            for session, home in zip(calls.sessions, self.learn.home, strict=True)
        )
        kept &= calls.target != LEFT_OUT
        recipe = recipes.recipe_for([FEATURES[n] for n in variant.columns], **variant.changes)
        recipe = replace(recipe, trees=self.trees or recipe.trees, seed=recipe.seed + seed)
        X, calls = self.learn.X[kept][:, variant.columns], calls.take(kept)
        found = boosting.grown(X, calls.target, boosting.emphasised(X, calls, recipe), recipe)
        return found, time.monotonic() - began

    def _keep(self, key: Key, found: Any, took: float) -> None:
        self._models[key] = found
        self.fits += 1
        say(f"fit {self.fits}: {key[2]}, without {', '.join(key[0]) or 'nothing'}: {took:.1f} s")

    def prepare(self, wanted: Iterable[tuple[Iterable[str], Variant]], seed: int, jobs: int) -> None:
        """Fit models on several processes, where that is faster than one after the other."""
        keys = {(tuple(sorted(set(out))), seed, variant.name): variant for out, variant in wanted}
        todo = {key: variant for key, variant in keys.items() if key not in self._models}
        if jobs < 2 or len(todo) < 2:
            return
        _BENCH.append(self)  # the processes are forks: they find it there, rows and all
        try:
            with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
                # By name: what tells sessions to learn from is a function, and those do not travel.
                for key, made in zip(todo, pool.map(_fitted, todo), strict=True):
                    self._keep(key, *made)
        finally:
            _BENCH.remove(self)

    def nested(self) -> list[tuple[set[str], Variant]]:
        """What scoring every domain, and setting its thresholds, takes."""
        alone = [self.unseen(one) for one in self.domains]
        pairs = [out | self.unseen(other) for out in alone for other in self.voting if other not in out]
        return [(out, FULL) for out in (*pairs, *alone, set())]

    def beyond(self) -> list[tuple[set[str], Variant]]:
        """What scoring the `ecosystem` takes, and setting its thresholds."""
        out = self.ecosystem
        others = [self.unseen(other) for other in self.voting if other not in out]
        return [(out | more, FULL) for more in (*others, set())] if out else []

    @property
    def ecosystem(self) -> set[str]:
        """The suites, where two other domains are there to learn from and to set thresholds by; else nothing."""
        suites = {name for name in SUITES if name in self.domains}
        others = set(self.domains) - suites
        return suites if len(suites) > 1 and len(others) > 1 and others & set(self.voting) else set()

    def forget(self) -> None:
        """Drop all models."""
        self._models.clear()

    def rows(self, X: Floats, seen: Ints, without: Iterable[str], seed: int, variant: Variant = FULL) -> Ints:
        """Scores of rows of calls, whose sessions have made `seen` calls before each."""
        raw = self.model(without, seed, variant).decision_function(X[:, variant.columns])
        raw = raw - allowance(seen, X, shifts_of(FEATURES)) / 2.0**LEAF_BITS
        found: Ints = np.rint((np.clip(raw, -OFFSET, OFFSET) + OFFSET) * UNIT).astype(np.int64)
        return found

    def held_out(self, part: Part, seed: int, variant: Variant = FULL, chosen: Flags | None = None) -> Ints:
        """Scores of every row by the model that did not see the row's domain; -1 for rows not chosen."""
        scores = np.full(len(part.calls), -1, dtype=np.int64)
        for domain in part.calls.domains():
            here = part.calls.rows_of(domain)
            if chosen is not None:
                here &= chosen
            if here.any():
                scores[here] = self.rows(
                    part.X[here], part.calls.call_seq[here], self.unseen(domain), seed, variant
                )
        return scores

    def apart(self, part: Part, out: set[str], seed: int) -> Ints:
        """Scores of every row of the domains in `out` by the model that saw none of them; -1 for other rows."""
        scores = np.full(len(part.calls), -1, dtype=np.int64)
        here = part.calls.rows_where(session.domain in out for session in part.calls.sessions)
        if here.any():
            scores[here] = self.rows(part.X[here], part.calls.call_seq[here], out, seed)
        return scores

    def unseen(self, domain: str) -> set[str]:
        """The domains that a model does without that judges this one, see `models.training.dataset.unseen_with`."""
        return set(dataset.unseen_with(domain)) & set(self.domains)

    def limits(self, seed: int) -> tuple[dict[str, dict[float, int]], dict[str, Any]]:
        """For each domain the thresholds that the *other* domains give, and these by domain.

        A domain ``""`` stands for any that no model learns from.
        """
        found: dict[str, dict[float, int]] = {}
        whence: dict[str, Any] = {}
        for domain in (*self.domains, ""):
            found[domain], whence[domain or "any other"] = self.limits_without(self.unseen(domain), seed)
        return found, whence

    def limits_without(
        self, out: set[str], seed: int
    ) -> tuple[dict[float, int], dict[str, dict[str, float]]]:
        """The thresholds that all domains but those in `out` give, each by a model that saw neither it nor any of them."""
        by: dict[float, dict[str, int]] = {budget: {} for budget in BUDGETS}
        for other in self.voting:
            if other in out:
                continue
            maxima, weights = self._honest(other, out | self.unseen(other), seed)
            for budget in BUDGETS:
                by[budget][other] = calibrate.weighted_threshold(maxima, weights, budget)
        least, found = 0, {}
        for budget in sorted(BUDGETS, reverse=True):
            least = max(least, round(calibrate.upper_mean(by[budget].values())))
            found[budget] = least
        return found, {
            f"{budget:g}": {name: log_odds(limit) for name, limit in one.items()}
            for budget, one in by.items()
        }

    def _honest(self, domain: str, without: set[str], seed: int) -> tuple[Ints, Floats]:
        calls = self.learn.calls
        chosen = np.array([s.domain == domain and s.sets_limits for s in calls.sessions])
        rows = calls.rows_where(chosen)
        scores = self.rows(self.learn.X[rows], calls.call_seq[rows], without, seed)
        highest = np.full(len(chosen), -1, dtype=np.int64)
        np.maximum.at(highest, calls.session[rows], scores)
        return highest[chosen], calibrate.task_weights(
            [s.task for s, one in zip(calls.sessions, chosen, strict=True) if one]
        )


def variants() -> list[Variant]:
    """What is left out, one thing at a time."""
    handed, hashed = recipes.recipe_for(FEATURES).apart
    probe = tuple(n for n, feature in enumerate(SPECS) if feature.only_measures)
    found = [
        FULL,
        Variant(
            "no recorded attack",
            FULL.columns,
            lambda home, s: (
                (s.kind == "benign" and s.variant == "recorded")
                or home in ("spliced", "delegated", "written")
            ),
        ),
        Variant("recordings only", FULL.columns, lambda home, s: s.variant == "recorded"),
        Variant("lengths and counts", probe),
        Variant(
            "all trees know what the intent means", FULL.columns, changes={"without": ((),), "apart": ()}
        ),
        Variant(
            "no trees of their own for handed-over work", FULL.columns, changes={"apart": (None, hashed)}
        ),
        Variant("no trees of their own for fingerprints", FULL.columns, changes={"apart": (handed, None)}),
    ]
    for group in ABLATIONS:
        columns = tuple(n for n in FULL.columns if SPECS[n].ablation != group)
        if 0 < len(columns) < len(FULL.columns):
            found.append(Variant(f"without {group}", columns))
    return found


_BENCH: list[Bench] = []


def _fitted(key: Key) -> tuple[Any, float]:
    (variant,) = [one for one in variants() if one.name == key[2]]
    return _BENCH[-1].fitted(key, variant)


def score_of(odds: float) -> int:
    """The score that stands for these log odds."""
    return round((odds + OFFSET) * UNIT)


def log_odds(score: int) -> float:
    """A score as the log odds that it stands for."""
    return round(score / UNIT - OFFSET, 3)
