"""Detection on agents, suites and wordings that the model never saw: ``make evaluate``.

Every domain (an AgentDojo suite, or any other recorded source) is scored by a model fitted on everything of
the other domains, recordings and scenarios. The threshold that it is judged at comes from the other domains
too, each scored by a model that saw neither it nor the domain judged. Prints the tables, leaves all figures in
``build/detection.json``, and with ``--docs`` also in ``docs/figures/detection.json``, with the tables and plots of
``docs/detection.md``. What the models of a seed
say of every call stays in ``build``: figures that only ask it something else need no model fitted again.

Scores are the raw sums of the fitted trees (log odds), not the calibrated probability: the sigmoid of a
release keeps their order, costs three more fits for each of the models here, and would hide what lies beyond
its last step. The allowance for the calls of a session (`models.forest.allowances.allowance`) is taken off as a release takes it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import results
from benchmarks.detection.ablations import ablated, plain_rules, split
from benchmarks.detection.figures import changes, ecosystem, figures, worst_tasks
from benchmarks.detection.fits import Bench, log_odds, variants
from benchmarks.detection.page import FIGURES, FILE, IMAGES, kept_run, look, show
from benchmarks.detection.plots import draw_bars, draw_roc
from benchmarks.detection.rates import SUITES, Ints, Scored
from benchmarks.detection.rows import ROOT, Source, say
from models.evidence.features.registry import FEATURES, FEATURES_VERSION
from models.training import recipes

BESIDE = ("rules", "ablations")
"""What is measured with the first seed alone."""


SHOWN = ("page", "plots", "tables", "targets")
"""Modules that only show what was measured."""
LEARNT = (
    "training/boosting.py",
    "training/calibrate.py",
    "training/recipes.py",
    "forest/*.py",
    "evidence/features/*.py",
)
"""Of ``models``, what fits and what is fitted."""
FITTED = ("fits", "rates", "rows")
"""Modules that scores come from; the others of `code` only say what is asked of them."""


def code(only: Sequence[str] = ()) -> str:
    """A digest of what fits and measures: seeds of one report are of one code. How figures are shown may change between them.

    With `only`, of these modules and of what learns.
    """
    found = hashlib.sha256()
    beside = sorted(Path(__file__).parent.glob("*.py"))
    here = [path for path in beside if (path.stem in only if only else path.stem not in SHOWN)]
    learnt = [path for name in LEARNT for path in sorted((ROOT / "models").glob(name))]
    for path in (*here, *learnt):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()[:12]


class Scores(NamedTuple):
    """What the models of one seed say of every call, and what figures are made of.

    Attributes
    ----------
    learn, held : scores by models that did not see the call's domain
    apart_learn, apart_held : by one that saw no suite; -1 for other calls, and nothing where there is no `Bench.ecosystem`
    limits, whence : thresholds for each domain, and what each other domain gave for them
    apart_limits : those for all suites left out
    fits, minutes : models fitted, and what that took
    """

    learn: Ints
    held: Ints
    apart_learn: Ints
    apart_held: Ints
    limits: dict[str, dict[float, int]]
    whence: dict[str, Any]
    apart_limits: dict[float, int]
    fits: int
    minutes: float


def scores_of(bench: Bench, seed: int, jobs: int, kept: Path | None) -> Scores:
    """All models of a seed fitted and asked; or what `kept` holds of the same rows and code."""
    if kept is not None and kept.exists():
        with np.load(kept) as held:
            told = json.loads(str(held["told"]))
            arrays = {name: held[name] for name in held.files if name != "told"}
        limits = {domain: _budgets(one) for domain, one in told.pop("limits").items()}
        say(f"seed {seed}: {told['fits']} models were fitted before; their scores are in {kept}")
        return Scores(**arrays, limits=limits, apart_limits=_budgets(told.pop("apart_limits")), **told)
    began, fits = time.monotonic(), bench.fits
    bench.forget()  # another seed's; the last one's stay, since the other recipes are set beside those of seed 0
    bench.prepare([*bench.nested(), *bench.beyond()], seed, jobs)
    limits, whence = bench.limits(seed)
    out, none = bench.ecosystem, np.zeros(0, np.int64)
    found = Scores(
        bench.held_out(bench.learn, seed),
        bench.held_out(bench.held, seed),
        bench.apart(bench.learn, out, seed) if out else none,
        bench.apart(bench.held, out, seed) if out else none,
        limits,
        whence,
        bench.limits_without(out, seed)[0] if out else {},
        bench.fits - fits,
        (time.monotonic() - began) / 60,
    )
    if kept is not None:
        told = found._asdict()
        arrays = {name: told.pop(name) for name in ("learn", "held", "apart_learn", "apart_held")}
        np.savez_compressed(kept, told=json.dumps(told), **arrays)
    return found


def _budgets(table: Mapping[str, int]) -> dict[float, int]:
    return {float(budget): limit for budget, limit in table.items()}


def measure(bench: Bench, scores: Scores) -> tuple[dict[str, Any], Scored]:
    """All figures of one seed, and the sessions of the rows to learn from with their scores."""
    learn = Scored(bench.learn, scores.learn, scores.limits)
    held = Scored(bench.held, scores.held, scores.limits)
    found = figures(learn, held)
    found["thresholds"] = {
        domain or "any other": {f"{budget:g}": log_odds(limit) for budget, limit in one.items()}
        for domain, one in scores.limits.items()
    }
    found["thresholds_by_domain"] = scores.whence
    if bench.ecosystem:
        given = {"": scores.apart_limits}
        found["ecosystem"] = ecosystem(
            Scored(bench.learn, scores.apart_learn, given), Scored(bench.held, scores.apart_held, given)
        )
        found["ecosystem_thresholds"] = {
            f"{budget:g}": log_odds(limit) for budget, limit in scores.apart_limits.items()
        }
    found["worst_tasks"] = worst_tasks(learn)
    found["changes"] = changes(learn, held)
    return found, learn


def main() -> None:
    """Measure, print, keep, and write the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--docs", action="store_true", help="write docs/detection.md, its plots, and the ledger"
    )
    parser.add_argument(
        "--tables",
        action="store_true",
        help="measure nothing; show build/detection.json, or without one docs/figures/detection.json",
    )
    parser.add_argument("--fresh", action="store_true", help="make all feature rows anew")
    parser.add_argument(
        "--seeds",
        type=int,
        default=1,
        help="how often to fit everything with another seed; 0 with --more adds what an earlier run left out by --no-ablations",
    )
    parser.add_argument(
        "--more",
        action="store_true",
        help="fit with further seeds, and add them to those of build/detection.json",
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes to make rows and fit models with")
    parser.add_argument("--only", default="", help="domains, by commas, to try the program on")
    parser.add_argument("--sample", type=float, default=1.0, help="share of the recordings, to try it on")
    parser.add_argument("--trees", type=int, help="fewer trees, to try it on")
    parser.add_argument("--no-ablations", action="store_true", help="leave the other recipes out")
    parser.add_argument(
        "--open", action="store_true", help="look at what is locked without writing the document"
    )
    parser.add_argument("--why", default="the page's figures", help="reason, for the ledger")
    options = parser.parse_args()
    if options.tables:
        show(json.loads((FILE if FILE.exists() else FIGURES).read_bytes()), options.docs)
        return
    paths = results.recorded_files()
    trial = bool(options.only) or options.sample < 1 or options.trees is not None
    if options.seeds < (0 if options.more else 1):
        parser.error("--seeds wants 1 or more; 0 with --more")
    if options.docs and trial:
        parser.error("--docs wants all of the data and the whole recipe")
    if options.more and trial:
        parser.error("--more adds to a run on all of the data with the whole recipe")
    began = time.monotonic()
    only = [name for name in options.only.split(",") if name]
    source = Source(paths, only, options.sample, options.fresh, options.jobs)
    opened = options.docs or options.open
    pictures = IMAGES if options.docs else FILE.parent
    # As they are now: the code may be edited while it runs.
    same = {"rows": source.digest, "code": code(), "opened": opened, "docs": options.docs}
    earlier = kept_run() if options.more else {}
    if options.more and {key: earlier.get(key) for key in same} != same:
        sys.exit(
            f"{FILE} holds a run on other rows, or by other code, or for another use (--docs, --open):"
            " measure anew, without --more"
        )
    if not opened:
        say(
            "CLOSED: other wordings, for choosing, stand in for the report's; no report tasks (--open, --docs)"
        )
    bench = Bench(source.part("learn"), source.part("opened" if opened else "closed"), options.trees)
    say(f"rows ready after {time.monotonic() - began:.0f} s: {len(bench.learn.calls)} to learn from")
    seeds = list(earlier.get("seeds", ()))
    fitted, fits, minutes = code(FITTED), earlier.get("fits", 0), earlier.get("minutes", 0)
    report: dict[str, Any] = {"split": split(bench), **{k: earlier[k] for k in BESIDE if k in earlier}}
    for seed in range(len(seeds), len(seeds) + options.seeds):
        # Calls and sessions in the order of the rows: for whoever asks them something else, or reads errors.
        kept = FILE.parent / f"detection-scores-{source.digest}-{fitted}-{seed}.npz"
        scores = scores_of(bench, seed, options.jobs, kept if opened and not trial else None)
        found, learn = measure(bench, scores)
        seeds.append(found)
        fits, minutes = fits + scores.fits, minutes + scores.minutes
        if seed == 0:
            draw_roc(learn, pictures / "detection-roc.png")
            report["rules"] = plain_rules(source, bench)
    if not options.no_ablations and "ablations" not in report:
        chosen, before, begun = variants(), bench.fits, time.monotonic()
        bench.prepare([(bench.unseen(name), one) for name in SUITES for one in chosen], 0, options.jobs)
        report["ablations"] = ablated(bench, 0, chosen)
        fits, minutes = fits + bench.fits - before, minutes + (time.monotonic() - begun) / 60
    draw_bars(seeds, pictures / "detection-figures.png")
    report |= {
        "seeds": seeds,
        "recipe": recipes.recipe_for(FEATURES).as_manifest(),
        "features_version": FEATURES_VERSION,
        "trial": trial,
        **same,
        **results.of_run(began),
        "core": results.read().get("core", {}),
        "fits": fits,
        "minutes": minutes,
    }
    results.keep(FILE, report, trial=trial or not opened)
    show(report, options.docs)
    if opened:
        look("benchmarks.detection", options.why)
    say(f"{report['minutes']:.1f} minutes, {bench.fits} models")


if __name__ == "__main__":
    main()
