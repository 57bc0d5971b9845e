"""Training: scores out of fold first, then the model itself, and the papers that go with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from models.errors import DatasetError
from models.forest import allowances, trees
from models.forest.units import Floats, Ints
from models.release import registry
from models.training import artefact, evaluate
from models.training.boosting import Progress, fit, out_of_fold, silent
from models.training.calibrate import BUDGETS, thresholds
from models.training.dataset import LEFT_OUT, Calls
from models.training.joining import KeptReader, joined
from models.training.recipes import Recipe, recipe_for
from models.training.search import Trial

TRAINING_COMMAND = "driftline train"


class Trained(NamedTuple):
    """A calibrated model, its manifest, the account of its quality, and the scores that this rests on."""

    pipeline: Any
    manifest: dict[str, Any]
    report: dict[str, Any]
    scores: Ints


def train(
    X: Floats,
    calls: Calls,
    features: Sequence[str],
    features_version: int,
    data: Mapping[str, str],
    recipe: Recipe | None = None,
    progress: Progress = silent,
    budgets: Sequence[float] = BUDGETS,
    scores: Ints | None = None,
    reader: KeptReader | None = None,
) -> Trained:
    """Fit on all sessions; measure and set thresholds on scores of suites left out.

    Parameters
    ----------
    X, calls : feature rows and their labels, aligned
    features, features_version : what X's columns are
    data : files to SHA-256, for the manifest: all that was learnt from, recorded and written
    budgets : false-positive rates that the manifest gets thresholds for
    scores : those of suites left out by this very recipe, where they are known already
    reader : is kept beside the forest, and thresholds are of both; metrics are the forest's, since it learnt from what they are taken on
    """
    recipe = replace(recipe or recipe_for(features), shifts=allowances.shifts_of(features))
    if X.shape != (len(calls), len(features)):
        raise DatasetError(f"{len(calls)} labels and {len(features)} features for rows of shape {X.shape}")
    if scores is None:
        scores = out_of_fold(X, calls, recipe, progress)
    progress("measuring")
    if reader is None:
        kept, by_domain = thresholds(scores, calls, budgets)
    else:
        both = joined(reader.joint, scores, reader.says(scores))
        kept, by_domain = thresholds(both, calls, budgets, reader.limits_at)
    recorded = np.array([session.variant == "recorded" for session in calls.sessions], dtype=np.bool_)
    rows = calls.rows_where(recorded)
    report = evaluate.report(scores[rows], calls.take(rows))
    progress(f"fitting on all {len(calls)} calls")
    pipeline = fit(X, calls, recipe)
    trees.from_sklearn(pipeline)
    manifest: dict[str, Any] = {
        "features": list(features),
        "features_version": features_version,
        "data": dict(sorted(data.items())),
        "command": TRAINING_COMMAND,
        "recipe": recipe.as_manifest(),
        "allowance": allowances.ALLOWED,
        "thresholds": kept,
        "typical": typical(X, calls),
        **_learnt_from(calls, recipe, by_domain),
        "metrics": evaluate.short(report),
    }
    if reader is not None:
        manifest["joint"] = reader.joint._asdict()
        manifest["split"]["metrics"] += "; of the forest alone, without its reader"
    return Trained(pipeline, manifest, report, scores)


def note_trials(manifest: dict[str, Any], found: Sequence[Trial]) -> None:
    """Enter the trials of a search, and that the figures are of domains on which the best of them was chosen."""
    manifest["trials"] = [trial._asdict() for trial in found]
    manifest["split"]["metrics"] += f"; development figures: the best of {len(found)} was chosen on them"


def _learnt_from(calls: Calls, recipe: Recipe, by_domain: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """What of the manifest says whom a model learnt from, and how it was measured."""
    labelled = calls.target != LEFT_OUT
    return {
        "split": {
            "metrics": "leave one domain out (an AgentDojo suite, or any other set whole)",
            "calibration": f"user tasks in {recipe.folds} parts, each scored by a model fitted on the others",
            "domains": calls.domains(),
        },
        "thresholds_from": {
            "unit": "maximum of an honest session, recorded or written, each user task weighing the same",
            "chosen": "mean log odds of three tenths of the domains' own, below the highest tenth",
            "domains": by_domain,
        },
        "sessions": dict(sorted(Counter(f"{s.kind}: {s.variant}" for s in calls.sessions).items())),
        "seen": {
            "intents": sorted({s.intent for s in calls.sessions}),
            "goals": sorted({s.goal for s in calls.sessions if s.goal}),
            "sources": sorted({s.source for s in calls.sessions}),
        },
        "base_rate": round(float((calls.target[labelled] == 1).mean()), 6),
    }


def beside(manifest: Mapping[str, Any], used: Mapping[str, Any]) -> str:
    """What a model has learnt from beside the one that it would replace, in a sentence; a warning where that is far less.

    >>> small = {"sessions": {"benign: recorded": 40}, "split": {"domains": ["shop"]}}
    >>> large = {"sessions": {"benign: recorded": 900, "hijacked: silent": 100}, "split": {"domains": ["bank", "shop"]}}
    >>> beside(small, large)
    'WARNING: this model learnt from 40 sessions of 1 domains, the bundled one, which it would replace, from 1000 of 2'
    """
    sessions, domains = _size(manifest)
    its_sessions, its_domains = _size(used)
    warning = "WARNING: " if 2 * sessions < its_sessions else ""
    return (
        f"{warning}this model learnt from {sessions} sessions of {domains} domains, the bundled one, which it would replace,"
        f" from {its_sessions} of {its_domains}"
    )


def lacking(digests: Collection[str], used: Mapping[str, Any]) -> list[str]:
    """Of the recorded sets that a model learnt from, by its manifest, those that are not among files with these SHA-256.

    >>> data = {"a.jsonl.gz": "1", "a_tools.json": "2", "b.jsonl.gz": "3", "corpora/written/c.jsonl": "4"}
    >>> lacking({"1"}, {"data": data})
    ['b']
    """
    return sorted(
        name.partition(".jsonl")[0]
        for name, digest in used["data"].items()
        if name.endswith((".jsonl", ".jsonl.gz")) and "/" not in name and digest not in digests
    )


def _size(manifest: Mapping[str, Any]) -> tuple[int, int]:
    return sum(manifest["sessions"].values()), len(manifest["split"]["domains"])


def typical(X: Floats, calls: Calls) -> list[int]:
    """The features of a typical honest call, which `models.forest.attribution` sets others against.

    Of each the median over honest recordings by domain, and of these the median, halves rounded down.
    """
    medians = []
    for domain in calls.domains():
        honest = [
            s.domain == domain and s.variant == "recorded" and s.kind == "benign" for s in calls.sessions
        ]
        if any(honest):
            medians.append(np.median(X[calls.rows_where(honest)], axis=0))
    if not medians:
        raise DatasetError("no honest recording to set others against")
    return [int(one) for one in np.floor(np.median(medians, axis=0))]


def write(trained: Trained, calls: Calls, directory: Path) -> registry.Model:
    """Save, with the scores out of fold of `calls`, and read back what was saved."""
    manifest = artefact.save(directory, trained.pipeline, trained.manifest)
    ids = np.array([session.session_id for session in calls.sessions])
    np.savez_compressed(
        directory / registry.OUT_OF_FOLD_FILE,
        session=ids[calls.session],
        call=calls.call_seq,
        score=trained.scores,
    )
    return registry.load(directory, manifest["features"], manifest["features_version"])
